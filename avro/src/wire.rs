//! Avro's primitives on the wire: variable-length integers, and a cursor that never reads past
//! the end nor allocates for a length that the bytes cannot hold.

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
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
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
