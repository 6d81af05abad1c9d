//! Gaussian process with a Matérn 5/2 kernel, a length for each column and noise (Rasmussen and Williams 2006, chapters 2
//! and 5), for few rows.
//!
//! Lengths, variance and noise maximise the marginal likelihood, under a weak prior on the lengths that grows with the
//! number of columns (Hvarfner et al. 2024) and one on the noise: with few rows and many columns the likelihood alone
//! explains noise. Work grows with the cube of the rows, so the search sees at most 256 of them.

// Rows and columns of one matrix at once.
#![allow(clippy::needless_range_loop)]

use serde::{Deserialize, Serialize};

/// Rows that the search for lengths sees at most.
pub(crate) const SEARCH_ROWS: usize = 256;

/// Rows that a process is conditioned on at most.
pub(crate) const ROWS: usize = 600;

/// A process conditioned on its rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct GaussianProcess {
    /// Logarithms: a length for each column, variance, noise variance (of the standardised target).
    pub(crate) logs: Vec<f64>,
    centre: f64,
    spread: f64,
    points: Vec<Vec<f64>>,
    alpha: Vec<f64>,
}

/// Rows, standardised target and relative noise.
pub(crate) struct Conditioning<'a> {
    pub(crate) points: &'a [Vec<f64>],
    pub(crate) target: &'a [f64],
    /// Noise variance of each row as a multiple of the common one.
    pub(crate) noise: &'a [f64],
}

/// Eight sums side by side: the compiler may use wide registers, and the order is still fixed.
fn dot(one: &[f64], two: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (heads, head_rest) = one.as_chunks::<8>();
    let (tails, tail_rest) = two.as_chunks::<8>();
    for (head, tail) in heads.iter().zip(tails) {
        for lane in 0..8 {
            sums[lane] += head[lane] * tail[lane];
        }
    }
    let rest: f64 = head_rest
        .iter()
        .zip(tail_rest)
        .map(|(one, two)| one * two)
        .sum();
    ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7])) + rest
}

/// Lower factor of a symmetric matrix, row after row. `None` where it is not positive definite.
fn cholesky(matrix: &mut [Vec<f64>]) -> Option<()> {
    for row in 0..matrix.len() {
        let (above, rest) = matrix.split_at_mut(row);
        let line = &mut rest[0];
        for column in 0..row {
            let sum = line[column] - dot(&line[..column], &above[column][..column]);
            line[column] = sum / above[column][column];
        }
        let pivot = line[row] - dot(&line[..row], &line[..row]);
        if pivot.is_nan() || pivot <= 1e-13 {
            return None;
        }
        line[row] = pivot.sqrt();
    }
    Some(())
}

fn solve(factor: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let count = right.len();
    let mut x = right.to_vec();
    for row in 0..count {
        x[row] = (x[row] - dot(&factor[row][..row], &x[..row])) / factor[row][row];
    }
    for row in (0..count).rev() {
        x[row] /= factor[row][row];
        let value = x[row];
        for column in 0..row {
            x[column] -= factor[row][column] * value;
        }
    }
    x
}

/// Kernel value and the common factor of its derivatives by the logarithms of the lengths.
fn matern(squared: f64, variance: f64) -> (f64, f64) {
    let scaled = (5.0 * squared).sqrt();
    let decay = variance * libm::exp(-scaled);
    (
        decay * (1.0 + scaled + 5.0 / 3.0 * squared),
        decay * 5.0 / 3.0 * (1.0 + scaled),
    )
}

fn distance(one: &[f64], two: &[f64], inverse: &[f64]) -> f64 {
    one.iter()
        .zip(two)
        .zip(inverse)
        .map(|((one, two), inverse)| {
            let step = (one - two) * inverse;
            step * step
        })
        .sum()
}

impl Conditioning<'_> {
    fn covariance(&self, logs: &[f64]) -> Vec<Vec<f64>> {
        let columns = logs.len() - 2;
        let inverse: Vec<f64> = logs[..columns].iter().map(|log| libm::exp(-log)).collect();
        let (variance, noise) = (libm::exp(logs[columns]), libm::exp(logs[columns + 1]));
        (0..self.points.len())
            .map(|row| {
                let mut line: Vec<f64> = (0..=row)
                    .map(|other| {
                        matern(
                            distance(&self.points[row], &self.points[other], &inverse),
                            variance,
                        )
                        .0
                    })
                    .collect();
                line[row] += noise * self.noise[row];
                line
            })
            .collect()
    }

    /// Log marginal likelihood and its gradient by the logarithms.
    pub(crate) fn likelihood(&self, logs: &[f64]) -> Option<(f64, Vec<f64>)> {
        let (count, columns) = (self.points.len(), logs.len() - 2);
        let mut factor = self.covariance(logs);
        cholesky(&mut factor)?;
        let alpha = solve(&factor, self.target);
        let mut value = -0.5 * dot(self.target, &alpha)
            - 0.5 * count as f64 * libm::log(2.0 * std::f64::consts::PI);
        value -= (0..count)
            .map(|row| libm::log(factor[row][row]))
            .sum::<f64>();
        // Columns of the inverse factor, each contiguous.
        let mut inverse_factor = vec![vec![0.0; count]; count];
        for column in 0..count {
            let line = &mut inverse_factor[column];
            line[column] = 1.0 / factor[column][column];
            for row in column + 1..count {
                line[row] = -dot(&factor[row][column..row], &line[column..row]) / factor[row][row];
            }
        }
        let inverse: Vec<f64> = logs[..columns].iter().map(|log| libm::exp(-log)).collect();
        let (variance, noise) = (libm::exp(logs[columns]), libm::exp(logs[columns + 1]));
        let mut gradient = vec![0.0; logs.len()];
        for row in 0..count {
            for other in 0..=row {
                let precision = dot(&inverse_factor[row][row..], &inverse_factor[other][row..]);
                // Both triangles count, the diagonal once.
                let weight =
                    if row == other { 0.5 } else { 1.0 } * (alpha[row] * alpha[other] - precision);
                let (kernel, slope) = matern(
                    distance(&self.points[row], &self.points[other], &inverse),
                    variance,
                );
                gradient[columns] += weight * kernel;
                if row == other {
                    gradient[columns + 1] += weight * noise * self.noise[row];
                } else {
                    for column in 0..columns {
                        let step = (self.points[row][column] - self.points[other][column])
                            * inverse[column];
                        gradient[column] += weight * slope * step * step;
                    }
                }
            }
        }
        Some((value, gradient))
    }

    /// Objective to minimise: minus the likelihood, minus the logarithm of the priors where asked for.
    fn objective(&self, logs: &[f64], priors: bool) -> Option<(f64, Vec<f64>)> {
        let (value, gradient) = self.likelihood(logs)?;
        let (mut value, mut gradient) = (
            -value,
            gradient.into_iter().map(|slope| -slope).collect::<Vec<_>>(),
        );
        if priors {
            let columns = logs.len() - 2;
            let middle = std::f64::consts::SQRT_2 + 0.5 * libm::log(columns as f64);
            let mut add = |place: usize, middle: f64, variance: f64| {
                let off = logs[place] - middle;
                value += 0.5 * off * off / variance;
                gradient[place] += off / variance;
            };
            for column in 0..columns {
                add(column, middle, 3.0);
            }
            add(columns, 0.0, 4.0);
            add(columns + 1, -4.0, 4.0);
        }
        Some((value, gradient))
    }

    /// Logarithms at the optimum from one start: limited-memory BFGS (Nocedal 1980), bounded by projection.
    pub(crate) fn search(&self, start: &[f64], priors: bool) -> Option<(f64, Vec<f64>)> {
        let bounds = |place: usize| {
            if place == start.len() - 1 {
                (-14.0, 2.0)
            } else {
                (-6.0, 12.0)
            }
        };
        let mut at = start.to_vec();
        let (mut value, mut slope) = self.objective(&at, priors)?;
        let mut memory: Vec<(Vec<f64>, Vec<f64>, f64)> = Vec::new();
        for _ in 0..100 {
            let blocked = |place: usize| {
                let (low, high) = bounds(place);
                (at[place] <= low && slope[place] > 0.0)
                    || (at[place] >= high && slope[place] < 0.0)
            };
            let mut direction: Vec<f64> = (0..at.len())
                .map(|place| if blocked(place) { 0.0 } else { slope[place] })
                .collect();
            if direction
                .iter()
                .fold(0.0_f64, |most, slope| most.max(slope.abs()))
                < 1e-4
            {
                break;
            }
            let mut shares = Vec::new();
            for (step, change, inverse) in memory.iter().rev() {
                let share = dot(step, &direction) * inverse;
                direction
                    .iter_mut()
                    .zip(change)
                    .for_each(|(d, c)| *d -= share * c);
                shares.push(share);
            }
            if let Some((step, change, _)) = memory.last() {
                let scale = dot(step, change) / dot(change, change);
                direction.iter_mut().for_each(|d| *d *= scale);
            }
            for ((step, change, inverse), share) in memory.iter().zip(shares.into_iter().rev()) {
                let back = share - dot(change, &direction) * inverse;
                direction
                    .iter_mut()
                    .zip(step)
                    .for_each(|(d, s)| *d += back * s);
            }
            (0..at.len())
                .filter(|place| blocked(*place))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|place| direction[place] = 0.0);
            if dot(&direction, &slope) <= 0.0 {
                direction.clone_from(&slope);
                memory.clear();
            }
            let longest = direction
                .iter()
                .fold(1e-300_f64, |most, d| most.max(d.abs()));
            let mut length = if memory.is_empty() {
                0.5 / longest.max(0.5)
            } else {
                (2.0 / longest).min(1.0)
            };
            let mut found = None;
            for _ in 0..20 {
                let next: Vec<f64> = (0..at.len())
                    .map(|place| {
                        let (low, high) = bounds(place);
                        (at[place] - length * direction[place]).clamp(low, high)
                    })
                    .collect();
                let fall: f64 = (0..at.len())
                    .map(|place| slope[place] * (at[place] - next[place]))
                    .sum();
                if let Some((there, gradient)) = self
                    .objective(&next, priors)
                    .filter(|(there, _)| *there <= value - 1e-4 * fall)
                {
                    found = Some((next, there, gradient));
                    break;
                }
                length *= 0.4;
            }
            let Some((next, there, gradient)) = found else {
                break;
            };
            let step: Vec<f64> = next.iter().zip(&at).map(|(next, at)| next - at).collect();
            let change: Vec<f64> = gradient
                .iter()
                .zip(&slope)
                .map(|(next, at)| next - at)
                .collect();
            let curvature = dot(&step, &change);
            if curvature > 1e-10 {
                memory.push((step, change, 1.0 / curvature));
                if memory.len() > 10 {
                    memory.remove(0);
                }
            }
            let gained = value - there;
            (at, value, slope) = (next, there, gradient);
            if gained < 1e-7 * value.abs().max(1.0) {
                break;
            }
        }
        Some((value, at))
    }
}

impl GaussianProcess {
    /// Searches the logarithms over rows of which there are at most `SEARCH_ROWS`: a smooth and a rough start.
    pub(crate) fn tune(points: &[Vec<f64>], target: &[f64], weights: &[f64]) -> Option<Vec<f64>> {
        let columns = points.first()?.len();
        let (_, _, target) = standardise(target);
        let noise = relative_noise(weights);
        let rows = Conditioning {
            points,
            target: &target,
            noise: &noise,
        };
        let middle = 0.5 * libm::log(columns as f64);
        let start = |length: f64, noise: f64| {
            let mut start = vec![length; columns];
            start.extend([0.0, noise]);
            start
        };
        [start(middle + 1.0, -3.0), start(middle, -1.0)]
            .iter()
            .filter_map(|start| rows.search(start, true))
            .min_by(|one, two| one.0.total_cmp(&two.0))
            .map(|(_, logs)| logs)
    }

    /// Conditions on rows. `None` where the covariance is singular.
    pub(crate) fn condition(
        points: Vec<Vec<f64>>,
        target: &[f64],
        weights: &[f64],
        logs: &[f64],
    ) -> Option<Self> {
        let (centre, spread, target) = standardise(target);
        let noise = relative_noise(weights);
        let rows = Conditioning {
            points: &points,
            target: &target,
            noise: &noise,
        };
        let mut factor = rows.covariance(logs);
        cholesky(&mut factor)?;
        let alpha = solve(&factor, &target);
        Some(Self {
            logs: logs.to_vec(),
            centre,
            spread,
            points,
            alpha,
        })
    }

    /// The mean at a scaled row.
    pub(crate) fn predict(&self, x: &[f64]) -> f64 {
        let columns = self.logs.len() - 2;
        let inverse: Vec<f64> = self.logs[..columns]
            .iter()
            .map(|log| libm::exp(-log))
            .collect();
        let variance = libm::exp(self.logs[columns]);
        let sum: f64 = self
            .points
            .iter()
            .zip(&self.alpha)
            .map(|(point, alpha)| alpha * matern(distance(point, x, &inverse), variance).0)
            .sum();
        self.centre + self.spread * sum
    }
}

fn standardise(target: &[f64]) -> (f64, f64, Vec<f64>) {
    let count = target.len() as f64;
    let centre = target.iter().sum::<f64>() / count;
    let spread = (target
        .iter()
        .map(|value| (value - centre) * (value - centre))
        .sum::<f64>()
        / count)
        .sqrt()
        .max(1e-300);
    (
        centre,
        spread,
        target
            .iter()
            .map(|value| (value - centre) / spread)
            .collect(),
    )
}

fn relative_noise(weights: &[f64]) -> Vec<f64> {
    let mean = weights.iter().sum::<f64>() / weights.len() as f64;
    weights.iter().map(|weight| mean / weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twelve points of a plane with something like noise, standardised.
    fn rows() -> (Vec<Vec<f64>>, Vec<f64>) {
        let points: Vec<Vec<f64>> = (0..12)
            .map(|i| {
                vec![
                    f64::from(7 * i % 12) / 6.0 - 1.0,
                    f64::from((5 * i + 3) % 12) / 6.0 - 1.0,
                ]
            })
            .collect();
        let target: Vec<f64> = points
            .iter()
            .zip(0..)
            .map(|(x, i)| {
                libm::sin(2.0 * x[0]) + 0.5 * x[1] * x[1] + 0.3 * f64::from(37 * i % 11 - 5) / 5.0
            })
            .collect();
        let (_, _, target) = standardise(&target);
        (points, target)
    }

    // Expected values: scikit-learn 1.9.1, ConstantKernel * Matern(nu=2.5) + WhiteKernel.
    #[test]
    fn likelihood_gradient_and_mean_are_scikit_learns() {
        let (points, target) = rows();
        let noise = vec![1.0; 12];
        let conditioning = Conditioning {
            points: &points,
            target: &target,
            noise: &noise,
        };
        let logs = [0.7, 1.9, 1.3, 0.05].map(libm::log);
        let (value, gradient) = conditioning.likelihood(&logs).expect("positive definite");
        // scikit-learn adds 1e-10 to the diagonal.
        assert!((value + 9.495_724_302_880_64).abs() < 1e-8, "{value}");
        for (slope, expected) in
            gradient
                .iter()
                .zip([0.776_329_15, 0.480_059_8, -0.461_320_44, 0.797_569_2])
        {
            assert!((slope - expected).abs() < 1e-6, "{gradient:?}");
        }
        let process =
            GaussianProcess::condition(points, &target, &noise, &logs).expect("positive definite");
        assert!((process.predict(&[0.25, -0.4]) - 0.652_975_03).abs() < 1e-7);
    }

    #[test]
    fn the_search_finds_scikit_learns_optimum() {
        let (points, target) = rows();
        let noise = vec![1.0; 12];
        let conditioning = Conditioning {
            points: &points,
            target: &target,
            noise: &noise,
        };
        let (value, logs) = conditioning
            .search(&[0.0, 0.0, 0.0, -3.0], false)
            .expect("positive definite");
        // The best of 20 restarts.
        assert!((value - 7.744_887_786_667_355).abs() < 1e-5, "{value}");
        for (log, expected) in
            logs.iter()
                .zip([0.923_343_52, 3.128_579_54, 1.638_757_77, -2.635_752_13])
        {
            assert!((log - expected).abs() < 0.02, "{logs:?}");
        }
    }
}
