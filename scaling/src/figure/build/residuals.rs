//! What the law leaves unexplained: against what it predicts, and against a normal distribution.

use super::{point, response_axis, written};
use crate::figure::{Annotation, Axis, Band, Colour, Dash, Figure, Layer, Line, Points};
use crate::law::Scale;
use crate::{Fit, Table};

/// Residuals against predictions, with a line at zero.
#[must_use]
pub fn residuals_against(predicted: &[f64], residuals: &[f64], x: Axis, y: Axis) -> Figure {
    Figure {
        title: "Residuals against prediction".to_owned(),
        caption: "A law of the right form leaves residuals without a pattern.".to_owned(),
        x,
        y,
        layers: vec![Layer::Points(Points {
            x: predicted.to_vec(),
            y: residuals.to_vec(),
            ..Points::default()
        })],
        annotations: vec![Annotation {
            y: Some(0.0),
            ..Annotation::default()
        }],
        ..Figure::default()
    }
}

/// Sorted residuals against those of a normal distribution of the same middle and spread (median and interquartile range),
/// with the band in which 95 % of normal samples have each of them. Long ends are what robust objectives are for.
#[must_use]
pub fn residual_quantiles(residuals: &[f64], y: Axis) -> Figure {
    let mut sorted: Vec<f64> = residuals
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let share = |at: usize| (at as f64 + 0.5) / count;
    let quantile = |p: f64| -> f64 {
        let place = p * (count - 1.0);
        let (low, rest) = (place as usize, place - libm::floor(place));
        let (Some(low), high) = (sorted.get(low), sorted.get(low + 1)) else {
            return f64::NAN;
        };
        low + (high.unwrap_or(low) - low) * rest
    };
    let (middle, spread) = (
        quantile(0.5),
        (quantile(0.75) - quantile(0.25)) / 1.348_979_500_392_163_5,
    );
    let normal: Vec<f64> = (0..sorted.len())
        .map(|at| normal_quantile(share(at)))
        .collect();
    let line = |z: &f64| middle + spread * z;
    // Standard error of an order statistic: sqrt(p (1 - p) / n) over the density there.
    let half = |at: usize| {
        let (p, z) = (share(at), normal[at]);
        let density = libm::exp(-z * z / 2.0) / libm::sqrt(2.0 * std::f64::consts::PI);
        1.959_963_984_540_054 * spread * libm::sqrt(p * (1.0 - p) / count) / density
    };
    let straight: Vec<f64> = normal.iter().map(line).collect();
    Figure {
        title: "Residuals against a normal distribution".to_owned(),
        caption: "Points off the band at the ends are outliers that squares would follow."
            .to_owned(),
        x: Axis::linear("Normal quantile", "standard deviations"),
        y,
        layers: vec![
            Layer::Band(Band {
                label: "95 % of normal samples".to_owned(),
                x: normal.clone(),
                low: straight
                    .iter()
                    .enumerate()
                    .map(|(at, y)| y - half(at))
                    .collect(),
                high: straight
                    .iter()
                    .enumerate()
                    .map(|(at, y)| y + half(at))
                    .collect(),
                colour: Colour::Grey,
            }),
            Layer::Line(Line {
                x: normal.clone(),
                y: straight,
                dash: Dash::Dashed,
                colour: Colour::Grey,
                ..Line::default()
            }),
            Layer::Points(Points {
                x: normal,
                y: sorted,
                colour: Colour::Slot(0),
                ..Points::default()
            }),
        ],
        ..Figure::default()
    }
}

/// Both pictures of a fit: against prediction, against a normal distribution.
#[must_use]
pub fn fitted_residuals(fit: &Fit, table: &Table) -> (Figure, Figure) {
    let law = &fit.definition;
    let predicted: Vec<f64> = (0..table.response.len())
        .map(|row| fit.value(&point(law, table, row)))
        .collect();
    let is_log = law.response.scale == Scale::Log;
    let pairs = table.response.iter().zip(&predicted);
    let residuals: Vec<f64> = pairs
        .map(|(seen, predicted)| {
            if is_log {
                libm::log(seen / predicted)
            } else {
                seen - predicted
            }
        })
        .collect();
    let response = response_axis(law);
    let y = if is_log {
        Axis::linear("Residual", "ln observed/predicted")
    } else {
        Axis::linear("Residual", &response.unit)
    };
    let x = Axis {
        label: format!("Predicted {}", law.response.name.replace('_', " ")),
        ..response
    };
    let mut against = residuals_against(&predicted, &residuals, x, y.clone());
    against.caption = format!(
        "Root of the mean square {} %; neighbouring runs correlate with {} (p = {}).",
        written(fit.residuals.rms_relative * 100.0),
        written(fit.residuals.neighbour_correlation),
        written(fit.residuals.structure_p)
    );
    (against, residual_quantiles(&residuals, y))
}

/// Inverse of the normal distribution by halving; exact to a float's last digits, and fast enough for a picture.
fn normal_quantile(p: f64) -> f64 {
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..64 {
        let middle = (low + high) / 2.0;
        if 0.5 * libm::erfc(-middle / std::f64::consts::SQRT_2) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_quantiles_are_those_of_the_tables() {
        for (p, z) in [
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
            (0.01, -2.326_347_874_040_841),
        ] {
            assert!((normal_quantile(p) - z).abs() < 1e-12);
        }
    }
}
