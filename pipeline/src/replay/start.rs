//! From where on outputs are written: what people say, and what it means for each input.
//!
//! What came before is recomputed all the same (a state is made of it) and compared; it is not written. Of a cut of ingress,
//! as `cairn run --drain --json` prints it, each partition of `runs.events` begins at the first record with an event from
//! behind the cut. What one task writes from there on is where the next one begins.

use super::Trouble;
use crate::runtime::decode::Decoder;
use crate::runtime::task::Kind;
use cairn_avro::record::RunEvents;
use cairn_bus::{Offsets, Record, TopicPartition, TopicState};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// From where on outputs are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// All of them.
    Earliest,
    /// What these inputs caused from these offsets on; inputs that are not named cause nothing by themselves.
    Offsets(Offsets),
}

/// Text that says no offsets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl std::str::FromStr for Start {
    type Err = StartError;

    /// `earliest`, a file with a cut, or `topic:partition=offset,…`.
    fn from_str(text: &str) -> Result<Self, StartError> {
        if text == "earliest" {
            return Ok(Self::Earliest);
        }
        if Path::new(text).is_file() {
            let said = std::fs::read_to_string(text)
                .map_err(|error| StartError(format!("{text}: {error}")))?;
            return of_cut(&said).map_err(|why| StartError(format!("{text}: {why}")));
        }
        let mut offsets = Offsets::new();
        for part in text.split(',') {
            let named = part
                .split_once('=')
                .and_then(|(place, offset)| Some((place.rsplit_once(':')?, offset)));
            let numbers = named.and_then(|((topic, partition), offset)| {
                let place = TopicPartition::new(topic.trim(), partition.trim().parse().ok()?);
                Some((place, offset.trim().parse::<i64>().ok()?))
            });
            match numbers.filter(|(place, offset)| place.partition >= 0 && *offset >= 0) {
                Some((place, offset)) => {
                    offsets.insert(place, offset);
                }
                None => {
                    return Err(StartError(format!(
                        "{part:?} is neither `earliest`, nor a file with a cut, nor topic:partition=offset"
                    )));
                }
            }
        }
        Ok(Self::Offsets(offsets))
    }
}

/// The last line with a cut: what a drain printed, or the cut alone.
fn of_cut(text: &str) -> Result<Start, String> {
    let whole: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let found: Vec<serde_json::Value> = whole.into_iter().chain(lines).collect();
    let cut = found
        .iter()
        .rev()
        .find_map(|value| value.get("cut"))
        .or_else(|| found.first())
        .ok_or("there is no JSON in it; it holds what `cairn run --drain --json` prints")?;
    let topics: BTreeMap<String, BTreeMap<i32, i64>> = serde_json::from_value(cut.clone())
        .map_err(|error| {
            format!("{error}; a cut is {{\"topic\": {{\"partition\": offset}}}}, as `cairn run --drain --json` prints it")
        })?;
    let mut offsets = Offsets::new();
    for (topic, partitions) in topics {
        for (partition, next) in partitions {
            offsets.insert(TopicPartition::new(topic.as_str(), partition), next);
        }
    }
    if offsets.is_empty() {
        return Err("its cut names no partition".to_owned());
    }
    Ok(Start::Offsets(offsets))
}

impl Start {
    /// What it means for the inputs of these kinds.
    pub(super) fn boundaries(
        &self,
        kinds: &[Arc<Kind>],
        topics: &BTreeMap<String, TopicState>,
    ) -> Result<Boundaries, Trouble> {
        let Self::Offsets(offsets) = self else {
            return Ok(Boundaries {
                all: true,
                ..Boundaries::default()
            });
        };
        let mut boundaries = Boundaries::default();
        for (place, offset) in offsets {
            let is_input = kinds
                .iter()
                .any(|kind| kind.inputs.iter().any(|input| **input == *place.topic));
            let is_ingress = cairn_topics::split_tenant(&place.topic).is_some();
            if !is_input && !is_ingress {
                let inputs: Vec<&str> = kinds
                    .iter()
                    .flat_map(|kind| kind.inputs.iter().map(String::as_str))
                    .collect();
                return Err(Trouble::refused(
                    format!("{} is no input of what is replayed", place.topic),
                    "--from",
                    format!("name an ingress topic or one of {}", inputs.join(", ")),
                ));
            }
            let partitions = topics
                .get(&*place.topic)
                .map_or(0, |state| state.partitions);
            if is_input && place.partition >= partitions {
                return Err(Trouble::refused(
                    format!("there is no {place}, the topic has {partitions} partitions"),
                    "--from",
                    "name a partition that is there",
                ));
            }
            let into = if is_ingress {
                &mut boundaries.ingress
            } else {
                &mut boundaries.inputs
            };
            into.insert(place.clone(), *offset);
        }
        Ok(boundaries)
    }
}

/// Where each input begins to count.
#[derive(Default)]
pub(super) struct Boundaries {
    all: bool,
    ingress: Offsets,
    inputs: Offsets,
}

impl Boundaries {
    /// Refuses an offset that the log does not have.
    pub(super) fn check(&self, ends: &BTreeMap<TopicPartition, (i64, i64)>) -> Result<(), Trouble> {
        for (place, offset) in &self.inputs {
            if let Some((_, end)) = ends.get(place).filter(|(_, end)| offset > end) {
                return Err(Trouble::refused(
                    format!("{place} ends at offset {end}, --from says {offset}"),
                    "--from",
                    "name an offset that was written",
                ));
            }
        }
        Ok(())
    }

    /// True where everything counts.
    pub(super) fn is_all(&self) -> bool {
        self.all
    }

    /// A record that counts was written here.
    pub(super) fn note(&mut self, place: &TopicPartition, offset: i64) {
        if self.all {
            return;
        }
        let first = self.inputs.entry(place.clone()).or_insert(offset);
        *first = (*first).min(offset);
    }

    /// True where this input counts, and with it what it causes.
    pub(super) fn counts(&self, record: &Record, decoder: &mut Decoder) -> bool {
        if self
            .inputs
            .get(&record.place())
            .is_some_and(|first| record.offset >= *first)
        {
            return true;
        }
        if self.ingress.is_empty() || &*record.topic != "runs.events" {
            return false;
        }
        let Ok(packed) = decoder.avro::<RunEvents>(record) else {
            return false;
        };
        let sources = packed
            .events
            .iter()
            .filter_map(|event| event.source.as_ref());
        sources.into_iter().any(|source| {
            let place = TopicPartition::new(source.topic.as_str(), source.partition);
            self.ingress
                .get(&place)
                .is_some_and(|first| source.offset >= *first)
        })
    }
}
