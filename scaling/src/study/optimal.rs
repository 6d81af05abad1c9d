//! What to train with a budget: the columns of a law at which its response is least for given compute.
//!
//! Hoffmann's law has a closed form (Hoffmann et al. 2022, equation 4); any law with a `compute` formula is minimised
//! numerically along the surface of equal compute, so that experts, granularity or repetition enter without new code. Each
//! bootstrap replicate of the parameters has its own optimum, and their percentiles are the interval: the error of the
//! parameters is strongly correlated, and intervals of A, B, alpha and beta taken one by one would say nothing of it.
//!
//! An optimum beyond the data inherits the law's reach; [`Optimum::extrapolation_factor`] says how far it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::study::allocation::{Allocation, Found};
use crate::study::error::StudyError;
use crate::study::estimate::estimate;
use crate::{Estimate, Fit, Law};

/// Replicates whose optima are found; more change no digit that matters.
pub(crate) const REPLICATES_MAX: usize = 500;

/// What is held fast and what may move.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AllocationOptions {
    /// Columns with a given value, in the law's units.
    pub fixed: BTreeMap<String, f64>,
    /// Columns that may move between two values. Those that make compute (`n`, `d`) move freely unless named here.
    pub between: BTreeMap<String, [f64; 2]>,
    /// Level of the intervals; the fit's own if none.
    pub level: Option<f64>,
}

/// The compute-optimal columns at a budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Optimum {
    /// The budget, training FLOPs as the law counts them.
    pub flops: f64,
    /// Every column of the law at the optimum; those that were fixed have no width.
    pub columns: BTreeMap<String, Estimate>,
    /// Name of the law's response.
    pub response_name: String,
    /// The law's response there (the curve, not a new run).
    pub response: Estimate,
    /// `d` over `n`, where the law has both.
    pub tokens_per_parameter: Option<Estimate>,
    /// Columns whose optimum is an end of what they may be: the law has no optimum inside.
    pub at_bounds: Vec<String>,
    /// Replicates with an optimum, and replicates tried.
    pub replicates: [usize; 2],
    /// The budget over the largest compute that was fitted; at most 1 within the data.
    pub extrapolation_factor: f64,
}

/// A point of a curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurveAt {
    /// The law's columns.
    pub point: BTreeMap<String, f64>,
    /// The law's response.
    pub response: f64,
    /// Training FLOPs.
    pub flops: f64,
}

/// Finds the optimum of a fit at a budget, with intervals.
pub fn optimal(fit: &Fit, flops: f64, options: &AllocationOptions) -> Result<Optimum, StudyError> {
    let law = &fit.definition;
    let allocation = Allocation::new(law, options)?;
    if !(flops.is_finite() && flops > 0.0) {
        return Err(StudyError::BadOption {
            name: "flops",
            value: flops.to_string(),
            expected: "a positive number of FLOPs",
        });
    }
    let found = allocation.at_budget(&fit.optimum(), flops)?;
    let tried: Vec<&Vec<f64>> = thinned(&fit.replicates);
    let replicates: Vec<Found> = tried
        .iter()
        .filter_map(|one| allocation.at_budget(one, flops).ok())
        .collect();
    let level = options.level.unwrap_or(fit.level);
    let of = |pick: &dyn Fn(&Found) -> f64| {
        estimate(
            pick(&found),
            &replicates.iter().map(pick).collect::<Vec<f64>>(),
            level,
        )
    };
    let columns = law
        .columns
        .iter()
        .enumerate()
        .map(|(place, column)| (column.name.clone(), of(&|one: &Found| one.columns[place])))
        .collect();
    let place = |name: &str| law.columns.iter().position(|column| column.name == name);
    let tokens_per_parameter = match (place("n"), place("d")) {
        (Some(n), Some(d)) => Some(of(&|one: &Found| one.columns[d] / one.columns[n])),
        _ => None,
    };
    let largest = fit.spans.get("compute").map_or(f64::NAN, |span| span.high);
    Ok(Optimum {
        flops,
        columns,
        response_name: law.response.name.clone(),
        response: of(&|one: &Found| one.response),
        tokens_per_parameter,
        at_bounds: found.at_bounds.clone(),
        replicates: [replicates.len(), tried.len()],
        extrapolation_factor: flops / largest,
    })
}

/// Evenly spaced replicates, at most [`REPLICATES_MAX`].
pub(crate) fn thinned(replicates: &[Vec<f64>]) -> Vec<&Vec<f64>> {
    let stride = replicates.len().div_ceil(REPLICATES_MAX).max(1);
    replicates.iter().step_by(stride).collect()
}

/// The law along a budget: `points` places of the first free column (usually `n`), evenly spaced in its logarithm over
/// `range`; places that the budget cannot reach are left out.
pub fn iso_flop(
    law: &Law,
    parameters: &BTreeMap<String, f64>,
    flops: f64,
    range: [f64; 2],
    points: usize,
    options: &AllocationOptions,
) -> Result<Vec<CurveAt>, StudyError> {
    let allocation = Allocation::new(law, options)?;
    let values = law.values(parameters);
    Ok(spaced(range, points)
        .filter_map(|at| {
            let columns = allocation.along_budget(at, flops)?;
            Some(curve_at(law, &values, &columns, flops))
        })
        .collect())
}

/// Where the law's response is `target`: for each place of the first free column the other that reaches it; places that
/// cannot are left out.
pub fn iso_response(
    law: &Law,
    parameters: &BTreeMap<String, f64>,
    target: f64,
    range: [f64; 2],
    points: usize,
    options: &AllocationOptions,
) -> Result<Vec<CurveAt>, StudyError> {
    let allocation = Allocation::new(law, options)?;
    let values = law.values(parameters);
    Ok(spaced(range, points)
        .filter_map(|at| {
            let columns = allocation.along_response(&values, at, target)?;
            let flops = allocation.compute(&columns);
            Some(curve_at(law, &values, &columns, flops))
        })
        .collect())
}

fn curve_at(law: &Law, parameters: &[f64], columns: &[f64], flops: f64) -> CurveAt {
    let names = law.columns.iter().map(|column| column.name.clone());
    CurveAt {
        point: names.zip(columns.iter().copied()).collect(),
        response: law.value(parameters, columns),
        flops,
    }
}

fn spaced([low, high]: [f64; 2], points: usize) -> impl Iterator<Item = f64> {
    let (low, high) = (libm::log(low), libm::log(high));
    let step = (high - low) / (points.max(2) - 1) as f64;
    (0..points).map(move |index| libm::exp(low + step * index as f64))
}
