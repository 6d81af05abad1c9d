//! Fits Hoffmann's law to a csv and prints the fit as JSON.
//!
//! `cargo run -p cairn-scaling --example fit_csv --release -- FILE [--columns n=NAME,d=NAME,flop=NAME,loss=NAME,run=NAME]
//! [--drop-highest K] [--starts data|paper] [--bootstrap B] [--seed S] [--brief]`
//!
//! Without `d`, tokens are `flop / (6 n)`. Without `run`, every row is a run. `--brief` leaves the replicates out.

use std::collections::BTreeMap;
use std::error::Error;

use cairn_scaling::{FitOptions, Observation, StartGrid, fit_hoffmann};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: fit_csv FILE [options]")?;
    let mut options = FitOptions::default();
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
            "--columns" => columns = value,
            "--drop-highest" => drop_highest = value.parse()?,
            "--starts" if value == "paper" => options.starts = StartGrid::Paper,
            "--starts" if value == "data" => options.starts = StartGrid::Data,
            "--bootstrap" => options.bootstrap = value.parse()?,
            "--seed" => options.seed = value.parse()?,
            _ => return Err(format!("unknown option {flag} {value}").into()),
        }
    }
    let mut rows = read(&std::fs::read_to_string(path)?, &columns)?;
    rows.sort_by(|one, two| two.loss.total_cmp(&one.loss));
    rows.drain(..rows.len().min(drop_highest));
    let mut fit = fit_hoffmann(&rows, &options)?;
    if brief {
        fit.replicates.clear();
    }
    println!("{}", serde_json::to_string_pretty(&fit)?);
    Ok(())
}

fn read(text: &str, columns: &str) -> Result<Vec<Observation>, Box<dyn Error>> {
    let wanted: BTreeMap<&str, &str> = columns
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .collect();
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let header: Vec<&str> = lines
        .next()
        .ok_or("empty file")?
        .split(',')
        .map(str::trim)
        .collect();
    let place = |name: &str| {
        let column = wanted.get(name)?;
        header.iter().position(|title| title == column)
    };
    let (size, tokens, flop, run) = (place("n"), place("d"), place("flop"), place("run"));
    let (size, loss) = (
        size.ok_or("no column n")?,
        place("loss").ok_or("no column loss")?,
    );
    let mut rows = Vec::new();
    for (index, line) in lines.enumerate() {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        // A cell that is no number becomes NaN: the fit lists the row among those it left out.
        let number = |place: usize| -> f64 {
            cells
                .get(place)
                .and_then(|cell| cell.parse().ok())
                .unwrap_or(f64::NAN)
        };
        let parameters = number(size);
        let tokens = match (tokens, flop) {
            (Some(tokens), _) => number(tokens),
            (None, Some(flop)) => number(flop) / (6.0 * parameters),
            (None, None) => return Err("neither column d nor flop".into()),
        };
        let run_id = run
            .and_then(|place| cells.get(place))
            .map_or(format!("row-{index:06}"), |c| (*c).to_owned());
        rows.push(Observation {
            run_id,
            parameters,
            tokens,
            loss: number(loss),
            weight: 1.0,
        });
    }
    Ok(rows)
}
