//! Cohorts made from laws whose parameters are known, and cohorts that obey no law.

#![allow(
    clippy::disallowed_methods,
    reason = "a test is no core: its expectations need not replay exactly"
)]

use cairn_scaling::{Fit, FitError, FitOptions, FitVerdict, Identified, Law, Table};
use proptest::prelude::*;

/// A grid of sizes and token counts; the loss comes from a function of both and the index.
fn cohort(sizes: &[f64], tokens: &[f64], loss: impl Fn(f64, f64, usize) -> f64) -> Table {
    let mut table = Table::default();
    let pairs = sizes
        .iter()
        .flat_map(|size| tokens.iter().map(move |tokens| (*size, *tokens)));
    for (index, (n, d)) in pairs.enumerate() {
        table.push(
            &format!("run-{index:03}"),
            &[("n", n), ("d", d)],
            loss(n, d, index),
        );
    }
    table
}

const SIZES: [f64; 4] = [1e5, 4e5, 1.6e6, 6.4e6];
const TOKENS: [f64; 5] = [2e6, 8e6, 3.2e7, 1.28e8, 5.12e8];

/// Noise with mean near zero and standard deviation 1 from a hash of seed and index: not the crate's generator.
fn noise(seed: u64, index: usize) -> f64 {
    let mut sum = 0.0;
    for part in 0..12 {
        let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ ((index as u64) << 8) ^ part;
        for _ in 0..3 {
            x = (x ^ (x >> 31))
                .wrapping_mul(0xBF58_476D_1CE4_E5B9)
                .wrapping_add(0x1234_5678_9ABC_DEF1);
        }
        sum += (x >> 11) as f64 / (1_u64 << 53) as f64;
    }
    sum - 6.0
}

fn law(e: f64, a: f64, b: f64, alpha: f64, beta: f64) -> impl Fn(f64, f64) -> f64 {
    move |size, tokens| e + a / size.powf(alpha) + b / tokens.powf(beta)
}

fn fit_hoffmann(table: &Table, options: &FitOptions) -> Result<Fit, FitError> {
    cairn_scaling::fit(&Law::named("hoffmann").expect("built in"), table, options)
}

/// Data without noise are rounding alone once the law is found: a perfect fit, and no failure to converge.
#[test]
fn a_law_without_noise_is_found_and_usable() {
    for (sizes, tokens) in [(&SIZES[..], &TOKENS[..]), (&SIZES[..2], &TOKENS[..])] {
        for truth in [
            [1.69, 406.4, 410.7, 0.34, 0.28],
            [1.8, 30.0, 900.0, 0.25, 0.45],
        ] {
            let [e, a, b, alpha, beta] = truth;
            let exact = law(e, a, b, alpha, beta);
            let fit = fit(&cohort(sizes, tokens, |n, d, _| exact(n, d)), 50);
            assert!(fit.certificate.converged, "{truth:?}: {:?}", fit.warnings);
            assert_ne!(fit.verdict, FitVerdict::Refused, "{:?}", fit.warnings);
            for (name, expected) in ["e", "a", "b", "alpha", "beta"].iter().zip(truth) {
                let found = fit.parameters[*name].value;
                // two sizes alone leave e, a and alpha to each other
                if sizes.len() > 2 || ["b", "beta"].contains(name) {
                    assert!(
                        (found / expected - 1.0).abs() < 1e-6,
                        "{name}: {found} for {expected}"
                    );
                }
            }
        }
    }
}

fn fit(table: &Table, bootstrap: u32) -> Fit {
    let options = FitOptions {
        bootstrap,
        ..FitOptions::default()
    };
    fit_hoffmann(table, &options).expect("a fit")
}

fn point(n: f64, d: f64) -> std::collections::BTreeMap<String, f64> {
    [("n".to_owned(), n), ("d".to_owned(), d)].into()
}

/// The rows in another order.
fn picked(table: &Table, rows: impl Iterator<Item = usize>) -> Table {
    let mut other = Table::default();
    for row in rows {
        let (n, d) = (table.columns["n"][row], table.columns["d"][row]);
        other.push(
            &table.run_ids[row],
            &[("n", n), ("d", d)],
            table.response[row],
        );
    }
    other
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_law_without_noise_is_recovered(
        e in 0.5..3.0f64, size_term in 0.1..1.0f64, data_term in 0.1..1.0f64,
        alpha in 0.2..0.8f64, beta in 0.2..0.8f64,
    ) {
        // Terms are chosen by their size at the middle of the grid, so that each can be seen.
        let (a, b) = (size_term * 8e5_f64.powf(alpha), data_term * 3.2e7_f64.powf(beta));
        let truth = law(e, a, b, alpha, beta);
        let fit = fit(&cohort(&SIZES, &TOKENS, |n, d, _| truth(n, d)), 10);
        prop_assert!(fit.certificate.converged, "{:?}", fit.certificate);
        for (name, expected) in [("e", e), ("a", a), ("b", b), ("alpha", alpha), ("beta", beta)] {
            let estimate = &fit.parameters[name];
            prop_assert!((estimate.value / expected - 1.0).abs() < 1e-6, "{name} {estimate:?} {expected}");
        }
        prop_assert_eq!(fit.verdict, FitVerdict::Usable, "{:?}", fit.warnings);
        prop_assert!((fit.value(&point(1e8, 1e10)) / truth(1e8, 1e10) - 1.0).abs() < 1e-6);
    }
}

#[test]
fn equal_seeds_give_equal_bytes_in_any_order_of_rows() {
    let truth = law(1.7, 40.0, 300.0, 0.3, 0.35);
    let mut rows = cohort(&SIZES, &TOKENS, |n, d, i| {
        truth(n, d) * (1.0 + 0.003 * noise(1, i))
    });
    let bytes = |rows: &Table, seed| {
        let options = FitOptions {
            seed,
            bootstrap: 50,
            ..FitOptions::default()
        };
        serde_json::to_string(&fit_hoffmann(rows, &options).expect("a fit")).expect("JSON")
    };
    let first = bytes(&rows, 7);
    rows = picked(&rows, (0..rows.len()).rev());
    assert_eq!(first, bytes(&rows, 7));
    assert_ne!(first, bytes(&rows, 8));
    let back: Fit = serde_json::from_str(&first).expect("a fit from its JSON");
    assert_eq!(back.n_runs, 20);
}

/// Ten checkpoints of a run are one run: repeating every row must not make the intervals narrower.
#[test]
fn checkpoints_are_not_runs() {
    let truth = law(1.7, 40.0, 300.0, 0.3, 0.35);
    let rows = cohort(&SIZES, &TOKENS, |n, d, i| {
        truth(n, d) * (1.0 + 0.003 * noise(2, i))
    });
    let repeated = picked(&rows, (0..200).map(|row| row / 10));
    let (one, ten) = (fit(&rows, 200), fit(&repeated, 200));
    assert_eq!((one.n_runs, ten.n_runs, ten.n_rows), (20, 20, 200));
    let width = |fit: &Fit| fit.parameters["e"].ci.high - fit.parameters["e"].ci.low;
    let profile = |fit: &Fit| fit.parameters["e"].profile.high - fit.parameters["e"].profile.low;
    assert!(
        (width(&ten) / width(&one) - 1.0).abs() < 0.05,
        "{} {}",
        width(&ten),
        width(&one)
    );
    assert!(
        profile(&ten) > 0.8 * profile(&one),
        "{} {}",
        profile(&ten),
        profile(&one)
    );
}

#[test]
fn bad_rows_are_listed_and_do_no_harm() {
    let truth = law(1.7, 40.0, 300.0, 0.3, 0.35);
    let mut rows = cohort(&SIZES, &TOKENS, |n, d, _| truth(n, d));
    let clean = fit(&rows, 10);
    for (loss, weight) in [
        (f64::NAN, 1.0),
        (-1.0, 1.0),
        (f64::INFINITY, 1.0),
        (2.0, 0.0),
    ] {
        rows.push("bad", &[("n", 1e6), ("d", 1e7)], loss);
        *rows.weights.last_mut().expect("a row") = weight;
    }
    let fit = fit(&rows, 10);
    assert_eq!(fit.rejected.len(), 4);
    assert!(
        fit.rejected[0].reason.starts_with("loss") && fit.rejected[3].reason.starts_with("weight")
    );
    assert_eq!(fit.parameters, clean.parameters);
}

#[test]
fn degenerate_cohorts_are_refused() {
    let truth = law(1.7, 40.0, 300.0, 0.3, 0.35);
    let try_fit = |sizes: &[f64], tokens: &[f64]| {
        fit_hoffmann(
            &cohort(sizes, tokens, |n, d, _| truth(n, d)),
            &FitOptions::default(),
        )
    };
    assert!(matches!(
        try_fit(&SIZES[..1], &TOKENS),
        Err(FitError::TooFewRows { .. })
    ));
    let many: Vec<f64> = (1..20).map(|step| 1e6 * f64::from(step)).collect();
    assert!(matches!(
        try_fit(&SIZES[..1], &many),
        Err(FitError::ConstantColumn { column, .. }) if column == "n"
    ));
    assert!(matches!(
        try_fit(&many, &TOKENS[..1]),
        Err(FitError::ConstantColumn { column, .. }) if column == "d"
    ));
    assert!(matches!(
        try_fit(&[], &[]),
        Err(FitError::NoRows { rows: 0, .. })
    ));
    let rows = cohort(&SIZES, &TOKENS, |n, d, _| truth(n, d));
    let options = FitOptions {
        level: 1.5,
        ..FitOptions::default()
    };
    assert!(matches!(
        fit_hoffmann(&rows, &options),
        Err(FitError::BadOption { name, .. }) if name == "level"
    ));
    // Six runs can be fitted, but hardly judged.
    let few = fit(
        &cohort(&SIZES[..2], &TOKENS[..3], |n, d, _| truth(n, d)),
        10,
    );
    assert_ne!(few.verdict, FitVerdict::Usable);
}

/// A skill that is learnt at once, at a D that differs by size (specs/ladder.md): no additive law holds across it.
#[test]
fn a_jump_in_the_data_is_not_passed_as_a_law() {
    let truth = law(1.2, 40.0, 300.0, 0.3, 0.35);
    for jump in [0.3, 0.6, 1.0] {
        let rows = cohort(&SIZES, &TOKENS, |size, tokens, index| {
            let learnt_at = (3e7 * (1e6 / size).powf(0.5)).ln();
            let rest = jump / (1.0 + (4.0 * (tokens.ln() - learnt_at)).exp());
            (truth(size, tokens) + rest) * (1.0 + 0.002 * noise(3, index))
        });
        let fit = fit(&rows, 100);
        assert_ne!(fit.verdict, FitVerdict::Usable, "jump {jump}");
        println!("jump {jump}: {:?} {:?}", fit.verdict, fit.warnings);
    }
}

/// No floor in the data: E comes out at or near its bound and is said not to be determined.
#[test]
fn a_floor_that_is_not_there_is_not_reported_as_one() {
    let truth = law(0.0, 40.0, 300.0, 0.15, 0.15);
    let rows = cohort(&SIZES, &TOKENS, |n, d, i| {
        truth(n, d) * (1.0 + 0.005 * noise(4, i))
    });
    let fit = fit(&rows, 100);
    assert_eq!(
        fit.parameters["e"].identified,
        Identified::No,
        "{:?}",
        fit.parameters["e"]
    );
    assert_eq!(fit.parameters["e"].range.low, 0.0);
    assert_ne!(fit.verdict, FitVerdict::Usable);
}

/// A form that is only nearly right: the terms combine with a power other than 1. The bootstrap trusts the form and
/// misses E; the range that carries the form's error has to do better. Printed, so that the figures can be quoted.
#[test]
fn the_range_of_the_floor_carries_the_error_of_the_form() {
    let (mut bootstrap, mut range, mut trials, mut width) = (0, 0, 0, 0.0);
    for spread in [0.002, 0.0005] {
        for power in [0.7, 0.85, 1.0, 1.2, 1.5] {
            for seed in 0..6 {
                let rows = cohort(&SIZES, &TOKENS, |size, tokens, index| {
                    let reducible = 60.0 / size.powf(0.35) + 500.0 / tokens.powf(0.37);
                    (1.8 + reducible.powf(power)) * (1.0 + spread * noise(seed + 10, index))
                });
                let fit = fit(&rows, 100);
                let floor = &fit.parameters["e"];
                trials += 1;
                let smallest = rows.response.iter().copied().fold(f64::INFINITY, f64::min);
                assert!(floor.range.high <= smallest.max(floor.ci.high).max(floor.profile.high));
                bootstrap += u32::from(floor.ci.low <= 1.8 && 1.8 <= floor.ci.high);
                range += u32::from(floor.range.low <= 1.8 && 1.8 <= floor.range.high);
                width += floor.range.high - floor.range.low;
            }
        }
        println!("noise {spread}: E held by bootstrap {bootstrap}, range {range} of {trials}");
    }
    println!("mean width of the range {:.3}", width / f64::from(trials));
    assert!(
        range > bootstrap && 10 * range >= 8 * trials,
        "{bootstrap} {range} of {trials}"
    );
}

/// Two bad runs of twenty are named and the law stands; six of them are another law in the same table.
#[test]
fn bad_runs_are_named_and_do_not_refuse_a_law() {
    let truth = law(1.7, 40.0, 300.0, 0.3, 0.35);
    let with = |bad: &[usize]| {
        let rows = cohort(&SIZES, &TOKENS, |n, d, index| {
            let off = if bad.contains(&index) { 1.15 } else { 1.0 };
            truth(n, d) * off * (1.0 + 0.003 * noise(5, index))
        });
        fit(&rows, 100)
    };
    let two = with(&[3, 12]);
    let mut named: Vec<&str> = two
        .residuals
        .outliers
        .iter()
        .map(|one| one.run_id.as_str())
        .collect();
    named.sort_unstable();
    assert_eq!(named, ["run-003", "run-012"]);
    assert_eq!(two.verdict, FitVerdict::Weak, "{:?}", two.warnings);
    assert!(
        two.warnings
            .iter()
            .any(|line| line.starts_with("2 of 20 rows stand apart") && line.contains("run-003")),
        "{:?}",
        two.warnings
    );
    // Fifteen per cent, give or take the noise and the fit.
    let worst = two.residuals.max_abs_relative;
    assert!((0.13..0.17).contains(&worst), "{worst}");
    assert!(two.residuals.max_abs_relative_rest < 0.02);
    let six = with(&[1, 4, 7, 10, 13, 16]);
    assert_eq!(six.verdict, FitVerdict::Refused, "{:?}", six.warnings);
}

/// Small runs are noisier: the interval of a large run must not be as wide as theirs.
#[test]
fn noise_that_falls_with_compute_is_seen_where_the_data_show_it() {
    let truth = law(1.7, 40.0, 300.0, 0.3, 0.35);
    let sizes = [1e5, 2.5e5, 6e5, 1.5e6, 3e6, 6.4e6];
    let tokens = [2e6, 6e6, 1.8e7, 5.4e7, 1.6e8, 5e8];
    let rows = cohort(&sizes, &tokens, |n, d, index| {
        // 3 % at the smallest run, falling with the root of compute.
        let share = 0.03 * (n * d / 2e11).powf(-0.5);
        truth(n, d) * (1.0 + share * noise(6, index))
    });
    let fit = fit(&rows, 100);
    let spread = fit.residuals.spread.expect("a dependence on compute");
    assert!(
        spread.p < 0.05 && (-0.9..-0.2).contains(&spread.exponent),
        "{spread:?}"
    );
    let width = |n: f64, d: f64| {
        let said = fit.predict(&point(n, d), 0.9).expect("a prediction");
        (said.high - said.low) / said.mean
    };
    assert!(width(1e5, 2e6) > 2.0 * width(6.4e6, 5e8));
}
