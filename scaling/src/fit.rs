//! Fitting Hoffmann's law: search, certificate, bootstrap, profiles, back-test, verdict, in this order.

use std::collections::BTreeMap;

use crate::bootstrap::bootstrap;
use crate::holdout::{POINTS_MIN, backtest, form_error, transformed};
use crate::laws::hoffmann::{COUNT, Centre, Coefficients, FLOOR, LogHuber, NAMES, Point};
use crate::linear::scaled_eigenvalues;
use crate::observation::{Cohort, Observation};
use crate::options::{FitError, FitOptions};
use crate::predict::residual_quantiles;
use crate::profile::{Calibration, Profile, calibrate, profile};
use crate::quantile::sample_quantile;
use crate::report::{
    Basin, BootstrapSummary, Certificate, Estimate, HoffmannFit, Identified, Interval, Objective,
    ParameterEstimate, ResidualSummary,
};
use crate::search::{Search, search_grid};
use crate::structure::neighbour_correlation;
use crate::verdict::{Evidence, judge};

/// Basins listed in a certificate.
const BASINS_MAX: usize = 10;

/// Optima of other basins that replicates and profiles also start from, if their objective is within a tenth.
const RIVALS_MAX: usize = 2;

/// Fits L(N, D) = E + A / N^alpha + B / D^beta.
///
/// Rows that are no numbers are left out and listed. An error means that there is nothing to report; a fit that should
/// not be used comes back with the verdict [`crate::FitVerdict::Refused`] and its reasons.
pub fn fit_hoffmann(rows: &[Observation], options: &FitOptions) -> Result<HoffmannFit, FitError> {
    options.check()?;
    let (cohort, rejected) = Cohort::clean(rows);
    let (sizes, token_counts, points) = cohort.distinct();
    if points < POINTS_MIN {
        let rows = cohort.rows.len();
        return Err(FitError::TooFewPoints {
            points,
            rows,
            needed: POINTS_MIN,
            rejected,
        });
    }
    if sizes < 2 || token_counts < 2 {
        return Err(FitError::NoSpread {
            sizes,
            token_counts,
            rejected,
        });
    }
    let problem = cohort.objective(options.delta);
    let found = search_grid(&problem, options.starts).ok_or(FitError::NoOptimum)?;
    let runs = cohort.runs.len();
    let optimum = problem.centre.natural(&found.best.at);
    let residuals = problem.residuals(&found.best.at);
    let warm = warm_starts(&found);
    let replicates = bootstrap(
        &problem,
        &cohort.run_of,
        runs,
        &warm,
        options.bootstrap,
        options.seed,
    );
    let converged: Vec<Coefficients> = replicates
        .points
        .iter()
        .map(|point| problem.centre.natural(point))
        .collect();
    let calibration = calibrate(&problem, &residuals, &cohort.run_of, runs, options.level);
    let profiles = profiles(&problem, &warm, calibration);
    let form = form_error(&cohort, options, &optimum);
    let smallest_loss = cohort
        .rows
        .iter()
        .map(|row| row.loss)
        .fold(f64::INFINITY, f64::min);
    let parameters = estimates(
        &problem.centre,
        &optimum,
        &converged,
        &profiles,
        &form,
        smallest_loss,
        options.level,
    );
    let certificate = certificate(&problem, &found, &profiles);
    let residuals = summarise(&problem, &residuals, &cohort.run_of, runs, options.seed);
    let backtest = backtest(&cohort, options);
    let (verdict, reasons) = judge(&Evidence {
        runs,
        certificate: &certificate,
        floor: &parameters[NAMES[FLOOR]],
        requested: replicates.requested,
        replicates: converged.len(),
        residuals: &residuals,
        backtest: &backtest,
    });
    let span = |pick: fn(&Observation) -> f64| Interval {
        low: cohort.rows.iter().map(pick).fold(f64::INFINITY, f64::min),
        high: cohort.rows.iter().map(pick).fold(0.0, f64::max),
    };
    Ok(HoffmannFit {
        parameters,
        optimum,
        objective: Objective {
            kind: "huber_log".to_owned(),
            delta: options.delta,
            value: found.best.evaluation.value * options.delta,
        },
        certificate,
        bootstrap: BootstrapSummary {
            requested: replicates.requested,
            converged: converged.len() as u32,
        },
        residuals,
        backtest,
        verdict,
        reasons,
        n_rows: cohort.rows.len(),
        n_runs: runs,
        rejected,
        allocation_exponent: derived(
            optimum.allocation_exponent(),
            converged
                .iter()
                .map(Coefficients::allocation_exponent)
                .collect(),
            options.level,
        ),
        level: options.level,
        seed: options.seed,
        parameters_span: span(|row| row.parameters),
        tokens_span: span(|row| row.tokens),
        compute_max: span(|row| row.parameters * row.tokens).high,
        replicates: converged,
    })
}

/// The optimum, and the best of the other basins.
fn warm_starts(found: &Search) -> Vec<Point> {
    let best = &found.best;
    let rivals = found
        .basins
        .iter()
        .filter(|basin| basin.at != best.at && basin.value <= 1.1 * best.evaluation.value)
        .take(RIVALS_MAX);
    std::iter::once(best.at)
        .chain(rivals.map(|basin| basin.at))
        .collect()
}

/// Profiles of all parameters in the coordinates ln A, ln B, E / L0, alpha, beta. A and B are what the law calls so only
/// where ln N and ln D are not centred.
fn profiles(problem: &LogHuber, warm: &[Point], calibration: Calibration) -> Vec<Profile> {
    (0..COUNT)
        .map(|index| {
            let centre = match index {
                0 => (0.0, problem.centre.tokens),
                1 => (problem.centre.parameters, 0.0),
                _ => (problem.centre.parameters, problem.centre.tokens),
            };
            let moved = problem.recentred(centre.0, centre.1);
            let starts: Vec<Point> = warm
                .iter()
                .map(|point| problem.centre.moved(point, &moved.centre))
                .collect();
            profile(&moved, &starts[0], index, calibration, &starts[1..])
        })
        .collect()
}

fn estimates(
    centre: &Centre,
    optimum: &Coefficients,
    replicates: &[Coefficients],
    profiles: &[Profile],
    form: &[f64; COUNT],
    smallest_loss: f64,
    level: f64,
) -> BTreeMap<String, ParameterEstimate> {
    let here = transformed(optimum);
    let mut estimates = BTreeMap::new();
    for (index, name) in NAMES.iter().enumerate() {
        let logarithmic = index < 2;
        // Profile coordinates differ from the transformed ones by the middle loss.
        let lift = |end: f64| match index {
            0 | 1 => end + centre.loss,
            FLOOR => end * libm::exp(centre.loss),
            _ => end,
        };
        let natural = |value: f64| if logarithmic { libm::exp(value) } else { value };
        let (low, high) = (
            lift(profiles[index].low.end),
            lift(profiles[index].high.end),
        );
        let profile = Interval {
            low: natural(low),
            high: natural(high),
        };
        let values = replicates
            .iter()
            .map(|replicate| replicate.array()[index])
            .collect();
        let sample = derived(optimum.array()[index], values, level);
        let percentile = if replicates.is_empty() {
            profile
        } else {
            Interval {
                low: sample.low,
                high: sample.high,
            }
        };
        let forward = |value: f64| if logarithmic { libm::log(value) } else { value };
        let below = here[index] - forward(percentile.low).min(low);
        let above = forward(percentile.high).max(high) - here[index];
        let widened = Interval {
            low: here[index] - libm::hypot(below.max(0.0), form[index]),
            high: here[index] + libm::hypot(above.max(0.0), form[index]),
        };
        // Whatever the form, no run lies below the floor but by noise: the widening ends at the smallest loss.
        let ceiling = if index == FLOOR {
            smallest_loss.max(here[index] + above)
        } else {
            f64::INFINITY
        };
        let range = Interval {
            low: if logarithmic {
                natural(widened.low)
            } else {
                widened.low.max(0.0)
            },
            high: natural(widened.high.min(ceiling)),
        };
        let closed = profiles[index].low.closed && profiles[index].high.closed;
        estimates.insert(
            (*name).to_owned(),
            ParameterEstimate {
                value: sample.value,
                standard_error: sample.standard_error,
                low: percentile.low,
                high: percentile.high,
                level,
                identified: identified(index, closed, range),
                profile,
                profile_closed: closed,
                form_error: form[index],
                range,
            },
        );
    }
    estimates
}

/// E and the exponents are read as numbers: half their size is too wide for `yes`, a factor of ten too wide for `weakly`.
/// A and B are read on a logarithmic scale, where a factor of ten is what half the size is to an exponent.
fn identified(index: usize, closed: bool, range: Interval) -> Identified {
    let ratio = range.high / range.low;
    let (narrow, wide) = if index < 2 {
        (ratio <= 10.0, ratio > 1000.0)
    } else {
        let middle = 0.5 * (range.high + range.low);
        (range.high - range.low <= 0.5 * middle, ratio > 10.0)
    };
    // Also where the ratio is no number: a low end of zero.
    if !closed || wide || !ratio.is_finite() {
        Identified::No
    } else if narrow {
        Identified::Yes
    } else {
        Identified::Weakly
    }
}

/// Standard deviation and percentile interval of a sample of replicates.
fn derived(value: f64, mut sample: Vec<f64>, level: f64) -> Estimate {
    sample.sort_by(f64::total_cmp);
    let count = sample.len() as f64;
    let mean = sample.iter().sum::<f64>() / count;
    let squares: f64 = sample.iter().map(|one| (one - mean) * (one - mean)).sum();
    let end = |probability| sample_quantile(&sample, probability).unwrap_or(value);
    Estimate {
        value,
        standard_error: (sample.len() > 1).then(|| (squares / (count - 1.0)).sqrt()),
        low: end(0.5 - 0.5 * level),
        high: end(0.5 + 0.5 * level),
        level,
    }
}

fn certificate(problem: &LogHuber, found: &Search, profiles: &[Profile]) -> Certificate {
    let best = &found.best;
    let bounds = problem.bounds();
    let eigenvalues = scaled_eigenvalues(&best.evaluation.hessian, &best.free);
    let condition = match (eigenvalues.first(), eigenvalues.last()) {
        (Some(least), Some(most)) if *least > 0.0 => Some(most / least),
        _ => None,
    };
    let lowest = profiles
        .iter()
        .map(|profile| profile.lowest)
        .fold(f64::INFINITY, f64::min);
    let value = best.evaluation.value;
    Certificate {
        converged: best.converged && lowest >= value - 1e-9 * value - 1e-12,
        gradient_norm: best.gradient_norm,
        condition,
        basins: found
            .basins
            .iter()
            .take(BASINS_MAX)
            .map(|basin| Basin {
                objective: basin.value * problem.delta,
                hits: basin.hits,
                coefficients: problem.centre.natural(&basin.at),
            })
            .collect(),
        basin_count: found.basins.len() as u32,
        at_bounds: (0..COUNT)
            .filter(|index| {
                best.at[*index] <= bounds.low[*index] || best.at[*index] >= bounds.high[*index]
            })
            .map(|index| NAMES[index].to_owned())
            .collect(),
        starts: found.starts,
        failed_starts: found.failed,
    }
}

fn summarise(
    problem: &LogHuber,
    residuals: &[f64],
    run_of: &[usize],
    runs: usize,
    seed: u64,
) -> ResidualSummary {
    let relative: Vec<f64> = residuals
        .iter()
        .map(|residual| libm::expm1(*residual))
        .collect();
    let squares: f64 = relative.iter().map(|one| one * one).sum();
    let (correlation, structure_p) = neighbour_correlation(problem, residuals, run_of, runs, seed);
    ResidualSummary {
        max_abs_relative: relative.iter().map(|one| one.abs()).fold(0.0, f64::max),
        rms_relative: (squares / relative.len() as f64).sqrt(),
        neighbour_correlation: correlation,
        structure_p,
        quantiles: residual_quantiles(residuals),
    }
}
