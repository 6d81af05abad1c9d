//! lm-evaluation-harness: both shapes, what groups and words do, and Pythia's checkpoints.

use super::*;
use cairn_avro::record::EvalResult;

pub(super) const V03: &str = r#"{
  "results": {
    "arc_easy": {
      "acc": 0.25, "acc_stderr": 0.009,
      "acc_norm": 0.26, "acc_norm_stderr": 0.01
    },
    "lambada_openai": {"ppl": 12.5, "ppl_stderr": 0.4, "acc": 0.5, "acc_stderr": 0.007}
  },
  "versions": {"arc_easy": 0, "lambada_openai": 1},
  "config": {
    "model": "hf-causal",
    "model_args": "use_accelerate=True,pretrained=EleutherAI/pythia-70m,revision=step32",
    "num_fewshot": 5, "batch_size": 32, "limit": null, "description_dict": {}
  }
}
"#;

pub(super) const V04: &str = r#"{
  "results": {
    "gsm8k": {
      "name": "gsm8k", "alias": "gsm8k", "sample_len": 1319,
      "exact_match,strict-match": 0.5, "exact_match_stderr,strict-match": 0.0137,
      "exact_match,flexible-extract": 0.75, "exact_match_stderr,flexible-extract": "N/A"
    },
    "mmlu": {"acc,none": 0.5, "acc_stderr,none": 0.004, "alias": "mmlu", "sample_count": {"acc,none": 14042}},
    "mmlu_anatomy": {"alias": " - anatomy", "acc,none": NaN, "acc_stderr,none": "N/A"},
    "truthfulqa": {" ": " ", "alias": "truthfulqa"},
    "wikitext": {"alias": "wikitext", "bits_per_byte,none": 0.75, "bits_per_byte_stderr,none": "N/A", "byte_perplexity,none": {"x": 1}}
  },
  "groups": {
    "mmlu": {"acc,none": 0.5, "acc_stderr,none": 0.004, "alias": "mmlu"},
    "blimp": {"acc,none": 0.8, "acc_stderr,none": 0.01, "alias": "blimp"}
  },
  "group_subtasks": {"mmlu": ["mmlu_anatomy"]},
  "configs": {"gsm8k": {"task": "gsm8k", "doc_to_text": "SECRET prompt"}},
  "versions": {"gsm8k": 3.0, "mmlu": "N/A", "mmlu_anatomy": 1},
  "n-shot": {"gsm8k": 5, "mmlu_anatomy": 0},
  "higher_is_better": {"gsm8k": {"exact_match": true}, "wikitext": {"bits_per_byte": false}},
  "n-samples": {"gsm8k": {"original": 1319, "effective": 100}},
  "config": {"model": "hf", "model_args": {"pretrained": "/out/run-7/checkpoint-500", "dtype": "auto"}, "model_revision": "main"},
  "git_hash": "a1b2c3d", "date": 1700000000.25,
  "system_instruction": "SECRET instruction",
  "lm_eval_version": "0.4.9", "model_name": "org/model", "total_evaluation_time_seconds": "10.5"
}
"#;

fn shown(result: &EvalResult) -> String {
    format!(
        "{} {} {:?} ±{:?} n{:?}",
        result.task, result.metric, result.value, result.standard_error, result.n
    )
}

#[test]
fn v03_has_scores_and_a_checkpoint() {
    let out = read("lm_eval", V03.as_bytes(), &setup());
    let scores = evaluations(&out);
    let lines: Vec<_> = scores.iter().map(|score| shown(score)).collect();
    assert_eq!(
        lines,
        [
            "arc_easy acc Some(0.25) ±Some(0.009) nNone",
            "arc_easy acc_norm Some(0.26) ±Some(0.01) nNone",
            "lambada_openai acc Some(0.5) ±Some(0.007) nNone",
            "lambada_openai ppl Some(12.5) ±Some(0.4) nNone",
        ]
    );
    assert!(scores.iter().all(|score| score.step == Some(32)
        && score.few_shot == Some(5)
        && score.harness == "lm-evaluation-harness"
        && score.run_id == "r"));
    assert_eq!(
        (scores[0].higher_is_better, scores[3].higher_is_better),
        (Some(true), Some(false))
    );
    assert_eq!(scores[3].dataset_version.as_deref(), Some("1"));
    assert_eq!(tags(&out), ["model:EleutherAI/pythia-70m"]);
    let lines: Vec<_> = out.events.iter().map(|event| event.position.line).collect();
    assert_eq!((lines, rejects(&out)), (vec![3, 3, 3, 7, 7], vec![]));
}

#[test]
fn v04_has_filters_groups_and_counts() {
    let out = read("lm_eval", V04.as_bytes(), &setup());
    let scores = evaluations(&out);
    let lines: Vec<_> = scores.iter().map(|score| shown(score)).collect();
    assert_eq!(
        lines,
        [
            "gsm8k exact_match,flexible-extract Some(0.75) ±None nSome(100)",
            "gsm8k exact_match,strict-match Some(0.5) ±Some(0.0137) nSome(100)",
            "mmlu acc Some(0.5) ±Some(0.004) nSome(14042)",
            "wikitext bits_per_byte Some(0.75) ±None nNone",
            "blimp acc Some(0.8) ±Some(0.01) nNone",
        ]
    );
    let gsm8k = scores[1];
    assert_eq!(
        (gsm8k.few_shot, gsm8k.higher_is_better, gsm8k.step),
        (Some(5), Some(true), Some(500))
    );
    assert_eq!(
        (
            gsm8k.dataset_version.as_deref(),
            gsm8k.harness_version.as_deref()
        ),
        (Some("3.0"), Some("0.4.9"))
    );
    assert_eq!(gsm8k.event_time_ms, Some(1_700_000_010_750));
    assert_eq!(scores[2].dataset_version, None);
    assert_eq!(scores[3].higher_is_better, Some(false));
    assert_eq!(tags(&out), ["model:org/model"]);
    // a score that is not finite, and one that is no number; the group without an aggregate says nothing
    assert_eq!(
        (rejects(&out), out.ignored),
        (vec![("not_finite", 9), ("bad_value", 11)], 1)
    );
}

#[test]
fn steps_are_read_from_what_names_a_checkpoint() {
    let step = |arguments: &str| {
        let text = format!(
            r#"{{"results":{{"t":{{"acc":1,"acc_stderr":0}}}},"config":{{"model_args":{arguments}}}}}"#
        );
        evaluations(&read("lm_eval", text.as_bytes(), &setup()))[0].step
    };
    assert_eq!(
        step(r#""pretrained=a,revision=step738020-tokens3094B""#),
        Some(738_020)
    );
    assert_eq!(step(r#""pretrained=/x/global_step1000/""#), Some(1000));
    assert_eq!(
        step(r#"{"peft":"x/checkpoint-9","pretrained":"a"}"#),
        Some(9)
    );
    for none in [
        r#""pretrained=a,revision=main""#,
        r#""pretrained=a,revision=stepwise""#,
        r#""revision=step""#,
        r#""checkpoint-x""#,
        "null",
        "7",
    ] {
        assert_eq!(step(none), None, "{none}");
    }
}

#[test]
fn broken_documents_and_tasks_are_rejects() {
    for text in [
        "",
        "{",
        "[]",
        r#"{"versions":{}}"#,
        r#"{"results":[1]}"#,
        &V04[..200],
    ] {
        let reject = refused("lm_eval", text);
        assert_eq!(
            (reject.class, reject.topic.as_str()),
            ("json", "eval.results")
        );
    }
    let odd = r#"{"results":{"a":3,"":{"acc":1},"b":{"acc":[1]},"c":{"acc":0.5,"acc_stderr":-1}},"versions":[],"config":"x","groups":[],"n-shot":{"c":"5"}}"#;
    let out = read("lm_eval", odd.as_bytes(), &setup());
    assert_eq!(
        rejects(&out),
        [
            ("json", 1),
            ("missing_field", 1),
            ("bad_value", 1),
            ("out_of_range", 1)
        ]
    );
    assert_eq!(read("lm_eval", br#"{"results":{}}"#, &setup()).events, []);
}

#[test]
fn pythia_checkpoints() {
    let Some(out) = file(
        "pythia-evals",
        "pythia-70m-deduped/zero-shot/70m-deduped_step32.json",
        "lm_eval",
    ) else {
        return;
    };
    let scores = evaluations(&out);
    let score = scores
        .iter()
        .find(|score| score.task == "hendrycksTest-international_law" && score.metric == "acc")
        .expect("it is there");
    assert_eq!(
        (
            score.value,
            score.standard_error,
            score.step,
            score.few_shot
        ),
        (
            Some(0.099_173_553_719_008_27),
            Some(0.027_285_246_312_758_957),
            Some(32),
            Some(0)
        )
    );
    assert_eq!(score.run_id, "70m-deduped_step32");
    // every file of the folder; the counts of metrics are those that Python's json finds in them
    let Some(root) = shared("pythia-evals") else {
        return;
    };
    let (mut read_files, mut scores, mut steps) = (0, 0, std::collections::BTreeSet::new());
    for model in std::fs::read_dir(&root)
        .expect("it can be listed")
        .flatten()
    {
        for kind in ["zero-shot", "baseline", "intervention"] {
            let folder = format!(
                "pythia-evals/{}/{kind}",
                model.file_name().to_string_lossy()
            );
            if !root.join(model.file_name()).join(kind).is_dir() {
                continue;
            }
            for name in files(&folder) {
                let out = file(&folder, &name, "lm_eval").expect("it is there");
                assert_eq!(out.rejects, [], "{folder}/{name}");
                read_files += 1;
                scores += evaluations(&out).len();
                steps.extend(evaluations(&out).iter().filter_map(|score| score.step));
                assert!(
                    evaluations(&out)
                        .iter()
                        .all(|score| score.standard_error.is_some()),
                    "{folder}/{name}"
                );
            }
        }
    }
    assert_eq!(
        (read_files, scores),
        (180, 10_346 + 9_858 + 3_960 + 3_960 + 170)
    );
    assert!(steps.contains(&1) && steps.contains(&143_000));
}

/// A score that a task does not have is null; the first Open LLM Leaderboard ran lighteval.
#[test]
fn lighteval_has_the_same_results() {
    let text = r#"{
 "config_general": {"lighteval_sha": "a1b2", "model_name": "org/model", "model_sha": "c3"},
 "results": {"harness|arc:challenge|25": {"acc": 0.5, "acc_stderr": 0.01, "em": null}},
 "versions": {"harness|arc:challenge|25": 0}, "config_tasks": {}, "summary_general": {}
}"#;
    let out = read("lm_eval", text.as_bytes(), &setup());
    assert_eq!(
        (out.rejects.len(), tags(&out)),
        (0, vec!["model:org/model"])
    );
    let score = evaluations(&out)[0];
    assert_eq!(
        (
            score.harness.as_str(),
            score.harness_version.as_deref(),
            score.value
        ),
        ("lighteval", Some("a1b2"), Some(0.5))
    );
    assert_eq!(evaluations(&out).len(), 1);
}
