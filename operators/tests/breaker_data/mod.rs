//! Logs for the breaker's tests: readers for the simple line formats of `shared/data`, incidents to inject, and the ladder.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cairn_operators::breaker::Plan;
use cairn_operators::breaker::replay::BreakerRow;
use cairn_operators::windows::{NumberState, Row};

/// One log, and how many steps it was to take.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) name: String,
    pub(crate) rows: Vec<Row>,
    pub(crate) steps_planned: i64,
    /// Loss without its noise, a moving median, for those that incidents are injected into.
    pub(crate) trend: Vec<f64>,
}

impl Log {
    /// Every `interval`-th row.
    pub(crate) fn every(&self, interval: usize) -> Self {
        Self {
            rows: self.rows.iter().step_by(interval).cloned().collect(),
            ..self.clone()
        }
    }

    pub(crate) fn breaker_rows(&self) -> Vec<BreakerRow> {
        self.rows
            .iter()
            .map(|row| BreakerRow {
                run_id: self.name.clone(),
                row: row.clone(),
            })
            .collect()
    }
}

/// The folder of this crate, as cargo says it to what it runs: compiled in, it would be that of the clone that built this.
fn package() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// `shared/data` beside the checkout, or in `CAIRN_SHARED`; says so and gives nothing where it is absent.
pub(crate) fn shared(folder: &str) -> Option<PathBuf> {
    let named = std::env::var_os("CAIRN_SHARED").map(PathBuf::from);
    let package = package();
    let above = package
        .ancestors()
        .map(|up| up.join("shared"))
        .collect::<Vec<_>>();
    let found = named
        .into_iter()
        .chain(above)
        .map(|root| root.join("data").join(folder))
        .find(|path| path.is_dir());
    if found.is_none() {
        println!("skipped: no shared/data/{folder} above the checkout and none in CAIRN_SHARED");
    }
    found
}

/// The seven healthy GPT-2 runs, named by the first word of the file.
pub(crate) fn nanogpt() -> Vec<Log> {
    static LOGS: OnceLock<Vec<Log>> = OnceLock::new();
    LOGS.get_or_init(|| {
        let Some(folder) = shared("nanogpt-logs") else {
            return Vec::new();
        };
        let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        paths.iter().filter_map(|path| nanogpt_file(path)).collect()
    })
    .clone()
}

fn nanogpt_file(path: &Path) -> Option<Log> {
    let file = path.file_stem()?.to_str()?;
    let name = file
        .replace("_gpt2-124m", "")
        .split('_')
        .take(2)
        .collect::<Vec<_>>()
        .join("-");
    let text = std::fs::read_to_string(path).ok()?;
    let mut planned = 0;
    let rows: Vec<Row> = text
        .lines()
        .filter_map(|line| {
            let fields: BTreeMap<&str, &str> = line
                .split_whitespace()
                .filter_map(|word| word.split_once(':'))
                .collect();
            let llmc = |row: Row| Row {
                learning_rate: fields.get("lr").and_then(|v| v.parse().ok()),
                grad_norm: fields.get("norm").and_then(|v| v.parse().ok()),
                ..row
            };
            if let (Some(step), Some(loss)) = (fields.get("s"), fields.get("trl")) {
                return Some(llmc(Row {
                    step: step.parse().ok()?,
                    loss: loss.parse().ok(),
                    ..Row::default()
                }));
            }
            let (step, of) = fields.get("step")?.split_once('/')?;
            planned = of.parse().ok()?;
            Some(Row {
                step: step.parse().ok()?,
                loss: Some(fields.get("train_loss")?.parse().ok()?),
                ..Row::default()
            })
        })
        .collect();
    let trend = moving_median(
        &rows.iter().filter_map(|row| row.loss).collect::<Vec<_>>(),
        100,
    );
    let steps_planned = rows.last().map_or(planned, |row| row.step.max(planned));
    (!rows.is_empty()).then_some(Log {
        name,
        rows,
        steps_planned,
        trend,
    })
}

/// The lines of a Megatron excerpt.
pub(crate) fn megatron(file: &str) -> Option<Log> {
    let text = std::fs::read_to_string(shared("bigscience-megatron-sample")?.join(file)).unwrap();
    let mut planned = 0;
    let rows = text
        .lines()
        .filter_map(|line| {
            let (step, of) = line
                .trim()
                .strip_prefix("iteration")?
                .split('|')
                .next()?
                .split_once('/')?;
            planned = of.trim().parse().ok()?;
            let field = |name: &str| {
                line.split('|')
                    .find_map(|part| part.trim().strip_prefix(name)?.trim().parse::<f64>().ok())
            };
            Some(Row {
                step: step.trim().parse().ok()?,
                loss: Some(field("lm loss:")?),
                grad_norm: field("grad norm:"),
                learning_rate: field("learning rate:"),
                ..Row::default()
            })
        })
        .collect();
    Some(Log {
        name: file.to_owned(),
        rows,
        steps_planned: planned,
        trend: Vec::new(),
    })
}

/// The sparse log of a Hugging Face fine-tune.
pub(crate) fn trainer_state() -> Option<Log> {
    let text =
        std::fs::read_to_string(shared("hf-trainer-state")?.join("trainer_state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    let rows: Vec<Row> = state["log_history"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|record| {
            Some(Row {
                step: record["step"].as_i64()?,
                loss: Some(record["loss"].as_f64()?),
                grad_norm: record["grad_norm"].as_f64(),
                learning_rate: record["learning_rate"].as_f64(),
                ..Row::default()
            })
        })
        .collect();
    let steps_planned = rows.last().map_or(0, |row| row.step);
    Some(Log {
        name: "trainer_state".to_owned(),
        rows,
        steps_planned,
        trend: Vec::new(),
    })
}

/// One run of the ladder: its cohort, its telemetry over all attempts, its plan.
pub(crate) struct LadderRun {
    pub(crate) cohort: String,
    pub(crate) log: Log,
    pub(crate) plan: Plan,
}

/// The ladder's logs, if they have been made; read through gzip, so that no crate is needed for it.
pub(crate) fn ladder() -> Vec<LadderRun> {
    let folder = std::env::var_os("CAIRN_LADDER")
        .map_or_else(|| package().join("../examples/ladder/logs"), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: no {}", folder.display());
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".jsonl.gz"))
        .collect();
    paths.sort();
    paths.iter().map(|path| ladder_file(path)).collect()
}

fn ladder_file(path: &Path) -> LadderRun {
    let unpacked = std::process::Command::new("gzip")
        .arg("-dc")
        .arg(path)
        .output()
        .unwrap();
    let name = path
        .file_name()
        .unwrap()
        .to_string_lossy()
        .trim_end_matches(".jsonl.gz")
        .to_owned();
    let (mut rows, mut plan, mut cohort) = (Vec::new(), Plan::default(), String::new());
    for line in String::from_utf8(unpacked.stdout).unwrap().lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        match record["topic"].as_str() {
            Some("runs.config") => {
                let training = &record["training"];
                plan.tokens_planned = training["tokens_planned"].as_f64();
                plan.steps_planned = training["steps_planned"].as_i64();
                plan.warmup_steps = training["warmup_steps"].as_i64();
                plan.curriculum = record["curriculum"].as_bool().unwrap_or(false);
                cohort = record["tags"][1].as_str().unwrap_or_default().to_owned();
            }
            None | Some("telemetry.training") => rows.push(contract_row(&record)),
            _ => {}
        }
    }
    LadderRun {
        cohort,
        log: Log {
            name,
            rows,
            steps_planned: 0,
            trend: Vec::new(),
        },
        plan,
    }
}

fn contract_row(record: &serde_json::Value) -> Row {
    let state = |name: &str| match record[name].as_str() {
        Some("NaN") => NumberState::Nan,
        Some("Infinity") => NumberState::PositiveInfinity,
        Some("-Infinity") => NumberState::NegativeInfinity,
        _ => NumberState::Finite,
    };
    Row {
        attempt: i32::try_from(record["attempt"].as_i64().unwrap_or(0)).unwrap(),
        step: record["step"].as_i64().unwrap(),
        tokens: record["tokens"].as_i64(),
        loss: record["loss"].as_f64(),
        loss_state: state("loss"),
        grad_norm: record["grad_norm"].as_f64(),
        grad_norm_state: state("grad_norm"),
        learning_rate: record["learning_rate"].as_f64(),
        ..Row::default()
    }
}

/// What can befall a healthy run; steps count from the onset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Incident {
    /// Rises by so many nats a step, to the loss of a model that knows nothing.
    Ramp(f64),
    /// Jumps by so many nats and stays.
    Jump(f64),
    /// Rises within ten steps by so many nats, and decays with this time constant in steps.
    Spike(f64, f64),
    /// The trend stops; the noise goes on.
    Plateau,
    /// The trend turns and rises by so many nats in a thousand steps.
    Degrade(f64),
    /// The loss is NaN.
    Nan,
}

/// The log with an incident from step `onset` on.
pub(crate) fn inject(log: &Log, incident: Incident, onset: i64) -> Log {
    let losses: Vec<f64> = log.rows.iter().map(|row| row.loss.unwrap()).collect();
    let trend = &log.trend;
    let at = log.rows.iter().position(|row| row.step >= onset).unwrap();
    let rows = log
        .rows
        .iter()
        .enumerate()
        .map(|(i, row)| {
            if row.step < onset {
                return row.clone();
            }
            let since = (row.step - onset) as f64;
            let (loss, noise) = (losses[i], losses[i] - trend[i]);
            let loss = match incident {
                Incident::Ramp(rate) => (loss + rate * since).min(10.8 + noise),
                Incident::Jump(nats) => loss + nats,
                Incident::Spike(nats, tau) => {
                    loss + nats
                        * if since < 10.0 {
                            (since + 1.0) / 10.0
                        } else {
                            (-(since - 10.0) / tau).exp()
                        }
                }
                Incident::Plateau => trend[at] + noise,
                Incident::Degrade(rate) => trend[at] + rate * since / 1000.0 + noise,
                Incident::Nan => f64::NAN,
            };
            let loss_state = NumberState::of(loss);
            Row {
                loss: Some(loss).filter(|loss| loss.is_finite()),
                loss_state,
                ..row.clone()
            }
        })
        .collect();
    Log {
        rows,
        ..log.clone()
    }
}

fn moving_median(values: &[f64], half: usize) -> Vec<f64> {
    (0..values.len())
        .map(|i| {
            let mut around =
                values[i.saturating_sub(half)..(i + half + 1).min(values.len())].to_vec();
            around.sort_by(f64::total_cmp);
            around[around.len() / 2]
        })
        .collect()
}

/// Numbers by seed (SplitMix64), so that a test needs no crate for them and repeats.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal.
    pub(crate) fn normal(&mut self) -> f64 {
        let (u, v) = (self.unit().max(1e-300), self.unit());
        (-2.0 * u.ln()).sqrt() * (2.0 * core::f64::consts::PI * v).cos()
    }
}
