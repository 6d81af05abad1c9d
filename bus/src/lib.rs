//! The log behind one trait, and what must know which log it is: Kafka and the embedded file; the schema registry's client
//! and the answers of a registry. The only crate that names rdkafka or SQLite.
//!
//! # Layout
//! - [`log`]: the promise: topics, records, sessions, faults sorted by what the caller does next.
//! - [`chunk`]: the records of one poll, packed.
//! - [`embedded`]: the same promise in one SQLite file.
//! - [`kafka`]: through librdkafka.
//! - `simulated` (feature `simulated`): in memory, all faults from one seed; for tests.
//! - [`registry`]: a client with a cache; and the answers of a registry, without a web server.
//! - `contract` (feature `contract-suite`): what every log must pass.
//! - `testing` (feature `testing`): real servers for tests.

pub mod chunk;
#[cfg(feature = "contract-suite")]
pub mod contract;
pub mod embedded;
pub mod kafka;
pub mod log;
pub mod registry;
#[cfg(feature = "simulated")]
pub mod simulated;
#[cfg(feature = "testing")]
pub mod testing;

pub use chunk::{Chunk, RecordRef, Run};
pub use log::{
    Cleanup, Fault, Gap, Headers, Log, Lookup, Membership, Offsets, Outgoing, Poll, Reader, Record,
    SchemaRegistry, Session, TopicPartition, TopicSpec, TopicState,
};
