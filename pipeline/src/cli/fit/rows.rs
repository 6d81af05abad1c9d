//! The columns of a law, taken from a table as `--columns` says.

use super::super::Failure;
use super::source::Source;
use crate::input_table::InputTable;
use cairn_scaling::{Law, Table};
use std::collections::BTreeMap;

/// Columns that mean the same in every law.
pub const COMMON: [&str; 5] = ["run", "weight", "group", "cluster", "convention"];

/// Rows for a law, and the expression behind each of its columns.
pub struct Rows {
    /// What is fitted.
    pub table: Table,
    /// Column of the law, or one of [`COMMON`] → expression over the user's table.
    pub expressions: BTreeMap<String, String>,
}

/// What is asked of a table.
pub struct Wanted<'a> {
    /// The law, or the study.
    pub law: &'a str,
    /// Its columns.
    pub columns: Vec<&'a str>,
    /// What it explains.
    pub response: &'a str,
}

impl<'a> Wanted<'a> {
    /// What a law asks.
    #[must_use]
    pub fn of(law: &'a Law) -> Self {
        let columns = law.columns.iter().map(|column| column.name.as_str());
        Self {
            law: &law.name,
            columns: columns.collect(),
            response: &law.response.name,
        }
    }
}

/// Takes the columns that are asked for.
///
/// # Errors
/// A column that nobody asked for, one that is needed and nobody named, or an expression that cannot be evaluated.
pub fn take(
    input: &InputTable,
    source: &Source,
    asked: &Wanted,
    columns: &[(String, String)],
    cluster: Option<&str>,
) -> Result<Rows, Failure> {
    let wanted = &asked.columns;
    let is_response = |name: &str| name == "y" || name == "loss" || name == asked.response;
    for (name, _) in columns {
        if !wanted.contains(&name.as_str())
            && !is_response(name)
            && !COMMON.contains(&name.as_str())
        {
            return Err(unknown(asked, name));
        }
    }
    let given = |name: &str| {
        columns
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, expression)| expression.clone())
    };
    let mut expressions = BTreeMap::new();
    let mut table = Table::default();
    for name in wanted {
        let expression = given(name).unwrap_or_else(|| source.default_expression(name));
        let values = input
            .numbers(&expression)
            .map_err(|error| missing(error.into(), asked, name, given(name).is_some()))?;
        table.columns.insert((*name).to_owned(), values);
        expressions.insert((*name).to_owned(), expression);
    }
    let response = columns
        .iter()
        .find(|(name, _)| is_response(name) && !wanted.contains(&name.as_str()));
    let expression = response.map_or_else(
        || source.default_expression(asked.response),
        |(_, expression)| expression.clone(),
    );
    table.response = input
        .numbers(&expression)
        .map_err(|error| missing(error.into(), asked, asked.response, response.is_some()))?;
    expressions.insert(asked.response.to_owned(), expression);
    let run = given("run").or_else(|| {
        source
            .cohort
            .as_ref()
            .map(|_| source.default_expression("run"))
    });
    table.run_ids = input.runs(run.as_deref())?;
    table.weights = match given("weight") {
        Some(expression) => input.numbers(&expression)?,
        None => vec![1.0; input.rows()],
    };
    if let Some(expression) = given("group") {
        table.groups = input.names_of("group", &expression)?;
    }
    if let Some(expression) = cluster.map(str::to_owned).or_else(|| given("cluster")) {
        table.clusters = input.names_of("cluster", &expression)?;
        expressions.insert("cluster".to_owned(), expression);
    }
    if let Some(expression) = given("convention") {
        one_convention(&input.names_of("convention", &expression)?, &expression)?;
    }
    for name in ["weight", "group", "convention"] {
        expressions.extend(given(name).map(|expression| (name.to_owned(), expression)));
    }
    expressions.extend(run.map(|expression| ("run".to_owned(), expression)));
    Ok(Rows { table, expressions })
}

/// Rows that count differently are no rows of one law.
fn one_convention(of_rows: &[String], expression: &str) -> Result<(), Failure> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for convention in of_rows {
        *counts.entry(convention).or_default() += 1;
    }
    if counts.len() < 2 {
        return Ok(());
    }
    let said: Vec<String> = counts
        .iter()
        .map(|(convention, rows)| format!("{convention} in {rows} rows"))
        .collect();
    Err(Failure::new(
        "mixed_conventions",
        1,
        format!(
            "the rows count in {} ways: {}",
            counts.len(),
            said.join(", ")
        ),
        expression,
        "convert them to one, fit each alone with --where, or see whether it matters with group=",
    ))
}

fn unknown(asked: &Wanted, name: &str) -> Failure {
    let names = asked
        .columns
        .iter()
        .copied()
        .chain([asked.response])
        .chain(COMMON);
    let nearest = names
        .clone()
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| format!("did you mean {known}? "));
    Failure::new(
        "unknown_column",
        2,
        format!("{} has no column {name}", asked.law),
        "--columns",
        format!(
            "{}it has {}",
            nearest.unwrap_or_default(),
            names.collect::<Vec<_>>().join(", ")
        ),
    )
}

/// An expression nobody wrote is a column nobody named.
fn missing(failure: Failure, asked: &Wanted, name: &str, was_given: bool) -> Failure {
    if was_given {
        return failure;
    }
    Failure::new(
        "missing_column",
        2,
        format!(
            "{} needs a column {name}, and the table has none of that name",
            asked.law
        ),
        "--columns",
        format!(
            "say which it is: --columns {name}=COLUMN, or an expression; {}",
            failure.remedy
        ),
    )
}

/// Leaves out the rows with the `count` largest responses, ties by the order of the table.
pub fn drop_highest(table: &mut Table, count: usize) {
    let mut order: Vec<usize> = (0..table.response.len()).collect();
    order.sort_by(|a, b| {
        table.response[*b]
            .total_cmp(&table.response[*a])
            .then(a.cmp(b))
    });
    let mut keep = vec![true; order.len()];
    order
        .iter()
        .filter(|row| table.response[**row].is_finite())
        .take(count)
        .for_each(|row| keep[*row] = false);
    fn retain<T>(values: &mut Vec<T>, keep: &[bool]) {
        let mut kept = keep.iter();
        if values.len() == keep.len() {
            values.retain(|_| *kept.next().unwrap_or(&true));
        }
    }
    retain(&mut table.run_ids, &keep);
    retain(&mut table.response, &keep);
    retain(&mut table.weights, &keep);
    retain(&mut table.groups, &keep);
    retain(&mut table.clusters, &keep);
    table
        .columns
        .values_mut()
        .for_each(|values| retain(values, &keep));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_are_left_out_and_the_order_stays() {
        let mut table = Table {
            run_ids: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
            columns: BTreeMap::from([("n".to_owned(), vec![1.0, 2.0, 3.0, 4.0])]),
            response: vec![3.0, f64::NAN, 5.0, 5.0],
            weights: vec![1.0; 4],
            ..Table::default()
        };
        drop_highest(&mut table, 2);
        assert_eq!(table.run_ids, ["a", "b"]);
        assert_eq!(table.columns["n"], [1.0, 2.0]);
    }
}
