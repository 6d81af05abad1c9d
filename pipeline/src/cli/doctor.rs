//! `cairn doctor`: what Cairn needs, checked one by one, each with its remedy.

use super::looks::Look;
use super::table::Table;
use super::{Failure, Global, Outcome, print, say};
use crate::connect;
use crate::seal;
use clap::Args;

/// Check what Cairn needs.
#[derive(Args)]
pub struct Doctor {}

struct Check {
    name: &'static str,
    result: Result<String, (String, String)>,
}

impl Doctor {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let mut checks = Vec::new();
        let worst = examine(global, &mut checks);
        let mut table = Table::new(&["check", "", "detail", "what to do"]);
        for check in &checks {
            let (ok, detail, remedy) = match &check.result {
                Ok(detail) => (true, detail.clone(), String::new()),
                Err((detail, remedy)) => (false, detail.clone(), remedy.clone()),
            };
            if global.is_json() {
                say(
                    &serde_json::json!({"check": check.name, "ok": ok, "detail": detail, "remedy": remedy}),
                );
            } else {
                table.row(vec![
                    check.name.to_owned(),
                    if ok { "ok" } else { "FAILS" }.to_owned(),
                    detail,
                    remedy,
                ]);
            }
        }
        if !global.is_json() {
            print(&table.text());
        }
        Ok(worst)
    }
}

/// Runs the checks that make sense, in order; answers with the exit status.
fn examine(global: &Global, checks: &mut Vec<Check>) -> u8 {
    let mut add = |name, result: Result<String, Failure>| {
        let exit = result.as_ref().err().map_or(0, |failure| failure.exit);
        checks.push(Check {
            name,
            result: result.map_err(|failure| {
                let detail = format!("{} ({})", failure.message, failure.place);
                (detail, failure.remedy)
            }),
        });
        exit
    };
    let mut config = match global.load() {
        Ok(config) => {
            add(
                "configuration",
                Ok(format!("{} settings", crate::config::describe().len())),
            );
            config
        }
        Err(failure) => return add("configuration", Err(failure)),
    };
    let is_there = super::there_is_a_log(&config);
    let is_new = is_there.is_err() && config.log.data.join("cairn.yaml").exists();
    if let (Err(failure), false) = (&is_there, is_new) {
        return add("log", Err(failure.clone()));
    }
    let key = super::init::find_identity(&mut config).and_then(|()| {
        if config.deadletter.recipient.is_empty() && config.log.kafka.is_empty() {
            return Ok("none yet: the first `cairn ingest` or `cairn run` makes it".to_owned());
        }
        if config.deadletter.recipient.is_empty() {
            return Err(super::init::no_recipient());
        }
        seal::seal(&config.deadletter.recipient, b"a test")
            .map(|_| config.deadletter.recipient.clone())
            .map_err(|error| {
                Failure::new(
                    "seal",
                    2,
                    error.to_string(),
                    "deadletter.recipient",
                    "run `cairn init` for a new key",
                )
            })
    });
    let mut worst = add("dead letter key", key);
    if is_new {
        let detail = "none yet: the first `cairn ingest` or `cairn run` makes it".to_owned();
        return worst.max(add("log", Ok(detail)));
    }
    let place = match connect::open(&config.log) {
        Ok(place) => {
            let detail = match place.log.kind() {
                "embedded" => format!("embedded in {}", config.log.data.display()),
                kind => format!("{kind} at {}", config.log.kafka),
            };
            add("log", Ok(detail));
            place
        }
        Err(fault) => return worst.max(add("log", Err(fault.into()))),
    };
    let topics = place.log.topics().map_err(Failure::from).and_then(|found| {
        let wanted = connect::wanted_topics(&config.log, &config.runtime.tenants);
        let missing: Vec<&str> = wanted
            .iter()
            .map(|spec| spec.name.as_str())
            .filter(|name| !found.contains_key(*name))
            .collect();
        match missing.first() {
            None => Ok(format!("{} topics", wanted.len())),
            Some(first) if place.log.kind() == "embedded" => Ok(format!(
                "{} topics to be created at the first use, {first} among them",
                missing.len()
            )),
            Some(first) => Err(Failure::new(
                "topics",
                1,
                format!("{} topics are missing, {first} among them", missing.len()),
                "log",
                "run `cairn topics apply`",
            )),
        }
    });
    let has_topics = topics.is_ok();
    worst = worst.max(add("topics", topics));
    let schema = cairn_topics::catalogue()
        .iter()
        .find_map(|topic| Some((topic.subject()?, topic.entry()?.schema)));
    if let Some((subject, schema)) = schema {
        let registry = place
            .registry
            .id_of(&subject, schema)
            .map(|id| format!("{subject} is schema {id}"))
            .map_err(Failure::from);
        worst = worst.max(add("schema registry", registry));
    }
    if has_topics {
        let letters = Look::new(&place).and_then(|mut look| {
            let mut count = 0_usize;
            match look.ends("deadletter") {
                Err(_) => return Ok("none".to_owned()),
                Ok(_) => look.all("deadletter", |_, _| {
                    count += 1;
                    Ok(())
                })?,
            }
            Ok(match count {
                0 => "none".to_owned(),
                count => format!("{count}; `cairn deadletter list` says why"),
            })
        });
        worst = worst.max(add("dead letters", letters));
    }
    worst
}
