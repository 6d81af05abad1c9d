//! How records lie in the file: batches, lz4-compressed, because a row for each record costs more than the record.
//!
//! A batch knows neither its first offset nor its time: both are columns, so that it is encoded and compressed *before* the
//! write lock is taken. Inside, a record is: offset delta, time delta, key, value, headers; lengths are LEB128, and a length
//! of 0 means absent (so lengths are stored plus one). Not for other programs: read it with `cairn tail`.

use crate::log::{Headers, Record, TopicPartition};

/// Reasons for which a batch cannot be read; the file is damaged or was written by another program.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a damaged batch: {0}")]
pub(crate) struct Damaged(&'static str);

/// A record in a batch, without its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    pub(crate) offset: i64,
    pub(crate) append_time_ms: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Headers,
}

impl Packed {
    pub(crate) fn into_record(self, part: &TopicPartition) -> Record {
        Record {
            topic: part.topic.clone(),
            partition: part.partition,
            offset: self.offset,
            append_time_ms: self.append_time_ms,
            key: self.key,
            value: self.value,
            headers: self.headers,
        }
    }
}

/// Collects records of one partition; `offset` and `append_time_ms` are relative until it is stored.
#[derive(Default)]
pub(crate) struct Builder {
    plain: Vec<u8>,
    records: i64,
}

impl Builder {
    pub(crate) fn len_bytes(&self) -> usize {
        self.plain.len()
    }

    pub(crate) fn records(&self) -> i64 {
        self.records
    }

    /// Adds a record at a distance from the batch's first offset and time.
    pub(crate) fn push(
        &mut self,
        offset_delta: i64,
        time_delta_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(String, Vec<u8>)],
    ) {
        let out = &mut self.plain;
        number(offset_delta as u64, out);
        number(time_delta_ms as u64, out);
        optional(key, out);
        optional(value, out);
        number(headers.len() as u64, out);
        for (name, value) in headers {
            number(name.len() as u64, out);
            out.extend_from_slice(name.as_bytes());
            number(value.len() as u64, out);
            out.extend_from_slice(value);
        }
        self.records += 1;
    }

    pub(crate) fn compress(&self) -> Vec<u8> {
        lz4_flex::block::compress_prepend_size(&self.plain)
    }
}

/// The records of a stored batch.
pub(crate) fn unpack(
    first_offset: i64,
    first_time_ms: i64,
    data: &[u8],
) -> Result<Vec<Packed>, Damaged> {
    let plain = lz4_flex::block::decompress_size_prepended(data).map_err(|_| Damaged("not lz4"))?;
    let mut rest = plain.as_slice();
    let mut records = Vec::new();
    while !rest.is_empty() {
        let offset = first_offset + take_number(&mut rest)? as i64;
        let append_time_ms = first_time_ms + take_number(&mut rest)? as i64;
        let key = take_optional(&mut rest)?;
        let value = take_optional(&mut rest)?;
        let count = take_number(&mut rest)?;
        let mut headers = Headers::new();
        for _ in 0..count {
            let length = take_number(&mut rest)?;
            let name = String::from_utf8(take(&mut rest, length)?.to_vec())
                .map_err(|_| Damaged("a header's name"))?;
            let length = take_number(&mut rest)?;
            headers.push((name, take(&mut rest, length)?.to_vec()));
        }
        records.push(Packed {
            offset,
            append_time_ms,
            key,
            value,
            headers,
        });
    }
    Ok(records)
}

fn number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn optional(part: Option<&[u8]>, out: &mut Vec<u8>) {
    match part {
        None => number(0, out),
        Some(bytes) => {
            number(bytes.len() as u64 + 1, out);
            out.extend_from_slice(bytes);
        }
    }
}

fn take_number(rest: &mut &[u8]) -> Result<u64, Damaged> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first().ok_or(Damaged("it ends early"))?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Damaged("a number that is too long"))
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], Damaged> {
    let length = usize::try_from(length).map_err(|_| Damaged("a length"))?;
    let (head, tail) = rest
        .split_at_checked(length)
        .ok_or(Damaged("it ends early"))?;
    *rest = tail;
    Ok(head)
}

fn take_optional(rest: &mut &[u8]) -> Result<Option<Vec<u8>>, Damaged> {
    match take_number(rest)? {
        0 => Ok(None),
        length => Ok(Some(take(rest, length - 1)?.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let mut builder = Builder::default();
        builder.push(0, 0, Some(b"k"), None, &[]);
        builder.push(
            3,
            70_000,
            None,
            Some(b""),
            &[("h".into(), vec![1, 2]), ("h".into(), vec![])],
        );
        let records = unpack(10, 1_000, &builder.compress()).unwrap();
        assert_eq!(records[0].key.as_deref(), Some(&b"k"[..]));
        assert_eq!(
            (
                records[0].offset,
                records[0].append_time_ms,
                &records[0].value
            ),
            (10, 1_000, &None)
        );
        assert_eq!((records[1].offset, records[1].append_time_ms), (13, 71_000));
        assert_eq!(records[1].value.as_deref(), Some(&b""[..]));
        assert_eq!(
            records[1].headers,
            vec![("h".to_string(), vec![1, 2]), ("h".to_string(), vec![])]
        );
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let mut builder = Builder::default();
        builder.push(
            0,
            0,
            Some(b"key"),
            Some(b"value"),
            &[("name".into(), vec![7; 40])],
        );
        let plain = builder.plain.clone();
        for cut in 1..plain.len() {
            let data = lz4_flex::block::compress_prepend_size(&plain[..cut]);
            assert!(unpack(0, 0, &data).is_err(), "cut at {cut}");
        }
        assert!(unpack(0, 0, b"nonsense").is_err());
    }
}
