//! The JSON Schemas: what they take, what they refuse.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use cairn_avro::contract::{self, entries};
use cairn_avro::json;
use common::sample_text;
use jsonschema::Validator;
use serde_json::{Value, json};

fn validator(name: &str) -> Validator {
    let schema: Value = serde_json::from_str(contract::json_schema(name).unwrap()).unwrap();
    assert!(jsonschema::meta::is_valid(&schema), "{name}");
    jsonschema::validator_for(&schema).unwrap()
}

/// A change of a document: pointer of the parent and member, new value (or nothing: taken away).
fn changed(document: &Value, pointer: &str, value: Option<Value>) -> Value {
    let mut document = document.clone();
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    let parent = document
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("no {parent}"));
    match (parent, value) {
        (Value::Object(members), Some(value)) => drop(members.insert(member.to_owned(), value)),
        (Value::Object(members), None) => drop(members.remove(member).unwrap()),
        (Value::Array(items), Some(value)) => items[member.parse::<usize>().unwrap()] = value,
        (parent, _) => panic!("{parent} has no members"),
    }
    document
}

fn telegram() -> Value {
    json!({
        "schema_version": "1.0",
        "telegram_id": "0123456789abcdef0123456789abcdef",
        "tenant": "acme",
        "stream": "runs",
        "time": "2026-11-24T15:03:52.123Z",
        "kind": "breaker",
        "subject": {"type": "run", "id": "ladder/7 & more"},
        "priority": 1,
        "text": {
            "key": "breaker.open.divergence",
            "args": {"run": "ladder/7", "step": 1200},
            "fallback": "Run ladder/7 diverges since step 1200."
        },
        "evidence": {
            "offsets": [{"topic": "runs.events", "partition": 3, "offset": 17}],
            "run_id": "ladder/7 & more",
            "verdict": {
                "state": "open", "cause": "divergence", "rule": "divergence/1", "at_step": 1200,
                "onset_step": null, "slope": 0.25, "slope_unit": "nats_per_token_per_step",
                "threshold": null
            }
        },
        "traceparent": "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
    })
}

#[test]
fn telegrams_are_held_to_their_schema() {
    let validator = validator("telegram");
    let good = telegram();
    if let Err(error) = validator.validate(&good) {
        panic!("{error} at {}", error.instance_path());
    }
    let fit = json!({"offsets": [], "fit_id": "f1"});
    let fit = changed(
        &changed(&good, "/kind", Some("fit".into())),
        "/evidence",
        Some(fit),
    );
    assert!(validator.is_valid(&fit));
    assert!(validator.is_valid(&changed(&good, "/traceparent", None)));

    for member in [
        "schema_version",
        "telegram_id",
        "tenant",
        "stream",
        "time",
        "kind",
        "subject",
        "priority",
        "text",
        "evidence",
    ] {
        assert!(
            !validator.is_valid(&changed(&good, &format!("/{member}"), None)),
            "{member}"
        );
    }
    for object in [
        "",
        "/subject",
        "/text",
        "/evidence",
        "/evidence/offsets/0",
        "/evidence/verdict",
    ] {
        let bad = changed(&good, &format!("{object}/surplus"), Some(1.into()));
        assert!(!validator.is_valid(&bad), "unknown member in {object}");
    }
    let place = good["evidence"]["offsets"][0].clone();
    for (pointer, value) in [
        ("/schema_version", json!("2.0")),
        ("/telegram_id", json!("0123456789ABCDEF0123456789ABCDEF")),
        ("/telegram_id", json!("0123")),
        ("/tenant", json!("Acme")),
        ("/tenant", json!("")),
        ("/stream", json!("a b")),
        ("/time", json!("2026-11-24T15:03:52+01:00")),
        ("/time", json!(1_795_532_632_123_i64)),
        ("/kind", json!("rollback")),
        ("/subject/type", json!("model")),
        ("/subject/id", json!("")),
        ("/subject/id", json!("x".repeat(257))),
        ("/priority", json!(4)),
        ("/priority", json!(1.5)),
        ("/text/key", json!("Breaker")),
        ("/text/args", json!({"a": [1]})),
        ("/text/args", json!({"a": "x".repeat(121)})),
        (
            "/text/args",
            (0..13).map(|at| (format!("a{at}"), json!(1))).collect(),
        ),
        ("/text/fallback", json!("x".repeat(161))),
        ("/text/fallback", json!("")),
        ("/evidence/offsets", Value::Array(vec![place; 33])),
        (
            "/evidence/offsets/0",
            json!({"topic": "t", "partition": -1, "offset": 0}),
        ),
        (
            "/evidence/offsets/0",
            json!({"topic": "a b", "partition": 0, "offset": 0}),
        ),
        ("/evidence/verdict/slope", json!("NaN")),
        ("/evidence/verdict/state", json!("forced_open")),
        ("/traceparent", json!("00-0-0-00")),
    ] {
        assert!(
            !validator.is_valid(&changed(&good, pointer, Some(value.clone()))),
            "{pointer} {value}"
        );
    }
    assert!(
        !validator.is_valid(&changed(&good, "/evidence/verdict", None)),
        "a breaker's verdict"
    );
}

fn board() -> Value {
    let time = "2026-11-24T15:03:52.123Z";
    let digest = format!("sha256:{}", "0".repeat(64));
    let text =
        json!({"key": "breaker.open", "args": {"run": "r1", "step": 7}, "fallback": "It broke."});
    let alert = |id: &str, priority: u8| {
        json!({
            "alert_id": id, "fingerprint": "0123456789abcdef", "group": "breaker", "priority": priority,
            "state": "unacked", "presentation": "focus", "message": text, "raised_at": time, "count": 1,
            "response": {"consequence": text, "action": text, "respond_within_s": 60, "runbook": "/docs/x"}
        })
    };
    json!({
        "schema_version": "1.0",
        "telegram_id": "01890000-0000-7000-8000-000000000000",
        "kind": "snapshot",
        "tenant": "acme",
        "stream": "board",
        "epoch": 0,
        "seq": 1,
        "issued_at": time,
        "expires_at": time,
        "producer": {"service": "cairn-cockpit", "version": "0.1.0", "instance": "core"},
        "trace": {"traceparent": "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01", "run_id": "r1"},
        "phase": "training",
        "telemetry": {"window_s": 60, "samples": [
            {"name": "loss", "unit": "nats", "value": 2.5, "at": time, "quality": "good",
             "interval": {"low": 2.0, "high": 3.0, "level": 0.9}}
        ]},
        "breakers": [
            {"name": "run:r1", "state": "open", "since": time, "reason": "diverges", "next_probe_at": time,
             "blocks": ["train"], "observed": {"failure_rate": 0.5, "slow_rate": 0, "calls": 4, "window_s": 60}},
            {"name": "registry", "state": "forced_open", "since": time, "reason": "works", "set_by": "ann",
             "blocks": [], "observed": {"failure_rate": 0, "slow_rate": 0, "calls": 0, "window_s": 60}}
        ],
        "throttle": {"state": "busy", "since": time, "raised_10m": 3, "annunciated_10m": 10, "held": 0,
                     "inhibited": 0, "focus": ["a0"], "focus_overflow": 0},
        "alerts": [alert("a0", 0), alert("a1", 1), alert("a3", 3)],
        "alerts_truncated": 0,
        "approvals": [
            {"approval_id": "p1", "action": "start_training",
             "subject": {"name": "m", "version": "1", "digest": digest}, "contract_digest": digest,
             "summary": text, "requested_by": "ann", "requested_at": time, "expires_at": time,
             "on_expiry": "abort", "required": 2, "decisions": [{"actor": "bob", "verdict": "approve", "at": time}]}
        ],
        "rollback": {"available": true, "target": {"name": "m", "version": "1", "digest": digest}, "estimated_s": 5},
        "context_impact": [
            {"context_tokens": 8192, "batch": 1,
             "latency_ms": {"ttft_p50": 1, "ttft_p95": 2, "per_token_p50": 1, "per_token_p95": 2},
             "memory_gib": {"weights": 1, "kv_cache": 1, "total": 2}, "fits": true, "basis": "fitted",
             "interval": {"latency": {"low": 1, "high": 2, "level": 0.9}, "memory": {"low": 1, "high": 2, "level": 0.9}},
             "confidence": 0.5}
        ],
        "narration": [
            {"item_id": "n1", "priority": 1, "dedupe_key": "k", "texts": [{"lang": "pt-BR", "text": "Olá"}], "ttl_s": 30}
        ]
    })
}

/// The twenty cases of the cockpit's specification: two that are right and eighteen that are not,
/// and a few more.
#[test]
fn boards_are_held_to_their_schema() {
    let validator = validator("board");
    let good = board();
    if let Err(error) = validator.validate(&good) {
        panic!("{error} at {}", error.instance_path());
    }
    let right = [("P3 without response", "/alerts/2/response", None)];
    for (case, pointer, value) in right {
        assert!(
            validator.is_valid(&changed(&good, pointer, value)),
            "{case}"
        );
    }
    let alert = good["alerts"][1].clone();
    let six: Vec<String> = (0..6).map(|at| format!("a{at}")).collect();
    let wrong = [
        ("unknown field", "/surplus", Some(json!(1))),
        (
            "open breaker without probe time",
            "/breakers/0/next_probe_at",
            None,
        ),
        ("P0 shelved", "/alerts/0/state", Some(json!("shelved"))),
        ("P1 without response", "/alerts/1/response", None),
        (
            "11 annunciated",
            "/throttle/annunciated_10m",
            Some(json!(11)),
        ),
        ("six in focus", "/throttle/focus", Some(json!(six))),
        ("rollback without target", "/rollback/target", None),
        (
            "unavailable without reason",
            "/rollback",
            Some(json!({"available": false})),
        ),
        (
            "fitted impact without interval",
            "/context_impact/0/interval",
            None,
        ),
        (
            "NaN as text",
            "/telemetry/samples/0/value",
            Some(json!("NaN")),
        ),
        ("51 alerts", "/alerts", Some(Value::Array(vec![alert; 51]))),
        (
            "script URL as runbook",
            "/alerts/1/response/runbook",
            Some(json!("javascript:alert(1)")),
        ),
        (
            "non-UTC time",
            "/issued_at",
            Some(json!("2026-11-24T15:03:52+01:00")),
        ),
        (
            "181-character narration",
            "/narration/0/texts/0/text",
            Some(json!("x".repeat(181))),
        ),
        (
            "bad language tag",
            "/narration/0/texts/0/lang",
            Some(json!("english!")),
        ),
        ("priority 4", "/alerts/2/priority", Some(json!(4))),
        ("forced_open without setter", "/breakers/1/set_by", None),
        (
            "breaker blocking rollback",
            "/breakers/0/blocks",
            Some(json!(["rollback"])),
        ),
        (
            "an id that is no UUID of version 7",
            "/telegram_id",
            Some(json!("01890000-0000-4000-8000-000000000000")),
        ),
        (
            "a level of 1",
            "/telemetry/samples/0/interval/level",
            Some(json!(1)),
        ),
        (
            "shelved without an end",
            "/alerts/1/state",
            Some(json!("shelved")),
        ),
    ];
    for (case, pointer, value) in wrong {
        assert!(
            !validator.is_valid(&changed(&good, pointer, value)),
            "{case}"
        );
    }
}

#[test]
fn schemas_of_records_take_their_samples() {
    for (name, records) in [
        ("config", &[&entries::RUN_CONFIG][..]),
        (
            "metrics",
            &[
                &entries::TRAINING_TELEMETRY,
                &entries::RUNTIME_TELEMETRY,
                &entries::TOOL_USE,
                &entries::EVAL_RESULT,
                &entries::SAFETY_RESULT,
            ],
        ),
        ("experiment", &[&entries::EXPERIMENT_ROW]),
        ("recommendation", &[&entries::RECOMMENDATION]),
    ] {
        let validator = validator(name);
        for entry in records {
            let mut sample: Value = serde_json::from_str(&sample_text(entry.schema)).unwrap();
            if name == "metrics" {
                sample["topic"] = entry.topics[0].into();
            }
            if let Err(error) = validator.validate(&sample) {
                panic!(
                    "{name} refuses a {}: {error} at {}",
                    entry.record,
                    error.instance_path()
                );
            }
        }
    }
}

/// A line is taken by the schema and by the parser, or by neither.
#[test]
fn schema_and_parser_agree() {
    let metrics = validator("metrics");
    let config = validator("config");
    for (line, is_right) in [
        (r#"{"run_id":"r","step":1}"#, true),
        (
            r#"{"run_id":"r","step":1,"loss":"NaN","metrics":{"a":"-Infinity"}}"#,
            true,
        ),
        (
            r#"{"run_id":"r","step":1.0,"event_time_ms":"2026-11-24T15:03:52Z"}"#,
            true,
        ),
        (
            r#"{"topic":"telemetry.training","event_id":"x","run_id":"r","step":1,"loss":null}"#,
            true,
        ),
        (
            r#"{"topic":"eval.results","run_id":"r","harness":"h","task":"t","metric":"m","value":1}"#,
            true,
        ),
        (r#"{"run_id":"r"}"#, false),
        (r#"{"run_id":"r","step":"1"}"#, false),
        (r#"{"run_id":"r","step":1,"los":1}"#, false),
        (r#"{"run_id":"r","step":1,"loss":"nan"}"#, false),
        (r#"{"run_id":"r","step":1,"attempt":null}"#, false),
        (r#"{"run_id":"r","step":1,"attempt":3000000000}"#, false),
        (r#"{"run_id":"r","step":1,"loss_state":"odd"}"#, false),
        (r#"{"topic":"runs.events","run_id":"r"}"#, false),
    ] {
        assert_eq!(json::line(line.as_bytes()).is_ok(), is_right, "{line}");
        assert_eq!(
            metrics.is_valid(&serde_json::from_str(line).unwrap()),
            is_right,
            "{line}"
        );
    }
    for (line, is_right) in [
        (
            r#"{"topic":"runs.config","run_id":"r","data_mix":[{"dataset":"d","ratio":1}]}"#,
            true,
        ),
        (
            r#"{"topic":"runs.config","run_id":"r","data_mix":[{"dataset":"d"}]}"#,
            false,
        ),
        (
            r#"{"topic":"runs.config","run_id":"r","model":{"layers":2}}"#,
            false,
        ),
    ] {
        assert_eq!(json::line(line.as_bytes()).is_ok(), is_right, "{line}");
        assert_eq!(
            config.is_valid(&serde_json::from_str(line).unwrap()),
            is_right,
            "{line}"
        );
    }
}
