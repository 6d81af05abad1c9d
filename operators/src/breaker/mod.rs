//! Trips when a run stops learning, diverges, or computes numbers that are none, so that nobody pays for a lost run.
//!
//! Input: rows in the order of the log (violent things, at once) and closed windows by step (creeping things). Output: one
//! [`Decision`] for each change of state, with the evidence that decided. Three states: *closed* (all well), *open* (tripped),
//! *half-open* (it looks recovered; it must hold). While open, a graver cause is a decision of its own (a plateau that becomes
//! NaN); a cause that is no graver is not repeated. A later attempt starts with a closed breaker.
//!
//! The state is one run's and bounded; wall time never enters, so the same rows give the same decisions. It stops nothing: what
//! follows from an open breaker is for others to decide.

mod decision;
pub mod follow;
mod level;
mod plateau;
pub mod replay;
mod rows;
pub mod rules;

use serde::{Deserialize, Serialize};

use crate::time::ClockKind;
use crate::windows::{ClosedWindow, Row};
pub use decision::{Cause, Decision, SLOPE_UNIT, State};
use decision::{Evidence, decide};
use plateau::Look;
pub use rules::{BreakerRules, Preset};

/// What is known of a run's plan; all of it helps, none of it is needed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// Steps the run was to take.
    pub steps_planned: Option<i64>,
    /// Tokens the run was to see; used where the steps are not known and rows say how many tokens they have seen.
    pub tokens_planned: Option<f64>,
    /// Steps of learning-rate warm-up.
    pub warmup_steps: Option<i64>,
    /// True where the data get harder on the way: a rise of the loss that stops is then new data, not a divergence.
    pub curriculum: bool,
}

impl Plan {
    /// The share of the plan that is done, by steps or else by tokens.
    fn done(&self, step: i64, tokens: Option<i64>) -> Option<f64> {
        let by_steps = self
            .steps_planned
            .filter(|planned| *planned > 0)
            .map(|planned| step as f64 / planned as f64);
        let by_tokens = self.tokens_planned.filter(|planned| *planned > 0.0);
        by_steps.or_else(|| Some(tokens? as f64 / by_tokens?))
    }
}

/// The breaker of one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BreakerState {
    /// Where it stands.
    pub state: State,
    /// Why it is not closed; `None` (the cause) while it is.
    pub cause: Cause,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<i32>,
    /// Step of the last change; windows that began before it are no evidence for the next.
    changed_at: i64,
    /// First step of the stretch that was flat when the plateau rule last tripped.
    flat_from: f64,
    /// Level in nats that a diverged run must come back to, with the margin it was judged by.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<(f64, f64)>,
    /// Consecutive windows (plateau: evaluations) in favour of the next better state, and in favour of tripping.
    good: u32,
    flat: u32,
    loss_nonfinite: u32,
    grad_norm_nonfinite: u32,
    rows: rows::RowTrack,
    level: level::LevelTrack,
    curve: plateau::Curve,
}

/// Takes one row in, as it comes: numbers that are none, exploding gradients, violent rises.
pub fn observe_row(
    state: &mut BreakerState,
    rules: &BreakerRules,
    plan: &Plan,
    row: &Row,
    out: &mut Vec<Decision>,
) {
    if !enter(state, row.attempt, row.step, out) {
        return;
    }
    if let Some(evidence) = non_finite(state, rules, row) {
        trip(state, Cause::NonFinite, evidence, out);
        return;
    }
    let best = level::best(&state.level);
    // Where harder data are to come, a rise by rows must be a strong one; `level` tells new data from a divergence.
    let row_nats = if plan.curriculum {
        rules.divergence.strong_nats
    } else {
        rules.divergence.row_nats
    };
    if let Some(rise) = rows::observe(&mut state.rows, &rules.divergence, row_nats, best, row) {
        let cause = if rise.explosion {
            Cause::GradientExplosion
        } else {
            Cause::Divergence
        };
        let level = level::best(&state.level).or_else(|| rows::level(&state.rows));
        let frozen = level.map(|level| (level, rules.divergence.row_nats));
        trip(state, cause, decision::of_rise(rise, row, frozen), out);
    }
}

/// Takes a closed window in; windows by tokens or time are not its business.
pub fn observe_window(
    state: &mut BreakerState,
    rules: &BreakerRules,
    plan: &Plan,
    window: &ClosedWindow,
    out: &mut Vec<Decision>,
) {
    let (Some(median), Some(last_step)) = (window.log_perplexity_median, window.last_step) else {
        return;
    };
    if window.kind != ClockKind::Step || !enter(state, window.attempt, last_step, out) {
        return;
    }
    let level = level::observe(
        &mut state.level,
        &rules.divergence,
        last_step,
        median,
        window.learning_rate_last,
        plan.curriculum,
    );
    if level.rebased {
        plateau::rebase(&mut state.curve);
    }
    if level.diverged {
        trip(
            state,
            Cause::Divergence,
            decision::of_level(&level, window, median),
            out,
        );
    }
    // An elevated window is the divergence rule's: it either diverges or was a spike, and neither says that learning stopped.
    let completed = median < level.best + level.margin
        && plateau::push(
            &mut state.curve,
            &rules.plateau,
            last_step as f64,
            median,
            window.learning_rate_last,
        );
    let look = if completed {
        plateau::look(
            &state.curve,
            &rules.plateau,
            plan.warmup_steps,
            plan.done(last_step, window.last_tokens),
        )
    } else {
        Look::Unsure
    };
    if completed {
        state.flat = if matches!(look, Look::Flat(_)) {
            state.flat.saturating_add(1)
        } else {
            0
        };
    }
    if let Look::Flat(horizon) = look
        && state.flat >= rules.plateau.patience.max(1)
    {
        if state.state == State::Closed {
            state.flat_from = horizon.first_step;
        }
        let level = plateau::level(&state.curve)
            .map(|(level, noise)| (level, rules.divergence.window_sigmas * noise));
        trip(
            state,
            Cause::Plateau,
            decision::of_horizon(
                horizon,
                window,
                &rules.plateau,
                level::best(&state.level),
                level,
            ),
            out,
        );
    }
    let good = match state.cause {
        _ if state.state == State::Closed
            || window
                .first_step
                .is_none_or(|first| first <= state.changed_at) =>
        {
            return;
        }
        Cause::Plateau if !completed => return,
        Cause::Plateau => moves_again(state, look),
        _ => back_at_level(state, &level, window, median),
    };
    recover(state, rules, good, window, out);
}

/// True where the attempt is the current one; a later one closes the breaker and begins with an empty state.
fn enter(state: &mut BreakerState, attempt: i32, step: i64, out: &mut Vec<Decision>) -> bool {
    match state.attempt {
        Some(current) if attempt < current => false,
        Some(current) if attempt == current => true,
        previous => {
            let from = std::mem::take(state);
            state.attempt = Some(attempt);
            if let (Some(old), true) = (previous, from.state != State::Closed) {
                let text = format!(
                    "Attempt {attempt} began at step {step}; the breaker of attempt {old} is closed."
                );
                let evidence = Evidence {
                    at_step: step,
                    rule: "new-attempt/1",
                    text,
                    ..Evidence::default()
                };
                out.push(decide(
                    attempt,
                    State::Closed,
                    from.state,
                    Cause::Recovered,
                    evidence,
                ));
            }
            true
        }
    }
}

fn non_finite(state: &mut BreakerState, rules: &BreakerRules, row: &Row) -> Option<Evidence> {
    let rule = &rules.non_finite;
    let count = |count: u32, bad: bool| if bad { count.saturating_add(1) } else { 0 };
    state.loss_nonfinite = count(state.loss_nonfinite, row.loss_is_nonfinite());
    state.grad_norm_nonfinite = count(state.grad_norm_nonfinite, row.grad_norm_is_nonfinite());
    let searched = row.loss_scaled
        && !row.grad_norm_state.eq(&crate::windows::NumberState::Nan)
        && !row.grad_norm.is_some_and(f64::is_nan);
    let grad_limit = if searched {
        rule.scaled_grad_norm_rows
    } else {
        rule.grad_norm_rows
    };
    let loss = row.loss_is_nonfinite() && state.loss_nonfinite >= rule.loss_rows.max(1);
    let grad = row.grad_norm_is_nonfinite() && state.grad_norm_nonfinite >= grad_limit.max(1);
    if !rule.enabled || !(loss || grad) {
        return None;
    }
    let rows = if loss {
        state.loss_nonfinite
    } else {
        state.grad_norm_nonfinite
    };
    let best = level::best(&state.level).or_else(|| rows::level(&state.rows));
    Some(decision::of_non_finite(
        row,
        loss,
        rows,
        best.map(|best| (best, rules.divergence.window_nats)),
    ))
}

/// Opens the breaker, unless it is open for a cause at least as grave.
fn trip(state: &mut BreakerState, cause: Cause, evidence: Evidence, out: &mut Vec<Decision>) {
    if state.state == State::Open && cause.gravity() <= state.cause.gravity() {
        return;
    }
    if state.state == State::Closed || cause == Cause::Plateau || state.reference.is_none() {
        state.reference = evidence.reference;
    }
    let previous = std::mem::replace(&mut state.state, State::Open);
    state.cause = cause;
    state.good = 0;
    state.changed_at = evidence.at_step;
    out.push(decide(
        state.attempt.unwrap_or_default(),
        State::Open,
        previous,
        cause,
        evidence,
    ));
}

/// A diverged run is back when a whole window without bad numbers lies near the level it had before.
fn back_at_level(
    state: &BreakerState,
    level: &level::Level,
    window: &ClosedWindow,
    median: f64,
) -> Option<bool> {
    let bad = window.nonfinite_n > 0 || state.loss_nonfinite > 0;
    let (reference, margin) = state.reference.unwrap_or((level.best, level.margin));
    Some(!bad && median <= reference + 0.5 * margin)
}

/// A flat run moves again when its slope does, or when its level has clearly left where it was; unsure counts for nothing.
fn moves_again(state: &BreakerState, look: Look) -> Option<bool> {
    let fallen = match (plateau::level(&state.curve), state.reference) {
        (Some((now, _)), Some((then, margin))) => now <= then - margin.max(0.02),
        _ => false,
    };
    match look {
        Look::Flat(_) => Some(false),
        Look::Moving(horizon) if horizon.first_step >= state.flat_from => Some(true),
        Look::Moving(_) | Look::Unsure => fallen.then_some(true),
    }
}

fn recover(
    state: &mut BreakerState,
    rules: &BreakerRules,
    good: Option<bool>,
    window: &ClosedWindow,
    out: &mut Vec<Decision>,
) {
    match good {
        Some(true) => state.good = state.good.saturating_add(1),
        Some(false) => state.good = 0,
        None => return,
    }
    let (next, needed) = match state.state {
        State::Closed => return,
        State::Open => (State::HalfOpen, rules.recovery.half_open_windows),
        State::HalfOpen => (State::Closed, rules.recovery.close_windows),
    };
    if state.good < needed.max(1) {
        return;
    }
    let evidence = decision::of_recovery(
        next,
        state.cause,
        state.good,
        window,
        state.reference.map(|(level, _)| level),
    );
    let previous = std::mem::replace(&mut state.state, next);
    state.good = 0;
    state.changed_at = evidence.at_step;
    if next == State::Closed {
        state.cause = Cause::None;
        state.reference = None;
        state.flat = 0;
    }
    out.push(decide(
        window.attempt,
        next,
        previous,
        Cause::Recovered,
        evidence,
    ));
}
