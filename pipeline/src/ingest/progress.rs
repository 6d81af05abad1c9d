//! How far each source is on the log already: `ingest.progress`, read back before a source is read.
//!
//! A record of it is written in the transaction of the events that it covers, so that it is never ahead and never behind.
//! A source is known by tenant, path, run and mapping; content is known by the digest of its prefix, so that a copy, or the
//! compressed file of yesterday's log, adds nothing either.

use super::IngestError;
use cairn_avro::{codec, frame, record::IngestProgress};
use cairn_bus::{Fault, Session, TopicPartition};
use cairn_topics::handle::INGEST_PROGRESS;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Bytes of the head whose digest a progress record carries.
pub(super) const HEAD_BYTES: usize = 4096;

/// What makes a source the same source.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) tenant: String,
    pub(super) path: String,
    pub(super) format: String,
    /// The run that a log without run ids is read as; empty where rows name their runs.
    pub(super) run_id: String,
    pub(super) mapping_sha256: Option<String>,
    /// The path says what the content is about: the same content elsewhere is something else.
    pub(super) path_matters: bool,
}

impl Identity {
    /// Its name in `ingest.progress`.
    pub(super) fn source_id(&self) -> String {
        digest(&[
            &self.tenant,
            &self.path,
            &self.run_id,
            self.mapping_sha256.as_deref().unwrap_or_default(),
        ])
    }

    /// The names that it can have: one for each content that the same path held, since a log is rotated and what it held
    /// before lies elsewhere now. A record is never written over by what it does not cover.
    pub(super) fn generations(&self, known: &Known) -> Generations {
        let first = self.source_id();
        let mut own = Vec::new();
        let mut next = first.clone();
        while known.get(&next).is_some() && own.len() < GENERATIONS_MAX {
            own.push(next);
            next = digest(&[&first, "generation", &own.len().to_string()]);
        }
        Generations { own, next }
    }

    /// True where another source's progress may cover this one's content.
    fn may_cover(&self, other: &IngestProgress) -> bool {
        self.tenant == other.tenant
            && self.format == other.format
            && self.mapping_sha256 == other.mapping_sha256
            && (!self.path_matters || self.path == other.path)
            && (self.run_id.is_empty() || other.runs.iter().all(|run| *run == self.run_id))
            && other.byte > 0
    }
}

/// Contents of one path that are told apart; beyond it the last one is written over. Rotated every hour, half a year.
const GENERATIONS_MAX: usize = 4_096;

/// The names of a path's contents in `ingest.progress`.
pub(super) struct Generations {
    own: Vec<String>,
    next: String,
}

impl Generations {
    /// Whether a record is of this path.
    pub(super) fn has(&self, source_id: &str) -> bool {
        self.own.iter().any(|own| own == source_id)
    }

    /// The name under which what is read now is kept: that of the record that covers it, or a new one.
    pub(super) fn name(&self, covered: Option<&IngestProgress>) -> String {
        match covered {
            Some(covered) if self.has(&covered.source_id) => covered.source_id.clone(),
            _ if self.own.len() == GENERATIONS_MAX => self.own.last().unwrap_or(&self.next).clone(),
            _ => self.next.clone(),
        }
    }
}

/// SHA-256 over parts that cannot run into each other, 64 hexadecimal digits.
pub(crate) fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    format!("{:x}", hash.finalize())
}

/// Everything that `ingest.progress` knows of a tenant.
#[derive(Debug, Default)]
pub(super) struct Known {
    by_id: BTreeMap<String, IngestProgress>,
}

impl Known {
    /// Reads it back through a session, which has fenced a predecessor and waits for transactions that are undecided.
    pub(super) fn read(
        session: &mut dyn Session,
        tenant: &str,
        partitions: i32,
    ) -> Result<Self, IngestError> {
        let mut known = Self::default();
        let mut wrong = None;
        for partition in 0..partitions {
            let place = TopicPartition::new(INGEST_PROGRESS.name, partition);
            session.read_to_end(&place, &mut |record| {
                let Some(value) = &record.value else { return };
                let decoded = frame::split(value)
                    .map_err(|error| error.to_string())
                    .and_then(|framed| {
                        codec::decode::<IngestProgress>(framed.body)
                            .map_err(|error| error.to_string())
                    });
                match decoded {
                    Ok(progress) if progress.tenant == tenant => {
                        known.by_id.insert(progress.source_id.clone(), progress);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        wrong = Some(format!(
                            "{}[{partition}] offset {}: {error}",
                            record.topic, record.offset
                        ))
                    }
                }
            })?;
        }
        match wrong {
            None => Ok(known),
            Some(why) => Err(IngestError::Fault(Fault::Config(format!(
                "{why}; a record of ingest.progress cannot be read, is the program older than the one that wrote it?"
            )))),
        }
    }

    /// The progress of this name.
    pub(super) fn get(&self, source_id: &str) -> Option<&IngestProgress> {
        self.by_id.get(source_id)
    }

    /// Notes what was committed.
    pub(super) fn put(&mut self, progress: IngestProgress) {
        self.by_id.insert(progress.source_id.clone(), progress);
    }

    /// What may cover a prefix of this source, by ascending number of bytes.
    pub(super) fn candidates(&self, identity: &Identity) -> Vec<&IngestProgress> {
        let mut candidates: Vec<&IngestProgress> = self
            .by_id
            .values()
            .filter(|found| identity.may_cover(found))
            .collect();
        candidates.sort_by_key(|progress| progress.byte);
        candidates
    }
}
