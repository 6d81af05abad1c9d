//! The rows of open windows in the changelog: each written about once, all given back, none left over.

use super::*;
use crate::runs::open_rows::TABLE;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// A row a quarter of a second after the one before: in a window by step and in one by time.
fn row(attempt: i32, number: i64) -> Payload {
    Payload::TrainingTelemetry(TrainingTelemetry {
        run_id: "r".to_owned(),
        attempt,
        step: number,
        loss: Some(3.0 - 0.001 * number as f64),
        event_time_ms: Some(START_MS + 250 * number),
        ..TrainingTelemetry::default()
    })
}

/// Rows of a segment.
fn rows_in(segment: &[u8]) -> usize {
    rmp_serde::from_slice::<Vec<IgnoredAny>>(segment)
        .expect("a list of rows")
        .len()
}

/// Sends rows in records of four, each a commit; with a restart after each where that is asked for.
fn feed(bench: &mut Bench, rules: &RunsRules, attempt: i32, rows: i64, restarts: bool) {
    for first in (0..rows).step_by(4) {
        let events = (first..first + 4)
            .map(|number| {
                let payload = row(attempt, number);
                let id = crate::admit::event_id("default", payload.topic(), None, &payload);
                event(&id, payload)
            })
            .collect();
        bench.pack(events);
        if restarts {
            bench.restart(rules.clone());
        }
    }
}

#[test]
fn a_row_is_written_two_and_a_half_times_and_goes_with_its_last_window() {
    let mut bench = Bench::new();
    feed(&mut bench, &RunsRules::default(), 0, 1_200, false);
    let written: usize = bench
        .changelog
        .iter()
        .filter(|change| change.table == TABLE)
        .filter_map(|change| change.value.as_deref().map(rows_in))
        .sum();
    // segments of 16 in commits of 4: 4 + 8 + 12 + 16 rows are written for 16
    assert_eq!(written, 1_200 * 5 / 2);
    let live = |bench: &Bench| {
        let mut live = BTreeMap::new();
        for change in bench
            .changelog
            .iter()
            .filter(|change| change.table == TABLE)
        {
            live.insert(change.key.clone(), change.value.as_deref().map(rows_in));
        }
        live.into_values().flatten().sum::<usize>()
    };
    // A minute is 240 rows; its window waits for the disorder of another, and closed ones go.
    let kept = live(&bench);
    assert!((240..=2 * 240 + 200 + 16).contains(&kept), "{kept}");
    bench.send(end(0, RunState::Finished, 1_199)).drain();
    assert_eq!(live(&bench), 0);
}

/// Two attempts have windows that begin alike, and windows hold less than comes: a sample that must be the same.
#[test]
fn a_restart_after_each_commit_changes_no_window() {
    let mut rules = RunsRules::default();
    rules.follow.rules.windows.rows_max = 50;
    let outcome = |restarts: bool| {
        let mut bench = Bench::with(rules.clone());
        feed(&mut bench, &rules, 0, 300, restarts);
        feed(&mut bench, &rules, 1, 404, restarts);
        bench.send(end(1, RunState::Finished, 403)).drain();
        let windows: Vec<Output> = bench
            .outputs
            .into_iter()
            .filter(|output| matches!(output, Output::Window(_)))
            .collect();
        windows
    };
    let (steady, restarted) = (outcome(false), outcome(true));
    // Steps: three windows of the first attempt, five of the second; each attempt has some by time.
    assert!(steady.len() > 8, "{}", steady.len());
    assert_eq!(steady, restarted);
}

/// An abort gives back what was committed, and the numbers of segments with it.
#[test]
fn an_aborted_batch_leaves_its_segments_nowhere() {
    let mut bench = Bench::new();
    feed(&mut bench, &RunsRules::default(), 0, 20, false);
    let mut emit = Emit::default();
    let payload = row(0, 20);
    let id = crate::admit::event_id("default", payload.topic(), None, &payload);
    let events = RunEvents {
        tenant: "default".to_owned(),
        run_id: "r".to_owned(),
        events: vec![event(&id, payload)],
    };
    let at = bench.at(START_MS + bench.offset);
    bench
        .core
        .apply(&at, Input::Events(events.clone()), &mut emit);
    let first = bench.core.changes();
    bench.core.discard();
    let before = bench.core.bytes();
    bench.core.apply(&at, Input::Events(events), &mut emit);
    assert!(first == bench.core.changes());
    assert_eq!(before, bench.core.bytes());
    bench.core.merge();
    assert!(bench.core.bytes() > before);
}

/// What is restored is opened late; that it could not be is said before anything of it is committed, with its place.
#[test]
fn a_segment_that_is_none_is_named_once_its_run_goes_on() {
    let mut bench = Bench::new();
    feed(&mut bench, &RunsRules::default(), 0, 4, false);
    let rows = (bench.changelog.iter_mut()).filter(|change| change.table == TABLE);
    for change in rows {
        change.value = Some(b"\x91".to_vec()); // a list of one, and nothing in it
    }
    bench.restart(RunsRules::default());
    assert_eq!(bench.core.unreadable(), None, "nobody has asked for it");
    let payload = row(0, 4);
    let id = crate::admit::event_id("default", payload.topic(), None, &payload);
    let events = RunEvents {
        tenant: "default".to_owned(),
        run_id: "r".to_owned(),
        events: vec![event(&id, payload)],
    };
    let at = bench.at(START_MS + bench.offset);
    let mut emit = Emit::default();
    bench.core.apply(&at, Input::Events(events), &mut emit);
    let said = bench.core.unreadable().expect("said");
    assert!(
        said.starts_with("table window_rows, key default/r|0: "),
        "{said}"
    );
}
