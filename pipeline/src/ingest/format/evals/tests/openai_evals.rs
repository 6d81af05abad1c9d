//! OpenAI's evals: reports, what stands for one that is missing, lines that are none.

use super::*;

pub(super) const LOG: &str = r#"{"spec": {"completion_fns": ["gpt-3.5-turbo"], "eval_name": "test-match.s1.simple-v0", "base_eval": "test-match", "split": "s1", "run_config": {"seed": 1}, "created_by": "SECRET", "run_id": "230721031957ABC", "created_at": "2023-07-21 03:19:57.1"}}
{"run_id": "230721031957ABC", "event_id": 0, "sample_id": "t.0", "type": "sampling", "data": {"prompt": "SECRET", "sampled": ["SECRET"]}, "created_by": "", "created_at": "2023-07-21 03:20:00.000000+00:00"}
{"run_id": "230721031957ABC", "event_id": 1, "sample_id": "t.0", "type": "match", "data": {"correct": true, "expected": "SECRET", "picked": "SECRET"}, "created_by": "", "created_at": "2023-07-21 03:20:01.500000+00:00"}
{"run_id": "230721031957ABC", "event_id": 2, "sample_id": "t.1", "type": "match", "data": {"correct": false, "expected": "SECRET", "picked": null}, "created_by": "", "created_at": "2023-07-21 03:20:02.250000+00:00"}
{"final_report": {"accuracy": 0.5, "boostrap_std": 0.35, "usage_prompt_tokens": 70}, "run_id": "230721031957ABC"}
"#;

pub(super) const EVENTS: &str = r#"{"run_id":"x","event_id":0,"sample_id":"a.0","type":"metrics","data":{"score":0.5,"ok":true,"note":"SECRET"},"created_by":"","created_at":"2024-01-01 00:00:00+00:00"}
{"run_id":"x","event_id":1,"sample_id":"a.1","type":"metrics","data":{"score":1,"ok":false},"created_by":"","created_at":"2024-01-01 00:00:01+00:00"}
{"run_id":"x","event_id":2,"sample_id":"a.1","type":"function_call","data":{"name":"search","arguments":"SECRET","return_value":"SECRET"},"created_by":"","created_at":"2024-01-01 00:00:02+00:00"}
{"run_id":"x","event_id":3,"sample_id":"a.2","type":"error","data":{"type":"ValueError","message":"SECRET"},"created_by":"","created_at":"2024-01-01 00:00:03+00:00"}
{"run_id":"x","event_id":4,"sample_id":"a.3","type":"match","data":{"correct":true},"created_by":"","created_at":"2024-01-01 00:00:04+00:00"}
"#;

fn shown(out: &Out) -> Vec<String> {
    evaluations(out)
        .iter()
        .map(|score| {
            format!(
                "{} {} {:?} ±{:?} n{:?}",
                score.task, score.metric, score.value, score.standard_error, score.n
            )
        })
        .collect()
}

#[test]
fn a_report_has_the_number_of_its_samples() {
    let out = read("openai_evals", LOG.as_bytes(), &setup());
    assert_eq!(
        shown(&out),
        ["test-match.s1.simple-v0 accuracy Some(0.5) ±Some(0.35) nSome(2)"]
    );
    let score = evaluations(&out)[0];
    assert_eq!(score.event_time_ms, Some(1_689_909_602_250));
    assert_eq!(score.higher_is_better, Some(true));
    assert_eq!(
        (tags(&out), rejects(&out)),
        (vec!["model:gpt-3.5-turbo"], vec![])
    );
}

/// Early logs have the report in front of the events that were still to be flushed, and without a run id.
#[test]
fn a_report_in_front_of_its_samples_has_their_number() {
    let lines: Vec<&str> = LOG.lines().collect();
    let report = r#"{"final_report": {"accuracy": 0.5, "boostrap_std": 0.35}}"#;
    let early = [lines[0], report, lines[1], lines[2], lines[3], ""].join("\n");
    assert_eq!(
        detect(early.as_bytes(), false).map(Format::name),
        Ok("openai_evals")
    );
    let (early, late) = (
        read("openai_evals", early.as_bytes(), &setup()),
        read("openai_evals", LOG.as_bytes(), &setup()),
    );
    assert_eq!(evaluations(&early), evaluations(&late));
    assert_eq!(
        (early.events[1].position.line, rejects(&early)),
        (2, vec![])
    );
}

#[test]
fn without_a_report_the_samples_speak() {
    let out = read("openai_evals", EVENTS.as_bytes(), &setup());
    assert_eq!(
        shown(&out),
        [
            "r accuracy Some(1.0) ±None nSome(1)",
            "r ok Some(0.5) ±Some(0.5) nSome(2)",
            "r score Some(0.75) ±Some(0.25) nSome(2)",
            "r errors Some(1.0) ±None nNone",
        ]
    );
    let call = tools(&out)[0];
    assert_eq!(
        (call.tool.as_str(), call.task.as_deref(), call.event_time_ms),
        ("search", Some("r/a.1"), Some(1_704_067_202_000))
    );
}

#[test]
fn logs_behind_one_another_and_reports_of_all_kinds() {
    let text = br#"{"spec":{"model_name":"a","eval_name":"one"}}
{"sample_id":"1","type":"match","data":{"correct":1}}
{"spec":{"completion_fns":["b","c"],"base_eval":"two"}}
{"final_report":{"by":{"x":0.5,"y":null},"loss":NaN,"word":"w"}}
{"spec":{"eval_name":"three"}}
{"final_report":0.25}
"#;
    let out = read("openai_evals", text, &setup());
    assert_eq!(
        shown(&out),
        [
            "one accuracy Some(1.0) ±None nSome(1)",
            "two by/x Some(0.5) ±None nNone",
            "three score Some(0.25) ±None nNone",
        ]
    );
    assert_eq!(tags(&out), ["model:a", "model:b", "model:c"]);
    assert_eq!(rejects(&out), [("not_finite", 4)]);
}

#[test]
fn bad_lines_are_rejects() {
    let text = br#"{"spec":{"eval_name":"e"}}
{"sample_id":"1","type":"match","data":{"correct":"yes"}}
{"sample_id":"1","type":"match"}
{"sample_id":"1","type":"metrics","data":[1]}
{"sample_id":"1","type":"function_call","data":{}}
{"sample_id":"1","type":"something_new","data":{}}

{"a":1}
{"cut
{"final_report":{}}
"#;
    let out = read("openai_evals", text, &setup());
    assert_eq!(
        rejects(&out),
        [
            ("bad_value", 2),
            ("bad_value", 3),
            ("bad_value", 4),
            ("bad_value", 5),
            ("bad_line", 8),
            ("json", 9),
            ("bad_value", 10)
        ]
    );
    assert_eq!((out.events.len(), out.ignored), (0, 3));
    assert!(!out.rejects.iter().any(|reject| reject.text.contains("yes")));
}
