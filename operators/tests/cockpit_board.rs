//! The board: run breakers keep apart, and what is remembered has a limit.

use cairn_operators::cockpit::{Cockpit, CockpitRules};
use cairn_operators::operator::{At, Emit, Evidence, Output, Remember, Subject, Telegram, Text};
use serde_json::{Value, json};

const START_MS: i64 = 1_800_000_000_000;

fn opened(run_id: &str) -> Telegram {
    Telegram {
        schema_version: "1.0".to_owned(),
        telegram_id: "0".repeat(32),
        tenant: "default".to_owned(),
        stream: "runs".to_owned(),
        time: "2027-01-15T08:00:00.000Z".to_owned(),
        kind: "breaker".to_owned(),
        subject: Subject {
            kind: "run".to_owned(),
            id: run_id.to_owned(),
        },
        priority: 1,
        text: Text {
            key: "breaker.open.divergence".to_owned(),
            args: std::collections::BTreeMap::new(),
            fallback: "It diverges.".to_owned(),
        },
        evidence: Evidence {
            verdict: Some(json!({"state": "open"})),
            ..Evidence::default()
        },
        traceparent: None,
    }
}

/// The board after the breakers of these runs have opened, a second apart, and the bytes that are remembered.
fn board(rules: CockpitRules, runs: &[String]) -> (Value, u64) {
    let mut core = Cockpit::new(rules);
    let mut emit = Emit::default();
    for (second, run_id) in (0..).zip(runs) {
        let at = At {
            topic: "cockpit.telegrams",
            partition: 0,
            offset: second,
            append_time_ms: START_MS + second * 1000,
        };
        core.apply(&at, &opened(run_id));
    }
    core.flush(&mut emit);
    core.merge();
    let board = emit
        .take()
        .into_iter()
        .find_map(|emitted| match emitted.output {
            Output::Board { snapshot, .. } => Some(snapshot),
            _ => None,
        });
    (board.expect("a board"), core.bytes())
}

fn names(board: &Value) -> Vec<&str> {
    let breakers = board["breakers"].as_array().expect("a list");
    breakers
        .iter()
        .filter_map(|breaker| breaker["name"].as_str())
        .collect()
}

#[test]
fn runs_whose_ids_look_alike_have_breakers_of_their_own() {
    let long = "l".repeat(200);
    let runs = ["a/b", "a b", "a_b", "plain", &long, &format!("{long}2"), ""].map(str::to_owned);
    let (board, _) = board(CockpitRules::default(), &runs);
    let mut names = names(&board);
    assert!(
        names.contains(&"run:plain") && names.contains(&"run:a_b"),
        "{names:?}"
    );
    // The schema's ids: a letter or digit, then at most 127 of letters, digits and `._:-`.
    for name in &names {
        assert!(name.len() <= 128, "{name}");
        assert!(
            name.chars()
                .all(|c| c.is_ascii_alphanumeric() || "._:-".contains(c)),
            "{name}"
        );
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), runs.len());
}

#[test]
fn a_board_remembers_so_many_breakers_and_no_more() {
    let rules = CockpitRules {
        remembered_max: 20,
        ..CockpitRules::default()
    };
    let runs: Vec<String> = (0..500).map(|number| format!("run-{number:03}")).collect();
    let (few, few_bytes) = board(rules.clone(), &runs[480..]);
    let (many, many_bytes) = board(rules, &runs);
    assert_eq!(names(&many), names(&few), "the newest");
    assert_eq!(names(&many).len(), 20);
    assert!(
        many_bytes <= few_bytes + 64,
        "{few_bytes} bytes for 20, {many_bytes} for 500"
    );
}
