//! Fitting a law: search, certificate, bootstrap, profiles, back-test, verdict, in this order.
//!
//! * `cohort`, `coordinates`, `problem`, `loss`, `hoffmann`: from rows to an objective with derivatives.
//! * `newton`, `linear`: minimisation with bounds over a handful of parameters.
//! * `projection`, `starts`, `search`, `solve`: from an objective to its optima.
//! * `bootstrap`, `profile`, `estimates`, `holdout`, `structure`, `neighbours`, `noise`, `outliers`: what is known about the optimum.
//! * `checks`, `verdict`: what cannot be fitted, and what a fit is good for.

mod bootstrap;
mod checks;
mod cohort;
mod coordinates;
#[cfg(test)]
mod derivatives;
mod estimates;
mod hoffmann;
mod holdout;
mod linear;
mod loss;
mod neighbours;
mod newton;
mod noise;
mod outliers;
mod problem;
mod profile;
mod projection;
mod quick;
mod search;
mod solve;
mod starts;
mod structure;
mod verdict;

use std::collections::BTreeMap;

use crate::error::FitError;
use crate::law::Law;
use crate::options::{FitOptions, ObjectiveKind};
use crate::report::{
    Basin, BootstrapSummary, Certificate, Estimate, Fit, Interval, Objective, Outlier,
    ResidualSummary,
};
use crate::table::Table;
use bootstrap::bootstrap;
use cohort::Cohort;
use coordinates::{Centring, middle};
use holdout::{Window, backtest, floor_movement, form_error};
use linear::scaled_eigenvalues;
use loss::{Loss, NU};
use problem::Problem;
use profile::{Calibration, Profile, calibrate, profile};
use search::Search;
use solve::{Solved, kind, logarithmic, solve};
use structure::neighbour_correlation;

pub(crate) use coordinates::asymptote;
pub(crate) use estimates::from_replicates;
pub(crate) use quick::{Quick, quick};
pub(crate) use verdict::too_far_off;

/// Basins listed in a certificate.
const BASINS_MAX: usize = 10;

/// Optima of other basins that replicates and profiles also start from, if their objective is within a tenth.
const RIVALS_MAX: usize = 2;

/// Fits a law to a table.
///
/// Rows that are no numbers are left out and listed. An error means that there is nothing to report; a fit that should
/// not be used comes back with the verdict [`crate::FitVerdict::Refused`] and its reasons.
pub fn fit(law: &Law, table: &Table, options: &FitOptions) -> Result<Fit, FitError> {
    options.check()?;
    checks::options(law, options)?;
    let kind = kind(law, options);
    let logarithmic = logarithmic(kind);
    let (mut cohort, rejected) = Cohort::clean(law, table, logarithmic)?;
    let notes = checks::cohort(law, table, options, &cohort, &rejected)?;
    let runs = cohort.runs.len();
    if runs == 1 {
        cohort.split_into_blocks();
    }
    let Solved { problem, found } = solve(law, &cohort, options)?;
    checks::separable(law, &cohort, &problem, &found.best.at)?;
    let free = law.parameters.len() - options.fixed.len();
    let best = &found.best.at;
    let optimum = problem.coordinates.natural(best);
    let residuals = problem.residuals(best);
    let slopes = problem.slopes(best);
    let warm = warm_starts(&found);
    let replicates = bootstrap(
        &problem,
        &cohort.unit_of,
        cohort.units,
        &warm,
        options.bootstrap,
        options.seed,
    );
    let converged: Vec<Vec<f64>> = replicates
        .points
        .iter()
        .map(|point| problem.coordinates.natural(point))
        .collect();
    let calibration = calibrate(
        &problem,
        &slopes,
        &cohort.unit_of,
        cohort.units,
        free,
        options.level,
    );
    let profiles = profiles(law, &cohort, options, &problem, &warm, calibration);
    let window = Window {
        law,
        options,
        aim: problem.aim,
        optimum: &optimum,
    };
    let readings = problem.coordinates.readings(best);
    let form = form_error(&window, &cohort, &readings);
    let sandwich = estimates::sandwich(
        &problem,
        best,
        &found.best.free,
        &slopes,
        &cohort.unit_of,
        cohort.units,
        calibration,
    );
    let movement = floor_movement(&window, &cohort, &readings, &sandwich);
    let parameters = estimates::estimates(&estimates::Evidence {
        law,
        coordinates: &problem.coordinates,
        optimum: &optimum,
        replicates: &converged,
        profiles: &profiles,
        sandwich: &sandwich,
        form: &form,
        movement: &movement,
        smallest_response: cohort
            .response
            .iter()
            .copied()
            .fold(f64::INFINITY, f64::min),
        level: options.level,
    });
    let certificate = certificate(law, &problem, &found, &profiles);
    let residuals = summarise(&cohort, &residuals, logarithmic, free, options.seed);
    let backtest = backtest(&window, &cohort);
    let (verdict, mut warnings) = verdict::judge(&verdict::Evidence {
        law,
        free,
        rows: cohort.len(),
        runs: cohort.runs.len(),
        certificate: &certificate,
        parameters: &parameters,
        requested: replicates.requested,
        replicates: converged.len(),
        residuals: &residuals,
        logarithmic,
        backtest: &backtest,
    });
    warnings.extend(notes);
    Ok(Fit {
        fit_id: String::new(),
        law: law.name.clone(),
        definition: law.clone(),
        parameters,
        objective: objective(kind, &problem, found.best.evaluation.value),
        certificate,
        bootstrap: BootstrapSummary {
            requested: replicates.requested,
            converged: converged.len() as u32,
        },
        conventions: options.conventions.clone(),
        n_rows: cohort.len(),
        n_runs: runs,
        rejected,
        residuals,
        backtest,
        verdict,
        warnings,
        derived: derived(law, &optimum, &converged, options.level),
        spans: spans(law, &cohort),
        level: options.level,
        seed: options.seed,
        replicates: converged,
    })
}

/// Whether a fit's objective was of log residuals.
pub(crate) fn is_logarithmic(kind: &str) -> bool {
    kind.ends_with("_log")
}

fn objective(kind: ObjectiveKind, problem: &Problem, value: f64) -> Objective {
    let loss = problem.aim.loss;
    let name = match kind {
        ObjectiveKind::HuberLog | ObjectiveKind::LawDefault => "huber_log",
        ObjectiveKind::Huber => "huber",
        ObjectiveKind::LeastSquaresLog => "least_squares_log",
        ObjectiveKind::LeastSquares => "least_squares",
        ObjectiveKind::StudentTLog => "student_t_log",
        ObjectiveKind::StudentT => "student_t",
        ObjectiveKind::VariableProjection => "variable_projection",
    };
    Objective {
        kind: name.to_owned(),
        delta: loss.delta(),
        nu: matches!(loss, Loss::StudentT { .. }).then_some(NU),
        value: problem.reported(value),
    }
}

/// The optimum, and the best of the other basins.
fn warm_starts(found: &Search) -> Vec<Vec<f64>> {
    let best = &found.best;
    let limit = best.evaluation.value + 0.1 * best.evaluation.value.abs();
    let rivals = found
        .basins
        .iter()
        .filter(|basin| basin.at != best.at && basin.value <= limit)
        .take(RIVALS_MAX);
    std::iter::once(best.at.clone())
        .chain(rivals.map(|basin| basin.at.clone()))
        .collect()
}

/// Profiles of all parameters that were searched. Each is walked in a coordinate of its own: a centred coefficient is what
/// the law calls so only where its column is not centred.
fn profiles(
    law: &Law,
    cohort: &Cohort,
    options: &FitOptions,
    problem: &Problem,
    warm: &[Vec<f64>],
    calibration: Calibration,
) -> Vec<Option<Profile>> {
    let one = |index: usize| {
        if problem.coordinates.fixed(index) {
            return None;
        }
        let moved = if law.parameters[index].centre.is_empty() {
            problem.clone()
        } else {
            Problem::new(
                law,
                cohort,
                &options.fixed,
                problem.aim,
                Centring::AllBut(index),
            )
        };
        let place = |point: &Vec<f64>| {
            moved
                .coordinates
                .place(&problem.coordinates.readings(point))
        };
        let starts: Vec<Vec<f64>> = warm.iter().map(place).collect();
        Some(profile(
            &moved,
            &starts[0],
            index,
            calibration,
            &starts[1..],
        ))
    };
    (0..law.parameters.len()).map(one).collect()
}

fn certificate(
    law: &Law,
    problem: &Problem,
    found: &Search,
    profiles: &[Option<Profile>],
) -> Certificate {
    let best = &found.best;
    let eigenvalues = scaled_eigenvalues(&best.evaluation.hessian, &best.free);
    let condition = match (eigenvalues.first(), eigenvalues.last()) {
        (Some(least), Some(most)) if *least > 0.0 => Some(most / least),
        _ => None,
    };
    let lowest = profiles
        .iter()
        .flatten()
        .map(|profile| profile.lowest)
        .fold(f64::INFINITY, f64::min);
    let value = best.evaluation.value;
    let named = |values: Vec<f64>| -> BTreeMap<String, f64> {
        law.parameters
            .iter()
            .map(|one| one.name.clone())
            .zip(values)
            .collect()
    };
    let at_bound = |index: &usize| {
        let (at, bounds) = (best.at[*index], &problem.bounds);
        !problem.coordinates.fixed(*index)
            && (at <= bounds.low[*index] || at >= bounds.high[*index])
    };
    Certificate {
        converged: best.converged && lowest >= value - 1e-9 * value.abs() - 1e-12,
        gradient_norm: best.gradient_norm.min(f64::MAX),
        condition,
        basins: found
            .basins
            .iter()
            .take(BASINS_MAX)
            .map(|basin| Basin {
                objective: problem.reported(basin.value),
                hits: basin.hits,
                parameters: named(problem.coordinates.natural(&basin.at)),
            })
            .collect(),
        basin_count: found.basins.len() as u32,
        at_bounds: (0..law.parameters.len())
            .filter(at_bound)
            .map(|index| law.parameters[index].name.clone())
            .collect(),
        starts: found.starts,
        failed_starts: found.failed,
    }
}

fn summarise(
    cohort: &Cohort,
    residuals: &[f64],
    logarithmic: bool,
    free: usize,
    seed: u64,
) -> ResidualSummary {
    let unit = middle(&cohort.response);
    let relative: Vec<f64> = residuals
        .iter()
        .map(|residual| {
            if logarithmic {
                libm::expm1(*residual)
            } else {
                residual / unit
            }
        })
        .collect();
    let allowance = if logarithmic {
        1.0
    } else {
        verdict::PLAIN_ALLOWANCE
    };
    let apart = outliers::apart(&relative, free, allowance * verdict::RESIDUAL_WEAK);
    let rest: Vec<f64> = relative
        .iter()
        .zip(&apart.rows)
        .filter(|(_, apart)| !**apart)
        .map(|(one, _)| *one)
        .collect();
    let most = |all: &[f64]| all.iter().map(|one| one.abs()).fold(0.0, f64::max);
    let rms = |all: &[f64]| {
        let squares: f64 = all.iter().map(|one| one * one).sum();
        (squares / all.len().max(1) as f64).sqrt()
    };
    let noise = noise::noise(cohort, residuals, free, seed);
    let (correlation, structure_p) = neighbour_correlation(cohort, residuals, seed);
    ResidualSummary {
        max_abs_relative: most(&relative),
        rms_relative: rms(&relative),
        robust_relative: apart.scale,
        rows_apart: relative.len() - rest.len(),
        outliers: outlying_runs(cohort, &relative, &apart.rows),
        max_abs_relative_rest: most(&rest),
        rms_relative_rest: rms(&rest),
        neighbour_correlation: correlation,
        structure_p,
        quantiles: noise.quantiles,
        spread: noise.spread,
    }
}

/// Runs with a row that stands apart, furthest first.
fn outlying_runs(cohort: &Cohort, relative: &[f64], apart: &[bool]) -> Vec<Outlier> {
    let mut worst: BTreeMap<usize, f64> = BTreeMap::new();
    for (row, one) in relative.iter().enumerate().filter(|(row, _)| apart[*row]) {
        let known = worst.entry(cohort.run_of[row]).or_insert(*one);
        if one.abs() > known.abs() {
            *known = *one;
        }
    }
    let mut runs: Vec<Outlier> = worst
        .into_iter()
        .map(|(run, relative)| Outlier {
            run_id: cohort.runs[run].clone(),
            relative,
        })
        .collect();
    runs.sort_by(|one, two| two.relative.abs().total_cmp(&one.relative.abs()));
    runs
}

fn derived(
    law: &Law,
    optimum: &[f64],
    replicates: &[Vec<f64>],
    level: f64,
) -> BTreeMap<String, Estimate> {
    let all = law.compiled().derived.iter();
    let one = |formula: &crate::law::expression::Expression| {
        let sample = replicates
            .iter()
            .map(|replicate| formula.value(replicate, &[]))
            .collect();
        from_replicates(formula.value(optimum, &[]), sample, level)
    };
    all.map(|(name, formula)| (name.clone(), one(formula)))
        .filter(|(_, estimate)| estimate.value.is_finite())
        .collect()
}

fn spans(law: &Law, cohort: &Cohort) -> BTreeMap<String, Interval> {
    let span = |values: &[f64]| Interval {
        low: values.iter().copied().fold(f64::INFINITY, f64::min),
        high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    };
    let mut spans: BTreeMap<String, Interval> = law
        .columns
        .iter()
        .zip(&cohort.columns)
        .map(|(column, values)| (column.name.clone(), span(values)))
        .collect();
    if law.compute.is_some() {
        spans.insert("compute".to_owned(), span(&cohort.order));
    }
    spans
}
