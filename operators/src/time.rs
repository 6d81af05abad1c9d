//! The clock of a run: what orders its records, how far it has come, and when it is over.
//!
//! A run declares what orders it: step, tokens or event time. Each clock has a watermark, the greatest value seen less the
//! allowed disorder; a window that ends at or below the watermark is closed. Two clocks never mix: event time belongs to the
//! run, wall time reaches this file only as the append times of records and ticks, and serves grace periods and the
//! distinction between idle and stalled, never a window. A log without times has none invented for it.
//!
//! It does not keep windows (`windows` does), and it reads no clock.

use serde::{Deserialize, Serialize};

/// When a record was appended to our log, in milliseconds: the only wall time that a core sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AppendTimeMs(pub i64);

/// When something happened according to the run, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTimeMs(pub i64);

/// What orders a run, and what a window is measured in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockKind {
    /// Optimizer steps; every telemetry row has one.
    #[default]
    Step,
    /// Tokens seen.
    Tokens,
    /// Milliseconds of event time; only where the log has times.
    EventTime,
}

impl ClockKind {
    /// All clocks, in the order in which they are worked off.
    pub const ALL: [Self; 3] = [Self::Step, Self::Tokens, Self::EventTime];
}

/// How late is late, and what is too early to be true. Each default with its reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeSettings {
    /// Steps by which a row may come after a later one. 100: ranks and retried batches are off by a few steps, a window is 100.
    pub disorder_steps: i64,
    /// Tokens by which a row may come after a later one. 50 million: 100 steps of half a million tokens.
    pub disorder_tokens: i64,
    /// Milliseconds of event time by which a row may come after a later one. 30 s: a producer's retries plus clock skew between hosts.
    pub disorder_ms: i64,
    /// How far a row's event time may lie ahead of its append time. 300 s: a badly set clock, but not a wrong time zone or unit.
    pub future_cap_ms: i64,
    /// The greatest jump of the step from the run's highest so far, over all attempts. A million: one such row would make all later ones late.
    pub step_jump_cap: i64,
    /// The same for tokens. 10^13: above any run's whole budget between two rows.
    pub token_jump_cap: i64,
    /// How long after its append an end waits for rows that precede it. 30 s: ingress topics have no order between them.
    pub end_grace_ms: i64,
    /// A run without a row for this long is idle. 300 s: runs log once in minutes.
    pub idle_after_ms: i64,
    /// A run without a row for this long, or for five times its longest gap, has stalled. 30 min: longer than a slow evaluation.
    pub stalled_after_ms: i64,
    /// A run that has stalled and was silent for this long is given up: its windows close as at an end. A day: longer than any pause on purpose.
    pub given_up_after_ms: i64,
}

impl Default for TimeSettings {
    fn default() -> Self {
        Self {
            disorder_steps: 100,
            disorder_tokens: 50_000_000,
            disorder_ms: 30_000,
            future_cap_ms: 300_000,
            step_jump_cap: 1_000_000,
            token_jump_cap: 10_000_000_000_000,
            end_grace_ms: 30_000,
            idle_after_ms: 300_000,
            stalled_after_ms: 1_800_000,
            given_up_after_ms: 86_400_000,
        }
    }
}

impl TimeSettings {
    fn disorder(&self, kind: ClockKind) -> i64 {
        match kind {
            ClockKind::Step => self.disorder_steps,
            ClockKind::Tokens => self.disorder_tokens,
            ClockKind::EventTime => self.disorder_ms,
        }
        .max(0)
    }
}

/// The clock values of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stamp {
    /// Which attempt of the run; a restart counts up.
    pub attempt: i32,
    /// Optimizer step.
    pub step: i64,
    /// Tokens seen so far, where the log says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<i64>,
    /// Event time in milliseconds, where the log has times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_time_ms: Option<EventTimeMs>,
    /// When the record was appended to our log.
    pub append_time_ms: AppendTimeMs,
}

/// Why a row was not let into the run's time; the caller's dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The event time lies ahead of the append time by more than `future_cap_ms`.
    FromTheFuture {
        /// By how much, in milliseconds.
        ahead_ms: i64,
    },
    /// The step or the token count leaps further than the cap.
    Jump {
        /// Which clock leapt.
        kind: ClockKind,
        /// By how much, in steps or tokens.
        by: i64,
    },
    /// A step or token count below zero.
    Negative,
    /// The row belongs to an attempt that a later one has replaced.
    StaleAttempt {
        /// The attempt that is under way.
        current: i32,
    },
}

impl Rejected {
    /// The class of the dead letter, as listed in `docs/errors.md`.
    pub fn class(&self) -> &'static str {
        match self {
            Self::FromTheFuture { .. } => "from_the_future",
            Self::Jump { .. } | Self::Negative => "out_of_range",
            Self::StaleAttempt { .. } => "stale_attempt",
        }
    }
}

/// How a run said that it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EndMark {
    /// The attempt that ended.
    pub attempt: i32,
    /// The last step of the run, if the end says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<i64>,
    /// The last token count, if the end says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<i64>,
    /// When the end was appended; the grace counts from here.
    pub append_time_ms: AppendTimeMs,
}

/// What a run is doing, as far as append times tell: three different silences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Rows arrive.
    Running,
    /// No row for a while; nothing is wrong yet.
    Idle,
    /// No row for so long that somebody should look; the run has not said that it ended.
    Stalled,
    /// The run has said that it ended.
    Finished,
}

/// The clock of one run: one attempt at a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunClock {
    /// The attempt under way; none before the first row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// Greatest step seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_max: Option<i64>,
    /// Greatest token count seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_max: Option<i64>,
    /// Greatest step of the attempts before: what a new attempt's first row is held against.
    #[serde(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_max_before: Option<i64>,
    /// Greatest token count of the attempts before.
    #[serde(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_max_before: Option<i64>,
    /// Greatest event time seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_time_max_ms: Option<i64>,
    /// Append time of the newest row or end.
    pub append_time_ms: AppendTimeMs,
    /// Longest time between two rows' appends, in milliseconds.
    pub gap_max_ms: i64,
    /// The end, if the run has announced one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<EndMark>,
    /// True once the end, or a silence after which the run was given up, has closed the windows.
    pub ended: bool,
}

/// What a row did to the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The same attempt went on.
    Same,
    /// A later attempt began: close the windows of the one before, under its number, then take the row.
    NewAttempt {
        /// The attempt that is over.
        previous: i32,
    },
}

/// Lets one row move the clock, or says why not; a rejected row leaves the clock as it was.
pub fn observe(
    clock: &mut RunClock,
    settings: &TimeSettings,
    stamp: &Stamp,
) -> Result<Seen, Rejected> {
    if stamp.step < 0 || stamp.tokens.is_some_and(|tokens| tokens < 0) {
        return Err(Rejected::Negative);
    }
    if let Some(EventTimeMs(event)) = stamp.event_time_ms {
        let ahead_ms = event.saturating_sub(stamp.append_time_ms.0);
        if ahead_ms > settings.future_cap_ms {
            return Err(Rejected::FromTheFuture { ahead_ms });
        }
    }
    let seen = match clock.attempt {
        Some(current) if stamp.attempt < current => return Err(Rejected::StaleAttempt { current }),
        Some(current) if stamp.attempt > current => Seen::NewAttempt { previous: current },
        _ => Seen::Same,
    };
    let step_highest = clock.step_max.max(clock.step_max_before);
    let tokens_highest = clock.tokens_max.max(clock.tokens_max_before);
    let leap = |highest: Option<i64>, value: i64| {
        highest.map_or(0, |highest| value.saturating_sub(highest))
    };
    let steps = leap(step_highest, stamp.step);
    if steps > settings.step_jump_cap {
        return Err(Rejected::Jump {
            kind: ClockKind::Step,
            by: steps,
        });
    }
    let tokens = stamp.tokens.map_or(0, |value| leap(tokens_highest, value));
    if tokens > settings.token_jump_cap {
        return Err(Rejected::Jump {
            kind: ClockKind::Tokens,
            by: tokens,
        });
    }
    if seen != Seen::Same {
        *clock = RunClock {
            step_max_before: step_highest,
            tokens_max_before: tokens_highest,
            append_time_ms: clock.append_time_ms,
            // An end may come before its attempt's rows: they have its grace from here on.
            end: clock
                .end
                .filter(|end| end.attempt == stamp.attempt)
                .map(|end| EndMark {
                    append_time_ms: stamp.append_time_ms,
                    ..end
                }),
            ..RunClock::default()
        };
    }
    let first = clock.step_max.is_none();
    if !first {
        clock.gap_max_ms = clock.gap_max_ms.max(
            stamp
                .append_time_ms
                .0
                .saturating_sub(clock.append_time_ms.0),
        );
    }
    clock.attempt = Some(stamp.attempt);
    if clock.ended && clock.step_max.is_none_or(|max| stamp.step > max) {
        reopen(clock, stamp);
    }
    clock.step_max = clock.step_max.max(Some(stamp.step));
    clock.tokens_max = clock.tokens_max.max(stamp.tokens);
    clock.event_time_max_ms = clock
        .event_time_max_ms
        .max(stamp.event_time_ms.map(|time| time.0));
    clock.append_time_ms = clock.append_time_ms.max(stamp.append_time_ms);
    Ok(seen)
}

/// The watermark of one clock: nothing at or below it is still expected. None before the first value of that clock.
pub fn watermark(clock: &RunClock, settings: &TimeSettings, kind: ClockKind) -> Option<i64> {
    let max = match kind {
        ClockKind::Step => clock.step_max,
        ClockKind::Tokens => clock.tokens_max,
        ClockKind::EventTime => clock.event_time_max_ms,
    };
    max.map(|max| max.saturating_sub(settings.disorder(kind)))
}

/// Notes that the run has announced its end; an end of an older attempt is ignored, one of a newer attempt waits for its rows.
pub fn announce_end(clock: &mut RunClock, mark: EndMark) {
    let newer = clock.attempt.is_none_or(|current| mark.attempt > current);
    if newer || (clock.attempt == Some(mark.attempt) && !clock.ended) {
        clock.ended = false;
        clock.end = Some(mark);
        clock.attempt = clock.attempt.or(Some(mark.attempt));
        // A run that is known by its end alone was heard of now, not in 1970.
        clock.append_time_ms = clock.append_time_ms.max(mark.append_time_ms);
    }
}

/// True once the announced end is due: its clock value was reached, or its grace is over at append time `now`.
pub fn end_is_due(clock: &RunClock, settings: &TimeSettings, now: AppendTimeMs) -> bool {
    let Some(end) = clock.end.filter(|_| !clock.ended) else {
        return false;
    };
    let same = clock.attempt == Some(end.attempt);
    let step = end
        .step
        .is_some_and(|last| clock.step_max.is_some_and(|max| max >= last));
    let tokens = end
        .tokens
        .is_some_and(|last| clock.tokens_max.is_some_and(|max| max >= last));
    (same && (step || tokens))
        || now.0.saturating_sub(end.append_time_ms.0) >= settings.end_grace_ms
}

/// True once nothing more of the attempt is waited for: its end is due, or it is given up.
pub fn is_over(clock: &RunClock, settings: &TimeSettings, now: AppendTimeMs) -> bool {
    end_is_due(clock, settings, now) || is_given_up(clock, settings, now)
}

/// True where the run has stalled and was silent for so long that it is treated as if it had ended, although it never said so.
fn is_given_up(clock: &RunClock, settings: &TimeSettings, now: AppendTimeMs) -> bool {
    !clock.ended
        && clock.attempt.is_some()
        && now.0.saturating_sub(clock.append_time_ms.0) >= given_up_after(clock, settings)
}

/// What the run is doing at append time `now` (of the newest record or tick).
pub fn activity(clock: &RunClock, settings: &TimeSettings, now: AppendTimeMs) -> Activity {
    if clock.ended {
        return Activity::Finished;
    }
    let silent_ms = now.0.saturating_sub(clock.append_time_ms.0);
    if silent_ms >= stalled_after(clock, settings) {
        Activity::Stalled
    } else if silent_ms >= settings.idle_after_ms {
        Activity::Idle
    } else {
        Activity::Running
    }
}

/// The append time at which this run next needs a tick, if any: an end's grace, or the moments at which it is idle, stalled and
/// given up.
pub fn next_timer(
    clock: &RunClock,
    settings: &TimeSettings,
    now: AppendTimeMs,
) -> Option<AppendTimeMs> {
    if clock.ended || clock.attempt.is_none() {
        return None;
    }
    let silence = [
        settings.idle_after_ms,
        stalled_after(clock, settings),
        given_up_after(clock, settings),
    ]
    .map(|after| clock.append_time_ms.0.saturating_add(after));
    let grace = clock
        .end
        .map(|end| end.append_time_ms.0.saturating_add(settings.end_grace_ms));
    silence
        .into_iter()
        .chain(grace)
        .filter(|at| *at > now.0)
        .min()
        .map(AppendTimeMs)
}

/// A row newer than all before came after the end had closed the windows: either the end's own last rows were slower than its
/// grace, which then starts again, or the run goes on and it was not the end.
fn reopen(clock: &mut RunClock, stamp: &Stamp) {
    clock.ended = false;
    clock.end = clock
        .end
        .filter(|end| end.step.is_some_and(|last| stamp.step <= last));
    if let Some(end) = clock.end.as_mut() {
        end.append_time_ms = stamp.append_time_ms;
    }
}

fn stalled_after(clock: &RunClock, settings: &TimeSettings) -> i64 {
    settings
        .stalled_after_ms
        .max(clock.gap_max_ms.saturating_mul(5))
}

fn given_up_after(clock: &RunClock, settings: &TimeSettings) -> i64 {
    settings
        .given_up_after_ms
        .max(stalled_after(clock, settings))
}
