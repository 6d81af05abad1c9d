//! TensorBoard's event files (`events.out.tfevents.…`): the scalars in them.
//!
//! Published formats: `tensorflow/core/util/event.proto`, `framework/summary.proto` and `framework/tensor.proto` of
//! github.com/tensorflow/tensorflow, in records as `tensorflow.org/tutorials/load_data/tfrecord` describes: length (8 bytes,
//! little-endian), its check, the data, their check. A check is CRC-32C (RFC 3720) turned right by 15 bits plus 0xa282ead8.
//! The first event names the version, `brain.Event:2`. Protocol buffers are read field by field
//! (protobuf.dev/programming-guides/encoding); what is not known is passed over.
//!
//! A scalar is a `simple_value`, or a tensor of one number whose plugin is `scalars` or not named. Writers make an event for
//! each tag, so the tags of a step are put together into one row, out of the last 1,000 steps; a row goes out when the
//! steps behind it have filled that. Tags are told by the table of synonyms; those whose x-axis is no step (`… vs
//! samples`) are left out. A tag whose step goes back was written by a restart. Below folders `train` and
//! `validation`, as Keras makes them, a loss is what the folder says, and the run is the folder above; otherwise it is the
//! folder of the file. Keras counts epochs, and once more iterations (`evaluation_loss_vs_iterations`): those repeat the
//! numbers of the epochs on another axis, and are left out.
//!
//! A record whose data fail their check is a reject, and the next one is read. A length that fails its check hides
//! where the next one begins: one reject, and nothing behind it. A last record without its end, as a killed writer leaves
//! it, is a reject of class `truncated`; what came before it counts.

use super::names::{put, rows, told};
use super::text::Number;
use super::{Confidence, Format, Frame, Framing, Out, Parser, Position, Refusal, Setup};
use cairn_avro::record::{Payload, TrainingTelemetry};
use proto::{Field, Fields};
use std::collections::BTreeMap;
use std::path::{Component, Path};

mod proto;
#[cfg(test)]
pub(super) mod tests;

/// Steps whose tags may still be coming: writers that log tag by tag do so within an interval of logging or evaluation.
const STEPS_HELD: usize = 1_000;
/// Length and its check before the data, a check behind them.
const HEAD: usize = 12;
const TAIL: usize = 4;
/// No event is longer; a length beyond it was not written by a program.
const DATA_BYTES_MAX: u64 = 1 << 40;
/// Bytes of a row's first record that are kept for a reject.
const ORIGINAL_BYTES_MAX: usize = 4096;

/// The format.
pub(super) struct TensorBoard;

impl Format for TensorBoard {
    fn name(&self) -> &'static str {
        "tensorboard"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["tfevents", "tb"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        let Frame::Record(length) = frame(head) else {
            return Confidence::No;
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(data) = head.get(HEAD..length.saturating_sub(TAIL)) else {
            return Confidence::Perhaps("it begins with a record of TensorFlow that is cut off");
        };
        let versioned = Fields::new(data).any(
            |field| matches!(field, Ok((3, Field::Bytes(text))) if text.starts_with(b"brain.Event:")),
        );
        if versioned {
            Confidence::Sure
        } else {
            Confidence::Perhaps(
                "its records are TensorFlow's, but the first one is no event's version",
            )
        }
    }

    fn run_of(&self, path: &str) -> Option<String> {
        folders(path).map(|(run, _)| run)
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Ok(Box::new(Events {
            attempt: setup.attempt,
            setup: setup.clone(),
            prefix: folders(&setup.source).map_or("", |(_, prefix)| prefix),
            held: BTreeMap::new(),
            last: BTreeMap::new(),
        }))
    }
}

/// The run of an event file, and what its folder says of its tags.
fn folders(path: &str) -> Option<(String, &'static str)> {
    let mut names = Path::new(path)
        .components()
        .rev()
        .filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        });
    if !names.next()?.contains("tfevents") {
        return None;
    }
    let folder = names.next()?;
    let prefix = match folder {
        "train" => "train/",
        "validation" | "val" | "eval" => "validation/",
        "test" => "test/",
        _ => return Some((folder.to_owned(), "")),
    };
    match names.next() {
        Some(above) => Some((above.to_owned(), prefix)),
        None => Some((folder.to_owned(), prefix)),
    }
}

/// Where the record at the front ends.
fn frame(bytes: &[u8]) -> Frame {
    let Some((head, _)) = bytes.split_first_chunk::<HEAD>() else {
        return Frame::Short(HEAD);
    };
    let (length, check) = (little(&head[..8]), little(&head[8..]));
    if u64::from(masked_crc32c(&head[..8])) != check || length > DATA_BYTES_MAX {
        return Frame::Lost(
            "damaged",
            "the length of a record fails its check; the file is damaged here, and what follows cannot be found: copy it again"
                .into(),
        );
    }
    Frame::Record(length + (HEAD + TAIL) as u64)
}

/// A little-endian number of up to eight bytes.
fn little(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// CRC-32C, polynomial 0x1edc6f41 reflected, a byte at a time.
const CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut value, mut bit) = (byte as u32, 0);
        while bit < 8 {
            value = if value & 1 == 1 {
                (value >> 1) ^ 0x82f6_3b78
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

fn masked_crc32c(bytes: &[u8]) -> u32 {
    let crc = !bytes.iter().fold(!0u32, |crc, byte| {
        (crc >> 8) ^ CRC32C[usize::from(crc as u8 ^ byte)]
    });
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A row that is put together.
struct Row {
    telemetry: TrainingTelemetry,
    position: Position,
    original: Vec<u8>,
}

struct Events {
    setup: Setup,
    attempt: i32,
    /// What stands before each tag by the folder.
    prefix: &'static str,
    /// Rows that are put together, by step.
    held: BTreeMap<i64, Row>,
    /// The last step of each tag.
    last: BTreeMap<String, i64>,
}

/// What an event says.
#[derive(Debug, Default, PartialEq)]
struct Event {
    wall_time: f64,
    step: i64,
    scalars: Vec<(String, f64)>,
}

impl Event {
    fn read(data: &[u8]) -> Result<Self, proto::Malformed> {
        let mut event = Self::default();
        for field in Fields::new(data) {
            match field? {
                (1, Field::Fixed64(bits)) => event.wall_time = f64::from_bits(bits),
                (2, Field::Varint(step)) => event.step = step.cast_signed(),
                (5, Field::Bytes(summary)) => {
                    for field in Fields::new(summary) {
                        if let (1, Field::Bytes(value)) = field? {
                            event.scalars.extend(proto::scalar(value)?);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(event)
    }
}

impl Parser for Events {
    fn framing(&self) -> Framing {
        Framing::Records(frame)
    }

    fn passes_over_oversized(&self) -> bool {
        true
    }

    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        let mut reject = |class, text: &str| {
            out.reject(class, text.into(), "telemetry.training", position, unit);
            Ok(())
        };
        if unit.len() < HEAD + TAIL {
            return reject("damaged", "the record is shorter than its frame");
        }
        let (data, check) = unit[HEAD..].split_at(unit.len() - HEAD - TAIL);
        if u64::from(masked_crc32c(data)) != little(check) {
            return reject(
                "damaged",
                "the data of a record fail their check; copy the file again",
            );
        }
        let event = match Event::read(data) {
            Ok(event) => event,
            Err(proto::Malformed(what)) => {
                return reject("bad_row", &format!("the record is no event: {what}"));
            }
        };
        if event.step < 0 && !event.scalars.is_empty() {
            return reject(
                "out_of_range",
                &format!("step is {}; it is 0 or more", event.step),
            );
        }
        let mut found = false;
        for (tag, value) in &event.scalars {
            if is_of_steps(tag) {
                found |= self.scalar(tag, *value, &event, (unit, position), out);
            }
        }
        if !found {
            out.ignored += 1;
        }
        Ok(())
    }

    fn end(&mut self, _position: Position, out: &mut Out) -> Result<(), Refusal> {
        self.give_out(0, out);
        Ok(())
    }

    /// A row that gets more tags after the end makes another row of its step.
    fn passed_end(&mut self) {
        self.held.clear();
    }

    fn broken(&mut self, position: Position, out: &mut Out) -> Result<(), Refusal> {
        self.end(position, out)
    }
}

/// False where the x-axis of a tag is no step: Megatron-LM and Megatron-DeepSpeed write each curve over samples and tokens,
/// too, with those in the place of the step; Keras writes evaluations over iterations where all else is over epochs.
fn is_of_steps(tag: &str) -> bool {
    !(tag.contains(" vs ")
        || tag.contains("-vs-")
        || tag.starts_with("y=")
        || tag.ends_with("_vs_iterations"))
}

impl Events {
    /// Notes a scalar; false where it says nothing new.
    fn scalar(
        &mut self,
        tag: &str,
        value: f64,
        event: &Event,
        (unit, position): (&[u8], Position),
        out: &mut Out,
    ) -> bool {
        match self.last.get_mut(tag) {
            Some(last) if *last == event.step => return false,
            Some(last) if *last > event.step => {
                self.give_out(0, out);
                self.attempt += 1;
                self.last.clear();
                self.last.insert(tag.to_owned(), event.step);
            }
            Some(last) => *last = event.step,
            None => drop(self.last.insert(tag.to_owned(), event.step)),
        }
        if !self.held.contains_key(&event.step) {
            self.give_out(STEPS_HELD - 1, out);
        }
        let row = self.held.entry(event.step).or_insert_with(|| Row {
            telemetry: TrainingTelemetry {
                run_id: self.setup.run_id.clone(),
                attempt: self.attempt,
                step: event.step,
                event_time_ms: (event.wall_time > 0.0 && event.wall_time < 1e11)
                    .then_some((event.wall_time * 1e3) as i64),
                batch_tokens: self.setup.batch_tokens,
                ..TrainingTelemetry::default()
            },
            position,
            original: unit[..unit.len().min(ORIGINAL_BYTES_MAX)].to_vec(),
        });
        let named = format!("{}{tag}", self.prefix);
        // of training a tag that is known by itself needs no folder: `epoch_loss` below `train`
        let name = match self.prefix {
            "train/" if told(&named).is_none() && told(tag).is_some() => tag,
            _ => &named,
        };
        put(&mut row.telemetry, name, Number::of(value))
    }

    /// Gives out the lowest steps until so many are left.
    fn give_out(&mut self, left: usize, out: &mut Out) {
        while self.held.len() > left {
            let Some((step, mut row)) = self.held.pop_first() else {
                return;
            };
            let empty = TrainingTelemetry {
                run_id: row.telemetry.run_id.clone(),
                attempt: row.telemetry.attempt,
                step,
                event_time_ms: row.telemetry.event_time_ms,
                batch_tokens: self.setup.batch_tokens,
                ..TrainingTelemetry::default()
            };
            if row.telemetry == empty {
                continue;
            }
            row.telemetry.tokens = row.telemetry.tokens.or(self
                .setup
                .batch_tokens
                .and_then(|batch| batch.checked_mul(step)));
            for part in rows(row.telemetry, out.rules.metrics_max) {
                out.event(
                    Payload::TrainingTelemetry(part),
                    row.position,
                    &row.original,
                );
            }
        }
    }
}
