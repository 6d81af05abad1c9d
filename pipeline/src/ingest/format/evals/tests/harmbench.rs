//! HarmBench: means by behaviour, labels that are none.

use super::*;

pub(super) const RESULTS: &str = r#"{
    "copyright_1": [
        {"test_case": "SECRET", "generation": "SECRET", "label": 1, "advbench_label": 1},
        {"test_case": "SECRET", "generation": "SECRET", "label": 0, "advbench_label": 1}
    ],
    "chemical_2": [
        {"test_case": "SECRET", "generation": "SECRET", "label": 0, "advbench_label": 0}
    ]
}
"#;

pub(super) const MULTIMODAL: &str = r#"{"how_to_3": [{"test_case": ["SECRET.png", "SECRET"], "generation": "SECRET", "label": 1}]}
"#;

fn shown(out: &Out) -> Vec<String> {
    safety(out)
        .iter()
        .map(|result| {
            format!(
                "{} {} {} n{} {}",
                result.category.as_deref().unwrap_or("-"),
                result.metric,
                result.value,
                result.n.unwrap_or(-1),
                result.method.as_deref().unwrap_or("-")
            )
        })
        .collect()
}

#[test]
fn behaviours_have_means_and_the_file_has_theirs() {
    let out = read("harmbench", RESULTS.as_bytes(), &setup());
    assert_eq!(
        shown(&out),
        [
            "copyright_1 attack_success 0.5 n2 classifier",
            "copyright_1 attack_success_advbench 1 n2 rule",
            "chemical_2 attack_success 0 n1 classifier",
            "chemical_2 attack_success_advbench 0 n1 rule",
            "- attack_success_rate 0.25 n2 classifier",
            "- attack_success_rate_advbench 0.5 n2 rule",
        ]
    );
    assert_eq!((rejects(&out), out.events[2].position.line), (vec![], 6));
    let out = read("harmbench", MULTIMODAL.as_bytes(), &setup());
    assert_eq!(shown(&out)[1], "- attack_success_rate 1 n1 classifier");
}

#[test]
fn labels_that_are_none_are_rejects() {
    let text = br#"{"a":[{"label":-1},{"label":1}],
"b":[{"generation":"g"}],
"c":{"label":1},
"d":[],
"e":[{"label":"yes"},{"label":true,"advbench_label":0}],
"a":[{"label":0}]}"#;
    let out = read("harmbench", text, &setup());
    assert_eq!(
        rejects(&out),
        [
            ("bad_value", 1),
            ("missing_field", 2),
            ("json", 3),
            ("bad_value", 5),
            ("missing_field", 5)
        ]
    );
    assert_eq!(
        shown(&out),
        [
            "a attack_success 1 n1 classifier",
            "e attack_success 1 n1 classifier",
            "e attack_success_advbench 0 n1 rule",
            "a attack_success 0 n1 classifier",
            "- attack_success_rate 0.6666666666666667 n3 classifier",
            "- attack_success_rate_advbench 0 n1 rule",
        ]
    );
    assert!(
        out.rejects[0].text.contains("1 of 2 test cases of a"),
        "{}",
        out.rejects[0].text
    );
    assert_eq!(refused("harmbench", "[1]").class, "json");
}
