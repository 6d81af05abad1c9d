//! Guards of what only takes long: a registry that does not answer, an id that it does not know yet, commits that are slow.

use super::*;
use cairn_avro::codec;
use cairn_avro::contract::{self, Record as _};
use cairn_avro::record::TrainingTelemetry;
use cairn_bus::{Lookup, SchemaRegistry};
use std::sync::Mutex;
use std::time::Instant;

/// A registry that can be told how to fail.
struct Fickle {
    inner: Arc<dyn SchemaRegistry>,
    /// What it answers about ids instead of what it knows.
    says: Mutex<Option<Result<Lookup, Fault>>>,
}

impl SchemaRegistry for Fickle {
    fn id_of(&self, subject: &str, schema: &str) -> Result<u32, Fault> {
        self.inner.id_of(subject, schema)
    }

    fn schema_of(&self, id: u32) -> Result<Lookup, Fault> {
        match &*self.says.lock().unwrap() {
            Some(answer) => answer.clone(),
            None => self.inner.schema_of(id),
        }
    }
}

/// A bench with a registry that can fail, and an Avro row; guards open at once.
fn waiting() -> (Bench, Arc<Fickle>, Vec<u8>) {
    let mut bench = Bench::new(|config| config.runtime.guard_after_ms = 0);
    let registry = Arc::new(Fickle {
        inner: bench.place.registry.clone(),
        says: Mutex::new(None),
    });
    let schema = TrainingTelemetry::entry().schema;
    let subject = contract::subject("telemetry.training");
    let id = registry.id_of(&subject, schema).unwrap();
    bench.place.registry = registry.clone();
    let row = TrainingTelemetry {
        run_id: "a".to_owned(),
        step: 1,
        loss: Some(2.5),
        ..TrainingTelemetry::default()
    };
    let mut value = Vec::new();
    codec::encode_framed(id, &row, &mut value).unwrap();
    (bench, registry, value)
}

/// The guard opens while the row waits; once the registry answers it closes, and the row is taken.
fn opens_and_closes(says: Result<Lookup, Fault>, guard: &str) {
    let (bench, registry, row) = waiting();
    let mut member = bench.member(bench.kind("admit"));
    settle(&mut member).unwrap();
    *registry.says.lock().unwrap() = Some(says);
    bench.send_bytes("telemetry.training", row);
    settle(&mut member).unwrap();
    let open = [(guard.to_owned(), "telemetry.training".to_owned())];
    assert_eq!(bench.open(), open);
    assert!(bench.metrics.text().contains(&format!(
        "cairn_guards_open{{guard=\"{guard}\",operator=\"admit\"}} 1"
    )));
    assert_eq!(
        (bench.letters().len(), bench.values("runs.events").len()),
        (0, 0)
    );
    *registry.says.lock().unwrap() = None;
    let begun = Instant::now();
    while !bench.open().is_empty() && begun.elapsed() < Duration::from_secs(30) {
        settle(&mut member).unwrap();
    }
    assert_eq!(bench.open(), []);
    assert_eq!(
        (bench.letters().len(), bench.values("runs.events").len()),
        (0, 1)
    );
    assert!(bench.metrics.text().contains(&format!(
        "cairn_guards_open{{guard=\"{guard}\",operator=\"admit\"}} 0"
    )));
}

#[test]
fn a_registry_that_does_not_answer_is_a_guard_until_it_does() {
    let silent = Err(Fault::Unreachable("connection refused".to_owned()));
    opens_and_closes(silent, "registry_outage");
}

#[test]
fn an_id_that_comes_later_is_a_guard_until_it_is_there() {
    opens_and_closes(Ok(Lookup::Denied), "unknown_schema");
}

#[test]
fn slow_commits_are_a_guard_and_hold_nothing_back() {
    let bench = Bench::new(|config| config.runtime.slow_commit_ms = 0);
    bench.send("telemetry.training", &[&row("a", 1)]);
    let mut member = bench.member(bench.kind("admit"));
    settle(&mut member).unwrap();
    bench.send("telemetry.training", &[&row("a", 2)]);
    settle(&mut member).unwrap();
    assert_eq!(bench.open(), [("slow_log".to_owned(), "admit".to_owned())]);
    assert_eq!(bench.values("runs.events").len(), 2);
}
