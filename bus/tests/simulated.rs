//! The contract suite on the simulated log without faults; that a seed decides everything; and many seeds of a small task
//! under faults: done rightly it is exact, and bugs that were planted are found.

mod simulated_scenes;

use cairn_bus::simulated::{
    Assignor, Clock, FaultPlan, SimulatedClock, SimulatedLog, SimulatedSettings,
};
use cairn_bus::{Log, contract};
use simulated_scenes::{Bug, Outcome, run};
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

fn outcome(seed: u64) -> Outcome {
    run(
        seed,
        FaultPlan::rough(),
        Bug::None,
        SimulatedSettings::default(),
    )
}

#[test]
fn the_same_seed_is_the_same_story_and_another_seed_another() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let (once, again) = (outcome(seed), outcome(seed));
        assert_eq!(once, again, "seed {seed}");
        assert!(hashes.insert(once.trace_hash), "seed {seed}");
    }
}

#[test]
fn even_without_faults_a_seed_decides_what_comes_first() {
    let story = |seed| {
        run(
            seed,
            FaultPlan::quiet(),
            Bug::None,
            SimulatedSettings::default(),
        )
    };
    let (one, other) = (story(1), story(2));
    assert_ne!(one.trace_hash, other.trace_hash);
    assert_eq!((one.difference, other.difference), (None, None));
    assert!(one.faults.is_empty(), "{:?}", one.faults);
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

#[test]
fn exactly_once_under_all_faults() {
    let mut faults: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut requests = 0;
    for seed in 0..400 {
        for plan in [FaultPlan::rough(), FaultPlan::drawn(seed)] {
            let outcome = run(seed, plan.clone(), Bug::None, settings(seed));
            assert_eq!(
                outcome.difference,
                None,
                "seed {seed}, plan {plan:?}\n{}",
                outcome.trace.join("\n")
            );
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
fn planted_bugs_are_found() {
    for bug in [
        Bug::OffsetsOutside,
        Bug::RetryInPlace,
        Bug::RestoreBeforeFencing,
        Bug::OverlayKept,
    ] {
        let found = (0..SEEDS_TO_FIND).find_map(|seed| {
            let outcome = run(seed, FaultPlan::drawn(seed), bug, settings(seed));
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
    for seed in 0..200 {
        let plan = FaultPlan {
            end_delayed: 0.0,
            request_delayed: 0.0,
            ..FaultPlan::rough()
        };
        let outcome = run(seed, plan, Bug::RetryInPlace, settings(seed));
        assert_eq!(outcome.difference, None, "seed {seed}");
    }
}
