//! LLMPerf: one record a request, or the summary of a load test.
//!
//! Published format: `token_benchmark_ray.py`, `src/llmperf/common_metrics.py` and `src/llmperf/utils.py` of
//! github.com/ray-project/llmperf. `…_individual_responses.json` is a list of objects (`ttft_s`, `end_to_end_latency_s`,
//! `number_input_tokens`, `error_code`, …); `…_summary.json` is one object whose nested names are joined by underscores
//! (`results_ttft_s_quantiles_p50`), and whose least and greatest token counts may be texts.
//!
//! Seconds become milliseconds. Time per output token is the time behind the first token over the tokens behind it. The
//! tool's `inter_token_latency_s` counts the first token among them, so it stays a metric of its own. A request that failed
//! has no times, whatever zeros the tool wrote: it is a record with `failed` 1 and the code of the error; the text of the
//! error may quote anything and is left out.

use super::names::{count, keep};
use super::text::{Number, row_id};
use super::whole::{pieces, quoted_numbers};
use super::{Confidence, Format, Framing, Out, Parser, Piece, Position, Refusal, Reject, Setup};
use cairn_avro::record::{ModelConfig, Payload, RunConfig, RuntimeTelemetry};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

#[cfg(test)]
mod tests;

/// The format.
pub(super) struct LlmPerf;

impl Format for LlmPerf {
    fn name(&self) -> &'static str {
        "llmperf"
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        let has = |key: &str| {
            head.windows(key.len())
                .any(|window| window == key.as_bytes())
        };
        let marks = [
            "\"ttft_s\"",
            "\"end_to_end_latency_s\"",
            "\"number_input_tokens\"",
        ]
        .iter()
        .filter(|key| has(key))
        .count();
        match head.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'[' | b'{') if marks >= 2 => Confidence::Sure,
            Some(b'{') if has("\"results_ttft_s_") => Confidence::Sure,
            Some(b'[' | b'{') if marks == 1 || has("\"num_concurrent_requests\"") => {
                Confidence::Perhaps("it has one member of LLMPerf's records, but not two")
            }
            _ => Confidence::No,
        }
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Ok(Box::new(Document {
            setup: setup.clone(),
        }))
    }
}

struct Document {
    setup: Setup,
}

impl Parser for Document {
    fn framing(&self) -> Framing {
        Framing::Whole
    }

    fn split(&mut self, document: Vec<u8>) -> Result<(Vec<u8>, Vec<Piece>), Reject> {
        entries(document, "LLMPerf")
    }

    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        let entry: Map<String, Value> = match serde_json::from_slice(unit) {
            Ok(entry) => entry,
            Err(error) => {
                let text = format!("an entry is no object: {error}");
                out.reject("json", text, "telemetry.runtime", position, unit);
                return Ok(());
            }
        };
        if entry.keys().any(|key| key.starts_with("results_")) {
            self.summary(&entry, (unit, position), out);
        } else {
            self.request(&entry, (unit, position), out);
        }
        Ok(())
    }
}

/// The objects of a document: those of a list, or those that follow each other.
pub(super) fn entries(document: Vec<u8>, whose: &str) -> Result<(Vec<u8>, Vec<Piece>), Reject> {
    let repaired = quoted_numbers(&document);
    let text = repaired.as_deref().unwrap_or(&document);
    let list = text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let found: Result<Vec<&RawValue>, _> = if list {
        serde_json::from_slice(text)
    } else {
        serde_json::Deserializer::from_slice(text)
            .into_iter()
            .collect()
    };
    match found.map(|entries| pieces(&document, text, &entries)) {
        Ok(pieces) => Ok((repaired.unwrap_or(document), pieces)),
        Err(error) => Err(Reject {
            class: "json",
            text: format!(
                "the document is no result of {whose}: {error}; it may still be written, or was cut"
            ),
            topic: "telemetry.runtime".into(),
            position: Position {
                line: error.line().max(1) as u64,
                byte: 0,
            },
            original: document,
        }),
    }
}

/// A number that is finite; the tool writes some as texts.
pub(super) fn amount(entry: &Map<String, Value>, key: &str) -> Option<f64> {
    match entry.get(key)? {
        Value::Number(number) => number.as_f64().filter(|value| value.is_finite()),
        Value::String(text) => Number::read(text.trim())?.value,
        _ => None,
    }
}

impl Document {
    fn request(&self, entry: &Map<String, Value>, at: (&[u8], Position), out: &mut Out) {
        let (unit, position) = at;
        let has = |key| entry.contains_key(key);
        if !has("ttft_s") && !has("end_to_end_latency_s") {
            let text = "an entry has neither ttft_s nor end_to_end_latency_s; it is no request";
            out.reject(
                "missing_field",
                text.into(),
                "telemetry.runtime",
                position,
                unit,
            );
            return;
        }
        let tokens = |key| amount(entry, key).and_then(count);
        let (input, output) = (
            tokens("number_input_tokens"),
            tokens("number_output_tokens"),
        );
        let mut record = RuntimeTelemetry {
            run_id: self.setup.run_id.clone(),
            attempt: self.setup.attempt,
            n: Some(1),
            context_tokens: input,
            input_tokens: input,
            ..RuntimeTelemetry::default()
        };
        let failed = entry.get("error_code").is_some_and(|code| match code {
            Value::Null => false,
            Value::Number(code) => code.as_f64() != Some(0.0),
            Value::String(code) => !code.is_empty(),
            _ => true,
        });
        if let Some(start) = amount(entry, "start_time") {
            keep(&mut record.metrics, "start_ms", start * 1e3);
        }
        if failed {
            record.metrics.insert("failed".into(), 1.0);
            if let Some(code) = amount(entry, "error_code") {
                keep(&mut record.metrics, "error_code", code);
            }
        } else {
            let ms = |key| amount(entry, key).map(|seconds| seconds * 1e3);
            let (first, whole) = (ms("ttft_s"), ms("end_to_end_latency_s"));
            record.output_tokens = output;
            record.latency_ms = whole;
            record.time_to_first_token_ms = first;
            record.time_per_output_token_ms = first
                .zip(whole)
                .zip(output.filter(|tokens| *tokens > 1))
                .map(|((first, whole), tokens)| (whole - first) / (tokens - 1) as f64)
                .filter(|ms| *ms >= 0.0);
            record.throughput_tokens_per_second =
                amount(entry, "request_output_throughput_token_per_s");
            if let Some(ms) = ms("inter_token_latency_s") {
                keep(&mut record.metrics, "inter_token_latency_ms", ms);
            }
        }
        // requests that are alike are still requests
        let id = row_id("llmperf", &self.setup, position, unit);
        out.identified(Payload::RuntimeTelemetry(record), Some(id), position, unit);
    }

    fn summary(
        &self,
        entry: &Map<String, Value>,
        (unit, position): (&[u8], Position),
        out: &mut Out,
    ) {
        if let Some(model) = entry.get("model").and_then(Value::as_str) {
            let config = RunConfig {
                run_id: self.setup.run_id.clone(),
                attempt: self.setup.attempt,
                model: Some(ModelConfig {
                    name: Some(model.to_owned()),
                    ..ModelConfig::default()
                }),
                ..RunConfig::default()
            };
            out.event(Payload::RunConfig(Box::new(config)), position, unit);
        }
        let mut record = RuntimeTelemetry {
            run_id: self.setup.run_id.clone(),
            attempt: self.setup.attempt,
            event_time_ms: amount(entry, "timestamp").and_then(|s| count((s * 1e3).trunc())),
            ..RuntimeTelemetry::default()
        };
        for key in entry.keys() {
            let Some(value) = amount(entry, key) else {
                continue;
            };
            let (name, value) = plain(key, value);
            let place = match name.as_str() {
                "timestamp" | "version" => continue,
                "num_completed_requests" => {
                    record.n = count(value);
                    continue;
                }
                "num_concurrent_requests" => {
                    record.concurrency = count(value);
                    continue;
                }
                "number_input_tokens_mean" => {
                    record.context_tokens = count(value.round());
                    keep(&mut record.metrics, &name, value);
                    continue;
                }
                "end_to_end_latency_ms_mean" => &mut record.latency_ms,
                "end_to_end_latency_ms_p50" => &mut record.latency_ms_p50,
                "end_to_end_latency_ms_p95" => &mut record.latency_ms_p95,
                "end_to_end_latency_ms_p99" => &mut record.latency_ms_p99,
                "ttft_ms_mean" => &mut record.time_to_first_token_ms,
                "mean_output_throughput_token_per_s" => &mut record.throughput_tokens_per_second,
                "num_completed_requests_per_min" => {
                    record.requests_per_second = Some(value / 60.0);
                    continue;
                }
                _ => {
                    keep(&mut record.metrics, &name, value);
                    continue;
                }
            };
            *place = Some(value);
        }
        out.event(Payload::RuntimeTelemetry(record), position, unit);
    }
}

/// A name of the summary without the tool's nesting, in milliseconds where it was in seconds:
/// `results_ttft_s_quantiles_p50` is `ttft_ms_p50`.
fn plain(key: &str, value: f64) -> (String, f64) {
    let name = key
        .strip_prefix("results_")
        .unwrap_or(key)
        .replace("_quantiles_", "_");
    match name.split_once("_latency_s_") {
        Some((before, behind)) => (format!("{before}_latency_ms_{behind}"), value * 1e3),
        None => match name.strip_prefix("ttft_s_") {
            Some(behind) => (format!("ttft_ms_{behind}"), value * 1e3),
            None => (name, value),
        },
    }
}
