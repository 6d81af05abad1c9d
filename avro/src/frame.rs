//! The frame around Avro on the bus, as Confluent's serializers write it: a zero byte, the id of
//! the writer's schema (four bytes, big-endian), the datum.

use thiserror::Error;

/// Bytes in front of the datum.
pub const HEADER_BYTES: usize = 5;

/// First byte of a frame.
pub const MAGIC: u8 = 0;

/// A framed datum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Id of the schema that the datum was written with.
    pub schema_id: u32,
    /// The datum.
    pub body: &'a [u8],
}

/// What a value on an ingress topic is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A frame around Avro.
    Frame(Frame<'a>),
    /// The contract's JSON.
    Json(&'a [u8]),
}

/// Why a value is not what the bus carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// No bytes at all.
    #[error("the value is empty")]
    Empty,
    /// The first byte fits nothing.
    #[error(
        "the value starts with 0x{0:02x}: neither a frame (0x00) nor the contract's JSON (`{{`)"
    )]
    Magic(u8),
    /// A frame that ends within its header.
    #[error("a frame of {0} bytes is shorter than its header of {HEADER_BYTES}")]
    Short(usize),
}

/// Takes a frame apart.
///
/// ```
/// use cairn_avro::frame;
///
/// let mut bytes = Vec::new();
/// frame::put(7, &mut bytes);
/// bytes.extend_from_slice(b"datum");
/// assert_eq!(frame::split(&bytes), Ok(frame::Frame { schema_id: 7, body: b"datum" }));
/// assert_eq!(frame::split(&bytes[..3]), Err(frame::Fault::Short(3)));
/// ```
pub fn split(value: &[u8]) -> Result<Frame<'_>, Fault> {
    match *value {
        [] => Err(Fault::Empty),
        [MAGIC, a, b, c, d, ref body @ ..] => Ok(Frame {
            schema_id: u32::from_be_bytes([a, b, c, d]),
            body,
        }),
        [MAGIC, ..] => Err(Fault::Short(value.len())),
        [first, ..] => Err(Fault::Magic(first)),
    }
}

/// Tells a value of an ingress topic: a frame or the contract's JSON.
pub fn tell(value: &[u8]) -> Result<Value<'_>, Fault> {
    match value.first() {
        Some(b'{') => Ok(Value::Json(value)),
        _ => split(value).map(Value::Frame),
    }
}

/// Appends a frame's header; the datum follows.
pub fn put(schema_id: u32, out: &mut Vec<u8>) {
    out.push(MAGIC);
    out.extend_from_slice(&schema_id.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_by_their_first_byte() {
        assert_eq!(tell(b""), Err(Fault::Empty));
        assert_eq!(tell(b"{}"), Ok(Value::Json(b"{}")));
        assert_eq!(tell(b" {}"), Err(Fault::Magic(b' ')));
        assert_eq!(tell(b"\0\0\0\0"), Err(Fault::Short(4)));
        let frame = Frame {
            schema_id: 0x0102_0304,
            body: b"",
        };
        assert_eq!(tell(b"\0\x01\x02\x03\x04"), Ok(Value::Frame(frame)));
        assert!(tell(b"[]").unwrap_err().to_string().contains("0x5b"));
    }
}
