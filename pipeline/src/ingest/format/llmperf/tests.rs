//! LLMPerf: requests that went well and that failed, the summary, and the published figures of the shared data.

use super::super::fixtures::{check, run, runtime};
use super::super::tests::shared;
use super::*;

const REQUESTS: &str = r#"[
  {"error_code": null, "error_msg": "", "inter_token_latency_s": 0.01, "ttft_s": 0.5, "end_to_end_latency_s": 1.5,
   "request_output_throughput_token_per_s": 67.3, "number_total_tokens": 651, "number_output_tokens": 101, "number_input_tokens": 550},
  {"error_code": 429, "error_msg": "prompt was: secret", "ttft_s": 0, "end_to_end_latency_s": 0, "number_input_tokens": 550},
  {"error_code": 429, "error_msg": "prompt was: secret", "ttft_s": 0, "end_to_end_latency_s": 0, "number_input_tokens": 550},
  {"error_code": null, "ttft_s": NaN, "end_to_end_latency_s": 1.0, "number_output_tokens": 1.5}
]"#;

#[test]
fn requests() {
    let out = check("llmperf", REQUESTS.as_bytes());
    let records = runtime(&out);
    assert_eq!(
        (
            records[0].time_to_first_token_ms,
            records[0].latency_ms,
            records[0].time_per_output_token_ms
        ),
        (Some(500.0), Some(1500.0), Some(10.0))
    );
    assert_eq!(
        (
            records[0].input_tokens,
            records[0].output_tokens,
            records[0].n
        ),
        (Some(550), Some(101), Some(1))
    );
    assert_eq!(records[0].metrics["inter_token_latency_ms"], 10.0);
    assert_eq!(
        (records[1].latency_ms, records[1].time_to_first_token_ms),
        (None, None)
    );
    assert_eq!(
        (
            records[1].metrics["failed"],
            records[1].metrics["error_code"]
        ),
        (1.0, 429.0)
    );
    // two that are alike are two
    assert_eq!(records[1], records[2]);
    assert_ne!(out.events[1].event_id, out.events[2].event_id);
    assert_eq!(
        (records[3].time_to_first_token_ms, records[3].output_tokens),
        (None, None)
    );
    assert!(!format!("{:?}", out.events).contains("secret"));
    assert_eq!(
        out.events
            .iter()
            .map(|event| event.position.line)
            .collect::<Vec<_>>(),
        [2, 4, 5, 6]
    );
}

#[test]
fn damage() {
    let out = check("llmperf", &REQUESTS.as_bytes()[..REQUESTS.len() - 3]);
    assert_eq!((out.events.len(), out.rejects[0].class), (0, "json"));
    let out = check(
        "llmperf",
        b"[{\"a\":1}, 7, {\"ttft_s\":-1,\"end_to_end_latency_s\":1}]",
    );
    let classes: Vec<_> = out.rejects.iter().map(|reject| reject.class).collect();
    assert_eq!(classes, ["missing_field", "json", "out_of_range"]);
    assert_eq!(check("llmperf", b"[]").events, []);
}

#[test]
fn a_summary() {
    let text = br#"{"version": "2023-08-31", "name": "x", "model": "meta-llama/Llama-2-7b", "num_concurrent_requests": 5,
 "results_ttft_s_quantiles_p50": 0.2, "results_ttft_s_mean": 0.25, "results_end_to_end_latency_s_mean": 1.5,
 "results_end_to_end_latency_s_quantiles_p95": 2.0, "results_number_input_tokens_mean": 550.0,
 "results_number_input_tokens_min": "550", "results_mean_output_throughput_token_per_s": 338.5,
 "results_num_completed_requests": 150, "results_num_completed_requests_per_min": 120.0, "results_error_rate": 0.0,
 "results_error_code_frequency": "{}", "timestamp": 1703136016}"#;
    let out = check("llmperf", text);
    let record = &runtime(&out)[0];
    assert_eq!(
        (record.n, record.concurrency, record.context_tokens),
        (Some(150), Some(5), Some(550))
    );
    assert_eq!(
        (
            record.latency_ms,
            record.latency_ms_p95,
            record.time_to_first_token_ms
        ),
        (Some(1500.0), Some(2000.0), Some(250.0))
    );
    assert_eq!(
        (
            record.requests_per_second,
            record.throughput_tokens_per_second
        ),
        (Some(2.0), Some(338.5))
    );
    assert_eq!(record.event_time_ms, Some(1_703_136_016_000));
    assert_eq!(
        (
            record.metrics["ttft_ms_p50"],
            record.metrics["number_input_tokens_min"]
        ),
        (200.0, 550.0)
    );
    let models = run(&out, |payload| match payload {
        Payload::RunConfig(config) => config.model.as_ref()?.name.clone(),
        _ => None,
    });
    assert_eq!(models, ["meta-llama/Llama-2-7b"]);
}

/// The quantile as numpy and pandas take it: linear between the two nearest.
fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() - 1) as f64 * q;
    let (low, high) = (values[at.floor() as usize], values[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

/// Times to the first token that the leaderboard published (seconds, two digits): median, mean, p25, p75, p95, p99.
#[test]
fn published_figures_are_met() {
    let Some(folder) = shared("llmperf-latency") else {
        return;
    };
    for (name, failed, want) in [
        ("anyscale_7b", 0, [0.20, 0.23, 0.19, 0.23, 0.34, 0.46]),
        ("fireworks_7b", 0, [0.33, 0.33, 0.32, 0.34, 0.37, 0.88]),
        ("lepton_7b", 130, [1.13, 1.11, 1.04, 1.18, 1.29, 1.32]),
        ("replicate_7b", 0, [3.68, 3.61, 2.31, 5.01, 6.37, 6.99]),
        ("together_7b", 0, [0.52, 0.58, 0.46, 0.71, 0.84, 0.94]),
    ] {
        let text =
            std::fs::read(folder.join(format!("requests/{name}.json"))).expect("it is there");
        let out = check("llmperf", &text);
        assert_eq!(out.rejects, [], "{name}");
        let records = runtime(&out);
        assert_eq!(
            records
                .iter()
                .filter(|record| record.metrics.contains_key("failed"))
                .count(),
            failed,
            "{name}"
        );
        let mut times: Vec<f64> = records
            .iter()
            .filter_map(|record| record.time_to_first_token_ms)
            .collect();
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        let mut of = |q| quantile(&mut times, q);
        let got = [of(0.5), mean, of(0.25), of(0.75), of(0.95), of(0.99)];
        for (got, want) in got.iter().zip(want) {
            assert!(
                (got / 1e3 - want).abs() < 0.0051,
                "{name}: {got} for {want}"
            );
        }
    }
    for entry in std::fs::read_dir(folder.join("summary")).expect("it is there") {
        let path = entry.expect("it can be read").path();
        let out = check("llmperf", &std::fs::read(&path).expect("it can be read"));
        assert_eq!((out.rejects.len(), runtime(&out).len()), (0, 1), "{path:?}");
        assert!(runtime(&out)[0].latency_ms_p95.is_some());
    }
}
