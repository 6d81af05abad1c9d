//! What is written, and when it is seen.

use super::{PATIENCE, Place, everything, next, out, records, silence, values, write};
use crate::log::{Cleanup, Fault, Offsets, Outgoing, TopicSpec};
use std::time::Instant;

pub(super) fn topics_are_created_once_and_stay_as_asked(place: &Place<'_>) {
    let log = (place.open)();
    let mut spec = TopicSpec::new("compacted", 3, Cleanup::Compact);
    spec.max_message_bytes = 200_000;
    spec.delete_retention_ms = 60_000;
    let compacted = place.topic_with(&*log, spec.clone());
    let kept = place.topic_with(
        &*log,
        TopicSpec::new(
            "kept",
            1,
            Cleanup::Delete {
                retention_ms: 7_200_000,
            },
        ),
    );
    let topics = log.topics().unwrap();
    let state = &topics[&*compacted];
    assert_eq!((state.partitions, state.cleanup), (3, Cleanup::Compact));
    assert_eq!(
        (
            state.max_message_bytes,
            state.delete_retention_ms,
            state.append_time
        ),
        (200_000, 60_000, true)
    );
    assert_eq!(
        topics[&*kept].cleanup,
        Cleanup::Delete {
            retention_ms: 7_200_000
        }
    );
    // another wish for the same topic changes nothing
    spec.name = compacted.to_string();
    spec.partitions = 5;
    assert!(log.create(&[spec]).unwrap().is_empty());
    assert_eq!(log.topics().unwrap()[&*compacted].partitions, 3);
}

pub(super) fn records_come_back_as_sent_and_in_order(place: &Place<'_>) {
    let log = (place.open)();
    let topic = place.topic(&*log, "in", 3);
    let mut writer = place.writer(&*log, "writer");
    for number in 0..300 {
        writer
            .send(out(&topic, number % 3, &number.to_string()))
            .unwrap();
        if number % 100 == 99 {
            writer.commit(&Offsets::new()).unwrap();
        }
    }
    let odd = Outgoing {
        topic: topic.clone(),
        partition: 2,
        key: None,
        value: None,
        headers: vec![
            ("same".into(), vec![1]),
            ("same".into(), vec![]),
            ("other".into(), vec![0, 255]),
        ],
    };
    writer.send(odd.clone()).unwrap();
    writer.commit(&Offsets::new()).unwrap();
    let mut session = place.reading(&*log, "reader", &[&topic]);
    let read = records(&mut *session, 301);
    for partition in 0..3 {
        let own: Vec<_> = read
            .iter()
            .filter(|record| record.partition == partition)
            .collect();
        assert!(
            own.is_sorted_by(|a, b| a.offset < b.offset && a.append_time_ms <= b.append_time_ms)
        );
        let numbers: Vec<i32> = own
            .iter()
            .take(100)
            .map(|record| values(&[(*record).clone()])[0].parse().unwrap())
            .collect();
        assert_eq!(
            numbers,
            (0..100)
                .map(|index| index * 3 + partition)
                .collect::<Vec<_>>()
        );
    }
    let last = read.iter().rfind(|record| record.partition == 2).unwrap();
    assert_eq!(
        (&last.key, &last.value, &last.headers),
        (&odd.key, &odd.value, &odd.headers)
    );
    assert!(
        last.append_time_ms > 1_600_000_000_000,
        "an append time in milliseconds since 1970"
    );
}

pub(super) fn a_commit_shows_all_or_nothing(place: &Place<'_>) {
    let log = (place.open)();
    let (one, other) = (place.topic(&*log, "one", 1), place.topic(&*log, "other", 2));
    let mut session = place.reading(&*log, "reader", &[&one, &other]);
    let mut writer = place.writer(&*log, "writer");
    writer.send(out(&one, 0, "a")).unwrap();
    writer.send(out(&other, 1, "b")).unwrap();
    silence(&mut *session);
    writer.commit(&Offsets::new()).unwrap();
    let mut seen = values(&records(&mut *session, 2));
    seen.sort();
    assert_eq!(seen, ["a", "b"]);
    // with neither records nor offsets there is nothing to do
    writer.commit(&Offsets::new()).unwrap();
    writer.abort().unwrap();
}

pub(super) fn an_abort_leaves_nothing(place: &Place<'_>) {
    let log = (place.open)();
    let topic = place.topic(&*log, "in", 1);
    let mut writer = place.writer(&*log, "writer");
    write(&mut *writer, &topic, 0, &["first"]);
    for _ in 0..50 {
        writer.send(out(&topic, 0, "aborted")).unwrap();
    }
    writer.abort().unwrap();
    write(&mut *writer, &topic, 0, &["second"]);
    writer.send(out(&topic, 0, "left open")).unwrap();
    writer.close(super::PATIENCE).unwrap();
    assert_eq!(values(&everything(&*log, &topic)), ["first", "second"]);
}

pub(super) fn what_cannot_be_written_is_said(place: &Place<'_>) {
    let log = (place.open)();
    let mut spec = TopicSpec::new("small", 1, Cleanup::Compact);
    spec.max_message_bytes = 10_000;
    let small = place.topic_with(&*log, spec);
    let attempt = |out: Outgoing| {
        let mut writer = place.writer(&*log, "writer");
        writer
            .send(out)
            .and_then(|()| writer.commit(&Offsets::new()))
    };
    attempt(out(&small, 0, &"x".repeat(9_000))).unwrap();
    // Kafka measures what is left after compression: noise (xorshift)
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state >> 32) as u8 % 90)
    };
    let noise: String = (0..20_000).map(|_| byte()).collect();
    let refused = |out: Outgoing, expected: &str| match attempt(out) {
        Err(Fault::Config(text)) => assert!(text.contains(expected), "{text}"),
        other => panic!("instead of a Config fault: {other:?}"),
    };
    refused(out(&small, 0, &noise), &small);
    let mut keyless = out(&small, 0, "no key");
    keyless.key = None;
    refused(keyless, &small);
    refused(out(&small, 7, "no such partition"), &small);
    refused(
        out(
            &std::sync::Arc::from(format!("{small}.none")),
            0,
            "no such topic",
        ),
        &small,
    );
    assert_eq!(everything(&*log, &small).len(), 1);
}

/// Delivery is no commit: nobody sees what is only delivered.
pub(super) fn what_is_delivered_is_seen_once_it_is_committed(place: &Place<'_>) {
    let log = (place.open)();
    let topic = place.topic(&*log, "in", 1);
    let mut writer = place.writer(&*log, "writer");
    assert!(writer.is_delivered().unwrap(), "nothing was sent");
    for number in 0..100 {
        writer.send(out(&topic, 0, &number.to_string())).unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while !writer.is_delivered().unwrap() {
        assert!(Instant::now() < deadline, "100 records are not delivered");
    }
    assert!(everything(&*log, &topic).is_empty());
    writer.commit(&Offsets::new()).unwrap();
    assert_eq!(everything(&*log, &topic).len(), 100);
}

pub(super) fn a_pass_is_seen_inside_at_once_and_outside_afterwards(place: &Place<'_>) {
    let log = (place.open)();
    let (topic, onward) = (place.topic(&*log, "in", 1), place.topic(&*log, "onward", 1));
    let mut first = place.writer(&*log, "first");
    let mut second = place.reading(&*log, "second", &[&topic]);
    log.pass_begin().unwrap();
    write(&mut *first, &topic, 0, &["a", "b"]);
    let read = records(&mut *second, 2);
    second.send(out(&onward, 0, "after a and b")).unwrap();
    second.commit(&next(&read)).unwrap();
    log.pass_end().unwrap();
    let elsewhere = (place.open)();
    assert_eq!(values(&everything(&*elsewhere, &topic)), ["a", "b"]);
    assert_eq!(values(&everything(&*elsewhere, &onward)), ["after a and b"]);
}
