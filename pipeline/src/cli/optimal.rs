//! `cairn optimal`: what to train with a budget, and what to train when it will also be served.

use super::fit::flags::numbers;
use super::fit::load;
use super::table::{Table, number};
use super::{Failure, Global, Outcome, print, say};
use cairn_scaling::study::optimal::{AllocationOptions, Optimum, optimal};
use cairn_scaling::study::serving::{Goal, Plan, Serving, serving};
use cairn_scaling::{Estimate, Fit};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What to train with a budget.
#[derive(Args)]
pub struct Optimal {
    /// What `cairn fit --out` wrote
    #[arg(long, value_name = "FIT.json")]
    fit: PathBuf,
    /// Budget, training FLOPs as the law counts them; may be repeated
    #[arg(long, value_name = "C", required = true)]
    flops: Vec<f64>,
    /// Tokens that the model will be served, over its life
    #[arg(long, value_name = "T")]
    serve_tokens: Option<f64>,
    /// With --serve-tokens: the loss that the budget would buy at the least cost of both, or the least loss for a budget that pays for both
    #[arg(
        long,
        value_enum,
        default_value = "same-loss",
        requires = "serve_tokens"
    )]
    serve_goal: ServeGoal,
    /// Columns that are given: g=8
    #[arg(long, value_name = "NAME=VALUE,…", default_value = "")]
    at: String,
    /// Columns that may move between two values: g=1..64
    #[arg(long, value_name = "NAME=LOW..HIGH,…", default_value = "")]
    between: String,
    /// Level of the intervals; the fit's own where not given
    #[arg(long)]
    level: Option<f64>,
}

/// What is held fast when a model is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ServeGoal {
    /// The loss that the budget would buy; least cost of training and serving
    SameLoss,
    /// The budget, for training and serving together; least loss
    TotalBudget,
}

impl Optimal {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let fit = load(&self.fit)?;
        let options = AllocationOptions {
            fixed: numbers(&self.at, "--at")?,
            between: between(&self.between)?,
            level: self.level,
        };
        let mut exit = 0;
        for flops in &self.flops {
            let found = optimal(&fit, *flops, &options)?;
            let served = match self.serve_tokens {
                None => None,
                Some(tokens) => {
                    let goal = match self.serve_goal {
                        ServeGoal::SameLoss => Goal::QualityOf(*flops),
                        ServeGoal::TotalBudget => Goal::TotalBudget(*flops),
                    };
                    Some(serving(&fit, goal, tokens, &options)?)
                }
            };
            if !found.at_bounds.is_empty() {
                exit = 1;
            }
            if global.is_json() {
                say(&answer(&fit, &found, served.as_ref()));
            } else {
                print(&text(&fit, &found, served.as_ref()));
            }
        }
        Ok(exit)
    }
}

fn between(text: &str) -> Result<BTreeMap<String, [f64; 2]>, Failure> {
    crate::input_table::assignments(text)?
        .into_iter()
        .map(|(name, ends)| {
            let wrong = || Failure::usage(format!("--between {name}={ends}"), "give LOW..HIGH");
            let (low, high) = ends.split_once("..").ok_or_else(wrong)?;
            let ends = [
                low.parse().map_err(|_| wrong())?,
                high.parse().map_err(|_| wrong())?,
            ];
            Ok((name, ends))
        })
        .collect()
}

fn ends(estimate: &Estimate) -> Value {
    json!([estimate.ci.low, estimate.ci.high])
}

fn plan(plan: &Plan) -> Value {
    let mut value = Map::new();
    let mut ci = Map::new();
    let costs = [
        ("training_flops", &plan.training_flops),
        ("serving_flops", &plan.serving_flops),
        ("total_flops", &plan.total_flops),
        ("loss", &plan.response),
    ];
    for (name, estimate) in plan
        .columns
        .iter()
        .map(|(name, estimate)| (name.as_str(), estimate))
        .chain(costs)
    {
        value.insert(name.to_owned(), json!(estimate.value));
        ci.insert(name.to_owned(), ends(estimate));
    }
    if let (Some(n), Some(d)) = (plan.columns.get("n"), plan.columns.get("d")) {
        value.insert("tokens_per_parameter".to_owned(), json!(d.value / n.value));
    }
    value.insert("ci".to_owned(), Value::Object(ci));
    Value::Object(value)
}

/// How the law calls what it explains; a loss is `loss` for scripts whatever law it comes from.
fn answer(fit: &Fit, found: &Optimum, served: Option<&Serving>) -> Value {
    let mut value = Map::new();
    let mut ci = Map::new();
    value.insert("flops".to_owned(), json!(found.flops));
    for (name, estimate) in &found.columns {
        value.insert(name.clone(), json!(estimate.value));
        ci.insert(name.clone(), ends(estimate));
    }
    if let Some(ratio) = &found.tokens_per_parameter {
        value.insert("tokens_per_parameter".to_owned(), json!(ratio.value));
        ci.insert("tokens_per_parameter".to_owned(), ends(ratio));
    }
    value.insert(found.response_name.clone(), json!(found.response.value));
    ci.insert(found.response_name.clone(), ends(&found.response));
    value.insert("ci".to_owned(), Value::Object(ci));
    value.insert("level".to_owned(), json!(found.response.level));
    value.insert("at_bounds".to_owned(), json!(found.at_bounds));
    value.insert(
        "extrapolation".to_owned(),
        json!({"factor": found.extrapolation_factor.max(1.0), "flag": flag(fit, found)}),
    );
    if let Some(served) = served {
        value.insert(
            "serving".to_owned(),
            json!({
                "goal": served.goal,
                "serving_tokens": served.serving_tokens,
                "plan": plan(&served.plan),
                "without_serving": plan(&served.without_serving),
                "saving": served.saving.value,
                "saving_ci": ends(&served.saving),
                "at_bounds": served.at_bounds,
            }),
        );
    }
    Value::Object(value)
}

/// As a prediction at the optimum would be flagged.
fn flag(fit: &Fit, found: &Optimum) -> Value {
    let point = found
        .columns
        .iter()
        .map(|(name, estimate)| (name.clone(), estimate.value))
        .collect();
    fit.predict(&point, found.response.level)
        .map_or(Value::Null, |prediction| {
            json!(prediction.extrapolation.flag)
        })
}

fn text(fit: &Fit, found: &Optimum, served: Option<&Serving>) -> String {
    let mut table = Table::new(&["", "value", "low", "high", "unit"]);
    let mut line = |name: &str, estimate: &Estimate, unit: &str| {
        table.row(vec![
            name.to_owned(),
            number(Some(estimate.value)),
            number(Some(estimate.ci.low)),
            number(Some(estimate.ci.high)),
            unit.to_owned(),
        ]);
    };
    for column in &fit.definition.columns {
        if let Some(estimate) = found.columns.get(&column.name) {
            line(&column.name, estimate, &column.unit);
        }
    }
    if let Some(ratio) = &found.tokens_per_parameter {
        line("d / n", ratio, "tokens per parameter");
    }
    line(
        &found.response_name,
        &found.response,
        &fit.definition.response.unit,
    );
    let mut text = format!("with {:.3e} FLOPs", found.flops);
    if found.extrapolation_factor > 1.0 {
        text.push_str(&format!(
            ", {:.3} times the largest that was fitted",
            found.extrapolation_factor
        ));
    }
    text.push('\n');
    text.push_str(&table.text());
    if !found.at_bounds.is_empty() {
        text.push_str(&format!(
            "no optimum inside: {} ends at a bound\n",
            found.at_bounds.join(", ")
        ));
    }
    if let Some(served) = served {
        let mut table = Table::new(&["", "for training alone", "with serving", ""]);
        let (alone, both) = (&served.without_serving, &served.plan);
        for (name, estimate) in &both.columns {
            let before = alone.columns.get(name).map(|one| one.value);
            table.row(vec![
                name.clone(),
                number(before),
                number(Some(estimate.value)),
                String::new(),
            ]);
        }
        for (name, before, after) in [
            (
                found.response_name.as_str(),
                &alone.response,
                &both.response,
            ),
            ("training", &alone.training_flops, &both.training_flops),
            ("serving", &alone.serving_flops, &both.serving_flops),
            ("total", &alone.total_flops, &both.total_flops),
        ] {
            table.row(vec![
                name.to_owned(),
                number(Some(before.value)),
                number(Some(after.value)),
                if name.len() > 4 && name != found.response_name {
                    "FLOPs".to_owned()
                } else {
                    String::new()
                },
            ]);
        }
        text.push_str(&format!(
            "serving {:.3e} tokens: {:.1} % saved ({:.1} … {:.1})\n{}",
            served.serving_tokens,
            100.0 * served.saving.value,
            100.0 * served.saving.ci.low,
            100.0 * served.saving.ci.high,
            table.text()
        ));
    }
    text
}
