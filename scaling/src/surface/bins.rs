//! Columns cut into at most 254 bins each, which is what trees see of them.
//!
//! A column with no more distinct values than bins loses nothing; a longer one is cut at quantiles. Bin 0 is a missing
//! value. Categories are bins of their own; one that the fit never met is missing.

use serde::{Deserialize, Serialize};

/// Value bins of a column at most; with bin 0 they fit into a byte.
pub(crate) const BINS: usize = 254;

/// How one column is cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cut {
    /// Ascending edges; bin `k` holds values above edge `k - 2` and up to edge `k - 1`.
    Number(Vec<f64>),
    /// Codes `0..n` are bins `1..=n`.
    Category(usize),
}

impl Cut {
    /// Cuts a column of numbers.
    pub(crate) fn number(values: &[f64], bins: usize) -> Self {
        let mut sorted: Vec<f64> = values
            .iter()
            .copied()
            .filter(|value| !value.is_nan())
            .collect();
        sorted.sort_by(f64::total_cmp);
        let mut distinct = sorted.clone();
        distinct.dedup();
        let middle = |low: f64, high: f64| low + 0.5 * (high - low);
        if distinct.len() <= bins {
            return Self::Number(
                distinct
                    .windows(2)
                    .map(|pair| middle(pair[0], pair[1]))
                    .collect(),
            );
        }
        let mut edges: Vec<f64> = Vec::with_capacity(bins);
        for cut in 1..bins {
            let place = cut * sorted.len() / bins;
            let (low, high) = (sorted[place - 1], sorted[place]);
            if high > low {
                edges.push(middle(low, high));
            }
        }
        // cuts within equal values are lost; where values repeat much, as sizes of models do, hardly any would be left
        if edges.len() + 1 < bins {
            edges = around_frequent(&sorted, bins)
                .into_iter()
                .map(|place| middle(sorted[place - 1], sorted[place]))
                .collect();
        }
        Self::Number(edges)
    }

    /// Bins of the column, bin 0 counted.
    pub(crate) fn bins(&self) -> usize {
        match self {
            Self::Number(edges) => edges.len() + 2,
            Self::Category(codes) => codes + 1,
        }
    }

    /// The bin of a value.
    pub(crate) fn bin(&self, value: f64) -> u8 {
        match self {
            _ if value.is_nan() => 0,
            Self::Number(edges) => (edges.partition_point(|edge| *edge < value) + 1) as u8,
            Self::Category(codes) => {
                let code = value as usize;
                if code < *codes { (code + 1) as u8 } else { 0 }
            }
        }
    }
}

/// Where to cut sorted values of which some repeat: those that fill a bin have one of their own, the others share the rest
/// evenly. Places are the first rows of the bins after the first.
fn around_frequent(sorted: &[f64], bins: usize) -> Vec<usize> {
    let runs: Vec<usize> = sorted.chunk_by(|a, b| a == b).map(<[f64]>::len).collect();
    let is_frequent = |rows: usize| rows * bins >= sorted.len();
    let frequent = runs.iter().filter(|rows| is_frequent(**rows));
    let (own_bins, own_rows) = frequent.fold((0, 0), |(count, sum), rows| (count + 1, sum + rows));
    let (mut bins_left, mut rows_left) = (bins - own_bins, sorted.len() - own_rows);
    let (mut places, mut end, mut open) = (Vec::with_capacity(bins), 0, 0);
    for pair in runs.windows(2) {
        let (rows, next) = (pair[0], pair[1]);
        end += rows;
        let is_full = if is_frequent(rows) {
            true
        } else {
            open += rows;
            // before a frequent value a bin may close half full, so that the value keeps one of its own
            let needed = if is_frequent(next) { 2 * open } else { open };
            needed * bins_left >= rows_left
        };
        if is_full && places.len() + 1 < bins {
            places.push(end);
            bins_left -= usize::from(open > 0 && bins_left > 1);
            rows_left -= open;
            open = 0;
        }
    }
    places
}

/// A table in bins, column after column.
#[derive(Clone, Debug, Default)]
pub(crate) struct Binned {
    /// `columns[c][row]`.
    pub(crate) columns: Vec<Vec<u8>>,
    /// Bins of each column, bin 0 counted.
    pub(crate) counts: Vec<usize>,
    /// Columns whose bins have no order.
    pub(crate) categorical: Vec<bool>,
}

impl Binned {
    /// Cuts `raw[column][row]`.
    pub(crate) fn new(cuts: &[Cut], raw: &[Vec<f64>]) -> Self {
        let columns: Vec<Vec<u8>> = cuts
            .iter()
            .zip(raw)
            .map(|(cut, values)| values.iter().map(|value| cut.bin(*value)).collect())
            .collect();
        Self {
            counts: cuts.iter().map(Cut::bins).collect(),
            categorical: cuts
                .iter()
                .map(|cut| matches!(cut, Cut::Category(_)))
                .collect(),
            columns,
        }
    }

    /// The given rows.
    pub(crate) fn take(&self, rows: &[usize]) -> Self {
        let pick = |column: &Vec<u8>| rows.iter().map(|row| column[*row]).collect();
        Self {
            columns: self.columns.iter().map(pick).collect(),
            counts: self.counts.clone(),
            categorical: self.categorical.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_the_bin_of_its_equals() {
        let cut = Cut::number(&[3.0, 1.0, f64::NAN, 2.0, 2.0], BINS);
        assert_eq!(cut, Cut::Number(vec![1.5, 2.5]));
        let bins: Vec<u8> = [f64::NAN, 0.0, 1.0, 2.0, 3.0, 9.0]
            .iter()
            .map(|value| cut.bin(*value))
            .collect();
        assert_eq!(bins, [0, 1, 1, 2, 3, 3]);
    }

    #[test]
    fn a_long_column_is_cut_at_quantiles_and_never_inside_equal_values() {
        let values: Vec<f64> = (0..10_000)
            .map(|index| f64::from(index.max(5_000)))
            .collect();
        let cut = Cut::number(&values, BINS);
        assert!(cut.bins() <= 256 && cut.bins() > 100);
        assert_eq!(cut.bin(5_000.0), 1);
        assert!(cut.bin(5_100.0) > 1);
    }

    /// Sizes on a leaderboard: a few round ones that most models have, and hundreds that one model has.
    #[test]
    fn a_column_of_few_frequent_values_and_many_rare_ones_keeps_them_apart() {
        let frequent = (0..2_000).map(|index| f64::from(index % 8) * 50.0 + 0.5);
        let values: Vec<f64> = frequent.chain((0..400).map(f64::from)).collect();
        let cut = Cut::number(&values, BINS);
        assert!(cut.bins() <= BINS + 2 && cut.bins() > 200, "{}", cut.bins());
        for index in 0..8 {
            let size = f64::from(index) * 50.0 + 0.5;
            let (at, before, after) = (cut.bin(size), cut.bin(size - 0.5), cut.bin(size + 0.5));
            assert!(before < at && at < after, "{size}: {before} {at} {after}");
        }
        // 400 rare values share 246 bins: two or three in each
        let largest = (0..400).map(|value| cut.bin(f64::from(value)));
        let mut counts = [0; 256];
        largest.for_each(|bin| counts[usize::from(bin)] += 1);
        assert!(counts.iter().all(|count| *count <= 3), "{counts:?}");
    }
}
