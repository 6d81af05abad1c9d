//! How much does the answer hang on choices that nobody argues for? One row a choice, the answer beside it.
//!
//! An interval says what other runs might have given. It does not say what another delta, another grid of starts, another
//! way of counting parameters or one run less would have given, and for published laws that was often the larger part.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::fit::{Quick, quick};
use crate::study::error::StudyError;
use crate::study::rows::{compute, count_distinct, legal, logarithmic};
use crate::{Fit, FitOptions, Law, Starts, Table};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SensitivityOptions {
    /// A point whose prediction is followed.
    pub point: Option<BTreeMap<String, f64>>,
    /// Deltas of the objective; none for objectives without.
    pub deltas: Vec<f64>,
    /// Other starts.
    pub starts: Vec<Starts>,
    /// Numbers of rows with the highest response to leave out.
    pub drop_highest: Vec<usize>,
    /// Whether each run is left out once.
    pub each_run: bool,
    /// Other columns of the table for a column of the law: (`n`, `n_with_embeddings`).
    pub counted_as: Vec<(String, String)>,
    /// Whether to try the last row of each run alone, where runs have several.
    pub last_row_only: bool,
}

impl Default for SensitivityOptions {
    fn default() -> Self {
        Self {
            point: None,
            deltas: vec![1e-4, 1e-2, 1e-1],
            starts: vec![Starts::Grid, Starts::Count(100)],
            drop_highest: vec![1, 3, 5, 10],
            each_run: true,
            counted_as: Vec::new(),
            last_row_only: true,
        }
    }
}

/// What is followed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Parameters.
    pub parameters: BTreeMap<String, f64>,
    /// Numbers that follow from them, such as the allocation exponent.
    pub derived: BTreeMap<String, f64>,
    /// Response at the point asked for.
    pub prediction: Option<f64>,
    /// The objective. Not comparable where rows or delta differ.
    pub objective: f64,
    /// Rows and runs that were fitted.
    pub rows: usize,
    /// Runs that were fitted.
    pub runs: usize,
}

/// A choice made otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variation {
    /// `delta`, `starts`, `drop_highest`, `without_run`, `counted_as`, `last_row_only`.
    pub what: String,
    /// The value, the run, the column.
    pub setting: String,
    /// The answer; `None` where there is none.
    pub answer: Option<Answer>,
    /// Why there is none.
    pub failed: Option<String>,
    /// Change of each parameter and derived number in the baseline's standard errors, where it has them.
    pub moved: BTreeMap<String, f64>,
}

/// The study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// The answer as asked for.
    pub baseline: Answer,
    /// The others.
    pub variations: Vec<Variation>,
    /// The kinds of choice that move some number by more than one standard error, each with its largest move: a sentence each.
    pub findings: Vec<String>,
}

/// Runs all variations of a fit. `fit` must be of this law, table and options: it gives the standard errors.
pub fn sensitivity(
    fit: &Fit,
    table: &Table,
    options: &FitOptions,
    choices: &SensitivityOptions,
) -> Result<Sensitivity, StudyError> {
    let law = &fit.definition;
    let rows = legal(law, table, logarithmic(law, options));
    let study = Study { law, fit, choices };
    let found = quick(law, &rows, options, &[])?;
    let baseline = study.answer(&rows, &found);
    let mut variations = Vec::new();
    let mut tried = |what: &str, setting: String, rows: &Table, options: &FitOptions| {
        // One run less has the same basins: no new search, as in a replicate of the bootstrap.
        let near: &[Vec<f64>] = if what == "without_run" {
            std::slice::from_ref(&found.optimum)
        } else {
            &[]
        };
        variations.push(study.variation(what, setting, rows, options, &baseline, near));
    };
    if fit.objective.kind.starts_with("huber") || fit.objective.kind.starts_with("student") {
        for delta in &choices.deltas {
            let varied = FitOptions {
                delta: Some(*delta),
                ..options.clone()
            };
            tried("delta", format!("{delta:e}"), &rows, &varied);
        }
    }
    for starts in &choices.starts {
        let setting = match starts {
            Starts::Data => "data".to_owned(),
            Starts::Grid => "grid".to_owned(),
            Starts::Count(count) => format!("{count} drawn"),
        };
        tried(
            "starts",
            setting,
            &rows,
            &FitOptions {
                starts: *starts,
                ..options.clone()
            },
        );
    }
    let mut highest: Vec<usize> = (0..rows.len()).collect();
    highest.sort_by(|one, two| rows.response[*two].total_cmp(&rows.response[*one]));
    for count in &choices.drop_highest {
        let dropped: BTreeSet<usize> = highest.iter().copied().take(*count).collect();
        tried(
            "drop_highest",
            count.to_string(),
            &rows.filtered(|row| !dropped.contains(&row)),
            options,
        );
    }
    if choices.each_run {
        let runs: BTreeSet<&String> = rows.run_ids.iter().collect();
        for run in runs {
            tried(
                "without_run",
                run.clone(),
                &rows.filtered(|row| rows.run_ids[row] != *run),
                options,
            );
        }
    }
    for (column, other) in &choices.counted_as {
        let Some(values) = rows.columns.get(other) else {
            return Err(StudyError::MissingColumn {
                study: "sensitivity",
                column: other.clone(),
                why: ", the other way of counting",
            });
        };
        let mut counted = rows.clone();
        counted.columns.insert(column.clone(), values.clone());
        tried(
            "counted_as",
            format!("{column} = {other}"),
            &counted,
            options,
        );
    }
    if choices.last_row_only && count_distinct(rows.run_ids.iter().map(String::as_str)) < rows.len()
    {
        tried(
            "last_row_only",
            String::new(),
            &last_rows(law, &rows),
            options,
        );
    }
    let findings = findings(&variations);
    Ok(Sensitivity {
        baseline,
        variations,
        findings,
    })
}

struct Study<'a> {
    law: &'a Law,
    fit: &'a Fit,
    choices: &'a SensitivityOptions,
}

impl Study<'_> {
    fn answer(&self, rows: &Table, found: &Quick) -> Answer {
        let names = self.law.parameters.iter().map(|one| one.name.clone());
        let derived = self.law.compiled().derived.iter();
        Answer {
            parameters: names.zip(found.optimum.iter().copied()).collect(),
            derived: derived
                .map(|(name, formula)| (name.clone(), formula.value(&found.optimum, &[])))
                .collect(),
            prediction: self
                .choices
                .point
                .as_ref()
                .map(|point| self.law.value(&found.optimum, &self.law.coordinates(point))),
            objective: found.objective,
            rows: rows.len(),
            runs: count_distinct(rows.run_ids.iter().map(String::as_str)),
        }
    }

    fn variation(
        &self,
        what: &str,
        setting: String,
        rows: &Table,
        options: &FitOptions,
        baseline: &Answer,
        near: &[Vec<f64>],
    ) -> Variation {
        let mut variation = Variation {
            what: what.to_owned(),
            setting,
            answer: None,
            failed: None,
            moved: BTreeMap::new(),
        };
        match quick(self.law, rows, options, near) {
            Err(error) => variation.failed = Some(error.to_string()),
            Ok(found) if !found.converged => variation.failed = Some("did not converge".to_owned()),
            Ok(found) => {
                let answer = self.answer(rows, &found);
                let parameters = self.fit.parameters.iter().map(|(name, one)| (name, one.se));
                let derived = self.fit.derived.iter().map(|(name, one)| (name, one.se));
                for (name, se) in parameters {
                    moved(
                        &mut variation.moved,
                        name,
                        se,
                        &answer.parameters,
                        &baseline.parameters,
                    );
                }
                for (name, se) in derived {
                    // A derived number may have a parameter's name (`a` of Hoffmann's law is both).
                    let key = if self.fit.parameters.contains_key(name) {
                        format!("derived {name}")
                    } else {
                        name.clone()
                    };
                    let mut one = BTreeMap::new();
                    moved(&mut one, name, se, &answer.derived, &baseline.derived);
                    variation
                        .moved
                        .extend(one.into_values().map(|value| (key.clone(), value)));
                }
                variation.answer = Some(answer);
            }
        }
        variation
    }
}

fn moved(
    moves: &mut BTreeMap<String, f64>,
    name: &str,
    se: Option<f64>,
    answer: &BTreeMap<String, f64>,
    baseline: &BTreeMap<String, f64>,
) {
    if let (Some(se), Some(one), Some(two)) = (
        se.filter(|se| *se > 0.0),
        answer.get(name),
        baseline.get(name),
    ) {
        moves.insert(name.to_owned(), (one - two) / se);
    }
}

/// The row of each run that was trained longest.
fn last_rows(law: &Law, rows: &Table) -> Table {
    let order = compute(law, rows);
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for row in 0..rows.len() {
        let entry = last.entry(&rows.run_ids[row]).or_insert(row);
        if order[row] > order[*entry] {
            *entry = row;
        }
    }
    let kept: BTreeSet<usize> = last.into_values().collect();
    rows.filtered(|row| kept.contains(&row))
}

fn findings(variations: &[Variation]) -> Vec<String> {
    let mut largest: BTreeMap<&str, (f64, String)> = BTreeMap::new();
    for variation in variations {
        for (name, moved) in &variation.moved {
            if moved.abs()
                > largest
                    .get(variation.what.as_str())
                    .map_or(1.0, |one| one.0.abs())
            {
                let sentence = format!(
                    "{} {} moves {name} by {moved:+.1} standard errors",
                    variation.what, variation.setting
                );
                largest.insert(&variation.what, (*moved, sentence));
            }
        }
    }
    largest
        .into_values()
        .map(|(_, sentence)| sentence)
        .collect()
}
