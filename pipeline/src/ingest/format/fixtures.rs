//! What the tests of formats share: reading bytes as the engine does, and looking at what came of it.

use super::*;
use crate::ingest::source::Content;
use crate::ingest::units::{Finish, Next, NoUnits, Units};
use cairn_avro::record::{RuntimeTelemetry, TrainingTelemetry};
use std::io::Cursor;

/// A run `r`.
pub(super) fn setup() -> Setup {
    Setup {
        run_id: "r".into(),
        ..Setup::default()
    }
}

/// Reads bytes as a format, ends and breaks included.
pub(super) fn read(name: &str, bytes: &[u8], setup: &Setup) -> Out {
    let mut parser = named(name)
        .and_then(|format| format.parser(setup))
        .expect("the setup fits");
    let mut out = Out::default();
    let content = Content::new(Box::new(Cursor::new(bytes.to_vec()))).expect("memory can be read");
    let mut units = match Units::new(content, parser.as_mut()) {
        Ok(units) => units,
        Err(NoUnits::Refused(refused)) => {
            out.rejects.push(refused.0);
            return out;
        }
        Err(NoUnits::Io(error)) => panic!("{error}"),
    };
    let finish = loop {
        match units.next().expect("memory can be read") {
            Next::Unit(position) => parser
                .unit(units.unit(), position, &mut out)
                .expect("the source fits"),
            Next::Oversized(_) if parser.passes_over_oversized() => out.ignored += 1,
            Next::Oversized(position) => out.reject(
                "oversized",
                "too long".into(),
                "telemetry.training",
                position,
                units.unit(),
            ),
            Next::End(finish) => break finish,
        }
    };
    let position = units.end();
    let reject =
        |out: &mut Out, class, text| out.reject(class, text, "telemetry.training", position, &[]);
    match finish {
        Finish::Complete => parser.end(position, &mut out).expect("the source fits"),
        Finish::PartialLine(line) if parser.takes_unended(&line) => {
            parser
                .unit(&line, position, &mut out)
                .and_then(|()| parser.end(position, &mut out))
                .expect("the source fits");
        }
        Finish::PartialLine(_) => {
            parser.end(position, &mut out).expect("the source fits");
            reject(&mut out, "partial_line", "cut".into());
        }
        Finish::Broken(class, text, _) => {
            parser.broken(position, &mut out).expect("the source fits");
            reject(&mut out, class, text);
        }
    }
    out
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
