//! `cairn replay`: the same bytes again after kills and restarts, and a difference where one was planted.

use super::bench::{Bench, error};
use cairn_bus::embedded::{EmbeddedLog, EmbeddedSettings};
use cairn_bus::{Log, Membership, Offsets, Outgoing, TopicPartition};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Runs that end, of several sizes, so that there is something to fit; one that diverges, and a line that nobody can read.
fn log_of(runs: std::ops::Range<u32>) -> String {
    let mut lines = String::new();
    for run in runs {
        let parameters = 1_000_000 * u64::from(run + 1);
        lines.push_str(&format!(
            "{{\"topic\":\"runs.config\",\"run_id\":\"r{run}\",\"model\":{{\"parameters_total\":{parameters}}}}}\n"
        ));
        for step in 0..150_u32 {
            let loss = 2.0 + 3.0 / f64::from(step + 1 + run) + f64::from(step % 7) * 1e-3;
            let loss = if run % 4 == 3 && step > 120 {
                "\"NaN\"".to_owned()
            } else {
                format!("{loss:.6}")
            };
            let tokens = u64::from(step) * 10_000;
            lines.push_str(&format!(
                "{{\"topic\":\"telemetry.training\",\"run_id\":\"r{run}\",\"step\":{step},\"tokens\":{tokens},\"loss\":{loss}}}\n"
            ));
        }
        lines.push_str(&format!(
            "{{\"topic\":\"runs.lifecycle\",\"run_id\":\"r{run}\",\"state\":\"finished\",\"step\":149}}\n"
        ));
    }
    lines
}

/// Two kills in the middle, then a drain.
fn played(bench: &Bench) {
    for (number, runs) in [0..4, 4..7, 7..10].into_iter().enumerate() {
        let mut running = bench.ready(&["run"]);
        let file = bench.file(&format!("part-{number}.jsonl"), &log_of(runs.clone()));
        let (exit, said) = bench.json(&["ingest", &file]);
        assert_eq!(exit, 0, "{said:?}");
        // Killed once it has said something of what came.
        let wanted = format!("r{}", runs.start);
        while !bench
            .values("experiments.rows")
            .iter()
            .any(|row| row["run_id"] == wanted.as_str())
        {
            std::thread::yield_now();
        }
        running.kill().expect("killed");
        running.wait().expect("waited for");
    }
    drain(bench);
}

fn drain(bench: &Bench) -> Value {
    let (exit, mut drained) = bench.json(&["run", "--drain"]);
    assert_eq!(
        (exit, drained[0]["lag"].as_i64()),
        (0, Some(0)),
        "{drained:?}"
    );
    drained.remove(0)
}

fn by_topic(lines: &[Value]) -> BTreeMap<String, Value> {
    lines
        .iter()
        .filter_map(|line| Some((line["topic"].as_str()?.to_owned(), line.clone())))
        .collect()
}

fn count(topics: &BTreeMap<String, Value>, topic: &str, what: &str) -> u64 {
    topics[topic][what].as_u64().expect("a count")
}

#[test]
fn what_was_written_between_kills_is_written_again_to_the_byte() {
    let bench = Bench::new();
    played(&bench);
    let (exit, said) = bench.json(&["replay", "--from", "earliest", "--into", "again"]);
    assert_eq!(exit, 0, "{said:?}");
    let topics = by_topic(&said);
    for (topic, line) in &topics {
        assert_eq!(line["sha256"], line["sha256_original"], "{line}");
        assert_eq!(line["records"], line["equal"], "{line}");
        // The same as `tail` has it, offsets and times left out: in each partition the same records in the same order.
        let records = |data: &str| {
            let arguments = ["tail", topic, "--from-start", "--until-end", "--data", data];
            let (exit, mut records) = bench.json(&arguments);
            assert_eq!(exit, 0, "{topic}");
            for record in &mut records {
                record["offset"].take();
                record["timestamp_ms"].take();
            }
            records
        };
        assert_eq!(records("again"), records(".cairn"), "{topic}");
    }
    // An oracle that compares nothing finds nothing: 10 runs of 150 steps, a window each 64 of them at least.
    for (topic, least) in [
        ("experiments.rows", 10),
        ("runs.windows", 20),
        ("breaker.verdicts", 2),
        ("scaling.fits", 1),
        ("answers", 1),
        ("cockpit.telegrams", 2),
        ("cockpit.board", 1),
    ] {
        assert!(count(&topics, topic, "equal") >= least, "{topic}: {said:?}");
    }
    let (exit, said) = bench.json(&["replay", "--from", "earliest", "--into", "again"]);
    assert_eq!(
        (exit, error(&said)["code"].as_str()),
        (1, Some("replay_refused"))
    );
}

#[test]
fn outputs_are_written_from_a_cut_on() {
    let bench = Bench::new();
    let file = bench.file("one.jsonl", &log_of(0..3));
    assert_eq!(bench.json(&["ingest", &file]).0, 0);
    let cut = bench.file("cut.json", &drain(&bench).to_string());
    let before = by_topic(
        &bench
            .json(&["replay", "--from", "earliest", "--into", "first"])
            .1,
    );
    let file = bench.file("two.jsonl", &log_of(3..5));
    assert_eq!(bench.json(&["ingest", &file]).0, 0);
    drain(&bench);
    let (exit, said) = bench.json(&["replay", "--from", &cut, "--into", "second"]);
    assert_eq!(exit, 0, "{said:?}");
    let (exit, whole) = bench.json(&["replay", "--from", "earliest", "--into", "third"]);
    assert_eq!(exit, 0, "{whole:?}");
    let (topics, whole) = (by_topic(&said), by_topic(&whole));
    for topic in [
        "experiments.rows",
        "runs.windows",
        "scaling.fits",
        "cockpit.board",
        "answers",
    ] {
        let old = count(&before, topic, "records");
        let new = count(&whole, topic, "records") - old;
        assert!(new > 0, "{topic}");
        assert_eq!(
            (
                count(&topics, topic, "before"),
                count(&topics, topic, "records")
            ),
            (old, new),
            "{topic}: {said:?}"
        );
    }
    // What the cut left out is not there.
    let arguments = [
        "tail",
        "experiments.rows",
        "--from-start",
        "--until-end",
        "--data",
        "second",
    ];
    for row in bench.json(&arguments).1 {
        let run = row["value"]["run_id"].as_str().expect("a run").to_owned();
        assert!(["r3", "r4"].contains(&run.as_str()), "{run}");
    }
}

#[test]
fn what_cannot_be_replayed_is_refused_with_its_place() {
    let bench = Bench::new();
    let file = bench.file("one.jsonl", &log_of(0..1));
    assert_eq!(bench.json(&["ingest", &file]).0, 0);
    drain(&bench);
    for (from, exit, text) in [
        ("runs.windows:0=5", 1, "runs.windows is no input"),
        ("runs.events:99=0", 1, "no runs.events[99]"),
        (
            "experiments.rows:0=999999",
            1,
            "experiments.rows[0] ends at offset",
        ),
        ("yesterday", 2, "yesterday"),
    ] {
        let (found, said) = bench.json(&["replay", "--from", from, "--into", "new"]);
        assert_eq!(found, exit, "{said:?}");
        assert!(format!("{said:?}").contains(text), "{said:?}");
        assert!(!bench.home.path().join("new/log.sqlite").exists());
    }
    // A year later retention has taken what the state is made of.
    later(&bench.home.path().join(".cairn"), 365);
    let (exit, said) = bench.json(&["replay", "--from", "earliest", "--into", "new"]);
    let text = format!("{said:?}");
    assert_eq!(exit, 1, "{text}");
    assert!(
        text.contains("begins at offset") && text.contains("retention"),
        "{text}"
    );
}

/// Maintains a log as if so many days had passed.
fn later(data: &Path, days: i64) {
    let mut settings = EmbeddedSettings::new(data);
    let now = settings.clock.clone();
    settings.clock = Arc::new(move || now() + days * 86_400_000);
    let log = EmbeddedLog::with(settings).expect("a log");
    while log.maintain().expect("maintained") {}
}

#[test]
fn a_planted_difference_is_found_and_named() {
    let bench = Bench::new();
    let file = bench.file("one.jsonl", &log_of(0..3));
    assert_eq!(bench.json(&["ingest", &file]).0, 0);
    drain(&bench);
    // Other settings than the original's.
    let shorter = ["--setting", "cockpit.board_ttl_ms=1000"];
    let (exit, said) = bench.json(&[
        "replay", "--from", "earliest", "--into", "other", shorter[0], shorter[1],
    ]);
    let first = &said[said.len() - 2]["first_difference"];
    assert_eq!(
        (exit, first["topic"].as_str(), first["kind"].as_str()),
        (1, Some("cockpit.board"), Some("different")),
        "{said:?}"
    );
    assert!(
        first["what"]
            .as_str()
            .unwrap_or("")
            .starts_with("value.expires_at: "),
        "{first}"
    );
    assert_eq!(count(&by_topic(&said), "runs.windows", "different"), 0);
    // A window that nobody computed: a copy of one, said once more.
    let log = EmbeddedLog::open(bench.home.path().join(".cairn")).expect("a log");
    let mut reader = log.reader().expect("a reader");
    let ends = reader.ends(&["runs.windows"]).expect("the ends");
    let (place, end) = ends
        .iter()
        .find(|(_, (_, end))| *end > 0)
        .map(|(place, (_, end))| (place.clone(), *end))
        .expect("a window");
    let (records, _) = reader
        .read(&Offsets::from([(place.clone(), 0)]), Duration::ZERO, 1)
        .expect("read");
    plant(
        &log,
        &place,
        records[0].key.clone(),
        records[0].value.clone(),
    );
    let (exit, said) = bench.json(&["replay", "--from", "earliest", "--into", "more"]);
    let first = &said[said.len() - 2]["first_difference"];
    assert_eq!(
        (
            exit,
            first["topic"].as_str(),
            first["kind"].as_str(),
            first["offset"].as_i64()
        ),
        (1, Some("runs.windows"), Some("missing"), Some(end)),
        "{said:?}"
    );
    assert_eq!(error(&said)["code"].as_str(), Some("replay_differs"));
    let windows = &by_topic(&said)["runs.windows"];
    assert_eq!(windows["missing"].as_u64(), Some(1));
    assert_ne!(windows["sha256"], windows["sha256_original"]);
}

fn plant(log: &EmbeddedLog, place: &TopicPartition, key: Option<Vec<u8>>, value: Option<Vec<u8>>) {
    let who = Membership {
        operator: "planter".to_owned(),
        group: "planter".to_owned(),
        instance: "one".to_owned(),
        thread: 0,
        topics: Vec::new(),
    };
    let mut session = log.open(who).expect("a session");
    let record = Outgoing {
        topic: place.topic.clone(),
        partition: place.partition,
        key,
        value,
        headers: Vec::new(),
    };
    session.send(record).expect("sent");
    session.commit(&Offsets::new()).expect("committed");
}
