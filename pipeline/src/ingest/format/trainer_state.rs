//! `trainer_state.json` of Hugging Face Transformers' `Trainer`.
//!
//! Published format: `TrainerState` in `src/transformers/trainer_callback.py` of github.com/huggingface/transformers. One
//! JSON document, rewritten at each checkpoint; `log_history` is a list that only grows, and its entries are what this
//! parser cuts the document into, so that a rewritten file adds only what is new.
//!
//! An entry with `loss` is a training step (nats a token, as the model defines it). Keys `eval_<metric>` and
//! `eval_<group>_<metric>` are evaluations: each metric becomes an `eval.results` event of harness `hf-trainer`, its task
//! the group (`eval` without one); `eval_loss` without a group is also the run's validation loss. Run time and rates give
//! the number of samples (`runtime × samples_per_second`) and are no scores. The summary at the end of training carries
//! means over the run; they are kept as metrics. `global_step` ≥ `max_steps` says that the run is finished. The run is the
//! folder that the file lies in, or the one above its checkpoints.

use super::super::source::stem;
use super::names::count;
use super::text::Number;
use super::whole::{pieces, quoted_numbers};
use super::{Confidence, Format, Framing, Out, Parser, Piece, Position, Refusal, Reject, Setup};
use cairn_avro::record::{EvalResult, Payload, RunLifecycle, RunState, TrainingTelemetry};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::path::{Component, Path};

/// The format.
pub(super) struct TrainerState;

impl Format for TrainerState {
    fn name(&self) -> &'static str {
        "trainer_state"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["hf", "huggingface", "hf-trainer", "trainer-state"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        let has = |key: &str| {
            head.windows(key.len())
                .any(|window| window == key.as_bytes())
        };
        let object = head.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        // on several lines: a JSON Lines file whose rows hold such a member is no trainer state
        match object {
            true if has("\"log_history\"") && (has("\"global_step\"") || has("\"epoch\"")) => {
                Confidence::Sure
            }
            true if has("\"global_step\"") && has("\"best_metric\"") => Confidence::Sure,
            true if has("\"best_metric\"") || has("\"log_history\"") => Confidence::Perhaps(
                "it has some members of trainer_state.json, but not log_history and global_step",
            ),
            _ => Confidence::No,
        }
    }

    /// Every run has a file of this name, and one in each of its checkpoints: `…/<run>/checkpoint-500/trainer_state.json`.
    fn run_of(&self, path: &str) -> Option<String> {
        let path = Path::new(path);
        if stem(path.file_name()?.to_str()?) != "trainer_state" {
            return None;
        }
        path.components().rev().skip(1).find_map(|part| match part {
            Component::Normal(name) => name
                .to_str()
                .filter(|name| !is_checkpoint(name))
                .map(str::to_owned),
            _ => None,
        })
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Ok(Box::new(Document {
            setup: setup.clone(),
            global_step: 0,
            max_steps: 0,
            tokens: None,
        }))
    }
}

/// `checkpoint-500`, and what people call the last one.
fn is_checkpoint(folder: &str) -> bool {
    folder == "last-checkpoint"
        || folder
            .strip_prefix("checkpoint-")
            .is_some_and(|step| step.bytes().all(|byte| byte.is_ascii_digit()))
}

struct Document {
    setup: Setup,
    global_step: i64,
    max_steps: i64,
    tokens: Option<i64>,
}

#[derive(serde::Deserialize)]
struct State<'a> {
    #[serde(borrow, default)]
    log_history: Vec<&'a RawValue>,
    #[serde(default)]
    global_step: i64,
    #[serde(default)]
    max_steps: i64,
    #[serde(default)]
    num_input_tokens_seen: i64,
}

impl Parser for Document {
    fn framing(&self) -> Framing {
        Framing::Whole
    }

    fn split(&mut self, document: Vec<u8>) -> Result<(Vec<u8>, Vec<Piece>), Reject> {
        let repaired = quoted_numbers(&document);
        let text = repaired.as_deref().unwrap_or(&document);
        let found = serde_json::from_slice::<State<'_>>(text).map(|state| {
            self.global_step = state.global_step;
            self.max_steps = state.max_steps;
            self.tokens = (state.num_input_tokens_seen > 0).then_some(state.num_input_tokens_seen);
            pieces(&document, text, &state.log_history)
        });
        match found {
            Ok(pieces) => Ok((repaired.unwrap_or(document), pieces)),
            Err(error) => Err(Reject {
                class: "json",
                text: format!(
                    "the document is no trainer_state.json: {error}; it may still be written, or was cut"
                ),
                topic: "telemetry.training".into(),
                position: Position {
                    line: error.line() as u64,
                    byte: 0,
                },
                original: document,
            }),
        }
    }

    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        let mut reject =
            |class, text| out.reject(class, text, "telemetry.training", position, unit);
        let entry: Map<String, Value> = match serde_json::from_slice(unit) {
            Ok(entry) => entry,
            Err(error) => {
                reject(
                    "json",
                    format!("an entry of log_history is no object: {error}"),
                );
                return Ok(());
            }
        };
        let step = entry.get("step").and_then(number);
        let Some(step) = step.and_then(|step| count(step.value?)) else {
            reject(
                "missing_field",
                "an entry of log_history has no step that is a whole number; it cannot be ordered"
                    .into(),
            );
            return Ok(());
        };
        let before = out.events.len();
        if entry.keys().any(|key| key.starts_with("eval_")) {
            self.evaluations(&entry, step, (unit, position), out);
        }
        self.training(&entry, step, (unit, position), out);
        if out.events.len() == before {
            out.ignored += 1;
        }
        Ok(())
    }

    fn end(&mut self, position: Position, out: &mut Out) -> Result<(), Refusal> {
        if self.max_steps > 0 && self.global_step >= self.max_steps {
            out.event(
                Payload::RunLifecycle(RunLifecycle {
                    run_id: self.setup.run_id.clone(),
                    attempt: self.setup.attempt,
                    state: RunState::Finished,
                    step: Some(self.global_step),
                    tokens: self.tokens,
                    reason: Some("global_step reached max_steps".into()),
                    ..RunLifecycle::default()
                }),
                position,
                &[],
            );
        }
        Ok(())
    }
}

/// A number of an entry, be it plain or one of the words of Python.
fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) => number.as_f64().map(Number::of),
        Value::String(text) => Number::read(text),
        _ => None,
    }
}

/// What the Trainer measures about an evaluation itself.
const SPEED: [&str; 4] = [
    "runtime",
    "samples_per_second",
    "steps_per_second",
    "jit_compilation_time",
];

impl Document {
    fn training(
        &self,
        entry: &Map<String, Value>,
        step: i64,
        (unit, position): (&[u8], Position),
        out: &mut Out,
    ) {
        let mut telemetry = TrainingTelemetry {
            run_id: self.setup.run_id.clone(),
            attempt: self.setup.attempt,
            step,
            batch_tokens: self.setup.batch_tokens,
            tokens: self
                .setup
                .batch_tokens
                .and_then(|batch| batch.checked_mul(step)),
            ..TrainingTelemetry::default()
        };
        let mut found = false;
        for (key, value) in entry {
            let Some(number) = number(value) else {
                continue;
            };
            match key.as_str() {
                "step" => continue,
                "epoch" => {
                    telemetry.epoch = number.value;
                    continue;
                }
                "loss" => (telemetry.loss, telemetry.loss_state) = (number.value, number.state),
                "eval_loss" => {
                    (telemetry.validation_loss, telemetry.validation_loss_state) =
                        (number.value, number.state);
                }
                "grad_norm" => {
                    (telemetry.grad_norm, telemetry.grad_norm_state) = (number.value, number.state)
                }
                "learning_rate" => telemetry.learning_rate = number.value,
                "num_input_tokens_seen" | "num_tokens" => {
                    telemetry.tokens = number.value.map(|tokens| tokens as i64)
                }
                "train_tokens_per_second" => telemetry.tokens_per_second = number.value,
                key if key.starts_with("eval_") => continue,
                key => match number.value {
                    Some(value) => drop(telemetry.metrics.insert(key.to_owned(), value)),
                    None => continue,
                },
            }
            found = true;
        }
        if found {
            out.event(Payload::TrainingTelemetry(telemetry), position, unit);
        }
    }

    fn evaluations(
        &self,
        entry: &Map<String, Value>,
        step: i64,
        (unit, position): (&[u8], Position),
        out: &mut Out,
    ) {
        // every evaluation carries `<prefix>_runtime`: that tells where the group ends and the metric begins
        let prefixes: Vec<&str> = entry
            .keys()
            .filter_map(|key| key.strip_suffix("_runtime"))
            .collect();
        for (key, value) in entry {
            let Some(number) = number(value).filter(|_| key.starts_with("eval_")) else {
                continue;
            };
            let owns = |prefix: &&str| {
                key.strip_prefix(prefix)
                    .is_some_and(|rest| rest.starts_with('_'))
            };
            let prefix = prefixes
                .iter()
                .copied()
                .filter(owns)
                .max_by_key(|prefix| prefix.len())
                .unwrap_or("eval");
            let metric = &key[prefix.len() + 1..];
            if SPEED.contains(&metric) || metric.is_empty() {
                continue;
            }
            let of = |metric| {
                entry
                    .get(&format!("{prefix}_{metric}"))
                    .and_then(Value::as_f64)
            };
            let lower_is_better = ["loss", "perplexity", "wer", "cer"]
                .iter()
                .any(|name| metric.ends_with(name));
            let higher_is_better = [
                "accuracy",
                "acc",
                "f1",
                "bleu",
                "rouge",
                "exact_match",
                "precision",
                "recall",
            ]
            .iter()
            .any(|name| metric.contains(name));
            out.event(
                Payload::EvalResult(EvalResult {
                    run_id: self.setup.run_id.clone(),
                    attempt: self.setup.attempt,
                    step: Some(step),
                    harness: "hf-trainer".into(),
                    task: prefix.strip_prefix("eval_").unwrap_or("eval").into(),
                    metric: metric.into(),
                    value: number.value,
                    value_state: number.state,
                    n: of("runtime")
                        .zip(of("samples_per_second"))
                        .and_then(|(time, rate)| samples(time * rate)),
                    higher_is_better: if lower_is_better {
                        Some(false)
                    } else {
                        higher_is_better.then_some(true)
                    },
                    ..EvalResult::default()
                }),
                position,
                unit,
            );
        }
    }
}

/// The number of samples that run time and rate were rounded from (to 1e-4 s and 1e-3 a second), where it is clear.
fn samples(product: f64) -> Option<i64> {
    let whole = product.round();
    ((1.0..1e9).contains(&whole) && (product - whole).abs() < 0.2).then_some(whole as i64)
}
