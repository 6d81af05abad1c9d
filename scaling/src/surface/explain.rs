//! Why a surface says what it says, as cards.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::attribution::shapley_card;
use super::card::{Card, CardKind};
use super::effect::{Effect, accumulated, partial_dependence};
use super::encode::Encoded;
use super::error::SurfaceError;
use super::features::Features;
use super::fit::fingerprint;
use super::importance::{importance_card, permutation, sample};
use super::options::Scale;
use super::report::ReliabilityBin;
use super::surface::Surface;
use crate::figure::build::{Dependence, dependence};
use crate::figure::{Axis, Dash, Figure, Layer, Line, Points, Scale as AxisScale};
use crate::words::short;

/// Rows that an effect is averaged over at most.
pub(crate) const EFFECT_ROWS: usize = 200;

/// What to explain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExplainOptions {
    /// Features to draw effects of; empty means those whose loss costs most.
    pub features: Vec<String>,
    /// How many, where none are named.
    pub top: usize,
    /// Shuffles of each feature.
    pub repeats: usize,
    /// Units of the columns and of the target, by name.
    pub units: BTreeMap<String, String>,
}

impl Default for ExplainOptions {
    fn default() -> Self {
        Self {
            features: Vec::new(),
            top: 4,
            repeats: 5,
            units: BTreeMap::new(),
        }
    }
}

/// Cards for importance, Shapley values, partial dependence, local effects and, for events, reliability.
///
/// `features` is the table of the fit, in any order: what is held out is known from it.
///
/// # Errors
/// Another table than that of the fit, or a feature that does not exist.
pub fn explain(
    surface: &Surface,
    features: &Features,
    options: &ExplainOptions,
) -> Result<Vec<Card>, SurfaceError> {
    let names: Vec<&str> = surface
        .features()
        .iter()
        .map(|feature| feature.name.as_str())
        .collect();
    for name in &options.features {
        if !names.contains(&name.as_str()) {
            return Err(SurfaceError::UnknownColumn {
                name: name.clone(),
                known: names.join(", "),
            });
        }
    }
    if features.run_ids.len() != features.len()
        || features
            .columns
            .values()
            .any(|column| column.len() != features.len())
    {
        return Err(SurfaceError::OtherTable);
    }
    let table = features.canonical();
    if fingerprint(&table) != surface.fingerprint {
        return Err(SurfaceError::OtherTable);
    }
    let encoded = surface.encoder.encode(&table.columns)?;
    let importance = permutation(surface, &table, &encoded, options);
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|one, two| {
        importance.rise[*two]
            .total_cmp(&importance.rise[*one])
            .then(one.cmp(two))
    });
    let mut cards = vec![importance_card(surface, &importance, &order)];
    if let Some(card) = shapley_card(surface, &encoded, &order) {
        cards.push(card);
    }
    let drawn: Vec<usize> = if options.features.is_empty() {
        order.iter().copied().take(options.top).collect()
    } else {
        options
            .features
            .iter()
            .filter_map(|name| names.iter().position(|known| known == name))
            .collect()
    };
    let rows = sample(table.len(), EFFECT_ROWS, surface.seed);
    let raw: Vec<Vec<f64>> = encoded
        .raw
        .iter()
        .map(|column| rows.iter().map(|row| column[*row]).collect())
        .collect();
    let predict = |encoded: &Encoded, row: usize| {
        surface
            .scale
            .backward(surface.sum(&surface.model, encoded, row))
    };
    for feature in drawn {
        let effect = partial_dependence(&surface.encoder, &raw, feature, &predict);
        cards.push(effect_card(
            surface,
            feature,
            &effect,
            CardKind::PartialDependence,
            options,
        ));
        if surface.features()[feature]
            .span
            .is_some_and(|[low, high]| high > low)
        {
            let effect = accumulated(&surface.encoder, &raw, feature, &predict);
            cards.push(effect_card(
                surface,
                feature,
                &effect,
                CardKind::AccumulatedLocalEffect,
                options,
            ));
        }
    }
    if surface.scale == Scale::Probability {
        cards.push(reliability_card(surface));
    }
    Ok(cards)
}

fn effect_card(
    surface: &Surface,
    feature: usize,
    effect: &Effect,
    kind: CardKind,
    options: &ExplainOptions,
) -> Card {
    let spec = &surface.features()[feature];
    let unit = |name: &String| options.units.get(name).cloned().unwrap_or_default();
    let x = Axis {
        unit: unit(&spec.name),
        scale: match spec.span {
            Some(_) if spec.log => AxisScale::Log,
            _ => AxisScale::Linear,
        },
        categories: spec.levels.clone(),
        ..Axis::linear(&spec.name, "")
    };
    let points: Vec<[f64; 2]> = effect
        .grid
        .iter()
        .zip(&effect.mean)
        .map(|(x, y)| [*x, *y])
        .collect();
    let extreme = |sign: f64| {
        points
            .iter()
            .copied()
            .max_by(|one, two| (sign * one[1]).total_cmp(&(sign * two[1])))
            .unwrap_or([0.0; 2])
    };
    let (low, high) = (extreme(-1.0), extreme(1.0));
    let shown = |x: f64| {
        spec.levels
            .get(x as usize)
            .filter(|_| spec.span.is_none())
            .map_or_else(|| short(x), |name| format!("`{name}`"))
    };
    let local = kind == CardKind::AccumulatedLocalEffect;
    let sentence = format!(
        "As `{}` moves, the {} `{}` is least at {} ({}) and greatest at {} ({}).",
        spec.name,
        if local {
            "local effect on"
        } else {
            "mean prediction of"
        },
        surface.target,
        shown(low[0]),
        short(low[1]),
        shown(high[0]),
        short(high[1])
    );
    let method = if local {
        "Mean differences within quantile bins of the feature, added up and centred: rows move within their bin only, so that correlated features stay together. A mixture's other shares move in proportion (Cox's direction)."
    } else {
        "The feature is set to each value in all rows, the others stay: where features are correlated this asks for combinations that no run had. A mixture's other shares move in proportion (Cox's direction)."
    };
    let end = |at: usize| effect.spread.iter().map(|ends| ends[at]).collect();
    let drawn = Dependence {
        title: format!("`{}` over `{}`", surface.target, spec.name),
        x,
        y: Axis::linear(
            &if local {
                format!("effect on {}", surface.target)
            } else {
                surface.target.clone()
            },
            &unit(&surface.target),
        ),
        at: effect.grid.clone(),
        value: effect.mean.clone(),
        low: end(0),
        high: end(1),
        interval: "eight rows of ten".to_owned(),
        is_effect: local,
        ..Dependence::default()
    };
    card(
        surface,
        kind,
        Some(spec.name.clone()),
        sentence,
        if spec.span.is_some() {
            dependence(&drawn)
        } else {
            by_name(&drawn)
        },
        method,
    )
}

/// A mark for each name: no line leads from one name to another.
fn by_name(drawn: &Dependence) -> Figure {
    Figure {
        layers: vec![Layer::Points(Points {
            x: drawn.at.clone(),
            y: drawn.value.clone(),
            low: drawn.low.clone(),
            high: drawn.high.clone(),
            ..Points::default()
        })],
        ..dependence(drawn)
    }
}

fn reliability_card(surface: &Surface) -> Card {
    let score = &surface.backtest;
    let bins = |of: fn(&ReliabilityBin) -> f64| score.reliability.iter().map(of).collect();
    let sentence = format!(
        "On runs that it had not seen, predicted probability and rate of `{}` differ by {:.3} on average.",
        surface.target,
        score.calibration_error.unwrap_or(f64::NAN)
    );
    card(
        surface,
        CardKind::Reliability,
        None,
        sentence,
        Figure {
            title: format!("Do probabilities of `{}` hold?", surface.target),
            x: Axis::linear("predicted probability", ""),
            y: Axis::linear("share of events", ""),
            layers: vec![
                Layer::Line(Line {
                    label: "perfect".to_owned(),
                    x: vec![0.0, 1.0],
                    y: vec![0.0, 1.0],
                    dash: Dash::Dashed,
                    ..Line::default()
                }),
                Layer::Points(Points {
                    label: "ten bins of equal weight".to_owned(),
                    x: bins(|bin| bin.predicted),
                    y: bins(|bin| bin.observed),
                    ..Points::default()
                }),
            ],
            ..Figure::default()
        },
        "Held-out predictions in ten bins of equal weight. The two numbers of the recalibration were learnt from the same rows.",
    )
}

/// A card of this surface.
pub(crate) fn card(
    surface: &Surface,
    kind: CardKind,
    feature: Option<String>,
    sentence: String,
    figure: Figure,
    method: &str,
) -> Card {
    Card {
        version: 1,
        kind,
        target: surface.target.clone(),
        feature,
        figure: Figure {
            caption: format!("{sentence} {}", figure.caption)
                .trim_end()
                .to_owned(),
            ..figure
        },
        sentence,
        method: method.to_owned(),
    }
}
