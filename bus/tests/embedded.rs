//! What only the embedded log promises: retention and compaction on demand, passes, owners, and clear words when the disk or
//! the file is not as it should be.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use cairn_bus::embedded::{Durability, EmbeddedLog, EmbeddedSettings};
use cairn_bus::{
    Cleanup, Fault, Gap, Log, Lookup, Membership, Offsets, Outgoing, Poll, SchemaRegistry, Session,
    TopicPartition, TopicSpec,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

fn who(operator: &str, topics: &[&str]) -> Membership {
    Membership {
        operator: operator.into(),
        group: format!("cairn.{operator}"),
        instance: "one".into(),
        thread: 0,
        topics: topics.iter().map(|topic| topic.to_string()).collect(),
    }
}

fn out(topic: &str, key: &str, value: Option<&str>) -> Outgoing {
    Outgoing {
        topic: topic.into(),
        partition: 0,
        key: Some(key.into()),
        value: value.map(|value| value.into()),
        headers: vec![],
    }
}

/// A log whose time the test sets.
fn timed(folder: &Path, now: &Arc<AtomicI64>) -> EmbeddedLog {
    let now = now.clone();
    let mut settings = EmbeddedSettings::new(folder);
    settings.clock = Arc::new(move || now.load(Ordering::Relaxed));
    settings.compact_after_bytes = 0;
    EmbeddedLog::with(settings).unwrap()
}

fn keys_and_values(log: &dyn Log, topic: &str) -> Vec<(i64, String, Option<String>)> {
    let mut reader = log.reader().unwrap();
    let mut position: Offsets = reader
        .ends(&[topic])
        .unwrap()
        .into_iter()
        .map(|(part, (start, _))| (part, start))
        .collect();
    let end = reader
        .ends(&[topic])
        .unwrap()
        .into_values()
        .next()
        .unwrap()
        .1;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let mut found = Vec::new();
    while position.values().any(|next| *next < end) {
        let (records, next) = reader.read(&position, Duration::ZERO, 7).unwrap();
        found.extend(
            records
                .into_iter()
                .map(|r| (r.offset, text(r.key.unwrap()), r.value.map(text))),
        );
        position = next;
    }
    found
}

fn maintain(log: &dyn Log) {
    while log.maintain().unwrap() {}
}

#[test]
fn compaction_keeps_the_latest_of_each_key_and_tombstones_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(1_000_000));
    let log = timed(folder.path(), &now);
    let mut spec = TopicSpec::new("table", 1, Cleanup::Compact);
    spec.delete_retention_ms = 1_000;
    log.create(&[spec]).unwrap();
    let mut writer = log.open(who("writer", &[])).unwrap();
    for round in 0..10 {
        for key in ["a", "b", "c"] {
            writer
                .send(out("table", key, Some(&format!("{key}{round}"))))
                .unwrap();
        }
        writer.commit(&Offsets::new()).unwrap();
    }
    writer.send(out("table", "b", None)).unwrap();
    writer.commit(&Offsets::new()).unwrap();
    maintain(&log);
    let some = |text: &str| Some(text.to_string());
    let expected = vec![
        (27, "a".into(), some("a9")),
        (29, "c".into(), some("c9")),
        (30, "b".into(), None),
    ];
    assert_eq!(keys_and_values(&log, "table"), expected);
    // the same from elsewhere, and by the call that restores
    let mut session = log.open(who("task", &["table"])).unwrap();
    let mut restored = 0;
    let end = session
        .read_to_end(&TopicPartition::new("table", 0), &mut |_| restored += 1)
        .unwrap();
    assert_eq!((restored, end), (3, 31));
    // later the tombstone goes, and the end stays
    now.fetch_add(2_000, Ordering::Relaxed);
    maintain(&log);
    assert_eq!(keys_and_values(&log, "table").len(), 2);
    let mut reader = log.reader().unwrap();
    assert_eq!(
        reader.ends(&["table"]).unwrap().into_values().next(),
        Some((0, 31))
    );
    // a position before the end passes what was removed
    session.poll(Duration::ZERO, 1).unwrap();
    session
        .assigned(&Offsets::from([(TopicPartition::new("table", 0), 30)]))
        .unwrap();
    assert_eq!(session.poll(Duration::ZERO, 1).unwrap(), Poll::Idle);
    assert_eq!(session.position().unwrap().into_values().next(), Some(31));
}

#[test]
fn compaction_leaves_alone_what_is_younger_than_the_topics_lag() {
    let folder = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(1_000_000));
    let clock = now.clone();
    let mut settings = EmbeddedSettings::new(folder.path());
    settings.clock = Arc::new(move || clock.load(Ordering::Relaxed));
    settings.compact_after_bytes = 0;
    settings.compaction_lag_ms = [("inputs".to_owned(), 10_000)].into();
    let log = EmbeddedLog::with(settings).unwrap();
    let spec = |name: &str| {
        let mut spec = TopicSpec::new(name, 1, Cleanup::Compact);
        spec.delete_retention_ms = 1_000;
        spec
    };
    log.create(&[spec("inputs"), spec("others")]).unwrap();
    let mut writer = log.open(who("writer", &[])).unwrap();
    let mut write = |topic: &str, value| {
        writer.send(out(topic, "a", value)).unwrap();
        writer.commit(&Offsets::new()).unwrap();
    };
    for topic in ["inputs", "others"] {
        write(topic, Some("1"));
        write(topic, Some("2"));
        write(topic, None);
    }
    now.fetch_add(5_000, Ordering::Relaxed);
    maintain(&log);
    let some = |text: &str| Some(text.to_string());
    let kept = vec![
        (0, "a".into(), some("1")),
        (1, "a".into(), some("2")),
        (2, "a".into(), None),
    ];
    assert_eq!(keys_and_values(&log, "inputs"), kept);
    assert_eq!(keys_and_values(&log, "others"), []);
    // older than its lag it is compacted like any other
    now.fetch_add(10_000, Ordering::Relaxed);
    write("inputs", Some("3"));
    maintain(&log);
    let kept = vec![(3, "a".into(), some("3"))];
    assert_eq!(keys_and_values(&log, "inputs"), kept);
}

#[test]
fn a_topic_grows_and_never_shrinks() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path()).unwrap();
    log.create(&[TopicSpec::new("grows", 2, Cleanup::Compact)])
        .unwrap();
    let mut writer = log.open(who("writer", &[])).unwrap();
    writer.send(out("grows", "a", Some("before"))).unwrap();
    writer.commit(&Offsets::new()).unwrap();
    for _ in 0..2 {
        log.grow("grows", 5).unwrap();
        assert_eq!(log.topics().unwrap()["grows"].partitions, 5);
    }
    log.grow("grows", 3).unwrap();
    assert_eq!(log.topics().unwrap()["grows"].partitions, 5);
    assert!(matches!(log.grow("nothing", 3), Err(Fault::Config(_))));
    let mut writer = log.open(who("writer", &[])).unwrap();
    let mut last = out("grows", "a", Some("after"));
    last.partition = 4;
    writer.send(last).unwrap();
    writer.commit(&Offsets::new()).unwrap();
    let ends = log.reader().unwrap().ends(&["grows"]).unwrap();
    let ends: Vec<_> = ends.into_values().collect();
    assert_eq!(ends, [(0, 1), (0, 0), (0, 0), (0, 0), (0, 1)]);
}

#[test]
fn compaction_goes_through_many_batches() {
    let folder = tempfile::tempdir().unwrap();
    let log = timed(folder.path(), &Arc::new(AtomicI64::new(1_000_000)));
    log.create(&[TopicSpec::new("table", 1, Cleanup::Compact)])
        .unwrap();
    let mut writer = log.open(who("writer", &[])).unwrap();
    let value = "x".repeat(3_000);
    for round in 0..40 {
        for key in 0..100 {
            // each tenth key only in the first round
            if round == 0 || key % 10 != 0 {
                writer
                    .send(out(
                        "table",
                        &key.to_string(),
                        Some(&format!("{round} {value}")),
                    ))
                    .unwrap();
            }
        }
        writer.commit(&Offsets::new()).unwrap();
    }
    let size = || std::fs::metadata(log.path()).unwrap().len();
    maintain(&log);
    let mut left = keys_and_values(&log, "table");
    assert!(left.is_sorted_by_key(|(offset, ..)| *offset));
    left.sort_by_key(|(_, key, _)| key.parse::<i32>().unwrap());
    assert_eq!(left.len(), 100);
    for (index, (_, key, text)) in left.iter().enumerate() {
        let round = if index % 10 == 0 { 0 } else { 39 };
        assert_eq!(
            (key, text.as_ref().unwrap()),
            (&index.to_string(), &format!("{round} {value}"))
        );
    }
    assert!(size() < 4 << 20, "{} bytes", size());
}

#[test]
fn retention_deletes_what_is_old_and_moves_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(1_000_000));
    let log = timed(folder.path(), &now);
    log.create(&[TopicSpec::new(
        "days",
        1,
        Cleanup::Delete {
            retention_ms: 1_000,
        },
    )])
    .unwrap();
    log.create(&[TopicSpec::new(
        "ever",
        1,
        Cleanup::Delete { retention_ms: -1 },
    )])
    .unwrap();
    let mut writer = log.open(who("writer", &[])).unwrap();
    for value in ["old", "young"] {
        writer.send(out("days", "key", Some(value))).unwrap();
        writer.send(out("ever", "key", Some(value))).unwrap();
        writer.commit(&Offsets::new()).unwrap();
        now.fetch_add(900, Ordering::Relaxed);
    }
    maintain(&log);
    assert_eq!(
        keys_and_values(&log, "days"),
        [(1, "key".to_string(), Some("young".to_string()))]
    );
    assert_eq!(keys_and_values(&log, "ever").len(), 2);
    // who was to read what is gone is told before anything else
    let mut late = log.open(who("late", &["days", "ever"])).unwrap();
    late.poll(Duration::ZERO, 9).unwrap();
    let days = TopicPartition::new("days", 0);
    let from = Offsets::from([(days.clone(), 0), (TopicPartition::new("ever", 0), 0)]);
    late.assigned(&from).unwrap();
    let gap = Gap {
        part: days,
        from: 0,
        to: 1,
    };
    assert_eq!(
        late.poll(Duration::ZERO, 9).unwrap(),
        Poll::Overtaken(vec![gap])
    );
    let Poll::Records(rest) = late.poll(Duration::ZERO, 9).unwrap() else {
        panic!("no records")
    };
    assert_eq!(rest.len(), 3, "one of days, two of ever");
    drop(late);
    now.fetch_add(9_000, Ordering::Relaxed);
    maintain(&log);
    assert_eq!(
        log.reader()
            .unwrap()
            .ends(&["days"])
            .unwrap()
            .into_values()
            .next(),
        Some((2, 2))
    );
    // time that goes back does not show
    now.store(5, Ordering::Relaxed);
    writer.send(out("ever", "key", Some("later"))).unwrap();
    writer.commit(&Offsets::new()).unwrap();
    let part = TopicPartition::new("ever", 0);
    let (records, _) = log
        .reader()
        .unwrap()
        .read(&Offsets::from([(part, 0)]), Duration::ZERO, 9)
        .unwrap();
    assert!(
        records.is_sorted_by_key(|record| record.append_time_ms),
        "{records:?}"
    );
}

#[test]
fn a_second_process_is_told_who_holds_the_group() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path()).unwrap();
    log.create(&[TopicSpec::new("in", 1, Cleanup::Compact)])
        .unwrap();
    let holder = log.open(who("runs", &["in"])).unwrap();
    let other = EmbeddedLog::open(folder.path()).unwrap();
    let Err(Fault::Fenced(text)) = other.open(who("runs", &["in"])).map(|_| ()) else {
        panic!("both hold it")
    };
    assert!(
        text.contains(&format!("held by pid {}", std::process::id())) && text.contains("since 20"),
        "{text}"
    );
    // the holder is not disturbed, writers are not kept out, other groups neither
    other.open(who("ingest", &[])).unwrap();
    other.open(who("refit", &["in"])).unwrap();
    drop(holder);
    other.open(who("runs", &["in"])).unwrap();
}

#[test]
fn a_pass_is_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path()).unwrap();
    let elsewhere = EmbeddedLog::open(folder.path()).unwrap();
    log.create(&[TopicSpec::new(
        "in",
        1,
        Cleanup::Delete { retention_ms: -1 },
    )])
    .unwrap();
    let mut session = log.open(who("runs", &["in"])).unwrap();
    session.poll(Duration::ZERO, 1).unwrap();
    session.assigned(&Offsets::new()).unwrap();
    let mut writer = log.open(who("writer", &[])).unwrap();
    log.pass_begin().unwrap();
    writer.send(out("in", "key", Some("value"))).unwrap();
    writer.commit(&Offsets::new()).unwrap();
    let Poll::Records(records) = session.poll(Duration::ZERO, 1).unwrap() else {
        panic!("nothing was read")
    };
    session
        .commit(&Offsets::from([(records.to_records()[0].place(), 1)]))
        .unwrap();
    let inside = log.open(who("writer", &[])).map(|_| ()).unwrap_err();
    assert!(matches!(&inside, Fault::Config(text) if text.contains("inside a pass")));
    // elsewhere nothing is seen before the end
    assert_eq!(keys_and_values(&elsewhere, "in").len(), 0);
    log.pass_end().unwrap();
    assert_eq!(keys_and_values(&log, "in").len(), 1);
}

/// A commit of another thread that went into the pass would be lost with it: after a `kill -9`, long after its caller was told.
#[test]
fn what_another_thread_has_committed_is_there_whatever_becomes_of_the_pass() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path()).unwrap();
    log.create(&[TopicSpec::new(
        "in",
        1,
        Cleanup::Delete { retention_ms: -1 },
    )])
    .unwrap();
    let elsewhere = EmbeddedLog::open(folder.path()).unwrap();
    std::thread::scope(|scope| {
        let gateway = scope.spawn(|| {
            for number in 1..=50 {
                // opened anew each time, since that too is refused inside a pass
                let mut gateway = log.open(who("gateway", &[])).unwrap();
                gateway
                    .send(out("in", &number.to_string(), Some("x")))
                    .unwrap();
                gateway.commit(&Offsets::new()).unwrap();
                assert_eq!(keys_and_values(&elsewhere, "in").len(), number);
            }
        });
        while !gateway.is_finished() {
            log.pass_begin().unwrap();
            std::thread::sleep(Duration::from_millis(2));
            log.pass_end().unwrap();
        }
    });
}

#[test]
fn a_file_that_is_not_ours_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log.sqlite");
    let refused = |expected: &str| {
        let Err(Fault::Config(text)) = EmbeddedLog::open(folder.path()).map(|_| ()) else {
            panic!("opened")
        };
        assert!(
            text.contains(expected) && text.contains("log.sqlite"),
            "{text}"
        );
    };
    std::fs::write(&file, "this is text, and longer than a SQLite header would be if it were one, so that it is looked at").unwrap();
    refused("no database");
    std::fs::remove_file(&file).unwrap();
    rusqlite::Connection::open(&file)
        .unwrap()
        .execute_batch("CREATE TABLE other (x)")
        .unwrap();
    refused("another program");
    std::fs::remove_file(&file).unwrap();
    drop(EmbeddedLog::open(folder.path()).unwrap());
    rusqlite::Connection::open(&file)
        .unwrap()
        .execute_batch("PRAGMA user_version=9")
        .unwrap();
    refused("newer version");
}

#[test]
fn a_full_disk_is_said_and_loses_nothing_that_was_committed() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path()).unwrap();
    log.create(&[TopicSpec::new(
        "in",
        1,
        Cleanup::Delete { retention_ms: -1 },
    )])
    .unwrap();
    let mut writer = log.open(who("writer", &[])).unwrap();
    writer.send(out("in", "key", Some("kept"))).unwrap();
    writer.commit(&Offsets::new()).unwrap();
    // SQLite's own limit gives the same error as a disk
    let limited = EmbeddedLog::with(EmbeddedSettings {
        max_file_bytes: Some(300_000),
        ..EmbeddedSettings::new(folder.path())
    })
    .unwrap();
    let fill = |session: &mut dyn Session| {
        // noise, so that it stays large
        let mut state = 88_172_645_463_325_252_u64;
        for _ in 0..100 {
            let noise: Vec<u8> = (0..10_000)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    (state >> 24) as u8
                })
                .collect();
            session
                .send(Outgoing {
                    value: Some(noise),
                    ..out("in", "key", None)
                })
                .unwrap();
        }
        session.commit(&Offsets::new())
    };
    let mut alone = limited.open(who("alone", &[])).unwrap();
    let mut other = limited.open(who("other", &[])).unwrap();
    let is_full = |result: Result<(), Fault>| match result {
        Err(Fault::Config(text)) => assert!(
            text.contains("no space left") && text.contains("log.sqlite"),
            "{text}"
        ),
        other => panic!("instead of a full disk: {other:?}"),
    };
    is_full(fill(&mut *alone));
    assert_eq!(keys_and_values(&log, "in").len(), 1);
    // in a pass: what another session did before is undone, and both are told
    limited.pass_begin().unwrap();
    other.send(out("in", "key", Some("undone"))).unwrap();
    other.commit(&Offsets::new()).unwrap();
    is_full(fill(&mut *alone));
    let ended = limited.pass_end();
    if ended.is_err() {
        assert!(matches!(ended, Err(Fault::Abort(_))), "{ended:?}");
        assert!(matches!(
            other.commit(&Offsets::new()),
            Err(Fault::Abort(_))
        ));
        assert_eq!(keys_and_values(&log, "in").len(), 1);
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_said() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("data");
    std::fs::write(&inner, "a file, not a folder").unwrap();
    let Err(Fault::Config(text)) = EmbeddedLog::open(&inner).map(|_| ()) else {
        panic!("opened")
    };
    assert!(text.contains("data"), "{text}");
    std::fs::remove_file(&inner).unwrap();
    drop(EmbeddedLog::open(&inner).unwrap());
    std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o555)).unwrap();
    std::fs::set_permissions(
        inner.join("log.sqlite"),
        std::fs::Permissions::from_mode(0o444),
    )
    .unwrap();
    match EmbeddedLog::open(&inner) {
        Err(Fault::Config(text)) => assert!(
            text.contains("log.sqlite") && text.contains("writable"),
            "{text}"
        ),
        Err(other) => panic!("{other:?}"),
        // root may write everything
        Ok(_) => eprintln!("skipped: this user may write everything"),
    }
    std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn schemas_lie_in_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let first = r#"{"type":"record","name":"A","fields":[{"name":"x","type":"long"}]}"#;
    let wider = r#"{"type":"record","name":"A","fields":[{"name":"x","type":"long"},{"name":"y","type":["null","long"],"default":null}]}"#;
    let other = r#"{"type":"record","name":"A","fields":[{"name":"x","type":"string"}]}"#;
    let log = EmbeddedLog::open(folder.path()).unwrap();
    let id = log.id_of("in-value", first).unwrap();
    assert_eq!(
        log.id_of("in-value", &first.replace(':', " : ")).unwrap(),
        id
    );
    assert_eq!(log.id_of("other-value", first).unwrap(), id);
    let second = log.id_of("in-value", wider).unwrap();
    assert_ne!(second, id);
    assert!(matches!(
        log.id_of("in-value", other),
        Err(Fault::Config(_))
    ));
    let again = EmbeddedLog::open(folder.path()).unwrap();
    assert_eq!(
        again.schema_of(second).unwrap(),
        Lookup::Schema(wider.into())
    );
    assert_eq!(again.schema_of(99).unwrap(), Lookup::Denied);
}

#[test]
fn power_loss_is_a_setting() {
    let folder = tempfile::tempdir().unwrap();
    let settings = EmbeddedSettings {
        durability: Durability::PowerLoss,
        ..EmbeddedSettings::new(folder.path())
    };
    let log = EmbeddedLog::with(settings).unwrap();
    log.create(&[TopicSpec::new("in", 1, Cleanup::Compact)])
        .unwrap();
    let mut writer = log.open(who("writer", &[])).unwrap();
    writer.send(out("in", "key", Some("value"))).unwrap();
    writer.commit(&Offsets::new()).unwrap();
}
