//! The contract suite on the simulated log without faults; that a seed decides everything; and many seeds of a small task
//! under faults: done rightly it is exact, and bugs that were planted are found.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod simulated_scenes;

use cairn_bus::simulated::{
    Assignor, Clock, FaultPlan, SimulatedClock, SimulatedLog, SimulatedSettings,
};
use cairn_bus::{Log, contract};
use simulated_scenes::{Bug, Outcome, Story, run};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The suite measures real time and uses threads: a clock that does, too.
struct WallClock;

impl Clock for WallClock {
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        since.as_millis() as i64
    }

    fn wait_until(&self, time_ms: i64) {
        let left = (time_ms - self.now_ms()).clamp(0, 1);
        std::thread::sleep(Duration::from_millis(left as u64));
    }
}

#[test]
fn the_contract_in_real_time() {
    let log = SimulatedLog::new(1, FaultPlan::quiet(), WallClock);
    let open = || -> Arc<dyn Log> { Arc::new(log.clone()) };
    contract::run(&open, "suite", contract::ALL);
    contract::run(&open, "suite", contract::GROUPS);
}

/// What no suite waits for: its silences are minutes of a clock by hand.
const NEVER_MS: i64 = 1 << 50;

#[test]
fn the_contract_by_hand() {
    for assignor in [Assignor::Range, Assignor::CooperativeSticky] {
        let settings = SimulatedSettings {
            transaction_timeout_ms: NEVER_MS,
            session_timeout_ms: NEVER_MS,
            max_poll_interval_ms: NEVER_MS,
            assignor,
            ..SimulatedSettings::default()
        };
        let log =
            SimulatedLog::with_settings(1, FaultPlan::quiet(), SimulatedClock::default(), settings);
        let open = || -> Arc<dyn Log> { Arc::new(log.clone()) };
        contract::run(&open, "suite", contract::ALL);
    }
}

/// So many seeds each test goes through; more with `CAIRN_SEEDS`.
fn seeds() -> std::ops::Range<u64> {
    const SEEDS: u64 = 100;
    let wanted = std::env::var("CAIRN_SEEDS").ok();
    0..wanted.map_or(SEEDS, |number| number.parse().unwrap())
}

/// So many seeds must suffice to find a planted bug.
const SEEDS_TO_FIND: u64 = 500;

fn settings(seed: u64) -> SimulatedSettings {
    SimulatedSettings {
        assignor: if seed.is_multiple_of(2) {
            Assignor::Range
        } else {
            Assignor::CooperativeSticky
        },
        static_membership: seed % 4 < 2,
        ..SimulatedSettings::default()
    }
}

fn story(seed: u64, plan: FaultPlan, bug: Bug) -> Outcome {
    run(Story {
        seed,
        plan,
        bug,
        settings: settings(seed),
        crash_at: 0,
    })
}

#[test]
fn the_same_seed_is_the_same_story_and_another_seed_another() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let once = story(seed, FaultPlan::rough(), Bug::None);
        let again = story(seed, FaultPlan::rough(), Bug::None);
        assert_eq!(once, again, "seed {seed}");
        assert!(hashes.insert(once.trace_hash), "seed {seed}");
    }
}

#[test]
fn even_without_faults_a_seed_decides_what_comes_first() {
    let one = story(0, FaultPlan::quiet(), Bug::None);
    let other = story(4, FaultPlan::quiet(), Bug::None);
    assert_ne!(one.trace_hash, other.trace_hash);
    assert_eq!((one.difference, other.difference), (None, None));
    assert!(one.faults.is_empty(), "{:?}", one.faults);
}

fn is_exact(outcome: &Outcome, told: &str) {
    assert_eq!(
        outcome.difference,
        None,
        "{told}\n{}",
        outcome.trace.join("\n")
    );
}

#[test]
fn exactly_once_under_all_faults() {
    let mut faults: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut requests = 0;
    for seed in seeds() {
        for plan in [FaultPlan::rough(), FaultPlan::drawn(seed)] {
            let told = format!("seed {seed}, {plan:?}");
            let outcome = story(seed, plan, Bug::None);
            is_exact(&outcome, &told);
            requests += outcome.requests;
            for (name, count) in outcome.faults {
                *faults.entry(name).or_default() += count;
            }
        }
    }
    eprintln!("{requests} requests, faults met: {faults:?}");
    for name in ["abort", "stopped", "unknown", "unreachable"] {
        assert!(faults.contains_key(name), "no {name}: {faults:?}");
    }
}

#[test]
fn exactly_once_whichever_request_is_the_last_before_a_crash() {
    let mut crashes = 0;
    for seed in 0..4 {
        let requests = story(seed, FaultPlan::quiet(), Bug::None).requests;
        let step = if seeds().end > 100 { 1 } else { 31 };
        for crash_at in (1..=requests).step_by(step) {
            let outcome = run(Story {
                seed,
                plan: FaultPlan::quiet(),
                bug: Bug::None,
                settings: settings(seed),
                crash_at,
            });
            is_exact(&outcome, &format!("seed {seed}, crash at {crash_at}"));
            crashes += 1;
        }
    }
    eprintln!("{crashes} crashes");
}

#[test]
fn planted_bugs_are_found() {
    for bug in [
        Bug::OffsetsOutside,
        Bug::RetryInPlace,
        Bug::RestoreBeforeFencing,
        Bug::OverlayKept,
    ] {
        let found = (0..SEEDS_TO_FIND).find_map(|seed| {
            let outcome = story(seed, FaultPlan::drawn(seed), bug);
            outcome.difference.map(|difference| (seed, difference))
        });
        let Some((seed, difference)) = found else {
            panic!("{bug:?} was not found in {SEEDS_TO_FIND} seeds")
        };
        eprintln!("{bug:?}: seed {seed}: {difference}");
    }
}

/// Without delays to try again in place does no harm: it is the delayed end that the last test finds.
#[test]
fn a_retry_in_place_is_harmless_where_nothing_is_delayed() {
    for seed in seeds() {
        let plan = FaultPlan {
            end_delayed: 0.0,
            request_delayed: 0.0,
            ..FaultPlan::rough()
        };
        is_exact(
            &story(seed, plan, Bug::RetryInPlace),
            &format!("seed {seed}"),
        );
    }
}
