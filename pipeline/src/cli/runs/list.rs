//! `cairn runs list`.

use super::super::table::{Table, number};
use super::super::{Global, Outcome, print, say};
use super::curve::{Curve, Curves, curves};
use super::row;
use super::view::{View, as_of};
use crate::plot::sparkline;
use crate::window_query::final_loss;
use cairn_avro::record::{BreakerState, ExperimentRow};
use clap::Args;

/// Characters of a sparkline.
const SPARK_CHARS: usize = 24;

/// Runs, one a line.
#[derive(Args)]
pub struct List {
    /// Only those that this holds for, such as "parameters_total > 1e8 AND status = 'finished'"
    #[arg(long = "where", value_name = "SQL")]
    condition: Option<String>,
    /// Only those of this cohort
    #[arg(long, value_name = "NAME")]
    cohort: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// With the loss as a line, and more columns
    #[arg(long)]
    wide: bool,
    /// The registry as it was: a version, or a time such as 2026-11-30T12:00:00Z
    #[arg(long, value_name = "VERSION|TIME")]
    as_of: Option<String>,
}

impl List {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let mut view = View::open(global, &as_of(self.as_of.as_deref())?)?;
        let condition =
            super::condition(&mut view, self.condition.as_deref(), self.cohort.as_deref())?;
        let rows = view.rows(condition.as_deref(), self.limit)?;
        if global.is_json() {
            rows.iter().map(row::json).for_each(|row| say(&row));
            return Ok(0);
        }
        if rows.is_empty() {
            print("no runs\n");
            return Ok(0);
        }
        let curves = if self.wide {
            curves(&mut view, &rows)?
        } else {
            Curves::new()
        };
        print(&text(&rows, self.wide, &curves));
        Ok(0)
    }
}

fn text(rows: &[ExperimentRow], is_wide: bool, curves: &Curves) -> String {
    let mut heads = vec![
        "run",
        "status",
        "parameters",
        "tokens",
        "loss",
        "of",
        "flops",
        "breaker",
        "tags",
    ];
    if is_wide {
        heads.extend([
            "steps",
            "lr peak",
            "tokens/s",
            "MFU",
            "cost",
            "loss over time",
        ]);
    }
    let mut table = Table::new(&heads);
    for row in rows {
        let loss = final_loss(row);
        let mut cells = vec![
            name(row),
            word(&row.status),
            number(row.model.parameters_total),
            number(row.tokens.map(|tokens| tokens as f64)),
            number(loss.map(|(loss, _)| loss)),
            loss.map_or("–".to_owned(), |(_, kind)| kind.as_str().to_owned()),
            number(row.derived.flops),
            match row.breaker_state {
                BreakerState::Unknown => "–".to_owned(),
                ref state => word(state),
            },
            row.tags.join(" "),
        ];
        if is_wide {
            let curve = curves.get(&(row.tenant.clone(), row.run_id.clone()));
            cells.extend([
                row.steps.map_or("–".to_owned(), |steps| steps.to_string()),
                number(row.training.learning_rate_peak),
                number(row.throughput_tokens_per_second),
                number(row.derived.model_flops_utilization),
                match (row.derived.cost, &row.derived.currency) {
                    (Some(cost), Some(currency)) => format!("{} {currency}", number(Some(cost))),
                    (cost, _) => number(cost),
                },
                curve.map_or_else(String::new, line),
            ]);
        }
        table.row(cells);
    }
    table.text()
}

fn line(curve: &Curve) -> String {
    let losses: Vec<f64> = curve.points.iter().map(|(_, loss)| *loss).collect();
    sparkline(&losses, SPARK_CHARS)
}

/// The run's name, with its tenant where that is not the usual one.
pub(super) fn name(row: &ExperimentRow) -> String {
    if row.tenant == cairn_topics::DEFAULT_TENANT {
        row.run_id.clone()
    } else {
        format!("{}/{}", row.tenant, row.run_id)
    }
}

/// The word that the contract has for a value of an enum.
pub(super) fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_else(|| "–".to_owned())
}
