//! What leaving out the edges of the cohort reveals: the back-test, and the error of the form.
//!
//! **Back-test.** The largest-compute runs are predicted from the others, as the next run will be predicted from these.
//!
//! **Form error.** Bootstrap and profile ask: how far could E be off *if the form holds*. A form that is only nearly right
//! bends, and the bend shows as estimates that move when the window moves: fitted without the largest runs E comes out
//! higher or lower than with them, by more than noise. Where E lies, at infinite N and D, no window reaches; the movement
//! between windows is the only measure the data give of how much further it would move. The largest movement over windows
//! that drop the largest (or smallest) compute is taken as a standard amount of ignorance of unknown sign, and joins the
//! statistical interval in quadrature. For a floor, which has a truth whatever the form, the movement is taken along each
//! column and its factor is calibrated on laws that do not hold (`floor_movement`, `docs/decisions/0018`). Both contain some
//! sampling noise of their own, so they err on the wide side. They are no guarantee: a form that bends only beyond the
//! data shows nothing here.

use std::collections::BTreeMap;

use super::bootstrap::bootstrap;
use super::cohort::Cohort;
use super::coordinates::asymptote;
use super::estimates::sandwich;
use super::noise::noise;
use super::problem::Aim;
use super::profile::calibrate;
use super::projection::Projection;
use super::solve::{Solved, from_starts};
use super::starts::{
    STARTS_FULL, STARTS_ROWS, STARTS_WARM, STARTS_WARM_WINDOW, STARTS_WINDOW, from_data,
};
use crate::error::FitError;
use crate::law::Law;
use crate::options::{FitOptions, Holdout};
use crate::predict::Curve;
use crate::report::{Backtest, BacktestPoint, scaled};

/// Replicates behind the intervals of the back-test: enough for a percentile interval, whatever the fit itself uses.
const REPLICATES_MAX: u32 = 400;

/// Rows that a window needs beyond the parameters.
const ROWS_SPARE: usize = 3;

/// What all windows share.
pub(crate) struct Window<'a> {
    pub(crate) law: &'a Law,
    pub(crate) options: &'a FitOptions,
    pub(crate) aim: Aim,
    /// Natural values of the whole cohort's optimum.
    pub(crate) optimum: &'a [f64],
}

impl Window<'_> {
    /// Whether a cohort can be fitted at all.
    fn can_fit(&self, cohort: &Cohort) -> bool {
        let free = self.law.parameters.len() - self.options.fixed.len();
        let whole = (0..cohort.columns.len()).all(|column| !cohort.constant(column));
        whole && cohort.distinct_points(free) > free && cohort.runs.len() >= 2
    }

    /// Readings of a window's optimum and their standard errors; `None` where it is too small.
    fn readings_of(&self, rest: &Cohort) -> Option<(Vec<f64>, Vec<Option<f64>>)> {
        let free = self.law.parameters.len() - self.options.fixed.len();
        if rest.len() < free + ROWS_SPARE || !self.can_fit(rest) {
            return None;
        }
        let starts = if self.options.warm.is_some() {
            STARTS_WARM_WINDOW
        } else {
            STARTS_WINDOW
        };
        let Solved { problem, found } = self.solve(rest, starts, true).ok()?;
        let at = &found.best.at;
        let slopes = problem.slopes(at);
        let (units, unit_of) = (rest.units, &rest.unit_of);
        let level = self.options.level;
        let calibration = calibrate(&problem, &slopes, unit_of, units, free, level);
        let errors = sandwich(
            &problem,
            at,
            &found.best.free,
            &slopes,
            unit_of,
            units,
            calibration,
        );
        Some((problem.coordinates.readings(at), errors))
    }

    /// Fits a window: from the data, and from the whole cohort's optimum where `informed`.
    fn solve(&self, cohort: &Cohort, count: usize, informed: bool) -> Result<Solved, FitError> {
        let sample = cohort.sample(STARTS_ROWS);
        let few = sample.as_ref().unwrap_or(cohort);
        let projection = Projection::new(self.law, few, &self.options.fixed, self.aim.logarithmic);
        let mut starts = from_data(self.law, few, &projection, count);
        if informed {
            starts.push(self.optimum.to_vec());
        }
        from_starts(
            self.law,
            cohort,
            &self.options.fixed,
            self.aim,
            &starts,
            &[],
        )
    }
}

/// Runs held out, largest compute first.
fn held(cohort: &Cohort, holdout: Holdout) -> Vec<usize> {
    let order = cohort.by_compute();
    let most = order.first().map_or(0.0, |(_, compute)| *compute);
    let taken = order
        .iter()
        .enumerate()
        .take_while(|(place, (_, compute))| match holdout {
            Holdout::Runs(runs) => *place < runs as usize,
            Holdout::ComputeFraction(fraction) => *compute >= fraction * most,
        });
    taken.map(|(_, (run, _))| *run).collect()
}

/// Predicts the largest-compute runs from the others.
pub(crate) fn backtest(window: &Window<'_>, cohort: &Cohort) -> Backtest {
    let none = Backtest {
        performed: false,
        points: Vec::new(),
        max_abs_relative_error: 0.0,
        inflation: 1.0,
        reach: 1.0,
    };
    let options = window.options;
    let held = held(cohort, options.holdout);
    let rest = cohort.without(&held);
    if held.is_empty() || !window.can_fit(&rest) {
        return none;
    }
    // From nothing but the rest: a back-test that has seen the answer tests nothing. A refit trusts in fewer starts.
    let count = if options.warm.is_some() {
        STARTS_WARM
    } else {
        STARTS_FULL
    };
    let Ok(solved) = window.solve(&rest, count, false) else {
        return none;
    };
    let (problem, best) = (&solved.problem, &solved.found.best.at);
    let optimum = problem.coordinates.natural(best);
    let requested = options.bootstrap.min(REPLICATES_MAX);
    let replicates: Vec<Vec<f64>> = bootstrap(
        problem,
        &rest.unit_of,
        rest.units,
        std::slice::from_ref(best),
        requested,
        options.seed,
    )
    .points
    .iter()
    .map(|point| problem.coordinates.natural(point))
    .collect();
    let noise = noise(
        &rest,
        &problem.residuals(best),
        optimum.len() - options.fixed.len(),
        options.seed,
    );
    let logarithmic = window.aim.logarithmic;
    let mut points = Vec::new();
    let mut inflation: f64 = 1.0;
    for run in held {
        // The last row of a run is the one that was trained for.
        let rows = (0..cohort.len()).filter(|row| cohort.run_of[*row] == run);
        let Some(row) = rows.max_by(|one, two| cohort.order[*one].total_cmp(&cohort.order[*two]))
        else {
            continue;
        };
        let columns: Vec<f64> = cohort.columns.iter().map(|column| column[row]).collect();
        let curve = Curve::new(
            window.law,
            &optimum,
            &replicates,
            &scaled(&noise.quantiles, noise.spread, cohort.order[row]),
            logarithmic,
            &columns,
        );
        let observed = cohort.response[row];
        let (low, high) = curve.run(options.level);
        let read = |value: f64| if logarithmic { libm::log(value) } else { value };
        let error = read(observed) - read(curve.mean);
        let half = if error < 0.0 {
            read(low) - read(curve.mean)
        } else {
            read(high) - read(curve.mean)
        };
        // Below one part per million neither error nor width is a measurement.
        let least = if logarithmic {
            1e-6
        } else {
            1e-6 * problem.unit
        };
        inflation = inflation.max(error.abs() / half.abs().max(least));
        let (low, high) = curve.run(options.holdout_level);
        let mut point: BTreeMap<String, f64> = window
            .law
            .columns
            .iter()
            .map(|column| column.name.clone())
            .zip(columns.iter().copied())
            .collect();
        if let Some(compute) = window.law.compute_at(&point) {
            point.insert("compute".to_owned(), compute);
        }
        points.push(BacktestPoint {
            run_id: cohort.runs[run].clone(),
            point,
            observed,
            predicted: curve.mean,
            low,
            high,
            level: options.holdout_level,
            relative_error: curve.mean / observed - 1.0,
            inside: low <= observed && observed <= high,
        });
    }
    let most = |cohort: &Cohort| {
        cohort
            .order
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max)
    };
    let reach = most(cohort) / most(&rest);
    Backtest {
        performed: true,
        max_abs_relative_error: points
            .iter()
            .map(|p| p.relative_error.abs())
            .fold(0.0, f64::max),
        points,
        inflation,
        reach: if reach.is_finite() && reach > 1.0 {
            reach
        } else {
            1.0
        },
    }
}

/// Largest movement of each parameter's reading over windows without an edge of the cohort: the hold-out, an eighth and a
/// quarter of the runs, off the top and off the bottom of compute. `readings` are those of the optimum.
pub(crate) fn form_error(window: &Window<'_>, cohort: &Cohort, readings: &[f64]) -> Vec<f64> {
    let order: Vec<usize> = cohort
        .by_compute()
        .into_iter()
        .map(|(run, _)| run)
        .collect();
    let count = order.len();
    let mut cuts = vec![
        held(cohort, window.options.holdout).len(),
        count.div_ceil(8),
        count.div_ceil(4),
    ];
    // The hold-out may be set larger than a quarter; what then is left is no window on the same law.
    cuts.retain(|cut| *cut > 0 && *cut <= count.div_ceil(3));
    cuts.sort_unstable();
    cuts.dedup();
    let starts = if window.options.warm.is_some() {
        STARTS_WARM_WINDOW
    } else {
        STARTS_WINDOW
    };
    let mut largest = vec![0.0_f64; readings.len()];
    for cut in cuts {
        for dropped in [&order[..cut], &order[count - cut..]] {
            let rest = cohort.without(dropped);
            if !window.can_fit(&rest) {
                continue;
            }
            let Ok(solved) = window.solve(&rest, starts, true) else {
                continue;
            };
            let there = solved.problem.coordinates.readings(&solved.found.best.at);
            for (largest, (there, here)) in largest.iter_mut().zip(there.iter().zip(readings)) {
                *largest = largest.max((there - here).abs());
            }
        }
    }
    largest
}

/// Movement of each asymptote when the lowest or the highest quarter of a column is left out: the root of the mean square
/// over these windows, weighted by how precisely each knows the asymptote, in the unit of the response; 0 for other
/// parameters. `errors`: standard errors of the whole fit.
///
/// A floor has a meaning beyond the form (no run comes below it, whatever the law), so that the form can be wrong about it.
/// An extrapolation in several columns bends in each by itself, and windows of compute, which mix them, see little of it.
/// A window that has lost what determines the floor moves by much and says nothing: the weight is its inverse variance, and
/// never more than that of the whole.
pub(crate) fn floor_movement(
    window: &Window<'_>,
    cohort: &Cohort,
    readings: &[f64],
    errors: &[Option<f64>],
) -> Vec<f64> {
    let law = window.law;
    let fixed = &window.options.fixed;
    let floors: Vec<usize> = (0..law.parameters.len())
        .filter(|index| asymptote(law, *index) && !fixed.contains_key(&law.parameters[*index].name))
        .collect();
    let mut sums = vec![(0.0, 0.0); readings.len()];
    let columns = if floors.is_empty() {
        &[]
    } else {
        cohort.columns.as_slice()
    };
    for column in columns {
        for sign in [1.0, -1.0] {
            let mut places: Vec<f64> = column.iter().map(|value| sign * value).collect();
            places.sort_by(f64::total_cmp);
            // Whole levels: half a level of a grid would leave both ends where they are.
            let edge = places[places.len().div_ceil(4) - 1];
            let rest = cohort.only_rows(|row| sign * column[row] > edge);
            let Some((there, spread)) = window.readings_of(&rest) else {
                continue;
            };
            for floor in &floors {
                let moved = (there[*floor] - readings[*floor]).abs();
                let whole = errors[*floor].unwrap_or(0.0).max(f64::MIN_POSITIVE.sqrt());
                // At a bound there is no error to be had: as imprecise as it is far away.
                let error = spread[*floor].unwrap_or(moved).max(whole);
                let (squares, weights) = &mut sums[*floor];
                *squares += (moved / error).powi(2);
                *weights += 1.0 / (error * error);
            }
        }
    }
    sums.into_iter()
        .map(|(squares, weights)| {
            if weights > 0.0 {
                (squares / weights).sqrt()
            } else {
                0.0
            }
        })
        .collect()
}
