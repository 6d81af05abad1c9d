//! Folds over runs.

use std::collections::BTreeMap;

use crate::random::{generator, shuffle};

/// The runs of a table: for each row the index of its run, and how many runs there are. Runs are numbered by name.
pub(crate) fn runs(ids: &[String]) -> (Vec<usize>, usize) {
    let mut numbers: BTreeMap<&str, usize> = ids.iter().map(|id| (id.as_str(), 0)).collect();
    for (number, slot) in numbers.values_mut().enumerate() {
        *slot = number;
    }
    let of_row = ids.iter().map(|id| numbers[id.as_str()]).collect();
    (of_row, numbers.len())
}

/// For each row a fold below `count`; rows of a run share one, and folds differ by at most one run.
pub(crate) fn folds(
    run_of: &[usize],
    runs: usize,
    count: usize,
    seed: u64,
    stream: u64,
) -> Vec<usize> {
    let mut order: Vec<usize> = (0..runs).collect();
    shuffle(&mut order, &mut generator(seed, stream));
    let mut fold_of_run = vec![0; runs];
    for (place, run) in order.iter().enumerate() {
        fold_of_run[*run] = place % count;
    }
    run_of.iter().map(|run| fold_of_run[*run]).collect()
}

/// Rows whose fold is, and is not, the given one.
pub(crate) fn apart(fold_of: &[usize], fold: usize) -> (Vec<usize>, Vec<usize>) {
    (0..fold_of.len()).partition(|row| fold_of[*row] != fold)
}
