//! Violent rises, seen row by row: the fast half of the divergence rule, and exploding gradients.
//!
//! Healthy runs have dozens of single rows 0.5 to 1.5 nats above their trend, gone at the next row. So no row decides alone: a
//! stretch of elevated rows must last (`sustained_steps`), or be strong and still rising over several rows. A stretch ends with
//! two rows back at the level. Works on logs of every step as on logs of every five hundred; on a log with only a few rows,
//! where noise cannot be known, only strong rises count.

use serde::{Deserialize, Serialize};

use super::rules::DivergenceRule;
use crate::theil_sen::{Slope, median, noise, theil_sen};
use crate::windows::{Row, Span};

/// Rows at the level that are remembered: enough for a noise scale.
const RECENT_MAX: usize = 32;
/// Rows of a stretch that are remembered; when full, every other one goes.
const STRETCH_MAX: usize = 32;
/// Where fewer good rows are known than the noise needs, a stretch this long is the level: the log had begun with odd rows.
const REBASE_ROWS: u32 = 16;

/// What is remembered of the rows of one attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RowTrack {
    /// Greatest step seen; earlier rows come too late for this rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_step: Option<i64>,
    /// Log-perplexities of the last good rows.
    recent: Vec<f64>,
    /// Gradient norms of the last good rows.
    grad_norms: Vec<f64>,
    /// Consecutive rows with an exploding gradient norm.
    exploding: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    stretch: Option<Stretch>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Stretch {
    last_good_step: i64,
    first_step: i64,
    rows: u32,
    elevated: u32,
    low_run: u32,
    excess_max: f64,
    /// (step, nats above the level) of elevated rows.
    excesses: Vec<(i64, f64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_input: Option<Span>,
}

/// A violent rise.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rise {
    pub(super) explosion: bool,
    pub(super) first_step: i64,
    pub(super) last_step: i64,
    pub(super) rows: u32,
    pub(super) value: f64,
    pub(super) reference: Option<f64>,
    pub(super) threshold: f64,
    pub(super) slope: Option<Slope>,
    pub(super) first_input: Option<Span>,
}

/// Takes a row in; `row_nats` is how far up is elevated, `best` is the best level of closed windows, if there is one.
pub(super) fn observe(
    track: &mut RowTrack,
    rule: &DivergenceRule,
    row_nats: f64,
    best: Option<f64>,
    row: &Row,
) -> Option<Rise> {
    if track.last_step.is_some_and(|last| row.step <= last) {
        return None;
    }
    let explosion = exploding(track, rule, row);
    let Some(value) = row.log_perplexity() else {
        return explosion;
    };
    let before = track.last_step.replace(row.step).unwrap_or(row.step);
    let level = median(
        track
            .recent
            .get(track.recent.len().saturating_sub(15)..)
            .unwrap_or_default(),
    );
    let Some(reference) = [level, best].into_iter().flatten().reduce(f64::min) else {
        track.recent.push(value);
        return explosion;
    };
    let known = track.recent.len() >= rule.noise_rows_min;
    let sigma = if known {
        noise(&track.recent).unwrap_or(0.0)
    } else {
        0.0
    };
    let margin = row_nats.max(rule.row_sigmas * sigma);
    let excess = value - reference;
    if excess < margin {
        good_row(track, value, excess < 0.5 * margin);
        return explosion;
    }
    let stretch = track.stretch.get_or_insert_with(|| Stretch {
        last_good_step: before,
        first_step: row.step,
        first_input: row.source.clone(),
        ..Stretch::default()
    });
    stretch.rows = stretch.rows.saturating_add(1);
    stretch.elevated = stretch.elevated.saturating_add(1);
    stretch.low_run = 0;
    stretch.excess_max = stretch.excess_max.max(excess);
    remember(&mut stretch.excesses, (row.step, excess));
    if !known && stretch.rows >= REBASE_ROWS && best.is_none() {
        let level: Vec<f64> = stretch
            .excesses
            .iter()
            .map(|(_, excess)| excess + reference)
            .collect();
        track.recent.extend(level);
        track.stretch = None;
        return explosion;
    }
    let points: Vec<(f64, f64)> = stretch
        .excesses
        .iter()
        .map(|(step, excess)| (*step as f64, *excess))
        .collect();
    let strong = stretch.excesses.len() >= rule.strong_rows.max(2)
        && row.step.saturating_sub(stretch.last_good_step) >= rule.strong_steps
        && excess >= rule.strong_nats
        && theil_sen(&points, 0.95).is_some_and(|fit| fit.low > 0.0);
    let enough = (known && stretch.elevated >= 3)
        || (stretch.elevated >= 2 && stretch.excess_max >= rule.strong_nats);
    let falling =
        known && stretch.elevated >= 8 && excess < rule.falling_share * stretch.excess_max;
    let steps = rule
        .sustained_steps
        .saturating_mul(if falling { 3 } else { 1 });
    let sustained = row.step.saturating_sub(stretch.first_step) >= steps
        && f64::from(stretch.elevated) >= rule.sustained_share * f64::from(stretch.rows)
        && enough;
    if !(rule.enabled && (strong || sustained)) {
        return explosion;
    }
    Some(Rise {
        explosion: false,
        first_step: stretch.first_step,
        last_step: row.step,
        rows: stretch.rows,
        value,
        reference: Some(reference),
        threshold: margin,
        slope: theil_sen(&points, 0.95),
        first_input: stretch.first_input.clone(),
    })
}

/// The level and margin that a row is held against now, for the recovery rule.
pub(super) fn level(track: &RowTrack) -> Option<f64> {
    median(&track.recent)
}

fn good_row(track: &mut RowTrack, value: f64, clearly: bool) {
    if let Some(stretch) = track.stretch.as_mut() {
        stretch.rows = stretch.rows.saturating_add(1);
        stretch.low_run = stretch.low_run.saturating_add(1);
        if stretch.low_run >= 2 {
            track.stretch = None;
        }
    }
    if clearly || track.stretch.is_none() {
        track.recent.push(value);
        if track.recent.len() > RECENT_MAX {
            track.recent.remove(0);
        }
    }
}

fn remember(excesses: &mut Vec<(i64, f64)>, next: (i64, f64)) {
    if excesses.len() >= STRETCH_MAX {
        let mut keep = false;
        excesses.retain(|_| {
            keep = !keep;
            keep
        });
    }
    excesses.push(next);
}

fn exploding(track: &mut RowTrack, rule: &DivergenceRule, row: &Row) -> Option<Rise> {
    let norm = row
        .grad_norm
        .filter(|norm| norm.is_finite() && *norm >= 0.0)?;
    let usual = median(&track.grad_norms)
        .filter(|usual| track.grad_norms.len() >= RECENT_MAX && *usual > 0.0);
    if usual.is_none_or(|usual| norm < rule.grad_norm_ratio * usual) {
        track.exploding = 0;
        track.grad_norms.push(norm);
        if track.grad_norms.len() > RECENT_MAX {
            track.grad_norms.remove(0);
        }
        return None;
    }
    track.exploding = track.exploding.saturating_add(1);
    (rule.enabled && track.exploding >= rule.grad_norm_rows.max(1)).then(|| Rise {
        explosion: true,
        first_step: row.step,
        last_step: row.step,
        rows: track.exploding,
        value: norm,
        reference: usual,
        threshold: usual.unwrap_or(0.0) * rule.grad_norm_ratio,
        slope: None,
        first_input: row.source.clone(),
    })
}
