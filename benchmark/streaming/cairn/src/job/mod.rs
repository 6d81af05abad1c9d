//! The job on one partition: a core in Cairn's sense, without clock, randomness or IO.
//!
//! Input: rows in offset order. Output: closed windows, late rows, dead letters. Remembered, per run: its clock (the greatest
//! event time of *its* rows) and the open windows of its metrics. A run's clock closes its own windows and nobody else's.
//!
//! At most two windows of a (run, metric) are open at once: those that start within the 20 s (a window and the disorder)
//! before the run's clock, and as starts are multiples of 10 s, their parity tells them apart. So a group is a fixed place
//! in a slab, a row costs one hash and then only indices, and nothing is allocated for it.
//!
//! The overlay is kept the other way round: rows change the slab in place, and the first change of a run in a batch keeps
//! what it was. Committing forgets that, an abort puts it back; its runs are what the changelog gets. A batch that is sealed
//! is on its way to be committed, and the next one has begun.

pub mod entry;
pub mod names;
pub mod outputs;
pub mod row;
pub mod sums;
#[cfg(test)]
mod tests;

use cairn_operators::operator::{Change, Remember};
use names::Names;
use outputs::{Frames, Outputs, Place};
use row::Row;
use std::collections::BTreeMap;
use sums::Sums;

pub const WINDOW_MS: i64 = 10_000;
pub const DISORDER_MS: i64 = 10_000;
/// The one table.
pub const TABLE: &str = "runs";

/// A window of one (run, metric); without rows it is not open.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    pub start_ms: i64,
    pub sums: Sums,
}

impl Window {
    pub fn is_open(&self) -> bool {
        self.sums.count > 0
    }

    /// The run's clock at which it closes.
    fn closes_at_ms(&self) -> i64 {
        self.start_ms + WINDOW_MS + DISORDER_MS
    }
}

struct Group {
    run: usize,
    metric: Box<[u8]>,
    /// By the parity of the start.
    windows: [Window; 2],
}

struct Run {
    id: Box<[u8]>,
    /// Greatest event time so far.
    clock_ms: i64,
    /// Where the first of its open windows closes.
    close_at_ms: i64,
    /// Changed since the last commit.
    is_changed: bool,
    groups: Vec<usize>,
}

/// What the runs that a batch has changed were before.
#[derive(Default)]
struct Undo {
    changed: Vec<Was>,
    /// The windows of their groups, one behind the other.
    were: Vec<[Window; 2]>,
}

/// What a changed run was.
struct Was {
    run: usize,
    clock_ms: i64,
    /// Groups it had then.
    groups: usize,
}

/// One partition's state.
pub struct Job {
    frames: Frames,
    partition: i32,
    names: Names,
    by_id: BTreeMap<Box<[u8]>, usize>,
    runs: Vec<Run>,
    groups: Vec<Group>,
    batch: Undo,
    sealed: Option<Undo>,
}

impl Job {
    pub fn new(frames: Frames, partition: i32) -> Self {
        Self {
            frames,
            partition,
            names: Names::default(),
            by_id: BTreeMap::new(),
            runs: Vec::new(),
            groups: Vec::new(),
            batch: Undo::default(),
            sealed: None,
        }
    }

    /// Ends the batch: its changes have been sent. What follows is the next batch, until this one is merged or discarded.
    ///
    /// # Panics
    /// If the batch before is sealed still.
    pub fn seal(&mut self) {
        assert!(self.sealed.is_none(), "one batch at a time is on its way");
        for was in &self.batch.changed {
            self.runs[was.run].is_changed = false;
        }
        self.sealed = Some(std::mem::take(&mut self.batch));
    }

    /// Takes the next record.
    #[inline]
    pub fn apply(&mut self, offset: i64, key: Option<&[u8]>, value: &[u8], out: &mut Outputs) {
        let place = Place {
            partition: self.partition,
            offset,
        };
        match row::read(value, &self.frames.telemetry) {
            Ok(row) => self.take(place, &row, out),
            Err(bad) => out.dead_letter(&self.frames, place, bad, key, value),
        }
    }

    #[inline]
    fn take(&mut self, place: Place, row: &Row<'_>, out: &mut Outputs) {
        let at = match self.names.find(row.run_id, row.metric) {
            Some(at) => at,
            None => self.intern(row),
        };
        let run_at = self.groups[at].run;
        let run = &mut self.runs[run_at];
        let start_ms = row.event_ms - row.event_ms % WINDOW_MS;
        if start_ms + WINDOW_MS + DISORDER_MS <= run.clock_ms {
            return out.late(&self.frames, place, row, &self.groups[at].metric);
        }
        if !run.is_changed {
            run.is_changed = true;
            self.batch.changed.push(Was {
                run: run_at,
                clock_ms: run.clock_ms,
                groups: run.groups.len(),
            });
            self.batch
                .were
                .extend(run.groups.iter().map(|group| self.groups[*group].windows));
        }
        if row.event_ms > run.clock_ms {
            run.clock_ms = row.event_ms;
            if run.clock_ms >= run.close_at_ms {
                self.close(run_at, out);
            }
        }
        let window = &mut self.groups[at].windows[parity(start_ms)];
        if window.is_open() {
            debug_assert_eq!(
                window.start_ms, start_ms,
                "two starts of one parity are never open at once"
            );
            window.sums.add(row);
        } else {
            *window = Window {
                start_ms,
                sums: Sums::first(row.step, row.loss, row.log_perplexity),
            };
            let run = &mut self.runs[run_at];
            run.close_at_ms = run.close_at_ms.min(window.closes_at_ms());
        }
    }

    /// Puts out the windows of a run that its clock has passed.
    fn close(&mut self, run_at: usize, out: &mut Outputs) {
        let run = &mut self.runs[run_at];
        run.close_at_ms = i64::MAX;
        for group in &run.groups {
            let Group {
                metric, windows, ..
            } = &mut self.groups[*group];
            for window in windows.iter_mut().filter(|window| window.is_open()) {
                if window.closes_at_ms() > run.clock_ms {
                    run.close_at_ms = run.close_at_ms.min(window.closes_at_ms());
                    continue;
                }
                out.window(
                    &self.frames,
                    self.partition,
                    &run.id,
                    metric,
                    window.start_ms,
                    &window.sums,
                );
                *window = Window::default();
            }
        }
    }

    /// A spelling that is new, or that the cache has forgotten.
    #[cold]
    fn intern(&mut self, row: &Row<'_>) -> usize {
        let run = self.run(row.run_id);
        let at = self.group(run, &row::canonical(row.metric));
        self.names.insert(row.run_id, row.metric, at);
        at
    }

    fn run(&mut self, id: &[u8]) -> usize {
        if let Some(run) = self.by_id.get(id) {
            return *run;
        }
        self.by_id.insert(id.into(), self.runs.len());
        self.runs.push(Run {
            id: id.into(),
            clock_ms: i64::MIN,
            close_at_ms: i64::MAX,
            is_changed: false,
            groups: Vec::new(),
        });
        self.runs.len() - 1
    }

    fn group(&mut self, run: usize, metric: &[u8]) -> usize {
        let known = self.runs[run]
            .groups
            .iter()
            .find(|group| *self.groups[**group].metric == *metric);
        if let Some(group) = known {
            return *group;
        }
        self.groups.push(Group {
            run,
            metric: metric.into(),
            windows: Default::default(),
        });
        self.runs[run].groups.push(self.groups.len() - 1);
        self.groups.len() - 1
    }

    fn undo(&mut self, batch: Undo) {
        let mut were = batch.were.into_iter();
        for was in batch.changed {
            let run = &mut self.runs[was.run];
            run.is_changed = false;
            run.clock_ms = was.clock_ms;
            run.close_at_ms = i64::MAX;
            for (index, group) in run.groups.iter().enumerate() {
                // groups of this batch had no windows before
                let before = if index < was.groups {
                    were.next()
                } else {
                    None
                };
                let windows = &mut self.groups[*group].windows;
                *windows = before.unwrap_or_default();
                let open = windows.iter().filter(|window| window.is_open());
                let first = open.map(Window::closes_at_ms).min();
                run.close_at_ms = run.close_at_ms.min(first.unwrap_or(i64::MAX));
            }
        }
    }
}

fn parity(start_ms: i64) -> usize {
    ((start_ms / WINDOW_MS) & 1) as usize
}

impl Remember for Job {
    fn changes(&self) -> Vec<Change> {
        let entry = |was: &Was| {
            let run = &self.runs[was.run];
            let mut value = Vec::new();
            entry::begin(run.clock_ms, &mut value);
            for group in &run.groups {
                let Group {
                    metric, windows, ..
                } = &self.groups[*group];
                entry::metric(metric, windows, &mut value);
            }
            // decoding has let only UTF-8 in
            let key = String::from_utf8_lossy(&run.id).into_owned();
            Change {
                table: TABLE,
                key,
                value: Some(value),
            }
        };
        self.batch.changed.iter().map(entry).collect()
    }

    /// The sealed batch; without one, this one.
    fn merge(&mut self) {
        if self.sealed.take().is_some() {
            return;
        }
        for was in self.batch.changed.drain(..) {
            self.runs[was.run].is_changed = false;
        }
        self.batch.were.clear();
    }

    fn discard(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.undo(batch);
        if let Some(sealed) = self.sealed.take() {
            self.undo(sealed);
        }
    }

    fn restore(&mut self, table: &str, key: &str, value: Option<&[u8]>) -> Result<(), String> {
        if table != TABLE {
            return Err(format!("unknown table {table}"));
        }
        let run = self.run(key.as_bytes());
        for group in self.runs[run].groups.clone() {
            self.groups[group].windows = Default::default();
        }
        self.runs[run].close_at_ms = i64::MAX;
        self.runs[run].clock_ms = i64::MIN;
        let Some(value) = value else {
            return Ok(());
        };
        let clock_ms = entry::read(value, |metric, window| {
            let group = self.group(run, metric);
            self.groups[group].windows[parity(window.start_ms)] = window;
            let run = &mut self.runs[run];
            run.close_at_ms = run.close_at_ms.min(window.closes_at_ms());
        });
        self.runs[run].clock_ms =
            clock_ms.ok_or_else(|| format!("the entry of run {key} cannot be read"))?;
        Ok(())
    }

    fn bytes(&self) -> u64 {
        let slabs = self.runs.len() * size_of::<Run>() + self.groups.len() * size_of::<Group>();
        (slabs + self.names.bytes()) as u64
    }
}
