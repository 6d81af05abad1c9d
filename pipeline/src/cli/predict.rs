//! `cairn predict`: what a fit says of runs that were not trained, each with an interval and how far it looks ahead.

use super::fit::flags::numbers;
use super::fit::source::Source;
use super::fit::{damaged, load, read_as};
use super::table::{Table, number};
use super::{Failure, Global, Outcome, print, say};
use crate::input_table::InputTable;
use cairn_scaling::{ExtrapolationFlag as Flag, Fit, Prediction};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a fit says of runs that were not trained.
#[derive(Args)]
pub struct Predict {
    /// What `cairn fit --out` wrote
    #[arg(long, value_name = "FIT.json")]
    fit: PathBuf,
    /// Points: a table with the law's columns, or with those of the table that was fitted
    #[arg(long, value_name = "[NAME=]FILE", required_unless_present = "at")]
    input: Vec<String>,
    /// A query over the points, instead of all of them
    #[arg(long, value_name = "SELECT", requires = "input")]
    sql: Option<String>,
    /// Points for which this does not hold are left out
    #[arg(long = "where", value_name = "SQL", requires = "input")]
    condition: Option<String>,
    /// One point: n=7e9,d=1.4e11
    #[arg(long, value_name = "NAME=VALUE,…", conflicts_with = "input")]
    at: Vec<String>,
    /// Level of the intervals, each for one new run
    #[arg(long, default_value_t = 0.9)]
    level: f64,
}

impl Predict {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let fit = load(&self.fit)?;
        let (points, bad) = if self.input.is_empty() {
            let points = self
                .at
                .iter()
                .map(|at| numbers(at, "--at"))
                .collect::<Result<Vec<_>, _>>()?;
            (points, Vec::new())
        } else {
            let source = Source {
                input: self.input,
                sql: self.sql,
                condition: self.condition,
                cohort: None,
            };
            let (input, _) = source.read(global)?;
            let points = points(&fit, &input)?;
            read_as(&input);
            (points, input.bad)
        };
        let mut table = Table::new(&[
            "point",
            &fit.definition.response.name,
            "low",
            "high",
            "beyond the data",
            "",
        ]);
        for point in points {
            let prediction = fit.predict(&point, self.level)?;
            if global.is_json() {
                say(&answer(&point, &prediction));
            } else {
                table.row(line(&point, &prediction));
            }
        }
        if !global.is_json() {
            print(&table.text());
        }
        damaged(&bad);
        Ok(if bad.is_empty() { 0 } else { 3 })
    }
}

/// The law's columns of each row: by their own names, or by the expressions that the fit took them from.
fn points(fit: &Fit, input: &InputTable) -> Result<Vec<BTreeMap<String, f64>>, Failure> {
    let names = input.names();
    let mut points = vec![BTreeMap::new(); input.rows()];
    for column in &fit.definition.columns {
        let fitted = fit.conventions.get(&column.name);
        let expression = match fitted {
            _ if names.contains(&column.name) => &column.name,
            Some(expression) => expression,
            None => &column.name,
        };
        let values = input.numbers(expression).map_err(|error| {
            let failure = Failure::from(error);
            Failure::new(
                "missing_column",
                2,
                format!("the points have no {}: {}", column.name, failure.message),
                failure.place,
                format!(
                    "give a column {}, or those of the table that was fitted ({expression})",
                    column.name
                ),
            )
        })?;
        for (point, value) in points.iter_mut().zip(values) {
            point.insert(column.name.clone(), value);
        }
    }
    Ok(points)
}

fn flag(flag: Flag) -> &'static str {
    match flag {
        Flag::None => "none",
        Flag::BeyondData => "beyond_data",
        Flag::DoNotExtrapolate => "do_not_extrapolate",
    }
}

fn answer(point: &BTreeMap<String, f64>, prediction: &Prediction) -> Value {
    json!({
        "point": point,
        "mean": prediction.mean,
        "low": prediction.low,
        "high": prediction.high,
        "level": prediction.level,
        "curve": [prediction.curve_low, prediction.curve_high],
        "extrapolation": {
            "factor": prediction.extrapolation.factor,
            "flag": flag(prediction.extrapolation.flag),
            "why": prediction.extrapolation.why,
        },
    })
}

fn line(point: &BTreeMap<String, f64>, prediction: &Prediction) -> Vec<String> {
    let point: Vec<String> = point
        .iter()
        .map(|(name, value)| format!("{name}={}", number(Some(*value))))
        .collect();
    let extrapolation = &prediction.extrapolation;
    vec![
        point.join(" "),
        number(Some(prediction.mean)),
        number(Some(prediction.low)),
        number(Some(prediction.high)),
        match extrapolation.flag {
            Flag::None => "no".to_owned(),
            _ => format!("{:.3} times", extrapolation.factor),
        },
        match extrapolation.flag {
            Flag::DoNotExtrapolate => {
                format!("do not extrapolate: {}", extrapolation.why.join("; "))
            }
            _ => String::new(),
        },
    ]
}
