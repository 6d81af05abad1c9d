//! The cores: synchronous, total, without clock, randomness or IO.
