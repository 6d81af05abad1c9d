//! Keyed state in memory, with the changes of a batch in an overlay.
//!
//! The overlay *is* the changelog write: it is merged when the batch is committed and dropped when it is aborted, so
//! that an abort costs nothing (DESIGN §3.3). Values are MessagePack with named fields, so that a later binary reads
//! what an earlier one wrote. A value lies in a box of its own: rows and what is followed of a run take kilobytes, which a node of
//! the tree would hold eleven times, half of them empty, and move about with each insertion.
//!
//! A table of large values may keep them packed: what it restores until it is asked for, and what nobody has asked for lately
//! (decision 0020). Bytes that turn out to be no
//! value then are no error of the one who asks: to him there is nothing under the key, and [`Table::unreadable`] says so to the
//! shell, which commits nothing of that batch.

mod stored;

pub use stored::{Part, decode, first_member};

use crate::operator::Change;
use serde::{Serialize, de::DeserializeOwned};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use stored::{Stored, encode};

/// A value of the batch, none where it is removed; and its bytes, once it was written to the changelog.
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
pub struct Table<V> {
    name: &'static str,
    /// Most committed values that are open between batches; the others are packed.
    open_max: usize,
    /// Keys of open values in the order in which they are to be looked at, where their number is bounded; some may be packed
    /// by now, or gone.
    open: RefCell<VecDeque<String>>,
    base: BTreeMap<String, Stored<V>>,
    overlay: BTreeMap<String, Changed<V>>,
    bytes: u64,
    /// The first value that could not be opened, and why.
    unreadable: OnceCell<String>,
}

/// What is restored is packed, and stays open once it is asked for.
pub const OPEN_ALL: usize = usize::MAX - 1;

/// A key as of now, and where its value is.
enum Lying<'a, V> {
    Base(&'a Stored<V>),
    Overlay(&'a V),
}

impl<V: Clone + Serialize + DeserializeOwned> Table<V> {
    /// An empty table; `name` is how the changelog knows it and never changes.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            open_max: usize::MAX,
            open: RefCell::default(),
            base: BTreeMap::new(),
            overlay: BTreeMap::new(),
            bytes: 0,
            unreadable: OnceCell::new(),
        }
    }

    /// The same for large values, of which at most so many are open between batches: those that were asked for last. The others
    /// are packed.
    #[must_use]
    pub fn packed(name: &'static str, open_max: usize) -> Self {
        Self {
            open_max: open_max.min(OPEN_ALL),
            ..Self::new(name)
        }
    }

    fn is_packed(&self) -> bool {
        self.open_max < usize::MAX
    }

    /// Why a restored value could not be opened: nothing that came of it may be committed.
    #[must_use]
    pub fn unreadable(&self) -> Option<&str> {
        self.unreadable.get().map(String::as_str)
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
            None => self.opened(key, self.base.get(key)?),
        }
    }

    /// A part of the value as of now, without opening it.
    #[must_use]
    pub fn part<P: Part<V>>(&self, key: &str) -> Option<P> {
        match self.overlay.get(key) {
            Some(changed) => changed.value.as_deref().map(P::of),
            None => self.readable(key, self.base.get(key)?.part()),
        }
    }

    /// A copy of the value as of now, without opening it.
    #[must_use]
    pub fn copy(&self, key: &str) -> Option<V> {
        match self.overlay.get(key) {
            Some(changed) => changed.value.as_deref().cloned(),
            None => {
                let copied = self.base.get(key)?.copy();
                self.readable(key, copied).map(|value| *value)
            }
        }
    }

    /// A committed value, open from now on.
    fn opened<'a>(&'a self, key: &str, stored: &'a Stored<V>) -> Option<&'a V> {
        if stored.is_packed() {
            self.note_open(key);
        }
        self.readable(key, stored.value())
    }

    fn note_open(&self, key: &str) {
        if self.open_max < OPEN_ALL {
            self.open.borrow_mut().push_back(key.to_owned());
        }
    }

    /// Packs values that nobody has asked for lately, until no more are open than may be: by turns, each used one is spared once.
    fn pack_unused(&mut self) {
        let open = self.open.get_mut();
        let mut scratch = Vec::new();
        while open.len() > self.open_max
            && let Some(key) = open.pop_front()
        {
            match self.base.get_mut(&key) {
                Some(stored) if stored.is_packed() => {}
                Some(stored) if stored.take_used() => open.push_back(key),
                Some(stored) => stored.pack(&mut scratch),
                None => {}
            }
        }
    }

    fn readable<T>(&self, key: &str, read: Result<T, String>) -> Option<T> {
        read.map_err(|why| {
            let why = format!("table {}, key {key}: {why}", self.name);
            self.unreadable.get_or_init(|| why);
        })
        .ok()
    }

    /// The value as of now, to be changed in place; made by `default` where there is none.
    pub fn entry(&mut self, key: &str, default: impl FnOnce() -> V) -> &mut V {
        if !self.overlay.contains_key(key) {
            let current = self.base.get(key).map(Stored::copy);
            let current = current.and_then(|copied| self.readable(key, copied));
            self.overlay.insert(key.to_owned(), current.into());
        }
        let changed = self.overlay.get_mut(key).expect("just inserted");
        changed.bytes.set(0);
        changed.value.get_or_insert_with(|| Box::new(default()))
    }

    /// Brings a committed value that the batch has not touched into another form that means the same: no change, and kept
    /// when the batch is aborted.
    pub fn amend(&mut self, key: &str, amend: impl FnOnce(&mut V)) {
        if self.overlay.contains_key(key) {
            return;
        }
        if self.base.get(key).is_some_and(Stored::is_packed) {
            self.note_open(key);
        }
        let opened = self.base.get_mut(key).map(Stored::value_mut);
        match opened {
            Some(Ok(Some(value))) => amend(value),
            Some(Err(why)) => drop(self.readable(key, Err::<(), _>(why))),
            _ => {}
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
        self.keys_from(first).filter_map(|(key, lying)| {
            let value = match lying {
                Lying::Overlay(value) => Some(value),
                Lying::Base(stored) => self.opened(key, stored),
            };
            value.map(|value| (key, value))
        })
    }

    /// Keys and parts of the values as of now, in key order, from `first` on; none is opened.
    pub fn parts_from<'a, P: Part<V>>(
        &'a self,
        first: &'a str,
    ) -> impl Iterator<Item = (&'a str, P)> + 'a {
        self.keys_from(first).filter_map(|(key, lying)| {
            let part = match lying {
                Lying::Overlay(value) => Some(P::of(value)),
                Lying::Base(stored) => self.readable(key, stored.part()),
            };
            part.map(|part| (key, part))
        })
    }

    fn keys_from<'a>(
        &'a self,
        first: &'a str,
    ) -> impl Iterator<Item = (&'a str, Lying<'a, V>)> + 'a {
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
                        return Some((key.as_str(), Lying::Overlay(&**value)));
                    }
                } else {
                    let (key, stored) = base.next()?;
                    return Some((key.as_str(), Lying::Base(stored)));
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
        self.keys_from("").count()
    }

    /// True when there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys_from("").next().is_none()
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
                let was_open = self
                    .base
                    .get(&key)
                    .is_some_and(|stored| !stored.is_packed());
                if !was_open {
                    self.note_open(&key);
                }
                Stored::open(value, bytes).used(was_open)
            });
            self.place(key, fresh);
        }
        self.pack_unused();
    }

    /// Forgets the batch's changes.
    pub fn discard(&mut self) {
        self.overlay.clear();
    }

    /// Takes one entry of the changelog.
    ///
    /// # Errors
    /// Says which key of which table cannot be read, and why; a packed table says it when it opens the value.
    pub fn restore(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), String> {
        let fresh = match value {
            None => None,
            Some(value) => {
                let bytes = (key.len() + value.len()) as u64;
                Some(if self.is_packed() {
                    Stored::packed(value, bytes)
                } else {
                    let value = decode(value)
                        .map_err(|why| format!("table {}, key {key}: {why}", self.name))?;
                    Stored::open(Box::new(value), bytes)
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

    fn place(&mut self, key: String, fresh: Option<Stored<V>>) {
        let added = fresh.as_ref().map_or(0, Stored::bytes);
        let removed = match fresh {
            Some(stored) => self.base.insert(key, stored),
            None => self.base.remove(&key),
        }
        .map_or(0, |stored| stored.bytes());
        self.bytes = self.bytes + added - removed;
    }
}

#[cfg(test)]
mod tests;
