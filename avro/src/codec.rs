//! Records to Avro bytes and back.

use thiserror::Error;

use crate::contract::Record;

/// Why bytes and a record did not become each other.
#[derive(Debug, Error)]
pub enum Fault {
    /// The record does not fit its schema.
    #[error("{record} cannot be written: {reason}")]
    Encode {
        /// Record that was to be written.
        record: &'static str,
        /// What the encoder said.
        reason: String,
    },
    /// The bytes are not a datum of the schema.
    #[error("not a {record}: {reason}")]
    Decode {
        /// Record that was expected.
        record: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// Something stands behind the datum.
    #[error("{count} bytes after the end of a {record}")]
    Trailing {
        /// Record that was read.
        record: &'static str,
        /// Bytes left over.
        count: usize,
    },
}

/// Appends a record's Avro bytes to a buffer. After an error the buffer is as long as before.
pub fn encode<T: Record>(value: &T, out: &mut Vec<u8>) -> Result<(), Fault> {
    let entry = T::entry();
    let before = out.len();
    entry
        .prepared()
        .writer
        .write_ser(out, value)
        .map_err(|error| {
            out.truncate(before);
            Fault::Encode {
                record: entry.record,
                reason: error.to_string(),
            }
        })?;
    Ok(())
}

/// Reads a record that was written with the schema of this build.
pub fn decode<T: Record>(bytes: &[u8]) -> Result<T, Fault> {
    let entry = T::entry();
    let mut rest = bytes;
    let value = entry
        .prepared()
        .reader
        .read_deser(&mut rest)
        .map_err(|error| Fault::Decode {
            record: entry.record,
            reason: error.to_string(),
        })?;
    match rest.len() {
        0 => Ok(value),
        count => Err(Fault::Trailing {
            record: entry.record,
            count,
        }),
    }
}
