//! `cairn deadletter`: what could not be taken, why, and the way back.

use super::{Failure, Global, Outcome};
use clap::Args;

/// Records that could not be taken.
#[derive(Args)]
pub struct Deadletter {}

impl Deadletter {
    pub(super) fn run(self, _global: &Global) -> Outcome {
        Err(Failure::usage("being written", ""))
    }
}
