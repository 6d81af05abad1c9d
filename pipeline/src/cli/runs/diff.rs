//! `cairn runs diff`: what two runs have not in common.

use super::super::table::{Table, number};
use super::super::{Global, Outcome, print, say};
use super::row;
use super::view::View;
use crate::registry::AsOf;
use clap::Args;
use serde_json::{Map, Value, json};

/// What two runs have not in common.
#[derive(Args)]
pub struct Diff {
    /// The one
    a: String,
    /// The other
    b: String,
}

/// Members in which any two runs differ.
const ALWAYS: [&str; 4] = ["run_id", "inputs", "units", "updated_append_time_ms"];

impl Diff {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let mut view = View::open(global, &AsOf::Now)?;
        let (a, b) = (view.run(&self.a)?, view.run(&self.b)?);
        let found = differences(&row::json(&a), &row::json(&b));
        if global.is_json() {
            for (member, a, b) in found {
                let unit = row::units().get(&member);
                say(&json!({"member": member, "a": a, "b": b, "unit": unit}));
            }
            return Ok(0);
        }
        if found.is_empty() {
            print("no difference\n");
            return Ok(0);
        }
        let mut table = Table::new(&["member", &self.a, &self.b, "unit"]);
        for (member, a, b) in found {
            let unit = row::units().get(&member).cloned().unwrap_or_default();
            table.row(vec![member, shown(&a), shown(&b), unit]);
        }
        print(&table.text());
        Ok(0)
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::Number(found) if found.is_f64() => number(found.as_f64()),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Paths at which two rows differ, and what is there.
fn differences(a: &Value, b: &Value) -> Vec<(String, Value, Value)> {
    let mut found = Vec::new();
    let empty = Map::new();
    let (left, right) = (
        a.as_object().unwrap_or(&empty),
        b.as_object().unwrap_or(&empty),
    );
    for (member, value) in left {
        if ALWAYS.contains(&member.as_str()) {
            continue;
        }
        let other = right.get(member).unwrap_or(&Value::Null);
        match (member.as_str(), value, other) {
            // one score of two rows is the one of the same task
            ("scores", Value::Array(a), Value::Array(b)) => scores(a, b, &mut found),
            (_, Value::Object(a), Value::Object(b)) => {
                for (inner, value) in a {
                    let other = b.get(inner).unwrap_or(&Value::Null);
                    if value != other {
                        found.push((format!("{member}.{inner}"), value.clone(), other.clone()));
                    }
                }
            }
            _ if value != other => found.push((member.clone(), value.clone(), other.clone())),
            _ => {}
        }
    }
    found
}

fn scores(a: &[Value], b: &[Value], found: &mut Vec<(String, Value, Value)>) {
    let name = |score: &Value| {
        let word = |member: &str| score[member].as_str().unwrap_or_default().to_owned();
        format!(
            "scores.{}.{}.{}",
            word("harness"),
            word("task"),
            word("metric")
        )
    };
    let of = |scores: &[Value]| -> Vec<(String, Value)> {
        scores
            .iter()
            .map(|score| (name(score), score["value"].clone()))
            .collect()
    };
    let (a, b) = (of(a), of(b));
    let at = |scores: &[(String, Value)], name: &str| {
        scores
            .iter()
            .find(|(known, _)| known == name)
            .map_or(Value::Null, |(_, value)| value.clone())
    };
    for (name, value) in &a {
        let other = at(&b, name);
        if *value != other {
            found.push((name.clone(), value.clone(), other));
        }
    }
    for (name, value) in &b {
        if !a.iter().any(|(known, _)| known == name) {
            found.push((name.clone(), Value::Null, value.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_scores_are_told_apart() {
        let row = |tokens: i64, width: i64, scores: Value| json!({"run_id": tokens.to_string(), "tokens": tokens, "model": {"width": width, "depth_layers": 2}, "scores": scores});
        let score = |task: &str, value: f64| json!({"harness": "h", "task": task, "metric": "acc", "value": value});
        let found = differences(
            &row(1, 8, json!([score("x", 0.5), score("y", 0.1)])),
            &row(2, 8, json!([score("y", 0.1), score("z", 0.9)])),
        );
        assert_eq!(
            found,
            [
                ("scores.h.x.acc".to_owned(), json!(0.5), Value::Null),
                ("scores.h.z.acc".to_owned(), Value::Null, json!(0.9)),
                ("tokens".to_owned(), json!(1), json!(2)),
            ]
        );
    }
}
