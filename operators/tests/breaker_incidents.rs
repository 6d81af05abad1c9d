//! Incidents injected into healthy runs at known steps: what is caught, and how many steps later.
//! `cargo test -p cairn-operators --test breaker_incidents -- --nocapture` prints the table.

#![allow(
    clippy::disallowed_methods,
    reason = "a test is no core: its expectations need not replay exactly"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod breaker_data;

use std::collections::BTreeMap;

use breaker_data::{Incident, Log, inject, nanogpt};
use cairn_operators::breaker::follow::FollowSettings;
use cairn_operators::breaker::replay::replay;
use cairn_operators::breaker::{Cause, Plan, Preset, State};

/// What became of one injected log: steps from the onset to each opening, and whether it ended open.
struct Outcome {
    opened: Vec<(Cause, i64)>,
    open_at_end: bool,
}

impl Outcome {
    fn of(log: &Log, preset: Preset, onset: i64) -> Self {
        let settings = FollowSettings {
            rules: preset.rules(),
            ..FollowSettings::default()
        };
        let plan = Plan {
            steps_planned: Some(log.steps_planned),
            ..Plan::default()
        };
        let (decisions, summary) = replay(
            log.breaker_rows(),
            &settings,
            &BTreeMap::from([(log.name.clone(), plan)]),
        );
        let opened = decisions
            .iter()
            .filter(|r| r.decision.state == State::Open)
            .map(|r| (r.decision.cause, r.decision.at_step - onset));
        Self {
            opened: opened.collect(),
            open_at_end: summary.open_at_end > 0,
        }
    }

    fn delay(&self, causes: &[Cause]) -> Option<i64> {
        self.opened
            .iter()
            .find(|(cause, _)| causes.contains(cause))
            .map(|(_, delay)| *delay)
    }
}

/// All runs × intervals 1 and 10 × onsets at 30, 50 and 70 % of the steps; `judge` sees (outcome, log, interval, onset).
fn table(
    name: &str,
    incident: Incident,
    preset: Preset,
    wanted: fn(&Log) -> bool,
    causes: &[Cause],
    judge: impl Fn(&Outcome, &Log, i64, i64),
) {
    for interval in [1, 10] {
        let (mut delays, mut missed, mut open) = (Vec::new(), 0, 0);
        for log in nanogpt().into_iter().filter(wanted) {
            for share in [0.3, 0.5, 0.7] {
                let onset = (log.steps_planned as f64 * share) as i64;
                let outcome = Outcome::of(
                    &inject(&log, incident, onset).every(interval),
                    preset,
                    onset,
                );
                match outcome.delay(causes) {
                    Some(delay) => delays.push(delay),
                    None => missed += 1,
                }
                open += usize::from(outcome.open_at_end);
                assert!(
                    outcome.opened.iter().all(|(_, delay)| *delay >= 0),
                    "{} {name}: tripped before the onset",
                    log.name
                );
                judge(&outcome, &log, interval as i64, onset);
            }
        }
        delays.sort_unstable();
        let say = |at: usize| delays.get(at).map_or("-".to_owned(), ToString::to_string);
        println!(
            "{name:34} {preset:?} every {interval:2} steps: caught {:2}, not {missed:2}, delay median {:>5} worst {:>5} steps, open at end {open}",
            delays.len(),
            say(delays.len() / 2),
            say(delays.len().saturating_sub(1))
        );
    }
}

const RISES: [Cause; 2] = [Cause::Divergence, Cause::Plateau];

fn long(log: &Log) -> bool {
    log.steps_planned >= 5000
}

fn short(log: &Log) -> bool {
    !long(log)
}

#[test]
fn nan_is_caught_at_the_row() {
    table(
        "NaN",
        Incident::Nan,
        Preset::Pretraining,
        |_| true,
        &[Cause::NonFinite],
        |outcome, log, interval, _| {
            assert!(
                outcome
                    .delay(&[Cause::NonFinite])
                    .is_some_and(|delay| delay < interval),
                "{}",
                log.name
            );
        },
    );
}

#[test]
fn a_steep_ramp_is_caught_within_two_windows() {
    table(
        "ramp, 0.02 nats a step",
        Incident::Ramp(0.02),
        Preset::Pretraining,
        |_| true,
        &[Cause::Divergence],
        |outcome, log, _, onset| {
            assert!(
                outcome
                    .delay(&[Cause::Divergence])
                    .is_some_and(|delay| delay <= 200),
                "{} from {onset}: {:?}",
                log.name,
                outcome.opened
            );
        },
    );
}

#[test]
fn a_slow_ramp_is_caught_within_eight_windows() {
    table(
        "ramp, 0.002 nats a step",
        Incident::Ramp(0.002),
        Preset::Pretraining,
        |_| true,
        &RISES,
        |outcome, log, _, onset| {
            let caught = outcome.delay(&RISES).is_some_and(|delay| delay <= 800);
            assert!(
                caught || onset + 800 > log.steps_planned,
                "{} from {onset}: {:?}",
                log.name,
                outcome.opened
            );
        },
    );
}

#[test]
fn a_jump_that_stays_is_caught_within_four_windows() {
    table(
        "jump of 1 nat that stays",
        Incident::Jump(1.0),
        Preset::Pretraining,
        |_| true,
        &[Cause::Divergence],
        |outcome, log, _, onset| {
            assert!(
                outcome
                    .delay(&[Cause::Divergence])
                    .is_some_and(|delay| delay <= 400),
                "{} from {onset}: {:?}",
                log.name,
                outcome.opened
            );
        },
    );
}

#[test]
fn spikes_that_recover_do_not_trip() {
    for (name, spike) in [
        ("spike of 3 nats, 30 steps", Incident::Spike(3.0, 30.0)),
        ("spike of 5 nats, 30 steps", Incident::Spike(5.0, 30.0)),
        ("spike of 3 nats, 100 steps", Incident::Spike(3.0, 100.0)),
    ] {
        table(
            name,
            spike,
            Preset::Pretraining,
            |_| true,
            &RISES,
            |outcome, log, _, onset| {
                assert!(
                    outcome.opened.is_empty(),
                    "{} from {onset}: {:?}",
                    log.name,
                    outcome.opened
                );
            },
        );
    }
    // So slow a spike may trip, but must not be left open.
    table(
        "spike of 5 nats, 300 steps",
        Incident::Spike(5.0, 300.0),
        Preset::Pretraining,
        long,
        &RISES,
        |outcome, log, _, onset| {
            assert!(
                !outcome.open_at_end,
                "{} from {onset}: {:?}",
                log.name, outcome.opened
            );
        },
    );
}

/// With half of the run left or more, a plateau is caught while that much is left again; later ones may go unseen, and the
/// plan's last 15 % are not judged.
#[test]
fn a_plateau_is_caught_within_its_horizon() {
    table(
        "plateau",
        Incident::Plateau,
        Preset::Pretraining,
        long,
        &[Cause::Plateau],
        |outcome, log, _, onset| {
            let caught = outcome
                .delay(&[Cause::Plateau])
                .is_some_and(|delay| (delay as f64) < onset as f64 * 1.5);
            assert!(
                caught || onset as f64 > 0.51 * log.steps_planned as f64,
                "{} from {onset}: {:?}",
                log.name,
                outcome.opened
            );
        },
    );
    table(
        "plateau",
        Incident::Plateau,
        Preset::FineTuning,
        short,
        &[Cause::Plateau],
        |outcome, log, interval, onset| {
            let caught = outcome.delay(&[Cause::Plateau]).is_some();
            assert!(
                caught || interval > 1 || onset as f64 > 0.51 * log.steps_planned as f64,
                "{} from {onset}: {:?}",
                log.name,
                outcome.opened
            );
        },
    );
}

#[test]
fn slow_degradation_is_caught() {
    table(
        "degradation, 0.3 nats in 1000 steps",
        Incident::Degrade(0.3),
        Preset::Pretraining,
        long,
        &RISES,
        |outcome, log, _, onset| {
            assert!(
                outcome.delay(&RISES).is_some_and(|delay| delay <= 1500),
                "{} from {onset}: {:?}",
                log.name,
                outcome.opened
            );
        },
    );
    table(
        "degradation, 0.1 nats in 1000 steps",
        Incident::Degrade(0.1),
        Preset::Pretraining,
        long,
        &RISES,
        |outcome, log, _, onset| {
            let caught = outcome.delay(&RISES).is_some_and(|delay| delay <= 2500);
            assert!(
                caught || onset + 2500 > log.steps_planned,
                "{} from {onset}: {:?}",
                log.name,
                outcome.opened
            );
        },
    );
}
