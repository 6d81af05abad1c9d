//! `cairn migrate`: with a migration in the middle, or half a one and then a whole one, everything is said as without.

use super::bench::{Bench, error};
use cairn_bus::Fault;
use cairn_pipeline::config::Config;
use cairn_pipeline::connect;
use cairn_pipeline::migrate::{Request, Trouble, migrate};
use serde_json::Value;

/// Steps, a configuration and an end for each run.
fn first() -> String {
    let mut lines = String::new();
    for run in 0..12 {
        lines.push_str(&config(run));
        for step in 0..150 {
            lines.push_str(&step_of(run, step, 1));
        }
        // Some end now, some go on later.
        if run % 3 == 0 {
            lines.push_str(&end(run, 149));
        }
    }
    lines
}

/// What old runs hear later: steps of the past again (late or known), new steps, scores, ends; and runs that are new.
fn second() -> String {
    let mut lines = String::new();
    for run in 0..12 {
        lines.push_str(&step_of(run, 20, 1));
        lines.push_str(&step_of(run, 21, 2));
        for step in 150..260 {
            if run % 3 != 0 {
                lines.push_str(&step_of(run, step, 1));
            }
        }
        lines.push_str(&format!(
            "{{\"topic\":\"eval.results\",\"run_id\":\"r{run}\",\"harness\":\"h\",\"task\":\"t\",\"metric\":\"acc\",\"value\":0.5,\"n\":100,\"step\":149}}\n"
        ));
        if run % 3 == 1 {
            lines.push_str(&end(run, 259));
        }
    }
    for run in 20..23 {
        lines.push_str(&config(run));
        for step in 0..100 {
            lines.push_str(&step_of(run, step, 1));
        }
        lines.push_str(&end(run, 99));
    }
    lines
}

fn config(run: u32) -> String {
    let parameters = 1_000_000 * u64::from(run + 1);
    format!(
        "{{\"topic\":\"runs.config\",\"run_id\":\"r{run}\",\"model\":{{\"parameters_total\":{parameters}}}}}\n"
    )
}

fn step_of(run: u32, step: u32, salt: u32) -> String {
    let loss = 2.0 + 3.0 / f64::from(step + 1 + run) + f64::from(salt) * 1e-4;
    let loss = if run == 5 && step > 140 {
        "\"NaN\"".to_owned()
    } else {
        format!("{loss:.6}")
    };
    let tokens = u64::from(step) * 10_000;
    format!(
        "{{\"topic\":\"telemetry.training\",\"run_id\":\"r{run}\",\"step\":{step},\"tokens\":{tokens},\"loss\":{loss}}}\n"
    )
}

fn end(run: u32, step: u32) -> String {
    format!(
        "{{\"topic\":\"runs.lifecycle\",\"run_id\":\"r{run}\",\"state\":\"finished\",\"step\":{step}}}\n"
    )
}

fn fed(bench: &Bench, name: &str, lines: &str) {
    let file = bench.file(name, lines);
    let (exit, said) = bench.json(&["ingest", &file]);
    assert_eq!(exit, 0, "{said:?}");
}

fn drained(bench: &Bench) {
    let (exit, said) = bench.json(&["run", "--drain"]);
    assert_eq!((exit, said[0]["lag"].as_i64()), (0, Some(0)), "{said:?}");
}

fn migrated(bench: &Bench, partitions: &str) -> Value {
    let (exit, mut said) = bench.json(&["migrate", "run", "--partitions", partitions]);
    assert_eq!(exit, 0, "{said:?}");
    said.remove(0)
}

/// What was said, without what no two runs of a program share: times of receipt, and places in the log.
fn said(bench: &Bench, topic: &str) -> Vec<String> {
    let mut values = bench.values(topic);
    if topic == "experiments.rows" {
        // the newest of each run
        let mut newest = std::collections::BTreeMap::new();
        for value in values {
            newest.insert(value["run_id"].to_string(), value);
        }
        values = newest.into_values().collect();
    }
    let mut lines: Vec<String> = values
        .into_iter()
        .map(|mut value| {
            strip(&mut value);
            value.to_string()
        })
        .collect();
    lines.sort();
    lines
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| {
                !(name.ends_with("time_ms")
                    || name.ends_with("_ms")
                    || [
                        "inputs",
                        "offset",
                        "offsets",
                        "first",
                        "last",
                        "partition",
                        "evidence",
                        "verdict_id",
                        "event_id",
                    ]
                    .contains(&name.as_str()))
            });
            members.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

const COMPARED: [&str; 4] = [
    "experiments.rows",
    "runs.windows",
    "breaker.verdicts",
    "late",
];

/// The same input, with something in the middle or without.
fn played(between: impl FnOnce(&Bench)) -> Bench {
    let bench = Bench::new();
    fed(&bench, "first.jsonl", &first());
    drained(&bench);
    between(&bench);
    fed(&bench, "second.jsonl", &second());
    drained(&bench);
    bench
}

fn same(one: &Bench, other: &Bench) {
    for topic in COMPARED {
        let (expected, found) = (said(one, topic), said(other, topic));
        assert!(!expected.is_empty(), "{topic}: nothing to compare");
        assert_eq!(found, expected, "{topic}");
    }
}

#[test]
fn late_facts_amend_old_runs_as_without_a_migration() {
    let without = played(|_| {});
    let grown = played(|bench| {
        let answer = migrated(bench, "37");
        assert_eq!(
            (
                answer["from"].as_i64(),
                answer["to"].as_i64(),
                answer["present"].as_i64()
            ),
            (Some(16), Some(37), Some(37)),
            "{answer}"
        );
        assert!(answer["moved"].as_u64() > Some(0), "{answer}");
        // once more: nothing is left to do
        assert_eq!(migrated(bench, "37")["moved"].as_u64(), Some(0));
    });
    same(&without, &grown);
    let shrunk = played(|bench| {
        let answer = migrated(bench, "3");
        assert_eq!(
            (answer["to"].as_i64(), answer["present"].as_i64()),
            (Some(3), Some(16)),
            "{answer}"
        );
    });
    same(&without, &shrunk);
    // What comes after lies in the partitions that are in use.
    let (_, records) = shrunk.json(&["tail", "runs.events", "--from-start", "--until-end"]);
    let last = records.iter().rev().take(3);
    assert!(
        last.into_iter()
            .all(|record| record["partition"].as_i64() < Some(16))
    );
    let (exit, answer) = shrunk.json(&["replay", "--from", "earliest", "--into", "again"]);
    assert_eq!(
        (exit, error(&answer)["code"].as_str()),
        (1, Some("replay_refused"))
    );
    let only = [
        "replay",
        "--from",
        "earliest",
        "--into",
        "again",
        "--only",
        "refit,cockpit",
    ];
    let (exit, answer) = shrunk.json(&only);
    assert_eq!(exit, 0, "{answer:?}");
}

#[test]
fn a_migration_that_was_killed_is_finished_by_the_next() {
    let without = played(|_| {});
    let halves = played(|bench| {
        let data = bench.home.path().join(".cairn").display().to_string();
        let flags = [
            ("log.data".to_owned(), data),
            // an entry a transaction: many places to be killed at
            ("migrate.transaction_bytes".to_owned(), "1".to_owned()),
        ];
        let config = Config::load(None, [], &flags).expect("settings");
        let request = Request {
            family: "run".to_owned(),
            partitions: 24,
        };
        for after in [1, 2, 5, 9, 14] {
            let place = connect::open(&config.log).expect("a log");
            let mut commits = 0;
            let killed = migrate(&config, &place, &request, &mut || {
                commits += 1;
                if commits == after {
                    return Err(Fault::Unreachable("killed".to_owned()));
                }
                Ok(())
            });
            let expected = Err(Trouble::Fault(Fault::Unreachable("killed".to_owned())));
            assert_eq!(killed, expected, "after {after} commits");
            drop(place);
            let (exit, answer) = bench.json(&["run", "--drain"]);
            let text = format!("{answer:?}");
            assert!(
                exit == 2 && text.contains("cairn migrate run --partitions 24"),
                "{exit}: {text}"
            );
            let (exit, answer) = bench.json(&["migrate", "run", "--partitions", "32"]);
            assert_eq!(exit, 1, "{answer:?}");
        }
        assert_eq!(migrated(bench, "24")["from"].as_i64(), Some(16));
    });
    same(&without, &halves);
}

#[test]
fn a_member_that_lives_and_records_that_are_unread_are_told() {
    let bench = Bench::new();
    fed(&bench, "first.jsonl", &first());
    let (exit, said) = bench.json(&["run", "--drain", "--only", "admit"]);
    assert_eq!(exit, 0, "{said:?}");
    let (exit, said) = bench.json(&["migrate", "run", "--partitions", "32"]);
    let text = format!("{said:?}");
    assert!(
        exit == 1 && text.contains("runs has not read") && text.contains("--drain"),
        "{exit}: {text}"
    );
    let mut running = bench.ready(&["run"]);
    let (exit, said) = bench.json(&["migrate", "run", "--partitions", "32"]);
    running.kill().expect("killed");
    running.wait().expect("waited for");
    assert_eq!(
        (exit, error(&said)["code"].as_str()),
        (5, Some("fenced")),
        "{said:?}"
    );
    for (family, partitions, text) in [
        ("tenant", "2", "the family tenant cannot be migrated"),
        ("run", "0", "0 is no number of partitions"),
    ] {
        let (exit, said) = bench.json(&["migrate", family, "--partitions", partitions]);
        assert!(
            exit == 1 && format!("{said:?}").contains(text),
            "{exit}: {said:?}"
        );
    }
}
