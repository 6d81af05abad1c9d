//! Runs task kinds over a log: poll, apply, commit.
//!
//! # Layout
//!
//! - [`task`]: the core of one partition behind one trait; the only place that names the cores.
//! - [`decode`] and [`encode`]: records to inputs of cores, outputs of cores to records.
//! - [`member`]: one thread's consumer, producer and tasks; the transaction.
//! - `merge` and `order`: in which order what was polled is applied, without and with state.
//! - [`timepiece`]: the clock that a member goes by.
//! - [`snapshot`]: local copies of changelogs, for a quick restart.
//! - [`service`]: all members of a process; stop and drain.
//! - [`supervision`]: what follows a fault; [`suspects`]: records that made a core panic.
//! - [`executor`]: long work beside the loop (DESIGN §3.7).
//!
//! Everything a batch causes is committed in one transaction or not at all. No `if` about the domain stands here.

pub mod decode;
pub mod encode;
pub mod executor;
pub mod member;
mod merge;
mod order;
pub mod resolve;
pub mod service;
pub mod snapshot;
pub mod supervision;
pub mod suspects;
pub mod task;
pub mod timepiece;
