//! Where the columns of a surface come from, and the file that it is kept in.

use super::super::Failure;
use crate::input_table::{InputTable, Values, parts};
use cairn_scaling::surface::{Column, Columns, Features, Surface};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Where the columns of a surface come from: names and expressions over the user's table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Taken {
    pub(super) target: String,
    pub(super) features: Vec<(String, String)>,
    pub(super) run: Option<String>,
    pub(super) weight: Option<String>,
}

/// A surface as a file: its members, and where its columns come from.
#[derive(Serialize, Deserialize)]
pub(super) struct Saved {
    #[serde(flatten)]
    pub(super) surface: Surface,
    #[serde(default)]
    pub(super) taken: Taken,
}

impl Taken {
    /// The rows to learn from, and how many were left out because they lack the target.
    pub(super) fn features(&self, input: &InputTable) -> Result<(Features, usize), Failure> {
        let all = Features {
            columns: columns(input, &self.features)?,
            target_name: self.target.clone(),
            target: input.numbers(&self.target)?,
            run_ids: input.runs(self.run.as_deref())?,
            weights: self
                .weight
                .as_deref()
                .map(|weight| input.numbers(weight))
                .transpose()?
                .unwrap_or_default(),
        };
        let kept: Vec<usize> = (0..all.len())
            .filter(|row| !all.target[*row].is_nan())
            .collect();
        let left_out = all.len() - kept.len();
        Ok(if left_out == 0 {
            (all, 0)
        } else {
            (all.take(&kept), left_out)
        })
    }
}

/// `A,B,prefix_*,x=SQL` as names and expressions.
pub(super) fn named(text: &str, names: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut add = |name: String, expression: String| {
        if !found.iter().any(|(known, _)| *known == name) {
            found.push((name, expression));
        }
    };
    for part in parts(text) {
        if names.iter().any(|name| name == part) {
            add(part.to_owned(), part.to_owned());
        } else if let Some((name, expression)) = part.split_once('=') {
            add(name.trim().to_owned(), expression.trim().to_owned());
        } else if let Some((head, tail)) = part.split_once('*') {
            let matching: Vec<&String> = names
                .iter()
                .filter(|name| {
                    name.len() >= head.len() + tail.len()
                        && name.starts_with(head)
                        && name.ends_with(tail)
                })
                .collect();
            if matching.is_empty() {
                return Err(unknown(part, names));
            }
            matching
                .into_iter()
                .for_each(|name| add(name.clone(), name.clone()));
        } else {
            return Err(unknown(part, names));
        }
    }
    Ok(found)
}

pub(super) fn unknown(part: &str, names: &[String]) -> Failure {
    let nearest = names
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(part, a).total_cmp(&strsim::jaro_winkler(part, b)));
    Failure::new(
        "unknown_column",
        2,
        format!("the table has no column {part}"),
        "--features",
        nearest.map_or_else(
            || "give a table with columns".to_owned(),
            |name| format!("did you mean {name}? NAME=SQL makes a column"),
        ),
    )
}

pub(super) fn columns(input: &InputTable, wanted: &[(String, String)]) -> Result<Columns, Failure> {
    wanted
        .iter()
        .map(|(name, expression)| {
            let column = match input.values(expression)? {
                Values::Words(words) => Column::Category(words),
                Values::Numbers(numbers) => Column::Number(numbers),
            };
            Ok((name.clone(), column))
        })
        .collect()
}

pub(super) fn point(columns: &Columns, row: usize) -> Value {
    let value = |column: &Column| match column {
        Column::Number(values) => json!(values[row]),
        Column::Category(values) => json!(values[row]),
    };
    columns
        .iter()
        .map(|(name, column)| (name.clone(), value(column)))
        .collect()
}
