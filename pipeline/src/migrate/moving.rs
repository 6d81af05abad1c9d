//! The entries of the changelogs, each to the partition of its run.

use super::Trouble;
use crate::connect::Place;
use crate::runtime::decode::{Decoder, Undecodable};
use cairn_avro::record::Change;
use cairn_avro::{codec, frame};
use cairn_bus::{Fault, Offsets, Outgoing, Record, Session, TopicPartition};
use cairn_operators::runs::placing::{Placed, joined, placed};
use cairn_topics::partition_of;
use std::collections::BTreeMap;
use std::sync::Arc;

const CHANGELOG: &str = "changelog.runs";

/// What a partition holds: the newest value of each key, with its offset.
type Entries = BTreeMap<Vec<u8>, (i64, Vec<u8>)>;

/// Moves everything; answers how many entries moved. Wall times are joined and written last, in a transaction that the caller
/// commits.
pub(super) fn entries(
    place: &Place,
    session: &mut dyn Session,
    present: i32,
    to: i32,
    transaction_bytes: usize,
    committed: &mut dyn FnMut() -> Result<(), Fault>,
) -> Result<u64, Trouble> {
    let changelog: Arc<str> = CHANGELOG.into();
    let mut decoder = Decoder::new(place.registry.clone());
    let (mut moved, mut bytes) = (0, 0);
    // Of each key that a task has one of: the values, and the last record to write them like.
    type Values = (Vec<Vec<u8>>, Vec<u8>);
    let mut own: BTreeMap<Vec<u8>, Values> = BTreeMap::new();
    for partition in 0..present {
        let part = TopicPartition::new(changelog.clone(), partition);
        let mut newest = Entries::new();
        session.read_to_end(&part, &mut |record| take(record, &mut newest))?;
        let mut in_order: Vec<_> = newest.into_iter().collect();
        // As they were written: segments of ids come in their order.
        in_order.sort_by_key(|(_, (offset, _))| *offset);
        for (key, (_, value)) in in_order {
            let broken = |why: String| {
                Trouble::refused(
                    format!("{part}: {why}"),
                    "migrate with the binary that wrote it",
                )
            };
            let text = std::str::from_utf8(&key).map_err(|error| broken(error.to_string()))?;
            let (table, name) = text
                .split_once('\0')
                .ok_or_else(|| broken(format!("the key {text:?} names no table")))?;
            let run = match placed(table, name).map_err(broken)? {
                Placed::Run(run) => run,
                Placed::Task => {
                    let change = change(&part, &value, &mut decoder)?;
                    let (values, _) = own.entry(key.clone()).or_default();
                    values.push(change.value);
                    own.entry(key).or_default().1 = value;
                    continue;
                }
            };
            let target = partition_of(run, to);
            if target == partition {
                continue;
            }
            bytes += key.len() * 2 + value.len();
            let record = |partition, value| Outgoing {
                topic: changelog.clone(),
                partition,
                key: Some(key.clone()),
                value,
                headers: Vec::new(),
            };
            session.send(record(target, Some(value)))?;
            session.send(record(partition, None))?;
            moved += 1;
            if bytes >= transaction_bytes {
                bytes = 0;
                session.commit(&Offsets::new())?;
                committed()?;
            }
        }
        // No transaction is open while the next partition is read: that may take longer than it may live.
        if bytes > 0 {
            bytes = 0;
            session.commit(&Offsets::new())?;
            committed()?;
        }
    }
    for (key, (values, like)) in own {
        let broken = |why: String| Trouble::refused(why, "please report this");
        let value = joined(&values).map_err(broken)?;
        let value = rewritten(&like, value).map_err(broken)?;
        for partition in 0..present {
            session.send(Outgoing {
                topic: changelog.clone(),
                partition,
                key: Some(key.clone()),
                value: Some(value.clone()),
                headers: Vec::new(),
            })?;
        }
    }
    Ok(moved)
}

fn take(record: Record, newest: &mut Entries) {
    let key = record.key.unwrap_or_default();
    match record.value {
        Some(value) => {
            newest.insert(key, (record.offset, value));
        }
        None => {
            newest.remove(&key);
        }
    }
}

fn change(part: &TopicPartition, value: &[u8], decoder: &mut Decoder) -> Result<Change, Trouble> {
    let record = Record {
        topic: part.topic.clone(),
        partition: part.partition,
        offset: 0,
        append_time_ms: 0,
        key: None,
        value: Some(value.to_vec()),
        headers: Vec::new(),
    };
    decoder
        .avro(&record)
        .map_err(|undecodable| match undecodable {
            Undecodable::Later { why, .. } => Trouble::Fault(Fault::Unreachable(why)),
            Undecodable::Never(dead) => {
                Trouble::refused(dead.text, "migrate with the binary that wrote it")
            }
        })
}

/// A record of the changelog with another value.
fn rewritten(like: &[u8], value: Vec<u8>) -> Result<Vec<u8>, String> {
    let frame = frame::split(like).map_err(|fault| fault.to_string())?;
    let change: Change = codec::decode(frame.body).map_err(|fault| fault.to_string())?;
    let mut bytes = Vec::new();
    codec::encode_framed(frame.schema_id, &Change { value, ..change }, &mut bytes)
        .map_err(|fault| fault.to_string())?;
    Ok(bytes)
}
