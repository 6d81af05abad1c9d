//! Contract, oracle, real-broker and end-to-end tests.
