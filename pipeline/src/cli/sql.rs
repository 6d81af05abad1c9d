//! `cairn sql`: questions to the registry's tables.

use super::runs::view::{View, as_of};
use super::table::Table;
use super::{Failure, Global, Outcome, print, say};
use clap::Args;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::Value;

/// Ask the registry's tables in SQL.
#[derive(Args)]
pub struct Sql {
    /// The question, over rows, windows, verdicts, fits, scores, recommendations, cards, cohorts, artifacts
    query: String,
    /// The registry as it was: a version of the table rows, or a time such as 2026-11-30T12:00:00Z
    #[arg(long, value_name = "VERSION|TIME")]
    as_of: Option<String>,
}

impl Sql {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let mut view = View::open(global, &as_of(self.as_of.as_deref())?)?;
        let batches = view.ask(&self.query)?;
        if global.is_json() {
            for row in json(&batches)? {
                say(&row);
            }
        } else {
            print(&text(&batches)?);
        }
        Ok(0)
    }
}

/// Rows as JSON objects, members that are null included.
pub(super) fn json(batches: &[RecordBatch]) -> Result<Vec<Value>, Failure> {
    use datafusion::arrow::json::WriterBuilder;
    use datafusion::arrow::json::writer::JsonArray;
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_timestamp_tz_format("%Y-%m-%dT%H:%M:%S%.3fZ".to_owned())
        .build::<_, JsonArray>(Vec::new());
    let whole: Vec<&RecordBatch> = batches
        .iter()
        .filter(|batch| batch.num_rows() > 0)
        .collect();
    if whole.is_empty() {
        return Ok(Vec::new());
    }
    writer.write_batches(&whole).map_err(unwritable)?;
    writer.finish().map_err(unwritable)?;
    serde_json::from_slice(&writer.into_inner()).map_err(unwritable)
}

fn unwritable(error: impl std::fmt::Display) -> Failure {
    Failure::new(
        "sql",
        1,
        format!("the answer cannot be written: {error}"),
        "sql",
        "give columns that come twice names of their own with AS",
    )
}

/// Rows as a table for people.
fn text(batches: &[RecordBatch]) -> Result<String, Failure> {
    let Some(first) = batches.first() else {
        return Ok(String::new());
    };
    let names: Vec<String> = first
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let heads: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut table = Table::new(&heads);
    let options = FormatOptions::default().with_null("–");
    let mut rows = 0;
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()
            .map_err(unwritable)?;
        for row in 0..batch.num_rows() {
            table.row(
                columns
                    .iter()
                    .map(|column| column.value(row).to_string())
                    .collect(),
            );
        }
        rows += batch.num_rows();
    }
    Ok(if rows == 0 {
        "no rows\n".to_owned()
    } else {
        table.text()
    })
}
