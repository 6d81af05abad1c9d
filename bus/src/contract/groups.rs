//! Groups with several members; a log that gives a group to one member need not pass these.

use super::{PATIENCE, Place, everything, out, values, write};
use crate::log::{Cleanup, Offsets, Poll, Session, TopicPartition, TopicSpec};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What a member does until everything has been copied: answers rebalances, copies records, commits.
fn copy(
    session: &mut dyn Session,
    output: &Arc<str>,
    wait_for: &AtomicUsize,
    total: usize,
    held: &mut BTreeSet<TopicPartition>,
) {
    let deadline = Instant::now() + PATIENCE;
    while wait_for.load(Ordering::Acquire) < total {
        assert!(
            Instant::now() < deadline,
            "{} of {total}",
            wait_for.load(Ordering::Acquire)
        );
        match session.poll(Duration::from_millis(20), 10).unwrap() {
            Poll::Assigned(parts) => {
                session.assigned(&Offsets::new()).unwrap();
                held.extend(parts);
            }
            Poll::Revoked(parts) | Poll::Lost(parts) => session.revoked(&parts).unwrap(),
            Poll::Records(records) => {
                let records = records.to_records();
                for record in &records {
                    let value = String::from_utf8(record.value.clone().unwrap()).unwrap();
                    session.send(out(output, record.partition, &value)).unwrap();
                }
                session.commit(&super::next(&records)).unwrap();
                wait_for.fetch_add(records.len(), Ordering::AcqRel);
            }
            Poll::Overtaken(gaps) => panic!("nothing was deleted: {gaps:?}"),
            Poll::Idle => {}
        }
    }
}

pub(super) fn two_members_share_and_nothing_is_lost(place: &Place<'_>) {
    let log = (place.open)();
    let (input, twin) = (place.topic(&*log, "in", 4), place.topic(&*log, "twin", 4));
    let output = place.topic(&*log, "out", 4);
    let mut writer = place.writer(&*log, "writer");
    let total = 400;
    let copied = AtomicUsize::new(0);
    // half of it while the first is alone, the rest when the second has come
    let half: Vec<String> = (0..total / 2).map(|number| number.to_string()).collect();
    for number in &half {
        writer
            .send(out(&input, number.len() as i32, number))
            .unwrap();
    }
    writer.commit(&Offsets::new()).unwrap();
    std::thread::scope(|scope| {
        let run = |thread: u32, until: usize| {
            let mut member = place.member("task", &[&input, &twin]);
            member.thread = thread;
            let mut session = log.open(member).unwrap();
            let mut held = BTreeSet::new();
            copy(&mut *session, &output, &copied, until, &mut held);
            (session, held)
        };
        let copied = &copied;
        let (mut first, _) = run(0, total / 2);
        let second = scope.spawn(move || {
            let (session, held) = run(1, total);
            session.close(PATIENCE).unwrap();
            held
        });
        // the first gives up a part, and what comes then is copied by both
        let mut kept: BTreeSet<TopicPartition> = BTreeSet::new();
        let deadline = Instant::now() + PATIENCE;
        let mut given_up = false;
        while kept.is_empty() {
            match first.poll(Duration::from_millis(20), 10).unwrap() {
                Poll::Revoked(parts) => {
                    first.revoked(&parts).unwrap();
                    given_up = true;
                }
                Poll::Assigned(parts) => {
                    first.assigned(&Offsets::new()).unwrap();
                    kept.extend(if given_up { parts } else { vec![] });
                }
                _ => assert!(Instant::now() < deadline, "no rebalance"),
            }
        }
        for number in total / 2..total {
            writer
                .send(out(
                    if number % 2 == 0 { &input } else { &twin },
                    (number / 2) as i32 % 4,
                    &number.to_string(),
                ))
                .unwrap();
        }
        writer.commit(&Offsets::new()).unwrap();
        copy(&mut *first, &output, copied, total, &mut kept);
        let taken = second.join().unwrap();
        assert!(!taken.is_empty(), "the second got nothing");
        // partition p of both topics goes to one member
        for part in &kept {
            let other = if part.topic == input { &twin } else { &input };
            assert!(
                kept.contains(&TopicPartition::new(other.clone(), part.partition)),
                "{kept:?}"
            );
        }
    });
    let mut numbers: Vec<usize> = values(&everything(&*log, &output))
        .iter()
        .map(|value| value.parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..total).collect::<Vec<_>>());
}

pub(super) fn a_changelog_waits_for_an_undecided_transaction(place: &Place<'_>) {
    let log = (place.open)();
    let topic = place.topic_with(&*log, TopicSpec::new("changelog", 1, Cleanup::Compact));
    let part = TopicPartition::new(topic.clone(), 0);
    let mut session = place.writer(&*log, "task");
    let mut writer = place.writer(&*log, "writer");
    write(&mut *writer, &topic, 0, &["before"]);
    let (sent, decide) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut other = place.writer(&*log, "other");
            other.send(out(&topic, 0, "undecided")).unwrap();
            // the record must have left the client: it waits in a batch for a few milliseconds
            let parts = [part.clone()];
            let deadline = Instant::now() + Duration::from_secs(1);
            while Instant::now() < deadline {
                other.last_stable(&parts).unwrap();
            }
            sent.wait();
            decide.wait();
            other.commit(&Offsets::new()).unwrap();
        });
        sent.wait();
        let mut seen = Vec::new();
        let mut decided = false;
        // decided only after the reading has begun
        let mut each = |record: crate::log::Record| seen.push(record);
        scope.spawn(|| {
            std::thread::sleep(super::SILENCE);
            decide.wait();
        });
        let end = session.read_to_end(&part, &mut each).unwrap();
        decided |= values(&seen) == ["before", "undecided"];
        assert!(decided, "{:?} up to {end}", values(&seen));
    });
}

pub(super) fn an_unanswered_rebalance_does_not_keep_a_session_from_closing(place: &Place<'_>) {
    let log = (place.open)();
    let topic = place.topic(&*log, "in", 1);
    let mut session = log.open(place.member("task", &[&topic])).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !matches!(
        session.poll(Duration::from_millis(50), 1).unwrap(),
        Poll::Assigned(_)
    ) {
        assert!(Instant::now() < deadline, "no assignment");
    }
    // told, and never answered
    let begun = Instant::now();
    session.close(Duration::from_secs(20)).unwrap();
    let mut session = log.open(place.member("task", &[&topic])).unwrap();
    let _ = session.poll(Duration::from_millis(50), 1).unwrap();
    drop(session);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "closing took {:?}",
        begun.elapsed()
    );
}
