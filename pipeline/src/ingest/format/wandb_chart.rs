//! The CSV that the menu of a Weights & Biases chart exports: a column for each run and metric.
//!
//! Published format: docs.wandb.ai, "Line plots" and "Import and export data" (export a panel as CSV). The first column is the
//! chart's x-axis (`Step`, or a metric); each run has a column `run name - metric` and beside it `…__MIN` and `…__MAX`, the
//! ends of what the chart drew in one point. Cells are empty where a run has no point.
//!
//! The names say the run, so that one file has several. A row is a step of each run that has a point there. The x-axis must be
//! a step: over time or tokens rows could not be ordered as the runs' other records are. Ends are left out.

use super::csv::{self, cells};
use super::names::{STEPS, count, put};
use super::text::{Number, Restarts, metric_name, trimmed, whole_lines};
use super::{Confidence, Format, Out, Parser, Position, Refusal, Setup, mapped};
use cairn_avro::record::{Payload, TrainingTelemetry};

#[cfg(test)]
pub(super) mod tests;

/// The format.
pub(super) struct WandbChart;

/// A column that is a metric of a run.
#[derive(Clone, Debug, PartialEq)]
struct Column {
    at: usize,
    run: usize,
    metric: String,
}

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq)]
struct Header {
    width: usize,
    axis: String,
    runs: Vec<String>,
    columns: Vec<Column>,
    /// Columns of ends, the marks of the format.
    ends: usize,
}

impl Header {
    fn of(line: &str) -> Option<Self> {
        let cells = cells(line.trim_start_matches('\u{feff}'))?;
        let (axis, names) = cells.split_first()?;
        let mut header = Self {
            width: cells.len(),
            axis: axis.trim().to_owned(),
            ..Self::default()
        };
        for (at, name) in names.iter().enumerate() {
            if name.ends_with("__MIN") || name.ends_with("__MAX") {
                header.ends += 1;
                continue;
            }
            // a run's name may hold the mark, too; a metric's hardly does
            let (run, metric) = name.rsplit_once(" - ")?;
            let (run, metric) = (run.trim().to_owned(), metric.trim().to_owned());
            let run = header
                .runs
                .iter()
                .position(|known| *known == run)
                .unwrap_or_else(|| {
                    header.runs.push(run);
                    header.runs.len() - 1
                });
            header.columns.push(Column {
                at: at + 1,
                run,
                metric,
            });
        }
        (!header.columns.is_empty()).then_some(header)
    }
}

fn first_line(head: &[u8]) -> Option<Header> {
    Header::of(&trimmed(whole_lines(head).next()?)?)
}

impl Format for WandbChart {
    fn name(&self) -> &'static str {
        "wandb_chart"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["wandb-chart", "wandb-csv"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        match first_line(head) {
            Some(header) if header.ends > 0 => Confidence::Sure,
            Some(header) if header.axis == "Step" => Confidence::Perhaps(
                "its columns are `run - metric` as a chart of W&B has them, but none is __MIN or __MAX",
            ),
            _ => Confidence::No,
        }
    }

    fn names_its_runs(&self) -> bool {
        true
    }

    fn takes_run_id(
        &self,
        head: &[u8],
        run_id: &str,
        _mapping: Option<&mapped::Mapping>,
    ) -> Result<(), Refusal> {
        match first_line(head) {
            Some(header) if header.runs.len() > 1 => Err(Refusal(format!(
                "its columns name {} runs ({}, …), --run-id {run_id} would be all of them; leave it out",
                header.runs.len(),
                header.runs[0]
            ))),
            _ => Ok(()),
        }
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Ok(Box::new(Chart {
            setup: setup.clone(),
            header: None,
            restarts: Vec::new(),
            rows: csv::Rows::default(),
            begun: Position::default(),
        }))
    }
}

struct Chart {
    setup: Setup,
    header: Option<Header>,
    /// Of each run.
    restarts: Vec<Restarts>,
    rows: csv::Rows,
    begun: Position,
}

impl Parser for Chart {
    fn inside_a_record(&self) -> bool {
        self.rows.is_open()
    }

    fn takes_unended(&self, line: &[u8]) -> bool {
        let width = trimmed(line).and_then(|line| cells(&line).map(|cells| cells.len()));
        !self.rows.is_open() && width == self.header.as_ref().map(|header| header.width)
    }

    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        let Some(line) = trimmed(unit) else {
            out.ignored += 1;
            return Ok(());
        };
        if !self.rows.is_open() {
            self.begun = position;
        }
        match self.rows.line(&line) {
            Some(row) => self.row(&row, out),
            None => Ok(()),
        }
    }

    fn end(&mut self, _position: Position, out: &mut Out) -> Result<(), Refusal> {
        self.rows.end(self.begun, out);
        Ok(())
    }
}

impl Chart {
    fn row(&mut self, row: &str, out: &mut Out) -> Result<(), Refusal> {
        let Some(header) = &self.header else {
            let header = Header::of(row).ok_or_else(|| {
                Refusal(
                    "its columns are not named `run - metric`; it is no chart of W&B, describe it with --map"
                        .into(),
                )
            })?;
            let axis = metric_name(&header.axis);
            if axis != "step" && !STEPS.contains(&axis.as_str()) {
                return Err(Refusal(format!(
                    "its x-axis is {:?}; export the chart over steps, or describe it with --map",
                    header.axis
                )));
            }
            self.restarts = vec![Restarts::new(self.setup.attempt); header.runs.len()];
            self.header = Some(header);
            out.ignored += 1;
            return Ok(());
        };
        let cells = cells(row).unwrap_or_default();
        let step = cells
            .first()
            .and_then(|cell| Number::read(cell.trim())?.value)
            .and_then(count);
        let (Some(step), true) = (step, cells.len() == header.width) else {
            let text = format!(
                "the row has {} cells, its header {}, and its step is {:?}; it was cut or damaged",
                cells.len(),
                header.width,
                cells.first().map_or("", |cell| cell.as_ref())
            );
            out.reject(
                "bad_row",
                text,
                "telemetry.training",
                self.begun,
                row.as_bytes(),
            );
            return Ok(());
        };
        for (at, run) in header.runs.iter().enumerate() {
            let mut telemetry = TrainingTelemetry {
                run_id: if self.setup.run_id_given {
                    self.setup.run_id.clone()
                } else {
                    run.clone()
                },
                step,
                batch_tokens: self.setup.batch_tokens,
                ..TrainingTelemetry::default()
            };
            let mut found = false;
            for column in header.columns.iter().filter(|column| column.run == at) {
                if let Some(number) = Number::read(cells[column.at].trim()) {
                    found |= put(&mut telemetry, &column.metric, number);
                }
            }
            if !found {
                continue;
            }
            telemetry.attempt = self.restarts[at].attempt(step);
            telemetry.tokens = telemetry.tokens.or(self
                .setup
                .batch_tokens
                .and_then(|batch| batch.checked_mul(step)));
            out.event(
                Payload::TrainingTelemetry(telemetry),
                self.begun,
                row.as_bytes(),
            );
        }
        Ok(())
    }
}
