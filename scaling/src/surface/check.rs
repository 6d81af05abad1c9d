//! What a table must be before anything is fitted to it, and what a reader should know of it.

use super::encode::check_mixture;
use super::error::SurfaceError;
use super::features::{Column, Features};
use super::metrics::pearson;
use super::options::{Kind, Scale, SurfaceHoldout, SurfaceOptions};
use super::split::runs;

/// Rows without which no form says anything.
const ROWS_MIN: usize = 10;

/// Runs without which nothing can be held out.
const RUNS_MIN: usize = 5;

/// Refuses what cannot be fitted; returns warnings about what can.
pub(crate) fn check(
    features: &Features,
    options: &SurfaceOptions,
) -> Result<Vec<String>, SurfaceError> {
    check_options(features, options)?;
    check_lengths(features)?;
    check_target(features, options.scale)?;
    let (_, count) = runs(&features.run_ids);
    // A row for each two features: penalised forms stand more features than rows, but nothing much can be said then.
    let needed = ROWS_MIN.max(features.columns.len() / 2);
    if features.len() < needed {
        return Err(SurfaceError::TooFewRows {
            rows: features.len(),
            needed,
            features: features.columns.len(),
        });
    }
    if count < RUNS_MIN {
        return Err(SurfaceError::TooFewRuns {
            runs: count,
            needed: RUNS_MIN,
        });
    }
    let mut warnings = Vec::new();
    for (name, column) in &features.columns {
        check_column(name, column, features, &mut warnings)?;
    }
    for group in &options.simplex {
        let mut shares = Vec::new();
        for name in group {
            match &features.columns[name] {
                Column::Number(values) => shares.push(values.as_slice()),
                Column::Category(_) => {
                    return Err(SurfaceError::NotANumber {
                        column: name.clone(),
                        why: "it is a share of a mixture",
                    });
                }
            }
        }
        check_mixture(
            &group.iter().map(String::as_str).collect::<Vec<_>>(),
            &shares,
        )?;
    }
    let reachable = count as f64 / (count as f64 + 1.0);
    if options.level > reachable {
        warnings.push(format!(
            "{count} runs cannot back an interval of level {}: it is the widest seen, good for about {reachable:.2}.",
            options.level
        ));
    }
    Ok(warnings)
}

fn check_options(features: &Features, options: &SurfaceOptions) -> Result<(), SurfaceError> {
    if features.columns.is_empty() {
        return Err(SurfaceError::NoFeatures);
    }
    let outside = |name, value: f64, allowed| {
        Err(SurfaceError::BadOption {
            name,
            value: value.to_string(),
            allowed,
        })
    };
    if !(options.level > 0.0 && options.level < 1.0) {
        return outside("level", options.level, "above 0 and below 1");
    }
    if !(2..=100).contains(&options.folds) {
        return outside("folds", options.folds as f64, "2 to 100");
    }
    match &options.holdout {
        SurfaceHoldout::Runs(fraction) | SurfaceHoldout::Largest { fraction, .. }
            if !(*fraction > 0.0 && *fraction < 1.0) =>
        {
            return outside(
                "holdout",
                *fraction,
                "a share of the runs, above 0 and below 1",
            );
        }
        _ => {}
    }
    let holdout = match &options.holdout {
        SurfaceHoldout::Largest { column, .. } => Some(column),
        _ => None,
    };
    let named = options
        .monotone
        .keys()
        .chain(options.simplex.iter().flatten())
        .chain(holdout);
    for name in named {
        if !features.columns.contains_key(name) {
            let known = features
                .columns
                .keys()
                .cloned()
                .collect::<Vec<_>>()
                .join(", ");
            return Err(SurfaceError::UnknownColumn {
                name: name.clone(),
                known,
            });
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    for name in options.simplex.iter().flatten() {
        if !seen.insert(name) {
            let allowed = "a column is a share of one mixture, once";
            return Err(SurfaceError::BadOption {
                name: "simplex",
                value: name.clone(),
                allowed,
            });
        }
    }
    for name in options.monotone.keys() {
        if matches!(features.columns[name], Column::Category(_)) {
            return Err(SurfaceError::NotANumber {
                column: name.clone(),
                why: "names have no direction",
            });
        }
        if seen.contains(name) {
            let allowed = "a share of a mixture cannot grow while the others stay: it has no direction of its own";
            return Err(SurfaceError::BadOption {
                name: "monotone",
                value: name.clone(),
                allowed,
            });
        }
    }
    if options.kind == Kind::GaussianProcess {
        let kind = options.kind.name();
        if let Some(what) = process_cannot(features.len(), options) {
            return Err(SurfaceError::KindCannot { kind, what });
        }
    }
    Ok(())
}

/// What a Gaussian process is asked here that it cannot.
pub(crate) fn process_cannot(rows: usize, options: &SurfaceOptions) -> Option<&'static str> {
    if options.scale == Scale::Probability {
        Some("fit a probability: its rows are not Gaussian")
    } else if !options.monotone.is_empty() {
        Some("keep a direction")
    } else if rows > super::gaussian::ROWS {
        Some("take so many rows (600 at most)")
    } else {
        None
    }
}

fn check_lengths(features: &Features) -> Result<(), SurfaceError> {
    let expected = features.len();
    let columns = features
        .columns
        .iter()
        .map(|(name, column)| (name.clone(), column.len()));
    let others = [("run_ids".to_owned(), features.run_ids.len())];
    let weights =
        (!features.weights.is_empty()).then(|| ("weights".to_owned(), features.weights.len()));
    for (what, found) in columns.chain(others).chain(weights) {
        if found != expected {
            return Err(SurfaceError::Lengths {
                what,
                found,
                expected,
            });
        }
    }
    for (row, value) in features.weights.iter().copied().enumerate() {
        if !(value.is_finite() && value > 0.0) {
            return Err(SurfaceError::BadWeight { row, value });
        }
    }
    Ok(())
}

fn check_target(features: &Features, scale: Scale) -> Result<(), SurfaceError> {
    let name = &features.target_name;
    for (row, value) in features.target.iter().copied().enumerate() {
        if !value.is_finite() {
            return Err(SurfaceError::TargetNotFinite {
                name: name.clone(),
                row,
            });
        }
        let (allowed, fits) = match scale {
            Scale::Identity => ("any number", true),
            Scale::Log => ("above 0", value > 0.0),
            Scale::Logit => ("above 0 and below 1", value > 0.0 && value < 1.0),
            Scale::Probability => ("0 to 1", (0.0..=1.0).contains(&value)),
        };
        if !fits {
            return Err(SurfaceError::TargetOutside {
                name: name.clone(),
                row,
                value,
                scale: scale.name(),
                allowed,
            });
        }
    }
    if let Some(first) = features.target.first()
        && features.target.iter().all(|value| value == first)
    {
        return Err(SurfaceError::ConstantTarget {
            name: name.clone(),
            value: *first,
        });
    }
    Ok(())
}

fn check_column(
    name: &str,
    column: &Column,
    features: &Features,
    warnings: &mut Vec<String>,
) -> Result<(), SurfaceError> {
    let rows = features.len();
    let values = match column {
        Column::Number(values) => values,
        Column::Category(names) => {
            let known: std::collections::BTreeSet<&String> = names.iter().flatten().collect();
            if known.is_empty() {
                return Err(SurfaceError::AllMissing {
                    column: name.to_owned(),
                });
            }
            if known.len() == 1 && names.iter().all(Option::is_some) {
                warnings.push(format!(
                    "`{name}` is the same in every row and explains nothing."
                ));
            }
            if known.len() > rows / 2 {
                warnings.push(format!("`{name}` has {} names for {rows} rows: it may name the runs rather than describe them.", known.len()));
            }
            return Ok(());
        }
    };
    if let Some(row) = values.iter().position(|value| value.is_infinite()) {
        return Err(SurfaceError::NotFinite {
            column: name.to_owned(),
            row,
        });
    }
    let known: Vec<usize> = (0..rows).filter(|row| !values[*row].is_nan()).collect();
    if known.is_empty() {
        return Err(SurfaceError::AllMissing {
            column: name.to_owned(),
        });
    }
    let x: Vec<f64> = known.iter().map(|row| values[*row]).collect();
    let y: Vec<f64> = known.iter().map(|row| features.target[*row]).collect();
    if x.iter().all(|value| *value == x[0]) {
        if known.len() == rows {
            warnings.push(format!(
                "`{name}` is the same in every row and explains nothing."
            ));
        }
        return Ok(());
    }
    // Two points always lie on a line; ten that do are no accident.
    if x.len() >= ROWS_MIN && pearson(&x, &y).abs() > 1.0 - 1e-10 {
        let target = features.target_name.clone();
        return Err(SurfaceError::TargetLeak {
            column: name.to_owned(),
            target,
        });
    }
    if x.len() >= ROWS_MIN && super::metrics::spearman(&x, &y).abs() > 0.9999 {
        warnings.push(format!(
            "`{name}` puts the rows in the same order as `{}`: is it known before the run?",
            features.target_name
        ));
    }
    Ok(())
}
