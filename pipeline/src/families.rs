//! How many partitions of a family are in use: recorded in the topic `families` when the topics are made, changed by a
//! migration. Keys are spread by this number; a topic may have more partitions, which then hold only the past.

use crate::connect::Place;
use crate::contents;
use crate::runtime::decode::{Decoder, Undecodable};
use cairn_avro::codec;
use cairn_avro::contract;
use cairn_avro::record::FamilyPartitions;
use cairn_bus::{Fault, Outgoing, Record, TopicState};
use cairn_topics::Family;
use cairn_topics::handle::FAMILIES;
use std::collections::BTreeMap;

/// The topic.
pub const TOPIC: &str = "families";

/// What is recorded, by family.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Families(BTreeMap<String, FamilyPartitions>);

impl Families {
    /// What the log has recorded; nothing where nobody has yet.
    ///
    /// # Errors
    /// See [`cairn_bus::Reader::read`].
    pub fn read(place: &Place, topics: &BTreeMap<String, TopicState>) -> Result<Self, Fault> {
        let mut families = Self::default();
        if !topics.contains_key(TOPIC) {
            return Ok(families);
        }
        let mut decoder = Decoder::new(place.registry.clone());
        contents::each(&*place.log, TOPIC, &mut |record| {
            families.take(record, &mut decoder)
        })?;
        Ok(families)
    }

    /// Takes a record of the topic.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn take(&mut self, record: &Record, decoder: &mut Decoder) -> Result<(), Fault> {
        let found: FamilyPartitions =
            decoder
                .avro(record)
                .map_err(|undecodable| match undecodable {
                    Undecodable::Later { why, .. } => Fault::Unreachable(why),
                    Undecodable::Never(dead) => Fault::Config(dead.text),
                })?;
        self.0.insert(found.family.clone(), found);
        Ok(())
    }

    /// What is recorded of a family.
    #[must_use]
    pub fn of(&self, family: &str) -> Option<&FamilyPartitions> {
        self.0.get(family)
    }

    /// Partitions of a topic by which keys are spread; all that it has, where nothing else is recorded.
    #[must_use]
    pub fn in_use(&self, topic: &str, partitions: i32) -> i32 {
        let family = cairn_topics::find(topic).map(|topic| topic.family);
        match family.and_then(|family| self.of(family.as_str())) {
            Some(recorded) if family == Some(Family::Run) => recorded.partitions.min(partitions),
            _ => partitions,
        }
    }

    /// True where keys are spread alike, and as often as here: by these partitions of `runs.events`.
    #[must_use]
    pub fn spreads_like(&self, other: &Self, partitions: i32) -> bool {
        let basis = |families: &Self| {
            let recorded = families.of(Family::Run.as_str());
            (
                families.in_use("runs.events", partitions),
                recorded.map_or(0, |recorded| recorded.migrations),
            )
        };
        basis(self) == basis(other)
    }

    /// Refuses to go on where a migration is half done.
    ///
    /// # Errors
    /// [`Fault::Config`] with what to do.
    pub fn check_whole(&self) -> Result<(), Fault> {
        for (family, recorded) in &self.0 {
            if let Some(to) = recorded.moving_to {
                return Err(Fault::Config(format!(
                    "the family {family} is half way from {} to {to} partitions: `cairn migrate {family} --partitions {to}` finishes that",
                    recorded.partitions
                )));
            }
        }
        Ok(())
    }
}

/// The record of what is in use.
///
/// # Errors
/// See [`cairn_bus::SchemaRegistry::id_of`].
pub fn record(place: &Place, what: &FamilyPartitions) -> Result<Outgoing, Fault> {
    let entry = contract::of_record("FamilyPartitions").ok_or_else(|| {
        Fault::Config("no schema FamilyPartitions; please report this".to_owned())
    })?;
    let id = place
        .registry
        .id_of(&contract::subject(TOPIC), entry.schema)?;
    let mut value = Vec::new();
    codec::encode_framed(id, what, &mut value)
        .map_err(|fault| Fault::Config(format!("{TOPIC}: {fault}")))?;
    Ok(Outgoing {
        topic: TOPIC.into(),
        partition: 0,
        key: Some(FAMILIES.key(what).into_bytes()),
        value: Some(value),
        headers: Vec::new(),
    })
}

/// What the topics have where nothing is recorded.
#[must_use]
pub fn as_found(topics: &BTreeMap<String, TopicState>) -> Option<FamilyPartitions> {
    let partitions = topics.get("runs.events")?.partitions;
    Some(FamilyPartitions {
        family: Family::Run.as_str().to_owned(),
        partitions,
        moving_to: None,
        migrations: 0,
    })
}
