//! A small cluster for stories told step by step, and the words they are told in.

#![allow(dead_code, reason = "each file of stories uses some of it")]

use cairn_bus::simulated::{FaultPlan, SimulatedClock, SimulatedLog, SimulatedSettings};
use cairn_bus::{
    Cleanup, Fault, Log, Membership, Offsets, Outgoing, Poll, Record, Session, TopicPartition,
    TopicSpec,
};
use std::time::Duration;

pub const STEP: Duration = Duration::from_millis(50);

pub fn out(topic: &str, partition: i32, key: &str, value: &str) -> Outgoing {
    Outgoing {
        topic: topic.into(),
        partition,
        key: Some(key.into()),
        value: Some(value.into()),
        headers: vec![],
    }
}

pub fn who(operator: &str, instance: &str, topics: &[&str]) -> Membership {
    Membership {
        operator: operator.into(),
        group: operator.into(),
        instance: instance.into(),
        thread: 0,
        topics: topics.iter().map(|topic| topic.to_string()).collect(),
    }
}

pub fn text(record: &Record) -> String {
    String::from_utf8(record.value.clone().unwrap_or_default()).unwrap()
}

pub struct Stage {
    pub log: SimulatedLog,
    pub clock: SimulatedClock,
}

/// Topics `in` (two partitions, a record "0", "1" … in turn), `out` and `state` (compacted).
pub fn stage(settings: SimulatedSettings) -> Stage {
    // a multiple of the brokers' look for old transactions, so that times come out even
    let clock = SimulatedClock::at(1_800_000_000_000);
    let log = SimulatedLog::with_settings(7, FaultPlan::quiet(), clock.clone(), settings);
    let all = Cleanup::Delete { retention_ms: -1 };
    log.create(&[
        TopicSpec::new("in", 2, all),
        TopicSpec::new("out", 2, all),
        TopicSpec::new("state", 2, Cleanup::Compact),
    ])
    .unwrap();
    let mut writer = log.open(who("writer", "w", &[])).unwrap();
    for number in 0..8 {
        writer
            .send(out("in", number % 2, "k", &number.to_string()))
            .unwrap();
    }
    writer.commit(&Offsets::new()).unwrap();
    Stage { log, clock }
}

pub fn quiet() -> Stage {
    stage(SimulatedSettings::default())
}

impl Stage {
    pub fn open(&self, instance: &str) -> Box<dyn Session> {
        self.log.open(who("copy", instance, &["in"])).unwrap()
    }

    /// Opens a member that holds what it was given, from its committed offsets on.
    pub fn reading(&self, instance: &str) -> Box<dyn Session> {
        let mut session = self.open(instance);
        take(&mut *session);
        session
    }

    pub fn values(&self, topic: &str, partition: i32) -> Vec<String> {
        let mut reader = self.log.reader().unwrap();
        let start = Offsets::from([(part(topic, partition), 0)]);
        let (records, _) = reader.read(&start, Duration::ZERO, 100).unwrap();
        records.iter().map(text).collect()
    }

    pub fn with(&self, plan: FaultPlan, act: impl FnOnce()) {
        self.log.set_plan(plan);
        act();
        self.log.set_plan(FaultPlan::quiet());
    }
}

pub fn part(topic: &str, number: i32) -> TopicPartition {
    TopicPartition::new(topic, number)
}

pub fn both() -> Vec<TopicPartition> {
    vec![part("in", 0), part("in", 1)]
}

pub fn next(session: &mut dyn Session) -> Poll {
    session.poll(STEP, 100).unwrap()
}

pub fn take(session: &mut dyn Session) -> Vec<TopicPartition> {
    match next(session) {
        Poll::Assigned(parts) => {
            session.assigned(&Offsets::new()).unwrap();
            parts
        }
        other => panic!("instead of an assignment: {other:?}"),
    }
}

pub fn give_up(session: &mut dyn Session) -> Vec<TopicPartition> {
    match next(session) {
        Poll::Revoked(parts) => {
            session.revoked(&parts).unwrap();
            parts
        }
        other => panic!("instead of a revocation: {other:?}"),
    }
}

pub fn at(offsets: &[(&TopicPartition, i64)]) -> Offsets {
    offsets
        .iter()
        .map(|(part, next)| ((*part).clone(), *next))
        .collect()
}

pub fn name<T: std::fmt::Debug>(result: Result<T, Fault>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(fault) => fault.name(),
    }
}
