//! The experiment registry as outsiders use it: list, show, tag, cohort, diff, export, SQL.

use super::bench::{Bench, error};
use super::s3::python;
use serde_json::{Value, json};
use std::process::Command;

/// Three runs of two sizes, one of which diverges, with a score that comes later.
fn filled(store: &[&str]) -> Bench {
    let bench = Bench::new();
    let mut lines = String::new();
    for (run, parameters, least) in [("small", 1e6, 3.0), ("large", 1e8, 2.0), ("sick", 1e8, 9.0)] {
        lines.push_str(&format!(
            "{}\n",
            json!({"topic": "runs.config", "run_id": run, "model": {"parameters_total": parameters, "family": "dense"},
                   "training": {"learning_rate_peak": 3e-4, "optimizer": "adamw"}, "tags": ["grid"],
                   "environment": {"code_commit": "0123abc"}, "data_mix": [{"dataset": "c4", "ratio": 1.0, "version": "v1"}]})
        ));
        for step in 1..=200 {
            let loss = if run == "sick" && step > 150 {
                json!("NaN")
            } else {
                json!(least + 3.0 / f64::from(step))
            };
            lines.push_str(&format!(
                "{}\n",
                json!({"run_id": run, "step": step, "tokens": step * 1000, "loss": loss})
            ));
        }
        lines.push_str(&format!(
            "{}\n",
            json!({"topic": "runs.lifecycle", "run_id": run, "state": "finished", "step": 200})
        ));
    }
    let file = bench.file("runs.jsonl", &lines);
    work(&bench, store, &file);
    let score = json!({"topic": "eval.results", "run_id": "large", "harness": "h", "task": "arc", "metric": "acc", "value": 0.75, "n": 400});
    let file = bench.file("scores.jsonl", &format!("{score}\n"));
    work(&bench, store, &file);
    bench
}

fn work(bench: &Bench, store: &[&str], file: &str) {
    let (exit, said) = bench.json(&["ingest", file]);
    assert_eq!((exit, &said[0]["rejected"]), (0, &json!(0)), "{said:?}");
    drain(bench, store);
}

fn drain(bench: &Bench, store: &[&str]) {
    let mut arguments = vec!["run", "--drain"];
    arguments.extend(store);
    let (exit, said) = bench.json(&arguments);
    assert_eq!(exit, 0, "{said:?}");
}

fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter()
        .map(|row| row["run_id"].as_str().expect("a run"))
        .collect()
}

#[test]
fn runs_are_listed_shown_and_compared() {
    for store in [&[][..], &["--setting", "registry.store=jsonl"][..]] {
        let bench = filled(store);
        let ask = |arguments: &[&str]| {
            let mut all = arguments.to_vec();
            all.extend(store);
            bench.json(&all)
        };
        let (exit, rows) = ask(&["runs", "list"]);
        assert_eq!((exit, ids(&rows)), (0, vec!["large", "sick", "small"]));
        let (_, rows) = ask(&[
            "runs",
            "list",
            "--where",
            "parameters_total > 1e7 AND loss < 5",
        ]);
        assert_eq!(ids(&rows), ["large"]);

        // the row is that of the log, with units and the records it rests on
        let (exit, shown) = ask(&["runs", "show", "large"]);
        let row = &shown[0];
        assert_eq!(exit, 0);
        assert_eq!(row["model"]["parameters_total"], json!(1e8));
        assert_eq!(row["derived"]["flops"], json!(6.0 * 1e8 * 200_000.0));
        assert_eq!(row["scores"][0]["value"], json!(0.75));
        assert_eq!(row["environment"]["code_commit"], json!("0123abc"));
        assert_eq!(row["units"]["loss_last"], json!("nats per token"));
        assert_eq!(row["units"]["model.parameters_total"], json!("count"));
        let on_log = bench
            .values("experiments.rows")
            .into_iter()
            .rev()
            .find(|row| row["run_id"] == "large")
            .expect("a row");
        let spans = on_log["inputs"].as_array().expect("inputs");
        assert!(!spans.is_empty());
        for span in spans {
            let (topic, partition) = (span["topic"].as_str().expect("a topic"), &span["partition"]);
            let found = [topic.to_owned(), format!("{topic}/{partition}")]
                .into_iter()
                .find_map(|name| row["inputs"].get(name));
            assert_eq!(found, Some(&json!([span["first"], span["last"]])), "{span}");
        }

        let (_, difference) = ask(&["runs", "diff", "small", "large"]);
        let member = |name: &str| difference.iter().find(|line| line["member"] == name);
        assert_eq!(
            member("model.parameters_total").expect("they differ"),
            &json!({"member": "model.parameters_total", "a": 1e6, "b": 1e8, "unit": "count"})
        );
        assert!(member("training.learning_rate_peak").is_none());

        let (exit, said) = ask(&["runs", "show", "larg"]);
        assert_eq!(exit, 1);
        assert!(
            error(&said)["remedy"]
                .as_str()
                .expect("text")
                .contains("large"),
            "{said:?}"
        );
    }
}

#[test]
fn people_read_a_screen() {
    let bench = filled(&[]);
    let text = |arguments: &[&str]| {
        let output = bench.run(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let list = text(&["runs", "list", "--wide"]);
    let large = list
        .lines()
        .find(|line| line.contains("large"))
        .expect("a line");
    assert!(large.contains('█') && large.contains('▁'), "{list}");
    let shown = text(&["runs", "show", "large"]);
    for part in [
        "0123abc",
        "c4",
        "h arc",
        "telemetry.training",
        "nats per token",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

/// The configuration's cohorts are known wherever a cohort may be named, and a store that does not exist is refused before any work.
#[test]
fn what_the_configuration_says_holds_for_every_command() {
    let bench = filled(&[]);
    let config = bench.file(
        "cairn.yaml",
        "refit:\n  rules:\n    cohorts:\n      - {name: big, where: parameters_total > 1e7}\n",
    );
    let with = ["--config", config.as_str()];
    let (exit, said) = bench.json(&[&["runs", "list", "--cohort", "big"], &with[..]].concat());
    assert_eq!((exit, said.len()), (0, 2), "{said:?}");
    let (exit, said) = bench.json(&[&["runs", "cohort", "list"], &with[..]].concat());
    assert!(
        exit == 0
            && said
                .iter()
                .any(|one| one["name"] == "big" && one["version"] == 0),
        "{said:?}"
    );
    let (exit, said) = bench.json(&["run", "--drain", "--setting", "registry.store=sqlite"]);
    assert_eq!(exit, 2, "{said:?}");
    let output = bench.run(&["verdicts", "--run", "nosuch"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("no such run"), "{text}");
}

/// Windows by steps and windows by time are two views of one loss: a picture shows one of them.
#[test]
fn a_loss_that_falls_is_drawn_falling() {
    let bench = Bench::new();
    let lines: String = (0..500)
        .map(|at| {
            let (step, loss) = (at * 10, 2.0 + 5.0 / (1.0 + f64::from(at) / 9.0));
            let time_ms = 1_764_000_000_000_i64 + i64::from(at) * 3_000;
            format!(
                "{}\n",
                json!({"run_id": "r", "step": step, "loss": loss, "event_time_ms": time_ms})
            )
        })
        .collect();
    let file = bench.file("r.jsonl", &lines);
    work(&bench, &[], &file);
    let (_, kinds) = bench.json(&["sql", "SELECT DISTINCT kind FROM windows"]);
    assert_eq!(kinds.len(), 2, "{kinds:?}");
    let output = bench.run(&["runs", "list", "--wide"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let drawn: Vec<char> = text
        .chars()
        .filter(|one| ('▁'..='█').contains(one))
        .collect();
    assert!(drawn.len() > 20, "{text}");
    assert!(drawn.is_sorted_by(|one, next| one >= next), "{text}");
}

#[test]
fn sql_answers_and_names_the_nearest() {
    let bench = filled(&[]);
    let (exit, rows) = bench.json(&[
        "sql",
        "SELECT family, count(*) AS n, min(loss) AS best FROM rows WHERE array_has(tags, 'grid') GROUP BY family",
    ]);
    assert_eq!(exit, 0);
    assert_eq!(
        rows,
        [json!({"family": "dense", "n": 3, "best": 2.0 + 3.0 / 200.0})]
    );
    let (_, verdicts) = bench.json(&[
        "sql",
        "SELECT DISTINCT run_id FROM verdicts WHERE state = 'open'",
    ]);
    assert_eq!(verdicts, [json!({"run_id": "sick"})]);
    let (_, windows) = bench.json(&["sql", "SELECT count(*) > 0 AS some FROM windows"]);
    assert_eq!(windows, [json!({"some": true})]);
    for (query, wrong, right) in [
        (
            "SELECT parameter_total FROM rows",
            "parameter_total",
            "parameters_total",
        ),
        ("SELECT * FROM row", "row", "rows"),
        ("SELEC 1", "SELEC", "DESCRIBE"),
    ] {
        let (exit, said) = bench.json(&["sql", query]);
        let error = error(&said);
        assert_eq!(exit, 2, "{query}");
        assert!(
            error["message"].as_str().expect("text").contains(wrong)
                && error["remedy"].as_str().expect("text").contains(right),
            "{query}: {error}"
        );
    }
}

#[test]
fn tags_go_in_at_the_front_door_and_cohorts_have_versions() {
    let bench = filled(&[]);
    let (exit, said) = bench.json(&["runs", "tag", "small", "good", "best"]);
    assert_eq!(
        (exit, &said[0]["tags"]),
        (0, &json!(["best", "good", "grid"]))
    );
    let (exit, _) = bench.json(&["runs", "untag", "small", "good"]);
    assert_eq!(exit, 0);
    drain(&bench, &[]);
    let (_, shown) = bench.json(&["runs", "show", "small"]);
    assert_eq!(shown[0]["tags"], json!(["best", "grid"]));

    let save =
        |condition: &str| bench.json(&["runs", "cohort", "save", "big", "--where", condition]);
    let (exit, said) = save("parameters_total > 1e7");
    assert_eq!(
        (exit, &said[0]["version"], &said[0]["runs"]),
        (0, &json!(1), &json!(2))
    );
    let (_, same) = save("parameters_total > 1e7");
    assert_eq!(same[0]["version"], json!(1), "nothing has changed");
    let (_, said) = save("parameters_total > 1e7 AND divergences = 0");
    assert_eq!(said[0]["version"], json!(2));
    let (_, shown) = bench.json(&["runs", "cohort", "show", "big"]);
    assert_eq!(shown[0]["run_ids"], json!(["large"]));
    let (_, rows) = bench.json(&["runs", "list", "--cohort", "big"]);
    assert_eq!(ids(&rows), ["large"]);
    let (exit, said) = save("colour = 'red'");
    assert_eq!(exit, 2, "{said:?}");
    let (exit, said) = bench.json(&["runs", "list", "--cohort", "bigg"]);
    assert_eq!(exit, 1, "{said:?}");
}

/// What a plan or a fit was made from can be seen again.
#[test]
fn an_earlier_state_is_still_there() {
    let bench = filled(&[]);
    let scores = |as_of: &[&str]| {
        let mut arguments = vec!["sql", "SELECT count(*) AS n FROM scores"];
        arguments.extend(as_of);
        bench.json(&arguments).1[0]["n"].clone()
    };
    assert_eq!(scores(&[]), json!(1));
    assert_eq!(scores(&["--as-of", "1"]), json!(0), "before the score came");
    let (exit, said) = bench.json(&["runs", "list", "--as-of", "yesterday"]);
    assert_eq!(exit, 2, "{said:?}");
}

/// The tables belong to nobody: polars, DuckDB and delta-rs read what Cairn wrote.
#[test]
fn other_engines_read_the_table() {
    let Some(program) = python("deltalake, duckdb, duckdb_extension_delta, polars") else {
        return;
    };
    let bench = filled(&[]);
    let export = bench.home.path().join("rows.parquet");
    let (exit, said) = bench.json(&["runs", "export", "--out", &export.display().to_string()]);
    assert_eq!((exit, &said[0]["rows"]), (0, &json!(3)));
    let script = r#"
import json, sys, pathlib
import deltalake, duckdb, duckdb_extension_delta, polars
table, export = sys.argv[1:]
query = "SELECT run_id, parameters_total FROM t ORDER BY run_id"
def rows(frame): return [[r, float(p)] for r, p in frame.select("run_id", "parameters_total").sort("run_id").iter_rows()]
answers = {
    "polars": rows(polars.read_delta(table)),
    "polars_parquet": rows(polars.read_parquet(export)),
    "delta_rs": rows(polars.DataFrame(deltalake.QueryBuilder().register("t", deltalake.DeltaTable(table)).execute(query).read_all())),
}
folder = pathlib.Path(duckdb_extension_delta.__file__).parent
extension = next(folder.rglob("delta.duckdb_extension"))
connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
connection.execute(f"LOAD '{extension}'")
answers["duckdb"] = [[r, float(p)] for r, p in connection.execute(query.replace(" t ", f" delta_scan('{table}') ")).fetchall()]
print(json.dumps(answers))
"#;
    let output = Command::new(program)
        .args(["-c", script])
        .arg(bench.home.path().join(".cairn/registry/rows"))
        .arg(&export)
        .output()
        .expect("Python starts");
    let answers: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let expected = json!([["large", 1e8], ["sick", 1e8], ["small", 1e6]]);
    for engine in ["polars", "polars_parquet", "delta_rs", "duckdb"] {
        assert_eq!(answers[engine], expected, "{engine}");
    }
}
