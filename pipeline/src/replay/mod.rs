//! The outputs of the past once more, and held against what was written: same inputs, same cuts, same binary, same bytes
//! (DESIGN §3.6).
//!
//! # Layout
//!
//! - [`Start`]: from where on outputs are written.
//! - `lane`: one task: its cuts, its inputs at them, what comes out.
//! - `spine`: one partition of an output topic: the originals in their order, each with what was recomputed for it.
//! - `writers`: which records are recomputed, `sameness`: when two are the same.
//! - `pairing`: which recomputed record is which original's.
//! - `difference`: what differs between two records, in words.
//! - `cursor`: a partition read in order, some records ahead.
//! - `target`: the new log.
//!
//! It begins at the first record that `runs.events` ever had: the state of a task is recomputed and never taken over, so
//! that what is proven is proven from the inputs alone. Inputs are the originals, also where they are outputs of another
//! task: those are compared on the way. Memory holds the state of the tasks and some records a partition.
//!
//! What is not recomputed: `runs.events` and the dead letters of `admit` (they are where it begins), ticks and cuts (they
//! are inputs), changelogs.

mod cursor;
mod difference;
mod lane;
mod pairing;
mod sameness;
mod spine;
mod start;
mod target;
mod writers;

pub use difference::Difference;
pub use start::{Start, StartError};

use crate::config::{Config, DeadletterConfig};
use crate::connect::Place;
use crate::families::{self, Families};
use crate::metrics::Metrics;
use crate::redaction::Redaction;
use crate::runtime::decode::Decoder;
use crate::runtime::encode::Encoder;
use crate::runtime::executor::{self, Work};
use crate::runtime::task::{Kind, kinds};
use crate::seal;
use cairn_avro::record::DeadLetter;
use cairn_bus::{Fault, TopicPartition, TopicState};
use cursor::{Cursor, Source};

use lane::{Lane, Lanes, PassedOver};
use sha2::{Digest, Sha256};
use spine::Spine;
use start::Boundaries;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use target::Target;
use writers::Writer;

/// What is to be replayed.
pub struct Request {
    /// From where on outputs are written.
    pub from: Start,
    /// Directory of the new log; must not exist, or be empty.
    pub into: PathBuf,
    /// Task kinds; empty: all that have cuts.
    pub only: Vec<String>,
    /// What answers asks.
    pub work: Work,
}

/// Why a replay ended without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It cannot be done with what is there.
    #[error("{message}")]
    Refused {
        /// What is wrong.
        message: String,
        /// Where.
        place: String,
        /// What to do.
        remedy: String,
    },
    /// The log or the registry.
    #[error("{0}")]
    Fault(#[from] Fault),
}

impl Trouble {
    fn refused(
        message: impl Into<String>,
        place: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Refused {
            message: message.into(),
            place: place.into(),
            remedy: remedy.into(),
        }
    }
}

/// What came of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicReport {
    /// The topic.
    pub topic: String,
    /// Originals from OFFSETS on.
    pub records: u64,
    /// Recomputed with the same bytes.
    pub equal: u64,
    /// Recomputed with other bytes.
    pub different: u64,
    /// Originals that were not recomputed.
    pub missing: u64,
    /// Recomputed, without an original.
    pub extra: u64,
    /// Equal ones before OFFSETS; differences there are counted with the others.
    pub before: u64,
    /// Recomputed ones whose originals compaction has replaced since.
    pub compacted: u64,
    /// Of the records recomputed: SHA-256 of the partitions' hashes, each of the SHA-256 of its records.
    pub sha256: String,
    /// The same of the originals.
    pub sha256_original: String,
}

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One entry a topic, in order of name.
    pub topics: Vec<TopicReport>,
    /// The difference that is the earliest in time.
    pub first: Option<Difference>,
}

impl Report {
    /// True where every record was recomputed with the same bytes.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.first.is_none()
    }
}

/// Replays, compares, writes.
///
/// # Errors
/// See [`Trouble`]. A difference is none: the report says it.
pub fn replay(config: &Config, place: &Place, request: &Request) -> Result<Report, Trouble> {
    let topics = place.log.topics()?;
    let kinds = replayed_kinds(config, &request.only, &topics)?;
    refuse_migrated(place, &kinds, &topics)?;
    let boundaries = request.from.boundaries(&kinds, &topics)?;
    target::must_be_new(&request.into)?;
    let mut source = Source::new(place.log.reader()?, config);
    let mut played = Played::prepare(config, place, &kinds, &topics, &mut source)?;
    boundaries.check(&played.lanes.ends())?;
    played.boundaries = boundaries;
    let mut target = Target::open(&request.into, place, &played.output_topics(&topics))?;
    played.play(&mut source, &mut target, &request.work)?;
    target.finish()?;
    Ok(played.report())
}

fn replayed_kinds(
    config: &Config,
    only: &[String],
    topics: &BTreeMap<String, TopicState>,
) -> Result<Vec<Arc<Kind>>, Trouble> {
    let mut all: Vec<Kind> = kinds(config);
    all.retain(|kind| kind.has_cuts);
    if let Some(unknown) = only
        .iter()
        .find(|name| !all.iter().any(|kind| kind.name == name.as_str()))
    {
        let known: Vec<&str> = all.iter().map(|kind| kind.name).collect();
        return Err(Trouble::Fault(Fault::Config(format!(
            "--only {unknown}: no such task kind is replayed; there are {}",
            known.join(", ")
        ))));
    }
    all.retain(|kind| only.is_empty() || only.iter().any(|name| name == kind.name));
    for kind in &all {
        if let Some(missing) = kind
            .inputs
            .iter()
            .find(|topic| !topics.contains_key(*topic))
        {
            return Err(Trouble::refused(
                format!("{missing} does not exist: nothing has run here"),
                "log",
                "name the log of a pipeline with --data or --kafka",
            ));
        }
    }
    Ok(all.into_iter().map(Arc::new).collect())
}

/// The cuts of before a migration are those of other tasks: their states cannot be recomputed by these.
fn refuse_migrated(
    place: &Place,
    kinds: &[Arc<Kind>],
    topics: &BTreeMap<String, TopicState>,
) -> Result<(), Trouble> {
    let families = Families::read(place, topics)?;
    for kind in kinds {
        if let Some(recorded) = families.of(kind.family)
            && recorded.migrations > 0
        {
            return Err(Trouble::refused(
                format!(
                    "the family {} was migrated to {} partitions: a replay of {} cannot pass that",
                    recorded.family, recorded.partitions, kind.name
                ),
                families::TOPIC,
                "--only names kinds of other families (refit,cockpit); replay before you migrate",
            ));
        }
    }
    Ok(())
}

/// A replay under way.
struct Played {
    kinds: Vec<Arc<Kind>>,
    lanes: Lanes,
    spines: BTreeMap<TopicPartition, Spine>,
    boundaries: Boundaries,
    passed_over: PassedOver,
    decoder: Decoder,
    encoder: Encoder,
    metrics: Arc<Metrics>,
    explain: difference::Explainer,
    first: Option<Difference>,
    skew_ms_max: i64,
    held_bytes_max: usize,
}

impl Played {
    fn prepare(
        config: &Config,
        place: &Place,
        kinds: &[Arc<Kind>],
        topics: &BTreeMap<String, TopicState>,
        source: &mut Source,
    ) -> Result<Self, Trouble> {
        let writers: Vec<(&str, Writer)> = writers::writers(kinds)
            .into_iter()
            .filter(|(topic, _)| topics.contains_key(*topic))
            .collect();
        let names: Vec<&str> = writers.iter().map(|(topic, _)| *topic).collect();
        // Outputs, then cuts, then outputs again: what was written before the first look has its cut, and what a cut wrote
        // is there at the last. Between the two may lie what a pipeline writes meanwhile: looked at, not judged.
        let judged = source.ends(&names)?;
        let mut decoder = Decoder::new(place.registry.clone());
        let is_contiguous = place.log.kind() == "embedded";
        let lanes = Lanes::open(kinds, topics, source, &mut decoder, is_contiguous)?;
        let mut spines = BTreeMap::new();
        for (place, (start, end)) in source.ends(&names)? {
            let Some((_, writer)) = writers.iter().find(|(topic, _)| *topic == &*place.topic)
            else {
                continue;
            };
            let judged = judged.get(&place).map_or(end, |(_, end)| *end);
            let is_compacted = topics
                .get(&*place.topic)
                .is_some_and(|state| state.cleanup == cairn_bus::Cleanup::Compact);
            let cursor = Cursor::new(place.clone(), start, end);
            spines.insert(
                place,
                Spine::new(cursor, start, judged, is_compacted, writer.clone()),
            );
        }
        let metrics = Arc::new(Metrics::new());
        let mut deadletter: DeadletterConfig = config.deadletter.clone();
        if deadletter.recipient.is_empty() {
            // Equal letters keep the original's seal; nobody needs to open the others.
            deadletter.recipient = seal::new_identity().recipient();
        }
        let encoder = Encoder::new(
            place.registry.clone(),
            topics,
            &deadletter,
            &Redaction::of(config),
            metrics.clone(),
        )?;
        Ok(Self {
            kinds: kinds.to_vec(),
            lanes,
            spines,
            boundaries: Boundaries::default(),
            passed_over: passed_over(kinds, topics, source, &mut decoder)?,
            decoder,
            encoder,
            metrics,
            explain: difference::Explainer::new(place.registry.clone()),
            first: None,
            skew_ms_max: config.replay.skew_ms_max,
            held_bytes_max: config.replay.held_bytes_max,
        })
    }

    fn output_topics(&self, topics: &BTreeMap<String, TopicState>) -> BTreeMap<String, TopicState> {
        let is_output = |name: &String| self.spines.keys().any(|place| *place.topic == **name);
        topics
            .iter()
            .filter(|(name, _)| is_output(name))
            .map(|(name, state)| (name.clone(), state.clone()))
            .collect()
    }

    fn play(
        &mut self,
        source: &mut Source,
        target: &mut Target,
        work: &Work,
    ) -> Result<(), Trouble> {
        while let Some(mut lane) = self.lanes.next() {
            self.refuse_compacted(&lane)?;
            let batch = lane.batch(
                source,
                &mut self.decoder,
                &self.boundaries,
                &self.passed_over,
            )?;
            for (output, traceparent) in &batch.outputs {
                let out = self
                    .encoder
                    .output(lane.kind.name, output, traceparent.as_deref())?;
                let ours = spine::Recomputed::new(out, batch.is_after, batch.time_ms);
                self.offer(ours, source)?;
            }
            for ask in &batch.asks {
                let answer = executor::answer(ask, work, &self.metrics);
                let out = self.encoder.answer(&answer)?;
                let ours = spine::Recomputed::new(out, batch.is_after, batch.time_ms);
                self.offer(ours.that_may_be_lost(), source)?;
            }
            // Answers lie where no batch of their asker ends: brought up to the time of this batch.
            for spine in self.spines.values_mut() {
                spine.read_until(batch.time_ms, source, &mut self.decoder)?;
            }
            self.write(target)?;
            self.bound(target)?;
            self.lanes.put_back(lane);
        }
        for spine in self.spines.values_mut() {
            spine.finish(source, &mut self.decoder)?;
        }
        self.write(target)
    }

    fn offer(&mut self, ours: spine::Recomputed, source: &mut Source) -> Result<(), Trouble> {
        let place = TopicPartition::new(ours.out.topic.clone(), ours.out.partition);
        let Some(spine) = self.spines.get_mut(&place) else {
            return Err(Trouble::refused(
                format!("{place} was recomputed, and the log has no such partition"),
                "log",
                "please report this",
            ));
        };
        spine.offer(ours, self.skew_ms_max, source, &mut self.decoder)
    }

    /// Writes what has had its turn, and notes what it says of others' inputs and of differences.
    fn write(&mut self, target: &mut Target) -> Result<(), Trouble> {
        for (place, spine) in &mut self.spines {
            for done in spine.take_done() {
                if let Some(offset) = done.offset
                    && done.is_after
                    && self.kinds.iter().any(|kind| reads(kind, &place.topic))
                {
                    self.boundaries.note(place, offset);
                }
                if let Some(wrong) = done.wrong {
                    let earlier = self
                        .first
                        .as_ref()
                        .is_none_or(|first| wrong.time_ms < first.time_ms);
                    if earlier {
                        self.first = Some(self.explain.explain(place, &wrong));
                    }
                }
                if let Some(out) = done.out {
                    target.send(out)?;
                }
            }
        }
        Ok(())
    }

    /// Keeps what waits for its partner within the limit: whoever waits longest is judged as it is.
    fn bound(&mut self, target: &mut Target) -> Result<(), Trouble> {
        loop {
            let held: usize = self.spines.values().map(Spine::held_bytes).sum();
            if held <= self.held_bytes_max {
                return Ok(());
            }
            let largest = self
                .spines
                .values_mut()
                .max_by_key(|spine| spine.held_bytes());
            let has_judged = match largest {
                Some(spine) => spine.shed()?,
                None => false,
            };
            if !has_judged {
                return Ok(());
            }
            self.write(target)?;
        }
    }

    /// A task whose input compaction has thinned out cannot be recomputed: its fits would rest on other rows.
    fn refuse_compacted(&self, lane: &Lane) -> Result<(), Trouble> {
        for (place, spine) in &self.spines {
            let gone = spine.compacted();
            if gone > 0 && place.partition == lane.partition && reads(&lane.kind, &place.topic) {
                return Err(lane::compacted(&lane.kind, place, gone));
            }
        }
        Ok(())
    }

    fn report(self) -> Report {
        let mut topics: BTreeMap<String, (TopicReport, Sha256, Sha256)> = BTreeMap::new();
        for (place, spine) in self.spines {
            let (report, ours, originals) = topics.entry(place.topic.to_string()).or_default();
            let (hash, hash_original) = spine.add_to(report);
            ours.update(hash);
            originals.update(hash_original);
        }
        let topics = topics
            .into_iter()
            .map(|(topic, (report, ours, originals))| {
                let text = |hash: Sha256| cairn_avro::hex::text(&hash.finalize());
                TopicReport {
                    topic,
                    sha256: text(ours),
                    sha256_original: text(originals),
                    ..report
                }
            });
        Report {
            topics: topics.collect(),
            first: self.first,
        }
    }
}

/// Records that made a core panic, as the dead letters say it.
fn passed_over(
    kinds: &[Arc<Kind>],
    topics: &BTreeMap<String, TopicState>,
    source: &mut Source,
    decoder: &mut Decoder,
) -> Result<PassedOver, Trouble> {
    let mut found = PassedOver::new();
    if !topics.contains_key("deadletter") {
        return Ok(found);
    }
    for (place, (start, end)) in source.ends(&["deadletter"])? {
        let mut cursor = Cursor::new(place, start, end);
        while let Some(record) = cursor.take(source)? {
            let Ok(letter) = decoder.avro::<DeadLetter>(&record) else {
                continue;
            };
            if letter.class == writers::CORE_PANIC
                && kinds.iter().any(|kind| kind.name == letter.operator)
                && let Some(place) = letter.source
            {
                let part = TopicPartition::new(place.topic.as_str(), place.partition);
                found.insert((part, place.offset));
            }
        }
    }
    Ok(found)
}

fn reads(kind: &Kind, topic: &str) -> bool {
    kind.inputs.iter().any(|input| input == topic)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
