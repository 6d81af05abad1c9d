//! Remembers which events were taken, so that one sent twice counts once.
//!
//! Ids are kept by run in segments, as the changelog stores them: a batch rewrites at most the last, short segment of
//! each run that it touches, whatever the run has seen before. Telemetry and facts are kept apart, because a finished
//! run forgets the former (anything that comes again is late by then) and keeps the latter.

use crate::operator::Change;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Name of the table in the changelog.
pub const TABLE: &str = "seen";

/// Bytes kept of an id: 2^64 ids until a collision becomes likely.
const ID_BYTES: usize = 16;

/// Bytes that an id holds in memory: 16 in its segment, and 32 in the set of its run. A leaf of that set is 192 bytes for at most
/// eleven ids and about two thirds full, which makes 25; the nodes above and the allocator's own take the other 7.
const ID_HELD_BYTES: u64 = 48;

/// What is remembered of ids, and what of it is let go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Step metrics: many; forgotten with the run's windows.
    Telemetry,
    /// Everything else: few; kept as long as the row.
    Fact,
}

impl Class {
    fn letter(self) -> char {
        match self {
            Class::Telemetry => 't',
            Class::Fact => 'f',
        }
    }
}

/// Limits of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenLimits {
    /// Most ids kept for a run and class; the oldest segment goes first. A duplicate older than that is late, not new.
    pub ids_per_run_max: usize,
    /// A segment this long is never rewritten: bounds what a batch writes for a run to 1 KiB beyond its own ids.
    pub segment_ids_max: usize,
}

impl Default for SeenLimits {
    fn default() -> Self {
        Self {
            ids_per_run_max: 65_536,
            segment_ids_max: 64,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Run {
    ids: BTreeSet<[u8; ID_BYTES]>,
    /// Number of the segment and its ids in order of arrival.
    segments: VecDeque<(u64, Vec<[u8; ID_BYTES]>)>,
}

/// What the batch does to one run's memory.
#[derive(Clone, Debug, Default)]
struct Fresh {
    /// Forget what was there before.
    forget: bool,
    /// New ids in order of arrival, and the same as a set.
    order: Vec<[u8; ID_BYTES]>,
    set: BTreeSet<[u8; ID_BYTES]>,
}

/// Ids of one task's runs.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    limits: SeenLimits,
    runs: BTreeMap<String, Run>,
    fresh: BTreeMap<String, Fresh>,
    bytes: u64,
}

/// Segments to drop and segments to write, which is also what the changelog is told.
#[derive(Debug, Default)]
struct Plan {
    drop: Vec<u64>,
    write: BTreeMap<u64, Vec<[u8; ID_BYTES]>>,
}

impl Seen {
    /// An empty memory.
    #[must_use]
    pub fn new(limits: SeenLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// True when an id was noted.
    #[must_use]
    pub fn contains(&self, run_key: &str, class: Class, event_id: &[u8]) -> bool {
        let (key, id) = (key(run_key, class), short(event_id));
        let fresh = self.fresh.get(&key);
        let forgotten = fresh.is_some_and(|fresh| fresh.forget);
        fresh.is_some_and(|fresh| fresh.set.contains(&id))
            || (!forgotten && self.runs.get(&key).is_some_and(|run| run.ids.contains(&id)))
    }

    /// Notes an id; true when it is new.
    pub fn insert(&mut self, run_key: &str, class: Class, event_id: &[u8]) -> bool {
        let (key, id) = (key(run_key, class), short(event_id));
        let known = self.runs.get(&key).is_some_and(|run| run.ids.contains(&id));
        let fresh = self.fresh.entry(key).or_default();
        if (known && !fresh.forget) || !fresh.set.insert(id) {
            return false;
        }
        fresh.order.push(id);
        true
    }

    /// Forgets a run's ids of this class.
    pub fn forget(&mut self, run_key: &str, class: Class) {
        self.fresh.insert(
            key(run_key, class),
            Fresh {
                forget: true,
                ..Fresh::default()
            },
        );
    }

    /// Adds the batch's changes.
    pub fn changes(&self, changes: &mut Vec<Change>) {
        for (key, fresh) in &self.fresh {
            let plan = self.plan(key, fresh);
            for number in plan.drop {
                changes.push(Change {
                    table: TABLE,
                    key: segment_key(key, number),
                    value: None,
                });
            }
            for (number, ids) in plan.write {
                changes.push(Change {
                    table: TABLE,
                    key: segment_key(key, number),
                    value: Some(ids.concat()),
                });
            }
        }
    }

    /// Makes the batch's changes the state.
    pub fn merge(&mut self) {
        for (key, fresh) in std::mem::take(&mut self.fresh) {
            let plan = self.plan(&key, &fresh);
            for number in plan.drop {
                self.place(&key, number, Vec::new());
            }
            for (number, ids) in plan.write {
                self.place(&key, number, ids);
            }
        }
    }

    /// Forgets the batch's changes.
    pub fn discard(&mut self) {
        self.fresh.clear();
    }

    /// Takes one entry of the changelog.
    ///
    /// # Errors
    /// Says which key cannot be read.
    pub fn restore(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), String> {
        let malformed = || format!("table {TABLE}, key {key}: not a segment of ids");
        let (run, number) = key.rsplit_once('|').ok_or_else(malformed)?;
        let number: u64 = number.parse().map_err(|_| malformed())?;
        let ids: Vec<[u8; ID_BYTES]> = value
            .unwrap_or_default()
            .chunks(ID_BYTES)
            .map(|chunk| chunk.try_into().map_err(|_| malformed()))
            .collect::<Result<_, _>>()?;
        self.place(run, number, ids);
        Ok(())
    }

    /// Bytes that the committed ids hold in memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the batch makes of a run's segments.
    fn plan(&self, key: &str, fresh: &Fresh) -> Plan {
        let none = Run::default();
        let run = self.runs.get(key).unwrap_or(&none);
        let mut plan = Plan::default();
        // Numbers are never used twice, not even when a run was forgotten within the batch.
        let mut number = run.segments.back().map_or(0, |(number, _)| number + 1);
        let mut count = run.ids.len();
        if fresh.forget {
            plan.drop
                .extend(run.segments.iter().map(|(number, _)| *number));
            count = 0;
        }
        let mut tail = match run.segments.back() {
            Some((last, ids))
                if !fresh.forget
                    && ids.len() < self.limits.segment_ids_max
                    && !fresh.order.is_empty() =>
            {
                number = *last;
                ids.clone()
            }
            _ => Vec::new(),
        };
        for id in &fresh.order {
            tail.push(*id);
            count += 1;
            if tail.len() >= self.limits.segment_ids_max {
                plan.write.insert(number, std::mem::take(&mut tail));
                number += 1;
            }
        }
        if !tail.is_empty() {
            plan.write.insert(number, tail);
        }
        if !fresh.forget {
            // The oldest go first; the last segment stays, however long it is.
            for (oldest, ids) in run
                .segments
                .iter()
                .filter(|(n, _)| !plan.write.contains_key(n))
            {
                if count <= self.limits.ids_per_run_max {
                    break;
                }
                count -= ids.len();
                plan.drop.push(*oldest);
            }
        }
        plan
    }

    /// Puts a segment in its place; an empty one removes it.
    fn place(&mut self, key: &str, number: u64, fresh: Vec<[u8; ID_BYTES]>) {
        let run = self.runs.entry(key.to_owned()).or_default();
        let before = if run.segments.is_empty() {
            0
        } else {
            size(key, run)
        };
        match run.segments.binary_search_by_key(&number, |(n, _)| *n) {
            Ok(place) => {
                let before = &run.segments[place].1;
                // a segment grows at its end, and is not what it was only where its run was forgotten
                if let Some(new) = fresh.strip_prefix(before.as_slice()) {
                    run.ids.extend(new);
                } else {
                    for id in before {
                        run.ids.remove(id);
                    }
                    run.ids.extend(&fresh);
                }
                if fresh.is_empty() {
                    run.segments.remove(place);
                } else {
                    run.segments[place].1 = fresh;
                }
            }
            Err(place) if !fresh.is_empty() => {
                run.ids.extend(&fresh);
                run.segments.insert(place, (number, fresh));
            }
            Err(_) => {}
        }
        let after = if run.segments.is_empty() {
            0
        } else {
            size(key, run)
        };
        if run.segments.is_empty() {
            self.runs.remove(key);
        }
        self.bytes = self.bytes + after - before;
    }
}

fn short(event_id: &[u8]) -> [u8; ID_BYTES] {
    let mut id = [0; ID_BYTES];
    for (place, byte) in id.iter_mut().zip(event_id) {
        *place = *byte;
    }
    id
}

fn key(run_key: &str, class: Class) -> String {
    format!("{run_key}|{}", class.letter())
}

fn segment_key(key: &str, number: u64) -> String {
    format!("{key}|{number}")
}

fn size(key: &str, run: &Run) -> u64 {
    key.len() as u64 + run.ids.len() as u64 * ID_HELD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> [u8; 32] {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        id
    }

    fn commit(seen: &mut Seen, twin: &mut Seen) {
        let mut changes = Vec::new();
        seen.changes(&mut changes);
        for change in changes {
            twin.restore(&change.key, change.value.as_deref())
                .expect("its own bytes");
        }
        seen.merge();
    }

    #[test]
    fn an_id_is_new_once_also_after_a_restore() {
        let (mut seen, mut twin) = (Seen::default(), Seen::default());
        for number in 0..1000 {
            assert!(!seen.contains("t/r", Class::Telemetry, &id(number)));
            assert!(seen.insert("t/r", Class::Telemetry, &id(number)));
            assert!(seen.contains("t/r", Class::Telemetry, &id(number)));
            assert!(!seen.insert("t/r", Class::Telemetry, &id(number)));
            if number % 7 == 0 {
                commit(&mut seen, &mut twin);
            }
        }
        commit(&mut seen, &mut twin);
        assert_eq!(twin.bytes(), seen.bytes());
        for number in 0..1000 {
            assert!(twin.contains("t/r", Class::Telemetry, &id(number)));
            assert!(
                !twin.insert("t/r", Class::Telemetry, &id(number)),
                "{number}"
            );
        }
        assert!(twin.insert("t/r", Class::Fact, &id(1)), "classes are apart");
        assert!(
            twin.insert("t/other", Class::Telemetry, &id(1)),
            "runs are apart"
        );
    }

    /// The limit of a run and class is 65,536 ids of 48 bytes: three MiB.
    #[test]
    fn what_is_held_is_counted() {
        let mut seen = Seen::default();
        for number in 0..65_536 {
            seen.insert("r", Class::Telemetry, &id(number));
        }
        seen.merge();
        assert_eq!(seen.bytes(), 3 * 1024 * 1024 + "r|t".len() as u64);
    }

    #[test]
    fn an_aborted_batch_was_never_seen() {
        let mut seen = Seen::default();
        assert!(seen.insert("r", Class::Fact, &id(1)));
        seen.discard();
        assert!(seen.insert("r", Class::Fact, &id(1)));
    }

    #[test]
    fn the_oldest_go_first_and_the_changelog_follows() {
        let limits = SeenLimits {
            ids_per_run_max: 20,
            segment_ids_max: 5,
        };
        let (mut seen, mut twin) = (Seen::new(limits), Seen::new(limits));
        for number in 0..100 {
            seen.insert("r", Class::Telemetry, &id(number));
            commit(&mut seen, &mut twin);
        }
        assert!(!twin.insert("r", Class::Telemetry, &id(99)));
        assert!(twin.insert("r", Class::Telemetry, &id(0)));
        twin.discard();
        seen.forget("r", Class::Telemetry);
        assert!(!seen.contains("r", Class::Telemetry, &id(99)));
        commit(&mut seen, &mut twin);
        assert_eq!((seen.bytes(), twin.bytes()), (0, 0));
        assert!(twin.insert("r", Class::Telemetry, &id(99)));
    }
}
