//! Rough figures, printed and not judged: `cargo test -p cairn-bus --test figures -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, reason = "figures")]

use cairn_bus::embedded::EmbeddedLog;
use cairn_bus::{
    Cleanup, Log, Membership, Offsets, Outgoing, Poll, TopicPartition, TopicSpec, testing,
};
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

fn measure(log: &dyn Log) {
    log.create(&[TopicSpec::new(
        "figures",
        4,
        Cleanup::Delete { retention_ms: -1 },
    )])
    .unwrap();
    let mut writer = log.open(member("figures-writer", &[])).unwrap();
    let value = |index: i32| {
        format!(
            "{{\"run_id\":\"run-7\",\"step\":{index},\"loss\":2.{index:06},\"tokens_per_second\":1234.5,\"rank\":0}}"
        )
    };
    let out = |index: i32| Outgoing {
        topic: "figures".into(),
        partition: index % 4,
        key: Some(b"tenant/run-7".to_vec()),
        value: Some(value(index).into()),
        headers: vec![],
    };
    let begun = Instant::now();
    for index in 0..100 {
        writer.send(out(index)).unwrap();
        writer.commit(&Offsets::new()).unwrap();
    }
    println!(
        "{}: a commit of one record: {:.2} ms",
        log.kind(),
        begun.elapsed().as_secs_f64() * 10.0
    );
    let count = 200_000;
    let begun = Instant::now();
    for index in 0..count {
        writer.send(out(index)).unwrap();
        if index % 10_000 == 9_999 {
            writer.commit(&Offsets::new()).unwrap();
        }
    }
    let rate = f64::from(count) / begun.elapsed().as_secs_f64();
    println!(
        "{}: written in commits of 10,000: {rate:.0} records/s",
        log.kind()
    );
    let mut session = log.open(member("figures-reader", &["figures"])).unwrap();
    let begun = Instant::now();
    while !matches!(
        session.poll(Duration::from_millis(50), 1).unwrap(),
        Poll::Assigned(_)
    ) {
        assert!(begun.elapsed() < Duration::from_secs(60), "no assignment");
    }
    session.assigned(&Offsets::new()).unwrap();
    let begun = Instant::now();
    let mut read = 0;
    while read < count + 100 {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{read} records, {:?}",
            session.position()
        );
        if let Poll::Records(records) = session.poll(Duration::from_millis(50), 10_000).unwrap() {
            read += records.len() as i32;
        }
    }
    println!(
        "{}: read: {:.0} records/s",
        log.kind(),
        f64::from(read) / begun.elapsed().as_secs_f64()
    );
    let begun = Instant::now();
    let mut restored = 0;
    session
        .read_to_end(&TopicPartition::new("figures", 0), &mut |_| restored += 1)
        .unwrap();
    println!(
        "{}: restored: {:.0} records/s",
        log.kind(),
        f64::from(restored) / begun.elapsed().as_secs_f64()
    );
}

#[test]
#[ignore = "figures, not a test"]
fn embedded() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path()).unwrap();
    measure(&log);
    let size = std::fs::metadata(log.path()).unwrap().len();
    println!("embedded: {} bytes a record on disk", size / 200_100);
}

#[test]
#[ignore = "figures, not a test"]
fn kafka() {
    let Some(server) = testing::kafka() else {
        return;
    };
    measure(&server.log());
}
