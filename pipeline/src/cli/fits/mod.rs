//! `cairn fits`: the fits of the registry, and those in files: list, show, plot, export.

mod plot;
mod rows;

use super::fit::{Saved, brief, saved, show, unwritable};
use super::runs::view::{View, literal};
use super::table::{self, number};
use super::{Failure, Global, Outcome, files, print, say};
use crate::registry::{self, AsOf};
use cairn_avro::record::ScalingFit;
use cairn_scaling::{FitOptions, Table};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// The fits of the registry, and those in files.
#[derive(Args)]
pub struct Fits {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The newest fit of each cohort and law
    List(List),
    /// A fit in full
    Show(Show),
    /// Pictures of a fit, as SVG, PNG or in the terminal
    Plot(plot::Plot),
    /// The registry's fits as one document, scaling_law_fits.json
    Export(Export),
}

/// The newest fit of each cohort and law.
#[derive(Args)]
pub struct List {
    /// Condition over the columns of the table fits
    #[arg(long = "where", value_name = "SQL")]
    condition: Option<String>,
}

/// A fit in full.
#[derive(Args)]
pub struct Show {
    /// Its id in the registry, or a file that `cairn fit --out` wrote
    fit: String,
}

/// The registry's fits as one document.
#[derive(Args)]
pub struct Export {
    /// File to write
    #[arg(long, value_name = "FILE", default_value = "scaling_law_fits.json")]
    out: PathBuf,
    /// Condition over the columns of the table fits
    #[arg(long = "where", value_name = "SQL")]
    condition: Option<String>,
}

impl Fits {
    pub(super) fn run(self, global: &Global) -> Outcome {
        match self.command {
            Command::List(command) => command.run(global),
            Command::Show(command) => command.run(global),
            Command::Plot(command) => command.run(global),
            Command::Export(command) => command.run(global),
        }
    }
}

/// The records of the table fits, by tenant, cohort and law.
fn records(global: &Global, condition: Option<&str>) -> Result<Vec<ScalingFit>, Failure> {
    let mut view = View::open(global, &AsOf::Now)?;
    let sql = format!(
        "SELECT * FROM fits WHERE {} ORDER BY tenant, cohort, law",
        condition.unwrap_or("TRUE")
    );
    let batches = view.ask(&sql)?;
    let table = registry::Table::named("fits")
        .ok_or_else(|| registry::Fault::Broken("there is no table fits".into()))?;
    let mut found = Vec::new();
    for batch in &batches {
        found.extend(registry::columns::typed::<ScalingFit>(table, batch)?);
    }
    Ok(found)
}

/// A word of the contract.
fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or("–").to_owned()
}

impl List {
    fn run(self, global: &Global) -> Outcome {
        let fits = records(global, self.condition.as_deref())?;
        if global.is_json() {
            for fit in &fits {
                let mut value = serde_json::to_value(fit).map_err(unwritable)?;
                // what a fit is in full is `fits show`'s
                if let Some(members) = value.as_object_mut() {
                    members.remove("fit_json");
                }
                say(&value);
            }
            return Ok(0);
        }
        let mut table = table::Table::new(&[
            "fit",
            "cohort",
            "law",
            "verdict",
            "stands",
            "runs",
            "rms residual",
            "reasons",
        ]);
        for fit in &fits {
            let reasons: Vec<&str> = fit
                .reasons
                .iter()
                .chain(&fit.troubles)
                .map(String::as_str)
                .collect();
            table.row(vec![
                fit.fit_id.clone(),
                fit.cohort.clone(),
                fit.law.clone(),
                word(&fit.verdict),
                fit.standing.clone(),
                fit.n_runs.to_string(),
                number(fit.residual_rms_relative),
                reasons.join("; "),
            ]);
        }
        print(&if fits.is_empty() {
            "no fits yet\n".to_owned()
        } else {
            table.text()
        });
        Ok(0)
    }
}

/// A fit from a file, or from the registry by its id; then also its record.
fn find(global: &Global, name: &str) -> Result<(Saved, Option<ScalingFit>), Failure> {
    if Path::new(name).is_file() {
        return Ok((saved(Path::new(name))?, None));
    }
    let condition = format!("fit_id = {}", literal(name));
    let Some(record) = records(global, Some(&condition))?.into_iter().next() else {
        return Err(Failure::new(
            "unknown_fit",
            1,
            format!("there is no fit {name}"),
            "registry",
            "`cairn fits list` lists the newest of each cohort; or name a file that `cairn fit --out` wrote",
        ));
    };
    if record.fit_json.is_empty() {
        return Err(Failure::new(
            "no_fit",
            1,
            format!("the fit {name} was refused: {}", record.reasons.join("; ")),
            "registry",
            "see its reasons",
        ));
    }
    let fit = serde_json::from_str(&record.fit_json).map_err(|error| {
        Failure::new(
            "not_a_fit",
            2,
            error.to_string(),
            name,
            "it was written by another version; fit again",
        )
    })?;
    let saved = Saved {
        fit,
        rows: Table::default(),
        options: FitOptions::default(),
    };
    Ok((saved, Some(record)))
}

impl Show {
    fn run(self, global: &Global) -> Outcome {
        let (Saved { fit, .. }, _) = find(global, &self.fit)?;
        if global.is_json() {
            say(&brief(&fit)?);
        } else {
            print(&show::fit(&fit));
        }
        Ok(0)
    }
}

impl Export {
    fn run(self, global: &Global) -> Outcome {
        let records = records(global, self.condition.as_deref())?;
        let document = crate::fits::export(&records);
        files::write(&self.out, format!("{document:#}\n"))?;
        if global.is_json() {
            say(&serde_json::json!({"file": self.out, "fits": records.len()}));
        } else {
            print(&format!(
                "{} fits in {}\n",
                records.len(),
                self.out.display()
            ));
        }
        Ok(0)
    }
}
