//! OpenTelemetry traces in OTLP's JSON: the spans of generative AI in them.
//!
//! Published formats: the JSON encoding of OTLP (opentelemetry.io/docs/specs/otlp, `opentelemetry/proto/trace/v1/trace.proto`
//! of github.com/open-telemetry/opentelemetry-proto: ids in hexadecimal, 64-bit numbers as texts) in files as the OTLP file
//! exporter writes them (opentelemetry.io/docs/specs/otel/protocol/file-exporter: an object `{"resourceSpans": …}` a line; an
//! object spread over lines is taken, too, and so is a list of such objects; metrics and logs between them are passed over,
//! and something that is no export costs only itself), with the semantic conventions for generative AI
//! (`docs/gen-ai/gen-ai-spans.md` of github.com/open-telemetry/semantic-conventions), up to and after v1.36.
//!
//! A span of a call of a model (`gen_ai.operation.name` `chat`, `text_completion`, `generate_content`, `embeddings`, or
//! anything that says tokens used) is one record of latency; `gen_ai.server.…` and vLLM's `gen_ai.latency.…` are seconds and
//! become milliseconds. A span of `execute_tool`, and any other operation (`invoke_agent`), is one tool call; status `ERROR`
//! is a failure, of class `error.type`. Spans of other kinds are passed over. A span is known by its ids, so that one that was
//! exported twice counts once.
//!
//! Prompts, answers, tool arguments and results, descriptions and names of spans may hold anything: the document is cut down
//! to ids, numbers and the categories below before anything else looks at it, dead letters included.

use super::names::keep;
use super::whole::{quoted_numbers, span, spans};
use super::{Confidence, Format, Framing, Out, Parser, Piece, Position, Refusal, Reject, Setup};
use cairn_avro::record::{Payload, RuntimeTelemetry, ToolOutcome, ToolUse};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

#[cfg(test)]
pub(super) mod tests;

/// Attributes whose texts are categories or ids; texts of all others are dropped.
const TEXTS: [&str; 9] = [
    "error.type",
    "gen_ai.conversation.id",
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.system",
    "gen_ai.tool.name",
    "gen_ai.tool.type",
];
/// Longest such text: a category that is longer is none.
const TEXT_BYTES_MAX: usize = 256;
/// Operations that are calls of a model.
const CALLS: [&str; 4] = ["chat", "text_completion", "generate_content", "embeddings"];

/// The format.
pub(super) struct Otlp;

impl Format for Otlp {
    fn name(&self) -> &'static str {
        "otlp"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["otel", "opentelemetry", "otlp-json"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        let has = |key: &str| {
            head.windows(key.len())
                .any(|window| window == key.as_bytes())
        };
        if !matches!(head.trim_ascii_start().first(), Some(b'{' | b'[')) {
            return Confidence::No;
        }
        if !has("\"resourceSpans\"") {
            return match has("\"resource_spans\"") {
                true => Confidence::Perhaps(
                    "it has spans under the names of the protocol buffers (resource_spans); OTLP's JSON says resourceSpans, write it with an exporter of OTLP",
                ),
                false => Confidence::No,
            };
        }
        if has("\"gen_ai.") {
            Confidence::Sure
        } else {
            Confidence::Perhaps(
                "it has OTLP spans, but none in its first bytes is of generative AI",
            )
        }
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Ok(Box::new(Document {
            setup: setup.clone(),
        }))
    }
}

/// What an export says; metrics and logs, which a collector may write into the same file, have no spans.
#[derive(serde::Deserialize)]
struct Traces<'a> {
    #[serde(borrow, default, rename = "resourceSpans")]
    resources: Option<Vec<ResourceSpans<'a>>>,
    #[serde(default, rename = "resourceMetrics")]
    metrics: Option<IgnoredAny>,
    #[serde(default, rename = "resourceLogs")]
    logs: Option<IgnoredAny>,
}

// a member that is null has its default, as protocol buffers read JSON
#[derive(serde::Deserialize)]
struct ResourceSpans<'a> {
    // before v0.15 of the protocol a scope was a library
    #[serde(
        borrow,
        default,
        rename = "scopeSpans",
        alias = "instrumentationLibrarySpans"
    )]
    scopes: Option<Vec<ScopeSpans<'a>>>,
}

#[derive(serde::Deserialize)]
struct ScopeSpans<'a> {
    #[serde(borrow, default)]
    spans: Option<Vec<&'a RawValue>>,
}

/// The spans of an export, or of a list of them.
fn spans_of(export: &RawValue) -> Result<Vec<&RawValue>, serde_json::Error> {
    // serde would take a list for the members in their order
    let exports: Vec<Traces<'_>> = match export.get().starts_with('[') {
        true => serde_json::from_str(export.get())?,
        false => vec![serde_json::from_str(export.get())?],
    };
    let is_export = |export: &Traces<'_>| {
        export.resources.is_some() || export.metrics.is_some() || export.logs.is_some()
    };
    if !exports.iter().all(is_export) {
        return Err(serde::de::Error::missing_field("resourceSpans"));
    }
    Ok(exports
        .into_iter()
        .flat_map(|export| export.resources.unwrap_or_default())
        .flat_map(|resource| resource.scopes.unwrap_or_default())
        .flat_map(|scope| scope.spans.unwrap_or_default())
        .collect())
}

/// Where the next export begins behind something that is none: with its first name at the beginning of a line.
fn next_export(text: &[u8], from: usize) -> usize {
    let begins = |line: &[u8]| {
        let mut rest = line;
        for open in [b'[', b'{'] {
            rest = rest
                .strip_prefix(&[open])
                .unwrap_or(rest)
                .trim_ascii_start();
        }
        line.first()
            .is_some_and(|first| matches!(first, b'[' | b'{'))
            && rest.starts_with(b"\"resource")
    };
    let mut at = from;
    while let Some(end) = text[at..].iter().position(|byte| *byte == b'\n') {
        at += end + 1;
        if begins(&text[at..]) {
            return at;
        }
    }
    text.len()
}

struct Document {
    setup: Setup,
}

impl Parser for Document {
    fn framing(&self) -> Framing {
        Framing::Whole
    }

    fn split(&mut self, document: Vec<u8>) -> Result<(Vec<u8>, Vec<Piece>), Reject> {
        let repaired = quoted_numbers(&document);
        let text = repaired.as_deref().unwrap_or(&document);
        // where a span stands; nothing where something else stands that is no export
        let mut places: Vec<(usize, usize)> = Vec::new();
        let (mut at, mut whole, mut first_fault) = (0, false, None);
        while at < text.len() {
            let mut exports =
                serde_json::Deserializer::from_slice(&text[at..]).into_iter::<&RawValue>();
            let (fault, place, next) = loop {
                let from = at + exports.byte_offset();
                match exports.next() {
                    None => break (None, from, text.len()),
                    Some(Ok(export)) => {
                        let end = at + exports.byte_offset();
                        match spans_of(export) {
                            Ok(found) => {
                                whole = true;
                                places.extend(found.into_iter().map(|part| span(text, part)));
                            }
                            Err(fault) => break (Some(fault), end - export.get().len(), end),
                        }
                    }
                    Some(Err(fault)) => {
                        let from = at + exports.byte_offset();
                        break (Some(fault), from, next_export(text, from));
                    }
                }
            };
            if let Some(fault) = fault {
                places.push((place, place));
                first_fault.get_or_insert(fault);
            }
            at = next;
        }
        if let (false, Some(error)) = (whole, first_fault) {
            return Err(Reject {
                class: "json",
                text: format!(
                    "the document is no OTLP trace: {error}; it may still be written, or was cut"
                ),
                topic: "telemetry.tooluse".into(),
                position: Position {
                    line: error.line().max(1) as u64,
                    byte: 0,
                },
                original: Vec::new(),
            });
        }
        let mut kept = Vec::new();
        let mut found = spans(&document, text, places.into_iter());
        for piece in &mut found {
            let part = &text[piece.start..piece.end];
            piece.start = kept.len();
            match serde_json::from_slice::<Value>(part) {
                Ok(span) => kept.extend_from_slice(cut_down(&span).to_string().as_bytes()),
                Err(_) => kept.extend_from_slice(b"\"what stands here is no OTLP trace\""),
            }
            piece.end = kept.len();
        }
        Ok((kept, found))
    }

    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        let span = match serde_json::from_slice::<Value>(unit) {
            Ok(Value::Object(span)) => span,
            _ => {
                let text = "it is no object of spans; the file was cut, is still being written, or is damaged";
                out.reject("json", text.into(), "telemetry.tooluse", position, unit);
                return Ok(());
            }
        };
        // a span that was not cut down comes from a dead letter of another version
        let span = cut_down(&Value::Object(span));
        match self.event(&span) {
            Ok(None) => out.ignored += 1,
            Ok(Some((payload, id))) => out.identified(payload, Some(id), position, unit),
            Err((class, text)) => out.reject(class, text, "telemetry.tooluse", position, unit),
        }
        Ok(())
    }
}

/// A number of OTLP: plain, or a text where it has 64 bits.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
    .filter(|number| number.is_finite())
}

/// A span without anything that may be somebody's words.
fn cut_down(span: &Value) -> Value {
    let mut attributes = Map::new();
    let listed = span.get("attributes");
    match listed {
        Some(Value::Array(list)) => {
            for attribute in list {
                let (Some(key), Some(value)) = (
                    attribute.get("key").and_then(Value::as_str),
                    attribute.get("value"),
                ) else {
                    continue;
                };
                let kept = match (value.get("stringValue"), value.get("boolValue")) {
                    (Some(Value::String(text)), _) if TEXTS.contains(&key) => {
                        category(text).map(Value::from)
                    }
                    (_, Some(Value::Bool(flag))) => Some(Value::from(*flag)),
                    _ => value
                        .get("intValue")
                        .or_else(|| value.get("doubleValue"))
                        .and_then(number)
                        .map(Value::from),
                };
                if let Some(value) =
                    kept.filter(|_| key.starts_with("gen_ai.") || key == "error.type")
                {
                    attributes.insert(key.to_owned(), value);
                }
            }
        }
        // cut down already
        Some(Value::Object(known)) => attributes.clone_from(known),
        _ => {}
    }
    let status = span.get("status").and_then(|status| match status {
        Value::Object(status) => status.get("code").cloned(),
        code => Some(code.clone()),
    });
    let status = match status {
        Some(Value::Number(code)) => code.as_i64().unwrap_or(0),
        Some(Value::String(name)) if name == "STATUS_CODE_ERROR" => 2,
        Some(Value::String(name)) if name == "STATUS_CODE_OK" => 1,
        _ => 0,
    };
    let text = |key: &str| {
        span.get(key)
            .and_then(Value::as_str)
            .filter(|text| text.len() <= 64)
    };
    json!({
        "traceId": text("traceId"),
        "spanId": text("spanId"),
        "startTimeUnixNano": span.get("startTimeUnixNano").and_then(nanoseconds),
        "endTimeUnixNano": span.get("endTimeUnixNano").and_then(nanoseconds),
        "status": status,
        "attributes": attributes,
    })
}

/// A time as a whole number, so that no digit is lost.
fn nanoseconds(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
    .filter(|time| *time > 0)
}

fn category(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && text.len() <= TEXT_BYTES_MAX && !text.contains(char::is_control))
        .then(|| text.to_owned())
}

/// An id in hexadecimal, as W3C writes it.
fn id(span: &Value, key: &str, digits: usize) -> Result<String, (&'static str, String)> {
    let text = span.get(key).and_then(Value::as_str).unwrap_or_default();
    let hexadecimal = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hexadecimal && text.bytes().any(|byte| byte != b'0') {
        return Ok(text.to_ascii_lowercase());
    }
    Err((
        "bad_value",
        format!(
            "{key} has {} characters and is no id of {digits} hexadecimal digits",
            text.len()
        ),
    ))
}

impl Document {
    /// What a span says; nothing where it is of no generative AI.
    fn event(&self, span: &Value) -> Result<Option<(Payload, String)>, (&'static str, String)> {
        let none = Map::new();
        let attributes = span
            .get("attributes")
            .and_then(Value::as_object)
            .unwrap_or(&none);
        if !attributes.keys().any(|key| key.starts_with("gen_ai.")) {
            return Ok(None);
        }
        let trace_id = id(span, "traceId", 32)?;
        let span_id = id(span, "spanId", 16)?;
        let time = |key: &str| span.get(key).and_then(Value::as_i64);
        let end = time("endTimeUnixNano");
        let latency_ms = match (time("startTimeUnixNano"), end) {
            (Some(start), Some(end)) if end < start => {
                let text = "the span ends before it starts; check the sender's clock";
                return Err(("out_of_range", text.into()));
            }
            (Some(start), Some(end)) => Some((end - start) as f64 / 1e6),
            _ => None,
        };
        let event_time_ms = end.map(|end| end / 1_000_000);
        let text = |key: &str| attributes.get(key).and_then(Value::as_str);
        let failed = span.get("status").and_then(Value::as_i64) == Some(2)
            || attributes.contains_key("error.type");
        let event_id = format!("otlp:{trace_id}:{span_id}");
        let operation = text("gen_ai.operation.name");
        let uses_tokens = attributes
            .keys()
            .any(|key| key.starts_with("gen_ai.usage.") || key.starts_with("gen_ai.latency."));
        let calls_model = match operation {
            Some(operation) => CALLS.contains(&operation),
            None => uses_tokens || text("gen_ai.request.model").is_some(),
        };
        let known = text("gen_ai.tool.name").or(operation);
        if let Some(tool) = known.filter(|_| !calls_model) {
            let class = text("error.type");
            let tool = ToolUse {
                run_id: self.setup.run_id.clone(),
                attempt: self.setup.attempt,
                event_time_ms,
                trace_id: Some(trace_id),
                span_id: Some(span_id),
                tool: tool.to_owned(),
                outcome: match failed {
                    true if class
                        .is_some_and(|class| class.to_ascii_lowercase().contains("timeout")) =>
                    {
                        ToolOutcome::Timeout
                    }
                    true => ToolOutcome::Failure,
                    false => ToolOutcome::Success,
                },
                error_class: class.map(str::to_owned),
                latency_ms,
                task: text("gen_ai.conversation.id").map(str::to_owned),
                ..ToolUse::default()
            };
            return Ok(Some((Payload::ToolUse(tool), event_id)));
        }
        if !calls_model {
            return Ok(None);
        }
        let mut record = RuntimeTelemetry {
            run_id: self.setup.run_id.clone(),
            attempt: self.setup.attempt,
            event_time_ms,
            n: Some(1),
            // how long a call took that failed says nothing of the model
            latency_ms: latency_ms.filter(|_| !failed),
            ..RuntimeTelemetry::default()
        };
        if failed {
            record.metrics.insert("failed".into(), 1.0);
            if let Some(latency) = latency_ms {
                keep(&mut record.metrics, "failed_after_ms", latency);
            }
        }
        for (key, value) in attributes {
            if let Some(value) = number(value) {
                measure(&mut record, key, value);
            }
        }
        Ok(Some((Payload::RuntimeTelemetry(record), event_id)))
    }
}

/// Puts an attribute of a call where it belongs.
fn measure(record: &mut RuntimeTelemetry, key: &str, value: f64) {
    let name = key.strip_prefix("gen_ai.").unwrap_or(key);
    match name {
        // before v1.27 of the conventions they were tokens of prompt and completion
        "usage.input_tokens" | "usage.prompt_tokens" => {
            record.input_tokens = super::names::count(value);
            record.context_tokens = record.input_tokens;
        }
        "usage.output_tokens" | "usage.completion_tokens" => {
            record.output_tokens = super::names::count(value);
        }
        "server.time_to_first_token" | "latency.time_to_first_token" if value >= 0.0 => {
            record.time_to_first_token_ms = Some(value * 1e3);
        }
        // what the client saw; a first chunk may hold several tokens
        "response.time_to_first_chunk" if value >= 0.0 => {
            keep(
                &mut record.metrics,
                "response_time_to_first_chunk_ms",
                value * 1e3,
            );
        }
        "server.time_per_output_token" if value >= 0.0 => {
            record.time_per_output_token_ms = Some(value * 1e3);
        }
        _ => {
            let seconds = name.starts_with("latency.") || name.starts_with("server.");
            if seconds {
                keep(&mut record.metrics, &format!("{name}_ms"), value * 1e3);
            } else {
                keep(&mut record.metrics, name, value);
            }
        }
    }
}
