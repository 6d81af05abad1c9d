//! Pooling, breaks, the choice of a law and sensitivity, on cohorts whose truth is known and on real ones.

#![allow(
    clippy::disallowed_methods,
    reason = "a test is no core: its expectations need not replay exactly"
)]

mod common;

use cairn_scaling::study::breaks::{BreakOptions, find_break};
use cairn_scaling::study::choice::{ChoiceOptions, choose};
use cairn_scaling::study::drift::{Drift, DriftOptions};
use cairn_scaling::study::pooling::{PoolingOptions, PoolingVerdict, pool};
use cairn_scaling::study::sensitivity::{SensitivityOptions, sensitivity};
use cairn_scaling::{FitOptions, Law, ObjectiveKind, Table, fit};
use common::{Draws, chinchilla};

fn law() -> Law {
    Law::named("hoffmann").expect("built in")
}

/// `per_group` runs in each group, three checkpoints a run that share half of their luck, errors from Student's t with three
/// degrees of freedom. `shift`: factor on the second group's data term.
fn groups(per_group: usize, shift: f64, seed: u64) -> Table {
    let mut draws = Draws::new(seed);
    let mut table = Table::default();
    for group in 0..2 {
        for run in 0..per_group {
            let n = 1e7 * 10_f64.powf(2.5 * draws.uniform());
            let own = 0.004 * heavy(&mut draws);
            for share in [0.4, 0.7, 1.0] {
                let d =
                    share * n * (5.0 + 60.0 * ((run * 7) % per_group) as f64 / per_group as f64);
                let factor = if group == 1 { shift } else { 1.0 };
                let loss = 1.8 + 480.0 / n.powf(0.35) + factor * 2080.0 / d.powf(0.37);
                table.push(
                    &format!("{group}-{run}"),
                    &[
                        ("n", n),
                        ("d", d),
                        ("when", (group * per_group + run) as f64),
                    ],
                    loss * (own + 0.004 * heavy(&mut draws)).exp(),
                );
                table.groups.push(["old", "new"][group].to_owned());
            }
        }
    }
    table
}

/// Student's t with three degrees of freedom, scaled to variance one.
fn heavy(draws: &mut Draws) -> f64 {
    let square: f64 = (0..3).map(|_| draws.normal().powi(2)).sum();
    draws.normal() / square.sqrt()
}

/// Least squares: quick, and the test must hold for it too.
fn options() -> FitOptions {
    FitOptions {
        objective: ObjectiveKind::LeastSquaresLog,
        bootstrap: 20,
        ..FitOptions::default()
    }
}

#[test]
fn the_test_for_one_law_keeps_its_level_and_has_power() {
    let quickly = PoolingOptions {
        replicates: 29,
        ..PoolingOptions::default()
    };
    let several = |shift: f64, studies: u64| {
        (0..studies)
            .filter(|seed| {
                let found = pool(&law(), &groups(16, shift, 40 + seed), &options(), &quickly)
                    .expect("a test");
                found.verdict == PoolingVerdict::Several
            })
            .count()
    };
    // Level .05: of 20 studies one on average, more than 4 with probability .003. `examples/coverage.rs` counts more.
    let wrong = several(1.0, 20);
    println!("{wrong} of 20 studies of one law called several");
    assert!(wrong <= 4, "{wrong}");
    let right = several(1.25, 5);
    println!("{right} of 5 studies with a quarter more of the data term called several");
    assert_eq!(right, 5);
}

#[test]
fn groups_come_with_their_own_fits_and_small_ones_are_listed() {
    let mut table = groups(16, 1.25, 3);
    for index in 0..4 {
        table.push(
            &format!("tiny-{index}"),
            &[("n", 1e8 * f64::from(index + 1)), ("d", 1e9), ("when", 0.0)],
            3.0,
        );
        table.groups.push("tiny".to_owned());
    }
    let found = pool(&law(), &table, &options(), &PoolingOptions::default()).expect("a test");
    assert_eq!(found.groups.keys().collect::<Vec<_>>(), ["new", "old"]);
    assert_eq!(
        (
            found.too_small.len(),
            found.too_small[0].group.as_str(),
            found.too_small[0].runs
        ),
        (1, "tiny", 4)
    );
    assert_eq!(found.together.n_runs, 32);
    let text = serde_json::to_string(&found).expect("json");
    assert!(text.contains(r#""verdict":"several""#));
    // At d = n * 35 and n = 1e8 the data term is a tenth of the loss: a quarter of it is 2 to 3 % there.
    assert!(
        (0.005..0.2).contains(&found.largest_gap),
        "{}",
        found.largest_gap
    );
}

#[test]
fn a_break_in_time_is_found_where_it_is_and_not_where_none_is() {
    let search = BreakOptions {
        order_by: Some("when".to_owned()),
        replicates: 39,
        places: 5,
        ..BreakOptions::default()
    };
    let found = find_break(&law(), &groups(16, 1.4, 5), &options(), &search).expect("a search");
    println!("{found:?}");
    assert!(
        found.found && (10.0..=21.0).contains(&found.at),
        "{found:?}"
    );
    let none = find_break(&law(), &groups(16, 1.0, 6), &options(), &search).expect("a search");
    assert!(!none.found, "{none:?}");
}

/// Besiroglu et al. 2024 report that leaving out the five highest losses (which they do) matters: with them the fit is
/// drawn to outliers. And no single one of 240 runs may move alpha by more than a standard error or two.
#[test]
fn chinchillas_answer_hangs_on_little_but_delta() {
    let Some(table) = chinchilla() else { return };
    let options = FitOptions {
        bootstrap: 100,
        ..FitOptions::default()
    };
    let base = fit(&law(), &table, &options).expect("a fit");
    let choices = SensitivityOptions {
        point: Some([("n".to_owned(), 7e10), ("d".to_owned(), 1.4e12)].into()),
        starts: Vec::new(),
        ..SensitivityOptions::default()
    };
    let found = sensitivity(&base, &table, &options, &choices).expect("a study");
    assert!(
        (found.baseline.parameters["alpha"] - 0.347310).abs() < 1e-5,
        "the published optimum"
    );
    let alone: Vec<_> = found
        .variations
        .iter()
        .filter(|one| one.what == "without_run")
        .collect();
    assert_eq!(alone.len(), 240);
    let largest = alone
        .iter()
        .filter_map(|one| one.moved.get("alpha"))
        .fold(0.0_f64, |most, moved| most.max(moved.abs()));
    println!(
        "one run of 240 moves alpha by {largest:.2} standard errors at most; {:?}",
        found.findings
    );
    assert!(largest > 0.05 && largest < 1.5, "{largest}");
    for one in found
        .variations
        .iter()
        .filter(|one| one.what == "drop_highest")
    {
        let prediction = one
            .answer
            .as_ref()
            .and_then(|answer| answer.prediction)
            .expect("an answer");
        assert!((prediction / found.baseline.prediction.expect("asked for") - 1.0).abs() < 0.01);
    }
}

const SUM_OF_LOGS: &str = "
name: flat
title: no floor
formula: exp(u - v * log(n) - w * log(d))
reference: none
columns: [{name: n}, {name: d}]
response: {name: loss, scale: log}
parameters:
  - {name: u, bounds: [-20, 20], starts: [1.0]}
  - {name: v, bounds: [0, 2], starts: [0.1]}
  - {name: w, bounds: [0, 2], starts: [0.1]}
compute: 6 * n * d
";

#[test]
fn the_form_that_extrapolates_is_chosen() {
    let mut draws = Draws::new(9);
    let (mut floor, mut none) = (Table::default(), Table::default());
    for n in [1e7_f64, 3e7, 1e8, 3e8, 1e9, 3e9] {
        for ratio in [5.0, 20.0, 80.0] {
            let d = ratio * n;
            let luck = (0.003 * draws.normal()).exp();
            let name = format!("{n:e}-{ratio}");
            floor.push(
                &name,
                &[("n", n), ("d", d)],
                (1.8 + 480.0 / n.powf(0.35) + 2080.0 / d.powf(0.37)) * luck,
            );
            none.push(
                &name,
                &[("n", n), ("d", d)],
                (2.5 - 0.06 * n.ln() - 0.02 * d.ln()).exp() * luck,
            );
        }
    }
    let laws = [law(), Law::from_yaml(SUM_OF_LOGS).expect("a law")];
    let with = choose(&laws, &floor, &options(), &ChoiceOptions::default()).expect("a choice");
    assert_eq!(with.chosen.law, "hoffmann");
    assert!(with.candidates[0].weight > 0.8, "{:?}", with.candidates);
    // A truth without a floor: the simpler law suffices, and Hoffmann's has nothing to add beyond chance.
    let without = choose(&laws, &none, &options(), &ChoiceOptions::default()).expect("a choice");
    assert_eq!(without.chosen.law, "flat", "{:?}", without.candidates);
    let point = [("n".to_owned(), 1e11), ("d".to_owned(), 2e12)].into();
    let truth = 1.8 + 480.0 / 1e11_f64.powf(0.35) + 2080.0 / 2e12_f64.powf(0.37);
    let [low, high] = with.stack.interval(&point, 0.9).expect("an interval");
    assert!(
        (with.stack.value(&point) / truth - 1.0).abs() < 0.03 && low < truth && truth < high,
        "{low} {truth} {high}"
    );
    let sum: f64 = with.stack.members.iter().map(|member| member.weight).sum();
    assert!((sum - 1.0).abs() < 1e-12);
    for cut in &with.cuts {
        assert!(cut.predicted_to > cut.fitted_to, "{cut:?}");
    }
}

/// A law is fitted to old runs; new ones that obey it raise no alarm, new ones with half again the data term do.
#[test]
fn a_monitor_calls_a_law_that_broke_and_no_other() {
    let rows = groups(20, 1.0, 11);
    let old = rows.filtered(|row| rows.groups[row] == "old");
    let found = fit(
        &law(),
        &old,
        &FitOptions {
            bootstrap: 60,
            ..FitOptions::default()
        },
    )
    .expect("a fit");
    let watch = |shift: f64, seed: u64| {
        let rows = groups(20, shift, seed);
        let mut drift = Drift::new(DriftOptions::default());
        // The last of the three checkpoints of each run of the second group.
        for row in (0..rows.len())
            .filter(|row| rows.groups[*row] == "new")
            .skip(2)
            .step_by(3)
        {
            let point = [("n", rows.columns["n"][row]), ("d", rows.columns["d"][row])]
                .map(|(name, value)| (name.to_owned(), value));
            drift
                .observe(
                    &found,
                    &rows.run_ids[row],
                    &point.into(),
                    rows.response[row],
                )
                .expect("columns");
        }
        drift
    };
    let peace = watch(1.0, 12);
    assert!(!peace.broken() && peace.runs == 20, "{peace:?}");
    let broken = watch(1.5, 13);
    println!(
        "broke at {:?} after {} of {} runs outside",
        broken.broke_at, broken.outside_inner, broken.runs
    );
    assert!(
        broken.broken() && broken.recent.iter().all(|one| one.relative_error > 0.0),
        "{broken:?}"
    );
}
