//! What clients send: runs with attempts, ends and evaluations, in order and out of it, once and twice, and things that are
//! no events. Drawn from the seed alone, before anything runs.

use super::draw::Draw;
use super::stage::{Stage, shared};
use cairn_avro::record::{
    Cohort, EvalResult, ModelConfig, Payload, RunConfig, RunLifecycle, RunState, RunTags,
    RuntimeTelemetry, TrainingTelemetry, WindowKind,
};
use cairn_bus::Outgoing;
use cairn_bus::simulated::SimulatedClock;

/// Clients, each with a hash of its own.
pub const CLIENTS: usize = 2;
/// Shares of a hundred.
const LATE: usize = 6;
const TWICE: usize = 5;
const BAD: usize = 5;

/// What each client sends, in order.
#[must_use]
pub fn workload(stage: &Stage, draw: &mut Draw) -> Vec<Vec<Outgoing>> {
    let mut runs: Vec<Vec<Outgoing>> = Vec::new();
    for tenant in &stage.config.runtime.tenants {
        for number in 0..draw.between(1, 3) {
            let events = run(draw, &format!("run-{number}"));
            runs.push(disturbed(draw, tenant, events));
        }
        runs.push(cohorts(draw, tenant));
    }
    for run in &mut runs {
        run.reverse();
    }
    let mut clients: Vec<Vec<Outgoing>> = vec![Vec::new(); CLIENTS];
    while !runs.is_empty() {
        let which = draw.below(runs.len());
        // A few of one run in a row, mostly by the same client.
        let client = if draw.percent(85) {
            which % CLIENTS
        } else {
            draw.below(CLIENTS)
        };
        for _ in 0..draw.between(1, 6) {
            clients[client].extend(runs[which].pop());
        }
        if runs[which].is_empty() {
            runs.swap_remove(which);
        }
    }
    clients
}

/// The events of one run in their order.
fn run(draw: &mut Draw, run_id: &str) -> Vec<Payload> {
    let mut events = vec![Payload::RunConfig(Box::new(RunConfig {
        run_id: run_id.to_owned(),
        model: Some(ModelConfig {
            parameters_total: Some(1e6 * draw.between(1, 8) as f64),
            ..ModelConfig::default()
        }),
        clock: draw.pick(&[
            WindowKind::Unknown,
            WindowKind::Step,
            WindowKind::Tokens,
            WindowKind::Time,
        ]),
        ..RunConfig::default()
    }))];
    let has_times = draw.percent(70);
    let (mut attempt, mut step) = (0, 0);
    let lifecycle = |attempt, state, step| {
        Payload::RunLifecycle(RunLifecycle {
            run_id: run_id.to_owned(),
            attempt,
            state,
            step,
            ..RunLifecycle::default()
        })
    };
    events.push(lifecycle(0, RunState::Started, None));
    let rows = draw.between(20, 80);
    let trouble = draw.between(0, 2 * rows);
    for row in 0..rows {
        step += draw.between(1, 4);
        if draw.percent(2) {
            events.push(lifecycle(attempt, RunState::Crashed, Some(step)));
            attempt += 1;
            step = (step - draw.between(0, 15)).max(0);
            events.push(lifecycle(attempt, RunState::Started, None));
        }
        let mut loss = 2.0 + 4.0 / (1.0 + step as f64 / 30.0) + draw.between(0, 20) as f64 / 1000.0;
        if (trouble..trouble + 6).contains(&row) {
            loss += 4.0;
        }
        if row == trouble && draw.percent(50) {
            loss = f64::NAN;
        }
        events.push(Payload::TrainingTelemetry(TrainingTelemetry {
            run_id: run_id.to_owned(),
            attempt,
            step,
            tokens: Some(step * 1_000),
            event_time_ms: has_times.then_some(SimulatedClock::START_MS + step * 1_000),
            loss: Some(loss),
            ..TrainingTelemetry::default()
        }));
        if draw.percent(4) {
            events.push(other(draw, run_id, attempt, step));
        }
    }
    if draw.percent(90) {
        let last = draw.percent(60).then_some(step);
        events.push(lifecycle(attempt, RunState::Finished, last));
        for _ in 0..draw.between(0, 3) {
            events.push(other(draw, run_id, attempt, step));
        }
    }
    events
}

/// A fact that is no row.
fn other(draw: &mut Draw, run_id: &str, attempt: i32, step: i64) -> Payload {
    let run_id = run_id.to_owned();
    match draw.below(4) {
        0 => {
            // one in five asks what `cairn backfill` asks
            let tag = draw.below(5);
            let rederive = tag == 4;
            let add = (!rederive).then(|| format!("tag-{tag}"));
            Payload::RunTags(RunTags {
                run_id,
                add: add.into_iter().collect(),
                rederive,
                ..RunTags::default()
            })
        }
        1 => {
            // of many requests, or of one
            let latency_ms = draw.between(1, 100);
            let of_one = latency_ms % 2 == 0;
            Payload::RuntimeTelemetry(RuntimeTelemetry {
                run_id,
                attempt,
                step: Some(step),
                latency_ms: of_one.then_some(latency_ms as f64),
                latency_ms_p50: (!of_one).then_some(latency_ms as f64),
                ..RuntimeTelemetry::default()
            })
        }
        _ => Payload::EvalResult(EvalResult {
            run_id,
            attempt,
            step: Some(step),
            harness: "harness".to_owned(),
            task: format!("task-{}", draw.below(3)),
            metric: "accuracy".to_owned(),
            value: Some(draw.between(0, 100) as f64 / 100.0),
            ..EvalResult::default()
        }),
    }
}

/// The events as records: some later than they should be, some twice, and bad ones between them.
fn disturbed(draw: &mut Draw, tenant: &str, events: Vec<Payload>) -> Vec<Outgoing> {
    let mut records: Vec<(i64, Outgoing)> = Vec::new();
    for (index, payload) in events.iter().enumerate() {
        let place = 10 * index as i64;
        let record = record(draw, tenant, payload);
        if draw.percent(TWICE) {
            records.push((place + draw.between(0, 200), record.clone()));
        }
        if draw.percent(BAD) {
            records.push((place + 1, bad(draw, tenant, payload)));
        }
        let late = if draw.percent(LATE) {
            draw.between(20, 300)
        } else {
            0
        };
        records.push((place + late, record));
    }
    records.sort_by_key(|(place, _)| *place);
    records.into_iter().map(|(_, record)| record).collect()
}

fn record(draw: &mut Draw, tenant: &str, payload: &Payload) -> Outgoing {
    let topic = cairn_topics::ingress_name(tenant, payload.topic());
    let encoder = &shared().encoder;
    let mut record = encoder
        .payload(&topic, payload.run_id(), payload)
        .expect("a payload of the contract");
    if draw.percent(20)
        && let Ok(text) = cairn_avro::json::canonical_payload(payload)
    {
        record.value = Some(text.into_bytes());
    }
    if draw.percent(10) {
        // another hash than everybody else's
        let partitions = encoder.partitions(&topic).unwrap_or(1);
        record.partition = draw.between(0, i64::from(partitions) - 1) as i32;
    }
    if draw.percent(25) {
        let id = format!("id-{}", draw.between(0, i64::MAX / 2));
        record
            .headers
            .push(("event_id".to_owned(), id.into_bytes()));
    }
    if draw.percent(25) {
        let trace = format!(
            "00-{:032x}-{:016x}-01",
            draw.between(1, 1 << 40),
            draw.between(1, 1 << 40)
        );
        record
            .headers
            .push(("traceparent".to_owned(), trace.into_bytes()));
    }
    record
}

/// What cannot be taken.
fn bad(draw: &mut Draw, tenant: &str, payload: &Payload) -> Outgoing {
    let mut record = record(draw, tenant, payload);
    let telemetry = |change: &dyn Fn(&mut TrainingTelemetry)| match payload {
        Payload::TrainingTelemetry(row) => {
            let mut row = row.clone();
            change(&mut row);
            Some(Payload::TrainingTelemetry(row))
        }
        _ => None,
    };
    let changed = match draw.below(9) {
        0 => telemetry(&|row| row.step = -1),
        1 => telemetry(&|row| row.step += 5_000_000),
        2 => telemetry(&|row| row.event_time_ms = Some(SimulatedClock::START_MS + (1 << 40))),
        3 => telemetry(&|row| row.run_id = String::new()),
        _ => None,
    };
    if let Some(changed) = changed {
        return Outgoing {
            partition: record.partition,
            ..self::record(draw, tenant, &changed)
        };
    }
    record.value = match draw.below(6) {
        0 => None,
        1 => Some(vec![0, 0, 1]),
        2 => Some(br#"{"run_id": "run-0", "stepp": 7}"#.to_vec()),
        3 => Some(b"{".to_vec()),
        // an id that no registry has: waited for, half a minute
        4 if draw.percent(10) => Some(vec![0, 0, 0, 0xff, 0xff, 1]),
        _ => record.value.map(|mut value| {
            value.truncate(value.len() / 2);
            value
        }),
    };
    record
}

/// Cohorts that come, change and go.
fn cohorts(draw: &mut Draw, tenant: &str) -> Vec<Outgoing> {
    let mut records = Vec::new();
    for _ in 0..draw.between(0, 3) {
        let name = format!("cohort-{}", draw.below(2));
        let key = format!("{tenant}/{name}");
        let cohort = Cohort {
            tenant: tenant.to_owned(),
            name,
            where_sql: format!("tokens > {}", draw.between(1, 9)),
            ..Cohort::default()
        };
        let mut record = shared()
            .encoder
            .avro("registry.cohorts", tenant, &key, &cohort)
            .expect("a cohort of the contract");
        if draw.percent(25) {
            record.value = None;
        }
        records.push(record);
    }
    records
}
