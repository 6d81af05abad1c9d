//! The contract's own JSON, one object a line (jsonlines.org): `docs/contract` and cairn_avro's `json`.
//!
//! A member `topic` names the topic family (default `telemetry.training`), `event_id` the event; every other member is a
//! field of the topic's record. Python's bare `NaN` and `Infinity` are read as if they were quoted. Where the user gave
//! `--run-id`, it stands for a `run_id` that a row lacks; otherwise such a row is a reject, since it could be any run's. A
//! file whose rows all name other runs takes none: the name would be dropped.

use super::text::whole_lines;
use super::whole::quoted_numbers;
use super::{Confidence, Format, Out, Parser, Position, Refusal, Setup};
use cairn_avro::json::{self, Class};

/// The format.
pub(super) struct Contract;

impl Format for Contract {
    fn name(&self) -> &'static str {
        "jsonl"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["contract", "ndjson"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        /// Lines looked at: the first ones may be broken.
        const LINES: usize = 50;
        let mut objects = 0;
        for line in whole_lines(head)
            .take(LINES)
            .filter(|line| line.trim_ascii_start().starts_with(b"{"))
        {
            let quoted = quoted_numbers(line);
            let line = quoted.as_deref().unwrap_or(line);
            let Ok(serde_json::Value::Object(row)) = serde_json::from_slice(line) else {
                continue;
            };
            // one line that holds a whole trainer state, or rows of something else
            if row.contains_key("log_history") || super::evals::is_its_line(&row) {
                continue;
            }
            if row.contains_key("run_id") {
                return Confidence::Sure;
            }
            objects += 1;
        }
        if objects > 0 {
            Confidence::Perhaps("its lines are JSON objects, but none has a run_id")
        } else {
            Confidence::No
        }
    }

    fn names_its_runs(&self) -> bool {
        true
    }

    /// A name stands for what rows lack; where the rows of the head all have another one, it stands for nothing.
    fn takes_run_id(
        &self,
        head: &[u8],
        run_id: &str,
        _mapping: Option<&super::mapped::Mapping>,
    ) -> Result<(), Refusal> {
        let mut named = None;
        for line in whole_lines(head) {
            let quoted = quoted_numbers(line);
            let line = quoted.as_deref().unwrap_or(line);
            let Ok(serde_json::Value::Object(row)) = serde_json::from_slice(line) else {
                continue;
            };
            match row.get("run_id").and_then(serde_json::Value::as_str) {
                Some(name) if name != run_id => named = Some(name.to_owned()),
                _ => return Ok(()),
            }
        }
        match named {
            None => Ok(()),
            Some(name) => Err(Refusal(format!(
                "its rows name their runs ({name}), --run-id {run_id} would be dropped; leave it out"
            ))),
        }
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        let run_id = setup
            .run_id_given
            .then(|| serde_json::Value::from(setup.run_id.clone()).to_string());
        Ok(Box::new(Lines { run_id }))
    }
}

struct Lines {
    /// As JSON.
    run_id: Option<String>,
}

impl Parser for Lines {
    fn is_stateless(&self) -> bool {
        true
    }

    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        let text = unit.trim_ascii();
        if text.is_empty() {
            out.ignored += 1;
            return Ok(());
        }
        let mut read = json::line(text);
        if let Err(fault) = &read
            && fault.class == Class::Json
            && let Some(quoted) = quoted_numbers(text)
        {
            read = json::line(&quoted);
        }
        if let Err(fault) = &read
            && fault.class == Class::MissingField
            && fault.member == "run_id"
            && let Some(run_id) = &self.run_id
        {
            let named = [b"{\"run_id\":", run_id.as_bytes(), b",", &text[1..]].concat();
            read = json::line(quoted_numbers(&named).as_deref().unwrap_or(&named));
        }
        match read {
            Ok(line) => out.identified(line.payload, line.event_id, position, unit),
            Err(fault) => {
                let topic = topic_of(text).unwrap_or_else(|| json::DEFAULT_TOPIC.to_owned());
                out.reject(fault.class.code(), fault.text, &topic, position, unit);
            }
        }
        Ok(())
    }
}

/// The topic that a broken row names, if it can be told and is one.
pub(crate) fn topic_of(text: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Row {
        topic: String,
    }
    let row: Row = serde_json::from_slice(text).ok()?;
    (!json::field_names(&row.topic).is_empty()).then_some(row.topic)
}
