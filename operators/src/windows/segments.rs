//! How the rows of open windows get into the changelog: in numbered segments of a few rows, each row once.
//!
//! A row belongs to as many windows as its run has clocks, and stays until the last of them closes; written with its windows
//! it would be written again with each commit. So windows are written without rows, and a batch writes its own: the last
//! segment grows until it holds [`SEGMENT_ROWS`], then another begins. A segment of which no window is open any more is
//! deleted, an attempt begins a segment of its own.
//!
//! Which rows lie in which segment depends on the rows alone, never on where batches end.

use super::row::Kept;
use super::{Open, WindowsState};
use crate::time::ClockKind;
use std::collections::{BTreeMap, BTreeSet};

/// Rows of a segment: so many, but for its own, a batch writes again.
const SEGMENT_ROWS: usize = 16;

/// Bits of the clocks whose windows have taken a row.
pub(super) type Mask = u8;

/// The segments of a run's open windows.
#[derive(Clone, Debug, Default)]
pub(super) struct Segments {
    /// Those that the batch has begun or added to, and the last one, to which the next row may go.
    rows: Vec<Segment>,
    /// How far each reaches, by number.
    reaches: Vec<(u64, Reach)>,
    /// No window has closed since the last look at what is needed.
    is_checked: bool,
}

/// When it was last looked through is no part of what is known.
impl PartialEq for Segments {
    fn eq(&self, other: &Self) -> bool {
        (&self.rows, &self.reaches) == (&other.rows, &other.reaches)
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Segment {
    number: u64,
    rows: Vec<(Mask, Kept)>,
    /// Rows have come since it was last written.
    is_fresh: bool,
}

/// The greatest clock values of a segment's rows, by kind. Windows close in order: once the last row's has, all have.
type Reach = [Option<i64>; ClockKind::ALL.len()];

fn reach(rows: &[(Mask, Kept)]) -> Reach {
    ClockKind::ALL.map(|kind| {
        let taken = rows.iter().filter(|(mask, _)| mask & bit(kind) != 0);
        taken.filter_map(|(_, row)| row.clock(kind)).max()
    })
}

/// A clock's bit.
pub(super) fn bit(kind: ClockKind) -> Mask {
    match kind {
        ClockKind::Step => 1,
        ClockKind::Tokens => 2,
        ClockKind::EventTime => 4,
    }
}

/// Puts a row that the windows of these clocks have taken into its segment.
pub(super) fn push(state: &mut WindowsState, mask: Mask, row: Kept) {
    if mask == 0 {
        return;
    }
    let segments = &mut state.segments;
    let last = segments.rows.last();
    if last.is_some_and(|last| last.number == state.segment && last.rows.len() >= SEGMENT_ROWS) {
        state.segment = state.segment.saturating_add(1);
    }
    if last.is_none_or(|last| last.number != state.segment) {
        segments.rows.push(Segment {
            number: state.segment,
            rows: Vec::new(),
            is_fresh: false,
        });
        segments.reaches.push((state.segment, Reach::default()));
    }
    if let Some((last, (_, far))) = segments.rows.last_mut().zip(segments.reaches.last_mut()) {
        last.rows.push((mask, row));
        last.is_fresh = true;
        *far = reach(&last.rows);
    }
}

/// Windows have closed. A last segment that nobody needs any more is not gone on with.
pub(super) fn closed(state: &mut WindowsState) {
    state.segments.is_checked = false;
    let kinds = &state.kinds;
    let is_over = |(number, far): &(u64, Reach)| *number == state.segment && !is_open(kinds, far);
    if state.segments.reaches.last().is_some_and(is_over) {
        state.segments.reaches.pop();
        state
            .segments
            .rows
            .retain(|segment| segment.number != state.segment);
        state.segment = state.segment.saturating_add(1);
    }
}

/// The attempt is over, and its windows with it.
pub(super) fn begin_attempt(state: &mut WindowsState) {
    state.segments = Segments::default();
    state.segment = state.segment.saturating_add(1);
}

/// Segments with rows that have come since the last call, by number, as the changelog keeps them.
pub fn unwritten(state: &mut WindowsState) -> Vec<(u64, Vec<u8>)> {
    let kinds = &state.kinds;
    let mut written = Vec::new();
    for segment in &mut state.segments.rows {
        if std::mem::take(&mut segment.is_fresh) && is_open(kinds, &reach(&segment.rows)) {
            written.push((segment.number, pack(&segment.rows)));
        }
    }
    state
        .segments
        .rows
        .retain(|segment| segment.number == state.segment);
    written
}

/// The segments that open windows still need; none where that cannot have changed since the last call.
pub fn needed(state: &mut WindowsState) -> Option<BTreeSet<u64>> {
    if std::mem::replace(&mut state.segments.is_checked, true) {
        return None;
    }
    let kinds = &state.kinds;
    state
        .segments
        .reaches
        .retain(|(_, far)| is_open(kinds, far));
    let reaches = state.segments.reaches.iter();
    Some(reaches.map(|(number, _)| *number).collect())
}

/// Gives the rows of a segment back to the windows that are open; a run's segments in the order of their numbers.
///
/// # Errors
/// Bytes that are no segment.
pub fn weave(state: &mut WindowsState, number: u64, bytes: &[u8]) -> Result<(), String> {
    let rows = unpack(bytes)?;
    for (mask, row) in &rows {
        for kind in ClockKind::ALL {
            let Some(clock) = row.clock(kind).filter(|_| mask & bit(kind) != 0) else {
                continue;
            };
            let open = state.kinds.get_mut(&kind);
            if let Some((_, pending)) =
                open.and_then(|open| open.windows.range_mut(..=clock).next_back())
            {
                pending.rows.push(row.at(clock));
            }
        }
    }
    state.segments.reaches.push((number, reach(&rows)));
    if number == state.segment {
        state.segments.rows = vec![Segment {
            number,
            rows,
            is_fresh: false,
        }];
    }
    Ok(())
}

/// Puts the rows that committed batches have brought into their places.
pub fn settle(state: &mut WindowsState, rows_max: usize) {
    let kinds = state.kinds.values_mut();
    for pending in kinds.flat_map(|open| open.windows.values_mut()) {
        pending.rows.settle(rows_max);
    }
}

/// True where a window is open that reaches this far back. Windows close from the first on: the last one that begins before
/// the row, if there is one, is the row's own.
fn is_open(kinds: &BTreeMap<ClockKind, Box<Open>>, far: &Reach) -> bool {
    ClockKind::ALL.iter().zip(far).any(|(kind, clock)| {
        let windows = kinds.get(kind).map(|open| &open.windows);
        windows
            .zip(*clock)
            .is_some_and(|(windows, clock)| windows.range(..=clock).next_back().is_some())
    })
}

fn pack(rows: &[(Mask, Kept)]) -> Vec<u8> {
    // Writing to memory cannot fail, and a row is plain data.
    rmp_serde::to_vec(rows).expect("plain data always encodes")
}

fn unpack(bytes: &[u8]) -> Result<Vec<(Mask, Kept)>, String> {
    rmp_serde::from_slice(bytes).map_err(|error| error.to_string())
}
