//! Scenarios worked out by hand from Kafka's documented behaviour, over partitions, transactions and groups at once.

use super::*;

fn at_once() -> i64 {
    0
}

fn broker() -> Broker {
    let mut broker = Broker::new(BrokerSettings {
        transaction_timeout_ms: 10_000,
        transaction_scan_ms: 10_000,
        patience: Patience {
            session_ms: 10_000,
            rebalance_ms: 300_000,
        },
        assignor: Assignor::Range,
    });
    for (name, cleanup) in [
        ("in", Cleanup::Delete { retention_ms: -1 }),
        (
            "out",
            Cleanup::Delete {
                retention_ms: 1_000,
            },
        ),
        ("state", Cleanup::Compact),
    ] {
        assert!(broker.create(&TopicSpec::new(name, 1, cleanup)));
    }
    broker
}

fn part(topic: &str) -> TopicPartition {
    TopicPartition::new(topic, 0)
}

fn out(topic: &str, value: &str) -> (Outgoing, i64) {
    let out = Outgoing {
        topic: topic.into(),
        partition: 0,
        key: Some(b"k".to_vec()),
        value: Some(value.into()),
        headers: vec![],
    };
    (out, 0)
}

/// One step of a producer: `+t` adds a topic's partition, `t=v` produces, `!` commits, `?` aborts.
fn play(broker: &mut Broker, producer: &Producer, now_ms: i64, steps: &str) -> Result<(), Refusal> {
    for step in steps.split_whitespace() {
        let write = match step {
            "!" => Write::End { commit: true },
            "?" => Write::End { commit: false },
            _ => match step.strip_prefix('+') {
                Some(topic) => Write::AddPartitions([part(topic)].into()),
                None => {
                    let (topic, value) = step.split_once('=').unwrap();
                    Write::Produce(vec![out(topic, value)])
                }
            },
        };
        broker.write(producer, &write, now_ms, &mut at_once)?;
    }
    Ok(())
}

fn read(broker: &Broker, topic: &str) -> String {
    let fetched = broker
        .partition(&part(topic))
        .unwrap()
        .fetch(&part(topic), 0, 99);
    let mut words: Vec<String> = fetched
        .records
        .iter()
        .map(|record| {
            format!(
                "{}:{}",
                record.offset,
                String::from_utf8(record.value.clone().unwrap()).unwrap()
            )
        })
        .collect();
    words.push(format!("→{}", fetched.next));
    words.join(" ")
}

#[test]
fn a_transaction_over_two_partitions_is_seen_together() {
    let mut broker = broker();
    let a = broker.init(&"a".into(), 0, &mut at_once).unwrap();
    play(&mut broker, &a, 0, "+out out=1 +state state=2").unwrap();
    assert_eq!(
        (read(&broker, "out"), read(&broker, "state")),
        ("→0".into(), "→0".into())
    );
    play(&mut broker, &a, 0, "!").unwrap();
    assert_eq!(
        (read(&broker, "out"), read(&broker, "state")),
        ("0:1 →2".into(), "0:2 →2".into())
    );
}

#[test]
fn offsets_come_with_the_marker_and_only_from_the_current_generation() {
    let mut broker = broker();
    let group: Arc<str> = "g".into();
    let joining = |id: &str, name: &str| Joining {
        member_id: id.into(),
        instance: Some(name.into()),
        topics: vec!["in".into()],
        ..Joining::default()
    };
    let first = broker.join(&group, joining("", "one"), 0).unwrap();
    let a = broker.init(&"a".into(), 0, &mut at_once).unwrap();
    let standing = |generation| Standing {
        group: group.clone(),
        member_id: first.clone(),
        instance: Some("one".into()),
        generation,
    };
    let offsets = Offsets::from([(part("in"), 7)]);
    let commit = |generation| Write::CommitOffsets(standing(generation), offsets.clone());
    let write = |broker: &mut Broker, write: &Write| broker.write(&a, write, 0, &mut at_once);
    // not before the group is part of the transaction
    assert_eq!(
        write(&mut broker, &commit(1)),
        Err(Refusal::InvalidTransactionState)
    );
    write(&mut broker, &Write::AddOffsets(group.clone())).unwrap();
    write(&mut broker, &commit(1)).unwrap();
    assert_eq!(
        broker.offsets("g", &[part("in")]),
        Err(Refusal::UnstableOffsets)
    );
    assert_eq!(broker.decided_offsets("g"), Offsets::new());
    write(&mut broker, &Write::End { commit: true }).unwrap();
    assert_eq!(broker.offsets("g", &[part("in")]), Ok(offsets.clone()));
    // a second member: generation 2, in which the first has not joined
    broker.join(&group, joining("", "two"), 0).unwrap();
    broker.advance(300_000, &mut at_once);
    write(&mut broker, &Write::AddOffsets(group.clone())).unwrap();
    assert_eq!(
        write(&mut broker, &commit(1)),
        Err(Refusal::IllegalGeneration)
    );
}

#[test]
fn a_delayed_commit_tears_a_later_transaction_and_a_new_epoch_stops_it() {
    let mut broker = broker();
    let a = broker.init(&"a".into(), 0, &mut at_once).unwrap();
    // the first commit was done by a second attempt in place; the first attempt is still on its way
    play(&mut broker, &a, 0, "+out out=1 !").unwrap();
    play(&mut broker, &a, 0, "+out out=half").unwrap();
    play(&mut broker, &a, 0, "!").unwrap(); // it arrives
    assert_eq!(read(&broker, "out"), "0:1 2:half →4");
    // what the producer then wants to abort is a transaction that is over
    assert_eq!(
        play(&mut broker, &a, 0, "?"),
        Err(Refusal::InvalidTransactionState)
    );
    // with a new producer the same delay does nothing
    play(&mut broker, &a, 0, "+out out=2").unwrap();
    let b = broker.init(&"a".into(), 0, &mut at_once).unwrap();
    play(&mut broker, &b, 0, "+out out=3").unwrap();
    assert_eq!(play(&mut broker, &a, 0, "!"), Err(Refusal::ProducerFenced));
    play(&mut broker, &b, 0, "?").unwrap();
    assert_eq!(read(&broker, "out"), "0:1 2:half →8");
}

#[test]
fn what_a_dead_producer_left_is_over_after_its_time() {
    let mut broker = broker();
    let a = broker.init(&"a".into(), 0, &mut at_once).unwrap();
    let b = broker.init(&"b".into(), 0, &mut at_once).unwrap();
    play(&mut broker, &a, 1, "+out out=lost").unwrap();
    play(&mut broker, &b, 2, "+out out=kept !").unwrap();
    assert_eq!(read(&broker, "out"), "→0");
    broker.advance(19_999, &mut at_once);
    assert_eq!(read(&broker, "out"), "→0");
    broker.advance(20_000, &mut at_once);
    assert_eq!(read(&broker, "out"), "1:kept →4");
    assert_eq!((broker.undecided(), broker.next_due_ms()), (0, None));
}

#[test]
fn what_cannot_be_written_is_refused_whole() {
    let mut broker = broker();
    let a = broker.init(&"a".into(), 0, &mut at_once).unwrap();
    play(&mut broker, &a, 0, "+out +state").unwrap();
    let mut produce = |records| broker.write(&a, &Write::Produce(records), 0, &mut at_once);
    let mut keyless = out("state", "v");
    keyless.0.key = None;
    assert_eq!(
        produce(vec![out("out", "v"), keyless]),
        Err(Refusal::InvalidRecord)
    );
    let large = out("out", &"x".repeat(1_048_588));
    assert_eq!(
        produce(vec![out("out", "v"), large]),
        Err(Refusal::MessageTooLarge)
    );
    let mut nowhere = out("out", "v");
    nowhere.0.partition = 1;
    assert_eq!(
        produce(vec![nowhere]),
        Err(Refusal::UnknownTopicOrPartition)
    );
    // not part of the transaction
    assert_eq!(
        produce(vec![out("in", "v")]),
        Err(Refusal::InvalidTransactionState)
    );
    assert_eq!(broker.partition(&part("out")).unwrap().high(), 0);
}

#[test]
fn maintenance_is_as_the_topics_say() {
    let mut broker = broker();
    let a = broker.init(&"a".into(), 0, &mut at_once).unwrap();
    play(
        &mut broker,
        &a,
        100,
        "+in in=1 +out out=1 +state state=1 state=2 !",
    )
    .unwrap();
    broker.maintain(1_100);
    assert_eq!(read(&broker, "out"), "0:1 →2");
    broker.maintain(1_101);
    assert_eq!(
        (read(&broker, "in"), read(&broker, "out")),
        ("0:1 →2".into(), "→2".into())
    );
    assert_eq!(broker.partition(&part("out")).unwrap().start(), 2);
    assert_eq!(read(&broker, "state"), "1:2 →3");
}
