//! The mapping file: YAML that says what a table's columns mean.

use super::super::Refusal;
use crate::ingest::settings;
use cairn_avro::contract;
use serde::Deserialize;
use serde_yaml_ng::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// What a table's columns mean.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// Topic, without tenant.
    #[serde(default = "training")]
    pub topic: String,
    /// The run's name; without it the file is one run.
    pub run_id: Option<String>,
    /// The attempt's number; 0 without it.
    pub attempt: Option<String>,
    /// What orders the rows of a run.
    #[serde(default)]
    pub clock: Clock,
    /// When a row was measured; left out where the table does not say.
    pub event_time: Option<EventTime>,
    /// Rows for which this does not hold are left out.
    #[serde(rename = "where")]
    pub filter: Option<String>,
    /// Field of the record → column or expression.
    #[serde(default)]
    pub fields: BTreeMap<String, RightHand>,
    /// Field of `runs.config` → column or expression; sent once a run.
    #[serde(default)]
    pub config: BTreeMap<String, RightHand>,
    /// What the end of the table means for its runs.
    pub ended: Option<Ended>,
    /// Digest of the file that said so, 64 hexadecimal digits.
    #[serde(skip)]
    pub sha256: String,
}

/// A column or an expression; YAML may have read it as a number or a truth value.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum RightHand {
    /// As written.
    Text(String),
    /// `key: 0`
    Int(i64),
    /// `key: 0.5`
    Float(f64),
    /// `key: true`
    Bool(bool),
}

impl RightHand {
    /// The SQL.
    pub(super) fn sql(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Bool(value) => value.to_string(),
        }
    }
}

/// What orders the rows of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// Optimizer steps.
    #[default]
    Step,
    /// Tokens seen.
    Tokens,
    /// Time.
    EventTime,
}

/// A column of times.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventTime {
    /// Column or expression.
    pub from: String,
    /// How it counts.
    #[serde(default)]
    pub unit: Unit,
}

/// How times are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Seconds since 1970.
    S,
    /// Milliseconds since 1970.
    Ms,
    /// Microseconds since 1970.
    Us,
    /// RFC 3339, or date and time in UTC.
    #[default]
    Rfc3339,
}

/// What the end of a table means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The runs are finished.
    Finished,
    /// The runs have crashed.
    Crashed,
    /// The table ends; nothing is known of the runs.
    EndOfFile,
}

fn training() -> String {
    "telemetry.training".into()
}

/// Topics that a table can be read as.
pub(super) const TOPICS: [&str; 5] = [
    "telemetry.training",
    "telemetry.runtime",
    "telemetry.tooluse",
    "eval.results",
    "safety.results",
];

impl Mapping {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// It is no YAML, or names something that the contract does not have; says where and what is nearest.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let broken = |error: serde_yaml_ng::Error| Refusal(format!("the mapping file: {error}"));
        let tree: Value = serde_yaml_ng::from_str(text).map_err(broken)?;
        words_are_known(&tree)?;
        // from the text and not from the tree, whose errors know no line
        let mut mapping: Mapping = serde_yaml_ng::from_str(text).map_err(broken)?;
        mapping.sha256 = format!("{:x}", Sha256::digest(text));
        if !TOPICS.contains(&mapping.topic.as_str()) {
            return Err(Refusal(format!(
                "the mapping's topic is {:?}; it is one of {}",
                mapping.topic,
                TOPICS.join(", ")
            )));
        }
        let known =
            contract::of_topic(&mapping.topic).map_or(&[][..], contract::Entry::field_names);
        for name in mapping.fields.keys() {
            known_field(name, known, &mapping.topic)?;
        }
        mapping.config = std::mem::take(&mut mapping.config)
            .into_iter()
            .map(|(key, value)| {
                settings::path(&key)
                    .map(|path| (path, value))
                    .map_err(|refusal| Refusal(format!("the mapping's config: {refusal}")))
            })
            .collect::<Result<_, _>>()?;
        mapping.clock_is_there()?;
        Ok(mapping)
    }

    fn clock_is_there(&self) -> Result<(), Refusal> {
        let missing = match self.clock {
            Clock::Step
                if self.topic == "telemetry.training" && !self.fields.contains_key("step") =>
            {
                "fields.step"
            }
            Clock::Tokens if !self.fields.contains_key("tokens") => "fields.tokens",
            Clock::EventTime if self.event_time.is_none() => "event_time",
            _ => return Ok(()),
        };
        Err(Refusal(format!(
            "the mapping's clock needs {missing}; add it, or name another clock (step, tokens, event_time)"
        )))
    }
}

/// Members of the file and of its `event_time`, and the words that some of them take.
const MEMBERS: [&str; 9] = [
    "topic",
    "run_id",
    "attempt",
    "clock",
    "event_time",
    "where",
    "fields",
    "config",
    "ended",
];
const EVENT_TIME: [&str; 2] = ["from", "unit"];
const WORDS: [(&str, &[&str]); 3] = [
    ("clock", &["step", "tokens", "event_time"]),
    ("ended", &["finished", "crashed", "end_of_file"]),
    ("unit", &["s", "ms", "us", "rfc3339"]),
];

/// Refuses a name that is none, with the one that was most likely meant.
fn words_are_known(tree: &Value) -> Result<(), Refusal> {
    members_are_known(tree, &MEMBERS, "")?;
    if let Some(inner) = tree.get("event_time") {
        members_are_known(inner, &EVENT_TIME, "event_time.")?;
    }
    Ok(())
}

fn members_are_known(tree: &Value, known: &[&str], prefix: &str) -> Result<(), Refusal> {
    let Value::Mapping(members) = tree else {
        return Ok(());
    };
    for (name, value) in members {
        let name = name.as_str().unwrap_or_default();
        if !known.contains(&name) {
            return Err(Refusal(format!(
                "the mapping has no member {prefix}{name:?}{} (there are {})",
                nearest(name, known),
                known.join(", ")
            )));
        }
        if let Some((_, words)) = WORDS.iter().find(|(member, _)| *member == name)
            && let Some(word) = value.as_str()
            && !words.contains(&word)
        {
            return Err(Refusal(format!(
                "the mapping's {prefix}{name} is {word:?}{} (there are {})",
                nearest(word, words),
                words.join(", ")
            )));
        }
    }
    Ok(())
}

fn nearest(name: &str, known: &[&str]) -> String {
    known
        .iter()
        .max_by(|one, other| {
            strsim::jaro_winkler(one, name).total_cmp(&strsim::jaro_winkler(other, name))
        })
        .map_or(String::new(), |nearest| {
            format!("; the nearest is {nearest}")
        })
}

fn known_field(name: &str, known: &[&str], topic: &str) -> Result<(), Refusal> {
    let elsewhere = match name {
        "run_id" | "attempt" => Some(name),
        "event_time_ms" => Some("event_time"),
        _ => None,
    };
    if let Some(key) = elsewhere {
        return Err(Refusal(format!(
            "the mapping's fields.{name} stands beside fields, as {key}:"
        )));
    }
    let metric = name
        .strip_prefix("metrics.")
        .is_some_and(|metric| !metric.is_empty() && !metric.contains('.'));
    if known.contains(&name) && name != "metrics" || metric && known.contains(&"metrics") {
        return Ok(());
    }
    Err(Refusal(format!(
        "the mapping's fields.{name} is no field of {topic}{} (other numbers: metrics.<name>)",
        nearest(name, known)
    )))
}
