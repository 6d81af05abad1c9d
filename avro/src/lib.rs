//! Every record on the bus: schemas, framing, Avro to Arrow and back.
//!
//! # Layout
//!
//! - [`record`]: the Rust types, generated from `schemas/*.avsc`.
//! - [`contract`]: which record goes over which topic, with its schema and fingerprint.
//! - [`codec`]: records to Avro bytes and back, also from an older or newer writer's schema.
//! - [`frame`]: the five bytes in front of them on the bus.
//! - [`hex`]: bytes where people read them.
//! - [`json`]: the contract's JSON, strict in both directions.
//! - [`arrow`]: records to columns and back.
//! - [`time`]: the contract's times.
//!
//! No network: who knows schema ids, and where topics live, is decided elsewhere.
//!
//! ```
//! use cairn_avro::{codec, record::TrainingTelemetry};
//!
//! let step = TrainingTelemetry { run_id: "r1".into(), step: 7, loss: Some(2.5), ..Default::default() };
//! let mut bytes = Vec::new();
//! codec::encode(&step, &mut bytes)?;
//! assert_eq!(codec::decode::<TrainingTelemetry>(&bytes)?, step);
//! # Ok::<(), codec::Fault>(())
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod arrow;
pub mod codec;
pub mod contract;
pub mod frame;
pub mod hex;
pub mod json;
pub mod record;
pub mod time;
pub mod tree;

mod bytes_map;
mod open_enum;
mod payload;
mod resolve;
mod shape;
mod wire;

pub use shape::Shape;
