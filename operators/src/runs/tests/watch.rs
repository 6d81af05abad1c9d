//! The index of timers against a walk over all runs: the same outputs, the same state, the same answers, whatever comes,
//! through commits, aborts and restores.

use super::*;
use crate::time::{self, Activity, AppendTimeMs};

/// SplitMix64: the same numbers on every machine.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: i64) -> i64 {
        (self.next() % end as u64) as i64
    }
}

/// Short enough for everything to happen within a few hundred records.
pub(super) fn rules() -> RunsRules {
    let mut rules = RunsRules {
        forget_after_end_ms: 5_000,
        row_retention_days: 1,
        ..RunsRules::default()
    };
    rules.follow.time.end_grace_ms = 700;
    rules.follow.time.idle_after_ms = 1_000;
    rules.follow.time.stalled_after_ms = 4_000;
    rules.follow.time.given_up_after_ms = 20_000;
    rules
}

fn payload(random: &mut Random, run_id: &str) -> Payload {
    let run_id = run_id.to_owned();
    let attempt = random.below(3) as i32;
    let step = random.below(500);
    match random.below(10) {
        0 => Payload::RunConfig(Box::new(RunConfig {
            run_id,
            attempt,
            ..RunConfig::default()
        })),
        1 => Payload::EvalResult(EvalResult {
            run_id,
            attempt,
            step: Some(step),
            ..EvalResult::default()
        }),
        2..=4 => Payload::RunLifecycle(RunLifecycle {
            run_id,
            attempt,
            state: [RunState::Started, RunState::Finished, RunState::Crashed]
                [random.below(3) as usize],
            step: Some(step).filter(|_| random.below(2) == 0),
            ..RunLifecycle::default()
        }),
        _ => Payload::TrainingTelemetry(TrainingTelemetry {
            run_id,
            attempt,
            step,
            loss: Some(3.0),
            ..TrainingTelemetry::default()
        }),
    }
}

pub(super) fn input(random: &mut Random, offset: i64) -> Input {
    if random.below(4) == 0 {
        return Input::Tick;
    }
    let run_id = format!("r{:02}", offset / 40 + random.below(12));
    let events = (0..=random.below(3)).map(|at| {
        let payload = payload(random, &run_id);
        RunEvent {
            event_id: format!("{offset}/{at}").into_bytes(),
            attempt: payload.attempt(),
            clock: crate::admit::clock(&payload),
            received_time_ms: START_MS,
            topic: payload.topic().to_owned(),
            source: None,
            traceparent: None,
            payload,
        }
    });
    Input::Events(RunEvents {
        events: events.collect(),
        tenant: "default".to_owned(),
        run_id,
    })
}

/// What `Runs::due_ms` says, by a walk.
fn due_ms(core: &Runs) -> Option<i64> {
    let now = AppendTimeMs(core.wall_ms);
    let timers = core
        .followed
        .clocks()
        .filter_map(|(_, clock)| time::next_timer(&clock, &core.rules.follow.time, now))
        .map(|at| at.0);
    timers.chain(core.endings.iter().map(|(_, at)| *at)).min()
}

/// What `Runs::health` says, by a walk.
fn health(core: &Runs, wall_ms: i64) -> Health {
    let mut health = Health::default();
    for (_, clock) in core.followed.clocks() {
        if clock.ended || clock.attempt.is_none() {
            continue;
        }
        let silent_ms = wall_ms - clock.append_time_ms.0;
        health.silence_ms_max = health.silence_ms_max.max(silent_ms);
        let settings = &core.rules.follow.time;
        let activity = time::activity(&clock, settings, AppendTimeMs(wall_ms));
        health.stalled += usize::from(activity == Activity::Stalled);
    }
    health
}

/// A core that looks at every run with every record.
fn apply_walking(core: &mut Runs, at: &At<'_>, input: Input, emit: &mut Emit) {
    let all: Vec<String> = core
        .followed
        .clocks()
        .map(|(key, _)| key.to_owned())
        .collect();
    for key in &all {
        core.watch.look_at(key);
    }
    core.apply(at, input, emit);
}

pub(super) fn restored(changelog: &[crate::operator::Change]) -> Runs {
    let mut core = Runs::new(rules());
    for change in changelog {
        core.restore(change.table, &change.key, change.value.as_deref())
            .expect("its own bytes");
    }
    core
}

fn check(seed: u64) -> [usize; 3] {
    let mut random = Random(seed);
    let (mut core, mut twin) = (Runs::new(rules()), Runs::new(rules()));
    let mut changelog = Vec::new();
    let mut now_ms = START_MS;
    let mut said = [0; 3];
    for offset in 0..500 {
        now_ms += match random.below(200) {
            0 => 90_000_000,
            1..=20 => 2_000 + random.below(8_000),
            _ => random.below(300),
        };
        let input = input(&mut random, offset);
        let at = At {
            topic: "runs.events",
            partition: 0,
            offset,
            append_time_ms: now_ms,
        };
        let (mut emit, mut expected) = (Emit::default(), Emit::default());
        core.apply(&at, input.clone(), &mut emit);
        apply_walking(&mut twin, &at, input, &mut expected);
        if random.below(100) == 0 {
            core.drain(&mut emit);
            twin.drain(&mut expected);
        }
        assert_eq!(
            emit.outputs(),
            expected.outputs(),
            "seed {seed}, offset {offset}"
        );
        for emitted in emit.take() {
            if let Output::Telegram(telegram) = emitted.output {
                said[0] += usize::from(telegram.text.key == "run.stalled");
                said[1] += usize::from(telegram.text.key == "run.resumed");
            } else if let Output::Dead(dead) = emitted.output {
                said[2] += usize::from(dead.class == "run_forgotten");
            }
        }
        if random.below(5) == 0 {
            let (mut rows, mut expected) = (Emit::default(), Emit::default());
            core.flush(&mut rows);
            twin.flush(&mut expected);
            assert_eq!(
                rows.outputs(),
                expected.outputs(),
                "seed {seed}, offset {offset}"
            );
            assert!(
                core.changes() == twin.changes(),
                "state: seed {seed}, offset {offset}"
            );
            if random.below(4) == 0 {
                core.discard();
                twin.discard();
            } else {
                changelog.extend(core.changes());
                core.merge();
                twin.merge();
            }
            if random.below(10) == 0 {
                (core, twin) = (restored(&changelog), restored(&changelog));
            }
        }
        assert_eq!(core.due_ms(), due_ms(&core), "seed {seed}, offset {offset}");
        let endings: Vec<(&str, i64)> = core.endings.iter().map(|(key, at)| (key, *at)).collect();
        assert_eq!(
            core.watch.endings(),
            endings,
            "seed {seed}, offset {offset}"
        );
        for wall_ms in [
            now_ms,
            now_ms + random.below(10_000),
            now_ms - random.below(10_000),
        ] {
            assert_eq!(
                core.health(wall_ms),
                health(&core, wall_ms),
                "seed {seed}, offset {offset}, wall {wall_ms}"
            );
        }
    }
    said
}

#[test]
fn an_index_of_timers_says_what_a_walk_over_all_runs_says() {
    let mut said = [0; 3];
    for seed in 0..20 {
        for (total, more) in said.iter_mut().zip(check(seed)) {
            *total += more;
        }
    }
    println!("seeds 0 to 19: {said:?} stalled, resumed, forgotten");
    assert!(
        said.iter().all(|times| *times > 50),
        "stalled, resumed, forgotten: {said:?}"
    );
}
