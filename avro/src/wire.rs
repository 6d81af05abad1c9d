//! Avro on the wire: what writes a value's bytes and reads them back ([`Wire`]), and a cursor that
//! never reads past the end nor allocates for a length that the bytes cannot hold.
//!
//! The records' own implementations are generated, a line each: fields in the schema's order.
//! Bytes are those of `apache-avro`'s encoder; a test holds one against the other.

use std::collections::BTreeMap;

use thiserror::Error;

/// Why bytes are not what a schema says.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Break {
    /// The bytes end inside a value.
    #[error("the bytes end inside a value")]
    Truncated,
    /// A number needs more than 64 bits.
    #[error("a number of more than 64 bits")]
    Overlong,
    /// A length or count is negative or more than there are bytes.
    #[error("a length of {0}, which the bytes cannot hold")]
    Length(i64),
    /// A branch or symbol that the schema does not have.
    #[error("choice {0} of {1}")]
    Choice(i64, usize),
    /// A boolean that is neither 0 nor 1.
    #[error("a boolean of {0}")]
    Boolean(u8),
    /// A string that is not UTF-8.
    #[error("a string that is not UTF-8")]
    Utf8,
    /// A value that the reader has no place for, and what it is.
    #[error("{0}")]
    Unfit(String),
}

/// A value with its place in a schema of this build.
pub trait Wire: Sized {
    /// Appends its bytes.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads it where the cursor stands.
    ///
    /// # Errors
    /// The bytes are not what the schema says.
    fn get(from: &mut Cursor<'_>) -> Result<Self, Break>;
}

/// Implements [`Wire`] for a record: its fields in the schema's order.
macro_rules! wire_record {
    ($record:ident: $($field:ident)*) => {
        impl crate::wire::Wire for $record {
            fn put(&self, out: &mut Vec<u8>) {
                $(crate::wire::Wire::put(&self.$field, out);)*
            }

            fn get(from: &mut crate::wire::Cursor<'_>) -> Result<Self, crate::wire::Break> {
                Ok(Self { $($field: crate::wire::Wire::get(from)?,)* })
            }
        }
    };
}
pub(crate) use wire_record;

/// Implements [`Wire`] for a union of records: its variants in the schema's order.
macro_rules! wire_union {
    ($union:ident: $($variant:ident = $index:literal)*) => {
        impl crate::wire::Wire for $union {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(record) => {
                        crate::wire::put_long($index, out);
                        crate::wire::Wire::put(record, out);
                    })*
                }
            }

            fn get(from: &mut crate::wire::Cursor<'_>) -> Result<Self, crate::wire::Break> {
                let choices = [$($index),*].len();
                match from.choice(choices)? {
                    $($index => crate::wire::Wire::get(from).map(Self::$variant),)*
                    other => Err(crate::wire::Break::Choice(other as i64, choices)),
                }
            }
        }
    };
}
pub(crate) use wire_union;

/// Most items that room is made for before they are read: a short record may claim many.
const ROOM_ITEMS_MAX: usize = 1_024;

macro_rules! wire_primitive {
    ($($kind:ty: $value:ident $out:ident $put:expr, $get:ident;)+) => {
        $(impl Wire for $kind {
            fn put(&self, $out: &mut Vec<u8>) {
                let $value = self;
                $put
            }

            fn get(from: &mut Cursor<'_>) -> Result<Self, Break> {
                from.$get().map(Into::into)
            }
        })+
    };
}

wire_primitive! {
    bool: value out out.push(u8::from(*value)), boolean;
    i32: value out put_long(i64::from(*value), out), int;
    i64: value out put_long(*value, out), long;
    f64: value out out.extend_from_slice(&value.to_le_bytes()), double;
    String: value out put_bytes(value.as_bytes(), out), text;
    Vec<u8>: value out put_bytes(value, out), bytes;
}

impl<T: Wire> Wire for Box<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }

    fn get(from: &mut Cursor<'_>) -> Result<Self, Break> {
        T::get(from).map(Box::new)
    }
}

/// Null is the first branch in every schema of ours.
impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(2);
                value.put(out);
            }
        }
    }

    fn get(from: &mut Cursor<'_>) -> Result<Self, Break> {
        match from.choice(2)? {
            0 => Ok(None),
            _ => T::get(from).map(Some),
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        if !self.is_empty() {
            put_long(self.len() as i64, out);
            self.iter().for_each(|item| item.put(out));
        }
        out.push(0);
    }

    fn get(from: &mut Cursor<'_>) -> Result<Self, Break> {
        let mut items = Vec::new();
        loop {
            let count = from.block()?;
            if count == 0 {
                return Ok(items);
            }
            items.reserve(count.min(ROOM_ITEMS_MAX));
            for _ in 0..count {
                items.push(T::get(from)?);
            }
        }
    }
}

impl<T: Wire> Wire for BTreeMap<String, T> {
    fn put(&self, out: &mut Vec<u8>) {
        if !self.is_empty() {
            put_long(self.len() as i64, out);
            for (key, value) in self {
                put_bytes(key.as_bytes(), out);
                value.put(out);
            }
        }
        out.push(0);
    }

    fn get(from: &mut Cursor<'_>) -> Result<Self, Break> {
        let mut map = BTreeMap::new();
        loop {
            let count = from.block()?;
            if count == 0 {
                return Ok(map);
            }
            for _ in 0..count {
                let key = String::get(from)?;
                map.insert(key, T::get(from)?);
            }
        }
    }
}

/// Appends a long (or an int: they look the same).
pub(crate) fn put_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends bytes or a string, length first.
pub(crate) fn put_bytes(value: &[u8], out: &mut Vec<u8>) {
    put_long(value.len() as i64, out);
    out.extend_from_slice(value);
}

/// A place in bytes that are being read.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    /// What is still to be read.
    pub(crate) rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Break> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Break::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Break> {
        let (first, rest) = self.rest.split_first().ok_or(Break::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    pub(crate) fn long(&mut self) -> Result<i64, Break> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            // The tenth byte holds bit 63 alone.
            if shift == 63 && byte > 1 {
                return Err(Break::Overlong);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
            }
        }
        Err(Break::Overlong)
    }

    pub(crate) fn int(&mut self) -> Result<i32, Break> {
        i32::try_from(self.long()?).map_err(|_| Break::Overlong)
    }

    pub(crate) fn boolean(&mut self) -> Result<bool, Break> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Break::Boolean(other)),
        }
    }

    pub(crate) fn float(&mut self) -> Result<f32, Break> {
        let bytes = self.take(4)?.try_into().map_err(|_| Break::Truncated)?;
        Ok(f32::from_le_bytes(bytes))
    }

    pub(crate) fn double(&mut self) -> Result<f64, Break> {
        let bytes = self.take(8)?.try_into().map_err(|_| Break::Truncated)?;
        Ok(f64::from_le_bytes(bytes))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Break> {
        let length = self.long()?;
        let fits = usize::try_from(length)
            .ok()
            .filter(|length| *length <= self.rest.len());
        self.take(fits.ok_or(Break::Length(length))?)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Break> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Break::Utf8)
    }

    /// The index of a union branch or enum symbol.
    pub(crate) fn choice(&mut self, choices: usize) -> Result<usize, Break> {
        let index = self.long()?;
        let known = usize::try_from(index).ok().filter(|index| *index < choices);
        known.ok_or(Break::Choice(index, choices))
    }

    /// The number of items in the next block of an array or map; 0 ends it.
    ///
    /// No more items than bytes: items without any bytes would let a short record loop for ever.
    pub(crate) fn block(&mut self) -> Result<usize, Break> {
        let count = self.long()?;
        if count < 0 {
            self.long()?;
        }
        let fits = usize::try_from(count.unsigned_abs()).ok();
        fits.filter(|fits| *fits <= self.rest.len())
            .ok_or(Break::Length(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_makes_no_room_for_what_the_bytes_cannot_hold() {
        // A thousand strings are claimed, and two bytes follow.
        let mut bytes = Vec::new();
        put_long(1_000, &mut bytes);
        bytes.extend([0, 0]);
        let read = Vec::<String>::get(&mut Cursor { rest: &bytes });
        assert_eq!(read, Err(Break::Length(1_000)));
    }

    #[test]
    fn longs_come_back() {
        for value in [
            0,
            -1,
            1,
            63,
            -64,
            64,
            300,
            i64::MAX,
            i64::MIN,
            i64::from(i32::MIN),
        ] {
            let mut bytes = Vec::new();
            put_long(value, &mut bytes);
            let mut cursor = Cursor { rest: &bytes };
            assert_eq!(cursor.long(), Ok(value));
            assert!(cursor.rest.is_empty());
        }
    }

    #[test]
    fn broken_bytes_are_told_apart() {
        let long = |bytes: &[u8]| Cursor { rest: bytes }.long();
        assert_eq!(long(&[]), Err(Break::Truncated));
        assert_eq!(long(&[0x80]), Err(Break::Truncated));
        assert_eq!(long(&[0xff; 11]), Err(Break::Overlong));
        let bytes = |bytes: &[u8]| Cursor { rest: bytes }.bytes().map(<[u8]>::to_vec);
        assert_eq!(bytes(&[1]), Err(Break::Length(-1)));
        assert_eq!(bytes(&[8, 0]), Err(Break::Length(4)));
        assert_eq!(Cursor { rest: &[2, 0xff] }.text(), Err(Break::Utf8));
        assert_eq!(Cursor { rest: &[200, 1] }.block(), Err(Break::Length(100)));
        assert_eq!(Cursor { rest: &[2] }.boolean(), Err(Break::Boolean(2)));
    }
}
