//! What the law said of the largest runs without having seen them.

use super::{percent, response_axis, span};
use crate::figure::{Axis, Colour, Dash, Figure, Layer, Line, Points, Scale, Shape};
use crate::{BacktestPoint, Fit};

/// Predicted against observed with intervals; on the line they agree. `axis` is that of the response.
#[must_use]
pub fn backtest(points: &[BacktestPoint], axis: &Axis) -> Figure {
    let layer = |inside: bool, label: &str, shape: Shape, slot: u8| {
        let kept: Vec<&BacktestPoint> = points
            .iter()
            .filter(|point| point.inside == inside)
            .collect();
        let column = |of: fn(&BacktestPoint) -> f64| {
            kept.iter().map(|point| of(point)).collect::<Vec<f64>>()
        };
        Layer::Points(Points {
            label: if kept.is_empty() {
                String::new()
            } else {
                label.to_owned()
            },
            x: column(|point| point.observed),
            y: column(|point| point.predicted),
            low: column(|point| point.low),
            high: column(|point| point.high),
            shape,
            colour: Colour::Slot(slot),
            ..Points::default()
        })
    };
    let all = points
        .iter()
        .flat_map(|point| [point.observed, point.predicted, point.low, point.high]);
    let range = span(all, Scale::Linear).map(|(low, high)| {
        let margin = if high > low {
            (high - low) * 0.06
        } else {
            high.abs() * 0.05 + 0.01
        };
        [low - margin, high + margin]
    });
    let ends = range.map_or(Vec::new(), |range| range.to_vec());
    let held = points.iter().filter(|point| point.inside).count();
    let level = points
        .first()
        .map_or(String::new(), |point| percent(point.level));
    let named = |prefix: &str| Axis {
        label: format!("{prefix} {}", axis.label.to_lowercase()),
        range,
        ..axis.clone()
    };
    Figure {
        title: "Back-test: the largest runs, held out".to_owned(),
        caption: format!(
            "{held} of {} held-out runs lie in their {level} interval.",
            points.len()
        ),
        x: named("Observed"),
        y: named("Predicted"),
        layers: vec![
            Layer::Line(Line {
                x: ends.clone(),
                y: ends,
                dash: Dash::Dashed,
                colour: Colour::Grey,
                ..Line::default()
            }),
            layer(true, "Interval holds", Shape::Circle, 0),
            layer(false, "Interval misses", Shape::Diamond, 1),
        ],
        ..Figure::default()
    }
}

/// The back-test of a fit.
#[must_use]
pub fn fitted_backtest(fit: &Fit) -> Figure {
    let mut figure = backtest(&fit.backtest.points, &response_axis(&fit.definition));
    if fit.backtest.performed {
        let error = super::written(fit.backtest.max_abs_relative_error * 100.0);
        figure.caption.push_str(&format!(
            " Largest error {error} %; the largest held-out run has {} times the compute of the largest that was fitted.",
            super::written(fit.backtest.reach)
        ));
    } else {
        "Too few runs to hold any out.".clone_into(&mut figure.caption);
    }
    figure
}
