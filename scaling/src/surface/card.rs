//! Explanation cards: the data of a figure, how to draw it, and one sentence. Plain JSON, so that any front end draws it.

use serde::{Deserialize, Serialize};

use crate::figure::{Axis, Band, Bars, Dash, Figure, Layer, Line, Points};

/// An explanation that can be stored and shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Format of this record.
    pub version: u32,
    /// What the card explains.
    pub kind: CardKind,
    /// Name of the target.
    pub target: String,
    /// The feature that it is about; `None` where it is about all.
    pub feature: Option<String>,
    /// How to draw it.
    pub figure: Figure,
    /// What a reader should take from it.
    pub sentence: String,
    /// How the numbers came about, and what they do not say.
    pub method: String,
}

/// What a card explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CardKind {
    /// Loss of accuracy on held-out runs when a feature is shuffled.
    PermutationImportance,
    /// Mean absolute Shapley value of each feature.
    ShapleyImportance,
    /// Shapley values of one point.
    ShapleyPoint,
    /// Mean prediction as one feature is set.
    PartialDependence,
    /// Accumulated local effect of one feature.
    AccumulatedLocalEffect,
    /// Predicted probability against rate, on held-out runs.
    Reliability,
}

/// An axis of names: positions 0, 1, 2 …
pub(super) fn names(label: impl Into<String>, categories: Vec<String>) -> Axis {
    Axis {
        categories,
        ..Axis::linear(&label.into(), "")
    }
}

/// The horizontal and the vertical places of points.
fn places(points: &[[f64; 2]]) -> (Vec<f64>, Vec<f64>) {
    points.iter().map(|[x, y]| (*x, *y)).unzip()
}

/// A line through points.
pub(super) fn line(label: &str, points: &[[f64; 2]], dash: Dash) -> Layer {
    let (x, y) = places(points);
    Layer::Line(Line {
        label: label.to_owned(),
        x,
        y,
        dash,
        ..Line::default()
    })
}

/// Marks at points.
pub(super) fn marks(label: &str, points: &[[f64; 2]]) -> Layer {
    let (x, y) = places(points);
    Layer::Points(Points {
        label: label.to_owned(),
        x,
        y,
        ..Points::default()
    })
}

/// A band between two lines: x, low and high.
pub(super) fn band(label: &str, edges: &[[f64; 3]]) -> Layer {
    let column = |at: usize| edges.iter().map(|edge| edge[at]).collect();
    Layer::Band(Band {
        label: label.to_owned(),
        x: column(0),
        low: column(1),
        high: column(2),
        ..Band::default()
    })
}

/// Bars, each with half the width of its interval; no errors where none are known.
pub(super) fn bars(label: &str, lengths: Vec<f64>, errors: &[f64]) -> Layer {
    let ends = |sign: f64| {
        lengths
            .iter()
            .zip(errors)
            .map(|(length, error)| length + sign * error)
            .collect()
    };
    Layer::Bars(Bars {
        label: label.to_owned(),
        low: ends(-1.0),
        high: ends(1.0),
        value: lengths,
        ..Bars::default()
    })
}
