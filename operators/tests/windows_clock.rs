//! The clock of a run: watermarks, attempts, what is refused, ends, silences.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use cairn_operators::time::*;

fn stamp(attempt: i32, step: i64, append: i64) -> Stamp {
    Stamp {
        attempt,
        step,
        append_time_ms: AppendTimeMs(append),
        ..Stamp::default()
    }
}

/// Steps as words ("a1:5" is attempt 1), the step watermark after each as words ("x" rejected).
fn check(steps: &str, expected: &str) {
    let settings = TimeSettings {
        disorder_steps: 2,
        step_jump_cap: 1000,
        ..TimeSettings::default()
    };
    let mut clock = RunClock::default();
    let marks: Vec<String> = steps
        .split(' ')
        .map(|word| {
            let (attempt, step) = word
                .strip_prefix('a')
                .and_then(|w| w.split_once(':'))
                .unwrap_or(("0", word));
            let stamp = stamp(attempt.parse().unwrap(), step.parse().unwrap(), 0);
            match observe(&mut clock, &settings, &stamp) {
                Ok(Seen::Same) => watermark(&clock, &settings, ClockKind::Step)
                    .unwrap()
                    .to_string(),
                Ok(Seen::NewAttempt { previous }) => format!(
                    "{previous}<{}",
                    watermark(&clock, &settings, ClockKind::Step).unwrap()
                ),
                Err(_) => "x".to_owned(),
            }
        })
        .collect();
    assert_eq!(marks.join(" "), expected);
}

#[test]
fn watermark_trails_the_greatest_step() {
    check("5 4 6 3 9", "3 3 4 4 7");
}

#[test]
fn a_leap_is_refused_and_leaves_the_clock() {
    check("5 2000 6", "3 x 4");
    check("500000 500001", "499998 499999"); // joined in its middle: the first row may be anywhere
}

#[test]
fn a_restart_starts_the_clock_anew_and_the_old_attempt_is_stale() {
    check("50 a1:10 51 a1:11", "48 0<8 x 9");
}

#[test]
fn a_leap_of_a_new_attempt_is_held_against_the_attempts_before() {
    // One garbage row of a later attempt neither ends the attempt under way nor makes its rows late.
    check("50 a1:5000 51", "48 x 49");
    // Attempt 1 begins behind; attempt 2 may go on where attempt 0 had been, not beyond the cap above it.
    check("900 a1:10 a2:1900 a2:2901 a2:2900", "898 0<8 1<1898 x 2898");
}

#[test]
fn rows_from_the_future_are_refused() {
    let (mut clock, settings) = (RunClock::default(), TimeSettings::default());
    let mut row = stamp(0, 1, 1_000_000);
    row.event_time_ms = Some(EventTimeMs(1_300_001));
    assert_eq!(
        observe(&mut clock, &settings, &row),
        Err(Rejected::FromTheFuture { ahead_ms: 300_001 })
    );
    assert_eq!(clock, RunClock::default());
    row.event_time_ms = Some(EventTimeMs(1_300_000));
    assert_eq!(observe(&mut clock, &settings, &row), Ok(Seen::Same));
}

#[test]
fn an_end_is_due_when_its_step_is_reached_or_its_grace_is_over() {
    let (mut clock, settings) = (RunClock::default(), TimeSettings::default());
    observe(&mut clock, &settings, &stamp(0, 90, 1000)).unwrap();
    announce_end(
        &mut clock,
        EndMark {
            attempt: 0,
            step: Some(100),
            tokens: None,
            append_time_ms: AppendTimeMs(2000),
        },
    );
    assert!(!end_is_due(&clock, &settings, AppendTimeMs(31_999)));
    assert!(end_is_due(&clock, &settings, AppendTimeMs(32_000)));
    observe(&mut clock, &settings, &stamp(0, 100, 3000)).unwrap();
    assert!(end_is_due(&clock, &settings, AppendTimeMs(3000)));
}

#[test]
fn an_end_that_overtakes_its_rows_does_not_lose_them() {
    let (mut clock, settings) = (RunClock::default(), TimeSettings::default());
    observe(&mut clock, &settings, &stamp(0, 90, 1000)).unwrap();
    announce_end(
        &mut clock,
        EndMark {
            attempt: 0,
            step: Some(100),
            tokens: None,
            append_time_ms: AppendTimeMs(2000),
        },
    );
    clock.ended = true; // the grace was over
    observe(&mut clock, &settings, &stamp(0, 95, 40_000)).unwrap();
    assert!(!clock.ended && !end_is_due(&clock, &settings, AppendTimeMs(69_999)));
    observe(&mut clock, &settings, &stamp(0, 100, 41_000)).unwrap();
    assert!(end_is_due(&clock, &settings, AppendTimeMs(41_000)));
}

#[test]
fn idle_stalled_and_finished_are_three_states() {
    let (mut clock, settings) = (RunClock::default(), TimeSettings::default());
    observe(&mut clock, &settings, &stamp(0, 1, 0)).unwrap();
    let at = |clock: &RunClock, now| activity(clock, &settings, AppendTimeMs(now));
    assert_eq!(at(&clock, 299_999), Activity::Running);
    assert_eq!(at(&clock, 300_000), Activity::Idle);
    assert_eq!(at(&clock, 1_800_000), Activity::Stalled);
    assert_eq!(
        next_timer(&clock, &settings, AppendTimeMs(300_000)),
        Some(AppendTimeMs(1_800_000))
    );
    clock.ended = true;
    assert_eq!(at(&clock, 1_800_000), Activity::Finished);
    assert_eq!(next_timer(&clock, &settings, AppendTimeMs(0)), None);
}
