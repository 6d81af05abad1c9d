//! The bytes of a source: decompressed as they are read, counted and digested, cut into lines.

use crate::ingest::format::Position;
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::rc::Rc;

/// Bytes read at once: large enough that system calls do not count, small enough for the cache.
const BUFFER_BYTES: usize = 256 * 1024;
/// Longest line: with its seal and headers it still fits a Kafka record of 1 MiB.
pub const LINE_BYTES_MAX: usize = 900_000;

/// What passed through a reader.
#[derive(Default)]
struct Tally {
    sha256: Sha256,
    bytes: u64,
    /// The source itself failed: what a decoder makes of that says nothing about the stream.
    failed: bool,
    /// Nobody asks for the digest.
    undigested: bool,
}

struct Tallied<R> {
    inner: R,
    tally: Rc<RefCell<Tally>>,
}

impl<R: Read> Read for Tallied<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        let mut tally = self.tally.borrow_mut();
        tally.failed = read
            .as_ref()
            .is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        let count = read?;
        if !tally.undigested {
            tally.sha256.update(&buffer[..count]);
        }
        tally.bytes += count as u64;
        Ok(count)
    }
}

/// How a source is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// As it is.
    Plain,
    /// gzip, RFC 1952; several members follow each other.
    Gzip,
    /// zstd, RFC 8878; several frames follow each other.
    Zstd,
}

/// The content of a source, decompressed.
pub struct Content {
    reader: BufReader<Box<dyn Read>>,
    tally: Rc<RefCell<Tally>>,
    /// How it is stored.
    pub storage: Storage,
}

/// Why no more could be read.
#[derive(Debug)]
pub enum Broken {
    /// The compressed stream ends or is damaged: class and one line that names the byte.
    Stream(&'static str, String),
    /// The source cannot be read.
    Io(io::Error),
}

impl Content {
    /// Looks at the first bytes and decompresses what follows.
    ///
    /// # Errors
    /// The first bytes cannot be read.
    pub fn new(raw: Box<dyn Read>) -> io::Result<Self> {
        let tally = Rc::new(RefCell::new(Tally::default()));
        let mut raw = Tallied {
            inner: raw,
            tally: tally.clone(),
        };
        let mut magic = Vec::with_capacity(4);
        raw.by_ref().take(4).read_to_end(&mut magic)?;
        let storage = match magic.as_slice() {
            [0x1f, 0x8b, ..] => Storage::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] => Storage::Zstd,
            _ => Storage::Plain,
        };
        let raw = Cursor::new(magic).chain(raw);
        let reader: Box<dyn Read> = match storage {
            Storage::Plain => Box::new(raw),
            Storage::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(
                BufReader::with_capacity(64 * 1024, raw),
            )),
            Storage::Zstd => Box::new(zstd::stream::read::Decoder::new(raw)?),
        };
        Ok(Self {
            reader: BufReader::with_capacity(BUFFER_BYTES, reader),
            tally,
            storage,
        })
    }

    /// The same content, for whoever does not ask for [`Content::sha256`].
    #[must_use]
    pub fn undigested(self) -> Self {
        self.tally.borrow_mut().undigested = true;
        self
    }

    fn broken(&self, error: io::Error) -> Broken {
        let (failed, byte) = {
            let tally = self.tally.borrow();
            (tally.failed, tally.bytes)
        };
        if self.storage == Storage::Plain || failed {
            return Broken::Io(error);
        }
        let (class, what) = match error.kind() {
            io::ErrorKind::UnexpectedEof => ("truncated", "ends"),
            _ if error.to_string().contains("incomplete") => ("truncated", "ends"),
            _ => ("damaged", "is damaged before"),
        };
        Broken::Stream(
            class,
            format!(
                "the compressed stream {what} at byte {byte} without its end ({error}); what could be read was kept, fetch the file again"
            ),
        )
    }

    /// The first bytes; reading still begins with them.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn peek(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        let read = self
            .reader
            .by_ref()
            .take(bytes as u64)
            .read_to_end(&mut head);
        // what came before a break is a head too; the break is met again when the content is read
        if let Err(error) = read
            && let Broken::Io(error) = self.broken(error)
        {
            return Err(error);
        }
        let rest = std::mem::replace(
            &mut self.reader,
            BufReader::with_capacity(0, Box::new(io::empty())),
        );
        self.reader = BufReader::with_capacity(
            BUFFER_BYTES,
            Box::new(Cursor::new(head.clone()).chain(rest)),
        );
        Ok(head)
    }

    /// Everything, up to a limit of bytes.
    ///
    /// # Errors
    /// With what was read: the stream broke.
    pub fn whole(&mut self, limit: usize) -> (Vec<u8>, Option<Broken>) {
        let mut text = Vec::new();
        let read = self
            .reader
            .by_ref()
            .take(limit as u64 + 1)
            .read_to_end(&mut text);
        let broken = read.err().map(|error| self.broken(error));
        (text, broken)
    }

    /// Reads on until the buffer holds so many bytes; false where the content ends before.
    ///
    /// # Errors
    /// No more can be read; what came before is in the buffer.
    pub fn fill(&mut self, buffer: &mut Vec<u8>, wanted: usize) -> Result<bool, Broken> {
        let missing = wanted.saturating_sub(buffer.len()) as u64;
        if let Err(error) = self.reader.by_ref().take(missing).read_to_end(buffer) {
            return Err(self.broken(error));
        }
        Ok(buffer.len() >= wanted)
    }

    /// Passes over so many bytes; false where the content ends before.
    ///
    /// # Errors
    /// No more can be read.
    pub fn skip(&mut self, bytes: u64) -> Result<bool, Broken> {
        match io::copy(&mut self.reader.by_ref().take(bytes), &mut io::sink()) {
            Ok(passed) => Ok(passed == bytes),
            Err(error) => Err(self.broken(error)),
        }
    }

    /// Digest of the raw bytes read so far, 64 hexadecimal digits: what `sha256sum` says of a file that was read to its end.
    #[must_use]
    pub fn sha256(&self) -> String {
        format!("{:x}", self.tally.borrow().sha256.clone().finalize())
    }

    /// Raw bytes read so far; of a compressed source fewer than were given out.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.tally.borrow().bytes
    }

    /// Reads what is left of the raw bytes, so that [`Content::sha256`] covers them.
    pub fn drain(&mut self) {
        let _ = io::copy(&mut self.reader, &mut io::sink());
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

/// True where a source that is still written has no more for now; the same call again goes on.
pub fn is_wait(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// One line of a source.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line, without its end.
    Whole(&'a [u8]),
    /// The rest behind the last line end.
    Partial(&'a [u8]),
    /// The beginning of a line that is longer than a record can be; the rest was passed over.
    Oversized(&'a [u8]),
}

/// The lines of a source.
pub struct Lines {
    content: Content,
    line: Vec<u8>,
    next: Position,
    /// The line that was begun goes on when there is more.
    waits: bool,
    /// Bytes passed over of a line that is too long; none while it is not.
    passed: Option<u64>,
}

impl Lines {
    /// From the start.
    #[must_use]
    pub fn new(content: Content) -> Self {
        Self {
            content,
            line: Vec::with_capacity(4096),
            next: Position { line: 1, byte: 0 },
            waits: false,
            passed: None,
        }
    }

    /// The content that is read.
    pub fn content(&mut self) -> &mut Content {
        &mut self.content
    }

    /// Raw bytes that were read.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.content.raw_bytes()
    }

    /// Where the next line begins.
    #[must_use]
    pub fn position(&self) -> Position {
        self.next
    }

    /// The next line and its place; none at the end.
    ///
    /// # Errors
    /// No more can be read; what came before it of a line is lost with [`Broken::Io`] and in [`Lines::rest`] otherwise. After
    /// one that [`is_wait`] the next call goes on where this one stopped.
    pub fn next_line(&mut self) -> Result<Option<(Position, Line<'_>)>, Broken> {
        if !std::mem::take(&mut self.waits) {
            self.line.clear();
            self.passed = None;
        }
        let position = self.next;
        let limit = LINE_BYTES_MAX as u64 + 1;
        if self.passed.is_none() {
            let missing = limit - self.line.len() as u64;
            if let Err(error) = self
                .content
                .reader
                .by_ref()
                .take(missing)
                .read_until(b'\n', &mut self.line)
            {
                return Err(self.stopped(error));
            }
            let length = self.line.len();
            if length == 0 {
                return Ok(None);
            }
            if self.line.last() == Some(&b'\n') {
                self.next.byte += length as u64;
                self.next.line += 1;
                return Ok(Some((position, Line::Whole(&self.line[..length - 1]))));
            }
            if (length as u64) < limit {
                self.next.byte += length as u64;
                return Ok(Some((position, Line::Partial(&self.line))));
            }
        }
        self.pass_over()?;
        self.next.byte += limit + self.passed.unwrap_or(0);
        self.next.line += 1;
        Ok(Some((
            position,
            Line::Oversized(&self.line[..LINE_BYTES_MAX]),
        )))
    }

    /// Passes over what is left of a line that is too long.
    fn pass_over(&mut self) -> Result<(), Broken> {
        let mut passed = self.passed.unwrap_or(0);
        loop {
            let (count, done) = match self.content.reader.fill_buf() {
                Ok([]) => break,
                Ok(buffer) => buffer
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .map_or((buffer.len(), false), |end| (end + 1, true)),
                Err(error) => {
                    self.passed = Some(passed);
                    return Err(self.stopped(error));
                }
            };
            self.content.reader.consume(count);
            passed += count as u64;
            if done {
                break;
            }
        }
        self.passed = Some(passed);
        Ok(())
    }

    fn stopped(&mut self, error: io::Error) -> Broken {
        self.waits = is_wait(&error);
        self.content.broken(error)
    }

    /// What was read of the line in which the stream broke.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    }

    fn read(raw: &[u8]) -> (Vec<Vec<u8>>, Option<&'static str>) {
        let content = Content::new(Box::new(Cursor::new(raw.to_vec()))).expect("it opens");
        let mut lines = Lines::new(content);
        let mut found = Vec::new();
        loop {
            match lines.next_line() {
                Ok(None) => return (found, None),
                Ok(Some((_, Line::Whole(line) | Line::Partial(line) | Line::Oversized(line)))) => {
                    found.push(line.to_vec())
                }
                Err(Broken::Stream(class, _)) => return (found, Some(class)),
                Err(Broken::Io(error)) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn storage_is_told_by_magic_bytes() {
        let text = b"one\ntwo\nthree";
        let want = vec![b"one".to_vec(), b"two".to_vec(), b"three".to_vec()];
        assert_eq!(read(text), (want.clone(), None));
        let mut members = gzip(b"one\ntw");
        members.extend(gzip(b"o\nthree"));
        assert_eq!(read(&members), (want.clone(), None));
        assert_eq!(
            read(&zstd::encode_all(&text[..], 1).expect("it packs")),
            (want, None)
        );
        assert_eq!(read(b""), (vec![], None));
    }

    #[test]
    fn a_broken_stream_gives_what_it_has() {
        let text: String = (0..50_000)
            .map(|line| format!("line {line} {}\n", line * 7919 % 10_007))
            .collect();
        for packed in [
            gzip(text.as_bytes()),
            zstd::encode_all(text.as_bytes(), 1).expect("it packs"),
        ] {
            let (lines, class) = read(&packed[..packed.len() / 2]);
            assert_eq!(class, Some("truncated"));
            assert!(lines.len() > 1_000, "{}", lines.len());
            assert!(
                lines
                    .iter()
                    .enumerate()
                    .all(|(at, line)| line.starts_with(format!("line {at} ").as_bytes()))
            );
        }
        let mut packed = gzip(text.as_bytes());
        let end = packed.len() - 6;
        packed[end] ^= 0xff;
        assert_eq!(read(&packed).1, Some("damaged"));
    }

    #[test]
    fn a_line_longer_than_a_record_is_passed_over() {
        let mut text = vec![b'x'; LINE_BYTES_MAX + 10];
        text.extend(b"\nnext\n");
        let (lines, _) = read(&text);
        assert_eq!(
            (lines[0].len(), lines[1].as_slice()),
            (LINE_BYTES_MAX, &b"next"[..])
        );
    }
}
