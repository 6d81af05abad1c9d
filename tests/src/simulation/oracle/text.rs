//! A record as one line to compare and to read.

use cairn_avro::contract::Record as AvroRecord;
use cairn_avro::record::{DeadLetter, ExperimentRow, Late, ScalingFit, Verdict, Window};
use cairn_avro::{codec, frame};
use cairn_bus::{Headers, Outgoing, Record};
use std::fmt::Debug;

/// The record inside a frame that was written with the schemas of this build.
pub fn body<T: AvroRecord>(value: Option<&[u8]>) -> Result<T, String> {
    let frame = frame::split(value.unwrap_or_default()).map_err(|fault| fault.to_string())?;
    codec::decode(frame.body).map_err(|fault| fault.to_string())
}

/// What was found.
pub fn found(record: &Record) -> Result<String, String> {
    let value = record.value.as_deref();
    line(
        &record.topic,
        record.partition,
        record.key.as_deref(),
        value,
        &record.headers,
    )
}

/// What was expected.
pub fn expected(out: &Outgoing) -> Result<String, String> {
    let value = out.value.as_deref();
    line(
        &out.topic,
        out.partition,
        out.key.as_deref(),
        value,
        &out.headers,
    )
}

fn line(
    topic: &str,
    partition: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &Headers,
) -> Result<String, String> {
    let value = match topic {
        "runs.windows" => shown(&body::<Window>(value)?),
        "breaker.verdicts" => shown(&body::<Verdict>(value)?),
        "late" => shown(&body::<Late>(value)?),
        "experiments.rows" => shown(&body::<ExperimentRow>(value)?),
        "scaling.fits" => shown(&body::<ScalingFit>(value)?),
        "deadletter" => shown(&DeadLetter {
            // sealed anew each time; the digest of the plaintext stays
            sealed: Vec::new(),
            ..body(value)?
        }),
        _ => String::from_utf8_lossy(value.unwrap_or_default()).into_owned(),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}={}", text(value)))
        .collect();
    let key = text(key.unwrap_or_default());
    Ok(format!("{topic}[{partition}] {key} {headers:?} {value}"))
}

fn shown(value: &impl Debug) -> String {
    format!("{value:?}")
}
