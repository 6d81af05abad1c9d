//! JailbreakBench: verdicts, rates, and the published rates of all 18 artifacts.

use super::*;

pub(super) const ARTIFACT: &str = r#"{
  "parameters": {
    "method": "PAIR", "model": "vicuna-13b-v1.5", "attack_type": "black_box", "defense": null,
    "attack_success_rate": 0.5, "total_number_of_jailbreaks": 2, "number_of_submitted_prompts": 3,
    "total_number_of_queries": 120, "total_prompt_tokens": null, "evaluation_date": "2024-03-15"
  },
  "jailbreaks": [
    {"index": 0, "goal": "SECRET", "behavior": "Defamation", "category": "Harassment", "prompt": "SECRET",
     "response": "SECRET", "number_of_queries": 4, "queries_to_jailbreak": 2, "jailbroken": true, "jailbroken_llama_guard1": false},
    {"index": 1, "goal": "SECRET", "behavior": "Ageism", "category": "Harassment", "prompt": null, "response": null,
     "jailbroken": null, "jailbroken_llama_guard1": null},
    {"index": 2, "goal": "SECRET", "behavior": "Phishing", "category": "Privacy", "jailbroken": true},
    {"index": 3, "goal": "SECRET", "behavior": "Stalking", "category": "Privacy", "jailbroken": false}
  ]
}
"#;

pub(super) const EARLY: &str = r#"{
  "parameters": {"method": "PAIR", "model_name": "vicuna-1.5", "attack_type": "black_box", "success rate": 1.0},
  "jailbreaks": [{"index": "0", "goal": "SECRET", "identifier": "Defamation", "category": "Harassment", "jailbroken": true}]
}
"#;

fn shown(out: &Out) -> Vec<String> {
    safety(out)
        .iter()
        .map(|result| {
            format!(
                "{} {} {} n{}",
                result.category.as_deref().unwrap_or("-"),
                result.metric,
                result.value,
                result.n.unwrap_or(-1)
            )
        })
        .collect()
}

#[test]
fn verdicts_and_rates() {
    let out = read("jailbreakbench", ARTIFACT.as_bytes(), &setup());
    assert_eq!(
        shown(&out),
        [
            "Defamation jailbroken 1 n1",
            "Defamation jailbroken_llama_guard1 0 n1",
            "Ageism jailbroken 0 n1",
            "Ageism jailbroken_llama_guard1 0 n1",
            "Phishing jailbroken 1 n1",
            "Stalking jailbroken 0 n1",
            "- attack_success_rate 0.5 n4",
            "Harassment attack_success_rate 0.5 n2",
            "Privacy attack_success_rate 0.5 n2",
            "- attack_success_rate_llama_guard1 0 n2",
            "Harassment attack_success_rate_llama_guard1 0 n2",
            "- total_number_of_queries 120 n3",
        ]
    );
    let results = safety(&out);
    assert!(
        results
            .iter()
            .all(|result| result.suite == "jailbreakbench/PAIR/black_box")
    );
    assert_eq!(
        results[2].finding.as_deref(),
        Some("no prompt was submitted")
    );
    assert_eq!(results[0].policy.as_deref(), Some("Harassment"));
    assert_eq!(tags(&out), ["model:vicuna-13b-v1.5"]);
    assert_eq!(rejects(&out), []);
    let early = read("jailbreakbench", EARLY.as_bytes(), &setup());
    assert_eq!(shown(&early)[0], "Defamation jailbroken 1 n1");
    assert_eq!(
        (tags(&early), rejects(&early)),
        (vec!["model:vicuna-1.5"], vec![])
    );
}

#[test]
fn bad_entries_are_rejects() {
    let text = br#"{"parameters":{"attack_success_rate":0.9,"defense":"SmoothLLM"},"jailbreaks":[
7,
{"category":"c","jailbroken":true},
{"behavior":"a","category":"c"},
{"behavior":"b","jailbroken":"maybe"},
{"behavior":"d","jailbroken":1},
{"behavior":"e","jailbroken":false}
]}"#;
    let out = read("jailbreakbench", text, &setup());
    assert_eq!(
        rejects(&out),
        [
            ("json", 2),
            ("missing_field", 3),
            ("missing_field", 4),
            ("bad_value", 5),
            ("bad_value", 7)
        ]
    );
    let last = out.rejects.last().expect("there are some");
    assert!(
        last.text.contains("is 0.9") && last.text.contains("verdicts say 0.5"),
        "{}",
        last.text
    );
    assert_eq!(safety(&out)[0].suite, "jailbreakbench/SmoothLLM");
    let none = r#"{"parameters":{}}"#;
    assert_eq!(refused("jailbreakbench", none).class, "json");
}

/// SOURCE.md: the published rates in the order of the files; they equal the mean of the verdicts, nulls counted as no.
#[test]
fn published_rates() {
    const RATES: [f64; 18] = [
        0.94, 0.95, 0.47, 0.04, 0.03, 0.80, 0.0, 0.0, 0.0, 0.90, 0.71, 0.34, 0.0, 0.69, 0.93, 0.78,
        0.90, 0.89,
    ];
    let names = files("jailbreakbench");
    for (name, published) in names.iter().zip(RATES) {
        let out = file("jailbreakbench", name, "jailbreakbench").expect("it is there");
        assert_eq!(rejects(&out), [], "{name}");
        let results = safety(&out);
        let rate = results
            .iter()
            .find(|result| result.category.is_none() && result.metric == "attack_success_rate")
            .expect("it is there");
        assert_eq!(rate.n, Some(100), "{name}");
        assert!(
            (rate.value - published).abs() < 1e-9,
            "{name}: {}",
            rate.value
        );
        let verdicts = results.iter().filter(|r| r.metric == "jailbroken").count();
        let categories = results
            .iter()
            .filter(|r| r.metric == "attack_success_rate" && r.category.is_some());
        assert_eq!((verdicts, categories.count()), (100, 10), "{name}");
    }
    assert!(names.is_empty() || names.len() == RATES.len());
}
