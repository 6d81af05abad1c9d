//! The cores: synchronous, total, without clock, randomness or IO.
pub mod breaker;
pub mod theil_sen;
pub mod time;
pub mod windows;
