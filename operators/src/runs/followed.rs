//! What is followed of each run: clock, windows and breaker in one entry, the rows of its open windows in segments beside it.

use super::open_rows::{self, OpenRows};
use crate::breaker::follow::Followed;
use crate::operator::Change;
use crate::tables::{OPEN_ALL, Part, Table, decode, first_member};
use crate::time::RunClock;
use crate::windows::segments;
use serde::Deserialize;
use std::collections::BTreeSet;

/// Name of the table of entries in the changelog.
pub(super) const TABLE: &str = "followed";

/// The clock alone: what time asks of a run that nobody has touched since a restart.
#[derive(Deserialize)]
struct Clocked {
    clock: RunClock,
}

impl Part<Followed> for Clocked {
    fn of(whole: &Followed) -> Self {
        Self {
            clock: whole.clock.clone(),
        }
    }

    /// The clock is written first: timers ask for it, and what follows is twenty times as long.
    fn read(packed: &[u8]) -> Result<Self, String> {
        match first_member("clock", packed) {
            Some(clock) => Ok(Self { clock }),
            None => decode(packed),
        }
    }
}

/// The runs of one task.
pub(super) struct FollowedRuns {
    entries: Table<Followed>,
    open_rows: OpenRows,
    /// Rows that a window keeps.
    rows_max: usize,
    /// The first segment that was none.
    unreadable: Option<String>,
}

impl FollowedRuns {
    pub(super) fn new(rows_max: usize) -> Self {
        Self {
            // packed again, an entry would lose the rows of its windows
            entries: Table::packed(TABLE, OPEN_ALL),
            open_rows: OpenRows::default(),
            rows_max,
            unreadable: None,
        }
    }

    /// What is followed of a run; after a restore without the rows of its windows.
    pub(super) fn get(&self, key: &str) -> Option<&Followed> {
        self.entries.get(key)
    }

    /// The clock of a run.
    pub(super) fn clock(&self, key: &str) -> Option<RunClock> {
        self.entries.part::<Clocked>(key).map(|run| run.clock)
    }

    /// The clocks of all runs, in key order.
    pub(super) fn clocks(&self) -> impl Iterator<Item = (&str, RunClock)> {
        let runs = self.entries.parts_from::<Clocked>("");
        runs.map(|(key, run)| (key, run.clock))
    }

    /// What is followed of a run, with all its rows, to be changed; made where there is nothing.
    pub(super) fn entry(&mut self, key: &str) -> &mut Followed {
        let (open_rows, rows_max) = (&mut self.open_rows, self.rows_max);
        let unreadable = &mut self.unreadable;
        self.entries.amend(key, |run| {
            for (number, segment) in open_rows.take_packed(key) {
                if let Err(why) = segments::weave(&mut run.windows, number, &segment) {
                    unreadable.get_or_insert(open_rows::wrong(key, number, &why));
                }
            }
            segments::settle(&mut run.windows, rows_max);
        });
        self.entries.entry(key, Followed::default)
    }

    pub(super) fn put(&mut self, key: &str, run: Followed) {
        self.entries.put(key, run);
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.entries.remove(key);
    }

    /// The batch's changes: the rows that it has brought are written, segments of which no window is open are deleted.
    pub(super) fn changes(&mut self, changes: &mut Vec<Change>) {
        for (key, run) in self.entries.changed_mut() {
            let Some(run) = run else {
                self.open_rows.keep_only(key, &BTreeSet::new());
                continue;
            };
            for (number, segment) in segments::unwritten(&mut run.windows) {
                self.open_rows.put(key, number, segment);
            }
            if let Some(needed) = segments::needed(&mut run.windows) {
                self.open_rows.keep_only(key, &needed);
            }
        }
        self.entries.changes(changes);
        self.open_rows.changes(changes);
    }

    pub(super) fn merge(&mut self) {
        self.entries.merge();
        self.open_rows.merge();
    }

    pub(super) fn discard(&mut self) {
        self.entries.discard();
        self.open_rows.discard();
    }

    /// Takes one entry of one of the two tables.
    pub(super) fn restore(
        &mut self,
        table: &str,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<(), String> {
        if table == open_rows::TABLE {
            self.open_rows.restore(key, value)
        } else {
            self.entries.restore(key, value)
        }
    }

    /// Why something that was restored could not be opened.
    pub(super) fn unreadable(&self) -> Option<&str> {
        self.unreadable
            .as_deref()
            .or_else(|| self.entries.unreadable())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.entries.bytes() + self.open_rows.bytes()
    }
}
