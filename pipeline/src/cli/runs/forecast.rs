//! `cairn runs forecast`: how a run under way will end, from its own closed windows and from how finished runs went on.
//!
//! A point of a curve is the median loss of a window by steps, at its last step; where a run was restarted the last attempt
//! counts. Rates are no part of it: what is still planned of them is not on the log.

use super::super::table::number;
use super::super::{Failure, Global, Outcome, print, say};
use super::view::{View, literal};
use crate::registry::AsOf;
use cairn_avro::record::{ExperimentRow, RunStatus};
use cairn_scaling::study::curves::{Curve, CurvePoint, Forecast, Known, calibrate_at, forecast};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Most finished runs that are replayed, the newest: more make no interval better, and each costs eight small fits.
const FINISHED_MAX: usize = 200;

/// How a run under way will end, with an interval.
#[derive(Args)]
pub struct ForecastRun {
    /// The run, or TENANT/RUN
    id: String,
    /// Its planned length in steps; what its configuration says where not given
    #[arg(long, value_name = "STEPS")]
    end: Option<f64>,
    /// Level of the interval
    #[arg(long, default_value_t = 0.9)]
    level: f64,
    /// Finished runs to measure errors on, such as "width = 768"; all of them where not given
    #[arg(long = "where", value_name = "SQL")]
    condition: Option<String>,
    /// Finished runs of this cohort
    #[arg(long, value_name = "NAME")]
    cohort: Option<String>,
    /// What would have been said at that share of its length, such as 0.5: to see what to think of it
    #[arg(long, value_name = "SHARE")]
    until: Option<f64>,
}

impl ForecastRun {
    pub(super) fn run(self, global: &Global) -> Outcome {
        for (flag, share) in [("--level", Some(self.level)), ("--until", self.until)] {
            if share.is_some_and(|share| !(f64::MIN_POSITIVE..1.0).contains(&share)) {
                return Err(Failure::usage(
                    format!("{flag} {}", share.unwrap_or_default()),
                    "give a share between 0 and 1, such as 0.9",
                ));
            }
        }
        let mut view = View::open(global, &AsOf::Now)?;
        let row = view.run(&self.id)?;
        let end = self.end.or_else(|| planned(&row)).ok_or_else(|| {
            Failure::new(
                "no_length",
                1,
                format!("nobody said how long {} will be", row.run_id),
                "registry",
                "say it with --end STEPS, or let its configuration have steps_planned or tokens_planned",
            )
        })?;
        let condition =
            super::condition(&mut view, self.condition.as_deref(), self.cohort.as_deref())?;
        let finished = format!(
            "status = 'finished' AND steps > 0 AND tenant = {} AND run_id <> {} AND ({})",
            literal(&row.tenant),
            literal(&row.run_id),
            condition.as_deref().unwrap_or("TRUE")
        );
        let mut others = view.rows(Some(&finished), None)?;
        others.sort_by_key(|row| std::cmp::Reverse(row.updated_append_time_ms));
        others.truncate(FINISHED_MAX);
        others.sort_by(|a, b| a.run_id.cmp(&b.run_id));
        let finished: Vec<Curve> = curves(&mut view, &others, None)?;
        let whole = curves(&mut view, std::slice::from_ref(&row), Some(end))?;
        let whole = whole.into_iter().next().unwrap_or_default();
        let seen = match self.until {
            Some(share) => whole.until(share),
            None => whole.clone(),
        };
        // A hair more: the product is to hold the point that it was made of.
        let share = seen.points.last().map_or(0.0, |last| last.at / end) * (1.0 + 1e-9);
        let said = forecast(
            &seen,
            &calibrate_at(&finished, &[share.min(1.0)]),
            self.level,
        );
        if global.is_json() {
            let mut answer: Value = json!(said);
            answer["run_id"] = json!(row.run_id);
            answer["unit"] = json!("steps");
            answer["end"] = json!(end);
            answer["ended"] = json!(whole.final_loss());
            say(&answer);
        } else {
            print(&text(&row, &said, end, whole.final_loss()));
        }
        Ok(u8::from(said.identified == Known::No))
    }
}

/// The planned length in steps, by steps or by tokens.
fn planned(row: &ExperimentRow) -> Option<f64> {
    let training = &row.training;
    let steps = training.steps_planned.map(|steps| steps as f64);
    let by_tokens = || {
        let tokens = training.tokens_planned?;
        let told = training.batch_tokens.map(|batch| batch as f64);
        let seen = row.tokens.zip(row.steps);
        let seen = seen.map(|(tokens, steps)| tokens as f64 / steps as f64);
        let batch = told
            .or(seen)
            .filter(|batch| batch.is_finite() && *batch > 0.0)?;
        Some((tokens / batch).round())
    };
    let ended = (row.status == RunStatus::Finished)
        .then_some(row.steps)
        .flatten();
    let found = ended.map(|steps| steps as f64).or(steps).or_else(by_tokens);
    found.filter(|end| *end > 0.0)
}

/// The curves of runs, in their order; the length is that of the run where none is given.
fn curves(
    view: &mut View,
    rows: &[ExperimentRow],
    end: Option<f64>,
) -> Result<Vec<Curve>, Failure> {
    let Some(first) = rows.first() else {
        return Ok(Vec::new());
    };
    let ids: Vec<String> = rows.iter().map(|row| literal(&row.run_id)).collect();
    let batches = view.ask(&format!(
        "SELECT run_id, last_step, coalesce(log_perplexity_median, loss_mean) AS loss FROM windows
         WHERE kind = 'step' AND tenant = {} AND last_step IS NOT NULL AND loss_mean IS NOT NULL AND run_id IN ({})
         ORDER BY run_id, attempt, last_step",
        literal(&first.tenant),
        ids.join(", ")
    ))?;
    let mut points: BTreeMap<String, BTreeMap<i64, f64>> = BTreeMap::new();
    for window in super::super::sql::json(&batches)? {
        let run = window["run_id"].as_str();
        let place = window["last_step"].as_i64().zip(window["loss"].as_f64());
        if let (Some(run), Some((step, loss))) = (run, place) {
            let known = points.entry(run.to_owned()).or_default();
            known.insert(step, loss);
        }
    }
    let curve = |row: &ExperimentRow| {
        let points = points.remove(&row.run_id)?;
        let points = points.into_iter();
        Some(Curve {
            run_id: row.run_id.clone(),
            points: points
                .map(|(step, loss)| CurvePoint {
                    at: step as f64,
                    loss,
                })
                .collect(),
            end: end.or(row.steps.map(|steps| steps as f64))?,
            schedule: Vec::new(),
        })
    };
    Ok(rows.iter().filter_map(curve).collect())
}

fn text(row: &ExperimentRow, said: &Forecast, end: f64, ended: Option<f64>) -> String {
    let mut out = format!(
        "{}: {:.0} % of {end:.0} steps seen\n",
        row.run_id,
        100.0 * said.progress
    );
    if let Some(loss) = said.loss {
        let interval = said
            .interval
            .map_or("no interval".to_owned(), |[low, high]| {
                format!(
                    "{} … {} at level {}",
                    number(Some(low)),
                    number(Some(high)),
                    said.level
                )
            });
        let known = match said.identified {
            Known::Yes => "",
            Known::Weakly => ", weakly known",
            Known::No => ", not known",
        };
        out.push_str(&format!(
            "training loss at its end  {}  ({interval}{known}; errors of {} finished runs)\n",
            number(Some(loss)),
            said.calibrated_on
        ));
    }
    for why in &said.why {
        out.push_str(&format!("  ! {why}\n"));
    }
    if let Some(ended) = ended {
        out.push_str(&format!("it ended at  {}\n", number(Some(ended))));
    }
    out
}
