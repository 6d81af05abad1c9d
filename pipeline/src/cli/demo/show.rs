//! What the demo prints of each topic.

use crate::cli::Failure;
use crate::cli::looks::Look;
use crate::cli::table::{Table, number};
use crate::plot::{Series, draw};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Runs shown of each kind; the rest is counted.
const ROWS_SHOWN: usize = 14;
/// Run whose windows are shown: one of middle size, trained long.
const SHOWN_RUN: &str = "grid-w32-3.0m-s0";
/// Curves drawn.
const CURVES_SHOWN: usize = 3;

pub(super) fn rows(rows: &BTreeMap<String, Value>) -> String {
    let mut table = Table::new(&[
        "run", "status", "N", "D", "D/N", "FLOPs", "loss", "accuracy", "p50 ms", "breaker",
        "attempts",
    ]);
    let mut shown: Vec<&Value> = rows.values().collect();
    shown.sort_by(|a, b| kind(a).cmp(kind(b)).then(flops(b).total_cmp(&flops(a))));
    let mut by_kind: BTreeMap<&str, usize> = BTreeMap::new();
    let mut left = 0;
    for row in shown {
        let count = by_kind.entry(kind(row)).or_default();
        *count += 1;
        if *count > ROWS_SHOWN / 4 {
            left += 1;
            continue;
        }
        let word = |value: &Value| value.as_str().unwrap_or("–").to_owned();
        let loss = row["validation_loss_last"]
            .as_f64()
            .or_else(|| row["loss_last"].as_f64());
        let accuracy = row["scores"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|score| score["metric"] == "accuracy");
        table.row(vec![
            word(&row["run_id"]),
            word(&row["status"]),
            number(row["model"]["parameters_total"].as_f64()),
            number(row["tokens"].as_f64()),
            number(row["derived"]["tokens_per_parameter"].as_f64()),
            number(row["derived"]["flops"].as_f64()),
            number(loss),
            number(accuracy.and_then(|score| score["value"].as_f64())),
            number(row["latency_ms_p50"].as_f64()),
            row["breaker_state"].as_str().unwrap_or("closed").to_owned(),
            row["attempts"].as_i64().unwrap_or(0).to_string(),
        ]);
    }
    format!(
        "{}  … and {left} more; {} in all\n",
        table.text(),
        rows.len()
    )
}

fn kind(row: &Value) -> &str {
    row["run_id"]
        .as_str()
        .unwrap_or_default()
        .split('-')
        .next()
        .unwrap_or_default()
}

fn flops(row: &Value) -> f64 {
    row["derived"]["flops"].as_f64().unwrap_or(0.0)
}

pub(super) fn windows(look: &mut Look) -> Result<String, Failure> {
    let mut found: BTreeMap<(String, i64), Value> = BTreeMap::new();
    let mut count = 0_usize;
    look.all("runs.windows", |look, record| {
        count += 1;
        let value = look.value(&record);
        let is_step = value["kind"] == "step";
        let run = value["run_id"].as_str().unwrap_or_default().to_owned();
        if is_step && run == SHOWN_RUN {
            found.insert((run, value["start"].as_i64().unwrap_or(0)), value);
        }
        Ok(())
    })?;
    let mut table = Table::new(&[
        "run",
        "steps",
        "rows",
        "loss mean",
        "median log-ppl",
        "slope/step",
        "lr",
        "tokens/s",
    ]);
    let every = (found.len() / 8).max(1);
    for ((run, start), window) in found.iter().step_by(every) {
        table.row(vec![
            run.clone(),
            format!("{start}–{}", window["end"].as_i64().unwrap_or(0)),
            window["n"].as_i64().unwrap_or(0).to_string(),
            number(window["loss_mean"].as_f64()),
            number(window["log_perplexity_median"].as_f64()),
            number(window["log_perplexity_slope"].as_f64()),
            number(window["learning_rate_last"].as_f64()),
            number(window["tokens_per_second_mean"].as_f64()),
        ]);
    }
    Ok(format!("{}  {count} windows of all runs\n", table.text()))
}

pub(super) fn fits(fits: &BTreeMap<String, Value>, truth: &Value) -> String {
    let mut text = String::new();
    for (key, fit) in fits {
        let cohort = key.split('/').nth(1).unwrap_or_default();
        let verdict = fit["verdict"].as_str().unwrap_or("unknown");
        text.push_str(&format!(
            "  cohort {cohort}: {verdict}, {} runs\n",
            fit["n_runs"].as_i64().unwrap_or(0)
        ));
        for reason in fit["reasons"].as_array().into_iter().flatten() {
            text.push_str(&format!(
                "    because {}\n",
                reason.as_str().unwrap_or_default()
            ));
        }
        let mut table = Table::new(&[
            "parameter",
            "value",
            "s.e.",
            "low",
            "high",
            "range low",
            "range high",
            "identified",
        ]);
        for parameter in fit["parameters"].as_array().into_iter().flatten() {
            let cell = |name: &str| number(parameter[name].as_f64());
            table.row(vec![
                parameter["name"].as_str().unwrap_or_default().to_owned(),
                cell("value"),
                cell("standard_error"),
                cell("low"),
                cell("high"),
                cell("range_low"),
                cell("range_high"),
                parameter["identified"].as_str().unwrap_or("–").to_owned(),
            ]);
        }
        text.push_str(&table.text());
        if let Some(e) = parameter(fit, "e") {
            text.push_str(&entropy(cohort, e, truth));
        }
        if let Some(largest) = fit["residual_max_relative"].as_f64() {
            text.push_str(&format!(
                "    residuals: at most {:.2} % of the loss\n",
                100.0 * largest
            ));
        }
        let mut table = Table::new(&[
            "held out",
            "N",
            "D",
            "loss",
            "predicted",
            "low",
            "high",
            "inside",
        ]);
        for point in fit["backtest"].as_array().into_iter().flatten() {
            let cell = |name: &str| number(point[name].as_f64());
            table.row(vec![
                point["run_id"].as_str().unwrap_or_default().to_owned(),
                cell("n"),
                cell("d"),
                cell("observed"),
                cell("predicted"),
                cell("low"),
                cell("high"),
                point["inside"].as_bool().unwrap_or(false).to_string(),
            ]);
        }
        if fit["backtest"]
            .as_array()
            .is_some_and(|points| !points.is_empty())
        {
            text.push_str(&table.text());
        }
    }
    text
}

/// The law's E beside the text's own entropy.
fn entropy(cohort: &str, e: &Value, truth: &Value) -> String {
    let source = if cohort == "jump" { "order2" } else { "order1" };
    let Some(known) = truth[source]["entropy_nats"].as_f64() else {
        return String::new();
    };
    let inside = |low: &str, high: &str| {
        let ends = e[low].as_f64().zip(e[high].as_f64());
        ends.is_some_and(|(low, high)| (low..=high).contains(&known))
    };
    let word = |inside: bool| if inside { "holds it" } else { "misses it" };
    format!(
        "    the text's entropy is {known:.4}: the bootstrap's interval {}, the range (with the form's own error) {}\n",
        word(inside("low", "high")),
        word(inside("range_low", "range_high"))
    )
}

fn parameter<'a>(fit: &'a Value, name: &str) -> Option<&'a Value> {
    fit["parameters"]
        .as_array()?
        .iter()
        .find(|parameter| parameter["name"] == name)
}

/// A fit as `cairn demo --json` answers.
pub(super) fn fit_json(fit: &Value) -> Value {
    let parameters: serde_json::Map<String, Value> = fit["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|p| {
            let value = json!({
                "value": p["value"], "se": p["standard_error"], "ci": [p["low"], p["high"]], "level": p["level"],
                "identified": p["identified"], "range": [p["range_low"], p["range_high"]]
            });
            (p["name"].as_str().unwrap_or_default().to_owned(), value)
        })
        .collect();
    json!({
        "fit_id": fit["fit_id"], "law": fit["law"], "cohort": fit["cohort"], "verdict": fit["verdict"],
        "reasons": fit["reasons"], "parameters": parameters, "certificate": fit["certificate"],
        "residual_max_relative": fit["residual_max_relative"], "backtest": fit["backtest"], "n_runs": fit["n_runs"]
    })
}

pub(super) fn telegrams(look: &mut Look) -> Result<Vec<Value>, Failure> {
    let mut found = Vec::new();
    look.all("cockpit.telegrams", |look, record| {
        found.push(look.value(&record));
        Ok(())
    })?;
    Ok(found)
}

/// The loss of runs that the breaker stopped, with the step of the verdict.
pub(super) fn curves(look: &mut Look, verdicts: &[Value]) -> Result<String, Failure> {
    let mut text = String::new();
    let mut drawn = BTreeSet::new();
    for verdict in verdicts.iter().filter(|verdict| verdict["state"] == "open") {
        let run = verdict["run_id"].as_str().unwrap_or_default().to_owned();
        if drawn.len() >= CURVES_SHOWN || !drawn.insert(run.clone()) {
            continue;
        }
        let mut points = Vec::new();
        look.all("telemetry.training", |look, record| {
            let key =
                String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
            if key.ends_with(&format!("/{run}")) {
                let value = look.value(&record);
                if let (Some(step), Some(loss)) = (value["step"].as_f64(), value["loss"].as_f64()) {
                    points.push((step, loss));
                }
            }
            Ok(())
        })?;
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let title = format!("  {run}: loss, nats a token");
        let mark = format!(
            "{} ({})",
            verdict["cause"].as_str().unwrap_or_default(),
            verdict["rule"].as_str().unwrap_or_default()
        );
        let marks = [(verdict["at_step"].as_f64().unwrap_or(0.0), mark)];
        text.push('\n');
        text.push_str(&draw(
            &Series {
                points: &points,
                marks: &marks,
                title: &title,
                axes: ("step", "loss"),
            },
            64,
            9,
        ));
    }
    Ok(text)
}

pub(super) fn next(data: &Path) -> String {
    let data = data.display();
    format!(
        "  {data}/log.sqlite      every record, in one file\n\
         \x20 {data}/cairn.yaml      the configuration, every setting as a comment\n\n\
         \x20 cairn --data {data} tail experiments.rows --from-start --until-end --json | head\n\
         \x20 cairn --data {data} tail cockpit.board --from-start --until-end --json\n\
         \x20 cairn --data {data} ingest YOUR.log --run-id mine && cairn --data {data} run --drain && cairn --data {data} verdicts\n\
         \x20 cairn breaker replay YOUR.log      the breaker alone, no log needed\n\
         \x20 cairn --data {data} run            keeps running: /metrics and HTTP ingest on 127.0.0.1:9464\n"
    )
}
