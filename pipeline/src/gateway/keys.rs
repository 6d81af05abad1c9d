//! Idempotency keys that were taken: in the transaction of their events, in `ingest.progress`, and forgotten after a while.
//!
//! A key belongs to its tenant. The same key with the same body is answered as the first time; with another body it is
//! refused. Instances do not see each other's keys until they open a session; between them the content of events, which is
//! their identity, keeps them from counting twice.

use crate::ingest::{progress_digest, progress_record};
use cairn_avro::record::IngestProgress;
use cairn_bus::{Fault, Session, TopicPartition};
use cairn_topics::handle::INGEST_PROGRESS;
use std::collections::{BTreeMap, VecDeque};

/// What names these records among the others.
const FORMAT: &str = "idempotency_key";
/// Keys forgotten with one transaction.
const FORGOTTEN_MAX: usize = 100;

/// What was said to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) body_sha256: String,
    pub(super) accepted: u64,
    pub(super) rejected: u64,
}

/// Keys that are remembered.
#[derive(Default)]
pub(super) struct Keys {
    kept: BTreeMap<String, (i64, String, Kept)>,
    /// By age.
    order: VecDeque<(i64, String)>,
}

/// The name of a key in `ingest.progress`.
pub(super) fn name(tenant: &str, key: &str) -> String {
    progress_digest(&[tenant, FORMAT, key])
}

impl Keys {
    /// Reads them back.
    pub(super) fn read(session: &mut dyn Session, partitions: i32) -> Result<Self, Fault> {
        let mut found = BTreeMap::new();
        for partition in 0..partitions {
            let place = TopicPartition::new(INGEST_PROGRESS.name, partition);
            session.read_to_end(&place, &mut |record| {
                let Some(value) = &record.value else { return };
                // what cannot be read is no key of ours; ingest says so
                if let Ok(progress) = progress_record(value)
                    && progress.format == FORMAT
                {
                    found.insert(
                        progress.source_id.clone(),
                        (record.append_time_ms, progress),
                    );
                }
            })?;
        }
        let mut keys = Self::default();
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_by_key(|(_, (at_ms, _))| *at_ms);
        for (_, (at_ms, progress)) in found {
            keys.put(at_ms, &progress);
        }
        Ok(keys)
    }

    /// What was said to a key.
    pub(super) fn get(&self, name: &str) -> Option<&Kept> {
        self.kept.get(name).map(|(_, _, kept)| kept)
    }

    /// Remembers one.
    pub(super) fn put(&mut self, at_ms: i64, progress: &IngestProgress) {
        let kept = kept(progress);
        let name = progress.source_id.clone();
        self.order.push_back((at_ms, name.clone()));
        self.kept
            .insert(name, (at_ms, progress.tenant.clone(), kept));
    }

    /// Forgets what is old, and what is too many; returns tenants and names.
    pub(super) fn forget(&mut self, before_ms: i64, most: usize) -> Vec<(String, String)> {
        let mut forgotten = Vec::new();
        while forgotten.len() < FORGOTTEN_MAX
            && let Some((at_ms, _)) = self.order.front()
            && (*at_ms < before_ms || self.kept.len() > most)
            && let Some((at_ms, name)) = self.order.pop_front()
        {
            // one that was taken again since is younger
            if self.kept.get(&name).is_some_and(|(at, ..)| *at == at_ms)
                && let Some((_, tenant, _)) = self.kept.remove(&name)
            {
                forgotten.push((tenant, name));
            }
        }
        forgotten
    }
}

/// What a record says.
pub(super) fn kept(progress: &IngestProgress) -> Kept {
    Kept {
        body_sha256: progress.prefix_sha256.clone(),
        accepted: progress.events.unsigned_abs(),
        rejected: progress.rejected.unsigned_abs(),
    }
}

/// The record of a key.
pub(super) fn progress(tenant: &str, name: &str, kept: &Kept, bytes: usize) -> IngestProgress {
    IngestProgress {
        tenant: tenant.to_owned(),
        source_id: name.to_owned(),
        path: super::events::PATH.to_owned(),
        format: FORMAT.to_owned(),
        prefix_sha256: kept.body_sha256.clone(),
        size_bytes: bytes as i64,
        events: kept.accepted.cast_signed(),
        rejected: kept.rejected.cast_signed(),
        complete: true,
        ..IngestProgress::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_forgotten_by_age_and_number() {
        let mut keys = Keys::default();
        let kept = Kept {
            body_sha256: "b".into(),
            accepted: 2,
            rejected: 1,
        };
        for number in 0..10 {
            let name = name("acme", &number.to_string());
            keys.put(number, &progress("acme", &name, &kept, 1));
        }
        assert_eq!(keys.get(&name("acme", "3")), Some(&kept));
        assert_eq!(keys.get(&name("other", "3")), None);
        assert_eq!(keys.forget(2, 100).len(), 2);
        assert_eq!(keys.get(&name("acme", "1")), None);
        assert_eq!(keys.forget(0, 5).len(), 3);
        assert_eq!(keys.get(&name("acme", "4")), None);
        assert!(keys.get(&name("acme", "5")).is_some());
    }
}
