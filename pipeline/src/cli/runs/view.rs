//! The registry as a command sees it: brought up to the log where nobody else does, and how far behind it is where somebody does.

use super::super::{Failure, Global};
use crate::config::Config;
use crate::connect::Place;
use crate::objects;
use crate::registry::sink::Sink;
use crate::registry::sql::{Query, Refused};
use crate::registry::{self, AsOf, Table, columns};
use cairn_avro::record::ExperimentRow;
use datafusion::arrow::array::RecordBatch;

/// The registry at one time, with the log that it follows.
pub struct View {
    /// The configuration.
    pub config: Config,
    /// The log.
    pub place: Place,
    query: Query,
}

/// A state that was asked for: a version, or a time.
///
/// # Errors
/// Neither of them.
pub fn as_of(text: Option<&str>) -> Result<AsOf, Failure> {
    let Some(text) = text else {
        return Ok(AsOf::Now);
    };
    if let Ok(version) = text.parse() {
        return Ok(AsOf::Version(version));
    }
    chrono::DateTime::parse_from_rfc3339(text)
        .map(|time| AsOf::TimeMs(time.timestamp_millis()))
        .map_err(|error| {
            Failure::usage(
                format!("--as-of {text}: {error}"),
                "write a version, such as 12, or a time, such as 2026-11-30T12:00:00Z",
            )
        })
}

impl View {
    /// Opens the registry that the configuration names.
    ///
    /// # Errors
    /// A log or a store that cannot be read.
    pub fn open(global: &Global, as_of: &AsOf) -> Result<Self, Failure> {
        let (config, place) = global.look()?;
        let Some(store) = registry::open(&config)? else {
            return Err(Failure::new(
                "registry",
                2,
                "the registry is turned off",
                "registry.store",
                "set it to delta, jsonl or postgres",
            ));
        };
        let mut sink = Sink::new(store, &place, &config.registry)?;
        // A store that others share is written by `cairn run` alone.
        let is_shared =
            config.registry.store == "postgres" || objects::is_address(&config.registry.location);
        // a directory that may only be read is read
        if !is_shared && matches!(sink.become_writer(), Ok(true)) {
            sink.catch_up()?;
        } else {
            let behind = sink.behind()?;
            if behind > 0 {
                eprintln!(
                    "cairn: the registry is {behind} offsets behind the log; `cairn run` brings it up every {} s",
                    config.registry.commit_interval_ms / 1_000
                );
            }
        }
        let mut store = sink.into_store();
        let query = Query::new(
            store.as_mut(),
            as_of,
            config.registry.query_memory_bytes_max,
        )
        .map_err(refused)?;
        Ok(Self {
            config,
            place,
            query,
        })
    }

    /// The answer to a query.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn ask(&mut self, sql: &str) -> Result<Vec<RecordBatch>, Failure> {
        self.query.run(sql).map_err(refused)
    }

    /// Rows that a condition holds for, in the order of tenants and runs.
    ///
    /// # Errors
    /// What is wrong with the condition.
    pub fn rows(
        &mut self,
        condition: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Vec<ExperimentRow>, Failure> {
        // the condition is asked of the view, the record is the stored one
        let condition = condition.map_or(String::new(), |sql| {
            format!(" WHERE log_key IN (SELECT log_key FROM rows WHERE ({sql}))")
        });
        let limit = limit.map_or(String::new(), |rows| format!(" LIMIT {rows}"));
        let batches = self.ask(&format!(
            "SELECT * FROM stored_rows{condition} ORDER BY tenant, run_id{limit}"
        ))?;
        let table = Table::named("rows")
            .ok_or_else(|| registry::Fault::Broken("there is no table rows".into()))?;
        let mut found = Vec::new();
        for batch in &batches {
            found.extend(columns::typed::<ExperimentRow>(table, batch)?);
        }
        Ok(found)
    }

    /// One run, by its id, or by tenant and id.
    ///
    /// # Errors
    /// A run that does not exist, or that more than one tenant has.
    pub fn run(&mut self, id: &str) -> Result<ExperimentRow, Failure> {
        let quoted = literal(id);
        let mut found = self.rows(
            Some(&format!(
                "run_id = {quoted} OR concat(tenant, '/', run_id) = {quoted}"
            )),
            Some(2),
        )?;
        match (found.pop(), found.pop()) {
            (Some(row), None) => Ok(row),
            (Some(row), Some(other)) => Err(Failure::new(
                "ambiguous_run",
                2,
                format!("{id} is a run of {} and of {}", other.tenant, row.tenant),
                "registry",
                format!("write {}/{id}", row.tenant),
            )),
            _ => Err(self.unknown(id)),
        }
    }

    fn unknown(&mut self, id: &str) -> Failure {
        let nearest = self.names().ok().and_then(|names| {
            names
                .into_iter()
                .min_by_key(|name| strsim::damerau_levenshtein(name, id))
        });
        Failure::new(
            "unknown_run",
            1,
            format!("there is no run {id}"),
            "registry",
            nearest.map_or_else(
                || "no run is known yet: `cairn ingest` and `cairn run --drain`".to_owned(),
                |name| format!("did you mean {name}? `cairn runs list` lists them all"),
            ),
        )
    }

    fn names(&mut self) -> Result<Vec<String>, Failure> {
        let batches = self.ask("SELECT run_id FROM rows ORDER BY run_id LIMIT 100000")?;
        Ok(super::super::sql::json(&batches)?
            .into_iter()
            .filter_map(|row| row["run_id"].as_str().map(str::to_owned))
            .collect())
    }
}

/// Text as SQL writes it.
#[must_use]
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn refused(refused: Refused) -> Failure {
    match refused {
        Refused::Wrong { message, remedy } => Failure::new("sql", 2, message, "sql", remedy),
        Refused::Store(fault) => fault.into(),
    }
}
