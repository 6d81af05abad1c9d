//! MLPerf logging: a run of a language model, LoadGen's results, and damage.

use super::super::fixtures::{check, run, training};
use super::*;

fn line(key: &str, value: &str, metadata: &str) -> String {
    format!(
        "0: :::MLLOG {{\"namespace\": \"\", \"time_ms\": 1721026805975, \"event_type\": \"POINT_IN_TIME\", \"key\": \"{key}\", \"value\": {value}, \"metadata\": {{\"file\": \"a.py\", \"lineno\": 1{metadata}}}}}\n"
    )
}

#[test]
fn a_run_of_a_language_model() {
    let text = [
        "NCCL version 2.20\n".to_owned(),
        line("submission_benchmark", "\"llama31_8b\"", ""),
        line("submission_poc_email", "\"somebody@example.org\"", ""),
        line("global_batch_size", "32", ""),
        line("max_sequence_length", "8192", ""),
        line("opt_name", "\"adamw\"", ""),
        line("opt_base_learning_rate", "0.0008", ""),
        line("opt_adamw_beta_2", "0.95", ""),
        line("seed", "7", ""),
        line("run_start", "null", ""),
        line("block_start", "null", ", \"samples_count\": 0"),
        line(
            "train_loss",
            "11.5",
            ", \"samples_count\": 64, \"lr\": 1e-05",
        ),
        line(
            "tracked_stats",
            "{\"throughput\": 30.5, \"train_step_time\": 1.5}",
            ", \"step\": 96",
        ),
        line("eval_accuracy", "5.25", ", \"samples_count\": 128"),
        line(
            "run_stop",
            "null",
            ", \"status\": \"success\", \"samples_count\": 128",
        ),
    ]
    .concat();
    let out = check("mlperf", text.as_bytes());
    assert_eq!((out.rejects.len(), out.ignored), (0, 3));
    let config = run(&out, |payload| match payload {
        Payload::RunConfig(config) => Some(config.as_ref().clone()),
        _ => None,
    });
    assert_eq!(config.len(), 1);
    let hyper = config[0].training.clone().expect("it was said");
    assert_eq!(
        (hyper.batch_sequences, hyper.batch_tokens, hyper.seed),
        (Some(32), Some(32 * 8192), Some(7))
    );
    assert_eq!(
        (hyper.optimizer.as_deref(), hyper.learning_rate_peak),
        (Some("adamw"), Some(8e-4))
    );
    assert_eq!(config[0].context_length_tokens, Some(8192));
    let steps = training(&out);
    assert_eq!(
        (steps[0].step, steps[0].loss, steps[0].learning_rate),
        (2, Some(11.5), Some(1e-5))
    );
    assert_eq!(steps[0].tokens, Some(64 * 8192));
    assert_eq!(
        (
            steps[1].step,
            steps[1].metrics["throughput_samples_per_second"]
        ),
        (3, 30.5)
    );
    assert_eq!((steps[2].step, steps[2].validation_loss), (4, Some(5.25)));
    let scores = run(&out, |payload| match payload {
        Payload::EvalResult(score) => Some(score.clone()),
        _ => None,
    });
    assert_eq!(
        (
            scores[0].task.as_str(),
            scores[0].value,
            scores[0].higher_is_better
        ),
        ("llama31_8b", Some(5.25), Some(false))
    );
    let ends = run(&out, |payload| match payload {
        Payload::RunLifecycle(end) => Some((end.state, end.step, end.event_time_ms)),
        _ => None,
    });
    assert_eq!(
        ends,
        [
            (RunState::Started, None, Some(1_721_026_805_975)),
            (RunState::Finished, Some(4), Some(1_721_026_805_975))
        ]
    );
    assert!(!format!("{:?}", out.events).contains("example.org"));
}

#[test]
fn places_are_told_apart() {
    // epochs are epochs, unless there are too many of them; a speed needs no step
    let text = [
        line("eval_accuracy", "0.71", ", \"epoch_num\": 3"),
        line(
            "eval_accuracy",
            "{\"BBOX\": 0.37, \"SEGM\": 0.33}",
            ", \"epoch_num\": 3",
        ),
        line(
            "tracked_stats",
            "{\"throughput\": 14214.5}",
            ", \"epoch_num\": 799502",
        ),
        line("train_loss", "2.5", ", \"step_num\": 5"),
        line("train_loss", "NaN", ", \"step\": 6"),
        line("train_loss", "2.5", ", \"epoch_num\": 1"),
    ]
    .concat();
    let out = check("mlperf", text.as_bytes());
    let kinds: Vec<_> = out
        .events
        .iter()
        .map(|event| event.payload.topic())
        .collect();
    assert_eq!(
        kinds,
        [
            "eval.results",
            "eval.results",
            "eval.results",
            "telemetry.runtime",
            "telemetry.training",
            "telemetry.training"
        ]
    );
    assert_eq!(
        training(&out)[1].loss_state,
        cairn_avro::record::NumberState::Nan
    );
    assert_eq!(
        (out.rejects.len(), out.rejects[0].class),
        (1, "missing_field")
    );
}

#[test]
fn a_second_start_is_a_second_attempt() {
    let text = [
        line("run_start", "null", ""),
        line("run_start", "null", ""),
        line("train_loss", "2.5", ", \"step_num\": 5"),
        line("run_stop", "null", ", \"status\": \"aborted\""),
        line("run_start", "null", ""),
        line("train_loss", "2.5", ", \"step_num\": 2"),
    ]
    .concat();
    let out = check("mlperf", text.as_bytes());
    assert_eq!(
        out.events
            .iter()
            .map(|event| event.payload.attempt())
            .collect::<Vec<_>>(),
        [0, 0, 0, 0, 1, 1]
    );
    assert!(matches!(&out.events[3].payload, Payload::RunLifecycle(end)
        if end.state == RunState::Crashed && end.step == Some(5)));
}

#[test]
fn load_generator_results_are_one_record() {
    let text = [
        ("result_completed_samples_per_sec", "12.5"),
        ("result_first_token_99.00_percentile_latency_ns", "1500000"),
        ("result_token_throughput", "7.5"),
        ("result_mean_latency_ns", "2500000"),
        ("result_99.00_percentile_latency_ns", "5000000"),
        ("result_validity", "\"VALID\""),
        ("result_query_count", "24576"),
    ]
    .map(|(key, value)| {
        format!(":::MLLOG {{\"key\": \"{key}\", \"value\": {value}, \"time_ms\": 0.0125, \"namespace\": \"mlperf::logging\"}}\n")
    })
    .concat();
    let out = check("mlperf", text.as_bytes());
    let [event] = &out.events[..] else {
        panic!("one record")
    };
    let Payload::RuntimeTelemetry(result) = &event.payload else {
        panic!("of latency")
    };
    assert_eq!(
        (
            result.requests_per_second,
            result.latency_ms,
            result.latency_ms_p99,
            result.n
        ),
        (Some(12.5), Some(2.5), Some(5.0), Some(24_576))
    );
    assert_eq!(
        (result.event_time_ms, result.throughput_tokens_per_second),
        (None, None)
    );
    assert_eq!(
        result.metrics["first_token_99_00_percentile_latency_ms"],
        1.5
    );
}

#[test]
fn old_lines_and_damage() {
    let out = check(
        "mlperf",
        b":::MLL 1558040600.5 run_start: {\"value\": null, \"metadata\": {\"lineno\": 3}}\n",
    );
    assert!(
        matches!(&out.events[0].payload, Payload::RunLifecycle(start)
        if start.event_time_ms == Some(1_558_040_600_500))
    );
    for text in [
        ":::MLLOG {\"namespace\": \"\", \"time_ms\": 172\n",
        ":::MLLOG [convert-error: [('key', 'a')]]\n",
        ":::MLLOG\n",
        ":::MLLOG {\"value\": 1}\n",
        &line("train_loss", "\"high\"", ", \"step_num\": 1"),
        &line("eval_accuracy", "null", ""),
    ] {
        let out = check("mlperf", text.as_bytes());
        assert_eq!((out.events.len(), out.rejects.len()), (0, 1), "{text}");
        assert_eq!(out.rejects[0].class, "bad_line");
    }
    // whole without its line end, and cut in the middle
    let text = line("train_loss", "2.5", ", \"step_num\": 1");
    let out = check("mlperf", text.trim_end().as_bytes());
    assert_eq!((out.events.len(), out.rejects.len()), (1, 0));
    let out = check("mlperf", &text.as_bytes()[..text.len() - 4]);
    assert_eq!(
        (out.events.len(), out.rejects[0].class),
        (0, "partial_line")
    );
}

/// Scores of Mask R-CNN as the submissions of v0.6 wrote them.
#[test]
fn an_evaluation_may_have_several_scores() {
    let text = [
        line(
            "eval_accuracy",
            r#"{"accuracy": {"BBOX": 0.25, "SEGM": 0.5}}"#,
            r#", "epoch_num": 1"#,
        ),
        line("eval_accuracy", "[0.125, 0.75]", r#", "epoch_num": 2"#),
        line("eval_accuracy", "[]", r#", "epoch_num": 3"#),
    ]
    .concat();
    let out = check("mlperf", text.as_bytes());
    let scores = run(&out, |payload| match payload {
        Payload::EvalResult(score) => Some((score.metric.clone(), score.value)),
        _ => None,
    });
    let expected = [
        ("bbox", 0.25),
        ("segm", 0.5),
        ("eval_accuracy_0", 0.125),
        ("eval_accuracy_1", 0.75),
    ];
    assert_eq!(
        scores,
        expected.map(|(name, value)| (name.to_owned(), Some(value)))
    );
    assert_eq!((out.rejects.len(), out.rejects[0].position.line), (1, 3));
}
