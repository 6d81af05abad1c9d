//! The history of a Weights & Biases run, exported: JSON Lines or CSV, a row for each logged step.
//!
//! Published format: `run.history()` and `run.scan_history()` of the public API (docs.wandb.ai, "Import and export data",
//! `wandb/apis/public/runs.py` of github.com/wandb/wandb), written by pandas (`to_json(lines=True)`, `to_csv`); the older
//! client's `wandb-history.jsonl` and `wandb-summary.json` have the same rows. `_step` counts calls of `log`, `_runtime` is
//! seconds since the start, `_timestamp` seconds since 1970; all other names are the user's, nested ones joined by dots or
//! slashes. Objects with a `_type` are pictures, tables and histograms.
//!
//! The step is the training code's own where it logs one (`train/global_step` of Transformers, `trainer/global_step` of
//! Lightning, `global_step`): a row without it belongs to the last one that had it. Otherwise it is `_step`. A step that goes
//! back is a restart. Names are told by the table of synonyms, the rest are metrics; texts and media are left out. The
//! export does not say how the run ended.

use super::csv::{self, cells};
use super::names::{STEPS, count, keep, put, rows};
use super::outline::{ELEMENT, Outline};
use super::text::{Number, Restarts, metric_name, trimmed, whole_lines};
use super::whole::quoted_numbers;
use super::{Confidence, Format, Out, Parser, Position, Refusal, Setup, without_mark};
use cairn_avro::record::{Payload, TrainingTelemetry};
use serde_json::{Map, Value};
use std::path::{Component, Path};

#[cfg(test)]
mod tests;

/// Nested names deeper than this are somebody's data structure, not metrics.
const DEPTH_MAX: usize = 8;

/// The format.
pub(super) struct Wandb;

impl Format for Wandb {
    fn name(&self) -> &'static str {
        "wandb"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["wandb-history", "weights-and-biases"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        /// Rows looked at: the first ones may be broken.
        const ROWS: usize = 50;
        let head = without_mark(head);
        if Outline::of(head).has(&[ELEMENT, "_step"]) {
            return Confidence::Perhaps(
                "it is one JSON array of W&B's rows; export them with `to_json(orient=\"records\", lines=True)`",
            );
        }
        let mut perhaps = false;
        for (at, line) in whole_lines(head).take(ROWS).enumerate() {
            let line = line.trim_ascii();
            if line.starts_with(b"{") {
                let quoted = quoted_numbers(line);
                let line = quoted.as_deref().unwrap_or(line);
                let Ok(Value::Object(row)) = serde_json::from_slice(line) else {
                    continue;
                };
                // rows of the contract name their runs
                if row.contains_key("run_id") {
                    return Confidence::No;
                }
                let timed = row.contains_key("_runtime") || row.contains_key("_timestamp");
                match row.get("_step").is_some_and(Value::is_number) {
                    true if timed || row.len() > 1 => return Confidence::Sure,
                    marked => perhaps |= marked || timed,
                }
            } else if at == 0 {
                let Some(header) = trimmed(line) else {
                    return Confidence::No;
                };
                let header = cells(&header).unwrap_or_default();
                let has = |name: &str| header.iter().any(|column| column == name);
                return match has("_step") {
                    true if header.len() > 1 => Confidence::Sure,
                    false if has("_runtime") || has("_timestamp") => {
                        Confidence::Perhaps("its header has names of W&B, but no _step")
                    }
                    _ => Confidence::No,
                };
            } else {
                return Confidence::No;
            }
        }
        if perhaps {
            Confidence::Perhaps("its rows have names of W&B, but none has _step and a value")
        } else {
            Confidence::No
        }
    }

    /// `…/run-20240131_120000-1a2b3c4d/files/wandb-history.jsonl`: the id stands behind the last dash.
    fn run_of(&self, path: &str) -> Option<String> {
        let path = Path::new(path);
        if !path.file_name()?.to_str()?.starts_with("wandb-") {
            return None;
        }
        path.components().rev().find_map(|part| match part {
            Component::Normal(name) => {
                let name = name.to_str()?;
                name.strip_prefix("offline-")
                    .unwrap_or(name)
                    .strip_prefix("run-")?
                    .rsplit_once('-')
                    .map(|(_, id)| id.to_owned())
                    .filter(|id| !id.is_empty())
            }
            _ => None,
        })
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Ok(Box::new(Rows {
            setup: setup.clone(),
            restarts: Restarts::new(setup.attempt),
            own_step: None,
            header: None,
            rows: csv::Rows::default(),
            begun: Position::default(),
        }))
    }
}

struct Rows {
    setup: Setup,
    restarts: Restarts,
    /// The training code's own step, as it was last logged.
    own_step: Option<i64>,
    /// Columns, where the file is CSV.
    header: Option<Vec<String>>,
    rows: csv::Rows,
    /// Where the open row began.
    begun: Position,
}

impl Parser for Rows {
    fn inside_a_record(&self) -> bool {
        self.rows.is_open()
    }

    fn takes_unended(&self, line: &[u8]) -> bool {
        match &self.header {
            Some(header) => {
                !self.rows.is_open()
                    && trimmed(line)
                        .and_then(|line| cells(&line).map(|cells| cells.len()))
                        .is_some_and(|count| count == header.len())
            }
            None => {
                let quoted = quoted_numbers(line);
                serde_json::from_slice::<Map<String, Value>>(quoted.as_deref().unwrap_or(line))
                    .is_ok()
            }
        }
    }

    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        let Some(line) = trimmed(unit) else {
            out.ignored += 1;
            return Ok(());
        };
        let line = line.trim_start_matches('\u{feff}');
        if self.header.is_none() && line.starts_with('{') {
            self.object(line, (unit, position), out);
            return Ok(());
        }
        if !self.rows.is_open() {
            self.begun = position;
        }
        if let Some(row) = self.rows.line(line) {
            self.row(&row, out);
        }
        Ok(())
    }

    fn end(&mut self, _position: Position, out: &mut Out) -> Result<(), Refusal> {
        self.rows.end(self.begun, out);
        Ok(())
    }
}

impl Rows {
    fn object(&mut self, line: &str, (unit, position): (&[u8], Position), out: &mut Out) {
        let quoted = quoted_numbers(line.as_bytes());
        let line = quoted.as_deref().unwrap_or(line.as_bytes());
        let row: Map<String, Value> = match serde_json::from_slice(line) {
            Ok(row) => row,
            Err(error) => {
                let text = format!("the row is no JSON object: {error}; mend the line");
                out.reject("json", text, "telemetry.training", position, unit);
                return;
            }
        };
        let mut numbers = Vec::new();
        flatten("", &row, 0, &mut numbers);
        self.numbers(&numbers, (unit, position), out);
    }

    fn row(&mut self, row: &str, out: &mut Out) {
        let at = (row.as_bytes(), self.begun);
        let cells = cells(row).unwrap_or_default();
        let Some(header) = &self.header else {
            self.header = Some(cells.iter().map(|cell| cell.trim().to_owned()).collect());
            out.ignored += 1;
            return;
        };
        if cells.len() != header.len() {
            let text = format!(
                "the row has {} cells, its header {}; it was cut or damaged",
                cells.len(),
                header.len()
            );
            out.reject("bad_row", text, "telemetry.training", at.1, at.0);
            return;
        }
        let numbers: Vec<(String, Number)> = header
            .iter()
            .zip(&cells)
            // pandas writes its index first, without a name
            .filter(|(name, _)| !name.is_empty())
            .filter_map(|(name, cell)| Some((name.clone(), Number::read(cell.trim())?)))
            .collect();
        self.numbers(&numbers, at, out);
    }

    fn numbers(
        &mut self,
        numbers: &[(String, Number)],
        (unit, position): (&[u8], Position),
        out: &mut Out,
    ) {
        let mut telemetry = TrainingTelemetry {
            run_id: self.setup.run_id.clone(),
            batch_tokens: self.setup.batch_tokens,
            ..TrainingTelemetry::default()
        };
        let (mut logged, mut own, mut found) = (None, None, false);
        for (name, number) in numbers {
            match name.as_str() {
                "_step" => logged = number.value.and_then(count),
                "_timestamp" => {
                    telemetry.event_time_ms = number
                        .value
                        .filter(|seconds| (0.0..1e11).contains(seconds))
                        .map(|seconds| (seconds * 1e3) as i64);
                }
                "_runtime" => {
                    if let Some(seconds) = number.value {
                        keep(&mut telemetry.metrics, "runtime_ms", seconds * 1e3);
                    }
                }
                name if STEPS.contains(&metric_name(name).as_str()) => {
                    own = number.value.and_then(count).or(own);
                }
                // `_wandb` and its like are bookkeeping
                name if name.starts_with('_') => {}
                name => found |= put(&mut telemetry, name, *number),
            }
        }
        self.own_step = own.or(self.own_step);
        let Some(step) = self.own_step.or(logged) else {
            let text = "the row has no _step that is a whole number; it cannot be ordered";
            out.reject(
                "missing_field",
                text.into(),
                "telemetry.training",
                position,
                unit,
            );
            return;
        };
        if !found {
            // texts and media only
            out.ignored += 1;
            return;
        }
        telemetry.step = step;
        telemetry.attempt = self.restarts.attempt(step);
        telemetry.tokens = telemetry.tokens.or(self
            .setup
            .batch_tokens
            .and_then(|batch| batch.checked_mul(step)));
        for row in rows(telemetry, out.rules.metrics_max) {
            out.event(Payload::TrainingTelemetry(row), position, unit);
        }
    }
}

/// The numbers of a row by their full names; texts, lists, truth values and media are left out.
fn flatten(
    prefix: &str,
    row: &Map<String, Value>,
    depth: usize,
    numbers: &mut Vec<(String, Number)>,
) {
    if row.contains_key("_type") || depth > DEPTH_MAX {
        return;
    }
    for (name, value) in row {
        let name = match prefix {
            "" => name.clone(),
            prefix => format!("{prefix}/{name}"),
        };
        match value {
            Value::Number(number) => {
                numbers.extend(number.as_f64().map(|value| (name, Number::of(value))));
            }
            // numbers that JSON cannot write
            Value::String(text)
                if matches!(
                    text.as_str(),
                    "NaN" | "Infinity" | "-Infinity" | "nan" | "inf" | "-inf"
                ) =>
            {
                numbers.extend(Number::read(text).map(|number| (name, number)));
            }
            // `_wandb` and its like are bookkeeping
            Value::Object(inner) if !name.starts_with('_') => {
                flatten(&name, inner, depth + 1, numbers);
            }
            _ => {}
        }
    }
}
