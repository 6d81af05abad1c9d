//! The rows of open windows as the changelog keeps them: segments by run (see [`crate::windows::segments`]).
//!
//! In memory rows lie with their windows. After a restore they wait here, packed, until their run is touched; of a run that
//! is never touched again they are never unpacked.

use crate::operator::Change;
use crate::windows::segments;
use std::collections::{BTreeMap, BTreeSet};

/// Name of the table in the changelog.
pub const TABLE: &str = "window_rows";

/// Segments by number.
type Segments<T> = BTreeMap<u64, T>;

/// The segments of one task's runs.
#[derive(Debug, Default)]
pub(super) struct OpenRows {
    /// Bytes of the committed segments.
    sizes: BTreeMap<String, Segments<u64>>,
    /// Restored segments whose rows are not with their windows yet.
    packed: BTreeMap<String, Segments<Box<[u8]>>>,
    /// What the batch writes, or deletes.
    batch: BTreeMap<String, Segments<Option<Vec<u8>>>>,
    bytes: u64,
}

impl OpenRows {
    /// The segments of a run whose rows are to be given to its windows; once.
    pub(super) fn take_packed(&mut self, run: &str) -> Option<Segments<Box<[u8]>>> {
        if self.packed.is_empty() {
            return None;
        }
        self.packed.remove(run)
    }

    pub(super) fn put(&mut self, run: &str, number: u64, segment: Vec<u8>) {
        self.changed(run).insert(number, Some(segment));
    }

    /// Deletes a run's segments that are not needed any more.
    pub(super) fn keep_only(&mut self, run: &str, needed: &BTreeSet<u64>) {
        let is_known = |number: &u64| {
            self.sizes
                .get(run)
                .is_some_and(|sizes| sizes.contains_key(number))
        };
        let written = self.batch.get(run).into_iter().flatten();
        let useless: Vec<(u64, bool)> = written
            .map(|(number, _)| *number)
            .chain(
                self.sizes
                    .get(run)
                    .into_iter()
                    .flatten()
                    .map(|(number, _)| *number),
            )
            .filter(|number| !needed.contains(number))
            .map(|number| (number, is_known(&number)))
            .collect();
        for (number, is_known) in useless {
            if is_known {
                self.changed(run).insert(number, None);
            } else {
                self.changed(run).remove(&number);
            }
        }
    }

    fn changed(&mut self, run: &str) -> &mut Segments<Option<Vec<u8>>> {
        if !self.batch.contains_key(run) {
            self.batch.insert(run.to_owned(), Segments::new());
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
                let bytes = segment.map(|segment| held_bytes(&run, number, &segment));
                self.unpack(&run, number);
                self.size(&run, number, bytes);
            }
        }
    }

    pub(super) fn discard(&mut self) {
        self.batch.clear();
    }

    /// Takes one entry of the changelog.
    pub(super) fn restore(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), String> {
        let wrong = || format!("table {TABLE}, key {key}: not a segment of rows");
        let (run, number) = split(key).ok_or_else(wrong)?;
        let Some(value) = value else {
            self.size(run, number, None);
            self.unpack(run, number);
            return Ok(());
        };
        segments::check(value).map_err(|why| format!("table {TABLE}, key {key}: {why}"))?;
        self.size(run, number, Some(held_bytes(run, number, value)));
        if !self.packed.contains_key(run) {
            self.packed.insert(run.to_owned(), Segments::new());
        }
        if let Some(segments) = self.packed.get_mut(run) {
            segments.insert(number, value.into());
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A segment is not as it was restored any more.
    fn unpack(&mut self, run: &str, number: u64) {
        if let Some(segments) = self.packed.get_mut(run) {
            segments.remove(&number);
            if segments.is_empty() {
                self.packed.remove(run);
            }
        }
    }

    fn size(&mut self, run: &str, number: u64, bytes: Option<u64>) {
        let before = match bytes {
            Some(bytes) => {
                self.bytes += bytes;
                if !self.sizes.contains_key(run) {
                    self.sizes.insert(run.to_owned(), Segments::new());
                }
                self.sizes
                    .get_mut(run)
                    .and_then(|sizes| sizes.insert(number, bytes))
            }
            None => {
                let sizes = self.sizes.get_mut(run);
                let before = sizes.and_then(|sizes| sizes.remove(&number));
                if self.sizes.get(run).is_some_and(BTreeMap::is_empty) {
                    self.sizes.remove(run);
                }
                before
            }
        };
        self.bytes -= before.unwrap_or(0);
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

fn held_bytes(run: &str, number: u64, segment: &[u8]) -> u64 {
    (key(run, number).len() + segment.len()) as u64
}
