//! What is let go, and when: runs that never say that they end, and the marks of those that were let go.

use super::*;

const DAY_MS: i64 = 86_400_000;

fn keys(bench: &Bench) -> Vec<&str> {
    bench
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::Telegram(telegram) => Some(telegram.text.key.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_run_that_never_says_that_it_ends_is_given_up_after_its_silence() {
    let mut bench = Bench::new();
    for at in 0..250 {
        bench.send(step(0, at, 3.0));
    }
    assert_eq!(bench.windows(), [(0, 100)]);
    let last_ms = START_MS + 249;
    let given_up_ms = last_ms + RunsRules::default().follow.time.given_up_after_ms;
    bench.input(given_up_ms - 1, Input::Tick);
    assert_eq!(bench.row().status, RunStatus::Stalled);
    assert_eq!(bench.windows(), [(0, 100)], "it may come back");
    assert_eq!(bench.core.due_ms(), Some(given_up_ms));
    bench.input(given_up_ms, Input::Tick);
    assert_eq!(bench.windows(), [(0, 100), (100, 100), (200, 50)]);
    let before = bench.core.bytes();
    bench.input(
        given_up_ms + RunsRules::default().forget_after_end_ms,
        Input::Tick,
    );
    // 250 ids: 16 bytes each, four segments of 40, an index of 512 slots of 5; and the breaker.
    assert!(bench.core.bytes() + 6_700 < before, "{before}");
    assert_eq!(bench.row().status, RunStatus::Stalled);
    bench.send(step(0, 250, 3.0));
    assert_eq!(bench.row().status, RunStatus::Running);
    assert_eq!(keys(&bench), ["run.stalled", "run.resumed"]);
}

#[test]
fn a_run_that_was_away_for_days_is_stalled_before_it_is_given_up() {
    let mut bench = Bench::new();
    bench.send(step(0, 5, 3.0));
    bench.input(START_MS + 3 * DAY_MS, Input::Tick);
    assert_eq!(keys(&bench), ["run.stalled"]);
    assert_eq!(bench.windows(), [(0, 1)]);
}

#[test]
fn rows_expire_whether_or_not_their_run_has_ended() {
    let rules = RunsRules::default();
    let mut bench = Bench::new();
    bench.send(step(0, 5, 3.0));
    let year_ms = rules.row_retention_days * DAY_MS;
    bench.input(START_MS + year_ms - 3_600_000, Input::Tick);
    assert!(bench.core.rows.get("default/r").is_some());
    bench.input(START_MS + year_ms + 3_600_000, Input::Tick);
    assert!(bench.core.rows.get("default/r").is_none());
    assert!(bench.core.followed.get("default/r").is_none());
    bench.offset += year_ms + 3_600_001;
    bench.send(step(0, 6, 3.0));
    assert!(matches!(
        bench.outputs.last(),
        Some(Output::Dead(dead)) if dead.class == "run_forgotten"
    ));
}

/// A plan is no run: a year later it may still be begun, as a run without one.
#[test]
fn a_plan_that_expired_forbids_no_run() {
    let mut bench = Bench::new();
    bench.send(Payload::RunPlanned(Box::new(RunPlanned {
        run_id: "r".to_owned(),
        plan_id: "p".to_owned(),
        ..RunPlanned::default()
    })));
    bench.offset += 366 * DAY_MS;
    bench.input(START_MS + bench.offset, Input::Tick);
    assert!(bench.core.rows.get("default/r").is_none());
    bench.send(step(0, 6, 3.0));
    assert_eq!(bench.row().status, RunStatus::Running);
}

#[test]
fn the_marks_of_what_was_let_go_have_a_limit() {
    let mut bench = Bench::with(RunsRules {
        forgotten_max: 3,
        ..RunsRules::default()
    });
    for number in 0..5 {
        let payload = step(0, 5, 3.0);
        let events = RunEvents {
            tenant: "default".to_owned(),
            run_id: format!("r{number}"),
            events: vec![event(b"one", payload)],
        };
        bench.input(START_MS + number * DAY_MS, Input::Events(events));
    }
    for day in 366..372 {
        bench.input(START_MS + day * DAY_MS, Input::Tick);
    }
    let kept: Vec<&str> = bench.core.forgotten.iter().map(|(key, _)| key).collect();
    assert_eq!(kept, ["default/r2", "default/r3", "default/r4"]);
}

/// A row that the clock refuses makes no run.
#[test]
fn a_refused_first_row_leaves_nothing() {
    let mut bench = Bench::new();
    bench.send(Payload::TrainingTelemetry(TrainingTelemetry {
        run_id: "r".to_owned(),
        step: 1,
        event_time_ms: Some(START_MS + DAY_MS),
        ..TrainingTelemetry::default()
    }));
    assert!(matches!(bench.outputs[..], [Output::Dead(_)]));
    assert_eq!(bench.core.followed.clocks().count(), 0);
}
