//! What leaving out the edges of the cohort reveals: the back-test, and the error of the form.
//!
//! **Back-test.** The largest-compute runs are predicted from the others, as the next run will be predicted from these.
//!
//! **Form error.** Bootstrap and profile ask: how far could E be off *if the form holds*. A form that is only nearly right
//! bends, and the bend shows as estimates that move when the window moves: fitted without the largest runs E comes out
//! higher or lower than with them, by more than noise. Where E lies, at infinite N and D, no window reaches; the movement
//! between windows is the only measure the data give of how much further it would move. The largest movement over windows
//! that drop the largest (or smallest) compute is taken as a standard amount of ignorance of unknown sign, and joins the
//! statistical interval in quadrature. It contains some sampling noise of its own, so it errs on the wide side. It is not
//! a guarantee: a form that bends only beyond the data shows nothing here.

use crate::bootstrap::bootstrap;
use crate::laws::hoffmann::{COUNT, Coefficients};
use crate::observation::Cohort;
use crate::options::{FitOptions, StartGrid};
use crate::predict::{residual_quantiles, spread};
use crate::report::{Backtest, BacktestPoint};
use crate::search::{data_grid, search, search_grid};

/// Distinct points a fit must keep: one more than parameters.
pub(crate) const POINTS_MIN: usize = COUNT + 1;

/// Replicates behind the intervals of the back-test: enough for a percentile interval, whatever the fit itself uses.
const REPLICATES_MAX: u32 = 400;

/// Whether a cohort can be fitted at all.
pub(crate) fn can_fit(cohort: &Cohort) -> bool {
    let (sizes, token_counts, points) = cohort.distinct();
    sizes >= 2 && token_counts >= 2 && points >= POINTS_MIN
}

/// Predicts the largest-compute runs from the others.
pub(crate) fn backtest(cohort: &Cohort, options: &FitOptions) -> Backtest {
    let none = Backtest {
        performed: false,
        points: Vec::new(),
        max_abs_relative_error: 0.0,
        inflation: 1.0,
        reach: 1.0,
    };
    let order = cohort.by_compute();
    let held: &[usize] = &order[..order.len().min(options.holdout_runs as usize)];
    let rest = cohort.only(|run| !held.contains(&run));
    if held.is_empty() || !can_fit(&rest) {
        return none;
    }
    let problem = rest.objective(options.delta);
    let Some(found) = search_grid(&problem, StartGrid::Data) else {
        return none;
    };
    let optimum = problem.centre.natural(&found.best.at);
    let replicates: Vec<Coefficients> = bootstrap(
        &problem,
        &rest.run_of,
        rest.runs.len(),
        &[found.best.at],
        options.bootstrap.min(REPLICATES_MAX),
        options.seed,
    )
    .points
    .iter()
    .map(|point| problem.centre.natural(point))
    .collect();
    let quantiles = residual_quantiles(&problem.residuals(&found.best.at));
    let mut points = Vec::new();
    let mut inflation: f64 = 1.0;
    for run in held {
        // The last row of a run is the one that was trained for.
        let rows = cohort
            .rows
            .iter()
            .zip(&cohort.run_of)
            .filter(|(_, of)| **of == *run);
        let Some((row, _)) = rows.max_by(|(one, _), (two, _)| {
            (one.parameters * one.tokens).total_cmp(&(two.parameters * two.tokens))
        }) else {
            continue;
        };
        let interval = |level| {
            spread(
                &optimum,
                &replicates,
                &quantiles,
                row.parameters,
                row.tokens,
                level,
            )
        };
        let (predicted, low, high) = interval(options.level);
        let error = libm::log(row.loss / predicted);
        let half = if error < 0.0 {
            libm::log(low / predicted)
        } else {
            libm::log(high / predicted)
        };
        // Below one part per million neither error nor width is a measurement.
        inflation = inflation.max(error.abs() / half.abs().max(1e-6));
        let level = options.holdout_level.clamp(0.0, 1.0);
        let (_, low, high) = interval(level);
        points.push(BacktestPoint {
            run_id: row.run_id.clone(),
            parameters: row.parameters,
            tokens: row.tokens,
            observed: row.loss,
            predicted,
            low,
            high,
            level,
            relative_error: predicted / row.loss - 1.0,
            inside: low <= row.loss && row.loss <= high,
        });
    }
    let compute = |cohort: &Cohort| {
        cohort
            .rows
            .iter()
            .map(|row| row.parameters * row.tokens)
            .fold(0.0, f64::max)
    };
    Backtest {
        performed: true,
        max_abs_relative_error: points
            .iter()
            .map(|p| p.relative_error.abs())
            .fold(0.0, f64::max),
        points,
        inflation,
        reach: compute(cohort) / compute(&rest),
    }
}

/// Largest movement of each parameter (order of the coordinates; a and b in ln) over windows without an edge of the
/// cohort: the hold-out, an eighth and a quarter of the runs, off the top and off the bottom of compute.
pub(crate) fn form_error(
    cohort: &Cohort,
    options: &FitOptions,
    optimum: &Coefficients,
) -> [f64; COUNT] {
    let order = cohort.by_compute();
    let count = order.len();
    let mut cuts = vec![
        options.holdout_runs as usize,
        count.div_ceil(8),
        count.div_ceil(4),
    ];
    // The hold-out may be set larger than a quarter; what then is left is no window on the same law.
    cuts.retain(|cut| *cut > 0 && *cut <= count.div_ceil(3));
    cuts.sort_unstable();
    cuts.dedup();
    let mut largest = [0.0_f64; COUNT];
    for cut in cuts {
        for dropped in [&order[..cut], &order[count - cut..]] {
            let window = cohort.only(|run| !dropped.contains(&run));
            if !can_fit(&window) {
                continue;
            }
            let problem = window.objective(options.delta);
            let mut starts = data_grid(&problem);
            // A ninth of the grid suffices beside the start from the whole cohort's optimum.
            starts = starts.into_iter().step_by(9).collect();
            starts.push(problem.centre.point(
                libm::log(optimum.a),
                libm::log(optimum.b),
                optimum.e,
                optimum.alpha,
                optimum.beta,
            ));
            let Some(found) = search(&problem, &starts) else {
                continue;
            };
            let there = transformed(&problem.centre.natural(&found.best.at));
            for (index, here) in transformed(optimum).iter().enumerate() {
                largest[index] = largest[index].max((there[index] - here).abs());
            }
        }
    }
    largest
}

/// Coordinates in which intervals are widened: a and b live on a logarithmic scale.
pub(crate) fn transformed(coefficients: &Coefficients) -> [f64; COUNT] {
    let [a, b, e, alpha, beta] = coefficients.array();
    [libm::log(a), libm::log(b), e, alpha, beta]
}
