//! Explanation cards: the data of a figure, how to draw it, and one sentence. Plain JSON, so that any front end draws it.

use serde::{Deserialize, Serialize};

use crate::figure::Figure;

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

/// Bars that one picture shows: more cannot be read.
pub(super) const BARS_MAX: usize = 25;
