//! Rewrites the segments before the active one as one that holds the newest value of each key, on a thread of its own.
//!
//! The result takes the number of the last segment that it replaces, under another name until it is whole; then the others
//! go. Ended anywhere in between, the folder still says the same: segments before a base are not read.

use super::segment::{self, Block, Mark};
use super::{path, segments, walk};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

/// About so many bytes go into one block.
const BLOCK_BYTES: usize = 1 << 20;

/// A compaction under way.
#[derive(Debug)]
pub(super) struct Compaction(Receiver<io::Result<()>>);

impl Compaction {
    pub(super) fn begin(folder: PathBuf, of: String, upto: u64, lock: Arc<File>) -> Self {
        let (done, result) = channel();
        std::thread::spawn(move || {
            // Nobody listens any more where the task has gone; the lock keeps its successor out until here.
            let _ = done.send(rewrite(&folder, &of, upto));
            drop(lock);
        });
        Self(result)
    }

    /// Until it is done, well or not.
    pub(super) fn wait(self) {
        let _ = self.0.recv();
    }

    /// The result, once there is one.
    pub(super) fn done(&self) -> Option<io::Result<()>> {
        match self.0.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                Some(Err(io::Error::other("the compaction panicked")))
            }
        }
    }
}

fn rewrite(folder: &Path, of: &str, upto: u64) -> io::Result<()> {
    let mut newest: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut last: Option<Mark> = None;
    walk(folder, of, upto, &mut |block| match block {
        Block::Header(_) => Ok(()),
        Block::Mark(mark) => {
            last = Some(*mark);
            Ok(())
        }
        Block::Entries(body) => segment::entries(body, &mut |key, value| {
            match value {
                Some(value) => newest.insert(key.to_vec(), value.to_vec()),
                None => newest.remove(key),
            };
            Ok(())
        }),
    })
    .map_err(io::Error::other)?;
    let draft = folder.join("compaction.draft");
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&draft)?);
    segment::write(&mut file, &segment::header(of, true))?;
    let mut body = segment::no_entries();
    for (key, value) in &newest {
        segment::push(&mut body, key, Some(value));
        if body.len() >= BLOCK_BYTES {
            segment::write(&mut file, &body)?;
            body.truncate(1);
        }
    }
    if body.len() > 1 {
        segment::write(&mut file, &body)?;
    }
    if let Some(mark) = last {
        segment::write(&mut file, &segment::mark(mark))?;
    }
    file.flush()?;
    drop(file);
    fs::rename(&draft, path(folder, upto))?;
    for (number, old) in segments(folder)? {
        if number < upto {
            fs::remove_file(old)?;
        }
    }
    Ok(())
}
