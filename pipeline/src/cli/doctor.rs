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
    let redaction = match config.redaction.key.as_str() {
        "" if config.log.kafka.is_empty() => {
            "none yet: the first `cairn ingest` or `cairn run` makes it"
        }
        "" => "none: what is redacted does not join, set redaction.key",
        _ => "set",
    };
    worst = worst.max(add("redaction key", Ok(redaction.to_owned())));
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
    if has_topics && topics_of_ours(&place) {
        match crate::guards::open_guards(&*place.log) {
            Err(fault) => worst = worst.max(add("guards", Err(fault.into()))),
            Ok(open) if open.is_empty() => {
                add("guards", Ok("none is open".to_owned()));
            }
            Ok(open) => {
                for guard in open {
                    worst = worst.max(add("guards", Err(told(&guard))));
                }
            }
        }
        worst = worst.max(add("dead letter retention", retention(&place)));
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

/// Whether the topics that the checks read exist already.
fn topics_of_ours(place: &connect::Place) -> bool {
    place
        .log
        .topics()
        .is_ok_and(|topics| topics.contains_key("guards") && topics.contains_key("deadletter"))
}

/// An open guard as a check that fails.
fn told(guard: &cairn_avro::record::Guard) -> Failure {
    let until = guard.until_ms.map_or_else(String::new, |until_ms| {
        format!(", until {}", cairn_avro::time::rfc3339(until_ms))
    });
    let state = if guard.resume {
        ", to be resumed by its operator"
    } else {
        ""
    };
    Failure::new(
        "guards",
        1,
        format!(
            "{} {}: {} (since {}{until}{state})",
            guard.guard,
            guard.subject,
            guard.text,
            cairn_avro::time::rfc3339(guard.since_ms)
        ),
        format!("{}, instance {}", guard.operator, guard.instance),
        guard.remedy.clone(),
    )
}

/// A share of the retention above which the oldest dead letters are near their end.
const RETENTION_SHARE_MAX: f64 = 0.8;

/// How long the oldest dead letters will be there: said before they go.
fn retention(place: &connect::Place) -> Result<String, Failure> {
    let topics = place.log.topics()?;
    let Some(retention_ms) = topics
        .get("deadletter")
        .and_then(|state| match state.cleanup {
            cairn_bus::Cleanup::Delete { retention_ms } if retention_ms >= 0 => Some(retention_ms),
            _ => None,
        })
    else {
        return Ok("dead letters are kept for ever".to_owned());
    };
    let mut reader = place.log.reader()?;
    let starts: cairn_bus::Offsets = reader
        .ends(&["deadletter"])?
        .into_iter()
        .filter(|(_, (start, end))| start < end)
        .map(|(part, (start, _))| (part, start))
        .collect();
    if starts.is_empty() {
        return Ok("there are none".to_owned());
    }
    let (records, _) = reader.read(&starts, std::time::Duration::from_secs(5), 1)?;
    let Some(oldest_ms) = records.iter().map(|record| record.append_time_ms).min() else {
        return Ok("there are none".to_owned());
    };
    let ends_ms = oldest_ms.saturating_add(retention_ms);
    let age_ms = crate::metrics::wall_time_ms().saturating_sub(oldest_ms);
    let detail = format!(
        "the oldest dead letter goes at {}",
        cairn_avro::time::rfc3339(ends_ms)
    );
    if age_ms as f64 > RETENTION_SHARE_MAX * retention_ms as f64 {
        return Err(Failure::new(
            "dead letters",
            1,
            detail,
            "deadletter",
            "replay what is to be kept, or raise the topic's retention",
        ));
    }
    Ok(detail)
}
