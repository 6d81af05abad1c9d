//! `POST /v1/events` for those who say who they are: tokens, tenants, keys, compressed bodies, Avro.

use super::bench::{Bench, error};
use super::http::Server;
use std::io::Write as _;

/// SHA-256 of `secret` and of `other`, as `printf %s secret | sha256sum` prints them.
const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
const OTHER: &str = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa";

fn row(step: u32) -> String {
    format!("{{\"run_id\":\"h\",\"step\":{step},\"loss\":2.5}}\n")
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn tokens() -> String {
    format!(
        "gateway.tokens=[{{sha256: {SECRET}, tenant: acme}}, {{sha256: {OTHER}, tenant: default, topics: [eval.results]}}]"
    )
}

#[test]
fn a_token_says_whose_events_they_are_and_which() {
    let bench = Bench::new();
    let tokens = tokens();
    let server = Server::start_with(
        &bench,
        &[
            "--setting",
            &tokens,
            "--setting",
            "runtime.tenants=[default, acme]",
        ],
    );
    let body = row(1);
    for (authorization, status, code) in [
        ("", 401, "unauthorized"),
        ("Authorization: Bearer wrong\r\n", 401, "unauthorized"),
        ("Authorization: Basic c2VjcmV0\r\n", 401, "unauthorized"),
        ("Authorization: Bearer other\r\n", 403, "forbidden"),
    ] {
        let answer = server.send(authorization, body.as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} "))
                && answer.contains(code)
                && answer.contains("\"remedy\""),
            "{authorization}: {answer}"
        );
    }
    let answer = server.send("Authorization: Bearer secret\r\n", body.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(server);
    // of the tenant, and of nobody else
    assert_eq!(bench.values("acme.telemetry.training").len(), 1);
    assert!(bench.values("telemetry.training").is_empty());
    assert!(bench.json(&["deadletter", "list"]).1.is_empty());
}

#[test]
fn beyond_this_machine_nobody_sends_without_a_token() {
    let bench = Bench::new();
    let (exit, said) = bench.json(&["run", "--setting", "gateway.listen=0.0.0.0:0"]);
    let error = error(&said).to_string();
    assert_eq!(exit, 2, "{error}");
    assert!(
        error.contains("gateway.tokens") && error.contains("gateway.events"),
        "{error}"
    );
    // metrics alone are nobody's secret
    let server = Server::start_with(
        &bench,
        &[
            "--setting",
            "gateway.listen=0.0.0.0:0",
            "--setting",
            "gateway.events=off",
        ],
    );
    assert!(server.get("/healthz").contains("200 OK"));
    let answer = server.send("", row(1).as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 404") && answer.contains("gateway.events"),
        "{answer}"
    );
}

#[test]
fn tokens_that_cannot_work_are_refused_at_the_start() {
    let bench = Bench::new();
    for (tokens, words) in [
        ("[{sha256: secret, tenant: default}]", "sha256sum"),
        (
            &*format!("[{{sha256: {SECRET}, tenant: acme}}]"),
            "runtime.tenants",
        ),
        (
            &*format!("[{{sha256: {SECRET}, tenant: default, topics: [late]}}]"),
            "no ingress topic",
        ),
        (
            &*format!("[{{sha256: {SECRET}, tennant: default}}]"),
            "tennant",
        ),
    ] {
        let setting = format!("gateway.tokens={tokens}");
        let (exit, said) = bench.json(&["run", "--drain", "--setting", &setting]);
        assert!(
            exit == 2 && error(&said).to_string().contains(words),
            "{tokens}: {said:?}"
        );
    }
}

#[test]
fn a_key_counts_once_even_after_a_restart() {
    let bench = Bench::new();
    let server = Server::start_with(&bench, &[]);
    // two events of one content: only a key tells a second request from a second sending
    let body = format!("{}{}not an event\n", row(1), row(2));
    let key = "Idempotency-Key: 6ba7b810-9dad-11d1-80b4-00c04fd430c8\r\n";
    let first = server.send(key, body.as_bytes());
    assert!(
        first.contains("\"accepted\":2") && first.contains("\"rejected\":1"),
        "{first}"
    );
    let payload = |answer: &str| {
        answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned())
    };
    let again = server.send(key, body.as_bytes());
    assert_eq!(payload(&again), payload(&first));
    assert!(
        again.to_lowercase().contains("idempotency-replayed: true"),
        "{again}"
    );
    drop(server);
    let server = Server::start_with(&bench, &[]);
    let again = server.send(key, body.as_bytes());
    assert_eq!(payload(&again), payload(&first), "after a restart");
    let other = server.send(key, row(3).as_bytes());
    assert!(
        other.starts_with("HTTP/1.1 422") && other.contains("idempotency_key"),
        "{other}"
    );
    drop(server);
    assert_eq!(bench.values("telemetry.training").len(), 2);
    assert_eq!(bench.json(&["deadletter", "list"]).1.len(), 1);
}

#[test]
fn bodies_come_compressed_and_not_too_large() {
    let bench = Bench::new();
    let server = Server::start_with(
        &bench,
        &[
            "--setting",
            "gateway.body_bytes_max=20000",
            "--setting",
            "gateway.decoded_bytes_max=100000",
        ],
    );
    let rows: String = (0..1_000).map(row).collect();
    let answer = server.send("Content-Encoding: gzip\r\n", &gzip(&rows));
    assert!(answer.contains("\"accepted\":1000"), "{answer}");
    let packed = zstd::encode_all(rows.as_bytes(), 1).expect("it packs");
    let answer = server.send(
        "Content-Encoding: zstd\r\nContent-Type: application/x-ndjson\r\n",
        &packed,
    );
    assert!(answer.contains("\"accepted\":1000"), "{answer}");
    for (headers, body, status, code) in [
        ("", rows.as_bytes().to_vec(), 413, "gateway.body_bytes_max"),
        (
            "Content-Encoding: gzip\r\n",
            gzip(&row(1).repeat(5_000)),
            413,
            "gateway.decoded_bytes_max",
        ),
        (
            "Content-Encoding: gzip\r\n",
            row(1).into_bytes(),
            400,
            "bad_body",
        ),
        (
            "Content-Encoding: br\r\n",
            row(1).into_bytes(),
            415,
            "unsupported",
        ),
        (
            "Content-Type: text/html\r\n",
            row(1).into_bytes(),
            415,
            "unsupported",
        ),
        (
            "Content-Type: application/avro\r\n",
            row(1).into_bytes(),
            400,
            "\"avro\"",
        ),
    ] {
        let answer = server.send(headers, &body);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(code),
            "{headers}: {answer}"
        );
    }
}

/// A file that a stock Avro library wrote (fastavro 1.13, codec deflate, by a schema with fewer fields than ours).
#[test]
fn an_avro_file_of_a_stock_library_is_taken() {
    let bench = Bench::new();
    let server = Server::start_with(&bench, &[]);
    let script = r#"
import fastavro, sys
schema = {"type": "record", "name": "TrainingTelemetry", "namespace": "cairn.v1", "fields": [
    {"name": "run_id", "type": "string"}, {"name": "step", "type": "long"},
    {"name": "loss", "type": ["null", "double"], "default": None}]}
rows = [{"run_id": "avro", "step": step, "loss": 2.5} for step in range(300)] + [{"run_id": "avro", "step": -1, "loss": 1.0}]
fastavro.writer(sys.stdout.buffer, schema, rows, codec="deflate", sync_interval=1000)
"#;
    let Some(python) = super::s3::python("fastavro") else {
        return;
    };
    let output = std::process::Command::new(python)
        .args(["-c", script])
        .output()
        .expect("Python starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answer = server.send("Content-Type: application/avro\r\n", &output.stdout);
    assert!(
        answer.starts_with("HTTP/1.1 200")
            && answer.contains("\"accepted\":300")
            && answer.contains("\"line\":301"),
        "{answer}"
    );
    drop(server);
    // the same file by ingest: the same records and the same bad one, in a log of its own
    let other = Bench::new();
    let path = other.home.path().join("steps.avro");
    std::fs::write(&path, &output.stdout).expect("written");
    for (accepted, duplicate) in [(300, 0), (0, 301)] {
        let (_, said) = other.json(&["ingest", "steps.avro"]);
        assert_eq!(
            (
                &said[0]["format"],
                &said[0]["accepted"],
                &said[0]["duplicate"]
            ),
            (&"avro".into(), &accepted.into(), &duplicate.into()),
            "{said:?}"
        );
    }
    let (_, letters) = other.json(&["deadletter", "list"]);
    assert_eq!(letters[0]["class"], "out_of_range");
    let rows = bench.values("telemetry.training");
    assert_eq!(rows.len(), 300);
    assert!(
        rows.iter()
            .all(|row| row["loss"] == 2.5 && row["run_id"] == "avro")
    );
    let (_, letters) = bench.json(&["deadletter", "list"]);
    assert_eq!(letters[0]["class"], "out_of_range");
}
