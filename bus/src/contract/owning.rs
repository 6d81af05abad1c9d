//! Who may commit, and what a restart finds.

use super::{PATIENCE, Place, everything, next, out, records, take, values, write};
use crate::log::{Fault, Offsets, TopicPartition};

pub(super) fn offsets_and_outputs_are_one(place: &Place<'_>) {
    let log = (place.open)();
    let (input, output) = (place.topic(&*log, "in", 1), place.topic(&*log, "out", 1));
    let part = TopicPartition::new(input.clone(), 0);
    let mut writer = place.writer(&*log, "writer");
    write(&mut *writer, &input, 0, &["a", "b", "c", "d"]);
    let mut session = place.reading(&*log, "task", &[&input]);
    let first = records(&mut *session, 2);
    session.send(out(&output, 0, "of a and b")).unwrap();
    session.commit(&next(&first)).unwrap();
    assert_eq!(
        session.committed(std::slice::from_ref(&part)).unwrap(),
        next(&first)
    );
    // the rest is done, undone, and done again
    let second = records(&mut *session, 2);
    session.send(out(&output, 0, "aborted")).unwrap();
    session.abort().unwrap();
    assert_eq!(
        session.committed(std::slice::from_ref(&part)).unwrap(),
        next(&first)
    );
    session.seek(&next(&first)).unwrap();
    assert_eq!(values(&records(&mut *session, 2)), ["c", "d"]);
    session.send(out(&output, 0, "of c and d")).unwrap();
    session.commit(&next(&second)).unwrap();
    // offsets alone
    session.commit(&next(&second)).unwrap();
    assert_eq!(
        values(&everything(&*log, &output)),
        ["of a and b", "of c and d"]
    );
    assert_eq!(
        session.committed(std::slice::from_ref(&part)).unwrap(),
        next(&second)
    );
}

pub(super) fn a_restart_resumes(place: &Place<'_>) {
    let log = (place.open)();
    let topic = place.topic(&*log, "in", 2);
    let mut writer = place.writer(&*log, "writer");
    write(&mut *writer, &topic, 0, &["a", "b"]);
    let mut session = place.reading(&*log, "task", &[&topic]);
    let read = records(&mut *session, 2);
    session.commit(&next(&read[..1])).unwrap();
    session.close(PATIENCE).unwrap();
    write(&mut *writer, &topic, 1, &["c"]);
    // as if it were another process
    drop(writer);
    drop(log);
    let log = (place.open)();
    let mut session = place.reading(&*log, "task", &[&topic]);
    let mut rest = values(&records(&mut *session, 2));
    rest.sort();
    assert_eq!(rest, ["b", "c"]);
    // and from where one says
    drop(session);
    let mut session = log.open(place.member("task", &[&topic])).unwrap();
    take(
        &mut *session,
        &Offsets::from([(TopicPartition::new(topic.clone(), 0), 0)]),
    );
    let mut rest = values(&records(&mut *session, 3));
    rest.sort();
    assert_eq!(rest, ["a", "b", "c"]);
}

pub(super) fn a_writer_is_fenced_by_its_successor(place: &Place<'_>) {
    let log = (place.open)();
    let topic = place.topic(&*log, "in", 1);
    let mut first = place.writer(&*log, "writer");
    write(&mut *first, &topic, 0, &["first"]);
    first.send(out(&topic, 0, "left open")).unwrap();
    let mut second = place.writer(&*log, "writer");
    let fenced =
        |result: Result<(), Fault>| assert!(matches!(result, Err(Fault::Fenced(_))), "{result:?}");
    fenced(first.commit(&Offsets::new()));
    write(&mut *second, &topic, 0, &["second"]);
    // another instance is another writer
    let mut member = place.member("writer", &[]);
    member.instance = "two".into();
    let mut third = log.open(member).unwrap();
    write(&mut *third, &topic, 0, &["third"]);
    write(&mut *second, &topic, 0, &["fourth"]);
    fenced(
        first
            .send(out(&topic, 0, "zombie"))
            .and_then(|()| first.commit(&Offsets::new())),
    );
    assert_eq!(
        values(&everything(&*log, &topic)),
        ["first", "second", "third", "fourth"]
    );
}

pub(super) fn a_member_is_fenced_by_its_successor(place: &Place<'_>) {
    let log = (place.open)();
    let topic = place.topic(&*log, "in", 1);
    let mut writer = place.writer(&*log, "writer");
    write(&mut *writer, &topic, 0, &["a"]);
    let mut first = place.reading(&*log, "task", &[&topic]);
    let read = records(&mut *first, 1);
    let mut second = place.reading(&*log, "task", &[&topic]);
    match first.commit(&next(&read)) {
        Err(Fault::Fenced(_)) => {}
        other => panic!("instead of fenced: {other:?}"),
    }
    assert!(
        second
            .committed(&[TopicPartition::new(topic.clone(), 0)])
            .unwrap()
            .is_empty()
    );
    let read = records(&mut *second, 1);
    second.commit(&next(&read)).unwrap();
}

pub(super) fn what_is_missing_is_said(place: &Place<'_>) {
    let log = (place.open)();
    let none = std::sync::Arc::from(format!("{}.none", place.prefix));
    let Err(Fault::Config(text)) = log.open(place.member("task", &[&none])).map(|_| ()) else {
        panic!("opened without its topic")
    };
    assert!(text.contains(&*none), "{text}");
    assert!(matches!(
        log.reader().unwrap().ends(&[&none]),
        Err(Fault::Config(_))
    ));
    let mut writer = place.writer(&*log, "writer");
    assert_eq!(
        writer.poll(std::time::Duration::ZERO, 1).unwrap(),
        crate::log::Poll::Idle
    );
    let offsets = Offsets::from([(TopicPartition::new(none, 0), 1)]);
    assert!(
        matches!(writer.commit(&offsets), Err(Fault::Config(_))),
        "a writer has no offsets"
    );
}
