//! Rebalances and offsets of one group, worked out by hand.

use super::Refusal;
use super::assign::Assignor;
use super::group::{Counts, Group, Joining, Patience, Standing};
use crate::log::{Offsets, TopicPartition};

struct Scene {
    group: Group,
    counts: Counts,
    now_ms: i64,
}

impl Scene {
    fn new(assignor: Assignor, partitions: i32) -> Self {
        let patience = Patience {
            session_ms: 10_000,
            rebalance_ms: 300_000,
        };
        Self {
            group: Group::new(assignor, patience),
            counts: Counts::from([("t".to_string(), partitions)]),
            now_ms: 0,
        }
    }

    fn join(&mut self, id: &str, instance: Option<&str>, owned: &[i32]) -> Result<String, Refusal> {
        let joining = Joining {
            member_id: id.into(),
            instance: instance.map(str::to_owned),
            topics: vec!["t".into()],
            owned: owned.iter().map(|&n| TopicPartition::new("t", n)).collect(),
        };
        self.group.join(joining, self.now_ms, &self.counts)
    }

    /// `generation: partitions`, or why not.
    fn share(&self, id: &str, instance: Option<&str>) -> String {
        let instance = instance.map(str::to_owned);
        match self.group.assignment(id, instance.as_ref()) {
            Ok(Some((generation, parts))) => {
                let numbers: Vec<String> = parts
                    .iter()
                    .map(|part| part.partition.to_string())
                    .collect();
                format!("{generation}: {}", numbers.join(" "))
            }
            other => format!("{other:?}"),
        }
    }

    fn standing(&self, id: &str, instance: Option<&str>, generation: i32) -> Standing {
        Standing {
            group: "g".into(),
            member_id: id.into(),
            instance: instance.map(str::to_owned),
            generation,
        }
    }
}

#[test]
fn a_second_member_makes_a_second_generation() {
    let mut scene = Scene::new(Assignor::Range, 3);
    let first = scene.join("", None, &[]).unwrap();
    assert_eq!(scene.share(&first, None), "1: 0 1 2");
    let second = scene.join("", None, &[]).unwrap();
    assert_eq!(scene.share(&second, None), "Ok(None)");
    // the first hears of it; its commits still count until it has joined
    let old = scene.standing(&first, None, 1);
    assert_eq!(
        scene.group.heartbeat(&old),
        Err(Refusal::RebalanceInProgress)
    );
    assert_eq!(scene.group.check(&old), Ok(()));
    scene.join(&first, None, &[]).unwrap();
    assert_eq!(scene.share(&first, None), "2: 0 1");
    assert_eq!(scene.share(&second, None), "2: 2");
    assert_eq!(scene.group.check(&old), Err(Refusal::IllegalGeneration));
    assert_eq!(scene.group.heartbeat(&old), Err(Refusal::IllegalGeneration));
    let nobody = scene.standing("stranger", None, 2);
    assert_eq!(scene.group.check(&nobody), Err(Refusal::UnknownMember));
}

#[test]
fn a_static_member_takes_its_place_back_without_a_rebalance() {
    let mut scene = Scene::new(Assignor::Range, 2);
    let first = scene.join("", Some("one"), &[]).unwrap();
    let again = scene.join("", Some("one"), &[]).unwrap();
    assert_ne!(first, again);
    assert_eq!(scene.share(&again, Some("one")), "1: 0 1");
    let old = scene.standing(&first, Some("one"), 1);
    assert_eq!(scene.group.check(&old), Err(Refusal::FencedInstance));
    assert_eq!(scene.group.heartbeat(&old), Err(Refusal::FencedInstance));
}

#[test]
fn a_silent_member_loses_its_place_when_its_session_ends() {
    let mut scene = Scene::new(Assignor::Range, 2);
    let first = scene.join("", Some("one"), &[]).unwrap();
    let second = scene.join("", Some("two"), &[]).unwrap();
    scene.join(&first, Some("one"), &[]).unwrap();
    assert_eq!(scene.share(&second, Some("two")), "2: 1");
    scene.group.presence(&first, false, 5_000);
    assert_eq!(scene.group.next_due_ms(), Some(15_000));
    scene.group.advance(14_999, &scene.counts);
    let zombie = scene.standing(&first, Some("one"), 2);
    assert_eq!(scene.group.check(&zombie), Ok(()));
    scene.group.advance(15_000, &scene.counts);
    // out, and the other one is asked to join
    assert_eq!(scene.group.check(&zombie), Err(Refusal::UnknownMember));
    let other = scene.standing(&second, Some("two"), 2);
    assert_eq!(
        scene.group.heartbeat(&other),
        Err(Refusal::RebalanceInProgress)
    );
    scene.join(&second, Some("two"), &[]).unwrap();
    assert_eq!(scene.share(&second, Some("two")), "3: 0 1");
}

#[test]
fn a_rebalance_does_not_wait_for_ever() {
    let mut scene = Scene::new(Assignor::Range, 2);
    let first = scene.join("", Some("one"), &[]).unwrap();
    let second = scene.join("", Some("two"), &[]).unwrap();
    scene.group.advance(299_999, &scene.counts);
    assert_eq!(scene.share(&second, Some("two")), "Ok(None)");
    // the first is alive but does not join: static, so it keeps its share, in a generation that it does not know
    scene.group.advance(300_000, &scene.counts);
    assert_eq!(scene.share(&second, Some("two")), "2: 1");
    let late = scene.standing(&first, Some("one"), 1);
    assert_eq!(scene.group.check(&late), Err(Refusal::IllegalGeneration));
    // a dynamic one is thrown out
    let mut scene = Scene::new(Assignor::Range, 2);
    let first = scene.join("", None, &[]).unwrap();
    let second = scene.join("", None, &[]).unwrap();
    scene.group.advance(300_000, &scene.counts);
    assert_eq!(scene.share(&second, None), "2: 0 1");
    assert_eq!(scene.share(&first, None), "Err(UnknownMember)");
}

#[test]
fn cooperative_members_give_up_first_and_take_afterwards() {
    let mut scene = Scene::new(Assignor::CooperativeSticky, 4);
    let first = scene.join("", None, &[]).unwrap();
    let second = scene.join("", None, &[]).unwrap();
    scene.join(&first, None, &[0, 1, 2, 3]).unwrap();
    assert_eq!(scene.share(&first, None), "2: 0 1");
    assert_eq!(scene.share(&second, None), "2: ");
    // what was given up is said by joining again
    scene.join(&first, None, &[0, 1]).unwrap();
    scene.join(&second, None, &[]).unwrap();
    assert_eq!(scene.share(&first, None), "3: 0 1");
    assert_eq!(scene.share(&second, None), "3: 2 3");
}

#[test]
fn offsets_of_an_open_transaction_are_waited_for() {
    let mut scene = Scene::new(Assignor::Range, 2);
    let parts = [TopicPartition::new("t", 0), TopicPartition::new("t", 1)];
    scene.group.hold(7, &Offsets::from([(parts[0].clone(), 5)]));
    assert_eq!(scene.group.offsets(&parts), Err(Refusal::UnstableOffsets));
    assert_eq!(scene.group.offsets(&parts[1..]), Ok(Offsets::new()));
    scene.group.end(7, true);
    scene.group.hold(8, &Offsets::from([(parts[0].clone(), 9)]));
    scene.group.end(8, false);
    assert_eq!(
        scene.group.offsets(&parts),
        Ok(Offsets::from([(parts[0].clone(), 5)]))
    );
}
