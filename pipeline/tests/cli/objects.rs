//! Objects behind an S3 server and behind plain HTTP as sources.

use super::bench::{Bench, error};
use super::s3::S3;
use serde_json::Value;
use std::io::Write as _;

fn steps(run: &str, steps: std::ops::Range<u32>) -> String {
    steps
        .map(|step| format!("{{\"run_id\":\"{run}\",\"step\":{step},\"loss\":2.5}}\n"))
        .collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// Exit code and answers of a `cairn ingest` that knows the server.
fn ingest(bench: &Bench, s3: &S3, arguments: &[&str]) -> (i32, Vec<Value>) {
    let mut all = vec!["ingest", "--json"];
    all.extend(arguments);
    let output = bench
        .command(&all)
        .envs(s3.environment())
        .output()
        .expect("the binary starts");
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    let values = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("NDJSON"))
        .collect();
    (output.status.code().expect("no signal"), values)
}

fn figures(said: &[Value]) -> Vec<(&str, u64, u64)> {
    said.iter()
        .map(|one| {
            (
                one["source"].as_str().unwrap_or("?"),
                one["accepted"].as_u64().unwrap_or(u64::MAX),
                one["duplicate"].as_u64().unwrap_or(u64::MAX),
            )
        })
        .collect()
}

#[test]
fn an_object_is_read_once_and_one_that_grew_adds_its_tail() {
    let Some(s3) = S3::start() else { return };
    let bench = Bench::new();
    s3.bucket("logs");
    s3.put("logs/a/run.jsonl", steps("r", 0..10));
    let address = "s3://logs/a/run.jsonl";
    let (exit, said) = ingest(&bench, &s3, &[address]);
    assert_eq!(
        (exit, figures(&said)),
        (0, vec![(address, 10, 0)]),
        "{said:?}"
    );
    let (exit, said) = ingest(&bench, &s3, &[address]);
    assert_eq!(
        (exit, figures(&said)),
        (0, vec![(address, 0, 10)]),
        "{said:?}"
    );
    s3.put("logs/a/run.jsonl", steps("r", 0..13));
    let (exit, said) = ingest(&bench, &s3, &[address]);
    assert_eq!(
        (exit, figures(&said)),
        (0, vec![(address, 3, 10)]),
        "{said:?}"
    );
    assert!(said[0]["resumed_byte"].as_u64() > Some(0), "{said:?}");
    // the same content as a file: nothing new
    let file = bench.file("copy.jsonl", &steps("r", 0..13));
    let (_, said) = bench.json(&["ingest", &file]);
    assert_eq!(said[0]["accepted"], 0, "{said:?}");
}

/// The registry's tables in a bucket: written at two drains, read by commands that know the address.
#[test]
fn the_registry_lies_in_a_bucket() {
    let Some(s3) = S3::start() else { return };
    let bench = Bench::new();
    s3.bucket("team");
    let call = |arguments: &[&str]| {
        let place = ["--setting", "registry.location=s3://team/tables", "--json"];
        let output = bench
            .command(&[arguments, &place].concat())
            .envs(s3.environment())
            .output()
            .expect("the binary starts");
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said} {told}");
        assert_eq!(told, "");
        said.lines()
            .map(|line| serde_json::from_str(line).expect("NDJSON"))
            .collect::<Vec<Value>>()
    };
    for (until, runs) in [(20, ["a", "b"]), (30, ["a", "c"])] {
        for run in runs {
            let file = bench.file(&format!("{run}-{until}.jsonl"), &steps(run, 0..until));
            let (exit, said) = bench.json(&["ingest", &file]);
            assert_eq!(exit, 0, "{said:?}");
        }
        call(&["run", "--drain"]);
    }
    let rows = call(&[
        "sql",
        "SELECT run_id, loss_last_step FROM rows ORDER BY run_id",
    ]);
    let found: Vec<(&str, i64)> = rows
        .iter()
        .filter_map(|row| Some((row["run_id"].as_str()?, row["loss_last_step"].as_i64()?)))
        .collect();
    assert_eq!(found, [("a", 29), ("b", 19), ("c", 29)]);
    assert_eq!(call(&["runs", "list"]).len(), 3);
    // nothing of it lies beside the log
    assert!(!bench.home.path().join(".cairn/registry").exists());
}

#[test]
fn patterns_and_prefixes_stand_for_objects() {
    let Some(s3) = S3::start() else { return };
    let bench = Bench::new();
    s3.bucket("logs");
    s3.put("logs/x/one.jsonl.gz", gzip(&steps("one", 0..5)));
    s3.put("logs/x/two.jsonl.gz", gzip(&steps("two", 0..7)));
    s3.put("logs/x/notes.txt", "nothing of a format\n");
    s3.put("logs/x/deep/three.jsonl", steps("three", 0..3));
    s3.put("logs/x/.hidden.jsonl", steps("hidden", 0..3));
    s3.put("logs/y/four.jsonl", steps("four", 0..1));
    let (exit, said) = ingest(&bench, &s3, &["s3://logs/x/*.jsonl.gz"]);
    let expected = vec![
        ("s3://logs/x/one.jsonl.gz", 5, 0),
        ("s3://logs/x/two.jsonl.gz", 7, 0),
    ];
    assert_eq!((exit, figures(&said)), (0, expected), "{said:?}");
    for prefix in ["s3://logs/x", "s3://logs/x/"] {
        let (exit, said) = ingest(&bench, &s3, &[prefix]);
        let names: Vec<&str> = figures(&said).iter().map(|(name, ..)| *name).collect();
        assert_eq!(
            (exit, names),
            (
                0,
                vec![
                    "s3://logs/x/deep/three.jsonl",
                    "s3://logs/x/notes.txt",
                    "s3://logs/x/one.jsonl.gz",
                    "s3://logs/x/two.jsonl.gz",
                ]
            )
        );
        assert!(said[1]["skipped"].is_string(), "{said:?}");
    }
    let (exit, said) = ingest(&bench, &s3, &["s3://logs/**/four.*"]);
    assert_eq!(
        (exit, figures(&said)),
        (0, vec![("s3://logs/y/four.jsonl", 1, 0)])
    );
}

#[test]
fn what_is_not_there_is_said_with_what_to_do() {
    let Some(s3) = S3::start() else { return };
    let bench = Bench::new();
    s3.bucket("logs");
    for (address, exit, code, words) in [
        ("s3://logs/none.jsonl", 2, "usage", "does not exist"),
        ("s3://logs/none/*.jsonl", 2, "usage", "matches no object"),
        ("s3://nobucket/a.jsonl", 4, "unreadable", "NoSuchBucket"),
        ("http://127.0.0.1:1/*.jsonl", 2, "usage", "name each file"),
        ("http://127.0.0.1:1/a?sig=1", 2, "usage", "question mark"),
        ("ftp://logs/a.jsonl", 2, "usage", "no such kind of address"),
    ] {
        let (got, said) = ingest(&bench, &s3, &[address]);
        let error = error(&said);
        assert_eq!(
            (got, error["code"].as_str()),
            (exit, Some(code)),
            "{address}: {said:?}"
        );
        assert!(error.to_string().contains(words), "{address}: {error}");
    }
}

/// The same server without its protocol: an object is a file behind HTTP, too.
#[test]
fn a_file_behind_http_is_read() {
    let Some(s3) = S3::start() else { return };
    let bench = Bench::new();
    s3.bucket("logs");
    s3.put("logs/run.jsonl.gz", gzip(&steps("r", 0..2_000)));
    let address = format!("http://{}/logs/run.jsonl.gz", s3.address);
    let (exit, said) = bench.json(&["ingest", &address]);
    assert_eq!(
        (exit, figures(&said)),
        (0, vec![(address.as_str(), 2_000, 0)]),
        "{said:?}"
    );
    let (exit, said) = bench.json(&["ingest", &address]);
    assert_eq!(
        (exit, figures(&said)),
        (0, vec![(address.as_str(), 0, 2_000)]),
        "{said:?}"
    );
}

/// An archive in a bucket: every member is a source of its own.
#[test]
fn an_archive_in_a_bucket_is_read_member_by_member() {
    let Some(s3) = S3::start() else { return };
    let bench = Bench::new();
    s3.bucket("logs");
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in [("a.jsonl", steps("a", 0..4)), ("b.jsonl", steps("b", 0..6))] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, name, text.as_bytes())
            .expect("memory takes it");
    }
    s3.put(
        "logs/all.tar",
        builder.into_inner().expect("memory takes it"),
    );
    let (exit, said) = ingest(&bench, &s3, &["s3://logs/all.tar"]);
    let expected = vec![
        ("s3://logs/all.tar!a.jsonl", 4, 0),
        ("s3://logs/all.tar!b.jsonl", 6, 0),
    ];
    assert_eq!((exit, figures(&said)), (0, expected), "{said:?}");
}
