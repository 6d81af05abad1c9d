//! The breaker in one line a test: rows as words, decisions as words.

#![allow(
    clippy::disallowed_methods,
    reason = "a test is no core: its expectations need not replay exactly"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use cairn_operators::breaker::follow::{self, FollowSettings, Followed, Followup};
use cairn_operators::breaker::{BreakerRules, Cause, Plan, Preset, State};
use cairn_operators::time::AppendTimeMs;
use cairn_operators::windows::{ClosedBy, Row};

/// Words are "loss" (step goes up by 100), "loss@step", "n…" a gradient norm, "aN" the next attempt, "loss*count" repeats.
/// Each row answers with "." or what it caused; the last word is what closing the last windows caused.
fn check(rules: &BreakerRules, rows: &str, expected: &str) {
    assert_eq!(words(rules, &Plan::default(), rows), expected);
}

fn words(rules: &BreakerRules, plan: &Plan, rows: &str) -> String {
    let settings = FollowSettings {
        rules: rules.clone(),
        ..FollowSettings::default()
    };
    let (mut run, mut attempt, mut step) = (Followed::default(), 0, 0);
    let mut said: Vec<String> = Vec::new();
    let say = |out: Vec<Followup>| {
        let decisions: Vec<String> = out
            .iter()
            .filter_map(|f| {
                if let Followup::Decision(d) = f {
                    Some(d)
                } else {
                    None
                }
            })
            .map(|d| match (d.state, d.cause) {
                (State::Open, cause) => match cause {
                    Cause::Plateau => "PLATEAU",
                    Cause::NonFinite => "NAN",
                    Cause::GradientExplosion => "GRAD",
                    _ => "DIVERGED",
                },
                (State::HalfOpen, _) => "half",
                (State::Closed, _) => "closed",
            })
            .map(str::to_owned)
            .collect();
        if decisions.is_empty() {
            ".".to_owned()
        } else {
            decisions.join("+")
        }
    };
    for word in rows.split_whitespace() {
        if let Some(next) = word.strip_prefix('a') {
            attempt = next.parse().unwrap();
            step = 0;
            continue;
        }
        let (word, count) = word
            .split_once('*')
            .map_or((word, 1), |(word, count)| (word, count.parse().unwrap()));
        for _ in 0..count {
            let (value, at) = word
                .split_once('@')
                .map_or((word, step + 100), |(value, at)| {
                    (value, at.parse().unwrap())
                });
            step = at;
            let row = match value.strip_prefix('n') {
                Some(norm) if norm.parse::<f64>().is_ok() => Row {
                    attempt,
                    step,
                    grad_norm: norm.parse().ok(),
                    ..Row::default()
                },
                _ => Row {
                    attempt,
                    step,
                    loss: value.parse().ok(),
                    event_id: step as u64,
                    ..Row::default()
                },
            };
            let mut out = Vec::new();
            follow::row(&mut run, &settings, plan, &row, AppendTimeMs(0), &mut out).unwrap();
            said.push(say(out));
        }
    }
    let mut out = Vec::new();
    follow::close_now(&mut run, &settings, plan, ClosedBy::EndOfRun, &mut out);
    said.push(say(out));
    said.chunk_by(|a, b| a == b)
        .map(|same| {
            if same.len() > 3 {
                format!("{}*{}", same[0], same.len())
            } else {
                same.join(" ")
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

fn pretraining() -> BreakerRules {
    Preset::Pretraining.rules()
}

#[test]
fn falling_loss_stays_closed() {
    check(
        &pretraining(),
        "9 7 6 5 4.5 4.2 4 3.9 3.8 3.75 3.7 3.66 3.62",
        ".*14",
    );
}

#[test]
fn nan_trips_at_once_and_once() {
    check(&pretraining(), "5 4 NaN NaN NaN", ". . NAN . . .");
    check(&pretraining(), "NaN", "NAN .");
    check(&pretraining(), "5 4 n1 nNaN", ". . . NAN .");
    check(&pretraining(), "5 4 inf", ". . NAN .");
}

#[test]
fn nan_that_passes_half_opens_and_closes() {
    check(
        &pretraining(),
        "5 4.9 4.8 NaN 4.7 4.65 4.6 4.56 4.52 4.5 4.48 4.46",
        ". . . NAN . . . half . . closed . .",
    );
}

#[test]
fn one_wild_row_is_nothing() {
    check(
        &pretraining(),
        "5 4.5 4.2 4 3.9 3.8 3.7 3.65 3.6 5.2 3.55 3.5 3.5",
        ".*14",
    );
    check(&pretraining(), "5 4.5 11 4.2 4", ".*6");
}

#[test]
fn a_jump_that_stays_diverges_and_a_graver_cause_is_said() {
    check(
        &pretraining(),
        "4 3.9 3.8 3.7 3.7 3.6 3.6 3.6 3.6 7 7 7 NaN NaN",
        ".*11 DIVERGED NAN . .",
    );
}

#[test]
fn a_new_attempt_starts_closed() {
    check(&pretraining(), "5 4.9 NaN a1 4.9 4.8", ". . NAN closed . .");
    check(&pretraining(), "5 4.9 4.8 a1 4.9 4.8", ".*6");
}

#[test]
fn exploding_gradients_must_stay() {
    check(
        &pretraining(),
        "n1*40 n500 n1 n500 n500 n1 n500 n500 n500 n500",
        ".*47 GRAD . .",
    );
}

/// Falls like a power law for 3000 steps and then not at all.
fn power_law_then(flat_steps: i64) -> String {
    let level = |step: i64| 2.0 + 20.0 / ((step + 100) as f64).powf(0.4);
    (1..=30 + flat_steps / 100)
        .map(|i| {
            format!(
                "{:.4}",
                level((i * 100).min(3000)) + [0.003, -0.004, 0.001][i as usize % 3]
            )
        })
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn plateau_trips_once() {
    let said = words(&pretraining(), &Plan::default(), &power_law_then(3000));
    assert_eq!(said.matches("PLATEAU").count(), 1, "{said}");
    assert!(!said.contains("half"), "{said}");
    assert!(
        !words(
            &Preset::DivergenceOnly.rules(),
            &Plan::default(),
            &power_law_then(3000)
        )
        .contains("PLATEAU")
    );
}

#[test]
fn a_flat_end_of_the_plan_is_not_judged() {
    let plan = Plan {
        steps_planned: Some(3400),
        ..Plan::default()
    };
    assert_eq!(words(&pretraining(), &plan, &power_law_then(400)), ".*35");
    // Nor is a warm-up.
    let plan = Plan {
        warmup_steps: Some(6000),
        ..Plan::default()
    };
    assert_eq!(words(&pretraining(), &plan, &power_law_then(3000)), ".*61");
}

/// New data make the loss of a curriculum rise once; without the flag that is a divergence.
#[test]
fn a_curriculum_may_step_up() {
    let rows = "4 3.5 3.2 3 2.9 2.8 2.7 2.65 2.6 2.55 2.5 2.48 2.46 2.44 2.9 2.88 2.87 2.85 2.84 2.83 2.82 2.8 2.8";
    let plan = Plan {
        curriculum: true,
        ..Plan::default()
    };
    assert_eq!(words(&pretraining(), &plan, rows), ".*24");
    assert!(words(&pretraining(), &Plan::default(), rows).contains("DIVERGED"));
}

/// A dynamic loss scale is found by overflowing; ten infinite norms in a row are no search any more.
#[test]
fn a_loss_scale_may_search() {
    let (mut run, settings, plan) = (
        Followed::default(),
        FollowSettings::default(),
        Plan::default(),
    );
    let mut tripped_at = None;
    for step in 1..=12 {
        let row = Row {
            step,
            loss: Some(5.0),
            grad_norm: Some(f64::INFINITY),
            loss_scaled: true,
            ..Row::default()
        };
        let mut out = Vec::new();
        follow::row(&mut run, &settings, &plan, &row, AppendTimeMs(0), &mut out).unwrap();
        if tripped_at.is_none() && out.iter().any(|f| matches!(f, Followup::Decision(_))) {
            tripped_at = Some(step);
        }
    }
    assert_eq!(tripped_at, Some(10));
}

/// Whatever comes, no panic and no number that is none in a decision.
#[test]
fn nonsense_does_not_panic() {
    let odd = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        0.0,
        -0.0,
        f64::MIN_POSITIVE,
    ];
    let steps = [0, 1, i64::MAX, i64::MAX - 1, -1, i64::MIN, 5, 1_000_000];
    let (mut run, plan) = (
        Followed::default(),
        Plan {
            steps_planned: Some(0),
            tokens_planned: Some(f64::NAN),
            warmup_steps: Some(i64::MIN),
            curriculum: true,
        },
    );
    let mut settings = FollowSettings::default();
    settings.rules.windows.step_size = 0;
    settings.rules.windows.rows_max = 0;
    settings.rules.windows.open_max = 0;
    settings.rules.plateau.horizons = vec![f64::NAN, -1.0, 2.0];
    settings.rules.recovery.close_windows = 0;
    settings.time.step_jump_cap = i64::MAX;
    settings.time.disorder_steps = i64::MIN;
    let mut out = Vec::new();
    for i in 0..4096_usize {
        let pick = |k: usize| odd[(i / (k + 1) + k) % odd.len()];
        let row = Row {
            attempt: (i / 1000) as i32,
            step: steps[(i * 7 + i / 64) % steps.len()].wrapping_add(i as i64 % 3),
            tokens: Some(steps[i % steps.len()]),
            loss: Some(pick(0)),
            perplexity: Some(pick(1)),
            grad_norm: Some(pick(2)),
            learning_rate: Some(pick(3)),
            tokens_per_second: Some(pick(4)),
            ..Row::default()
        };
        let _ = follow::row(
            &mut run,
            &settings,
            &plan,
            &row,
            AppendTimeMs(i64::MAX),
            &mut out,
        );
    }
    follow::close_now(&mut run, &settings, &plan, ClosedBy::Drain, &mut out);
    for followup in out {
        if let Followup::Decision(d) = followup {
            assert!(
                [d.slope, d.slope_low, d.slope_high, d.threshold]
                    .into_iter()
                    .flatten()
                    .all(f64::is_finite),
                "{d:?}"
            );
        }
    }
}

#[test]
fn presets_are_known_by_name() {
    assert_eq!(Preset::named("fine-tuning"), Some(Preset::FineTuning));
    assert_eq!(Preset::named("nothing"), None);
    for (name, preset) in Preset::ALL {
        assert_eq!(Preset::named(name), Some(preset));
        let json = serde_json::to_string(&preset.rules()).unwrap();
        assert_eq!(
            serde_json::from_str::<BreakerRules>(&json).unwrap(),
            preset.rules()
        );
    }
    let partial: BreakerRules = serde_json::from_str(r#"{"plateau":{"patience":5}}"#).unwrap();
    assert_eq!(
        (partial.plateau.patience, partial.divergence),
        (5, BreakerRules::default().divergence)
    );
    assert!(serde_json::from_str::<BreakerRules>(r#"{"plateau":{"patiense":5}}"#).is_err());
}
