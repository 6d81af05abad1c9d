//! A task's state from its snapshot and the changelog's tail, and the snapshot kept up to date from then on.
//!
//! Reading a snapshot is decoding: the partitions that come together are read at the same time, one on each processor. Tails
//! come through the one session, one after the other.

use super::super::decode;
use super::super::encode::STATE_VERSION;
use super::super::snapshot::{Found, Snapshot, SnapshotLimits};
use super::super::task::{Kind, Task};
use super::Member;
use crate::metrics::wall_time_ms;
use cairn_bus::{Fault, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The snapshot of one task, and the end of its changelog that waits for a commit to make it a mark.
pub(super) struct Copy {
    snapshot: Snapshot,
    seen_end: Option<i64>,
    looked: Instant,
}

/// What a restore read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Restored {
    /// Entries of the snapshot.
    pub snapshot: u64,
    /// Entries of the changelog.
    pub changelog: u64,
}

/// A task with what its snapshot holds.
pub(super) struct Opened {
    task: Box<dyn Task>,
    /// None without a folder for it, or where the disk refused.
    snapshot: Option<Snapshot>,
    /// How far into the changelog it reaches.
    from: i64,
    entries: u64,
}

impl Member {
    /// New tasks with what is in their snapshots, by partition.
    pub(super) fn open(&self, partitions: &BTreeSet<i32>) -> BTreeMap<i32, Opened> {
        let partitions: Vec<i32> = partitions.iter().copied().collect();
        let (next, opened) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        let (kind, limits) = (&*self.kind, &self.snapshots);
        let work = || {
            while let Some(&partition) = partitions.get(next.fetch_add(1, Ordering::Relaxed)) {
                let found = open(kind, limits, partition);
                if let Ok(mut opened) = opened.lock() {
                    opened.insert(partition, found);
                }
            }
        };
        let at_once = thread::available_parallelism().map_or(1, usize::from);
        if limits.dir.is_none() || partitions.len() < 2 || at_once < 2 {
            work();
        } else {
            // a panic in one is a panic here
            thread::scope(|scope| {
                for _ in 0..at_once.min(partitions.len()) {
                    scope.spawn(work);
                }
            });
        }
        opened.into_inner().unwrap_or_default()
    }

    /// Restores one task: on what its snapshot held, what the changelog has beyond it.
    pub(super) fn restore(
        &mut self,
        partition: i32,
        opened: Opened,
    ) -> Result<(Box<dyn Task>, Restored), Fault> {
        let Opened {
            mut task,
            mut snapshot,
            mut from,
            entries,
        } = opened;
        let mut restored = Restored {
            snapshot: entries,
            changelog: 0,
        };
        let Some(changelog) = changelog_of(&self.kind, &mut task) else {
            return Ok((task, restored));
        };
        let place = TopicPartition::new(changelog, partition);
        let broken = |why: String| Fault::Config(format!("{place}: {why}"));
        loop {
            let mut failed = None;
            let end = self.session.read_from(&place, from, &mut |record| {
                restored.changelog += 1;
                let key = record.key.as_deref().unwrap_or_default();
                let value = record.value.as_deref();
                if failed.is_none()
                    && let Some(state) = task.state()
                {
                    failed = decode::restore(key, value, state).err();
                }
                snapshot = snapshot.take().and_then(|mut snapshot| {
                    snapshot.stage(key, value);
                    let is_full = snapshot.staged_bytes() >= STAGED_BYTES;
                    let kept = if is_full { snapshot.write() } else { Ok(()) };
                    give_up_on(kept, &place).then_some(snapshot)
                });
            })?;
            if let Some(why) = failed {
                return Err(broken(why));
            }
            if end >= from {
                if let Some(mut kept) = snapshot.take() {
                    let bytes = task.state().map_or(0, |state| state.bytes());
                    let written = kept
                        .keep(bytes)
                        .and_then(|()| kept.mark(end, wall_time_ms()));
                    if give_up_on(written, &place) {
                        let copy = Copy {
                            snapshot: kept,
                            seen_end: None,
                            looked: self.clock.now(),
                        };
                        self.copies.insert(partition, copy);
                    }
                }
                return Ok((task, restored));
            }
            tracing::warn!(
                changelog = %place,
                from, end,
                "snapshot thrown away: it reaches beyond the changelog's end"
            );
            snapshot = snapshot.and_then(|mut snapshot| {
                give_up_on(snapshot.restart(), &place).then_some(snapshot)
            });
            task = self.kind.open();
            (from, restored) = (0, Restored::default());
        }
    }

    /// After a commit: keeps its changes, and marks the end that was seen before it.
    pub(super) fn keep_copies(&mut self) {
        let Some(changelog) = self.kind.changelog.clone() else {
            return;
        };
        let interval = Duration::from_millis(self.settings.snapshot_mark_interval_ms);
        let now = self.clock.now();
        let mut gone = Vec::new();
        for (partition, copy) in &mut self.copies {
            let place = TopicPartition::new(changelog.as_ref(), *partition);
            let live = self
                .tasks
                .get_mut(partition)
                .and_then(|task| task.state().map(|state| state.bytes()))
                .unwrap_or(0);
            let mut kept = copy.snapshot.keep(live);
            if let Some(end) = copy.seen_end.take() {
                kept = kept.and_then(|()| copy.snapshot.mark(end, wall_time_ms()));
            }
            if !give_up_on(kept, &place) {
                gone.push(*partition);
            } else if now.saturating_duration_since(copy.looked) >= interval {
                copy.looked = now;
                let ends = self.session.last_stable(std::slice::from_ref(&place));
                copy.seen_end = ends.ok().and_then(|ends| ends.get(&place).copied());
            }
        }
        for partition in gone {
            self.copies.remove(&partition);
        }
    }
}

impl Copy {
    /// Adds a change of the open batch.
    pub(super) fn stage(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.snapshot.stage(key, value);
    }

    /// The batch was aborted.
    pub(super) fn drop_staged(&mut self) {
        self.snapshot.drop_staged();
    }
}

/// What a restore gathers before it writes.
const STAGED_BYTES: usize = 4 << 20;

/// False, with a line, where the disk refused: the task goes on without a snapshot.
fn give_up_on(written: std::io::Result<()>, place: &TopicPartition) -> bool {
    if let Err(error) = &written {
        tracing::warn!(changelog = %place, %error, "snapshot given up");
    }
    written.is_ok()
}

/// The changelog of a task that remembers something.
fn changelog_of<'a>(kind: &'a Kind, task: &mut Box<dyn Task>) -> Option<&'a str> {
    kind.changelog.as_deref().filter(|_| task.state().is_some())
}

/// A new task with what its snapshot holds; what is wrong with that is said, and the changelog read from its beginning.
fn open(kind: &Kind, limits: &SnapshotLimits, partition: i32) -> Opened {
    let mut task = kind.open();
    let Some(changelog) = changelog_of(kind, &mut task) else {
        return Opened {
            task,
            snapshot: None,
            from: 0,
            entries: 0,
        };
    };
    let place = TopicPartition::new(changelog, partition);
    let of = format!("{} {place}, state version {STATE_VERSION}", limits.app_id);
    let name = format!("{}-{partition}", kind.name);
    let mut entries = 0;
    let opened = Snapshot::open(limits, &of, &name, wall_time_ms(), &mut |key, value| {
        entries += 1;
        match task.state() {
            Some(state) => decode::restore(key, value, state),
            None => Ok(()),
        }
    });
    let (snapshot, from) = match opened {
        Ok(Some((snapshot, Found::UpTo(offset)))) => (Some(snapshot), offset),
        Ok(Some((snapshot, Found::Nothing))) => (Some(snapshot), 0),
        Ok(Some((snapshot, Found::ThrownAway(why)))) => {
            tracing::warn!(changelog = %place, why, "snapshot thrown away");
            (task, entries) = (kind.open(), 0);
            (Some(snapshot), 0)
        }
        Ok(None) => (None, 0),
        Err(error) => {
            tracing::warn!(changelog = %place, %error, "no snapshot: restoring from the changelog");
            (task, entries) = (kind.open(), 0);
            (None, 0)
        }
    };
    Opened {
        task,
        snapshot,
        from,
        entries,
    }
}
