//! A file that is still written: what was appended, and what became of it meanwhile.
//!
//! While a file is followed its end is no end: a read there says [`io::ErrorKind::WouldBlock`], and [`Growing::wait`] tells
//! what comes next. The file is held by its descriptor, so that a rename does not lose what was written before it; a file
//! that shrank, or whose last bytes are others now, was truncated and is written anew.
//!
//! Polling and not the kernel's notices: those do not come over network file systems, which is where training logs lie.

use std::cell::{Cell, RefCell};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Bytes before the end that are held against the file to see whether it is the same.
const TAIL_BYTES: usize = 256;

/// Which file it is, whatever its name.
pub(crate) type FileId = (u64, u64);

/// The file's identity.
pub(crate) fn id(meta: &Metadata) -> FileId {
    (meta.dev(), meta.ino())
}

/// What comes after the end of what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// More was written.
    More,
    /// The name stands for another file, or none, and nothing more was written into this one: this is its end.
    Ended,
    /// It was truncated and is written anew.
    Truncated,
    /// Nothing was written for a long time; it is looked at again when it changes.
    Idle,
    /// The user asks to stop.
    Stop,
}

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) poll: Duration,
    /// After a rename, for a writer that has not noticed yet.
    pub(crate) rotated: Duration,
    /// Until an idle file is let go.
    pub(crate) idle: Duration,
}

struct Shared {
    file: File,
    offset: Cell<u64>,
    tail: RefCell<Vec<u8>>,
    /// The end is no end.
    follows: Cell<bool>,
}

/// A file that is followed.
pub(crate) struct Growing<'a> {
    shared: Rc<Shared>,
    path: PathBuf,
    id: FileId,
    patience: Patience,
    stop: &'a AtomicBool,
    read_to: Cell<u64>,
    last_growth: Cell<Instant>,
    /// It took the place of one that was followed before.
    successor: bool,
    /// How it was left.
    left: Cell<Option<Wait>>,
}

impl<'a> Growing<'a> {
    /// Opens a file; at first its end is an end.
    pub(crate) fn open(
        path: &str,
        successor: bool,
        patience: Patience,
        stop: &'a AtomicBool,
    ) -> io::Result<Self> {
        let file = File::open(path)?;
        let id = id(&file.metadata()?);
        let shared = Shared {
            file,
            offset: Cell::new(0),
            tail: RefCell::default(),
            follows: Cell::new(false),
        };
        Ok(Self {
            shared: Rc::new(shared),
            path: path.into(),
            id,
            patience,
            stop,
            read_to: Cell::new(0),
            last_growth: Cell::new(Instant::now()),
            successor,
            left: Cell::new(None),
        })
    }

    /// Its bytes.
    pub(crate) fn reader(&self) -> Box<dyn Read> {
        Box::new(Reader(self.shared.clone()))
    }

    /// Its bytes from the start, without following: for whoever looks at what is there now.
    pub(crate) fn snapshot(&self) -> Box<dyn Read> {
        let shared = Shared {
            file: match self.shared.file.try_clone() {
                Ok(file) => file,
                Err(_) => return Box::new(io::empty()),
            },
            offset: Cell::new(0),
            tail: RefCell::default(),
            follows: Cell::new(false),
        };
        Box::new(Reader(Rc::new(shared)))
    }

    /// From now on its end is no end.
    pub(crate) fn follow(&self) {
        self.shared.follows.set(true);
    }

    /// Whether it is followed, or read as it is.
    pub(crate) fn follows(&self) -> bool {
        self.shared.follows.get()
    }

    /// Whether it took the place of one that was followed before, and so is no copy of it.
    pub(crate) fn is_successor(&self) -> bool {
        self.successor
    }

    /// Bytes that were read.
    pub(crate) fn offset(&self) -> u64 {
        self.shared.offset.get()
    }

    /// The file's identity and how it was left, when it was.
    pub(crate) fn left(&self) -> (FileId, Option<Wait>) {
        (self.id, self.left.get())
    }

    /// How long ago it was written, and how long it is.
    pub(crate) fn age(&self) -> io::Result<(Duration, u64)> {
        let meta = self.shared.file.metadata()?;
        // a clock that runs ahead makes a file young
        let age = meta.modified()?.elapsed().unwrap_or_default();
        Ok((age, meta.len()))
    }

    /// How long it is, and when it was written last.
    pub(crate) fn now(&self) -> io::Result<(u64, Option<SystemTime>)> {
        let meta = self.shared.file.metadata()?;
        Ok((meta.len(), meta.modified().ok()))
    }

    /// Waits for what comes next; called at the end of what was read.
    pub(crate) fn wait(&self) -> io::Result<Wait> {
        if self.read_to.replace(self.offset()) != self.offset() {
            self.last_growth.set(Instant::now());
        }
        let wait = loop {
            if self.stop.load(Ordering::Relaxed) {
                break Wait::Stop;
            }
            let size = self.shared.file.metadata()?.len();
            if size < self.offset() {
                break Wait::Truncated;
            }
            if size > self.offset() {
                break if self.tail_is_there()? {
                    Wait::More
                } else {
                    Wait::Truncated
                };
            }
            let is_named = std::fs::metadata(&self.path).is_ok_and(|meta| id(&meta) == self.id);
            let quiet = self.last_growth.get().elapsed();
            if is_named && quiet >= self.patience.idle {
                break Wait::Idle;
            }
            if !is_named && quiet >= self.patience.rotated {
                break Wait::Ended;
            }
            std::thread::sleep(self.patience.poll);
        };
        match wait {
            Wait::More => {}
            Wait::Ended => {
                // what was left open is its end
                self.shared.follows.set(false);
                self.left.set(Some(wait));
            }
            _ => self.left.set(Some(wait)),
        }
        Ok(wait)
    }

    fn tail_is_there(&self) -> io::Result<bool> {
        let tail = self.shared.tail.borrow();
        let mut now = vec![0; tail.len()];
        let start = self.offset() - tail.len() as u64;
        match self.shared.file.read_exact_at(&mut now, start) {
            Ok(()) => Ok(now == *tail),
            // it shrank in between
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

struct Reader(Rc<Shared>);

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let shared = &*self.0;
        let count = shared.file.read_at(buffer, shared.offset.get())?;
        if count == 0 && shared.follows.get() && !buffer.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        shared.offset.set(shared.offset.get() + count as u64);
        let mut tail = shared.tail.borrow_mut();
        tail.extend_from_slice(&buffer[count.saturating_sub(TAIL_BYTES)..count]);
        let excess = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..excess);
        Ok(count)
    }
}
