//! Batches of raw rows into events, as the mapping says.

use super::super::{Out, Position, Refusal, Setup};
use super::Batch;
use super::cells::Shape;
use super::columns::Columns;
use super::expressions::{Planner, Values};
use super::mapping::{Clock, Ended, Mapping, Unit};
use crate::ingest::fields::{self, Misfit, Scalar};
use crate::ingest::settings;
use cairn_avro::record::{Payload, RunLifecycle, RunState, WindowKind};
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use datafusion::arrow::datatypes::Schema;
use datafusion::physical_expr::PhysicalExpr;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is known of a run while its table is read.
#[derive(Default)]
struct Run {
    rows: i64,
    attempt: i32,
    step: Option<i64>,
    tokens: Option<i64>,
    event_time_ms: Option<i64>,
}

/// An expression of the mapping and what it is for.
struct Wanted {
    /// Path within the record; for `where` and the configuration as in the mapping.
    path: String,
    sql: String,
    /// As an error names it.
    what: String,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Filter,
    Field,
    Time,
    Config,
}

/// Evaluates the mapping on batches.
pub(super) struct Rows {
    mapping: Arc<Mapping>,
    default_run: String,
    default_attempt: i32,
    batch_tokens: Option<i64>,
    planner: Planner,
    /// Sorted by path.
    wanted: Vec<Wanted>,
    columns: Option<Columns>,
    plans: Vec<Arc<dyn PhysicalExpr>>,
    runs: BTreeMap<String, Run>,
}

impl Rows {
    pub(super) fn new(mapping: Arc<Mapping>, setup: &Setup) -> Result<Self, Refusal> {
        let mut wanted = Vec::new();
        let mut want = |path: &str, sql: String, what: String, role| {
            wanted.push(Wanted {
                path: path.to_owned(),
                sql,
                what,
                role,
            });
        };
        if let Some(sql) = &mapping.filter {
            want("", sql.clone(), "where".into(), Role::Filter);
        }
        if let Some(sql) = &mapping.run_id {
            want("run_id", sql.clone(), "run_id".into(), Role::Field);
        }
        if let Some(sql) = &mapping.attempt {
            want("attempt", sql.clone(), "attempt".into(), Role::Field);
        }
        if let Some(time) = &mapping.event_time {
            want(
                "event_time_ms",
                time.from.clone(),
                "event_time.from".into(),
                Role::Time,
            );
        }
        for (name, text) in &mapping.fields {
            want(name, text.sql(), format!("fields.{name}"), Role::Field);
        }
        for (name, text) in &mapping.config {
            want(name, text.sql(), format!("config.{name}"), Role::Config);
        }
        wanted.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Self {
            default_run: setup.run_id.clone(),
            default_attempt: setup.attempt,
            batch_tokens: setup.batch_tokens,
            planner: Planner::new(),
            wanted,
            columns: None,
            plans: Vec::new(),
            runs: BTreeMap::new(),
            mapping,
        })
    }

    pub(super) fn topic(&self) -> String {
        self.mapping.topic.clone()
    }

    /// Plans the expressions again where the types of columns have changed.
    fn prepare(&mut self, shape: &Shape, batch: &Batch) -> Result<(), Refusal> {
        let changed = match &mut self.columns {
            Some(columns) => columns.may_widen() && columns.widen(shape, batch),
            none => {
                let mut columns = Columns::learn(shape, batch);
                let schema = columns.schema();
                let mut used = BTreeSet::new();
                for Wanted { sql, what, .. } in &self.wanted {
                    self.planner.columns(sql, &schema, what, &mut used)?;
                }
                columns.keep(&|name| used.contains(name));
                *none = Some(columns);
                true
            }
        };
        if changed && let Some(columns) = &self.columns {
            let schema = columns.schema();
            self.plans = self
                .wanted
                .iter()
                .map(|wanted| self.planner.plan(&wanted.sql, &schema, &wanted.what))
                .collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    /// Turns raw rows into events and rejects.
    pub(super) fn evaluate(
        &mut self,
        shape: &Shape,
        batch: &Batch,
        out: &mut Out,
    ) -> Result<(), Refusal> {
        self.prepare(shape, batch)?;
        let Some(columns) = &self.columns else {
            return Ok(());
        };
        let raw: Vec<(&[u8], Position)> = batch.iter().collect();
        let mut bad = Vec::new();
        let (arrays, taken) = columns.build(shape, batch, &mut bad);
        let schema = Arc::new(columns.schema());
        for (row, class, text) in bad {
            out.reject(class, text, &self.mapping.topic, raw[row].1, raw[row].0);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(taken.len()));
        let records = RecordBatch::try_new_with_options(schema, arrays, &options)
            .map_err(|error| Refusal(format!("the table's rows cannot be used: {error}")))?;
        let raw: Vec<(&[u8], Position)> = taken.into_iter().map(|row| raw[row]).collect();
        self.records(&records, &raw, out);
        Ok(())
    }

    /// Plans the expressions for columns that have their types already. Returns the columns that are used.
    pub(super) fn plan(&mut self, schema: &Schema) -> Result<BTreeSet<String>, Refusal> {
        /// Columns that an error names: a wide table has thousands.
        const NAMED_MAX: usize = 40;
        let columns: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .take(NAMED_MAX)
            .collect();
        let mut used = BTreeSet::new();
        for Wanted { sql, what, .. } in &self.wanted {
            self.planner.columns(sql, schema, what, &mut used)?;
        }
        let fields = schema
            .fields()
            .iter()
            .filter(|field| used.contains(field.name()))
            .cloned()
            .collect::<Vec<_>>();
        let schema = Schema::new(fields);
        self.plans = self
            .wanted
            .iter()
            .map(|wanted| self.planner.plan(&wanted.sql, &schema, &wanted.what))
            .collect::<Result<_, _>>()
            .map_err(|refusal: Refusal| {
                // a member that a group does not have is met only here
                Refusal(format!("{refusal}; the table has {}", columns.join(", ")))
            })?;
        Ok(used)
    }

    /// Turns columns into events and rejects; `raw` are the same rows as they were read.
    pub(super) fn records(
        &mut self,
        records: &RecordBatch,
        raw: &[(&[u8], Position)],
        out: &mut Out,
    ) {
        match self.values(records) {
            Ok(values) => {
                for (row, raw) in raw.iter().enumerate() {
                    self.row(&values, row, *raw, out);
                }
            }
            // one row of the batch cannot be evaluated: find it by taking the rows one by one
            Err(_) => {
                for (row, raw) in raw.iter().enumerate() {
                    match self.values(&records.slice(row, 1)) {
                        Ok(values) => self.row(&values, 0, *raw, out),
                        Err(text) => {
                            out.reject("expression", text, &self.mapping.topic, raw.1, raw.0)
                        }
                    }
                }
            }
        }
    }

    fn values(&self, records: &RecordBatch) -> Result<Vec<Values>, String> {
        self.plans
            .iter()
            .zip(&self.wanted)
            .map(|(plan, wanted)| {
                Values::of(plan.as_ref(), records).map_err(|error| {
                    format!(
                        "the mapping's {} {:?} fails on this row: {error}",
                        wanted.what, wanted.sql
                    )
                })
            })
            .collect()
    }

    fn row(&mut self, values: &[Values], row: usize, raw: (&[u8], Position), out: &mut Out) {
        match self.payload(values, row, raw, out) {
            Ok(Some(payload)) => out.event(payload, raw.1, raw.0),
            Ok(None) => out.ignored += 1,
            Err(Misfit(text)) => out.reject("bad_value", text, &self.mapping.topic, raw.1, raw.0),
        }
    }

    fn payload(
        &mut self,
        values: &[Values],
        row: usize,
        raw: (&[u8], Position),
        out: &mut Out,
    ) -> Result<Option<Payload>, Misfit> {
        let mut pairs: Vec<(&str, Scalar<'_>)> = Vec::with_capacity(self.wanted.len() + 4);
        for (wanted, values) in self.wanted.iter().zip(values) {
            let value = values.get(row);
            match (wanted.role, value) {
                (Role::Filter, Some(Scalar::Bool(true)))
                | (Role::Field | Role::Time, None)
                | (Role::Config, _) => {}
                (Role::Filter, _) => return Ok(None),
                (Role::Field, Some(value)) => pairs.push((&wanted.path, value)),
                (Role::Time, Some(value)) if values.is_time() => pairs.push((&wanted.path, value)),
                (Role::Time, Some(value)) => {
                    let unit = self
                        .mapping
                        .event_time
                        .as_ref()
                        .map_or(Unit::Ms, |time| time.unit);
                    pairs.push((&wanted.path, Scalar::Int(milliseconds(value, unit)?)));
                }
            }
        }
        let run_id = match (given("run_id", &pairs), &self.mapping.run_id) {
            (Some(value), _) => value.to_string(),
            (None, Some(sql)) => {
                return Err(Misfit(format!(
                    "run_id ({sql}) is empty; every row names its run"
                )));
            }
            (None, None) => {
                pairs.push(("run_id", Scalar::Text(&self.default_run)));
                self.default_run.clone()
            }
        };
        if given("attempt", &pairs).is_none() {
            pairs.push(("attempt", Scalar::Int(self.default_attempt.into())));
        }
        let rows = self.runs.get(&run_id).map_or(0, |run| run.rows);
        if self.mapping.topic == "telemetry.training" {
            // a table that is ordered by tokens or time need not have steps: the number of the row within its run does
            if given("step", &pairs).is_none() && self.mapping.clock != Clock::Step {
                pairs.push(("step", Scalar::Int(rows)));
            }
            if let (None, Some(batch)) = (given("batch_tokens", &pairs), self.batch_tokens) {
                pairs.push(("batch_tokens", Scalar::Int(batch)));
            }
        }
        pairs.sort_by_key(|(path, _)| *path);
        let payload = match self.mapping.topic.as_str() {
            "telemetry.training" => Payload::TrainingTelemetry(fields::record(&pairs)?),
            "telemetry.runtime" => Payload::RuntimeTelemetry(fields::record(&pairs)?),
            "telemetry.tooluse" => Payload::ToolUse(fields::record(&pairs)?),
            "eval.results" => Payload::EvalResult(fields::record(&pairs)?),
            _ => Payload::SafetyResult(fields::record(&pairs)?),
        };
        // What orders a run is part of its configuration; step is what a run is ordered by that says nothing.
        if rows == 0 && (!self.mapping.config.is_empty() || self.mapping.clock == Clock::Tokens) {
            self.config(values, row, &run_id, raw, out)?;
        }
        self.note(run_id, &payload);
        Ok(Some(payload))
    }

    /// The run's configuration, before its first row.
    fn config(
        &self,
        values: &[Values],
        row: usize,
        run_id: &str,
        raw: (&[u8], Position),
        out: &mut Out,
    ) -> Result<(), Misfit> {
        let pairs: Vec<(String, Scalar<'_>)> = self
            .wanted
            .iter()
            .zip(values)
            .filter(|(wanted, _)| wanted.role == Role::Config)
            .filter_map(|(wanted, values)| Some((wanted.path.clone(), values.get(row)?)))
            .collect();
        let mut config =
            settings::config(&pairs).map_err(|refusal| Misfit(format!("config: {refusal}")))?;
        run_id.clone_into(&mut config.run_id);
        config.attempt = self.default_attempt;
        config.clock = match self.mapping.clock {
            Clock::Step => WindowKind::Unknown,
            Clock::Tokens => WindowKind::Tokens,
            Clock::EventTime => WindowKind::Time,
        };
        out.event(Payload::RunConfig(Box::new(config)), raw.1, raw.0);
        Ok(())
    }

    fn note(&mut self, run_id: String, payload: &Payload) {
        let run = self.runs.entry(run_id).or_default();
        run.rows += 1;
        let (attempt, step, tokens, time) = match payload {
            Payload::TrainingTelemetry(event) => (
                event.attempt,
                Some(event.step),
                event.tokens,
                event.event_time_ms,
            ),
            Payload::RuntimeTelemetry(event) => {
                (event.attempt, event.step, None, event.event_time_ms)
            }
            Payload::ToolUse(event) => (event.attempt, None, None, event.event_time_ms),
            Payload::EvalResult(event) => {
                (event.attempt, event.step, event.tokens, event.event_time_ms)
            }
            Payload::SafetyResult(event) => (event.attempt, event.step, None, event.event_time_ms),
            _ => return,
        };
        if attempt > run.attempt || run.rows == 1 {
            *run = Run {
                rows: run.rows,
                attempt,
                ..Run::default()
            };
        }
        if attempt == run.attempt {
            run.step = run.step.max(step);
            run.tokens = run.tokens.max(tokens);
            run.event_time_ms = run.event_time_ms.max(time);
        }
    }

    /// What the end of the table means for its runs.
    pub(super) fn end(&self, position: Position, out: &mut Out) {
        let state = match self.mapping.ended {
            None => return,
            Some(Ended::Finished) => RunState::Finished,
            Some(Ended::Crashed) => RunState::Crashed,
            Some(Ended::EndOfFile) => RunState::EndOfFile,
        };
        for (run_id, run) in &self.runs {
            out.event(
                Payload::RunLifecycle(RunLifecycle {
                    run_id: run_id.clone(),
                    attempt: run.attempt,
                    event_time_ms: run.event_time_ms,
                    state,
                    step: run.step,
                    tokens: run.tokens,
                    reason: Some("the mapping says so of the end of its table".into()),
                    ..RunLifecycle::default()
                }),
                position,
                &[],
            );
        }
    }
}

/// The value of a path among pairs.
fn given<'a>(name: &str, pairs: &[(&str, Scalar<'a>)]) -> Option<Scalar<'a>> {
    pairs
        .iter()
        .find(|(path, _)| *path == name)
        .map(|(_, value)| *value)
}

fn milliseconds(value: Scalar<'_>, unit: Unit) -> Result<i64, Misfit> {
    let wrong = |what: &str| {
        Misfit(format!(
            "event_time is {:?}, which is no {what}",
            value.to_string()
        ))
    };
    if let (Unit::Rfc3339, Scalar::Text(text)) = (unit, value) {
        return string_to_timestamp_nanos(text.trim())
            .map(|nanoseconds| nanoseconds.div_euclid(1_000_000))
            .map_err(|_| wrong("time as RFC 3339 writes it"));
    }
    let number = match value {
        Scalar::Int(value) => value as f64,
        Scalar::Float(value) => value,
        Scalar::Text(text) => text.trim().parse().map_err(|_| wrong("number"))?,
        Scalar::Bool(_) => return Err(wrong("time")),
    };
    let milliseconds = match unit {
        Unit::S => number * 1e3,
        Unit::Ms => number,
        Unit::Us => number / 1e3,
        Unit::Rfc3339 => {
            return Err(wrong(
                "time as RFC 3339 writes it; name its unit (s, ms, us)",
            ));
        }
    };
    if milliseconds.abs() > 9e15 {
        return Err(wrong("time within 200,000 years of 1970"));
    }
    Ok(milliseconds.round() as i64)
}
