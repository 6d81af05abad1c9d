//! Rows as words, what came of each as a letter.

use super::*;
use crate::admit::{Admit, AdmitRules, Ingress, Rejection};
use crate::operator::Output;
use crate::redact::Redactor;
use cairn_avro::record::{Payload, TrainingTelemetry};
use std::sync::Arc;

const START_MS: i64 = 1_800_000_000_000;

fn rules() -> GuardRules {
    GuardRules {
        quarantine_rows_min: 4,
        quarantine_ms: 60_000,
        pause_rows_min: 6,
        pause_sources_min: 2,
        pause_ms: 10_000,
        pause_ms_max: 40_000,
        probe_rows: 2,
        ..GuardRules::default()
    }
}

struct Line {
    core: Admit,
    emit: Emit,
    offset: i64,
    now_ms: i64,
}

impl Line {
    fn new() -> Self {
        let rules = AdmitRules {
            guards: rules(),
            ..AdmitRules::default()
        };
        Self {
            core: Admit::new(rules, Arc::new(Redactor::off())),
            emit: Emit::default(),
            offset: 0,
            now_ms: START_MS,
        }
    }

    /// Feeds rows `source:schema` where they are good, `source:schema!` where not; says of each: `.` admitted, `x` dead, `q` dead
    /// because its source is quarantined; before it what opened (`Q` quarantine, `P` another guard) or closed (`Q-`).
    fn feed(&mut self, rows: &str) -> String {
        let mut said = String::new();
        for row in rows.split_whitespace() {
            let (row, is_bad) = row
                .strip_suffix('!')
                .map_or((row, false), |row| (row, true));
            let (source, schema) = row.split_once(':').expect("source:schema");
            let payload = if is_bad {
                Err(Rejection::new("avro", "does not fit"))
            } else {
                Ok(Payload::TrainingTelemetry(TrainingTelemetry {
                    run_id: "r".to_owned(),
                    step: self.offset,
                    loss: Some(2.0),
                    ..TrainingTelemetry::default()
                }))
            };
            let at = At {
                topic: "telemetry.training",
                partition: 0,
                offset: self.offset,
                append_time_ms: self.now_ms,
            };
            let ingress = Ingress {
                tenant: "default",
                family_topic: "telemetry.training",
                event_id: None,
                traceparent: None,
                source: (!source.is_empty()).then_some(source),
                key: None,
                schema_id: schema.parse().ok(),
                size_bytes: 100,
                payload,
            };
            self.core.apply(&at, ingress, &mut self.emit);
            self.offset += 1;
            self.core.flush(&mut self.emit);
            said.push_str(&self.told());
        }
        said
    }

    fn told(&mut self) -> String {
        let mut said = String::new();
        for emitted in self.emit.take() {
            match emitted.output {
                Output::Events(_) => said.push('.'),
                Output::Dead(dead) if dead.class == "quarantined" => said.push('q'),
                Output::Dead(_) => said.push('x'),
                Output::Guard(guard, is_open) => {
                    let letter = if guard.guard == "quarantine" {
                        'Q'
                    } else {
                        'P'
                    };
                    said.push(letter);
                    if !is_open {
                        said.push('-');
                    }
                }
                Output::Telegram(_) => {}
                other => panic!("{other:?}"),
            }
        }
        said
    }
}

#[test]
fn a_bad_source_is_quarantined_and_the_others_go_on() {
    let mut line = Line::new();
    // b is good throughout: the topic is not paused; with its fourth row three of a's four are bad.
    assert_eq!(line.feed("a:1! b:1 a:1! b:1 a:1 b:1 a:1!"), "x.x...Qx");
    line.core.merge();
    assert_eq!(
        line.feed("a:1 b:1 a:1! a:1"),
        "q.xq",
        "good rows of it wait among the dead letters"
    );
    line.now_ms += 60_000;
    line.core.guards_mut().expire(line.now_ms, &mut line.emit);
    assert_eq!(line.told(), "Q-");
    assert_eq!(line.feed("a:1"), ".");
}

#[test]
fn one_bad_row_in_three_is_not_too_bad() {
    let mut line = Line::new();
    assert_eq!(
        line.feed("a:1! a:1 a:1 a:1! a:1 a:1 a:1! a:1 a:1"),
        "x..x..x.."
    );
}

#[test]
fn a_schema_whose_rows_all_fail_pauses_its_topic() {
    let mut line = Line::new();
    // No source is known, so none is quarantined.
    assert_eq!(line.feed(":7! :7! :7! :7! :7!"), "xxxxx");
    assert_eq!(line.core.take_hold(), None);
    assert_eq!(line.feed(":7!"), "Px");
    let hold = Hold {
        topic: "telemetry.training".to_owned(),
        wait_ms: 10_000,
    };
    assert_eq!(line.core.take_hold(), Some(hold.clone()));
    line.core.merge();
    // Tried again: two bad rows are enough now, and the pause doubles; up to its maximum.
    for wait_ms in [20_000, 40_000, 40_000] {
        line.core.probe("telemetry.training");
        assert_eq!(line.feed(":7!"), "x");
        assert_eq!(line.feed(":7!"), "Px");
        let longer = Hold {
            wait_ms,
            ..hold.clone()
        };
        assert_eq!(line.core.take_hold(), Some(longer));
        line.core.merge();
    }
    // Mended: the first good row closes the guard.
    line.core.probe("telemetry.training");
    assert_eq!(line.feed(":7"), "P-.");
    assert!(line.core.guards().is_empty());
}

#[test]
fn a_schema_of_many_sources_pauses_although_another_goes_well() {
    let mut line = Line::new();
    // Three of each: below what quarantines a source.
    assert_eq!(
        line.feed("a:7! b:7! c:1 a:7! b:7! c:1 a:7! b:7!"),
        "xx.xx.xPx"
    );
}

#[test]
fn a_schema_of_one_source_does_not_stop_the_others() {
    let mut line = Line::new();
    assert_eq!(
        line.feed("c:1 a:7! c:1 a:7! c:1 a:7! c:1 a:7!"),
        ".x.x.x.Qx"
    );
    assert_eq!(line.core.take_hold(), None);
}

#[test]
fn somebody_resumes() {
    let mut line = Line::new();
    line.feed(":7! :7! :7! :7! :7! :7!");
    line.core.merge();
    let guard = line
        .core
        .guards()
        .open_guards()
        .next()
        .map(|(_, guard)| guard.clone());
    let guard = guard.expect("paused");
    assert_eq!((guard.guard.as_str(), guard.records), ("topic_pause", 6));
    line.core.resume(&guard, line.now_ms, &mut line.emit);
    assert_eq!(line.told(), "P-");
    assert_eq!(line.feed(":7! :7! :7! :7! :7!"), "xxxxx", "counted anew");
    assert_eq!(line.feed(":7!"), "Px");
}

#[test]
fn an_abort_counts_and_opens_nothing() {
    let mut line = Line::new();
    line.feed("a:1! a:1! a:1!");
    line.core.merge();
    for _ in 0..3 {
        // The same row, read again after each abort: still the fourth.
        assert_eq!(line.feed("a:1!"), "Qx");
        line.core.discard();
        assert!(line.core.guards().is_empty());
    }
}

#[test]
fn what_is_only_warned_of_is_told_once_and_ends_when_it_ends() {
    let mut line = Line::new();
    let oversized = |line: &mut Line| {
        let at = At {
            topic: "telemetry.training",
            partition: 0,
            offset: 5,
            append_time_ms: line.now_ms,
        };
        let seen = Seen {
            tenant: "default",
            source: None,
            schema_id: None,
            class: Some("oversized"),
        };
        line.core.guarding.see(&at, &seen, &mut line.emit);
        line.told()
    };
    assert_eq!(oversized(&mut line), "P");
    assert_eq!(oversized(&mut line), "", "open already, and long enough");
    line.now_ms += 400_000;
    assert_eq!(
        oversized(&mut line),
        "P",
        "it goes on: ten minutes from here"
    );
    line.now_ms += 599_999;
    line.core.guards_mut().expire(line.now_ms, &mut line.emit);
    assert_eq!(line.told(), "");
    line.now_ms += 1;
    line.core.guards_mut().expire(line.now_ms, &mut line.emit);
    assert_eq!(line.told(), "P-");
}
