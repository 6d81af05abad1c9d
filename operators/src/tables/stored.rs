//! A committed value: open, or packed as the changelog has it until somebody asks for it.
//!
//! A struct of eighty members takes several times its bytes in the changelog, and a restart that decodes a million of them most of its time.
//! Most runs are not touched for long; of those, the bytes are enough.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::{Cell, OnceCell};

/// Some members of a value, under the names that they have there: what can be looked at without opening the rest.
pub trait Part<V>: DeserializeOwned {
    /// The same of an open value.
    fn of(whole: &V) -> Self;

    /// The same from a value's bytes. By default all of them are read; a part that knows where it lies need not.
    ///
    /// # Errors
    /// Why the bytes have no such part.
    fn read(packed: &[u8]) -> Result<Self, String> {
        decode(packed)
    }
}

/// A committed value and the bytes that it takes in the changelog.
pub(super) struct Stored<V> {
    open: OnceCell<Box<V>>,
    /// Empty once it is open: no value packs into nothing.
    packed: Cell<Box<[u8]>>,
    /// Somebody has asked for it once more since it was opened, or since this was asked last.
    is_used: Cell<bool>,
    bytes: u64,
}

impl<V: Clone + DeserializeOwned> Stored<V> {
    /// An open value.
    pub(super) fn open(value: Box<V>, bytes: u64) -> Self {
        Self {
            open: OnceCell::from(value),
            packed: Cell::default(),
            is_used: Cell::new(false),
            bytes,
        }
    }

    /// A value as the changelog has it.
    pub(super) fn packed(value: &[u8], bytes: u64) -> Self {
        Self {
            open: OnceCell::new(),
            packed: Cell::new(value.into()),
            is_used: Cell::new(false),
            bytes,
        }
    }

    /// Bytes in the changelog, the key's among them.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The value; open from now on.
    ///
    /// # Errors
    /// Why its bytes are none.
    pub(super) fn value(&self) -> Result<&V, String> {
        if let Some(value) = self.open.get() {
            self.is_used.set(true);
            return Ok(value);
        }
        let value = self.with_packed(decode)?;
        self.packed.take();
        Ok(self.open.get_or_init(|| Box::new(value)))
    }

    /// The value, to be changed.
    ///
    /// # Errors
    /// Why its bytes are none.
    pub(super) fn value_mut(&mut self) -> Result<Option<&mut V>, String> {
        self.value()?;
        Ok(self.open.get_mut().map(|value| &mut **value))
    }

    /// A copy; what is packed stays so.
    ///
    /// # Errors
    /// Why its bytes are none.
    pub(super) fn copy(&self) -> Result<Box<V>, String> {
        match self.open.get() {
            Some(value) => Ok(value.clone()),
            None => self.with_packed(decode).map(Box::new),
        }
    }

    /// A part of it; what is packed stays so.
    ///
    /// # Errors
    /// Why its bytes have no such part.
    pub(super) fn part<P: Part<V>>(&self) -> Result<P, String> {
        match self.open.get() {
            Some(value) => Ok(P::of(value)),
            None => self.with_packed(P::read),
        }
    }

    /// It takes the place of one that was open: somebody has asked for that.
    pub(super) fn used(self, is_used: bool) -> Self {
        self.is_used.set(is_used);
        self
    }

    /// Whether somebody has asked for it once more since it was opened, or since this was asked last.
    pub(super) fn take_used(&self) -> bool {
        self.is_used.take()
    }

    pub(super) fn is_packed(&self) -> bool {
        self.open.get().is_none()
    }

    /// Packs an open value.
    pub(super) fn pack(&mut self, scratch: &mut Vec<u8>)
    where
        V: Serialize,
    {
        if let Some(value) = self.open.take() {
            self.packed.set(encode(&*value, scratch).into());
        }
    }

    fn with_packed<T>(&self, read: impl FnOnce(&[u8]) -> Result<T, String>) -> Result<T, String> {
        let bytes = self.packed.take();
        let read = read(&bytes);
        self.packed.set(bytes);
        read
    }
}

/// The first member of a value's bytes, where it has this name; what follows is not looked at.
pub fn first_member<T: DeserializeOwned>(name: &str, packed: &[u8]) -> Option<T> {
    // a map of at most 15 members, then a text of at most 31 bytes
    let (count, rest) = packed.split_first()?;
    let (length, rest) = rest.split_first()?;
    let is_it = count >> 4 == 8 && usize::from(*length) == 0xa0 | name.len() && name.len() < 32;
    let value = rest.strip_prefix(name.as_bytes()).filter(|_| is_it)?;
    let mut from = rmp_serde::Deserializer::from_read_ref(value);
    T::deserialize(&mut from).ok()
}

/// A value from its bytes.
///
/// # Errors
/// Why they are none.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(bytes).map_err(|error| error.to_string())
}

/// A value's bytes, in a buffer that the next one takes again: values grow to some KiB, and a buffer of their own would grow with each.
pub(super) fn encode<'a, V: Serialize>(value: &V, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    scratch.clear();
    // Writing to memory cannot fail, and every table's value is plain data.
    rmp_serde::encode::write_named(scratch, value).expect("plain data always encodes");
    scratch
}
