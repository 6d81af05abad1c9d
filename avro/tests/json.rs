//! The contract's JSON: what is taken, what is refused and in which words.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use cairn_avro::json::{self, Class};
use cairn_avro::record::*;

/// Reads a line and writes it again.
fn check(text: &str, expected: &str) {
    let line = json::line(text.as_bytes()).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    let written = json::canonical_payload(&line.payload).unwrap();
    assert_eq!(written, expected);
    let again = json::payload(line.topic, written.as_bytes()).unwrap();
    assert_eq!(
        json::canonical_payload(&again).unwrap(),
        expected,
        "the way back and forth"
    );
}

/// A line that is refused: class, member, words.
fn refuse(text: &str, class: Class, member: &str, words: &str) {
    let fault = json::line(text.as_bytes()).expect_err(text);
    assert_eq!(
        (fault.class, fault.member.as_str()),
        (class, member),
        "{fault}"
    );
    assert!(fault.text.contains(words), "{text}\n{fault}\nlacks {words}");
}

#[test]
fn a_step_needs_little() {
    check(r#"{"run_id":"r","step":3}"#, r#"{"run_id":"r","step":3}"#);
    check(
        r#"{"topic":"telemetry.training","step":3,"run_id":"r","attempt":0,"loss":2,"metrics":{}}"#,
        r#"{"run_id":"r","step":3,"loss":2.0}"#,
    );
}

#[test]
fn numbers_that_are_not_finite_come_through() {
    check(
        r#"{"run_id":"r","step":3,"loss":"NaN","grad_norm":"Infinity","metrics":{"b":"-Infinity","a":1e-9}}"#,
        r#"{"run_id":"r","step":3,"loss":"NaN","grad_norm":"Infinity","metrics":{"a":1e-9,"b":"-Infinity"}}"#,
    );
}

#[test]
fn times_are_numbers_or_text() {
    for time in ["1795532632123", "\"2026-11-24T15:03:52.123Z\""] {
        check(
            &format!(r#"{{"run_id":"r","step":1,"event_time_ms":{time}}}"#),
            r#"{"run_id":"r","step":1,"event_time_ms":1795532632123}"#,
        );
    }
}

#[test]
fn whole_numbers_may_have_a_point() {
    check(
        r#"{"run_id":"r","step":100.0}"#,
        r#"{"run_id":"r","step":100}"#,
    );
}

#[test]
fn nested_records_and_enums_are_plain() {
    check(
        r#"{"topic":"runs.config","run_id":"r","model":{"family":"dense","width":64},"data_mix":[{"dataset":"d","ratio":1}]}"#,
        r#"{"run_id":"r","model":{"family":"dense","width":64},"data_mix":[{"dataset":"d","ratio":1.0}]}"#,
    );
    check(
        r#"{"topic":"runs.lifecycle","run_id":"r","state":"end_of_file","step":null}"#,
        r#"{"run_id":"r","state":"end_of_file"}"#,
    );
}

#[test]
fn text_is_escaped() {
    check(
        r#"{"topic":"runs.tags","run_id":"\u00fc\"\\\u0001\n","actor":"\ud83d\ude00"}"#,
        "{\"run_id\":\"ü\\\"\\\\\\u0001\\n\",\"actor\":\"😀\"}",
    );
}

#[test]
fn an_event_id_may_come_along() {
    let line = json::line(br#"{"run_id":"r","step":1,"event_id":"mine"}"#).unwrap();
    assert_eq!(line.event_id.as_deref(), Some("mine"));
    let fault = json::payload(
        "telemetry.training",
        br#"{"run_id":"r","step":1,"event_id":"x"}"#,
    );
    assert_eq!(
        fault.unwrap_err().class,
        Class::UnknownField,
        "on the bus it is a header"
    );
}

#[test]
fn what_is_unknown_is_refused_with_a_hint() {
    use Class::{UnknownField, UnknownTopic};
    refuse(
        r#"{"run_id":"r","step":1,"los":1}"#,
        UnknownField,
        "los",
        "did you mean `loss`?",
    );
    refuse(
        r#"{"run_id":"r","step":1,"lr":1}"#,
        UnknownField,
        "lr",
        "`learning_rate`",
    );
    refuse(
        r#"{"run_id":"r","step":1,"gpu_temp":1}"#,
        UnknownField,
        "gpu_temp",
        "under `metrics`",
    );
    refuse(
        r#"{"topic":"runs.config","run_id":"r","model":{"layers":1}}"#,
        UnknownField,
        "model.layers",
        "in `model`: unknown member `layers`; did you mean `depth_layers`?",
    );
    refuse(
        r#"{"topic":"telemetry.trainin"}"#,
        UnknownTopic,
        "topic",
        "`telemetry.training`",
    );
    refuse(
        r#"{"topic":"runs.events"}"#,
        UnknownTopic,
        "topic",
        "unknown topic `runs.events`",
    );
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    use Class::{MissingField, OutOfRange, WrongType};
    refuse(
        r#"{"run_id":"r"}"#,
        MissingField,
        "step",
        "member `step` is missing: an integer",
    );
    refuse(
        r#"{"topic":"runs.config","run_id":"r","data_mix":[{"dataset":"d","ratio":1},{"dataset":"e"}]}"#,
        MissingField,
        "data_mix[1].ratio",
        "data_mix[1].ratio",
    );
    refuse(
        r#"{"run_id":7,"step":1}"#,
        WrongType,
        "run_id",
        "expected a string, found the number 7",
    );
    refuse(
        r#"{"run_id":"r","step":"1"}"#,
        WrongType,
        "step",
        "an integer, found the string \"1\"",
    );
    refuse(
        r#"{"run_id":"r","step":null}"#,
        WrongType,
        "step",
        "found null",
    );
    refuse(
        r#"{"run_id":"r","step":1.5}"#,
        WrongType,
        "step",
        "found the number 1.5",
    );
    refuse(
        r#"{"run_id":"r","step":1,"loss":"nan"}"#,
        WrongType,
        "loss",
        "\"NaN\"",
    );
    refuse(
        r#"{"run_id":"r","step":1,"loss":true}"#,
        WrongType,
        "loss",
        "-Infinity\", found a boolean",
    );
    refuse(
        r#"{"run_id":"r","step":1e30}"#,
        OutOfRange,
        "step",
        "64 bits",
    );
    refuse(
        r#"{"run_id":"r","step":1,"attempt":3000000000}"#,
        OutOfRange,
        "attempt",
        "32 bits",
    );
    refuse(
        r#"{"run_id":"r","step":1,"event_time_ms":"yesterday"}"#,
        WrongType,
        "event_time_ms",
        "RFC 3339",
    );
    refuse(
        r#"{"topic":"runs.lifecycle","run_id":"r","state":"finish"}"#,
        OutOfRange,
        "state",
        "did you mean `finished`?",
    );
    refuse(
        r#"{"run_id":"r","step":1,"metrics":{"a":"x"}}"#,
        WrongType,
        "metrics.a",
        "a number",
    );
    refuse(r#"{"topic":7}"#, WrongType, "topic", "expected a string");
}

#[test]
fn what_is_not_an_object_is_refused() {
    use Class::{DuplicateField, Json};
    refuse("[1]", Json, "", "expected an object, found an array");
    refuse("{", Json, "", "not JSON: EOF");
    refuse(r#"{"run_id":"r","step":NaN}"#, Json, "", "not JSON");
    refuse(
        r#"{"run_id":"r","step":1,"step":2}"#,
        DuplicateField,
        "step",
        "twice",
    );
    refuse(
        r#"{"run_id":"r","step":1,"metrics":{"a":1,"a":2}}"#,
        DuplicateField,
        "a",
        "twice",
    );
    refuse(r#"{"run_id":"r","step":1} {}"#, Json, "", "trailing");
}

#[test]
fn every_record_can_be_read_and_written() {
    let cohort: Cohort =
        json::record(br#"{"tenant":"t","name":"n","where_sql":"steps > 3"}"#).unwrap();
    assert_eq!(cohort.where_sql, "steps > 3");
    let change = Change {
        table: "runs".into(),
        version: 1,
        value: vec![0, 255],
    };
    let text = json::canonical(&change).unwrap();
    assert_eq!(text, r#"{"table":"runs","version":1,"value":"00ff"}"#);
    assert_eq!(json::record::<Change>(text.as_bytes()).unwrap(), change);
}

#[test]
fn a_payload_inside_a_record_names_its_kind() {
    let event = RunEvent {
        event_id: vec![1],
        attempt: 0,
        clock: None,
        received_time_ms: 5,
        topic: "runs.tags".into(),
        source: None,
        traceparent: None,
        payload: RunTags {
            run_id: "r".into(),
            ..Default::default()
        }
        .into(),
    };
    let events = RunEvents {
        tenant: "t".into(),
        run_id: "r".into(),
        events: vec![event],
    };
    let text = json::canonical(&events).unwrap();
    assert_eq!(
        text,
        r#"{"tenant":"t","run_id":"r","events":[{"event_id":"01","received_time_ms":5,"topic":"runs.tags","payload":{"RunTags":{"run_id":"r"}}}]}"#
    );
    assert_eq!(json::record::<RunEvents>(text.as_bytes()).unwrap(), events);
}

#[test]
fn field_names_are_the_schemas() {
    assert_eq!(
        json::field_names("runs.tags"),
        [
            "run_id",
            "event_time_ms",
            "add",
            "remove",
            "actor",
            "rederive"
        ]
    );
    assert!(json::field_names("nowhere").is_empty());
}
