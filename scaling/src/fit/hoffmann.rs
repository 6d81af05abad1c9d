//! The hand-written kernel for Hoffmann's law under Huber's loss of log residuals: the objective of nine fits in ten.
//!
//! ln L_hat = ln(E + A N^-alpha + B D^-beta) with all terms relative to the middle loss L0, so that it is the logarithm of a sum
//! of moderate numbers: no overflow happens inside the bounds, and the maximum need not be taken out. Same coordinates and
//! same numbers as the tape; a test holds them together.

use std::collections::BTreeMap;

use super::coordinates::Coordinates;
use super::linear::Matrix;
use super::loss::Loss;
use super::newton::Evaluation;
use super::problem::Aim;
use crate::lanes::{exp, log};
use crate::law::Law;
use crate::law::tape::{BLOCK, Coordinate};

const COUNT: usize = 5;

/// One row as the kernel sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// ln N minus its mean.
    parameters: f64,
    /// ln D minus its mean.
    tokens: f64,
    /// ln L - ln L0.
    loss: f64,
    /// Weight in the sum.
    weight: f64,
    /// ln L0.
    middle: f64,
}

impl Row {
    /// The same row with another weight.
    pub(crate) fn weighing(self, weight: f64) -> Self {
        Self { weight, ..self }
    }
}

/// Whether a fit is the kernel's: the formula, the order of the parameters, the loss, nothing fixed, all centred.
pub(crate) fn applies(
    law: &Law,
    fixed: &BTreeMap<String, f64>,
    aim: Aim,
    coordinates: &Coordinates,
) -> bool {
    let names: Vec<&str> = law.parameters.iter().map(|one| one.name.as_str()).collect();
    law.formula == "e + a / n^alpha + b / d^beta"
        && names == ["a", "b", "e", "alpha", "beta"]
        && law.columns.len() == 2
        && law.columns[0].name == "n"
        && fixed.is_empty()
        && aim.logarithmic
        && matches!(aim.loss, Loss::Huber { .. })
        && shear(coordinates, 0).is_some()
        && shear(coordinates, 1).is_some()
        && matches!(coordinates.kinds[2], Coordinate::Linear { .. })
}

/// The mean logarithm that a coefficient is seen from; zero where it is not centred.
fn shear(coordinates: &Coordinates, index: usize) -> Option<f64> {
    match &coordinates.kinds[index] {
        Coordinate::Log { shears, .. } => match shears[..] {
            [] => Some(0.0),
            [(place, factor)] if place == index + 3 => Some(factor),
            _ => None,
        },
        _ => None,
    }
}

/// The rows of a cohort. `target` is ln L.
pub(crate) fn rows(
    coordinates: &Coordinates,
    columns: &[Vec<f64>],
    target: &[f64],
    weights: &[f64],
) -> Vec<Row> {
    let (size, data) = (
        shear(coordinates, 0).unwrap_or(0.0),
        shear(coordinates, 1).unwrap_or(0.0),
    );
    let middle = match coordinates.kinds[2] {
        Coordinate::Linear { unit } => libm::log(unit),
        _ => 0.0,
    };
    (0..target.len())
        .map(|row| Row {
            parameters: libm::log(columns[0][row]) - size,
            tokens: libm::log(columns[1][row]) - data,
            loss: target[row] - middle,
            weight: weights[row],
            middle,
        })
        .collect()
}

/// See [`super::loss::Effect::floor`].
const PULL_FLOOR: f64 = 1e-3;

/// Value and derivatives; `at` in the order a, b, e, alpha, beta.
pub(crate) fn evaluate(rows: &[Row], delta: f64, at: &[f64]) -> Evaluation {
    let middle = rows.first().map_or(0.0, |row| row.middle);
    let (a, b, e, alpha, beta) = (at[0] - middle, at[1] - middle, at[2], at[3], at[4]);
    let inside = 1.0 / delta;
    let mut value = 0.0;
    let mut gradient = [0.0; COUNT];
    let mut gradient_scale = [0.0; COUNT];
    let mut curl = [0.0; 6];
    // Flat lower triangles, padded to an even length: the compiler turns their loop into vector instructions.
    let mut bends = [0.0; 16];
    let mut hulls = [0.0; 16];
    let (mut sizes, mut terms, mut sums) = ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
    for block in rows.chunks(BLOCK) {
        let lanes = block.len();
        for (lane, row) in block.iter().enumerate() {
            sizes[lane] = a - alpha * row.parameters;
            terms[lane] = b - beta * row.tokens;
        }
        exp(&mut sizes[..lanes]);
        exp(&mut terms[..lanes]);
        for lane in 0..lanes {
            sums[lane] = e + sizes[lane] + terms[lane];
        }
        let mut logarithms = sums;
        log(&mut logarithms[..lanes]);
        for (lane, row) in block.iter().enumerate() {
            let (size, data, sum) = (sizes[lane], terms[lane], sums[lane]);
            let residual = row.loss - logarithms[lane];
            let distance = residual.abs();
            // Huber over delta: pull in [-1, 1], its slope, and the weight of iterated least squares.
            let (cost, pull, slope, least_squares) = if distance <= delta {
                (
                    0.5 * residual * residual * inside,
                    residual * inside,
                    inside,
                    inside,
                )
            } else {
                (
                    distance - 0.5 * delta,
                    residual.signum(),
                    0.0,
                    1.0 / distance,
                )
            };
            value += row.weight * cost;
            // The gradient of ln L_hat; the residual's is its negative.
            let share = 1.0 / sum;
            let (p, q) = (size * share, data * share);
            let slopes = [p, q, share, -row.parameters * p, -row.tokens * q];
            let pulled = row.weight * pull;
            let scaled = row.weight * pull.abs().max(PULL_FLOOR);
            let outer = row.weight * slope + pulled;
            let major = row.weight * least_squares;
            for index in 0..COUNT {
                gradient[index] -= pulled * slopes[index];
                gradient_scale[index] += scaled * slopes[index].abs();
            }
            let products = lower_products(&slopes);
            for ((bend, hull), product) in bends.iter_mut().zip(&mut hulls).zip(&products) {
                *bend += outer * product;
                *hull += major * product;
            }
            // Second derivatives of the sum itself, over the sum.
            curl[0] -= pulled * p;
            curl[1] -= pulled * slopes[3];
            curl[2] += pulled * row.parameters * slopes[3];
            curl[3] -= pulled * q;
            curl[4] -= pulled * slopes[4];
            curl[5] += pulled * row.tokens * slopes[4];
        }
    }
    let mut hessian = Matrix::zero(COUNT);
    let mut majoriser = Matrix::zero(COUNT);
    for ((k, l), sum) in [(0, 0), (3, 0), (3, 3), (1, 1), (4, 1), (4, 4)]
        .into_iter()
        .zip(curl)
    {
        hessian[k][l] = sum;
    }
    let mut place = 0;
    for first in 0..COUNT {
        for second in 0..=first {
            hessian[first][second] += bends[place];
            hessian[second][first] = hessian[first][second];
            majoriser[first][second] = hulls[place];
            majoriser[second][first] = hulls[place];
            place += 1;
        }
    }
    Evaluation {
        value,
        gradient: gradient.to_vec(),
        gradient_scale: gradient_scale.to_vec(),
        hessian,
        majoriser,
    }
}

/// The lower triangle of the outer product of a vector with itself, row by row, and a zero.
fn lower_products(slopes: &[f64; COUNT]) -> [f64; 16] {
    let [a, b, e, alpha, beta] = *slopes;
    [
        a * a,
        b * a,
        b * b,
        e * a,
        e * b,
        e * e,
        alpha * a,
        alpha * b,
        alpha * e,
        alpha * alpha,
        beta * a,
        beta * b,
        beta * e,
        beta * alpha,
        beta * beta,
        0.0,
    ]
}
