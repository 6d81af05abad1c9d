//! Single faults of transactions, told step by step; what must come of them is worked out by hand from Kafka's documentation.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod simulated_stage;

use cairn_bus::simulated::{Clock, FaultPlan, SimulatedSettings};
use cairn_bus::{Log, Offsets, Poll};
use simulated_stage::*;

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
