//! One file a law: its formula, its derivatives, its coordinates and its starts.

pub(crate) mod hoffmann;
