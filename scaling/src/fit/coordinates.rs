//! The coordinates a law is searched in, and the way back to natural numbers.
//!
//! Logarithmic parameters move by their logarithm; the coefficient A of a term A x^p moves by ln(A x0^p), with x0 the
//! geometric mean of the column. Without that ln A and p move together over many units (condition numbers near 1e7);
//! centred, each coordinate has its own effect at the middle of the data. E stays linear and not ln E, because E = 0 is
//! then a point that a bound can hold and a certificate can name; in ln E it is an endless flat slope on which every solver
//! claims to have converged. It is measured in middle responses.
//!
//! Between the coordinates z and natural numbers stand the *readings* u: ln value for logarithmic parameters, the value for
//! others. Intervals are widened and replicates compared in u.

use std::collections::BTreeMap;

use super::cohort::Cohort;
use super::newton::Bounds;
use crate::law::tape::Coordinate;
use crate::law::{Law, Scale};

/// How a law's parameters are moved in a search.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Coordinates {
    pub(crate) kinds: Vec<Coordinate>,
}

/// Whether coefficients are seen from the middle of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Centring {
    /// All that the law lists.
    All,
    /// All but one parameter's: its coordinate is then the parameter itself.
    AllBut(usize),
    /// None.
    Nothing,
}

impl Coordinates {
    /// Coordinates for a cohort.
    pub(crate) fn new(
        law: &Law,
        cohort: &Cohort,
        fixed: &BTreeMap<String, f64>,
        centring: Centring,
    ) -> Self {
        let middle = middle(&cohort.response);
        let kind = |index: usize| {
            let parameter = &law.parameters[index];
            if let Some(value) = fixed.get(&parameter.name) {
                return Coordinate::Fixed(*value);
            }
            if parameter.scale == Scale::Linear {
                let unit = if asymptote(law, index) { middle } else { 1.0 };
                return Coordinate::Linear { unit };
            }
            let (mut offset, mut shears) = (0.0, Vec::new());
            let centred = match centring {
                Centring::All => true,
                Centring::AllBut(other) => other != index,
                Centring::Nothing => false,
            };
            for (column, exponent) in parameter.centre.iter().filter(|_| centred) {
                let sign = if exponent.starts_with('-') { -1.0 } else { 1.0 };
                let name = exponent.trim_start_matches('-');
                let place = law.parameters.iter().position(|one| one.name == name);
                let column = law.columns.iter().position(|one| one.name == *column);
                let (Some(place), Some(column)) = (place, column) else {
                    continue;
                };
                // ln A = z - sign p m, with m the mean logarithm of the column.
                let factor = -sign * mean_logarithm(&cohort.columns[column]);
                match fixed.get(name) {
                    Some(value) => offset += factor * value,
                    // A logarithmic exponent would make the shear a curve.
                    None if law.parameters[place].scale == Scale::Linear => {
                        shears.push((place, factor))
                    }
                    None => {}
                }
            }
            Coordinate::Log { offset, shears }
        };
        Self {
            kinds: (0..law.parameters.len()).map(kind).collect(),
        }
    }

    /// From coordinates to readings.
    pub(crate) fn readings(&self, at: &[f64]) -> Vec<f64> {
        let linear = |index: usize| match &self.kinds[index] {
            Coordinate::Linear { unit } => unit * at[index],
            _ => at[index],
        };
        let reading = |(index, kind): (usize, &Coordinate)| match kind {
            Coordinate::Fixed(value) => *value,
            Coordinate::Linear { .. } => linear(index),
            Coordinate::Log { offset, shears } => shears
                .iter()
                .fold(offset + at[index], |sum, (other, factor)| {
                    sum + factor * linear(*other)
                }),
        };
        self.kinds.iter().enumerate().map(reading).collect()
    }

    /// From readings to coordinates.
    pub(crate) fn place(&self, readings: &[f64]) -> Vec<f64> {
        let coordinate = |(index, kind): (usize, &Coordinate)| match kind {
            Coordinate::Fixed(value) => *value,
            Coordinate::Linear { unit } => readings[index] / unit,
            Coordinate::Log { offset, shears } => shears
                .iter()
                .fold(readings[index] - offset, |rest, (other, factor)| {
                    rest - factor * readings[*other]
                }),
        };
        self.kinds.iter().enumerate().map(coordinate).collect()
    }

    /// From coordinates to natural numbers.
    pub(crate) fn natural(&self, at: &[f64]) -> Vec<f64> {
        let mut values = self.readings(at);
        for (value, kind) in values.iter_mut().zip(&self.kinds) {
            if matches!(kind, Coordinate::Log { .. }) {
                *value = libm::exp(*value);
            }
        }
        values
    }

    /// From natural numbers to readings.
    pub(crate) fn read(&self, values: &[f64]) -> Vec<f64> {
        let reading = |(value, kind): (&f64, &Coordinate)| match kind {
            Coordinate::Log { .. } => libm::log(*value),
            _ => *value,
        };
        values.iter().zip(&self.kinds).map(reading).collect()
    }

    /// Whether a parameter is read by its logarithm.
    pub(crate) fn logarithmic(&self, index: usize) -> bool {
        matches!(self.kinds[index], Coordinate::Log { .. })
    }

    /// Whether a parameter was set and not searched.
    pub(crate) fn fixed(&self, index: usize) -> bool {
        matches!(self.kinds[index], Coordinate::Fixed(_))
    }

    /// Limits of the search. A centred coefficient's are as wide as its own for every exponent: whether it kept its own is
    /// looked at afterwards.
    pub(crate) fn bounds(&self, law: &Law, cohort: &Cohort) -> Bounds {
        let largest = cohort
            .response
            .iter()
            .fold(0.0_f64, |most, one| most.max(one.abs()));
        let (mut low, mut high) = (Vec::new(), Vec::new());
        for (index, (kind, parameter)) in self.kinds.iter().zip(&law.parameters).enumerate() {
            let bounds = parameter.bounds;
            match kind {
                Coordinate::Fixed(value) => {
                    low.push(*value);
                    high.push(*value);
                }
                Coordinate::Linear { unit } => {
                    // An asymptote far above all that was seen is no answer, only a long way to it.
                    let cap = if asymptote(law, index) {
                        (2.0 * largest).max(bounds.low)
                    } else {
                        f64::INFINITY
                    };
                    low.push(bounds.low / unit);
                    high.push(bounds.high.min(cap) / unit);
                }
                Coordinate::Log { offset, shears } => {
                    let mut slack = 0.0;
                    for (other, factor) in shears {
                        let limits = law.parameters[*other].bounds;
                        slack += factor.abs() * limits.low.abs().max(limits.high.abs());
                    }
                    low.push(libm::log(bounds.low) - offset - slack);
                    high.push(libm::log(bounds.high) - offset + slack);
                }
            }
        }
        Bounds { low, high }
    }
}

/// Whether a parameter is an asymptote of the law: it is in the unit of the response, linear, and enters linearly.
pub(crate) fn asymptote(law: &Law, index: usize) -> bool {
    let parameter = &law.parameters[index];
    let mut marked = vec![false; law.parameters.len()];
    marked[index] = true;
    parameter.scale == Scale::Linear
        && parameter.unit == law.response.unit
        && law.compiled().formula.affine(&marked)
}

/// The geometric mean of positive numbers, the mean size of others.
pub(crate) fn middle(response: &[f64]) -> f64 {
    let value = if response.iter().all(|one| *one > 0.0) {
        libm::exp(mean_logarithm(response))
    } else {
        response.iter().map(|one| one.abs()).sum::<f64>() / response.len().max(1) as f64
    };
    if value.is_normal() { value } else { 1.0 }
}

fn mean_logarithm(column: &[f64]) -> f64 {
    let sum: f64 = column.iter().map(|one| libm::log(*one)).sum();
    let mean = sum / column.len().max(1) as f64;
    if mean.is_finite() { mean } else { 0.0 }
}
