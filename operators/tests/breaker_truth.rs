//! The breaker against truth that is not ours: healthy GPT-2 runs, the human labels of the BigScience chronicle, a healthy
//! fine-tune, the ladder's runs, and made-up healthy curves in number.

#![allow(
    clippy::disallowed_methods,
    reason = "a test is no core: its expectations need not replay exactly"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod breaker_data;

use std::collections::BTreeMap;

use breaker_data::{Log, ladder, megatron, nanogpt, trainer_state};
use cairn_operators::breaker::follow::FollowSettings;
use cairn_operators::breaker::replay::{BreakerRow, Replayed, Summary, replay};
use cairn_operators::breaker::{Cause, Plan, Preset, State};
use cairn_operators::windows::Row;

fn run(log: &Log, preset: Preset, plan: Option<Plan>) -> (Vec<Replayed>, Summary) {
    let settings = FollowSettings {
        rules: preset.rules(),
        ..FollowSettings::default()
    };
    let plans: BTreeMap<String, Plan> = plan
        .map(|plan| (log.name.clone(), plan))
        .into_iter()
        .collect();
    replay(log.breaker_rows(), &settings, &plans)
}

fn opened(decisions: &[Replayed]) -> Vec<Cause> {
    decisions
        .iter()
        .filter(|r| r.decision.state == State::Open)
        .map(|r| r.decision.cause)
        .collect()
}

/// Where all seven runs log every step, every second, … every hundredth, with and without knowing the plan: never a verdict.
#[test]
fn healthy_runs_never_trip() {
    for log in nanogpt() {
        let plan = Plan {
            steps_planned: Some(log.steps_planned),
            ..Plan::default()
        };
        for interval in [1, 2, 5, 10, 20, 50, 100] {
            for plan in [None, Some(plan.clone())] {
                let (decisions, summary) = run(&log.every(interval), Preset::Pretraining, plan);
                assert!(
                    decisions.is_empty(),
                    "{} at interval {interval}: {decisions:#?}",
                    log.name
                );
                assert_eq!((summary.runs, summary.late, summary.rejected), (1, 0, 0));
            }
        }
        for interval in [1, 10] {
            let (decisions, _) = run(&log.every(interval), Preset::FineTuning, None);
            assert!(
                decisions.is_empty(),
                "{} at interval {interval}, windows of 20: {decisions:#?}",
                log.name
            );
        }
    }
}

/// Thirty points in twelve thousand steps, and flat towards its end: nothing to report either.
#[test]
fn a_sparse_healthy_fine_tune_does_not_trip() {
    let Some(log) = trainer_state() else { return };
    assert_eq!(run(&log, Preset::Pretraining, None).0, []);
}

/// Three and five points with one before the incident; the chronicle says that both diverged.
#[test]
fn bigscience_divergences_are_caught_from_a_handful_of_points() {
    for (file, onset, caught) in [
        ("tr8-104B-exp1.log", 7010, 7220),
        ("tr8-104B-exp2.log", 6920, 6940),
    ] {
        let Some(log) = megatron(file) else { return };
        let (decisions, summary) = run(&log, Preset::Pretraining, None);
        let seen: Vec<_> = decisions
            .iter()
            .map(|r| {
                (
                    r.decision.state,
                    r.decision.cause,
                    r.decision.onset_step,
                    r.decision.at_step,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [(State::Open, Cause::Divergence, Some(onset), caught)],
            "{file}"
        );
        assert_eq!(summary.open_at_end, 1);
    }
}

/// The same excerpt as exp1, had it come back: no verdict.
#[test]
fn one_wild_point_among_few_is_no_divergence() {
    let Some(log) = megatron("tr8-104B-exp1.log") else {
        return;
    };
    let mut rows = log.rows.clone();
    if let Some(last) = rows.last_mut() {
        last.loss = Some(6.45);
    }
    assert_eq!(run(&Log { rows, ..log }, Preset::Pretraining, None).0, []);
}

/// Every ladder run that diverges or stands still gets its verdict, and no other run gets one.
#[test]
fn ladder_runs_get_the_verdicts_they_deserve() {
    for one in ladder() {
        let (decisions, _) = run(&one.log, Preset::Pretraining, Some(one.plan));
        let causes = opened(&decisions);
        for r in &decisions {
            println!(
                "{}: {:?} at {}: {}",
                one.log.name, r.decision.state, r.decision.at_step, r.decision.text
            );
        }
        match one.cohort.as_str() {
            "diverging" => assert!(
                causes
                    .iter()
                    .any(|c| matches!(c, Cause::Divergence | Cause::NonFinite)),
                "{}: {causes:?}",
                one.log.name
            ),
            "plateau" => assert_eq!(causes, [Cause::Plateau], "{}", one.log.name),
            _ => assert!(
                decisions.is_empty(),
                "{} ({}): {decisions:#?}",
                one.log.name,
                one.cohort
            ),
        }
    }
}

/// Power laws with noise, outliers and cosine or constant rates, by seed: at most one in a hundred may trip.
#[test]
fn made_up_healthy_runs_hardly_ever_trip() {
    let runs = 200;
    let mut tripped = Vec::new();
    for seed in 0..runs {
        let log = power_law(seed);
        let (decisions, _) = run(&log, Preset::Pretraining, None);
        if !decisions.is_empty() {
            println!(
                "seed {seed}: {}",
                decisions.first().map_or("", |r| r.decision.text.as_str())
            );
            tripped.push(seed);
        }
    }
    println!("tripped: {tripped:?} of {runs}");
    assert!(tripped.len() <= 2, "{tripped:?}");
}

fn power_law(seed: u64) -> Log {
    let mut random = breaker_data::Random(seed);
    let steps = 2000 + (random.unit() * 18_000.0) as i64;
    let interval = 1 + (random.unit() * 49.0) as i64;
    let (floor, height, exponent) = (
        1.0 + 2.0 * random.unit(),
        10.0 + 20.0 * random.unit(),
        0.25 + 0.25 * random.unit(),
    );
    let sigma = 0.02 + 0.1 * random.unit();
    let cosine = random.unit() < 0.5;
    let rows: Vec<Row> = (1..=steps / interval)
        .map(|i| {
            let step = i * interval;
            let share = step as f64 / steps as f64;
            let rate = if cosine {
                0.5 * (1.0 + (core::f64::consts::PI * share).cos())
            } else {
                1.0
            };
            let outlier = if random.unit() < 0.005 {
                0.5 + random.unit()
            } else {
                0.0
            };
            let loss = floor
                + height * (step as f64 + 300.0).powf(-exponent)
                + sigma * random.normal()
                + outlier;
            Row {
                step,
                loss: Some(loss),
                learning_rate: Some(6e-4 * rate),
                ..Row::default()
            }
        })
        .collect();
    Log {
        name: format!("power-law-{seed}"),
        rows,
        steps_planned: steps,
        trend: Vec::new(),
    }
}

/// A file with several runs keeps them apart; the summary counts them.
#[test]
fn runs_in_one_file_do_not_mix() {
    let rows = (1..400).flat_map(|i| {
        let loss = 3.0 + 100.0 / f64::from(i + 30);
        let good = BreakerRow {
            run_id: "a".into(),
            row: Row {
                step: i64::from(i),
                loss: Some(loss),
                ..Row::default()
            },
        };
        let bad = BreakerRow {
            run_id: "b".into(),
            row: Row {
                step: i64::from(i),
                loss: Some(if i > 300 { f64::NAN } else { loss }),
                ..Row::default()
            },
        };
        [good, bad]
    });
    let (decisions, summary) = replay(rows, &FollowSettings::default(), &BTreeMap::new());
    assert_eq!(
        decisions
            .iter()
            .map(|r| (r.run_id.as_str(), r.decision.cause, r.decision.at_step))
            .collect::<Vec<_>>(),
        [("b", Cause::NonFinite, 301)]
    );
    assert_eq!(
        (
            summary.runs,
            summary.steps,
            summary.trips,
            summary.open_at_end
        ),
        (2, 798, 1, 1)
    );
}
