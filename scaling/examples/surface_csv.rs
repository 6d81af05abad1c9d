//! A surface from a CSV file: `surface_csv FILE --target T --features a,b,c [--run COLUMN] [--scale log] [--kind auto]
//! [--monotone x:+] [--simplex a,b,c] [--holdout COLUMN] [--explain]`.
//!
//! Prints the fit's report, or the explanation cards, as JSON. A column is numbers where every cell that is not empty is one. Cells have no
//! quotes and no commas.

#![allow(
    clippy::unwrap_used,
    reason = "an example ends where its arguments are not as described"
)]

use std::collections::BTreeMap;

use cairn_scaling::surface::{
    Column, Columns, ExplainOptions, Features, SurfaceHoldout, SurfaceOptions, explain,
    fit_surface, parse_monotone,
};

fn column(cells: Vec<&str>) -> Column {
    let missing = |cell: &str| matches!(cell, "" | "NaN" | "nan" | "NA" | "null");
    let numbers: Option<Vec<f64>> = cells
        .iter()
        .map(|cell| {
            if missing(cell) {
                Some(f64::NAN)
            } else {
                cell.parse().ok()
            }
        })
        .collect();
    numbers.map_or_else(
        || {
            Column::Category(
                cells
                    .iter()
                    .map(|cell| (!missing(cell)).then(|| (*cell).to_owned()))
                    .collect(),
            )
        },
        Column::Number,
    )
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut given: BTreeMap<&str, &str> = BTreeMap::new();
    for (place, word) in arguments.iter().enumerate() {
        if let Some(name) = word.strip_prefix("--") {
            given.insert(name, arguments.get(place + 1).map_or("", String::as_str));
        }
    }
    let list = |name: &str| -> Vec<String> {
        given
            .get(name)
            .map(|text| text.split(',').map(str::to_owned).collect())
            .unwrap_or_default()
    };
    let text = std::fs::read_to_string(&arguments[0]).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    let cells = |name: &str| -> Vec<&str> {
        let place = rows[0]
            .iter()
            .position(|head| *head == name)
            .unwrap_or_else(|| panic!("no column `{name}`"));
        rows[1..].iter().map(|row| row[place]).collect()
    };
    let columns: Columns = list("features")
        .into_iter()
        .map(|name| (name.clone(), column(cells(&name))))
        .collect();
    let target_name = given["target"].to_owned();
    let Column::Number(target) = column(cells(&target_name)) else {
        panic!("the target holds names")
    };
    let run_ids = match given.get("run") {
        Some(name) => cells(name).into_iter().map(str::to_owned).collect(),
        None => (0..target.len()).map(|row| format!("{row:07}")).collect(),
    };
    let known: Vec<usize> = (0..target.len())
        .filter(|row| !target[*row].is_nan())
        .collect();
    let features = Features {
        columns,
        target_name,
        target,
        run_ids,
        weights: Vec::new(),
    }
    .take(&known);
    let word =
        |name: &str, default: &str| serde_json::Value::from(*given.get(name).unwrap_or(&default));
    let options = SurfaceOptions {
        kind: serde_json::from_value(word("kind", "auto")).unwrap(),
        scale: serde_json::from_value(word("scale", "identity")).unwrap(),
        monotone: parse_monotone(given.get("monotone").unwrap_or(&"")).unwrap(),
        simplex: given
            .get("simplex")
            .map(|_| vec![list("simplex")])
            .unwrap_or_default(),
        holdout: given.get("holdout").map_or(SurfaceHoldout::None, |column| {
            SurfaceHoldout::Largest {
                column: (*column).to_owned(),
                fraction: 0.2,
            }
        }),
        ..SurfaceOptions::default()
    };
    let surface = match fit_surface(&features, &options) {
        Ok(surface) => surface,
        Err(error) => {
            eprintln!("{}: {error}. {}", error.code(), error.remedy());
            std::process::exit(2);
        }
    };
    if given.contains_key("explain") {
        let cards = explain(&surface, &features, &ExplainOptions::default()).unwrap();
        println!("{}", serde_json::to_string_pretty(&cards).unwrap());
    } else {
        let report = serde_json::json!({"target": surface.target, "kind": surface.kind, "rows": surface.n_rows, "runs": surface.n_runs,
            "candidates": surface.candidates, "backtest": surface.backtest, "holdout": surface.holdout,
            "guarantee": surface.guarantee, "warnings": surface.warnings});
        println!("{}", serde_json::to_string_pretty(&report).unwrap());
    }
}
