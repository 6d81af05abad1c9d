//! The hand-written kernel for Hoffmann's law under Huber's loss of log residuals: the objective of nine fits in ten.
//!
//! ln L_hat = ln(E + A N^-alpha + B D^-beta) with all terms relative to the middle loss L0, so that it is the logarithm of a sum
//! of moderate numbers: no overflow happens inside the bounds, and the maximum need not be taken out. Same coordinates and
//! same numbers as the tape; a test holds them together.

use std::collections::BTreeMap;
use std::ops::Range;

use super::coordinates::Coordinates;
use super::linear::Matrix;
use super::loss::Loss;
use super::newton::Evaluation;
use super::problem::Aim;
use crate::lanes::{exp, log};
use crate::law::Law;
use crate::law::tape::{BLOCK, Coordinate, Lane};

const COUNT: usize = 5;

/// Partial sums side by side where many sums stay in registers: what vector instructions have had room for in twenty years.
const PAIR: usize = 2;

/// Partial sums side by side where there are few: additions need not wait for each other.
const GROUP: usize = 8;

/// Rows as the kernel sees them, a column each. Weightless copies of the last row fill them up to whole groups.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    /// ln N minus its mean.
    parameters: Vec<f64>,
    /// ln D minus its mean.
    tokens: Vec<f64>,
    /// ln L - ln L0.
    loss: Vec<f64>,
    /// Weight in the sum.
    weights: Vec<f64>,
    /// ln L0.
    middle: f64,
    /// Rows without the filling.
    count: usize,
}

impl Rows {
    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Some of the rows with weights of their own.
    pub(crate) fn picked(&self, rows: &[usize], weights: Vec<f64>) -> Self {
        let pick = |column: &[f64]| {
            // Filled columns are a little longer: room for that saves a second allocation.
            let mut picked = Vec::with_capacity(rows.len() + GROUP);
            picked.extend(rows.iter().map(|row| column[*row]));
            picked
        };
        Self {
            parameters: pick(&self.parameters),
            tokens: pick(&self.tokens),
            loss: pick(&self.loss),
            weights,
            middle: self.middle,
            count: rows.len(),
        }
        .filled()
    }

    fn filled(mut self) -> Self {
        let length = self.count.next_multiple_of(GROUP);
        for column in [&mut self.parameters, &mut self.tokens, &mut self.loss] {
            let last = column.last().copied().unwrap_or(0.0);
            column.resize(length, last);
        }
        self.weights.resize(length, 0.0);
        self
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
) -> Rows {
    let (size, data) = (
        shear(coordinates, 0).unwrap_or(0.0),
        shear(coordinates, 1).unwrap_or(0.0),
    );
    let middle = match coordinates.kinds[2] {
        Coordinate::Linear { unit } => libm::log(unit),
        _ => 0.0,
    };
    let centred = |column: &[f64], mean: f64| -> Vec<f64> {
        column.iter().map(|one| libm::log(*one) - mean).collect()
    };
    Rows {
        parameters: centred(&columns[0], size),
        tokens: centred(&columns[1], data),
        loss: target.iter().map(|one| one - middle).collect(),
        weights: weights.to_vec(),
        middle,
        count: target.len(),
    }
    .filled()
}

/// See [`super::loss::Effect::floor`].
const PULL_FLOOR: f64 = 1e-3;

/// A block of rows, a lane for each number that the sums are made of.
struct Block {
    /// Gradient of ln L_hat in a, b, e, alpha, beta; the residual's is its negative.
    slopes: [Lane; COUNT],
    /// Weighted Huber's loss over delta.
    cost: Lane,
    /// Weighted pull, in [-1, 1] times the weight.
    pulled: Lane,
    /// Its size for the scale of the gradient.
    scaled: Lane,
    /// What outer products of the slopes count in the curvature.
    outer: Lane,
    /// The same in the majoriser: weights of iterated least squares.
    major: Lane,
}

/// Partial sums of a pair of rows.
type Sum = [f64; PAIR];

/// Sums over the rows that are linear in the slopes.
#[derive(Default)]
struct FirstSums {
    value: f64,
    /// Of the residuals' pulls on ln L_hat: the gradient with its sign turned.
    gradient: [f64; COUNT],
    scale: [f64; COUNT],
    /// Second derivatives of the sum itself, over the sum, that are no part of the gradient: of alpha, of beta.
    curls: [f64; 2],
}

/// Value and derivatives; `at` in the order a, b, e, alpha, beta.
pub(crate) fn evaluate(rows: &Rows, delta: f64, at: &[f64]) -> Evaluation {
    let none = [0.0; BLOCK];
    let mut block = Block {
        slopes: [none; COUNT],
        cost: none,
        pulled: none,
        scaled: none,
        outer: none,
        major: none,
    };
    let mut firsts = FirstSums::default();
    // Lower triangles, row by row.
    let mut bends = [[0.0; PAIR]; 15];
    let mut hulls = [[0.0; PAIR]; 15];
    let length = rows.weights.len();
    for from in (0..length).step_by(BLOCK) {
        let to = (from + BLOCK).min(length);
        block.fill(rows, from..to, delta, at);
        let lanes = to - from;
        block.first_sums(
            lanes,
            &rows.parameters[from..to],
            &rows.tokens[from..to],
            &mut firsts,
        );
        // A few sums at a time stay in registers.
        block.products::<0, 3, 6>(lanes, &mut bends[..6], &mut hulls[..6]);
        block.products::<3, 4, 4>(lanes, &mut bends[6..10], &mut hulls[6..10]);
        block.products::<4, 5, 5>(lanes, &mut bends[10..], &mut hulls[10..]);
    }
    let total = |sum: &Sum| sum[0] + sum[1];
    let mut hessian = Matrix::zero(COUNT);
    let mut majoriser = Matrix::zero(COUNT);
    let gradient: Vec<f64> = firsts.gradient.iter().map(|sum| -sum).collect();
    // A term bends by itself as much as it slopes.
    for (term, exponent, curl) in [(0, 3, firsts.curls[0]), (1, 4, firsts.curls[1])] {
        hessian[term][term] = gradient[term];
        hessian[exponent][term] = gradient[exponent];
        hessian[exponent][exponent] = curl;
    }
    let mut place = 0;
    for first in 0..COUNT {
        for second in 0..=first {
            hessian[first][second] += total(&bends[place]);
            hessian[second][first] = hessian[first][second];
            majoriser[first][second] = total(&hulls[place]);
            majoriser[second][first] = majoriser[first][second];
            place += 1;
        }
    }
    Evaluation {
        value: firsts.value,
        gradient,
        gradient_scale: firsts.scale.to_vec(),
        hessian,
        majoriser,
    }
}

impl Block {
    /// Evaluates the rows of a range. No branches: the compiler turns each loop into vector instructions.
    fn fill(&mut self, rows: &Rows, range: Range<usize>, delta: f64, at: &[f64]) {
        let (a, b, e) = (at[0] - rows.middle, at[1] - rows.middle, at[2]);
        let (alpha, beta) = (at[3], at[4]);
        let inside = 1.0 / delta;
        let lanes = range.len();
        let parameters = &rows.parameters[range.clone()];
        let tokens = &rows.tokens[range.clone()];
        let loss = &rows.loss[range.clone()];
        let weights = &rows.weights[range];
        let [sizes, terms, shares, of_alpha, of_beta] = &mut self.slopes;
        let (sizes, terms, shares) = (
            &mut sizes[..lanes],
            &mut terms[..lanes],
            &mut shares[..lanes],
        );
        let (of_alpha, of_beta) = (&mut of_alpha[..lanes], &mut of_beta[..lanes]);
        for lane in 0..lanes {
            sizes[lane] = a - alpha * parameters[lane];
            terms[lane] = b - beta * tokens[lane];
        }
        exp(sizes);
        exp(terms);
        let residuals = &mut self.cost[..lanes];
        for lane in 0..lanes {
            shares[lane] = e + sizes[lane] + terms[lane];
            residuals[lane] = shares[lane];
        }
        log(residuals);
        for lane in 0..lanes {
            let share = 1.0 / shares[lane];
            shares[lane] = share;
            sizes[lane] *= share;
            terms[lane] *= share;
            of_alpha[lane] = -parameters[lane] * sizes[lane];
            of_beta[lane] = -tokens[lane] * terms[lane];
        }
        let (pulled, scaled) = (&mut self.pulled[..lanes], &mut self.scaled[..lanes]);
        let (outer, major) = (&mut self.outer[..lanes], &mut self.major[..lanes]);
        for lane in 0..lanes {
            let (residual, weight) = (loss[lane] - residuals[lane], weights[lane]);
            let distance = residual.abs();
            // Huber over delta: pull in [-1, 1], its slope, and the weight of iterated least squares.
            let near = distance < delta;
            let bent = if near { distance } else { delta };
            let size = bent * inside;
            let slope = if near { inside } else { 0.0 };
            let least_squares = 1.0 / if distance > delta { distance } else { delta };
            let pull = weight * size.copysign(residual);
            residuals[lane] = weight * (size * (distance - 0.5 * bent));
            pulled[lane] = pull;
            scaled[lane] = weight * if size > PULL_FLOOR { size } else { PULL_FLOOR };
            outer[lane] = weight * slope + pull;
            major[lane] = weight * least_squares;
        }
    }

    /// Adds up value, gradient, its scale and the curls.
    fn first_sums(&self, lanes: usize, parameters: &[f64], tokens: &[f64], totals: &mut FirstSums) {
        let zero = [0.0; GROUP];
        for index in 0..COUNT {
            let (mut gradient, mut scale) = (zero, zero);
            for from in (0..lanes).step_by(GROUP) {
                for lane in 0..GROUP {
                    let row = from + lane;
                    let slope = self.slopes[index][row];
                    gradient[lane] += self.pulled[row] * slope;
                    scale[lane] += self.scaled[row] * slope.abs();
                }
            }
            totals.gradient[index] += gradient.iter().sum::<f64>();
            totals.scale[index] += scale.iter().sum::<f64>();
        }
        let (mut value, mut of_alpha, mut of_beta) = (zero, zero, zero);
        for from in (0..lanes).step_by(GROUP) {
            for lane in 0..GROUP {
                let row = from + lane;
                value[lane] += self.cost[row];
                of_alpha[lane] += self.pulled[row] * (parameters[row] * self.slopes[3][row]);
                of_beta[lane] += self.pulled[row] * (tokens[row] * self.slopes[4][row]);
            }
        }
        totals.value += value.iter().sum::<f64>();
        totals.curls[0] += of_alpha.iter().sum::<f64>();
        totals.curls[1] += of_beta.iter().sum::<f64>();
    }

    /// Adds the products of the slopes `FROM..TO` with those up to them to `SUMS` sums of either curvature.
    #[inline(always)]
    fn products<const FROM: usize, const TO: usize, const SUMS: usize>(
        &self,
        lanes: usize,
        bends: &mut [Sum],
        hulls: &mut [Sum],
    ) {
        let (mut outer, mut major) = ([[0.0; PAIR]; SUMS], [[0.0; PAIR]; SUMS]);
        for from in (0..lanes).step_by(PAIR) {
            let mut place = 0;
            for first in FROM..TO {
                for second in 0..=first {
                    for lane in 0..PAIR {
                        let row = from + lane;
                        let product = self.slopes[first][row] * self.slopes[second][row];
                        outer[place][lane] += self.outer[row] * product;
                        major[place][lane] += self.major[row] * product;
                    }
                    place += 1;
                }
            }
        }
        let add = |totals: &mut [Sum], sums: &[Sum]| {
            for (total, sum) in totals.iter_mut().zip(sums) {
                for lane in 0..PAIR {
                    total[lane] += sum[lane];
                }
            }
        };
        add(bends, &outer);
        add(hulls, &major);
    }
}
