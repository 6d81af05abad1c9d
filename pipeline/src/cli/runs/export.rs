//! `cairn runs export`: rows into one file that any tool reads.

use super::super::{Failure, Global, Outcome, files, print, say};
use super::view::{View, as_of};
use clap::Args;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::json::writer::LineDelimited;
use datafusion::arrow::{csv, json};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows into a file.
#[derive(Args)]
pub struct Export {
    /// The file; its ending says the format: .parquet, .csv or .jsonl
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Only rows that this holds for
    #[arg(long = "where", value_name = "SQL")]
    condition: Option<String>,
    /// Only those of this cohort
    #[arg(long, value_name = "NAME")]
    cohort: Option<String>,
    /// The registry as it was: a version, or a time such as 2026-11-30T12:00:00Z
    #[arg(long, value_name = "VERSION|TIME")]
    as_of: Option<String>,
}

/// A format of files.
#[derive(Clone, Copy)]
enum Kind {
    Parquet,
    Csv,
    Jsonl,
}

impl Export {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let kind = match self.out.extension().and_then(|ending| ending.to_str()) {
            Some("parquet") => Kind::Parquet,
            Some("csv") => Kind::Csv,
            Some("jsonl" | "ndjson") => Kind::Jsonl,
            _ => {
                return Err(Failure::usage(
                    format!("--out {}: its ending says no format", self.out.display()),
                    "end it in .parquet, .csv or .jsonl",
                ));
            }
        };
        let mut view = View::open(global, &as_of(self.as_of.as_deref())?)?;
        let condition =
            super::condition(&mut view, self.condition.as_deref(), self.cohort.as_deref())?;
        let condition = condition.map_or(String::new(), |sql| format!(" WHERE ({sql})"));
        let batches = view.ask(&format!(
            "SELECT * FROM rows{condition} ORDER BY tenant, run_id"
        ))?;
        write(kind, &self.out, &batches).map_err(|why| files::unwritable(&self.out, why))?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if global.is_json() {
            say(&serde_json::json!({"out": self.out.display().to_string(), "rows": rows}));
        } else {
            print(&format!("{rows} rows in {}\n", self.out.display()));
        }
        Ok(0)
    }
}

/// Writes beside the file and puts it in place: a reader never sees half of it.
fn write(kind: Kind, path: &Path, batches: &[RecordBatch]) -> Result<(), String> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let beside = tempfile::NamedTempFile::new_in(folder).map_err(said)?;
    let file = beside.reopen().map_err(said)?;
    match kind {
        Kind::Parquet => parquet(file, batches)?,
        Kind::Csv => {
            let mut writer = csv::WriterBuilder::new().with_header(true).build(file);
            for batch in batches {
                writer.write(&scalar(batch)?).map_err(said)?;
            }
        }
        Kind::Jsonl => {
            let mut writer = json::WriterBuilder::new().build::<_, LineDelimited>(file);
            for batch in batches {
                writer.write(batch).map_err(said)?;
            }
            writer.finish().map_err(said)?;
        }
    }
    beside.persist(path).map_err(|error| said(error.error))?;
    Ok(())
}

fn parquet(file: File, batches: &[RecordBatch]) -> Result<(), String> {
    let Some(first) = batches.first() else {
        return Ok(());
    };
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).map_err(said)?))
        .build();
    let mut writer = ArrowWriter::try_new(file, first.schema(), Some(properties)).map_err(said)?;
    for batch in batches {
        writer.write(batch).map_err(said)?;
    }
    writer.close().map_err(said)?;
    Ok(())
}

/// A batch whose lists and records are JSON: CSV has none.
fn scalar(batch: &RecordBatch) -> Result<RecordBatch, String> {
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let column = match column.data_type() {
            DataType::List(_) | DataType::Struct(_) | DataType::Map(..) => {
                let alone =
                    RecordBatch::try_from_iter([("value", column.clone())]).map_err(said)?;
                let rows = super::super::sql::json(&[alone]).map_err(said)?;
                Arc::new(
                    rows.iter()
                        .map(|row| Some(row["value"].to_string()))
                        .collect::<datafusion::arrow::array::StringArray>(),
                ) as _
            }
            DataType::Utf8View => cast(column, &DataType::Utf8).map_err(said)?,
            _ => column.clone(),
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(said)
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}
