//! Hoffmann's law: L(N, D) = E + A / N^alpha + B / D^beta.
//!
//! N: parameters (a count), D: training tokens (a count), L and E: nats per token. Reference: Hoffmann et al. 2022,
//! "Training Compute-Optimal Large Language Models" (arXiv 2203.15556), appendix D.3; the objective as restated by
//! Besiroglu et al. 2024 (arXiv 2404.10102): the sum over rows of Huber_delta(ln L - ln L_hat), in which
//! ln L_hat = log-sum-exp(ln A - alpha ln N, ln B - beta ln D, ln E).
//!
//! # Coordinates
//! The rows are centred: with N0, D0 and L0 the geometric means of the data, the fit moves in
//! `(ln(A N0^-alpha / L0), ln(B D0^-beta / L0), E / L0, alpha, beta)`. Without centring ln A and alpha move together
//! over many units (condition numbers near 1e7); centred, each coordinate has its own effect at the middle of the
//! data. E stays linear and not ln E, because E = 0 is then a point that a bound can hold and a certificate can
//! name; in ln E it is an endless flat slope on which every solver claims to have converged.
//!
//! With all three terms relative to L0, the log-sum-exp is the logarithm of a sum of moderate numbers: no overflow
//! happens inside the bounds, and the maximum need not be taken out.

use serde::{Deserialize, Serialize};

use crate::newton::{Bounds, Evaluation, Objective};

/// Number of parameters.
pub(crate) const COUNT: usize = 5;

/// Names in the order of the coordinates.
pub(crate) const NAMES: [&str; COUNT] = ["a", "b", "e", "alpha", "beta"];

/// Index of E among the coordinates.
pub(crate) const FLOOR: usize = 2;

/// A point in the centred coordinates.
pub(crate) type Point = [f64; COUNT];

/// Residuals (natural logarithm of the loss) below this share of delta pull with it in the *scale* of the gradient,
/// so that a perfect fit, whose pulls are all rounding, can be seen to have converged.
const PULL_FLOOR: f64 = 1e-3;

/// The five numbers of the law in natural units.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coefficients {
    /// Irreducible loss E, nats per token.
    pub e: f64,
    /// A, nats per token times parameters^alpha.
    pub a: f64,
    /// B, nats per token times tokens^beta.
    pub b: f64,
    /// Exponent of the parameters.
    pub alpha: f64,
    /// Exponent of the tokens.
    pub beta: f64,
}

impl Coefficients {
    /// Loss in nats per token of a run with `parameters` parameters and `tokens` tokens.
    pub fn loss(&self, parameters: f64, tokens: f64) -> f64 {
        self.e
            + libm::exp(libm::log(self.a) - self.alpha * libm::log(parameters))
            + libm::exp(libm::log(self.b) - self.beta * libm::log(tokens))
    }

    /// Exponent of the compute-optimal size: N_opt grows as C^(beta / (alpha + beta)) (Hoffmann et al. 2022, eq. 4).
    pub fn allocation_exponent(&self) -> f64 {
        self.beta / (self.alpha + self.beta)
    }

    /// In the order of [`NAMES`].
    pub(crate) fn array(&self) -> [f64; COUNT] {
        [self.a, self.b, self.e, self.alpha, self.beta]
    }
}

/// The middle of the data, subtracted before fitting: natural logarithms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Centre {
    /// ln of the middle number of parameters.
    pub(crate) parameters: f64,
    /// ln of the middle number of tokens.
    pub(crate) tokens: f64,
    /// ln of the middle loss.
    pub(crate) loss: f64,
}

impl Centre {
    /// From centred coordinates to natural units.
    pub(crate) fn natural(&self, at: &Point) -> Coefficients {
        let [a, b, e, alpha, beta] = *at;
        Coefficients {
            e: e * libm::exp(self.loss),
            a: libm::exp(a + self.loss + alpha * self.parameters),
            b: libm::exp(b + self.loss + beta * self.tokens),
            alpha,
            beta,
        }
    }

    /// From natural units (with ln A and ln B) to centred coordinates.
    pub(crate) fn point(&self, ln_a: f64, ln_b: f64, e: f64, alpha: f64, beta: f64) -> Point {
        [
            ln_a - self.loss - alpha * self.parameters,
            ln_b - self.loss - beta * self.tokens,
            e * libm::exp(-self.loss),
            alpha,
            beta,
        ]
    }

    /// The same point seen from another centre.
    pub(crate) fn moved(&self, at: &Point, to: &Centre) -> Point {
        let [a, b, e, alpha, beta] = *at;
        to.point(
            a + self.loss + alpha * self.parameters,
            b + self.loss + beta * self.tokens,
            e * libm::exp(self.loss),
            alpha,
            beta,
        )
    }
}

/// One row as the objective sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// ln N - ln N0.
    pub(crate) parameters: f64,
    /// ln D - ln D0.
    pub(crate) tokens: f64,
    /// ln L - ln L0.
    pub(crate) loss: f64,
    /// Weight in the sum.
    pub(crate) weight: f64,
}

/// Huber's loss of the log residuals, divided by delta so that the pull of a row is at most its weight.
#[derive(Clone, Debug)]
pub(crate) struct LogHuber {
    /// Centred rows.
    pub(crate) rows: Vec<Row>,
    /// Where Huber's loss turns from square to straight (natural logarithm of the loss).
    pub(crate) delta: f64,
    /// The centre the rows are seen from.
    pub(crate) centre: Centre,
}

impl LogHuber {
    /// The same rows seen from another centre of N and D (not of the loss).
    pub(crate) fn recentred(&self, parameters: f64, tokens: f64) -> Self {
        let mut moved = self.clone();
        for row in &mut moved.rows {
            row.parameters += self.centre.parameters - parameters;
            row.tokens += self.centre.tokens - tokens;
        }
        moved.centre = Centre {
            parameters,
            tokens,
            ..self.centre
        };
        moved
    }

    /// ln L - ln L_hat of every row.
    pub(crate) fn residuals(&self, at: &Point) -> Vec<f64> {
        let [a, b, e, alpha, beta] = *at;
        self.rows
            .iter()
            .map(|row| {
                let size = libm::exp(a - alpha * row.parameters);
                let data = libm::exp(b - beta * row.tokens);
                row.loss - libm::log(e + size + data)
            })
            .collect()
    }

    /// Limits of the search, wide: their purpose is to end a slide along a flat direction, not to shape the answer.
    ///
    /// E between 0 and twice the largest loss. The terms at the middle of the data between e^-30 (nothing) and e^60
    /// of the loss (the grid of the paper starts there). Exponents between 0 (no effect: the term is a second E) and 5,
    /// ten times what any published law has.
    pub(crate) fn bounds(&self) -> Bounds<COUNT> {
        let largest = self.rows.iter().map(|row| row.loss).fold(0.0, f64::max);
        let shift_n = 5.0 * self.centre.parameters.abs();
        let shift_d = 5.0 * self.centre.tokens.abs();
        Bounds {
            low: [-30.0 - shift_n, -30.0 - shift_d, 0.0, 0.0, 0.0],
            high: [
                60.0 + shift_n,
                60.0 + shift_d,
                2.0 * libm::exp(largest),
                5.0,
                5.0,
            ],
        }
    }
}

impl Objective<COUNT> for LogHuber {
    fn evaluate(&self, at: &Point) -> Evaluation<COUNT> {
        let [a, b, e, alpha, beta] = *at;
        let inside = 1.0 / self.delta;
        let mut value = 0.0;
        let mut gradient = [0.0; COUNT];
        let mut gradient_scale = [0.0; COUNT];
        let mut hessian = [[0.0; COUNT]; COUNT];
        let mut majoriser = [[0.0; COUNT]; COUNT];
        // Flat lower triangles, padded to an even length: the compiler turns their loop into vector instructions.
        let mut bends = [0.0; 16];
        let mut hulls = [0.0; 16];
        for row in &self.rows {
            let size = libm::exp(a - alpha * row.parameters);
            let data = libm::exp(b - beta * row.tokens);
            let sum = e + size + data;
            let residual = row.loss - libm::log(sum);
            let distance = residual.abs();
            // Huber over delta: pull in [-1, 1], its slope, and the weight of iterated least squares.
            let (cost, pull, slope, least_squares) = if distance <= self.delta {
                (
                    0.5 * residual * residual * inside,
                    residual * inside,
                    inside,
                    inside,
                )
            } else {
                (
                    distance - 0.5 * self.delta,
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
            hessian[0][0] -= pulled * p;
            hessian[3][0] -= pulled * slopes[3];
            hessian[3][3] += pulled * row.parameters * slopes[3];
            hessian[1][1] -= pulled * q;
            hessian[4][1] -= pulled * slopes[4];
            hessian[4][4] += pulled * row.tokens * slopes[4];
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
            gradient,
            gradient_scale,
            hessian,
            majoriser,
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem(delta: f64) -> LogHuber {
        let rows = (0..12)
            .map(|index| {
                let step = f64::from(index);
                Row {
                    parameters: libm::sin(3.0 * step) * 2.0,
                    tokens: libm::cos(5.0 * step) * 1.5,
                    loss: 0.3 * libm::sin(7.0 * step),
                    weight: 1.0 + 0.1 * step,
                }
            })
            .collect();
        LogHuber {
            rows,
            delta,
            centre: Centre {
                parameters: 20.0,
                tokens: 22.0,
                loss: 1.0,
            },
        }
    }

    proptest! {
        #[test]
        fn derivatives_agree_with_finite_differences(
            a in -3.0..1.0f64, b in -3.0..1.0f64, e in 0.05..1.2f64,
            alpha in 0.0..1.5f64, beta in 0.0..1.5f64, large_delta in any::<bool>(),
        ) {
            let problem = problem(if large_delta { 10.0 } else { 1e-3 });
            let at = [a, b, e, alpha, beta];
            // Huber's second derivative jumps at delta: leave points alone whose stencil could straddle it.
            prop_assume!(problem.residuals(&at).iter().all(|r| (r.abs() - problem.delta).abs() > 1e-4));
            let here = problem.evaluate(&at);
            let step = 1e-6;
            for index in 0..COUNT {
                let (mut up, mut down) = (at, at);
                up[index] += step;
                down[index] -= step;
                let (up, down) = (problem.evaluate(&up), problem.evaluate(&down));
                let slope = (up.value - down.value) / (2.0 * step);
                prop_assert!((slope - here.gradient[index]).abs() < 1e-5 * (1.0 + slope.abs()));
                for other in 0..COUNT {
                    let bend = (up.gradient[other] - down.gradient[other]) / (2.0 * step);
                    prop_assert!(
                        (bend - here.hessian[index][other]).abs() < 1e-5 * (1.0 + bend.abs()),
                        "{index} {other}: {bend} {}", here.hessian[index][other]
                    );
                }
            }
        }
    }

    #[test]
    fn a_change_of_centre_changes_nothing_that_can_be_seen() {
        let problem = problem(1e-3);
        let at = [-0.5, -0.7, 0.6, 0.4, 0.3];
        let moved = problem.recentred(0.0, 3.0);
        let there = problem.centre.moved(&at, &moved.centre);
        let (one, two) = (problem.evaluate(&at).value, moved.evaluate(&there).value);
        assert!((one - two).abs() < 1e-12 * one, "{one} {two}");
        let (one, two) = (problem.centre.natural(&at), moved.centre.natural(&there));
        assert!((one.a / two.a - 1.0).abs() < 1e-12 && (one.e / two.e - 1.0).abs() < 1e-12);
    }
}
