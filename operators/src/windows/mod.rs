//! Tumbling windows over the telemetry of one run: by step always, by tokens where the run is ordered by them, by time where
//! its log has times.
//!
//! A window keeps its rows until it closes, sorted by clock and event id, so that what it says depends on which rows it got
//! and not on the order in which they came: any interleaving inside the allowed disorder and any split into batches give the
//! same windows. Rows are bounded by a sample that does not depend on order either (the rows with the smallest event ids).
//! A row that comes after its window has closed is an output, with by how much it was late.
//!
//! Losses that are not finite are counted and enter no mean. The state is one run's; the caller keeps it, per run, in a table,
//! and its rows in segments beside it ([`segments`]).

mod close;
mod row;
mod rows;
pub mod segments;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::{self, ClockKind, RunClock, TimeSettings};
pub use close::{ClosedBy, ClosedWindow};
use row::{Kept, spans_merge};
pub use row::{NumberState, Row, Span};
use rows::Rows;
use segments::{Segments, bit};

/// How large windows are, and how much of them is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WindowSettings {
    /// Steps in a window. 100: its median is steady to about 0.01 nats where every step is logged, and a run has hundreds of them.
    pub step_size: i64,
    /// Milliseconds in a window by time. 60,000: what dashboards draw a point for. 0 makes none.
    pub time_size_ms: i64,
    /// Tokens in a window, for runs ordered by tokens. 50 million: 100 steps of half a million. 0 makes none.
    pub tokens_size: i64,
    /// Rows of one window that are kept until it closes. 2048: twenty ranks logging every step; beyond it a fixed sample is.
    pub rows_max: usize,
    /// Open windows of one kind. 16: the disorder spans two; more means a disorder out of proportion, and the oldest is closed.
    pub open_max: usize,
}

impl Default for WindowSettings {
    fn default() -> Self {
        Self {
            step_size: 100,
            time_size_ms: 60_000,
            tokens_size: 50_000_000,
            rows_max: 2048,
            open_max: 16,
        }
    }
}

impl WindowSettings {
    fn size(&self, kind: ClockKind) -> i64 {
        match kind {
            ClockKind::Step => self.step_size.max(1),
            ClockKind::Tokens => self.tokens_size.max(0),
            ClockKind::EventTime => self.time_size_ms.max(0),
        }
    }
}

/// The open windows of one run's current attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WindowsState {
    /// What the run declared to be ordered by; token windows exist only for [`ClockKind::Tokens`].
    pub ordered_by: ClockKind,
    /// Windows by kind; in boxes, because a node of the tree has room for eleven, and most runs have one or two.
    kinds: BTreeMap<ClockKind, Box<Open>>,
    /// Number of the segment that new rows go to.
    segment: u64,
    /// The rows as the changelog has them, or is to have them.
    #[serde(skip)]
    segments: Segments,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Open {
    /// Everything below this clock value is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_to: Option<i64>,
    /// Rows of open windows by the window's start; in boxes for the same reason.
    windows: BTreeMap<i64, Box<Pending>>,
}

/// One open window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Pending {
    /// All rows that came.
    n: i64,
    /// Rows whose loss or gradient norm is not finite.
    nonfinite_n: i64,
    /// The rows kept; written apart, in segments.
    #[serde(skip)]
    rows: Rows,
    /// Where the rows lie in the log.
    inputs: Vec<Span>,
}

/// A row that came too late for a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LateRow {
    /// The clock that it was late by; it names the unit (steps, tokens, milliseconds).
    pub kind: ClockKind,
    /// The row's clock value.
    pub clock: i64,
    /// The watermark that had passed.
    pub watermark: i64,
    /// Watermark less clock value, at least 1: a row after a forced close (end, drain) counts from what was closed.
    pub late_by: i64,
}

/// Takes one row that the clock has let in, and closes what the watermark has passed. The windows of an attempt that is over
/// must have been closed (`close_all`) before.
pub fn observe(
    state: &mut WindowsState,
    settings: &WindowSettings,
    times: &TimeSettings,
    clock: &RunClock,
    row: &Row,
    closed: &mut Vec<ClosedWindow>,
    late: &mut Vec<LateRow>,
) {
    let kept = Kept::of(row);
    let (mut mask, before) = (0, closed.len());
    for kind in ClockKind::ALL {
        let size = settings.size(kind);
        let unused = kind == ClockKind::Tokens && state.ordered_by != ClockKind::Tokens;
        let Some(value) = row.clock(kind).filter(|_| size > 0 && !unused) else {
            continue;
        };
        let open = state.kinds.entry(kind).or_default();
        if open.closed_to.is_some_and(|closed_to| value < closed_to) {
            let mark = time::watermark(clock, times, kind)
                .unwrap_or(value)
                .max(value.saturating_add(1));
            late.push(LateRow {
                kind,
                clock: value,
                watermark: mark,
                late_by: mark.saturating_sub(value),
            });
            continue;
        }
        let start = value.div_euclid(size).saturating_mul(size);
        let pending = open.windows.entry(start).or_default();
        take(pending, row, kept.at(value));
        mask |= bit(kind);
        let closing = Closing {
            kind,
            size,
            attempt: row.attempt,
            by: ClosedBy::Watermark,
            rows_max: settings.rows_max,
        };
        while open.windows.len() > settings.open_max.max(1) {
            closing.first(open, closed);
        }
        if let Some(mark) = time::watermark(clock, times, kind) {
            closing.up_to(open, mark, closed);
        }
    }
    segments::push(state, mask, kept);
    if closed.len() > before {
        segments::closed(state);
    }
}

/// Closes every window of the attempt, whole or not: its end was reached, a later attempt began, or a drain finishes.
pub fn close_all(
    state: &mut WindowsState,
    settings: &WindowSettings,
    attempt: i32,
    by: ClosedBy,
    closed: &mut Vec<ClosedWindow>,
) {
    for (kind, open) in &mut state.kinds {
        let closing = Closing {
            kind: *kind,
            size: settings.size(*kind),
            attempt,
            by,
            rows_max: settings.rows_max,
        };
        while !open.windows.is_empty() {
            closing.first(open, closed);
        }
    }
    segments::closed(state);
}

/// Forgets the attempt's windows and what was closed, for the attempt that follows.
pub fn begin_attempt(state: &mut WindowsState) {
    state.kinds.clear();
    segments::begin_attempt(state);
}

/// The marks up to which windows were closed, without the windows: what is kept of a run that is over, by which a row that
/// still comes is known to be late.
pub fn closed_marks(state: &WindowsState) -> WindowsState {
    let kinds = state
        .kinds
        .iter()
        .map(|(kind, open)| {
            (
                *kind,
                Box::new(Open {
                    closed_to: open.closed_to,
                    windows: BTreeMap::new(),
                }),
            )
        })
        .collect();
    WindowsState {
        ordered_by: state.ordered_by,
        kinds,
        segment: state.segment,
        segments: Segments::default(),
    }
}

/// True where rows wait for a window to close.
pub fn has_open(state: &WindowsState) -> bool {
    state.kinds.values().any(|open| !open.windows.is_empty())
}

fn take(pending: &mut Pending, row: &Row, kept: Kept) {
    pending.n = pending.n.saturating_add(1);
    pending.nonfinite_n = pending
        .nonfinite_n
        .saturating_add(i64::from(row.is_nonfinite()));
    spans_merge(&mut pending.inputs, row.source.as_ref());
    pending.rows.push(kept);
}

/// How windows of one kind are closed.
struct Closing {
    kind: ClockKind,
    size: i64,
    attempt: i32,
    by: ClosedBy,
    rows_max: usize,
}

impl Closing {
    fn up_to(&self, open: &mut Open, mark: i64, closed: &mut Vec<ClosedWindow>) {
        while open
            .windows
            .first_key_value()
            .is_some_and(|(start, _)| start.saturating_add(self.size) <= mark)
        {
            self.first(open, closed);
        }
        let whole = mark.div_euclid(self.size).saturating_mul(self.size);
        open.closed_to = open.closed_to.max(Some(whole));
    }

    fn first(&self, open: &mut Open, closed: &mut Vec<ClosedWindow>) {
        if let Some((start, pending)) = open.windows.pop_first() {
            let end = start.saturating_add(self.size);
            open.closed_to = open.closed_to.max(Some(end));
            closed.push(close::summarise(self, start, end, *pending));
        }
    }
}
