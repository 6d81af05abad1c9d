//! The results of vLLM's benchmarks: serving, latency and throughput.
//!
//! Published format: `vllm/benchmarks/serve.py`, `latency.py` and `throughput.py` (earlier `benchmarks/benchmark_*.py`) of
//! github.com/vllm-project/vllm. A result is one JSON object, with `--append-result` several follow each other, and what
//! `vllm bench sweep` sums up is a list of them. Of a serving
//! result `mean_`, `median_`, `std_` and `pNN_` stand before `ttft_ms`, `tpot_ms`, `itl_ms` and `e2el_ms`; which percentiles
//! there are is the user's choice. SGLang's `bench_serving` writes the same with `e2e_latency_ms`.
//!
//! A result is one record of latency and throughput: `request_throughput` requests a second, `output_throughput` tokens a
//! second; seconds become milliseconds. What else is a number is kept as a metric, the model is the run's configuration. What
//! `--save-detailed` adds (a list for each number of a request, and the texts that were generated) is left out before
//! anything else looks at it. `date` is local time without a zone; none is taken.

use super::llmperf::amount;
use super::names::{count, keep};
use super::whole::{pieces, quoted_numbers};
use super::{Confidence, Format, Framing, Out, Parser, Piece, Position, Refusal, Reject, Setup};
use cairn_avro::record::{Environment, ModelConfig, Payload, RunConfig, RuntimeTelemetry};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::fmt;

#[cfg(test)]
mod tests;

/// Longest text that is kept of a result: names of models and backends are shorter.
const TEXT_BYTES_MAX: usize = 256;

/// The format.
pub(super) struct VllmBench;

impl Format for VllmBench {
    fn name(&self) -> &'static str {
        "vllm_bench"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["vllm", "vllm-bench"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        let has = |key: &str| {
            head.windows(key.len())
                .any(|window| window == key.as_bytes())
        };
        if !matches!(head.trim_ascii_start().first(), Some(b'{' | b'[')) {
            return Confidence::No;
        }
        let serving = has("\"request_throughput\"")
            && (has("\"total_input_tokens\"") || has("\"completed\""));
        let latency = has("\"avg_latency\"") && has("\"percentiles\"");
        let throughput = has("\"requests_per_second\"")
            && has("\"tokens_per_second\"")
            && has("\"elapsed_time\"");
        if serving || latency || throughput {
            return Confidence::Sure;
        }
        if [
            "\"request_throughput\"",
            "\"avg_latency\"",
            "\"total_input_tokens\"",
            "\"elapsed_time\"",
        ]
        .iter()
        .any(|key| has(key))
        {
            return Confidence::Perhaps(
                "it has one member of vLLM's results, but not those beside it",
            );
        }
        Confidence::No
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

/// The members of a result that are numbers or short texts; lists and what else is long are never built.
struct Scalars(Map<String, Value>);

impl<'de> serde::Deserialize<'de> for Scalars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Scalars;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalars, A::Error> {
                let mut members = Map::new();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "generated_texts" | "errors" | "input_lens" | "output_lens" | "ttfts"
                        | "itls" | "latencies" | "start_times" | "queue_times" => {
                            map.next_value::<IgnoredAny>()?;
                        }
                        _ => {
                            let value: Value = map.next_value()?;
                            let kept = match &value {
                                Value::Number(_) => true,
                                Value::String(text) => text.len() <= TEXT_BYTES_MAX,
                                Value::Object(_) => key == "percentiles",
                                _ => false,
                            };
                            if kept {
                                members.insert(key, value);
                            }
                        }
                    }
                }
                Ok(Scalars(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl Parser for Document {
    fn framing(&self) -> Framing {
        Framing::Whole
    }

    fn split(&mut self, document: Vec<u8>) -> Result<(Vec<u8>, Vec<Piece>), Reject> {
        let repaired = quoted_numbers(&document);
        let text = repaired.as_deref().unwrap_or(&document);
        let mut results: Vec<&RawValue> = Vec::new();
        let mut documents = serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>();
        loop {
            let at = documents.byte_offset();
            let found = match documents.next() {
                None => break,
                Some(Ok(list)) if list.get().starts_with('[') => {
                    serde_json::from_str::<Vec<&RawValue>>(list.get())
                }
                Some(found) => found.map(|result| vec![result]),
            };
            match found {
                Ok(found) => results.extend(found),
                Err(error) => {
                    return Err(Reject {
                        class: "json",
                        text: format!(
                            "the document is no result of vLLM: {error}; it may still be written, or was cut"
                        ),
                        topic: "telemetry.runtime".into(),
                        position: Position {
                            line: error.line().max(1) as u64,
                            byte: at as u64,
                        },
                        original: document,
                    });
                }
            }
        }
        let mut kept = Vec::new();
        let mut pieces = pieces(&document, text, &results);
        for (piece, result) in pieces.iter_mut().zip(&results) {
            piece.start = kept.len();
            match serde_json::from_str::<Scalars>(result.get()) {
                Ok(Scalars(members)) => {
                    kept.extend_from_slice(Value::Object(members).to_string().as_bytes());
                }
                // what is no object is a reject of its own, without what it says
                Err(_) => kept.extend_from_slice(b"null"),
            }
            piece.end = kept.len();
        }
        Ok((kept, pieces))
    }

    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        let entry = match serde_json::from_slice::<Scalars>(unit) {
            Ok(Scalars(entry)) => entry,
            Err(error) => {
                let text = format!("a result is no object: {error}");
                out.reject("json", text, "telemetry.runtime", position, unit);
                return Ok(());
            }
        };
        let mut record = RuntimeTelemetry {
            run_id: self.setup.run_id.clone(),
            attempt: self.setup.attempt,
            ..RuntimeTelemetry::default()
        };
        for key in entry.keys() {
            if let Some(value) = amount(&entry, key) {
                put(&mut record, key, value);
            }
        }
        if let Some(Value::Object(percentiles)) = entry.get("percentiles") {
            for percentile in percentiles.keys() {
                if let Some(seconds) = amount(percentiles, percentile) {
                    put(
                        &mut record,
                        &format!("p{percentile}_e2el_ms"),
                        seconds * 1e3,
                    );
                }
            }
        }
        let nothing = RuntimeTelemetry {
            run_id: record.run_id.clone(),
            attempt: record.attempt,
            metrics: record.metrics.clone(),
            ..RuntimeTelemetry::default()
        };
        if record == nothing {
            let text = "the object has no latency and no throughput; it is no result";
            out.reject(
                "missing_field",
                text.into(),
                "telemetry.runtime",
                position,
                unit,
            );
            return Ok(());
        }
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        let (model, backend) = (text("model_id"), text("backend"));
        if model.is_some() || backend.is_some() {
            let config = RunConfig {
                run_id: record.run_id.clone(),
                attempt: record.attempt,
                model: model.map(|name| ModelConfig {
                    name: Some(name.to_owned()),
                    ..ModelConfig::default()
                }),
                environment: backend.map(|backend| Environment {
                    framework: Some(backend.to_owned()),
                    ..Environment::default()
                }),
                ..RunConfig::default()
            };
            out.event(Payload::RunConfig(Box::new(config)), position, unit);
        }
        out.event(Payload::RuntimeTelemetry(record), position, unit);
        Ok(())
    }
}

/// Puts a number where its name leads; the unit goes to the end of the name.
fn put(record: &mut RuntimeTelemetry, key: &str, value: f64) {
    let name = key.replace("e2e_latency_ms", "e2el_ms");
    let (place, value) = match name.as_str() {
        "completed" | "num_requests" => return record.n = count(value),
        "max_concurrency" => return record.concurrency = count(value),
        "total_input_tokens" => return record.input_tokens = count(value),
        "total_output_tokens" => return record.output_tokens = count(value),
        "mean_e2el_ms" => (&mut record.latency_ms, value),
        "avg_latency" => (&mut record.latency_ms, value * 1e3),
        "median_e2el_ms" | "p50_e2el_ms" => (&mut record.latency_ms_p50, value),
        "p95_e2el_ms" => (&mut record.latency_ms_p95, value),
        "p99_e2el_ms" => (&mut record.latency_ms_p99, value),
        "mean_ttft_ms" => (&mut record.time_to_first_token_ms, value),
        "mean_tpot_ms" => (&mut record.time_per_output_token_ms, value),
        "output_throughput" => (&mut record.throughput_tokens_per_second, value),
        "request_throughput" | "requests_per_second" => (&mut record.requests_per_second, value),
        name => {
            let (name, value) = match name {
                "duration" => ("duration_ms", value * 1e3),
                "elapsed_time" => ("duration_ms", value * 1e3),
                "std_latency" => ("std_e2el_ms", value * 1e3),
                "request_goodput" | "request_goodput:" => ("good_requests_per_second", value),
                "total_token_throughput" | "tokens_per_second" => {
                    ("total_tokens_per_second", value)
                }
                "input_throughput" => ("input_tokens_per_second", value),
                "max_output_tokens_per_s" => ("peak_output_tokens_per_second", value),
                "request_rate" => ("requests_offered_per_second", value),
                "total_num_tokens" => ("total_tokens", value),
                "spec_decode_acceptance_rate" => ("spec_decode_acceptance_percent", value),
                // a name of a file, a seed or a moment is no measurement
                "date" | "seed" | "tokenizer_id" | "backend" | "model_id" | "label" => return,
                name => (name, value),
            };
            keep(&mut record.metrics, name, value);
            return;
        }
    };
    if place.is_none() && value >= 0.0 {
        *place = Some(value);
    } else {
        keep(&mut record.metrics, &name, value);
    }
}
