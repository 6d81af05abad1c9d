//! `cairn runs`: the experiment registry for people and scripts.

pub mod cohorts;
mod curve;
mod diff;
mod export;
mod forecast;
mod list;
mod row;
mod show;
mod tags;
pub mod view;

use super::{Failure, Global, Outcome};
use clap::{Args, Subcommand};

/// Runs of the registry.
#[derive(Args)]
pub struct Runs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs, one a line
    List(list::List),
    /// One run on one screen: what it is, what it reached, what that rests on
    Show(show::Show),
    /// How a run under way will end, with an interval from how finished runs went on
    Forecast(forecast::ForecastRun),
    /// Add tags to runs
    Tag(tags::Tag),
    /// Take tags from runs
    Untag(tags::Untag),
    /// Named queries: save, list, show
    Cohort(cohorts::Cohorts),
    /// What two runs have not in common
    Diff(diff::Diff),
    /// Rows into a file that any tool reads: Parquet, CSV or JSON lines
    Export(export::Export),
}

impl Runs {
    pub(super) fn run(self, global: &Global) -> Outcome {
        match self.command {
            Command::List(command) => command.run(global),
            Command::Show(command) => command.run(global),
            Command::Forecast(command) => command.run(global),
            Command::Tag(command) => command.run(global),
            Command::Untag(command) => command.run(global),
            Command::Cohort(command) => command.run(global),
            Command::Diff(command) => command.run(global),
            Command::Export(command) => command.run(global),
        }
    }
}

/// A condition from `--where` and `--cohort`.
fn condition(
    view: &mut view::View,
    sql: Option<&str>,
    cohort: Option<&str>,
) -> Result<Option<String>, Failure> {
    let cohort = cohort
        .map(|name| cohorts::find(view, name).map(|found| found.where_sql))
        .transpose()?;
    Ok(match (sql, cohort) {
        (Some(sql), Some(cohort)) => Some(format!("({sql}) AND ({cohort})")),
        (Some(sql), None) => Some(sql.to_owned()),
        (None, cohort) => cohort,
    })
}
