//! OTLP: calls of models, tools, agents, what is private, and damage.

use super::super::fixtures::{check, run, runtime};
use super::*;

pub(in super::super) fn span(id: u64, status: u8, attributes: &str) -> String {
    format!(
        r#"{{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"{id:016X}","name":"chat secret","kind":3,
  "startTimeUnixNano":"1700000000000000000","endTimeUnixNano":1700000001500000000,"attributes":[{attributes}],
  "events":[{{"name":"secret"}}],"status":{{"code":{status},"message":"secret"}}}}"#
    )
}

fn text(key: &str, value: &str) -> String {
    format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#)
}

fn whole(key: &str, value: u32) -> String {
    format!(r#"{{"key":"{key}","value":{{"intValue":"{value}"}}}}"#)
}

fn document(spans: &[String]) -> String {
    format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{}]}},"scopeSpans":[{{"scope":{{"name":"x"}},"spans":[{}]}}]}}]}}"#,
        text("service.name", "secret"),
        spans.join(",\n")
    )
}

fn call() -> String {
    span(
        1,
        0,
        &[
            text("gen_ai.operation.name", "chat"),
            text("gen_ai.request.model", "gpt-4"),
            whole("gen_ai.usage.input_tokens", 100),
            whole("gen_ai.usage.output_tokens", 50),
            text("gen_ai.input.messages", "secret"),
            text("gen_ai.tool.call.arguments", "secret"),
            r#"{"key":"gen_ai.request.temperature","value":{"doubleValue":0.5}}"#.to_owned(),
            r#"{"key":"gen_ai.server.time_to_first_token","value":{"doubleValue":0.25}}"#
                .to_owned(),
        ]
        .join(","),
    )
}

pub(in super::super) fn sample() -> String {
    let tool = span(
        2,
        2,
        &[
            text("gen_ai.operation.name", "execute_tool"),
            text("gen_ai.tool.name", "search"),
            text("gen_ai.tool.call.result", "secret"),
            text("error.type", "ReadTimeout"),
            text("gen_ai.conversation.id", "c1"),
        ]
        .join(","),
    );
    let other = span(3, 0, &text("http.route", "/secret"));
    format!(
        "{}\n{}\n",
        document(&[call(), tool]),
        document(&[
            other,
            span(4, 1, &text("gen_ai.operation.name", "invoke_agent"))
        ])
    )
}

#[test]
fn calls_tools_and_agents() {
    let out = check("otlp", sample().as_bytes());
    assert_eq!(
        (out.rejects.len(), out.ignored, out.events.len()),
        (0, 1, 3)
    );
    let record = &runtime(&out)[0];
    assert_eq!(
        (record.input_tokens, record.output_tokens, record.latency_ms),
        (Some(100), Some(50), Some(1500.0))
    );
    assert_eq!(
        (
            record.time_to_first_token_ms,
            record.metrics["request_temperature"]
        ),
        (Some(250.0), 0.5)
    );
    assert_eq!(record.event_time_ms, Some(1_700_000_001_500));
    let tools = run(&out, |payload| match payload {
        Payload::ToolUse(tool) => Some(tool.clone()),
        _ => None,
    });
    assert_eq!(
        (
            tools[0].tool.as_str(),
            tools[0].outcome,
            tools[0].error_class.as_deref()
        ),
        ("search", ToolOutcome::Timeout, Some("ReadTimeout"))
    );
    assert_eq!(
        (tools[0].task.as_deref(), tools[0].span_id.as_deref()),
        (Some("c1"), Some("0000000000000002"))
    );
    assert_eq!(
        (tools[1].tool.as_str(), tools[1].outcome),
        ("invoke_agent", ToolOutcome::Success)
    );
    assert_eq!(
        out.events[0].event_id.as_deref(),
        Some("otlp:5b8efff798038103d269b633813fc60c:0000000000000001")
    );
    assert!(!format!("{:?}", out.events).contains("secret"));
}

#[test]
fn old_conventions_and_failed_calls() {
    let old = span(
        5,
        0,
        &[
            text("gen_ai.system", "vllm"),
            whole("gen_ai.usage.prompt_tokens", 7),
            whole("gen_ai.usage.completion_tokens", 9),
            r#"{"key":"gen_ai.latency.e2e","value":{"doubleValue":2}}"#.to_owned(),
        ]
        .join(","),
    );
    let failed = span(
        6,
        2,
        &[
            text("gen_ai.operation.name", "chat"),
            text("error.type", "429"),
        ]
        .join(","),
    );
    let text = document(&[old, failed]).replace("scopeSpans", "instrumentationLibrarySpans");
    let records = runtime(&check("otlp", text.as_bytes()));
    assert_eq!(
        (
            records[0].input_tokens,
            records[0].output_tokens,
            records[0].metrics["latency_e2e_ms"]
        ),
        (Some(7), Some(9), 2000.0)
    );
    assert_eq!(
        (records[1].latency_ms, records[1].metrics["failed"]),
        (None, 1.0)
    );
}

#[test]
fn damage() {
    let bad = [
        call().replace("\"spanId\":\"0", "\"spanId\":\"x"),
        call().replace(
            "5B8EFFF798038103D269B633813FC60C",
            "00000000000000000000000000000000",
        ),
        call().replace("1700000001500000000", "1600000000000000000"),
        "7".to_owned(),
    ];
    let text = document(&bad);
    let out = check("otlp", text.as_bytes());
    let classes: Vec<_> = out.rejects.iter().map(|reject| reject.class).collect();
    assert_eq!(classes, ["bad_value", "bad_value", "out_of_range"]);
    assert!(out.rejects.iter().all(|reject| {
        !reject.text.contains("secret")
            && !String::from_utf8_lossy(&reject.original).contains("secret")
    }));
    // the last line was cut: what came before counts
    let text = sample();
    let out = check("otlp", &text.as_bytes()[..text.len() - 9]);
    assert_eq!(
        (out.events.len(), out.rejects.len(), out.rejects[0].class),
        (2, 1, "json")
    );
    let out = check("otlp", &text.as_bytes()[..300]);
    assert_eq!((out.events.len(), out.rejects[0].class), (0, "json"));
}

/// What collectors write: lists of exports, other signals in the same file, members that are null, and a line that is none.
#[test]
fn exports_of_several_shapes() {
    let one = document(&[call()]).replace('\n', " ");
    let list = format!("[{one},{}]\n[{one}]\n", document(&[]));
    assert_eq!(detected(&list), Confidence::Sure);
    assert_eq!(check("otlp", list.as_bytes()).events.len(), 2);
    let empty = r#"{"resourceSpans":[{"scopeSpans":null},{"scopeSpans":[{"spans":null}]}]}"#;
    let mixed = format!(
        "{one}\n{{\"resourceMetrics\":[{{}}]}}\n{{\"resourceLogs\":[]}}\n{empty}\n{{\"other\":1}}\nno JSON {{\n{one}\n"
    );
    let out = check("otlp", mixed.as_bytes());
    assert_eq!(out.events.len(), 2);
    let lines: Vec<_> = out
        .rejects
        .iter()
        .map(|reject| (reject.class, reject.position.line))
        .collect();
    assert_eq!(lines, [("json", 5), ("json", 6)]);
    assert_eq!(out.events[1].position.line, 7);
    let names = r#"{"resource_spans":[{"scope_spans":[]}]}"#;
    assert!(matches!(detected(names), Confidence::Perhaps(why) if why.contains("resourceSpans")));
}

fn detected(text: &str) -> Confidence {
    Otlp.detect(text.as_bytes())
}
