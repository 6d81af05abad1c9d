//! Bodies of requests to events: decompressed, then lines of the contract's JSON or an Avro file.

use super::answers::Refused;
use crate::avro_file::{self, Flaw};
use crate::ingest::format;
use axum::http::{HeaderMap, StatusCode, header};
use cairn_avro::record::Payload;
use cairn_operators::admit::Rejection;
use std::borrow::Cow;
use std::io::Read;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An object a line.
    Json,
    /// An Avro object container file.
    Avro,
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Zstd,
}

/// What the headers say of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    pub(super) coding: Coding,
}

/// Types that are lines of JSON; the last ones are what clients send that say nothing.
const JSON_TYPES: [&str; 9] = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/json",
    "application/json-lines",
    "text/plain",
    "application/x-www-form-urlencoded",
    "application/octet-stream",
];

impl Shape {
    /// What the headers say.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refused> {
        let word = |name: header::HeaderName| {
            let text = headers.get(name)?.to_str().unwrap_or("?");
            let word = text.split(';').next().unwrap_or_default();
            Some(word.trim().to_ascii_lowercase())
        };
        let refused = |message: String, place: &str, remedy: &str| {
            Refused::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported",
                message,
                place,
                remedy,
            )
        };
        let kind = match word(header::CONTENT_TYPE).as_deref() {
            None => Kind::Json,
            Some(text) if JSON_TYPES.contains(&text) => Kind::Json,
            Some("application/avro" | "application/vnd.apache.avro+binary" | "avro/binary") => {
                Kind::Avro
            }
            Some(other) => {
                return Err(refused(
                    format!("bodies of type {other} are not taken"),
                    "header Content-Type",
                    "send application/x-ndjson, or application/avro (an object container file)",
                ));
            }
        };
        let coding = match word(header::CONTENT_ENCODING).as_deref() {
            None | Some("" | "identity") => Coding::Identity,
            Some("gzip" | "x-gzip") => Coding::Gzip,
            Some("zstd") => Coding::Zstd,
            Some(other) => {
                return Err(refused(
                    format!("bodies in {other} are not taken"),
                    "header Content-Encoding",
                    "send gzip, zstd, or leave it as it is",
                ));
            }
        };
        Ok(Self { kind, coding })
    }
}

/// A body that cannot be read as a whole.
fn broken(message: String) -> Refused {
    Refused::new(
        StatusCode::BAD_REQUEST,
        "bad_body",
        message,
        "body",
        "nothing was taken; write the body again and send it",
    )
}

impl From<Flaw> for Refused {
    fn from(flaw: Flaw) -> Self {
        let refused = |code, message: String, remedy: String| {
            Refused::new(StatusCode::BAD_REQUEST, code, message, "body", remedy)
        };
        let again = "nothing was taken; write the file again with an Avro library and send it";
        match flaw {
            Flaw::Short(byte) => refused(
                "avro",
                format!("the Avro file ends before byte {byte}"),
                again.into(),
            ),
            Flaw::Broken(byte, what) => refused(
                "avro",
                format!("the Avro file cannot be read at byte {byte}: {what}"),
                again.into(),
            ),
            Flaw::Schema(what) => refused(
                "unknown_schema",
                what,
                format!(
                    "the records that can be sent are {}; their schemas are in avro/schemas",
                    avro_file::sendable()
                ),
            ),
            Flaw::Codec(codec) => Refused::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported",
                format!("Avro files with codec {codec} are not taken"),
                "body",
                "write it with codec null, deflate or zstandard",
            ),
            Flaw::TooLarge => Refused::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "the Avro file has more bytes than may be, decompressed",
                "gateway.decoded_bytes_max",
                "send it in several requests, or raise the setting",
            ),
        }
    }
}

/// A body, decompressed.
pub(super) fn decoded(body: &[u8], coding: Coding, most: usize) -> Result<Cow<'_, [u8]>, Refused> {
    let reader: Box<dyn Read + '_> = match coding {
        Coding::Identity => return Ok(Cow::Borrowed(body)),
        Coding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(body)),
        Coding::Zstd => Box::new(
            zstd::stream::read::Decoder::new(body)
                .map_err(|error| broken(format!("the body is no zstd stream: {error}")))?,
        ),
    };
    let mut text = Vec::new();
    reader
        .take(most as u64 + 1)
        .read_to_end(&mut text)
        .map_err(|error| broken(format!("the body cannot be decompressed: {error}")))?;
    if text.len() > most {
        return Err(Refused::too_large("gateway.decoded_bytes_max", most));
    }
    Ok(Cow::Owned(text))
}

/// One event of a body, or what cannot be one.
pub(super) struct Item {
    /// Line, or number of the record, counted from 1.
    pub(super) number: u64,
    /// Byte of the decompressed body at which it begins; of a record, at which its block does.
    pub(super) byte: u64,
    /// As it was sent; of a record, the same as a line.
    pub(super) original: Vec<u8>,
    pub(super) read: Result<Event, Rejection>,
}

/// What was read.
pub(super) struct Event {
    pub(super) topic: &'static str,
    pub(super) payload: Payload,
    pub(super) event_id: Option<String>,
}

/// Calls `each` with what a body holds, until it says no.
pub(super) fn items(
    kind: Kind,
    body: &[u8],
    most: usize,
    each: &mut dyn FnMut(Item) -> Result<(), Refused>,
) -> Result<(), Refused> {
    match kind {
        Kind::Json => lines(body, each),
        Kind::Avro => avro_file::records(body, most, &mut |number, byte, payload| {
            each(Item {
                number,
                byte,
                original: avro_file::as_line(&payload),
                read: Ok(Event {
                    topic: payload.topic(),
                    payload,
                    event_id: None,
                }),
            })
        }),
    }
}

fn lines(body: &[u8], each: &mut dyn FnMut(Item) -> Result<(), Refused>) -> Result<(), Refused> {
    let mut byte = 0;
    for (number, line) in (1..).zip(body.split(|byte| *byte == b'\n')) {
        let start = byte;
        byte += line.len() as u64 + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let read = match cairn_avro::json::line(line) {
            Ok(parsed) => Ok(Event {
                topic: parsed.topic,
                payload: parsed.payload,
                event_id: parsed.event_id,
            }),
            Err(fault) => Err(Rejection::new(fault.class.code(), fault.text)),
        };
        each(Item {
            number,
            byte: start,
            original: line.to_vec(),
            read,
        })?;
    }
    Ok(())
}

impl Item {
    /// The topic that it was headed for.
    pub(super) fn topic(&self) -> String {
        match &self.read {
            Ok(event) => event.topic.to_owned(),
            Err(_) => format::topic_of(&self.original)
                .unwrap_or_else(|| cairn_avro::json::DEFAULT_TOPIC.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_bomb_is_refused_before_it_goes_off() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder
            .write_all(&vec![b'x'; 10_000_000])
            .expect("memory takes it");
        let bomb = encoder.finish().expect("memory takes it");
        let refused = decoded(&bomb, Coding::Gzip, 1_000_000).expect_err("too large");
        assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(
            decoded(&bomb, Coding::Gzip, 10_000_000).map(|text| text.len()),
            Ok(10_000_000)
        );
        let half = decoded(&bomb[..bomb.len() / 2], Coding::Gzip, 10_000_000);
        assert_eq!(half.expect_err("cut").status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn types_and_codings_are_told() {
        let of = |kind: &str, coding: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, kind.parse().expect("a header"));
            headers.insert(header::CONTENT_ENCODING, coding.parse().expect("a header"));
            Shape::of(&headers).map(|shape| (shape.kind, shape.coding))
        };
        assert_eq!(
            of("application/x-ndjson; charset=utf-8", "gzip"),
            Ok((Kind::Json, Coding::Gzip))
        );
        assert_eq!(
            of("Application/Avro", "zstd"),
            Ok((Kind::Avro, Coding::Zstd))
        );
        assert_eq!(
            of("image/png", "identity").expect_err("no events").status,
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        );
        assert_eq!(
            of("text/plain", "br").expect_err("unknown").status,
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        );
    }
}
