//! The file format of a snapshot: segments of checksummed blocks.
//!
//! ```text
//!  segment   header block, then entry and mark blocks in the order in which they were written
//!  block     length u32 · CRC-32 of the body u32 · body               little endian
//!  body      0 header: JSON { "format", "of", "is_base" }
//!            1 entries: (key length u32, key, value length u32 or 0xffffffff for a tombstone, value) ...
//!            2 mark: next changelog offset i64, wall time in milliseconds i64
//! ```
//!
//! A block that the end of the last segment cuts short was being written when the process ended: what is before it stands. A
//! block whose checksum is wrong is damage: nothing of the snapshot is used.

use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

/// Takes the key and value of an entry; no value is a tombstone.
pub(super) type Each<'a> = dyn FnMut(&[u8], Option<&[u8]>) -> Result<(), String> + 'a;

/// What this binary writes and reads.
pub(super) const FORMAT: u32 = 1;
/// No block is larger: a damaged length must not make a reader ask for all memory.
const BLOCK_BYTES_MAX: u32 = 1 << 30;
/// Memory taken for a block before it is known that the file holds as much.
const RESERVED_BYTES_MAX: u32 = 16 << 20;
const TOMBSTONE: u32 = u32::MAX;

/// First block of a segment.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub format: u32,
    /// What it is a snapshot of.
    pub of: String,
    /// True where it holds everything before it: the segments before it are not read.
    pub is_base: bool,
}

/// Up to where in the changelog the blocks before it reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Next offset.
    pub offset: i64,
    /// When that was so, milliseconds since 1970.
    pub wall_ms: i64,
}

#[derive(Debug)]
pub(super) enum Block {
    Header(Header),
    Entries(Vec<u8>),
    Mark(Mark),
}

/// Why a segment cannot be read on.
#[derive(Debug)]
pub(super) enum Broken {
    /// The file ends within a block.
    CutShort,
    Damaged(String),
    Io(io::Error),
}

pub(super) fn header(of: &str, is_base: bool) -> Vec<u8> {
    let header = Header {
        format: FORMAT,
        of: of.to_owned(),
        is_base,
    };
    let mut body = vec![0];
    // Writing to memory cannot fail, and a header is plain data.
    body.extend(serde_json::to_vec(&header).unwrap_or_default());
    body
}

pub(super) fn mark(mark: Mark) -> Vec<u8> {
    let mut body = vec![2];
    body.extend(mark.offset.to_le_bytes());
    body.extend(mark.wall_ms.to_le_bytes());
    body
}

/// The body of an entry block that holds nothing yet.
pub(super) fn no_entries() -> Vec<u8> {
    vec![1]
}

pub(super) fn push(body: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(TOMBSTONE - 1);
    body.extend(length(key).to_le_bytes());
    body.extend(key);
    body.extend(value.map_or(TOMBSTONE, length).to_le_bytes());
    body.extend(value.unwrap_or_default());
}

/// Writes one block; its size in the file.
pub(super) fn write(to: &mut impl Write, body: &[u8]) -> io::Result<u64> {
    let length = u32::try_from(body.len())
        .ok()
        .filter(|length| *length <= BLOCK_BYTES_MAX)
        .ok_or_else(|| io::Error::other("a batch changed more than a snapshot block may hold"))?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&crc32fast::hash(body).to_le_bytes())?;
    to.write_all(body)?;
    Ok(8 + u64::from(length))
}

/// The next block; none at the end of the file.
pub(super) fn read(from: &mut impl Read) -> Result<Option<Block>, Broken> {
    let mut head = [0; 8];
    match fill(from, &mut head)? {
        0 => return Ok(None),
        8 => {}
        _ => return Err(Broken::CutShort),
    }
    let [a, b, c, d, e, f, g, h] = head;
    let length = u32::from_le_bytes([a, b, c, d]);
    let checksum = u32::from_le_bytes([e, f, g, h]);
    if length == 0 || length > BLOCK_BYTES_MAX {
        return Err(Broken::Damaged(format!("a block of {length} bytes")));
    }
    let mut body = Vec::with_capacity(length.min(RESERVED_BYTES_MAX) as usize);
    from.take(u64::from(length))
        .read_to_end(&mut body)
        .map_err(Broken::Io)?;
    if body.len() < length as usize {
        return Err(Broken::CutShort);
    }
    if crc32fast::hash(&body) != checksum {
        return Err(Broken::Damaged("a checksum is wrong".to_owned()));
    }
    match body.first() {
        Some(0) => serde_json::from_slice(body.get(1..).unwrap_or_default())
            .map(|header| Some(Block::Header(header)))
            .map_err(|error| Broken::Damaged(format!("header: {error}"))),
        Some(1) => Ok(Some(Block::Entries(body))),
        Some(2) => {
            let number = |at: usize| {
                body.get(at..at + 8)
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(i64::from_le_bytes)
            };
            match (number(1), number(9)) {
                (Some(offset), Some(wall_ms)) => Ok(Some(Block::Mark(Mark { offset, wall_ms }))),
                _ => Err(Broken::Damaged("a mark is too short".to_owned())),
            }
        }
        other => Err(Broken::Damaged(format!("a block of kind {other:?}"))),
    }
}

/// The entries of an entry block's body, in order.
pub(super) fn entries(body: &[u8], each: &mut Each<'_>) -> Result<(), String> {
    fn part<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], String> {
        let (part, after) = rest
            .split_at_checked(length)
            .ok_or("an entry is cut short")?;
        *rest = after;
        Ok(part)
    }
    fn length(rest: &mut &[u8]) -> Result<u32, String> {
        let bytes = part(rest, 4)?;
        Ok(u32::from_le_bytes(bytes.try_into().unwrap_or_default()))
    }
    let mut rest = body.get(1..).unwrap_or_default();
    while !rest.is_empty() {
        let key_bytes = length(&mut rest)?;
        let key = part(&mut rest, key_bytes as usize)?;
        let value = match length(&mut rest)? {
            TOMBSTONE => None,
            bytes => Some(part(&mut rest, bytes as usize)?),
        };
        each(key, value)?;
    }
    Ok(())
}

fn fill(from: &mut impl Read, head: &mut [u8]) -> Result<usize, Broken> {
    let mut filled = 0;
    while filled < head.len() {
        match from.read(head.get_mut(filled..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Broken::Io(error)),
        }
    }
    Ok(filled)
}
