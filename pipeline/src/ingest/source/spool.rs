//! What can be read only once, kept to be read again: the members of archives, and what is read from anywhere in it.

use super::{Found, Place};
use crate::ingest::IngestError;
use axum::body::Bytes;
use parquet::file::reader::{ChunkReader, Length};
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes kept in memory; what is longer goes to a temporary file, so that memory stays flat.
pub(super) const MEMORY_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Content that can be opened any number of times.
#[derive(Clone, Debug)]
pub enum Spool {
    /// A short one.
    Memory(Arc<[u8]>),
    /// A long one, and its bytes.
    File(Arc<File>, u64),
}

impl Spool {
    /// Reads a source to its end. Returns what could be read, and why no more.
    ///
    /// # Errors
    /// There is no room for it.
    pub(crate) fn fill(from: &mut dyn Read) -> io::Result<(Self, Option<io::Error>)> {
        let mut head = Vec::new();
        let broken = Read::take(&mut *from, MEMORY_BYTES_MAX + 1)
            .read_to_end(&mut head)
            .err();
        if broken.is_some() || head.len() as u64 <= MEMORY_BYTES_MAX {
            return Ok((Self::Memory(head.into()), broken));
        }
        let mut file = tempfile::tempfile()?;
        file.write_all(&head)?;
        let mut bytes = head.len() as u64;
        let mut buffer = head;
        buffer.truncate(256 * 1024);
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok((Self::File(Arc::new(file), bytes), None)),
                Ok(count) => {
                    file.write_all(&buffer[..count])?;
                    bytes += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Ok((Self::File(Arc::new(file), bytes), Some(error))),
            }
        }
    }

    /// Reads it from its start; readers do not disturb each other.
    pub(crate) fn reader(&self) -> Box<dyn Read> {
        match self {
            Self::Memory(bytes) => Box::new(Cursor::new(bytes.clone())),
            Self::File(file, _) => Box::new(At {
                file: file.clone(),
                offset: 0,
            }),
        }
    }
}

impl Spool {
    /// The first bytes.
    pub(crate) fn head(&self, bytes: usize) -> Vec<u8> {
        let mut head = Vec::new();
        // what cannot be read is left out: it is shown, not used
        drop(self.reader().take(bytes as u64).read_to_end(&mut head));
        head
    }

    /// Whether these are the last bytes.
    pub(crate) fn ends_with(&self, mark: &[u8]) -> bool {
        match self {
            Self::Memory(bytes) => bytes.ends_with(mark),
            Self::File(file, bytes) => {
                let mut end = vec![0; mark.len()];
                bytes
                    .checked_sub(mark.len() as u64)
                    .is_some_and(|start| file.read_exact_at(&mut end, start).is_ok() && end == mark)
            }
        }
    }

    /// For readers that want to begin anywhere.
    pub(crate) fn chunks(&self) -> Chunks {
        match self {
            Self::Memory(bytes) => Chunks::Memory(Bytes::from_owner(bytes.clone())),
            Self::File(file, bytes) => Chunks::File(file.clone(), *bytes),
        }
    }
}

/// Content to begin anywhere in.
pub(crate) enum Chunks {
    Memory(Bytes),
    File(Arc<File>, u64),
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, bytes) => *bytes,
        }
    }
}

impl ChunkReader for Chunks {
    type T = Box<dyn Read + Send>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(match self {
            Self::Memory(bytes) => {
                let start = (start as usize).min(bytes.len());
                Box::new(Cursor::new(bytes.slice(start..)))
            }
            Self::File(file, _) => Box::new(BufReader::new(At {
                file: file.clone(),
                offset: start,
            })),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        match self {
            Self::Memory(bytes) => {
                let end = (start as usize).saturating_add(length);
                if end > bytes.len() {
                    return Err(parquet::errors::ParquetError::EOF(format!(
                        "byte {end} is behind the end"
                    )));
                }
                Ok(bytes.slice(start as usize..end))
            }
            Self::File(file, bytes) => {
                if start.saturating_add(length as u64) > *bytes {
                    return Err(parquet::errors::ParquetError::EOF(format!(
                        "{length} bytes from byte {start} are more than there are"
                    )));
                }
                let mut buffer = vec![0; length];
                file.read_exact_at(&mut buffer, start)?;
                Ok(buffer.into())
            }
        }
    }
}

impl Place for Spool {
    fn list(&self, argument: &str) -> Result<Vec<Found>, IngestError> {
        Ok(vec![Found::named(argument)])
    }

    fn open(&self, _name: &str) -> io::Result<Box<dyn Read>> {
        Ok(self.reader())
    }

    fn size(&self, _name: &str) -> Option<u64> {
        Some(match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, bytes) => *bytes,
        })
    }
}

/// A file with a position of its own.
pub(super) struct At {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_readers_do_not_disturb_each_other() {
        let long: Vec<u8> = (0..MEMORY_BYTES_MAX + 100).map(|at| at as u8).collect();
        for content in [&long[..1000], &long[..]] {
            let (spool, broken) = Spool::fill(&mut &content[..]).expect("there is room");
            assert!(broken.is_none());
            assert_eq!(spool.size(""), Some(content.len() as u64));
            let (mut one, mut other) = (spool.reader(), spool.reader());
            let mut head = [0; 500];
            one.read_exact(&mut head).expect("it is there");
            let mut all = Vec::new();
            other.read_to_end(&mut all).expect("it is there");
            assert!(all == content);
            let mut rest = Vec::new();
            one.read_to_end(&mut rest).expect("it is there");
            assert!(rest == content[500..]);
        }
    }
}
