//! The contract's records in Avro object container files, see `crate::avro_file`.
//!
//! A unit is the file's header or a block; a block that cannot be read is a reject, and so is a bad record in it (as a line of
//! the contract's JSON). A block of more than 900,000 bytes is no record's: write smaller ones (Avro's libraries write 16,000
//! to 64,000 bytes unless told otherwise).

use super::{Confidence, Format, Frame, Framing, Out, Parser, Position, Refusal, Setup};
use crate::avro_file::{self, Flaw, Header, MAGIC};
use cairn_avro::json;

/// Bytes that a block may have when it is unpacked.
const BLOCK_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The format.
pub(super) struct Avro;

impl Format for Avro {
    fn name(&self) -> &'static str {
        "avro"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["contract_avro", "ocf"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        if !head.starts_with(MAGIC) {
            return Confidence::No;
        }
        match avro_file::header(head) {
            Ok(_) => Confidence::Sure,
            Err(Flaw::Short(_)) => Confidence::Perhaps("its header is not whole"),
            Err(Flaw::Schema(_)) => {
                Confidence::Perhaps("its records are none of the contract's, see avro/schemas")
            }
            Err(Flaw::Codec(_)) => {
                Confidence::Perhaps("its codec is none of null, deflate, zstandard")
            }
            Err(_) => Confidence::Perhaps("its header is damaged"),
        }
    }

    fn replayed_as(&self) -> &'static str {
        "jsonl"
    }

    fn names_its_runs(&self) -> bool {
        true
    }

    fn takes_run_id(
        &self,
        _head: &[u8],
        run_id: &str,
        _mapping: Option<&super::mapped::Mapping>,
    ) -> Result<(), Refusal> {
        Err(Refusal(format!(
            "its records name their runs, --run-id {run_id} would be dropped; leave it out"
        )))
    }

    fn parser(&self, _setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Ok(Box::new(Blocks { header: None }))
    }
}

/// Where a header or a block ends. A block cannot begin as a header does: its count would be negative.
fn frame(bytes: &[u8]) -> Frame {
    let framed = if bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
        if bytes.len() < MAGIC.len() {
            return Frame::Short(MAGIC.len());
        }
        avro_file::header_bytes(bytes).map(|length| length as u64)
    } else {
        avro_file::block_bytes(bytes)
    };
    match framed {
        Ok(length) => Frame::Record(length),
        Err(Flaw::Short(wanted)) => Frame::Short(wanted),
        Err(Flaw::Broken(_, what)) => {
            Frame::Lost("damaged", format!("no block begins here: {what}"))
        }
        Err(_) => Frame::Lost("damaged", "no block begins here".into()),
    }
}

struct Blocks {
    header: Option<Header>,
}

impl Parser for Blocks {
    fn framing(&self) -> Framing {
        Framing::Records(frame)
    }

    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        let Some(header) = &self.header else {
            let header = match avro_file::header(unit) {
                Ok((header, _)) => header,
                Err(Flaw::Schema(what)) => {
                    return Err(Refusal(format!(
                        "{what}; the records that can be read are {}",
                        avro_file::sendable()
                    )));
                }
                Err(Flaw::Codec(codec)) => {
                    return Err(Refusal(format!(
                        "its codec {codec} is not known; write it with null, deflate or zstandard"
                    )));
                }
                Err(flaw) => {
                    let text = format!("the header cannot be read ({flaw:?}); copy the file again");
                    out.reject("damaged", text, json::DEFAULT_TOPIC, position, unit);
                    return Ok(());
                }
            };
            self.header = Some(header);
            out.ignored += 1;
            return Ok(());
        };
        let read = header.block(unit, BLOCK_BYTES_MAX, &mut |payload| {
            let kept = payload.clone();
            let before = out.rejects.len();
            out.event(payload, position, &[]);
            if let Some(reject) = out.rejects.get_mut(before) {
                reject.original = avro_file::as_line(&kept);
            }
            Ok::<(), Flaw>(())
        });
        if let Err(flaw) = read {
            let text = match flaw {
                Flaw::Broken(_, what) => what,
                Flaw::TooLarge => format!("it has more than {BLOCK_BYTES_MAX} bytes unpacked"),
                other => format!("{other:?}"),
            };
            let text = format!("the rest of the block cannot be read: {text}; copy the file again");
            out.reject("damaged", text, json::DEFAULT_TOPIC, position, unit);
        }
        Ok(())
    }
}
