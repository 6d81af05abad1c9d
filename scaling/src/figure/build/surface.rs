//! Explanation cards of a surface: what matters, and how the response moves with one input.

use crate::figure::{Annotation, Axis, Band, Bars, Colour, Figure, Layer, Line, Points, Shape};

/// How much one input matters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Importance {
    /// The input.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Low end of its interval; not finite for none.
    pub low: f64,
    /// High end of its interval; not finite for none.
    pub high: f64,
}

impl Importance {
    /// One without an interval.
    #[must_use]
    pub fn certain(name: String, value: f64) -> Self {
        Self {
            name,
            value,
            low: f64::NAN,
            high: f64::NAN,
        }
    }
}

/// Bars in the order of the inputs, the first on top; at most `most`, with a sentence about the rest.
#[must_use]
pub fn importances(title: &str, inputs: &[Importance], axis: Axis, most: usize) -> Figure {
    let shown = &inputs[..inputs.len().min(most)];
    let has_ends = shown
        .iter()
        .all(|input| input.low.is_finite() && input.high.is_finite());
    let column = |of: fn(&Importance) -> f64| shown.iter().map(of).collect::<Vec<f64>>();
    let caption = match inputs.len() - shown.len() {
        0 => String::new(),
        left => format!("{left} inputs that matter less are not shown."),
    };
    Figure {
        title: title.to_owned(),
        caption,
        x: axis,
        y: Axis {
            categories: shown.iter().map(|input| input.name.clone()).collect(),
            ..Axis::default()
        },
        layers: vec![Layer::Bars(Bars {
            value: column(|input| input.value),
            low: if has_ends {
                column(|input| input.low)
            } else {
                Vec::new()
            },
            high: if has_ends {
                column(|input| input.high)
            } else {
                Vec::new()
            },
            ..Bars::default()
        })],
        ..Figure::default()
    }
}

/// How the response moves with one input: partial dependence or accumulated local effects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dependence {
    /// Title.
    pub title: String,
    /// Sentence below.
    pub caption: String,
    /// The input.
    pub x: Axis,
    /// The response, or the effect on it.
    pub y: Axis,
    /// Places.
    pub at: Vec<f64>,
    /// Response or effect there.
    pub value: Vec<f64>,
    /// Low ends of the interval; empty for none.
    pub low: Vec<f64>,
    /// High ends of the interval; empty for none.
    pub high: Vec<f64>,
    /// Name of the interval.
    pub interval: String,
    /// Where the data is: marks along the axis.
    pub data: Vec<f64>,
    /// An effect is a difference: a line at zero.
    pub is_effect: bool,
}

/// A line over its band, marks where the data is.
#[must_use]
pub fn dependence(data: &Dependence) -> Figure {
    let mut layers = Vec::new();
    if !data.low.is_empty() {
        layers.push(Layer::Band(Band {
            label: data.interval.clone(),
            x: data.at.clone(),
            low: data.low.clone(),
            high: data.high.clone(),
            colour: Colour::Slot(0),
        }));
    }
    layers.push(Layer::Line(Line {
        x: data.at.clone(),
        y: data.value.clone(),
        colour: Colour::Slot(0),
        ..Line::default()
    }));
    let all = data
        .value
        .iter()
        .chain(&data.low)
        .chain(&data.high)
        .copied();
    let span = super::span(all, data.y.scale);
    if let (Some((low, high)), false) = (span, data.data.is_empty()) {
        let below = match data.y.scale {
            crate::figure::Scale::Linear => low - (high - low) * 0.06,
            crate::figure::Scale::Log => low / libm::pow(high / low, 0.06),
        };
        layers.push(Layer::Points(Points {
            label: "Data".to_owned(),
            y: vec![below; data.data.len()],
            x: data.data.clone(),
            shape: Shape::Tick,
            colour: Colour::Grey,
            ..Points::default()
        }));
    }
    let zero = Annotation {
        y: Some(0.0),
        ..Annotation::default()
    };
    Figure {
        title: data.title.clone(),
        caption: data.caption.clone(),
        x: data.x.clone(),
        y: data.y.clone(),
        layers,
        annotations: if data.is_effect {
            vec![zero]
        } else {
            Vec::new()
        },
        ..Figure::default()
    }
}
