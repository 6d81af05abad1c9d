//! The contract suite on the embedded log and on a real Kafka.

use cairn_bus::contract;
use cairn_bus::embedded::EmbeddedLog;
use cairn_bus::{Log, testing};
use std::sync::Arc;

#[test]
fn embedded() {
    let folder = tempfile::tempdir().unwrap();
    let open = || -> Arc<dyn Log> { Arc::new(EmbeddedLog::open(folder.path()).unwrap()) };
    contract::run(&open, "suite", contract::ALL);
}

#[test]
fn kafka() {
    let Some(server) = testing::kafka() else {
        return;
    };
    let open = || -> Arc<dyn Log> { Arc::new(server.log()) };
    contract::run(&open, "suite", contract::ALL);
}

#[test]
fn kafka_groups() {
    let Some(server) = testing::kafka() else {
        return;
    };
    let open = || -> Arc<dyn Log> { Arc::new(server.log()) };
    contract::run(&open, "suite", contract::GROUPS);
}
