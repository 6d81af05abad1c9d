//! The log behind one trait: Kafka and embedded.
