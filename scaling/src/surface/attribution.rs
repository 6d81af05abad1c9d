//! Shapley values of whole surfaces: of one point, and their mean size.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::card::{BARS_MAX, Card, CardKind};
use super::encode::Encoded;
use super::error::SurfaceError;
use super::explain::{EFFECT_ROWS, card};
use super::features::Columns;
use super::importance::sample;
use super::model::Model;
use super::options::Scale;
use super::shap::add_shapley;
use super::surface::Surface;
use crate::figure::Axis;
use crate::figure::build::{Importance, importances};

/// The Shapley values of one point: `base` and `values` add up to `sum`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shapley {
    /// What the model says when it knows nothing of the point.
    pub base: f64,
    /// Each feature's part.
    pub values: BTreeMap<String, f64>,
    /// What the model says of the point, on the scale named by `scale`.
    pub sum: f64,
    /// Scale of all these: the target's working scale, `log-odds`, or `probability` for a forest of events.
    pub scale: String,
}

/// Exact Shapley values of each row of `columns`, for a linear surface or one of trees.
///
/// # Errors
/// As `predict`; a Gaussian process has none here (`kind_cannot`).
pub fn shapley(surface: &Surface, columns: &Columns) -> Result<Vec<Shapley>, SurfaceError> {
    let encoded = surface.encoder.encode(columns)?;
    if matches!(surface.model, Model::GaussianProcess(_)) {
        let what = "be taken apart exactly: its Shapley values would need every subset of features";
        return Err(SurfaceError::KindCannot {
            kind: surface.kind.name(),
            what,
        });
    }
    let rows = encoded.raw.first().map_or(0, Vec::len);
    let named = |values: Vec<f64>| {
        surface
            .features()
            .iter()
            .map(|feature| feature.name.clone())
            .zip(values)
            .collect()
    };
    let point = |row: usize| {
        let (base, values) = shapley_row(surface, &encoded, row)?;
        let sum = base + values.iter().sum::<f64>();
        Some(Shapley {
            base,
            values: named(values),
            sum,
            scale: working_scale(surface),
        })
    };
    Ok((0..rows).filter_map(point).collect())
}

fn working_scale(surface: &Surface) -> String {
    match (&surface.model, surface.scale) {
        (Model::Forest { logit: true, .. }, _) => "probability".into(),
        (_, Scale::Probability) => "log-odds".into(),
        (_, scale) => scale.name().into(),
    }
}

fn shapley_row(surface: &Surface, encoded: &Encoded, row: usize) -> Option<(f64, Vec<f64>)> {
    let mut values = vec![0.0; surface.features().len()];
    let binned = &encoded.binned;
    let bin = |column: usize| binned.columns[column][row];
    let [offset, slope] = surface.calibration.recalibration;
    match &surface.model {
        Model::Linear(model) => {
            // Scaled columns have mean zero: the intercept is the mean prediction.
            for (column, (source, x)) in model
                .slopes
                .iter()
                .zip(surface.encoder.dense.iter().zip(&encoded.dense[row]))
            {
                values[source.source] += slope * column * x;
            }
            Some((offset + slope * model.intercept, values))
        }
        Model::Boosting(model) => {
            let trees = model.trees.iter();
            let sum: f64 = trees
                .map(|tree| add_shapley(tree, &binned.categorical, &bin, slope, &mut values))
                .sum();
            Some((offset + slope * model.base + sum, values))
        }
        Model::Forest { forest, .. } => {
            let factor = 1.0 / forest.trees.len() as f64;
            let trees = forest.trees.iter();
            let sum = trees
                .map(|tree| add_shapley(tree, &binned.categorical, &bin, factor, &mut values))
                .sum();
            Some((sum, values))
        }
        Model::GaussianProcess(_) => None,
    }
}

/// Mean absolute Shapley values as a card; none for a Gaussian process.
pub(crate) fn shapley_card(surface: &Surface, encoded: &Encoded, order: &[usize]) -> Option<Card> {
    let rows = sample(encoded.raw[0].len(), EFFECT_ROWS, surface.seed);
    let mut total = vec![0.0; order.len()];
    for row in &rows {
        let (_, values) = shapley_row(surface, encoded, *row)?;
        total
            .iter_mut()
            .zip(values)
            .for_each(|(total, value)| *total += value.abs());
    }
    let mut order = order.to_vec();
    order.sort_by(|one, two| total[*two].total_cmp(&total[*one]).then(one.cmp(two)));
    let name = |feature: &usize| surface.features()[*feature].name.clone();
    let mean: Vec<f64> = order
        .iter()
        .map(|feature| total[*feature] / rows.len() as f64)
        .collect();
    let scale = working_scale(surface);
    let sentence = format!(
        "On average `{}` moves the prediction of `{}` by {:.3} ({scale} scale), more than any other feature.",
        name(&order[0]),
        surface.target,
        mean[0]
    );
    let inputs: Vec<Importance> = order
        .iter()
        .zip(&mean)
        .map(|(feature, value)| Importance::certain(name(feature), *value))
        .collect();
    Some(card(
        surface,
        CardKind::ShapleyImportance,
        None,
        sentence,
        importances(
            &format!("What moves predictions of `{}`", surface.target),
            &inputs,
            Axis::linear(&format!("mean absolute Shapley value ({scale} scale)"), ""),
            BARS_MAX,
        ),
        "Exact Shapley values: of trees path-dependent, of a linear model those of independent columns. They describe the model, not the world.",
    ))
}

/// The Shapley values of one point as a card.
///
/// # Errors
/// As [`shapley`]; a row that `columns` has not is `bad_option`.
pub fn explain_point(
    surface: &Surface,
    columns: &Columns,
    row: usize,
) -> Result<Card, SurfaceError> {
    let all = shapley(surface, columns)?;
    let Some(point) = all.get(row) else {
        let allowed = "a row of the table";
        return Err(SurfaceError::BadOption {
            name: "row",
            value: row.to_string(),
            allowed,
        });
    };
    let mut order: Vec<(&String, f64)> = point
        .values
        .iter()
        .map(|(name, value)| (name, *value))
        .collect();
    order.sort_by(|one, two| two.1.abs().total_cmp(&one.1.abs()).then(one.0.cmp(two.0)));
    let sentence = format!(
        "`{}` moves the prediction most: by {:+.3} from {:.3} towards {:.3} ({} scale).",
        order[0].0, order[0].1, point.base, point.sum, point.scale
    );
    let inputs: Vec<Importance> = order
        .iter()
        .map(|(name, value)| Importance::certain((*name).clone(), *value))
        .collect();
    Ok(card(
        surface,
        CardKind::ShapleyPoint,
        None,
        sentence,
        importances(
            &format!("Why `{}` is predicted as it is", surface.target),
            &inputs,
            Axis::linear(&format!("Shapley value ({} scale)", point.scale), ""),
            BARS_MAX,
        ),
        "Exact Shapley values: of trees path-dependent, of a linear model those of independent columns. They describe the model, not the world.",
    ))
}
