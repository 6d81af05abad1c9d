//! Where searches begin.

use std::collections::BTreeMap;

use super::cohort::Cohort;
use super::projection::Projection;
use crate::error::FitError;
use crate::law::{Law, Parameter, Scale};
use crate::options::{FitOptions, Starts};
use crate::quantile::sample_quantile;
use crate::random::{generator, uniform};

/// Points of the grid over the parameters that enter non-linearly.
const GRID_MAX: usize = 400;

/// Parameters beyond which even two values each are too many combinations.
const PRODUCT_DIMENSIONS: usize = 8;

/// Starts of a fit, of a window of it, and of a fit that knows the last one.
pub(crate) const STARTS_FULL: usize = 81;
pub(crate) const STARTS_WINDOW: usize = 12;
pub(crate) const STARTS_WARM: usize = 9;
pub(crate) const STARTS_WARM_WINDOW: usize = 4;

/// Rows that starts are read from: of more, as many spread evenly.
pub(crate) const STARTS_ROWS: usize = 1_000;

/// Largest grid of a law's listed starts.
const PRODUCT_MAX: usize = 50_000;

/// A stream of the generator that no replicate of the bootstrap uses.
const STREAM: u64 = 1 << 41;

/// Exponents tried, as shares of the upper bound (5 in the built-in laws): .05 to 2.5.
const SHARES: [f64; 9] = [0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5];

/// Starts from the data, best first, in natural values: a grid over what enters non-linearly, the rest solved for.
pub(crate) fn from_data(
    law: &Law,
    cohort: &Cohort,
    projection: &Projection<'_>,
    count: usize,
) -> Vec<Vec<f64>> {
    let nodes = nodes(law, cohort, projection, count >= STARTS_FULL);
    let simple = law
        .starts_from
        .as_deref()
        .and_then(|name| Law::named(name).ok());
    let grid = match simple
        .and_then(|simple| from_simpler(law, &simple, cohort, projection, &nodes, count))
    {
        Some(grid) => grid,
        None if nodes.len() <= PRODUCT_DIMENSIONS => product(&nodes),
        None => star(&nodes),
    };
    let mut found: Vec<(f64, Vec<f64>)> = grid
        .into_iter()
        .filter_map(|rest| projection.solve(&rest))
        .map(|(values, squares)| (squares, values))
        .collect();
    found.sort_by(|one, two| one.0.total_cmp(&two.0));
    found.truncate(count);
    found.into_iter().map(|(_, values)| values).collect()
}

/// The starts that the options ask for beside those from the data, in natural values.
pub(crate) fn asked(
    law: &Law,
    cohort: &Cohort,
    projection: &Projection<'_>,
    options: &FitOptions,
    best: Option<&Vec<f64>>,
) -> Result<Vec<Vec<f64>>, FitError> {
    match options.starts {
        Starts::Data => Ok(Vec::new()),
        Starts::Grid => listed(law, options, best),
        Starts::Count(count) => {
            let ranges: Vec<(f64, f64)> = nodes(law, cohort, projection, true)
                .iter()
                .map(|nodes| {
                    nodes
                        .iter()
                        .fold((f64::INFINITY, f64::NEG_INFINITY), |range, one| {
                            (range.0.min(*one), range.1.max(*one))
                        })
                })
                .collect();
            let mut generator = generator(options.seed, STREAM);
            let mut drawn = Vec::new();
            for _ in 0..count {
                let rest: Vec<f64> = ranges
                    .iter()
                    .zip(&projection.rest)
                    .map(|((low, high), index)| {
                        let share = uniform(&mut generator);
                        if law.parameters[*index].scale == Scale::Log {
                            libm::exp(
                                libm::log(*low) + share * (libm::log(*high) - libm::log(*low)),
                            )
                        } else {
                            low + share * (high - low)
                        }
                    })
                    .collect();
                drawn.extend(projection.solve(&rest).map(|(values, _)| values));
            }
            Ok(drawn)
        }
    }
}

/// The product of the starts that the law lists; what has none begins where the best of the data's starts has it.
fn listed(
    law: &Law,
    options: &FitOptions,
    best: Option<&Vec<f64>>,
) -> Result<Vec<Vec<f64>>, FitError> {
    let nodes: Vec<Vec<f64>> = law
        .parameters
        .iter()
        .enumerate()
        .map(
            |(index, parameter)| match options.fixed.get(&parameter.name) {
                Some(value) => vec![*value],
                None if parameter.starts.is_empty() => {
                    best.iter().map(|values| values[index]).collect()
                }
                None => parameter.starts.clone(),
            },
        )
        .collect();
    let size = nodes
        .iter()
        .fold(1_usize, |size, one| size.saturating_mul(one.len()));
    if size > PRODUCT_MAX {
        return Err(FitError::BadOption {
            name: "starts".to_owned(),
            value: format!("a grid of {size} points"),
            expected: format!(
                "at most {PRODUCT_MAX}; list fewer starts in the law, or ask for a number of them"
            ),
        });
    }
    Ok(product(&nodes))
}

/// Values to try for each parameter that enters non-linearly; fewer where a better start is at hand.
fn nodes(law: &Law, cohort: &Cohort, projection: &Projection<'_>, fine: bool) -> Vec<Vec<f64>> {
    let dimensions = projection.rest.len().max(1);
    let mut each = if fine { 9 } else { 5 };
    while each > 2 && usize::pow(each, dimensions as u32) > GRID_MAX {
        each -= 1;
    }
    projection
        .rest
        .iter()
        .map(|index| {
            let parameter = &law.parameters[*index];
            let all = candidates(law, cohort, parameter);
            let inside = all
                .into_iter()
                .map(|one| one.clamp(parameter.bounds.low, parameter.bounds.high));
            spread(&inside.collect::<Vec<f64>>(), each)
        })
        .collect()
}

fn candidates(law: &Law, cohort: &Cohort, parameter: &Parameter) -> Vec<f64> {
    let bounds = parameter.bounds;
    // A parameter in the unit of a column is a place on it.
    let column = law
        .columns
        .iter()
        .position(|one| !one.unit.is_empty() && one.unit == parameter.unit);
    if let Some(column) = column.filter(|_| parameter.starts.is_empty()) {
        let mut sorted = cohort.columns[column].clone();
        sorted.sort_by(f64::total_cmp);
        let quantile = |step: u32| sample_quantile(&sorted, 0.1 + 0.1 * f64::from(step));
        return (0..9).filter_map(quantile).collect();
    }
    let exponent = parameter.scale == Scale::Linear && parameter.unit.is_empty();
    if exponent && bounds.low == 0.0 && bounds.high <= 10.0 {
        return SHARES.iter().map(|share| share * bounds.high).collect();
    }
    if exponent && bounds.high == 0.0 && bounds.low >= -10.0 {
        return SHARES.iter().map(|share| share * bounds.low).collect();
    }
    if !parameter.starts.is_empty() {
        return parameter.starts.clone();
    }
    let between = |step: u32| {
        let share = f64::from(2 * step + 1) / 18.0;
        if parameter.scale == Scale::Log {
            libm::exp(
                libm::log(bounds.low) + share * (libm::log(bounds.high) - libm::log(bounds.low)),
            )
        } else {
            bounds.low + share * (bounds.high - bounds.low)
        }
    };
    (0..9).map(between).collect()
}

/// At most `count` of some values, evenly spread among them.
fn spread(all: &[f64], count: usize) -> Vec<f64> {
    if all.len() <= count {
        return all.to_vec();
    }
    let place = |index: usize| (2 * index + 1) * all.len() / (2 * count);
    (0..count).map(|index| all[place(index)]).collect()
}

/// A grid in which the parameters of a simpler law stand where that law's own starts have them. `None` where the simpler law
/// reads other columns.
fn from_simpler(
    law: &Law,
    simple: &Law,
    cohort: &Cohort,
    projection: &Projection<'_>,
    nodes: &[Vec<f64>],
    count: usize,
) -> Option<Vec<Vec<f64>>> {
    let place = |name: &str| law.columns.iter().position(|one| one.name == name);
    let columns: Option<Vec<Vec<f64>>> = simple
        .columns
        .iter()
        .map(|one| Some(cohort.columns[place(&one.name)?].clone()))
        .collect();
    let part = Cohort {
        columns: columns?,
        ..cohort.clone()
    };
    let known = Projection::new(simple, &part, &BTreeMap::new(), true);
    let bases = from_data(simple, &part, &known, (count / 9).max(2));
    let shared = |index: usize| {
        simple
            .parameters
            .iter()
            .position(|one| one.name == law.parameters[index].name)
    };
    let own: Vec<Vec<f64>> = projection
        .rest
        .iter()
        .zip(nodes)
        .map(|(index, nodes)| {
            if shared(*index).is_some() {
                vec![f64::NAN]
            } else {
                spread(nodes, 3)
            }
        })
        .collect();
    let mut grid = Vec::new();
    for base in &bases {
        for mut point in product(&own) {
            for (value, index) in point.iter_mut().zip(&projection.rest) {
                if let Some(place) = shared(*index) {
                    let bounds = law.parameters[*index].bounds;
                    *value = base[place].clamp(bounds.low, bounds.high);
                }
            }
            grid.push(point);
        }
    }
    Some(grid)
}

/// One parameter at a time moved from the middle of its values: what is left of a grid in many dimensions.
fn star(nodes: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let centre: Vec<f64> = nodes
        .iter()
        .map(|values| values[values.len() / 2])
        .collect();
    let mut all = vec![centre.clone()];
    for (index, values) in nodes.iter().enumerate() {
        for value in values {
            let mut moved = centre.clone();
            moved[index] = *value;
            all.push(moved);
        }
    }
    all
}

/// All combinations; one empty combination of nothing.
fn product(nodes: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut all = vec![Vec::new()];
    for values in nodes {
        all = all
            .into_iter()
            .flat_map(|start| {
                values.iter().map(move |value| {
                    let mut longer = start.clone();
                    longer.push(*value);
                    longer
                })
            })
            .collect();
    }
    all
}
