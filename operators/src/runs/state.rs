//! What a task of runs remembers, as the shell keeps, restores and bounds it.

use super::{Runs, seen};
use crate::operator::{Change, Remember};
use std::collections::BTreeSet;

impl Remember for Runs {
    fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        self.seen.changes(&mut changes);
        self.rows.changes(&mut changes);
        self.followed.changes(&mut changes);
        self.endings.changes(&mut changes);
        self.forgotten.changes(&mut changes);
        changes
    }

    fn merge(&mut self) {
        self.seen.merge();
        self.rows.merge();
        self.followed.merge();
        self.endings.merge();
        self.forgotten.merge();
    }

    fn discard(&mut self) {
        let changed = self.followed.changed().chain(self.endings.changed());
        let changed: BTreeSet<String> = changed
            .chain(self.rows.changed())
            .map(str::to_owned)
            .collect();
        self.seen.discard();
        self.rows.discard();
        self.followed.discard();
        self.endings.discard();
        self.forgotten.discard();
        self.touched.clear();
        for key in &changed {
            self.place_anew(key);
        }
    }

    fn restore(&mut self, table: &str, key: &str, value: Option<&[u8]>) -> Result<(), String> {
        match table {
            seen::TABLE => self.seen.restore(key, value),
            "rows" => self.rows.restore(key, value),
            "followed" => self.followed.restore(key, value),
            "endings" => self.endings.restore(key, value),
            "forgotten" => self.forgotten.restore(key, value),
            other => Err(format!(
                "runs has no table {other}; the changelog was written by another version"
            )),
        }?;
        if matches!(table, "rows" | "followed" | "endings") {
            self.place_anew(key);
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.seen.bytes()
            + self.rows.bytes()
            + self.followed.bytes()
            + self.endings.bytes()
            + self.forgotten.bytes()
    }
}
