//! The search behind [`crate::study::optimal`] and [`crate::study::serving`]: one column is solved for, the rest are moved.

use crate::Law;
use crate::law::expression::Expression;
use crate::study::error::StudyError;
use crate::study::line_search::{least, root};
use crate::study::optimal::AllocationOptions;

/// What `n`, `d` and the like may be where nothing else is said: from one to more than there is.
const WIDEST: [f64; 2] = [1.0, 1e30];

/// Places scanned of the first moving column, and of each further one.
const SCANS: [usize; 2] = [100, 24];

/// Columns that may move besides the one that is solved for: each multiplies the work by about seventy.
const MOVING_MAX: usize = 3;

/// A law's columns sorted by what may be done with them.
#[derive(Clone, Debug)]
pub(crate) struct Allocation<'a> {
    law: &'a Law,
    compute: &'a Expression,
    /// The column that is solved for: `d` where compute depends on it.
    solved: usize,
    /// Its range.
    solved_range: [f64; 2],
    /// The columns that move, with their ranges; the first is `n` where there is one.
    moving: Vec<(usize, [f64; 2])>,
    /// Start of every point: fixed columns set, the rest 1.
    base: Vec<f64>,
}

/// An optimum.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The law's columns in its order.
    pub(crate) columns: Vec<f64>,
    /// The law's response there.
    pub(crate) response: f64,
    /// Columns at an end of their range.
    pub(crate) at_bounds: Vec<String>,
}

impl<'a> Allocation<'a> {
    pub(crate) fn new(law: &'a Law, options: &AllocationOptions) -> Result<Self, StudyError> {
        let no_compute = || StudyError::NoCompute {
            law: law.name.clone(),
        };
        let compute = law.compiled().compute.as_ref().ok_or_else(no_compute)?;
        for name in options.fixed.keys().chain(options.between.keys()) {
            if !law.columns.iter().any(|column| &column.name == name) {
                return Err(StudyError::BadOption {
                    name: "fixed or between",
                    value: name.clone(),
                    expected: "the name of a column of the law",
                });
            }
        }
        let counted = compute.columns(law.columns.len());
        let name = |place: usize| law.columns[place].name.as_str();
        let free: Vec<usize> = (0..law.columns.len())
            .filter(|place| !options.fixed.contains_key(name(*place)))
            .collect();
        let solved = free
            .iter()
            .copied()
            .find(|place| counted[*place] && name(*place) == "d")
            .or_else(|| free.iter().copied().rfind(|place| counted[*place]))
            .ok_or_else(|| StudyError::NoAllocation {
                why: "every column that makes compute is fixed".to_owned(),
            })?;
        let mut moving = Vec::new();
        for place in free.into_iter().filter(|place| *place != solved) {
            match options.between.get(name(place)) {
                Some(range) if 0.0 < range[0] && range[0] < range[1] && range[1].is_finite() => {
                    moving.push((place, *range));
                }
                Some(range) => {
                    return Err(StudyError::BadOption {
                        name: "between",
                        value: format!("{range:?} for {}", name(place)),
                        expected: "two positive numbers in ascending order",
                    });
                }
                None if counted[place] => moving.push((place, WIDEST)),
                None => {
                    return Err(StudyError::MissingColumn {
                        study: "the optimal allocation",
                        column: name(place).to_owned(),
                        why: ": it does not enter compute, so fix it or say between what it may move",
                    });
                }
            }
        }
        // `n` first: curves run along it.
        moving.sort_by_key(|(place, _)| (name(*place) != "n", *place));
        if moving.len() > MOVING_MAX {
            return Err(StudyError::NoAllocation {
                why: format!(
                    "{} columns may move at once; fix some, at most {MOVING_MAX} may",
                    moving.len()
                ),
            });
        }
        let base = law
            .columns
            .iter()
            .map(|column| options.fixed.get(&column.name).copied().unwrap_or(1.0))
            .collect();
        let solved_range = options.between.get(name(solved)).copied().unwrap_or(WIDEST);
        Ok(Self {
            law,
            compute,
            solved,
            solved_range,
            moving,
            base,
        })
    }

    /// Training FLOPs of a point.
    pub(crate) fn compute(&self, columns: &[f64]) -> f64 {
        self.compute.value(&[], columns)
    }

    /// FLOPs of serving `tokens`: the forward pass, a third of what training on them would cost (Sardana et al. 2023
    /// count 2N against 6N a token).
    pub(crate) fn serving(&self, columns: &[f64], tokens: f64) -> f64 {
        let mut served = columns.to_vec();
        served[self.solved] = tokens;
        self.compute(&served) / 3.0
    }

    /// Whether the column that is solved for is the tokens, so that serving makes sense.
    pub(crate) fn solves_tokens(&self) -> bool {
        self.law.columns[self.solved].name == "d"
    }

    /// Solves for the last column so that the point costs `flops`.
    pub(crate) fn solve_budget(&self, columns: &mut [f64], flops: f64) -> Option<()> {
        let aim = libm::log(flops);
        self.solve(columns, |allocation, columns| {
            libm::log(allocation.compute(columns)) - aim
        })
    }

    /// Solves for the last column so that the law gives `target`.
    pub(crate) fn solve_response(
        &self,
        parameters: &[f64],
        columns: &mut [f64],
        target: f64,
    ) -> Option<()> {
        self.solve(columns, |allocation, columns| {
            allocation.law.value(parameters, columns) - target
        })
    }

    fn solve(&self, columns: &mut [f64], difference: impl Fn(&Self, &[f64]) -> f64) -> Option<()> {
        let mut trial = columns.to_vec();
        let [low, high] = self.solved_range;
        let found = root(
            |at| {
                trial[self.solved] = libm::exp(at);
                difference(self, &trial)
            },
            libm::log(low),
            libm::log(high),
        )?;
        columns[self.solved] = libm::exp(found);
        Some(())
    }

    /// The point of a budget at a place of the first moving column.
    pub(crate) fn along_budget(&self, at: f64, flops: f64) -> Option<Vec<f64>> {
        let mut columns = self.placed(at)?;
        self.solve_budget(&mut columns, flops)?;
        Some(columns)
    }

    /// The point with a given response at a place of the first moving column.
    pub(crate) fn along_response(
        &self,
        parameters: &[f64],
        at: f64,
        target: f64,
    ) -> Option<Vec<f64>> {
        let mut columns = self.placed(at)?;
        self.solve_response(parameters, &mut columns, target)?;
        Some(columns)
    }

    /// Further moving columns stay at the middle of their ranges on a curve.
    fn placed(&self, at: f64) -> Option<Vec<f64>> {
        let mut columns = self.base.clone();
        let (first, rest) = self.moving.split_first()?;
        for (place, [low, high]) in rest {
            columns[*place] = (low * high).sqrt();
        }
        columns[first.0] = at;
        Some(columns)
    }

    /// The law's response at a point.
    pub(crate) fn response(&self, parameters: &[f64], columns: &[f64]) -> f64 {
        self.law.value(parameters, columns)
    }

    /// The least response at a budget.
    pub(crate) fn at_budget(&self, parameters: &[f64], flops: f64) -> Result<Found, StudyError> {
        self.search(parameters, |allocation, columns| {
            allocation.solve_budget(columns, flops)?;
            Some(allocation.law.value(parameters, columns))
        })
        .ok_or_else(|| StudyError::NoAllocation {
            why: format!("nothing within the bounds costs {flops:e} FLOPs"),
        })
    }

    /// Least value of `finish` over the moving columns. `finish` sets the last column and says what the point is worth.
    pub(crate) fn search(
        &self,
        parameters: &[f64],
        finish: impl Fn(&Self, &mut [f64]) -> Option<f64>,
    ) -> Option<Found> {
        let mut columns = self.base.clone();
        self.descend(0, &mut columns, &finish)?;
        let mut at_bounds = Vec::new();
        let ends = self
            .moving
            .iter()
            .copied()
            .chain([(self.solved, self.solved_range)]);
        for (place, [low, high]) in ends {
            if columns[place] <= low * 1.001 || columns[place] >= high / 1.001 {
                at_bounds.push(self.law.columns[place].name.clone());
            }
        }
        let response = self.law.value(parameters, &columns);
        Some(Found {
            columns,
            response,
            at_bounds,
        })
    }

    fn descend(
        &self,
        depth: usize,
        columns: &mut Vec<f64>,
        finish: &impl Fn(&Self, &mut [f64]) -> Option<f64>,
    ) -> Option<f64> {
        let Some((place, [low, high])) = self.moving.get(depth).copied() else {
            return finish(self, columns);
        };
        let mut trial = columns.clone();
        let (at, _) = least(
            |at| {
                trial[place] = libm::exp(at);
                self.descend(depth + 1, &mut trial, finish)
                    .unwrap_or(f64::INFINITY)
            },
            libm::log(low),
            libm::log(high),
            SCANS[depth.min(1)],
        )?;
        columns[place] = libm::exp(at);
        self.descend(depth + 1, columns, finish)
    }
}
