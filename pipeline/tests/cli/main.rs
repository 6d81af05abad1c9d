//! The command as outsiders call it: exit codes, JSON, and what it says of bad input.

mod archives;
mod backfill;
mod bench;
mod drift;
mod fits;
mod follow;
mod forecast;
mod http;
mod http_events;
mod ingest;
mod messages;
mod migrate;
mod objects;
mod places;
mod redaction;
mod registry;
mod replay;
mod s3;
mod shared_data;
mod sizes;
mod streams;

use bench::{Bench, error};
use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// As a new user would: an own CSV, a drain, verdicts.
#[test]
fn an_own_csv_becomes_rows_and_a_verdict() {
    let bench = Bench::new();
    let mut csv = String::from("name,it,toks,l\n");
    for step in 0..400 {
        let loss = if step < 300 {
            format!("{:.4}", 4.0 - 0.005 * f64::from(step))
        } else {
            "nan".to_owned()
        };
        csv.push_str(&format!("mine,{},{},{loss}\n", step, step * 1000));
    }
    let file = bench.file("own.csv", &csv);
    let map = bench.file(
        "m.yaml",
        "run_id: name\nfields: {step: it, tokens: toks, loss: l}\nconfig: {parameters_total: \"1000000\"}\nended: finished\n",
    );
    let (exit, said) = bench.json(&["ingest", &file, "--map", &map]);
    assert_eq!(
        (exit, said[0]["rejected"].as_u64()),
        (0, Some(0)),
        "{said:?}"
    );
    let (exit, again) = bench.json(&["ingest", &file, "--map", &map]);
    assert_eq!(
        (exit, again[0]["accepted"].as_u64()),
        (0, Some(0)),
        "the same file twice adds nothing: {again:?}"
    );
    let (exit, drained) = bench.json(&["run", "--drain"]);
    assert_eq!((exit, drained[0]["lag"].as_i64()), (0, Some(0)));
    let (exit, verdicts) = bench.json(&["verdicts", "--run", "mine"]);
    assert_eq!(exit, 0);
    let first = &verdicts[0];
    assert_eq!(
        (
            first["state"].as_str(),
            first["cause"].as_str(),
            first["at_step"].as_i64()
        ),
        (Some("open"), Some("non_finite"), Some(300)),
        "{first}"
    );
    let (_, rows) = bench.json(&["tail", "experiments.rows", "--from-start", "--until-end"]);
    let row = &rows.last().expect("a row")["value"];
    assert_eq!(
        row["derived"]["flops"].as_f64(),
        Some(6.0 * 1e6 * 399_000.0)
    );
    assert_eq!(row["nonfinite_steps"].as_i64(), Some(100));
}

#[test]
fn a_typing_error_in_the_configuration_exits_2_with_the_nearest_name() {
    let bench = Bench::new();
    let (exit, said) = bench.json(&["doctor", "--setting", "runtime.comit_interval_ms=5"]);
    let text = format!("{said:?}");
    assert!(
        exit == 2 && text.contains("runtime.commit_interval_ms"),
        "{exit}: {text}"
    );
    let (exit, said) = bench.json(&[
        "run",
        "--drain",
        "--setting",
        "runtime.commit_interval_ms=0",
    ]);
    assert_eq!((exit, error(&said)["code"].as_str()), (2, Some("config")));
}

/// Said before anything is read, not with the first dead letter.
#[test]
fn a_recipient_that_is_none_exits_2_at_the_start() {
    let bench = Bench::new();
    let arguments = ["run", "--drain", "--setting", "deadletter.recipient=age1x"];
    let (exit, said) = bench.json(&arguments);
    let text = format!("{said:?}");
    assert!(
        exit == 2 && text.contains("deadletter.recipient") && text.contains("cairn init"),
        "{exit} {text}"
    );
}

#[test]
fn a_broker_that_is_not_there_exits_4() {
    let bench = Bench::new();
    let begun = Instant::now();
    let (exit, said) = bench.json(&[
        "tail",
        "late",
        "--kafka",
        "127.0.0.1:1",
        "--setting",
        "log.reach_timeout_ms=1500",
    ]);
    assert_eq!(
        (exit, error(&said)["code"].as_str()),
        (4, Some("unreachable")),
        "{said:?}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "it gives up in time"
    );
}

#[test]
fn a_second_run_on_the_same_directory_is_told_who_holds_it() {
    let bench = Bench::new();
    let mut first = bench
        .command(&["run"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stderr = first.stderr.take().expect("piped");
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"ready\n") && stderr.read(&mut byte).expect("readable") == 1 {
        seen.push(byte[0]);
    }
    let (exit, said) = bench.json(&["run", "--drain"]);
    let text = error(&said)["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    first.kill().expect("killed");
    first.wait().expect("waited for");
    assert!(
        exit == 5 && text.contains(&first.id().to_string()),
        "{exit}: {text}"
    );
    // A lock dies with its holder, kill -9 included.
    assert_eq!(bench.json(&["run", "--drain"]).0, 0);
}

#[test]
fn bad_lines_are_rejected_with_their_place_and_come_back_after_a_fix() {
    let bench = Bench::new();
    let lines = [
        r#"{"run_id":"r","step":1,"loss":2.0}"#,
        r#"{"run_id":"r","step":2,"los":2.0}"#,
        r#"{"run_id":"r","step":-1,"loss":2.0}"#,
        r#"{"run_id":"r","step":3,"loss":"Infinity"}"#,
        r#"{"run_id":"r","step":4,"learning_rate":"NaN"}"#,
        r#"{"run_id":"r","step":5"#,
    ];
    let file = bench.file("bad.jsonl", &format!("{}\n", lines.join("\n")));
    let (exit, said) = bench.json(&["ingest", &file]);
    assert_eq!(exit, 3);
    assert_eq!(
        (said[0]["accepted"].as_u64(), said[0]["rejected"].as_u64()),
        (Some(2), Some(4)),
        "{said:?}"
    );
    let (_, letters) = bench.json(&["deadletter", "list"]);
    let mut found: Vec<(i64, String)> = letters
        .iter()
        .map(|letter| {
            (
                letter["source"]["line"].as_i64().unwrap_or(0),
                letter["class"].as_str().unwrap_or("").to_owned(),
            )
        })
        .collect();
    found.sort();
    let expected = [
        (2, "unknown_field"),
        (3, "out_of_range"),
        (5, "not_finite"),
        (6, "json"),
    ];
    assert_eq!(
        found,
        expected.map(|(line, class)| (line, class.to_owned()))
    );
    let near = letters
        .iter()
        .find(|letter| letter["class"] == "unknown_field")
        .expect("listed");
    assert!(
        near["text"].as_str().unwrap_or("").contains("loss"),
        "the nearest name is suggested: {near}"
    );
    let id = near["id"].as_str().expect("an id");
    let (_, opened) = bench.json(&["deadletter", "show", id, "--open"]);
    assert_eq!(
        opened[0]["original"].as_str(),
        Some(lines[1]),
        "nothing is lost"
    );
    let (exit, replayed) = bench.json(&["deadletter", "replay", id]);
    assert_eq!(
        (exit, replayed[0]["outcome"].as_str()),
        (3, Some("dead")),
        "still bad, a new letter: {replayed:?}"
    );
}

#[test]
fn ten_mebibytes_in_one_line_are_one_dead_letter() {
    let bench = Bench::new();
    let long = format!(
        r#"{{"run_id":"{}","step":1,"loss":2.0}}"#,
        "x".repeat(10 << 20)
    );
    let file = bench.file(
        "long.jsonl",
        &format!("{}\n{}\n", r#"{"run_id":"r","step":1,"loss":2.0}"#, long),
    );
    let (exit, said) = bench.json(&["ingest", &file, "--format", "jsonl"]);
    assert_eq!(
        (
            exit,
            said[0]["accepted"].as_u64(),
            said[0]["rejected"].as_u64()
        ),
        (3, Some(1), Some(1)),
        "{said:?}"
    );
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let bench = Bench::new();
    let file = bench.file("file", "not a directory");
    let (exit, said) = bench.json(&["ingest", &file, "--data", &format!("{file}/data")]);
    assert_eq!(exit, 2, "{said:?}");
    assert!(format!("{said:?}").contains("file/data"), "{said:?}");
}

#[test]
fn an_unknown_topic_suggests_the_nearest() {
    let bench = Bench::new();
    assert_eq!(bench.json(&["run", "--drain"]).0, 0);
    let (exit, said) = bench.json(&["tail", "experiment.rows", "--until-end"]);
    assert!(
        exit == 2
            && error(&said)["remedy"]
                .as_str()
                .unwrap_or("")
                .contains("experiments.rows"),
        "{said:?}"
    );
}

#[test]
fn init_keeps_the_identity_outside_the_data() {
    let bench = Bench::new();
    let (exit, said) = bench.json(&["init", "--data", "here"]);
    assert_eq!(exit, 0);
    let identity = said[0]["identity"].as_str().expect("a path");
    assert!(
        !Path::new(identity).starts_with(bench.home.path().join("here")),
        "{identity}"
    );
    let text = std::fs::read_to_string(bench.home.path().join("here/cairn.yaml"))
        .expect("a configuration");
    assert!(
        text.contains("# runtime:") && text.contains("recipient: age1"),
        "{text}"
    );
    let (exit, said) = bench.json(&["init", "--data", "here"]);
    assert_eq!((exit, error(&said)["code"].as_str()), (1, Some("exists")));
    // Uncommenting everything gives the defaults: the file is a valid configuration.
    let all: String = text
        .lines()
        .filter(|line| {
            !line.trim_start().starts_with("# #")
                && !line.contains("##")
                && !line.starts_with("# Cairn's")
        })
        .map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or(line)))
        .collect();
    let whole = bench.file("whole.yaml", &all);
    let (exit, said) = bench.json(&["run", "--drain", "--data", "there", "--config", &whole]);
    assert_eq!(exit, 0, "{said:?}");
    // nothing is wrong with a directory that waits for its first log
    for arguments in [
        &["doctor", "--data", "here"],
        &["doctor", "--data", "there"],
    ] {
        let (exit, said) = bench.json(arguments);
        assert_eq!(exit, 0, "{said:?}");
    }
}
