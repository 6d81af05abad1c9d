//! What a task of runs remembers, as the shell keeps, restores and bounds it.

use super::{Runs, WALL_MS, followed, open_rows, seen};
use crate::operator::{Change, Remember};
use crate::time::AppendTimeMs;

impl Runs {
    /// Takes the restored wall time, and puts the runs whose moments it has passed in their places.
    fn set_clock(&mut self) {
        self.wall_ms = self.clock.get(WALL_MS).copied().unwrap_or(i64::MIN);
        for key in self.watch.passed(AppendTimeMs(self.wall_ms)) {
            self.place_anew(&key);
        }
    }
}

impl Remember for Runs {
    fn changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        self.seen.changes(&mut changes);
        self.rows.changes(&mut changes);
        self.followed.changes(&mut changes);
        self.endings.changes(&mut changes);
        self.forgotten.changes(&mut changes);
        self.clock.changes(&mut changes);
        changes
    }

    fn merge(&mut self) {
        self.seen.merge();
        self.rows.merge();
        self.followed.merge();
        self.endings.merge();
        self.forgotten.merge();
        self.clock.merge();
        self.placed.clear();
    }

    fn discard(&mut self) {
        self.seen.discard();
        self.rows.discard();
        self.followed.discard();
        self.endings.discard();
        self.forgotten.discard();
        self.clock.discard();
        self.touched.clear();
        // Time goes back with the rest: what it was to do to a run is to be done again.
        self.wall_ms = self.clock.get(WALL_MS).copied().unwrap_or(i64::MIN);
        for key in std::mem::take(&mut self.placed) {
            self.place_anew(&key);
        }
        self.placed.clear();
    }

    fn restore(&mut self, table: &str, key: &str, value: Option<&[u8]>) -> Result<(), String> {
        match table {
            seen::TABLE => self.seen.restore(key, value),
            "rows" => self.rows.restore(key, value),
            followed::TABLE | open_rows::TABLE => self.followed.restore(table, key, value),
            "endings" => self.endings.restore(key, value),
            "forgotten" => self.forgotten.restore(key, value),
            "clock" => self.clock.restore(key, value),
            other => Err(format!(
                "runs has no table {other}; the changelog was written by another version"
            )),
        }?;
        // of a row alone no moment hangs: a run under way has its clock in `followed`
        if matches!(table, followed::TABLE | "endings") {
            self.place_anew(key);
        } else if table == "clock" {
            self.set_clock();
        }
        Ok(())
    }

    fn unreadable(&self) -> Option<&str> {
        self.followed
            .unreadable()
            .or_else(|| self.rows.unreadable())
    }

    fn bytes(&self) -> u64 {
        self.seen.bytes()
            + self.rows.bytes()
            + self.followed.bytes()
            + self.endings.bytes()
            + self.forgotten.bytes()
            + self.clock.bytes()
    }
}
