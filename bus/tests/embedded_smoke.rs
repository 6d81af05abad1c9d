//! The shortest way through the embedded log: what the crate's documentation promises in one screen.

use cairn_bus::embedded::EmbeddedLog;
use cairn_bus::{Cleanup, Log, Membership, Offsets, Outgoing, Poll, TopicPartition, TopicSpec};
use std::time::Duration;

#[test]
fn what_is_committed_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path()).unwrap();
    let topic = TopicSpec::new("in", 2, Cleanup::Delete { retention_ms: -1 });
    assert_eq!(log.create(std::slice::from_ref(&topic)).unwrap(), ["in"]);
    assert!(log.create(&[topic]).unwrap().is_empty());
    let who = |topics: &[&str]| Membership {
        operator: if topics.is_empty() { "writer" } else { "runs" }.into(),
        group: "cairn.runs".into(),
        instance: "one".into(),
        thread: 0,
        topics: topics.iter().map(|name| name.to_string()).collect(),
    };
    let mut writer = log.open(who(&[])).unwrap();
    for number in 0..10u8 {
        let out = Outgoing {
            topic: "in".into(),
            partition: i32::from(number % 2),
            key: None,
            value: Some(vec![number]),
            headers: vec![("event_id".into(), vec![number])],
        };
        writer.send(out).unwrap();
    }
    writer.commit(&Offsets::new()).unwrap();

    let mut session = log.open(who(&["in"])).unwrap();
    let Poll::Assigned(parts) = session.poll(Duration::ZERO, 100).unwrap() else {
        panic!("nothing assigned")
    };
    assert_eq!(parts.len(), 2);
    session.assigned(&Offsets::new()).unwrap();
    log.pass_begin().unwrap();
    let Poll::Records(records) = session.poll(Duration::ZERO, 100).unwrap() else {
        panic!("no records")
    };
    let records = records.to_records();
    assert_eq!(records.len(), 10);
    session.commit(&session_offsets(&records)).unwrap();
    log.pass_end().unwrap();
    drop(session);

    let mut session = log.open(who(&["in"])).unwrap();
    session.poll(Duration::ZERO, 100).unwrap();
    session.assigned(&Offsets::new()).unwrap();
    assert_eq!(session.poll(Duration::ZERO, 100).unwrap(), Poll::Idle);
}

fn session_offsets(records: &[cairn_bus::Record]) -> Offsets {
    records
        .iter()
        .map(|record| {
            (
                TopicPartition::new(record.topic.clone(), record.partition),
                record.offset + 1,
            )
        })
        .collect()
}
