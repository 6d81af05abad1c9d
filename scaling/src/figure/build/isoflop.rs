//! Loss against size at equal compute: a parabola for each budget, and its lowest point.

use super::written;
use crate::figure::{Axis, Colour, Figure, Layer, Legend, Line, Points, Shape};

/// The runs of one budget.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IsoFlop {
    /// The budget, FLOP.
    pub compute: f64,
    /// Sizes of its runs.
    pub x: Vec<f64>,
    /// Losses of its runs.
    pub y: Vec<f64>,
    /// The parabola (in the logarithm of size), sizes; empty for none.
    pub curve_x: Vec<f64>,
    /// The parabola, losses.
    pub curve_y: Vec<f64>,
    /// Its lowest point; `None` where it has none within the data.
    pub best: Option<(f64, f64)>,
}

/// Parabolas coloured by budget, budgets at the ends of the lines (a colour bar where there are more than nine), the lowest
/// points joined.
#[must_use]
pub fn isoflop(groups: &[IsoFlop], x: Axis, y: Axis) -> Figure {
    let mut sorted: Vec<&IsoFlop> = groups.iter().collect();
    sorted.sort_by(|one, other| one.compute.total_cmp(&other.compute));
    let named = sorted.len() <= 9;
    let mut layers = Vec::new();
    // Without a colour bar, ranks colour the curves: budgets need not be evenly spaced to be told apart.
    let ranks = (0..sorted.len())
        .map(|at| Colour::Ramp(if named { at as f64 } else { sorted[at].compute }));
    let colours: Vec<Colour> = ranks.collect();
    for (group, colour) in sorted.iter().zip(&colours) {
        layers.push(Layer::Line(Line {
            label: if named {
                format!("{} FLOP", written(group.compute))
            } else {
                String::new()
            },
            x: group.curve_x.clone(),
            y: group.curve_y.clone(),
            colour: *colour,
            ..Line::default()
        }));
        layers.push(Layer::Points(Points {
            x: group.x.clone(),
            y: group.y.clone(),
            colour: *colour,
            ..Points::default()
        }));
    }
    let (best_x, best_y): (Vec<f64>, Vec<f64>) =
        sorted.iter().filter_map(|group| group.best).unzip();
    let found = best_x.len();
    if found > 0 {
        layers.push(Layer::Points(Points {
            label: "Lowest point".to_owned(),
            x: best_x,
            y: best_y,
            shape: Shape::Diamond,
            colour: Colour::Slot(1),
            ..Points::default()
        }));
    }
    Figure {
        title: "Loss at equal compute".to_owned(),
        caption: format!(
            "{found} of {} budgets have a lowest point within their runs; each parabola is fitted in the logarithm of size.",
            sorted.len()
        ),
        x,
        y,
        colour: (!named).then(|| Axis::log("Training compute", "FLOP")),
        layers,
        legend: Legend::Direct,
        ..Figure::default()
    }
}
