//! The file store of MLflow: a file for each metric of a run, a line for each value.
//!
//! Published format: `mlflow/store/tracking/file_store.py` of github.com/mlflow/mlflow. Below `mlruns/<experiment>/<run>/metrics/`
//! the file's path is the metric's name (`train/loss` is a file `loss` in a folder `train`); a line is `timestamp value step`,
//! milliseconds since 1970, a number, a whole number; the first versions had no step, later ones may name a data set behind
//! it. Values are as Python prints them (`nan`, `inf`).
//!
//! Run and name come from the path; without a folder `metrics` the name is the file's and the run is as for any other log. A
//! value is a step with that one measurement; the rows of a run's other files stand beside it. A metric whose step goes back
//! was logged by a restart. Without a step there is no order: such lines are steps 0, 1, 2 and so on.

use super::names::put;
use super::text::{Number, Restarts, trimmed, whole_lines};
use super::{Confidence, Format, Out, Parser, Position, Refusal, Setup};
use cairn_avro::record::{Payload, TrainingTelemetry};

#[cfg(test)]
mod tests;

/// 2000-01-01 and 2100-01-01: a number outside is no time in milliseconds.
const TIMES_MS: std::ops::Range<i64> = 946_684_800_000..4_102_444_800_000;

/// The format.
pub(super) struct MlFlow;

impl Format for MlFlow {
    fn name(&self) -> &'static str {
        "mlflow"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["mlflow-metric", "mlruns"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        /// Lines looked at: the first, and nine in ten, must be of the format; a few may be damaged.
        const LINES: usize = 100;
        let (mut found, mut foreign) = (0, 0);
        for line in whole_lines(head).take(LINES).filter_map(trimmed) {
            match Line::of(&line) {
                Ok(line) if TIMES_MS.contains(&line.time_ms) => found += 1,
                _ if found == 0 => return Confidence::No,
                _ => {
                    foreign += 1;
                    continue;
                }
            }
            // two columns of numbers may be anything
            if line.split_ascii_whitespace().count() < 3 {
                return Confidence::Perhaps(
                    "its lines are a time and a number, but have no step behind it",
                );
            }
        }
        match foreign {
            0 if found == 0 => Confidence::No,
            0 => Confidence::Sure,
            _ if found >= 9 * foreign => Confidence::Sure,
            _ => Confidence::Perhaps(
                "some of its lines are `timestamp value step` as MLflow's are, too many are not",
            ),
        }
    }

    fn run_of(&self, path: &str) -> Option<String> {
        split(path).map(|(run, _)| run.to_owned())
    }

    /// Two metrics of a run may have the same lines: learning rates of two groups have.
    fn path_matters(&self) -> bool {
        true
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        let name = match split(&setup.source) {
            Some((_, name)) => name.to_owned(),
            None => super::super::source::stem(&setup.source),
        };
        if name.is_empty() || name == "stdin" {
            return Err(Refusal(
                "a metric of MLflow is named by its file; name the file instead of -".into(),
            ));
        }
        Ok(Box::new(Lines {
            setup: setup.clone(),
            name,
            restarts: Restarts::new(setup.attempt),
            unstepped: 0,
        }))
    }
}

/// Run and metric of a path `…/<run>/metrics/<metric>`.
fn split(path: &str) -> Option<(&str, &str)> {
    // the first: a metric may be called `metrics`, too
    let (before, name) = path.split_once("/metrics/")?;
    // how a file is stored is no part of the metric's name
    let name = [".gz", ".zst", ".zstd"]
        .iter()
        .find_map(|kind| name.strip_suffix(kind))
        .unwrap_or(name);
    let run = before.rsplit('/').next()?;
    (!run.is_empty() && !name.is_empty()).then_some((run, name))
}

struct Lines {
    setup: Setup,
    name: String,
    restarts: Restarts,
    /// Lines without a step so far.
    unstepped: i64,
}

struct Line {
    time_ms: i64,
    value: Number,
    step: Option<i64>,
}

impl Line {
    fn of(text: &str) -> Result<Self, String> {
        let mut parts = text.split_ascii_whitespace();
        let mut part = |what: &str| {
            parts
                .next()
                .ok_or_else(|| format!("the line has no {what}; it was cut or damaged"))
        };
        let time = part("time")?;
        let time_ms = time
            .parse()
            .map_err(|_| format!("time {time:?} is no whole number of milliseconds"))?;
        let value = part("value")?;
        let value = Number::read(value).ok_or_else(|| format!("value {value:?} is no number"))?;
        let step = match part("step") {
            Ok(step) => Some(
                step.parse()
                    .map_err(|_| format!("step {step:?} is no whole number"))?,
            ),
            Err(_) => None,
        };
        Ok(Self {
            time_ms,
            value,
            step,
        })
    }
}

impl Parser for Lines {
    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        let Some(text) = trimmed(unit) else {
            out.ignored += 1;
            return Ok(());
        };
        let line = match Line::of(&text) {
            Ok(line) => line,
            Err(why) => {
                let text = format!("{why}; a line is `timestamp value step`");
                out.reject("bad_line", text, "telemetry.training", position, unit);
                return Ok(());
            }
        };
        let step = line.step.unwrap_or(self.unstepped);
        self.unstepped += i64::from(line.step.is_none());
        let mut telemetry = TrainingTelemetry {
            run_id: self.setup.run_id.clone(),
            step,
            event_time_ms: Some(line.time_ms),
            ..TrainingTelemetry::default()
        };
        if !put(&mut telemetry, &self.name, line.value) {
            let text = format!(
                "{} is {}; only losses and gradient norms may be that",
                self.name, line.value.state
            );
            out.reject("not_finite", text, "telemetry.training", position, unit);
            return Ok(());
        }
        telemetry.attempt = self.restarts.attempt(step);
        telemetry.tokens = telemetry.tokens.or(self
            .setup
            .batch_tokens
            .and_then(|batch| batch.checked_mul(step)));
        out.event(Payload::TrainingTelemetry(telemetry), position, unit);
        Ok(())
    }
}
