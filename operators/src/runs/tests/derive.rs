//! Derived fields in the row: derived once a batch, and again when asked (decision 0013); latencies; what a row rests on.

use super::*;
use crate::runs::normalize::{DERIVATION_VERSION, DerivationRules, Price};
use cairn_avro::record::{Hardware, Offset, OffsetSpan, RuntimeTelemetry};

fn request() -> Payload {
    Payload::RunTags(RunTags {
        run_id: "r".to_owned(),
        rederive: true,
        ..RunTags::default()
    })
}

fn priced(price_per_hour: f64) -> RunsRules {
    RunsRules {
        derivation: DerivationRules {
            prices: vec![Price {
                accelerator: "A100".to_owned(),
                region: None,
                price_per_hour,
                currency: "EUR".to_owned(),
                valid_from: "2020-01-01".to_owned(),
                source: String::new(),
            }],
            ..DerivationRules::default()
        },
        ..RunsRules::default()
    }
}

/// One hour on eight A100.
fn hour() -> Vec<Payload> {
    let at = |step: i64, time_ms: i64| {
        Payload::TrainingTelemetry(TrainingTelemetry {
            run_id: "r".to_owned(),
            step,
            loss: Some(3.0),
            event_time_ms: Some(time_ms),
            ..TrainingTelemetry::default()
        })
    };
    vec![
        Payload::RunConfig(Box::new(RunConfig {
            run_id: "r".to_owned(),
            hardware: Some(Hardware {
                accelerator: Some("A100-SXM4-80GB".to_owned()),
                accelerator_count: Some(8),
                ..Hardware::default()
            }),
            ..RunConfig::default()
        })),
        at(1, START_MS - 36_000_000),
        at(2, START_MS - 32_400_000),
    ]
}

fn rows(bench: &Bench) -> usize {
    let is_row = |output: &&Output| matches!(output, Output::Row(_));
    bench.outputs.iter().filter(is_row).count()
}

#[test]
fn a_request_derives_by_what_is_now_in_force_and_only_once() {
    let mut bench = Bench::with(priced(1.0));
    for payload in hour() {
        bench.send(payload);
    }
    assert_eq!(bench.row().derived.cost, Some(8.0));
    let (before, said) = (bench.row().clone(), rows(&bench));
    // the same rules: nothing to do
    bench.send(request());
    assert_eq!((bench.row(), rows(&bench)), (&before, said));
    // others: only what is derived changes, and the row says that it rests on the request
    bench.restart(priced(2.5)).send(request());
    let after = bench.row().clone();
    assert_eq!((after.derived.cost, rows(&bench)), (Some(20.0), said + 1));
    assert_ne!(after.derived.tables_version, before.derived.tables_version);
    let asked_at = bench.offset - 1;
    let inputs = vec![OffsetSpan {
        last: asked_at,
        ..before.inputs[0].clone()
    }];
    let expected = ExperimentRow {
        derived: after.derived.clone(),
        inputs,
        updated_append_time_ms: START_MS + asked_at,
        ..before
    };
    assert_eq!(after, expected);
    // asked twice under the same id, or within another batch: the second time changes nothing
    bench.send(request()).send(request());
    assert_eq!((bench.row(), rows(&bench)), (&after, said + 1));
    assert_eq!(bench.duplicates, 0);
}

/// Exact: the same as if the events had been folded under the new rules from the first.
#[test]
fn derived_again_is_derived_anew() {
    let (mut again, mut anew) = (Bench::with(priced(1.0)), Bench::with(priced(2.5)));
    for payload in hour() {
        again.send(payload.clone());
        anew.send(payload);
    }
    again.restart(priced(2.5)).send(request());
    assert_eq!(again.row().derived, anew.row().derived);
    assert_eq!(again.row().derivation_version, DERIVATION_VERSION);
}

#[test]
fn a_request_beside_events_of_its_batch_is_no_change_of_its_own() {
    let mut bench = Bench::with(priced(1.0));
    for payload in hour() {
        bench.send(payload);
    }
    bench.restart(priced(2.5));
    let id = |payload: &Payload| crate::admit::event_id("default", payload.topic(), None, payload);
    let step = step(0, 3, 2.0);
    bench.pack(vec![
        event(&id(&step), step.clone()),
        event(&id(&request()), request()),
    ]);
    assert_eq!(bench.row().derived.cost, Some(20.0));
}

#[test]
fn a_request_makes_no_run() {
    let mut bench = Bench::new();
    bench.send(request());
    assert!(bench.outputs.is_empty());
    assert!(bench.core.rows.get("default/r").is_none());
}

/// Tags that come with a request are tags.
#[test]
fn a_request_with_tags_is_folded() {
    let mut bench = Bench::new();
    bench.send(Payload::RunTags(RunTags {
        run_id: "r".to_owned(),
        add: vec!["kept".to_owned()],
        rederive: true,
        ..RunTags::default()
    }));
    assert_eq!(bench.row().tags, ["kept"]);
}

/// An evaluation days later is no training, and a restart's pause none either.
#[test]
fn hours_are_those_of_training() {
    let mut bench = Bench::new();
    for payload in hour() {
        bench.send(payload);
    }
    let resumed = |time_ms: i64| {
        Payload::TrainingTelemetry(TrainingTelemetry {
            run_id: "r".to_owned(),
            attempt: 1,
            step: 3,
            event_time_ms: Some(time_ms),
            ..TrainingTelemetry::default()
        })
    };
    bench.send(resumed(START_MS - 20_000_000));
    bench.send(resumed(START_MS - 18_200_000));
    bench.send(Payload::EvalResult(EvalResult {
        run_id: "r".to_owned(),
        attempt: 1,
        event_time_ms: Some(START_MS - 1_000),
        ..EvalResult::default()
    }));
    let derived = &bench.row().derived;
    assert_eq!(
        (derived.training_hours, derived.accelerator_hours),
        (Some(1.5), Some(12.0))
    );
    for watts in [2000.0, 4000.0] {
        bench.send(runtime(|telemetry| telemetry.power_watts = Some(watts)));
    }
    let row = bench.row();
    assert_eq!(
        (row.power_watts, row.derived.energy_kilowatt_hours),
        (Some(4000.0), Some(1.5 * 3.0)),
        "the mean of 2 and 4 kW"
    );
}

/// A row says which offsets it rests on; a fact that comes late widens them, one that is refused does not.
#[test]
fn a_late_fact_widens_what_the_row_rests_on() {
    let mut bench = Bench::new();
    let from = |topic: &str, partition: i32, offset: i64, payload: Payload| RunEvent {
        source: Some(Offset {
            topic: topic.to_owned(),
            partition,
            offset,
        }),
        ..event(
            &crate::admit::event_id("default", payload.topic(), None, &payload),
            payload,
        )
    };
    let score = Payload::EvalResult(EvalResult {
        run_id: "r".to_owned(),
        ..EvalResult::default()
    });
    bench
        .pack(vec![
            from("telemetry.training", 2, 41, step(0, 1, 3.0)),
            from("telemetry.training", 2, 40, step(0, 2, 3.0)),
            from("telemetry.training", 0, 7, step(0, 3, 3.0)),
        ])
        .pack(vec![from(
            "runs.lifecycle",
            1,
            5,
            end(0, RunState::Finished, 3),
        )])
        .input(START_MS + 500_000_000, Input::Tick)
        .pack(vec![from("eval.results", 3, 99, score.clone())])
        .pack(vec![from("eval.results", 3, 100, score)])
        .pack(vec![from("telemetry.training", 2, 42, step(0, -1, 3.0))]);
    let spans: Vec<(&str, i32, i64, i64)> = bench
        .row()
        .inputs
        .iter()
        .map(|span| (span.topic.as_str(), span.partition, span.first, span.last))
        .collect();
    assert_eq!(
        spans,
        [
            ("eval.results", 3, 99, 99),
            ("runs.lifecycle", 1, 5, 5),
            ("telemetry.training", 0, 7, 7),
            ("telemetry.training", 2, 40, 41),
        ]
    );
    assert_eq!(bench.row().updated_append_time_ms, START_MS + 3);
}

fn runtime(of: impl FnOnce(&mut RuntimeTelemetry)) -> Payload {
    let mut telemetry = RuntimeTelemetry {
        run_id: "r".to_owned(),
        ..RuntimeTelemetry::default()
    };
    of(&mut telemetry);
    Payload::RuntimeTelemetry(telemetry)
}

#[test]
fn requests_have_percentiles_until_a_summary_tells_its_own() {
    let mut bench = Bench::new();
    for number in 1..=100 {
        bench.send(runtime(|telemetry| {
            telemetry.latency_ms = Some(f64::from(number));
            telemetry.time_to_first_token_ms = Some(f64::from(number) / 10.0);
            telemetry.throughput_tokens_per_second = Some(1000.0);
        }));
    }
    let row = bench.row();
    for (told, exact) in [
        (row.latency_ms_p50, 50.0),
        (row.latency_ms_p95, 95.0),
        (row.latency_ms_p99, 99.0),
        (row.time_to_first_token_ms, 5.0),
        (row.throughput_tokens_per_second, 1000.0),
    ] {
        let told = told.expect("measured");
        assert!(
            (told / exact - 1.0).abs() <= 1.0 / 256.0,
            "{told} instead of {exact}"
        );
    }
    let metrics: Vec<(&str, i64)> = row
        .quantiles
        .iter()
        .map(|known| (known.metric.as_str(), known.n))
        .collect();
    assert_eq!(
        metrics,
        [
            ("latency_ms", 100),
            ("throughput_tokens_per_second", 100),
            ("time_to_first_token_ms", 100)
        ]
    );
    bench.send(runtime(|telemetry| {
        telemetry.n = Some(5000);
        telemetry.latency_ms_p50 = Some(7.0);
        telemetry.throughput_tokens_per_second = Some(8e4);
    }));
    bench.send(runtime(|telemetry| telemetry.latency_ms = Some(1e4)));
    let row = bench.row();
    assert_eq!(
        (
            row.latency_ms_p50,
            row.latency_ms_p99,
            row.throughput_tokens_per_second
        ),
        (Some(7.0), None, Some(8e4))
    );
    assert_eq!(row.quantiles[0].n, 101, "the sketch goes on");
}
