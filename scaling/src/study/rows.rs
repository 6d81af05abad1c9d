//! Rows of a table as a law sees them: what studies resample, hold out and compare by.

use std::collections::BTreeMap;

use crate::law::{Law, Scale};
use crate::{FitOptions, ObjectiveKind, Table};

/// Whether the objective is of log residuals.
pub(crate) fn logarithmic(law: &Law, options: &FitOptions) -> bool {
    match options.objective {
        ObjectiveKind::LawDefault => law.response.scale == Scale::Log,
        ObjectiveKind::HuberLog | ObjectiveKind::LeastSquaresLog | ObjectiveKind::StudentTLog => {
            true
        }
        _ => false,
    }
}

/// The rows that a law can read: all its columns there and legal, the response too.
pub(crate) fn legal(law: &Law, table: &Table, positive_response: bool) -> Table {
    let columns: Vec<(Option<&Vec<f64>>, bool)> = law
        .columns
        .iter()
        .map(|column| (table.columns.get(&column.name), column.positive))
        .collect();
    table.filtered(|row| {
        let response = table.response[row];
        let weight = table.weights.get(row).copied().unwrap_or(1.0);
        response.is_finite()
            && (!positive_response || response > 0.0)
            && weight.is_finite()
            && weight > 0.0
            && columns.iter().all(|(values, positive)| {
                values
                    .and_then(|values| values.get(row))
                    .is_some_and(|value| value.is_finite() && (!positive || *value > 0.0))
            })
    })
}

/// A row's columns by name.
pub(crate) fn point(table: &Table, row: usize) -> BTreeMap<String, f64> {
    let value = |values: &Vec<f64>| values.get(row).copied().unwrap_or(f64::NAN);
    table
        .columns
        .iter()
        .map(|(name, values)| (name.clone(), value(values)))
        .collect()
}

/// What is independent of a row: its cluster, or its run.
pub(crate) fn unit(table: &Table, row: usize) -> &str {
    table.clusters.get(row).unwrap_or(&table.run_ids[row])
}

/// Compute of each row: the law's own count, the column `c`, 6 n d, or else the product of the columns, which orders as
/// well as anything that is not known.
pub(crate) fn compute(law: &Law, table: &Table) -> Vec<f64> {
    let column = |name: &str| table.columns.get(name);
    (0..table.len())
        .map(|row| {
            let at = |values: &Vec<f64>| values[row];
            law.compute_at(&point(table, row))
                .filter(|value| value.is_finite())
                .or_else(|| column("c").map(at))
                .or_else(|| Some(6.0 * at(column("n")?) * at(column("d")?)))
                .unwrap_or_else(|| {
                    law.columns
                        .iter()
                        .filter_map(|one| column(&one.name))
                        .map(|values| values[row].abs())
                        .product()
                })
        })
        .collect()
}

/// Names of runs from the least to the most compute, each by its largest row; ties by name.
pub(crate) fn runs_by_compute(table: &Table, compute: &[f64]) -> Vec<String> {
    let mut most: BTreeMap<&str, f64> = BTreeMap::new();
    for (run, value) in table.run_ids.iter().zip(compute) {
        let entry = most.entry(run).or_insert(f64::NEG_INFINITY);
        *entry = entry.max(*value);
    }
    let mut runs: Vec<(&str, f64)> = most.into_iter().collect();
    runs.sort_by(|one, two| one.1.total_cmp(&two.1).then(one.0.cmp(two.0)));
    runs.into_iter().map(|(run, _)| run.to_owned()).collect()
}

/// How many different names there are.
pub(crate) fn count_distinct<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    names.len()
}

/// The rows with these indices, in the table's order.
pub(crate) fn taken(table: &Table, rows: &[usize]) -> Table {
    let mut chosen = vec![false; table.len()];
    for row in rows {
        chosen[*row] = true;
    }
    table.filtered(|row| chosen[row])
}
