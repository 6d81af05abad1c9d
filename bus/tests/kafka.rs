//! What only Kafka can do wrong: nobody answers, credentials are refused, a transaction takes too long, a broker dies.

use cairn_bus::kafka::{KafkaLog, KafkaSettings, Protocol};
use cairn_bus::testing::{self, Listener};
use cairn_bus::{
    Cleanup, Fault, Log, Membership, Offsets, Outgoing, Poll, Session, TopicPartition, TopicSpec,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn member(operator: &str, topics: &[&str]) -> Membership {
    Membership {
        operator: operator.into(),
        group: format!("cairn.{operator}"),
        instance: "one".into(),
        thread: 0,
        topics: topics.iter().map(|topic| topic.to_string()).collect(),
    }
}

fn out(topic: &str, value: &str) -> Outgoing {
    Outgoing {
        topic: topic.into(),
        partition: 0,
        key: Some(b"key".to_vec()),
        value: Some(value.into()),
        headers: vec![],
    }
}

#[test]
fn nobody_there_is_said_within_the_time_set() {
    let mut settings = KafkaSettings::new("localhost:9");
    settings.start_timeout_ms = 1_500;
    let begun = Instant::now();
    match KafkaLog::connect(settings).map(|_| ()) {
        Err(Fault::Unreachable(text)) => {
            assert!(
                text.contains("localhost:9") && text.contains("start_timeout_ms"),
                "{text}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_topic_grows_and_never_shrinks() {
    let Some(server) = testing::start_kafka(Listener::Plain) else {
        return;
    };
    let log = server.log();
    log.create(&[TopicSpec::new("grows", 2, Cleanup::Compact)])
        .unwrap();
    for _ in 0..2 {
        log.grow("grows", 5).unwrap();
    }
    log.grow("grows", 3).unwrap();
    assert_eq!(log.topics().unwrap()["grows"].partitions, 5);
    let mut writer = log.open(member("writer", &[])).unwrap();
    let mut last = out("grows", "value");
    last.partition = 4;
    writer.send(last).unwrap();
    writer.commit(&Offsets::new()).unwrap();
    assert!(matches!(log.grow("nothing", 3), Err(Fault::Config(_))));
}

#[test]
fn credentials_are_used_and_wrong_ones_refused() {
    let Some(server) = testing::start_kafka(Listener::SaslSsl) else {
        return;
    };
    let log = server.log();
    log.create(&[TopicSpec::new("in", 1, Cleanup::Compact)])
        .unwrap();
    let mut writer = log.open(member("writer", &[])).unwrap();
    writer.send(out("in", "value")).unwrap();
    writer.commit(&Offsets::new()).unwrap();
    let refused = |name: &str, value: &str, expected: &str| {
        let mut settings = server.settings();
        settings.extra.insert(name.into(), value.into());
        let begun = Instant::now();
        match KafkaLog::connect(settings).map(|_| ()) {
            Err(Fault::Config(text)) => {
                assert!(text.contains(expected), "{text}");
                eprintln!("{name}: {text}");
            }
            other => panic!("{name}: {other:?}"),
        }
        assert!(
            begun.elapsed() < Duration::from_secs(8),
            "{:?}",
            begun.elapsed()
        );
    };
    refused("sasl.password", "wrong", "sasl.password");
    // a certificate that nobody we know has signed
    refused("ssl.ca.location", "probe", "ssl.ca.location");
}

#[test]
fn a_transaction_that_takes_too_long_is_not_committed() {
    let Some(server) = testing::kafka() else {
        return;
    };
    let mut settings = server.settings();
    settings.transaction_timeout_ms = 1_000;
    let log = KafkaLog::connect(settings).unwrap();
    log.create(&[TopicSpec::new(
        "slow",
        1,
        Cleanup::Delete { retention_ms: -1 },
    )])
    .unwrap();
    let mut writer = log.open(member("slow", &[])).unwrap();
    writer.send(out("slow", "too late")).unwrap();
    let parts = [cairn_bus::TopicPartition::new("slow", 0)];
    // the broker gives up and writes its marker
    let deadline = Instant::now() + Duration::from_secs(30);
    while writer.last_stable(&parts).unwrap()[&parts[0]] < 2 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    let fault = writer.commit(&Offsets::new()).unwrap_err();
    assert!(
        matches!(&fault, Fault::Unknown(text) if text.contains("transaction_timeout_ms")),
        "{fault:?}"
    );
    eprintln!("a commit after the time-out: {fault}");
    let mut writer = log.open(member("slow", &[])).unwrap();
    writer.send(out("slow", "in time")).unwrap();
    writer.commit(&Offsets::new()).unwrap();
    let (records, _) = log
        .reader()
        .unwrap()
        .read(
            &Offsets::from([(parts[0].clone(), 0)]),
            Duration::from_secs(20),
            1,
        )
        .unwrap();
    assert_eq!(records[0].value.as_deref(), Some(&b"in time"[..]));
}

/// What retention takes while nobody reads, and while somebody does, is told with its offsets; then reading goes on.
#[test]
fn what_retention_has_taken_is_said() {
    let Some(server) = testing::kafka() else {
        return;
    };
    let log = server.log();
    let part = TopicPartition::new("brief", 0);
    let kept = Cleanup::Delete { retention_ms: -1 };
    log.create(&[TopicSpec::new("brief", 1, kept)]).unwrap();
    let mut writer = log.open(member("brief-writer", &[])).unwrap();
    let mut write = |values: &[&str]| {
        for value in values {
            writer.send(out("brief", value)).unwrap();
        }
        writer.commit(&Offsets::new()).unwrap();
    };
    // offsets 0 to 2 and a marker, 4 to 6 and a marker
    write(&["a", "b", "c"]);
    write(&["d", "e", "f"]);
    log.delete_before(&part, 4).unwrap();
    let mut session = log.open(member("brief", &["brief"])).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut said = Vec::new();
    let mut asked = false;
    while said.len() < 6 {
        assert!(Instant::now() < deadline, "{said:?}");
        match session.poll(Duration::from_millis(50), 10).unwrap() {
            Poll::Assigned(_) => session
                .assigned(&Offsets::from([(part.clone(), 1)]))
                .unwrap(),
            Poll::Revoked(parts) | Poll::Lost(parts) => session.revoked(&parts).unwrap(),
            Poll::Overtaken(gaps) => {
                said.extend(gaps.iter().map(|gap| format!("{}..{}", gap.from, gap.to)));
            }
            Poll::Records(records) => said.extend(records.to_records().into_iter().map(|record| {
                String::from_utf8(record.value.unwrap_or_default()).unwrap_or_default()
            })),
            // everything read: what comes next is gone before it can be
            Poll::Idle if said.len() == 4 && !asked => {
                asked = true;
                session.pause(std::slice::from_ref(&part)).unwrap();
                write(&["g"]);
                write(&["h"]);
                log.delete_before(&part, 10).unwrap();
                session.resume(std::slice::from_ref(&part)).unwrap();
            }
            Poll::Idle => {}
        }
    }
    // read up to 7 or past the marker to 8, as the client pleases
    assert!(["7..10", "8..10"].contains(&&*said[4]), "{said:?}");
    said.remove(4);
    assert_eq!(said, ["1..4", "d", "e", "f", "h"]);
    session.close(Duration::from_secs(30)).unwrap();
}

/// The broker's own protocol is incremental: while a second member joins and leaves, what the first one keeps goes on being
/// read and committed in transactions.
#[test]
fn a_rebalance_leaves_alone_what_stays() {
    let Some(server) = testing::kafka() else {
        return;
    };
    let mut settings = server.settings();
    settings.protocol = Protocol::Consumer;
    settings.static_membership = false;
    let log = KafkaLog::connect(settings).unwrap();
    let kept = Cleanup::Delete { retention_ms: -1 };
    log.create(&[
        TopicSpec::new("shared", 4, kept),
        TopicSpec::new("copies", 4, kept),
    ])
    .unwrap();
    let named = |instance: &str| Membership {
        instance: instance.into(),
        ..member("incremental", &["shared"])
    };
    /// Ends the writer, whatever becomes of the test.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    let is_over = || stop.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        let stop = Stop(&stop);
        scope.spawn(|| {
            let mut writer = log.open(member("incremental-writer", &[])).unwrap();
            let mut number = 0;
            while !is_over() {
                for partition in 0..4 {
                    let mut record = out("shared", &number.to_string());
                    record.partition = partition;
                    writer.send(record).unwrap();
                }
                number += 1;
                writer.commit(&Offsets::new()).unwrap();
            }
        });
        // what each partition of the first member was told, in order: + given, - taken, . a batch committed
        let mut story: Vec<String> = vec![String::new(); 4];
        let mut first = log.open(named("first")).unwrap();
        let mut second: Option<Box<dyn Session>> = None;
        let deadline = Instant::now() + Duration::from_secs(90);
        let mut lost = 0;
        while lost < 2 {
            assert!(Instant::now() < deadline, "{story:?}");
            match first.poll(Duration::from_millis(10), 100).unwrap() {
                Poll::Assigned(parts) => {
                    first.assigned(&Offsets::new()).unwrap();
                    parts
                        .iter()
                        .for_each(|p| story[p.partition as usize].push('+'));
                }
                Poll::Revoked(parts) | Poll::Lost(parts) => {
                    first.revoked(&parts).unwrap();
                    parts
                        .iter()
                        .for_each(|p| story[p.partition as usize].push('-'));
                }
                Poll::Overtaken(gaps) => panic!("nothing was deleted: {gaps:?}"),
                Poll::Records(records) => {
                    let mut next = Offsets::new();
                    for record in records.to_records() {
                        let mut copy = out("copies", "copy");
                        copy.partition = record.partition;
                        first.send(copy).unwrap();
                        next.insert(record.place(), record.offset + 1);
                    }
                    first.commit(&next).unwrap();
                    next.keys().for_each(|p| {
                        let story = &mut story[p.partition as usize];
                        if !story.ends_with("...") {
                            story.push('.');
                        }
                    });
                }
                Poll::Idle => {}
            }
            if let Some(second) = &mut second {
                match second.poll(Duration::ZERO, 100).unwrap() {
                    Poll::Assigned(_) => second.assigned(&Offsets::new()).unwrap(),
                    Poll::Revoked(parts) | Poll::Lost(parts) => second.revoked(&parts).unwrap(),
                    _ => {}
                }
            } else if story.iter().all(|story| story == "+...") {
                second = Some(log.open(named("second")).unwrap());
            }
            lost = story.iter().filter(|story| story.ends_with('-')).count();
        }
        // a few more batches of what stayed
        let begun = Instant::now();
        let mut after = [0; 4];
        while after.iter().filter(|n| **n > 3).count() < 2 {
            assert!(begun.elapsed() < Duration::from_secs(30), "{after:?}");
            match first.poll(Duration::from_millis(10), 100).unwrap() {
                Poll::Records(records) => {
                    let mut next = Offsets::new();
                    for record in records.to_records() {
                        after[record.partition as usize] += 1;
                        next.insert(record.place(), record.offset + 1);
                    }
                    first.commit(&next).unwrap();
                }
                Poll::Assigned(parts) => {
                    first.assigned(&Offsets::new()).unwrap();
                    assert!(parts.is_empty(), "{parts:?}");
                }
                Poll::Idle => {}
                other => panic!("{other:?}"),
            }
        }
        drop(stop);
        eprintln!("as the first member was told: {story:?}");
        let stayed = story.iter().filter(|story| *story == "+...").count();
        assert_eq!(stayed, 2, "two partitions were never taken: {story:?}");
        first.close(Duration::from_secs(30)).unwrap();
        if let Some(second) = second {
            second.close(Duration::from_secs(30)).unwrap();
        }
    });
}

#[test]
fn the_new_group_protocol_works_too() {
    let Some(server) = testing::kafka() else {
        return;
    };
    let mut settings = server.settings();
    settings.protocol = Protocol::Consumer;
    let log = KafkaLog::connect(settings).unwrap();
    log.create(&[TopicSpec::new(
        "newer",
        2,
        Cleanup::Delete { retention_ms: -1 },
    )])
    .unwrap();
    let mut writer = log.open(member("newer-writer", &[])).unwrap();
    writer.send(out("newer", "value")).unwrap();
    writer.commit(&Offsets::new()).unwrap();
    let mut session = log.open(member("newer", &["newer"])).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(Instant::now() < deadline);
        match session.poll(Duration::from_millis(50), 10).unwrap() {
            Poll::Assigned(_) => session.assigned(&Offsets::new()).unwrap(),
            Poll::Records(records) => {
                session
                    .commit(&Offsets::from([(records.to_records()[0].place(), 1)]))
                    .unwrap();
                break;
            }
            Poll::Revoked(parts) | Poll::Lost(parts) => session.revoked(&parts).unwrap(),
            Poll::Overtaken(gaps) => panic!("nothing was deleted: {gaps:?}"),
            Poll::Idle => {}
        }
    }
    session.close(Duration::from_secs(30)).unwrap();
}

#[test]
fn a_broker_that_dies_leaves_the_outcome_unknown() {
    let Some(mut server) = testing::start_kafka(Listener::Plain) else {
        return;
    };
    let mut settings = server.settings();
    settings.transaction_timeout_ms = 3_000;
    settings.call_timeout_ms = 3_000;
    let log = KafkaLog::connect(settings).unwrap();
    log.create(&[TopicSpec::new("in", 1, Cleanup::Compact)])
        .unwrap();
    let mut writer = log.open(member("writer", &[])).unwrap();
    writer.send(out("in", "kept")).unwrap();
    writer.commit(&Offsets::new()).unwrap();
    server.kill();
    writer.send(out("in", "who knows")).unwrap();
    let begun = Instant::now();
    let fault = writer.commit(&Offsets::new()).unwrap_err();
    assert!(matches!(fault, Fault::Unknown(_)), "{fault:?}");
    eprintln!(
        "a commit without a broker, after {} ms: {fault}",
        begun.elapsed().as_millis()
    );
    // and again the same, without a try
    assert_eq!(writer.commit(&Offsets::new()).unwrap_err(), fault);
    let begun = Instant::now();
    assert!(matches!(
        log.open(member("writer", &[])).map(|_| ()),
        Err(Fault::Unreachable(_))
    ));
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

/// librdkafka repeats a commit whose answer it has waited for too long, and says that all is well; the first copy then comes into the
/// next transaction. (Without a new producer `two` is committed here although nobody has asked for it: seen on Kafka 4.3.)
#[test]
fn a_commit_that_was_repeated_is_the_last_of_its_producer() {
    let Some(server) = testing::start_kafka(Listener::Plain) else {
        return;
    };
    let (relay, mut settings) = server.relay();
    settings
        .extra
        .insert("socket.timeout.ms".into(), "1500".into());
    let log = KafkaLog::connect(settings).unwrap();
    log.create(&[TopicSpec::new("in", 1, Cleanup::Compact)])
        .unwrap();
    let mut writer = log.open(member("writer", &[])).unwrap();
    writer.send(out("in", "one")).unwrap();
    relay.hold(testing::END_TXN);
    // held back, repeated after the time-out on another connection, and committed
    writer.commit(&Offsets::new()).unwrap();
    assert!(relay.holds());
    let fault = writer.send(out("in", "two")).unwrap_err();
    assert!(
        matches!(&fault, Fault::Unknown(text) if text.contains("repeated")),
        "{fault:?}"
    );
    let mut writer = log.open(member("writer", &[])).unwrap();
    writer.send(out("in", "two")).unwrap();
    while !writer.is_delivered().unwrap() {
        std::thread::sleep(Duration::from_millis(1));
    }
    relay.release();
    // what is read now was committed, and `two` was not
    let parts = [cairn_bus::TopicPartition::new("in", 0)];
    let mut third = log
        .open(Membership {
            instance: "two".into(),
            ..member("writer", &[])
        })
        .unwrap();
    third
        .send(Outgoing {
            key: Some(b"other".to_vec()),
            ..out("in", "three")
        })
        .unwrap();
    third.commit(&Offsets::new()).unwrap();
    writer.abort().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while writer.last_stable(&parts).unwrap()[&parts[0]] < 6 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    let (records, _) = log
        .reader()
        .unwrap()
        .read(
            &Offsets::from([(parts[0].clone(), 0)]),
            Duration::from_secs(20),
            10,
        )
        .unwrap();
    let values: Vec<_> = records
        .iter()
        .map(|record| record.value.as_deref().unwrap_or_default())
        .collect();
    assert_eq!(values, [&b"one"[..], &b"three"[..]]);
}
