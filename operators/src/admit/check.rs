//! Is an event possible at all? The same answer for `admit` and for `cairn ingest`, so that what ingest rejects is final.
//!
//! A loss or gradient norm that is not finite is evidence, not garbage: it is kept as null with a state (DESIGN §3.4).
//! Anywhere else NaN and infinities are refused.

use cairn_avro::record::{
    DataSource, EvalResult, NumberState, Payload, RunConfig, RunLifecycle, RuntimeTelemetry,
    SafetyResult, ToolUse, TrainingTelemetry,
};
use std::fmt::Display;

/// Longest id, in bytes.
pub const ID_BYTES_MAX: usize = 256;
/// Why an event cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Class, one of those that `docs/errors.md` lists.
    pub class: &'static str,
    /// What is wrong, where, and what to do; one line.
    pub text: String,
}

impl Rejection {
    /// A rejection of this class.
    #[must_use]
    pub fn new(class: &'static str, text: impl Into<String>) -> Self {
        Self {
            class,
            text: text.into(),
        }
    }
}

/// Checks an event and puts it into its normal form.
///
/// # Errors
/// The first thing that is wrong, with the member's name and the remedy.
pub fn check(family_topic: &str, payload: &mut Payload) -> Result<(), Rejection> {
    if payload.topic() != family_topic {
        return Err(Rejection::new(
            "wrong_topic",
            format!(
                "a record of {} was sent to {family_topic}; send it to its own topic",
                payload.topic()
            ),
        ));
    }
    id("run_id", payload.run_id())?;
    at_least("attempt", i64::from(payload.attempt()), 0)?;
    if let Some(time_ms) = payload.event_time_ms() {
        event_time(time_ms)?;
    }
    match payload {
        Payload::TrainingTelemetry(event) => training(event),
        Payload::RuntimeTelemetry(event) => runtime(event),
        Payload::ToolUse(event) => tool_use(event),
        Payload::EvalResult(event) => evaluation(event),
        Payload::SafetyResult(event) => safety(event),
        Payload::RunConfig(event) => config(event),
        Payload::RunLifecycle(event) => lifecycle(event),
        Payload::RunPlanned(event) => {
            id("plan_id", &event.plan_id)?;
            config(&event.config)
        }
        Payload::RunTags(event) => event
            .add
            .iter()
            .chain(&event.remove)
            .try_for_each(|tag| id("tag", tag)),
    }
}

fn training(event: &mut TrainingTelemetry) -> Result<(), Rejection> {
    at_least("step", event.step, 0)?;
    counts(&[
        ("tokens", event.tokens),
        ("batch_tokens", event.batch_tokens),
        ("skipped_steps", event.skipped_steps),
        ("nan_steps", event.nan_steps),
    ])?;
    evidence(&mut event.loss, &mut event.loss_state);
    evidence(&mut event.validation_loss, &mut event.validation_loss_state);
    evidence(&mut event.grad_norm, &mut event.grad_norm_state);
    // A perplexity that is not finite says what a loss that is not finite says.
    if event.perplexity.is_some_and(|value| !value.is_finite()) {
        let mut state = NumberState::Finite;
        evidence(&mut event.perplexity, &mut state);
        if event.loss.is_none() && event.loss_state == NumberState::Finite {
            event.loss_state = state;
        }
    }
    if let Some(perplexity) = event.perplexity {
        within("perplexity", perplexity, 0.0, f64::MAX)?;
    }
    quantities(&[
        ("grad_norm", event.grad_norm),
        ("learning_rate", event.learning_rate),
        ("tokens_per_second", event.tokens_per_second),
        ("step_time_ms", event.step_time_ms),
        ("loss_scale", event.loss_scale),
        ("epoch", event.epoch),
    ])?;
    if let Some(accuracy) = event.accuracy {
        within("accuracy", accuracy, 0.0, 1.0)?;
    }
    metrics(&event.metrics)
}

fn runtime(event: &RuntimeTelemetry) -> Result<(), Rejection> {
    counts(&[
        ("step", event.step),
        ("n", event.n),
        ("context_tokens", event.context_tokens),
        ("input_tokens", event.input_tokens),
        ("output_tokens", event.output_tokens),
        ("batch", event.batch),
        ("concurrency", event.concurrency),
        ("memory_bytes", event.memory_bytes),
    ])?;
    quantities(&[
        ("latency_ms", event.latency_ms),
        ("latency_ms_p50", event.latency_ms_p50),
        ("latency_ms_p95", event.latency_ms_p95),
        ("latency_ms_p99", event.latency_ms_p99),
        ("time_to_first_token_ms", event.time_to_first_token_ms),
        ("time_per_output_token_ms", event.time_per_output_token_ms),
        (
            "throughput_tokens_per_second",
            event.throughput_tokens_per_second,
        ),
        ("requests_per_second", event.requests_per_second),
        (
            "accelerator_utilization_ratio",
            event.accelerator_utilization_ratio,
        ),
        ("power_watts", event.power_watts),
    ])?;
    metrics(&event.metrics)
}

fn tool_use(event: &ToolUse) -> Result<(), Rejection> {
    id("tool", &event.tool)?;
    quantities(&[("latency_ms", event.latency_ms)])?;
    counts(&[
        ("turn", event.turn.map(i64::from)),
        ("retries", event.retries.map(i64::from)),
    ])
}

fn evaluation(event: &EvalResult) -> Result<(), Rejection> {
    for (name, value) in [
        ("harness", &event.harness),
        ("task", &event.task),
        ("metric", &event.metric),
    ] {
        id(name, value)?;
    }
    counts(&[
        ("step", event.step),
        ("tokens", event.tokens),
        ("n", event.n),
        ("few_shot", event.few_shot.map(i64::from)),
    ])?;
    // A score is no loss: one that is not finite says that the evaluation failed, and must not stand for one that did not.
    if let Some(value) = event.value {
        finite("value", value)?;
    }
    if matches!(
        event.value_state,
        NumberState::Nan | NumberState::PositiveInfinity | NumberState::NegativeInfinity
    ) {
        return Err(Rejection::new(
            "not_finite",
            format!(
                "value_state is {}; only losses and gradient norms may be that, leave the score out",
                event.value_state
            ),
        ));
    }
    quantities(&[("standard_error", event.standard_error)])
}

fn safety(event: &SafetyResult) -> Result<(), Rejection> {
    for (name, value) in [("suite", &event.suite), ("metric", &event.metric)] {
        id(name, value)?;
    }
    counts(&[("step", event.step), ("n", event.n)])?;
    finite("value", event.value)?;
    quantities(&[("standard_error", event.standard_error)])
}

fn config(event: &RunConfig) -> Result<(), Rejection> {
    if let Some(model) = &event.model {
        quantities(&[
            ("model.parameters_total", model.parameters_total),
            ("model.parameters_active", model.parameters_active),
            (
                "model.parameters_non_embedding",
                model.parameters_non_embedding,
            ),
            ("model.parameters_embedding", model.parameters_embedding),
        ])?;
        counts(&[
            ("model.depth_layers", model.depth_layers),
            ("model.width", model.width),
            ("model.heads", model.heads),
            ("model.experts", model.experts),
            ("model.vocabulary_size", model.vocabulary_size),
            ("model.context_length_tokens", model.context_length_tokens),
        ])?;
    }
    if let Some(training) = &event.training {
        quantities(&[
            ("training.learning_rate_peak", training.learning_rate_peak),
            ("training.learning_rate_final", training.learning_rate_final),
            ("training.weight_decay", training.weight_decay),
            ("training.gradient_clip", training.gradient_clip),
            ("training.tokens_planned", training.tokens_planned),
            ("training.unique_tokens", training.unique_tokens),
        ])?;
        counts(&[
            ("training.warmup_steps", training.warmup_steps),
            ("training.batch_tokens", training.batch_tokens),
            ("training.batch_sequences", training.batch_sequences),
            ("training.steps_planned", training.steps_planned),
        ])?;
    }
    if let Some(hardware) = &event.hardware {
        quantities(&[
            (
                "hardware.peak_flops_per_second",
                hardware.peak_flops_per_second,
            ),
            ("hardware.price_per_hour", hardware.price_per_hour),
        ])?;
        counts(&[("hardware.accelerator_count", hardware.accelerator_count)])?;
    }
    event
        .data_mix
        .iter()
        .try_for_each(|DataSource { dataset, ratio, .. }| {
            id("data_mix.dataset", dataset)?;
            within("data_mix.ratio", *ratio, 0.0, 1.0)
        })?;
    event.tags.iter().try_for_each(|tag| id("tag", tag))
}

fn lifecycle(event: &RunLifecycle) -> Result<(), Rejection> {
    counts(&[("step", event.step), ("tokens", event.tokens)])
}

/// Turns a number that is not finite into null and its state.
fn evidence(value: &mut Option<f64>, state: &mut NumberState) {
    let Some(number) = *value else { return };
    *state = if number.is_nan() {
        NumberState::Nan
    } else if number == f64::INFINITY {
        NumberState::PositiveInfinity
    } else if number == f64::NEG_INFINITY {
        NumberState::NegativeInfinity
    } else {
        NumberState::Finite
    };
    if *state != NumberState::Finite {
        *value = None;
    }
}

fn event_time(time_ms: i64) -> Result<(), Rejection> {
    // 2000-01-01 to 2100-01-01: outside it the unit is wrong, not the clock.
    if (946_684_800_000..4_102_444_800_000).contains(&time_ms) {
        return Ok(());
    }
    let hint = match time_ms {
        946_684_800..4_102_444_800 => " (it looks like seconds)",
        946_684_800_000_000..4_102_444_800_000_000 => " (it looks like microseconds)",
        _ => "",
    };
    Err(Rejection::new(
        "out_of_range",
        format!("event_time_ms {time_ms} is no time in milliseconds since 1970{hint}"),
    ))
}

fn id(name: &str, value: &str) -> Result<(), Rejection> {
    if value.trim().is_empty() {
        return Err(Rejection::new(
            "missing_field",
            format!("{name} is empty; every event names it"),
        ));
    }
    if value.len() > ID_BYTES_MAX {
        return Err(Rejection::new(
            "out_of_range",
            format!("{name} has {} bytes, more than {ID_BYTES_MAX}", value.len()),
        ));
    }
    if value.chars().any(char::is_control) {
        return Err(Rejection::new(
            "out_of_range",
            format!("{name} holds a control character"),
        ));
    }
    Ok(())
}

fn at_least(name: &str, value: i64, least: i64) -> Result<(), Rejection> {
    if value < least {
        return Err(Rejection::new(
            "out_of_range",
            format!("{name} is {value}; it is {least} or more"),
        ));
    }
    Ok(())
}

fn counts(values: &[(&str, Option<i64>)]) -> Result<(), Rejection> {
    values
        .iter()
        .try_for_each(|(name, value)| at_least(name, value.unwrap_or(0), 0))
}

fn finite(name: &str, value: impl Into<f64> + Display + Copy) -> Result<(), Rejection> {
    if value.into().is_finite() {
        return Ok(());
    }
    Err(Rejection::new(
        "not_finite",
        format!("{name} is {value}; only losses and gradient norms may be that"),
    ))
}

fn within(name: &str, value: f64, low: f64, high: f64) -> Result<(), Rejection> {
    finite(name, value)?;
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Rejection::new(
        "out_of_range",
        format!("{name} is {value}; it lies between {low} and {high}"),
    ))
}

fn quantities(values: &[(&str, Option<f64>)]) -> Result<(), Rejection> {
    values.iter().try_for_each(|(name, value)| {
        value.map_or(Ok(()), |value| within(name, value, 0.0, f64::MAX))
    })
}

fn metrics(values: &std::collections::BTreeMap<String, f64>) -> Result<(), Rejection> {
    values
        .iter()
        .try_for_each(|(name, value)| finite(&format!("metrics.{name}"), *value))
}
