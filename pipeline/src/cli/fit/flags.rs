//! What flags of fits and surfaces say, as the crate takes it.

use super::super::Failure;
use crate::input_table::assignments;
use cairn_scaling::{Holdout, Starts, Table};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// One of the words that a type has.
///
/// # Errors
/// Another word; `allowed` says which there are.
pub fn word<T: DeserializeOwned>(flag: &str, text: &str, allowed: &str) -> Result<T, Failure> {
    serde_json::from_value(json!(text))
        .map_err(|_| Failure::usage(format!("{flag} {text}"), format!("take {allowed}")))
}

/// `data`, `grid`, or a number of seeded starts.
///
/// # Errors
/// It is none of these.
pub fn starts(text: &str) -> Result<Starts, Failure> {
    match text {
        "data" => Ok(Starts::Data),
        "grid" | "paper" => Ok(Starts::Grid),
        count => count.parse().map(Starts::Count).map_err(|_| {
            Failure::usage(format!("--starts {count}"), "take data, grid or a number")
        }),
    }
}

/// How many of the table's runs the back-test holds out: `compute:FRACTION` of them, or `runs:K`.
///
/// # Errors
/// It is neither.
pub fn holdout(text: &str, table: &Table) -> Result<Holdout, Failure> {
    let wrong = || {
        Failure::usage(
            format!("--holdout {text}"),
            "take compute:FRACTION such as compute:0.2, or runs:K",
        )
    };
    match text.split_once(':') {
        Some(("compute", share)) => {
            let share: f64 = share.parse().map_err(|_| wrong())?;
            if !(0.0..1.0).contains(&share) {
                return Err(wrong());
            }
            let runs = table.run_ids.iter().collect::<BTreeSet<_>>().len();
            Ok(Holdout::Runs((share * runs as f64).ceil() as u32))
        }
        Some(("runs", count)) => count.parse().map(Holdout::Runs).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

/// `NAME=NUMBER,…`
///
/// # Errors
/// A part is no assignment, or its value no number.
pub fn numbers(text: &str, flag: &str) -> Result<BTreeMap<String, f64>, Failure> {
    assignments(text)?
        .into_iter()
        .map(|(name, value)| {
            let number = value
                .parse()
                .map_err(|_| Failure::usage(format!("{flag} {name}={value}"), "give a number"))?;
            Ok((name, number))
        })
        .collect()
}
