//! What the database is brought to, step by step; a step that was done is never changed, another is added.

use super::super::{Fault, TABLES, Table};
use super::fault;
use ::postgres::Client;
use datafusion::arrow::datatypes::DataType;

/// Statements that make a new table of the registry.
fn table(name: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS cairn.{name} (
            log_key text PRIMARY KEY,
            log_partition integer NOT NULL,
            log_offset bigint NOT NULL,
            log_append_time timestamptz NOT NULL,
            record jsonb NOT NULL
        );"
    )
}

/// Every step, by its number.
fn steps() -> Vec<(i32, String)> {
    let tables: String = TABLES.iter().map(|known| table(known.name)).collect();
    vec![
        (
            1,
            format!(
                "CREATE TABLE cairn.covered (
                    table_name text NOT NULL,
                    log_partition integer NOT NULL,
                    next_offset bigint NOT NULL,
                    PRIMARY KEY (table_name, log_partition)
                );
                {tables}"
            ),
        ),
        // what cohorts ask for: size, data, status, tags
        (
            2,
            "CREATE INDEX rows_by_run ON cairn.rows ((record->>'tenant'), (record->>'run_id'));
             CREATE INDEX rows_by_status ON cairn.rows ((record->>'status'));
             CREATE INDEX rows_by_parameters ON cairn.rows (((record->'model'->>'parameters_total')::double precision));
             CREATE INDEX rows_by_tokens ON cairn.rows (((record->>'tokens')::bigint));
             CREATE INDEX rows_by_tags ON cairn.rows USING gin ((record->'tags'));
             CREATE INDEX verdicts_by_run ON cairn.verdicts ((record->>'run_id'));
             CREATE INDEX windows_by_run ON cairn.windows ((record->>'run_id'));"
                .to_owned(),
        ),
    ]
}

/// Brings the database up to this build.
pub(super) fn apply(client: &mut Client) -> Result<(), Fault> {
    client
        .batch_execute(
            "CREATE SCHEMA IF NOT EXISTS cairn;
             CREATE TABLE IF NOT EXISTS cairn.migrations (
                 step integer PRIMARY KEY,
                 applied timestamptz NOT NULL DEFAULT now()
             );",
        )
        .map_err(fault)?;
    let done: i32 = client
        .query_one("SELECT coalesce(max(step), 0) FROM cairn.migrations", &[])
        .map_err(fault)?
        .get(0);
    for (step, statements) in steps().into_iter().filter(|(step, _)| *step > done) {
        let mut within = client.transaction().map_err(fault)?;
        within.batch_execute(&statements).map_err(fault)?;
        within
            .execute("INSERT INTO cairn.migrations (step) VALUES ($1)", &[&step])
            .map_err(fault)?;
        within.commit().map_err(fault)?;
    }
    flat_view(client)
}

/// `rows_flat`: what `rows` is in the other stores. It follows the schema, and is made anew each time.
fn flat_view(client: &mut Client) -> Result<(), Fault> {
    let Some(rows) = Table::named("rows") else {
        return Ok(());
    };
    let record = cairn_avro::arrow::schema(rows.entry()?)
        .map_err(|error| Fault::Broken(error.to_string()))?;
    let flat = rows.schema()?;
    let mut names = flat.fields().iter().map(|field| field.name().clone());
    let mut columns = Vec::new();
    for field in record.fields() {
        match field.data_type() {
            DataType::Struct(members) => {
                for member in members {
                    let path = format!("record->'{}'", field.name());
                    let value = typed(&path, member.name(), member.data_type());
                    columns.push(format!("{value} AS {}", names.next().unwrap_or_default()));
                }
            }
            kind => {
                let value = typed("record", field.name(), kind);
                columns.push(format!("{value} AS {}", names.next().unwrap_or_default()));
            }
        }
    }
    let statement = format!(
        "DROP VIEW IF EXISTS cairn.rows_flat;
         CREATE VIEW cairn.rows_flat AS SELECT log_key, log_partition, log_offset, log_append_time, {} FROM cairn.rows;",
        columns.join(", ")
    );
    let mut within = client.transaction().map_err(fault)?;
    within.batch_execute(&statement).map_err(fault)?;
    within.commit().map_err(fault)
}

/// A member of a record with the type that SQL knows.
fn typed(path: &str, name: &str, kind: &DataType) -> String {
    let text = format!("({path}->>'{name}')");
    match kind {
        DataType::Int32 => format!("{text}::integer"),
        DataType::Int64 => format!("{text}::bigint"),
        DataType::Float32 | DataType::Float64 => format!("{text}::double precision"),
        DataType::Boolean => format!("{text}::boolean"),
        DataType::Timestamp(..) => format!("to_timestamp({text}::bigint / 1000.0)"),
        DataType::Utf8 | DataType::Dictionary(..) => text,
        _ => format!("({path}->'{name}')"),
    }
}
