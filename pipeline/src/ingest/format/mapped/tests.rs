//! Mapping files on tables, hand-made and real.

use super::super::fixtures::read;
use super::super::tests::{shared, training};
use super::super::{Out, Setup};
use super::Mapping;
use cairn_avro::record::{NumberState, Payload, RunState};
use std::sync::Arc;

fn map(text: &str) -> Setup {
    let mapping = Mapping::parse(text).expect("the mapping is good");
    Setup {
        run_id: "file".into(),
        mapping: Some(Arc::new(mapping)),
        ..Setup::default()
    }
}

fn refused(format: &str, mapping: &str, table: &str) -> String {
    let mut parser = super::super::named(format)
        .and_then(|format| format.parser(&map(mapping)))
        .expect("it is one");
    let mut out = Out::default();
    let unit = |parser: &mut dyn super::Parser, line: &str, out: &mut Out| {
        parser.unit(line.as_bytes(), super::Position::default(), out)
    };
    table
        .lines()
        .try_for_each(|line| unit(parser.as_mut(), line, &mut out))
        .and_then(|()| parser.flush(&mut out))
        .expect_err("it is refused")
        .0
}

const FULL: &str = "
topic: telemetry.training
run_id: run_name
clock: step
event_time: {from: ts, unit: s}
where: \"final_loss IS NOT NULL\"
fields: {step: step, tokens: tokens, loss: final_loss, metrics.ratio: \"tokens * 1.0 / params\"}
config: {parameters_total: params, hardware: \"'H100'\", batch_tokens: 512}
ended: finished
";

#[test]
fn the_mapping_of_the_contract() {
    let csv = "run_name,step,tokens,final_loss,params,ts\n\
        a,1,1000,3.5,100,1700000000\n\
        a,2,2000,,100,1700000001\n\
        \"b, \"\"x\"\"\",1,1e3,NaN,200,1700000002.5\n";
    let out = read("mapped_csv", csv.as_bytes(), &map(FULL));
    assert_eq!((out.rejects.as_slice(), out.ignored), (&[][..], 1));
    let steps = training(&out);
    assert_eq!(
        (steps[0].run_id.as_str(), steps[0].loss, steps[0].tokens),
        ("a", Some(3.5), Some(1000))
    );
    assert_eq!(
        (steps[0].event_time_ms, steps[0].metrics["ratio"]),
        (Some(1_700_000_000_000), 10.0)
    );
    assert_eq!(
        (steps[1].run_id.as_str(), steps[1].loss_state),
        ("b, \"x\"", NumberState::Nan)
    );
    assert_eq!(
        (steps[1].event_time_ms, steps[1].tokens),
        (Some(1_700_000_002_500), Some(1000))
    );
    let kinds: Vec<_> = out
        .events
        .iter()
        .map(|event| event.payload.entry().record)
        .collect();
    assert_eq!(
        kinds,
        [
            "RunConfig",
            "TrainingTelemetry",
            "RunConfig",
            "TrainingTelemetry",
            "RunLifecycle",
            "RunLifecycle"
        ]
    );
    let Payload::RunConfig(config) = &out.events[0].payload else {
        panic!("it is a configuration")
    };
    assert_eq!(
        config
            .model
            .as_ref()
            .and_then(|model| model.parameters_total),
        Some(100.0)
    );
    assert_eq!(
        config
            .hardware
            .as_ref()
            .and_then(|hardware| hardware.accelerator.as_deref()),
        Some("H100")
    );
    let Payload::RunLifecycle(end) = &out.events[4].payload else {
        panic!("it is an end")
    };
    assert_eq!(
        (end.run_id.as_str(), end.state, end.step),
        ("a", RunState::Finished, Some(1))
    );
}

#[test]
fn json_rows_nested_members_and_other_topics() {
    let mapping = "
topic: eval.results
run_id: model.name
clock: event_time
event_time: {from: at}
fields: {harness: \"'lm-eval'\", task: task, metric: \"'acc'\", value: scores.acc, n: n}
";
    let jsonl = r#"{"model":{"name":"m1"},"task":"arc","scores":{"acc":0.5},"n":10,"at":"2023-11-16 18:15:46.680"}
{"model":{"name":"m2"},"task":"arc","scores":{"acc":NaN},"at":"2023-11-16T18:15:46Z"}
not json
{"model":{"name":null},"task":"arc","scores":{"acc":0.1},"at":"2023-11-16T18:15:46Z"}
"#;
    for (format, text) in [
        ("mapped_jsonl", jsonl.to_owned()),
        (
            "mapped_json",
            format!(
                "[{}]",
                jsonl
                    .lines()
                    .filter(|line| line.starts_with('{'))
                    .collect::<Vec<_>>()
                    .join(",\n")
            ),
        ),
    ] {
        let out = read(format, text.as_bytes(), &map(mapping));
        let found: Vec<_> = out
            .events
            .iter()
            .filter_map(|event| match &event.payload {
                Payload::EvalResult(e) => Some((e.run_id.as_str(), e.value, e.n, e.event_time_ms)),
                _ => None,
            })
            .collect();
        assert_eq!(
            found,
            [("m1", Some(0.5), Some(10), Some(1_700_158_546_680))]
        );
        let rejected = |class, word| {
            let mut all = out.rejects.iter();
            all.any(|reject| reject.class == class && reject.text.contains(word))
        };
        assert!(rejected("not_finite", "value"), "a score is no loss");
        assert!(
            out.rejects
                .iter()
                .any(|reject| reject.text.contains("run_id")),
            "a row names no run"
        );
    }
}

#[test]
fn bad_rows_are_rejects_and_do_not_spoil_others() {
    let mapping = "{run_id: run, fields: {step: step, loss: \"100 / (step - 3)\", tokens: n}}";
    let mut csv = String::from("run,step,n\n");
    for step in 0..40 {
        csv += &format!("r,{step},{}\n", step * 10);
    }
    csv += "r,forty-one,1\nr,42\nr,43,1.5\n";
    let out = read("mapped_csv", csv.as_bytes(), &map(mapping));
    let found: Vec<_> = out
        .rejects
        .iter()
        .map(|reject| (reject.class, reject.position.line))
        .collect();
    assert_eq!(
        found,
        [
            ("bad_value", 42),
            ("bad_row", 43),
            ("expression", 5),
            ("bad_value", 44)
        ],
        "{:?}",
        out.rejects
    );
    assert_eq!(out.events.len(), 39);
    assert_eq!(out.rejects[0].original, b"r,forty-one,1");
    assert!(
        out.rejects[0]
            .text
            .contains("column step holds \"forty-one\", which is no whole number")
    );
}

/// An experiment a file, as many tools write it.
#[test]
fn one_object_over_several_lines_is_a_row() {
    let mapping =
        "{topic: telemetry.training, run_id: run.name, fields: {step: steps, loss: result.loss}}";
    let out = read(
        "mapped_json",
        b"{\n  \"run\": {\"name\": \"a\"},\n  \"steps\": 7,\n  \"result\": {\"loss\": 2.5}\n}\n",
        &map(mapping),
    );
    let rows = training(&out);
    assert_eq!(
        (
            rows.len(),
            rows[0].run_id.as_str(),
            rows[0].step,
            rows[0].loss
        ),
        (1, "a", 7, Some(2.5))
    );
    let out = read("mapped_json", b"{\n  \"run\": {\n", &map(mapping));
    assert_eq!((out.events.len(), out.rejects[0].class), (0, "json"));
}

/// RFC 4180, 2.2; a row that was cut within its cells or quotes is none.
#[test]
fn the_last_row_needs_no_line_end() {
    let mapping = "{topic: telemetry.training, run_id: r, fields: {step: step}}";
    for (last, events, class) in [
        ("run,2,1.5", 2, None),
        ("run,2,\"1\n.5\"", 2, None),
        ("run,2", 1, Some("partial_line")),
        ("run,2,\"1.5", 1, Some("partial_line")),
    ] {
        let out = read(
            "mapped_csv",
            format!("r,step,loss\nrun,1,2.5\n{last}").as_bytes(),
            &map(mapping),
        );
        assert_eq!(training(&out).len(), events, "{last}");
        assert_eq!(out.rejects.first().map(|reject| reject.class), class);
    }
}

#[test]
fn quotes_may_hold_line_ends() {
    let mapping = "{run_id: run, fields: {step: step}}";
    let out = read(
        "mapped_csv",
        b"run;step;note\r\na;1;\"two\nlines\"\r\nb;2;one\r\nc;3;\"open\r\nd;4;x\r\n",
        &map(mapping),
    );
    assert_eq!(
        training(&out)
            .iter()
            .map(|step| step.step)
            .collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!((out.rejects.len(), out.rejects[0].position.line), (1, 5));
}

#[test]
fn types_widen_with_the_rows() {
    let mapping =
        "{run_id: run, clock: tokens, fields: {tokens: tokens, loss: loss, accuracy: acc}}";
    let mut csv = String::from("run,tokens,loss,acc\n");
    for row in 0..1500 {
        csv += &format!("r,{row},4,\n");
    }
    csv += "r,1500,3.25,0.5\n";
    let out = read("mapped_csv", csv.as_bytes(), &map(mapping));
    let last = training(&out)[1500];
    assert_eq!(
        (last.loss, last.accuracy, last.step),
        (Some(3.25), Some(0.5), 1500)
    );
}

#[test]
fn what_does_not_fit_is_said_before_anything_is_read() {
    let parse = |text: &str| Mapping::parse(text).expect_err("it is wrong").0;
    assert!(parse("{topic: runs.config}").contains("it is one of telemetry.training"));
    assert!(parse("{fields: {stp: step}}").contains("the nearest is step"));
    assert!(parse("{fields: {step: a, run_id: b}}").contains("stands beside fields"));
    assert!(parse("{clock: tokens, fields: {step: a}}").contains("needs fields.tokens"));
    assert!(parse("{fields: {step: a}, config: {paramters: n}}").contains("runs.config"));
    assert!(parse("{fieldz: {}}").contains("the nearest is fields"));
    let table = "run,step\na,1\n";
    let why = refused("mapped_csv", "{fields: {step: stepp}}", table);
    assert!(
        why.contains("fields.step \"stepp\"") && why.contains("the table has run, step"),
        "{why}"
    );
    let why = refused("mapped_csv", "{fields: {step: \"sum(step)\"}}", table);
    assert!(why.contains("fields.step"), "{why}");
}

/// Values as PostgreSQL gives them for the same expressions.
#[test]
fn functions_that_a_mapping_needs() {
    for (expression, expected) in [
        ("coalesce(a, b)", 2.0),
        ("coalesce(a, 7)", 7.0),
        ("nullif(b, 2)", f64::NAN),
        ("CASE WHEN b > 1 THEN 10 ELSE 20 END", 10.0),
        ("exp(ln(b))", 2.0),
        ("round(2.5 * b)", 5.0),
        ("abs(0 - b)", 2.0),
        ("CAST(substr(s, 4, 2) AS INT)", 12.0),
        ("CAST(substring(s FROM 4 FOR 2) AS INT)", 12.0),
        ("position('-' IN s)", 3.0),
        ("CAST(replace(lower(trim(s)), 'ab-', '') AS INT)", 12.0),
        ("CAST(regexp_replace(s, '[^0-9]', '', 'g') AS INT)", 12.0),
        (
            "extract(minute FROM to_timestamp('1970-01-01T00:42:00'))",
            42.0,
        ),
    ] {
        let mapping = format!(
            "{{topic: telemetry.training, run_id: r, fields: {{step: step, metrics.x: \"{expression}\", loss: loss}}}}"
        );
        let table = "r,step,loss,a,b,s\nrun,1,3.0,,2,AB-12\n";
        let out = read("mapped_csv", table.as_bytes(), &map(&mapping));
        assert!(out.rejects.is_empty(), "{expression}: {:?}", out.rejects);
        let found = training(&out)[0].metrics.get("x").copied();
        let expected = Some(expected).filter(|value| !value.is_nan());
        assert_eq!(found, expected, "{expression}");
    }
}

#[test]
fn what_gives_another_value_each_time_is_refused() {
    for expression in ["random()", "uuid()", "now()", "b + random()"] {
        let mapping = format!(
            "{{topic: telemetry.training, run_id: r, fields: {{step: step, loss: \"{expression}\"}}}}"
        );
        let said = refused("mapped_csv", &mapping, "r,step,b\nrun,1,2\n");
        assert!(said.contains("another value each time"), "{said}");
    }
}

#[test]
fn real_tables() {
    if let Some(folder) = shared("gadre-overtraining") {
        let mapping = "
run_id: name
clock: tokens
where: \"dataset = 'rpj'\"
fields: {tokens: tokens, validation_loss: loss_c4_val}
config: {parameters_total: params, parameters_non_embedding: params_no_embed, learning_rate_peak: lr, data_mix.rpj: 1.0, batch_tokens: global_batch_seqs * 2048}
ended: finished
";
        let table = std::fs::read(folder.join("models.csv")).expect("it can be read");
        let out = read("mapped_csv", &table, &map(mapping));
        assert_eq!(out.rejects, []);
        let rows = training(&out).len();
        assert_eq!(
            (out.events.len(), rows as u64 + out.ignored),
            (rows * 3, 104)
        );
        assert!(training(&out).iter().all(|row| {
            row.validation_loss
                .is_some_and(|loss| (1.0..9.0).contains(&loss))
        }));
    }
    if let Some(folder) = shared("azure-llm-inference-2023") {
        let mapping = "{topic: telemetry.runtime, clock: event_time, event_time: {from: TIMESTAMP, unit: rfc3339}, fields: {input_tokens: ContextTokens, output_tokens: GeneratedTokens}}";
        let table =
            std::fs::read(folder.join("AzureLLMInferenceTrace_conv.csv")).expect("it can be read");
        let out = read("mapped_csv", &table, &map(mapping));
        assert_eq!(
            (out.events.len(), out.rejects.len()),
            (19_366, 0),
            "as many as its SOURCE.md says, the last without a line end"
        );
        let Payload::RuntimeTelemetry(first) = &out.events[0].payload else {
            panic!("it is telemetry")
        };
        assert_eq!(
            (
                first.event_time_ms,
                first.input_tokens,
                first.run_id.as_str()
            ),
            (Some(1_700_158_546_680), Some(374), "file")
        );
    }
    if let Some(folder) = shared("olmo-ladder") {
        let mapping = "{run_id: \"'190M-1xC'\", fields: {step: _step, validation_loss: eval/c4_en-validation/CrossEntropyLoss, tokens: throughput/total_tokens}}";
        let table = std::fs::read(folder.join("190M-1xC.csv")).expect("it can be read");
        let out = read("mapped_csv", &table, &map(mapping));
        assert!(
            out.rejects.is_empty() && out.events.len() > 10,
            "{:?}",
            out.rejects.first()
        );
    }
}
