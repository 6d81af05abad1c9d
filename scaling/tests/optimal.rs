//! Optimal allocation against published figures: Besiroglu et al. 2024 (arXiv 2404.10102) and Sardana et al. 2023
//! (arXiv 2401.00448).

#![allow(
    clippy::disallowed_methods,
    reason = "a test is no core: its expectations need not replay exactly"
)]

use std::collections::BTreeMap;

use cairn_scaling::study::StudyError;
use cairn_scaling::study::optimal::{AllocationOptions, iso_flop, iso_response, optimal};
use cairn_scaling::study::serving::{Goal, serving};
use cairn_scaling::{Fit, FitOptions, Law, Table, fit};

/// A fit to points that obey given parameters to the last digit (times `noise`, drawn from a fixed sequence).
fn fitted(a: f64, b: f64, e: f64, alpha: f64, beta: f64, noise: f64) -> Fit {
    let mut table = Table::default();
    for (row, n) in [4e7_f64, 1.6e8, 6.4e8, 2.5e9, 1e10].into_iter().enumerate() {
        for (column, d) in [1e9_f64, 5e9, 25e9, 125e9, 625e9].into_iter().enumerate() {
            let luck = ((row * 5 + column) as f64 * 0.618_034).fract() - 0.5;
            let loss = (e + a / n.powf(alpha) + b / d.powf(beta)) * (1.0 + noise * luck);
            table.push(&format!("{n:e}-{d:e}"), &[("n", n), ("d", d)], loss);
        }
    }
    let law = Law::named("hoffmann").expect("built in");
    fit(
        &law,
        &table,
        &FitOptions {
            bootstrap: 40,
            ..FitOptions::default()
        },
    )
    .expect("a fit")
}

fn parameters(fit: &Fit) -> BTreeMap<String, f64> {
    fit.parameters
        .iter()
        .map(|(name, one)| (name.clone(), one.value))
        .collect()
}

#[track_caller]
fn near(name: &str, value: f64, expected: f64, tolerance: f64) {
    assert!(
        (value / expected - 1.0).abs() <= tolerance,
        "{name}: {value}, expected {expected} within {tolerance}"
    );
}

#[test]
fn epochs_tokens_per_parameter() {
    let fit = fitted(482.005_72, 2085.4342, 1.816_86, 0.347_81, 0.365_85, 0.0);
    for (flops, expected) in [(1e21, 21.5), (5.88e23, 18.3), (1e25, 17.1)] {
        let best = optimal(&fit, flops, &AllocationOptions::default()).expect("an optimum");
        let ratio = best.tokens_per_parameter.expect("n and d");
        // Printed to three digits.
        near("tokens per parameter", ratio.value, expected, 0.003);
        near(
            "budget",
            6.0 * best.columns["n"].value * best.columns["d"].value,
            flops,
            1e-9,
        );
        assert!(best.at_bounds.is_empty());
    }
    // The closed form, N = G (C/6)^a, to the precision with which a flat valley has a floor.
    let (a, alpha, beta) = (482.005_72_f64, 0.347_81_f64, 0.365_85_f64);
    let g = (alpha * a / (beta * 2085.4342)).powf(1.0 / (alpha + beta));
    let n = g * (1e23_f64 / 6.0).powf(beta / (alpha + beta));
    let best = optimal(&fit, 1e23, &AllocationOptions::default()).expect("an optimum");
    near("closed form", best.columns["n"].value, n, 2e-4);
    near("allocation exponent", fit.derived["a"].value, 0.513, 1e-3);
}

#[test]
fn intervals_hold_the_truth_and_extrapolation_is_stated() {
    let fit = fitted(482.0, 2085.0, 1.817, 0.348, 0.366, 0.01);
    let exact = fitted(482.0, 2085.0, 1.817, 0.348, 0.366, 0.0);
    let options = AllocationOptions {
        level: Some(0.98),
        ..AllocationOptions::default()
    };
    let best = optimal(&fit, 1e24, &options).expect("an optimum");
    let truth = optimal(&exact, 1e24, &options).expect("an optimum").columns["n"].value;
    let ci = best.columns["n"].ci;
    assert!(
        ci.low < truth && truth < ci.high && ci.high / ci.low < 3.0,
        "{ci:?} against {truth}"
    );
    // The largest point has 6 * 1e10 * 625e9 = 3.75e22.
    near(
        "extrapolation",
        best.extrapolation_factor,
        1e24 / 3.75e22,
        1e-9,
    );
    assert_eq!(best.replicates[0], best.replicates[1]);
}

/// "13B model, two trillion tokens of inference: 1.7e22 FLOPs (17 %) saved by a 7B model on more data" (section 1), with the
/// paper's coefficients; checked with an independent golden-section search: 6.9686e9, 1.24784e12, 1.69173e22, .174467.
#[test]
fn sardanas_13b_becomes_7b() {
    let fit = fitted(406.4, 410.7, 1.69, 0.336, 0.283, 0.0);
    // Budget of a compute-optimal 13B model: 6 * 13e9 * 576485566710.4.
    let found = serving(
        &fit,
        Goal::QualityOf(4.496_587_42e22),
        2e12,
        &AllocationOptions::default(),
    )
    .expect("plans");
    near(
        "without",
        found.without_serving.columns["n"].value,
        13e9,
        1e-3,
    );
    near("n", found.plan.columns["n"].value, 6.968_595e9, 1e-3);
    near("d", found.plan.columns["d"].value, 1.247_840e12, 1e-3);
    near("saving", found.saving.value, 0.174_467, 1e-3);
    let saved = found.without_serving.total_flops.value - found.plan.total_flops.value;
    near("FLOPs saved", saved, 1.69e22, 5e-3);
    // A stated loss is the same question, and serving nothing gives back the plan for training.
    let same = serving(
        &fit,
        Goal::TargetLoss(2.045_281_788),
        2e12,
        &AllocationOptions::default(),
    )
    .expect("plans");
    near("target", same.plan.columns["n"].value, 6.968_595e9, 1e-3);
    let none = serving(
        &fit,
        Goal::QualityOf(4.5e22),
        0.0,
        &AllocationOptions::default(),
    )
    .expect("plans");
    assert!(none.saving.value.abs() < 1e-9);
    // All the money of the 13B plan, spent with serving in mind, buys a lower loss than 2.04528.
    let total = found.without_serving.total_flops.value;
    let spent = serving(
        &fit,
        Goal::TotalBudget(total),
        2e12,
        &AllocationOptions::default(),
    )
    .expect("plans");
    near("spent", spent.plan.total_flops.value, total, 1e-9);
    assert!(spent.plan.response.value < 2.0452 && spent.saving.value > 0.0);
    near(
        "the other plan is the 13B model",
        spent.without_serving.columns["n"].value,
        13e9,
        1e-3,
    );
}

#[test]
fn curves_keep_what_they_are_named_after() {
    let fit = fitted(482.0, 2085.0, 1.817, 0.348, 0.366, 0.0);
    let (law, parameters) = (&fit.definition, parameters(&fit));
    let none = AllocationOptions::default();
    let budget = iso_flop(law, &parameters, 1e21, [1e8, 1e11], 31, &none).expect("a curve");
    assert_eq!(budget.len(), 31);
    let lowest = budget
        .iter()
        .map(|at| at.response)
        .fold(f64::INFINITY, f64::min);
    for at in &budget {
        near("FLOPs", 6.0 * at.point["n"] * at.point["d"], 1e21, 1e-9);
    }
    let best = optimal(&fit, 1e21, &none)
        .expect("an optimum")
        .response
        .value;
    assert!(best <= lowest && lowest < best * 1.001);
    let level = iso_response(law, &parameters, 2.5, [1e7, 1e11], 31, &none).expect("a curve");
    // 482 / n^.348 alone exceeds 2.5 - 1.817 below n = 1.5e8: the curve begins there.
    assert!(level.len() > 15 && level.len() < 31 && level[0].point["n"] > 1.5e8);
    for at in &level {
        near("loss", fit.value(&at.point), 2.5, 1e-9);
    }
}

/// With granularity g fixed, Krajewski's law is Hoffmann's with A + G / g^gamma for A, whose optimum is known in closed form;
/// free between two values it goes to the upper one, since it costs nothing in 6 n d.
#[test]
fn other_columns_are_fixed_or_moved() {
    let (a, b, e, g) = (16.3_f64, 26.7, 0.47, 2.1);
    let (alpha, beta, gamma) = (0.126_f64, 0.147, 0.58);
    let mut table = Table::default();
    for n in [6.4e7_f64, 2.5e8, 1e9, 4e9] {
        for d in [1.6e10_f64, 4e10, 1.3e11, 4e11] {
            for granularity in [1.0_f64, 2.0, 8.0] {
                let loss = e + (g / granularity.powf(gamma) + a) / n.powf(alpha) + b / d.powf(beta);
                let columns = [("n", n), ("d", d), ("granularity", granularity)];
                table.push(&format!("{n:e}-{d:e}-{granularity}"), &columns, loss);
            }
        }
    }
    let law = Law::named("krajewski").expect("built in");
    let fit = fit(
        &law,
        &table,
        &FitOptions {
            bootstrap: 0,
            ..FitOptions::default()
        },
    )
    .expect("a fit");
    let missing = optimal(&fit, 1e21, &AllocationOptions::default())
        .expect_err("granularity is free and costs nothing");
    assert_eq!(missing.code(), "unknown_column");
    let fixed = AllocationOptions {
        fixed: [("granularity".to_owned(), 4.0)].into(),
        ..AllocationOptions::default()
    };
    let best = optimal(&fit, 1e21, &fixed).expect("an optimum");
    let whole = a + g / 4.0_f64.powf(gamma);
    let n = (alpha * whole / (beta * b)).powf(1.0 / (alpha + beta))
        * (1e21_f64 / 6.0).powf(beta / (alpha + beta));
    near("n", best.columns["n"].value, n, 5e-3);
    let between = AllocationOptions {
        between: [("granularity".to_owned(), [1.0, 16.0])].into(),
        ..AllocationOptions::default()
    };
    let moved = optimal(&fit, 1e21, &between).expect("an optimum");
    near(
        "granularity",
        moved.columns["granularity"].value,
        16.0,
        1e-6,
    );
    assert_eq!(moved.at_bounds, ["granularity"]);
    assert!(moved.response.value < best.response.value);
}

#[test]
fn what_cannot_be_answered_says_why() {
    let fit = fitted(482.0, 2085.0, 1.817, 0.348, 0.366, 0.0);
    let none = AllocationOptions::default();
    let error = serving(&fit, Goal::TargetLoss(1.5), 1e12, &none).expect_err("below E");
    assert_eq!(error.code(), "no_allocation");
    assert_eq!(
        optimal(&fit, f64::NAN, &none)
            .expect_err("not a number")
            .code(),
        "bad_option"
    );
    let both = AllocationOptions {
        fixed: [("n".to_owned(), 1e9), ("d".to_owned(), 1e9)].into(),
        ..none.clone()
    };
    assert!(matches!(
        optimal(&fit, 1e21, &both),
        Err(StudyError::NoAllocation { .. })
    ));
    let unknown = AllocationOptions {
        fixed: [("granularity".to_owned(), 1.0)].into(),
        ..none
    };
    assert_eq!(
        optimal(&fit, 1e21, &unknown)
            .expect_err("no such column")
            .code(),
        "bad_option"
    );
}
