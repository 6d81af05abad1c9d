//! `cairn verdicts`: what the breaker said of runs, and on what it rests.

use super::looks::Look;
use super::table::{Table, number};
use super::{Failure, Global, Outcome, print, say};
use cairn_avro::record::Verdict;
use clap::Args;
use serde_json::{Value, json};

/// What the breaker said of runs.
#[derive(Args)]
pub struct Verdicts {
    /// Only this run
    #[arg(long, value_name = "ID")]
    run: Option<String>,
}

impl Verdicts {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let (_, place) = global.look()?;
        let mut look = Look::new(&place)?;
        let verdicts: Vec<Value> = all(&mut look)?
            .into_iter()
            .filter(|verdict| {
                self.run
                    .as_deref()
                    .is_none_or(|run| verdict["run_id"] == run)
            })
            .collect();
        if global.is_json() {
            verdicts.iter().map(shape).for_each(|verdict| say(&verdict));
        } else if let (Some(run), true) = (&self.run, verdicts.is_empty()) {
            print(&format!(
                "no verdicts of {run}: its breaker is closed, or there is no such run (`cairn runs show {run}`)\n"
            ));
        } else if verdicts.is_empty() {
            print("no verdicts: every run's breaker is closed\n");
        } else {
            print(&text(&verdicts));
        }
        Ok(0)
    }
}

/// Every verdict, in order of run and offset.
pub(super) fn all(look: &mut Look) -> Result<Vec<Value>, Failure> {
    let mut found = Vec::new();
    look.all("breaker.verdicts", |look, record| {
        let value = whole(look.value(&record));
        found.push((
            value["run_id"].as_str().unwrap_or_default().to_owned(),
            record.partition,
            record.offset,
            value,
        ));
        Ok(())
    })?;
    found.sort_by(|a, b| (&a.0, a.1, a.2).cmp(&(&b.0, b.1, b.2)));
    Ok(found.into_iter().map(|(.., value)| value).collect())
}

/// The contract's JSON leaves out what has its default; a script reads every member, whatever its value.
fn whole(value: Value) -> Value {
    serde_json::from_value::<Verdict>(value.clone())
        .and_then(|verdict| serde_json::to_value(&verdict))
        .unwrap_or(value)
}

/// A verdict as scripts read it.
pub(super) fn shape(verdict: &Value) -> Value {
    let offsets: serde_json::Map<String, Value> = verdict["offsets"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|o| {
            (
                format!(
                    "{}/{}",
                    o["topic"].as_str().unwrap_or_default(),
                    o["partition"]
                ),
                o["offset"].clone(),
            )
        })
        .collect();
    json!({
        "run_id": verdict["run_id"], "attempt": verdict["attempt"], "at_step": verdict["at_step"],
        "state": verdict["state"], "cause": verdict["cause"], "onset_step": verdict["onset_step"],
        "window": {
            "first_step": verdict["window_first_step"], "last_step": verdict["window_last_step"], "n": verdict["window_n"]
        },
        "slope": verdict["slope"], "slope_unit": verdict["slope_unit"], "threshold": verdict["threshold"],
        "rule": verdict["rule"], "text": verdict["text"], "offsets": offsets
    })
}

/// Verdicts as a table with their sentences.
pub(super) fn text(verdicts: &[Value]) -> String {
    let mut table = Table::new(&[
        "run",
        "step",
        "state",
        "cause",
        "onset",
        "slope",
        "threshold",
        "why",
    ]);
    for verdict in verdicts {
        let word = |name: &str| verdict[name].as_str().unwrap_or("–").to_owned();
        let whole = |name: &str| {
            verdict[name]
                .as_i64()
                .map_or("–".to_owned(), |value| value.to_string())
        };
        table.row(vec![
            word("run_id"),
            whole("at_step"),
            word("state"),
            word("cause"),
            whole("onset_step"),
            number(verdict["slope"].as_f64()),
            number(verdict["threshold"].as_f64()),
            word("text"),
        ]);
    }
    table.text()
}
