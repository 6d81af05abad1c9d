//! Records that made a core panic, remembered while members come and go (DESIGN §3.5).
//!
//! A panic leaves a core in no state to go on: the member is dropped and another one restores. What it was applying is known
//! to the record. Where it panicked only as the batch was flushed, batches are halved until one record is left:
//!
//! ```text
//!   5,000 records, panic ─► limit 2,500 ─► panic ─► 1,250 ─► commits ─► 1,250 ─► panic ─► 625 … 1 ─► that one
//! ```
//!
//! The third time the same record does it, it is condemned: it becomes a dead letter `core_panic`, and the core never sees it
//! again. Memory only: a process that starts anew counts anew.

use cairn_bus::{Offsets, TopicPartition};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So often the same record may make a core panic before it is put aside: once may be a broken machine.
const PANICS_MAX: u32 = 3;
/// Most records that are remembered.
const SUSPECTS_MAX: usize = 1_000;

/// What is known of records that made a core of one kind panic.
#[derive(Debug, Default)]
pub struct Suspects(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Panics of a record, and the last one's words.
    records: BTreeMap<(TopicPartition, i64), (u32, String)>,
    narrowing: Option<Narrowing>,
}

/// A batch that panicked as a whole is looked through in parts.
#[derive(Debug)]
struct Narrowing {
    /// Most records of a batch meanwhile.
    limit: usize,
    /// Records until it has been looked through.
    left: u64,
}

impl Suspects {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The core panicked as it was given this record.
    pub(super) fn blame(&self, place: TopicPartition, offset: i64, words: &str) {
        let mut inner = self.inner();
        if inner.records.len() >= SUSPECTS_MAX {
            inner.records.pop_first();
        }
        let (panics, last) = inner.records.entry((place, offset)).or_default();
        *panics += 1;
        words.clone_into(last);
    }

    /// The core panicked over a whole batch of so many records.
    pub(super) fn blame_batch(&self, records: u64) {
        let limit = usize::try_from(records.div_ceil(2)).unwrap_or(usize::MAX);
        let mut inner = self.inner();
        let left = inner.narrowing.as_ref().map_or(records, |known| known.left);
        inner.narrowing = Some(Narrowing {
            limit: limit.max(1),
            left: left.max(records),
        });
    }

    /// Most records of a batch for now.
    pub(super) fn limit(&self) -> Option<usize> {
        self.inner().narrowing.as_ref().map(|known| known.limit)
    }

    /// A batch of so many records was committed, up to these offsets: what lies before them is suspected no more.
    pub(super) fn committed(&self, records: u64, next: &Offsets) {
        let mut inner = self.inner();
        inner
            .records
            .retain(|(place, offset), _| next.get(place).is_none_or(|next| offset >= next));
        if let Some(known) = &mut inner.narrowing {
            known.left = known.left.saturating_sub(records);
            if known.left == 0 {
                inner.narrowing = None;
            }
        }
    }

    /// True where no record is suspected: the common case, asked once a chunk.
    pub(super) fn is_empty(&self) -> bool {
        self.inner().records.is_empty()
    }

    /// What a condemned record's panics said; none for a record that may be tried.
    pub(super) fn condemned(&self, place: &TopicPartition, offset: i64) -> Option<String> {
        let inner = self.inner();
        let (panics, words) = inner.records.get(&(place.clone(), offset))?;
        (*panics >= PANICS_MAX).then(|| words.clone())
    }
}

/// What a panic said.
pub(super) fn words(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a word".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_condemned_the_third_time() {
        let (suspects, place) = (Suspects::default(), TopicPartition::new("runs.events", 3));
        for _ in 0..2 {
            suspects.blame(place.clone(), 7, "index out of bounds");
            assert_eq!(suspects.condemned(&place, 7), None);
        }
        suspects.blame(place.clone(), 7, "index out of bounds");
        assert_eq!(
            suspects.condemned(&place, 7).as_deref(),
            Some("index out of bounds")
        );
        assert_eq!(suspects.condemned(&place, 8), None);
        suspects.committed(1, &Offsets::from([(place.clone(), 7)]));
        assert!(!suspects.is_empty(), "it is still to be read");
        suspects.committed(1, &Offsets::from([(place, 8)]));
        assert!(
            suspects.is_empty(),
            "put aside: nothing is looked up any more"
        );
    }

    /// One of 5,000 records makes the flush panic: the batches that are tried, until it is alone.
    #[test]
    fn a_batch_is_halved_until_one_record_is_left() {
        let suspects = Suspects::default();
        let (bad, all) = (3_210_u64, 5_000_u64);
        let (mut next, mut tries) = (0, 0);
        let alone = loop {
            tries += 1;
            assert!(tries < 100, "it does not end");
            let size = suspects
                .limit()
                .map_or(all, |limit| limit as u64)
                .min(all - next);
            if (next..next + size).contains(&bad) {
                if size == 1 {
                    break next;
                }
                suspects.blame_batch(size);
            } else {
                suspects.committed(size, &Offsets::new());
                next += size;
            }
        };
        assert_eq!(alone, bad);
        assert!(tries <= 40, "{tries} batches for 13 halvings");
        suspects.committed(all - next, &Offsets::new());
        assert_eq!(
            suspects.limit(),
            None,
            "looked through: batches are whole again"
        );
    }
}
