//! From the cores' types to the records of the bus, and the telegrams that go with them.

use crate::breaker::follow::Followed;
use crate::breaker::{self, Cause, Decision, State};
use crate::operator::{At, Evidence, Place, Subject, Telegram, Text, short};
use crate::time::{ClockKind, EventTimeMs, Rejected};
use crate::windows::{self, ClosedWindow, LateRow, Row, Span};
use cairn_avro::hex;
use cairn_avro::record::{
    BreakerCause, BreakerState, ClockUnit, ClosedBy, ExperimentRow, Late, NumberState, Offset,
    OffsetSpan, RunEvent, RunEvents, TrainingTelemetry, Verdict, Window, WindowKind,
};
use cairn_avro::time::rfc3339;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The topic that evidence of this task lies in.
pub(super) const TOPIC: &str = "runs.events";

/// A row of telemetry as clock, windows and breaker take it; the first bytes of the event's id order rows of the same step.
#[must_use]
pub fn row(at: &At<'_>, attempt: i32, event_id: &[u8], telemetry: &TrainingTelemetry) -> Row {
    let mut id = [0; 8];
    for (place, byte) in id.iter_mut().zip(event_id) {
        *place = *byte;
    }
    Row {
        attempt,
        step: telemetry.step,
        tokens: telemetry.tokens,
        event_time_ms: telemetry.event_time_ms.map(EventTimeMs),
        loss: telemetry.loss,
        loss_state: number_state(telemetry.loss_state),
        perplexity: telemetry.perplexity,
        grad_norm: telemetry.grad_norm,
        grad_norm_state: number_state(telemetry.grad_norm_state),
        learning_rate: telemetry.learning_rate,
        tokens_per_second: telemetry.tokens_per_second,
        loss_scaled: telemetry.loss_scale.is_some(),
        event_id: u64::from_be_bytes(id),
        source: Some(Span {
            topic: if at.topic == TOPIC {
                Cow::Borrowed(TOPIC)
            } else {
                Cow::Owned(at.topic.to_owned())
            },
            partition: at.partition,
            first: at.offset,
            last: at.offset,
        }),
    }
}

fn number_state(state: NumberState) -> windows::NumberState {
    match state {
        NumberState::Finite => windows::NumberState::Finite,
        NumberState::Missing => windows::NumberState::Missing,
        NumberState::Nan => windows::NumberState::Nan,
        NumberState::PositiveInfinity => windows::NumberState::PositiveInfinity,
        NumberState::NegativeInfinity => windows::NumberState::NegativeInfinity,
    }
}

pub(super) fn window(tenant: &str, run_id: &str, closed: ClosedWindow) -> Window {
    Window {
        tenant: tenant.to_owned(),
        run_id: run_id.to_owned(),
        attempt: closed.attempt,
        kind: match closed.kind {
            ClockKind::Step => WindowKind::Step,
            ClockKind::Tokens => WindowKind::Tokens,
            ClockKind::EventTime => WindowKind::Time,
        },
        size: closed.size(),
        start: closed.start,
        end: closed.end,
        n: closed.n,
        loss_n: closed.loss_n,
        loss_mean: closed.loss_mean,
        loss_min: closed.loss_min,
        loss_max: closed.loss_max,
        loss_first: closed.loss_first,
        loss_last: closed.loss_last,
        log_perplexity_median: closed.log_perplexity_median,
        log_perplexity_slope: closed.log_perplexity_slope,
        slope_unit: breaker::SLOPE_UNIT.to_owned(),
        grad_norm_max: closed.grad_norm_max,
        learning_rate_last: closed.learning_rate_last,
        tokens_per_second_mean: closed.tokens_per_second_mean,
        first_step: closed.first_step,
        last_step: closed.last_step,
        first_tokens: closed.first_tokens,
        last_tokens: closed.last_tokens,
        first_event_time_ms: closed.first_event_time_ms,
        last_event_time_ms: closed.last_event_time_ms,
        nonfinite_n: closed.nonfinite_n,
        complete: closed.is_complete(),
        closed_by: match closed.closed_by {
            windows::ClosedBy::Watermark => ClosedBy::Watermark,
            windows::ClosedBy::EndOfRun => ClosedBy::EndOfRun,
            windows::ClosedBy::Drain => ClosedBy::Drain,
        },
        inputs: closed.inputs.into_iter().map(span).collect(),
    }
}

fn span(span: Span) -> OffsetSpan {
    OffsetSpan {
        topic: span.topic.into_owned(),
        partition: span.partition,
        first: span.first,
        last: span.last,
    }
}

pub(super) fn late(
    at: &At<'_>,
    tenant: &str,
    run_id: &str,
    event: &RunEvent,
    late: &LateRow,
) -> Late {
    Late {
        tenant: tenant.to_owned(),
        run_id: run_id.to_owned(),
        attempt: event.attempt,
        topic: event.topic.clone(),
        event_id: event.event_id.clone(),
        clock: Some(late.clock),
        watermark: Some(late.watermark),
        late_by: late.late_by,
        unit: match late.kind {
            ClockKind::Step => ClockUnit::Steps,
            ClockKind::Tokens => ClockUnit::Tokens,
            ClockKind::EventTime => ClockUnit::Milliseconds,
        },
        source: place(at),
        payload: crate::operator::canonical(&event.payload),
    }
}

/// A row of an attempt that `current` has replaced: late by so many attempts, no clock could say more.
pub(super) fn stale(at: &At<'_>, events: &RunEvents, event: &RunEvent, current: i32) -> Late {
    Late {
        tenant: events.tenant.clone(),
        run_id: events.run_id.clone(),
        attempt: event.attempt,
        topic: event.topic.clone(),
        event_id: event.event_id.clone(),
        clock: event.clock,
        watermark: None,
        late_by: i64::from(current) - i64::from(event.attempt),
        unit: ClockUnit::Unknown,
        source: place(at),
        payload: crate::operator::canonical(&event.payload),
    }
}

fn place(at: &At<'_>) -> Offset {
    Offset {
        topic: at.topic.to_owned(),
        partition: at.partition,
        offset: at.offset,
    }
}

/// A decision as the record of `breaker.verdicts`; `at` is the evidence where the decision names none.
#[must_use]
pub fn verdict(at: &At<'_>, tenant: &str, run_id: &str, decision: Decision) -> Verdict {
    let mut offsets: Vec<Offset> = decision
        .offsets
        .iter()
        .map(|span| Offset {
            topic: span.topic.to_string(),
            partition: span.partition,
            offset: span.last,
        })
        .collect();
    if offsets.is_empty() {
        offsets.push(place(at));
    }
    Verdict {
        tenant: tenant.to_owned(),
        run_id: run_id.to_owned(),
        attempt: decision.attempt,
        at_step: Some(decision.at_step),
        state: state(decision.state),
        previous_state: state(decision.previous),
        cause: match decision.cause {
            Cause::None => BreakerCause::None,
            Cause::Plateau => BreakerCause::Plateau,
            Cause::GradientExplosion => BreakerCause::GradientExplosion,
            Cause::Divergence => BreakerCause::Divergence,
            Cause::NonFinite => BreakerCause::NonFinite,
            Cause::Recovered => BreakerCause::Recovered,
        },
        rule: decision.rule,
        onset_step: decision.onset_step,
        window_first_step: decision.window_first_step,
        window_last_step: decision.window_last_step,
        window_n: decision.window_n,
        slope: decision.slope,
        slope_unit: breaker::SLOPE_UNIT.to_owned(),
        slope_low: decision.slope_low,
        slope_high: decision.slope_high,
        threshold: decision.threshold,
        level: decision.level,
        log_perplexity_last: decision.log_perplexity_last,
        log_perplexity_best: decision.log_perplexity_best,
        horizon: decision.horizon,
        offsets,
        text: decision.text,
    }
}

fn state(state: State) -> BreakerState {
    match state {
        State::Closed => BreakerState::Closed,
        State::Open => BreakerState::Open,
        State::HalfOpen => BreakerState::HalfOpen,
    }
}

/// True for causes that a row counts among its divergences.
pub(super) fn is_divergence(cause: BreakerCause) -> bool {
    matches!(
        cause,
        BreakerCause::Divergence | BreakerCause::NonFinite | BreakerCause::GradientExplosion
    )
}

/// Why the clock refused a row, and what to do.
pub(super) fn reason(rejected: Rejected) -> String {
    match rejected {
        Rejected::FromTheFuture { ahead_ms } => {
            format!(
                "event_time_ms lies {ahead_ms} ms ahead of its receipt; set the sender's clock, or check the unit"
            )
        }
        Rejected::Jump { kind, by } => format!(
            "the {} leaps by {by}; check the unit, or raise the jump cap under runs.follow.time",
            match kind {
                ClockKind::Step => "step",
                ClockKind::Tokens => "token count",
                ClockKind::EventTime => "event time",
            }
        ),
        Rejected::Negative => "a step or token count below zero; they count from 0".to_owned(),
        Rejected::StaleAttempt { current } => format!("attempt {current} has replaced this one"),
    }
}

/// What stays of an ended run: its clock, by which a row that still comes is known to be late.
pub(super) fn remember_clock(run: &Followed) -> Followed {
    Followed {
        clock: run.clock.clone(),
        windows: windows::closed_marks(&run.windows),
        last: run.last,
        ..Followed::default()
    }
}

/// The telegram of a verdict.
pub(super) fn telegram(at: &At<'_>, verdict: &Verdict, traceparent: Option<&str>) -> Telegram {
    let (key, priority) = match (verdict.state, verdict.cause) {
        (BreakerState::Closed, _) => ("breaker.closed".to_owned(), 3),
        (BreakerState::HalfOpen, _) => ("breaker.half_open".to_owned(), 2),
        (_, BreakerCause::Plateau) => ("breaker.open.plateau".to_owned(), 2),
        (_, cause) => (format!("breaker.open.{cause}"), 1),
    };
    let mut args = BTreeMap::from([("run".to_owned(), short_arg(&verdict.run_id))]);
    if let Some(step) = verdict.at_step {
        args.insert("step".to_owned(), step.into());
    }
    if let Some(step) = verdict.onset_step {
        args.insert("onset_step".to_owned(), step.into());
    }
    let evidence = Evidence {
        offsets: verdict
            .offsets
            .iter()
            .map(|o| Place {
                topic: o.topic.clone(),
                partition: o.partition,
                offset: o.offset,
            })
            .take(32)
            .collect(),
        run_id: Some(verdict.run_id.clone()),
        verdict: Some(serde_json::json!({
            "state": verdict.state.to_string(),
            "cause": verdict.cause.to_string(),
            "at_step": verdict.at_step,
            "onset_step": verdict.onset_step,
            "rule": verdict.rule,
            "slope": verdict.slope.filter(|slope| slope.is_finite()),
            "slope_unit": verdict.slope_unit,
            "threshold": verdict.threshold.filter(|threshold| threshold.is_finite()),
        })),
        fit_id: None,
    };
    let seed = format!(
        "{}\n{}\n{}\n{:?}\n{}\n{}",
        verdict.tenant,
        verdict.run_id,
        verdict.attempt,
        verdict.at_step,
        verdict.state,
        verdict.cause
    );
    Telegram {
        traceparent: traceparent.map(str::to_owned),
        ..of_run(
            at,
            &verdict.tenant,
            &verdict.run_id,
            "breaker",
            &key,
            priority,
            args,
            &verdict.text,
            evidence,
            &seed,
        )
    }
}

/// A run is silent for too long.
pub(super) fn stalled(at: &At<'_>, row: &ExperimentRow) -> Telegram {
    let text = format!(
        "Run {} has sent nothing for too long and has not said that it ended.",
        row.run_id
    );
    status(at, row, "run", "run.stalled", 2, &text)
}

/// A silent run sends again.
pub(super) fn resumed(at: &At<'_>, row: &ExperimentRow) -> Telegram {
    status(
        at,
        row,
        "run",
        "run.resumed",
        3,
        &format!("Run {} sends again.", row.run_id),
    )
}

/// A run with an open breaker has ended, or is given up: there is nothing left to act on.
pub(super) fn over(at: &At<'_>, row: &ExperimentRow, has_ended: bool) -> Telegram {
    let what = if has_ended {
        "has ended"
    } else {
        "is silent for too long"
    };
    let text = format!("Run {} {what}; its breaker is put away.", row.run_id);
    status(at, row, "breaker", "breaker.over", 3, &text)
}

fn status(
    at: &At<'_>,
    row: &ExperimentRow,
    kind: &str,
    key: &str,
    priority: u8,
    text: &str,
) -> Telegram {
    let args = BTreeMap::from([("run".to_owned(), short_arg(&row.run_id))]);
    let verdict =
        (kind == "breaker").then(|| serde_json::json!({"state": "closed", "cause": "none"}));
    let evidence = Evidence {
        offsets: vec![Place {
            topic: at.topic.to_owned(),
            partition: at.partition,
            offset: at.offset,
        }],
        run_id: Some(row.run_id.clone()),
        verdict,
        fit_id: None,
    };
    let seed = format!(
        "{key}\n{}\n{}\n{}",
        row.tenant, row.run_id, at.append_time_ms
    );
    of_run(
        at,
        &row.tenant,
        &row.run_id,
        kind,
        key,
        priority,
        args,
        text,
        evidence,
        &seed,
    )
}

#[allow(
    clippy::too_many_arguments,
    reason = "the members of a telegram, each named once"
)]
fn of_run(
    at: &At<'_>,
    tenant: &str,
    run_id: &str,
    kind: &str,
    key: &str,
    priority: u8,
    args: BTreeMap<String, serde_json::Value>,
    text: &str,
    evidence: Evidence,
    seed: &str,
) -> Telegram {
    Telegram {
        schema_version: "1.0".to_owned(),
        telegram_id: hex::text(&Sha256::digest(seed)[..16]),
        tenant: tenant.to_owned(),
        stream: "runs".to_owned(),
        time: rfc3339(at.append_time_ms),
        kind: kind.to_owned(),
        subject: Subject {
            kind: "run".to_owned(),
            id: run_id.to_owned(),
        },
        priority,
        text: Text {
            key: key.to_owned(),
            args,
            fallback: short(text),
        },
        evidence,
        traceparent: None,
    }
}

/// A run id as an argument: at most 120 characters, as the schema has it.
fn short_arg(text: &str) -> serde_json::Value {
    text.chars().take(120).collect::<String>().into()
}
