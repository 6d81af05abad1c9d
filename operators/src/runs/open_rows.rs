//! The rows of open windows as the changelog keeps them: segments by run (see [`crate::windows::segments`]).
//!
//! In memory rows lie with their windows. After a restore they wait here, packed, until their run is touched; of a run that
//! is never touched again they are never unpacked.

use crate::operator::Change;
use std::collections::{BTreeMap, BTreeSet};

/// Name of the table in the changelog.
pub const TABLE: &str = "window_rows";

/// What the changelog holds of a segment.
#[derive(Debug)]
struct Kept {
    number: u64,
    /// Bytes in the changelog, the key's among them.
    bytes: u64,
    /// Its rows, until they are with their windows.
    packed: Option<Box<[u8]>>,
}

/// The segments of one task's runs.
#[derive(Debug, Default)]
pub(super) struct OpenRows {
    /// Committed segments by run, in the order of their numbers.
    kept: BTreeMap<String, Vec<Kept>>,
    /// Those among them that are packed.
    packed_n: usize,
    /// What the batch writes, or deletes.
    batch: BTreeMap<String, BTreeMap<u64, Option<Vec<u8>>>>,
    bytes: u64,
}

impl OpenRows {
    /// The segments of a run whose rows are to be given to its windows, in the order of their numbers; once.
    pub(super) fn take_packed(&mut self, run: &str) -> Vec<(u64, Box<[u8]>)> {
        if self.packed_n == 0 {
            return Vec::new();
        }
        let kept = self.kept.get_mut(run).into_iter().flatten();
        let taken: Vec<_> = kept
            .filter_map(|segment| Some((segment.number, segment.packed.take()?)))
            .collect();
        self.packed_n -= taken.len();
        taken
    }

    pub(super) fn put(&mut self, run: &str, number: u64, segment: Vec<u8>) {
        self.changed(run).insert(number, Some(segment));
    }

    /// Deletes a run's segments that are not needed any more.
    pub(super) fn keep_only(&mut self, run: &str, needed: &BTreeSet<u64>) {
        let kept: Vec<u64> = (self.kept.get(run).into_iter().flatten())
            .map(|segment| segment.number)
            .collect();
        if let Some(batch) = self.batch.get_mut(run) {
            batch.retain(|number, _| needed.contains(number) || kept.contains(number));
        }
        for number in kept {
            if !needed.contains(&number) {
                self.changed(run).insert(number, None);
            }
        }
    }

    fn changed(&mut self, run: &str) -> &mut BTreeMap<u64, Option<Vec<u8>>> {
        if !self.batch.contains_key(run) {
            self.batch.insert(run.to_owned(), BTreeMap::new());
        }
        self.batch.get_mut(run).expect("just inserted")
    }

    /// Adds the batch's changes, in the order of runs and numbers.
    pub(super) fn changes(&self, changes: &mut Vec<Change>) {
        for (run, segments) in &self.batch {
            for (number, segment) in segments {
                changes.push(Change {
                    table: TABLE,
                    key: key(run, *number),
                    value: segment.clone(),
                });
            }
        }
    }

    pub(super) fn merge(&mut self) {
        for (run, segments) in std::mem::take(&mut self.batch) {
            for (number, segment) in segments {
                let kept = segment.map(|segment| Kept {
                    number,
                    bytes: held_bytes(&run, number, &segment),
                    packed: None,
                });
                self.place(&run, number, kept);
            }
        }
    }

    pub(super) fn discard(&mut self) {
        self.batch.clear();
    }

    /// Takes one entry of the changelog.
    pub(super) fn restore(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), String> {
        let (run, number) =
            split(key).ok_or_else(|| format!("table {TABLE}, key {key}: no run and number"))?;
        let kept = value.map(|segment| Kept {
            number,
            bytes: held_bytes(run, number, segment),
            packed: Some(segment.into()),
        });
        self.place(run, number, kept);
        Ok(())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Puts a segment in the place of what was there under its number; none removes it.
    fn place(&mut self, run: &str, number: u64, fresh: Option<Kept>) {
        if !self.kept.contains_key(run) {
            if fresh.is_none() {
                return;
            }
            self.kept.insert(run.to_owned(), Vec::new());
        }
        let segments = self.kept.get_mut(run).expect("just inserted");
        let place = segments.partition_point(|segment| segment.number < number);
        if (segments.get(place)).is_some_and(|segment| segment.number == number) {
            let before = segments.remove(place);
            self.bytes -= before.bytes;
            self.packed_n -= usize::from(before.packed.is_some());
        }
        if let Some(fresh) = fresh {
            self.bytes += fresh.bytes;
            self.packed_n += usize::from(fresh.packed.is_some());
            segments.insert(place, fresh);
        } else if segments.is_empty() {
            self.kept.remove(run);
        }
    }
}

fn key(run: &str, number: u64) -> String {
    // a run's key has no bar, it is percent-encoded
    format!("{run}|{number}")
}

/// The run and the number of a key.
pub(super) fn split(key: &str) -> Option<(&str, u64)> {
    let (run, number) = key.rsplit_once('|')?;
    Some((run, number.parse().ok()?))
}

/// What is said of a segment whose bytes are none.
pub(super) fn wrong(run: &str, number: u64, why: &str) -> String {
    format!("table {TABLE}, key {}: {why}", key(run, number))
}

fn held_bytes(run: &str, number: u64, segment: &[u8]) -> u64 {
    (key(run, number).len() + segment.len()) as u64
}
