//! The catalogue of topics, as data.
//!
//! # Layout
//!
//! - [`catalogue`](catalogue()), [`find`], [`split_tenant`]: every topic with family, keys,
//!   partitions, retention, schema and owner.
//! - [`key`](key()), [`run_key`], [`partition_of`]: keys and the partition they belong to.
//! - [`Keyed`]: by which fields each record is partitioned and kept.
//! - [`handle`]: topics that know the type of their records.
//! - [`asyncapi`](asyncapi()): the catalogue as an AsyncAPI document.
//!
//! No network: the bus creates topics, this crate only says which.
//!
//! ```
//! let rows = cairn_topics::find("experiments.rows").unwrap();
//! assert!(rows.is_compacted());
//! assert_eq!(rows.partition_words(), "tenant");
//! assert_eq!(rows.key_words(), "tenant/run_id");
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod asyncapi;
mod catalogue;
pub mod handle;
mod key;
mod keyed;

pub use asyncapi::{asyncapi, asyncapi_text};
pub use catalogue::{
    Cleanup, DEFAULT_TENANT, Encoding, Family, KeptBy, PartitionBy, RUN_PARTITIONS, Topic,
    catalogue, find, ingress_name, is_tenant, split_tenant,
};
pub use key::{key, murmur2, partition_of, parts_of, run_key};
pub use keyed::{Keyed, partition_key_for};
