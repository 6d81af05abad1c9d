//! From a number to a share of the axis, and the ends of an axis that were not given.

use super::spec::{Axis, Figure, Layer, Scale};

/// An axis with ends: 0 is the low one, 1 the high one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub low: f64,
    pub high: f64,
    pub scale: Scale,
}

impl Place {
    /// The axis's own ends or those of the numbers, with a margin of 4 % on both sides.
    pub fn new(axis: &Axis, numbers: impl Iterator<Item = f64>) -> Self {
        let scale = axis.scale;
        let (low, high) = numbers
            .filter(|value| axis.holds(*value))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        let given = axis
            .range
            .filter(|[low, high]| axis.holds(*low) && axis.holds(*high) && low != high);
        if let Some([low, high]) = given {
            let (low, high) = (low.min(high), low.max(high));
            return Self { low, high, scale };
        }
        let (low, high) = match scale {
            _ if low > high && scale == Scale::Log => (1.0, 10.0),
            _ if low > high => (0.0, 1.0),
            Scale::Log if high / low < 1.000_001 => (low / 2.0, high * 2.0),
            Scale::Log => {
                let factor = libm::pow(high / low, 0.04);
                (low / factor, high * factor)
            }
            Scale::Linear if high - low <= 1e-12 * high.abs() => {
                let half = if high == 0.0 { 1.0 } else { high.abs() * 0.1 };
                (low - half, high + half)
            }
            Scale::Linear => {
                let margin = (high - low) * 0.04;
                (low - margin, high + margin)
            }
        };
        // Margins must not leave the numbers that exist.
        let (low, high) = (low.max(f64::MIN), high.min(f64::MAX));
        let low = if scale == Scale::Log {
            low.max(f64::MIN_POSITIVE)
        } else {
            low
        };
        Self { low, high, scale }
    }

    /// Share of the axis; outside 0..1 for what is beyond it, `None` for what has no place.
    pub fn share(&self, value: f64) -> Option<f64> {
        if !value.is_finite() || (self.scale == Scale::Log && value <= 0.0) {
            return None;
        }
        Some(match self.scale {
            Scale::Linear => (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0),
            Scale::Log => {
                let low = libm::log(self.low);
                (libm::log(value) - low) / (libm::log(self.high) - low)
            }
        })
    }
}

/// The three axes of a figure: horizontal, vertical, colour.
pub(crate) fn places(figure: &Figure) -> (Place, Place, Place) {
    let (mut x, mut y, mut colour): (Vec<f64>, Vec<f64>, Vec<f64>) = Default::default();
    let mut bars = false;
    let filled = |layer: &Layer| matches!(layer, Layer::Contours(_) | Layer::HeatMap(_));
    let is_filled = figure.layers.iter().any(filled);
    for layer in &figure.layers {
        match layer {
            // Lines over a filled picture end at its frame.
            Layer::Line(_) | Layer::Band(_) if is_filled => {}
            Layer::Points(points) => {
                for (at, value) in points.x.iter().enumerate() {
                    let other = points.y.get(at).copied().unwrap_or(f64::NAN);
                    if !figure.x.holds(*value) || !figure.y.holds(other) {
                        continue;
                    }
                    x.push(*value);
                    y.push(other);
                    y.extend(points.low.get(at).into_iter().chain(points.high.get(at)));
                    colour.extend(points.value.get(at));
                }
            }
            Layer::Line(line) => {
                pairs(figure, &line.x, &line.y, &mut x, &mut y);
                if let super::spec::Colour::Ramp(value) = line.colour {
                    colour.push(value);
                }
            }
            Layer::Band(band) => {
                pairs(figure, &band.x, &band.low, &mut x, &mut y);
                pairs(figure, &band.x, &band.high, &mut x, &mut y);
            }
            Layer::Contours(grid) => {
                x.extend(&grid.x);
                y.extend(&grid.y);
            }
            Layer::HeatMap(grid) => {
                x.extend(edges(&grid.x, figure.x.scale));
                y.extend(edges(&grid.y, figure.y.scale));
                colour.extend(&grid.z);
            }
            Layer::Bars(bar) => {
                bars = true;
                x.push(0.0);
                x.extend(bar.value.iter().chain(&bar.low).chain(&bar.high));
            }
        }
    }
    let mut places = (
        Place::new(&figure.x, x.iter().copied()),
        Place::new(&figure.y, y.iter().copied()),
        Place::new(
            figure.colour.as_ref().unwrap_or(&Axis::default()),
            colour.iter().copied(),
        ),
    );
    // A picture of cells or heights fills its frame: no margin.
    let tight = |numbers: &[f64], axis: &Axis, place: &mut Place| {
        let held = || numbers.iter().copied().filter(|v| axis.holds(*v));
        let (low, high) = (
            held().fold(f64::INFINITY, f64::min),
            held().fold(f64::NEG_INFINITY, f64::max),
        );
        if axis.range.is_none() && low < high {
            (place.low, place.high) = (low, high);
        }
    };
    if is_filled {
        tight(&x, &figure.x, &mut places.0);
        tight(&y, &figure.y, &mut places.1);
    }
    if let Some(axis) = &figure.colour {
        tight(&colour, axis, &mut places.2);
    }
    if bars {
        let rows = figure.y.categories.len().max(1) as f64;
        (places.1.low, places.1.high, places.1.scale) = (-0.5, rows - 0.5, Scale::Linear);
        // Bars start at the axis unless some are negative.
        if figure.x.range.is_none() && x.iter().all(|v| !v.is_finite() || *v >= 0.0) {
            places.0.low = 0.0;
        }
    }
    places
}

fn pairs(figure: &Figure, x: &[f64], y: &[f64], to_x: &mut Vec<f64>, to_y: &mut Vec<f64>) {
    for (x, y) in x.iter().zip(y) {
        if figure.x.holds(*x) && figure.y.holds(*y) {
            to_x.push(*x);
            to_y.push(*y);
        }
    }
}

/// Edges of the cells around these centres: one more than there are centres.
pub(crate) fn edges(centres: &[f64], scale: Scale) -> Vec<f64> {
    let (Some(first), Some(last)) = (centres.first(), centres.last()) else {
        return Vec::new();
    };
    let middle = |a: f64, b: f64| match scale {
        Scale::Linear => (a + b) / 2.0,
        Scale::Log => libm::sqrt(a) * libm::sqrt(b),
    };
    // The outer cells are as wide outwards as inwards.
    let mirror = |centre: f64, edge: f64| match scale {
        Scale::Linear => 2.0 * centre - edge,
        Scale::Log => centre / edge * centre,
    };
    let inner: Vec<f64> = centres
        .windows(2)
        .map(|pair| middle(pair[0], pair[1]))
        .collect();
    let (low, high) = match (inner.first(), inner.last()) {
        (Some(low), Some(high)) => (mirror(*first, *low), mirror(*last, *high)),
        _ if scale == Scale::Log => (first / 1.5, first * 1.5),
        _ => (first - 0.5, first + 0.5),
    };
    std::iter::once(low)
        .chain(inner)
        .chain(std::iter::once(high))
        .collect()
}
