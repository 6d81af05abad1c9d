//! Folds everything that is said about a run into its one row.
//!
//! Ingress topics have no order between them, so the fold asks little of order: measurements go by attempt and step, the
//! greatest wins; configuration fills in what is said and the last word counts; scores are kept by harness, task and
//! metric, the newest step wins. Late facts amend the row like any other (DESIGN §3.5).
//!
//! The status is what the run has said, not what its clock has seen: an end stands until a newer attempt is heard of. Rows of
//! the same attempt that come after it amend the row and open windows again; the run stays finished or failed.

mod declared;
mod derived;
mod measured;
mod scores;
mod sketch;

pub use derived::{Accelerator, Derivation, DerivationRules, FlopsConvention, Price};
pub use sketch::{RELATIVE_ERROR, merged};

use super::wire;
use crate::operator::At;
use crate::tables::Part;
use cairn_avro::record::{
    BreakerState, ExperimentRow, OffsetSpan, Payload, RunEvent, RunStatus, Verdict,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the derivations: one more whenever a formula or a convention changes what rows say. `cairn backfill` has rows
/// that carry an older one computed again. 2: counts from the shape, effective tokens, tables of accelerators and prices, hours
/// of training alone.
pub const DERIVATION_VERSION: i32 = 2;
/// Most scores, tags and artifacts that a row keeps: bounds a run that is scored at every step.
const LIST_MAX: usize = 512;

/// The row and what the fold must remember beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowState {
    /// The row as of now.
    pub row: ExperimentRow,
    /// Attempts seen, in order.
    attempts: Vec<i32>,
    /// Attempts that `steps` and `tokens` are of.
    #[serde(default)]
    reached: Reached,
    /// (attempt, step) that `loss_last` comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    loss_at: Option<(i32, i64)>,
    /// (attempt, step) that `validation_loss_last` comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    validation_at: Option<(i32, i64)>,
    /// (attempt, time) that memory and power come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime_at: Option<(i32, i64)>,
    /// Tool calls that succeeded.
    tool_successes: i64,
    /// Attempt of the newest end, and whether it finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<(i32, bool)>,
    /// Tokens a second of the greatest step, for the utilisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_per_second: Option<f64>,
    /// True while an open breaker's trouble is counted among the divergences.
    #[serde(default)]
    diverged: bool,
    /// (attempt, step) that `tokens_per_second` comes from.
    #[serde(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    speed_at: Option<(i32, i64)>,
    /// Sketches of the record at hand.
    #[serde(skip)]
    unpacked: sketch::Unpacked,
    /// (attempt, time) of the newest record that told latencies of many requests.
    #[serde(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    summary_at: Option<(i32, i64)>,
    /// Sum and number of the powers that were told, watts.
    #[serde(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    power: Option<(f64, i64)>,
    /// First and last time of training events of each attempt; none in a state of before derivation 2.
    #[serde(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    training_spans: Option<BTreeMap<i32, (i64, i64)>>,
}

/// How old a row is, and what it says of its run.
#[derive(Deserialize)]
pub(super) struct RowAge {
    pub(super) row: AgeOfRow,
}

#[derive(Deserialize)]
pub(super) struct AgeOfRow {
    pub(super) updated_append_time_ms: i64,
    pub(super) status: RunStatus,
}

impl Part<RowState> for RowAge {
    fn of(whole: &RowState) -> Self {
        Self {
            row: AgeOfRow {
                updated_append_time_ms: whole.row.updated_append_time_ms,
                status: whole.row.status,
            },
        }
    }
}

/// Attempts that measures are of, each where it was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Reached {
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<i32>,
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
            reached: Reached::default(),
            loss_at: None,
            validation_at: None,
            runtime_at: None,
            tool_successes: 0,
            ended: None,
            tokens_per_second: None,
            speed_at: None,
            diverged: false,
            unpacked: sketch::Unpacked::default(),
            summary_at: None,
            power: None,
            training_spans: Some(BTreeMap::new()),
        }
    }

    /// True once the newest attempt has finished or failed.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.row.status, RunStatus::Finished | RunStatus::Failed)
    }

    /// Notes where the breaker stands. A trouble that gets graver while the breaker is open is still one divergence.
    pub(super) fn judged(&mut self, verdict: &Verdict) {
        self.diverged &= verdict.previous_state == BreakerState::Open;
        if verdict.state == BreakerState::Open && wire::is_divergence(verdict.cause) {
            self.row.divergences += i64::from(!self.diverged);
            self.diverged = true;
        }
        self.row.breaker_state = verdict.state;
    }

    /// Folds one event into the row; [`RowState::settle`] follows the last one of a record.
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
            // An evaluation days later is no training.
            if let Payload::TrainingTelemetry(_) | Payload::RunLifecycle(_) = event.payload {
                self.train_at(attempt, time_ms);
            }
        }
        self.status(event);
        self.rest_on(at, event);
    }

    /// Notes a record that the row rests on.
    fn rest_on(&mut self, at: &At<'_>, event: &RunEvent) {
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
    }

    /// Brings what follows from the row up to date: before it is published, once however many events a batch had.
    pub fn derive(&mut self, derivation: &Derivation) {
        self.row.derived = derivation.derive(&self.row, self.measured());
        self.row.derivation_version = DERIVATION_VERSION;
    }

    /// True where the row was derived by these rules and tables and nothing has changed since.
    #[must_use]
    pub fn is_derived_by(&self, derivation: &Derivation) -> bool {
        self.row.derivation_version == DERIVATION_VERSION
            && self.row.derived == derivation.derive(&self.row, self.measured())
    }

    /// Takes a request to derive the row again: the row rests on it from now on.
    pub(super) fn asked_again(&mut self, at: &At<'_>, event: &RunEvent) {
        self.rest_on(at, event);
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
                // A fact that somebody else sends is no sign that a silent run goes on.
                _ if row.status == RunStatus::Stalled => RunStatus::Stalled,
                _ => RunStatus::Running,
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

fn set<T>(place: &mut Option<T>, said: Option<T>) {
    if said.is_some() {
        *place = said;
    }
}
