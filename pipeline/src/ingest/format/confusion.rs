//! Detection as a confusion matrix: every format looks at every sample, whole, cut anywhere, and at nothing.

use super::tests::SAMPLES;
use super::*;
use std::collections::BTreeMap;
use std::fmt::Write;

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

fn samples() -> impl Iterator<Item = (&'static str, &'static str)> {
    SAMPLES.into_iter().chain(evals::tests::SAMPLES)
}

fn asked() -> impl Iterator<Item = &'static dyn Format> {
    FORMATS
        .into_iter()
        .filter(|format| !format.name().starts_with("mapped_"))
}

/// Rows: what the sample is. Columns: who is sure of it.
#[test]
fn every_sample_is_claimed_by_its_format_alone() {
    let mut matrix: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (name, text) in samples() {
        for format in asked() {
            let sure = format.detect(text.as_bytes()) == Confidence::Sure;
            *matrix.entry((name, format.name())).or_default() += usize::from(sure);
        }
        assert_eq!(detect(text.as_bytes(), false).map(Format::name), Ok(name));
    }
    let mut table = format!("{:>16}", "");
    for format in asked() {
        let _ = write!(table, "{:>16}", format.name());
    }
    for sample in asked() {
        let own = samples().filter(|(name, _)| *name == sample.name()).count();
        assert!(own > 0, "{} has no sample", sample.name());
        let _ = write!(table, "\n{:>16}", sample.name());
        for format in asked() {
            let claimed = matrix[&(sample.name(), format.name())];
            let _ = write!(table, "{claimed:>16}");
            let expected = if sample.name() == format.name() {
                own
            } else {
                0
            };
            assert_eq!(claimed, expected, "{table}");
        }
    }
    println!("{table}");
}

/// A cut sample is told as what it is, or the refusal asks for `--format`; so is an empty one.
#[test]
fn a_cut_sample_is_told_right_or_not_at_all() {
    for (name, text) in samples() {
        let mut told = 0;
        for end in 0..=text.len() {
            match detect(&text.as_bytes()[..end], false) {
                Ok(format) => {
                    assert_eq!(format.name(), name, "after {end} bytes of {name}");
                    told += 1;
                }
                Err(refusal) => assert!(refusal.0.contains("--format"), "{refusal}"),
            }
        }
        assert!(told > 1, "{name} is told from its whole sample only");
    }
    for nothing in ["", "\n", " \n\t\n", "{}", "[]", "[{}]", "null", "\u{feff}"] {
        let refusal = detect(nothing.as_bytes(), false)
            .map(Format::name)
            .expect_err("there is nothing in it");
        assert!(refusal.0.contains("--format"), "{refusal}");
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
