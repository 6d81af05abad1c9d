//! How many floating point operations training takes, by convention.
//!
//! A product of matrices counts two operations for each multiply-and-add; the backward pass costs twice the forward pass;
//! attention looks at the whole context, masked or not, as the cited counts have it; nothing is counted for activations that
//! are computed again. What the conventions differ in is named at each of them.

use super::shape::{Parameters, Shape};
use serde::{Deserialize, Serialize};

/// Forward and backward pass over the forward pass.
const PASSES: f64 = 3.0;

/// How `derived.flops` is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlopsConvention {
    /// 6 N D with N the active parameters, embeddings included (Hoffmann et al. 2022, arXiv 2203.15556, section 3.3).
    #[default]
    #[serde(rename = "6ND")]
    SixNd,
    /// 6 N D with N the active parameters outside embeddings (Kaplan et al. 2020, arXiv 2001.08361, section 2.1).
    #[serde(rename = "6ND_non_embedding")]
    SixNdNonEmbedding,
    /// Matrix products of the shape: projections, attention over the context, feed-forward blocks that a token meets, router,
    /// output head; no look-ups, no softmax (Chowdhery et al. 2022, arXiv 2204.02311, appendix B).
    #[serde(rename = "exact")]
    Exact,
    /// The same with embedding look-ups as products and the softmax of attention (Hoffmann et al. 2022, appendix F).
    #[serde(rename = "hoffmann_2022")]
    Hoffmann2022,
}

impl FlopsConvention {
    /// Its name in settings and rows.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FlopsConvention::SixNd => "6ND",
            FlopsConvention::SixNdNonEmbedding => "6ND_non_embedding",
            FlopsConvention::Exact => "exact",
            FlopsConvention::Hoffmann2022 => "hoffmann_2022",
        }
    }
}

/// Operations of a forward pass, for one token, over all layers (Hoffmann et al. 2022, appendix F, divided by the context).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Forward {
    /// Queries, keys, values, output.
    pub(super) projections: f64,
    /// Queries with keys, weights with values: what grows with the context.
    pub(super) attention: f64,
    /// Softmax of attention, three operations a weight; none where heads are not told.
    pub(super) softmax: Option<f64>,
    /// Feed-forward blocks that the token meets, and the router.
    pub(super) feed_forward: Option<f64>,
    /// One product with the table of the vocabulary: the output head, and a look-up where it is counted as a product.
    pub(super) vocabulary: Option<f64>,
}

/// Operations of a forward pass, for one token in a context of so many.
pub(super) fn forward(shape: &Shape, context_tokens: f64) -> Forward {
    let layers = shape.layers;
    Forward {
        projections: layers * 2.0 * shape.attention(),
        attention: layers * 4.0 * context_tokens * shape.query_width,
        softmax: shape
            .heads
            .map(|heads| layers * 3.0 * heads * context_tokens),
        feed_forward: shape
            .experts_active
            .map(|experts| layers * 2.0 * (experts * shape.feed_forward() + shape.router())),
        vocabulary: shape.vocabulary.map(|rows| 2.0 * rows * shape.width),
    }
}

impl Forward {
    /// Operations of training, for one token, as [`FlopsConvention::Exact`] counts them.
    pub(super) fn exact(&self) -> Option<f64> {
        Some(PASSES * (self.projections + self.attention + self.feed_forward? + self.vocabulary?))
    }

    /// The same as [`FlopsConvention::Hoffmann2022`] counts them.
    pub(super) fn hoffmann_2022(&self) -> Option<f64> {
        Some(self.exact()? + PASSES * (self.softmax? + self.vocabulary?))
    }
}

/// Operations of training, for one token: 6 N.
pub(super) fn six_n(parameters: &Parameters) -> Option<f64> {
    parameters.active.map(|active| 6.0 * active)
}

/// 6 N without embeddings: active parameters less those in embeddings.
pub(super) fn six_n_non_embedding(parameters: &Parameters) -> Option<f64> {
    let active = match (parameters.active, parameters.embedding) {
        (Some(active), Some(embedding)) if active >= embedding => Some(active - embedding),
        // Without embeddings told or counted there is one number left, and it is that of a dense model.
        _ if parameters.active == parameters.total => parameters.non_embedding,
        _ => None,
    };
    active.map(|active| 6.0 * active)
}
