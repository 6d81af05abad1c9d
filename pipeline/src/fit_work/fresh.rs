//! New runs against the fit before them: does the law still hold?

use super::record::coordinates;
use crate::window_query::Window;
use cairn_avro::record::{BacktestPoint, ScalingFit};
use cairn_operators::operator::Previous;
use cairn_operators::refit::StandingRules;
use cairn_scaling as scaling;
use scaling::study::drift::{Drift, DriftOptions, Foretold};
use std::collections::BTreeMap;

/// Level of the interval that is told of each new run.
const LEVEL: f64 = 0.99;

/// Level of the narrower interval that the monitor knows besides.
const LEVEL_INNER: f64 = 0.9;

/// Most new runs told.
const TOLD_MAX: usize = 20;

/// So many runs in a row must be as foretold before a broken law is called whole.
const WHOLE_RUNS: usize = 10;

/// … of which so many may lie outside the narrower interval.
const WHOLE_OUTSIDE_INNER_MAX: usize = 3;

/// Adds to a fit what the one before it says of the runs that it had not seen: those behind its window, or, where all rows are
/// in it, those that finished since. What lies where that fit itself warns of extrapolation speaks neither for it nor
/// against it.
pub(super) fn predict(
    record: &mut ScalingFit,
    window: &Window,
    previous: &Previous,
    fresh: &[String],
    rules: &StandingRules,
) {
    let mut drift = monitor(previous, rules);
    let mut points: Vec<BacktestPoint> = Vec::new();
    if let Ok(fit) = serde_json::from_str::<scaling::Fit>(&previous.fit_json) {
        for row in new_rows(window, previous, fresh) {
            points.extend(foretell(&fit, &window.study, row, &mut drift));
        }
    }
    record.fresh_runs = points.len() as i32;
    record.fresh_outside = points.iter().filter(|point| !point.inside).count() as i32;
    let far = |point: &BacktestPoint| {
        let width = (point.high - point.low).max(f64::MIN_POSITIVE);
        ((point.observed - point.predicted) / width).abs()
    };
    points.sort_by(|a, b| far(b).total_cmp(&far(a)).then(a.run_id.cmp(&b.run_id)));
    points.truncate(TOLD_MAX);
    record.fresh = points;
    if drift.runs > 0 {
        record.drift_runs = i32::try_from(drift.runs).unwrap_or(i32::MAX);
        record.drift_outside = i32::try_from(drift.outside_outer).unwrap_or(i32::MAX);
        record.drift_evidence = Some(drift.evidence());
        record.drift_broken_at.clone_from(&drift.broke_at);
        record.drift_json = serde_json::to_string(&drift).unwrap_or_default();
    }
}

/// The monitor as the last fit left it; a new one where it has not begun, or where a broken law has proved whole.
fn monitor(previous: &Previous, rules: &StandingRules) -> Drift {
    let options = DriftOptions {
        runs_to_false_alarm: rules.runs_to_false_alarm,
        ..DriftOptions::default()
    };
    match serde_json::from_str::<Drift>(&previous.drift_json) {
        Ok(drift) if !is_whole(&drift) => drift,
        _ => Drift::new(options),
    }
}

/// A law that was called broken, and has foretold its newest runs since.
fn is_whole(drift: &Drift) -> bool {
    let Some(broke_at) = &drift.broke_at else {
        return false;
    };
    let place = drift.recent.iter().position(|run| run.run_id == *broke_at);
    let since = &drift.recent[place.map_or(0, |place| place + 1)..];
    let Some(newest) = since.len().checked_sub(WHOLE_RUNS) else {
        return false;
    };
    let newest = &since[newest..];
    let outside_inner = newest.iter().filter(|run| run.outside_inner).count();
    newest.iter().all(|run| !run.outside_outer) && outside_inner <= WHOLE_OUTSIDE_INNER_MAX
}

/// Rows that the last fit had not seen, in the order in which they came.
fn new_rows(window: &Window, previous: &Previous, fresh: &[String]) -> Vec<usize> {
    let study = &window.study;
    if let Some(end) = previous.window_end {
        let places = window.places.iter().enumerate();
        let mut rows: Vec<(i64, usize)> = places
            .filter(|(_, place)| **place >= end)
            .map(|(row, place)| (*place, row))
            .collect();
        rows.sort_unstable();
        return rows.into_iter().map(|(_, row)| row).collect();
    }
    let runs = study.run_ids.iter().enumerate();
    let rows: BTreeMap<&str, usize> = runs.map(|(row, run)| (&**run, row)).collect();
    let mut found: Vec<usize> = Vec::new();
    for row in fresh.iter().filter_map(|run| rows.get(&**run)) {
        // A run may have been taken back and finished again.
        if !found.contains(row) {
            found.push(*row);
        }
    }
    found
}

/// What the fit says of one row, held against it and shown to the monitor.
fn foretell(
    fit: &scaling::Fit,
    study: &scaling::Table,
    row: usize,
    drift: &mut Drift,
) -> Option<BacktestPoint> {
    let run_id = &study.run_ids[row];
    let columns = study.columns.iter();
    let point: BTreeMap<String, f64> = columns
        .filter_map(|(name, values)| Some((name.clone(), *values.get(row)?)))
        .collect();
    let observed = study.response[row];
    let inner = fit.predict(&point, LEVEL_INNER).ok()?;
    let outer = fit.predict(&point, LEVEL).ok()?;
    let reach = &outer.extrapolation;
    if reach.flag == scaling::ExtrapolationFlag::DoNotExtrapolate
        || reach.factor > drift.options.reach_max
    {
        return None;
    }
    let foretold = Foretold {
        mean: outer.mean,
        inner: [inner.low, inner.high],
        outer: [outer.low, outer.high],
    };
    let scored = drift.score(run_id, &foretold, observed)?;
    Some(BacktestPoint {
        run_id: run_id.clone(),
        n: point.get("n").copied().unwrap_or(0.0),
        d: point.get("d").copied().unwrap_or(0.0),
        observed,
        predicted: outer.mean,
        low: outer.low,
        high: outer.high,
        level: LEVEL,
        inside: !scored.outside_outer,
        point: coordinates(&point),
    })
}
