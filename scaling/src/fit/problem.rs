//! The objective: a law, clean rows and a loss of the residuals, with derivatives for Newton's method.
//!
//! Residuals are `ln y - ln y_hat` or `(y - y_hat) / y0` with y0 the middle response. Inside, objectives are normalised so that a
//! row's pull is of order one; [`Problem::reported`] undoes that.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::cohort::Cohort;
use super::coordinates::{Centring, Coordinates, middle};
use super::hoffmann::{self, Rows};
use super::linear::Matrix;
use super::loss::Loss;
use super::newton::{Bounds, Evaluation, Objective};
use crate::lanes::log;
use crate::law::Law;
use crate::law::tape::{BLOCK, Lane, Scratch, Tape};

/// Which loss of which residuals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Aim {
    /// Residuals of logarithms.
    pub(crate) logarithmic: bool,
    /// Loss, in natural units of the residuals.
    pub(crate) loss: Loss,
}

/// A law over rows, to be minimised.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) coordinates: Coordinates,
    pub(crate) bounds: Bounds,
    pub(crate) aim: Aim,
    /// Loss in the normalised unit.
    loss: Loss,
    /// ln y, or y / y0.
    target: Vec<f64>,
    pub(crate) weights: Vec<f64>,
    /// y0; 1 for logarithms.
    pub(crate) unit: f64,
    tape: Tape,
    /// Rows of the hand-written kernel, where it applies.
    fast: Option<Rows>,
    scratch: RefCell<(Scratch, Vec<Lane>)>,
}

/// Residuals and the gradient of the prediction in them, per row.
pub(crate) struct Slopes {
    pub(crate) residuals: Vec<f64>,
    /// By row: derivative of ln y_hat (or y_hat / y0) to each coordinate.
    pub(crate) rows: Vec<Vec<f64>>,
}

impl Problem {
    /// Sets up the objective for a cohort.
    pub(crate) fn new(
        law: &Law,
        cohort: &Cohort,
        fixed: &BTreeMap<String, f64>,
        aim: Aim,
        centring: Centring,
    ) -> Self {
        let coordinates = Coordinates::new(law, cohort, fixed, centring);
        let bounds = coordinates.bounds(law, cohort);
        let tape = Tape::new(&law.compiled().formula, &coordinates.kinds, &cohort.columns);
        let unit = if aim.logarithmic {
            1.0
        } else {
            middle(&cohort.response)
        };
        let target: Vec<f64> = if aim.logarithmic {
            cohort.response.iter().map(|one| libm::log(*one)).collect()
        } else {
            cohort.response.iter().map(|one| one / unit).collect()
        };
        let fast = hoffmann::applies(law, fixed, aim, &coordinates)
            .then(|| hoffmann::rows(&coordinates, &cohort.columns, &target, &cohort.weights));
        Self {
            coordinates,
            bounds,
            aim,
            loss: aim.loss.in_unit(unit),
            target,
            weights: cohort.weights.clone(),
            unit,
            tape,
            fast,
            scratch: RefCell::default(),
        }
    }

    /// The same problem without the hand-written kernel: to measure and test it.
    #[cfg(test)]
    pub(crate) fn without_kernel(mut self) -> Self {
        self.fast = None;
        self
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.fast.as_ref().map_or(self.target.len(), Rows::len)
    }

    /// The objective in natural units, from the value of an evaluation.
    pub(crate) fn reported(&self, value: f64) -> f64 {
        let weight: f64 = self.weights.iter().sum();
        self.loss.reported(value, self.unit, weight)
    }

    /// The same with another delta (or scale), a factor of its own.
    pub(crate) fn smoother(&self, factor: f64) -> Self {
        let mut problem = self.clone();
        problem.loss = self.loss.wider(factor);
        problem
    }

    /// Some of the rows, each with a factor on its weight.
    pub(crate) fn resampled(&self, rows: &[usize], factors: &[f64]) -> Self {
        let weights: Vec<f64> = rows
            .iter()
            .zip(factors)
            .map(|(row, factor)| self.weights[*row] * factor)
            .collect();
        let fast = self
            .fast
            .as_ref()
            .map(|all| all.picked(rows, weights.clone()));
        Self {
            coordinates: self.coordinates.clone(),
            bounds: self.bounds.clone(),
            // The kernel needs no tape: gathering one for each replicate would cost as much as a step.
            tape: if fast.is_some() {
                self.tape.gathered(&[])
            } else {
                self.tape.gathered(rows)
            },
            target: rows.iter().map(|row| self.target[*row]).collect(),
            weights,
            fast,
            scratch: RefCell::default(),
            ..*self
        }
    }

    /// How the loss treats residuals, in their normalised unit.
    pub(crate) fn loss(&self) -> Loss {
        self.loss
    }

    /// Residuals in natural units.
    pub(crate) fn residuals(&self, at: &[f64]) -> Vec<f64> {
        let mut residuals = Vec::with_capacity(self.target.len());
        let scratch = &mut self.scratch.borrow_mut().0;
        self.tape
            .evaluate(at, self.target.len(), scratch, |from, lanes, block| {
                let block = self.block_residuals(from, lanes, block.value);
                residuals.extend(block[..lanes].iter().map(|one| self.unit * one));
            });
        residuals
    }

    /// Normalised residuals of a block of rows.
    fn block_residuals(&self, from: usize, lanes: usize, predicted: &Lane) -> Lane {
        let mut residuals = *predicted;
        if self.aim.logarithmic {
            log(&mut residuals[..lanes]);
        }
        let unit = if self.aim.logarithmic { 1.0 } else { self.unit };
        for (residual, target) in residuals[..lanes].iter_mut().zip(&self.target[from..]) {
            *residual = target - *residual / unit;
        }
        residuals
    }

    /// Residuals (normalised) and slopes of every row.
    pub(crate) fn slopes(&self, at: &[f64]) -> Slopes {
        let mut slopes = Slopes {
            residuals: Vec::new(),
            rows: Vec::new(),
        };
        let scratch = &mut self.scratch.borrow_mut().0;
        self.tape
            .evaluate(at, self.target.len(), scratch, |from, lanes, block| {
                let residuals = self.block_residuals(from, lanes, block.value);
                for lane in 0..lanes {
                    let value = block.value[lane];
                    slopes.residuals.push(residuals[lane]);
                    let share = if self.aim.logarithmic {
                        1.0 / value
                    } else {
                        1.0 / self.unit
                    };
                    let mut row = vec![0.0; at.len()];
                    for (k, first) in self.tape.firsts().iter().zip(block.firsts) {
                        row[*k] = first[lane] * share;
                    }
                    slopes.rows.push(row);
                }
            });
        slopes
    }

    fn generic(&self, at: &[f64]) -> Evaluation {
        let firsts = self.tape.firsts();
        let seconds = self.tape.seconds();
        let count = firsts.len();
        let mut value = 0.0;
        let mut gradient = vec![0.0; at.len()];
        let mut gradient_scale = vec![0.0; at.len()];
        let mut hessian = Matrix::zero(at.len());
        let mut majoriser = Matrix::zero(at.len());
        let (scratch, slopes) = &mut *self.scratch.borrow_mut();
        slopes.resize(count, [0.0; BLOCK]);
        self.tape
            .evaluate(at, self.target.len(), scratch, |from, lanes, block| {
                let zero = [0.0; BLOCK];
                let (mut pulled, mut scaled, mut outer, mut major, mut share) =
                    (zero, zero, zero, zero, zero);
                let residuals = self.block_residuals(from, lanes, block.value);
                for lane in 0..lanes {
                    let (predicted, residual) = (block.value[lane], residuals[lane]);
                    let weight = self.weights[from + lane];
                    let effect = self.loss.of(residual);
                    value += weight * effect.cost;
                    pulled[lane] = weight * effect.pull;
                    scaled[lane] = weight * effect.pull.abs().max(effect.floor);
                    // The logarithm bends by itself: (ln f)'' = f''/f - (f'/f)^2.
                    let own = if self.aim.logarithmic {
                        pulled[lane]
                    } else {
                        0.0
                    };
                    outer[lane] = weight * effect.slope + own;
                    major[lane] = weight * effect.least_squares;
                    share[lane] = if self.aim.logarithmic {
                        1.0 / predicted
                    } else {
                        1.0 / self.unit
                    };
                }
                for ((k, first), slope) in firsts.iter().zip(block.firsts).zip(slopes.iter_mut()) {
                    for lane in 0..lanes {
                        slope[lane] = first[lane] * share[lane];
                    }
                    slope[lanes..].fill(0.0);
                    gradient[*k] -= dot(&pulled, slope);
                    gradient_scale[*k] += dot_size(&scaled, slope);
                }
                for (place, k) in firsts.iter().enumerate() {
                    for (other, l) in firsts[..=place].iter().enumerate() {
                        let (bend, hull) =
                            double_dot(&outer, &major, &slopes[place], &slopes[other]);
                        hessian[*k][*l] += bend;
                        majoriser[*k][*l] += hull;
                    }
                }
                for lane in 0..lanes {
                    pulled[lane] *= share[lane];
                }
                for ((k, l), second) in seconds.iter().zip(block.seconds) {
                    let sum: f64 = (0..lanes).map(|lane| pulled[lane] * second[lane]).sum();
                    hessian[*k][*l] -= sum;
                }
            });
        for k in 0..at.len() {
            for l in 0..k {
                hessian[l][k] = hessian[k][l];
                majoriser[l][k] = majoriser[k][l];
            }
        }
        Evaluation {
            value,
            gradient,
            gradient_scale,
            hessian,
            majoriser,
        }
    }
}

impl Objective for Problem {
    fn evaluate(&self, at: &[f64]) -> Evaluation {
        match &self.fast {
            Some(rows) => hoffmann::evaluate(rows, self.loss.delta(), at),
            None => self.generic(at),
        }
    }
}

/// Sum of products. Eight partial sums: the compiler may then use vector instructions, and the order is fixed.
fn dot(one: &Lane, two: &Lane) -> f64 {
    let mut sums = [0.0; 8];
    for (one, two) in one.chunks_exact(8).zip(two.chunks_exact(8)) {
        for lane in 0..8 {
            sums[lane] += one[lane] * two[lane];
        }
    }
    sums.iter().sum()
}

fn dot_size(one: &Lane, two: &Lane) -> f64 {
    let mut sums = [0.0; 8];
    for (one, two) in one.chunks_exact(8).zip(two.chunks_exact(8)) {
        for lane in 0..8 {
            sums[lane] += one[lane] * two[lane].abs();
        }
    }
    sums.iter().sum()
}

/// Sums of left * one * two and of right * one * two.
fn double_dot(left: &Lane, right: &Lane, one: &Lane, two: &Lane) -> (f64, f64) {
    let (mut lefts, mut rights) = ([0.0; 8], [0.0; 8]);
    for from in (0..BLOCK).step_by(8) {
        for lane in 0..8 {
            let product = one[from + lane] * two[from + lane];
            lefts[lane] += left[from + lane] * product;
            rights[lane] += right[from + lane] * product;
        }
    }
    (lefts.iter().sum(), rights.iter().sum())
}
