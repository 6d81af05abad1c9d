//! Result files of EleutherAI's lm-evaluation-harness, v0.3 and v0.4.
//!
//! Published format: github.com/EleutherAI/lm-evaluation-harness. v0.3: the object that `simple_evaluate` in
//! `lm_eval/evaluator.py` (tag v0.3.0) returns, `{"results": {task: {metric, metric_stderr}}, "versions", "config"}`. v0.4
//! and later: `EvalResults` in `lm_eval/result_schema.py`, written by `lm_eval/loggers/evaluation_tracker.py` as
//! `results_<time>.json`: metrics are named `metric,filter` and `metric_stderr,filter`; beside them stand `alias`,
//! `sample_len` and the like; `n-shot`, `n-samples`, `higher_is_better`, `versions` are tables by task; `groups` repeats the
//! groups that have an aggregate. A standard error that was not computed is `"N/A"`.
//!
//! Each metric of each task becomes an `eval.results` event. The filter `none` is left out of the metric's name, so that v0.3
//! and v0.4 name the same thing alike; another one stays in it (`exact_match,strict-match`). A score that is not finite is a
//! reject. Files of lighteval (github.com/huggingface/lighteval, which the first Open LLM Leaderboard ran) have the same
//! results and `config_general` beside them; their harness is `lighteval`. The step of the checkpoint is taken from what the model arguments call it: a revision `step<k>`, a folder
//! `checkpoint-<k>` or `global_step<k>`. The evaluation's time is its start (`date`, seconds) and, where that is told, how
//! long it took. `samples_*.jsonl` (one line an item, with its prompt) is not read.

use super::super::outline::{ANY, Outline};
use super::super::whole::{Members, member_pieces, quoted_numbers};
use super::super::{
    Confidence, Format, Framing, Out, Parser, Piece, Position, Refusal, Reject, Setup,
};
use super::{direction, member, number, tags, unreadable};
use cairn_avro::record::{EvalResult, Payload};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

const TOPIC: &str = "eval.results";

/// The format.
pub(in super::super) struct LmEval;

impl Format for LmEval {
    fn name(&self) -> &'static str {
        "lm_eval"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["lm-eval", "lm-evaluation-harness", "lm_eval_harness"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        const TABLES: [&str; 6] = [
            "versions",
            "config",
            "configs",
            "n-shot",
            "n-samples",
            "higher_is_better",
        ];
        let outline = Outline::of(head);
        let scored = outline.keys(&["results", ANY]).any(|key| {
            key.ends_with("_stderr") || key.contains("_stderr,") || key.ends_with(",none")
        });
        let tables = TABLES
            .into_iter()
            .filter(|table| outline.has(&[*table]))
            .count();
        if outline.has_all(&[], &["doc_id", "resps", "filtered_resps"]) {
            return Confidence::Perhaps(
                "it holds the samples of lm-evaluation-harness; the scores are in results_*.json beside it",
            );
        }
        match outline.has(&["results"]) {
            true if scored || tables >= 2 => Confidence::Sure,
            true if tables > 0 => Confidence::Perhaps(
                "it has results, but neither the standard errors nor the tables of lm-evaluation-harness",
            ),
            _ => Confidence::No,
        }
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Ok(Box::new(Results {
            setup: setup.clone(),
            about: About::default(),
            tagged: false,
        }))
    }
}

struct Results {
    setup: Setup,
    about: About,
    /// The model's name was given out.
    tagged: bool,
}

/// What the document says about all of its scores.
#[derive(Default)]
struct About {
    /// Where it is another one than lm-evaluation-harness.
    harness: Option<&'static str>,
    model: Option<String>,
    step: Option<i64>,
    few_shot: Option<i32>,
    harness_version: Option<String>,
    event_time_ms: Option<i64>,
    versions: Map<String, Value>,
    shots: Map<String, Value>,
    samples: Map<String, Value>,
    higher_is_better: Map<String, Value>,
}

/// The tables are read one by one: a broken one costs what it says, not the scores.
#[derive(serde::Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    results: Members<'a>,
    #[serde(borrow, default)]
    groups: Option<&'a RawValue>,
    #[serde(borrow, default)]
    config: Option<&'a RawValue>,
    #[serde(borrow, default)]
    config_general: Option<&'a RawValue>,
    #[serde(borrow, default)]
    versions: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "n-shot")]
    shots: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "n-samples")]
    samples: Option<&'a RawValue>,
    #[serde(borrow, default)]
    higher_is_better: Option<&'a RawValue>,
    #[serde(default)]
    model_name: Option<Value>,
    #[serde(default)]
    lm_eval_version: Option<Value>,
    #[serde(default)]
    git_hash: Option<Value>,
    #[serde(default)]
    date: Option<Value>,
    #[serde(default)]
    total_evaluation_time_seconds: Option<Value>,
}

fn table(raw: Option<&RawValue>) -> Map<String, Value> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}

fn text(value: Option<&Value>) -> Option<String> {
    value
        .and_then(Value::as_str)
        .filter(|text| !text.trim().is_empty())
        .map(str::to_owned)
}

impl About {
    fn of(document: &Document<'_>) -> Self {
        let config = table(document.config);
        let general = table(document.config_general);
        let (harness, version) = match general.is_empty() {
            true => (None, None),
            false => (Some("lighteval"), text(general.get("lighteval_sha"))),
        };
        let arguments = arguments(config.get("model_args"));
        let argument = |name: &str| text(arguments.get(name));
        // an adapter is given together with the model that it is for
        let named = ["peft", "delta", "pretrained", "model", "path", "engine"]
            .into_iter()
            .find_map(argument);
        let revision = argument("revision").or_else(|| text(config.get("model_revision")));
        let step = revision
            .as_deref()
            .and_then(revision_step)
            .or_else(|| named.as_deref().and_then(folder_step));
        let seconds = |value: &Option<Value>| value.as_ref().and_then(number)?.value;
        let time_ms = seconds(&document.date).map(|start| {
            let took = seconds(&document.total_evaluation_time_seconds).unwrap_or(0.0);
            ((start + took) * 1e3).round() as i64
        });
        Self {
            harness,
            model: text(document.model_name.as_ref())
                .or_else(|| text(general.get("model_name")))
                .or(named)
                .or_else(|| text(config.get("model"))),
            step,
            few_shot: config.get("num_fewshot").and_then(count),
            harness_version: version
                .or_else(|| text(document.lm_eval_version.as_ref()))
                .or_else(|| text(document.git_hash.as_ref())),
            event_time_ms: time_ms,
            versions: table(document.versions),
            shots: table(document.shots),
            samples: table(document.samples),
            higher_is_better: table(document.higher_is_better),
        }
    }
}

/// Model arguments: an object, or `name=value` parts between commas.
fn arguments(value: Option<&Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(arguments)) => arguments.clone(),
        Some(Value::String(text)) => text
            .split(',')
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.trim().to_owned(), Value::from(value.trim())))
            .collect(),
        _ => Map::new(),
    }
}

/// `step3000`, `step738020-tokens3094B`.
fn revision_step(revision: &str) -> Option<i64> {
    let rest = revision.strip_prefix("step")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    match rest[digits..].chars().next() {
        None | Some('-' | '_') => rest[..digits].parse().ok(),
        Some(_) => None,
    }
}

/// `…/checkpoint-500`, `…/global_step1000`.
fn folder_step(path: &str) -> Option<i64> {
    let folder = path.trim_end_matches('/').rsplit('/').next()?;
    ["checkpoint-", "global_step"]
        .into_iter()
        .find_map(|prefix| folder.strip_prefix(prefix))
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
}

fn count(value: &Value) -> Option<i32> {
    value.as_i64().and_then(|count| i32::try_from(count).ok())
}

impl Parser for Results {
    fn framing(&self) -> Framing {
        Framing::Whole
    }

    fn split(&mut self, document: Vec<u8>) -> Result<(Vec<u8>, Vec<Piece>), Reject> {
        let repaired = quoted_numbers(&document);
        let source = repaired.as_deref().unwrap_or(&document);
        let found = serde_json::from_slice::<Document<'_>>(source).map(|read| {
            self.about = About::of(&read);
            let mut members = read.results.0;
            // groups stand among the results, too; one that does not is taken from its own table
            let known: BTreeSet<&str> = members.iter().map(|(name, _)| name.get()).collect();
            let groups = read
                .groups
                .and_then(|raw| serde_json::from_str::<Members<'_>>(raw.get()).ok())
                .unwrap_or_default();
            let more: Vec<_> = groups
                .0
                .into_iter()
                .filter(|(name, _)| !known.contains(name.get()))
                .collect();
            members.extend(more);
            member_pieces(&document, source, &members)
        });
        match found {
            Ok(pieces) => Ok((repaired.unwrap_or(document), pieces)),
            Err(error) => Err(unreadable(
                document,
                &error,
                "result file of lm-evaluation-harness",
                TOPIC,
            )),
        }
    }

    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        if !std::mem::replace(&mut self.tagged, true)
            && let Some(model) = &self.about.model
            && let Some(payload) = tags(&self.setup, [format!("model:{model}")])
        {
            out.event(payload, position, unit);
        }
        let (task, scores) = match member::<Map<String, Value>>(unit) {
            Ok(found) => found,
            Err(error) => {
                let text = format!("the results of a task are no object: {error}");
                out.reject("json", text, TOPIC, position, unit);
                return Ok(());
            }
        };
        let mut found = false;
        for (key, value) in &scores {
            found |= self.score(&task, &scores, (key, value), (unit, position), out);
        }
        out.ignored += u64::from(!found);
        Ok(())
    }
}

/// What stands beside the metrics of a task.
const BESIDE: [&str; 6] = [
    "alias",
    "name",
    "task",
    "sample_len",
    "samples",
    "sample_count",
];

impl Results {
    /// Gives out one metric; false where it is none.
    fn score(
        &self,
        task: &str,
        scores: &Map<String, Value>,
        (key, value): (&str, &Value),
        (unit, position): (&[u8], Position),
        out: &mut Out,
    ) -> bool {
        let (metric, filter) = match key.split_once(',') {
            Some((metric, filter)) => (metric, Some(filter)),
            None => (key, None),
        };
        if BESIDE.contains(&key) || metric.trim().is_empty() || metric.ends_with("_stderr") {
            return false;
        }
        let score = match value {
            // a task that has no such score
            Value::Null => return false,
            // words, the most common being "N/A": not measured
            Value::String(_) => match number(value) {
                Some(score) => score,
                None => return false,
            },
            _ => match number(value) {
                Some(score) => score,
                None => {
                    let text = format!("{key} of task {task} is no number");
                    out.reject("bad_value", text, TOPIC, position, unit);
                    return true;
                }
            },
        };
        let error_key = match filter {
            Some(filter) => format!("{metric}_stderr,{filter}"),
            None => format!("{metric}_stderr"),
        };
        let about = &self.about;
        let samples = about.samples.get(task);
        let n = [
            scores
                .get("sample_count")
                .and_then(|counts| counts.get(key)),
            scores.get("sample_count"),
            samples.and_then(|counts| counts.get("effective")),
            scores.get("sample_len"),
            scores.get("samples"),
        ]
        .into_iter()
        .flatten()
        .find_map(Value::as_i64);
        let higher_is_better = about
            .higher_is_better
            .get(task)
            .and_then(|table| table.get(metric))
            .and_then(Value::as_bool);
        let version = match about.versions.get(task) {
            Some(Value::Number(version)) => Some(version.to_string()),
            Some(Value::String(version)) if version != "N/A" => Some(version.clone()),
            _ => None,
        };
        out.event(
            Payload::EvalResult(EvalResult {
                run_id: self.setup.run_id.clone(),
                attempt: self.setup.attempt,
                step: about.step,
                event_time_ms: about.event_time_ms,
                harness: about.harness.unwrap_or("lm-evaluation-harness").into(),
                harness_version: about.harness_version.clone(),
                task: task.to_owned(),
                metric: match filter {
                    None | Some("none") => metric.to_owned(),
                    Some(_) => key.to_owned(),
                },
                value: score.value,
                value_state: score.state,
                n,
                standard_error: scores
                    .get(&error_key)
                    .and_then(number)
                    .and_then(|error| error.value),
                higher_is_better: higher_is_better.or_else(|| direction(metric)),
                few_shot: about.shots.get(task).and_then(count).or(about.few_shot),
                dataset_version: version,
                ..EvalResult::default()
            }),
            position,
            unit,
        );
        true
    }
}
