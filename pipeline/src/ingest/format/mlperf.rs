//! MLPerf logging lines: `:::MLLOG {"namespace": "", "time_ms": …, "event_type": …, "key": …, "value": …, "metadata": {…}}`.
//!
//! Published format: `mlperf_logging/mllog` of github.com/mlcommons/logging (training), whose keys `constants.py` lists, and
//! the detail log of LoadGen in github.com/mlcommons/inference; before v0.7 a line was `:::MLL seconds key: {…}`. Launchers put
//! a rank in front, several processes write into one file, and all else that a program prints stands between the lines.
//!
//! `run_start` and `run_stop` begin and end an attempt (status `success` finishes it, anything else is a crash); another
//! `run_start` after something was measured is a restart. Hyperparameters up to `run_start` are one configuration, and again
//! at the end where more came. `eval_accuracy` and its kin are evaluations of harness `mlperf`, task the benchmark; of the
//! language-model benchmarks they are the validation loss (nats a token), too. `train_loss` and `tracked_stats` are steps.
//! LoadGen's `result_…` keys are one record of latency and throughput, nanoseconds made milliseconds.
//!
//! A place is `step_num` or `step_count` (steps), `samples_count` (samples: steps are those divided by the global batch size),
//! `step` (steps, but samples in logs that count samples elsewhere) or `epoch_num` (epochs; some benchmarks count samples
//! under it, which is told by its size). What has no step that could be told is a reject, unless it is only throughput.

use super::super::source::stem;
use super::names::{count, keep, put};
use super::text::{Number, metric_name, trimmed, whole_lines};
use super::whole::quoted_numbers;
use super::{Confidence, Format, Out, Parser, Position, Refusal, Setup};
use cairn_avro::record::{
    EvalResult, Payload, RunConfig, RunLifecycle, RunState, RuntimeTelemetry, TrainingConfig,
    TrainingTelemetry,
};
use serde_json::Value;
use std::path::{Component, Path};

#[cfg(test)]
mod tests;

/// No benchmark trains so many epochs; above it `epoch_num` counts samples.
const EPOCHS_MAX: f64 = 100_000.0;
/// 2000-01-01: LoadGen's times are milliseconds since its start, and lie before it.
const WALL_TIME_MS_MIN: f64 = 946_684_800_000.0;
/// Benchmarks whose `eval_accuracy` is a loss in nats a token.
const LOSS_BENCHMARKS: [&str; 6] = [
    "gpt3",
    "llama2_70b_lora",
    "llama31_405b",
    "llama31_8b",
    "llama3_8b",
    "deepseekv3_671b",
];

/// The format.
pub(super) struct MlPerf;

impl Format for MlPerf {
    fn name(&self) -> &'static str {
        "mlperf"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["mllog", "mlperf-logging"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        let mut marked = false;
        for line in whole_lines(head).filter_map(trimmed) {
            match Entry::of(&line) {
                Some(Ok(_)) => return Confidence::Sure,
                Some(Err(_)) => marked = true,
                None => {}
            }
        }
        if marked {
            Confidence::Perhaps("lines have the mark :::MLLOG, but no JSON behind it")
        } else {
            Confidence::No
        }
    }

    /// The rules of submission name the files: `…/results/<system>/<benchmark>/result_0.txt`, and LoadGen's log lies in
    /// `…/<system>/<benchmark>/<scenario>/performance/run_1/`.
    fn run_of(&self, path: &str) -> Option<String> {
        let path = Path::new(path);
        let name = stem(path.file_name()?.to_str()?);
        let trial = name
            .strip_prefix("result_")
            .is_some_and(|trial| !trial.is_empty() && trial.bytes().all(|b| b.is_ascii_digit()));
        let folders: Vec<&str> = path
            .parent()?
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .collect();
        let last = |count: usize| folders[folders.len().saturating_sub(count)..].join("/");
        match name.as_str() {
            _ if folders.is_empty() => None,
            "mlperf_log_detail" if folders.ends_with(&["performance", "run_1"]) => {
                Some(last(5)).map(|run| run.replace("/performance/run_1", ""))
            }
            "mlperf_log_detail" => Some(last(1)),
            _ if trial => Some(format!("{}/{name}", last(2))),
            _ => None,
        }
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Ok(Box::new(Lines {
            setup: setup.clone(),
            attempt: setup.attempt,
            config: RunConfig::default(),
            config_sent: RunConfig::default(),
            benchmark: None,
            counts_samples: false,
            measured: false,
            last_step: None,
            result: None,
        }))
    }
}

/// One logging line.
#[derive(serde::Deserialize)]
struct Entry {
    key: String,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    metadata: Value,
    #[serde(default)]
    time_ms: Option<f64>,
}

impl Entry {
    /// None where the line has no mark.
    fn of(line: &str) -> Option<Result<Self, String>> {
        if let Some(at) = line.find(":::MLLOG") {
            return Some(Self::json(&line[at + ":::MLLOG".len()..]));
        }
        // `:::MLL 1558040600.123 key: {"value": …, "metadata": …}`
        let rest = &line[line.find(":::MLL ")? + ":::MLL ".len()..];
        let (seconds, rest) = rest.trim_start().split_once(' ')?;
        let seconds: f64 = seconds.parse().ok()?;
        let (key, json) = rest.split_once(": ")?;
        let named = json.trim_start().strip_prefix('{')?;
        let key = Value::from(key.trim()).to_string();
        Some(
            Self::json(&format!("{{\"key\":{key},{named}")).map(|mut entry| {
                entry.time_ms = Some(seconds * 1e3);
                entry
            }),
        )
    }

    fn json(text: &str) -> Result<Self, String> {
        let quoted = quoted_numbers(text.as_bytes());
        let text = quoted.as_deref().unwrap_or(text.as_bytes());
        // what another process wrote behind it is not of this line
        match serde_json::Deserializer::from_slice(text)
            .into_iter::<Self>()
            .next()
        {
            Some(Ok(entry)) => Ok(entry),
            Some(Err(error)) => Err(format!(
                "behind the mark stands no entry of MLPerf logging: {error}; the line was cut or mixed with another"
            )),
            None => Err("nothing stands behind the mark; the line was cut".into()),
        }
    }

    fn metadata(&self, key: &str) -> Option<f64> {
        number(self.metadata.get(key)?)?.value
    }

    /// When it was logged; LoadGen's times are relative and say nothing.
    fn event_time_ms(&self) -> Option<i64> {
        self.time_ms
            .filter(|time| *time >= WALL_TIME_MS_MIN && *time < 1e15)
            .map(|time| time as i64)
    }
}

/// The scores of an evaluation by their names. Mask R-CNN has two: `{"BBOX": …, "SEGM": …}`, in v0.6 one level deeper or a
/// list, whose places are numbered.
fn scores<'a>(key: &str, value: &'a Value) -> Vec<(String, &'a Value)> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| match value {
                Value::Object(_) => scores(name, value),
                value => vec![(name.clone(), value)],
            })
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(at, value)| (format!("{key}_{at}"), value))
            .collect(),
        value => vec![(key.to_owned(), value)],
    }
}

fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) => number.as_f64().map(Number::of),
        Value::String(text) => Number::read(text.trim()),
        _ => None,
    }
}

struct Lines {
    setup: Setup,
    attempt: i32,
    config: RunConfig,
    config_sent: RunConfig,
    benchmark: Option<String>,
    /// The log says samples somewhere, so that `step` means samples, too.
    counts_samples: bool,
    /// Something was measured since the last start.
    measured: bool,
    last_step: Option<i64>,
    /// LoadGen's results so far.
    result: Option<RuntimeTelemetry>,
}

/// Where in the run an entry is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    step: Option<i64>,
    samples: Option<f64>,
    epoch: Option<f64>,
}

impl Parser for Lines {
    fn takes_unended(&self, line: &[u8]) -> bool {
        trimmed(line).is_some_and(|line| matches!(Entry::of(&line), Some(Ok(_))))
    }

    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        let text = trimmed(unit);
        match text.as_deref().and_then(Entry::of) {
            None => out.ignored += 1,
            Some(Err(why)) => out.reject("bad_line", why, "telemetry.training", position, unit),
            Some(Ok(entry)) => {
                let at = (unit, position);
                if entry.metadata("samples_count").is_some() {
                    self.counts_samples = true;
                }
                if !self.take(&entry, at, out) {
                    out.ignored += 1;
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, position: Position, out: &mut Out) -> Result<(), Refusal> {
        self.configure((&[], position), None, out);
        if let Some(result) = self.result.take() {
            out.event(Payload::RuntimeTelemetry(result), position, &[]);
        }
        Ok(())
    }
}

impl Lines {
    /// Takes an entry; false where it says nothing that the contract has a place for.
    fn take(&mut self, entry: &Entry, at: (&[u8], Position), out: &mut Out) -> bool {
        let key = entry.key.as_str();
        match key {
            "run_start" => {
                if std::mem::take(&mut self.measured) {
                    self.attempt += 1;
                    self.last_step = None;
                }
                self.configure(at, entry.event_time_ms(), out);
                self.lifecycle(RunState::Started, None, entry, at, out);
            }
            "run_stop" | "run_final" => {
                self.measured = true;
                let status = entry.metadata.get("status").and_then(Value::as_str);
                let (state, reason) = match status {
                    Some("success") | None => (RunState::Finished, "MLPerf run_stop"),
                    Some("aborted") => (RunState::Crashed, "MLPerf run_stop: aborted"),
                    Some(_) => (RunState::Crashed, "MLPerf run_stop without success"),
                };
                self.configure(at, entry.event_time_ms(), out);
                self.lifecycle(state, Some(reason), entry, at, out);
            }
            "train_loss" | "tracked_stats" => self.step(entry, at, out),
            "eval_accuracy" | "eval_error" | "eval_loss" | "eval_auc" => {
                self.evaluation(entry, at, out);
            }
            _ if key.starts_with("result_") => return self.result(entry),
            _ => return self.hyperparameter(entry),
        }
        true
    }

    fn place(&self, entry: &Entry) -> Place {
        let mut place = Place {
            samples: entry.metadata("samples_count"),
            ..Place::default()
        };
        place.step = ["step_num", "step_count"]
            .iter()
            .find_map(|key| entry.metadata(key))
            .and_then(count);
        if let Some(step) = entry.metadata("step").filter(|_| place.step.is_none()) {
            if self.counts_samples {
                place.samples = place.samples.or(Some(step));
            } else {
                place.step = count(step);
            }
        }
        match entry.metadata("epoch_num") {
            Some(epoch) if epoch > EPOCHS_MAX => place.samples = place.samples.or(Some(epoch)),
            epoch => place.epoch = epoch.filter(|epoch| *epoch >= 0.0),
        }
        let batch = self
            .config
            .training
            .as_ref()
            .and_then(|training| training.batch_sequences)
            .filter(|batch| *batch > 0);
        if let (None, Some(samples), Some(batch)) =
            (place.step, place.samples.filter(|n| *n >= 0.0), batch)
        {
            place.step = count((samples / batch as f64).floor());
        }
        place
    }

    fn tokens(&self, place: &Place) -> Option<i64> {
        let length = self
            .config
            .context_length_tokens
            .or(self.setup.sequence_tokens)?;
        count(place.samples? * length as f64)
    }

    fn lifecycle(
        &self,
        state: RunState,
        reason: Option<&str>,
        entry: &Entry,
        (unit, position): (&[u8], Position),
        out: &mut Out,
    ) {
        let place = self.place(entry);
        let begun = state == RunState::Started;
        out.event(
            Payload::RunLifecycle(RunLifecycle {
                run_id: self.setup.run_id.clone(),
                attempt: self.attempt,
                event_time_ms: entry.event_time_ms(),
                state,
                step: place.step.or(self.last_step).filter(|_| !begun),
                tokens: self.tokens(&place).filter(|_| !begun),
                reason: reason.map(str::to_owned),
                ..RunLifecycle::default()
            }),
            position,
            unit,
        );
    }

    /// Sends the configuration where it says more than it did.
    fn configure(
        &mut self,
        (unit, position): (&[u8], Position),
        event_time_ms: Option<i64>,
        out: &mut Out,
    ) {
        if self.config == self.config_sent {
            return;
        }
        self.config_sent = self.config.clone();
        let config = RunConfig {
            run_id: self.setup.run_id.clone(),
            attempt: self.attempt,
            event_time_ms,
            ..self.config.clone()
        };
        out.event(Payload::RunConfig(Box::new(config)), position, unit);
    }

    fn step(&mut self, entry: &Entry, (unit, position): (&[u8], Position), out: &mut Out) {
        let place = self.place(entry);
        let mut telemetry = TrainingTelemetry {
            run_id: self.setup.run_id.clone(),
            attempt: self.attempt,
            event_time_ms: entry.event_time_ms(),
            tokens: self.tokens(&place),
            batch_tokens: self.setup.batch_tokens.or(self
                .config
                .training
                .as_ref()
                .and_then(|training| training.batch_tokens)),
            epoch: place.epoch,
            ..TrainingTelemetry::default()
        };
        let mut found = false;
        let mut take = |name: &str, value: &Value| {
            let Some(number) = number(value) else { return };
            // NVIDIA's and Intel's programs count samples
            let name = match name {
                "throughput" => "throughput_samples_per_second",
                name => name,
            };
            found |= put(&mut telemetry, name, number);
        };
        match &entry.value {
            Value::Object(values) => values.iter().for_each(|(name, value)| take(name, value)),
            value => take(&entry.key, value),
        }
        for name in ["lr", "learning_rate"] {
            if let Some(value) = entry.metadata.get(name) {
                take(name, value);
            }
        }
        if !found {
            let text = format!("{} has no number; the line is damaged", entry.key);
            out.reject("bad_line", text, "telemetry.training", position, unit);
            return;
        }
        self.measured = true;
        let Some(step) = place.step else {
            if telemetry.loss.is_none() && !telemetry.metrics.is_empty() {
                // speed needs no step
                out.event(
                    Payload::RuntimeTelemetry(RuntimeTelemetry {
                        run_id: telemetry.run_id,
                        attempt: telemetry.attempt,
                        event_time_ms: telemetry.event_time_ms,
                        metrics: telemetry.metrics,
                        ..RuntimeTelemetry::default()
                    }),
                    position,
                    unit,
                );
            } else {
                let text = format!(
                    "{} names no step, and no samples beside a global batch size; it cannot be ordered",
                    entry.key
                );
                out.reject("missing_field", text, "telemetry.training", position, unit);
            }
            return;
        };
        telemetry.step = step;
        if let Some(samples) = place.samples {
            keep(&mut telemetry.metrics, "samples_count", samples);
        }
        self.last_step = Some(step);
        out.event(Payload::TrainingTelemetry(telemetry), position, unit);
    }

    fn evaluation(&mut self, entry: &Entry, (unit, position): (&[u8], Position), out: &mut Out) {
        let place = self.place(entry);
        self.measured = true;
        let a_loss = entry.key == "eval_loss"
            || self
                .benchmark
                .as_deref()
                .is_some_and(|name| LOSS_BENCHMARKS.contains(&name));
        let values = scores(&entry.key, &entry.value);
        let mut found = false;
        for (name, value) in &values {
            let Some(number) = number(value) else {
                continue;
            };
            found = true;
            let one = values.len() == 1;
            if let Some(step) = place.step.filter(|_| a_loss && one) {
                let telemetry = TrainingTelemetry {
                    run_id: self.setup.run_id.clone(),
                    attempt: self.attempt,
                    step,
                    tokens: self.tokens(&place),
                    event_time_ms: entry.event_time_ms(),
                    validation_loss: number.value,
                    validation_loss_state: number.state,
                    epoch: place.epoch,
                    ..TrainingTelemetry::default()
                };
                self.last_step = Some(step);
                out.event(Payload::TrainingTelemetry(telemetry), position, unit);
            }
            let result = EvalResult {
                run_id: self.setup.run_id.clone(),
                attempt: self.attempt,
                step: place.step,
                tokens: self.tokens(&place),
                event_time_ms: entry.event_time_ms(),
                harness: "mlperf".into(),
                task: self.benchmark.clone().unwrap_or_else(|| "eval".into()),
                metric: metric_name(name),
                value: number.value,
                value_state: number.state,
                higher_is_better: match entry.key.as_str() {
                    _ if a_loss => Some(false),
                    "eval_error" => Some(false),
                    "eval_auc" => Some(true),
                    // of a benchmark that is not known it may be a loss
                    _ => None,
                },
                ..EvalResult::default()
            };
            out.event(Payload::EvalResult(result), position, unit);
        }
        if !found {
            let text = format!("{} has no number; the line is damaged", entry.key);
            out.reject("bad_line", text, "eval.results", position, unit);
        }
    }

    /// Notes a hyperparameter; false where the key is none that the contract knows.
    fn hyperparameter(&mut self, entry: &Entry) -> bool {
        let amount = number(&entry.value)
            .and_then(|number| number.value)
            .filter(|value| *value >= 0.0);
        let whole = amount.and_then(count);
        let text = entry
            .value
            .as_str()
            .map(str::trim)
            .filter(|text| !text.is_empty() && text.len() <= 128);
        match entry.key.as_str() {
            "submission_benchmark" => {
                let Some(name) = text else { return false };
                self.benchmark = Some(name.to_owned());
                self.config.model.get_or_insert_default().name = Some(name.to_owned());
                return true;
            }
            // who sent it in is nobody's business here: no organisation, no contact
            "submission_division" | "submission_status" | "submission_platform" => {
                let Some(value) = text else { return false };
                let tag = format!("{}={value}", entry.key);
                if !self.config.tags.contains(&tag) {
                    self.config.tags.push(tag);
                }
                return true;
            }
            "max_sequence_length" | "sequence_length" => {
                self.config.context_length_tokens = whole.or(self.config.context_length_tokens);
            }
            key => {
                let mut training = self.config.training.clone().unwrap_or_default();
                if !hyperparameter(&mut training, key, amount, text) {
                    return false;
                }
                self.config.training = Some(training);
            }
        }
        let length = self.config.context_length_tokens;
        if let Some(training) = &mut self.config.training {
            let tokens = training
                .batch_sequences
                .zip(length)
                .and_then(|(batch, length)| batch.checked_mul(length));
            training.batch_tokens = tokens.or(training.batch_tokens);
        }
        true
    }

    /// Notes a result of LoadGen.
    fn result(&mut self, entry: &Entry) -> bool {
        let Some(value) = number(&entry.value).and_then(|number| number.value) else {
            return false;
        };
        let result = self.result.get_or_insert_with(|| RuntimeTelemetry {
            run_id: self.setup.run_id.clone(),
            attempt: self.attempt,
            ..RuntimeTelemetry::default()
        });
        let key = &entry.key["result_".len()..];
        let (key, value) = match key.strip_suffix("_ns") {
            Some(name) => (format!("{name}_ms"), value / 1e6),
            None => (key.to_owned(), value),
        };
        let place = match key.as_str() {
            "mean_latency_ms" => &mut result.latency_ms,
            "50.00_percentile_latency_ms" => &mut result.latency_ms_p50,
            "95.00_percentile_latency_ms" => &mut result.latency_ms_p95,
            "99.00_percentile_latency_ms" => &mut result.latency_ms_p99,
            "first_token_mean_latency_ms" => &mut result.time_to_first_token_ms,
            "time_per_output_token_mean_ms" => &mut result.time_per_output_token_ms,
            "samples_per_second" | "completed_samples_per_sec" => &mut result.requests_per_second,
            // `token_throughput` is that of one request after the other, and stays a metric
            "tokens_per_second" | "completed_tokens_per_second" => {
                &mut result.throughput_tokens_per_second
            }
            "query_count" => {
                result.n = count(value).or(result.n);
                return true;
            }
            _ => return keep(&mut result.metrics, &key, value),
        };
        if value < 0.0 {
            return false;
        }
        *place = Some(value);
        true
    }
}

/// Puts a hyperparameter of `constants.py` where it belongs; false where it has no place.
fn hyperparameter(
    training: &mut TrainingConfig,
    key: &str,
    amount: Option<f64>,
    text: Option<&str>,
) -> bool {
    let whole = amount.and_then(count);
    let place = match key {
        "opt_name" | "opt_learning_rate_decay_schedule" => {
            let place = if key == "opt_name" {
                &mut training.optimizer
            } else {
                &mut training.schedule
            };
            *place = text.map(str::to_owned).or(place.take());
            return text.is_some();
        }
        "global_batch_size" => return set(&mut training.batch_sequences, whole),
        "seed" => return set(&mut training.seed, whole),
        "max_steps" | "opt_learning_rate_training_steps" => {
            return set(&mut training.steps_planned, whole);
        }
        "opt_learning_rate_warmup_steps" | "num_warmup_steps" => {
            return set(&mut training.warmup_steps, whole);
        }
        "opt_learning_rate_decay_steps" | "lars_opt_learning_rate_decay_steps" => {
            return set(&mut training.decay_steps, whole);
        }
        "opt_base_learning_rate" | "lars_opt_base_learning_rate" => {
            &mut training.learning_rate_peak
        }
        "opt_end_learning_rate" | "lars_opt_end_learning_rate" | "opt_lamb_learning_rate_min" => {
            &mut training.learning_rate_final
        }
        "opt_weight_decay"
        | "opt_adamw_weight_decay"
        | "opt_lamb_weight_decay_rate"
        | "lars_opt_weight_decay" => &mut training.weight_decay,
        "opt_adam_beta_1" | "opt_adamw_beta_1" | "opt_lamb_beta_1" => &mut training.beta1,
        "opt_adam_beta_2" | "opt_adamw_beta_2" | "opt_lamb_beta_2" => &mut training.beta2,
        "opt_gradient_clip_norm" => &mut training.gradient_clip,
        _ => return false,
    };
    set(place, amount)
}

fn set<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    match value {
        Some(value) => {
            *place = Some(value);
            true
        }
        None => false,
    }
}
