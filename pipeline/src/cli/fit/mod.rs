//! `cairn fit`: a law through a table, with its uncertainty, certificate and back-test. No log needed.

pub mod flags;
mod refusals;
pub mod rows;
pub mod show;
pub mod source;
mod studies;

use super::laws::law;
use super::{Failure, Global, Outcome, files, print, say};
use crate::input_table::{InputTable, assignments};
use cairn_avro::hex;
use cairn_scaling::{Fit, FitOptions, FitVerdict, ObjectiveKind, Table};
use clap::Args;
use rows::Wanted;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use source::Source;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use studies::Besides;

/// Fit a law to a table, with intervals, a certificate and a back-test.
#[derive(Args)]
pub struct FitCommand {
    /// A law that `cairn laws` lists, or a YAML file with one of your own
    #[arg(long, value_name = "L|FILE.yaml")]
    law: String,
    #[command(flatten)]
    source: Source,
    /// What the law's columns are in the table: NAME=COLUMN or NAME=SQL, also run=, weight=, group=; y= is the response
    #[arg(long, value_name = "n=X,d=X,loss=X", default_value = "")]
    columns: String,
    /// Parameters held at a value
    #[arg(long, value_name = "NAME=VALUE,…", default_value = "")]
    fix: String,
    /// Level of the intervals
    #[arg(long, default_value_t = 0.95)]
    level: f64,
    /// Leave out the K rows with the largest response
    #[arg(long, value_name = "K", default_value_t = 0)]
    drop_highest: usize,
    /// What is minimised: huber_log, huber, least_squares_log, least_squares, student_t_log, student_t, variable_projection; the law's own where not given
    #[arg(long, value_name = "KIND")]
    objective: Option<String>,
    /// Where Huber's loss turns from square to straight; 0.001 for huber_log
    #[arg(long, value_name = "D")]
    delta: Option<f64>,
    /// Where the searches begin: data, grid (the law's published one), or a number of seeded starts
    #[arg(long, value_name = "data|grid|N", default_value = "data")]
    starts: String,
    /// Replicates of the bootstrap over runs
    #[arg(long, value_name = "B", default_value_t = 200)]
    bootstrap: u32,
    /// Column of the clusters that are resampled whole; the run where not given
    #[arg(long, value_name = "COL")]
    cluster: Option<String>,
    /// How the columns were counted, kept with the fit: n=non_embedding,flops=6nd
    #[arg(long, value_name = "C", default_value = "")]
    convention: String,
    /// What the back-test holds out: that fraction of the runs with the largest compute, or K of them
    #[arg(long, value_name = "compute:FRACTION|runs:K", default_value = "runs:2")]
    holdout: String,
    /// With isoflop: largest over least compute of one budget, less one, at most
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    budget_tolerance: f64,
    /// With isoflop and envelope: different sizes that a budget needs
    #[arg(long, value_name = "K", default_value_t = 3)]
    sizes_min: usize,
    /// Also look for a place in compute where one law ends and another begins
    #[arg(long)]
    breaks: bool,
    /// Also say what the answer hangs on: loss delta, starts, dropped points, each run
    #[arg(long)]
    sensitivity: bool,
    /// Seed of bootstrap and starts
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// File that the fit is written to, for `cairn predict`, `cairn optimal` and `cairn fits plot`
    #[arg(long, value_name = "FIT.json")]
    out: Option<PathBuf>,
}

impl FitCommand {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let options = self.options()?;
        let columns = assignments(&self.columns)?;
        let (input, lineage) = self.source.read(global)?;
        let began_ns = thread_cpu_ns();
        if let Some(outcome) = studies::run(
            &self,
            global,
            &input,
            lineage.as_deref(),
            &columns,
            &options,
        )? {
            return Ok(outcome);
        }
        let (mut rows, law) = match self.law.as_str() {
            "auto" => {
                let open = studies::open_columns(&columns, &input.names());
                let asked = Wanted {
                    law: "auto",
                    columns: open.iter().map(|(name, _)| name.as_str()).collect(),
                    response: "loss",
                };
                let given: Vec<(String, String)> = columns
                    .iter()
                    .filter(|(name, _)| !open.iter().any(|(known, _)| known == name))
                    .chain(&open)
                    .cloned()
                    .collect();
                (
                    rows::take(
                        &input,
                        &self.source,
                        &asked,
                        &given,
                        self.cluster.as_deref(),
                    )?,
                    None,
                )
            }
            name => {
                let law = law(name)?;
                (
                    rows::take(
                        &input,
                        &self.source,
                        &Wanted::of(&law),
                        &columns,
                        self.cluster.as_deref(),
                    )?,
                    Some(law),
                )
            }
        };
        rows::drop_highest(&mut rows.table, self.drop_highest);
        let options = FitOptions {
            holdout: flags::holdout(&self.holdout, &rows.table)?,
            conventions: self.conventions(&rows.expressions, lineage.as_deref()),
            ..options
        };
        let (mut fit, choice) = match &law {
            Some(law) => (cairn_scaling::fit(law, &rows.table, &options)?, None),
            None => {
                let choice = studies::chosen(&mut rows.table, "loss", &options)?;
                (choice.chosen.clone(), Some(choice))
            }
        };
        identify(&mut fit)?;
        let besides = Besides::of(&self, &fit, &rows.table, &options)?;
        let cpu_s = cpu_s(began_ns);
        if let Some(out) = &self.out {
            files::write_json(
                out,
                &Saved {
                    fit: fit.clone(),
                    rows: rows.table.clone(),
                    options: options.clone(),
                },
            )?;
        }
        if global.is_json() {
            let mut answer = brief(&fit)?;
            answer["cpu_s"] = json!(cpu_s);
            if let Some(answer) = answer.as_object_mut() {
                answer.extend(choice.iter().map(|choice| {
                    (
                        "candidates".to_owned(),
                        studies::candidates_json(&choice.candidates),
                    )
                }));
                answer.extend(besides.json());
            }
            say(&answer);
        } else {
            print(&show::fit(&fit));
            print(
                &choice
                    .as_ref()
                    .map(studies::candidates_text)
                    .unwrap_or_default(),
            );
            print(&besides.text());
        }
        notes(&input);
        Ok(match fit.verdict {
            FitVerdict::Refused => 1,
            _ if !input.bad.is_empty() => 3,
            _ => 0,
        })
    }

    fn options(&self) -> Result<FitOptions, Failure> {
        Ok(FitOptions {
            objective: match &self.objective {
                None => ObjectiveKind::LawDefault,
                Some(name) => flags::word(
                    "--objective",
                    name,
                    "huber_log, huber, least_squares_log, least_squares, student_t_log, student_t or variable_projection",
                )?,
            },
            delta: self.delta,
            starts: flags::starts(&self.starts)?,
            fixed: flags::numbers(&self.fix, "--fix")?,
            bootstrap: self.bootstrap,
            level: self.level,
            seed: self.seed,
            ..FitOptions::default()
        })
    }

    /// What the fit says of its own counting: the expressions behind its columns, and what the user said.
    fn conventions(
        &self,
        expressions: &BTreeMap<String, String>,
        lineage: Option<&str>,
    ) -> BTreeMap<String, String> {
        let mut conventions = expressions.clone();
        match assignments(&self.convention) {
            Ok(counted) => conventions.extend(
                counted
                    .into_iter()
                    .map(|(name, value)| (format!("counting.{name}"), value)),
            ),
            // a sentence, not NAME=VALUE
            Err(_) => {
                conventions.insert("counted".to_owned(), self.convention.clone());
            }
        }
        let told = [
            ("where", self.source.condition.clone()),
            ("sql", self.source.sql.clone()),
            ("cohort", lineage.map(str::to_owned)),
        ];
        conventions.extend(
            told.into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?))),
        );
        if self.drop_highest > 0 {
            conventions.insert("dropped_highest".to_owned(), self.drop_highest.to_string());
        }
        conventions
    }
}

/// Gives the fit its identity: a digest of all that it says.
fn identify(fit: &mut Fit) -> Result<(), Failure> {
    let text = serde_json::to_string(&*fit).map_err(unwritable)?;
    fit.fit_id = hex::text(&Sha256::digest(text)[..16]);
    Ok(())
}

pub(super) fn unwritable(error: impl std::fmt::Display) -> Failure {
    Failure::new("io", 2, error.to_string(), "fit", "report it")
}

/// The fit without what only a prediction needs.
pub(super) fn brief(fit: &Fit) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(fit).map_err(unwritable)?;
    if let Some(members) = value.as_object_mut() {
        members.remove("replicates");
        members.remove("definition");
    }
    Ok(value)
}

/// A fit as a file: the fit's members, and what pictures of it need besides.
#[derive(Serialize, Deserialize)]
pub(super) struct Saved {
    #[serde(flatten)]
    pub(super) fit: Fit,
    /// The rows that it was fitted to; none of a fit of the registry.
    #[serde(default)]
    pub(super) rows: Table,
    /// As it was fitted.
    #[serde(default)]
    pub(super) options: FitOptions,
}

/// The file that `--out` wrote.
pub(super) fn saved(path: &Path) -> Result<Saved, Failure> {
    let remedy = "name the file that `cairn fit --out` wrote; what --json prints is shorter";
    let value: Value = files::read_json(path, "not_a_fit", remedy)?;
    let law = value["law"].as_str().unwrap_or_default();
    if matches!(law, "isoflop" | "envelope") {
        return Err(Failure::new(
            "not_a_fit",
            2,
            format!(
                "it holds the study {law}: exponents of n_opt and d_opt, and no law of the loss"
            ),
            path.display().to_string(),
            "n_opt(C) = coefficient * (C / reference_flops)^exponent stands in it; for predictions and optima fit a law, such as hoffmann, to the same rows",
        ));
    }
    serde_json::from_value(value).map_err(|error| {
        Failure::new(
            "not_a_fit",
            2,
            error.to_string(),
            path.display().to_string(),
            remedy,
        )
    })
}

/// A fit from the file that `--out` wrote.
pub(super) fn load(path: &Path) -> Result<Fit, Failure> {
    Ok(saved(path)?.fit)
}

/// Says what was not read as it is written: rows that were left out, and text that was taken for numbers.
pub(super) fn notes(input: &InputTable) {
    damaged(&input.bad);
    read_as(input);
}

/// Says which text was taken for numbers, and for which.
pub(super) fn read_as(input: &InputTable) {
    for note in input.read_as() {
        eprintln!("cairn: {}", crate::redaction::line(&note));
    }
}

/// Says which rows of the files could not be read, the first few by name.
pub(super) fn damaged(bad: &[(String, u64, String)]) {
    for (file, line, fault) in bad.iter().take(5) {
        eprintln!(
            "cairn: {}",
            crate::redaction::line(&format!("{file} line {line}: {fault}"))
        );
    }
    if bad.len() > 5 {
        eprintln!(
            "cairn: … and {} rows more that could not be read",
            bad.len() - 5
        );
    }
}

/// CPU time of this thread, as Linux counts it; none elsewhere.
fn thread_cpu_ns() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// CPU seconds since then; null where they are not counted.
fn cpu_s(began_ns: Option<u64>) -> Option<f64> {
    Some((thread_cpu_ns()? - began_ns?) as f64 / 1e9)
}
