//! Sizes at their limits: whatever is admitted fits into every topic that it causes something on.

use super::bench::Bench;
use cairn_bus::embedded::EmbeddedLog;
use cairn_bus::{Log as _, Membership, Offsets, Outgoing};
use std::time::Duration;

/// What is asked for is there.
const PATIENCE: Duration = Duration::from_secs(1);

/// One row with this many free metrics, each name this long.
fn row(step: u64, metrics: usize, name_bytes: usize) -> String {
    let metrics: Vec<String> = (0..metrics)
        .map(|number| format!("\"{number:0>name_bytes$}\":{}.25", step + number as u64))
        .collect();
    format!(
        "{{\"run_id\":\"r\",\"step\":{step},\"loss\":2.5,\"metrics\":{{{}}}}}\n",
        metrics.join(",")
    )
}

fn drain(bench: &Bench, settings: &[&str]) -> serde_json::Value {
    let mut arguments = vec!["run", "--drain"];
    arguments.extend(settings);
    let (exit, said) = bench.json(&arguments);
    assert_eq!(exit, 0, "{said:?}");
    assert_eq!(said[0]["lag"], 0);
    said[0]["operators"].clone()
}

fn events(bench: &Bench) -> usize {
    let records = bench.values("runs.events");
    let events = |record: &serde_json::Value| record["events"].as_array().map_or(0, Vec::len);
    records.iter().map(events).sum()
}

/// 4.5 KB a row: a pack of 500 of them would be larger than a record of a broker's default.
#[test]
fn rows_with_many_metrics_do_not_stop_the_line() {
    let bench = Bench::new();
    let rows: String = (0..600).map(|step| row(step, 120, 24)).collect();
    let file = bench.file("q.jsonl", &rows);
    let (exit, said) = bench.json(&["ingest", &file]);
    assert_eq!((exit, said[0]["accepted"].as_u64()), (0, Some(600)));
    let operators = drain(&bench, &[]);
    assert_eq!(operators["runs"]["dead"], 0);
    assert_eq!(events(&bench), 600);
}

/// As many events as a pack may hold, each with as many metrics as a row may have: 15 MB.
#[test]
fn the_fullest_packs_go_through() {
    let bench = Bench::new();
    let rows: String = (0..500).map(|step| row(step, 256, 100)).collect();
    let file = bench.file("q.jsonl", &rows);
    let (exit, said) = bench.json(&["ingest", &file]);
    assert_eq!((exit, said[0]["accepted"].as_u64()), (0, Some(500)));
    drain(&bench, &[]);
    assert_eq!(events(&bench), 500);
}

/// Admitted alone in its pack, and late: its contract JSON is larger than its Avro was.
#[test]
fn the_largest_line_is_admitted_and_can_be_late() {
    let bench = Bench::new();
    let ahead: String = (0..300).map(|step| row(step * 100, 0, 0)).collect();
    bench.json(&["ingest", &bench.file("ahead.jsonl", &ahead)]);
    drain(&bench, &[]);
    let largest = row(7, 250, 3_580);
    assert!((890_000..900_000).contains(&largest.len()));
    let (exit, said) = bench.json(&[
        "ingest",
        "--format",
        "jsonl",
        &bench.file("largest.jsonl", &largest),
    ]);
    assert_eq!(
        (exit, said[0]["accepted"].as_u64()),
        (0, Some(1)),
        "{said:?}"
    );
    let operators = drain(&bench, &[]);
    assert_eq!(
        (&operators["runs"]["in"], &operators["runs"]["late"]),
        (&1.into(), &1.into())
    );
}

/// The largest record that an ingress topic takes, and no event: sealed, with its key, its headers and an excerpt.
#[test]
fn the_largest_bad_record_becomes_a_dead_letter() {
    let bench = Bench::new();
    drain(&bench, &[]);
    let log = EmbeddedLog::open(bench.home.path().join(".cairn")).expect("a log");
    let mut session = log
        .open(Membership {
            operator: "client".to_owned(),
            group: "client".to_owned(),
            instance: "one".to_owned(),
            thread: 0,
            topics: Vec::new(),
        })
        .expect("a session");
    let value = format!("{{\"run_id\":\"{}\"}}", "x".repeat(1_048_000));
    session
        .send(Outgoing {
            topic: "telemetry.training".into(),
            partition: 0,
            key: Some(b"r".to_vec()),
            value: Some(value.into_bytes()),
            headers: Vec::new(),
        })
        .expect("an ingress topic takes it");
    session.commit(&Offsets::new()).expect("committed");
    drop(session);
    let operators = drain(&bench, &[]);
    assert_eq!(operators["admit"]["dead"], 1);
    let (_, letters) = bench.json(&["deadletter", "list"]);
    assert_eq!(letters.len(), 1);
}

/// As many open windows as may be, each with as many rows as it may keep, of every kind there is: the changelog takes them.
#[test]
fn the_fullest_windows_fit_into_the_changelog() {
    let bench = Bench::new();
    // full-width numbers in each row: 16 windows of 2,048 rows, by step, by time and by tokens
    let rows: String = (0..16 * 2_048_u64)
        .map(|number| {
            format!(
                "{{\"run_id\":\"r\",\"step\":{},\"tokens\":{},\"event_time_ms\":{},\"loss\":{},\"grad_norm\":{},\"learning_rate\":0.00030000000000000003,\"tokens_per_second\":12345.678901234567}}\n",
                5_000_000_000 + number,
                6_000_000_000_000 + number,
                1_700_000_000_000 + number,
                2.0 + 1.0 / (3.0 + number as f64),
                0.1 + 1.0 / (7.0 + number as f64),
            )
        })
        .collect();
    let config = "{\"topic\":\"runs.config\",\"run_id\":\"r\",\"clock\":\"tokens\"}\n";
    let file = bench.file("wide.jsonl", &format!("{config}{rows}"));
    let (exit, said) = bench.json(&["ingest", &file]);
    assert_eq!(exit, 0, "{said:?}");
    drain(
        &bench,
        &[
            "--setting",
            "runs.follow.rules.windows.step_size=2048",
            "--setting",
            "runs.follow.rules.windows.time_size_ms=2048",
            "--setting",
            "runs.follow.rules.windows.tokens_size=2048",
            "--setting",
            "runs.follow.time.disorder_steps=40000",
            "--setting",
            "runs.follow.time.disorder_ms=40000",
            "--setting",
            "runs.follow.time.disorder_tokens=40000",
            "--setting",
            "runs.follow.time.step_jump_cap=10000000000",
        ],
    );
    let log = EmbeddedLog::open(bench.home.path().join(".cairn")).expect("a log");
    let mut reader = log.reader().expect("a reader");
    let ends = reader.ends(&["changelog.runs"]).expect("it exists");
    let (mut largest, mut all) = (0, 0);
    for (place, (start, end)) in ends {
        let mut from = Offsets::from([(place.clone(), start)]);
        while from.get(&place).is_some_and(|next| *next < end) {
            let (records, next) = reader.read(&from, PATIENCE, 100).expect("readable");
            for record in &records {
                let size = record.value.as_ref().map_or(0, Vec::len);
                (largest, all) = (largest.max(size), all + size);
            }
            from.extend(next);
        }
    }
    // 16 x 2,048 rows of about 70 bytes are in there, once for all three kinds, and no record is large for it
    assert!(
        all > 2_000_000,
        "the test is not as large as it means to be: {all}"
    );
    assert!(largest < 100_000, "{largest}");
}
