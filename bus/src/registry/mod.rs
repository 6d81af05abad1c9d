//! Schemas by number: a client for a Confluent-compatible registry, and what such a registry would answer.
//!
//! - [`client`]: asks a registry over HTTP, remembers what it said.
//! - [`store`]: where a registry of our own keeps schemas; in memory here, in the embedded log's file elsewhere.
//! - [`answers`]: the Confluent REST calls over a store, without a web server: the gateway mounts it, tests use it as a double.
//! - [`compatibility`]: which schema may follow which.

pub mod answers;
pub mod client;
pub mod compatibility;
pub mod store;

pub use answers::{Answer, CONTENT_TYPE, answer};
pub use client::{Registry, RegistrySettings};
pub use store::{MemoryStore, SchemaStore, StoreRegistry, Stored};
