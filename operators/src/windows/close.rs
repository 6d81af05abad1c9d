//! What a closed window says, computed from its rows in clock order.

use serde::{Deserialize, Serialize};

use super::{Closing, Kept, Pending, Span};
use crate::theil_sen::{median, theil_sen};
use crate::time::ClockKind;

/// Why a window was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosedBy {
    /// The watermark passed its end: it is complete.
    #[default]
    Watermark,
    /// Its attempt or run ended.
    EndOfRun,
    /// A drain finished.
    Drain,
}

/// A closed window of one attempt. Losses in nats per token, slopes in nats per step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClosedWindow {
    /// The attempt.
    pub attempt: i32,
    /// What it is measured in.
    pub kind: ClockKind,
    /// First clock value.
    pub start: i64,
    /// First clock value after it.
    pub end: i64,
    /// Rows that came.
    pub n: i64,
    /// Rows with a finite loss, of those kept.
    pub loss_n: i64,
    /// Mean loss.
    pub loss_mean: Option<f64>,
    /// Least loss.
    pub loss_min: Option<f64>,
    /// Greatest loss.
    pub loss_max: Option<f64>,
    /// Loss of the first row by clock, then event id.
    pub loss_first: Option<f64>,
    /// Loss of the last row by clock, then event id.
    pub loss_last: Option<f64>,
    /// Median of the log-perplexity.
    pub log_perplexity_median: Option<f64>,
    /// Theil–Sen slope of the log-perplexity inside the window, per step.
    pub log_perplexity_slope: Option<f64>,
    /// Greatest finite gradient norm.
    pub grad_norm_max: Option<f64>,
    /// Learning rate of the last row that has one.
    pub learning_rate_last: Option<f64>,
    /// Mean throughput in tokens a second.
    pub tokens_per_second_mean: Option<f64>,
    /// Least step.
    pub first_step: Option<i64>,
    /// Greatest step.
    pub last_step: Option<i64>,
    /// Least token count.
    pub first_tokens: Option<i64>,
    /// Greatest token count.
    pub last_tokens: Option<i64>,
    /// Earliest event time in milliseconds.
    pub first_event_time_ms: Option<i64>,
    /// Latest event time in milliseconds.
    pub last_event_time_ms: Option<i64>,
    /// Rows whose loss or gradient norm was not finite.
    pub nonfinite_n: i64,
    /// Why it was closed; only the watermark closes a complete window.
    pub closed_by: ClosedBy,
    /// Where its rows lie in the log.
    pub inputs: Vec<Span>,
}

impl ClosedWindow {
    /// True where every row that could still come would be late.
    pub fn is_complete(&self) -> bool {
        self.closed_by == ClosedBy::Watermark
    }

    /// Its size in steps, tokens or milliseconds.
    pub fn size(&self) -> i64 {
        self.end.saturating_sub(self.start)
    }
}

/// Points of the slope inside a window; beyond it the slope is taken over medians of equal groups. 64: two thousand pairs.
const SLOPE_POINTS_MAX: usize = 64;

pub(super) fn summarise(closing: &Closing, start: i64, end: i64, pending: Pending) -> ClosedWindow {
    let rows = &pending.rows.into_sorted(closing.rows_max);
    let losses: Vec<f64> = rows.iter().filter_map(|row| row.5).collect();
    let points: Vec<(f64, f64)> = rows
        .iter()
        .filter_map(|row| Some((row.2 as f64, row.6?)))
        .collect();
    let levels: Vec<f64> = points.iter().map(|point| point.1).collect();
    let speeds: Vec<f64> = rows.iter().filter_map(|row| row.9).collect();
    let least = |field: fn(&Kept) -> Option<i64>| rows.iter().filter_map(field).min();
    let most = |field: fn(&Kept) -> Option<i64>| rows.iter().filter_map(field).max();
    ClosedWindow {
        attempt: closing.attempt,
        kind: closing.kind,
        start,
        end,
        n: pending.n,
        loss_n: i64::try_from(losses.len()).unwrap_or(i64::MAX),
        loss_mean: mean(&losses),
        loss_min: losses.iter().copied().reduce(f64::min),
        loss_max: losses.iter().copied().reduce(f64::max),
        loss_first: losses.first().copied(),
        loss_last: losses.last().copied(),
        log_perplexity_median: median(&levels),
        log_perplexity_slope: theil_sen(&grouped(&points), 0.95).map(|fit| fit.slope),
        grad_norm_max: rows.iter().filter_map(|row| row.7).reduce(f64::max),
        learning_rate_last: rows.iter().rev().find_map(|row| row.8),
        tokens_per_second_mean: mean(&speeds),
        first_step: least(|row| Some(row.2)),
        last_step: most(|row| Some(row.2)),
        first_tokens: least(|row| row.3),
        last_tokens: most(|row| row.3),
        first_event_time_ms: least(|row| row.4),
        last_event_time_ms: most(|row| row.4),
        nonfinite_n: pending.nonfinite_n,
        closed_by: closing.by,
        inputs: pending.inputs,
    }
}

/// The mean, added in clock order: the same rows give the same bits.
fn mean(values: &[f64]) -> Option<f64> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    Some(mean).filter(|mean| mean.is_finite())
}

fn grouped(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= SLOPE_POINTS_MAX {
        return points.to_vec();
    }
    points
        .chunks(points.len().div_ceil(SLOPE_POINTS_MAX))
        .filter_map(|group| {
            let (x, y): (Vec<f64>, Vec<f64>) = group.iter().copied().unzip();
            Some((median(&x)?, median(&y)?))
        })
        .collect()
}
