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
            // Equal neighbours: the value that repeats stays whole, and its end is a cut further up.
            if high > low && edges.last().is_none_or(|last| *last < low) {
                edges.push(middle(low, high));
            }
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
}
