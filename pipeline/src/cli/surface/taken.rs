//! Where the columns of a surface come from, and the file that it is kept in.

use super::super::Failure;
use crate::input_table::{InputTable, parts};
use cairn_scaling::surface::{Column, Columns, Features, Surface};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;

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
    /// The rows to learn from.
    pub(super) fn features(&self, input: &InputTable) -> Result<Features, Failure> {
        let rows = input.rows();
        Ok(Features {
            columns: columns(input, &self.features)?,
            target_name: self.target.clone(),
            target: input.numbers(&self.target)?,
            run_ids: match &self.run {
                Some(run) => input
                    .words(run)?
                    .into_iter()
                    .map(Option::unwrap_or_default)
                    .collect(),
                None => (1..=rows).map(|row| format!("row-{row:06}")).collect(),
            },
            weights: self
                .weight
                .as_deref()
                .map(|weight| input.numbers(weight))
                .transpose()?
                .unwrap_or_default(),
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
            let column = if input.is_text(expression) {
                Column::Category(input.words(expression)?)
            } else {
                Column::Number(input.numbers(expression)?)
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

pub(super) fn load(path: &Path) -> Result<Saved, Failure> {
    let place = path.display().to_string();
    let remedy = "name the file that `cairn surface fit --out` wrote";
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new("io", 2, error.to_string(), &place, remedy))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::new("not_a_surface", 2, error.to_string(), &place, remedy))
}

pub(super) fn written(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::new("io", 2, error.to_string(), "surface", "report it"))?;
    Ok(text + "\n")
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| {
        Failure::new(
            "io",
            2,
            error.to_string(),
            path.display().to_string(),
            "name a file that can be written",
        )
    })
}
