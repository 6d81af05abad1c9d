//! Nobody else is a member, and everything that the tasks of the family read is read.
//!
//! The migration becomes the only member of every group, and says what it is about to do as such: a member that joins
//! later is given its partitions after that, and reads it before it begins.

use super::Trouble;
use crate::config::Config;
use crate::connect::Place;
use crate::metrics::wall_time_ms;
use crate::runtime::task::{Kind, kinds};
use cairn_bus::{Fault, Membership, Offsets, Outgoing, Poll, Session, TopicPartition, TopicState};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One group, of which this is the only member.
struct Seat {
    kind: Kind,
    session: Box<dyn Session>,
    owned: Vec<TopicPartition>,
    expected: usize,
}

/// Sits on every group, looks whether everything is read, and says `record` as a member of each.
pub(super) fn claim(
    config: &Config,
    place: &Place,
    topics: &BTreeMap<String, TopicState>,
    record: &Outgoing,
) -> Result<(), Trouble> {
    // A name of its own each time: a static member that comes back under its old name is given the partitions that it had,
    // without those that have grown since.
    let instance = format!("migrate-{}-{}", wall_time_ms(), std::process::id());
    let mut seats = Vec::new();
    for mut kind in kinds(config) {
        kind.inputs.retain(|topic| topics.contains_key(topic));
        let partitions = |topic: &String| topics.get(topic).map_or(0, |state| state.partitions);
        let expected = kind.inputs.iter().map(partitions).sum::<i32>();
        let session = place.log.open(Membership {
            operator: kind.name.to_owned(),
            group: format!("{}.{}", config.log.app_id, kind.name),
            instance: instance.clone(),
            thread: 0,
            topics: kind.inputs.clone(),
        })?;
        seats.push(Seat {
            kind,
            session,
            owned: Vec::new(),
            expected: usize::try_from(expected).unwrap_or(usize::MAX),
        });
    }
    sit(config, &mut seats)?;
    for seat in &mut seats {
        if seat.kind.name == "runs" {
            is_read(config, seat)?;
        }
    }
    for mut seat in seats {
        // Something of the group's own offsets goes with it: the log asks whether we are still the member.
        let position = seat.session.position()?;
        let own: Offsets = position.into_iter().take(1).collect();
        seat.session.send(record.clone())?;
        seat.session.commit(&own)?;
        seat.session
            .close(Duration::from_millis(config.runtime.stop_deadline_ms))?;
    }
    Ok(())
}

/// Waits until every partition of every group is ours; a member that died keeps its own for a session time-out.
fn sit(config: &Config, seats: &mut [Seat]) -> Result<(), Trouble> {
    let begun = Instant::now();
    let patience = Duration::from_millis(3 * config.log.session_timeout_ms);
    while seats.iter().any(|seat| seat.owned.len() < seat.expected) {
        if begun.elapsed() > patience {
            let held: Vec<String> = seats
                .iter()
                .filter(|seat| seat.owned.len() < seat.expected)
                .map(|seat| {
                    format!(
                        "{} ({} of {})",
                        seat.kind.name,
                        seat.owned.len(),
                        seat.expected
                    )
                })
                .collect();
            return Err(Trouble::Fault(Fault::Fenced(format!(
                "another member owns partitions of {}: stop it",
                held.join(", ")
            ))));
        }
        for seat in seats.iter_mut() {
            let step = Duration::from_millis(config.runtime.poll_patience_ms);
            poll(seat, step)?;
        }
    }
    Ok(())
}

/// One poll; records of a partition that is looked at are told.
fn poll(seat: &mut Seat, patience: Duration) -> Result<bool, Trouble> {
    match seat.session.poll(patience, 1)? {
        Poll::Records(_) => return Ok(true),
        Poll::Assigned(parts) => {
            let start = seat.session.committed(&parts)?;
            seat.session.assigned(&start)?;
            // Nothing is read but what is looked at; membership goes on.
            let quiet: Vec<TopicPartition> = parts
                .iter()
                .filter(|part| &*part.topic != "runs.events")
                .cloned()
                .collect();
            if !quiet.is_empty() {
                seat.session.pause(&quiet)?;
            }
            seat.owned.extend(parts);
        }
        Poll::Revoked(parts) | Poll::Lost(parts) => {
            seat.session.revoked(&parts)?;
            seat.owned.retain(|part| !parts.contains(part));
        }
        _ => {}
    }
    Ok(false)
}

/// Refuses where `runs` has not read all of `runs.events`.
fn is_read(config: &Config, seat: &mut Seat) -> Result<(), Trouble> {
    let parts: Vec<TopicPartition> = seat
        .owned
        .iter()
        .filter(|part| &*part.topic == "runs.events")
        .cloned()
        .collect();
    let begun = Instant::now();
    loop {
        let ends = seat.session.last_stable(&parts)?;
        let position = seat.session.position()?;
        let left: Vec<(&TopicPartition, i64)> = ends
            .iter()
            .map(|(part, end)| (part, end - position.get(part).copied().unwrap_or(0)))
            .filter(|(_, left)| *left > 0)
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        let has_records = poll(seat, Duration::from_millis(config.runtime.poll_patience_ms))?;
        // Positions pass markers as soon as a poll has met them; what stays is records.
        if has_records || begun.elapsed() > Duration::from_millis(config.log.reach_timeout_ms) {
            let (part, first) = left[0];
            let all: i64 = left.iter().map(|(_, left)| left).sum();
            return Err(Trouble::refused(
                format!(
                    "runs has not read {all} records of runs.events, {first} of them in {part}"
                ),
                "run `cairn run --drain` first",
            ));
        }
    }
}
