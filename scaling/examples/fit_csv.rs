//! Fits a law to a csv and prints the fit as JSON.
//!
//! `cargo run -p cairn-scaling --example fit_csv --release -- FILE [--law NAME|LAW.yaml] [--columns n=NAME,d=NAME,flop=NAME,
//! loss=NAME,run=NAME] [--drop-highest K] [--starts data|grid|COUNT] [--bootstrap B] [--seed S] [--warm NAME=VALUE,…] [--brief]`
//!
//! The response is the column named `loss` (or `y`). Without `d`, tokens are `flop / (6 n)`. Without `run`, every row is a run.
//! `--brief` leaves the replicates and the law out.

use std::collections::BTreeMap;
use std::error::Error;

use cairn_scaling::{FitOptions, Law, Starts, Table, fit};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: fit_csv FILE [options]")?;
    let mut options = FitOptions::default();
    let mut law = "hoffmann".to_owned();
    let mut columns = "n=n,d=d,loss=loss".to_owned();
    let mut drop_highest = 0;
    let mut brief = false;
    while let Some(flag) = arguments.next() {
        if flag == "--brief" {
            brief = true;
            continue;
        }
        let value = arguments
            .next()
            .ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--law" => law = value,
            "--columns" => columns = value,
            "--drop-highest" => drop_highest = value.parse()?,
            "--starts" if value == "grid" => options.starts = Starts::Grid,
            "--starts" if value == "data" => options.starts = Starts::Data,
            "--starts" => options.starts = Starts::Count(value.parse()?),
            "--bootstrap" => options.bootstrap = value.parse()?,
            "--seed" => options.seed = value.parse()?,
            "--warm" => {
                let pairs = pairs(&value).into_iter();
                let parsed: Result<BTreeMap<String, f64>, _> = pairs
                    .map(|(name, value)| Ok::<_, Box<dyn Error>>((name.to_owned(), value.parse()?)))
                    .collect();
                options.warm = Some(parsed?);
            }
            _ => return Err(format!("unknown option {flag} {value}").into()),
        }
    }
    let law = if law.ends_with(".yaml") {
        Law::from_yaml(&std::fs::read_to_string(law)?)?
    } else {
        Law::named(&law)?
    };
    let table = read(&law, &std::fs::read_to_string(path)?, &pairs(&columns))?;
    let mut highest: Vec<usize> = (0..table.len()).collect();
    highest.sort_by(|one, two| table.response[*two].total_cmp(&table.response[*one]));
    highest.truncate(drop_highest);
    let mut fit = fit(
        &law,
        &table.filtered(|row| !highest.contains(&row)),
        &options,
    )?;
    if brief {
        fit.replicates.clear();
    }
    println!("{}", serde_json::to_string_pretty(&fit)?);
    Ok(())
}

fn pairs(text: &str) -> BTreeMap<&str, &str> {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .collect()
}

fn read(law: &Law, text: &str, wanted: &BTreeMap<&str, &str>) -> Result<Table, Box<dyn Error>> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let header: Vec<&str> = lines
        .next()
        .ok_or("empty file")?
        .split(',')
        .map(str::trim)
        .collect();
    let place = |name: &str| {
        let column = wanted.get(name).unwrap_or(&name).to_owned();
        header.iter().position(|title| *title == column)
    };
    let response = place("loss").or(place("y")).ok_or("no column loss")?;
    let run = place("run");
    let mut table = Table::default();
    for (index, line) in lines.enumerate() {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        // A cell that is no number becomes NaN: the fit lists the row among those it left out.
        let number = |place: usize| -> f64 {
            cells
                .get(place)
                .and_then(|cell| cell.parse().ok())
                .unwrap_or(f64::NAN)
        };
        let mut point = Vec::new();
        for column in &law.columns {
            let value = match (place(&column.name), place("flop"), place("n")) {
                (Some(place), ..) => number(place),
                (None, Some(flop), Some(n)) if column.name == "d" => {
                    number(flop) / (6.0 * number(n))
                }
                _ => return Err(format!("no column {}", column.name).into()),
            };
            point.push((column.name.as_str(), value));
        }
        let run_id = run
            .and_then(|place| cells.get(place))
            .map_or(format!("row-{index:06}"), |c| (*c).to_owned());
        table.push(&run_id, &point, number(response));
    }
    Ok(table)
}
