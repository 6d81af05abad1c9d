//! vLLM's results of every benchmark, detailed ones among them, and damage.

use super::super::fixtures::{check, run, runtime};
use super::*;

const SERVING: &str = r#"{"date": "20250101-120000", "backend": "vllm", "model_id": "meta-llama/Llama-3.1-8B", "tokenizer_id": "t",
 "num_prompts": 200, "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 16, "duration": 10.5, "completed": 199,
 "total_input_tokens": 1000, "total_output_tokens": 500, "request_throughput": 18.95, "request_goodput": null,
 "output_throughput": 47.6, "total_token_throughput": 142.8, "input_lens": [5, 5], "ttfts": [0.1, 0.2], "itls": [[0.1], []],
 "generated_texts": ["the secret is", "out"], "errors": ["", "secret"],
 "mean_ttft_ms": 20.5, "median_ttft_ms": 18.0, "p99_ttft_ms": 50.0, "mean_tpot_ms": 7.5, "mean_itl_ms": 7.25,
 "mean_e2el_ms": 900.0, "median_e2el_ms": 850.0, "p99_e2el_ms": 1500.0, "p99.9_e2el_ms": 1600.0}"#;

#[test]
fn a_serving_result() {
    let out = check("vllm_bench", SERVING.as_bytes());
    assert_eq!(out.rejects, []);
    let record = &runtime(&out)[0];
    assert_eq!(
        (
            record.n,
            record.concurrency,
            record.input_tokens,
            record.output_tokens
        ),
        (Some(199), Some(16), Some(1000), Some(500))
    );
    assert_eq!(
        (
            record.latency_ms,
            record.latency_ms_p50,
            record.latency_ms_p95,
            record.latency_ms_p99
        ),
        (Some(900.0), Some(850.0), None, Some(1500.0))
    );
    assert_eq!(
        (
            record.time_to_first_token_ms,
            record.time_per_output_token_ms
        ),
        (Some(20.5), Some(7.5))
    );
    assert_eq!(
        (
            record.throughput_tokens_per_second,
            record.requests_per_second
        ),
        (Some(47.6), Some(18.95))
    );
    let metric = |name: &str| record.metrics.get(name).copied();
    assert_eq!(
        (
            metric("duration_ms"),
            metric("p99_ttft_ms"),
            metric("p99_9_e2el_ms")
        ),
        (Some(10_500.0), Some(50.0), Some(1600.0))
    );
    // a rate without a limit is no number
    assert_eq!(metric("requests_offered_per_second"), None);
    assert_eq!(record.event_time_ms, None);
    let config = run(&out, |payload| match payload {
        Payload::RunConfig(config) => Some(config.as_ref().clone()),
        _ => None,
    });
    assert_eq!(
        config[0]
            .model
            .as_ref()
            .and_then(|model| model.name.as_deref()),
        Some("meta-llama/Llama-3.1-8B")
    );
    assert!(!format!("{:?}", out.events).contains("secret"));
}

#[test]
fn results_that_follow_each_other() {
    let text = format!("{SERVING}\n{SERVING}\n").replacen("900.0", "NaN", 1);
    let out = check("vllm_bench", text.as_bytes());
    let records = runtime(&out);
    assert_eq!((records.len(), out.rejects.len()), (2, 0));
    assert_eq!(
        (records[0].latency_ms, records[1].latency_ms),
        (None, Some(900.0))
    );
    assert_eq!(
        out.events
            .iter()
            .map(|event| event.position.line)
            .collect::<Vec<_>>(),
        [1, 1, 8, 8]
    );
}

#[test]
fn latency_and_throughput_results() {
    let out = check(
        "vllm_bench",
        br#"{"avg_latency": 1.5, "std_latency": 0.5, "latencies": [1, 2], "percentiles": {"10": 1.0, "50": 1.5, "99": 2.0}}"#,
    );
    let record = &runtime(&out)[0];
    assert_eq!(
        (
            record.latency_ms,
            record.latency_ms_p50,
            record.latency_ms_p99
        ),
        (Some(1500.0), Some(1500.0), Some(2000.0))
    );
    assert_eq!(
        (record.metrics["p10_e2el_ms"], record.metrics["std_e2el_ms"]),
        (1000.0, 500.0)
    );
    let out = check(
        "vllm_bench",
        br#"{"elapsed_time": 20.0, "num_requests": 1000, "total_num_tokens": 5000, "requests_per_second": 50.0, "tokens_per_second": 250.0}"#,
    );
    let record = &runtime(&out)[0];
    assert_eq!(
        (
            record.n,
            record.requests_per_second,
            record.metrics["total_tokens_per_second"]
        ),
        (Some(1000), Some(50.0), 250.0)
    );
}

#[test]
fn damage() {
    let out = check("vllm_bench", &SERVING.as_bytes()[..SERVING.len() - 10]);
    assert_eq!((out.events.len(), out.rejects[0].class), (0, "json"));
    let out = check(
        "vllm_bench",
        b"{\"date\": \"x\", \"burstiness\": 1}\n{\"completed\": 1, \"request_throughput\": 2}",
    );
    assert_eq!(
        (out.events.len(), out.rejects[0].class),
        (1, "missing_field")
    );
    assert_eq!(check("vllm_bench", b"[1]").rejects[0].class, "json");
}

/// What a sweep sums up.
#[test]
fn results_in_a_list() {
    let text = format!("[{SERVING},\n{},\n7]", SERVING.replace("900.0", "800.0"));
    assert_eq!(VllmBench.detect(text.as_bytes()), Confidence::Sure);
    let out = check("vllm_bench", text.as_bytes());
    let latencies: Vec<_> = runtime(&out).iter().map(|r| r.latency_ms).collect();
    assert_eq!(latencies, [Some(900.0), Some(800.0)]);
    assert_eq!(out.rejects.len(), 1);
    // seven lines, and the comma
    assert_eq!(out.events[3].position.line, 8);
    for reject in &out.rejects {
        assert!(!String::from_utf8_lossy(&reject.original).contains("secret"));
    }
}
