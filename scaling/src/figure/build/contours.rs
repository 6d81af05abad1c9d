//! Lines of equal loss over two columns, the runs, and where a budget is spent best.

use std::collections::BTreeMap;

use super::curve::optima;
use super::{axis_of, middle, point, response_axis, spaced, span};
use crate::figure::{
    Annotation, Axis, Colour, Contours, Dash, Figure, Layer, Legend, Line, Points, Scale, ticks,
};
use crate::{Fit, Table};

/// A surface over a grid with points and lines on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContourMap {
    /// Title.
    pub title: String,
    /// Sentence below.
    pub caption: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// Columns of the grid, ascending.
    pub columns: Vec<f64>,
    /// Rows of the grid, ascending.
    pub rows: Vec<f64>,
    /// Heights, row by row.
    pub heights: Vec<f64>,
    /// What is written on the lines, for the legend.
    pub height_name: String,
    /// Runs, horizontal and vertical.
    pub points: (Vec<f64>, Vec<f64>),
    /// The compute-optimal line; empty for none.
    pub optimal: (Vec<f64>, Vec<f64>),
    /// Lines of equal compute with their names.
    pub budgets: Vec<(String, Vec<f64>, Vec<f64>)>,
}

/// Contour lines at round heights, over them budgets, runs and the best line.
#[must_use]
pub fn contour_map(data: &ContourMap) -> Figure {
    let mut layers = Vec::new();
    let mut annotations = Vec::new();
    for (name, x, y) in &data.budgets {
        layers.push(Layer::Line(Line {
            x: x.clone(),
            y: y.clone(),
            dash: Dash::Dotted,
            colour: Colour::Grey,
            ..Line::default()
        }));
        let inside = |at: &usize| {
            let held = |numbers: &[f64], value: f64| {
                numbers.first().is_some_and(|low| value > *low)
                    && numbers.last().is_some_and(|high| value < *high)
            };
            held(&data.columns, x[*at]) && held(&data.rows, y[*at])
        };
        let shown: Vec<usize> = (0..x.len().min(y.len())).filter(inside).collect();
        if let Some(at) = shown.get(shown.len() / 12) {
            annotations.push(Annotation {
                text: name.clone(),
                x: Some(x[*at]),
                y: Some(y[*at]),
            });
        }
    }
    let mut sorted: Vec<f64> = data
        .heights
        .iter()
        .copied()
        .filter(|height| height.is_finite())
        .collect();
    sorted.sort_by(f64::total_cmp);
    // A corner where a law shoots up must not choose the step for all.
    if let (Some(low), Some(high)) = (sorted.first(), sorted.get(sorted.len() * 9 / 10)) {
        layers.push(Layer::Contours(Contours {
            label: data.height_name.clone(),
            x: data.columns.clone(),
            y: data.rows.clone(),
            z: data.heights.clone(),
            levels: ticks(*low, *high, Scale::Linear, 9)
                .major
                .iter()
                .map(|tick| tick.value)
                .collect(),
            colour: Colour::Slot(0),
        }));
    }
    layers.push(Layer::Points(Points {
        label: "Runs".to_owned(),
        x: data.points.0.clone(),
        y: data.points.1.clone(),
        colour: Colour::Grey,
        ..Points::default()
    }));
    if !data.optimal.0.is_empty() {
        layers.push(Layer::Line(Line {
            label: "Compute-optimal".to_owned(),
            x: data.optimal.0.clone(),
            y: data.optimal.1.clone(),
            colour: Colour::Slot(1),
            ..Line::default()
        }));
    }
    Figure {
        title: data.title.clone(),
        caption: data.caption.clone(),
        x: data.x.clone(),
        y: data.y.clone(),
        layers,
        legend: Legend::Auto,
        annotations,
        ..Figure::default()
    }
}

/// The fitted law over its second (horizontal) and first (vertical) column, three times beyond the data on each side. A law
/// of one column has no such picture: an empty figure.
#[must_use]
pub fn fitted_contours(fit: &Fit, table: &Table) -> Figure {
    const CELLS: usize = 60;
    let law = &fit.definition;
    let [first, second, ..] = law.columns.as_slice() else {
        return Figure::default();
    };
    let numbers = |name: &str| table.columns.get(name).cloned().unwrap_or_default();
    let (down, across) = (numbers(&first.name), numbers(&second.name));
    let (y, x) = (axis_of(first, &down), axis_of(second, &across));
    let (Some(rows), Some(columns)) = (
        span(down.iter().copied(), y.scale),
        span(across.iter().copied(), x.scale),
    ) else {
        return Figure::default();
    };
    let grid = |(low, high): (f64, f64), scale: Scale| match scale {
        Scale::Log => spaced(low / 3.0, high * 3.0, CELLS, scale),
        Scale::Linear => spaced(
            low - (high - low) * 0.1,
            high + (high - low) * 0.1,
            CELLS,
            scale,
        ),
    };
    let (rows_at, columns_at) = (grid(rows, y.scale), grid(columns, x.scale));
    let mut at = middle(law, table);
    let mut heights = Vec::with_capacity(CELLS * CELLS);
    for row in &rows_at {
        for column in &columns_at {
            at.insert(first.name.clone(), *row);
            at.insert(second.name.clone(), *column);
            heights.push(fit.value(&at));
        }
    }
    let compute =
        (0..table.response.len()).filter_map(|row| law.compute_at(&point(law, table, row)));
    let mut optimal = (Vec::new(), Vec::new());
    let mut budgets = Vec::new();
    let compute = span(compute, Scale::Log).filter(|_| law.columns.len() == 2);
    if let Some((low, high)) = compute {
        for (first, second, _) in
            optima(fit, &spaced(low / 10.0, high * 10.0, 48, Scale::Log), rows)
        {
            optimal.0.push(second);
            optimal.1.push(first);
        }
        for tick in ticks(low, high, Scale::Log, 4).major {
            budgets.push(budget(
                fit,
                &tick.label,
                tick.value,
                &rows_at,
                columns_at[0],
            ));
        }
    }
    let height = response_axis(law);
    contour_map(&ContourMap {
        title: format!(
            "{} over {} and {}",
            height.label,
            y.label.to_lowercase(),
            x.label.to_lowercase()
        ),
        caption: format!(
            "{}: lines of equal {}, {} runs{}.",
            law.title,
            law.response.name,
            fit.n_runs,
            if budgets.is_empty() {
                ""
            } else {
                ", and what each budget buys at best"
            }
        ),
        x,
        y,
        columns: columns_at,
        rows: rows_at,
        heights,
        height_name: crate::figure::text::axis_title(&height.label, &height.unit, 0),
        points: (across, down),
        optimal,
        budgets,
    })
}

/// The line of equal compute, found by halving: compute rises with the second column.
fn budget(
    fit: &Fit,
    name: &str,
    compute: f64,
    rows: &[f64],
    lowest: f64,
) -> (String, Vec<f64>, Vec<f64>) {
    let law = &fit.definition;
    let (first, second) = (&law.columns[0].name, &law.columns[1].name);
    let across = rows.iter().map(|row| {
        let (mut low, mut high) = (libm::log(lowest) - 40.0, libm::log(lowest) + 80.0);
        for _ in 0..70 {
            let middle = (low + high) / 2.0;
            let at: BTreeMap<String, f64> =
                [(first.clone(), *row), (second.clone(), libm::exp(middle))].into();
            if law.compute_at(&at).is_some_and(|at| at < compute) {
                low = middle;
            } else {
                high = middle;
            }
        }
        libm::exp(low)
    });
    (format!("{name} FLOP"), across.collect(), rows.to_vec())
}
