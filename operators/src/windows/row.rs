//! A row as the windows and the breaker see it, and the part of it that is kept until its window closes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::time::{ClockKind, EventTimeMs};

/// Whether a number is one, and if not, what it is instead: a loss that is not finite is evidence, not garbage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberState {
    /// A finite number, or nothing was said.
    #[default]
    Finite,
    /// The log had the field without a value.
    Missing,
    /// Not a number.
    Nan,
    /// Above all numbers.
    PositiveInfinity,
    /// Below all numbers.
    NegativeInfinity,
}

impl NumberState {
    /// True for NaN and the infinities.
    pub fn is_nonfinite(self) -> bool {
        matches!(
            self,
            Self::Nan | Self::PositiveInfinity | Self::NegativeInfinity
        )
    }

    /// The state of a plain number.
    pub fn of(value: f64) -> Self {
        if value.is_nan() {
            Self::Nan
        } else if value == f64::INFINITY {
            Self::PositiveInfinity
        } else if value == f64::NEG_INFINITY {
            Self::NegativeInfinity
        } else {
            Self::Finite
        }
    }
}

/// Offsets of one partition that something rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Topic; of a row that comes from a task borrowed, not copied.
    pub topic: Cow<'static, str>,
    /// Partition.
    pub partition: i32,
    /// First offset.
    pub first: i64,
    /// Last offset, included.
    pub last: i64,
}

/// One row of training telemetry of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Which attempt of the run.
    pub attempt: i32,
    /// Optimizer step.
    pub step: i64,
    /// Tokens seen so far.
    pub tokens: Option<i64>,
    /// Event time in milliseconds; none where the log has none.
    pub event_time_ms: Option<EventTimeMs>,
    /// Training loss in nats per token.
    pub loss: Option<f64>,
    /// What the loss is, where it is no finite number.
    pub loss_state: NumberState,
    /// Perplexity, used where there is no loss.
    pub perplexity: Option<f64>,
    /// Norm of the gradient before clipping.
    pub grad_norm: Option<f64>,
    /// What the gradient norm is, where it is no finite number.
    pub grad_norm_state: NumberState,
    /// Learning rate of the step.
    pub learning_rate: Option<f64>,
    /// Throughput in tokens a second.
    pub tokens_per_second: Option<f64>,
    /// True where a dynamic loss scale is in use: an infinite gradient norm then is how the scale is found, and the step is skipped.
    pub loss_scaled: bool,
    /// First eight bytes of the event id; orders rows of the same clock value. Any number that belongs to the row will do.
    pub event_id: u64,
    /// Where the row lies in the log.
    pub source: Option<Span>,
}

impl Row {
    /// The row's value of a clock, if it has one.
    pub fn clock(&self, kind: ClockKind) -> Option<i64> {
        match kind {
            ClockKind::Step => Some(self.step),
            ClockKind::Tokens => self.tokens,
            ClockKind::EventTime => self.event_time_ms.map(|time| time.0),
        }
    }

    /// Loss in nats, finite or absent.
    pub fn finite_loss(&self) -> Option<f64> {
        self.loss
            .filter(|loss| loss.is_finite() && !self.loss_state.is_nonfinite())
    }

    /// Log-perplexity in nats: the loss, or the logarithm of the perplexity where there is no loss.
    pub fn log_perplexity(&self) -> Option<f64> {
        let logarithm = || {
            self.perplexity
                .filter(|p| p.is_finite() && *p > 0.0)
                .map(libm::log)
        };
        if self.loss_is_nonfinite() {
            None
        } else {
            self.finite_loss().or_else(logarithm)
        }
    }

    /// True where the loss (or the perplexity in its place) is NaN or infinite.
    pub fn loss_is_nonfinite(&self) -> bool {
        let perplexity = self.loss.is_none() && self.perplexity.is_some_and(|p| !p.is_finite());
        self.loss_state.is_nonfinite()
            || self.loss.is_some_and(|loss| !loss.is_finite())
            || perplexity
    }

    /// True where the gradient norm is NaN or infinite.
    pub fn grad_norm_is_nonfinite(&self) -> bool {
        self.grad_norm_state.is_nonfinite() || self.grad_norm.is_some_and(|norm| !norm.is_finite())
    }

    /// True where the loss or the gradient norm is.
    pub fn is_nonfinite(&self) -> bool {
        self.loss_is_nonfinite() || self.grad_norm_is_nonfinite()
    }
}

/// What a window keeps of a row. A tuple, because it is written as one: field names would be most of the changelog.
/// In order: clock value, event id, step, tokens, event time, loss, log-perplexity, gradient norm, learning rate, tokens a second.
/// The clock value that is written is the step; each window has its own, see [`Kept::at`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept(
    i64,
    u64,
    pub(super) i64,
    pub(super) Option<i64>,
    pub(super) Option<i64>,
    pub(super) Option<f64>,
    pub(super) Option<f64>,
    pub(super) Option<f64>,
    pub(super) Option<f64>,
    pub(super) Option<f64>,
);

impl Kept {
    pub(super) fn of(row: &Row) -> Self {
        let finite = |value: Option<f64>| value.filter(|v| v.is_finite());
        let grad_norm = finite(row.grad_norm).filter(|_| !row.grad_norm_is_nonfinite());
        Self(
            row.step,
            row.event_id,
            row.step,
            row.tokens,
            row.event_time_ms.map(|time| time.0),
            row.finite_loss(),
            row.log_perplexity(),
            grad_norm,
            finite(row.learning_rate),
            finite(row.tokens_per_second),
        )
    }

    /// The same as a window by another clock has it.
    pub(super) fn at(&self, clock: i64) -> Self {
        let mut kept = self.clone();
        kept.0 = clock;
        kept
    }

    /// Its value of a clock.
    pub(super) fn clock(&self, kind: ClockKind) -> Option<i64> {
        match kind {
            ClockKind::Step => Some(self.2),
            ClockKind::Tokens => self.3,
            ClockKind::EventTime => self.4,
        }
    }

    /// Where the row stands in its window.
    pub(super) fn order(&self) -> (i64, i64, u64) {
        (self.0, self.2, self.1)
    }

    /// The event id, then the order: which rows a full window lets go.
    pub(super) fn id(&self) -> (u64, i64, i64) {
        (self.1, self.0, self.2)
    }
}

/// Widens the span of the row's partition, in (topic, partition) order.
pub(super) fn spans_merge(spans: &mut Vec<Span>, source: Option<&Span>) {
    let Some(source) = source else { return };
    let at =
        spans.partition_point(|s| (&*s.topic, s.partition) < (&*source.topic, source.partition));
    match spans.get_mut(at) {
        Some(span) if span.topic == source.topic && span.partition == source.partition => {
            span.first = span.first.min(source.first);
            span.last = span.last.max(source.last);
        }
        _ => spans.insert(at, source.clone()),
    }
}
