//! Clock, windows and breaker of one run, in the one order in which they belong together: what the `runs` task and
//! `cairn breaker replay` both call, so that a replay decides what the pipeline decided.

use serde::{Deserialize, Serialize};

use super::{BreakerRules, BreakerState, Decision, Plan, observe_row, observe_window};
use crate::time::{self, AppendTimeMs, EndMark, Rejected, RunClock, Seen, Stamp, TimeSettings};
use crate::windows::{self, ClosedBy, ClosedWindow, LateRow, Row, WindowsState};

/// Everything that is remembered of one run's telemetry; the caller keeps it in a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Followed {
    /// Its clock.
    pub clock: RunClock,
    /// Its open windows.
    pub windows: WindowsState,
    /// Its breaker.
    pub breaker: BreakerState,
    /// Partition and offset of the record that moved it last, where it was a record: what a decision without rows of its own cites.
    #[serde(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<(i32, i64)>,
}

/// How time and breaker are set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FollowSettings {
    /// Disorder, caps and graces.
    pub time: TimeSettings,
    /// Windows and rules.
    pub rules: BreakerRules,
}

/// What following a run brings forth, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Followup {
    /// A window closed.
    Window(ClosedWindow),
    /// The breaker changed.
    Decision(Decision),
    /// The row was late for a window; the caller still has the row.
    Late(LateRow),
}

/// Takes one row in. A rejected row changes nothing; the caller makes a dead letter of it.
pub fn row(
    run: &mut Followed,
    settings: &FollowSettings,
    plan: &Plan,
    row: &Row,
    append_time_ms: AppendTimeMs,
    out: &mut Vec<Followup>,
) -> Result<(), Rejected> {
    let stamp = Stamp {
        attempt: row.attempt,
        step: row.step,
        tokens: row.tokens,
        event_time_ms: row.event_time_ms,
        append_time_ms,
    };
    if let Seen::NewAttempt { previous } = time::observe(&mut run.clock, &settings.time, &stamp)? {
        close(run, settings, plan, previous, ClosedBy::EndOfRun, out);
        windows::begin_attempt(&mut run.windows);
    }
    let mut decisions = Vec::new();
    observe_row(&mut run.breaker, &settings.rules, plan, row, &mut decisions);
    out.extend(decisions.into_iter().map(Followup::Decision));
    let (mut closed, mut late) = (Vec::new(), Vec::new());
    windows::observe(
        &mut run.windows,
        &settings.rules.windows,
        &settings.time,
        &run.clock,
        row,
        &mut closed,
        &mut late,
    );
    out.extend(late.into_iter().map(Followup::Late));
    judge(run, settings, plan, closed, out);
    Ok(())
}

/// Notes an end; [`tick`] closes its windows when its clock value is reached or after the grace, or a drain does.
pub fn end(run: &mut Followed, mark: EndMark) {
    time::announce_end(&mut run.clock, mark);
}

/// Append time has reached `now`, and a record's rows have all been taken in: ends a run whose end is due, or that is given up.
/// Not for each row: the rows of the last step come together, and the first of them must not make the others late.
pub fn tick(
    run: &mut Followed,
    settings: &FollowSettings,
    plan: &Plan,
    now: AppendTimeMs,
    out: &mut Vec<Followup>,
) {
    if time::is_over(&run.clock, &settings.time, now) {
        let attempt = run.clock.attempt.unwrap_or_default();
        close(run, settings, plan, attempt, ClosedBy::EndOfRun, out);
        run.clock.ended = true;
    }
}

/// A drain finishes: an announced end counts as reached and its windows close. The windows of a run that goes on stay open.
/// True where the run is ended.
pub fn drain(
    run: &mut Followed,
    settings: &FollowSettings,
    plan: &Plan,
    out: &mut Vec<Followup>,
) -> bool {
    if run.clock.end.is_some() && !run.clock.ended {
        let attempt = run.clock.attempt.unwrap_or_default();
        close(run, settings, plan, attempt, ClosedBy::Drain, out);
        run.clock.ended = true;
    }
    run.clock.ended
}

/// Closes every window of the current attempt at once.
pub fn close_now(
    run: &mut Followed,
    settings: &FollowSettings,
    plan: &Plan,
    by: ClosedBy,
    out: &mut Vec<Followup>,
) {
    let attempt = run.clock.attempt.unwrap_or_default();
    close(run, settings, plan, attempt, by, out);
}

fn close(
    run: &mut Followed,
    settings: &FollowSettings,
    plan: &Plan,
    attempt: i32,
    by: ClosedBy,
    out: &mut Vec<Followup>,
) {
    let mut closed = Vec::new();
    windows::close_all(
        &mut run.windows,
        &settings.rules.windows,
        attempt,
        by,
        &mut closed,
    );
    judge(run, settings, plan, closed, out);
}

fn judge(
    run: &mut Followed,
    settings: &FollowSettings,
    plan: &Plan,
    closed: Vec<ClosedWindow>,
    out: &mut Vec<Followup>,
) {
    for window in closed {
        let mut decisions = Vec::new();
        observe_window(
            &mut run.breaker,
            &settings.rules,
            plan,
            &window,
            &mut decisions,
        );
        out.push(Followup::Window(window));
        out.extend(decisions.into_iter().map(Followup::Decision));
    }
}
