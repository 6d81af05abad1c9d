//! Nothing that was planted comes out anywhere: 500 values over every way in, and a search through every way out.
//!
//! Only the sealed originals of dead letters may hold them, and do.

#[path = "../../../operators/tests/redaction_corpus/mod.rs"]
#[allow(dead_code, reason = "the corpus serves several tests")]
mod redaction_corpus;

use super::bench::Bench;
use super::http::Server;
use cairn_bus::{Headers, Membership, Offsets, Outgoing};
use cairn_operators::redact::Kind;
use cairn_pipeline::config::LogConfig;
use cairn_pipeline::connect;
use redaction_corpus::{Positive, SEED, positives};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Values that are planted.
const PLANTED: usize = 500;
/// Shortest value that is searched for; shorter digits stand in some digest by chance.
const VALUE_MIN: usize = 9;

/// Distinct texts of every class by turns, none of whose values stands inside another.
fn planted() -> Vec<Positive> {
    let mut by_kind: Vec<Vec<Positive>> = Vec::new();
    for one in positives(SEED + 1) {
        match by_kind.last_mut() {
            Some(last) if last[0].kind == one.kind => last.push(one),
            _ => by_kind.push(vec![one]),
        }
    }
    let mut taken = BTreeSet::new();
    let mut all = Vec::new();
    while all.len() < PLANTED {
        let before = all.len();
        for kind in &mut by_kind {
            while let Some(one) = kind.pop() {
                let value = one.text[one.span.0..one.span.1].to_owned();
                if value.len() >= VALUE_MIN && taken.insert(value) {
                    all.push(one);
                    break;
                }
            }
        }
        assert!(all.len() > before, "the corpus is too small");
    }
    all.truncate(PLANTED);
    all
}

/// What is searched for: the value, or of a key one line of it.
fn needle(one: &Positive) -> &str {
    let value = &one.text[one.span.0..one.span.1];
    match one.kind {
        Kind::PrivateKey => &value[value.len() / 2..value.len() / 2 + 24],
        _ => value,
    }
}

/// Kinds that recognisers find in names and digests, too.
fn is_found_in_identifiers(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Card | Kind::Iban | Kind::Email | Kind::Jwt | Kind::ApiKey | Kind::UrlCredentials
    )
}

/// Contract JSON with the text in the field of this number: every field that may hold free text, of every topic.
fn record(number: usize, text: &str) -> Value {
    let run = format!("run-{}", number % 7);
    let config =
        |name: &str, value: Value| json!({"topic": "runs.config", "run_id": run, name: value});
    match number % 22 {
        0 => {
            json!({"topic": "telemetry.tooluse", "run_id": run, "tool": text, "outcome": "success"})
        }
        1 => {
            json!({"topic": "telemetry.tooluse", "run_id": run, "tool": "search", "outcome": "failure", "error_class": text})
        }
        2 => {
            json!({"topic": "telemetry.tooluse", "run_id": run, "tool": "search", "outcome": "success", "task": text})
        }
        3 => {
            json!({"topic": "eval.results", "run_id": run, "harness": "h", "task": text, "metric": "acc", "value": 0.5})
        }
        4 => {
            json!({"topic": "safety.results", "run_id": run, "suite": "s", "metric": "m", "value": 0.1, "category": text})
        }
        5 => {
            json!({"topic": "safety.results", "run_id": run, "suite": "s", "metric": "m", "value": 0.1, "finding": text})
        }
        6 => {
            json!({"topic": "safety.results", "run_id": run, "suite": "s", "metric": "m", "value": 0.1, "policy": text})
        }
        7 => {
            json!({"topic": "safety.results", "run_id": run, "suite": "s", "metric": "m", "value": 0.1, "method": text})
        }
        8 => config("tags", json!([text])),
        9 => config("augmentation", json!([text])),
        10 => config("environment", json!({"launcher": text})),
        11 => config(
            "data_mix",
            json!([{"dataset": "d", "ratio": 1.0, "license": text}]),
        ),
        12 => json!({"topic": "runs.lifecycle", "run_id": run, "state": "crashed", "reason": text}),
        13 => {
            json!({"topic": "runs.lifecycle", "run_id": run, "state": "started", "artifacts": [{"kind": "log", "uri": text}]})
        }
        14 => {
            json!({"topic": "runs.planned", "run_id": run, "plan_id": "p", "config": {"run_id": run}, "reason": text})
        }
        15 => json!({"topic": "runs.tags", "run_id": run, "add": [text]}),
        16 => json!({"topic": "runs.tags", "run_id": run, "remove": [text], "actor": text}),
        // what becomes a dead letter: an error may quote it, an excerpt may show it
        17 => json!({"topic": "telemetry.training", "run_id": run, "step": text}),
        18 => json!({"topic": "telemetry.training", "run_id": run, "step": 1, "note": text}),
        19 => json!({"topic": "telemetry.training", "run_id": run, "step": 1, text: 1}),
        20 => json!({"topic": text, "run_id": run}),
        _ => {
            json!({"topic": "eval.results", "run_id": run, "harness": "h", "task": text, "metric": "acc", "value": "NaN"})
        }
    }
}

/// The same in fields of names and digests.
fn identifier_record(number: usize, text: &str) -> Value {
    match number % 8 {
        0 => json!({"topic": "telemetry.training", "run_id": text, "step": 1, "loss": 2.5}),
        1 => {
            json!({"topic": "telemetry.training", "run_id": "r", "step": 1, "metrics": {text: 1.5}})
        }
        2 => json!({"topic": "telemetry.runtime", "run_id": "r", "metrics": {text: 1.5}}),
        3 => {
            json!({"topic": "eval.results", "run_id": "r", "harness": text, "task": "t", "metric": text, "value": 0.5})
        }
        4 => {
            json!({"topic": "runs.config", "run_id": "r", "model": {"name": text, "tokenizer": text}})
        }
        5 => {
            json!({"topic": "runs.config", "run_id": "r", "environment": {"code_repository": text, "container_image": text}})
        }
        6 => {
            json!({"topic": "runs.config", "run_id": "r", "parent_run_id": text, "data_mix": [{"dataset": text, "ratio": 1.0}]})
        }
        _ => {
            json!({"topic": "telemetry.training", "run_id": "r", "step": 2, "loss": 2.5, "event_id": text})
        }
    }
}

/// A line of contract JSON, or one that is none.
fn line(number: usize, one: &Positive) -> String {
    match number % 11 {
        9 => format!("not JSON at all: {}", one.text.replace('\n', " ")),
        10 => format!(
            "{{\"run_id\":\"r\",\"step\":1,\"loss\":{}",
            one.text.replace('\n', " ")
        ),
        _ if number.is_multiple_of(3) && is_found_in_identifiers(one.kind) => {
            identifier_record(number, &one.text).to_string()
        }
        _ => record(number, &one.text).to_string(),
    }
}

/// Records as a stock client writes them, past every gate of ours: in value, key and headers.
fn produce(bench: &Bench, all: &[(usize, &Positive)]) {
    let config = LogConfig {
        data: bench.home.path().join(".cairn"),
        ..LogConfig::default()
    };
    let place = connect::open(&config).expect("the log is there");
    let mut session = place
        .log
        .open(Membership {
            operator: "test".into(),
            group: "test".into(),
            instance: "test".into(),
            thread: 0,
            topics: Vec::new(),
        })
        .expect("it opens");
    for (number, one) in all {
        let good = json!({"run_id": "r", "step": *number, "loss": 2.5}).to_string();
        let mut headers = Headers::new();
        let (mut topic, mut key, mut value) = (
            "telemetry.training".to_owned(),
            Some(b"k".to_vec()),
            good.into_bytes(),
        );
        match number % 6 {
            0 => key = Some(one.text.clone().into_bytes()),
            1 => headers.push(("source".into(), one.text.clone().into_bytes())),
            2 => headers.push(("event_id".into(), one.text.clone().into_bytes())),
            3 => value = [b"\x7f", one.text.as_bytes()].concat(),
            _ => {
                let mut said = record(*number % 17, &one.text);
                let members = said.as_object_mut().expect("an object");
                if let Some(Value::String(name)) = members.remove("topic") {
                    topic = name;
                }
                value = said.to_string().into_bytes();
            }
        }
        // a bad row shows its headers and its key
        if matches!(number % 6, 0..=2) && number.is_multiple_of(2) {
            value = b"{\"run_id\":\"r\"}".to_vec();
        }
        session
            .send(Outgoing {
                topic: topic.into(),
                partition: 0,
                key,
                value: Some(value),
                headers,
            })
            .expect("sent");
    }
    session.commit(&Offsets::new()).expect("committed");
    session.close(Duration::from_secs(5)).expect("closed");
}

/// Every key, header and value of every topic but those that stock clients wrote into.
fn topics(bench: &Bench, but: &[&str]) -> Vec<(String, Vec<u8>)> {
    let config = LogConfig {
        data: bench.home.path().join(".cairn"),
        ..LogConfig::default()
    };
    let place = connect::open(&config).expect("the log is there");
    let mut reader = place.log.reader().expect("it opens");
    let mut all = Vec::new();
    for topic in place.log.topics().expect("topics").into_keys() {
        if but.contains(&topic.as_str()) {
            continue;
        }
        let mut bytes = Vec::new();
        for (part, (start, end)) in reader.ends(&[topic.as_str()]).expect("ends") {
            let mut from = Offsets::from([(part.clone(), start)]);
            while from[&part] < end {
                let (records, next) = reader
                    .read(&from, Duration::from_secs(5), 10_000)
                    .expect("read");
                for record in records {
                    bytes.extend(record.key.as_deref().unwrap_or_default());
                    for (name, value) in &record.headers {
                        bytes.extend(name.as_bytes());
                        bytes.extend(value);
                    }
                    bytes.extend(record.value.as_deref().unwrap_or_default());
                }
                from.extend(next);
            }
        }
        all.push((format!("topic {topic}"), bytes));
    }
    all
}

/// The files of a folder, as they lie there.
fn files(folder: &Path, all: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, all);
        } else if let Ok(bytes) = std::fs::read(&path) {
            all.push((path.display().to_string(), bytes));
        }
    }
}

fn holds(bytes: &[u8], needle: &str) -> bool {
    let needle = needle.as_bytes();
    let first = needle[0];
    bytes
        .iter()
        .enumerate()
        .any(|(at, byte)| *byte == first && bytes[at..].starts_with(needle))
}

/// Fails with every value that an output holds, and a little of what is around it.
fn search(outputs: &[(String, Vec<u8>)], planted: &[&Positive]) {
    let mut leaks = String::new();
    for (name, bytes) in outputs {
        for one in planted {
            if holds(bytes, needle(one)) {
                let _ = writeln!(leaks, "{name}: {} of {:?}", one.kind, one.text);
            }
        }
    }
    assert!(leaks.is_empty(), "leaks:\n{leaks}");
}

fn said(name: &str, output: &std::process::Output) -> (String, Vec<u8>) {
    (
        name.to_owned(),
        [output.stdout.clone(), output.stderr.clone()].concat(),
    )
}

#[test]
fn what_is_planted_comes_out_nowhere() {
    let all = planted();
    assert_eq!(all.len(), PLANTED);
    let numbered: Vec<(usize, &Positive)> = all.iter().enumerate().collect();
    let bench = Bench::new();
    let mut outputs = Vec::new();

    // three ways in: a file, requests, and stock clients; every third value each
    let of = |way: usize| -> Vec<(usize, &Positive)> {
        numbered
            .iter()
            .filter(|(number, _)| number % 3 == way)
            .map(|(number, one)| (number / 3, *one))
            .collect()
    };
    let lines = |all: &[(usize, &Positive)]| -> String {
        all.iter()
            .map(|(number, one)| line(*number, one) + "\n")
            .collect()
    };
    let in_file = of(0);
    let mut text = lines(&in_file);
    // the last line of a file may be cut off
    text.push_str("{\"run_id\":\"r\",\"step\":1,\"note\":\"mia.of.the.cut@example.com");
    std::fs::create_dir(bench.home.path().join("inputs")).expect("made");
    let file = bench.file("inputs/planted.jsonl", &text);
    let output = bench.run(&[
        "ingest",
        &file,
        "--format",
        "jsonl",
        "--log",
        "debug",
        "--set",
        "tokenizer=of/who@sets.example.com",
        "--json",
    ]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let summary: Value = serde_json::from_slice(
        output
            .stdout
            .split(|byte| *byte == b'\n')
            .next()
            .expect("a line"),
    )
    .expect("JSON");
    assert!(summary["redacted"]["email"].as_u64() > Some(0), "{summary}");
    outputs.push(said("ingest", &output));

    let server = Server::logging(&bench, "debug", &[]);
    let requested = of(1);
    let answer = server.post(&lines(&requested));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    outputs.push(("answer of a request".to_owned(), answer.into_bytes()));
    let produced = of(2);
    produce(&bench, &produced);
    let deadline = Instant::now() + Duration::from_secs(60);
    let scraped = loop {
        let scraped = server.get("/metrics");
        let lag = |operator: &str| {
            scraped.contains(&format!("cairn_lag_records{{operator=\"{operator}\"}} 0"))
        };
        let has_read = scraped.contains("cairn_redactions_total{entity=\"ssn\"}");
        if has_read
            && ["admit", "runs", "cockpit"]
                .iter()
                .all(|operator| lag(operator))
        {
            break scraped;
        }
        assert!(
            Instant::now() < deadline,
            "it does not get to the end: {scraped}"
        );
        std::thread::yield_now();
    };
    for kind in [
        "card", "iban", "email", "jwt", "api_key", "secret", "name", "phone",
    ] {
        assert!(
            scraped.contains(&format!("entity=\"{kind}\"")),
            "{kind}: {scraped}"
        );
    }
    outputs.push(("metrics".to_owned(), scraped.into_bytes()));
    let logged = server.logged.clone();
    drop(server);
    let output = bench.run(&["run", "--drain", "--log", "debug", "--json"]);
    outputs.push(said("run --drain", &output));
    let logged = logged.lock().expect("whole").clone();
    assert!(
        logged.contains("\"level\":\"DEBUG\""),
        "it logs at debug level"
    );
    outputs.push(("log".to_owned(), logged.into_bytes()));

    let (exit, letters) = bench.json(&["deadletter", "list"]);
    assert_eq!(exit, 0);
    assert!(letters.len() > 100, "{} dead letters", letters.len());
    for arguments in [
        &["deadletter", "list"][..],
        &["doctor"],
        &["doctor", "--json"],
        &["verdicts"],
    ] {
        outputs.push(said(&arguments.join(" "), &bench.run(arguments)));
    }
    outputs.push((
        "deadletter list".to_owned(),
        Value::from(letters.clone()).to_string().into_bytes(),
    ));
    let ids: Vec<&str> = letters
        .iter()
        .filter_map(|letter| letter["id"].as_str())
        .collect();
    let mut opened = Vec::new();
    for id in ids.iter().step_by(letters.len() / 12 + 1) {
        outputs.push(said(
            "deadletter show",
            &bench.run(&["deadletter", "show", id]),
        ));
        opened.extend(bench.run(&["deadletter", "show", id, "--open"]).stdout);
    }
    // nothing is lost: the originals are there for who may open them
    assert!(
        all.iter().any(|one| holds(&opened, needle(one))),
        "no original holds any"
    );
    // a replay goes the same way
    let mut arguments = vec!["deadletter", "replay", "--log", "debug", "--json"];
    arguments.extend(&ids);
    outputs.push(said("deadletter replay", &bench.run(&arguments)));
    outputs.push(said(
        "run --drain",
        &bench.run(&["run", "--drain", "--log", "debug", "--json"]),
    ));
    for topic in [
        "deadletter",
        "cockpit.telegrams",
        "cockpit.board",
        "experiments.rows",
        "guards",
    ] {
        outputs.push(said(
            &format!("tail {topic}"),
            &bench.run(&["tail", topic, "--from-start", "--until-end"]),
        ));
    }

    // what stock clients write into ingress topics is theirs; everything else of the log is ours
    let ingress: Vec<&str> = cairn_topics::catalogue()
        .iter()
        .filter(|topic| topic.family == cairn_topics::Family::Ingress)
        .map(|topic| topic.name)
        .collect();
    outputs.extend(topics(&bench, &ingress));
    let everything: Vec<&Positive> = all.iter().collect();
    search(&outputs, &everything);
    // and the search is not blind: what was admitted has pseudonyms with a key in these places
    let (_, events) = outputs
        .iter()
        .find(|(name, _)| name == "topic runs.events")
        .expect("it was read");
    for pseudonym in ["<card:", "<email:", "<ssn:", "<secret:", "<private_key:"] {
        assert!(holds(events, pseudonym), "no {pseudonym} was admitted");
    }
    // in the ingress topics there is nothing but what these clients wrote
    let ours: Vec<&Positive> = in_file
        .iter()
        .chain(&requested)
        .map(|(_, one)| *one)
        .collect();
    search(&topics(&bench, &[]), &ours);
    let mut on_disk = Vec::new();
    files(&bench.home.path().join(".cairn"), &mut on_disk);
    files(&bench.home.path().join(".config"), &mut on_disk);
    search(&on_disk, &ours);
    for (name, bytes) in outputs.iter().chain(&on_disk) {
        for word in ["mia.of.the.cut", "who@sets"] {
            assert!(!holds(bytes, word), "{name} holds {word}");
        }
    }
}
