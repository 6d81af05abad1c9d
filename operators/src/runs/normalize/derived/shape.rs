//! What a model's shape says of its parameters.
//!
//! Counted are decoders of the two families whose parts are public knowledge: with a gated feed-forward block as in Llama
//! (three matrices, RMSNorm, no biases), and with an ungated one as in GPT-2 (two matrices, LayerNorm and linear maps with
//! biases). Attention has as many key and value heads as told (grouped queries, Ainslie et al. 2023, arXiv 2305.13245); a
//! mixture has its experts in every layer and one router (Jiang et al. 2024, arXiv 2401.04088). What is told of parameters
//! stands above what is counted.

use cairn_avro::record::ModelConfig;

/// What names of families say where a run does not: beginning of the name, gated or not, tied or not where it is always so.
const FAMILIES: [(&str, bool, Option<bool>); 15] = [
    ("bloom", false, Some(true)),
    ("deepseek", true, Some(false)),
    ("gemma", true, Some(true)),
    ("gpt2", false, Some(true)),
    ("gpt3", false, Some(true)),
    ("gptneox", false, Some(false)),
    ("llama", true, None),
    ("mistral", true, Some(false)),
    ("mixtral", true, Some(false)),
    ("olmo", true, None),
    ("opt", false, Some(true)),
    ("palm", true, Some(true)),
    ("phi3", true, Some(false)),
    ("pythia", false, Some(false)),
    ("qwen", true, None),
];

/// The sizes that counts are made of; all are greater than zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    /// Layers.
    pub(super) layers: f64,
    /// Residual stream.
    pub(super) width: f64,
    /// Query heads of a layer, where told.
    pub(super) heads: Option<f64>,
    /// Width of all query heads together.
    pub(super) query_width: f64,
    /// Width of all key heads together, and of all value heads.
    pub(super) key_value_width: f64,
    /// Hidden width of one feed-forward block.
    pub(super) feed_forward_width: f64,
    /// Whether a feed-forward block has three matrices instead of two.
    pub(super) gated: bool,
    /// Experts of a layer; 1 where there is no mixture.
    pub(super) experts: f64,
    /// Experts that a token goes through, where known.
    pub(super) experts_active: Option<f64>,
    /// Rows of the embedding table, where known.
    pub(super) vocabulary: Option<f64>,
    /// Whether table and output head are one, where known.
    pub(super) tied: Option<bool>,
    /// Rows of a table of positions; 0 where positions are not learned, none where it is not told how long it is.
    positions: Option<f64>,
}

/// Parameters of a model, as told or as counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parameters {
    /// All.
    pub(super) total: Option<f64>,
    /// Those that a token meets.
    pub(super) active: Option<f64>,
    /// Outside embedding tables and output head.
    pub(super) non_embedding: Option<f64>,
    /// In embedding tables and output head.
    pub(super) embedding: Option<f64>,
    /// Names of those that were counted.
    pub(super) counted: Vec<String>,
}

/// The shape of a model; none where something is missing that a count would have to guess.
pub(super) fn shape(model: &ModelConfig) -> Option<Shape> {
    let family = family(model);
    let gated = model.gated_mlp.or(family.map(|(_, gated, _)| gated))?;
    let (layers, width) = (size(model.depth_layers)?, size(model.width)?);
    let heads = size(model.heads);
    let query_width = heads
        .zip(size(model.head_dimension))
        .map_or(width, |(heads, dimension)| heads * dimension);
    let key_value_width = size(model.key_value_heads)
        .zip(heads)
        .map_or(query_width, |(groups, heads)| query_width / heads * groups);
    // Four widths is what an ungated block has that says nothing else (Vaswani et al. 2017); gated ones differ.
    let feed_forward_width =
        size(model.feed_forward_width).or_else(|| (!gated).then_some(4.0 * width))?;
    let experts = size(model.experts).unwrap_or(1.0);
    if experts == 1.0 && is_mixture(model) {
        return None;
    }
    let learned = model.positional_encoding.as_deref() == Some("learned");
    Some(Shape {
        layers,
        width,
        heads,
        query_width,
        key_value_width,
        feed_forward_width,
        gated,
        experts,
        experts_active: if experts > 1.0 {
            size(model.experts_active)
        } else {
            Some(1.0)
        },
        vocabulary: size(model.vocabulary_size),
        tied: model
            .tied_embeddings
            .or(family.and_then(|(_, _, tied)| tied)),
        positions: if learned {
            size(model.context_length_tokens)
        } else {
            Some(0.0)
        },
    })
}

impl Shape {
    /// Matrices of one feed-forward block, in elements.
    pub(super) fn feed_forward(&self) -> f64 {
        let matrices = if self.gated { 3.0 } else { 2.0 };
        matrices * self.width * self.feed_forward_width
    }

    /// Matrices of the attention of a layer, in elements: queries and output, keys and values.
    pub(super) fn attention(&self) -> f64 {
        2.0 * self.width * (self.query_width + self.key_value_width)
    }

    /// The router of a layer, in elements.
    pub(super) fn router(&self) -> f64 {
        if self.experts > 1.0 {
            self.width * self.experts
        } else {
            0.0
        }
    }

    /// Parameters outside embeddings, with so many experts in each layer.
    fn non_embedding(&self, experts: f64) -> f64 {
        let width = self.width;
        // biases of queries, keys, values, output; of the two maps of a block; LayerNorm has two vectors, RMSNorm has one
        let (attention_bias, block_bias, norm) = if self.gated {
            (0.0, 0.0, width)
        } else {
            (
                self.query_width + 2.0 * self.key_value_width + width,
                self.feed_forward_width + width,
                2.0 * width,
            )
        };
        let layer = self.attention()
            + attention_bias
            + experts * (self.feed_forward() + block_bias)
            + self.router()
            + 2.0 * norm;
        self.layers * layer + norm
    }

    fn embedding(&self) -> Option<f64> {
        let tables = if self.tied? { 1.0 } else { 2.0 };
        Some(self.width * (tables * self.vocabulary? + self.positions?))
    }
}

/// Parameters as told, else as counted from the shape.
pub(super) fn parameters(model: &ModelConfig, shape: Option<&Shape>) -> Parameters {
    let mut counted = Vec::new();
    let mut choose = |name: &str, told: Option<f64>, count: Option<f64>| {
        if told.is_none() && count.is_some() {
            counted.push(name.to_owned());
        }
        told.or(count)
    };
    let outside = shape.map(|shape| shape.non_embedding(shape.experts));
    let within = shape.and_then(Shape::embedding);
    let total = choose(
        "parameters_total",
        model.parameters_total,
        outside
            .zip(within)
            .map(|(outside, within)| outside + within),
    );
    let active = if is_mixture(model) {
        let outside = shape.and_then(|shape| Some(shape.non_embedding(shape.experts_active?)));
        choose(
            "parameters_active",
            model.parameters_active,
            outside
                .zip(within)
                .map(|(outside, within)| outside + within),
        )
    } else if model.parameters_total.is_some() {
        // a dense model meets all that it was told to have
        model.parameters_active.or(total)
    } else {
        choose("parameters_active", model.parameters_active, total)
    };
    let rest = |all: Option<f64>, part: Option<f64>| {
        all.zip(part)
            .map(|(all, part)| all - part)
            .filter(|rest| *rest >= 0.0)
    };
    Parameters {
        non_embedding: choose(
            "parameters_non_embedding",
            model.parameters_non_embedding,
            outside.or(rest(total, model.parameters_embedding)),
        ),
        embedding: choose(
            "parameters_embedding",
            model.parameters_embedding,
            within.or(rest(total, model.parameters_non_embedding)),
        ),
        total,
        active,
        counted,
    }
}

/// True where a token meets only some of the parameters.
fn is_mixture(model: &ModelConfig) -> bool {
    model.experts.is_some_and(|experts| experts > 1)
        || model
            .family
            .as_deref()
            .is_some_and(|family| family.eq_ignore_ascii_case("moe"))
}

fn family(model: &ModelConfig) -> Option<(&'static str, bool, Option<bool>)> {
    let name: String = model
        .family
        .as_deref()?
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    FAMILIES
        .into_iter()
        .find(|(known, ..)| name.starts_with(known))
}

fn size(said: Option<i64>) -> Option<f64> {
    said.filter(|size| *size > 0).map(|size| size as f64)
}
