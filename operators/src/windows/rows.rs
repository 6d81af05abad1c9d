//! The rows of one open window. Committed ones are shared with the copy that a batch changes; its own lie beside them.

use super::row::Kept;
use std::cmp::Ordering;
use std::sync::Arc;

/// A window with fewer rows has no room for more than it has: a row takes 136 bytes, and many runs send one an hour.
const ROOM_DOUBLES_FROM: usize = 16;

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
        if before < ROOM_DOUBLES_FROM {
            rows.reserve_exact(self.fresh.len());
        }
        // its room goes, too: most windows get a row now and then
        rows.append(&mut std::mem::take(&mut self.fresh));
        let tail = rows.get(before.saturating_sub(1)..).unwrap_or_default();
        if !tail.is_sorted_by_key(Kept::order) {
            rows.sort_by_key(Kept::order);
        }
        let most = rows_max.max(1);
        if rows.len() > most {
            let mut ids: Vec<_> = rows.iter().map(Kept::id).collect();
            let (before, last, _) = ids.select_nth_unstable(most - 1);
            // alike ones beyond the last place go; which of them is all the same
            let (last, mut alike) = (*last, 1 + before.iter().filter(|id| **id == *last).count());
            rows.retain(|row| match row.id().cmp(&last) {
                Ordering::Less => true,
                Ordering::Equal => {
                    let is_kept = alike > 0;
                    alike -= usize::from(is_kept);
                    is_kept
                }
                Ordering::Greater => false,
            });
        }
    }

    /// All of them in order.
    pub(super) fn into_sorted(mut self, rows_max: usize) -> Vec<Kept> {
        self.settle(rows_max);
        Arc::unwrap_or_clone(self.settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::Row;

    /// Rows of the same event and place are told apart by nothing: as many stay as there is room for, whenever they are settled.
    #[test]
    fn alike_rows_fill_what_room_there_is() {
        let row = |event_id, step| {
            Kept::of(&Row {
                event_id,
                step,
                ..Row::default()
            })
        };
        let came = [row(2, 5), row(1, 4), row(2, 5), row(9, 6), row(2, 5)];
        let mut at_once = Rows::default();
        let mut one_by_one = Rows::default();
        for kept in came {
            at_once.push(kept.clone());
            one_by_one.push(kept);
            one_by_one.settle(3);
        }
        let expected = vec![row(1, 4), row(2, 5), row(2, 5)];
        assert_eq!(at_once.into_sorted(3), expected);
        assert_eq!(one_by_one.into_sorted(3), expected);
    }
}
