//! A damped Newton method with box bounds for objectives of a few parameters.
//!
//! Why not argmin or another optimisation crate: a fit runs thousands of times a window on a handful of parameters, and
//! all of its cost is the pass over the rows that yields value, gradient and both curvatures at once. What is
//! needed besides is exactly what a general solver leaves out: bounds that are met exactly and reported (E = 0),
//! a step that falls back from the true Hessian to a positive definite majoriser, and a convergence test in units
//! that mean something. Silent non-convergence is the best-known error in this field (Besiroglu et al. 2024,
//! arXiv 2404.10102: L-BFGS-B with its default tolerance reports success on every bootstrap and is wrong by a
//! factor of three in a standard error), so success here means a vanishing gradient and nothing else.
//!
//! The step is Levenberg's and Marquardt's, damped by a diagonal in the units of each parameter and controlled by the gain
//! ratio (Nocedal and Wright, *Numerical Optimization*, chapter 4; Madsen, Nielsen, Tingleff 2004, section 3.2).

use super::linear::{Matrix, solve_positive};

/// Steps after which a start counts as failed. Healthy starts need 10 to 110.
const ITERATIONS_MAX: u32 = 300;

/// Largest scaled gradient that counts as zero; see [`Evaluation::gradient_scale`]. Rounding leaves about 1e-13.
pub(crate) const GRADIENT_TOLERANCE: f64 = 1e-9;

/// An objective below this is that of residuals that are rounding.
const ROUNDING: f64 = 1e-20;

/// What one pass over the rows yields.
#[derive(Clone, Debug)]
pub(crate) struct Evaluation {
    /// The objective.
    pub(crate) value: f64,
    /// Its gradient.
    pub(crate) gradient: Vec<f64>,
    /// Per parameter the sum of the absolute pulls of the rows. `gradient / gradient_scale` says how completely
    /// the pulls cancel: it has no unit and is about 1e-13 at an optimum in double precision.
    pub(crate) gradient_scale: Vec<f64>,
    /// The exact matrix of second derivatives, indefinite far from an optimum.
    pub(crate) hessian: Matrix,
    /// A positive semi-definite stand-in: Gauss-Newton with the weights of iterated least squares.
    pub(crate) majoriser: Matrix,
}

/// Something to minimise.
pub(crate) trait Objective {
    /// Value and derivatives at a point; a non-finite value marks a point that is out of reach.
    fn evaluate(&self, at: &[f64]) -> Evaluation;
}

/// Lower and upper limits; equal limits fix a parameter.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// Lower limits.
    pub(crate) low: Vec<f64>,
    /// Upper limits.
    pub(crate) high: Vec<f64>,
}

impl Bounds {
    /// The nearest point inside.
    pub(crate) fn clamp(&self, at: &[f64]) -> Vec<f64> {
        (0..at.len())
            .map(|index| at[index].max(self.low[index]).min(self.high[index]))
            .collect()
    }

    /// The same limits with one parameter held at a value.
    pub(crate) fn fixed(&self, index: usize, value: f64) -> Self {
        let mut bounds = self.clone();
        bounds.low[index] = value;
        bounds.high[index] = value;
        bounds
    }

    /// Parameters that can move: not fixed, and not pressed against a limit by the gradient.
    pub(crate) fn free(&self, at: &[f64], gradient: &[f64]) -> Vec<bool> {
        (0..at.len())
            .map(|index| {
                let pressed_low = at[index] <= self.low[index] && gradient[index] >= 0.0;
                let pressed_high = at[index] >= self.high[index] && gradient[index] <= 0.0;
                !(pressed_low || pressed_high)
            })
            .collect()
    }
}

/// Where a start ended.
#[derive(Clone, Debug)]
pub(crate) struct Solution {
    /// The point.
    pub(crate) at: Vec<f64>,
    /// Value and derivatives there.
    pub(crate) evaluation: Evaluation,
    /// Parameters not at a limit.
    pub(crate) free: Vec<bool>,
    /// Largest scaled gradient among the free parameters.
    pub(crate) gradient_norm: f64,
    /// Whether the gradient vanished and the curvature is that of a minimum.
    pub(crate) converged: bool,
}

/// Minimises from one start until the scaled gradient is below `tolerance`. Whether that counts as converged is decided by
/// [`GRADIENT_TOLERANCE`] alone.
pub(crate) fn minimise(
    objective: &impl Objective,
    bounds: &Bounds,
    start: &[f64],
    tolerance: f64,
) -> Solution {
    let mut at = bounds.clamp(start);
    let mut here = objective.evaluate(&at);
    let mut damping = 1e-3;
    let mut evaluations = 1;
    while evaluations < ITERATIONS_MAX && here.value.is_finite() {
        let free = bounds.free(&at, &here.gradient);
        let norm = scaled_norm(&here, &free);
        if norm <= tolerance {
            break;
        }
        let Some((step, predicted)) = propose(&here, &free, damping) else {
            damping = (damping * 10.0_f64).max(1e-6);
            if damping > 1e12 {
                break;
            }
            continue;
        };
        let next = bounds.clamp(
            &at.iter()
                .zip(&step)
                .map(|(at, step)| at + step)
                .collect::<Vec<f64>>(),
        );
        if next == at {
            break;
        }
        let there = objective.evaluate(&next);
        evaluations += 1;
        let gain = here.value - there.value;
        // Close to the optimum the gain drowns in rounding; there the gradient decides. Where the law holds exactly the
        // objective is all rounding itself.
        let rounding = 1e-12 * here.value.abs() + ROUNDING;
        let drowned = predicted.abs() <= rounding && gain.abs() <= rounding;
        let better = if drowned {
            scaled_norm(&there, &bounds.free(&next, &there.gradient)) < norm
        } else {
            there.value.is_finite() && gain > 1e-4 * predicted.max(0.0) && gain > 0.0
        };
        if !better {
            damping = (damping * 4.0).max(1e-6);
            if damping > 1e12 {
                break;
            }
            continue;
        }
        let ratio = if drowned { 1.0 } else { gain / predicted };
        if ratio > 0.75 {
            damping *= 0.1;
        } else if ratio < 0.25 {
            damping = (damping * 2.0).max(1e-6);
        }
        if damping < 1e-10 {
            damping = 0.0;
        }
        at = next;
        here = there;
    }
    finish(bounds, at, here)
}

fn finish(bounds: &Bounds, at: Vec<f64>, evaluation: Evaluation) -> Solution {
    let free = bounds.free(&at, &evaluation.gradient);
    let gradient_norm = scaled_norm(&evaluation, &free);
    // A saddle also has no gradient. The allowance keeps flat but not descending directions.
    let mut lifted = evaluation.hessian.clone();
    for index in 0..at.len() {
        lifted[index][index] += 1e-9 * evaluation.majoriser[index][index].max(f64::MIN_POSITIVE);
    }
    let minimum = solve_positive(&lifted, &vec![0.0; at.len()], &free).is_some();
    Solution {
        converged: evaluation.value.is_finite() && gradient_norm <= GRADIENT_TOLERANCE && minimum,
        at,
        evaluation,
        free,
        gradient_norm,
    }
}

/// A step and the decrease its model promises.
fn propose(here: &Evaluation, free: &[bool], damping: f64) -> Option<(Vec<f64>, f64)> {
    let right = here
        .gradient
        .iter()
        .map(|value| -value)
        .collect::<Vec<f64>>();
    [&here.hessian, &here.majoriser]
        .into_iter()
        .find_map(|curvature| {
            let mut damped = curvature.clone();
            for index in 0..free.len() {
                // A term that has all but vanished pulls with its size and bends with its size squared: damping by the
                // bend alone would let it leap. The pull keeps its step near 1 / damping.
                let scale = here.majoriser[index][index].max(here.gradient_scale[index]);
                damped[index][index] += damping * scale;
            }
            let step = solve_positive(&damped, &right, free)?;
            let mut predicted = 0.0;
            for row in 0..free.len() {
                let bend: f64 = (0..free.len())
                    .map(|column| curvature[row][column] * step[column])
                    .sum();
                predicted -= step[row] * (here.gradient[row] + 0.5 * bend);
            }
            Some((step, predicted))
        })
}

fn scaled_norm(evaluation: &Evaluation, free: &[bool]) -> f64 {
    let mut norm: f64 = 0.0;
    for index in (0..free.len()).filter(|index| free[*index]) {
        let scale = evaluation.gradient_scale[index].max(f64::MIN_POSITIVE);
        let ratio = evaluation.gradient[index].abs() / scale;
        // `max` would swallow a NaN.
        norm = if ratio.is_nan() {
            f64::INFINITY
        } else {
            norm.max(ratio)
        };
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rosenbrock's valley, minimum 0 at (1, 1).
    struct Valley;

    fn square(first: f64, cross: f64) -> Matrix {
        let mut matrix = Matrix::zero(2);
        matrix[0].copy_from_slice(&[first, cross]);
        matrix[1].copy_from_slice(&[cross, 200.0]);
        matrix
    }

    impl Objective for Valley {
        fn evaluate(&self, at: &[f64]) -> Evaluation {
            let (x, y) = (at[0], at[1]);
            let bend = y - x * x;
            Evaluation {
                value: 100.0 * bend * bend + (1.0 - x) * (1.0 - x),
                gradient: vec![-400.0 * x * bend - 2.0 * (1.0 - x), 200.0 * bend],
                gradient_scale: vec![1.0, 1.0],
                hessian: square(1200.0 * x * x - 400.0 * y + 2.0, -400.0 * x),
                majoriser: square(800.0 * x * x + 2.0, -400.0 * x),
            }
        }
    }

    fn check(low: [f64; 2], high: [f64; 2], expected: [f64; 2]) {
        let solution = minimise(
            &Valley,
            &Bounds {
                low: low.to_vec(),
                high: high.to_vec(),
            },
            &[-1.2, 1.0],
            GRADIENT_TOLERANCE,
        );
        assert!(solution.converged, "{solution:?}");
        for (value, wanted) in solution.at.iter().zip(expected) {
            assert!((value - wanted).abs() < 1e-7, "{:?}", solution.at);
        }
    }

    #[test]
    fn finds_the_minimum_inside_and_at_a_bound() {
        check([-5.0, -5.0], [5.0, 5.0], [1.0, 1.0]);
        // With x held at or below 1/2 the minimum is on the limit, y = x * x.
        check([-5.0, -5.0], [0.5, 5.0], [0.5, 0.25]);
        check([0.3, -5.0], [0.3, 5.0], [0.3, 0.09]);
    }
}
