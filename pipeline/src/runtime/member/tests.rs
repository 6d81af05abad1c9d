//! A member over the embedded log, whose cores panic, whose topics go bad, whose input is deleted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use super::super::decode::Undecodable;
use super::super::suspects::Suspects;
use super::super::task::{Applied, Kind, Task, kinds};
use super::*;
use crate::config::Config;
use crate::connect::{self, Place};
use crate::{deadletter, guards, seal};
use cairn_avro::record::DeadLetter;
use cairn_bus::{Cleanup, Membership, Outgoing, Record, TopicSpec};
use cairn_operators::operator::{Emit as CoreEmit, Remember};
use std::time::Duration;

mod restarts;
mod waits;

struct Bench {
    _dir: tempfile::TempDir,
    config: Config,
    place: Place,
    encoder: Arc<Encoder>,
    metrics: Arc<Metrics>,
    suspects: Arc<Suspects>,
}

impl Bench {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.log.data = dir.path().to_owned();
        config.log.partitions_run = 1;
        config.log.partitions_ingress = 1;
        config.deadletter.recipient = seal::new_identity().recipient();
        change(&mut config);
        let place = connect::open(&config.log).unwrap();
        connect::ensure_topics(&place, &config.log, &config.runtime.tenants).unwrap();
        let metrics = Arc::new(Metrics::new());
        let encoder = Encoder::new(
            place.registry.clone(),
            &place.log.topics().unwrap(),
            &config.deadletter,
            &crate::redaction::Redaction::of(&config),
            metrics.clone(),
        )
        .unwrap();
        Self {
            _dir: dir,
            config,
            place,
            encoder: Arc::new(encoder),
            metrics,
            suspects: Arc::default(),
        }
    }

    fn member(&self, kind: Kind) -> Member {
        let session = self
            .place
            .log
            .open(Membership {
                operator: kind.name.to_owned(),
                group: kind.name.to_owned(),
                instance: "a".to_owned(),
                thread: 0,
                topics: kind.inputs.clone(),
            })
            .unwrap();
        Member::new(
            Arc::new(kind),
            session,
            Decoder::new(self.place.registry.clone()),
            self.encoder.clone(),
            Executor::inline(
                Arc::new(|_| Err("no work".to_owned())),
                self.metrics.clone(),
            ),
            self.config.runtime.clone(),
            self.metrics.clone(),
            None,
        )
        .in_process("a", self.suspects.clone())
    }

    fn kind(&self, name: &str) -> Kind {
        kinds(&self.config)
            .into_iter()
            .find(|kind| kind.name == name)
            .unwrap()
    }

    fn send(&self, topic: &str, values: &[&str]) {
        let values = values.iter().map(|value| value.as_bytes().to_vec());
        self.send_all(topic, values.collect());
    }

    fn send_bytes(&self, topic: &str, value: Vec<u8>) {
        self.send_all(topic, vec![value]);
    }

    fn send_all(&self, topic: &str, values: Vec<Vec<u8>>) {
        let records = values.into_iter().map(|value| Outgoing {
            topic: topic.into(),
            partition: 0,
            key: None,
            value: Some(value),
            headers: Vec::new(),
        });
        self.send_records(topic, records);
    }

    fn send_records(&self, sender: &str, records: impl IntoIterator<Item = Outgoing>) {
        let mut session = self
            .place
            .log
            .open(Membership {
                operator: "sender".to_owned(),
                group: "sender".to_owned(),
                instance: sender.to_owned(),
                thread: 0,
                topics: Vec::new(),
            })
            .unwrap();
        for record in records {
            session.send(record).unwrap();
        }
        session.commit(&cairn_bus::Offsets::new()).unwrap();
        session.close(Duration::from_secs(1)).unwrap();
    }

    fn letters(&self) -> Vec<DeadLetter> {
        let mut letters = Vec::new();
        deadletter::list(&*self.place.log, &mut |letter| letters.push(letter)).unwrap();
        letters
    }

    /// Records of a topic, the values as text.
    fn values(&self, topic: &str) -> Vec<String> {
        let mut reader = self.place.log.reader().unwrap();
        let mut values = Vec::new();
        for (part, (start, end)) in reader.ends(&[topic]).unwrap() {
            let mut from = Offsets::from([(part.clone(), start)]);
            while from[&part] < end {
                let (records, next) = reader.read(&from, Duration::from_secs(5), 100).unwrap();
                values.extend(records.into_iter().map(|record| {
                    String::from_utf8_lossy(&record.value.unwrap_or_default()).into_owned()
                }));
                from = next;
            }
        }
        values
    }

    fn open(&self) -> Vec<(String, String)> {
        guards::open_guards(&*self.place.log)
            .unwrap()
            .into_iter()
            .map(|guard| (guard.guard, guard.subject))
            .collect()
    }
}

/// Steps until nothing moves and everything is committed; the fault that voids it.
fn settle(member: &mut Member) -> Result<(), Fault> {
    let mut quiet = 0;
    while quiet < 3 {
        match member.step(Duration::ZERO)? {
            Step::Moved => quiet = 0,
            Step::Idle => quiet += 1,
        }
        member.commit()?;
    }
    Ok(())
}

/// What a planted bug trips over.
#[derive(Clone, Copy, PartialEq)]
enum Trips {
    InApply,
    InFlush,
}

/// A core that panics over records that say "poison".
struct Fragile {
    inner: Box<dyn Task>,
    trips: Trips,
    has_poison: bool,
}

impl Task for Fragile {
    fn apply(
        &mut self,
        record: &Record,
        decoder: &mut Decoder,
        emit: &mut CoreEmit,
    ) -> Result<Applied, Undecodable> {
        let value = record.value.as_deref().unwrap_or_default();
        if value.windows(6).any(|word| word == b"poison") {
            assert!(self.trips == Trips::InFlush, "poisoned");
            self.has_poison = true;
        }
        self.inner.apply(record, decoder, emit)
    }
    fn flush(&mut self, emit: &mut CoreEmit) {
        assert!(!self.has_poison, "poisoned");
        self.inner.flush(emit);
    }
    fn state(&mut self) -> Option<&mut dyn Remember> {
        self.inner.state()
    }
    fn merge(&mut self) {
        self.inner.merge();
    }
    fn discard(&mut self) {
        self.inner.discard();
    }
}

fn row(run: &str, step: u32) -> String {
    format!(r#"{{"run_id":"{run}","step":{step},"loss":2.5}}"#)
}

fn a_poisoned_record_is_put_aside(trips: Trips) {
    let bench = Bench::new(|_| {});
    let rows: Vec<String> = (0..200)
        .map(|step| row(if step == 137 { "poison" } else { "good" }, step))
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    bench.send("telemetry.training", &rows);
    let mut lives = 0;
    loop {
        lives += 1;
        assert!(lives < 60, "it does not end");
        let kind = bench.kind("admit").wrapped(move |inner| {
            Box::new(Fragile {
                inner,
                trips,
                has_poison: false,
            })
        });
        let mut member = bench.member(kind);
        match settle(&mut member) {
            Ok(()) => break,
            Err(Fault::Unknown(why)) => assert!(why.contains("poisoned"), "{why}"),
            Err(other) => panic!("{other}"),
        }
    }
    let letters = bench.letters();
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!(
        (letter.class.as_str(), letter.topic.as_str()),
        ("core_panic", "telemetry.training")
    );
    assert_eq!(
        letter.source.as_ref().map(|source| source.offset),
        Some(137)
    );
    let mut admitted = 0;
    for value in bench.values("runs.events") {
        admitted += value.matches("telemetry.training").count() / 2;
        assert!(!value.contains("poison"));
    }
    assert_eq!(admitted, 199, "each event names its topic and its source's");
    assert_eq!(
        bench.open(),
        [("core_panic".to_owned(), "telemetry.training".to_owned())]
    );
    let telegrams = bench.values("cockpit.telegrams");
    assert_eq!(telegrams.len(), 1);
    assert!(
        telegrams[0].contains("guard.core_panic.open"),
        "{telegrams:?}"
    );
    if trips == Trips::InApply {
        assert_eq!(lives, 4, "three panics, then it is put aside");
    }
}

#[test]
fn a_record_that_panics_as_it_is_applied_is_put_aside() {
    a_poisoned_record_is_put_aside(Trips::InApply);
}

#[test]
fn a_record_that_panics_only_with_its_batch_is_found_by_halving() {
    a_poisoned_record_is_put_aside(Trips::InFlush);
}

#[test]
fn a_bad_deploy_stops_its_topic_until_somebody_resumes_it() {
    let bench = Bench::new(|config| {
        config.admit.guards.pause_rows_min = 10;
        config.admit.guards.probe_rows = 3;
        config.admit.guards.pause_ms = 3_600_000;
    });
    let bad: Vec<String> = (0..50)
        .map(|step| format!(r#"{{"run_id":"a","step":"{step}"}}"#))
        .collect();
    bench.send(
        "telemetry.training",
        &bad.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    bench.send("telemetry.runtime", &[r#"{"run_id":"a","latency_ms":7.5}"#]);
    let mut member = bench.member(bench.kind("admit"));
    settle(&mut member).unwrap();
    assert_eq!(bench.letters().len(), 10, "the rest waits in the log");
    assert_eq!(
        bench.values("runs.events").len(),
        1,
        "the other topic goes on"
    );
    let paused = [("topic_pause".to_owned(), "telemetry.training".to_owned())];
    assert_eq!(bench.open(), paused);
    assert_eq!(member.held(), ["telemetry.training"]);

    // Another process takes over: still paused, although it has counted nothing.
    drop(member);
    let mut member = bench.member(bench.kind("admit"));
    settle(&mut member).unwrap();
    assert_eq!((bench.letters().len(), bench.open()), (10, paused.to_vec()));

    // A rebalance takes everything and gives it back: the task is new, what is open is not.
    let parts: Vec<TopicPartition> = member.owned.iter().cloned().collect();
    member.let_go(&parts).unwrap();
    assert!(
        member.held().is_empty(),
        "nothing is owned, nothing is held"
    );
    let task = member.kind.open();
    member.tasks.insert(0, task);
    member.look_at_guards().unwrap();
    assert_eq!(member.held(), ["telemetry.training"]);
    let book = member.tasks.get_mut(&0).and_then(|task| task.guards());
    assert!(book.is_some_and(|book| !book.is_empty()));
    drop(member);
    let mut member = bench.member(bench.kind("admit"));
    settle(&mut member).unwrap();

    let all = guards::open_guards(&*bench.place.log).unwrap();
    guards::resume(&*bench.place.log, &*bench.place.registry, "cairn", &all).unwrap();
    let begun = std::time::Instant::now();
    while bench.letters().len() < 13 && begun.elapsed() < Duration::from_secs(30) {
        settle(&mut member).unwrap();
    }
    assert_eq!(
        bench.letters().len(),
        13,
        "resumed, three rows are tried, all bad: it pauses again"
    );
    assert_eq!(bench.open(), paused);
    let told: Vec<String> = bench
        .values("cockpit.telegrams")
        .iter()
        .map(|value| {
            let telegram: serde_json::Value = serde_json::from_str(value).unwrap();
            telegram["text"]["key"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(
        told,
        [
            "guard.topic_pause.open",
            "guard.topic_pause.closed",
            "guard.topic_pause.open"
        ]
    );
}

#[test]
fn what_retention_took_unread_is_said_and_counted() {
    let bench = Bench::new(|_| {});
    let mut spec = TopicSpec::new(
        "acme.telemetry.training",
        1,
        Cleanup::Delete { retention_ms: 1 },
    );
    spec.append_time = true;
    bench.place.log.create(&[spec]).unwrap();
    let mut kind = bench.kind("admit");
    kind.inputs = vec!["acme.telemetry.training".to_owned()];
    let inputs = kind.inputs.clone();
    bench.send("acme.telemetry.training", &[&row("a", 1)]);
    let mut member = bench.member(kind);
    settle(&mut member).unwrap();
    drop(member);
    let many: Vec<String> = (2..7).map(|step| row("a", step)).collect();
    bench.send(
        "acme.telemetry.training",
        &many.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    // Older than a millisecond by the next append; then retention takes what lies before it.
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(5) {
        std::hint::spin_loop();
    }
    while bench.place.log.maintain().unwrap() {}
    bench.send("acme.telemetry.training", &[&row("a", 7)]);
    let mut kind = bench.kind("admit");
    kind.inputs = inputs;
    let mut member = bench.member(kind);
    settle(&mut member).unwrap();
    let open = guards::open_guards(&*bench.place.log).unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(
        (
            open[0].guard.as_str(),
            open[0].tenant.as_str(),
            open[0].records
        ),
        ("retention_overtaken", "acme", 5)
    );
    assert!(open[0].text.contains("offsets 1 to 6"), "{}", open[0].text);
    assert!(bench.metrics.text().contains(
        "cairn_records_lost_total{operator=\"admit\",topic=\"acme.telemetry.training\"} 5"
    ));
    assert_eq!(
        bench.values("runs.events").len(),
        2,
        "the first and the last row"
    );
}
