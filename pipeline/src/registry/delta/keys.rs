//! Which file of a table holds which key.
//!
//! A key is known by 64 bits of its hash: two keys that share them cost a file that is written anew for nothing, never a wrong
//! row, since rows are told apart by the keys themselves.

use super::super::Fault;
use super::{fault, upsert};
use deltalake::DeltaTable;
use deltalake::kernel::{Add, Remove};
use futures::TryStreamExt as _;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// A file of a table.
#[derive(Clone, Debug)]
pub(super) struct DataFile {
    /// Its path within the table.
    pub path: String,
    /// Bytes.
    pub size_bytes: i64,
    /// Rows.
    pub rows: usize,
}

impl DataFile {
    pub(super) fn of(add: &Add, rows: usize) -> Self {
        Self {
            path: add.path.clone(),
            size_bytes: add.size,
            rows,
        }
    }

    /// The action that takes it out of the table.
    pub(super) fn remove(&self, now_ms: i64) -> Remove {
        Remove {
            path: self.path.clone(),
            data_change: true,
            deletion_timestamp: Some(now_ms),
            extended_file_metadata: Some(true),
            partition_values: Some(HashMap::new()),
            size: Some(self.size_bytes),
            ..Remove::default()
        }
    }
}

/// The files of a table, and the keys in them.
#[derive(Debug, Default)]
pub(super) struct Keys {
    next_id: u32,
    pub(super) files: BTreeMap<u32, DataFile>,
    holder: HashMap<u64, u32>,
}

/// What a commit does with the files that it touches.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Written anew together with the batch, into one file where there is room.
    pub merged: BTreeSet<u32>,
    /// Written anew without the rows that the batch replaces, which lie with the batch from now on.
    pub parted: BTreeSet<u32>,
    /// Rows replaced where they lie.
    pub patched: BTreeSet<u32>,
}

/// A touched file is large where it has more rows than this many times those of the batch, …
const LARGE_TIMES: usize = 4;
/// … and more than this part of the rows that a file may have (1,000 of 50,000): smaller ones cost little more than that they are.
const LARGE_PART: usize = 50;

pub(super) fn hash(key: &str) -> u64 {
    // the same within a process is enough: it is written nowhere
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

impl Keys {
    /// Reads the keys of every file.
    pub(super) async fn load(delta: &DeltaTable, with_keys: bool) -> Result<Self, Fault> {
        let mut found = Self::default();
        let snapshot = delta.snapshot().map_err(fault)?;
        let log_store = delta.log_store();
        let mut views = snapshot.snapshot().file_views(log_store.as_ref(), None);
        while let Some(view) = views.try_next().await.map_err(fault)? {
            let mut file = DataFile {
                path: view.path().into_owned(),
                size_bytes: view.size(),
                rows: view.num_records().unwrap_or(0),
            };
            if with_keys {
                let keys = upsert::keys_of(delta, &file).await?;
                file.rows = keys.len();
                found.add(file, &keys);
            } else {
                found.add(file, &[]);
            }
        }
        Ok(found)
    }

    /// A file more.
    pub(super) fn add(&mut self, file: DataFile, keys: &[u64]) {
        let id = self.next_id;
        self.next_id += 1;
        self.files.insert(id, file);
        self.holder.extend(keys.iter().map(|key| (*key, id)));
    }

    /// The file that holds this key.
    pub(super) fn holder(&self, key: &str) -> Option<u32> {
        self.holder.get(&hash(key)).copied()
    }

    /// What a commit of so many rows does with the files that it touches, given how many of its keys each holds. `loses` are
    /// those that lose a row for good.
    ///
    /// To patch a large file is cheap, but each patch copies it. So one of them gives up the rows that are amended: those of
    /// runs that go on being amended are soon together in a small file, and only a sweep over old rows patches.
    pub(super) fn plan(
        &self,
        touched: &BTreeMap<u32, usize>,
        loses: &BTreeSet<u32>,
        rows: usize,
        rows_max: usize,
    ) -> Plan {
        let mut plan = Plan::default();
        let large_from = (LARGE_TIMES * rows).max(rows_max / LARGE_PART);
        let mut large: Vec<(usize, u32)> = Vec::new();
        for (id, count) in touched {
            let file_rows = self.files.get(id).map_or(0, |file| file.rows);
            if file_rows <= large_from {
                plan.merged.insert(*id);
            } else if loses.contains(id) {
                plan.parted.insert(*id);
            } else {
                large.push((*count, *id));
            }
        }
        large.sort_unstable();
        plan.parted.extend(large.pop().map(|(_, id)| id));
        plan.patched.extend(large.into_iter().map(|(_, id)| id));
        plan.merged
            .extend(self.absorbed(touched, &plan.merged, rows, rows_max));
        plan
    }

    /// The files that a commit of so many rows takes along, beside those that it merges anyway: all untouched ones that are no
    /// larger than what it has by then. A row is thus written again as often as its file doubles, and no oftener.
    fn absorbed(
        &self,
        touched: &BTreeMap<u32, usize>,
        merged: &BTreeSet<u32>,
        rows: usize,
        rows_max: usize,
    ) -> BTreeSet<u32> {
        let mut others: Vec<(usize, u32)> = self
            .files
            .iter()
            .filter(|(id, _)| !touched.contains_key(id))
            .map(|(id, file)| (file.rows, *id))
            .collect();
        others.sort_unstable();
        let mut sum = rows
            + merged
                .iter()
                .filter_map(|id| self.files.get(id))
                .map(|file| file.rows)
                .sum::<usize>();
        let mut found = BTreeSet::new();
        for (rows, id) in others {
            if rows > sum || sum + rows > rows_max {
                break;
            }
            sum += rows;
            found.insert(id);
        }
        found
    }

    /// The same keys in another file.
    pub(super) fn renew(&mut self, id: u32, add: &Add) {
        if let Some(file) = self.files.get_mut(&id) {
            *file = DataFile::of(add, file.rows);
        }
    }

    /// Forgets files, and of these keys who holds them.
    pub(super) fn take_out(&mut self, files: &BTreeSet<u32>, gone: impl Iterator<Item = u64>) {
        for key in gone {
            if self.holder.get(&key).is_some_and(|id| files.contains(id)) {
                self.holder.remove(&key);
            }
        }
        self.files.retain(|id, _| !files.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(rows: usize) -> DataFile {
        DataFile {
            path: format!("{rows}"),
            size_bytes: 1,
            rows,
        }
    }

    fn plan(keys: &Keys, touched: &[(u32, usize)], rows: usize) -> Plan {
        keys.plan(
            &touched.iter().copied().collect(),
            &BTreeSet::new(),
            rows,
            50_000,
        )
    }

    /// A thousand commits of one row leave about as many files as the number has binary digits, not a thousand.
    #[test]
    fn small_files_are_taken_along() {
        let mut keys = Keys::default();
        let mut written = 0;
        for _ in 0..1_000 {
            let taken = plan(&keys, &[], 1).merged;
            let rows = 1 + taken.iter().map(|id| keys.files[id].rows).sum::<usize>();
            keys.take_out(&taken, std::iter::empty());
            keys.add(file(rows), &[]);
            written += rows;
        }
        let rows: usize = keys.files.values().map(|file| file.rows).sum();
        assert_eq!(rows, 1_000);
        assert!(keys.files.len() <= 10, "{} files", keys.files.len());
        assert!(written <= 10 * 1_000, "{written} rows written");
    }

    #[test]
    fn full_files_are_left_alone() {
        let mut keys = Keys::default();
        keys.add(file(50_000), &[]);
        keys.add(file(10), &[]);
        assert_eq!(plan(&keys, &[], 60_000), Plan::default());
    }

    /// Of large files one gives up the rows that are amended, the others are patched; small ones are merged.
    #[test]
    fn large_files_are_patched_but_one() {
        let mut keys = Keys::default();
        for rows in [50_000, 50_000, 50_000, 700] {
            keys.add(file(rows), &[]);
        }
        let found = plan(&keys, &[(0, 10), (1, 11), (2, 10), (3, 5)], 36);
        assert_eq!(found.parted, [1].into());
        assert_eq!(found.patched, [0, 2].into());
        assert_eq!(found.merged, [3].into());
    }

    /// A row that is gone for good leaves no place to patch.
    #[test]
    fn a_file_that_loses_a_row_is_written_anew() {
        let mut keys = Keys::default();
        for _ in 0..3 {
            keys.add(file(50_000), &[]);
        }
        let touched = [(0, 1), (1, 1), (2, 1)].into();
        let found = keys.plan(&touched, &[0].into(), 2, 50_000);
        assert_eq!(found.parted, [0, 2].into());
        assert_eq!(found.patched, [1].into());
    }

    /// Runs that go on being amended leave the large files one by one; a commit then writes about as much as it has.
    #[test]
    fn rows_that_live_leave_large_files() {
        let mut keys = Keys::default();
        for id in 0..5_u64 {
            keys.add(file(50_000), &[id]);
        }
        for commit in 0..5 {
            let mut touched = BTreeMap::new();
            for key in 0..5 {
                *touched.entry(keys.holder[&key]).or_insert(0) += 1;
            }
            let found = keys.plan(&touched, &BTreeSet::new(), 5, 50_000);
            assert_eq!(found.patched.len(), 4 - commit);
            let moved: Vec<u64> = (0..5)
                .filter(|key| !found.patched.contains(&keys.holder[key]))
                .collect();
            keys.take_out(&found.merged, std::iter::empty());
            keys.add(file(moved.len()), &moved);
        }
    }
}
