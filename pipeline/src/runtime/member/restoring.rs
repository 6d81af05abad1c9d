//! A task's state from its snapshot and the changelog's tail, and the snapshot kept up to date from then on.

use super::super::encode::STATE_VERSION;
use super::super::snapshot::{Found, Snapshot};
use super::super::task::Task;
use super::Member;
use crate::metrics::wall_time_ms;
use cairn_bus::{Fault, TopicPartition};
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

impl Member {
    /// Restores one task: the snapshot where there is one, then what the changelog has beyond it.
    pub(super) fn restore(&mut self, partition: i32) -> Result<(Box<dyn Task>, Restored), Fault> {
        let mut task = self.kind.open();
        let mut restored = Restored::default();
        let Some(changelog) = self
            .kind
            .changelog
            .clone()
            .filter(|_| task.state().is_some())
        else {
            return Ok((task, restored));
        };
        let place = TopicPartition::new(changelog.as_ref(), partition);
        let broken = |why: String| Fault::Config(format!("{place}: {why}"));
        let (mut snapshot, mut from) = self.open_snapshot(&place, &mut task, &mut restored);
        loop {
            let mut failed = None;
            let decoder = &self.decoder;
            let end = self.session.read_from(&place, from, &mut |record| {
                restored.changelog += 1;
                let key = record.key.as_deref().unwrap_or_default();
                let value = record.value.as_deref();
                if failed.is_none()
                    && let Some(state) = task.state()
                {
                    failed = decoder.restore(key, value, state).err();
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

    fn open_snapshot(
        &self,
        place: &TopicPartition,
        task: &mut Box<dyn Task>,
        restored: &mut Restored,
    ) -> (Option<Snapshot>, i64) {
        let of = format!(
            "{} {place}, state version {STATE_VERSION}",
            self.snapshots.app_id
        );
        let name = format!("{}-{}", self.kind.name, place.partition);
        let decoder = &self.decoder;
        let mut count = 0;
        let opened = Snapshot::open(
            &self.snapshots,
            &of,
            &name,
            wall_time_ms(),
            &mut |key, value| {
                count += 1;
                match task.state() {
                    Some(state) => decoder.restore(key, value, state),
                    None => Ok(()),
                }
            },
        );
        match opened {
            Ok(Some((snapshot, Found::UpTo(offset)))) => {
                restored.snapshot = count;
                (Some(snapshot), offset)
            }
            Ok(Some((snapshot, Found::Nothing))) => (Some(snapshot), 0),
            Ok(Some((snapshot, Found::ThrownAway(why)))) => {
                tracing::warn!(changelog = %place, why, "snapshot thrown away");
                *task = self.kind.open();
                (Some(snapshot), 0)
            }
            Ok(None) => (None, 0),
            Err(error) => {
                tracing::warn!(changelog = %place, %error, "no snapshot: restoring from the changelog");
                *task = self.kind.open();
                (None, 0)
            }
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
