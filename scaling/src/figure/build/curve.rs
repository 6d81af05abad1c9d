//! The law with its interval through the data: one curve, or one for each of a few values of a second column.

use std::collections::BTreeMap;

use super::{axis_of, middle, percent, point, response_axis, spaced, span, written};
use crate::figure::{Axis, Band, Colour, Dash, Figure, Layer, Line, Points, Scale};
use crate::{Fit, Table};

/// A curve with its interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CurveFamily {
    /// Value of the column that tells the curves apart; not used for a single curve.
    pub value: f64,
    /// Horizontal places.
    pub x: Vec<f64>,
    /// The law.
    pub y: Vec<f64>,
    /// Low ends of its interval; empty for none.
    pub low: Vec<f64>,
    /// High ends of its interval; empty for none.
    pub high: Vec<f64>,
}

/// Data and curves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Title.
    pub title: String,
    /// Sentence below.
    pub caption: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// What tells the curves apart; its numbers colour curves and points.
    pub by: Option<Axis>,
    /// Points, horizontal.
    pub points_x: Vec<f64>,
    /// Points, vertical.
    pub points_y: Vec<f64>,
    /// Points, in the unit of `by`.
    pub points_by: Vec<f64>,
    /// Curves.
    pub families: Vec<CurveFamily>,
    /// The least that can be had at each horizontal place; empty for none.
    pub frontier: (Vec<f64>, Vec<f64>),
    /// Level of the intervals.
    pub level: f64,
}

/// Curves over bands over points.
#[must_use]
pub fn curve(data: &Curve) -> Figure {
    let mut layers = Vec::new();
    let many = data.by.is_some();
    let colour = |value: f64| {
        if many {
            Colour::Ramp(value)
        } else {
            Colour::Slot(0)
        }
    };
    for family in &data.families {
        if !family.low.is_empty() {
            let first = layers.is_empty();
            layers.push(Layer::Band(Band {
                label: if first {
                    format!("{} interval of the law", percent(data.level))
                } else {
                    String::new()
                },
                x: family.x.clone(),
                low: family.low.clone(),
                high: family.high.clone(),
                colour: colour(family.value),
            }));
        }
    }
    layers.push(Layer::Points(Points {
        label: "Runs".to_owned(),
        x: data.points_x.clone(),
        y: data.points_y.clone(),
        value: if many {
            data.points_by.clone()
        } else {
            Vec::new()
        },
        colour: Colour::Grey,
        ..Points::default()
    }));
    for (at, family) in data.families.iter().enumerate() {
        layers.push(Layer::Line(Line {
            label: if at == 0 {
                "Law".to_owned()
            } else {
                String::new()
            },
            x: family.x.clone(),
            y: family.y.clone(),
            colour: colour(family.value),
            ..Line::default()
        }));
    }
    if !data.frontier.0.is_empty() {
        layers.push(Layer::Line(Line {
            label: "Compute-optimal".to_owned(),
            x: data.frontier.0.clone(),
            y: data.frontier.1.clone(),
            dash: Dash::Dashed,
            colour: Colour::Ink,
        }));
    }
    Figure {
        title: data.title.clone(),
        caption: data.caption.clone(),
        x: data.x.clone(),
        y: data.y.clone(),
        colour: data.by.clone(),
        layers,
        ..Figure::default()
    }
}

/// The fitted law against compute (or its only column), a curve for each of five values of its first column.
#[must_use]
pub fn fitted_curve(fit: &Fit, table: &Table) -> Figure {
    let law = &fit.definition;
    let numbers = |name: &str| table.columns.get(name).cloned().unwrap_or_default();
    let points: Vec<BTreeMap<String, f64>> = (0..table.response.len())
        .map(|row| point(law, table, row))
        .collect();
    let (by, along) = match law.columns.as_slice() {
        [] => return Figure::default(),
        [only] => (None, only),
        [first, second, ..] => (Some(first), second),
    };
    let compute: Option<Vec<f64>> = points.iter().map(|point| law.compute_at(point)).collect();
    // Compute is the axis of choice where two columns trade against each other.
    let by_compute = by.is_some() && compute.is_some();
    let place = |point: &BTreeMap<String, f64>| {
        if by_compute {
            law.compute_at(point).unwrap_or(f64::NAN)
        } else {
            point[&along.name]
        }
    };
    let x_axis = if by_compute {
        Axis::log("Training compute", "FLOP")
    } else {
        axis_of(along, &numbers(&along.name))
    };
    let by_axis = by.map(|column| axis_of(column, &numbers(&column.name)));
    let values = match (by, &by_axis) {
        (Some(column), Some(axis)) => chosen(&numbers(&column.name), axis.scale, 5),
        _ => vec![f64::NAN],
    };
    let along_scale = axis_of(along, &numbers(&along.name)).scale;
    let families = values
        .iter()
        .filter_map(|value| {
            family(
                fit,
                table,
                by.map(|column| column.name.as_str()),
                &along.name,
                *value,
                along_scale,
                &place,
            )
        })
        .collect();
    let others: Vec<String> = law
        .columns
        .iter()
        .skip(2)
        .map(|column| column.name.clone())
        .collect();
    let mut caption = format!(
        "{}, fitted to {} rows of {} runs.",
        law.title, fit.n_rows, fit.n_runs
    );
    if let Some(axis) = &by_axis {
        let list: Vec<String> = values.iter().map(|value| written(*value)).collect();
        caption.push_str(&format!(
            " Curves for {} {}.",
            list.join(", "),
            axis.label.to_lowercase()
        ));
    }
    if !others.is_empty() {
        caption.push_str(&format!(
            " Other columns ({}) at their medians.",
            others.join(", ")
        ));
    }
    curve(&Curve {
        title: format!(
            "{} against {}",
            response_axis(law).label,
            x_axis.label.to_lowercase()
        ),
        caption,
        x: x_axis,
        y: response_axis(law),
        by: by_axis,
        points_x: points.iter().map(&place).collect(),
        points_y: table.response.clone(),
        points_by: by.map(|column| numbers(&column.name)).unwrap_or_default(),
        families,
        frontier: if by_compute && law.columns.len() == 2 {
            frontier(fit, table)
        } else {
            Default::default()
        },
        level: fit.level,
    })
}

/// At most `count` of the values that occur, spread as evenly as they allow.
fn chosen(numbers: &[f64], scale: Scale, count: usize) -> Vec<f64> {
    let Some((low, high)) = span(numbers.iter().copied(), scale) else {
        return Vec::new();
    };
    let away = |value: f64, target: f64| match scale {
        Scale::Linear => (value - target).abs(),
        Scale::Log => libm::log(value / target).abs(),
    };
    let mut chosen: Vec<f64> = spaced(low, high, count, scale)
        .into_iter()
        .filter_map(|target| {
            let held = numbers
                .iter()
                .copied()
                .filter(|value| *value >= low && *value <= high);
            held.min_by(|one, other| away(*one, target).total_cmp(&away(*other, target)))
        })
        .collect();
    chosen.dedup();
    chosen
}

/// The law where the rows nearest to `value` are, and a factor of two (or a tenth of the span) beyond.
fn family(
    fit: &Fit,
    table: &Table,
    by: Option<&str>,
    along: &str,
    value: f64,
    scale: Scale,
    place: &dyn Fn(&BTreeMap<String, f64>) -> f64,
) -> Option<CurveFamily> {
    let column = table.columns.get(along)?;
    let near = |row: usize| match by.and_then(|by| table.columns.get(by)) {
        Some(numbers) => {
            let ratio = numbers[row] / value;
            (0.7..1.43).contains(&ratio) || numbers[row] == value
        }
        None => true,
    };
    let rows = (0..column.len()).filter(|row| near(*row));
    let (low, high) = span(rows.map(|row| column[row]), scale)?;
    let (low, high) = match scale {
        Scale::Log => (low / 2.0, high * 2.0),
        Scale::Linear => (low - (high - low) * 0.1, high + (high - low) * 0.1),
    };
    let mut family = CurveFamily {
        value,
        ..CurveFamily::default()
    };
    let mut at = middle(&fit.definition, table);
    if let Some(by) = by {
        at.insert(by.to_owned(), value);
    }
    for step in spaced(low, high, 48, scale) {
        at.insert(along.to_owned(), step);
        family.x.push(place(&at));
        family.y.push(fit.value(&at));
        if fit.replicates.is_empty() {
            continue;
        }
        if let Ok(prediction) = fit.predict(&at, fit.level) {
            family.low.push(prediction.curve_low);
            family.high.push(prediction.curve_high);
        } else {
            family.low.push(f64::NAN);
            family.high.push(f64::NAN);
        }
    }
    Some(family)
}

/// Least value of a law of two columns at each compute within the data: a search over the first column, the second from
/// compute.
pub(super) fn optima(fit: &Fit, budgets: &[f64], first: (f64, f64)) -> Vec<(f64, f64, f64)> {
    let law = &fit.definition;
    let [one, other, ..] = law.columns.as_slice() else {
        return Vec::new();
    };
    let at = |first: f64, second: f64| -> BTreeMap<String, f64> {
        [(one.name.clone(), first), (other.name.clone(), second)].into()
    };
    // Compute rises with the second column: halve its logarithm.
    let second = |first: f64, budget: f64| -> f64 {
        let (mut low, mut high) = (-60.0, 120.0);
        for _ in 0..70 {
            let middle = (low + high) / 2.0;
            if law
                .compute_at(&at(first, libm::exp(middle)))
                .is_some_and(|compute| compute < budget)
            {
                low = middle;
            } else {
                high = middle;
            }
        }
        libm::exp((low + high) / 2.0)
    };
    budgets
        .iter()
        .map(|budget| {
            let value = |log: f64| {
                let first = libm::exp(log);
                fit.value(&at(first, second(first, *budget)))
            };
            let (mut low, mut high) = (libm::log(first.0) - 7.0, libm::log(first.1) + 7.0);
            for _ in 0..50 {
                let third = (high - low) / 3.0;
                if value(low + third) < value(high - third) {
                    high -= third;
                } else {
                    low += third;
                }
            }
            let first = libm::exp((low + high) / 2.0);
            (first, second(first, *budget), value((low + high) / 2.0))
        })
        .collect()
}

fn frontier(fit: &Fit, table: &Table) -> (Vec<f64>, Vec<f64>) {
    let law = &fit.definition;
    let compute =
        (0..table.response.len()).filter_map(|row| law.compute_at(&point(law, table, row)));
    let first = table.columns.get(&law.columns[0].name);
    let (Some((low, high)), Some(first)) = (span(compute, Scale::Log), first) else {
        return Default::default();
    };
    let Some(first) = span(first.iter().copied(), Scale::Log) else {
        return Default::default();
    };
    let budgets = spaced(low, high, 32, Scale::Log);
    let losses = optima(fit, &budgets, first)
        .into_iter()
        .map(|(_, _, loss)| loss)
        .collect();
    (budgets, losses)
}
