//! Names of metrics: one table of what people call loss, learning rate and the like, for every format whose names are free.
//!
//! Trackers keep whatever name the training code gave (`train/loss`, `Loss/train`, `train_loss`). A name is put into plain
//! form, the word that only says "of training" is taken off, and what is left is looked up here. What is not in the table, or
//! does not fit its field (a negative learning rate), stays a metric under its plain name: nothing is lost, nothing guessed.

use super::text::{Number, metric_name};
use cairn_avro::record::{NumberState, TrainingTelemetry};
use std::collections::BTreeMap;

/// A field of [`TrainingTelemetry`] that names lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Loss,
    ValidationLoss,
    Perplexity,
    Accuracy,
    LearningRate,
    GradNorm,
    Tokens,
    BatchTokens,
    TokensPerSecond,
    StepTimeMs,
    StepTimeSeconds,
    LossScale,
    Epoch,
}

/// What a loss is called; of validation where a word of [`VALIDATION`] stands beside it.
const LOSSES: [&str; 9] = [
    "loss",
    "lm_loss",
    "cross_entropy",
    "cross_entropy_loss",
    "crossentropyloss",
    "crossentropy_loss",
    "ce_loss",
    "nll_loss",
    "nll",
];

/// Words for training that stand before or behind a name and add nothing.
const TRAINING: [&str; 8] = [
    "epoch",
    "train",
    "training",
    "trainer",
    "optim",
    "throughput",
    "step",
    "batch",
];

/// Words that make a loss one of validation.
const VALIDATION: [&str; 7] = [
    "val",
    "valid",
    "validation",
    "validate",
    "eval",
    "evaluation",
    "dev",
];

/// Every other name, in plain form and without the words of [`TRAINING`].
const NAMES: [(Field, &[&str]); 11] = [
    // torchtitan's name of the mean over all ranks
    (Field::Loss, &["loss_metrics_global_avg_loss"]),
    (Field::Perplexity, &["perplexity", "ppl"]),
    (
        Field::Accuracy,
        &["accuracy", "acc", "token_accuracy", "mean_token_accuracy"],
    ),
    (
        Field::LearningRate,
        &[
            "lr",
            "learning_rate",
            "learningrate",
            "lr_0",
            "lr_group0",
            "lr_group_0",
            "learning_rate_0",
            "learning_rate_group0",
            "learning_rate_group_0",
            // Lightning's LearningRateMonitor: `lr-` and the optimizer's class
            "lr_adam",
            "lr_adamw",
            "lr_sgd",
            "lr_adam_pg1",
            "lr_adamw_pg1",
            "lr_sgd_pg1",
            "lr_scheduler_lr",
        ],
    ),
    (
        Field::GradNorm,
        &[
            "grad_norm",
            "gradnorm",
            "gradient_norm",
            "global_grad_norm",
            "global_gradient_norm",
            "grad_global_norm",
            "total_grad_norm",
            "grad_norm_total",
        ],
    ),
    (
        Field::Tokens,
        &[
            "total_tokens",
            "tokens_seen",
            "total_tokens_seen",
            "num_tokens",
            "num_input_tokens_seen",
            "consumed_tokens",
            "tokens_consumed",
        ],
    ),
    (
        Field::BatchTokens,
        &["batch_tokens", "tokens_per_step", "tokens_per_batch"],
    ),
    (
        Field::TokensPerSecond,
        &[
            "tokens_per_second",
            "tokens_per_sec",
            "tokens_sec",
            "tokens_s",
            "tok_per_sec",
            "tok_sec",
            "tok_s",
        ],
    ),
    (
        Field::StepTimeMs,
        &["step_time_ms", "time_ms", "elapsed_time_per_iteration_ms"],
    ),
    // Megatron-LM's name on TensorBoard; it is in seconds there
    (
        Field::StepTimeSeconds,
        &["iteration_time", "step_time_s", "step_time_seconds"],
    ),
    (Field::LossScale, &["loss_scale", "loss_scaler"]),
];

/// The step that a tracker's row is of, where its own count is one of calls: what Transformers, Lightning and others log.
pub(super) const STEPS: [&str; 4] = [
    "train_global_step",
    "trainer_global_step",
    "global_step",
    "trainer_step",
];

fn lookup(plain: &str) -> Option<Field> {
    if LOSSES.contains(&plain) {
        return Some(Field::Loss);
    }
    if plain == "epoch" || plain == "epochs" {
        return Some(Field::Epoch);
    }
    NAMES
        .iter()
        .find(|(_, names)| names.contains(&plain))
        .map(|(field, _)| *field)
}

/// The names that are left without one word before or behind.
fn without<'a>(plain: &'a str, words: &'static [&'static str]) -> impl Iterator<Item = &'a str> {
    words.iter().flat_map(move |word| {
        let before = plain
            .strip_prefix(word)
            .and_then(|rest| rest.strip_prefix('_'));
        let behind = plain
            .strip_suffix(word)
            .and_then(|rest| rest.strip_suffix('_'));
        [before, behind].into_iter().flatten()
    })
}

/// The field that a name in plain form stands for.
pub(super) fn field(plain: &str) -> Option<Field> {
    let is_loss = |name: &str| {
        LOSSES.contains(&name) || without(name, &TRAINING).any(|rest| LOSSES.contains(&rest))
    };
    lookup(plain).or_else(|| {
        let mut validated = without(plain, &VALIDATION).peekable();
        if validated.peek().is_some() {
            return validated.any(is_loss).then_some(Field::ValidationLoss);
        }
        without(plain, &TRAINING).find_map(lookup)
    })
}

/// The field that a name as people wrote it stands for. Megatron's relatives put a name into a group of its own
/// (`lm-loss-training/lm loss`): what the group repeats says nothing.
pub(super) fn told(name: &str) -> Option<Field> {
    field(&metric_name(name)).or_else(|| {
        let (group, last) = name.rsplit_once('/')?;
        let last = metric_name(last);
        let repeated = !last.is_empty() && metric_name(group).starts_with(&last);
        repeated.then(|| field(&last)).flatten()
    })
}

/// A whole number that a double holds exactly; none where it is none or negative.
pub(super) fn count(value: f64) -> Option<i64> {
    // beyond 2^53 a double no longer tells whole numbers apart
    (value.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&value))
        .then_some(value as i64)
}

/// Keeps a number under its name: plain, or as it was written where two names become the same. Numbers that are not finite
/// have no place among metrics.
pub(super) fn keep(metrics: &mut BTreeMap<String, f64>, name: &str, value: f64) -> bool {
    if !value.is_finite() {
        return false;
    }
    let plain = metric_name(name);
    let key = if plain.is_empty() || metrics.contains_key(&plain) {
        name.trim().to_owned()
    } else {
        plain
    };
    metrics.insert(key, value);
    true
}

/// Puts a measurement where its name leads. Returns false where it says nothing: a number that is not finite and is no
/// evidence.
pub(super) fn put(telemetry: &mut TrainingTelemetry, name: &str, number: Number) -> bool {
    let vacant = |value: Option<f64>, state| value.is_none() && state == NumberState::Finite;
    let field = told(name);
    match field {
        Some(Field::Loss) if vacant(telemetry.loss, telemetry.loss_state) => {
            (telemetry.loss, telemetry.loss_state) = (number.value, number.state);
            return true;
        }
        Some(Field::ValidationLoss)
            if vacant(telemetry.validation_loss, telemetry.validation_loss_state) =>
        {
            (telemetry.validation_loss, telemetry.validation_loss_state) =
                (number.value, number.state);
            return true;
        }
        Some(Field::GradNorm)
            if vacant(telemetry.grad_norm, telemetry.grad_norm_state)
                && number.value.is_none_or(|norm| norm >= 0.0) =>
        {
            (telemetry.grad_norm, telemetry.grad_norm_state) = (number.value, number.state);
            return true;
        }
        _ => {}
    }
    let Some(value) = number.value else {
        return false;
    };
    let (place, value) = match field {
        Some(Field::Perplexity) => (&mut telemetry.perplexity, value),
        Some(Field::Accuracy) if value <= 1.0 => (&mut telemetry.accuracy, value),
        Some(Field::LearningRate) => (&mut telemetry.learning_rate, value),
        Some(Field::TokensPerSecond) => (&mut telemetry.tokens_per_second, value),
        Some(Field::StepTimeMs) => (&mut telemetry.step_time_ms, value),
        Some(Field::StepTimeSeconds) => (&mut telemetry.step_time_ms, value * 1e3),
        Some(Field::LossScale) => (&mut telemetry.loss_scale, value),
        Some(Field::Epoch) => (&mut telemetry.epoch, value),
        Some(field @ (Field::Tokens | Field::BatchTokens)) => {
            let place = if field == Field::Tokens {
                &mut telemetry.tokens
            } else {
                &mut telemetry.batch_tokens
            };
            if let (None, Some(count)) = (*place, count(value)) {
                *place = Some(count);
                return true;
            }
            return keep(&mut telemetry.metrics, name, value);
        }
        _ => return keep(&mut telemetry.metrics, name, value),
    };
    // what the contract would refuse costs its field, not its row
    if place.is_none() && value >= 0.0 && value.is_finite() {
        *place = Some(value);
        return true;
    }
    keep(&mut telemetry.metrics, name, number.value.unwrap_or(value))
}

/// A row as rows that each have no more metrics than `admit` lets in: the first keeps the fields, those behind it are of the
/// same step and have only metrics. Some trainers log a norm for each layer.
pub(super) fn rows(
    mut telemetry: TrainingTelemetry,
    metrics_max: usize,
) -> impl Iterator<Item = TrainingTelemetry> {
    let metrics_max = metrics_max.max(1);
    let mut more = Vec::new();
    while telemetry.metrics.len() > metrics_max {
        let Some(key) = telemetry.metrics.keys().nth(metrics_max).cloned() else {
            break;
        };
        let rest = telemetry.metrics.split_off(&key);
        let behind = TrainingTelemetry {
            run_id: telemetry.run_id.clone(),
            attempt: telemetry.attempt,
            step: telemetry.step,
            tokens: telemetry.tokens,
            event_time_ms: telemetry.event_time_ms,
            metrics: rest,
            ..TrainingTelemetry::default()
        };
        more.push(std::mem::replace(&mut telemetry, behind));
    }
    more.push(telemetry);
    more.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_many_metrics_is_several() {
        let telemetry = TrainingTelemetry {
            step: 7,
            loss: Some(2.5),
            metrics: (0..5).map(|at| (format!("m{at}"), f64::from(at))).collect(),
            ..TrainingTelemetry::default()
        };
        let parts: Vec<_> = rows(telemetry.clone(), 2).collect();
        assert_eq!(
            parts
                .iter()
                .map(|part| (part.step, part.loss, part.metrics.len()))
                .collect::<Vec<_>>(),
            [(7, Some(2.5), 2), (7, None, 2), (7, None, 1)]
        );
        assert_eq!(rows(telemetry.clone(), 5).collect::<Vec<_>>(), [telemetry]);
    }

    #[test]
    fn people_call_the_same_thing_many_names() {
        for (name, want) in [
            ("loss", Some(Field::Loss)),
            ("train/loss", Some(Field::Loss)),
            ("Loss/train", Some(Field::Loss)),
            ("Train Loss", Some(Field::Loss)),
            ("train/CrossEntropyLoss", Some(Field::Loss)),
            ("lm loss", Some(Field::Loss)),
            ("loss_metrics/global_avg_loss", Some(Field::Loss)),
            ("eval/loss", Some(Field::ValidationLoss)),
            ("lm loss validation", Some(Field::ValidationLoss)),
            ("val_loss", Some(Field::ValidationLoss)),
            ("val_loss_epoch", Some(Field::ValidationLoss)),
            ("validation/epoch_loss", Some(Field::ValidationLoss)),
            ("lm-loss-training/lm loss", Some(Field::Loss)),
            (
                "lm-loss-validation/lm loss validation",
                Some(Field::ValidationLoss),
            ),
            ("learning-rate/learning-rate", Some(Field::LearningRate)),
            ("lr-AdamW", Some(Field::LearningRate)),
            ("optim/learning_rate_group0", Some(Field::LearningRate)),
            ("train/learning_rate", Some(Field::LearningRate)),
            ("grad-norm", Some(Field::GradNorm)),
            ("optim/total_grad_norm", Some(Field::GradNorm)),
            ("throughput/total_tokens", Some(Field::Tokens)),
            ("trainer/epoch", Some(Field::Epoch)),
            ("iteration-time", Some(Field::StepTimeSeconds)),
            ("eval/accuracy", None),
            ("train/train_loss", None),
            ("test/loss", None),
            ("aux_loss", None),
            ("tokens", None),
        ] {
            assert_eq!(told(name), want, "{name}");
        }
    }

    #[test]
    fn what_does_not_fit_its_field_is_a_metric() {
        let mut step = TrainingTelemetry::default();
        assert!(put(&mut step, "lr", Number::of(-1.0)));
        assert!(put(&mut step, "accuracy", Number::of(87.5)));
        assert!(put(&mut step, "train/loss", Number::of(f64::NAN)));
        assert!(put(&mut step, "loss", Number::of(2.0)));
        assert!(put(&mut step, "a/b", Number::of(1.0)));
        assert!(put(&mut step, "a.b", Number::of(2.0)));
        assert!(!put(&mut step, "gpu", Number::of(f64::NAN)));
        assert!(put(&mut step, "iteration-time", Number::of(0.5)));
        assert_eq!(
            (step.learning_rate, step.accuracy, step.step_time_ms),
            (None, None, Some(500.0))
        );
        assert_eq!((step.loss, step.loss_state), (None, NumberState::Nan));
        let metrics: Vec<_> = step.metrics.iter().map(|(k, v)| (k.as_str(), *v)).collect();
        assert_eq!(
            metrics,
            [
                ("a.b", 2.0),
                ("a_b", 1.0),
                ("accuracy", 87.5),
                ("loss", 2.0),
                ("lr", -1.0)
            ]
        );
    }
}
