//! Variable projection: given the other parameters, those that enter linearly are solved for.
//!
//! Golub and Pereyra 1973. A law like E + A N^-alpha + B D^-beta is linear in E, A, B: only alpha and beta need a search, over a
//! box that is known beforehand. That places starts in the right basin for any law without a guess at magnitudes, and is an
//! estimator of its own for squares of plain residuals. Bounds are kept by an active set.

use std::collections::BTreeMap;

use super::cohort::Cohort;
use super::coordinates::middle;
use super::linear::{Matrix, solve_positive};
use crate::law::{Law, Scale};

/// A law split into what enters linearly and the rest.
pub(crate) struct Projection<'a> {
    law: &'a Law,
    cohort: &'a Cohort,
    weights: Vec<f64>,
    /// Free parameters that enter linearly, jointly.
    pub(crate) linear: Vec<usize>,
    /// The other free parameters.
    pub(crate) rest: Vec<usize>,
    base: Vec<f64>,
}

impl<'a> Projection<'a> {
    /// Splits a law. `relative`: errors count in proportion to the response, which stands in for those of logarithms.
    pub(crate) fn new(
        law: &'a Law,
        cohort: &'a Cohort,
        fixed: &BTreeMap<String, f64>,
        relative: bool,
    ) -> Self {
        let count = law.parameters.len();
        let free = |index: &usize| !fixed.contains_key(&law.parameters[*index].name);
        let mut marked = vec![false; count];
        for index in (0..count).filter(free) {
            marked[index] = true;
            marked[index] = law.compiled().formula.affine(&marked);
        }
        let floor = 1e-3 * middle(&cohort.response);
        let weight = |(weight, y): (&f64, &f64)| {
            let size = y.abs().max(floor);
            if relative {
                weight / (size * size)
            } else {
                *weight
            }
        };
        let base = law
            .parameters
            .iter()
            .map(|one| fixed.get(&one.name).copied().unwrap_or(0.0));
        Self {
            law,
            cohort,
            weights: cohort
                .weights
                .iter()
                .zip(&cohort.response)
                .map(weight)
                .collect(),
            linear: (0..count).filter(|index| marked[*index]).collect(),
            rest: (0..count)
                .filter(free)
                .filter(|index| !marked[*index])
                .collect(),
            base: base.collect(),
        }
    }

    /// Solves for the linear parameters with the others at `rest`: natural values of all, and the weighted sum of squares.
    /// `None` where the law has no value there.
    pub(crate) fn solve(&self, rest: &[f64]) -> Option<(Vec<f64>, f64)> {
        let mut values = self.base.clone();
        for (index, value) in self.rest.iter().zip(rest) {
            values[*index] = *value;
        }
        let rows = self.cohort.len();
        let formula = &self.law.compiled().formula;
        let (origin, columns) =
            formula.linear_parts(&self.linear, &values, &self.cohort.columns, rows);
        let wanted: Vec<f64> = self
            .cohort
            .response
            .iter()
            .zip(&origin)
            .map(|(y, origin)| y - origin)
            .collect();
        let solution = self.bounded(&columns, &wanted)?;
        let mut squares = 0.0;
        for row in 0..rows {
            let explained: f64 = columns
                .iter()
                .zip(&solution)
                .map(|(column, one)| column[row] * one)
                .sum();
            let rest = wanted[row] - explained;
            squares += self.weights[row] * rest * rest;
        }
        for ((index, value), column) in self.linear.iter().zip(&solution).zip(&columns) {
            values[*index] = self.lifted(*index, *value, column);
        }
        (squares.is_finite() && values.iter().all(|one| one.is_finite()))
            .then_some((values, squares))
    }

    /// A coefficient on a logarithmic scale cannot be nothing: it begins where its term is a thousandth of the response.
    fn lifted(&self, index: usize, value: f64, column: &[f64]) -> f64 {
        let parameter = &self.law.parameters[index];
        if parameter.scale == Scale::Linear {
            return value;
        }
        let size = column.iter().map(|one| one.abs()).sum::<f64>() / column.len().max(1) as f64;
        let least = 1e-3 * middle(&self.cohort.response) / size.max(f64::MIN_POSITIVE);
        value
            .max(least)
            .clamp(parameter.bounds.low, parameter.bounds.high)
    }

    /// Weighted least squares within the bounds: the coefficient that breaks its bound most is put there, until none does.
    fn bounded(&self, columns: &[Vec<f64>], wanted: &[f64]) -> Option<Vec<f64>> {
        let count = columns.len();
        let product = |one: &[f64], two: &[f64]| -> f64 {
            one.iter()
                .zip(two)
                .zip(&self.weights)
                .map(|((one, two), weight)| one * two * weight)
                .sum()
        };
        let scales: Vec<f64> = columns
            .iter()
            .map(|one| product(one, one).sqrt().max(f64::MIN_POSITIVE))
            .collect();
        let mut gram = Matrix::zero(count);
        let mut right = vec![0.0; count];
        for k in 0..count {
            for l in 0..count {
                gram[k][l] = product(&columns[k], &columns[l]) / (scales[k] * scales[l]);
            }
            // A trace of a ridge: collinear columns (an exponent of zero) still have an answer.
            gram[k][k] += 1e-13;
            right[k] = product(&columns[k], wanted) / scales[k];
        }
        let limits: Vec<(f64, f64)> = self
            .linear
            .iter()
            .zip(&scales)
            .map(|(index, scale)| {
                let parameter = &self.law.parameters[*index];
                let low = if parameter.scale == Scale::Log {
                    0.0
                } else {
                    parameter.bounds.low
                };
                (low * scale, parameter.bounds.high * scale)
            })
            .collect();
        let mut held: Vec<Option<f64>> = vec![None; count];
        loop {
            let free: Vec<bool> = held.iter().map(Option::is_none).collect();
            let mut rest = right.clone();
            for (k, rest) in rest.iter_mut().enumerate() {
                *rest -= (0..count)
                    .filter_map(|l| held[l].map(|value| gram[k][l] * value))
                    .sum::<f64>();
            }
            let solved = solve_positive(&gram, &rest, &free)?;
            let breach = |k: usize| (limits[k].0 - solved[k]).max(solved[k] - limits[k].1);
            let worst = (0..count)
                .filter(|k| free[*k] && breach(*k) > 0.0)
                .max_by(|k, l| breach(*k).total_cmp(&breach(*l)));
            match worst {
                Some(k) => held[k] = Some(solved[k].clamp(limits[k].0, limits[k].1)),
                None => {
                    let value = |k: usize| held[k].unwrap_or(solved[k]) / scales[k];
                    return Some((0..count).map(value).collect());
                }
            }
        }
    }

    /// Lowers the sum of squares over the other parameters from a point, by Nelder and Mead's simplex in readings.
    pub(crate) fn descend(&self, rest: &[f64]) -> Vec<f64> {
        let logarithmic = |place: usize| self.law.parameters[self.rest[place]].scale == Scale::Log;
        let forward = |values: &[f64]| -> Vec<f64> {
            let read = |(place, value): (usize, &f64)| {
                if logarithmic(place) {
                    libm::log(*value)
                } else {
                    *value
                }
            };
            values.iter().enumerate().map(read).collect()
        };
        let back = |point: &[f64]| -> Vec<f64> {
            let natural = |(place, value): (usize, &f64)| {
                let bounds = self.law.parameters[self.rest[place]].bounds;
                let value = if logarithmic(place) {
                    libm::exp(*value)
                } else {
                    *value
                };
                value.clamp(bounds.low, bounds.high)
            };
            point.iter().enumerate().map(natural).collect()
        };
        let cost = |point: &[f64]| {
            self.solve(&back(point))
                .map_or(f64::INFINITY, |(_, squares)| squares)
        };
        back(&simplex(&forward(rest), cost))
    }
}

/// Nelder and Mead 1965 with the usual coefficients. It only has to come near: Newton's method finishes.
fn simplex(start: &[f64], cost: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let size = start.len();
    let with_cost = |point: Vec<f64>| {
        let value = cost(&point);
        (value, point)
    };
    let mut corners = vec![with_cost(start.to_vec())];
    for index in 0..size {
        let mut point = start.to_vec();
        point[index] += 0.1 * point[index].abs().max(1.0);
        corners.push(with_cost(point));
    }
    for _ in 0..200 * size {
        corners.sort_by(|one, two| one.0.total_cmp(&two.0));
        if corners[size].0 - corners[0].0 <= 1e-12 * corners[0].0.abs() {
            break;
        }
        let centre: Vec<f64> = (0..size)
            .map(|index| {
                corners[..size]
                    .iter()
                    .map(|corner| corner.1[index])
                    .sum::<f64>()
                    / size as f64
            })
            .collect();
        let towards = |share: f64| {
            let point = centre
                .iter()
                .zip(&corners[size].1)
                .map(|(centre, worst)| centre + share * (centre - worst));
            with_cost(point.collect())
        };
        let mirrored = towards(1.0);
        let next = if mirrored.0 < corners[0].0 {
            let further = towards(2.0);
            if further.0 < mirrored.0 {
                further
            } else {
                mirrored
            }
        } else if mirrored.0 < corners[size - 1].0 {
            mirrored
        } else {
            towards(if mirrored.0 < corners[size].0 {
                0.5
            } else {
                -0.5
            })
        };
        if next.0 < corners[size].0 {
            corners[size] = next;
        } else {
            let best = corners[0].1.clone();
            for corner in &mut corners[1..] {
                let point = corner
                    .1
                    .iter()
                    .zip(&best)
                    .map(|(one, best)| 0.5 * (one + best));
                *corner = with_cost(point.collect());
            }
        }
    }
    corners.sort_by(|one, two| one.0.total_cmp(&two.0));
    corners.swap_remove(0).1
}
