//! A local copy of a task's changelog partition, so that a restart reads a file and the changelog's tail.
//!
//! The changelog is the truth; a snapshot only saves reading it. After each commit the batch's changes, the very bytes that
//! went to the changelog, are appended to a segment file. A *mark* says up to which offset of the changelog the entries
//! before it reach. A restart applies all entries, then reads the changelog from the last mark on: whatever was appended
//! after the mark is read once more, and the newest value of each key wins.
//!
//! A mark is written only where it is certain: at a restore, for the end that was read; later, for the end that was seen
//! before a commit that the log accepted with our offsets, since until then nobody else can have written there. Each task
//! has its folder, locked while it is open: a process that was stopped and replaced cannot write into its successor's.
//!
//! Broken, too old, of something else or beyond the changelog's end: it is thrown away, with a line that says so. An error of
//! the disk ends the snapshot, not the task.

mod compact;
mod segment;

use segment::{Block, Broken, Each, Mark};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where snapshots lie and how large and old they may become.
#[derive(Clone, Debug)]
pub struct SnapshotLimits {
    /// Whose changelogs: another application's snapshot is not taken.
    pub app_id: String,
    /// The folder of this instance; none: no snapshots.
    pub dir: Option<PathBuf>,
    /// An older last mark is not trusted: a deleted key's tombstone may be gone from the changelog by then (it stays a day).
    pub age_ms_max: i64,
    /// Bytes beyond twice the live state before the segments are compacted.
    pub slack_bytes_max: u64,
}

impl SnapshotLimits {
    /// No snapshots.
    #[must_use]
    pub fn none() -> Self {
        Self {
            app_id: String::new(),
            dir: None,
            age_ms_max: 0,
            slack_bytes_max: 0,
        }
    }
}

/// The snapshot of one task, open for writing.
#[derive(Debug)]
pub(super) struct Snapshot {
    folder: PathBuf,
    of: String,
    limits: SnapshotLimits,
    /// Held by a compaction, too, until it is done.
    lock: Arc<File>,
    active: BufWriter<File>,
    number: u64,
    /// Bytes of all segments.
    bytes: u64,
    /// Changes of the batch that is not committed yet.
    staged: Vec<u8>,
    last_mark: Option<Mark>,
    compaction: Option<compact::Compaction>,
}

/// What was found in a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Entries were applied; the changelog is to be read from here on.
    UpTo(i64),
    /// Nothing yet.
    Nothing,
    /// It was thrown away, and why. Entries may have been applied: begin with an empty task.
    ThrownAway(String),
}

impl Snapshot {
    /// Opens the snapshot of a task and applies what it holds. None without a folder, or where another process holds it.
    ///
    /// # Errors
    /// The disk's; the task goes on without a snapshot.
    pub(super) fn open(
        limits: &SnapshotLimits,
        of: &str,
        name: &str,
        wall_ms: i64,
        each: &mut Each<'_>,
    ) -> io::Result<Option<(Self, Found)>> {
        let Some(dir) = &limits.dir else {
            return Ok(None);
        };
        let folder = dir.join(name);
        fs::create_dir_all(&folder)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("lock"))?;
        if lock.try_lock().is_err() {
            tracing::warn!(
                snapshot = name,
                "held by another process: restoring from the changelog"
            );
            return Ok(None);
        }
        let (found, last_mark) = match load(&folder, of, wall_ms, limits, each) {
            Ok(Some(mark)) => (Found::UpTo(mark.offset), Some(mark)),
            Ok(None) => (Found::Nothing, None),
            Err(why) => {
                remove_segments(&folder)?;
                (Found::ThrownAway(why), None)
            }
        };
        let number = segments(&folder)?
            .last_key_value()
            .map_or(0, |(n, _)| n + 1);
        // Never appended to an old segment: its last block may be cut short.
        let mut snapshot = Self {
            active: create(&folder, number, of, false)?,
            bytes: total(&folder)?,
            folder,
            of: of.to_owned(),
            limits: limits.clone(),
            lock: Arc::new(lock),
            number,
            staged: segment::no_entries(),
            last_mark,
            compaction: None,
        };
        snapshot.active.flush()?;
        Ok(Some((snapshot, found)))
    }

    /// Throws everything away and begins anew.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        if let Some(compaction) = self.compaction.take() {
            // It must not put an old base among the new segments.
            compaction.wait();
        }
        remove_segments(&self.folder)?;
        self.number += 1;
        self.active = create(&self.folder, self.number, &self.of, false)?;
        self.bytes = 0;
        self.last_mark = None;
        self.drop_staged();
        Ok(())
    }

    /// Adds a change of the open batch.
    pub(super) fn stage(&mut self, key: &[u8], value: Option<&[u8]>) {
        segment::push(&mut self.staged, key, value);
    }

    /// The batch was aborted.
    pub(super) fn drop_staged(&mut self) {
        self.staged.truncate(1);
    }

    /// The batch was committed; `live_bytes` is what the state holds now.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn keep(&mut self, live_bytes: u64) -> io::Result<()> {
        self.write()?;
        self.compact(live_bytes)
    }

    /// Writes what is staged; for entries that are committed already, as a restore reads them.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if self.staged.len() > 1 {
            self.bytes += segment::write(&mut self.active, &self.staged)?;
            self.active.flush()?;
            self.drop_staged();
        }
        Ok(())
    }

    /// Bytes of the open batch.
    pub(super) fn staged_bytes(&self) -> usize {
        self.staged.len()
    }

    /// Everything before `offset` of the changelog has been kept.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn mark(&mut self, offset: i64, wall_ms: i64) -> io::Result<()> {
        let mark = Mark { offset, wall_ms };
        self.bytes += segment::write(&mut self.active, &segment::mark(mark))?;
        self.active.flush()?;
        self.last_mark = Some(mark);
        Ok(())
    }

    /// Begins a compaction where there is much to gain, and takes the result of one that is done.
    fn compact(&mut self, live_bytes: u64) -> io::Result<()> {
        if let Some(compaction) = &self.compaction {
            let Some(done) = compaction.done() else {
                return Ok(());
            };
            self.compaction = None;
            done?;
            self.bytes = total(&self.folder)?;
            return Ok(());
        }
        if self.bytes <= 2 * live_bytes + self.limits.slack_bytes_max || self.last_mark.is_none() {
            return Ok(());
        }
        let upto = self.number;
        self.number += 1;
        self.active = create(&self.folder, self.number, &self.of, false)?;
        self.compaction = Some(compact::Compaction::begin(
            self.folder.clone(),
            self.of.clone(),
            upto,
            self.lock.clone(),
        ));
        Ok(())
    }
}

/// Applies the segments in order; the last mark.
fn load(
    folder: &Path,
    of: &str,
    wall_ms: i64,
    limits: &SnapshotLimits,
    each: &mut Each<'_>,
) -> Result<Option<Mark>, String> {
    let mut last = None;
    walk(folder, of, u64::MAX, &mut |block| match block {
        Block::Mark(mark) => {
            last = Some(*mark);
            Ok(())
        }
        Block::Entries(body) => segment::entries(body, each),
        Block::Header(_) => Ok(()),
    })?;
    if let Some(mark) = last {
        let age_ms = wall_ms - mark.wall_ms;
        if !(0..=limits.age_ms_max).contains(&age_ms) {
            return Err(format!(
                "its last mark is {} s old, the limit is {} s",
                age_ms / 1000,
                limits.age_ms_max / 1000
            ));
        }
    } else if segments(folder).is_ok_and(|segments| !segments.is_empty()) {
        return Err("it has no mark".to_owned());
    }
    Ok(last)
}

/// All blocks from the last base segment to segment `upto`.
fn walk(
    folder: &Path,
    of: &str,
    upto: u64,
    each: &mut dyn FnMut(&Block) -> Result<(), String>,
) -> Result<(), String> {
    let io = |error: io::Error| error.to_string();
    let all = segments(folder).map_err(io)?;
    let mut chosen: Vec<(u64, PathBuf)> = Vec::new();
    for (number, path) in all.into_iter().filter(|(number, _)| *number <= upto) {
        let mut file = File::open(&path).map_err(io)?;
        match segment::read(&mut file) {
            Ok(Some(Block::Header(header))) => {
                if header.format != segment::FORMAT || header.of != of {
                    return Err(format!(
                        "it is of {} in format {}, not of {of} in format {}",
                        header.of,
                        header.format,
                        segment::FORMAT
                    ));
                }
                if header.is_base {
                    chosen.clear();
                }
                chosen.push((number, path));
            }
            // A segment that was just begun when the process ended.
            Ok(None) | Err(Broken::CutShort) => {}
            Ok(Some(_)) => return Err(format!("segment {number} has no header")),
            Err(Broken::Damaged(why)) => return Err(format!("segment {number}: {why}")),
            Err(Broken::Io(error)) => return Err(error.to_string()),
        }
    }
    for (number, path) in chosen {
        let mut file = BufReader::with_capacity(1 << 20, File::open(&path).map_err(io)?);
        loop {
            match segment::read(&mut file) {
                Ok(Some(block)) => each(&block)?,
                // What follows was written by a process that began its own segment.
                Ok(None) | Err(Broken::CutShort) => break,
                Err(Broken::Damaged(why)) => return Err(format!("segment {number}: {why}")),
                Err(Broken::Io(error)) => return Err(error.to_string()),
            }
        }
    }
    Ok(())
}

fn create(folder: &Path, number: u64, of: &str, is_base: bool) -> io::Result<BufWriter<File>> {
    let file = File::create(path(folder, number))?;
    let mut file = BufWriter::with_capacity(1 << 16, file);
    segment::write(&mut file, &segment::header(of, is_base))?;
    Ok(file)
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:012}.segment"))
}

/// Segments by number.
fn segments(folder: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".segment"))
            .and_then(|name| name.parse().ok());
        if let Some(number) = number {
            found.insert(number, path);
        }
    }
    Ok(found)
}

fn total(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for path in segments(folder)?.values() {
        bytes += fs::metadata(path)?.len();
    }
    Ok(bytes)
}

fn remove_segments(folder: &Path) -> io::Result<()> {
    for path in segments(folder)?.values() {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
