//! Detection as a confusion matrix: every format against the samples of all, whole, cut anywhere, empty, and foreign.

use super::fixtures::{read, setup};
use super::*;

/// A sample of each format, its name first; several where it has several shapes.
pub(super) fn samples() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let text = |name, shape, text: &str| (name, shape, text.as_bytes().to_vec());
    let mut samples = vec![
        text(
            "nanogpt",
            "modded",
            "step:0/20 val_loss:10.8258 train_time:274ms step_avg:nanms\nstep:1/20 train_time:45ms step_avg:nanms\n",
        ),
        text(
            "mlperf",
            "mllog",
            ":::MLLOG {\"namespace\": \"\", \"time_ms\": 1721026805975, \"event_type\": \"POINT_IN_TIME\", \"key\": \"train_loss\", \"value\": 2.5, \"metadata\": {\"step_num\": 1}}\n",
        ),
        text(
            "mlperf",
            "mll",
            ":::MLL 1558040600.5 run_start: {\"value\": null, \"metadata\": {\"lineno\": 3}}\n",
        ),
        text(
            "llmperf",
            "requests",
            "[ {\"error_code\": null, \"ttft_s\": 0.5, \"end_to_end_latency_s\": 1.5, \"number_input_tokens\": 550} ]\n",
        ),
        text(
            "llmperf",
            "summary",
            "{\"version\": \"2023-08-31\", \"num_concurrent_requests\": 5, \"results_ttft_s_quantiles_p50\": 0.2}\n",
        ),
        text(
            "azure_llm",
            "trace",
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n",
        ),
        text(
            "vllm_bench",
            "serving",
            "{\"date\": \"20250101-120000\", \"backend\": \"vllm\", \"completed\": 199, \"total_input_tokens\": 1000, \"request_throughput\": 18.95}\n",
        ),
        text(
            "vllm_bench",
            "latency",
            "{\"avg_latency\": 1.5, \"latencies\": [1, 2], \"percentiles\": {\"10\": 1.0}}\n",
        ),
        text(
            "vllm_bench",
            "throughput",
            "{\"elapsed_time\": 20.0, \"num_requests\": 1000, \"total_num_tokens\": 5000, \"requests_per_second\": 50.0, \"tokens_per_second\": 250.0}\n",
        ),
        text(
            "wandb",
            "jsonl",
            "{\"_step\": 0, \"_runtime\": 1.5, \"_timestamp\": 1700000000.25, \"train/loss\": 2.5}\n",
        ),
        text("wandb", "csv", ",_step,_runtime,train/loss\n0,0,1.0,2.5\n"),
        text("wandb_chart", "chart", super::wandb_chart::tests::CHART),
        ("avro", "blocks", crate::avro_file::tests::file("zstandard")),
        ("tensorboard", "events", super::tensorboard::tests::sample()),
        text("otlp", "traces", &super::otlp::tests::sample()),
        text(
            "mlflow",
            "metric",
            "1700000000123 2.5 10\n1700000001000 nan 20\n",
        ),
    ];
    samples.extend(super::tests::SAMPLES.map(|(name, sample)| text(name, "log", sample)));
    samples.extend(evals::tests::SAMPLES.map(|(name, sample)| text(name, "evals", sample)));
    samples
}

/// Heads of files that are near to a format and none of it, with the word that the refusal says.
const NEAR: [(&str, &str); 8] = [
    (r#"{"results":{"t":{"score":1}},"config":{}}"#, "lm_eval"),
    (
        r#"{"doc_id":0,"doc":{"question":"q"},"resps":[],"filtered_resps":[]}"#,
        "results_*.json",
    ),
    (r#"[{"task_id":1,"traj":[]}]"#, "no rewards"),
    (
        r#"{"parameters":{"attack_success_rate":0.5}}"#,
        "jailbreakbench",
    ),
    (
        r#"{"copyright_1":[{"test_case":"t","generation":"g"}]}"#,
        "no labels",
    ),
    (
        r#"[{"instance_id":"id1","train_trial_index":0,"stats":[]}]"#,
        "stats.json beside it",
    ),
    (
        r#"{"adapter_spec":{},"request_states":[]}"#,
        "stats.json beside it",
    ),
    (r#"{"spec":{"completion_fns":["gpt-4"]}}"#, "cut too early"),
];

/// The formats that are asked where there is no mapping.
fn asked() -> Vec<&'static dyn Format> {
    FORMATS
        .into_iter()
        .filter(|format| !format.name().starts_with("mapped_"))
        .collect()
}

#[test]
fn every_sample_is_told_as_its_own_and_as_no_other() {
    let mut matrix = String::new();
    let mut wrong = Vec::new();
    for (name, shape, bytes) in samples() {
        let mut cells = String::new();
        for format in asked() {
            let told = format.detect(&bytes);
            cells.push(match told {
                Confidence::Sure => '#',
                Confidence::Perhaps(_) => '?',
                Confidence::No => '.',
            });
            if (told == Confidence::Sure) != (format.name() == name) {
                wrong.push(format!(
                    "{} says {told:?} of {name} ({shape})",
                    format.name()
                ));
            }
        }
        matrix += &format!("{name:>14} {shape:<11} {cells}\n");
        assert_eq!(detect(&bytes, false).map(Format::name), Ok(name), "{shape}");
    }
    println!("{matrix}");
    assert!(wrong.is_empty(), "{}\n{matrix}", wrong.join("\n"));
    for format in asked() {
        assert!(
            samples().iter().any(|(name, ..)| *name == format.name()),
            "{} has no sample",
            format.name()
        );
    }
}

/// A head may be cut anywhere: it may be too short to tell, but is never taken for another.
#[test]
fn a_cut_sample_is_told_right_or_asks_for_the_format() {
    for (name, shape, bytes) in samples() {
        // every byte of the short ones, and a prime apart where that would take long
        let apart = if bytes.len() < 500 { 1 } else { 13 };
        let mut told = 0;
        for end in (0..bytes.len()).step_by(apart).chain([bytes.len()]) {
            match detect(&bytes[..end], false) {
                Ok(format) => {
                    assert_eq!(format.name(), name, "{end} bytes of {shape}");
                    told += 1;
                }
                Err(refusal) => assert!(refusal.0.contains("--format"), "{refusal}"),
            }
        }
        assert!(
            told > 1,
            "{name} is told from its whole sample only: {shape}"
        );
    }
}

/// Two samples in one file: told as one of the two, or asked for; where both are sure, both are named.
#[test]
fn a_mixture_is_never_told_as_a_third() {
    for (one, _, first) in samples() {
        for (other, _, second) in samples() {
            let mixed = [&first[..], &second[..]].concat();
            match detect(&mixed, false) {
                Ok(format) => assert!([one, other].contains(&format.name()), "{one} and {other}"),
                Err(refusal) => assert!(refusal.0.contains("--format"), "{refusal}"),
            }
        }
    }
}

#[test]
fn what_is_nothing_is_refused_with_a_reason() {
    for bytes in [
        &b""[..],
        b"\n",
        b"\n\n",
        b" \n\t\n",
        b"[{}]",
        b"null",
        b"\xef\xbb\xbf",
        b"{}",
        b"[]",
        b"{\"a\": 1}\n",
        b"[1, 2]",
        b"a,b,c\n1,2,3\n",
        b"1700000000123 2.5\n",
        b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c",
        b"PAR1\x15\x04",
        b":::MLLOG\n",
        b"TIMESTAMP,ContextTokens\n",
        b"{\"resourceSpans\": []}",
        b"_runtime,loss\n1,2\n",
        b"\xff\xfe\xff",
        b"Some words that nobody measured.\n",
    ] {
        let refusal = detect(bytes, false)
            .map(Format::name)
            .expect_err("it is nothing")
            .0;
        assert!(
            refusal.contains("--format")
                && (refusal.contains("might be") || refusal.contains("nothing")),
            "{refusal}"
        );
    }
    // what is near says what was missing
    let why = |bytes: &[u8]| {
        detect(bytes, false)
            .map(Format::name)
            .expect_err("it is near")
            .0
    };
    assert!(why(b"TIMESTAMP,ContextTokens\n").contains("azure_llm (its header has two"));
    assert!(why(b"{\"resourceSpans\": []}").contains("none in its first bytes"));
    assert!(why(b"1700000000123 2.5\n").contains("have no step"));
}

/// Whatever a format is given, it answers with events and rejects: every sample read as every format, whole and cut.
#[test]
fn no_parser_panics_over_what_is_not_its_own() {
    for (_, _, bytes) in samples() {
        for format in asked() {
            for end in [bytes.len(), bytes.len() / 2, 1] {
                let named = Setup {
                    source: "runs/r/metrics/loss".into(),
                    ..setup()
                };
                // a table may be refused as a whole; that is an answer, too
                if !["azure_llm", "wandb_chart"].contains(&format.name()) {
                    let _ = read(format.name(), &bytes[..end], &named);
                }
            }
        }
    }
}

#[test]
fn names_and_aliases_are_told_apart() {
    let mut seen = std::collections::BTreeSet::new();
    for format in FORMATS {
        for name in std::iter::once(&format.name()).chain(format.aliases()) {
            assert!(seen.insert(*name), "{name} names two formats");
            assert_eq!(named(name).map(Format::name), Ok(format.name()));
        }
    }
}

#[test]
fn what_is_near_a_format_is_refused_with_a_reason() {
    for (text, word) in NEAR {
        let refusal = detect(text.as_bytes(), false)
            .map(Format::name)
            .expect_err("it is none");
        assert!(
            refusal.0.contains(word) && refusal.0.contains("--format"),
            "{text}: {refusal}"
        );
    }
}

/// The words of one format inside the strings of another are no keys.
#[test]
fn words_in_strings_are_no_keys() {
    let text = r#"{"run_id":"a","step":1,"note":"{\"jailbreaks\": [{\"jailbroken\": 1}], \"parameters\": {}}"}
"#;
    assert_eq!(
        detect(text.as_bytes(), false).map(Format::name),
        Ok("jsonl")
    );
}
