//! Logs: one JSON object a line on standard error, so that standard output stays the answer. Every line is redacted.

use crate::redaction::Lines;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::prelude::*;

/// Begins logging; `filter` is a level, or directives such as `cairn_pipeline=debug`. JSON unless standard error is a
/// terminal.
pub fn init(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let result = if is_terminal {
        registry
            .with(
                tracing_subscriber::fmt::layer()
                    .compact()
                    .with_ansi(false)
                    .with_writer(|| Lines(std::io::stderr())),
            )
            .try_init()
    } else {
        registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_writer(|| Lines(std::io::stderr())),
            )
            .try_init()
    };
    // A second call, as tests make it, keeps the first.
    drop(result);
}
