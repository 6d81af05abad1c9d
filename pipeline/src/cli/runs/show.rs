//! `cairn runs show`: one run on one screen.

use super::super::table::number;
use super::super::{Failure, Global, Outcome, print, say};
use super::curve::curves;
use super::list::{name, word};
use super::row;
use super::view::{View, as_of, literal};
use crate::plot::{Series, draw};
use cairn_avro::record::{BreakerState, ExperimentRow};
use clap::Args;
use serde_json::Value;

/// One run on one screen.
#[derive(Args)]
pub struct Show {
    /// The run, or TENANT/RUN
    id: String,
    /// The registry as it was: a version, or a time such as 2026-11-30T12:00:00Z
    #[arg(long, value_name = "VERSION|TIME")]
    as_of: Option<String>,
}

impl Show {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let mut view = View::open(global, &as_of(self.as_of.as_deref())?)?;
        let found = view.run(&self.id)?;
        let json = row::json(&found);
        if global.is_json() {
            say(&json);
            return Ok(0);
        }
        print(&text(&found, &json));
        print(&curve(&mut view, &found)?);
        Ok(0)
    }
}

/// What the breaker says, where it has said something.
fn breaker(row: &ExperimentRow) -> Option<String> {
    (row.breaker_state != BreakerState::Unknown).then(|| word(&row.breaker_state))
}

/// The parts of the screen: a head, and the members of the row that lie under it.
const PARTS: &[(&str, &str)] = &[
    ("model", "model"),
    ("training", "training"),
    ("hardware", "hardware"),
    ("environment", "software"),
    ("derived", "derived"),
];

/// Members that have a line of their own, or that say nothing to people.
const ELSEWHERE: &[&str] = &[
    "tenant",
    "run_id",
    "status",
    "tags",
    "data_mix",
    "scores",
    "inputs",
    "units",
    "artifacts",
    "expected",
    "uncertainty",
    "breaker_state",
    "attempt",
    "attempts",
    "updated_append_time_ms",
    "derivation_version",
];

fn text(row: &ExperimentRow, json: &Value) -> String {
    let mut out = format!(
        "{}  {}{}  attempt {} of {}\n",
        name(row),
        word(&row.status),
        breaker(row).map_or(String::new(), |state| format!("  breaker {state}")),
        row.attempt + 1,
        row.attempts.max(row.attempt + 1)
    );
    if !row.tags.is_empty() {
        out.push_str(&format!("tags  {}\n", row.tags.join(" ")));
    }
    let mut results = String::new();
    for (member, value) in json.as_object().into_iter().flatten() {
        let is_part = PARTS.iter().any(|(part, _)| part == member);
        if !is_part && !ELSEWHERE.contains(&member.as_str()) {
            results.push_str(&line(member, member, value));
        }
    }
    section("results", &results, &mut out);
    for (part, head) in PARTS {
        let mut lines = String::new();
        for (member, value) in json[*part].as_object().into_iter().flatten() {
            lines.push_str(&line(member, &format!("{part}.{member}"), value));
        }
        section(head, &lines, &mut out);
    }
    let data: String = row
        .data_mix
        .iter()
        .map(|source| {
            format!(
                "  {:<36} {:>7}  {}\n",
                source.dataset,
                number(Some(source.ratio)),
                source.version.as_deref().unwrap_or("no version told")
            )
        })
        .collect();
    section("data", &data, &mut out);
    let scores: String = row
        .scores
        .iter()
        .take(SCORES_SHOWN)
        .map(|score| {
            let error = score
                .standard_error
                .map_or(String::new(), |error| format!(" ± {}", number(Some(error))));
            let n = score.n.map_or(String::new(), |n| format!("  n = {n}"));
            format!(
                "  {:<36} {:>9}{error}  {}{n}\n",
                format!("{} {}", score.harness, score.task),
                number(score.value),
                score.metric
            )
        })
        .collect();
    section("scores", &scores, &mut out);
    if row.scores.len() > SCORES_SHOWN {
        out.push_str(&format!(
            "  and {} more: `cairn sql \"SELECT * FROM scores WHERE run_id = {}\"`\n",
            row.scores.len() - SCORES_SHOWN,
            literal(&row.run_id)
        ));
    }
    let artifacts: String = row
        .artifacts
        .iter()
        .map(|artifact| format!("  {:<12} {}\n", artifact.kind, artifact.uri))
        .collect();
    section("artifacts", &artifacts, &mut out);
    let inputs: String = row
        .inputs
        .iter()
        .map(|span| {
            format!(
                "  {}[{}] offsets {} to {}\n",
                span.topic, span.partition, span.first, span.last
            )
        })
        .collect();
    section("rests on", &inputs, &mut out);
    out
}

/// Most scores on the screen.
const SCORES_SHOWN: usize = 20;

fn section(head: &str, lines: &str, out: &mut String) {
    if !lines.is_empty() {
        out.push_str(&format!("\n{head}\n{lines}"));
    }
}

/// A member with its unit; nothing where it was not told.
fn line(member: &str, path: &str, value: &Value) -> String {
    let shown = match value {
        Value::Null => return String::new(),
        Value::Number(found) if found.is_f64() => number(found.as_f64()),
        Value::Number(found) => found.to_string(),
        Value::String(text) if text.is_empty() => return String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => return String::new(),
        other => other.to_string(),
    };
    let unit = row::units()
        .get(path)
        .map_or(String::new(), |unit| format!("  {unit}"));
    format!("  {member:<36} {shown:>14}{unit}\n")
}

/// The loss over the run's closed windows.
fn curve(view: &mut View, row: &ExperimentRow) -> Result<String, Failure> {
    let found = curves(view, std::slice::from_ref(row))?;
    let Some(curve) = found.get(&(row.tenant.clone(), row.run_id.clone())) else {
        return Ok(String::new());
    };
    let series = Series {
        points: &curve.points,
        marks: &[],
        title: "loss, mean of each window",
        axes: (&curve.kind, "nats per token"),
    };
    Ok(format!("\n{}", draw(&series, 72, 12)))
}
