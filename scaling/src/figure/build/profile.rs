//! How the objective rises when a parameter is held away from its best value.

use super::{percent, spaced, written};
use crate::figure::{Annotation, Axis, Colour, Figure, Layer, Line, Points, Scale};
use crate::options::{FitOptions, Holdout};
use crate::{Fit, FitError, Law, Table, fit};

/// A profile of one parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Axis of the parameter.
    pub axis: Axis,
    /// Where it was held.
    pub values: Vec<f64>,
    /// Objective there, the other parameters fitted, less its minimum.
    pub rise: Vec<f64>,
    /// Best value.
    pub best: f64,
    /// Ends of the interval; what is not finite is open.
    pub low: f64,
    /// See `low`.
    pub high: f64,
    /// Level of the interval.
    pub level: f64,
    /// Whether the data determine the parameter, in words.
    pub verdict: String,
}

/// The profile with its interval.
#[must_use]
pub fn profile(data: &Profile) -> Figure {
    let rule = |value: f64| Annotation {
        text: written(value),
        x: Some(value),
        y: None,
    };
    let ends = [data.low, data.high]
        .into_iter()
        .filter(|end| end.is_finite());
    Figure {
        title: format!("Profile of {}", data.axis.label),
        caption: format!(
            "Objective with {} held and the rest fitted; best at {}, {} interval {} to {}. {}",
            data.axis.label,
            written(data.best),
            percent(data.level),
            written(data.low),
            written(data.high),
            data.verdict
        ),
        x: data.axis.clone(),
        y: Axis::linear("Objective above its minimum", ""),
        layers: vec![
            Layer::Line(Line {
                x: data.values.clone(),
                y: data.rise.clone(),
                colour: Colour::Slot(0),
                ..Line::default()
            }),
            Layer::Points(Points {
                x: vec![data.best],
                y: vec![0.0],
                colour: Colour::Slot(1),
                ..Points::default()
            }),
        ],
        annotations: ends.map(rule).collect(),
        ..Figure::default()
    }
}

/// A profile for each parameter of a fit, from `steps` fits with the parameter held; `options` are those of the fit.
///
/// # Errors
/// Those of [`fit`] where no point of a profile can be fitted.
pub fn fitted_profiles(
    found: &Fit,
    table: &Table,
    options: &FitOptions,
    steps: usize,
) -> Result<Vec<Figure>, FitError> {
    let law: &Law = &found.definition;
    let best = found
        .parameters
        .iter()
        .map(|(name, one)| (name.clone(), one.value));
    let quick = FitOptions {
        bootstrap: 0,
        holdout: Holdout::Runs(0),
        warm: Some(best.collect()),
        ..options.clone()
    };
    let mut figures = Vec::new();
    for parameter in &law.parameters {
        let Some(estimate) = found.parameters.get(&parameter.name) else {
            continue;
        };
        if options.fixed.contains_key(&parameter.name) {
            continue;
        }
        let is_log = parameter.scale == crate::law::Scale::Log && estimate.value > 0.0;
        let scale = if is_log { Scale::Log } else { Scale::Linear };
        let ends = reach(
            estimate.profile.low,
            estimate.profile.high,
            estimate.value,
            scale,
        );
        let low = ends.0.max(estimate.bounds.low);
        let high = ends.1.min(estimate.bounds.high);
        let mut values = spaced(low, high, steps.max(5), scale);
        values.push(estimate.value);
        values.sort_by(f64::total_cmp);
        let mut rise = Vec::new();
        let mut failure = None;
        for value in &values {
            let mut held = quick.clone();
            held.fixed.insert(parameter.name.clone(), *value);
            rise.push(match fit(law, table, &held) {
                Ok(at) => at.objective.value - found.objective.value,
                Err(error) => {
                    failure = Some(error);
                    f64::NAN
                }
            });
        }
        if let (Some(error), true) = (failure, rise.iter().all(|rise| rise.is_nan())) {
            return Err(error);
        }
        let axis = if is_log {
            Axis::log(&parameter.name, &parameter.unit)
        } else {
            Axis::linear(&parameter.name, &parameter.unit)
        };
        figures.push(profile(&Profile {
            axis,
            values,
            rise,
            best: estimate.value,
            low: estimate.profile.low,
            high: estimate.profile.high,
            level: estimate.level,
            verdict: match estimate.identified {
                crate::Identified::Yes => "The data determine it.".to_owned(),
                crate::Identified::Weakly => "The data determine it weakly.".to_owned(),
                crate::Identified::No => "The data do not determine it.".to_owned(),
            },
        }));
    }
    Ok(figures)
}

/// The interval and half of it more on both sides; a tenth around the best value where there is none.
fn reach(low: f64, high: f64, best: f64, scale: Scale) -> (f64, f64) {
    let usable = low.is_finite() && high.is_finite() && low < high;
    match scale {
        Scale::Log if usable && low > 0.0 => {
            let more = libm::sqrt(high / low).min(1e3);
            (low / more, high * more)
        }
        Scale::Log => (best / 1.5, best * 1.5),
        Scale::Linear if usable => (low - (high - low) / 2.0, high + (high - low) / 2.0),
        Scale::Linear => (
            best - 0.1 * best.abs().max(0.1),
            best + 0.1 * best.abs().max(0.1),
        ),
    }
}
