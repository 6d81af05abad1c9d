//! Single faults, told step by step; what must come of them is worked out by hand from Kafka's documentation.

use cairn_bus::simulated::{
    Assignor, Clock, FaultPlan, SimulatedClock, SimulatedLog, SimulatedSettings,
};
use cairn_bus::{
    Cleanup, Fault, Log, Membership, Offsets, Outgoing, Poll, Record, Session, TopicPartition,
    TopicSpec,
};
use std::time::Duration;

const STEP: Duration = Duration::from_millis(50);

fn out(topic: &str, partition: i32, key: &str, value: &str) -> Outgoing {
    Outgoing {
        topic: topic.into(),
        partition,
        key: Some(key.into()),
        value: Some(value.into()),
        headers: vec![],
    }
}

fn who(operator: &str, instance: &str, topics: &[&str]) -> Membership {
    Membership {
        operator: operator.into(),
        group: operator.into(),
        instance: instance.into(),
        thread: 0,
        topics: topics.iter().map(|topic| topic.to_string()).collect(),
    }
}

fn text(record: &Record) -> String {
    String::from_utf8(record.value.clone().unwrap_or_default()).unwrap()
}

struct Stage {
    log: SimulatedLog,
    clock: SimulatedClock,
}

/// Topics `in` (two partitions, a record "0", "1" … in turn), `out` and `state` (compacted).
fn stage(settings: SimulatedSettings) -> Stage {
    // a multiple of the brokers' look for old transactions, so that times come out even
    let clock = SimulatedClock::at(1_800_000_000_000);
    let log = SimulatedLog::with_settings(7, FaultPlan::quiet(), clock.clone(), settings);
    let all = Cleanup::Delete { retention_ms: -1 };
    log.create(&[
        TopicSpec::new("in", 2, all),
        TopicSpec::new("out", 2, all),
        TopicSpec::new("state", 2, Cleanup::Compact),
    ])
    .unwrap();
    let mut writer = log.open(who("writer", "w", &[])).unwrap();
    for number in 0..8 {
        writer
            .send(out("in", number % 2, "k", &number.to_string()))
            .unwrap();
    }
    writer.commit(&Offsets::new()).unwrap();
    Stage { log, clock }
}

fn quiet() -> Stage {
    stage(SimulatedSettings::default())
}

impl Stage {
    fn open(&self, instance: &str) -> Box<dyn Session> {
        self.log.open(who("copy", instance, &["in"])).unwrap()
    }

    /// Opens a member that holds what it was given, from its committed offsets on.
    fn reading(&self, instance: &str) -> Box<dyn Session> {
        let mut session = self.open(instance);
        take(&mut *session);
        session
    }

    fn values(&self, topic: &str, partition: i32) -> Vec<String> {
        let mut reader = self.log.reader().unwrap();
        let start = Offsets::from([(part(topic, partition), 0)]);
        let (records, _) = reader.read(&start, Duration::ZERO, 100).unwrap();
        records.iter().map(text).collect()
    }

    fn with(&self, plan: FaultPlan, act: impl FnOnce()) {
        self.log.set_plan(plan);
        act();
        self.log.set_plan(FaultPlan::quiet());
    }
}

fn part(topic: &str, number: i32) -> TopicPartition {
    TopicPartition::new(topic, number)
}

fn both() -> Vec<TopicPartition> {
    vec![part("in", 0), part("in", 1)]
}

fn next(session: &mut dyn Session) -> Poll {
    session.poll(STEP, 100).unwrap()
}

fn take(session: &mut dyn Session) -> Vec<TopicPartition> {
    match next(session) {
        Poll::Assigned(parts) => {
            session.assigned(&Offsets::new()).unwrap();
            parts
        }
        other => panic!("instead of an assignment: {other:?}"),
    }
}

fn give_up(session: &mut dyn Session) -> Vec<TopicPartition> {
    match next(session) {
        Poll::Revoked(parts) => {
            session.revoked(&parts).unwrap();
            parts
        }
        other => panic!("instead of a revocation: {other:?}"),
    }
}

fn at(offsets: &[(&TopicPartition, i64)]) -> Offsets {
    offsets
        .iter()
        .map(|(part, next)| ((*part).clone(), *next))
        .collect()
}

fn name<T: std::fmt::Debug>(result: Result<T, Fault>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(fault) => fault.name(),
    }
}

#[test]
fn a_stopped_member_is_replaced_and_can_commit_nothing() {
    // what it had begun is over by then, which is all that it can know
    for (sends, expected) in [(false, "abort"), (true, "unknown")] {
        let stage = quiet();
        let mut zombie = stage.reading("a");
        assert!(matches!(next(&mut *zombie), Poll::Records(_)));
        if sends {
            zombie.send(out("out", 0, "k", "zombie")).unwrap();
        }
        stage.log.stop("a");
        assert!(stage.log.is_stopped("a"));
        assert_eq!(name(zombie.poll(STEP, 1)), "config");
        let mut heir = stage.open("b");
        // the rebalance waits for the zombie until its session has ended, after 10 s
        let begun = stage.clock.now_ms();
        let patience = Duration::from_millis(9_999);
        assert_eq!(heir.poll(patience, 9).unwrap(), Poll::Idle);
        assert_eq!(take(&mut *heir), both());
        assert_eq!(stage.clock.now_ms() - begun, 10_000);
        stage.log.go_on("a");
        let offsets = at(&[(&part("in", 0), 4)]);
        assert_eq!(name(zombie.commit(&offsets)), expected);
        if !sends {
            assert_eq!(next(&mut *zombie), Poll::Lost(both()));
        }
        assert!(stage.values("out", 0).is_empty());
        assert_eq!(heir.committed(&both()).unwrap(), Offsets::new());
        heir.commit(&offsets).unwrap();
        assert_eq!(stage.log.committed_offsets("copy"), offsets);
    }
}

/// A fact about Kafka that a task must know: without offsets nobody asks for the generation.
#[test]
fn a_member_that_was_replaced_can_still_write_without_offsets() {
    let stage = quiet();
    let mut zombie = stage.reading("a");
    stage.log.stop("a");
    stage.clock.advance_ms(10_000);
    let mut heir = stage.reading("b");
    stage.log.go_on("a");
    zombie.send(out("out", 0, "k", "zombie")).unwrap();
    zombie.commit(&Offsets::new()).unwrap();
    assert_eq!(stage.values("out", 0), ["zombie"]);
    heir.commit(&Offsets::new()).unwrap();
}

#[test]
fn a_commit_without_an_answer_is_decided_by_the_next_session() {
    for (plan, happened) in [
        (
            FaultPlan {
                request_lost: 1.0,
                ..FaultPlan::quiet()
            },
            false,
        ),
        (
            FaultPlan {
                answer_lost: 1.0,
                ..FaultPlan::quiet()
            },
            true,
        ),
    ] {
        let stage = quiet();
        let mut session = stage.reading("a");
        session.send(out("out", 0, "k", "v")).unwrap();
        // the faults hit the first request of the commit, its end
        stage.with(plan, || {
            assert_eq!(name(session.commit(&Offsets::new())), "unknown");
        });
        // it stays unknown, however often one asks
        assert_eq!(name(session.commit(&Offsets::new())), "unknown");
        assert_eq!(name(session.abort()), "unknown");
        drop(session);
        let _next = stage.reading("a");
        let expected: &[&str] = if happened { &["v"] } else { &[] };
        assert_eq!(stage.values("out", 0), expected);
        assert_eq!(stage.log.undecided(), 0);
    }
}

#[test]
fn a_delayed_commit_is_stopped_by_a_new_producer_and_tears_what_is_retried_in_place() {
    let delayed = FaultPlan {
        end_delayed: 1.0,
        delay_ms_max: 1_000,
        ..FaultPlan::quiet()
    };
    // as it should be done
    let stage_one = quiet();
    let mut session = stage_one.reading("a");
    session.send(out("out", 0, "k", "first")).unwrap();
    stage_one.with(delayed.clone(), || {
        assert_eq!(name(session.commit(&Offsets::new())), "unknown");
    });
    drop(session);
    let mut session = stage_one.reading("a");
    session.send(out("out", 0, "k", "second")).unwrap();
    stage_one.clock.advance_ms(1_000);
    session.abort().unwrap();
    assert!(stage_one.values("out", 0).is_empty());
    // tried again in place: the first attempt arrives in the middle of the next transaction
    let stage_two = stage(SimulatedSettings {
        retry_in_place: true,
        ..SimulatedSettings::default()
    });
    let mut session = stage_two.reading("a");
    session.send(out("out", 0, "k", "first")).unwrap();
    stage_two.with(delayed, || {
        assert_eq!(name(session.commit(&Offsets::new())), "unknown");
    });
    session.commit(&Offsets::new()).unwrap();
    session.send(out("out", 0, "k", "half")).unwrap();
    stage_two.clock.advance_ms(1_000);
    assert_eq!(name(session.abort()), "fenced");
    assert_eq!(stage_two.values("out", 0), ["first", "half"]);
}

#[test]
fn offsets_of_a_dead_member_are_waited_for_until_its_transaction_is_over() {
    let stage = quiet();
    let mut dying = stage.reading("a");
    let first = at(&[(&part("in", 0), 1)]);
    dying.commit(&first).unwrap();
    // AddOffsetsToTxn, TxnOffsetCommit, and then it dies before EndTxn
    stage.clock.advance_ms(5_000);
    stage.log.crash_at_request(stage.log.requests() + 3);
    assert_eq!(name(dying.commit(&at(&[(&part("in", 0), 3)]))), "unknown");
    assert!(stage.log.is_killed("a"));
    assert_eq!(name(dying.poll(STEP, 1)), "unknown");
    let mut heir = stage.open("b");
    let begun = stage.clock.now_ms();
    assert_eq!(heir.committed(&both()).unwrap(), first);
    // begun at 5 s, too old at 15 s, found at 20 s
    assert_eq!(stage.clock.now_ms() - begun, 15_000);
    // its own successor need not wait
    drop(dying);
    assert!(!stage.log.is_killed("a"));
}

#[test]
fn a_crash_before_any_request_of_a_commit_leaves_all_or_nothing() {
    let commit = |crash: u64| {
        let stage = quiet();
        let mut session = stage.reading("a");
        let before = stage.log.requests();
        stage.log.crash_at_request(before + crash);
        let outcome = session
            .send(out("out", 0, "k", "one"))
            .and_then(|()| session.send(out("state", 0, "k", "1")))
            .and_then(|()| session.commit(&at(&[(&part("in", 0), 4)])));
        let requests = stage.log.requests() - before;
        stage.log.crash_at_request(0);
        drop(session);
        let _next = stage.reading("a");
        let seen = (
            stage.values("out", 0).len(),
            stage.values("state", 0).len(),
            stage.log.committed_offsets("copy").len(),
        );
        (name(outcome), requests, seen)
    };
    // two records (each AddPartitions and Produce), AddOffsets, TxnOffsetCommit, EndTxn
    for crash in 1..=7 {
        assert_eq!(
            commit(crash),
            ("unknown", crash, (0, 0, 0)),
            "request {crash}"
        );
    }
    assert_eq!(commit(8), ("ok", 7, (1, 1, 1)));
}

#[test]
fn a_rebalance_in_the_middle_of_a_restore_comes_after_its_answer() {
    let stage = quiet();
    let mut session = stage.open("a");
    assert_eq!(next(&mut *session), Poll::Assigned(both()));
    assert_eq!(session.committed(&both()).unwrap(), Offsets::new());
    assert!(stage.log.rebalance("copy"));
    assert!(!stage.log.rebalance("copy"), "one is under way");
    session.read_to_end(&part("state", 0), &mut |_| {}).unwrap();
    session.assigned(&Offsets::new()).unwrap();
    // its offsets still count, until it has joined again
    session.commit(&at(&[(&part("in", 0), 1)])).unwrap();
    assert_eq!(give_up(&mut *session), both());
    assert_eq!(take(&mut *session), both());
    assert_eq!(session.position().unwrap()[&part("in", 0)], 1);
    session.commit(&at(&[(&part("in", 0), 2)])).unwrap();
}

#[test]
fn eager_members_give_up_everything_and_cooperative_ones_what_moves() {
    for (assignor, given_up) in [
        (Assignor::Range, both()),
        (Assignor::CooperativeSticky, vec![part("in", 1)]),
    ] {
        let stage = stage(SimulatedSettings {
            assignor,
            ..SimulatedSettings::default()
        });
        let mut first = stage.reading("a");
        let mut second = stage.open("b");
        assert_eq!(give_up(&mut *first), given_up, "{assignor:?}");
        match assignor {
            Assignor::Range => {
                // nothing is read meanwhile
                assert_eq!(next(&mut *first), Poll::Assigned(vec![part("in", 0)]));
                first.assigned(&Offsets::new()).unwrap();
            }
            Assignor::CooperativeSticky => {
                assert_eq!(take(&mut *second), []);
                // it reads on while the rebalance goes on
                let Poll::Records(records) = next(&mut *first) else {
                    panic!("no records")
                };
                assert!(records.iter().all(|record| record.partition == 0));
            }
        }
        assert_eq!(take(&mut *second), [part("in", 1)], "{assignor:?}");
        assert!(matches!(next(&mut *second), Poll::Records(_)));
    }
}

#[test]
fn a_group_with_more_members_than_partitions_tells_them_so() {
    let stage = quiet();
    let mut first = stage.reading("a");
    let (mut second, mut third) = (stage.open("b"), stage.open("c"));
    assert_eq!(give_up(&mut *first), both());
    assert_eq!(take(&mut *first), [part("in", 0)]);
    assert_eq!(take(&mut *second), [part("in", 1)]);
    assert_eq!(take(&mut *third), []);
    assert_eq!(next(&mut *third), Poll::Idle);
}

#[test]
fn brokers_out_of_reach_are_waited_for_as_long_as_a_call_may_take() {
    let stage = quiet();
    let mut session = stage.reading("a");
    session.send(out("out", 0, "k", "v")).unwrap();
    stage.log.unreachable_for_ms(8_000);
    assert_eq!(next(&mut *session), Poll::Idle);
    session.commit(&Offsets::new()).unwrap();
    // 60 s are longer than a call
    stage.log.unreachable_for_ms(60_000);
    let begun = stage.clock.now_ms();
    assert_eq!(name(session.committed(&both())), "unreachable");
    assert_eq!(stage.clock.now_ms() - begun, 30_000);
    stage.log.unreachable_for_ms(60_000);
    assert_eq!(name(stage.log.topics()), "unreachable");
    stage.log.unreachable_for_ms(60_000);
    assert_eq!(name(session.send(out("out", 0, "k", "w"))), "unknown");
    stage.log.unreachable_for_ms(0);
    drop(session);
    let _next = stage.reading("a");
    assert_eq!(stage.values("out", 0), ["v"]);
}

#[test]
fn a_transaction_that_takes_too_long_is_unknown_and_aborted() {
    let stage = quiet();
    let mut session = stage.reading("a");
    session.send(out("out", 0, "k", "late")).unwrap();
    stage.clock.advance_ms(10_001);
    assert_eq!(name(session.commit(&Offsets::new())), "unknown");
    assert!(stage.values("out", 0).is_empty());
    assert_eq!(stage.log.undecided(), 0);
}

#[test]
fn a_late_marker_holds_back_ends_and_offsets() {
    let stage = quiet();
    let mut session = stage.reading("a");
    session.send(out("out", 0, "k", "v")).unwrap();
    let late = FaultPlan {
        marker_late: 1.0,
        marker_ms_max: 400,
        ..FaultPlan::quiet()
    };
    let offsets = at(&[(&part("in", 0), 2)]);
    stage.with(late, || session.commit(&offsets).unwrap());
    let end = [part("out", 0)];
    assert_eq!(session.last_stable(&end).unwrap()[&end[0]], 0);
    assert_eq!(stage.log.committed_offsets("copy"), Offsets::new());
    let begun = stage.clock.now_ms();
    // waits for the marker
    assert_eq!(session.committed(&both()).unwrap(), offsets);
    assert!((1..=400).contains(&(stage.clock.now_ms() - begun)));
    stage.clock.advance_ms(400);
    assert_eq!(session.last_stable(&end).unwrap()[&end[0]], 2);
}

#[test]
fn a_member_that_does_not_poll_is_out_in_the_end() {
    let stage = quiet();
    let mut lazy = stage.reading("a");
    // silent after 300 s, out after another 10 s
    stage.clock.advance_ms(309_999);
    lazy.commit(&at(&[(&part("in", 0), 1)])).unwrap();
    stage.clock.advance_ms(1);
    assert_eq!(name(lazy.commit(&at(&[(&part("in", 0), 2)]))), "abort");
    assert_eq!(next(&mut *lazy), Poll::Lost(both()));
    lazy.revoked(&both()).unwrap();
    assert_eq!(take(&mut *lazy), both());
    assert_eq!(lazy.position().unwrap()[&part("in", 0)], 1);
}

#[test]
fn a_committed_offset_that_retention_has_overtaken_reads_on_at_the_start() {
    let stage = quiet();
    let brief = Cleanup::Delete {
        retention_ms: 1_000,
    };
    stage
        .log
        .create(&[TopicSpec::new("brief", 1, brief)])
        .unwrap();
    let brief = part("brief", 0);
    let mut writer = stage.log.open(who("writer", "w", &[])).unwrap();
    let mut write = |value: &str| {
        writer.send(out("brief", 0, "k", value)).unwrap();
        writer.commit(&Offsets::new()).unwrap();
    };
    write("old");
    stage.clock.advance_ms(2_000);
    write("new");
    stage.log.maintain().unwrap();
    let member = Membership {
        topics: vec!["brief".into()],
        ..who("look", "a", &[])
    };
    let mut session = stage.log.open(member).unwrap();
    assert!(matches!(next(&mut *session), Poll::Assigned(_)));
    session.assigned(&at(&[(&brief, 0)])).unwrap();
    let Poll::Records(records) = next(&mut *session) else {
        panic!("no records")
    };
    assert_eq!((records[0].offset, text(&records[0])), (2, "new".into()));
}
