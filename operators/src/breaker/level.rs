//! Creeping rises, seen in window medians: the slow half of the divergence rule.
//!
//! The level is the median of the last three window medians, the best level is the lowest so far, and a rise counts in nats and
//! in units of the medians' own noise. Several windows in a row must agree, so a spike that recovers, however tall, does not
//! count. A warm restart of the learning rate lifts every healthy loss: the best level is then taken anew.

use serde::{Deserialize, Serialize};

use super::rules::DivergenceRule;
use crate::theil_sen::{median, noise};

/// Window medians that are remembered for the noise.
const MEDIANS_MAX: usize = 32;
/// The newest of them that the noise is taken from: a run's early fall is not noise.
const NOISE_MEDIANS: usize = 16;
/// Below this many medians the noise is a guess: the rise must then be as tall as a row's.
const MEDIANS_FEW: usize = 8;

/// What is remembered of the levels of one attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct LevelTrack {
    medians: Vec<f64>,
    /// The lowest level so far, in nats.
    #[serde(skip_serializing_if = "Option::is_none")]
    best: Option<f64>,
    /// Last step of the newest window near the best level.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_low_step: Option<i64>,
    /// Consecutive elevated windows.
    elevated: u32,
    /// Tallest median of them, in nats above the best level.
    excess_max: f64,
    learning_rate_peak: f64,
    /// Lowest learning rate since the peak.
    learning_rate_low: f64,
}

/// What one window did to the level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Level {
    /// Level now, in nats.
    pub(super) now: f64,
    /// Best level, in nats.
    pub(super) best: f64,
    /// Nats above the best from which a window is elevated.
    pub(super) margin: f64,
    /// Consecutive elevated windows.
    pub(super) elevated: u32,
    /// True where the level was taken anew.
    pub(super) rebased: bool,
    /// True where that is enough.
    pub(super) diverged: bool,
    /// The step after which the rise began.
    pub(super) onset_step: Option<i64>,
}

/// Takes a window's median in.
pub(super) fn observe(
    track: &mut LevelTrack,
    rule: &DivergenceRule,
    last_step: i64,
    value: f64,
    learning_rate: Option<f64>,
    curriculum: bool,
) -> Level {
    let restart = restarted(track, rule, learning_rate);
    if restart {
        *track = LevelTrack {
            learning_rate_peak: track.learning_rate_peak,
            learning_rate_low: track.learning_rate_low,
            ..LevelTrack::default()
        };
    }
    track.medians.push(value);
    if track.medians.len() > MEDIANS_MAX {
        track.medians.remove(0);
    }
    let n = track.medians.len();
    let now = median(track.medians.get(n.saturating_sub(3)..).unwrap_or_default()).unwrap_or(value);
    let best = track.best.map_or(now, |best| best.min(now));
    track.best = Some(best);
    let sigma = noise(
        track
            .medians
            .get(n.saturating_sub(NOISE_MEDIANS)..)
            .unwrap_or_default(),
    )
    .unwrap_or(0.0);
    let few = if n < MEDIANS_FEW { rule.row_nats } else { 0.0 };
    let margin = rule.window_nats.max(few).max(rule.window_sigmas * sigma);
    if value <= best + margin / 3.0 {
        track.last_low_step = Some(last_step);
    }
    if now >= best + margin && value >= best + margin {
        track.elevated = track.elevated.saturating_add(1);
        track.excess_max = track.excess_max.max(value - best);
    } else {
        track.elevated = 0;
        track.excess_max = 0.0;
    }
    // A spike on its way down gets three times the patience; what never comes down does not.
    let falling = value - best < rule.falling_share * track.excess_max;
    let patience = rule
        .window_patience
        .max(1)
        .saturating_mul(if falling { 3 } else { 1 });
    let enough = track.elevated >= patience;
    let new_data =
        enough && curriculum && value - best < rule.strong_nats && value <= best + track.excess_max;
    if new_data {
        track.best = Some(now);
        track.elevated = 0;
        track.excess_max = 0.0;
    }
    Level {
        now,
        best,
        margin,
        elevated: track.elevated,
        rebased: restart || new_data,
        diverged: rule.enabled && enough && !new_data,
        onset_step: track.last_low_step,
    }
}

/// The best level so far, in nats.
pub(super) fn best(track: &LevelTrack) -> Option<f64> {
    track.best
}

fn restarted(track: &mut LevelTrack, rule: &DivergenceRule, learning_rate: Option<f64>) -> bool {
    let Some(rate) = learning_rate.filter(|rate| rate.is_finite() && *rate >= 0.0) else {
        return false;
    };
    let low = track.learning_rate_low;
    let restart = low > 0.0
        && rate >= rule.restart_lr_ratio * low
        && low * rule.restart_lr_ratio <= track.learning_rate_peak;
    if restart || rate >= track.learning_rate_peak {
        track.learning_rate_peak = rate;
        track.learning_rate_low = rate;
    } else {
        track.learning_rate_low = low.min(rate);
    }
    restart
}
