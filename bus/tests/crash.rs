//! Kills a process between any two calls, and at any moment, and looks whether something was lost or done twice.
//!
//! The child is this test binary again (`CAIRN_CHILD` is set): a task that copies an input, numbers what it copies, and keeps
//! the number in a changelog. So each output must be there once, in order, with the right number: outputs, offsets and state
//! agree or they do not.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use cairn_bus::embedded::EmbeddedLog;
use cairn_bus::kafka::{KafkaLog, KafkaSettings};
use cairn_bus::{
    Cleanup, Fault, Log, Membership, Offsets, Outgoing, Poll, TopicPartition, TopicSpec, testing,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Where the log is: `embedded:DIR` or `kafka:SERVERS`.
fn open(place: &str) -> Arc<dyn Log> {
    match place.split_once(':').unwrap() {
        ("embedded", folder) => Arc::new(EmbeddedLog::open(folder).unwrap()),
        (_, servers) => {
            let mut settings = KafkaSettings::new(servers);
            settings.session_timeout_ms = 6_000;
            settings.replication_factor = 1;
            Arc::new(KafkaLog::connect(settings).unwrap())
        }
    }
}

fn member(operator: &str, topics: &[&str]) -> Membership {
    Membership {
        operator: operator.into(),
        group: format!("cairn.{operator}"),
        instance: "one".into(),
        thread: 0,
        topics: topics.iter().map(|topic| topic.to_string()).collect(),
    }
}

fn out(topic: &str, key: &str, value: String) -> Outgoing {
    Outgoing {
        topic: topic.into(),
        partition: 0,
        key: Some(key.into()),
        value: Some(value.into()),
        headers: vec![],
    }
}

/// Counts calls; at the chosen one it says so and waits to be killed.
struct Steps {
    count: u32,
    stop_at: u32,
}

impl Steps {
    fn next(&mut self) {
        self.count += 1;
        if self.count == self.stop_at {
            println!("\nat step {}", self.count);
            std::io::stdout().flush().unwrap();
            let _ = std::io::stdin().read(&mut [0]);
        }
    }
}

/// The child: copies until nothing is left.
#[test]
fn child() {
    let Ok(place) = std::env::var("CAIRN_CHILD") else {
        return;
    };
    let stop_at = std::env::var("CAIRN_STOP_AT").unwrap().parse().unwrap();
    let mut steps = Steps { count: 0, stop_at };
    let log = open(&place);
    steps.next();
    let mut session = log.open(member("copy", &["in"])).unwrap();
    let input = TopicPartition::new("in", 0);
    let deadline = Instant::now() + PATIENCE;
    loop {
        steps.next();
        match session.poll(Duration::from_millis(20), 2).unwrap() {
            Poll::Assigned(_) => break,
            other => assert!(
                other == Poll::Idle && Instant::now() < deadline,
                "{other:?}"
            ),
        }
    }
    steps.next();
    let start = session.committed(std::slice::from_ref(&input)).unwrap();
    steps.next();
    let mut number = 0_u64;
    let mut restore = |record: cairn_bus::Record| {
        number = String::from_utf8(record.value.unwrap())
            .unwrap()
            .parse()
            .unwrap();
    };
    session
        .read_to_end(&TopicPartition::new("changelog", 0), &mut restore)
        .unwrap();
    steps.next();
    session.assigned(&start).unwrap();
    loop {
        steps.next();
        log.pass_begin().unwrap();
        steps.next();
        match session.poll(Duration::from_millis(20), 2).unwrap() {
            Poll::Records(records) => {
                let records = records.to_records();
                for record in &records {
                    number += 1;
                    steps.next();
                    let value = String::from_utf8(record.value.clone().unwrap()).unwrap();
                    session
                        .send(out("out", "key", format!("{value}:{number}")))
                        .unwrap();
                }
                steps.next();
                session
                    .send(out("changelog", "number", number.to_string()))
                    .unwrap();
                steps.next();
                session
                    .commit(&Offsets::from([(
                        input.clone(),
                        records.last().unwrap().offset + 1,
                    )]))
                    .unwrap();
                steps.next();
                log.pass_end().unwrap();
            }
            Poll::Idle => {
                log.pass_end().unwrap();
                let ends = session.last_stable(std::slice::from_ref(&input)).unwrap();
                if session.position().unwrap() == ends {
                    break;
                }
                assert!(Instant::now() < deadline);
            }
            other => panic!("{other:?}"),
        }
    }
    steps.next();
    session.close(PATIENCE).unwrap();
}

fn start(place: &str, stop_at: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env("CAIRN_CHILD", place)
        .env("CAIRN_STOP_AT", stop_at.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs a child up to a step, or to its end; true if it reached the step and was killed there.
fn run_to(place: &str, stop_at: u32) -> bool {
    let mut child = start(place, stop_at);
    let output = BufReader::new(child.stdout.take().unwrap());
    let is_there = output
        .lines()
        .map_while(Result::ok)
        .any(|line| line.starts_with("at step"));
    if is_there {
        child.kill().unwrap();
        child.wait().unwrap();
        return true;
    }
    let ended = child.wait_with_output().unwrap();
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    false
}

fn check(place: &str, moments_ms: &[u64]) {
    let log = open(place);
    let kept = Cleanup::Delete { retention_ms: -1 };
    log.create(&[
        TopicSpec::new("in", 1, kept),
        TopicSpec::new("out", 1, kept),
        TopicSpec::new("changelog", 1, Cleanup::Compact),
    ])
    .unwrap();
    let mut writer = log.open(member("writer", &[])).unwrap();
    let mut written = 0_u64;
    let mut write = |count: u64| {
        for _ in 0..count {
            writer.send(out("in", "key", written.to_string())).unwrap();
            written += 1;
        }
        writer.commit(&Offsets::new()).unwrap();
        written
    };
    // between any two calls
    let mut slowest = Vec::new();
    let mut stop_at = 1;
    loop {
        write(3);
        let begun = Instant::now();
        let is_killed = run_to(place, stop_at);
        slowest.push(begun.elapsed().as_millis());
        if !is_killed {
            break;
        }
        stop_at += 1;
    }
    eprintln!("killed at {} steps", stop_at - 1);
    assert!(
        stop_at > 12,
        "the child ended before it had committed twice"
    );
    // at any moment
    for &moment_ms in moments_ms {
        write(40);
        let mut child = start(place, 0);
        std::thread::sleep(Duration::from_millis(moment_ms));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let begun = Instant::now();
    assert!(!run_to(place, 0));
    eprintln!(
        "the last one did the rest in {} ms",
        begun.elapsed().as_millis()
    );
    slowest.sort();
    eprintln!("from start to step, ms: {slowest:?}");
    let mut reader = log.reader().unwrap();
    let (part, (_, end)) = reader.ends(&["out"]).unwrap().pop_first().unwrap();
    let mut position = Offsets::from([(part.clone(), 0)]);
    let mut seen = Vec::new();
    while position[&part] < end {
        let (records, next) = reader
            .read(&position, Duration::from_millis(100), 1_000)
            .unwrap();
        seen.extend(
            records
                .into_iter()
                .map(|record| String::from_utf8(record.value.unwrap()).unwrap()),
        );
        position = next;
    }
    let total = write(0);
    let expected: Vec<_> = (0..total)
        .map(|index| format!("{index}:{}", index + 1))
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn embedded() {
    let folder = tempfile::tempdir().unwrap();
    let moments: Vec<u64> = (0..30).map(|index| 5 + index * 3).collect();
    check(&format!("embedded:{}", folder.path().display()), &moments);
}

#[test]
fn kafka() {
    let Some(server) = testing::kafka() else {
        return;
    };
    let moments: Vec<u64> = (0..12).map(|index| 100 + index * 90).collect();
    check(&format!("kafka:{}", server.bootstrap_servers()), &moments);
}

/// The other child: writes numbered records in small commits.
#[test]
fn writing_child() {
    let Ok(place) = std::env::var("CAIRN_WRITER") else {
        return;
    };
    let number = std::env::var("CAIRN_NUMBER").unwrap();
    let log = open(&place);
    let mut writer = log.open(member(&format!("writer-{number}"), &[])).unwrap();
    for index in 0..100 {
        for half in 0..2 {
            writer
                .send(out("in", "key", format!("{number}:{}", index * 2 + half)))
                .unwrap();
        }
        match writer.commit(&Offsets::new()) {
            Ok(()) => {}
            Err(Fault::Abort(text)) => panic!("waited too long for the others: {text}"),
            Err(fault) => panic!("{fault}"),
        }
    }
}

#[test]
fn several_processes_write_one_file_while_passes_run() {
    let folder = tempfile::tempdir().unwrap();
    let place = format!("embedded:{}", folder.path().display());
    let log = open(&place);
    log.create(&[TopicSpec::new(
        "in",
        1,
        Cleanup::Delete { retention_ms: -1 },
    )])
    .unwrap();
    let mut session = log.open(member("reader", &["in"])).unwrap();
    session.poll(Duration::ZERO, 1).unwrap();
    session.assigned(&Offsets::new()).unwrap();
    let begun = Instant::now();
    let writers: Vec<Child> = (0..4)
        .map(|number: u32| {
            Command::new(std::env::current_exe().unwrap())
                .args(["writing_child", "--exact"])
                .env("CAIRN_WRITER", &place)
                .env("CAIRN_NUMBER", number.to_string())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut next = [0; 4];
    while next.iter().sum::<i32>() < 800 {
        assert!(begun.elapsed() < PATIENCE, "{next:?}");
        // as a pipeline does: a pass, then a pause in which others write
        log.pass_begin().unwrap();
        if let Poll::Records(records) = session.poll(Duration::ZERO, 1_000).unwrap() {
            let records = records.to_records();
            for record in &records {
                let value = String::from_utf8(record.value.clone().unwrap()).unwrap();
                let (writer, index) = value.split_once(':').unwrap();
                let writer: usize = writer.parse().unwrap();
                assert_eq!(
                    index.parse::<i32>().unwrap(),
                    next[writer],
                    "in each writer's order"
                );
                next[writer] += 1;
            }
            session
                .commit(&Offsets::from([(
                    records[0].place(),
                    records.last().unwrap().offset + 1,
                )]))
                .unwrap();
        }
        log.pass_end().unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    for mut writer in writers {
        assert!(writer.wait().unwrap().success());
    }
    eprintln!(
        "800 records of 4 processes in 400 commits: {} ms",
        begun.elapsed().as_millis()
    );
}
