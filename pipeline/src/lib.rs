//! The runtime and the `cairn` command: tasks and transactions, ingest, gateway, metrics.

pub mod deadletter;
pub mod ingest;
pub mod seal;
