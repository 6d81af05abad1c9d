//! The breaker over a file of rows, without a log: `cairn breaker replay`. The same code as the pipeline's, fed from an iterator.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::follow::{self, FollowSettings, Followed, Followup};
use super::{Decision, Plan, State};
use crate::time::AppendTimeMs;
use crate::windows::{ClosedBy, Row};

/// One row of one run. Without event ids, leave the row's at 0: the replay numbers them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BreakerRow {
    /// The run; a file of one run may leave it empty.
    pub run_id: String,
    /// The row.
    pub row: Row,
}

/// A decision with the run that it is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// The run.
    pub run_id: String,
    /// What was decided.
    #[serde(flatten)]
    pub decision: Decision,
}

/// What the replay saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Runs in the file.
    pub runs: u64,
    /// Rows taken in, over all runs.
    pub steps: u64,
    /// Times a breaker opened, or became graver while open.
    pub trips: u64,
    /// Breakers still open at the end.
    pub open_at_end: u64,
    /// Rows late for their window.
    pub late: u64,
    /// Rows that the clock refused.
    pub rejected: u64,
}

/// Replays rows in the order given; `plans` by run id, for the runs whose plan is known. At the end every window is closed.
pub fn replay(
    rows: impl IntoIterator<Item = BreakerRow>,
    settings: &FollowSettings,
    plans: &BTreeMap<String, Plan>,
) -> (Vec<Replayed>, Summary) {
    let mut runs: BTreeMap<String, Followed> = BTreeMap::new();
    let (mut replayed, mut summary) = (Vec::new(), Summary::default());
    let no_plan = Plan::default();
    let mut out = Vec::new();
    for (number, BreakerRow { run_id, mut row }) in (1_u64..).zip(rows) {
        let run = runs.entry(run_id.clone()).or_default();
        if row.event_id == 0 {
            row.event_id = number;
        }
        // A file has no append time; its own event time, where there is one, is never ahead of itself.
        let appended = AppendTimeMs(row.event_time_ms.map_or(0, |time| time.0));
        let plan = plans.get(&run_id).unwrap_or(&no_plan);
        match follow::row(run, settings, plan, &row, appended, &mut out) {
            Ok(()) => summary.steps += 1,
            Err(_) => summary.rejected += 1,
        }
        collect(&run_id, &mut out, &mut replayed, &mut summary);
    }
    for (run_id, run) in &mut runs {
        let plan = plans.get(run_id).unwrap_or(&no_plan);
        follow::close_now(run, settings, plan, ClosedBy::EndOfRun, &mut out);
        collect(run_id, &mut out, &mut replayed, &mut summary);
        summary.open_at_end += u64::from(run.breaker.state == State::Open);
    }
    summary.runs = runs.len() as u64;
    (replayed, summary)
}

fn collect(
    run_id: &str,
    out: &mut Vec<Followup>,
    replayed: &mut Vec<Replayed>,
    summary: &mut Summary,
) {
    for followup in out.drain(..) {
        match followup {
            Followup::Window(_) => {}
            Followup::Late(_) => summary.late += 1,
            Followup::Decision(decision) => {
                summary.trips += u64::from(decision.state == State::Open);
                replayed.push(Replayed {
                    run_id: run_id.to_owned(),
                    decision,
                });
            }
        }
    }
}
