//! `cairn backfill`: a price changes, and rows that are there follow.

use crate::bench::Bench;
use serde_json::Value;

const CHEAP: &str = "runs.derivation.prices=[{accelerator: A100, price_per_hour: 1.0, currency: EUR, valid_from: 2020-01-01}]";
const DEAR: &str = "runs.derivation.prices=[{accelerator: A100, price_per_hour: 2.5, currency: EUR, valid_from: 2020-01-01}]";

/// The newest row of each run.
fn rows(bench: &Bench) -> Vec<Value> {
    let mut newest = std::collections::BTreeMap::new();
    for row in bench.values("experiments.rows") {
        newest.insert(row["run_id"].as_str().expect("a run").to_owned(), row);
    }
    newest.into_values().collect()
}

fn costs(bench: &Bench) -> Vec<Option<f64>> {
    rows(bench)
        .iter()
        .map(|row| row["derived"]["cost"].as_f64())
        .collect()
}

/// Two runs of eight A100: one hour in March and one in May of 2025.
fn two_runs(bench: &Bench) -> (String, String) {
    let mut csv = String::from("name,it,l,t\n");
    for (run, month) in [("early", "03"), ("recent", "05")] {
        csv.push_str(&format!("{run},1,3.0,2025-{month}-01T00:00:00Z\n"));
        csv.push_str(&format!("{run},2,2.9,2025-{month}-01T01:00:00Z\n"));
    }
    let map = "run_id: name\nfields: {step: it, loss: l}\nevent_time: {from: t, unit: rfc3339}\n\
               config: {hardware: \"'A100'\", accelerator_count: \"8\"}\nended: finished\n";
    (bench.file("runs.csv", &csv), bench.file("m.yaml", map))
}

fn asked(bench: &Bench, arguments: &[&str]) -> (u64, u64, u64) {
    let mut all = vec!["backfill"];
    all.extend(arguments);
    let (exit, said) = bench.json(&all);
    assert_eq!(exit, 0, "{said:?}");
    let count = |name: &str| said[0][name].as_u64().expect("a count");
    (count("asked"), count("current"), count("older"))
}

#[test]
fn rows_follow_a_price_and_only_once() {
    let bench = Bench::new();
    let (csv, map) = two_runs(&bench);
    let (exit, said) = bench.json(&["ingest", &csv, "--map", &map]);
    assert_eq!(
        (exit, said[0]["rejected"].as_u64()),
        (0, Some(0)),
        "{said:?}"
    );
    assert_eq!(bench.json(&["run", "--drain", "--setting", CHEAP]).0, 0);
    assert_eq!(costs(&bench), [Some(8.0), Some(8.0)]);
    let before = rows(&bench);

    assert_eq!(
        asked(&bench, &["--since", "earliest", "--setting", CHEAP]),
        (0, 2, 0)
    );
    let dear = ["--since", "2025-04-01", "--setting", DEAR];
    let mut dry = dear.to_vec();
    dry.push("--dry-run");
    assert_eq!(asked(&bench, &dry), (1, 0, 1));
    assert_eq!(asked(&bench, &dear), (1, 0, 1));
    // asked twice before anybody answers: answered once
    assert_eq!(asked(&bench, &dear), (1, 0, 1));
    let said = bench.values("experiments.rows").len();
    assert_eq!(bench.json(&["run", "--drain", "--setting", DEAR]).0, 0);
    assert_eq!(costs(&bench), [Some(8.0), Some(20.0)]);
    assert_eq!(bench.values("experiments.rows").len(), said + 1);
    assert_eq!(asked(&bench, &dear), (0, 1, 1));

    // exact: nothing else of the row has changed than what is derived, and what it rests on
    let after = rows(&bench);
    assert_eq!(after[0], before[0]);
    for (name, value) in before[1].as_object().expect("a row") {
        match name.as_str() {
            "derived" | "inputs" | "updated_append_time_ms" => {}
            _ => assert_eq!(*value, after[1][name], "{name}"),
        }
    }
    let topics: Vec<&str> = after[1]["inputs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|span| span["topic"].as_str())
        .collect();
    assert!(topics.contains(&"runs.tags"), "{topics:?}");
    assert_eq!(bench.values("deadletter").len(), 0);
}

#[test]
fn a_moment_that_is_none_exits_2() {
    let bench = Bench::new();
    let (exit, said) = bench.json(&["backfill", "--since", "yesterday"]);
    let text = format!("{said:?}");
    assert!(exit == 2 && text.contains("earliest"), "{exit}: {text}");
    let (exit, said) = bench.json(&["backfill", "--since", "earliest"]);
    assert_eq!(
        (exit, said[0]["error"]["code"].as_str()),
        (2, Some("no_log"))
    );
    let wrong = "runs.derivation.prices=[{accelerator: A100, price_per_hour: -1, currency: EUR, valid_from: 2020-01-01}]";
    let (exit, said) = bench.json(&["run", "--drain", "--setting", wrong]);
    let text = format!("{said:?}");
    assert!(
        exit == 2 && text.contains("runs.derivation.prices"),
        "{exit}: {text}"
    );
}
