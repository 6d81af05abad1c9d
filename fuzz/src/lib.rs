//! What the fuzz targets hold parsers and decoders to. The targets call these with whatever libFuzzer makes, the tests of this
//! crate with what it has found before (`corpus/`).

use cairn_avro::codec::Reader;
use cairn_avro::{contract, frame, json};
use cairn_pipeline::ingest::format::mapped::Mapping;
use cairn_pipeline::ingest::format::{FORMATS, Setup, detect, read_bytes};
use std::sync::Arc;

/// Largest input of a target (bytes): what is larger finds nothing that is not found smaller.
pub const INPUT_BYTES_MAX: usize = 64 << 10;

/// A mapping that any table with these columns fits.
const MAPPING: &str = "{topic: telemetry.training, run_id: r, fields: {step: step, loss: loss}, config: {parameters_total: \"1e6\"}}";

fn setup() -> Setup {
    Setup {
        run_id: "fuzz".into(),
        mapping: Mapping::parse(MAPPING).ok().map(Arc::new),
        ..Setup::default()
    }
}

/// Names of the formats.
#[must_use]
pub fn formats() -> Vec<&'static str> {
    FORMATS.iter().map(|format| format.name()).collect()
}

/// A format reads anything without a panic, says the same when it reads it again, and every reject says where and why.
///
/// # Panics
/// Where one of these does not hold.
pub fn format(name: &str, bytes: &[u8]) {
    if bytes.len() > INPUT_BYTES_MAX {
        return;
    }
    drop(detect(bytes, true));
    let (Ok(out), Ok(again)) = (
        read_bytes(name, bytes, &setup()),
        read_bytes(name, bytes, &setup()),
    ) else {
        return;
    };
    assert_eq!(out.rejects, again.rejects, "{name} rejects differently");
    assert_eq!(out.events.len(), again.events.len(), "{name} says more");
    for (event, same) in out.events.iter().zip(&again.events) {
        // what is no number is not equal to itself: compared as it would lie on the log
        let bytes = |payload| json::canonical_payload(payload).ok();
        assert_eq!(bytes(&event.payload), bytes(&same.payload), "{name}");
    }
    for reject in &out.rejects {
        assert!(!reject.text.is_empty(), "{name}: a reject says no reason");
        assert!(
            reject.original.len() <= bytes.len().max(1) * 2,
            "{name}: an original that was not there"
        );
    }
}

/// Bytes as each record of the contract: refused, or read and written to the same bytes.
///
/// # Panics
/// Where a datum that was read is written to other bytes.
pub fn avro(bytes: &[u8]) {
    let Some((which, body)) = bytes.split_first() else {
        return;
    };
    let _ = frame::tell(bytes);
    let entries = contract::all();
    let entry = entries[usize::from(*which) % entries.len()];
    drop(Reader::native(entry).to_native(body));
    let Ok(text) = json::from_avro(entry.shape(), body) else {
        return;
    };
    match json::to_avro(entry.shape(), text.as_bytes()) {
        Ok(again) => {
            let text_again = json::from_avro(entry.shape(), &again);
            assert_eq!(text_again.as_deref(), Ok(text.as_str()), "{}", entry.record);
        }
        Err(fault) => panic!("{}: {fault}: {text}", entry.record),
    }
}

/// Text as a line of the contract: refused, or its canonical form reads as the same.
///
/// # Panics
/// Where it does not.
pub fn line(bytes: &[u8]) {
    let Ok(line) = json::line(bytes) else {
        return;
    };
    let Ok(text) = json::canonical_payload(&line.payload) else {
        return;
    };
    let again = json::payload(line.topic, text.as_bytes())
        .unwrap_or_else(|fault| panic!("{}: {fault}: {text}", line.topic));
    assert_eq!(
        json::canonical_payload(&again).ok().as_ref(),
        Some(&text),
        "{}",
        line.topic
    );
}

/// Text as a mapping file and a table for it: refused, or read.
pub fn mapping(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (head, table) = text.split_once("\n---\n").unwrap_or((text, "a,b\n1,2\n"));
    if let Ok(mapping) = Mapping::parse(head) {
        let setup = Setup {
            run_id: "fuzz".into(),
            mapping: Some(Arc::new(mapping)),
            ..Setup::default()
        };
        drop(read_bytes("mapped_csv", table.as_bytes(), &setup));
    }
}
