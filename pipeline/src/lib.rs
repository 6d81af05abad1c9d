//! The runtime and the `cairn` command: tasks and transactions, ingest, gateway, metrics.
//!
//! # Layout
//!
//! - [`backfill`]: derived fields of rows once more.
//! - [`config`]: every setting, from defaults, file, environment and flags.
//! - [`connect`]: the log and the schema registry that the configuration names.
//! - `contents`: all that a topic holds now.
//! - [`runtime`]: members, tasks and transactions over a log.
//! - [`fit_work`] and [`window_query`]: the long work behind refits; SQL over rows in DataFusion.
//! - [`fits`]: fits as a document.
//! - [`ingest`]: files into ingress topics.
//! - [`input_table`]: tables of a user's, shaped by SQL, for fits.
//! - `avro_file`: Avro object container files.
//! - `objects`: object stores by address.
//! - [`seal`] and [`deadletter`]: originals that nobody but their owner can read, and their replay.
//! - [`redaction`]: the configured redactors, and lines of logs through them.
//! - [`guards`]: guards that are open, seen and resumed from outside.
//! - [`registry`]: the experiment registry: tables of what the log says about runs, and SQL over them.
//! - [`replay`]: the outputs of the past once more, held against what was written.
//! - [`families`] and [`migrate`]: how many partitions of a family are in use, and another number of them.
//! - [`gateway`]: /metrics, health, ingest over HTTP, the built-in schema registry.
//! - [`cli`]: one file a command.

mod avro_file;
pub mod backfill;
pub mod cli;
pub mod config;
pub mod connect;
mod contents;
pub mod deadletter;
pub mod families;
pub mod fit_work;
pub mod fits;
pub mod gateway;
pub mod guards;
pub mod ingest;
pub mod input_table;
pub mod logging;
pub mod metrics;
pub mod migrate;
mod objects;
pub mod plot;
mod publish;
pub mod redaction;
pub mod registry;
pub mod replay;
pub mod runtime;
pub mod seal;
pub mod window_query;
