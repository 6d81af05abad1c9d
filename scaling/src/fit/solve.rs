//! From a cohort to an optimum: which objective, which starts, which coordinates.

use std::collections::BTreeMap;

use super::cohort::Cohort;
use super::coordinates::{Centring, middle};
use super::loss::Loss;
use super::problem::{Aim, Problem};
use super::projection::Projection;
use super::search::{Search, search};
use super::starts::{STARTS_FULL, STARTS_ROWS, STARTS_WARM, asked, from_data};
use crate::error::FitError;
use crate::law::{Law, Scale};
use crate::options::{FitOptions, ObjectiveKind};

/// Delta of Huber's loss of log residuals unless told otherwise (Hoffmann et al. 2022); of plain residuals in middle responses.
const DELTA: f64 = 1e-3;

/// Best grid points that variable projection descends from.
const DESCENTS: usize = 10;

/// Rounds in which the scale of Student's t follows the residuals.
const SCALE_ROUNDS: u32 = 8;

/// A problem and what its search found.
pub(crate) struct Solved {
    pub(crate) problem: Problem,
    pub(crate) found: Search,
}

/// The name of an objective, `LawDefault` resolved.
pub(crate) fn kind(law: &Law, options: &FitOptions) -> ObjectiveKind {
    match options.objective {
        ObjectiveKind::LawDefault if law.response.scale == Scale::Log => ObjectiveKind::HuberLog,
        ObjectiveKind::LawDefault => ObjectiveKind::LeastSquares,
        other => other,
    }
}

/// Whether an objective is of log residuals.
pub(crate) fn logarithmic(kind: ObjectiveKind) -> bool {
    matches!(
        kind,
        ObjectiveKind::HuberLog | ObjectiveKind::LeastSquaresLog | ObjectiveKind::StudentTLog
    )
}

/// The loss of an objective. That of Student's t without a scale begins as Huber's and is replaced by [`solve`].
pub(crate) fn aim(kind: ObjectiveKind, cohort: &Cohort, delta: Option<f64>) -> Aim {
    let logarithmic = logarithmic(kind);
    let unit = if logarithmic {
        1.0
    } else {
        middle(&cohort.response)
    };
    let loss = match kind {
        ObjectiveKind::LeastSquares
        | ObjectiveKind::LeastSquaresLog
        | ObjectiveKind::VariableProjection => Loss::Squares,
        ObjectiveKind::StudentT | ObjectiveKind::StudentTLog if delta.is_some() => Loss::StudentT {
            scale: delta.unwrap_or(unit),
        },
        _ => Loss::Huber {
            delta: delta.unwrap_or(DELTA * unit),
        },
    };
    Aim { logarithmic, loss }
}

/// Searches as the options ask.
pub(crate) fn solve(law: &Law, cohort: &Cohort, options: &FitOptions) -> Result<Solved, FitError> {
    let kind = kind(law, options);
    let aim = aim(kind, cohort, options.delta);
    let relative = aim.logarithmic
        || kind != ObjectiveKind::VariableProjection && law.response.scale == Scale::Log;
    let sample = cohort.sample(STARTS_ROWS);
    let few = sample.as_ref().unwrap_or(cohort);
    let projection = Projection::new(law, few, &options.fixed, relative);
    let mut near = Vec::new();
    if let Some(last) = &options.warm {
        let mut values = law.values(last);
        for (value, parameter) in values.iter_mut().zip(&law.parameters) {
            *value = options
                .fixed
                .get(&parameter.name)
                .copied()
                .unwrap_or(*value);
        }
        near.extend(values.iter().all(|one| one.is_finite()).then_some(values));
    }
    let count = if near.is_empty() {
        STARTS_FULL
    } else {
        STARTS_WARM
    };
    let data = from_data(law, few, &projection, count);
    let far = asked(law, few, &projection, options, data.first())?;
    if kind == ObjectiveKind::VariableProjection && !projection.rest.is_empty() {
        for values in data.iter().take(DESCENTS) {
            let rest: Vec<f64> = projection.rest.iter().map(|index| values[*index]).collect();
            near.extend(
                projection
                    .solve(&projection.descend(&rest))
                    .map(|(values, _)| values),
            );
        }
    }
    near.extend(data);
    let mut solved = from_starts(law, cohort, &options.fixed, aim, &near, &far)?;
    let estimated = matches!(kind, ObjectiveKind::StudentT | ObjectiveKind::StudentTLog)
        && options.delta.is_none();
    if estimated {
        solved = with_scale(law, cohort, options, solved, &near)?;
    }
    Ok(solved)
}

/// Searches from natural values; in other coordinates where a centred coefficient left its bounds.
pub(crate) fn from_starts(
    law: &Law,
    cohort: &Cohort,
    fixed: &BTreeMap<String, f64>,
    aim: Aim,
    near: &[Vec<f64>],
    far: &[Vec<f64>],
) -> Result<Solved, FitError> {
    let attempt = |centring| {
        let problem = Problem::new(law, cohort, fixed, aim, centring);
        let placed = |starts: &[Vec<f64>]| -> Vec<Vec<f64>> {
            let coordinates = &problem.coordinates;
            starts
                .iter()
                .map(|values| coordinates.place(&coordinates.read(values)))
                .collect()
        };
        let found = search(&problem, &cohort.order, &placed(near), &placed(far))
            .ok_or(FitError::NoOptimum)?;
        Ok(Solved { problem, found })
    };
    let solved: Solved = attempt(Centring::All)?;
    let values = solved.problem.coordinates.natural(&solved.found.best.at);
    let outside = values
        .iter()
        .zip(&law.parameters)
        .any(|(value, parameter)| {
            let free = !fixed.contains_key(&parameter.name) && parameter.scale == Scale::Log;
            free && (*value < parameter.bounds.low * (1.0 - 1e-9)
                || *value > parameter.bounds.high * (1.0 + 1e-9))
        });
    if outside {
        attempt(Centring::Nothing)
    } else {
        Ok(solved)
    }
}

/// Lets the scale of Student's t follow the residuals: the fixed point of the likelihood in both.
fn with_scale(
    law: &Law,
    cohort: &Cohort,
    options: &FitOptions,
    pilot: Solved,
    near: &[Vec<f64>],
) -> Result<Solved, FitError> {
    let logarithmic = pilot.problem.aim.logarithmic;
    let mut sizes: Vec<f64> = pilot
        .problem
        .residuals(&pilot.found.best.at)
        .iter()
        .map(|one| one.abs())
        .collect();
    sizes.sort_by(f64::total_cmp);
    let unit = pilot.problem.unit;
    let least = 1e-9 * unit;
    let mut scale = (1.4826 * sizes.get(sizes.len() / 2).copied().unwrap_or(unit)).max(least);
    let mut solved = pilot;
    for round in 0..SCALE_ROUNDS {
        let aim = Aim {
            logarithmic,
            loss: Loss::StudentT { scale },
        };
        let best = solved.problem.coordinates.natural(&solved.found.best.at);
        let mut starts = vec![best];
        if round == 0 {
            starts.extend_from_slice(near);
        }
        let next = from_starts(law, cohort, &options.fixed, aim, &starts, &[])?;
        // Keep the record of all starts from the round that had them.
        solved = Solved {
            found: if round == 0 {
                next.found
            } else {
                Search {
                    starts: solved.found.starts,
                    failed: solved.found.failed,
                    ..next.found
                }
            },
            problem: next.problem,
        };
        let residuals = solved.problem.residuals(&solved.found.best.at);
        let better = fitted_scale(&residuals, &solved.problem.weights, scale).max(least);
        if (better / scale - 1.0).abs() < 1e-6 {
            break;
        }
        scale = better;
    }
    Ok(solved)
}

/// The scale of Student's t that suits residuals, by the iteration of Lange, Little and Taylor 1989.
fn fitted_scale(residuals: &[f64], weights: &[f64], from: f64) -> f64 {
    let mut scale = from;
    for _ in 0..50 {
        let (mut sum, mut total) = (0.0, 0.0);
        for (residual, weight) in residuals.iter().zip(weights) {
            let square = residual * residual;
            sum += weight * (super::loss::NU + 1.0) * square
                / (super::loss::NU + square / (scale * scale));
            total += weight;
        }
        scale = (sum / total).sqrt().max(f64::MIN_POSITIVE);
    }
    scale
}
