//! What held-out error costs when a feature is shuffled (Breiman 2001; Fisher, Rudin and Dominici 2019).

use super::boosting::mean_loss;
use super::card::{BARS_MAX, Card, CardKind};
use super::effect::set;
use super::encode::Encoded;
use super::explain::{ExplainOptions, card};
use super::features::Features;
use super::fit::folds_of;
use super::options::Scale;
use super::split::runs;
use super::surface::Surface;
use crate::figure::Axis;
use crate::figure::build::{Importance as Bar, importances};
use crate::random::{generator, shuffle};

/// Rows that importances are measured on at most.
const IMPORTANCE_ROWS: usize = 1_000;

/// Rows drawn without replacement, in order.
pub(crate) fn sample(count: usize, most: usize, seed: u64) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..count).collect();
    shuffle(&mut rows, &mut generator(seed, 16));
    rows.truncate(most);
    rows.sort_unstable();
    rows
}

/// What shuffling costs.
pub(crate) struct Importance {
    /// Held-out error as it is.
    error: f64,
    /// Mean rise of it, for each feature, and its standard error over shuffles.
    pub(crate) rise: Vec<f64>,
    noise: Vec<f64>,
}

/// Shuffles each feature among held-out rows.
pub(crate) fn permutation(
    surface: &Surface,
    table: &Features,
    encoded: &Encoded,
    options: &ExplainOptions,
) -> Importance {
    let (run_of, count) = runs(&table.run_ids);
    let (of_row, folds) = folds_of(&run_of, count, surface.folds, surface.seed);
    let mut rows: Vec<usize> = (0..table.len())
        .filter(|row| of_row[*row] < folds)
        .collect();
    let kept = sample(rows.len(), IMPORTANCE_ROWS, surface.seed);
    rows = kept.into_iter().map(|place| rows[place]).collect();
    let target: Vec<f64> = rows
        .iter()
        .map(|row| surface.scale.forward(table.target[*row]))
        .collect();
    let weights: Vec<f64> = rows.iter().map(|row| table.weight(*row)).collect();
    let probability = surface.scale == Scale::Probability;
    let raw: Vec<Vec<f64>> = encoded
        .raw
        .iter()
        .map(|column| rows.iter().map(|row| column[*row]).collect())
        .collect();
    let error = |raw: Vec<Vec<f64>>| {
        let encoded = surface.encoder.encode_raw(raw);
        let model = |place: usize| {
            surface
                .calibration
                .models
                .get(of_row[rows[place]])
                .unwrap_or(&surface.model)
        };
        let at: Vec<f64> = (0..rows.len())
            .map(|place| surface.sum(model(place), &encoded, place))
            .collect();
        let loss = mean_loss(&at, &target, &weights, probability);
        if probability { loss } else { loss.sqrt() }
    };
    let before = error(raw.clone());
    let mut importance = Importance {
        error: before,
        rise: Vec::new(),
        noise: Vec::new(),
    };
    for feature in 0..raw.len() {
        let rises: Vec<f64> = (0..options.repeats.max(1))
            .map(|repeat| {
                let stream = (3 << 32) + (feature * 1_000 + repeat) as u64;
                let mut order: Vec<usize> = (0..rows.len()).collect();
                shuffle(&mut order, &mut generator(surface.seed, stream));
                let mut moved = raw.clone();
                for (row, other) in order.iter().enumerate() {
                    set(
                        &surface.encoder,
                        &mut moved,
                        row,
                        feature,
                        raw[feature][*other],
                    );
                }
                error(moved) - before
            })
            .collect();
        let count = rises.len() as f64;
        let mean = rises.iter().sum::<f64>() / count;
        let square: f64 = rises.iter().map(|rise| (rise - mean) * (rise - mean)).sum();
        importance.rise.push(mean);
        importance
            .noise
            .push((square / (count - 1.0).max(1.0) / count).sqrt());
    }
    importance
}

/// The card of it.
pub(crate) fn importance_card(surface: &Surface, importance: &Importance, order: &[usize]) -> Card {
    let name = |feature: &usize| surface.features()[*feature].name.clone();
    let measure = if surface.scale == Scale::Probability {
        "log loss"
    } else {
        "root mean squared error"
    };
    let first = order[0];
    let share = 100.0 * importance.rise[first] / importance.error.max(1e-300);
    let idle: Vec<String> = order
        .iter()
        .filter(|feature| importance.rise[**feature] <= 2.0 * importance.noise[**feature])
        .map(name)
        .collect();
    let mut sentence = format!(
        "Shuffling `{}` raises the held-out {measure} of `{}` by {share:.0} %, more than any other feature.",
        name(&first),
        surface.target
    );
    if !idle.is_empty() && idle.len() < order.len() {
        sentence.push_str(&format!(
            " No effect of {} can be told from noise.",
            idle.join(", ")
        ));
    }
    let inputs: Vec<Bar> = order
        .iter()
        .map(|feature| {
            let (value, reach) = (
                importance.rise[*feature],
                1.645 * importance.noise[*feature],
            );
            Bar {
                name: name(feature),
                value,
                low: value - reach,
                high: value + reach,
            }
        })
        .collect();
    card(
        surface,
        CardKind::PermutationImportance,
        None,
        sentence,
        importances(
            &format!(
                "What `{}` hangs on: held-out error without each feature",
                surface.target
            ),
            &inputs,
            Axis::linear(
                &format!("rise of the {measure} ({} scale)", surface.scale.name()),
                "",
            ),
            BARS_MAX,
        ),
        "Each feature is shuffled among held-out rows, which are predicted by the model that had not seen them; a mixture's other shares are rescaled to add up to 1. Features that say the same thing share their importance, so that either alone seems to matter less.",
    )
}
