//! Logs of OpenAI's evals framework, one JSON object a line.
//!
//! Published format: `LocalRecorder` in `evals/record.py` of github.com/openai/evals. The first line is `{"spec": RunSpec}`
//! (`evals/base.py`: `completion_fns`, `eval_name`, `base_eval`, `split`, …; early versions `model_name`), then come events
//! `{"run_id", "event_id", "sample_id", "type", "data", "created_by", "created_at"}`, and `{"final_report": {…}, "run_id"}`: behind
//! them, or before those that were still held in memory when it was written. So it is given out at the end of the log.
//!
//! Each number of the final report becomes an `eval.results` event, its task the eval's name; members of members are named
//! `outer/inner`. Events of the samples are many and are counted, not passed on one by one: `match` events give the number of
//! samples of `accuracy`, `metrics` events that of the metrics they name. `boostrap_std` (so spelt) is the standard error of
//! `accuracy`: halves drawn without replacement vary as much as the whole does. What the report lacks, or a log that was cut
//! before its report, is given out at the end as the mean over the samples, with its standard error. `error` events are
//! counted as metric `errors`. `function_call` events become `telemetry.tooluse`. The time is that of the last event. Prompts,
//! samples, arguments and what was expected or picked stay where they are; token counts (`usage_*`) are no scores.

use super::super::outline::Outline;
use super::super::text::Number;
use super::super::whole::quoted_numbers;
use super::super::{Confidence, Format, Out, Parser, Position, Refusal, Setup};
use super::{Mean, direction, id, number, tags, verdict};
use cairn_avro::record::{EvalResult, Payload, ToolUse};
use datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const TOPIC: &str = "eval.results";
const ACCURACY: &str = "accuracy";
const STANDARD_ERROR: [&str; 2] = ["boostrap_std", "bootstrap_std"];
/// Members of members that are followed in a report.
const REPORT_DEPTH: usize = 4;

/// The format.
pub(in super::super) struct OpenAiEvals;

/// Whether a JSON object is a line of such a log: its events have a `run_id` as the contract's rows have.
pub(in super::super) fn is_its_line(row: &Map<String, Value>) -> bool {
    let has = |name| row.contains_key(name);
    (has("sample_id") && has("type") && has("data")) || has("final_report") || has("spec")
}

impl Format for OpenAiEvals {
    fn name(&self) -> &'static str {
        "openai_evals"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["openai-evals", "oaieval"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        let outline = Outline::of(head);
        let spec = outline.has_any(&["spec"], &["eval_name", "base_eval"]);
        let events = outline.has_all(&[], &["sample_id", "event_id", "type", "data"]);
        let report = outline.has_all(&[], &["final_report", "run_id"]);
        if spec || events || report {
            return Confidence::Sure;
        }
        if outline.has_any(&["spec"], &["completion_fns"]) || outline.has(&["final_report"]) {
            return Confidence::Perhaps("it begins as a log of openai/evals, but is cut too early");
        }
        Confidence::No
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Ok(Box::new(Log {
            setup: setup.clone(),
            ..Log::default()
        }))
    }
}

#[derive(Default)]
struct Log {
    setup: Setup,
    eval: Option<String>,
    matches: Mean,
    metrics: BTreeMap<String, Mean>,
    errors: i64,
    /// The final report, until the samples that it is about are counted.
    report: Option<Report>,
    event_time_ms: Option<i64>,
}

struct Report {
    scores: Vec<(String, Number)>,
    unit: Vec<u8>,
    position: Position,
}

#[derive(serde::Deserialize)]
struct Line<'a> {
    #[serde(default)]
    spec: Option<Map<String, Value>>,
    #[serde(default)]
    final_report: Option<Value>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    sample_id: Option<Value>,
    #[serde(default)]
    created_at: Option<String>,
}

/// The few members of an event's data that are read.
#[derive(Default, serde::Deserialize)]
struct Data {
    #[serde(default)]
    correct: Option<Value>,
    #[serde(default)]
    name: Option<String>,
}

impl Parser for Log {
    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        let text = unit.trim_ascii();
        if text.is_empty() {
            out.ignored += 1;
            return Ok(());
        }
        let quoted = quoted_numbers(text);
        let line: Line<'_> = match serde_json::from_slice(quoted.as_deref().unwrap_or(text)) {
            Ok(line) => line,
            Err(error) => {
                let text = format!("the line is no event of openai/evals: {error}");
                out.reject("json", text, TOPIC, position, unit);
                return Ok(());
            }
        };
        if let Some(time_ms) = line.created_at.as_deref().and_then(zoned_ms) {
            self.event_time_ms = Some(time_ms);
        }
        if let Some(spec) = &line.spec {
            self.begin(spec, (unit, position), out);
        } else if let Some(report) = &line.final_report {
            self.report(report, (unit, position), out);
        } else if let Some(kind) = line.kind.as_deref() {
            if let Err(why) = self.event(kind, &line, (unit, position), out) {
                out.reject("bad_value", why, TOPIC, position, unit);
            }
        } else {
            let text = "the line is neither spec nor event nor final report of openai/evals";
            out.reject("bad_line", text.into(), TOPIC, position, unit);
        }
        Ok(())
    }

    fn end(&mut self, position: Position, out: &mut Out) -> Result<(), Refusal> {
        self.finish((&[], position), out);
        Ok(())
    }
}

impl Log {
    /// A spec begins a log; one behind another ends the one before.
    fn begin(&mut self, spec: &Map<String, Value>, at: (&[u8], Position), out: &mut Out) {
        self.finish(at, out);
        let named = |names: &[&str]| names.iter().find_map(|name| spec.get(*name).and_then(id));
        self.eval = named(&["eval_name", "base_eval"]);
        let mut models: Vec<String> = named(&["model_name"]).into_iter().collect();
        if let Some(Value::Array(names)) = spec.get("completion_fns") {
            models.extend(names.iter().filter_map(id));
        }
        let tags = tags(
            &self.setup,
            models.iter().map(|model| format!("model:{model}")),
        );
        match tags {
            Some(payload) => out.event(payload, at.1, at.0),
            None => out.ignored += 1,
        }
    }

    fn event(
        &mut self,
        kind: &str,
        line: &Line<'_>,
        (unit, position): (&[u8], Position),
        out: &mut Out,
    ) -> Result<(), String> {
        let sample = line.sample_id.as_ref().and_then(id).unwrap_or_default();
        let data = || match line.data {
            Some(data) => serde_json::from_str::<Data>(data.get())
                .map_err(|error| format!("the data of a {kind} event cannot be read: {error}")),
            None => Err(format!("a {kind} event has no data")),
        };
        match kind {
            "match" => {
                let correct = data()?.correct.as_ref().and_then(verdict).ok_or_else(|| {
                    format!("the match of sample {sample} is neither correct nor wrong")
                })?;
                self.matches.add(f64::from(u8::from(correct)));
            }
            "metrics" => {
                let values: Map<String, Value> = line
                    .data
                    .and_then(|data| serde_json::from_str(data.get()).ok())
                    .ok_or_else(|| format!("the metrics of sample {sample} are no object"))?;
                for (name, value) in values {
                    let value = match verdict(&value) {
                        Some(verdict) => Some(f64::from(u8::from(verdict))),
                        None => number(&value).and_then(|number| number.value),
                    };
                    if let Some(value) = value {
                        self.metrics.entry(name).or_default().add(value);
                    }
                }
            }
            "function_call" => {
                let tool = data()?
                    .name
                    .ok_or_else(|| format!("a function call of sample {sample} has no name"))?;
                let call = ToolUse {
                    run_id: self.setup.run_id.clone(),
                    attempt: self.setup.attempt,
                    event_time_ms: line.created_at.as_deref().and_then(zoned_ms),
                    tool,
                    task: Some(format!("{}/{sample}", self.task())),
                    ..ToolUse::default()
                };
                out.event(Payload::ToolUse(call), position, unit);
                return Ok(());
            }
            "error" => self.errors += 1,
            _ => {}
        }
        out.ignored += 1;
        Ok(())
    }

    fn report(&mut self, report: &Value, (unit, position): (&[u8], Position), out: &mut Out) {
        let mut scores = Vec::new();
        flatten(report, String::new(), 0, &mut scores);
        if scores.is_empty() {
            let text = "the final report holds no number".into();
            out.reject("bad_value", text, TOPIC, position, unit);
            return;
        }
        self.report = Some(Report {
            scores,
            unit: unit.to_vec(),
            position,
        });
    }

    /// Gives out the report, then what the samples say and the report did not, and forgets both.
    fn finish(&mut self, (unit, position): (&[u8], Position), out: &mut Out) {
        let mut means = std::mem::take(&mut self.metrics);
        let matches = std::mem::take(&mut self.matches);
        if matches.n > 0 {
            means.entry(ACCURACY.to_owned()).or_insert(matches);
        }
        if let Some(report) = self.report.take() {
            let is_error = |metric: &str| STANDARD_ERROR.contains(&metric);
            let standard_error = report
                .scores
                .iter()
                .find(|(metric, _)| is_error(metric))
                .and_then(|(_, error)| error.value);
            for (metric, score) in &report.scores {
                if is_error(metric) || metric.starts_with("usage_") {
                    continue;
                }
                let n = means.remove(metric).map(|mean| mean.n);
                let result = EvalResult {
                    value_state: score.state,
                    standard_error: standard_error.filter(|_| metric == ACCURACY),
                    ..self.result(metric, score.value, n)
                };
                out.event(Payload::EvalResult(result), report.position, &report.unit);
            }
        }
        for (metric, mean) in means {
            let result = EvalResult {
                standard_error: mean.standard_error(),
                ..self.result(&metric, Some(mean.mean), Some(mean.n))
            };
            out.event(Payload::EvalResult(result), position, unit);
        }
        let errors = std::mem::take(&mut self.errors);
        if errors > 0 {
            let result = EvalResult {
                higher_is_better: Some(false),
                ..self.result("errors", Some(errors as f64), None)
            };
            out.event(Payload::EvalResult(result), position, unit);
        }
    }

    fn task(&self) -> &str {
        self.eval.as_deref().unwrap_or(&self.setup.run_id)
    }

    fn result(&self, metric: &str, value: Option<f64>, n: Option<i64>) -> EvalResult {
        EvalResult {
            run_id: self.setup.run_id.clone(),
            attempt: self.setup.attempt,
            event_time_ms: self.event_time_ms,
            harness: "openai-evals".into(),
            task: self.task().to_owned(),
            metric: metric.to_owned(),
            value,
            n,
            higher_is_better: direction(metric),
            ..EvalResult::default()
        }
    }
}

/// The numbers of a report, by the names of the way to them.
fn flatten(value: &Value, name: String, depth: usize, scores: &mut Vec<(String, Number)>) {
    match value {
        Value::Object(members) if depth < REPORT_DEPTH => {
            for (member, value) in members {
                let name = match name.as_str() {
                    "" => member.clone(),
                    outer => format!("{outer}/{member}"),
                };
                flatten(value, name, depth + 1, scores);
            }
        }
        value => {
            let name = if name.is_empty() {
                "score".to_owned()
            } else {
                name
            };
            scores.extend(number(value).map(|number| (name, number)));
        }
    }
}

/// A time that says its zone, in milliseconds since 1970.
fn zoned_ms(text: &str) -> Option<i64> {
    let clock = text.get(11..)?;
    let zoned = clock.ends_with('Z') || clock.contains(['+', '-']);
    let nanos = string_to_timestamp_nanos(text).ok()?;
    zoned.then_some(nanos.div_euclid(1_000_000))
}
