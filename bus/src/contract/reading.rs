//! What is read, and from where.

use super::{
    PATIENCE, Place, next, out, reaches_the_end, read_everything, records, silence, values, write,
};
use crate::log::{Cleanup, Offsets, Outgoing, Poll, Record, TopicPartition, TopicSpec};
use std::time::{Duration, Instant};

pub(super) fn positions_pass_what_is_never_delivered(place: &Place<'_>) {
    let log = (place.open)();
    let (topic, twin) = (place.topic(&*log, "in", 2), place.topic(&*log, "twin", 2));
    let mut writer = place.writer(&*log, "writer");
    write(&mut *writer, &topic, 0, &["a"]);
    write(&mut *writer, &topic, 0, &["b"]);
    write(&mut *writer, &twin, 1, &["c"]);
    let mut session = place.reading(&*log, "reader", &[&topic, &twin]);
    let read = records(&mut *session, 3);
    // markers
    reaches_the_end(&mut *session);
    // aborted records, in one partition that has others and in one that has none
    for partition in 0..2 {
        writer.send(out(&topic, partition, "aborted")).unwrap();
    }
    writer.abort().unwrap();
    reaches_the_end(&mut *session);
    session.commit(&next(&read)).unwrap();
    reaches_the_end(&mut *session);
    // and what comes then is delivered
    write(&mut *writer, &topic, 1, &["d"]);
    assert_eq!(values(&records(&mut *session, 1)), ["d"]);
    reaches_the_end(&mut *session);
}

pub(super) fn a_reader_passes_what_is_never_delivered(place: &Place<'_>) {
    let log = (place.open)();
    let topic = place.topic(&*log, "in", 2);
    let mut reader = log.reader().unwrap();
    assert!(read_everything(&mut *reader, &topic).is_empty());
    let mut writer = place.writer(&*log, "writer");
    write(&mut *writer, &topic, 1, &["a", "b"]);
    writer.send(out(&topic, 1, "aborted")).unwrap();
    writer.abort().unwrap();
    assert_eq!(values(&read_everything(&mut *reader, &topic)), ["a", "b"]);
    // from the middle, a few at a time, in an order of its own
    let part = TopicPartition::new(topic.clone(), 1);
    let (read, position) = reader
        .read(&Offsets::from([(part.clone(), 1)]), PATIENCE, 1)
        .unwrap();
    assert_eq!((values(&read), position[&part]), (vec!["b".to_string()], 2));
    let (read, _) = reader
        .read(&Offsets::from([(part, 0)]), PATIENCE, 1)
        .unwrap();
    assert_eq!(values(&read), ["a"]);
    // what is not committed is not there
    writer.send(out(&topic, 0, "open")).unwrap();
    assert_eq!(read_everything(&mut *reader, &topic).len(), 2);
    writer.commit(&Offsets::new()).unwrap();
    assert_eq!(
        values(&read_everything(&mut *reader, &topic)),
        ["open", "a", "b"]
    );
}

pub(super) fn a_changelog_is_read_to_its_end(place: &Place<'_>) {
    let log = (place.open)();
    let topic = place.topic_with(&*log, TopicSpec::new("changelog", 2, Cleanup::Compact));
    let part = TopicPartition::new(topic.clone(), 1);
    let mut session = place.writer(&*log, "task");
    let mut restore = |expected: &[(&str, Option<&str>)]| {
        let mut seen: Vec<(String, Option<String>)> = Vec::new();
        let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8(bytes).unwrap());
        let mut each = |record: Record| seen.push((text(record.key).unwrap(), text(record.value)));
        let end = session.read_to_end(&part, &mut each).unwrap();
        let expected: Vec<_> = expected
            .iter()
            .map(|(key, value)| (key.to_string(), value.map(str::to_owned)))
            .collect();
        assert_eq!(seen, expected);
        end
    };
    let change = |key: &str, value: Option<&str>| Outgoing {
        topic: topic.clone(),
        partition: 1,
        key: Some(key.into()),
        value: value.map(|value| value.into()),
        headers: vec![],
    };
    assert_eq!(restore(&[]), 0);
    let mut writer = place.writer(&*log, "writer");
    writer.send(change("a", Some("1"))).unwrap();
    writer.send(change("b", Some("2"))).unwrap();
    writer.commit(&Offsets::new()).unwrap();
    writer.send(change("a", Some("aborted"))).unwrap();
    writer.abort().unwrap();
    writer.send(change("b", None)).unwrap();
    writer.commit(&Offsets::new()).unwrap();
    let first = restore(&[("a", Some("1")), ("b", Some("2")), ("b", None)]);
    // nothing but aborted records at the end
    writer.send(change("c", Some("aborted"))).unwrap();
    writer.abort().unwrap();
    let second = restore(&[("a", Some("1")), ("b", Some("2")), ("b", None)]);
    assert!(second >= first);
    // from an offset on: only what came after, and nothing beyond the end
    writer.send(change("d", Some("4"))).unwrap();
    writer.commit(&Offsets::new()).unwrap();
    let mut seen = Vec::new();
    let third = session
        .read_from(&part, second, &mut |record| seen.push(record.key))
        .unwrap();
    assert_eq!(seen, [Some(b"d".to_vec())]);
    assert!(third > second);
    let beyond = session.read_from(&part, third + 100, &mut |_| panic!("beyond the end"));
    // a commit's marker may come after its answer
    assert!(beyond.is_ok_and(|end| (third..third + 100).contains(&end)));
}

pub(super) fn a_poll_without_patience_loses_nothing(place: &Place<'_>) {
    let log = (place.open)();
    let topic = place.topic(&*log, "in", 2);
    let mut writer = place.writer(&*log, "writer");
    let total = 20_000_i64;
    for number in 0..total {
        writer
            .send(out(&topic, number as i32 % 2, &number.to_string()))
            .unwrap();
    }
    writer.commit(&Offsets::new()).unwrap();
    // the patience ends at every possible point of a delivery
    for (round, patience) in [
        Duration::ZERO,
        Duration::from_micros(50),
        Duration::from_millis(2),
    ]
    .into_iter()
    .enumerate()
    {
        let mut session = place.reading(&*log, &format!("reader-{round}"), &[&topic]);
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while (seen.len() as i64) < total {
            assert!(
                Instant::now() < deadline,
                "{} of {total} with a patience of {patience:?}",
                seen.len()
            );
            match session.poll(patience, 50_000).unwrap() {
                Poll::Records(records) => seen.extend(
                    values(&records.to_records())
                        .iter()
                        .map(|value| value.parse::<i64>().unwrap()),
                ),
                Poll::Idle => {}
                other => panic!("instead of records: {other:?}"),
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..total).collect::<Vec<_>>());
    }
}

/// A log may give headers all the same; the rest of the record is the same either way.
pub(super) fn headers_come_unless_they_are_left_out(place: &Place<'_>) {
    let log = (place.open)();
    let topic = place.topic(&*log, "in", 1);
    let mut writer = place.writer(&*log, "writer");
    let mut sent = out(&topic, 0, "a");
    sent.headers = vec![("x".into(), b"1".to_vec()), ("x".into(), b"2".to_vec())];
    writer.send(sent.clone()).unwrap();
    writer.commit(&Offsets::new()).unwrap();
    let mut with = place.reading(&*log, "with", &[&topic]);
    let read = records(&mut *with, 1);
    assert_eq!(read[0].headers, sent.headers);
    let mut without = place.reading(&*log, "without", &[&topic]);
    without.leave_out_headers();
    let bare = records(&mut *without, 1);
    assert!(bare[0].headers.is_empty() || bare[0].headers == sent.headers);
    assert_eq!((&bare[0].key, &bare[0].value), (&sent.key, &sent.value));
    assert_eq!(bare[0].offset, read[0].offset);
}

pub(super) fn paused_partitions_wait(place: &Place<'_>) {
    let log = (place.open)();
    let topic = place.topic(&*log, "in", 2);
    let mut writer = place.writer(&*log, "writer");
    let mut session = place.reading(&*log, "reader", &[&topic]);
    let paused = [TopicPartition::new(topic.clone(), 0)];
    write(&mut *writer, &topic, 0, &["a"]);
    assert_eq!(values(&records(&mut *session, 1)), ["a"]);
    session.pause(&paused).unwrap();
    write(&mut *writer, &topic, 0, &["b", "c"]);
    write(&mut *writer, &topic, 1, &["d"]);
    assert_eq!(values(&records(&mut *session, 1)), ["d"]);
    silence(&mut *session);
    session.resume(&paused).unwrap();
    assert_eq!(values(&records(&mut *session, 2)), ["b", "c"]);
}

pub(super) fn seek_reads_again(place: &Place<'_>) {
    let log = (place.open)();
    let topic = place.topic(&*log, "in", 2);
    let mut writer = place.writer(&*log, "writer");
    write(&mut *writer, &topic, 0, &["a", "b", "c"]);
    write(&mut *writer, &topic, 1, &["x"]);
    let mut session = place.reading(&*log, "reader", &[&topic]);
    let read = records(&mut *session, 4);
    let part = TopicPartition::new(topic.clone(), 0);
    let second = read
        .iter()
        .find(|record| values(&[(*record).clone()]) == ["b"])
        .unwrap()
        .offset;
    session
        .seek(&Offsets::from([(part.clone(), second)]))
        .unwrap();
    assert_eq!(session.position().unwrap()[&part], second);
    assert_eq!(values(&records(&mut *session, 2)), ["b", "c"]);
    silence(&mut *session);
    // at once after an assignment too
    drop(session);
    let mut session = place.reading(&*log, "another", &[&topic]);
    session
        .seek(&Offsets::from([
            (part, second + 1),
            (TopicPartition::new(topic.clone(), 1), 0),
        ]))
        .unwrap();
    let mut again = values(&records(&mut *session, 2));
    again.sort();
    assert_eq!(again, ["c", "x"]);
}

pub(super) fn groups_do_not_know_each_other(place: &Place<'_>) {
    let log = (place.open)();
    let topic = place.topic(&*log, "in", 1);
    let mut writer = place.writer(&*log, "writer");
    write(&mut *writer, &topic, 0, &["a", "b"]);
    let mut one = place.reading(&*log, "one", &[&topic]);
    let read = records(&mut *one, 2);
    one.commit(&next(&read)).unwrap();
    let mut other = place.reading(&*log, "other", &[&topic]);
    assert!(
        other
            .committed(&[TopicPartition::new(topic.clone(), 0)])
            .unwrap()
            .is_empty()
    );
    assert_eq!(values(&records(&mut *other, 2)), ["a", "b"]);
    assert_eq!(other.poll(Duration::ZERO, 10).unwrap(), Poll::Idle);
}
