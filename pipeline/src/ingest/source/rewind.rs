//! Standard input can be read once: what has come of it is kept while it may have to be read again.

use super::spool::{At, MEMORY_BYTES_MAX};
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::Arc;

/// A stream with readers that each begin at its start.
pub(crate) struct Rewind(Rc<RefCell<Stream>>);

struct Stream {
    raw: Box<dyn Read>,
    /// Bytes that `raw` has given.
    given: u64,
    head: Vec<u8>,
    /// What came behind the head, once that is full: memory stays flat.
    rest: Option<Arc<File>>,
    keeps: bool,
}

impl Rewind {
    pub(crate) fn new(raw: Box<dyn Read>) -> Self {
        Self(Rc::new(RefCell::new(Stream {
            raw,
            given: 0,
            head: Vec::new(),
            rest: None,
            keeps: true,
        })))
    }

    /// From the start; readers do not disturb each other.
    pub(crate) fn reader(&self) -> Box<dyn Read> {
        Box::new(From {
            stream: self.0.clone(),
            at: 0,
        })
    }

    /// Nothing more is kept: from here on one reader alone goes on. What was kept stays for it, and grows no more.
    pub(crate) fn let_go(&self) {
        self.0.borrow_mut().keeps = false;
    }
}

impl Stream {
    fn kept(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match (self.head.get(at as usize..), &self.rest) {
            (Some(head), _) if !head.is_empty() => (&*head).read(buffer),
            (_, Some(rest)) => At {
                file: rest.clone(),
                offset: at - self.head.len() as u64,
            }
            .read(buffer),
            _ => Ok(0),
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = (MEMORY_BYTES_MAX as usize)
            .saturating_sub(self.head.len())
            .min(if self.rest.is_none() { bytes.len() } else { 0 });
        self.head.extend_from_slice(&bytes[..room]);
        if room < bytes.len() {
            let rest = match &self.rest {
                Some(rest) => rest.clone(),
                None => self.rest.insert(Arc::new(tempfile::tempfile()?)).clone(),
            };
            (&*rest).write_all(&bytes[room..])?;
        }
        Ok(())
    }
}

struct From {
    stream: Rc<RefCell<Stream>>,
    at: u64,
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stream = self.stream.borrow_mut();
        let count = if self.at == stream.given {
            let count = stream.raw.read(buffer)?;
            stream.given += count as u64;
            if stream.keeps {
                stream.keep(&buffer[..count])?;
            }
            count
        } else {
            match stream.kept(self.at, buffer)? {
                0 if !buffer.is_empty() => {
                    return Err(io::Error::other("what was read is not kept any more"));
                }
                count => count,
            }
        };
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A long stream in small pieces, read by two that take turns, then by one alone.
    #[test]
    fn readers_begin_at_the_start_and_one_goes_on() {
        let content: Vec<u8> = (0..MEMORY_BYTES_MAX + 300_000)
            .map(|at| (at % 251) as u8)
            .collect();
        let rewind = Rewind::new(Box::new(io::Cursor::new(content.clone())));
        let (mut one, mut two) = (rewind.reader(), rewind.reader());
        let mut seen = [Vec::new(), Vec::new()];
        for (reader, bytes) in [
            (0, 10),
            (1, 4_000),
            (0, 8_000),
            (1, MEMORY_BYTES_MAX + 100_000),
        ] {
            let from: &mut dyn Read = if reader == 0 { &mut one } else { &mut two };
            let mut part = from.take(bytes);
            part.read_to_end(&mut seen[reader]).expect("it is there");
        }
        rewind.let_go();
        one.read_to_end(&mut seen[0]).expect("it is there");
        assert!(seen[0] == content);
        assert!(content.starts_with(&seen[1]));
        // the other one cannot be given what was not kept, and says so
        let error = two.read_to_end(&mut seen[1]).expect_err("it is gone");
        assert!(error.to_string().contains("not kept"), "{error}");
    }
}
