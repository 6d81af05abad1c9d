//! The experiment registry: what the log says about runs, as tables that any engine reads.
//!
//! Tables are sinks (DESIGN §3.11): whatever lies here can be made again from the log, and nothing here feeds an operator.
//! A [`Store`] keeps rows *and* the offsets that they rest on, both in one commit, so that a table always equals some prefix of
//! its topic. [`sink`] brings stores up to the log, [`sql`] asks them.
//!
//! Whoever implements [`Store`] runs the contract suite in `registry/suite.rs`; it is done when that passes.

pub mod columns;
mod conform;
mod delta;
mod jsonl;
mod lock;
mod open;
mod postgres;
pub mod records;
pub mod sink;
pub mod sql;
#[cfg(test)]
mod suite;

pub use open::open;

use cairn_avro::contract::{self, Entry};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which records of its topic a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// The newest of each key; a tombstone takes it away.
    Newest,
    /// All of them.
    Every,
}

/// A table of the registry.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name, in SQL and in stores.
    pub name: &'static str,
    /// The topic that it is made from.
    pub topic: &'static str,
    /// Which records it holds.
    pub keeps: Keeps,
    /// Whether the members of nested records are columns of their own.
    pub is_flat: bool,
    /// What a row is.
    pub meaning: &'static str,
}

/// Every table.
pub const TABLES: &[Table] = &[
    Table {
        name: "rows",
        topic: "experiments.rows",
        keeps: Keeps::Newest,
        is_flat: true,
        meaning: "the normalised row of each run",
    },
    Table {
        name: "windows",
        topic: "runs.windows",
        keeps: Keeps::Every,
        is_flat: false,
        meaning: "closed windows of runs",
    },
    Table {
        name: "verdicts",
        topic: "breaker.verdicts",
        keeps: Keeps::Every,
        is_flat: false,
        meaning: "what the breaker said of runs",
    },
    Table {
        name: "fits",
        topic: "scaling.fits",
        keeps: Keeps::Newest,
        is_flat: false,
        meaning: "the newest fit of each cohort and law",
    },
    Table {
        name: "recommendations",
        topic: "planner.recommendations",
        keeps: Keeps::Newest,
        is_flat: false,
        meaning: "what was recommended; its explanations are the cards",
    },
    Table {
        name: "cohorts",
        topic: "registry.cohorts",
        keeps: Keeps::Newest,
        is_flat: false,
        meaning: "named queries over rows",
    },
    Table {
        name: "artifacts",
        topic: "artifacts",
        keeps: Keeps::Newest,
        is_flat: false,
        meaning: "what was made",
    },
];

impl Table {
    /// The table of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        TABLES.iter().find(|table| table.name == name)
    }

    /// The contract of its topic's records.
    ///
    /// # Errors
    /// A topic without one: the catalogue and this list do not fit together.
    pub fn entry(&self) -> Result<&'static Entry, Fault> {
        cairn_topics::find(self.topic)
            .and_then(cairn_topics::Topic::entry)
            .or_else(|| contract::of_topic(self.topic))
            .ok_or_else(|| Fault::Broken(format!("topic {} has no records", self.topic)))
    }

    /// Its columns, as every store and every query sees them.
    ///
    /// # Errors
    /// See [`Table::entry`].
    pub fn schema(&self) -> Result<SchemaRef, Fault> {
        columns::schema(self)
    }
}

/// Where to go on reading a table's topic, by partition.
pub type Covered = BTreeMap<i32, i64>;

/// One record of a table's topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The record's key; of tables that keep every record, its place in the log.
    pub key: String,
    /// Partition that it lies in.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When the log took it (milliseconds since 1970, UTC).
    pub append_time_ms: i64,
    /// Its datum in the layout of this build, framed with the schema id 0; none takes the key away.
    pub framed: Option<Vec<u8>>,
}

/// What one commit adds: records of one table in the order of the log, and what is covered before and after them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The records; with [`Keeps::Newest`] at most one of each key.
    pub rows: Vec<Row>,
    /// What the store covered when the batch was read.
    pub from: Covered,
    /// What it covers with it.
    pub next: Covered,
}

/// Which state of a table is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AsOf {
    /// The newest.
    #[default]
    Now,
    /// The version of this number.
    Version(u64),
    /// The newest that was written at this time or before (milliseconds since 1970, UTC).
    TimeMs(i64),
}

/// How large a table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub rows: u64,
    /// Files, where there are files.
    pub files: u64,
    /// Bytes of what a query may read.
    pub bytes: u64,
    /// Newest version, where the store has versions.
    pub version: Option<u64>,
}

/// Why a store did not do what was asked, sorted by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Wait and try again; nothing was written.
    #[error("the registry's store cannot be reached: {0}")]
    Unreachable(String),
    /// Somebody else writes; read again what is covered.
    #[error("another writer was here: {0}")]
    Conflict(String),
    /// Waiting does not help: tell the user.
    #[error("{0}")]
    Broken(String),
}

/// Keeps tables, each with the offsets that it rests on.
pub trait Store: Send {
    /// What it is called in the configuration.
    fn kind(&self) -> &'static str;

    /// Where it lies, for people.
    fn place(&self) -> String;

    /// Becomes the one writer until it is dropped; false where another is.
    ///
    /// # Errors
    /// A place that cannot be written to.
    fn become_writer(&mut self) -> Result<bool, Fault>;

    /// What a table covers; nothing of a table that does not exist yet.
    ///
    /// # Errors
    /// A store that cannot be read.
    fn covered(&mut self, table: &'static Table) -> Result<Covered, Fault>;

    /// Takes a batch, its rows and its offsets together or not at all.
    ///
    /// # Errors
    /// [`Fault::Conflict`] where the table does not cover what the batch begins with.
    fn write(&mut self, table: &'static Table, batch: &Batch) -> Result<(), Fault>;

    /// The table for a query, with the columns of [`Table::schema`].
    ///
    /// # Errors
    /// A store that cannot be read, or that keeps no earlier states.
    fn provider(
        &mut self,
        table: &'static Table,
        as_of: &AsOf,
    ) -> Result<Arc<dyn TableProvider>, Fault>;

    /// How large a table is.
    ///
    /// # Errors
    /// A store that cannot be read.
    fn size(&mut self, table: &'static Table) -> Result<Size, Fault>;

    /// Forgets what no query will ask for again; says what it did.
    ///
    /// # Errors
    /// A store that cannot be written.
    fn tidy(&mut self, table: &'static Table) -> Result<String, Fault>;
}
