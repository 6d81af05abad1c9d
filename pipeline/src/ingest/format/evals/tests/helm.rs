//! HELM: stats with their contexts, run specs.

use super::*;

pub(super) const STATS: &str = r#"[
  {"name": {"name": "num_instances", "split": "test"}, "count": 3, "sum": 333, "sum_squared": 36963, "min": 111, "max": 111, "mean": 111.0, "variance": 0.0, "stddev": 0.0},
  {"name": {"name": "exact_match", "split": "test"}, "count": 3, "sum": 1.5, "sum_squared": 0.77, "min": 0.4, "max": 0.6, "mean": 0.5, "variance": 0.02, "stddev": 0.2},
  {"name": {"name": "exact_match", "split": "test", "perturbation": {"name": "robustness", "robustness": true, "fairness": false, "computed_on": "worst"}}, "count": 1, "sum": 0.25, "sum_squared": 0.0625, "min": 0.25, "max": 0.25, "mean": 0.25, "variance": 0, "stddev": 0.0},
  {"name": {"name": "inference_runtime", "split": "test"}, "count": 1, "sum": 0.5, "mean": 0.5},
  {"name": {"name": "bits_per_byte", "split": "valid", "sub_split": "toxic"}, "count": 2, "sum": 3},
  {"name": {"name": "bleu_4", "split": "test"}, "count": 0, "sum": 0, "sum_squared": 0}
]
"#;

pub(super) const RUN_SPEC: &str = r#"{
  "name": "mmlu:subject=anatomy,method=multiple_choice_joint,model=openai_gpt2",
  "scenario_spec": {"class_name": "helm.benchmark.scenarios.mmlu_scenario.MMLUScenario", "args": {"subject": "anatomy"}},
  "adapter_spec": {"method": "multiple_choice_joint", "instructions": "SECRET", "model": "openai/gpt2", "max_train_instances": 5},
  "metric_specs": [{"class_name": "helm.benchmark.metrics.basic_metrics.BasicGenerationMetric", "args": {}}],
  "groups": ["mmlu", "mmlu_anatomy"]
}
"#;

fn folder() -> Setup {
    Setup {
        stem: "mmlu:subject=anatomy,method=multiple_choice_joint,model=openai_gpt2".into(),
        ..setup()
    }
}

fn shown(out: &Out) -> Vec<String> {
    evaluations(out)
        .iter()
        .map(|score| {
            format!(
                "{} {} {:?} ±{:.3?} n{:?}",
                score.task, score.metric, score.value, score.standard_error, score.n
            )
        })
        .collect()
}

#[test]
fn stats_say_over_what_they_are() {
    let out = read("helm", STATS.as_bytes(), &folder());
    let task = "mmlu:subject=anatomy,method=multiple_choice_joint";
    assert_eq!(
        shown(&out),
        [
            format!("{task} exact_match,split=test Some(0.5) ±Some(0.141) nSome(111)"),
            format!(
                "{task} exact_match,split=test,perturbation=robustness:worst Some(0.25) ±None nNone"
            ),
            format!("{task} bits_per_byte,split=valid,sub_split=toxic Some(1.5) ±None nNone"),
        ]
    );
    assert_eq!(evaluations(&out)[2].higher_is_better, Some(false));
    let runtime = out.events.iter().find_map(|event| match &event.payload {
        Payload::RuntimeTelemetry(runtime) => Some((runtime.latency_ms, runtime.n)),
        _ => None,
    });
    assert_eq!(runtime, Some((Some(500.0), Some(111))));
    assert_eq!((rejects(&out), out.ignored), (vec![], 2));
}

#[test]
fn run_specs_become_tags() {
    let out = read("helm", RUN_SPEC.as_bytes(), &folder());
    assert_eq!(
        tags(&out),
        [
            "model:openai/gpt2",
            "scenario:mmlu:subject=anatomy,method=multiple_choice_joint",
            "helm:mmlu",
            "helm:mmlu_anatomy"
        ]
    );
    assert_eq!((out.events.len(), rejects(&out)), (1, vec![]));
}

#[test]
fn early_run_specs_are_told() {
    let early = RUN_SPEC.replace("scenario_spec", "scenario");
    assert_eq!(
        detect(early.as_bytes(), false).map(Format::name),
        Ok("helm")
    );
}

#[test]
fn bad_stats_are_rejects() {
    let text = br#"[
7,
{"name":"f1","count":1},
{"name":{"name":""},"count":1,"sum":1},
{"name":{"name":"f1"},"count":1,"sum":NaN},
{"name":{"name":"f1"},"count":"many"},
{"name":{"name":"f1","perturbation":{}},"count":1,"sum":1}
]"#;
    let out = read("helm", text, &setup());
    assert_eq!(
        rejects(&out),
        [
            ("bad_value", 2),
            ("bad_value", 3),
            ("missing_field", 4),
            ("not_finite", 5),
            ("bad_value", 6)
        ]
    );
    assert_eq!(
        shown(&out),
        ["r f1,perturbation=unnamed:perturbed Some(1.0) ±None nNone"]
    );
    assert_eq!(refused("helm", "[{\"name\":").class, "json");
}
