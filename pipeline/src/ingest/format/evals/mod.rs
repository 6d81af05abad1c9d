//! The files that evaluation harnesses leave behind: scores, outcomes of attacks, tool calls.
//!
//! What is free text in them (prompts, responses, tool arguments) is read at most to tell how a call ended, and is never put
//! into an event: events carry ids, categories, counts and scores. The model's name becomes a tag of the run
//! (`model:<name>`), because the configuration of a run is not for its evaluators to set. A number that a parser derives
//! (a mean over outcomes, pass^k) is given out at the end of the source, from what it holds by then; a file that grew gives
//! it out again, and the later word counts.

mod harmbench;
mod helm;
mod jailbreakbench;
mod lm_eval;
mod openai_evals;
mod tau_bench;

#[cfg(test)]
pub(super) mod tests;

pub(super) use harmbench::HarmBench;
pub(super) use helm::Helm;
pub(super) use jailbreakbench::JailbreakBench;
pub(super) use lm_eval::LmEval;
pub(super) use openai_evals::{OpenAiEvals, is_its_line};
pub(super) use tau_bench::TauBench;

use super::text::Number;
use super::{Position, Reject, Setup};
use cairn_avro::record::{Payload, RunTags};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

/// Longest tag: what `admit` takes.
const TAG_BYTES_MAX: usize = 256;

/// A number, be it plain or one of Python's words for what is not finite.
fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) => number.as_f64().map(Number::of),
        Value::String(text) => Number::read(text.trim()),
        _ => None,
    }
}

/// A yes or no as harnesses write it: `true`, 1, 1.0.
fn verdict(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(verdict) => Some(*verdict),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
        _ => None,
    }
}

/// An id that may be written as text or as a number.
fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Whether more is better, by names that mean the same everywhere; none where the name does not say.
fn direction(metric: &str) -> Option<bool> {
    const LOWER: [&str; 10] = [
        "ppl",
        "perplexity",
        "word_perplexity",
        "byte_perplexity",
        "bits_per_byte",
        "wer",
        "cer",
        "ter",
        "loss",
        "brier_score",
    ];
    const HIGHER: [&str; 22] = [
        "acc",
        "acc_norm",
        "acc_bytes",
        "acc_all",
        "acc_mutual_info",
        "accuracy",
        "bleu",
        "chrf",
        "em",
        "exact",
        "exact_match",
        "quasi_exact_match",
        "prefix_exact_match",
        "quasi_prefix_exact_match",
        "f1",
        "f1_score",
        "mcc",
        "rouge1",
        "rouge2",
        "rougeL",
        "rouge_l",
        "pass@1",
    ];
    if LOWER.contains(&metric) {
        return Some(false);
    }
    HIGHER.contains(&metric).then_some(true)
}

/// Puts tags on the run; none where there are none that `admit` would take.
fn tags(setup: &Setup, tags: impl IntoIterator<Item = String>) -> Option<Payload> {
    let add: Vec<String> = tags
        .into_iter()
        .filter(|tag| {
            let name = tag.split_once(':').map_or(tag.as_str(), |(_, name)| name);
            !name.trim().is_empty()
                && tag.len() <= TAG_BYTES_MAX
                && !tag.chars().any(char::is_control)
        })
        .collect();
    (!add.is_empty()).then(|| {
        Payload::RunTags(RunTags {
            run_id: setup.run_id.clone(),
            add,
            ..RunTags::default()
        })
    })
}

/// The one member that a unit of [`super::whole::member_pieces`] is.
fn member<T: DeserializeOwned>(unit: &[u8]) -> Result<(String, T), String> {
    let object = [b"{", unit, b"}"].concat();
    let members: BTreeMap<String, T> =
        serde_json::from_slice(&object).map_err(|error| error.to_string())?;
    members
        .into_iter()
        .next()
        .ok_or_else(|| "it is empty".to_owned())
}

/// The document as a whole cannot be read.
fn unreadable(document: Vec<u8>, error: &serde_json::Error, what: &str, topic: &str) -> Reject {
    Reject {
        class: "json",
        text: format!("the document is no {what}: {error}; it may still be written, or was cut"),
        topic: topic.to_owned(),
        position: Position {
            line: error.line() as u64,
            byte: 0,
        },
        original: document,
    }
}

/// A running mean.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    n: i64,
    mean: f64,
    /// Sum of the squared distances from the mean.
    squares: f64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.n += 1;
        let distance = value - self.mean;
        self.mean += distance / self.n as f64;
        self.squares += distance * (value - self.mean);
    }

    /// Standard error of the mean, of two values or more.
    fn standard_error(self) -> Option<f64> {
        (self.n > 1).then(|| (self.squares / (self.n - 1) as f64 / self.n as f64).sqrt())
    }
}
