//! Avro object container files, as any Avro library writes them.
//!
//! Published format: "Object Container Files" of the Avro specification, 1.12: a header with the writer's schema and the
//! codec, then blocks, each with a count, its bytes and the file's sync marker. The record's name says which topic it belongs
//! to; another version of the record is read by Avro's rules of schema resolution. Codecs: null, deflate, zstandard.
//!
//! Where a datum ends is known only where it could be read: behind one that cannot be, the rest of its block is lost.

use cairn_avro::codec::Reader;
use cairn_avro::contract;
use cairn_avro::record::Payload;
use cairn_operators::operator::canonical;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;

/// What a file begins with.
pub(crate) const MAGIC: &[u8] = b"Obj\x01";
const SYNC_BYTES: usize = 16;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It ends before its time; so many bytes from its start are needed at least.
    Short(usize),
    /// It is no such file, or damaged: at which byte of what was given, and how.
    Broken(usize, String),
    /// Its records are none of the contract's.
    Schema(String),
    /// Its codec is not known here.
    Codec(String),
    /// Its blocks have more bytes than a limit.
    TooLarge,
}

/// What the header says of the blocks.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    reader: Reader,
    codec: String,
    sync: [u8; SYNC_BYTES],
}

/// The records that can be sent, for whoever sent others.
pub(crate) fn sendable() -> String {
    Payload::RECORDS.join(", ")
}

/// A record as a line of the contract's JSON: what is kept of a bad one, for a reader and for a replay.
pub(crate) fn as_line(payload: &Payload) -> Vec<u8> {
    let members = canonical(payload);
    let inner = members.strip_prefix(b"{").unwrap_or(&members);
    let comma = if inner.starts_with(b"}") { "" } else { "," };
    let topic = format!("{{\"topic\":\"{}\"{comma}", payload.topic());
    [topic.as_bytes(), inner].concat()
}

/// The bytes that the header has.
pub(crate) fn header_bytes(file: &[u8]) -> Result<usize, Flaw> {
    let mut cursor = Cursor::new(file);
    cursor.header()?;
    cursor.take(SYNC_BYTES)?;
    Ok(cursor.at)
}

/// The bytes of the block that these bytes begin with; they need not all be there.
pub(crate) fn block_bytes(block: &[u8]) -> Result<u64, Flaw> {
    let mut cursor = Cursor::new(block);
    cursor.length()?;
    let size = cursor.length()?;
    Ok(cursor.at as u64 + size as u64 + SYNC_BYTES as u64)
}

/// Reads the header; returns it and its bytes.
pub(crate) fn header(file: &[u8]) -> Result<(Header, usize), Flaw> {
    let mut cursor = Cursor::new(file);
    let members = cursor.header()?;
    let sync = cursor.take(SYNC_BYTES)?;
    let schema = members
        .get("avro.schema")
        .and_then(|schema| std::str::from_utf8(schema).ok())
        .ok_or_else(|| Flaw::Broken(0, "its header names no schema".into()))?;
    let codec = match members.get("avro.codec") {
        None => "null",
        Some(name) => std::str::from_utf8(name).unwrap_or("?"),
    };
    if !matches!(codec, "null" | "deflate" | "zstandard") {
        return Err(Flaw::Codec(codec.to_owned()));
    }
    let mut header = Header {
        reader: reader(schema)?,
        codec: codec.to_owned(),
        sync: [0; SYNC_BYTES],
    };
    header.sync.copy_from_slice(sync);
    Ok((header, cursor.at))
}

impl Header {
    /// Calls `each` with the records of the block that these bytes begin with; returns its bytes, and those that it had when it
    /// was unpacked, of which there may be `most`.
    pub(crate) fn block<E: From<Flaw>>(
        &self,
        bytes: &[u8],
        most: usize,
        each: &mut dyn FnMut(Payload) -> Result<(), E>,
    ) -> Result<(usize, usize), E> {
        let mut cursor = Cursor::new(bytes);
        let count = cursor.length()?;
        let size = cursor.length()?;
        let block = cursor.take(size)?;
        if cursor.take(SYNC_BYTES)? != self.sync {
            let what = "its block does not end with the sync marker".to_owned();
            return Err(Flaw::Broken(0, what).into());
        }
        let data = self.unpacked(block, most)?;
        let mut rest: &[u8] = &data;
        for number in 1..=count {
            let (payload, behind) = self.reader.read_first(rest).map_err(|fault| {
                Flaw::Broken(0, format!("record {number} of its {count}: {fault}"))
            })?;
            rest = behind;
            each(payload)?;
        }
        if !rest.is_empty() {
            let what = "bytes are left behind the last record of a block".to_owned();
            return Err(Flaw::Broken(0, what).into());
        }
        Ok((cursor.at, data.len()))
    }

    fn unpacked<'b>(&self, block: &'b [u8], most: usize) -> Result<Cow<'b, [u8]>, Flaw> {
        let broken = |error: std::io::Error| Flaw::Broken(0, error.to_string());
        let reader: Box<dyn Read + 'b> = match self.codec.as_str() {
            "deflate" => Box::new(flate2::read::DeflateDecoder::new(block)),
            "zstandard" => Box::new(zstd::stream::read::Decoder::new(block).map_err(broken)?),
            _ if block.len() > most => return Err(Flaw::TooLarge),
            _ => return Ok(Cow::Borrowed(block)),
        };
        let mut data = Vec::new();
        reader
            .take(most as u64 + 1)
            .read_to_end(&mut data)
            .map_err(broken)?;
        if data.len() > most {
            return Err(Flaw::TooLarge);
        }
        Ok(Cow::Owned(data))
    }
}

/// Calls `each` with number, byte of the block, and record of a whole file.
pub(crate) fn records<E: From<Flaw>>(
    file: &[u8],
    most: usize,
    each: &mut dyn FnMut(u64, u64, Payload) -> Result<(), E>,
) -> Result<(), E> {
    let (header, mut at) = header(file)?;
    let (mut number, mut left) = (0, most);
    while at < file.len() {
        let start = at;
        let mut wrong = None;
        let block = header.block(&file[at..], left, &mut |payload| {
            number += 1;
            each(number, start as u64, payload).map_err(|error| {
                wrong = Some(error);
                Flaw::TooLarge
            })
        });
        if let Some(error) = wrong {
            return Err(error);
        }
        let (bytes, unpacked) = block.map_err(|flaw| match flaw {
            Flaw::Broken(byte, what) => Flaw::Broken(start + byte, what),
            Flaw::Short(_) => Flaw::Broken(start, "it ends before its time".into()),
            other => other,
        })?;
        at += bytes;
        left -= unpacked;
    }
    Ok(())
}

/// The contract's record of this schema's name.
pub(crate) fn entry_of(schema: &str) -> Result<&'static contract::Entry, Flaw> {
    let name = serde_json::from_str::<serde_json::Value>(schema)
        .ok()
        .and_then(|schema| Some(schema.get("name")?.as_str()?.to_owned()))
        .unwrap_or_default();
    let short = name.rsplit('.').next().unwrap_or_default();
    contract::of_record(short)
        .filter(|entry| Payload::RECORDS.contains(&entry.record))
        .ok_or_else(|| Flaw::Schema(format!("{name:?} is no record that can be sent")))
}

fn reader(schema: &str) -> Result<Reader, Flaw> {
    let entry = entry_of(schema)?;
    Reader::new(entry, schema).map_err(|fault| {
        Flaw::Schema(format!(
            "the schema cannot be read as {}: {fault}",
            entry.record
        ))
    })
}

struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Cursor<'b> {
    fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], Flaw> {
        let end = self.at.saturating_add(length);
        let taken = self.bytes.get(self.at..end).ok_or(Flaw::Short(end))?;
        self.at = end;
        Ok(taken)
    }

    /// A zig-zag number of at most ten bytes.
    fn long(&mut self) -> Result<i64, Flaw> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
            }
        }
        Err(Flaw::Broken(start, "a number does not end".into()))
    }

    fn length(&mut self) -> Result<usize, Flaw> {
        /// Nothing in a file is longer; what says so is damaged.
        const LENGTH_MAX: i64 = 1 << 31;
        let start = self.at;
        match self.long()? {
            length @ 0..=LENGTH_MAX => Ok(length as usize),
            length => Err(Flaw::Broken(start, format!("{length} is no length"))),
        }
    }

    fn header(&mut self) -> Result<BTreeMap<String, &'b [u8]>, Flaw> {
        if self.take(MAGIC.len())? != MAGIC {
            return Err(Flaw::Broken(0, "it does not begin with Obj and 1".into()));
        }
        let mut header = BTreeMap::new();
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Ok(header);
            }
            if count < 0 {
                // a negative count is followed by the bytes of its entries
                count = count.checked_neg().unwrap_or(0);
                self.long()?;
            }
            for _ in 0..count {
                let length = self.length()?;
                let key = String::from_utf8_lossy(self.take(length)?).into_owned();
                let length = self.length()?;
                header.insert(key, self.take(length)?);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use cairn_avro::codec;
    use cairn_avro::record::TrainingTelemetry;

    fn long(value: i64, out: &mut Vec<u8>) {
        let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while rest >= 0x80 {
            out.push((rest as u8) | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    fn text(value: &[u8], out: &mut Vec<u8>) {
        long(value.len() as i64, out);
        out.extend_from_slice(value);
    }

    /// Two blocks of two steps each.
    pub(crate) fn file(codec: &str) -> Vec<u8> {
        let schema = contract::of_record("TrainingTelemetry")
            .expect("it is there")
            .schema;
        let mut out = MAGIC.to_vec();
        long(2, &mut out);
        text(b"avro.schema", &mut out);
        text(schema.as_bytes(), &mut out);
        text(b"avro.codec", &mut out);
        text(codec.as_bytes(), &mut out);
        long(0, &mut out);
        let sync = [7; SYNC_BYTES];
        out.extend(sync);
        for block in 0..2 {
            let mut data = Vec::new();
            for step in [block * 2, block * 2 + 1] {
                let row = TrainingTelemetry {
                    run_id: "r".into(),
                    step,
                    loss: Some(2.5),
                    ..TrainingTelemetry::default()
                };
                codec::encode(&row, &mut data).expect("it fits");
            }
            let data = match codec {
                "zstandard" => zstd::encode_all(&data[..], 1).expect("memory takes it"),
                _ => data,
            };
            long(2, &mut out);
            text(&data, &mut out);
            out.extend(sync);
        }
        out
    }

    fn steps(body: &[u8], most: usize) -> Result<Vec<i64>, Flaw> {
        let mut steps = Vec::new();
        records(body, most, &mut |_, _, payload| {
            steps.extend(payload.step());
            Ok(())
        })?;
        Ok(steps)
    }

    #[test]
    fn blocks_are_read_whatever_their_codec() {
        for codec in ["null", "zstandard"] {
            assert_eq!(steps(&file(codec), 10_000), Ok(vec![0, 1, 2, 3]), "{codec}");
        }
        let unknown = Err(Flaw::Codec("snappy".into()));
        assert_eq!(steps(&file("snappy"), 10_000), unknown);
        assert_eq!(steps(&file("zstandard"), 10), Err(Flaw::TooLarge));
        assert_eq!(steps(&file("null"), 10), Err(Flaw::TooLarge));
    }

    #[test]
    fn a_record_is_the_line_that_says_the_same() {
        let row = Payload::EvalResult(cairn_avro::record::EvalResult {
            run_id: "r".into(),
            harness: "h".into(),
            task: "t".into(),
            metric: "m".into(),
            value: Some(0.5),
            ..Default::default()
        });
        let line = cairn_avro::json::line(&as_line(&row)).expect("it is a line");
        assert_eq!((line.topic, line.payload), ("eval.results", row));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused_and_never_panics() {
        let whole = file("null");
        for end in 0..whole.len() {
            // between two blocks a file is whole
            if let Ok(steps) = steps(&whole[..end], 10_000) {
                assert!(steps.is_empty() || steps == [0, 1], "at {end}");
            }
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            drop(steps(&damaged, 10_000));
        }
    }
}
