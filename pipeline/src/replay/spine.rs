//! One partition of an output topic: the originals in their order, and what was recomputed for each.
//!
//! Originals are read up to the time of what is recomputed and a little ahead; each waits until it is judged, and then is
//! written in its turn, so that the new log has the order of the original. What has no original is written where it came
//! about.

use super::Trouble;
use super::cursor::{Cursor, Source, size};
use super::pairing::{Digest, Pairing, Verdict};
use super::sameness::{digest, identity};
use super::writers::Writer;
use crate::runtime::decode::Decoder;
use cairn_avro::record::DeadLetter;
use cairn_bus::{Outgoing, Record};
use sha2::{Digest as _, Sha256};
use std::collections::VecDeque;

/// A record that was recomputed.
#[derive(Clone, Debug)]
pub(super) struct Recomputed {
    pub(super) out: Outgoing,
    pub(super) is_after: bool,
    pub(super) time_ms: i64,
    /// An answer that its asker may not have lived to write.
    may_be_lost: bool,
}

impl Recomputed {
    pub(super) fn new(out: Outgoing, is_after: bool, time_ms: i64) -> Self {
        Self {
            out,
            is_after,
            time_ms,
            may_be_lost: false,
        }
    }

    pub(super) fn that_may_be_lost(self) -> Self {
        Self {
            may_be_lost: true,
            ..self
        }
    }
}

/// A record that is judged and has had its turn.
pub(super) struct Done {
    /// Of the original.
    pub(super) offset: Option<i64>,
    pub(super) is_after: bool,
    pub(super) wrong: Option<Wrong>,
    /// What is to be written.
    pub(super) out: Option<Outgoing>,
}

/// A difference.
pub(super) struct Wrong {
    pub(super) time_ms: i64,
    pub(super) original: Option<Record>,
    pub(super) ours: Option<Outgoing>,
}

enum Judged {
    Equal { is_after: bool },
    Different(Box<Recomputed>),
    Missing,
}

struct Waiting {
    record: Record,
    identity: Vec<u8>,
    digest: Digest,
    judged: Option<Judged>,
}

#[derive(Default)]
struct Counts {
    records: u64,
    equal: u64,
    different: u64,
    missing: u64,
    extra: u64,
    before: u64,
    compacted: u64,
}

/// One partition.
pub(super) struct Spine {
    cursor: Cursor,
    /// Where it begins; after 0, retention has taken what was before.
    start: i64,
    /// Originals from here on were written while the replay began: a partner is looked for, none is missed.
    judged: i64,
    writer: Writer,
    pairing: Pairing<Recomputed>,
    waiting: VecDeque<Waiting>,
    /// Originals that have had their turn.
    past: u64,
    done: VecDeque<Done>,
    held_bytes: usize,
    has_met: bool,
    has_begun: bool,
    counts: Counts,
    ours: Sha256,
    originals: Sha256,
}

impl Spine {
    pub(super) fn new(
        cursor: Cursor,
        start: i64,
        judged: i64,
        is_compacted: bool,
        writer: Writer,
    ) -> Self {
        Self {
            cursor,
            start,
            judged,
            writer,
            pairing: Pairing::new(is_compacted),
            waiting: VecDeque::new(),
            past: 0,
            done: VecDeque::new(),
            held_bytes: 0,
            has_met: false,
            has_begun: false,
            counts: Counts::default(),
            ours: Sha256::new(),
            originals: Sha256::new(),
        }
    }

    /// Bytes that wait for a partner or their turn.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Recomputed ones whose originals compaction has replaced.
    pub(super) fn compacted(&self) -> u64 {
        self.counts.compacted
    }

    /// Looks for the original of a recomputed record, at most so far ahead of it.
    pub(super) fn offer(
        &mut self,
        ours: Recomputed,
        skew_ms_max: i64,
        source: &mut Source,
        decoder: &mut Decoder,
    ) -> Result<(), Trouble> {
        let out = &ours.out;
        let identity = identity(&out.topic, out.key.as_deref(), out.value.as_deref());
        let digest = digest(
            &out.topic,
            &out.key,
            out.value.as_deref(),
            &out.headers,
            None,
        );
        let until = ours.time_ms.saturating_add(skew_ms_max);
        while !self.pairing.has(&identity, &digest) && self.read_one(until, source, decoder)? {}
        self.held_bytes += ours.out.size_bytes();
        let verdicts = self.pairing.ours(identity, digest, ours);
        self.judge(verdicts)
    }

    /// Reads the originals up to this time.
    pub(super) fn read_until(
        &mut self,
        time_ms: i64,
        source: &mut Source,
        decoder: &mut Decoder,
    ) -> Result<(), Trouble> {
        while self.read_one(time_ms, source, decoder)? {}
        Ok(())
    }

    fn read_one(
        &mut self,
        until_ms: i64,
        source: &mut Source,
        decoder: &mut Decoder,
    ) -> Result<bool, Trouble> {
        let is_due = |record: &Record| record.append_time_ms <= until_ms;
        if !self.cursor.peek(source)?.is_some_and(is_due) {
            return Ok(false);
        }
        let Some(record) = self.cursor.take(source)? else {
            return Ok(false);
        };
        let letter = match &*record.topic {
            "deadletter" => decoder.avro::<DeadLetter>(&record).ok(),
            _ => None,
        };
        if !self.writer.writes(&record, letter.as_ref()) {
            return Ok(true);
        }
        let identity = identity(
            &record.topic,
            record.key.as_deref(),
            record.value.as_deref(),
        );
        let value = record.value.as_deref();
        let digest = digest(&record.topic, &record.key, value, &record.headers, letter);
        let number = self.past + self.waiting.len() as u64;
        self.held_bytes += size(&record);
        self.waiting.push_back(Waiting {
            record,
            identity: identity.clone(),
            digest,
            judged: None,
        });
        let verdicts = self.pairing.original(identity, digest, number);
        self.judge(verdicts)?;
        Ok(true)
    }

    fn judge(&mut self, verdicts: Vec<Verdict<Recomputed>>) -> Result<(), Trouble> {
        for verdict in verdicts {
            let (original, judged) = match verdict {
                Verdict::Equal { original, ours } => {
                    self.held_bytes -= ours.out.size_bytes();
                    let is_after = ours.is_after;
                    (original, Judged::Equal { is_after })
                }
                Verdict::Different { original, ours } => {
                    self.held_bytes -= ours.out.size_bytes();
                    (original, Judged::Different(Box::new(ours)))
                }
                Verdict::Missing { original } => (original, Judged::Missing),
                Verdict::Extra { ours } => {
                    self.held_bytes -= ours.out.size_bytes();
                    self.extra(ours)?;
                    continue;
                }
                Verdict::Compacted { ours } => {
                    self.held_bytes -= ours.out.size_bytes();
                    self.counts.compacted += 1;
                    self.done.push_back(Done {
                        offset: None,
                        is_after: ours.is_after,
                        wrong: None,
                        out: ours.is_after.then_some(ours.out),
                    });
                    continue;
                }
            };
            self.has_met |= !matches!(judged, Judged::Missing);
            let at = usize::try_from(original - self.past).unwrap_or(usize::MAX);
            if let Some(waiting) = self.waiting.get_mut(at) {
                waiting.judged = Some(judged);
            }
        }
        Ok(())
    }

    /// Without an original: lost with its asker, taken by retention, or a difference.
    fn extra(&mut self, ours: Recomputed) -> Result<(), Trouble> {
        if ours.may_be_lost {
            return Ok(());
        }
        if self.start > 0 && !self.has_met {
            if ours.is_after {
                return Err(Trouble::refused(
                    format!(
                        "{} begins at offset {}: retention has removed outputs that --from asks for",
                        self.cursor.place, self.start
                    ),
                    "--from",
                    "name later offsets",
                ));
            }
            return Ok(());
        }
        self.counts.extra += 1;
        let out = &ours.out;
        self.ours.update(digest(
            &out.topic,
            &out.key,
            out.value.as_deref(),
            &out.headers,
            None,
        ));
        self.done.push_back(Done {
            offset: None,
            is_after: ours.is_after,
            wrong: Some(Wrong {
                time_ms: ours.time_ms,
                original: None,
                ours: Some(ours.out.clone()),
            }),
            out: ours.is_after.then_some(ours.out),
        });
        Ok(())
    }

    /// What is judged and has had its turn since the last call.
    pub(super) fn take_done(&mut self) -> VecDeque<Done> {
        while let Some(Waiting {
            record,
            digest,
            judged: Some(judged),
            ..
        }) = self
            .waiting
            .pop_front_if(|waiting| waiting.judged.is_some())
        {
            self.past += 1;
            self.held_bytes -= size(&record);
            self.turn(record, digest, judged);
        }
        std::mem::take(&mut self.done)
    }

    fn turn(&mut self, record: Record, original: Digest, judged: Judged) {
        let offset = Some(record.offset);
        let time_ms = record.append_time_ms;
        let (is_after, ours, wrong, out) = match judged {
            Judged::Equal { is_after } => {
                if is_after {
                    self.counts.equal += 1;
                } else {
                    self.counts.before += 1;
                }
                let out = is_after.then(|| written(record));
                (is_after, is_after.then_some(original), None, out)
            }
            Judged::Different(ours) => {
                self.counts.different += 1;
                let out = &ours.out;
                let other = digest(
                    &out.topic,
                    &out.key,
                    out.value.as_deref(),
                    &out.headers,
                    None,
                );
                let wrong = Wrong {
                    time_ms,
                    original: Some(record),
                    ours: Some(ours.out.clone()),
                };
                let out = ours.is_after.then_some(ours.out);
                (ours.is_after, Some(other), Some(wrong), out)
            }
            Judged::Missing => {
                if record.offset >= self.judged {
                    return;
                }
                self.counts.missing += 1;
                let wrong = Wrong {
                    time_ms,
                    original: Some(record),
                    ours: None,
                };
                (self.has_begun, None, Some(wrong), None)
            }
        };
        self.has_begun |= is_after;
        self.counts.records += u64::from(is_after);
        if is_after || wrong.is_some() {
            self.originals.update(original);
            if let Some(ours) = ours {
                self.ours.update(ours);
            }
        }
        self.done.push_back(Done {
            offset,
            is_after,
            wrong,
            out,
        });
    }

    /// Judges whoever waits longest as it is; false where nobody waits.
    pub(super) fn shed(&mut self) -> Result<bool, Trouble> {
        let first = self.waiting.iter().find(|waiting| waiting.judged.is_none());
        let identity = first.map(|waiting| waiting.identity.clone());
        let Some(identity) = identity.or_else(|| self.pairing.any()) else {
            return Ok(false);
        };
        let verdicts = self.pairing.give_up(&identity);
        self.judge(verdicts)?;
        Ok(true)
    }

    /// Reads to the end and judges what is left.
    pub(super) fn finish(
        &mut self,
        source: &mut Source,
        decoder: &mut Decoder,
    ) -> Result<(), Trouble> {
        self.read_until(i64::MAX, source, decoder)?;
        while let Some(identity) = self.pairing.any() {
            let verdicts = self.pairing.give_up(&identity);
            self.judge(verdicts)?;
        }
        Ok(())
    }

    /// Adds its counts; answers with the hashes of what was recomputed and of the originals.
    pub(super) fn add_to(self, report: &mut super::TopicReport) -> ([u8; 32], [u8; 32]) {
        report.records += self.counts.records;
        report.equal += self.counts.equal;
        report.different += self.counts.different;
        report.missing += self.counts.missing;
        report.extra += self.counts.extra;
        report.before += self.counts.before;
        report.compacted += self.counts.compacted;
        (
            self.ours.finalize().into(),
            self.originals.finalize().into(),
        )
    }
}

/// The original as it is written again: what is equal is equal to the byte, a dead letter but for its seal, which is kept.
fn written(record: Record) -> Outgoing {
    Outgoing {
        topic: record.topic,
        partition: record.partition,
        key: record.key,
        value: record.value,
        headers: record.headers,
    }
}
