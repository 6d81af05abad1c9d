//! The whole topology on the simulated log, seed by seed, against an oracle; bugs that were planted are found.
//!
//! `CAIRN_SEEDS=10000` tells more stories (`make soak`), from `CAIRN_SEED_FIRST` on. `CAIRN_SEED=17` tells one with its trace, with
//! `CAIRN_CONCERT=1` in concert, with `CAIRN_BUG=OverlayKept` with a bug.

use cairn_tests::simulation::planted::Bug;
use cairn_tests::simulation::stage::shared;
use cairn_tests::simulation::{Outcome, Story, run};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// So many stories without being asked for more: by turns, and in concert, which costs more.
const SEEDS: u64 = 200;
const SEEDS_IN_CONCERT: u64 = 50;
/// So many seeds must suffice to find a planted bug.
const SEEDS_TO_FIND: u64 = 500;
/// So many lines of the trace are shown of a story that ended wrongly.
const TRACE_LINES: usize = 60;

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

fn told(seed: u64, is_concert: bool, outcome: &Outcome) -> String {
    let difference = outcome.difference.as_deref().unwrap_or("none");
    let concert = if is_concert { "CAIRN_CONCERT=1 " } else { "" };
    let lines = outcome.trace.len().saturating_sub(TRACE_LINES);
    format!(
        "seed {seed} ({}): {difference}\n{concert}CAIRN_SEED={seed} cargo test -p cairn-tests --test simulation -- --nocapture one\n{}",
        outcome.trace_hash,
        outcome.trace[lines..].join("\n")
    )
}

/// Stories on all cores, each on one; the differences by seed, and everything counted.
fn tell(
    seeds: std::ops::Range<u64>,
    stop_at_first: bool,
    story: impl Fn(u64) -> Story + Sync,
) -> (BTreeMap<u64, Outcome>, BTreeMap<&'static str, usize>) {
    let next = AtomicU64::new(seeds.start);
    let last = AtomicU64::new(seeds.end);
    let result = Mutex::new((BTreeMap::new(), BTreeMap::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last.load(Ordering::Relaxed) {
                        return;
                    }
                    let outcome = run(&story(seed));
                    let mut result = result.lock().expect("no story panics");
                    let (differences, counts) = &mut *result;
                    for (name, count) in &outcome.counts {
                        *counts.entry(*name).or_default() += count;
                    }
                    *counts.entry("simulated s").or_default() +=
                        outcome.simulated_ms as usize / 1_000;
                    if outcome.difference.is_some() {
                        if stop_at_first {
                            // smaller seeds are all begun, and are told to their ends
                            last.fetch_min(seed, Ordering::Relaxed);
                        }
                        differences.insert(seed, outcome);
                    }
                }
            });
        }
    });
    result.into_inner().expect("no story panics")
}

fn is_exact(how: &str, seeds: u64, story: impl Fn(u64) -> Story + Sync) {
    let seeds = variable("CAIRN_SEEDS").unwrap_or(seeds);
    let first = variable("CAIRN_SEED_FIRST").unwrap_or(0);
    let begun = Instant::now();
    let is_concert = story(first).is_concert;
    let (differences, counts) = tell(first..first + seeds, false, story);
    eprintln!(
        "{how}, seeds {first} to {}: {:.1} s, {} differences, {} aborts; {counts:?}",
        first + seeds,
        begun.elapsed().as_secs_f64(),
        differences.len(),
        aborts()
    );
    if let Some((seed, outcome)) = differences.first_key_value() {
        let seeds: Vec<_> = differences.keys().take(50).collect();
        panic!(
            "{how}, seeds {seeds:?} differ\n{}",
            told(*seed, is_concert, outcome)
        );
    }
    // An oracle that compares nothing finds nothing.
    assert!(aborts() > 0, "nothing was aborted");
    for what in [
        "fenced",
        "killed",
        "left",
        "stopped",
        "superseded",
        "unknown",
        "unreachable",
        "answers",
        "dead letters",
        "events",
        "fits",
        "late rows",
        "telegrams",
        "ticks",
        "verdicts",
        "windows",
    ] {
        let met = counts.get(what).copied().unwrap_or(0);
        assert!(met as u64 >= seeds / 20, "{what}: {met} in {seeds} stories");
    }
}

#[test]
fn exactly_once_by_turns() {
    is_exact("by turns", SEEDS, Story::of);
}

#[test]
fn exactly_once_in_concert() {
    is_exact("in concert", SEEDS_IN_CONCERT, |seed| {
        Story::of(seed).in_concert()
    });
}

/// Transactions that members aborted and did again, in this process.
fn aborts() -> u64 {
    let text = shared().metrics.text();
    text.lines()
        .filter(|line| line.starts_with("cairn_transaction_aborts_total"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[test]
fn one() {
    let Some(seed) = variable("CAIRN_SEED") else {
        return;
    };
    let bug = std::env::var("CAIRN_BUG").unwrap_or_default();
    let bug = Bug::ALL
        .into_iter()
        .find(|known| format!("{known:?}") == bug)
        .unwrap_or(Bug::None);
    let mut story = Story::of(seed).with(bug);
    story.trace_lines = usize::MAX;
    story.is_concert = variable("CAIRN_CONCERT") == Some(1);
    let outcome = run(&story);
    eprintln!("{:#?}\n{}", story, outcome.trace.join("\n"));
    eprintln!("{:?}", outcome.counts);
    assert_eq!(outcome.difference, None, "seed {seed}");
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in 0..6 {
        for story in [Story::of(seed), Story::of(seed).in_concert()] {
            let (once, again) = (run(&story), run(&story));
            assert_eq!(once, again, "{story:?}");
        }
    }
}

#[test]
fn planted_bugs_are_found() {
    for is_concert in [false, true] {
        for bug in Bug::ALL {
            let story = |seed| Story {
                is_concert,
                ..Story::of(seed).with(bug)
            };
            let (differences, _) = tell(0..SEEDS_TO_FIND, true, story);
            let how = if is_concert { "in concert" } else { "by turns" };
            let Some((seed, outcome)) = differences.first_key_value() else {
                panic!("{bug:?} was not found {how} in {SEEDS_TO_FIND} seeds")
            };
            let difference = outcome.difference.as_deref().unwrap_or_default();
            let line = difference.lines().next().unwrap_or_default();
            eprintln!("{bug:?} {how}: seed {seed}: {line}");
        }
    }
}
