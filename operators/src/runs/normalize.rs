//! Folds everything that is said about a run into its one row.
//!
//! Ingress topics have no order between them, so the fold asks little of order: measurements go by attempt and step, the
//! greatest wins; configuration fills in what is said and the last word counts; scores are kept by harness, task and
//! metric, the newest step wins. Late facts amend the row like any other (DESIGN §3.5).

use crate::operator::At;
use cairn_avro::record::{
    ArtifactRef, Band, Derived, EvalResult, ExperimentRow, ModelConfig, NumberState, OffsetSpan,
    Payload, RunConfig, RunEvent, RunLifecycle, RunPlanned, RunState, RunStatus, RunTags,
    RuntimeTelemetry, SafetyResult, Score, ScoreKind, ToolOutcome, ToolUse, TrainingTelemetry,
};
use serde::{Deserialize, Serialize};

/// Version of the derivations below; `cairn backfill` recomputes rows that carry an older one.
pub const DERIVATION_VERSION: i32 = 1;
/// Convention of `derived.flops`: forward and backward pass of a dense decoder, Kaplan et al. 2020, eq. 2.2 without the
/// context term; N counts what the row's `parameters_active` says, else `parameters_total`.
pub const FLOPS_CONVENTION: &str = "6ND";
/// Level of the bands that are made from standard errors.
const BAND_LEVEL: f64 = 0.95;
/// Two-sided 95 % quantile of the normal distribution.
const BAND_Z: f64 = 1.959_963_984_540_054;
/// Most scores, tags and artifacts that a row keeps: bounds a run that is scored at every step.
const LIST_MAX: usize = 512;

/// The row and what the fold must remember beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowState {
    /// The row as of now.
    pub row: ExperimentRow,
    /// Attempts seen, in order.
    attempts: Vec<i32>,
    /// (attempt, step) that `loss_last` comes from.
    loss_at: Option<(i32, i64)>,
    /// (attempt, step) that `validation_loss_last` comes from.
    validation_at: Option<(i32, i64)>,
    /// (attempt, time) that the latencies come from.
    runtime_at: Option<(i32, i64)>,
    /// Tool calls that succeeded.
    tool_successes: i64,
    /// Attempt and state of the newest lifecycle event.
    ended: Option<(i32, bool)>,
    /// Newest tokens a second, for the utilisation.
    tokens_per_second: Option<f64>,
}

impl RowState {
    /// The row of a run of which nothing is known yet.
    #[must_use]
    pub fn new(tenant: &str, run_id: &str) -> Self {
        let row = ExperimentRow {
            tenant: tenant.to_owned(),
            run_id: run_id.to_owned(),
            derivation_version: DERIVATION_VERSION,
            ..ExperimentRow::default()
        };
        Self {
            row,
            attempts: Vec::new(),
            loss_at: None,
            validation_at: None,
            runtime_at: None,
            tool_successes: 0,
            ended: None,
            tokens_per_second: None,
        }
    }

    /// True once the newest attempt has finished or failed.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.row.status, RunStatus::Finished | RunStatus::Failed)
    }

    /// Folds one event into the row.
    pub fn fold(&mut self, at: &At<'_>, event: &RunEvent) {
        let attempt = event.attempt;
        let is_about_an_attempt =
            !matches!(event.payload, Payload::RunPlanned(_) | Payload::RunTags(_));
        if is_about_an_attempt {
            // Topics have no order between them: an evaluation of attempt 1 may come before the start of attempt 0.
            if let Err(place) = self.attempts.binary_search(&attempt)
                && self.attempts.len() < LIST_MAX
            {
                self.attempts.insert(place, attempt);
            }
            self.row.attempts = self.attempts.len() as i32;
            self.row.attempt = self.attempts.last().copied().unwrap_or(attempt);
            self.row.retries = i64::from(self.row.attempts) - 1;
        }
        match &event.payload {
            Payload::TrainingTelemetry(telemetry) => self.training(telemetry),
            Payload::RuntimeTelemetry(telemetry) => self.runtime(telemetry),
            Payload::ToolUse(call) => self.tool_use(call),
            Payload::EvalResult(result) => self.evaluation(result),
            Payload::SafetyResult(result) => self.safety(result),
            Payload::RunConfig(config) => self.config(config),
            Payload::RunLifecycle(lifecycle) => self.lifecycle(lifecycle),
            Payload::RunPlanned(planned) => self.planned(planned),
            Payload::RunTags(tags) => self.tags(tags),
        }
        if let Some(time_ms) = event
            .payload
            .event_time_ms()
            .filter(|_| is_about_an_attempt)
        {
            let row = &mut self.row;
            row.first_event_time_ms = Some(
                row.first_event_time_ms
                    .map_or(time_ms, |first| first.min(time_ms)),
            );
            row.last_event_time_ms = Some(
                row.last_event_time_ms
                    .map_or(time_ms, |last| last.max(time_ms)),
            );
        }
        self.status(event);
        match &event.source {
            Some(source) => cover(
                &mut self.row.inputs,
                &source.topic,
                source.partition,
                source.offset,
            ),
            None => cover(&mut self.row.inputs, at.topic, at.partition, at.offset),
        }
        self.row.updated_append_time_ms = at.append_time_ms;
        self.row.derived = derive(&self.row, self.tokens_per_second);
    }

    fn training(&mut self, event: &TrainingTelemetry) {
        let place = (event.attempt, event.step);
        let row = &mut self.row;
        let newest = self.loss_at.is_none_or(|at| place >= at);
        let loss = event
            .loss
            .or_else(|| event.perplexity.filter(|p| *p > 0.0).map(libm::log));
        if let Some(loss) = loss {
            if newest {
                self.loss_at = Some(place);
                row.loss_last = Some(loss);
                row.loss_last_step = Some(event.step);
                row.perplexity_last =
                    Some(libm::exp(loss)).filter(|perplexity| perplexity.is_finite());
            }
            row.loss_min = Some(row.loss_min.map_or(loss, |least| least.min(loss)));
        }
        if let Some(loss) = event.validation_loss
            && self.validation_at.is_none_or(|at| place >= at)
        {
            self.validation_at = Some(place);
            row.validation_loss_last = Some(loss);
            row.validation_loss_step = Some(event.step);
        }
        let states = [
            event.loss_state,
            event.grad_norm_state,
            event.validation_loss_state,
        ];
        if states
            .iter()
            .any(|state| !matches!(state, NumberState::Finite | NumberState::Missing))
        {
            row.nonfinite_steps += 1;
        }
        if event.attempt >= row.attempt {
            row.steps = Some(row.steps.map_or(event.step, |steps| steps.max(event.step)));
            if let Some(tokens) = event.tokens {
                row.tokens = Some(row.tokens.map_or(tokens, |most| most.max(tokens)));
            }
        }
        if newest {
            set(&mut self.tokens_per_second, event.tokens_per_second);
        }
    }

    fn runtime(&mut self, event: &RuntimeTelemetry) {
        let place = (event.attempt, event.event_time_ms.unwrap_or(i64::MIN));
        if self.runtime_at.is_some_and(|at| place < at) {
            return;
        }
        self.runtime_at = Some(place);
        let row = &mut self.row;
        set(&mut row.latency_ms_p50, event.latency_ms_p50);
        set(&mut row.latency_ms_p95, event.latency_ms_p95);
        set(&mut row.latency_ms_p99, event.latency_ms_p99);
        set(
            &mut row.time_to_first_token_ms,
            event.time_to_first_token_ms,
        );
        set(
            &mut row.throughput_tokens_per_second,
            event.throughput_tokens_per_second,
        );
        set(&mut row.memory_bytes, event.memory_bytes);
        set(&mut row.power_watts, event.power_watts);
    }

    fn tool_use(&mut self, call: &ToolUse) {
        self.row.tool_calls += 1;
        if call.outcome == ToolOutcome::Success {
            self.tool_successes += 1;
        }
        self.row.tool_success_ratio = Some(self.tool_successes as f64 / self.row.tool_calls as f64);
    }

    fn evaluation(&mut self, result: &EvalResult) {
        self.score(Score {
            harness: result.harness.clone(),
            task: result.task.clone(),
            metric: result.metric.clone(),
            value: result.value,
            n: result.n,
            standard_error: result.standard_error,
            step: result.step,
            tokens: result.tokens,
            higher_is_better: result.higher_is_better,
            kind: score_kind(&result.task),
        });
    }

    fn safety(&mut self, result: &SafetyResult) {
        self.score(Score {
            harness: result.suite.clone(),
            task: result
                .category
                .clone()
                .unwrap_or_else(|| result.suite.clone()),
            metric: result.metric.clone(),
            value: Some(result.value),
            n: result.n,
            standard_error: result.standard_error,
            step: result.step,
            tokens: None,
            higher_is_better: None,
            kind: ScoreKind::Safety,
        });
    }

    fn score(&mut self, score: Score) {
        let name = |s: &Score| (s.harness.clone(), s.task.clone(), s.metric.clone());
        let row = &mut self.row;
        match row.scores.binary_search_by_key(&name(&score), name) {
            Ok(place) if score.step >= row.scores[place].step => row.scores[place] = score,
            Err(place) if row.scores.len() < LIST_MAX => row.scores.insert(place, score),
            _ => return,
        }
        row.uncertainty = row.scores.iter().filter_map(band).collect();
    }

    fn config(&mut self, config: &RunConfig) {
        let row = &mut self.row;
        if let Some(model) = &config.model {
            fill_model(&mut row.model, model);
        }
        if let Some(training) = &config.training {
            fill_training(&mut row.training, training);
        }
        if let Some(hardware) = &config.hardware {
            fill_hardware(&mut row.hardware, hardware);
        }
        if let Some(environment) = &config.environment {
            fill_environment(&mut row.environment, environment);
        }
        if !config.data_mix.is_empty() {
            row.data_mix.clone_from(&config.data_mix);
        }
        if !config.augmentation.is_empty() {
            row.augmentation.clone_from(&config.augmentation);
        }
        let context = config
            .context_length_tokens
            .or(config.model.as_ref().and_then(|m| m.context_length_tokens));
        set(&mut row.context_length_tokens, context);
        set(&mut row.curriculum, config.curriculum);
        set(&mut row.parent_run_id, config.parent_run_id.clone());
        add_tags(&mut row.tags, &config.tags);
    }

    fn lifecycle(&mut self, event: &RunLifecycle) {
        match event.state {
            RunState::Finished => self.ended = Some((event.attempt, true)),
            RunState::Crashed => self.ended = Some((event.attempt, false)),
            RunState::Started | RunState::EndOfFile | RunState::Unknown => {}
        }
        if event.attempt >= self.row.attempt {
            let row = &mut self.row;
            if let Some(step) = event.step {
                row.steps = Some(row.steps.map_or(step, |steps| steps.max(step)));
            }
            if let Some(tokens) = event.tokens {
                row.tokens = Some(row.tokens.map_or(tokens, |most| most.max(tokens)));
            }
        }
        for artifact in &event.artifacts {
            add_artifact(&mut self.row.artifacts, artifact);
        }
    }

    fn planned(&mut self, planned: &RunPlanned) {
        self.row.plan_id = Some(planned.plan_id.clone());
        self.row.expected.clone_from(&planned.expected);
        // What a run says of itself stands above what was planned.
        let said = self.row.clone();
        self.config(&planned.config);
        if said.attempts > 0 {
            fill_model(&mut self.row.model, &said.model);
            fill_training(&mut self.row.training, &said.training);
            fill_hardware(&mut self.row.hardware, &said.hardware);
            fill_environment(&mut self.row.environment, &said.environment);
            let row = &mut self.row;
            if !said.data_mix.is_empty() {
                row.data_mix = said.data_mix;
            }
            if !said.augmentation.is_empty() {
                row.augmentation = said.augmentation;
            }
            set(&mut row.context_length_tokens, said.context_length_tokens);
            set(&mut row.curriculum, said.curriculum);
            set(&mut row.parent_run_id, said.parent_run_id);
        }
    }

    fn tags(&mut self, tags: &RunTags) {
        add_tags(&mut self.row.tags, &tags.add);
        self.row.tags.retain(|tag| !tags.remove.contains(tag));
    }

    fn status(&mut self, event: &RunEvent) {
        let row = &mut self.row;
        row.status = match self.ended {
            Some((attempt, finished)) if attempt >= row.attempt => {
                if finished {
                    RunStatus::Finished
                } else {
                    RunStatus::Failed
                }
            }
            _ if row.attempts == 0 => {
                if row.plan_id.is_some() {
                    RunStatus::Planned
                } else {
                    row.status
                }
            }
            _ => match event.payload {
                Payload::TrainingTelemetry(_) | Payload::RunLifecycle(_) => RunStatus::Running,
                _ if row.status == RunStatus::Unknown || row.status == RunStatus::Planned => {
                    RunStatus::Running
                }
                _ => row.status,
            },
        };
    }
}

/// Widens the span of a topic's partition to cover an offset, keeping spans in order.
fn cover(spans: &mut Vec<OffsetSpan>, topic: &str, partition: i32, offset: i64) {
    match spans
        .binary_search_by(|span| (span.topic.as_str(), span.partition).cmp(&(topic, partition)))
    {
        Ok(place) => {
            let span = &mut spans[place];
            span.first = span.first.min(offset);
            span.last = span.last.max(offset);
        }
        Err(place) => spans.insert(
            place,
            OffsetSpan {
                topic: topic.to_owned(),
                partition,
                first: offset,
                last: offset,
            },
        ),
    }
}

/// What follows from the row.
fn derive(row: &ExperimentRow, tokens_per_second: Option<f64>) -> Derived {
    let parameters = row.model.parameters_active.or(row.model.parameters_total);
    let tokens = row.tokens.map(|tokens| tokens as f64);
    let both = parameters.zip(tokens);
    let accelerators = row.hardware.accelerator_count.map(|count| count as f64);
    let hours = row
        .first_event_time_ms
        .zip(row.last_event_time_ms)
        .map(|(first, last)| last.saturating_sub(first) as f64 / 3_600_000.0);
    let accelerator_hours = hours.zip(accelerators).map(|(hours, count)| hours * count);
    let peak = row
        .hardware
        .peak_flops_per_second
        .zip(accelerators)
        .map(|(peak, count)| peak * count);
    let utilization = parameters
        .zip(tokens_per_second)
        .zip(peak)
        .filter(|(_, peak)| *peak > 0.0);
    Derived {
        flops: both.map(|(parameters, tokens)| 6.0 * parameters * tokens),
        flops_convention: FLOPS_CONVENTION.to_owned(),
        tokens_per_parameter: both
            .filter(|(parameters, _)| *parameters > 0.0)
            .map(|(parameters, tokens)| tokens / parameters),
        model_flops_utilization: utilization
            .map(|((parameters, rate), peak)| 6.0 * parameters * rate / peak),
        accelerator_hours,
        cost: accelerator_hours
            .zip(row.hardware.price_per_hour)
            .map(|(hours, price)| hours * price),
        currency: row.hardware.currency.clone(),
        energy_kilowatt_hours: hours
            .zip(row.power_watts)
            .map(|(hours, watts)| hours * watts / 1000.0),
        ..Derived::default()
    }
}

fn band(score: &Score) -> Option<Band> {
    let (value, error) = (score.value?, score.standard_error?);
    Some(Band {
        metric: format!("{}/{}/{}", score.harness, score.task, score.metric),
        low: value - BAND_Z * error,
        high: value + BAND_Z * error,
        level: BAND_LEVEL,
    })
}

/// Tasks that are read as reasoning, by the beginning of their names in lm-evaluation-harness.
const REASONING_TASKS: [&str; 9] = [
    "arc_",
    "bbh",
    "drop",
    "gpqa",
    "gsm8k",
    "hendrycks_math",
    "logiqa",
    "math",
    "minerva_math",
];

fn score_kind(task: &str) -> ScoreKind {
    if REASONING_TASKS.iter().any(|name| task.starts_with(name)) {
        ScoreKind::Reasoning
    } else {
        ScoreKind::Quality
    }
}

fn add_tags(tags: &mut Vec<String>, new: &[String]) {
    for tag in new {
        if let Err(place) = tags.binary_search(tag)
            && tags.len() < LIST_MAX
        {
            tags.insert(place, tag.clone());
        }
    }
}

fn add_artifact(artifacts: &mut Vec<ArtifactRef>, new: &ArtifactRef) {
    match artifacts
        .iter()
        .position(|known| known.kind == new.kind && known.uri == new.uri)
    {
        Some(place) => artifacts[place] = new.clone(),
        None if artifacts.len() < LIST_MAX => artifacts.push(new.clone()),
        None => {}
    }
}

fn set<T>(place: &mut Option<T>, said: Option<T>) {
    if said.is_some() {
        *place = said;
    }
}

/// Fills in the named fields where `new` says something.
macro_rules! fill {
    ($name:ident, $type:ty, $($field:ident),+ $(,)?) => {
        fn $name(known: &mut $type, new: &$type) {
            $(set(&mut known.$field, new.$field.clone());)+
        }
    };
}

fill!(
    fill_model,
    ModelConfig,
    family,
    name,
    parameters_total,
    parameters_active,
    parameters_non_embedding,
    parameters_embedding,
    depth_layers,
    width,
    feed_forward_width,
    heads,
    key_value_heads,
    head_dimension,
    experts,
    experts_active,
    vocabulary_size,
    context_length_tokens,
    positional_encoding,
    tied_embeddings,
    gated_mlp,
    tokenizer,
);
fill!(
    fill_training,
    cairn_avro::record::TrainingConfig,
    optimizer,
    learning_rate_peak,
    learning_rate_final,
    schedule,
    warmup_steps,
    warmup_tokens,
    decay_steps,
    weight_decay,
    beta1,
    beta2,
    gradient_clip,
    batch_tokens,
    batch_sequences,
    steps_planned,
    tokens_planned,
    unique_tokens,
    precision,
    seed,
    dropout,
);
fill!(
    fill_hardware,
    cairn_avro::record::Hardware,
    accelerator,
    accelerator_count,
    nodes,
    interconnect,
    peak_flops_per_second,
    memory_bytes_per_accelerator,
    region,
    price_per_hour,
    currency,
);
fill!(
    fill_environment,
    cairn_avro::record::Environment,
    code_commit,
    code_repository,
    framework,
    framework_version,
    container_image,
    python_version,
    cuda_version,
    launcher,
);
