//! What each stage of the chain costs for a step's metrics, without any log: nanoseconds an event.
//!
//! ```sh
//! cargo run --release -p cairn-operators --example stages -- 200000
//! ```
//!
//! 64 runs, batches of 5,000 ingress records (what a poll brings), as contract JSON and as Avro.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement, no core"
)]

use cairn_avro::record::{Payload, RunEvents, TrainingTelemetry};
use cairn_avro::{codec, json};
use cairn_operators::admit::{Admit, AdmitRules, Ingress, event_id};
use cairn_operators::operator::{At, Emit, Output, Remember as _};
use cairn_operators::redact::{Key, Redactor};
use cairn_operators::runs::{Input, Runs, RunsRules};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const RUNS: u64 = 64;
const BATCH: usize = 5_000;
const START_MS: i64 = 1_795_000_000_000;

fn step(number: u64) -> TrainingTelemetry {
    let (run, step) = (number % RUNS, (number / RUNS) as i64);
    let noise = (number.wrapping_mul(2_654_435_761) % 97) as f64 / 97.0 - 0.5;
    TrainingTelemetry {
        run_id: format!("run-{run:02}"),
        step,
        tokens: Some(step * 4_096),
        event_time_ms: Some(START_MS + step * 250),
        loss: Some(3.0 + 4.0 / (step as f64 + 10.0) + 0.01 * noise),
        learning_rate: Some(0.0003),
        grad_norm: Some(0.7),
        ..TrainingTelemetry::default()
    }
}

/// Times a stage, and says what it costs an event.
fn timed<T>(name: &str, events: u64, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let made = work();
    say(name, begun.elapsed(), events);
    made
}

fn say(name: &str, took: Duration, events: u64) {
    println!(
        "{name:<34} {:>8.0} ns/event",
        took.as_nanos() as f64 / events as f64
    );
}

/// CPU time of this thread, where Linux says it: what a busy machine leaves comparable.
fn cpu_nanos() -> u64 {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    said.split(' ')
        .next()
        .and_then(|nanos| nanos.parse().ok())
        .unwrap_or(0)
}

fn main() {
    let events: u64 = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(200_000);
    let payloads: Vec<Payload> = (0..events)
        .map(|n| Payload::TrainingTelemetry(step(n)))
        .collect();
    let lines: Vec<String> = payloads
        .iter()
        .map(|payload| json::canonical_payload(payload).unwrap())
        .collect();

    timed("JSON to event", events, || {
        for line in &lines {
            black_box(json::payload("telemetry.training", line.as_bytes()).unwrap());
        }
    });
    let frames = timed("event to Avro", events, || {
        let mut frames = Vec::with_capacity(payloads.len());
        for payload in &payloads {
            let mut bytes = Vec::with_capacity(128);
            payload.encode(&mut bytes).unwrap();
            frames.push(bytes);
        }
        frames
    });
    let entry = payloads[0].entry();
    timed("Avro to event", events, || {
        for bytes in &frames {
            black_box(Payload::decode(entry, bytes).unwrap());
        }
    });
    timed("canonical JSON", events, || {
        for payload in &payloads {
            black_box(json::canonical_payload(payload).unwrap());
        }
    });
    timed("content id (its JSON included)", events, || {
        for payload in &payloads {
            black_box(event_id("default", "telemetry.training", None, payload));
        }
    });

    // REDACT=off leaves text as it is: the difference is what redaction costs rows of numbers.
    let redactor = match std::env::var("REDACT").as_deref() {
        Ok("off") => Redactor::off(),
        _ => Redactor::new(Key::from_bytes([1; 32])),
    };
    let mut core = Admit::new(AdmitRules::default(), Arc::new(redactor));
    let mut emit = Emit::default();
    let mut packs: Vec<Vec<RunEvents>> = Vec::new();
    let (mut admit, mut admit_cpu, mut offset) = (Duration::ZERO, 0, 0);
    for batch in payloads.chunks(BATCH) {
        let owned: Vec<Payload> = batch.to_vec();
        let (begun, cpu) = (Instant::now(), cpu_nanos());
        for payload in owned {
            let at = At {
                topic: "telemetry.training",
                partition: 0,
                offset,
                append_time_ms: START_MS + offset,
            };
            let ingress = Ingress {
                tenant: "default",
                family_topic: "telemetry.training",
                event_id: None,
                traceparent: None,
                source: None,
                key: None,
                schema_id: Some(1),
                size_bytes: 60,
                payload: Ok(payload),
            };
            core.apply(&at, ingress, &mut emit);
            offset += 1;
        }
        core.flush(&mut emit);
        admit += begun.elapsed();
        admit_cpu += cpu_nanos() - cpu;
        let packed = emit
            .take()
            .into_iter()
            .filter_map(|emitted| match emitted.output {
                Output::Events(events) => Some(events),
                _ => None,
            });
        packs.push(packed.collect());
        core.merge();
    }
    say("admit (its content id included)", admit, events);
    say(
        "the same in CPU time",
        Duration::from_nanos(admit_cpu),
        events,
    );

    let records: Vec<Vec<Vec<u8>>> = timed("packs to Avro", events, || {
        let encode = |pack: &RunEvents| {
            let mut bytes = Vec::with_capacity(16_384);
            codec::encode(pack, &mut bytes).unwrap();
            bytes
        };
        packs
            .iter()
            .map(|batch| batch.iter().map(encode).collect())
            .collect()
    });
    let bytes: usize = records.iter().flatten().map(Vec::len).sum();
    println!(
        "{:<34} {:>8.0} bytes/event",
        "",
        bytes as f64 / events as f64
    );
    let decoded: Vec<Vec<RunEvents>> = timed("Avro to packs", events, || {
        let decode = |bytes: &Vec<u8>| codec::decode::<RunEvents>(bytes).unwrap();
        records
            .iter()
            .map(|batch| batch.iter().map(decode).collect())
            .collect()
    });

    let mut runs = Runs::new(RunsRules::default());
    let (mut apply, mut state, mut out) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut outputs, mut changes, mut changed_bytes) = (0, 0, 0);
    let mut offset = 0;
    for batch in decoded {
        let begun = Instant::now();
        for pack in batch {
            let at = At {
                topic: "runs.events",
                partition: 0,
                offset,
                append_time_ms: START_MS + offset * 100,
            };
            offset += 1;
            runs.apply(&at, Input::Events(pack), &mut emit);
        }
        runs.flush(&mut emit);
        apply += begun.elapsed();
        let begun = Instant::now();
        let mut buffer = Vec::new();
        for emitted in emit.take() {
            outputs += 1;
            match &emitted.output {
                Output::Window(window) => codec::encode(window, &mut buffer).unwrap(),
                Output::Row(row) => codec::encode(row, &mut buffer).unwrap(),
                _ => {}
            }
        }
        black_box(buffer);
        out += begun.elapsed();
        let begun = Instant::now();
        for change in runs.changes() {
            changes += 1;
            changed_bytes += change.value.as_ref().map_or(0, Vec::len);
        }
        runs.merge();
        state += begun.elapsed();
    }
    say("runs", apply, events);
    say("its outputs to Avro", out, events);
    say("its changes, merged", state, events);
    println!(
        "{outputs} outputs, {changes} changes of {changed_bytes} bytes, {} bytes kept, in {} batches",
        runs.bytes(),
        events.div_ceil(BATCH as u64)
    );
}
