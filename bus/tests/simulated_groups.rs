//! Members that come, go and stand still, told step by step; what must come of it is worked out by hand from Kafka's
//! documentation.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod simulated_stage;

use cairn_bus::simulated::{Assignor, Clock, SimulatedSettings};
use cairn_bus::{Cleanup, Gap, Log, Membership, Offsets, Poll, TopicSpec};
use simulated_stage::*;
use std::time::Duration;

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
                assert!(records.iter().all(|record| record.place.partition == 0));
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
fn an_offset_that_retention_has_overtaken_is_said_and_reads_on_at_the_start() {
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
    let gap = Gap {
        part: brief.clone(),
        from: 0,
        to: 2,
    };
    assert_eq!(next(&mut *session), Poll::Overtaken(vec![gap]));
    assert_eq!(session.position().unwrap()[&brief], 2);
    let Poll::Records(records) = next(&mut *session) else {
        panic!("no records")
    };
    let records = records.to_records();
    assert_eq!((records[0].offset, text(&records[0])), (2, "new".into()));
}
