//! The cores: synchronous, total, without clock, randomness or IO.
//!
//! # Layout
//!
//! - [`operator`]: what a core is told and what it answers.
//! - [`tables`]: what a core remembers, with the batch in an overlay.
//! - [`admit`]: lets events in.
//! - [`runs`]: dedupe, [`runs::normalize`], [`windows`] and [`breaker`] of one run, one task.
//! - [`refit`]: asks for laws to be fitted.
//! - [`guards`]: what holds the line where single bad rows do not.
//! - [`redact`]: takes personal data and secrets out of text.
//! - [`cockpit`]: folds telegrams into the board.
//! - [`time`] and [`theil_sen`]: a run's clock; the slope.

pub mod admit;
pub mod breaker;
pub mod cockpit;
pub mod guards;
pub mod operator;
pub mod redact;
pub mod refit;
pub mod runs;
pub mod tables;
pub mod theil_sen;
pub mod time;
pub mod windows;
