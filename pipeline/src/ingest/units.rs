//! A source cut into units, with a running digest of what was given out.
//!
//! Lines come from a stream; the entries of a whole document come one by one as if each were a line. Either way a *covered
//! prefix* is a number of bytes of units (each with one line end) and their digest, which is what `ingest.progress` keeps:
//! a log that grew has the same prefix, and so has a JSON document that was written anew with more entries. The rows of a
//! columnar table are units, too, each as a JSON object of the columns that are read.

use super::format::{
    Frame, Framing, MARK, Parser, Piece, Position, Refusal, Reject, TableFault, TableRows,
    without_mark,
};
use super::source::{Broken, Content, LINE_BYTES_MAX, Line, Lines, Spool, Storage, is_wait};
use datafusion::arrow::array::RecordBatch;
use sha2::{Digest, Sha256};

/// Largest whole document: a trainer state of a million entries has 150 MB.
pub(super) const DOCUMENT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How a source ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// To its end.
    Complete,
    /// The compression broke, or a binary record; class and text. What stands behind the last whole unit is the original.
    Broken(&'static str, String, Vec<u8>),
    /// The last line has no end, and the file may still be written.
    PartialLine(Vec<u8>),
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    /// A unit; see [`Units::unit`].
    Unit(Position),
    /// A unit that is too long to be a record; see [`Units::unit`] for its beginning.
    Oversized(Position),
    /// The source is still written, and has no more for now.
    Idle,
    /// The end.
    End(Finish),
}

enum Cut {
    Lines(Lines),
    Pieces {
        text: Vec<u8>,
        pieces: Vec<Piece>,
        next: usize,
        content: Content,
        finish: Finish,
    },
    Records(Records),
    Table(Table),
}

/// The rows of a columnar table, batch by batch.
struct Table {
    rows: Box<dyn TableRows>,
    content: Content,
    /// The rows of the batch that is given out, a line each.
    text: Vec<u8>,
    next: usize,
    row: u64,
}

impl Table {
    /// Puts the next row into the unit. Returns the batch that it is the first of.
    fn next_row(&mut self, unit: &mut Vec<u8>) -> Result<(Position, Option<RecordBatch>), Finish> {
        let mut batch = None;
        while self.next >= self.text.len() {
            let broken = |text| Finish::Broken("damaged", text, Vec::new());
            let Some(read) = self.rows.next_batch() else {
                return Err(Finish::Complete);
            };
            let read = read.map_err(broken)?;
            self.text.clear();
            self.next = 0;
            let mut writer = datafusion::arrow::json::LineDelimitedWriter::new(&mut self.text);
            writer
                .write(&read)
                .and_then(|()| writer.finish())
                .map_err(|error| broken(format!("row {}: {error}", self.row + 1)))?;
            batch = Some(read);
        }
        let rest = &self.text[self.next..];
        let end = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(rest.len());
        unit.extend_from_slice(&rest[..end]);
        self.next += end + 1;
        let position = Position {
            line: self.row + 1,
            byte: self.rows.byte_of(self.row),
        };
        self.row += 1;
        Ok((position, batch))
    }
}

/// Binary records, framed by their parser.
struct Records {
    frame: fn(&[u8]) -> Frame,
    content: Content,
    /// The bytes from the next record on, as far as they were read.
    buffer: Vec<u8>,
    /// Bytes to pass over of the record in the buffer, which is longer than one can be.
    skip: Option<u64>,
    next: Position,
}

impl Records {
    /// Puts the next record into the unit. Returns whether it is longer than a record can be, or how the source ends.
    fn next_record(&mut self, unit: &mut Vec<u8>) -> Result<Result<bool, Finish>, std::io::Error> {
        let mut wanted = 1;
        let length = loop {
            match self.content.fill(&mut self.buffer, wanted) {
                Ok(true) => {}
                Ok(false) if self.buffer.is_empty() => return Ok(Err(Finish::Complete)),
                Ok(false) => return Ok(Err(self.cut_short())),
                Err(Broken::Io(error)) => return Err(error),
                Err(Broken::Stream(class, text)) => {
                    return Ok(Err(Finish::Broken(class, text, self.buffer.clone())));
                }
            }
            match (self.frame)(&self.buffer) {
                Frame::Record(length) if length > 0 => break length,
                Frame::Short(more) if more > self.buffer.len() => wanted = more,
                Frame::Lost(class, text) => {
                    return Ok(Err(Finish::Broken(class, text, self.buffer.clone())));
                }
                Frame::Record(_) | Frame::Short(_) => {
                    let text = format!("no record can be told at byte {}", self.next.byte);
                    return Ok(Err(Finish::Broken("damaged", text, self.buffer.clone())));
                }
            }
        };
        let kept = length.min(LINE_BYTES_MAX as u64);
        let filled = self.content.fill(&mut self.buffer, kept as usize);
        let filled = match filled {
            Ok(true) => self.pass_over(length - kept),
            other => other,
        };
        match filled {
            Ok(true) => self.skip = None,
            Ok(false) => return Ok(Err(self.cut_short())),
            Err(Broken::Io(error)) => return Err(error),
            Err(Broken::Stream(class, text)) => {
                return Ok(Err(Finish::Broken(class, text, self.buffer.clone())));
            }
        }
        unit.extend_from_slice(&self.buffer[..kept as usize]);
        self.buffer.clear();
        self.next.line += 1;
        self.next.byte += length;
        Ok(Ok(length > kept))
    }

    /// Passes over the rest of a record, in as many calls as it takes.
    fn pass_over(&mut self, bytes: u64) -> Result<bool, Broken> {
        /// Bytes passed over at once: what of them was passed when there is no more for now is known.
        const STEP: u64 = 64 * 1024;
        let mut left = self.skip.take().unwrap_or(bytes);
        let mut step = Vec::new();
        while left > 0 {
            step.clear();
            let filled = self.content.fill(&mut step, left.min(STEP) as usize);
            left -= step.len() as u64;
            match filled {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(broken) => {
                    self.skip = Some(left);
                    return Err(broken);
                }
            }
        }
        Ok(true)
    }

    fn cut_short(&self) -> Finish {
        let text = format!(
            "the record at byte {} has no end: it was cut, or is still being written; ingest the file again when it is whole",
            self.next.byte
        );
        Finish::Broken("truncated", text, self.buffer.clone())
    }
}

/// A source cut into units.
pub(super) struct Units {
    cut: Cut,
    unit: Vec<u8>,
    sha256: Sha256,
    /// Bytes given out, line ends included.
    pub(super) bytes: u64,
    /// Units given out.
    pub(super) count: u64,
    end: Position,
    /// The batch of columns that the last unit is the first row of.
    batch: Option<RecordBatch>,
}

/// The document as a whole was refused; it is one reject.
pub(super) struct Refused(pub(super) Reject, pub(super) Content);

/// Why units cannot be cut.
pub(super) enum NoUnits {
    /// The document is not what the format says.
    Refused(Box<Refused>),
    /// The user's mapping does not fit.
    Unfit(Refusal),
    /// The source cannot be read.
    Io(std::io::Error),
}

impl Units {
    /// Cuts a source as its parser wants it.
    pub(super) fn new(mut content: Content, parser: &mut dyn Parser) -> Result<Self, NoUnits> {
        let (cut, end) = match parser.framing() {
            Framing::Lines => (
                Cut::Lines(Lines::new(content)),
                Position { line: 1, byte: 0 },
            ),
            Framing::Records(frame) => {
                let start = Position { line: 1, byte: 0 };
                let records = Records {
                    frame,
                    content,
                    buffer: Vec::new(),
                    skip: None,
                    next: start,
                };
                (Cut::Records(records), start)
            }
            Framing::Table => {
                let start = Position { line: 1, byte: 0 };
                let (spool, broken) = Spool::fill(&mut content).map_err(NoUnits::Io)?;
                if let Some(error) = broken {
                    return Err(NoUnits::Io(error));
                }
                match parser.table(spool) {
                    Ok(rows) => {
                        let table = Table {
                            rows,
                            content,
                            text: Vec::new(),
                            next: 0,
                            row: 0,
                        };
                        (Cut::Table(table), start)
                    }
                    Err(TableFault::Refusal(refusal)) => return Err(NoUnits::Unfit(refusal)),
                    Err(TableFault::Reject(reject)) => {
                        return Err(NoUnits::Refused(Box::new(Refused(reject, content))));
                    }
                }
            }
            Framing::Whole => {
                let (mut document, broken) = content.whole(DOCUMENT_BYTES_MAX);
                if document.starts_with(MARK) {
                    // white space in its place, so that what follows stands where it stood
                    document[..MARK.len()].fill(b' ');
                }
                let reject = |class, text, original| {
                    let topic = "telemetry.training".to_owned();
                    Reject {
                        class,
                        text,
                        topic,
                        position: Position { line: 1, byte: 0 },
                        original,
                    }
                };
                let refused =
                    |reject, content| Err(NoUnits::Refused(Box::new(Refused(reject, content))));
                match broken {
                    Some(Broken::Io(error)) => return Err(NoUnits::Io(error)),
                    Some(Broken::Stream(class, text)) => {
                        return refused(reject(class, text, document), content);
                    }
                    None if document.len() > DOCUMENT_BYTES_MAX => {
                        let text = format!(
                            "the document has more than {DOCUMENT_BYTES_MAX} bytes; split it, or write JSON Lines"
                        );
                        return refused(reject("oversized", text, Vec::new()), content);
                    }
                    None => {}
                }
                match parser.split(document) {
                    Ok((text, pieces)) => {
                        let end = pieces
                            .last()
                            .map_or(Position { line: 1, byte: 0 }, |piece| piece.position);
                        (
                            Cut::Pieces {
                                text,
                                pieces,
                                next: 0,
                                content,
                                finish: Finish::Complete,
                            },
                            end,
                        )
                    }
                    Err(reject) => return refused(reject, content),
                }
            }
        };
        Ok(Self {
            cut,
            unit: Vec::new(),
            sha256: Sha256::new(),
            bytes: 0,
            count: 0,
            end,
            batch: None,
        })
    }

    /// The unit that [`Units::next`] spoke of. The mark that some programs of Windows put before a text is not of it.
    pub(super) fn unit(&self) -> &[u8] {
        match self.cut {
            Cut::Lines(_) if self.count == 1 => without_mark(&self.unit),
            _ => &self.unit,
        }
    }

    /// The columns of the units that follow, where this one is the first of a batch.
    pub(super) fn take_batch(&mut self) -> Option<RecordBatch> {
        self.batch.take()
    }

    /// Raw bytes of the source that were read.
    pub(super) fn raw_bytes(&self) -> u64 {
        match &self.cut {
            Cut::Lines(lines) => lines.raw_bytes(),
            Cut::Pieces { content, .. } => content.raw_bytes(),
            Cut::Records(records) => records.content.raw_bytes(),
            Cut::Table(table) => table.content.raw_bytes(),
        }
    }

    /// Goes on to the next unit.
    pub(super) fn next(&mut self) -> Result<Next, std::io::Error> {
        self.unit.clear();
        let next = match &mut self.cut {
            Cut::Pieces {
                text,
                pieces,
                next,
                finish,
                ..
            } => match pieces.get(*next) {
                None => return Ok(Next::End(finish.clone())),
                Some(piece) => {
                    *next += 1;
                    self.unit.extend_from_slice(&text[piece.start..piece.end]);
                    if self.unit.len() > LINE_BYTES_MAX {
                        self.unit.truncate(LINE_BYTES_MAX);
                        Next::Oversized(piece.position)
                    } else {
                        Next::Unit(piece.position)
                    }
                }
            },
            Cut::Records(records) => {
                let position = records.next;
                match records.next_record(&mut self.unit) {
                    Ok(Ok(false)) => Next::Unit(position),
                    Ok(Ok(true)) => Next::Oversized(position),
                    Ok(Err(finish)) => return Ok(Next::End(finish)),
                    Err(error) if is_wait(&error) => return Ok(Next::Idle),
                    Err(error) => return Err(error),
                }
            }
            Cut::Table(table) => match table.next_row(&mut self.unit) {
                Ok((position, batch)) => {
                    self.batch = batch;
                    if self.unit.len() > LINE_BYTES_MAX {
                        // the columns hold it; what is kept of it when it is bad is its beginning
                        self.unit.truncate(LINE_BYTES_MAX);
                    }
                    Next::Unit(position)
                }
                Err(finish) => return Ok(Next::End(finish)),
            },
            Cut::Lines(lines) => {
                let storage = lines.content().storage;
                let position = lines.position();
                match lines.next_line() {
                    Ok(None) => return Ok(Next::End(Finish::Complete)),
                    Ok(Some((position, Line::Whole(line)))) => {
                        self.unit.extend_from_slice(line);
                        Next::Unit(position)
                    }
                    Ok(Some((position, Line::Oversized(line)))) => {
                        self.unit.extend_from_slice(line);
                        Next::Oversized(position)
                    }
                    // a compressed stream says where it ends, so that its last line is whole; a plain file may still be written
                    Ok(Some((position, Line::Partial(line)))) if storage != Storage::Plain => {
                        self.unit.extend_from_slice(line);
                        Next::Unit(position)
                    }
                    Ok(Some((_, Line::Partial(line)))) => {
                        return Ok(Next::End(Finish::PartialLine(line.to_vec())));
                    }
                    Err(Broken::Io(error)) if is_wait(&error) => return Ok(Next::Idle),
                    Err(Broken::Io(error)) => return Err(error),
                    Err(Broken::Stream(class, text)) => {
                        self.end = position;
                        return Ok(Next::End(Finish::Broken(
                            class,
                            text,
                            lines.rest().to_vec(),
                        )));
                    }
                }
            }
        };
        self.sha256.update(&self.unit);
        self.sha256.update(b"\n");
        self.count += 1;
        self.bytes += self.unit.len() as u64 + 1;
        match &self.cut {
            Cut::Lines(lines) => self.end = lines.position(),
            Cut::Records(records) => self.end = records.next,
            Cut::Table(table) => {
                self.end = Position {
                    line: table.row + 1,
                    byte: table.rows.byte_of(table.row),
                };
                return Ok(next);
            }
            Cut::Pieces { .. } => return Ok(next),
        }
        self.bytes = self.end.byte;
        Ok(next)
    }

    /// Where the next unit would begin.
    pub(super) fn end(&self) -> Position {
        self.end
    }

    /// Digest of the units given out.
    pub(super) fn prefix_sha256(&self) -> String {
        format!("{:x}", self.sha256.clone().finalize())
    }

    /// Digest of the raw source, when it was read to its end.
    pub(super) fn source_sha256(&mut self) -> String {
        let content = match &mut self.cut {
            Cut::Lines(lines) => lines.content(),
            Cut::Pieces { content, .. } => content,
            Cut::Records(records) => &mut records.content,
            Cut::Table(table) => &mut table.content,
        };
        content.drain();
        content.sha256()
    }
}
