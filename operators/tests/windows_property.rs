//! Windows do not depend on the order inside the allowed disorder, nor on how the rows are cut into batches.

#![allow(
    clippy::disallowed_methods,
    reason = "a test is no core: its expectations need not replay exactly"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod breaker_data;

use breaker_data::Random;
use cairn_operators::breaker::Plan;
use cairn_operators::breaker::follow::{self, FollowSettings, Followed, Followup};
use cairn_operators::time::{AppendTimeMs, EndMark, EventTimeMs};
use cairn_operators::windows::{ClosedBy, ClosedWindow, LateRow, NumberState, Row, Span, segments};
use std::collections::BTreeMap;

fn settings() -> FollowSettings {
    let mut settings = FollowSettings::default();
    settings.time.disorder_steps = 20;
    settings.time.disorder_ms = 20_000;
    settings.rules.windows.step_size = 25;
    settings.rules.windows.rows_max = 60;
    settings
}

/// Four ranks log every step, a second apart; some losses are missing or not finite. Offsets belong to the rows.
fn rows(seed: u64) -> Vec<Row> {
    let mut random = Random(seed);
    (0..400_i64)
        .flat_map(|step| (0..4).map(move |rank| (step, rank)))
        .map(|(step, rank)| {
            let bad = random.unit() < 0.02;
            let loss = if bad {
                f64::NAN
            } else {
                4.0 - 0.002 * step as f64 + 0.1 * random.normal()
            };
            Row {
                step,
                event_time_ms: Some(EventTimeMs(1_700_000_000_000 + step * 1000 + rank)),
                loss: Some(loss).filter(|loss| loss.is_finite()),
                loss_state: NumberState::of(loss),
                grad_norm: Some(random.unit()),
                learning_rate: Some(1e-3 - 1e-6 * step as f64),
                tokens_per_second: Some(1000.0 * random.unit()),
                event_id: random.next(),
                source: Some(Span {
                    topic: "runs.events".into(),
                    partition: (rank % 2) as i32,
                    first: step * 4 + rank,
                    last: step * 4 + rank,
                }),
                ..Row::default()
            }
        })
        .collect()
}

/// Runs the rows through, restarting from the serialised state and the segments of its rows after every `batch` rows.
fn run(rows: &[Row], batch: usize) -> (Vec<ClosedWindow>, Vec<LateRow>) {
    let (mut state, settings, plan, mut out) =
        (Followed::default(), settings(), Plan::default(), Vec::new());
    let append = AppendTimeMs(1_700_000_400_000);
    let rows_max = settings.rules.windows.rows_max;
    let mut kept = BTreeMap::new();
    for part in rows.chunks(batch) {
        for row in part {
            follow::row(&mut state, &settings, &plan, row, append, &mut out).unwrap();
        }
        kept.extend(segments::unwritten(&mut state.windows));
        if let Some(needed) = segments::needed(&mut state.windows) {
            kept.retain(|number, _| needed.contains(number));
        }
        let stored = rmp_serde::to_vec_named(&state).unwrap();
        let mut restored: Followed = rmp_serde::from_slice(&stored).unwrap();
        for (number, segment) in &kept {
            segments::weave(&mut restored.windows, *number, segment).unwrap();
        }
        segments::settle(&mut restored.windows, rows_max);
        segments::settle(&mut state.windows, rows_max);
        assert_eq!(restored, state);
        state = restored;
    }
    follow::close_now(&mut state, &settings, &plan, ClosedBy::Drain, &mut out);
    let (mut windows, mut late) = (Vec::new(), Vec::new());
    for followup in out {
        match followup {
            Followup::Window(window) => windows.push(window),
            Followup::Late(row) => late.push(row),
            Followup::Decision(_) => {}
        }
    }
    windows.sort_by_key(|w| (w.kind, w.start));
    (windows, late)
}

/// Moves each row by less than the disorder: sorts by step plus a random part of 19.
fn shuffled(rows: &[Row], seed: u64) -> Vec<Row> {
    let mut random = Random(seed);
    let mut keyed: Vec<(f64, Row)> = rows
        .iter()
        .map(|row| (row.step as f64 + 19.0 * random.unit(), row.clone()))
        .collect();
    keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
    keyed.into_iter().map(|(_, row)| row).collect()
}

#[test]
fn any_order_within_the_disorder_and_any_batches_give_the_same_windows() {
    for seed in 0..8 {
        let rows = rows(seed);
        let (expected, late) = run(&rows, rows.len());
        assert_eq!((expected.len(), late.len()), (16 + 7, 0));
        for trial in 0..8 {
            let mixed = shuffled(&rows, seed * 100 + trial);
            let batch = 1 + usize::try_from(Random(trial).next() % 300).unwrap();
            let (windows, late) = run(&mixed, batch);
            assert!(late.is_empty(), "seed {seed} trial {trial}");
            let difference = expected.iter().zip(&windows).find(|(a, b)| {
                ClosedWindow {
                    closed_by: a.closed_by,
                    ..(*b).clone()
                } != **a
            });
            assert!(
                difference.is_none() && expected.len() == windows.len(),
                "seed {seed} trial {trial}: {difference:#?}"
            );
        }
    }
}

fn one_window(losses: &[(i64, u64, f64)]) -> ClosedWindow {
    let rows: Vec<Row> = losses
        .iter()
        .map(|(step, event_id, loss)| Row {
            step: *step,
            event_id: *event_id,
            loss: Some(*loss).filter(|loss| loss.is_finite()),
            loss_state: NumberState::of(*loss),
            ..Row::default()
        })
        .collect();
    run(&rows, 1).0.first().unwrap().clone()
}

/// By hand: 5, 4, 3, 9, NaN at steps 0, 1, 2, 3, 4. Pairwise slopes −1, −1, 4/3, −1, 2.5, 6: the median is (−1 + 4/3)/2 = 1/6.
#[test]
fn a_window_by_hand() {
    let window = one_window(&[
        (0, 1, 5.0),
        (1, 1, 4.0),
        (2, 1, 3.0),
        (3, 1, 9.0),
        (4, 1, f64::NAN),
    ]);
    assert_eq!((window.n, window.loss_n, window.nonfinite_n), (5, 4, 1));
    assert_eq!(
        (window.loss_mean, window.loss_min, window.loss_max),
        (Some(5.25), Some(3.0), Some(9.0))
    );
    assert_eq!(
        (window.loss_first, window.loss_last),
        (Some(5.0), Some(9.0))
    );
    assert_eq!(window.log_perplexity_median, Some(4.5));
    assert!((window.log_perplexity_slope.unwrap() - 1.0 / 6.0).abs() < 1e-12);
    assert_eq!(
        (
            window.first_step,
            window.last_step,
            window.start,
            window.end
        ),
        (Some(0), Some(4), 0, 25)
    );
    assert!(!window.is_complete());
}

#[test]
fn first_and_last_are_by_clock_then_event_id() {
    let window = one_window(&[(3, 7, 1.0), (1, 9, 2.0), (3, 9, 3.0), (1, 2, 4.0)]);
    assert_eq!(
        (window.loss_first, window.loss_last),
        (Some(4.0), Some(3.0))
    );
}

#[test]
fn perplexity_stands_in_for_a_loss() {
    let rows = [Row {
        step: 1,
        perplexity: Some(core::f64::consts::E),
        ..Row::default()
    }];
    let window = run(&rows, 1).0.remove(0);
    assert_eq!(
        (window.loss_n, window.log_perplexity_median),
        (0, Some(1.0))
    );
}

/// Step 24 comes when the watermark is at 40: its window closed at 25, so it is 16 steps behind the mark.
#[test]
fn a_late_row_says_by_how_much() {
    let rows: Vec<Row> = [0, 10, 30, 60, 24, 41]
        .map(|step| Row {
            step,
            loss: Some(3.0),
            ..Row::default()
        })
        .to_vec();
    let (windows, late) = run(&rows, 2);
    assert_eq!(
        late.iter()
            .map(|l| (l.clock, l.watermark, l.late_by))
            .collect::<Vec<_>>(),
        [(24, 40, 16)]
    );
    assert_eq!(
        windows.iter().map(|w| (w.start, w.n)).collect::<Vec<_>>(),
        [(0, 2), (25, 2), (50, 1)]
    );
}

#[test]
fn a_log_without_times_has_no_windows_by_time() {
    let (windows, _) = run(
        &[Row {
            step: 1,
            loss: Some(3.0),
            ..Row::default()
        }],
        1,
    );
    assert_eq!(windows.len(), 1);
}

#[test]
fn an_end_closes_what_is_open_and_a_new_attempt_what_was_before() {
    let (mut state, settings, plan, mut out) =
        (Followed::default(), settings(), Plan::default(), Vec::new());
    let at = AppendTimeMs(0);
    let row = |attempt, step| Row {
        attempt,
        step,
        loss: Some(3.0),
        ..Row::default()
    };
    for one in [row(0, 1), row(0, 30), row(1, 20), row(1, 21)] {
        follow::row(&mut state, &settings, &plan, &one, at, &mut out).unwrap();
    }
    follow::end(
        &mut state,
        EndMark {
            attempt: 1,
            step: Some(22),
            tokens: None,
            append_time_ms: at,
        },
    );
    follow::tick(&mut state, &settings, &plan, at, &mut out);
    assert!(!state.clock.ended);
    follow::row(&mut state, &settings, &plan, &row(1, 22), at, &mut out).unwrap();
    assert!(!state.clock.ended, "another row of that step may come");
    follow::tick(&mut state, &settings, &plan, at, &mut out);
    assert!(state.clock.ended);
    let closed: Vec<_> = out
        .iter()
        .filter_map(|f| {
            if let Followup::Window(w) = f {
                Some((w.attempt, w.start, w.n, w.closed_by))
            } else {
                None
            }
        })
        .collect();
    assert_eq!(
        closed,
        [
            (0, 0, 1, ClosedBy::EndOfRun),
            (0, 25, 1, ClosedBy::EndOfRun),
            (1, 0, 3, ClosedBy::EndOfRun)
        ]
    );
}

#[test]
fn an_end_without_its_last_rows_waits_for_the_grace_or_a_drain() {
    let (settings, plan) = (settings(), Plan::default());
    for drained in [false, true] {
        let (mut state, mut out) = (Followed::default(), Vec::new());
        follow::row(
            &mut state,
            &settings,
            &plan,
            &Row {
                step: 1,
                loss: Some(3.0),
                ..Row::default()
            },
            AppendTimeMs(0),
            &mut out,
        )
        .unwrap();
        follow::end(
            &mut state,
            EndMark {
                attempt: 0,
                step: Some(9),
                tokens: None,
                append_time_ms: AppendTimeMs(10),
            },
        );
        follow::tick(&mut state, &settings, &plan, AppendTimeMs(30_009), &mut out);
        assert!(out.is_empty());
        if drained {
            assert!(follow::drain(&mut state, &settings, &plan, &mut out));
        } else {
            follow::tick(&mut state, &settings, &plan, AppendTimeMs(30_010), &mut out);
        }
        assert!(state.clock.ended && out.len() == 1);
    }
}
