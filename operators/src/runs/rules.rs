//! How runs are followed, and for how long they are remembered: the section `runs` of the configuration.

use super::normalize::DerivationRules;
use super::seen::SeenLimits;
use crate::breaker::follow::FollowSettings;
use serde::{Deserialize, Serialize};

/// How runs are followed and for how long they are remembered; every limit has its name and default here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunsRules {
    /// Clocks, windows and breaker.
    pub follow: FollowSettings,
    /// What derived fields rest on beside the row.
    pub derivation: DerivationRules,
    /// Most ids of events kept for a run; a duplicate older than that is late, not new.
    pub dedupe_ids_per_run_max: usize,
    /// How long after a run's end its windows, breaker and telemetry ids are kept.
    pub forget_after_end_ms: i64,
    /// How long after its last change the row of a run is kept; a fact later than that is a dead letter.
    pub row_retention_days: i64,
    /// Most runs remembered as let go, for a partition; of those beyond, the oldest count as new again. 100,000 are about 10 MB.
    pub forgotten_max: usize,
}

impl Default for RunsRules {
    fn default() -> Self {
        Self {
            follow: FollowSettings::default(),
            derivation: DerivationRules::default(),
            dedupe_ids_per_run_max: SeenLimits::default().ids_per_run_max,
            forget_after_end_ms: 600_000,
            row_retention_days: 365,
            forgotten_max: 100_000,
        }
    }
}
