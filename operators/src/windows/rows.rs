//! The rows of one open window. Committed ones are shared with the copy that a batch changes; its own lie beside them.

use super::row::Kept;
use std::sync::Arc;

/// Rows of one window.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rows {
    /// In order, no more than the window keeps.
    settled: Arc<Vec<Kept>>,
    /// What has come since, in order of arrival.
    fresh: Vec<Kept>,
}

impl Rows {
    pub(super) fn push(&mut self, row: Kept) {
        self.fresh.push(row);
    }

    /// Puts what came into its place. Beyond so many rows those with the smallest ids stay: a sample that does not depend on
    /// the order of arrival, nor on when this is called.
    pub(super) fn settle(&mut self, rows_max: usize) {
        if self.fresh.is_empty() {
            return;
        }
        let rows = Arc::make_mut(&mut self.settled);
        let before = rows.len();
        rows.append(&mut self.fresh);
        let tail = rows.get(before.saturating_sub(1)..).unwrap_or_default();
        if !tail.is_sorted_by_key(Kept::order) {
            rows.sort_by_key(Kept::order);
        }
        let most = rows_max.max(1);
        if rows.len() > most {
            let mut ids: Vec<_> = rows.iter().map(Kept::id).collect();
            let (_, first_gone, _) = ids.select_nth_unstable(most);
            let first_gone = *first_gone;
            rows.retain(|row| row.id() < first_gone);
        }
    }

    /// All of them in order.
    pub(super) fn into_sorted(mut self, rows_max: usize) -> Vec<Kept> {
        self.settle(rows_max);
        Arc::unwrap_or_clone(self.settled)
    }
}
