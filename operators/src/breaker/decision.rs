//! A change of state with the evidence that decided it, and the sentence that says so.

use serde::{Deserialize, Serialize};

use super::level::Level;
use super::plateau::Horizon;
use super::rows::Rise;
use super::rules::PlateauRule;
use crate::windows::{ClosedWindow, Row, Span};

/// The unit of every slope here: the log-perplexity is in nats per token.
pub const SLOPE_UNIT: &str = "nats_per_token_per_step";

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// All is well.
    #[default]
    Closed,
    /// It has tripped.
    Open,
    /// It looks recovered and must hold.
    HalfOpen,
}

/// Why a breaker changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// No cause: closed.
    #[default]
    None,
    /// The run has stopped learning.
    Plateau,
    /// The gradient norm exploded and stayed.
    GradientExplosion,
    /// The loss rose and stayed up.
    Divergence,
    /// A loss or gradient norm is no finite number.
    NonFinite,
    /// It came back.
    Recovered,
}

impl Cause {
    /// How grave it is: a graver cause is a decision of its own while the breaker is open.
    pub fn gravity(self) -> u8 {
        match self {
            Self::None | Self::Recovered => 0,
            Self::Plateau => 1,
            Self::GradientExplosion => 2,
            Self::Divergence => 3,
            Self::NonFinite => 4,
        }
    }
}

/// One change of a breaker's state: what `breaker.verdicts` says of it, less tenant and run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The attempt.
    pub attempt: i32,
    /// Step at which it was decided.
    pub at_step: i64,
    /// The new state.
    pub state: State,
    /// The state before.
    pub previous: State,
    /// Why.
    pub cause: Cause,
    /// Rule and its version.
    pub rule: String,
    /// Step at which the trouble began, as far as the evidence tells.
    pub onset_step: Option<i64>,
    /// First step of the evidence.
    pub window_first_step: Option<i64>,
    /// Last step of the evidence.
    pub window_last_step: Option<i64>,
    /// Rows (row rules) or windows (window rules) in the evidence.
    pub window_n: i64,
    /// Slope of the log-perplexity over the evidence, in [`SLOPE_UNIT`].
    pub slope: Option<f64>,
    /// Lower end of its interval.
    pub slope_low: Option<f64>,
    /// Upper end of its interval.
    pub slope_high: Option<f64>,
    /// Confidence of the interval.
    pub level: Option<f64>,
    /// What was crossed: a slope in nats per step (plateau), a log-perplexity in nats (divergence), a norm (gradient explosion).
    pub threshold: Option<f64>,
    /// Log-perplexity that was judged, in nats.
    pub log_perplexity_last: Option<f64>,
    /// Best level before, in nats.
    pub log_perplexity_best: Option<f64>,
    /// Closed windows in the horizon; 0 where rows decided.
    pub horizon: i32,
    /// Where the evidence lies in the log.
    pub offsets: Vec<Span>,
    /// One sentence.
    pub text: String,
    /// True: ends the batch at once. Every change of state is urgent.
    pub urgent: bool,
}

/// Evidence on its way to a decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Evidence {
    pub(super) at_step: i64,
    pub(super) rule: &'static str,
    pub(super) onset_step: Option<i64>,
    pub(super) steps: Option<(i64, i64)>,
    pub(super) n: i64,
    pub(super) slope: Option<crate::theil_sen::Slope>,
    pub(super) level: Option<f64>,
    pub(super) threshold: Option<f64>,
    pub(super) last: Option<f64>,
    pub(super) best: Option<f64>,
    pub(super) horizon: i32,
    pub(super) offsets: Vec<Span>,
    pub(super) text: String,
    /// Level to come back to and the margin, in nats.
    pub(super) reference: Option<(f64, f64)>,
}

pub(super) fn decide(
    attempt: i32,
    state: State,
    previous: State,
    cause: Cause,
    evidence: Evidence,
) -> Decision {
    Decision {
        attempt,
        at_step: evidence.at_step,
        state,
        previous,
        cause,
        rule: evidence.rule.to_owned(),
        onset_step: evidence.onset_step,
        window_first_step: evidence.steps.map(|steps| steps.0),
        window_last_step: evidence.steps.map(|steps| steps.1),
        window_n: evidence.n,
        slope: evidence.slope.map(|slope| slope.slope),
        slope_low: evidence.slope.map(|slope| slope.low),
        slope_high: evidence.slope.map(|slope| slope.high),
        level: evidence.slope.and(evidence.level),
        threshold: evidence.threshold,
        log_perplexity_last: evidence.last,
        log_perplexity_best: evidence.best,
        horizon: evidence.horizon,
        offsets: evidence.offsets,
        text: evidence.text,
        urgent: true,
    }
}

pub(super) fn of_rise(rise: Rise, row: &Row, frozen: Option<(f64, f64)>) -> Evidence {
    let reference = rise.reference.unwrap_or_default();
    let text = if rise.explosion {
        format!(
            "The gradient norm was {:.3} at step {}, above {:.3} for {} rows.",
            rise.value, rise.last_step, rise.threshold, rise.rows
        )
    } else {
        format!(
            "The loss is {:.3} nats at step {}, {:.2} above its level of {:.3}, and has been up since step {}.",
            rise.value,
            rise.last_step,
            rise.value - reference,
            reference,
            rise.first_step
        )
    };
    Evidence {
        at_step: rise.last_step,
        rule: if rise.explosion {
            "gradient-explosion/1"
        } else {
            "divergence-rows/1"
        },
        onset_step: Some(rise.first_step),
        steps: Some((rise.first_step, rise.last_step)),
        n: i64::from(rise.rows),
        slope: rise.slope,
        level: Some(0.95),
        threshold: Some(if rise.explosion {
            rise.threshold
        } else {
            reference + rise.threshold
        }),
        last: if rise.explosion {
            row.log_perplexity()
        } else {
            Some(rise.value)
        },
        best: if rise.explosion {
            frozen.map(|frozen| frozen.0)
        } else {
            rise.reference
        },
        offsets: joined(rise.first_input, row.source.as_ref()),
        reference: if rise.explosion {
            frozen
        } else {
            rise.reference.map(|r| (r, rise.threshold))
        },
        text,
        ..Evidence::default()
    }
}

pub(super) fn of_non_finite(
    row: &Row,
    loss: bool,
    rows: u32,
    frozen: Option<(f64, f64)>,
) -> Evidence {
    let what = if loss { "loss" } else { "gradient norm" };
    Evidence {
        at_step: row.step,
        rule: "non-finite/1",
        onset_step: Some(row.step),
        steps: Some((row.step, row.step)),
        n: i64::from(rows),
        last: row.log_perplexity(),
        best: frozen.map(|frozen| frozen.0),
        offsets: row.source.iter().cloned().collect(),
        text: format!("The {what} at step {} is not a finite number.", row.step),
        reference: frozen,
        ..Evidence::default()
    }
}

pub(super) fn of_level(level: &Level, window: &ClosedWindow, median: f64) -> Evidence {
    let last = window.last_step.unwrap_or_default();
    let onset = level.onset_step.map(|step| step.saturating_add(1));
    Evidence {
        at_step: last,
        rule: "divergence-windows/1",
        onset_step: onset,
        steps: Some((onset.unwrap_or(window.start), last)),
        n: i64::from(level.elevated),
        slope: None,
        threshold: Some(level.best + level.margin),
        last: Some(median),
        best: Some(level.best),
        horizon: i32::try_from(level.elevated).unwrap_or(i32::MAX),
        offsets: window.inputs.clone(),
        text: format!(
            "The median loss has been at least {:.3} nats above its best of {:.3} for {} windows; it is {:.3} at step {last}.",
            level.margin, level.best, level.elevated, level.now
        ),
        reference: Some((level.best, level.margin)),
        ..Evidence::default()
    }
}

pub(super) fn of_horizon(
    horizon: Horizon,
    window: &ClosedWindow,
    rule: &PlateauRule,
    best: Option<f64>,
    reference: Option<(f64, f64)>,
) -> Evidence {
    let (first, last) = (horizon.first_step as i64, horizon.last_step as i64);
    let slope = horizon.slope;
    Evidence {
        at_step: window.last_step.unwrap_or(last),
        rule: "plateau/1",
        onset_step: Some(first),
        steps: Some((first, last)),
        n: i64::from(horizon.windows),
        slope: Some(slope),
        level: Some(rule.level),
        threshold: Some(horizon.threshold),
        last: window.log_perplexity_median,
        best,
        horizon: i32::try_from(horizon.windows).unwrap_or(i32::MAX),
        offsets: window.inputs.clone(),
        text: format!(
            "The loss has not fallen from step {first} to {last}: {:+.2e} nats a step ({:+.2e} to {:+.2e}), where its own past lets expect {:+.2e}.",
            slope.slope,
            slope.low,
            slope.high,
            horizon.threshold / rule.open_ratio.max(1e-9)
        ),
        reference,
    }
}

pub(super) fn of_recovery(
    next: State,
    cause: Cause,
    good: u32,
    window: &ClosedWindow,
    best: Option<f64>,
) -> Evidence {
    let last = window.last_step.unwrap_or_default();
    let what = match cause {
        Cause::Plateau => "The loss falls again",
        Cause::NonFinite => "The numbers are finite and the loss is back at its level",
        _ => "The loss is back at its level",
    };
    let closed = if next == State::Closed {
        "closed"
    } else {
        "half-open"
    };
    Evidence {
        at_step: last,
        rule: "recovery/1",
        steps: window.first_step.map(|first| (first, last)),
        n: i64::from(good),
        last: window.log_perplexity_median,
        best,
        horizon: i32::try_from(good).unwrap_or(i32::MAX),
        offsets: window.inputs.clone(),
        text: format!("{what} for {good} windows, at step {last}; the breaker is {closed}."),
        ..Evidence::default()
    }
}

/// From the first row of the evidence to the last; two spans where they lie in different partitions.
fn joined(first: Option<Span>, last: Option<&Span>) -> Vec<Span> {
    match (first, last) {
        (Some(a), Some(b)) if a.topic == b.topic && a.partition == b.partition => {
            vec![Span {
                first: a.first.min(b.first),
                last: a.last.max(b.last),
                ..a
            }]
        }
        (a, b) => a.into_iter().chain(b.cloned()).collect(),
    }
}
