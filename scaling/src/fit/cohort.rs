//! Clean rows in an order of their own, with the groups that resampling and hold-outs go by.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::FitError;
use crate::law::{Law, Scale, nearest_name};
use crate::table::{Rejected, Table};

/// Blocks of one run's curve.
const BLOCKS_MAX: usize = 20;

/// Clean rows. Columns in the law's order.
#[derive(Clone, Debug)]
pub(crate) struct Cohort {
    /// The law's columns.
    pub(crate) columns: Vec<Vec<f64>>,
    /// What is explained.
    pub(crate) response: Vec<f64>,
    /// Weights.
    pub(crate) weights: Vec<f64>,
    /// Training compute, or what the law orders its rows by instead.
    pub(crate) order: Vec<f64>,
    /// For each row the index of its run.
    pub(crate) run_of: Vec<usize>,
    /// Names of the runs, ascending.
    pub(crate) runs: Vec<String>,
    /// For each row the index of what is resampled as a whole: its cluster, or its run.
    pub(crate) unit_of: Vec<usize>,
    /// How many of those there are.
    pub(crate) units: usize,
}

/// One row while rows are sorted.
struct Row {
    run: String,
    unit: String,
    columns: Vec<f64>,
    response: f64,
    weight: f64,
}

/// At most `count` rows spread evenly in their order, in that order.
pub(crate) fn spread_evenly(order: &[f64], count: usize) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..order.len()).collect();
    rows.sort_by(|one, two| order[*one].total_cmp(&order[*two]).then(one.cmp(two)));
    let step = rows.len().div_ceil(count).max(1);
    rows.into_iter().step_by(step).collect()
}

impl Cohort {
    /// Sorts out what cannot be fitted. `logarithmic`: residuals are those of logarithms.
    pub(crate) fn clean(
        law: &Law,
        table: &Table,
        logarithmic: bool,
    ) -> Result<(Self, Vec<Rejected>), FitError> {
        if table.is_empty() {
            return Err(FitError::NoRows {
                rows: 0,
                reason: "the table is empty".to_owned(),
                rejected: Vec::new(),
            });
        }
        let columns = find_columns(law, table)?;
        let rows = table.response.len();
        let even = |name: &str, found: usize, may_be_empty: bool| {
            if found == rows || may_be_empty && found == 0 {
                return Ok(());
            }
            Err(FitError::UnevenColumns {
                name: name.to_owned(),
                found,
                expected: rows,
            })
        };
        even("run_ids", table.run_ids.len(), false)?;
        even("weights", table.weights.len(), true)?;
        even("clusters", table.clusters.len(), true)?;
        for (column, values) in law.columns.iter().zip(&columns) {
            even(&column.name, values.len(), false)?;
        }
        let positive = logarithmic || law.response.scale == Scale::Log;
        let mut rejected = Vec::new();
        let mut kept = Vec::new();
        for row in 0..rows {
            let weight = table.weights.get(row).copied().unwrap_or(1.0);
            let fields = law
                .columns
                .iter()
                .zip(&columns)
                .map(|(column, values)| (column.name.as_str(), values[row], column.positive))
                .chain([
                    (law.response.name.as_str(), table.response[row], positive),
                    ("weight", weight, true),
                ]);
            // `is_normal` also turns away subnormal numbers, whose logarithm would dominate the fit.
            let wrong = |value: f64, positive: bool| {
                if positive {
                    !(value.is_normal() && value > 0.0)
                } else {
                    !value.is_finite()
                }
            };
            let fault = fields
                .into_iter()
                .find(|(_, value, positive)| wrong(*value, *positive));
            let run = table.run_ids[row].clone();
            match fault {
                Some((name, value, positive)) => rejected.push(Rejected {
                    row,
                    run_id: run,
                    reason: format!(
                        "{name} is {value}, not a {}",
                        if positive {
                            "positive number"
                        } else {
                            "finite number"
                        }
                    ),
                }),
                None => kept.push(Row {
                    unit: table.clusters.get(row).unwrap_or(&run).clone(),
                    run,
                    columns: columns.iter().map(|values| values[row]).collect(),
                    response: table.response[row],
                    weight,
                }),
            }
        }
        Ok((Self::sorted(law, kept), rejected))
    }

    fn sorted(law: &Law, mut rows: Vec<Row>) -> Self {
        rows.sort_by(|one, two| {
            let columns = one
                .columns
                .iter()
                .zip(&two.columns)
                .map(|(one, two)| one.total_cmp(two));
            one.run
                .cmp(&two.run)
                .then_with(|| columns.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then))
                .then(one.response.total_cmp(&two.response))
                .then(one.weight.total_cmp(&two.weight))
                .then(one.unit.cmp(&two.unit))
        });
        let numbered = |names: Vec<&str>| {
            let all: BTreeSet<&str> = names.iter().copied().collect();
            let index: BTreeMap<&str, usize> = all
                .iter()
                .enumerate()
                .map(|(index, name)| (*name, index))
                .collect();
            let of: Vec<usize> = names.iter().map(|name| index[name]).collect();
            (
                of,
                all.into_iter().map(str::to_owned).collect::<Vec<String>>(),
            )
        };
        let (run_of, runs) = numbered(rows.iter().map(|row| row.run.as_str()).collect());
        let (unit_of, units) = numbered(rows.iter().map(|row| row.unit.as_str()).collect());
        Self {
            columns: (0..law.columns.len())
                .map(|index| rows.iter().map(|row| row.columns[index]).collect())
                .collect(),
            order: rows.iter().map(|row| law.order_at(&row.columns)).collect(),
            response: rows.iter().map(|row| row.response).collect(),
            weights: rows.iter().map(|row| row.weight).collect(),
            run_of,
            runs,
            unit_of,
            units: units.len(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.response.len()
    }

    /// The rows of the runs for which `keep` says so. Runs and units are numbered anew.
    pub(crate) fn only(&self, keep: impl Fn(usize) -> bool) -> Self {
        self.only_rows(|row| keep(self.run_of[row]))
    }

    /// The rows for which `keep` says so. Runs and units are numbered anew.
    pub(crate) fn only_rows(&self, keep: impl Fn(usize) -> bool) -> Self {
        let kept = (0..self.len()).filter(|row| keep(*row));
        self.picked(&kept.collect::<Vec<usize>>())
    }

    /// The rows without some runs.
    pub(crate) fn without(&self, runs: &[usize]) -> Self {
        let mut dropped = vec![false; self.runs.len()];
        for run in runs {
            dropped[*run] = true;
        }
        self.only(|run| !dropped[run])
    }

    /// About `count` rows spread evenly in their order, where there are many more.
    pub(crate) fn sample(&self, count: usize) -> Option<Self> {
        if self.len() < 2 * count {
            return None;
        }
        let mut rows = spread_evenly(&self.order, count);
        rows.sort_unstable();
        Some(self.picked(&rows))
    }

    /// Some of the rows, in ascending order.
    fn picked(&self, rows: &[usize]) -> Self {
        let numbers = |all: &[f64]| rows.iter().map(|row| all[*row]).collect::<Vec<f64>>();
        let renumber = |of: &[usize], count: usize| {
            let mut new = vec![0; count];
            for row in rows {
                new[of[*row]] = 1;
            }
            let kept: Vec<usize> = (0..count).filter(|old| new[*old] > 0).collect();
            for (place, old) in kept.iter().enumerate() {
                new[*old] = place;
            }
            let of: Vec<usize> = rows.iter().map(|row| new[of[*row]]).collect();
            (of, kept)
        };
        let (run_of, runs) = renumber(&self.run_of, self.runs.len());
        let (unit_of, units) = renumber(&self.unit_of, self.units);
        Self {
            columns: self.columns.iter().map(|column| numbers(column)).collect(),
            response: numbers(&self.response),
            weights: numbers(&self.weights),
            order: numbers(&self.order),
            run_of,
            runs: runs.iter().map(|run| self.runs[*run].clone()).collect(),
            unit_of,
            units: units.len(),
        }
    }

    /// Runs from the largest compute to the smallest, with it.
    pub(crate) fn by_compute(&self) -> Vec<(usize, f64)> {
        let mut compute = vec![f64::NEG_INFINITY; self.runs.len()];
        for (order, run) in self.order.iter().zip(&self.run_of) {
            compute[*run] = compute[*run].max(*order);
        }
        let mut runs: Vec<(usize, f64)> = compute.into_iter().enumerate().collect();
        runs.sort_by(|one, two| two.1.total_cmp(&one.1).then(one.0.cmp(&two.0)));
        runs
    }

    /// One run's curve: its rows in order become blocks that stand for runs, since neighbouring steps err alike.
    pub(crate) fn split_into_blocks(&mut self) {
        let rows = self.len();
        let count = BLOCKS_MAX.min(rows.div_ceil(2)).max(1);
        let mut order: Vec<usize> = (0..rows).collect();
        order.sort_by(|one, two| {
            self.order[*one]
                .total_cmp(&self.order[*two])
                .then(one.cmp(two))
        });
        for (place, row) in order.into_iter().enumerate() {
            self.run_of[row] = place * count / rows;
        }
        let run = self.runs[0].clone();
        self.runs = (0..count)
            .map(|block| format!("{run}, part {:02} of {count}", block + 1))
            .collect();
        self.unit_of.clone_from(&self.run_of);
        self.units = count;
    }

    /// Number of distinct points, counted up to `most` and one.
    pub(crate) fn distinct_points(&self, most: usize) -> usize {
        let mut points: BTreeSet<Vec<u64>> = BTreeSet::new();
        for row in 0..self.len() {
            if points.len() > most {
                break;
            }
            points.insert(
                self.columns
                    .iter()
                    .map(|column| column[row].to_bits())
                    .collect(),
            );
        }
        points.len()
    }

    /// Whether a column has one value only.
    pub(crate) fn constant(&self, column: usize) -> bool {
        let values = &self.columns[column];
        values
            .iter()
            .all(|value| value.to_bits() == values[0].to_bits())
    }

    /// Rows that repeat another row of their run in every number.
    pub(crate) fn duplicates(&self) -> usize {
        let same = |one: usize, two: usize| {
            self.run_of[one] == self.run_of[two]
                && self.response[one] == self.response[two]
                && self.columns.iter().all(|column| column[one] == column[two])
        };
        (1..self.len()).filter(|row| same(*row, row - 1)).count()
    }
}

fn find_columns<'a>(law: &Law, table: &'a Table) -> Result<Vec<&'a Vec<f64>>, FitError> {
    let find = |name: &str| {
        table
            .columns
            .get(name)
            .ok_or_else(|| FitError::UnknownColumn {
                law: law.name.clone(),
                column: name.to_owned(),
                nearest: nearest_name(name, table.columns.keys().map(String::as_str))
                    .map(str::to_owned),
            })
    };
    law.columns
        .iter()
        .map(|column| find(&column.name))
        .collect()
}
