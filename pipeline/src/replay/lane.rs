//! One task once more: its cuts in their order, its inputs at them, what comes out.
//!
//! A batch is the cuts of one number. A restart after which the task asked again or gave an ask up, and the end of a drain,
//! are cuts without inputs; each begins a batch. All tasks take turns by the append time of their next cut, so that what comes out comes
//! about in the order in which it was written.

use super::cursor::{Cursor, Source};
use super::start::Boundaries;
use super::{Trouble, shown};
use crate::runtime::decode::{Decoder, Undecodable};
use crate::runtime::member::origin;
use crate::runtime::task::{Kind, Task};
use crate::runtime::timepiece::Timepiece;
use cairn_avro::record::{Cut, CutCause};
use cairn_bus::{Fault, Record, TopicPartition, TopicState};
use cairn_operators::operator::{Ask, Emit, Output};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A schema that the registry does not have is waited for this long, by a clock that goes on at once; the pipeline waited, too.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Records that no core was given, because they had made one panic.
pub(super) type PassedOver = BTreeSet<(TopicPartition, i64)>;

/// All tasks, the one with the oldest cut first.
pub(super) struct Lanes {
    waiting: BTreeMap<(i64, usize, i32), Lane>,
    ends: BTreeMap<TopicPartition, (i64, i64)>,
}

impl Lanes {
    /// The tasks of these kinds. `is_contiguous`: offsets without a record are records that compaction took.
    pub(super) fn open(
        kinds: &[Arc<Kind>],
        topics: &BTreeMap<String, TopicState>,
        source: &mut Source,
        decoder: &mut Decoder,
        is_contiguous: bool,
    ) -> Result<Self, Trouble> {
        let mut lanes = Self {
            waiting: BTreeMap::new(),
            ends: BTreeMap::new(),
        };
        for (order, kind) in kinds.iter().enumerate() {
            let cuts = format!("cuts.{}", kind.family);
            let mut names: Vec<&str> = kind.inputs.iter().map(String::as_str).collect();
            names.push(&cuts);
            let ends = source.ends(&names)?;
            if let Some((place, (start, _))) = ends.iter().find(|(_, (start, _))| *start > 0) {
                return Err(gone(kind, place, *start));
            }
            let partitions = topics
                .get(&kind.inputs[0])
                .map_or(0, |state| state.partitions);
            for partition in 0..partitions {
                let cursor = |topic: &str| {
                    let place = TopicPartition::new(topic, partition);
                    let (start, end) = ends.get(&place).copied().unwrap_or_default();
                    Cursor::new(place, start, end)
                };
                let mut lane = Lane {
                    kind: kind.clone(),
                    partition,
                    order,
                    is_contiguous,
                    cuts: cursor(&cuts),
                    inputs: kind
                        .inputs
                        .iter()
                        .map(|topic| (topic.clone(), (cursor(topic), 0)))
                        .collect(),
                    task: kind.open(),
                    emit: Emit::default(),
                    next: None,
                    is_after: false,
                };
                lane.look(source, decoder)?;
                lanes.put_back(lane);
            }
            lanes.ends.extend(ends);
        }
        Ok(lanes)
    }

    /// Start and end of every input.
    pub(super) fn ends(&self) -> BTreeMap<TopicPartition, (i64, i64)> {
        self.ends.clone()
    }

    /// The task whose next cut is the oldest.
    pub(super) fn next(&mut self) -> Option<Lane> {
        self.waiting.pop_first().map(|(_, lane)| lane)
    }

    /// Has a task wait for its turn; one without further cuts is done.
    pub(super) fn put_back(&mut self, lane: Lane) {
        if let Some((_, time_ms)) = &lane.next {
            let turn = (*time_ms, lane.order, lane.partition);
            self.waiting.insert(turn, lane);
        }
    }
}

/// One task.
pub(super) struct Lane {
    pub(super) kind: Arc<Kind>,
    pub(super) partition: i32,
    order: usize,
    is_contiguous: bool,
    cuts: Cursor,
    /// With the offset that follows the last record.
    inputs: BTreeMap<String, (Cursor, i64)>,
    task: Box<dyn Task>,
    emit: Emit,
    /// The next cut, and when it was written.
    next: Option<(Cut, i64)>,
    /// True once an input counted.
    is_after: bool,
}

/// What a batch caused.
pub(super) struct Batch {
    /// Outputs with their traces, asks left out.
    pub(super) outputs: Vec<(Output, Option<String>)>,
    pub(super) asks: Vec<Ask>,
    pub(super) is_after: bool,
    /// When its first cut was written.
    pub(super) time_ms: i64,
}

impl Lane {
    /// Finds the next cut of this kind.
    fn look(&mut self, source: &mut Source, decoder: &mut Decoder) -> Result<(), Trouble> {
        while let Some(record) = self.cuts.take(source)? {
            let cut = cut_of(&record, decoder)?;
            if cut.operator == self.kind.name {
                self.next = Some((cut, record.append_time_ms));
                return Ok(());
            }
        }
        self.next = None;
        Ok(())
    }

    /// The next batch.
    pub(super) fn batch(
        &mut self,
        source: &mut Source,
        decoder: &mut Decoder,
        boundaries: &Boundaries,
        passed_over: &PassedOver,
    ) -> Result<Batch, Trouble> {
        self.is_after |= boundaries.is_all();
        let mut number = None;
        let mut time_ms = 0;
        while let Some((cut, written_ms)) = self.next.take_if(|(cut, _)| {
            number.is_none() || (number == Some(cut.batch) && cut.cause == CutCause::Records)
        }) {
            if number.is_none() {
                (number, time_ms) = (Some(cut.batch), written_ms);
            }
            match cut.cause {
                CutCause::Records => {
                    self.records(&cut, source, decoder, boundaries, passed_over)?;
                }
                CutCause::Resumed => self.task.resume(&mut self.emit),
                CutCause::Drained => self.task.drain(&mut self.emit),
            }
            self.look(source, decoder)?;
        }
        self.task.flush(&mut self.emit);
        let (mut outputs, mut asks) = (Vec::new(), Vec::new());
        for emitted in self.emit.take() {
            match emitted.output {
                Output::Ask(ask) => asks.push(ask),
                output => outputs.push((output, emitted.traceparent)),
            }
        }
        if let Some(state) = self.task.state() {
            state.merge();
        }
        Ok(Batch {
            outputs,
            asks,
            is_after: self.is_after,
            time_ms,
        })
    }

    /// Applies what lies between the last cut and this one, in the order of (topic, offset).
    fn records(
        &mut self,
        cut: &Cut,
        source: &mut Source,
        decoder: &mut Decoder,
        boundaries: &Boundaries,
        passed_over: &PassedOver,
    ) -> Result<(), Trouble> {
        let until: BTreeMap<&str, i64> = cut
            .inputs
            .iter()
            .map(|input| (input.topic.as_str(), input.offset))
            .collect();
        for (topic, until) in until {
            let Some((mut cursor, mut next)) = self.inputs.remove(topic) else {
                return Err(Trouble::refused(
                    format!(
                        "a cut of {} names {topic}, which it does not read",
                        self.kind.name
                    ),
                    format!("cuts.{}", self.kind.family),
                    "replay with the binary that wrote it",
                ));
            };
            if until > cursor.end() {
                return Err(Trouble::refused(
                    format!(
                        "{} ends at {}, and was read to {until}",
                        cursor.place,
                        cursor.end()
                    ),
                    "log",
                    "the log has lost records that were committed: restore it from a copy",
                ));
            }
            while cursor
                .peek(source)?
                .is_some_and(|record| record.offset < until)
            {
                let Some(record) = cursor.take(source)? else {
                    break;
                };
                if self.is_contiguous && record.offset > next {
                    return Err(compacted(
                        &self.kind,
                        &cursor.place,
                        (record.offset - next).unsigned_abs(),
                    ));
                }
                next = record.offset + 1;
                self.is_after = self.is_after || boundaries.counts(&record, decoder);
                if !passed_over.contains(&(record.place(), record.offset)) {
                    self.apply(&record, decoder)?;
                }
            }
            if self.is_contiguous && until > next {
                let gone = (until - next).unsigned_abs();
                return Err(compacted(&self.kind, &cursor.place, gone));
            }
            self.inputs.insert(topic.to_owned(), (cursor, next));
        }
        Ok(())
    }

    fn apply(&mut self, record: &Record, decoder: &mut Decoder) -> Result<(), Trouble> {
        let waited = Arc::new(AtomicU64::new(0));
        loop {
            let task = &mut self.task;
            let emit = &mut self.emit;
            let applied = catch_unwind(AssertUnwindSafe(|| task.apply(record, decoder, emit)));
            let place = record.place();
            match applied {
                Ok(Ok(_)) => break,
                Ok(Err(Undecodable::Never(dead))) => {
                    self.emit.put(Output::Dead(dead));
                    break;
                }
                Ok(Err(Undecodable::Later { why, wait, .. })) => {
                    let so_far = Duration::from_millis(waited.load(Ordering::Relaxed));
                    if so_far > WAIT_MAX {
                        return Err(Trouble::Fault(Fault::Unreachable(format!(
                            "{place}: {why}"
                        ))));
                    }
                    let hand = waited.clone();
                    decoder.set_clock(Timepiece::by_hand(move || {
                        hand.load(Ordering::Relaxed).cast_signed()
                    }));
                    let step = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                    waited.fetch_add(step.saturating_add(1), Ordering::Relaxed);
                }
                Err(_) => {
                    return Err(Trouble::refused(
                        format!("{} panicked at offset {}", self.kind.name, record.offset),
                        place.to_string(),
                        "please report this with the record",
                    ));
                }
            }
        }
        self.emit.attach(|| origin(record));
        Ok(())
    }
}

fn cut_of(record: &Record, decoder: &mut Decoder) -> Result<Cut, Trouble> {
    decoder
        .avro(record)
        .map_err(|undecodable| match undecodable {
            Undecodable::Later { why, .. } => {
                Trouble::Fault(Fault::Unreachable(format!("{}: {why}", record.place())))
            }
            Undecodable::Never(dead) => Trouble::refused(
                format!(
                    "the cut at offset {} cannot be read: {}",
                    record.offset, dead.text
                ),
                record.place().to_string(),
                "replay with the binary that wrote it",
            ),
        })
}

/// Retention has taken what the state is made of.
fn gone(kind: &Kind, place: &TopicPartition, start: i64) -> Trouble {
    Trouble::refused(
        format!(
            "{place} begins at offset {start}: retention has removed what came before, and without it the state of {} \
             cannot be recomputed",
            kind.name
        ),
        place.to_string(),
        "--only names kinds whose inputs are whole; a longer retention.ms of the topic keeps the next ones so",
    )
}

/// Compaction has taken what the state is made of.
pub(super) fn compacted(kind: &Kind, place: &TopicPartition, records: u64) -> Trouble {
    Trouble::refused(
        format!(
            "compaction has removed {records} records of {place} that {} had read",
            kind.name
        ),
        place.to_string(),
        "--only names kinds whose inputs are whole; min.compaction.lag.ms of the topic, 30 days where `topics apply` made it, \
         keeps the next ones so",
    )
}

/// A directory for a new log is new.
pub(super) fn not_new(path: &Path) -> Trouble {
    Trouble::refused(
        "there is something in it already",
        shown(path),
        "name a directory that does not exist or is empty",
    )
}
