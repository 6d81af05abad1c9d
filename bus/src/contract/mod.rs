//! The contract suite: what every log must pass, as functions over a way to open it. A log is done when [`ALL`] passes; one
//! whose groups have several members also passes [`GROUPS`].
//!
//! A case takes a [`Place`] and panics when a promise is broken. Cases use topics and groups of their own, so they may run at
//! once on one broker. They wait for what must happen with a deadline, and never sleep to let something happen.

#![allow(
    clippy::unwrap_used,
    reason = "a test library: a fault where none may be is a failed test"
)]

mod groups;
mod owning;
mod reading;
mod writing;

use crate::log::{
    Cleanup, Log, Membership, Offsets, Outgoing, Poll, Reader, Record, Session, TopicPartition,
    TopicSpec,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long something that must happen may take, on a machine that compiles meanwhile.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long nothing must happen before it counts as not happening.
pub const SILENCE: Duration = Duration::from_millis(300);

/// Where a case takes place.
pub struct Place<'a> {
    /// Opens the same log again, as another process would.
    pub open: &'a (dyn Fn() -> Arc<dyn Log> + Sync),
    /// Begins the names of topics and groups; different for each case.
    pub prefix: String,
}

/// A case by name.
pub type Case = (&'static str, fn(&Place<'_>));

/// What every log must pass.
pub const ALL: &[Case] = &[
    (
        "topics_are_created_once_and_stay_as_asked",
        writing::topics_are_created_once_and_stay_as_asked,
    ),
    (
        "records_come_back_as_sent_and_in_order",
        writing::records_come_back_as_sent_and_in_order,
    ),
    (
        "a_commit_shows_all_or_nothing",
        writing::a_commit_shows_all_or_nothing,
    ),
    (
        "what_is_delivered_is_seen_once_it_is_committed",
        writing::what_is_delivered_is_seen_once_it_is_committed,
    ),
    ("an_abort_leaves_nothing", writing::an_abort_leaves_nothing),
    (
        "what_cannot_be_written_is_said",
        writing::what_cannot_be_written_is_said,
    ),
    (
        "a_pass_is_seen_inside_at_once_and_outside_afterwards",
        writing::a_pass_is_seen_inside_at_once_and_outside_afterwards,
    ),
    (
        "positions_pass_what_is_never_delivered",
        reading::positions_pass_what_is_never_delivered,
    ),
    (
        "a_reader_passes_what_is_never_delivered",
        reading::a_reader_passes_what_is_never_delivered,
    ),
    (
        "a_changelog_is_read_to_its_end",
        reading::a_changelog_is_read_to_its_end,
    ),
    (
        "a_poll_without_patience_loses_nothing",
        reading::a_poll_without_patience_loses_nothing,
    ),
    (
        "headers_come_unless_they_are_left_out",
        reading::headers_come_unless_they_are_left_out,
    ),
    ("paused_partitions_wait", reading::paused_partitions_wait),
    ("seek_reads_again", reading::seek_reads_again),
    (
        "groups_do_not_know_each_other",
        reading::groups_do_not_know_each_other,
    ),
    (
        "offsets_and_outputs_are_one",
        owning::offsets_and_outputs_are_one,
    ),
    ("a_restart_resumes", owning::a_restart_resumes),
    (
        "a_writer_is_fenced_by_its_successor",
        owning::a_writer_is_fenced_by_its_successor,
    ),
    (
        "a_member_is_fenced_by_its_successor",
        owning::a_member_is_fenced_by_its_successor,
    ),
    ("what_is_missing_is_said", owning::what_is_missing_is_said),
];

/// What a log passes whose groups may have several members.
pub const GROUPS: &[Case] = &[
    (
        "two_members_share_and_nothing_is_lost",
        groups::two_members_share_and_nothing_is_lost,
    ),
    (
        "a_changelog_waits_for_an_undecided_transaction",
        groups::a_changelog_waits_for_an_undecided_transaction,
    ),
    (
        "an_unanswered_rebalance_does_not_keep_a_session_from_closing",
        groups::an_unanswered_rebalance_does_not_keep_a_session_from_closing,
    ),
];

/// Runs cases one after the other, printing their names.
pub fn run(open: &(dyn Fn() -> Arc<dyn Log> + Sync), prefix: &str, cases: &[Case]) {
    for (name, case) in cases {
        let begun = Instant::now();
        case(&Place {
            open,
            prefix: format!("{prefix}.{name}"),
        });
        eprintln!("{name}: {} ms", begun.elapsed().as_millis());
    }
}

impl Place<'_> {
    /// Makes a topic that keeps everything; returns its full name.
    pub(crate) fn topic(&self, log: &dyn Log, name: &str, partitions: i32) -> Arc<str> {
        self.topic_with(
            log,
            TopicSpec::new(name, partitions, Cleanup::Delete { retention_ms: -1 }),
        )
    }

    pub(crate) fn topic_with(&self, log: &dyn Log, mut spec: TopicSpec) -> Arc<str> {
        spec.name = format!("{}.{}", self.prefix, spec.name);
        log.create(std::slice::from_ref(&spec)).unwrap();
        Arc::from(spec.name)
    }

    pub(crate) fn member(&self, operator: &str, topics: &[&Arc<str>]) -> Membership {
        let name = format!("{}.{operator}", self.prefix);
        Membership {
            group: name.clone(),
            operator: name,
            instance: "one".into(),
            thread: 0,
            topics: topics.iter().map(|topic| topic.to_string()).collect(),
        }
    }

    pub(crate) fn writer(&self, log: &dyn Log, operator: &str) -> Box<dyn Session> {
        log.open(self.member(operator, &[])).unwrap()
    }

    /// Opens a member that has been assigned everything, at its committed offsets.
    pub(crate) fn reading(
        &self,
        log: &dyn Log,
        operator: &str,
        topics: &[&Arc<str>],
    ) -> Box<dyn Session> {
        let mut session = log.open(self.member(operator, topics)).unwrap();
        take(&mut *session, &Offsets::new());
        session
    }
}

/// A record by value.
pub(crate) fn out(topic: &Arc<str>, partition: i32, value: &str) -> Outgoing {
    Outgoing {
        topic: topic.clone(),
        partition,
        key: Some(b"key".to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers: vec![],
    }
}

/// Sends and commits values.
pub(crate) fn write(session: &mut dyn Session, topic: &Arc<str>, partition: i32, values: &[&str]) {
    for value in values {
        session.send(out(topic, partition, value)).unwrap();
    }
    session.commit(&Offsets::new()).unwrap();
}

/// Waits for the assignment and answers it.
pub(crate) fn take(session: &mut dyn Session, start: &Offsets) -> Vec<TopicPartition> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match session.poll(Duration::from_millis(50), 100).unwrap() {
            Poll::Assigned(parts) => {
                session.assigned(start).unwrap();
                return parts;
            }
            Poll::Idle if Instant::now() < deadline => {}
            other => panic!("instead of an assignment: {other:?}"),
        }
    }
}

/// Polls until there are so many records.
pub(crate) fn records(session: &mut dyn Session, count: usize) -> Vec<Record> {
    let deadline = Instant::now() + PATIENCE;
    let mut found = Vec::new();
    while found.len() < count {
        match session
            .poll(Duration::from_millis(50), count - found.len())
            .unwrap()
        {
            Poll::Records(records) => found.extend(records.to_records()),
            Poll::Idle => assert!(
                Instant::now() < deadline,
                "{} of {count} records",
                found.len()
            ),
            other => panic!("instead of records: {other:?}"),
        }
    }
    found
}

/// Polls for a while in which nothing may come.
pub(crate) fn silence(session: &mut dyn Session) {
    let deadline = Instant::now() + SILENCE;
    while Instant::now() < deadline {
        let polled = session.poll(Duration::from_millis(50), 100).unwrap();
        assert_eq!(polled, Poll::Idle, "although there is nothing to come");
    }
}

pub(crate) fn values(records: &[Record]) -> Vec<String> {
    records
        .iter()
        .map(|record| String::from_utf8(record.value.clone().unwrap_or_default()).unwrap())
        .collect()
}

/// The offsets that cover records.
pub(crate) fn next(records: &[Record]) -> Offsets {
    let mut offsets = Offsets::new();
    for record in records {
        let next = offsets.entry(record.place()).or_insert(0);
        *next = record.offset.max(*next - 1) + 1;
    }
    offsets
}

/// Everything that a reader sees of a topic, up to the stable end.
pub(crate) fn everything(log: &dyn Log, topic: &Arc<str>) -> Vec<Record> {
    let mut reader = log.reader().unwrap();
    read_everything(&mut *reader, topic)
}

pub(crate) fn read_everything(reader: &mut dyn Reader, topic: &Arc<str>) -> Vec<Record> {
    let ends: BTreeMap<TopicPartition, (i64, i64)> = reader.ends(&[topic]).unwrap();
    let mut position: Offsets = ends
        .iter()
        .map(|(part, (start, _))| (part.clone(), *start))
        .collect();
    let deadline = Instant::now() + PATIENCE;
    let mut found = Vec::new();
    while position.iter().any(|(part, next)| *next < ends[part].1) {
        let (records, next) = reader
            .read(&position, Duration::from_millis(50), 1_000)
            .unwrap();
        found.extend(records);
        position = next;
        assert!(
            Instant::now() < deadline,
            "positions {position:?} do not reach the ends {ends:?}"
        );
    }
    found.sort_by_key(|record| (record.partition, record.offset));
    found
}

/// Waits until the session's positions are the stable ends.
pub(crate) fn reaches_the_end(session: &mut dyn Session) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let polled = session.poll(Duration::from_millis(50), 100).unwrap();
        assert_eq!(polled, Poll::Idle, "everything was read before");
        let parts: Vec<_> = session.position().unwrap().into_keys().collect();
        let ends = session.last_stable(&parts).unwrap();
        let position = session.position().unwrap();
        if position == ends {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "positions {position:?} do not reach the ends {ends:?}"
        );
    }
}
