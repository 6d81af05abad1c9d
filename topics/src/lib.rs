//! The catalogue of topics, as data.
