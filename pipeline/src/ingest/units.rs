//! A source cut into units, with a running digest of what was given out.
//!
//! Lines come from a stream; the entries of a whole document come one by one as if each were a line. Either way a *covered
//! prefix* is a number of bytes of units (each with one line end) and their digest, which is what `ingest.progress` keeps:
//! a log that grew has the same prefix, and so has a JSON document that was written anew with more entries.

use super::format::{Framing, Parser, Piece, Position, Reject};
use super::source::{Broken, Content, LINE_BYTES_MAX, Line, Lines, Storage};
use sha2::{Digest, Sha256};

/// Largest whole document: a trainer state of a million entries has 150 MB.
pub(super) const DOCUMENT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How a source ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// To its end.
    Complete,
    /// The compression broke; class and text. What stands behind the last whole unit is the original.
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
}

/// The document as a whole was refused; it is one reject.
pub(super) struct Refused(pub(super) Reject, pub(super) Content);

/// Why units cannot be cut.
pub(super) enum NoUnits {
    /// The document is not what the format says.
    Refused(Box<Refused>),
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
            Framing::Whole => {
                let (document, broken) = content.whole(DOCUMENT_BYTES_MAX);
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
        })
    }

    /// The unit that [`Units::next`] spoke of.
    pub(super) fn unit(&self) -> &[u8] {
        &self.unit
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
        if let Cut::Lines(lines) = &self.cut {
            self.end = lines.position();
            self.bytes = self.end.byte;
        }
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
        };
        content.drain();
        content.sha256()
    }
}
