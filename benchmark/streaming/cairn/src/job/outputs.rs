//! What a batch puts out, packed: keys and values one behind the other in one buffer that keeps its capacity.

use super::row::{Bad, Row};
use super::sums::Sums;

/// Where an output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Window,
    Late,
    Dead,
}

/// What every value begins with: 0 and the schema's id.
#[derive(Clone, Copy, Debug)]
pub struct Frames {
    pub telemetry: [u8; 5],
    pub window: [u8; 5],
    pub dead_letter: [u8; 5],
    pub late: [u8; 5],
}

/// The frame of a schema id.
pub fn frame(id: u32) -> [u8; 5] {
    let [a, b, c, d] = id.to_be_bytes();
    [0, a, b, c, d]
}

#[derive(Clone, Copy)]
struct Head {
    kind: Kind,
    partition: i32,
    /// None where the input had no key.
    key_length: Option<usize>,
    value_length: usize,
}

/// One output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Output<'a> {
    pub kind: Kind,
    /// That of the input.
    pub partition: i32,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
}

/// Outputs in order.
#[derive(Default)]
pub struct Outputs {
    heads: Vec<Head>,
    bytes: Vec<u8>,
}

impl Outputs {
    pub fn iter(&self) -> impl Iterator<Item = Output<'_>> {
        let mut rest = self.bytes.as_slice();
        self.heads.iter().map(move |head| {
            let (key, behind) = rest.split_at(head.key_length.unwrap_or(0));
            let (value, behind) = behind.split_at(head.value_length);
            rest = behind;
            Output {
                kind: head.kind,
                partition: head.partition,
                key: head.key_length.map(|_| key),
                value,
            }
        })
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Empties it; the memory stays.
    pub fn clear(&mut self) {
        self.heads.clear();
        self.bytes.clear();
    }

    pub fn window(
        &mut self,
        frames: &Frames,
        partition: i32,
        run_id: &[u8],
        metric: &[u8],
        start_ms: i64,
        sums: &Sums,
    ) {
        self.put(
            Kind::Window,
            partition,
            Some(run_id),
            &frames.window,
            |out| {
                bytes(run_id, out);
                bytes(metric, out);
                long(start_ms, out);
                long(sums.count, out);
                double(sums.loss_min, out);
                double(sums.loss_max, out);
                double(sums.loss_mean(), out);
                long(sums.last_step, out);
                match sums.slope() {
                    None => long(0, out),
                    Some(slope) => {
                        long(1, out);
                        double(slope, out);
                    }
                }
            },
        );
    }

    pub fn late(&mut self, frames: &Frames, place: Place, row: &Row<'_>, metric: &[u8]) {
        self.put(
            Kind::Late,
            place.partition,
            Some(row.run_id),
            &frames.late,
            |out| {
                long(place.partition.into(), out);
                long(place.offset, out);
                bytes(row.run_id, out);
                bytes(metric, out);
                long(row.step, out);
                long(row.event_ms, out);
            },
        );
    }

    pub fn dead_letter(
        &mut self,
        frames: &Frames,
        place: Place,
        bad: Bad,
        key: Option<&[u8]>,
        value: &[u8],
    ) {
        self.put(
            Kind::Dead,
            place.partition,
            key,
            &frames.dead_letter,
            |out| {
                long(place.partition.into(), out);
                long(place.offset, out);
                bytes(bad.name().as_bytes(), out);
                bytes(value, out);
            },
        );
    }

    fn put(
        &mut self,
        kind: Kind,
        partition: i32,
        key: Option<&[u8]>,
        frame: &[u8; 5],
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        self.bytes.extend_from_slice(key.unwrap_or_default());
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(frame);
        write(&mut self.bytes);
        let value_length = self.bytes.len() - begin;
        self.heads.push(Head {
            kind,
            partition,
            key_length: key.map(<[u8]>::len),
            value_length,
        });
    }
}

/// Where a row lies in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub partition: i32,
    pub offset: i64,
}

/// Avro's zig-zag varint.
#[inline]
pub fn long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Avro's bytes or string.
#[inline]
pub fn bytes(value: &[u8], out: &mut Vec<u8>) {
    long(value.len() as i64, out);
    out.extend_from_slice(value);
}

#[inline]
pub fn double(value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}
