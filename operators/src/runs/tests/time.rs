//! What a run's clock does: late rows, ends, silence, oblivion.

use super::*;

#[test]
fn an_end_closes_the_windows_when_its_step_is_reached() {
    let mut bench = Bench::new();
    bench.send(end(0, RunState::Finished, 150));
    for at in [10, 20, 110] {
        bench.send(step(0, at, 3.0));
    }
    assert_eq!(bench.windows(), []);
    bench.send(step(0, 150, 3.0));
    assert_eq!(bench.windows(), [(0, 2), (100, 2)]);
}

#[test]
fn an_end_whose_step_never_comes_closes_after_its_grace() {
    let mut bench = Bench::new();
    bench
        .send(step(0, 10, 3.0))
        .send(end(0, RunState::Finished, 150));
    let grace = RunsRules::default().follow.time.end_grace_ms;
    bench.input(START_MS + 1 + grace - 1, Input::Tick);
    assert_eq!(bench.windows(), []);
    bench.input(START_MS + 1 + grace, Input::Tick);
    assert_eq!(bench.windows(), [(0, 1)]);
}

#[test]
fn telemetry_of_a_forgotten_run_is_late() {
    let mut bench = Bench::new();
    bench
        .send(step(0, 10, 3.0))
        .send(end(0, RunState::Finished, 10));
    bench.input(START_MS + 3_600_000, Input::Tick);
    let before = bench.core.bytes();
    bench.send_as(b"new", step(0, 9, 4.0));
    assert!(matches!(bench.outputs.last(), Some(Output::Row(_))));
    assert!(
        bench
            .outputs
            .iter()
            .any(|output| matches!(output, Output::Late(_))),
        "late"
    );
    assert!(
        bench.core.bytes() <= before + 200,
        "nothing but an id is kept"
    );
}

#[test]
fn a_silent_run_is_stalled_once_and_resumes() {
    let mut bench = Bench::new();
    bench.send(step(0, 10, 3.0));
    let after = RunsRules::default().follow.time.stalled_after_ms;
    bench
        .input(START_MS + after, Input::Tick)
        .input(START_MS + after + 1, Input::Tick);
    assert_eq!(bench.row().status, RunStatus::Stalled);
    bench.send(step(0, 11, 3.0));
    assert_eq!(bench.row().status, RunStatus::Running);
    let keys: Vec<&str> = bench
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::Telegram(telegram) => Some(telegram.text.key.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(keys, ["run.stalled", "run.resumed"]);
}

#[test]
fn a_row_of_a_replaced_attempt_is_late_and_amends_the_row() {
    let mut bench = Bench::new();
    bench
        .send(step(0, 100, 3.0))
        .send(step(1, 90, 3.1))
        .send(step(0, 101, 0.5));
    let late: Vec<i64> = bench
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::Late(late) => Some(late.late_by),
            _ => None,
        })
        .collect();
    assert_eq!(late, [1]);
    assert_eq!(
        (bench.row().loss_min, bench.row().loss_last),
        (Some(0.5), Some(3.1))
    );
}

#[test]
fn a_run_ordered_by_tokens_has_windows_by_tokens() {
    let mut bench = Bench::new();
    bench.send(Payload::RunConfig(Box::new(RunConfig {
        run_id: "r".to_owned(),
        clock: WindowKind::Tokens,
        ..RunConfig::default()
    })));
    let size = RunsRules::default().follow.rules.windows.tokens_size;
    for at in 0..4 {
        bench.send(Payload::TrainingTelemetry(TrainingTelemetry {
            run_id: "r".to_owned(),
            step: at,
            tokens: Some(at * size),
            loss: Some(3.0),
            ..TrainingTelemetry::default()
        }));
    }
    let kinds: Vec<WindowKind> = bench
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::Window(window) => Some(window.kind),
            _ => None,
        })
        .collect();
    assert_eq!(
        kinds,
        [WindowKind::Tokens, WindowKind::Tokens],
        "two token windows are past the disorder"
    );
}

/// DESIGN 3.4: an end closes the windows when its clock value is reached; a record's events reach it together.
#[test]
fn two_rows_of_the_last_step_are_both_in_time() {
    let mut bench = Bench::new();
    bench.send(step(0, 90, 3.0));
    let validation = Payload::TrainingTelemetry(TrainingTelemetry {
        run_id: "r".to_owned(),
        step: 100,
        validation_loss: Some(3.1),
        ..TrainingTelemetry::default()
    });
    bench.pack(vec![
        event(b"end", end(0, RunState::Finished, 100)),
        event(b"last", step(0, 100, 2.9)),
        event(b"validation", validation),
    ]);
    assert_eq!(bench.windows(), [(0, 1), (100, 2)]);
    let late = |output: &&Output| matches!(output, Output::Late(_));
    assert_eq!(bench.outputs.iter().filter(late).count(), 0);
    assert_eq!(bench.row().validation_loss_last, Some(3.1));
}

/// An end of a newer attempt may come long before its rows: they have their grace from the first of them on.
#[test]
fn the_grace_of_an_end_starts_again_with_its_attempts_first_row() {
    let grace = RunsRules::default().follow.time.end_grace_ms;
    let mut bench = Bench::new();
    bench
        .send(step(0, 10, 3.0))
        .send(end(1, RunState::Finished, 50));
    bench.input(START_MS + 1 + grace, Input::Tick);
    assert_eq!(bench.windows(), [(0, 1)], "the attempt that was replaced");
    bench.offset += 10 * grace;
    let first = bench.offset;
    for at in [20, 30, 40] {
        bench.send(step(1, at, 3.0));
    }
    assert_eq!(bench.windows(), [(0, 1)]);
    bench.input(START_MS + first + grace - 1, Input::Tick);
    assert_eq!(bench.windows(), [(0, 1)]);
    bench.input(START_MS + first + grace, Input::Tick);
    assert_eq!(bench.windows(), [(0, 1), (0, 3)]);
}
