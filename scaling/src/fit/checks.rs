//! What cannot be fitted, told before or as soon as it is known; and what is merely strange, told beside the fit.

use super::cohort::Cohort;
use super::coordinates::asymptote;
use super::linear::{Matrix, scaled_eigenvalues};
use super::problem::Problem;
use crate::error::FitError;
use crate::law::{Law, Scale, nearest_name};
use crate::options::FitOptions;
use crate::table::{Rejected, Table};

/// A model that knows nothing of a vocabulary of 250 000 tokens loses ln 250000 = 12.4 nats on each.
const LOSS_IMPLAUSIBLE: f64 = 12.5;

/// A text without any surprise; the best models of today are above half a nat per token on anything like prose.
const LOSS_TOO_GOOD: f64 = 0.05;

/// Eigenvalue of the scaled information below which two parameters do the same.
const COLLINEAR: f64 = 1e-11;

/// Options that this law does not allow.
pub(crate) fn options(law: &Law, options: &FitOptions) -> Result<(), FitError> {
    let bad = |name: &str, value: String, expected: String| {
        Err(FitError::BadOption {
            name: name.to_owned(),
            value,
            expected,
        })
    };
    for (name, value) in &options.fixed {
        let Some(parameter) = law.parameters.iter().find(|one| one.name == *name) else {
            let names: Vec<&str> = law.parameters.iter().map(|one| one.name.as_str()).collect();
            let near = nearest_name(name, names.iter().copied())
                .map_or(String::new(), |near| format!(", the nearest is {near}"));
            return bad(
                "fixed",
                name.clone(),
                format!("a parameter of {}: {}{near}", law.name, names.join(", ")),
            );
        };
        if !value.is_finite() || parameter.scale == Scale::Log && *value <= 0.0 {
            let expected = if parameter.scale == Scale::Log {
                "a positive number"
            } else {
                "a finite number"
            };
            return bad(
                &format!("fixed {name}"),
                value.to_string(),
                expected.to_owned(),
            );
        }
    }
    if options.fixed.len() == law.parameters.len() {
        return bad(
            "fixed",
            "every parameter".to_owned(),
            "at least one parameter left to fit".to_owned(),
        );
    }
    for (name, value) in &options.conventions {
        // A caller that met several ways of counting joins them; nothing here can convert between them. What else a caller
        // tells of its columns may hold any character.
        if name.starts_with("counting") && value.contains(['|', ',']) {
            return Err(FitError::MixedConventions {
                what: format!("{name} counts as {value}"),
            });
        }
    }
    Ok(())
}

/// Rows that cannot determine the law are an error, strange ones a sentence.
pub(crate) fn cohort(
    law: &Law,
    table: &Table,
    options: &FitOptions,
    cohort: &Cohort,
    rejected: &[Rejected],
) -> Result<Vec<String>, FitError> {
    let Some(first) = cohort.runs.first() else {
        return Err(FitError::NoRows {
            rows: table.len(),
            reason: rejected
                .first()
                .map_or_else(|| "the table is empty".to_owned(), |one| one.reason.clone()),
            rejected: rejected.to_vec(),
        });
    };
    let free = law.parameters.len() - options.fixed.len();
    let points = cohort.distinct_points(free);
    if points <= free {
        return Err(FitError::TooFewRows {
            points,
            rows: cohort.len(),
            free,
            needed: free + 1,
            rejected: rejected.to_vec(),
        });
    }
    if cohort.runs.len() == 1 && !law.one_run {
        return Err(FitError::OneRun {
            run_id: first.clone(),
            rows: cohort.len(),
        });
    }
    floor(law, options, cohort)?;
    Ok(notes(law, cohort, rejected))
}

/// A loss at or below a floor that is not fitted has no logarithm of what is above it.
fn floor(law: &Law, options: &FitOptions, cohort: &Cohort) -> Result<(), FitError> {
    if law.response.scale != Scale::Log {
        return Ok(());
    }
    let smallest = (0..cohort.len())
        .min_by(|one, two| cohort.response[*one].total_cmp(&cohort.response[*two]));
    let Some(row) = smallest else { return Ok(()) };
    for (index, parameter) in law
        .parameters
        .iter()
        .enumerate()
        .filter(|(index, _)| asymptote(law, *index))
    {
        let fixed = options.fixed.get(&parameter.name);
        let least = fixed.copied().unwrap_or(law.parameters[index].bounds.low);
        if cohort.response[row] <= least {
            return Err(FitError::LossBelowFloor {
                response: cohort.response[row],
                run_id: cohort.runs[cohort.run_of[row]].clone(),
                name: parameter.name.clone(),
                floor: least,
            });
        }
    }
    Ok(())
}

fn notes(law: &Law, cohort: &Cohort, rejected: &[Rejected]) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(first) = rejected.first() {
        notes.push(format!(
            "{} rows were left out; the first, row {} of run {}: {}",
            rejected.len(),
            first.row,
            first.run_id,
            first.reason
        ));
    }
    let duplicates = cohort.duplicates();
    if duplicates > 0 {
        notes.push(format!("{duplicates} rows repeat another row of their run in every number; each counts as given"));
    }
    if law.response.unit.starts_with("nats") {
        let most = cohort.response.iter().copied().fold(0.0, f64::max);
        let least = cohort
            .response
            .iter()
            .copied()
            .fold(f64::INFINITY, f64::min);
        if most > LOSS_IMPLAUSIBLE {
            notes.push(format!(
                "a loss of {most:.2} is more than guessing costs with any vocabulary: are these nats per token? bits are 1.44 times as many, perplexities exponentials"
            ));
        }
        if least < LOSS_TOO_GOOD {
            notes.push(format!("a loss of {least:.4} nats per token is hardly possible on text: is it another unit, or training data?"));
        }
    }
    notes
}

/// A constant column whose parameters cannot be told from others: the information at the optimum is singular.
pub(crate) fn separable(
    law: &Law,
    cohort: &Cohort,
    problem: &Problem,
    at: &[f64],
) -> Result<(), FitError> {
    let read = law.compiled().formula.columns(law.columns.len());
    let Some(constant) =
        (0..law.columns.len()).find(|index| read[*index] && cohort.constant(*index))
    else {
        return Ok(());
    };
    let size = at.len();
    let mut information = Matrix::zero(size);
    for slope in problem.slopes(at).rows {
        for k in 0..size {
            for l in 0..size {
                information[k][l] += slope[k] * slope[l];
            }
        }
    }
    let free: Vec<bool> = (0..size)
        .map(|index| !problem.coordinates.fixed(index))
        .collect();
    let least = scaled_eigenvalues(&information, &free)
        .first()
        .copied()
        .unwrap_or(0.0);
    // Also where it is no number.
    if least > COLLINEAR {
        return Ok(());
    }
    Err(FitError::ConstantColumn {
        column: law.columns[constant].name.clone(),
        value: cohort.columns[constant][0],
    })
}
