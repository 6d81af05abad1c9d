//! Files that are still written and rotated: `cairn ingest --follow`.
//!
//! What the arguments stand for is listed again and again; a file that is new or has changed gets a reader of its own, up to a
//! limit of them at once. A reader waits at the end of its file, whole lines go out as they come, and a last line without an
//! end is waited for. Progress is that of any other source, in the transaction of what it covers: whoever is killed goes on
//! where its last transaction ended.
//!
//! # Rotation
//!
//! - *Rename and a new file*: the old file is held by its descriptor and read to its end; a moment without growth after the
//!   rename is its end. The new one is a source of its own.
//! - *Copy and truncate*: the file is read from its start as new content; what was written between the last look and the
//!   truncation is in the copy, which adds it where the arguments stand for the copy, too.
//! - A file that is known already under its new name (`run.log.1`, or its compressed copy) adds nothing: content is known by
//!   its digest. A file that may be the copy of another that is not whole yet waits until it is.
//!
//! What it does not do: follow standard input, which needs no following, and objects, which do not grow.

use super::run::{Ingest, Told};
use super::source::{Content, FileId, Files, Found, Growing, Patience, Place, Wait, file_id};
use super::{HEAD_BYTES, IngestError, Options, SourceSummary, Step, is_tenant, told};
use crate::objects::is_address;
use cairn_bus::{Fault, Log, SchemaRegistry};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

/// How files are followed; every wait with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follow {
    /// How often a file and a directory are looked at: what a line waits at most before it is read.
    pub poll: Duration,
    /// How long nothing is written into a file that was renamed before it counts as ended: a logger opens its new file within
    /// one line.
    pub rotated: Duration,
    /// How long a file that may be a copy, a document or a compressed log must have been left alone before it is read.
    pub settle: Duration,
    /// How long it is waited at most for that: a writer may never pause.
    pub settle_max: Duration,
    /// How long a file must be silent for its reader to be given to another.
    pub idle: Duration,
    /// Readers at once: each holds a file, a session and a buffer of 256 KiB.
    pub readers_max: usize,
    /// First and longest pause after the log was out of reach; it doubles.
    pub retry: (Duration, Duration),
}

impl Default for Follow {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(200),
            rotated: Duration::from_secs(1),
            settle: Duration::from_secs(2),
            settle_max: Duration::from_secs(20),
            idle: Duration::from_secs(30),
            readers_max: 64,
            retry: (Duration::from_millis(200), Duration::from_secs(10)),
        }
    }
}

/// What is known of a file that was seen.
struct Seen {
    name: String,
    reading: bool,
    /// Length and time of change when it was last left; it is looked at again when they are others.
    left: Option<(u64, Option<SystemTime>)>,
    /// Nothing is tried before.
    not_before: Option<Instant>,
    pause: Duration,
    /// It is no copy: it took the place of another, or was waited for long enough.
    successor: bool,
    held_since: Option<Instant>,
    /// Its summary was given once: what was on the log before is counted.
    counted: bool,
    warned: bool,
}

/// What became of a reader.
struct Done {
    id: FileId,
    result: Result<Vec<SourceSummary>, IngestError>,
    left: Option<Wait>,
    /// Length as it was read, and time of change where it was read as it was.
    at: (u64, Option<SystemTime>),
}

/// Follows files until `stop` is set; `each` is told of every transaction and may ask to stop, too.
///
/// # Errors
/// Sources that cannot be followed, a tenant that is none, another process that follows the same files, and what the
/// configuration of the log says. A log that is out of reach is waited for.
pub fn follow(
    log: &dyn Log,
    registry: &dyn SchemaRegistry,
    options: &Options,
    stop: &AtomicBool,
    each: &(dyn Fn(&Step<'_>) -> ControlFlow<()> + Sync),
) -> Result<Vec<SourceSummary>, IngestError> {
    is_tenant(&options.tenant)?;
    for source in &options.sources {
        can_be_followed(source)?;
    }
    let topics = log.topics()?;
    let shared = Shared {
        log,
        registry,
        options,
        topics: &topics,
        stop,
        each,
    };
    std::thread::scope(|scope| {
        let mut files = Followed::default();
        let (sender, done) = mpsc::channel();
        loop {
            if !stop.load(Ordering::Relaxed) && files.failed.is_none() {
                let due = files.due(options).unwrap_or_else(|error| {
                    files.failed = Some(error);
                    stop.store(true, Ordering::Relaxed);
                    Vec::new()
                });
                for (id, found, successor) in due {
                    let (shared, sender) = (&shared, sender.clone());
                    let others = files.others(id);
                    scope.spawn(move || {
                        // nobody listens any more where the scope is left
                        drop(sender.send(shared.read(id, &found, successor, &others)));
                    });
                }
            } else if files.reading() == 0 {
                break;
            }
            if let Ok(one) = done.recv_timeout(options.follow.poll) {
                files.done(one, options, stop);
                while let Ok(one) = done.try_recv() {
                    files.done(one, options, stop);
                }
            }
        }
        match files.failed {
            Some(error) => Err(error),
            None => Ok(files.summaries.into_values().collect()),
        }
    })
}

fn can_be_followed(source: &str) -> Result<(), IngestError> {
    let why = if source == "-" {
        "standard input is read as it comes; leave --follow out".to_owned()
    } else if is_address(source) {
        format!(
            "{source}: an object does not grow, it is written anew; leave --follow out and call again"
        )
    } else {
        return Ok(());
    };
    Err(IngestError::Refused(why))
}

/// The files that the arguments stand for now. What is not there yet is waited for where its directory is there.
fn listed(options: &Options) -> Result<Vec<Found>, IngestError> {
    let mut all = Vec::new();
    for source in &options.sources {
        match Files.list(source) {
            Ok(found) => all.extend(found),
            Err(error) => {
                let path = Path::new(source);
                let parent = path
                    .parent()
                    .filter(|parent| !parent.as_os_str().is_empty())
                    .unwrap_or(Path::new("."));
                let is_pattern = source.contains(['*', '?', '[']);
                if !is_pattern && !parent.is_dir() {
                    return Err(error);
                }
            }
        }
    }
    Ok(all)
}

/// Everything that was seen.
#[derive(Default)]
struct Followed {
    seen: BTreeMap<FileId, Seen>,
    summaries: BTreeMap<String, SourceSummary>,
    failed: Option<IngestError>,
}

impl Followed {
    fn reading(&self) -> usize {
        self.seen.values().filter(|seen| seen.reading).count()
    }

    /// The files that are read beside this one.
    fn others(&self, id: FileId) -> Vec<String> {
        self.seen
            .iter()
            .filter(|(other, seen)| **other != id && seen.reading)
            .map(|(_, seen)| seen.name.clone())
            .collect()
    }

    /// The files that want a reader, as many as there is room for.
    fn due(&mut self, options: &Options) -> Result<Vec<(FileId, Found, bool)>, IngestError> {
        let mut free = options.follow.readers_max.saturating_sub(self.reading());
        let mut due = Vec::new();
        let mut there = BTreeSet::new();
        for found in listed(options)? {
            let Ok(meta) = std::fs::metadata(&found.name) else {
                continue;
            };
            let id = file_id(&meta);
            // several names of one file
            if !there.insert(id) || meta.len() == 0 {
                continue;
            }
            let successor = !self.seen.contains_key(&id)
                && self.seen.values().any(|seen| seen.name == found.name);
            // one after the other: what was written before the rename goes first, and one session fences the other
            let held = self
                .seen
                .iter()
                .any(|(other, seen)| *other != id && seen.reading && seen.name == found.name);
            let seen = self.seen.entry(id).or_insert_with(|| Seen {
                name: found.name.clone(),
                reading: false,
                left: None,
                not_before: None,
                pause: options.follow.retry.0,
                successor,
                held_since: None,
                counted: false,
                warned: false,
            });
            let waits = seen
                .not_before
                .is_some_and(|moment| Instant::now() < moment);
            if free == 0 || held || seen.reading || waits || !has_changed(seen, &meta) {
                continue;
            }
            free -= 1;
            seen.reading = true;
            seen.name.clone_from(&found.name);
            due.push((id, found, seen.successor));
        }
        // what is gone is forgotten; its number may be given to another file
        self.seen
            .retain(|id, seen| seen.reading || there.contains(id));
        Ok(due)
    }

    fn done(&mut self, done: Done, options: &Options, stop: &AtomicBool) {
        let Some(seen) = self.seen.get_mut(&done.id) else {
            return;
        };
        seen.reading = false;
        seen.left = Some(done.at);
        match done.result {
            Ok(summaries) => {
                seen.pause = options.follow.retry.0;
                seen.not_before = None;
                if done.left == Some(Wait::Truncated) {
                    // from its start, and at once: it is no copy of what it held before
                    (seen.left, seen.successor) = (None, true);
                }
                let counted = std::mem::replace(&mut seen.counted, true);
                for summary in summaries {
                    self.add(summary, counted);
                }
            }
            Err(IngestError::Held) => {
                seen.left = None;
                let since = *seen.held_since.get_or_insert_with(Instant::now);
                seen.successor |= since.elapsed() >= options.follow.settle_max;
                seen.not_before = Some(Instant::now() + options.follow.poll);
            }
            Err(IngestError::Stopped) => stop.store(true, Ordering::Relaxed),
            // it may be told when there is more of it
            Err(IngestError::Refused(why)) => {
                if !std::mem::replace(&mut seen.warned, true) {
                    tracing::warn!(source = %seen.name, %why, "not read yet");
                }
                let name = seen.name.clone();
                self.summaries
                    .entry(name.clone())
                    .or_insert_with(|| SourceSummary::skipped(&name, why));
            }
            Err(IngestError::Unreadable { path, error }) => {
                tracing::warn!(source = %path, %error, "cannot be read");
            }
            Err(IngestError::Fault(
                fault @ (Fault::Abort(_) | Fault::Unknown(_) | Fault::Unreachable(_)),
            )) => {
                tracing::warn!(source = %seen.name, %fault, pause = ?seen.pause, "tried again");
                seen.left = None;
                seen.not_before = Some(Instant::now() + seen.pause);
                seen.pause = (seen.pause * 2).min(options.follow.retry.1);
            }
            Err(error) => {
                self.failed.get_or_insert(error);
                stop.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Adds to what was said of the same name; what is on the log by now counts as duplicate only the first time.
    fn add(&mut self, summary: SourceSummary, counted: bool) {
        let all = self
            .summaries
            .entry(summary.source.clone())
            .or_insert_with(|| SourceSummary {
                source: summary.source.clone(),
                ..SourceSummary::default()
            });
        all.sha256 = summary.sha256;
        all.format = summary.format;
        all.skipped = summary.skipped;
        all.accepted += summary.accepted;
        all.rejected += summary.rejected;
        all.ignored += summary.ignored;
        all.lines = summary.lines;
        if !counted {
            all.duplicate += summary.duplicate;
            all.resumed_byte = summary.resumed_byte;
        }
        all.read = all.accepted + all.duplicate + all.rejected;
        for (class, count) in summary.errors {
            *all.errors.entry(class).or_default() += count;
        }
        let known: BTreeSet<String> = all.runs.iter().cloned().collect();
        all.runs
            .extend(summary.runs.into_iter().filter(|run| !known.contains(run)));
    }
}

fn has_changed(seen: &Seen, meta: &Metadata) -> bool {
    match &seen.left {
        None => true,
        Some((length, None)) => *length != meta.len(),
        Some((length, changed)) => *length != meta.len() || *changed != meta.modified().ok(),
    }
}

/// Bytes of a head that are held against another file's.
const ALIKE_BYTES: usize = 4096;

/// Whether a file begins with these bytes.
fn begins_with(path: &str, head: &[u8]) -> bool {
    let mut bytes = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(head.len() as u64).read_to_end(&mut bytes));
    read.is_ok() && bytes == head
}

/// What the readers share.
struct Shared<'a> {
    log: &'a dyn Log,
    registry: &'a dyn SchemaRegistry,
    options: &'a Options,
    topics: &'a BTreeMap<String, cairn_bus::TopicState>,
    stop: &'a AtomicBool,
    each: &'a (dyn Fn(&Step<'_>) -> ControlFlow<()> + Sync),
}

impl Shared<'_> {
    /// Reads a file until it is left.
    fn read(&self, id: FileId, found: &Found, successor: bool, others: &[String]) -> Done {
        let follow = &self.options.follow;
        let patience = Patience {
            poll: follow.poll,
            rotated: follow.rotated,
            idle: follow.idle,
        };
        let mut done = Done {
            id,
            result: Ok(Vec::new()),
            left: None,
            at: (0, None),
        };
        let unreadable = |error| IngestError::Unreadable {
            path: found.name.clone(),
            error,
        };
        let growing = match Growing::open(&found.name, successor, patience, self.stop) {
            Ok(growing) => growing,
            Err(error) => {
                done.result = Err(unreadable(error));
                return done;
            }
        };
        // renamed in between: the next listing says what it is
        if growing.left().0 != id {
            done.result = Err(IngestError::Held);
            return done;
        }
        let (length, changed) = match growing.now() {
            Ok(now) => now,
            Err(error) => {
                done.result = Err(unreadable(error));
                return done;
            }
        };
        done.result = self.source(found, &growing, others);
        done.left = growing.left().1;
        done.at = if growing.follows() || done.left.is_some() {
            (growing.offset(), None)
        } else {
            (length, changed)
        };
        done
    }

    fn source(
        &self,
        found: &Found,
        growing: &Growing<'_>,
        others: &[String],
    ) -> Result<Vec<SourceSummary>, IngestError> {
        let unreadable = |error| IngestError::Unreadable {
            path: found.name.clone(),
            error,
        };
        let mut content = Content::new(growing.snapshot()).map_err(unreadable)?;
        let head = content.peek(HEAD_BYTES).map_err(unreadable)?;
        drop(content);
        let told = told(&head, found, self.options)?;
        if let Told::Empty = told {
            return Ok(Vec::new());
        }
        let young = growing.age().map_err(unreadable)?.0 < self.options.follow.settle;
        let alike = |other: &String| begins_with(other, &head[..head.len().min(ALIKE_BYTES)]);
        let is_archive = matches!(told, Told::Archive);
        if young && (is_archive || !growing.is_successor() && others.iter().any(alike)) {
            return Err(IngestError::Held);
        }
        let ingest = Ingest {
            place: &Files,
            log: self.log,
            registry: self.registry,
            options: self.options,
            topics: self.topics,
            growing: Some(growing),
        };
        ingest.source(found, Some(&told), &mut |step| (self.each)(step))
    }
}
