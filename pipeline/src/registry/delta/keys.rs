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

    /// The files that hold one of these keys.
    pub(super) fn holders(&self, keys: impl Iterator<Item = u64>) -> BTreeSet<u32> {
        keys.filter_map(|key| self.holder.get(&key).copied())
            .collect()
    }

    /// The files that a commit of so many rows takes along, beside those that it writes anew anyway: all that are no larger
    /// than what it has by then. A row is thus written again as often as its file doubles, and no oftener.
    pub(super) fn absorbed(
        &self,
        touched: &BTreeSet<u32>,
        rows: usize,
        rows_max: usize,
    ) -> BTreeSet<u32> {
        let mut others: Vec<(usize, u32)> = self
            .files
            .iter()
            .filter(|(id, _)| !touched.contains(id))
            .map(|(id, file)| (file.rows, *id))
            .collect();
        others.sort_unstable();
        let mut sum = rows
            + touched
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

    /// A thousand commits of one row leave about as many files as the number has binary digits, not a thousand.
    #[test]
    fn small_files_are_taken_along() {
        let mut keys = Keys::default();
        let mut written = 0;
        for _ in 0..1_000 {
            let taken = keys.absorbed(&BTreeSet::new(), 1, 50_000);
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
        let taken = keys.absorbed(&BTreeSet::new(), 60_000, 50_000);
        assert!(taken.is_empty());
    }
}
