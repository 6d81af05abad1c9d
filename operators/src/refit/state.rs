//! What a refit task remembers, as the shell keeps, restores and bounds it.

use super::standing::TrackRecord;
use super::{Refit, WALL_MS};
use crate::operator::{Change, Remember};
use cairn_avro::record::FitVerdict;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What waits to be asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Dirty {
    pub(super) since_ms: i64,
    pub(super) last_ms: i64,
    /// Runs that finished meanwhile, the newest last.
    #[serde(default)]
    pub(super) fresh: Vec<String>,
}

/// What is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) ask_id: String,
    /// Since when the rows differ from those of the last fit; 0 in asks of before it was kept.
    #[serde(default)]
    pub(super) since_ms: i64,
    #[serde(default)]
    pub(super) fresh: Vec<String>,
}

/// The last fit of a law to a cohort, or to a window of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LastFit {
    pub(super) fit_id: String,
    pub(super) verdict: FitVerdict,
    pub(super) values: BTreeMap<String, f64>,
    #[serde(default)]
    pub(super) fit_json: String,
    #[serde(default)]
    pub(super) window_end: Option<i64>,
    #[serde(default)]
    pub(super) data_digest: String,
    #[serde(default)]
    pub(super) asked_ms: Option<i64>,
    #[serde(default)]
    pub(super) residual_rms: Option<f64>,
    /// The monitor's state.
    #[serde(default)]
    pub(super) drift_json: String,
    /// How it stands beside the last fit in good order; none in fits of before it was judged.
    #[serde(default)]
    pub(super) record: Option<TrackRecord>,
}

impl Remember for Refit {
    fn changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        self.rows.changes(&mut changes);
        self.cohorts.changes(&mut changes);
        self.dirty.changes(&mut changes);
        self.pending.changes(&mut changes);
        self.fits.changes(&mut changes);
        self.cut.changes(&mut changes);
        self.clock.changes(&mut changes);
        changes
    }

    fn merge(&mut self) {
        self.rows.merge();
        self.cohorts.merge();
        self.dirty.merge();
        self.pending.merge();
        self.fits.merge();
        self.cut.merge();
        self.clock.merge();
    }

    fn discard(&mut self) {
        self.rows.discard();
        self.cohorts.discard();
        self.dirty.discard();
        self.pending.discard();
        self.fits.discard();
        self.cut.discard();
        self.clock.discard();
        self.wall_ms = self.clock.get(WALL_MS).copied().unwrap_or(i64::MIN);
    }

    fn restore(&mut self, table: &str, key: &str, value: Option<&[u8]>) -> Result<(), String> {
        match table {
            "rows" => self.rows.restore(key, value),
            "cohorts" => self.cohorts.restore(key, value),
            "dirty" => self.dirty.restore(key, value),
            "pending" => self.pending.restore(key, value),
            "fits" => self.fits.restore(key, value),
            "cut" => self.cut.restore(key, value),
            "clock" => {
                let restored = self.clock.restore(key, value);
                self.wall_ms = self.clock.get(WALL_MS).copied().unwrap_or(i64::MIN);
                restored
            }
            other => Err(format!(
                "refit has no table {other}; the changelog was written by another version"
            )),
        }
    }

    fn unreadable(&self) -> Option<&str> {
        self.rows.unreadable()
    }

    fn bytes(&self) -> u64 {
        self.rows.bytes()
            + self.cohorts.bytes()
            + self.dirty.bytes()
            + self.pending.bytes()
            + self.fits.bytes()
            + self.cut.bytes()
            + self.clock.bytes()
    }
}
