//! Keyed state in memory, with the changes of a batch in an overlay.
//!
//! The overlay *is* the changelog write: it is merged when the batch is committed and dropped when it is aborted, so
//! that an abort costs nothing (DESIGN §3.3). Values are MessagePack with named fields, so that a later binary reads
//! what an earlier one wrote. A value lies in a box of its own: rows and what is followed of a run take kilobytes, which a node of
//! the tree would hold eleven times, half of them empty, and move about with each insertion.

use crate::operator::Change;
use serde::{Serialize, de::DeserializeOwned};
use std::cell::Cell;
use std::collections::BTreeMap;

/// A committed value and the bytes it takes in the changelog.
#[derive(Clone, Debug)]
struct Kept<V> {
    value: Box<V>,
    bytes: u64,
}

/// A value of the batch, none where it is removed; and its bytes, once it was written to the changelog.
#[derive(Clone, Debug)]
struct Changed<V> {
    value: Option<Box<V>>,
    /// 0: not known, encode to know.
    bytes: Cell<u64>,
}

impl<V> From<Option<Box<V>>> for Changed<V> {
    fn from(value: Option<Box<V>>) -> Self {
        Self {
            value,
            bytes: Cell::new(0),
        }
    }
}

/// One table of a task.
#[derive(Clone, Debug)]
pub struct Table<V> {
    name: &'static str,
    base: BTreeMap<String, Kept<V>>,
    overlay: BTreeMap<String, Changed<V>>,
    bytes: u64,
}

impl<V: Clone + Serialize + DeserializeOwned> Table<V> {
    /// An empty table; `name` is how the changelog knows it and never changes.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            base: BTreeMap::new(),
            overlay: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// How the changelog knows it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The value as of now, the batch's changes included.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&V> {
        match self.overlay.get(key) {
            Some(changed) => changed.value.as_deref(),
            None => self.base.get(key).map(|kept| &*kept.value),
        }
    }

    /// The value as of now, to be changed in place; made by `default` where there is none.
    pub fn entry(&mut self, key: &str, default: impl FnOnce() -> V) -> &mut V {
        if !self.overlay.contains_key(key) {
            let current = self.base.get(key).map(|kept| kept.value.clone());
            self.overlay.insert(key.to_owned(), current.into());
        }
        let changed = self.overlay.get_mut(key).expect("just inserted");
        changed.bytes.set(0);
        changed.value.get_or_insert_with(|| Box::new(default()))
    }

    /// Brings a committed value that the batch has not touched into another form that means the same: no change, and kept
    /// when the batch is aborted.
    pub fn amend(&mut self, key: &str, amend: impl FnOnce(&mut V)) {
        if !self.overlay.contains_key(key)
            && let Some(kept) = self.base.get_mut(key)
        {
            amend(&mut kept.value);
        }
    }

    /// Keys that the batch has changed so far, with their values to be changed once more; none where the key was removed.
    pub fn changed_mut(&mut self) -> impl Iterator<Item = (&str, Option<&mut V>)> {
        self.overlay.iter_mut().map(|(key, changed)| {
            changed.bytes.set(0);
            (key.as_str(), changed.value.as_deref_mut())
        })
    }

    /// Sets a value.
    pub fn put(&mut self, key: &str, value: V) {
        self.overlay
            .insert(key.to_owned(), Some(Box::new(value)).into());
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        if self.base.contains_key(key) {
            self.overlay.insert(key.to_owned(), None.into());
        } else {
            self.overlay.remove(key);
        }
    }

    /// Keys and values as of now, in key order, from `first` on.
    pub fn range_from<'a>(&'a self, first: &'a str) -> impl Iterator<Item = (&'a str, &'a V)> + 'a {
        let mut base = self
            .base
            .range::<str, _>((std::ops::Bound::Included(first), std::ops::Bound::Unbounded))
            .peekable();
        let mut overlay = self
            .overlay
            .range::<str, _>((std::ops::Bound::Included(first), std::ops::Bound::Unbounded))
            .peekable();
        std::iter::from_fn(move || {
            loop {
                let take_overlay = match (base.peek(), overlay.peek()) {
                    (None, None) => return None,
                    (Some(_), None) => false,
                    (None, Some(_)) => true,
                    (Some((b, _)), Some((o, _))) => {
                        if b == o {
                            base.next();
                            true
                        } else {
                            o < b
                        }
                    }
                };
                if take_overlay {
                    let (key, changed) = overlay.next()?;
                    if let Some(value) = &changed.value {
                        return Some((key.as_str(), &**value));
                    }
                } else {
                    let (key, kept) = base.next()?;
                    return Some((key.as_str(), &*kept.value));
                }
            }
        })
    }

    /// All keys and values as of now, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> + '_ {
        self.range_from("")
    }

    /// Entries as of now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// True when there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Keys that the batch has changed so far, in key order.
    pub fn changed(&self) -> impl Iterator<Item = &str> + '_ {
        self.overlay.keys().map(String::as_str)
    }

    /// Adds the batch's changes to `changes`, in key order.
    pub fn changes(&self, changes: &mut Vec<Change>) {
        let mut scratch = Vec::new();
        for (key, changed) in &self.overlay {
            if changed.value.is_none() && !self.base.contains_key(key) {
                continue;
            }
            let value = changed
                .value
                .as_ref()
                .map(|value| encode(&**value, &mut scratch).to_vec());
            if let Some(encoded) = &value {
                changed.bytes.set((key.len() + encoded.len()) as u64);
            }
            changes.push(Change {
                table: self.name,
                key: key.clone(),
                value,
            });
        }
    }

    /// Makes the batch's changes the state.
    pub fn merge(&mut self) {
        let mut scratch = Vec::new();
        for (key, changed) in std::mem::take(&mut self.overlay) {
            let fresh = changed.value.map(|value| {
                let bytes = match changed.bytes.get() {
                    0 => (key.len() + encode(&*value, &mut scratch).len()) as u64,
                    known => known,
                };
                Kept { value, bytes }
            });
            self.place(key, fresh);
        }
    }

    /// Forgets the batch's changes.
    pub fn discard(&mut self) {
        self.overlay.clear();
    }

    /// Takes one entry of the changelog.
    ///
    /// # Errors
    /// Says which key of which table cannot be read, and why.
    pub fn restore(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), String> {
        let fresh = match value {
            None => None,
            Some(bytes) => {
                let value = rmp_serde::from_slice(bytes)
                    .map_err(|error| format!("table {}, key {key}: {error}", self.name))?;
                Some(Kept {
                    value: Box::new(value),
                    bytes: (key.len() + bytes.len()) as u64,
                })
            }
        };
        self.place(key.to_owned(), fresh);
        Ok(())
    }

    /// Bytes of the committed entries.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn place(&mut self, key: String, fresh: Option<Kept<V>>) {
        let added = fresh.as_ref().map_or(0, |kept| kept.bytes);
        let removed = match fresh {
            Some(kept) => self.base.insert(key, kept),
            None => self.base.remove(&key),
        }
        .map_or(0, |kept| kept.bytes);
        self.bytes = self.bytes + added - removed;
    }
}

/// A value's bytes, in a buffer that the next one takes again: values grow to some KiB, and a buffer of their own would grow with each.
fn encode<'a, V: Serialize>(value: &V, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    scratch.clear();
    // Writing to memory cannot fail, and every table's value is plain data.
    rmp_serde::encode::write_named(scratch, value).expect("plain data always encodes");
    scratch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(&str, i64)]) -> Table<i64> {
        let mut table = Table::new("t");
        for (key, value) in entries {
            table.put(key, *value);
        }
        table.merge();
        table
    }

    #[test]
    fn an_abort_leaves_what_was_committed() {
        let mut table = table(&[("a", 1), ("b", 2)]);
        *table.entry("a", || 0) += 10;
        table.remove("b");
        table.put("c", 3);
        assert_eq!(table.iter().collect::<Vec<_>>(), [("a", &11), ("c", &3)]);
        table.discard();
        assert_eq!(table.iter().collect::<Vec<_>>(), [("a", &1), ("b", &2)]);
    }

    #[test]
    fn the_changelog_rebuilds_the_table() {
        let mut source = table(&[("a", 1), ("b", 2)]);
        let mut twin = table(&[("a", 1), ("b", 2)]);
        source.remove("a");
        source.put("z", 26);
        let mut changes = Vec::new();
        source.changes(&mut changes);
        source.merge();
        for change in &changes {
            twin.restore(&change.key, change.value.as_deref())
                .expect("its own bytes");
        }
        assert_eq!(
            twin.iter().collect::<Vec<_>>(),
            source.iter().collect::<Vec<_>>()
        );
        assert_eq!(twin.bytes(), source.bytes());
    }

    #[test]
    fn what_came_and_went_in_one_batch_is_no_change() {
        let mut table = table(&[]);
        table.put("a", 1);
        table.remove("a");
        let mut changes = Vec::new();
        table.changes(&mut changes);
        assert!(changes.is_empty());
    }

    #[test]
    fn ranges_see_both_layers_in_order() {
        let mut table = table(&[("a", 1), ("c", 3), ("e", 5)]);
        table.put("b", 2);
        table.put("c", 33);
        table.remove("e");
        assert_eq!(
            table.range_from("b").collect::<Vec<_>>(),
            [("b", &2), ("c", &33)]
        );
    }
}
