//! A run's loss over its closed windows, as pictures want it.

use super::super::{Failure, sql};
use super::view::{View, literal};
use cairn_avro::record::ExperimentRow;
use std::collections::HashMap;

/// Mean losses over the windows of one clock and size: a run's windows of another kind would draw its loss a second time.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Curve {
    /// What the windows are cut by, such as `step`.
    pub(super) kind: String,
    size: i64,
    /// Ends of the windows in the clock's unit, and mean losses (nats per token), in the order of attempts.
    pub(super) points: Vec<(f64, f64)>,
}

/// By tenant and run.
pub(super) type Curves = HashMap<(String, String), Curve>;

/// The curves of some runs; those without windows are missing. Windows by steps come before those by time, small before large.
pub(super) fn curves(view: &mut View, rows: &[ExperimentRow]) -> Result<Curves, Failure> {
    let ids: Vec<String> = rows.iter().map(|row| literal(&row.run_id)).collect();
    if ids.is_empty() {
        return Ok(Curves::new());
    }
    let batches = view.ask(&format!(
        "SELECT tenant, run_id, kind, size, \"end\" AS clock, loss_mean FROM windows
         WHERE loss_mean IS NOT NULL AND run_id IN ({})
         ORDER BY tenant, run_id, kind, size, attempt, \"end\"",
        ids.join(", ")
    ))?;
    let mut found = Curves::new();
    for row in sql::json(&batches)? {
        let word = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let (kind, size) = (word("kind"), row["size"].as_i64().unwrap_or_default());
        let (Some(clock), Some(loss)) = (row["clock"].as_f64(), row["loss_mean"].as_f64()) else {
            continue;
        };
        let curve = found
            .entry((word("tenant"), word("run_id")))
            .or_insert_with(|| Curve {
                kind: kind.clone(),
                size,
                points: Vec::new(),
            });
        if (&curve.kind, curve.size) == (&kind, size) {
            curve.points.push((clock, loss));
        }
    }
    Ok(found)
}
