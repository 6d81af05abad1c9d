//! The core of one run, told events and ticks.

mod attempts;
mod bench;
mod derive;
mod oblivion;
mod open_rows;
mod replay;
mod time;
mod watch;

use super::seen::Class;
use super::*;
use crate::operator::Remember;
use bench::{Bench, end, event, step};
use cairn_avro::record::{
    BreakerCause, EvalResult, ExperimentRow, ModelConfig, NumberState, Payload, RunConfig,
    RunEvent, RunLifecycle, RunPlanned, RunState, RunStatus, RunTags, ToolOutcome, ToolUse,
    TrainingTelemetry, WindowKind,
};

const START_MS: i64 = 1_800_000_000_000;

#[test]
fn an_event_sent_twice_counts_once() {
    let mut bench = Bench::new();
    let call = Payload::ToolUse(ToolUse {
        run_id: "r".to_owned(),
        tool: "search".to_owned(),
        outcome: ToolOutcome::Success,
        ..ToolUse::default()
    });
    bench
        .send(call.clone())
        .send(call.clone())
        .send_as(b"another id", call);
    assert_eq!(
        (
            bench.row().tool_calls,
            bench.row().tool_success_ratio,
            bench.duplicates
        ),
        (2, Some(1.0), 1)
    );
}

/// 6 N D of a 70 billion parameter model on 1.4 trillion tokens is 5.88e23, as Hoffmann et al. 2022 have it for Chinchilla.
#[test]
fn derived_compute_is_the_published_one() {
    let mut bench = Bench::new();
    let model = ModelConfig {
        parameters_total: Some(70e9),
        ..ModelConfig::default()
    };
    bench.send(Payload::RunConfig(Box::new(RunConfig {
        run_id: "r".to_owned(),
        model: Some(model),
        ..RunConfig::default()
    })));
    bench.send(Payload::RunLifecycle(RunLifecycle {
        run_id: "r".to_owned(),
        tokens: Some(1_400_000_000_000),
        state: RunState::Finished,
        ..RunLifecycle::default()
    }));
    let derived = &bench.row().derived;
    assert_eq!(derived.flops, Some(5.88e23));
    assert_eq!(derived.tokens_per_parameter, Some(20.0));
    assert_eq!(bench.row().status, RunStatus::Finished);
}

#[test]
fn configuration_may_come_last_and_in_pieces() {
    let mut bench = Bench::new();
    bench.send(step(0, 5, 3.0));
    let config = |model: ModelConfig| RunConfig {
        run_id: "r".to_owned(),
        model: Some(model),
        ..RunConfig::default()
    };
    bench.send(Payload::RunConfig(Box::new(config(ModelConfig {
        width: Some(64),
        ..ModelConfig::default()
    }))));
    bench.send(Payload::RunConfig(Box::new(config(ModelConfig {
        parameters_total: Some(10.0),
        ..ModelConfig::default()
    }))));
    let model = &bench.row().model;
    assert_eq!(
        (
            model.width,
            model.parameters_total,
            bench.row().derived.flops
        ),
        (Some(64), Some(10.0), Some(3000.0))
    );
}

#[test]
fn the_greatest_step_has_the_last_word_whatever_the_order() {
    let mut bench = Bench::new();
    bench
        .send(step(0, 20, 2.0))
        .send(step(0, 10, 3.0))
        .send(step(0, 15, 1.5));
    let row = bench.row();
    assert_eq!(
        (row.loss_last, row.loss_min, row.loss_last_step, row.steps),
        (Some(2.0), Some(1.5), Some(20), Some(20))
    );
}

#[test]
fn a_resumed_run_is_one_row_with_two_attempts() {
    let mut bench = Bench::new();
    bench
        .send(step(0, 100, 3.0))
        .send(end(0, RunState::Crashed, 100));
    assert_eq!(bench.row().status, RunStatus::Failed);
    bench
        .send(step(1, 90, 3.1))
        .send(step(1, 200, 2.0))
        .send(end(1, RunState::Finished, 200));
    let row = bench.row();
    assert_eq!(
        (row.attempts, row.attempt, row.retries, row.loss_last),
        (2, 1, 1, Some(2.0))
    );
    assert_eq!(row.status, RunStatus::Finished);
}

#[test]
fn a_late_evaluation_amends_the_row_of_a_run_that_is_over() {
    let mut bench = Bench::new();
    bench
        .send(step(0, 10, 3.0))
        .send(end(0, RunState::Finished, 10));
    bench.input(START_MS + 86_400_000, Input::Tick);
    bench.send(Payload::EvalResult(EvalResult {
        run_id: "r".to_owned(),
        harness: "lm-evaluation-harness".to_owned(),
        task: "gsm8k".to_owned(),
        metric: "exact_match".to_owned(),
        value: Some(0.5),
        standard_error: Some(0.1),
        ..EvalResult::default()
    }));
    let row = bench.row();
    assert_eq!(
        (row.scores.len(), row.scores[0].value, row.status),
        (1, Some(0.5), RunStatus::Finished)
    );
    let band = &row.uncertainty[0];
    assert!(
        (band.low - 0.304).abs() < 1e-3 && (band.high - 0.696).abs() < 1e-3,
        "0.5 ± 1.96 × 0.1: {band:?}"
    );
}

/// A file of a thousand items and, at its end, their mean: the mean stays, as many items as fit stay beside it.
#[test]
fn of_too_many_scores_those_of_the_most_items_stay() {
    let mut bench = Bench::new();
    let score = |task: &str, n| {
        Payload::EvalResult(EvalResult {
            run_id: "r".to_owned(),
            harness: "h".to_owned(),
            task: task.to_owned(),
            metric: "m".to_owned(),
            value: Some(0.5),
            n: Some(n),
            ..EvalResult::default()
        })
    };
    for item in 0..1_000 {
        bench.send(score(&format!("item-{item:04}"), 1));
    }
    bench.send(score("all", 1_000)).send(score("half", 500));
    let row = bench.row();
    let tasks: Vec<&str> = row.scores.iter().map(|score| score.task.as_str()).collect();
    assert_eq!(tasks.len(), 512);
    assert_eq!(&tasks[..3], ["all", "half", "item-0000"]);
    assert!(!tasks.contains(&"item-0510") && !tasks.contains(&"item-0511"));
}

#[test]
fn a_planned_run_is_a_row_until_it_runs() {
    let mut bench = Bench::new();
    let model = ModelConfig {
        width: Some(8),
        depth_layers: Some(2),
        ..ModelConfig::default()
    };
    let config = RunConfig {
        run_id: "r".to_owned(),
        model: Some(model),
        ..RunConfig::default()
    };
    bench.send(Payload::RunPlanned(Box::new(RunPlanned {
        run_id: "r".to_owned(),
        plan_id: "p".to_owned(),
        config,
        ..RunPlanned::default()
    })));
    bench.send(Payload::RunTags(RunTags {
        run_id: "r".to_owned(),
        add: vec!["grid".to_owned()],
        ..RunTags::default()
    }));
    assert_eq!(
        (bench.row().status, bench.row().model.width),
        (RunStatus::Planned, Some(8))
    );
    bench.send(step(0, 1, 3.0));
    let row = bench.row();
    assert_eq!(
        (row.status, row.plan_id.as_deref(), row.tags.len()),
        (RunStatus::Running, Some("p"), 1)
    );
}

#[test]
fn what_a_run_says_of_itself_stands_above_its_plan() {
    let mut bench = Bench::new();
    let config = |context: i64| RunConfig {
        run_id: "r".to_owned(),
        context_length_tokens: Some(context),
        curriculum: Some(context == 8),
        ..RunConfig::default()
    };
    bench.send(Payload::RunConfig(Box::new(config(8))));
    bench.send(Payload::RunPlanned(Box::new(RunPlanned {
        run_id: "r".to_owned(),
        plan_id: "p".to_owned(),
        config: config(16),
        ..RunPlanned::default()
    })));
    let row = bench.row();
    assert_eq!(
        (
            row.context_length_tokens,
            row.curriculum,
            row.plan_id.as_deref()
        ),
        (Some(8), Some(true), Some("p"))
    );
}

#[test]
fn attempts_are_counted_whatever_their_order() {
    let mut bench = Bench::new();
    bench
        .send(step(1, 90, 3.1))
        .send(end(0, RunState::Crashed, 100))
        .send(step(2, 95, 3.0));
    let row = bench.row();
    assert_eq!((row.attempts, row.attempt, row.retries), (3, 2, 2));
}

/// A loss that leaps and then is no number is one trouble, told twice.
#[test]
fn a_divergence_that_gets_graver_counts_once() {
    let mut bench = Bench::new();
    for at in 0..1000 {
        bench.send(step(
            0,
            at,
            if at < 500 {
                3.0 + 0.01 * (at % 5) as f64
            } else {
                9.0
            },
        ));
    }
    bench.send(Payload::TrainingTelemetry(TrainingTelemetry {
        run_id: "r".to_owned(),
        step: 1000,
        loss_state: NumberState::Nan,
        ..TrainingTelemetry::default()
    }));
    let causes: Vec<BreakerCause> = bench
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::Verdict(verdict) => Some(verdict.cause),
            _ => None,
        })
        .collect();
    assert_eq!(causes, [BreakerCause::Divergence, BreakerCause::NonFinite]);
    assert_eq!(bench.row().divergences, 1);
}

#[test]
fn the_changelog_rebuilds_the_core_and_an_abort_leaves_no_trace() {
    let mut bench = Bench::new();
    let mut twin = Runs::new(RunsRules::default());
    for at in 0..250 {
        let mut emit = Emit::default();
        let payload = step(0, at, 3.0 - 0.001 * at as f64);
        let event = RunEvent {
            event_id: crate::admit::event_id("default", payload.topic(), None, &payload).to_vec(),
            attempt: 0,
            clock: Some(at),
            received_time_ms: START_MS,
            topic: payload.topic().to_owned(),
            source: None,
            traceparent: None,
            payload,
        };
        let events = RunEvents {
            tenant: "default".to_owned(),
            run_id: "r".to_owned(),
            events: vec![event],
        };
        let place = bench.at(START_MS + at);
        if at % 3 == 0 {
            bench
                .core
                .apply(&place, Input::Events(events.clone()), &mut emit);
            bench.core.flush(&mut emit);
            bench.core.discard();
            emit.take();
        }
        bench.core.apply(&place, Input::Events(events), &mut emit);
        bench.core.flush(&mut emit);
        for change in bench.core.changes() {
            twin.restore(change.table, &change.key, change.value.as_deref())
                .expect("its own bytes");
        }
        bench.core.merge();
        bench.offset += 1;
    }
    assert_eq!(twin.bytes(), bench.core.bytes());
    assert_eq!(twin.rows.get("default/r"), bench.core.rows.get("default/r"));
    // as the next row finds it: with the rows of its windows
    assert!(twin.followed.entry("default/r") == bench.core.followed.entry("default/r"));
    twin.discard();
    let mut emit = Emit::default();
    let repeated = step(0, 100, 3.0 - 0.001 * 100.0);
    let id = crate::admit::event_id("default", repeated.topic(), None, &repeated);
    assert!(
        !twin.seen.insert("default/r", Class::Telemetry, &id),
        "seen before the restore"
    );
    twin.drain(&mut emit);
}
