//! How a registry grows: load, cohort query, upsert, size and memory at so many rows, one line of JSON for each size.
//!
//! `cargo run --release -p cairn-pipeline --example registry_scale -- STORE DIR ROWS…`; see `benchmark/registry/`.

use anyhow::{Context as _, ensure};
use cairn_avro::codec;
use cairn_avro::record::{
    DataSource, Derived, Environment, ExperimentRow, Hardware, ModelConfig, OffsetSpan, RunStatus,
    Score, TrainingConfig,
};
use cairn_pipeline::config::Config;
use cairn_pipeline::registry::sql::Query;
use cairn_pipeline::registry::{self, AsOf, Batch, Row, Store, Table};
use std::time::Instant;

/// Seed of all that is drawn.
const SEED: u64 = 20_261_130;
/// Rows of an upsert.
const UPSERT_ROWS: usize = 1_000;
/// How often a query is asked.
const REPEATS: usize = 5;

/// A row as a team's registry holds them: most members told, a dozen scores.
fn row(at: u64, change: u64) -> ExperimentRow {
    let mut state = SEED ^ at.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut draw = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let parameters = 10_f64.powf(7.0 + 4.0 * draw());
    let tokens = parameters * (5.0 + 60.0 * draw());
    ExperimentRow {
        tenant: "default".into(),
        run_id: format!("run-{at:08}"),
        status: if at.is_multiple_of(10) {
            RunStatus::Running
        } else {
            RunStatus::Finished
        },
        attempts: 1,
        model: ModelConfig {
            family: Some(if at.is_multiple_of(4) { "moe" } else { "dense" }.into()),
            parameters_total: Some(parameters),
            parameters_active: Some(parameters),
            depth_layers: Some(12 + (at % 60).cast_signed()),
            width: Some(1_024),
            heads: Some(16),
            vocabulary_size: Some(50_304),
            ..ModelConfig::default()
        },
        training: TrainingConfig {
            optimizer: Some("adamw".into()),
            learning_rate_peak: Some(3e-4 * draw()),
            schedule: Some("cosine".into()),
            batch_tokens: Some(1 << 19),
            seed: Some(at.cast_signed()),
            ..TrainingConfig::default()
        },
        data_mix: vec![DataSource {
            dataset: "c4".into(),
            ratio: 1.0,
            ..DataSource::default()
        }],
        context_length_tokens: Some(2_048),
        hardware: Hardware {
            accelerator: Some("H100-SXM".into()),
            accelerator_count: Some(64),
            ..Hardware::default()
        },
        environment: Environment {
            code_commit: Some(format!("{:040x}", u128::from(at) * 0x1234_5678_9abc)),
            ..Environment::default()
        },
        tags: vec![format!("sweep-{}", at % 50)],
        steps: Some((tokens / 524_288.0) as i64),
        tokens: Some(tokens as i64),
        last_event_time_ms: Some(1_700_000_000_000 + at.cast_signed() * 1_000),
        loss_last: Some(1.69 + 406.4 / parameters.powf(0.34) + 410.7 / tokens.powf(0.28)),
        loss_min: Some(2.0 + draw()),
        scores: (0..12)
            .map(|task| Score {
                harness: "lm_eval".into(),
                task: format!("task-{task}"),
                metric: "acc".into(),
                value: Some(draw()),
                n: Some(1_000),
                ..Score::default()
            })
            .collect(),
        derived: Derived {
            flops: Some(6.0 * parameters * tokens),
            ..Derived::default()
        },
        inputs: vec![OffsetSpan {
            topic: "runs.events".into(),
            partition: (at % 16) as i32,
            first: at.cast_signed(),
            last: (at + change).cast_signed(),
        }],
        updated_append_time_ms: 1_700_000_000_000 + change.cast_signed(),
        ..ExperimentRow::default()
    }
}

/// Where the writer stands.
struct Writer {
    store: Box<dyn Store>,
    table: &'static Table,
    offset: i64,
}

impl Writer {
    /// One commit of these runs; its seconds and those of processors, encoding left out.
    fn put(&mut self, runs: impl Iterator<Item = u64>) -> anyhow::Result<(f64, f64)> {
        let from = self.store.covered(self.table)?;
        let mut rows = Vec::new();
        for run in runs {
            let mut framed = Vec::with_capacity(1_500);
            codec::encode_framed(0, &row(run, self.offset.unsigned_abs()), &mut framed)?;
            rows.push(Row {
                key: format!("default/run-{run:08}"),
                partition: 0,
                offset: self.offset,
                append_time_ms: 1_700_000_000_000 + self.offset,
                framed: Some(framed),
            });
            self.offset += 1;
        }
        let next = [(0, self.offset)].into();
        let (begun, cpu) = (Instant::now(), cpu_s());
        self.store.write(self.table, &Batch { rows, from, next })?;
        Ok((begun.elapsed().as_secs_f64(), cpu_s() - cpu))
    }
}

/// Seconds of processors that this process has had.
fn cpu_s() -> f64 {
    const TICKS_PER_S: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let ticks = rest.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / TICKS_PER_S
}

/// Memory of this process, now and at its peak (bytes).
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|kilobytes| kilobytes.parse::<u64>().ok())
            .unwrap_or(0)
            * 1_024
    };
    (of("VmRSS:"), of("VmHWM:"))
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().context("STORE is missing")?;
    let place = arguments.next().context("DIR or address is missing")?;
    let sizes = arguments
        .map(|size| size.parse::<u64>())
        .collect::<Result<Vec<_>, _>>()?;
    ensure!(sizes.is_sorted(), "sizes must grow");
    let mut config = Config::default();
    config.registry.store = kind.clone();
    config.registry.location = place;
    let store = registry::open(&config)?.context("the registry is off")?;
    let table = Table::named("rows").context("no table rows")?;
    let mut writer = Writer {
        store,
        table,
        offset: 0,
    };
    ensure!(writer.store.become_writer()?, "somebody else writes here");
    let mut loaded = 0;
    for size in sizes {
        let mut load_s = 0.0;
        while loaded < size {
            let end = size.min(loaded + config.registry.commit_rows_max as u64);
            load_s += writer.put(loaded..end)?.0;
            loaded = end;
        }
        // the newest runs, as a running service amends them; and any, as a backfill does
        let newest = (0..REPEATS)
            .map(|_| writer.put(size - UPSERT_ROWS as u64..size))
            .collect::<Result<(Vec<_>, Vec<_>), _>>()?;
        let stride = size / UPSERT_ROWS as u64;
        let spread = (0..3)
            .map(|at| writer.put((0..UPSERT_ROWS as u64).map(move |run| run * stride + at)))
            .collect::<Result<(Vec<_>, Vec<_>), _>>()?;
        let mut query_s = Vec::new();
        for _ in 0..REPEATS {
            let begun = Instant::now();
            let query = Query::new(writer.store.as_mut(), &AsOf::Now, 1 << 31)?;
            let found = query.run(
                "SELECT run_id, parameters_total, tokens, loss FROM rows
                 WHERE status = 'finished' AND family = 'dense' AND array_has(tags, 'sweep-7') AND parameters_total > 1e9
                 ORDER BY run_id",
            )?;
            query_s.push(begun.elapsed().as_secs_f64());
            let rows: usize = found.iter().map(|batch| batch.num_rows()).sum();
            ensure!(rows > 0, "the cohort is empty");
        }
        let grown = writer.store.size(table)?;
        ensure!(grown.rows == size, "{} rows of {size}", grown.rows);
        let (now, peak) = memory();
        println!(
            "{}",
            serde_json::json!({
                "store": kind, "rows": size, "load_s": load_s, "upsert_newest_s": median(newest.0), "upsert_newest_cpu_s": median(newest.1),
                "upsert_spread_s": median(spread.0), "upsert_spread_cpu_s": median(spread.1),
                "query_s": median(query_s), "bytes": grown.bytes, "files": grown.files, "memory_bytes": now, "memory_peak_bytes": peak
            })
        );
    }
    Ok(())
}
