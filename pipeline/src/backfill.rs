//! `cairn backfill`: asks that derived fields of rows be computed again after prices or a convention have changed.
//!
//! Only the task `runs` writes rows (DESIGN §3.9). What is sent is a request for each row, at ingress like everything that is
//! said about runs; the task derives the row from what it remembers, by the rules and tables that it runs with (decision
//! 0013). Rows that carry this program's versions already are left alone, and so is, there, a row that would not change: a
//! backfill that runs twice asks for less or nothing.

use crate::contents;
use crate::publish::{Keys, Who, publish};
use cairn_avro::codec::Reader;
use cairn_avro::contract::Record as _;
use cairn_avro::frame;
use cairn_avro::record::{ExperimentRow, RunTags};
use cairn_bus::{Fault, Log, Lookup, SchemaRegistry};
use cairn_operators::runs::normalize::{DERIVATION_VERSION, Derivation};
use cairn_topics::handle::RUNS_TAGS;
use cairn_topics::{ingress_name, run_key};
use serde::Serialize;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Requests sent in one transaction.
const BATCH_REQUESTS: usize = 1_000;

/// Which rows are to be derived again.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Rows whose last event is not older than this (milliseconds since 1970, UTC).
    pub since_ms: i64,
    /// Only rows of this tenant.
    pub tenant: Option<String>,
    /// Rows that carry the newest versions, too.
    pub all: bool,
    /// Count and send nothing.
    pub dry_run: bool,
}

/// What was found and asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Rows that a request was sent for, or would have been.
    pub asked: u64,
    /// Rows that are derived by these rules and tables already.
    pub current: u64,
    /// Rows whose last event is older.
    pub older: u64,
}

/// Asks for every row that is due.
///
/// # Errors
/// The log or the registry refuses, a row cannot be read, or a tenant has no ingress topics.
pub fn backfill(
    log: &dyn Log,
    registry: &dyn SchemaRegistry,
    app_id: &str,
    derivation: &Derivation,
    options: &Options,
) -> Result<Summary, Fault> {
    let mut summary = Summary::default();
    let mut due: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows(log, registry)?.into_values() {
        if options
            .tenant
            .as_ref()
            .is_some_and(|only| *only != row.tenant)
        {
            continue;
        }
        if last_event_ms(&row) < options.since_ms {
            summary.older += 1;
        } else if !options.all && is_current(&row, derivation) {
            summary.current += 1;
        } else {
            summary.asked += 1;
            due.entry(row.tenant).or_default().push(row.run_id);
        }
    }
    if !options.dry_run {
        for (tenant, runs) in due {
            ask(log, registry, app_id, &tenant, &runs)?;
        }
    }
    Ok(summary)
}

/// The newest row of each key.
fn rows(
    log: &dyn Log,
    registry: &dyn SchemaRegistry,
) -> Result<BTreeMap<Vec<u8>, ExperimentRow>, Fault> {
    let mut readers: BTreeMap<u32, Reader> = BTreeMap::new();
    let mut rows = BTreeMap::new();
    contents::each::<Fault>(log, "experiments.rows", &mut |record| {
        let key = record.key.clone().unwrap_or_default();
        let Some(value) = record.value.as_deref() else {
            rows.remove(&key);
            return Ok(());
        };
        let unreadable = |why: String| {
            Fault::Config(format!(
                "{} offset {}: {why}",
                record.place(),
                record.offset
            ))
        };
        let framed = frame::split(value).map_err(|fault| unreadable(fault.to_string()))?;
        // rows of before an upgrade have the schema of then
        let reader = match readers.entry(framed.schema_id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let id = framed.schema_id;
                let Lookup::Schema(schema) = registry.schema_of(id)? else {
                    return Err(unreadable(format!(
                        "the registry has no schema with id {id}"
                    )));
                };
                let reader = Reader::new(ExperimentRow::entry(), &schema)
                    .map_err(|fault| unreadable(fault.to_string()))?;
                place.insert(reader)
            }
        };
        let row: ExperimentRow = reader
            .read(framed.body)
            .map_err(|fault| unreadable(fault.to_string()))?;
        rows.insert(key, row);
        Ok(())
    })?;
    Ok(rows)
}

/// When a row last heard of its run; the append time where no event had a time.
fn last_event_ms(row: &ExperimentRow) -> i64 {
    row.last_event_time_ms.unwrap_or(row.updated_append_time_ms)
}

fn is_current(row: &ExperimentRow, derivation: &Derivation) -> bool {
    row.derivation_version == DERIVATION_VERSION
        && row.derived.tables_version == derivation.tables_version()
}

fn ask(
    log: &dyn Log,
    registry: &dyn SchemaRegistry,
    app_id: &str,
    tenant: &str,
    runs: &[String],
) -> Result<(), Fault> {
    let topic = ingress_name(tenant, RUNS_TAGS.name);
    // backfills of one tenant follow each other; the last one goes on
    let who = Who {
        app_id,
        operator: "backfill",
        instance: tenant,
    };
    for batch in runs.chunks(BATCH_REQUESTS) {
        let requests: Vec<Keys<RunTags>> = batch
            .iter()
            .map(|run_id| Keys {
                partition_key: run_key(tenant, run_id),
                record_key: run_id.clone(),
                record: RunTags {
                    run_id: run_id.clone(),
                    rederive: true,
                    actor: Some("cairn backfill".to_owned()),
                    ..RunTags::default()
                },
            })
            .collect();
        publish(log, registry, &who, &topic, &requests)?;
    }
    Ok(())
}
