//! What the tests of formats share: reading bytes as the engine does, and looking at what came of it.

use super::*;
use cairn_avro::record::{RuntimeTelemetry, TrainingTelemetry};

/// A run `r`.
pub(super) fn setup() -> Setup {
    Setup {
        run_id: "r".into(),
        ..Setup::default()
    }
}

/// Reads bytes as a format, ends and breaks included.
pub(super) fn read(name: &str, bytes: &[u8], setup: &Setup) -> Out {
    read_bytes(name, bytes, setup).expect("the source fits")
}

/// Reads bytes of run `r`, and holds the parser to it: the same bytes say the same, and every reject says where and why.
pub(super) fn check(name: &str, bytes: &[u8]) -> Out {
    let out = read(name, bytes, &setup());
    let again = read(name, bytes, &setup());
    assert_eq!(
        (&out.events, &out.rejects),
        (&again.events, &again.rejects),
        "{name} is not deterministic"
    );
    for reject in &out.rejects {
        assert!(reject.position.line > 0 && !reject.text.is_empty());
    }
    out
}

/// What one kind of record says.
pub(super) fn run<T>(out: &Out, of: impl Fn(&Payload) -> Option<T>) -> Vec<T> {
    out.events
        .iter()
        .filter_map(|event| of(&event.payload))
        .collect()
}

pub(super) fn training(out: &Out) -> Vec<TrainingTelemetry> {
    run(out, |payload| match payload {
        Payload::TrainingTelemetry(step) => Some(step.clone()),
        _ => None,
    })
}

pub(super) fn runtime(out: &Out) -> Vec<RuntimeTelemetry> {
    run(out, |payload| match payload {
        Payload::RuntimeTelemetry(record) => Some(record.clone()),
        _ => None,
    })
}
