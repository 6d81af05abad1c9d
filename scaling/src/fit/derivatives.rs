//! Tests: the derivatives of every built-in law under every loss, and the hand-written kernel against the tape.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::cohort::Cohort;
use super::coordinates::Centring;
use super::loss::Loss;
use super::newton::Objective;
use super::problem::{Aim, Problem};
use crate::law::Law;
use crate::table::Table;
use truths::{TRUTHS, Truth};

#[path = "../../tests/truths/mod.rs"]
mod truths;

/// A problem whose rows scatter about a law by a tenth, and the point of its truth.
fn problem(truth: &Truth, aim: Aim) -> (Problem, Vec<f64>) {
    let law = Law::named(truth.law).expect("built in");
    let parameters: BTreeMap<String, f64> = truth
        .parameters
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect();
    let mut table = Table::default();
    // More than a block, and not a multiple of it.
    for row in 0..70 {
        let point = truth.point(row);
        let columns = point
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect();
        let value = law.evaluate(&parameters, &columns);
        table.push(
            &format!("{row:02}"),
            &point,
            value * (1.0 + 0.1 * libm::sin(7.0 * row as f64)),
        );
        table.weights[row] = 1.0 + 0.1 * (row % 7) as f64;
    }
    let (cohort, rejected) = Cohort::clean(&law, &table, aim.logarithmic).expect("rows");
    assert!(rejected.is_empty(), "{rejected:?}");
    let problem = Problem::new(&law, &cohort, &BTreeMap::new(), aim, Centring::All);
    let at = problem
        .coordinates
        .place(&problem.coordinates.read(&law.values(&parameters)));
    (problem, at)
}

const AIMS: [Aim; 5] = [
    Aim {
        logarithmic: true,
        loss: Loss::Huber { delta: 1e-3 },
    },
    Aim {
        logarithmic: true,
        loss: Loss::Squares,
    },
    Aim {
        logarithmic: true,
        loss: Loss::StudentT { scale: 0.05 },
    },
    Aim {
        logarithmic: false,
        loss: Loss::Squares,
    },
    Aim {
        logarithmic: false,
        loss: Loss::Huber { delta: 0.3 },
    },
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn derivatives_agree_with_finite_differences(shift in prop::collection::vec(-0.05..0.05f64, 8), which in 0..5usize) {
        for truth in &TRUTHS {
            let aim = AIMS[which];
            let (problem, truth_at) = problem(truth, aim);
            let problem = problem.without_kernel();
            let at: Vec<f64> = truth_at.iter().zip(&shift).map(|(at, shift)| at * (1.0 + shift)).collect();
            let here = problem.evaluate(&at);
            prop_assert!(here.value.is_finite(), "{} {at:?}", truth.law);
            let size = at.len();
            for index in 0..size {
                let step = 1e-6 * at[index].abs().max(1.0);
                let moved = |sign: f64| {
                    let mut point = at.clone();
                    point[index] += sign * step;
                    point
                };
                let (up, down) = (moved(1.0), moved(-1.0));
                // Huber's second derivative jumps at delta: a stencil that straddles it for any row says nothing.
                if let Loss::Huber { delta } = aim.loss {
                    let beyond = |point: &[f64]| -> Vec<bool> {
                        problem.residuals(point).iter().map(|residual| residual.abs() > delta).collect()
                    };
                    if beyond(&up) != beyond(&down) {
                        continue;
                    }
                }
                let (up, down) = (problem.evaluate(&up), problem.evaluate(&down));
                let slope = (up.value - down.value) / (2.0 * step);
                let scale = here.gradient_scale[index];
                prop_assert!((slope - here.gradient[index]).abs() < 2e-5 * (scale + slope.abs()),
                    "{} {aim:?} {index}: {slope} {}", truth.law, here.gradient[index]);
                for other in 0..size {
                    let bend = (up.gradient[other] - down.gradient[other]) / (2.0 * step);
                    let size = (here.hessian[index][index] * here.hessian[other][other]).abs().sqrt()
                        + (here.majoriser[index][index] * here.majoriser[other][other]).sqrt();
                    prop_assert!((bend - here.hessian[index][other]).abs() < 1e-4 * (size + bend.abs()),
                        "{} {aim:?} {index} {other}: {bend} {}", truth.law, here.hessian[index][other]);
                }
            }
        }
    }
}

#[test]
fn the_kernel_and_the_tape_are_one_objective() {
    let (fast, at) = problem(&TRUTHS[0], AIMS[0]);
    let slow = fast.clone().without_kernel();
    for shift in [0.0, 0.01, -0.3, 0.7] {
        let at: Vec<f64> = at
            .iter()
            .map(|one| one + shift * one.abs().min(1.0))
            .collect();
        let (fast, slow) = (fast.evaluate(&at), slow.evaluate(&at));
        let near = |one: f64, two: f64, scale: f64| {
            assert!((one - two).abs() <= 1e-11 * scale, "{one} {two}")
        };
        near(fast.value, slow.value, slow.value);
        for k in 0..5 {
            near(fast.gradient[k], slow.gradient[k], slow.gradient_scale[k]);
            near(
                fast.gradient_scale[k],
                slow.gradient_scale[k],
                slow.gradient_scale[k],
            );
            for l in 0..5 {
                let scale = (slow.majoriser[k][k] * slow.majoriser[l][l]).sqrt()
                    + slow.gradient_scale[k].max(slow.gradient_scale[l]);
                near(fast.hessian[k][l], slow.hessian[k][l], scale);
                near(fast.majoriser[k][l], slow.majoriser[k][l], scale);
            }
        }
    }
}

#[test]
fn a_change_of_centre_changes_nothing_that_can_be_seen() {
    for truth in &TRUTHS {
        let law = Law::named(truth.law).expect("built in");
        let (problem, at) = problem(truth, AIMS[1]);
        let values = problem.coordinates.natural(&at);
        for ((name, expected), value) in truth.parameters.iter().zip(&values) {
            assert_eq!(
                law.parameters.iter().position(|one| one.name == *name),
                truth.parameters.iter().position(|one| one.0 == *name)
            );
            assert!(
                (value / expected - 1.0).abs() < 1e-12,
                "{} {name}",
                truth.law
            );
        }
    }
}
