//! The commands of `docs/formats.md` on the shared data, as they stand there; and what the data's publishers say, asked of the
//! registry.

use super::bench::Bench;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The shared folder beside the checkout.
pub(crate) fn shared() -> Option<PathBuf> {
    let named = std::env::var_os("CAIRN_SHARED").map(PathBuf::from);
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?);
    let beside: Vec<PathBuf> = package
        .ancestors()
        .map(|base| base.join("shared"))
        .collect();
    named
        .into_iter()
        .chain(beside)
        .find(|root| root.join("data").exists())
}

/// The commands, and how many events each says to accept.
fn commands(root: &Path) -> Vec<(Vec<String>, u64)> {
    let page = std::fs::read_to_string(root.join("docs/formats.md")).expect("the page");
    page.lines()
        .filter(|line| line.starts_with("cairn ingest ../shared/data/"))
        .map(|line| {
            let (command, accepted) = line.split_once('#').expect("what it accepts");
            let words = command.split_whitespace().skip(1).map(str::to_owned);
            let accepted = accepted.trim().strip_prefix("accepted ").expect("a count");
            (words.collect(), accepted.parse().expect("a count"))
        })
        .collect()
}

#[test]
fn the_page_of_formats_holds() {
    let Some(shared) = shared() else {
        println!("skipped: the shared data are not at hand; set CAIRN_SHARED");
        return;
    };
    let root = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo")).join("..");
    let commands = commands(&root);
    assert!(commands.len() >= 15, "{} commands", commands.len());
    let bench = Bench::new();
    let mut wrong = Vec::new();
    for (words, accepted) in commands {
        let words: Vec<String> = words
            .iter()
            .map(|word| match word.strip_prefix("../shared/") {
                Some(rest) => shared.join(rest).display().to_string(),
                None if word.starts_with("examples/") => root.join(word).display().to_string(),
                None => word.clone(),
            })
            .collect();
        let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        let (exit, said) = bench.json(&arguments);
        let sum = |member: &str| -> u64 {
            said.iter()
                .filter_map(|source| source[member].as_u64())
                .sum()
        };
        if exit != 0 || sum("accepted") != accepted || sum("rejected") != 0 {
            wrong.push(format!(
                "{arguments:?}: exit {exit}, accepted {}, rejected {}, {:?}",
                sum("accepted"),
                sum("rejected"),
                said.last().map(|last| last["error"].clone())
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let (exit, drained) = bench.json(&["run", "--drain"]);
    assert_eq!((exit, drained[0]["lag"].as_i64()), (0, Some(0)));
    let ask = |query: &str| -> Vec<Value> {
        let (exit, rows) = bench.json(&["sql", query]);
        assert_eq!(exit, 0, "{query}: {rows:?}");
        rows
    };
    let mut wrong = Vec::new();
    let mut holds = |query: &str, expected: f64, tolerance: f64| {
        let rows = ask(query);
        let found = rows.first().and_then(|row| row["x"].as_f64());
        if found.is_none_or(|found| (found - expected).abs() > tolerance) {
            wrong.push(format!("{query}: {found:?}, published {expected}"));
        }
    };
    // tau-bench: pass^k of the paper's table
    for (k, published) in [(1, 0.420), (2, 0.273), (3, 0.220), (4, 0.200)] {
        holds(
            &format!(
                "SELECT value AS x FROM scores WHERE harness = 'tau-bench' AND metric = 'pass^{k}'"
            ),
            published,
            5e-4,
        );
    }
    // JailbreakBench: the attack success rate that each file carries
    for (run, published) in [
        ("DSN__white_box__llama-2-7b-chat-hf", 0.94),
        ("GCG__transfer__gpt-3.5-turbo-1106", 0.47),
        ("JBC__manual__gpt-4-0125-preview", 0.0),
        ("PAIR__black_box__gpt-3.5-turbo-1106", 0.71),
        (
            "prompt_with_random_search__black_box__gpt-4-0125-preview",
            0.78,
        ),
    ] {
        holds(
            &format!(
                "SELECT value AS x FROM scores WHERE run_id = '{run}' AND metric = 'attack_success_rate' AND task = harness"
            ),
            published,
            1e-9,
        );
    }
    // modded-nanogpt and llm.c: final validation losses
    for (run, published) in [
        ("llmc_gpt2-124m_main", 3.2722),
        ("valueembed_seedA_75a3af7b", 3.2838),
        ("valueembed_seedB_d884d4cb", 3.271),
        ("valueembed_seedD_51faed93", 3.275),
    ] {
        holds(
            &format!("SELECT validation_loss_last AS x FROM rows WHERE run_id = '{run}'"),
            published,
            5e-4,
        );
    }
    // tables: as many runs as the publishers count, and a figure of each
    holds(
        "SELECT count(*) AS x FROM rows WHERE array_has(tags, 'chinchilla-epoch')",
        245.0,
        0.0,
    );
    holds(
        "SELECT count(*) AS x FROM rows WHERE run_id LIKE 'regmix-1m-%'",
        512.0,
        0.0,
    );
    holds(
        "SELECT count(*) AS x FROM rows WHERE array_has(tags, 'rpj') OR array_has(tags, 'c4_original') OR array_has(tags, 'rw_original')",
        104.0,
        0.0,
    );
    holds(
        "SELECT min(value) AS x FROM scores WHERE harness = 'fcnet'",
        0.221379,
        5e-7,
    );
    holds(
        "SELECT count(*) AS x FROM scores WHERE harness = 'fcnet'",
        62_208.0,
        0.0,
    );
    holds(
        "SELECT steps AS x FROM rows WHERE run_id = 'hf-trainer-state'",
        12_030.0,
        0.0,
    );
    // Llama-2 7B: 7e9 parameters, 2e12 tokens; MMLU of the publishers' table
    holds(
        "SELECT parameters_total AS x FROM rows WHERE run_id = 'meta-llama/Llama-2-7b-hf'",
        7e9,
        1.0,
    );
    holds(
        "SELECT value AS x FROM scores WHERE run_id = 'meta-llama/Llama-2-7b-hf' AND task = 'mmlu'",
        0.437_960_963_609_241_8,
        1e-12,
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
