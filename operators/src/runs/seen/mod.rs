//! Remembers which events were taken, so that one sent twice counts once.
//!
//! Ids are kept by run in segments, as the changelog stores them: a batch rewrites at most the last, short segment of
//! each run that it touches, whatever the run has seen before. Telemetry and facts are kept apart, because a finished
//! run forgets the former (anything that comes again is late by then) and keeps the latter.

mod held;

use crate::operator::Change;
use held::{Held, SEGMENT_IDS_MOST};
use std::collections::{BTreeMap, BTreeSet};

/// Name of the table in the changelog.
pub const TABLE: &str = "seen";

/// Bytes kept of an id: 2^64 ids until a collision becomes likely.
const ID_BYTES: usize = 16;

type Id = [u8; ID_BYTES];

/// What is remembered of ids, and what of it is let go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Step metrics: many; forgotten with the run's windows.
    Telemetry,
    /// Everything else: few; kept as long as the row.
    Fact,
}

impl Class {
    const ALL: [Self; 2] = [Self::Telemetry, Self::Fact];

    /// How the changelog's keys say it.
    fn letter(self) -> &'static str {
        match self {
            Class::Telemetry => "t",
            Class::Fact => "f",
        }
    }

    fn of_letter(letter: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.letter() == letter)
    }
}

/// Limits of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenLimits {
    /// Most ids kept for a run and class; the oldest segment goes first. A duplicate older than that is late, not new.
    pub ids_per_run_max: usize,
    /// A segment this long is never rewritten: bounds what a batch writes for a run to 1 KiB beyond its own ids. At most 256.
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

/// What the batch does to one run's memory.
#[derive(Clone, Debug, Default)]
struct Fresh {
    /// Forget what was there before.
    forget: bool,
    /// New ids in order of arrival, and the same as a set.
    order: Vec<Id>,
    set: BTreeSet<Id>,
}

/// Ids of one task's runs: of each run one memory a class.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    limits: SeenLimits,
    runs: BTreeMap<String, [Held; 2]>,
    fresh: BTreeMap<String, [Fresh; 2]>,
    bytes: u64,
}

/// Segments to drop and segments to write, which is also what the changelog is told.
#[derive(Debug, Default)]
struct Plan {
    drop: Vec<u64>,
    write: BTreeMap<u64, Vec<Id>>,
}

impl Seen {
    /// An empty memory.
    #[must_use]
    pub fn new(limits: SeenLimits) -> Self {
        let limits = SeenLimits {
            segment_ids_max: limits.segment_ids_max.clamp(1, SEGMENT_IDS_MOST),
            ..limits
        };
        Self {
            limits,
            ..Self::default()
        }
    }

    /// True when an id was noted.
    #[must_use]
    pub fn contains(&self, run_key: &str, class: Class, event_id: &[u8]) -> bool {
        let id = short(event_id);
        let fresh = self.fresh.get(run_key).map(|fresh| &fresh[class as usize]);
        let forgotten = fresh.is_some_and(|fresh| fresh.forget);
        fresh.is_some_and(|fresh| fresh.set.contains(&id))
            || (!forgotten && self.is_held(run_key, class, &id))
    }

    /// Notes an id; true when it is new.
    pub fn insert(&mut self, run_key: &str, class: Class, event_id: &[u8]) -> bool {
        let id = short(event_id);
        let known = self.is_held(run_key, class, &id);
        let fresh = self.fresh(run_key, class);
        if (known && !fresh.forget) || !fresh.set.insert(id) {
            return false;
        }
        fresh.order.push(id);
        true
    }

    /// Forgets a run's ids of this class.
    pub fn forget(&mut self, run_key: &str, class: Class) {
        *self.fresh(run_key, class) = Fresh {
            forget: true,
            ..Fresh::default()
        };
    }

    /// Adds the batch's changes.
    pub fn changes(&self, changes: &mut Vec<Change>) {
        for (run_key, fresh) in &self.fresh {
            for class in Class::ALL {
                let plan = self.plan(run_key, class, &fresh[class as usize]);
                let key = |number| format!("{run_key}|{}|{number}", class.letter());
                changes.extend(plan.drop.into_iter().map(|number| Change {
                    table: TABLE,
                    key: key(number),
                    value: None,
                }));
                changes.extend(plan.write.into_iter().map(|(number, ids)| Change {
                    table: TABLE,
                    key: key(number),
                    value: Some(ids.concat()),
                }));
            }
        }
    }

    /// Makes the batch's changes the state.
    pub fn merge(&mut self) {
        for (run_key, fresh) in std::mem::take(&mut self.fresh) {
            for class in Class::ALL {
                let plan = self.plan(&run_key, class, &fresh[class as usize]);
                for number in plan.drop {
                    self.place(&run_key, class, number, Vec::new());
                }
                for (number, ids) in plan.write {
                    self.place(&run_key, class, number, ids);
                }
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
        let malformed =
            || format!("table {TABLE}, key {key}: not a segment of at most {SEGMENT_IDS_MOST} ids");
        let (rest, number) = key.rsplit_once('|').ok_or_else(malformed)?;
        let (run_key, letter) = rest.rsplit_once('|').ok_or_else(malformed)?;
        let class = Class::of_letter(letter).ok_or_else(malformed)?;
        let number: u64 = number.parse().map_err(|_| malformed())?;
        let (ids, rest) = value.unwrap_or_default().as_chunks();
        if !rest.is_empty() || ids.len() > SEGMENT_IDS_MOST {
            return Err(malformed());
        }
        self.place(run_key, class, number, ids.to_vec());
        Ok(())
    }

    /// Bytes that the committed ids hold in memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn is_held(&self, run_key: &str, class: Class, id: &Id) -> bool {
        self.runs
            .get(run_key)
            .is_some_and(|run| run[class as usize].contains(id))
    }

    fn fresh(&mut self, run_key: &str, class: Class) -> &mut Fresh {
        if !self.fresh.contains_key(run_key) {
            self.fresh.insert(run_key.to_owned(), Default::default());
        }
        let fresh = self.fresh.get_mut(run_key).expect("just inserted");
        &mut fresh[class as usize]
    }

    /// What the batch makes of a run's segments.
    fn plan(&self, run_key: &str, class: Class, fresh: &Fresh) -> Plan {
        let mut plan = Plan::default();
        if !fresh.forget && fresh.order.is_empty() {
            return plan;
        }
        let none = Held::default();
        let held = self
            .runs
            .get(run_key)
            .map_or(&none, |run| &run[class as usize]);
        let last = held.segments().next_back();
        // Numbers are never used twice, not even when a run was forgotten within the batch.
        let mut number = last.map_or(0, |(number, _)| number + 1);
        let mut count = held.len();
        if fresh.forget {
            plan.drop.extend(held.segments().map(|(number, _)| *number));
            count = 0;
        }
        let mut tail = match last {
            Some((last, ids)) if !fresh.forget && ids.len() < self.limits.segment_ids_max => {
                number = *last;
                ids.to_vec()
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
            for (oldest, ids) in held.segments().filter(|(n, _)| !plan.write.contains_key(n)) {
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
    fn place(&mut self, run_key: &str, class: Class, number: u64, ids: Vec<Id>) {
        if !self.runs.contains_key(run_key) {
            if ids.is_empty() {
                return;
            }
            self.runs.insert(run_key.to_owned(), Default::default());
        }
        let run = self.runs.get_mut(run_key).expect("just inserted");
        let before = size(run_key, run);
        run[class as usize].place(number, ids);
        let after = size(run_key, run);
        if run.iter().all(Held::is_empty) {
            self.runs.remove(run_key);
        }
        self.bytes = self.bytes + after - before;
    }
}

fn short(event_id: &[u8]) -> Id {
    let mut id = [0; ID_BYTES];
    for (place, byte) in id.iter_mut().zip(event_id) {
        *place = *byte;
    }
    id
}

/// Bytes of a run's memory, its key among them where there is something.
fn size(run_key: &str, run: &[Held; 2]) -> u64 {
    let held: u64 = run.iter().map(Held::bytes).sum();
    if held == 0 {
        0
    } else {
        held + run_key.len() as u64
    }
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

    /// The limit of a run and class is 65,536 ids: of 16 bytes each, 1,024 segments of 40, and an index of 131,072 slots of 5.
    #[test]
    fn what_is_held_is_counted() {
        let mut seen = Seen::default();
        for number in 0..65_536 {
            seen.insert("r", Class::Telemetry, &id(number));
        }
        seen.merge();
        let expected = 65_536 * 16 + 1_024 * 40 + 131_072 * 5 + 1;
        assert_eq!(seen.bytes(), expected);
        assert!(seen.bytes() / 65_536 < 27, "bytes an id");
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

    /// Numbers that a position cannot tell apart by themselves: those before and after its 24 bits start again.
    #[test]
    fn segments_are_told_apart_where_positions_begin_again() {
        let mut seen = Seen::default();
        let first = (1 << 24) - 3;
        for segment in (0..6_u64).rev() {
            let ids: Vec<u8> = (0..64)
                .flat_map(|place| short(&id(segment as u32 * 64 + place)))
                .collect();
            seen.restore(&format!("r|t|{}", first + segment), Some(&ids))
                .expect("a segment");
        }
        seen.restore(&format!("r|t|{}", first + 1), None)
            .expect("a segment's end");
        for number in 0..6 * 64 {
            let dropped = (64..128).contains(&number);
            let known = seen.contains("r", Class::Telemetry, &id(number));
            assert_eq!(known, !dropped, "{number}");
        }
    }

    #[test]
    fn what_is_no_segment_is_named() {
        let mut seen = Seen::default();
        let long = vec![0; (SEGMENT_IDS_MOST + 1) * ID_BYTES];
        for (key, value) in [
            ("r|t|0", &long[..]),
            ("r|t|0", &long[..17]),
            ("r|x|0", &long[..16]),
            ("r|t|x", &long[..16]),
            ("r", &long[..16]),
        ] {
            let said = seen.restore(key, Some(value)).expect_err(key);
            assert!(said.contains(key), "{said}");
        }
        assert_eq!(seen.bytes(), 0);
    }

    /// Beside a memory that keeps everything in a list: the same answers, whatever is committed, aborted, forgotten and restored.
    #[test]
    fn it_answers_as_a_list_would() {
        for seed in 0..40_u64 {
            let limits = SeenLimits {
                ids_per_run_max: 60,
                segment_ids_max: 7,
            };
            let (mut seen, mut twin) = (Seen::new(limits), Seen::new(limits));
            let (mut kept, mut batch) = (Vec::<u32>::new(), Vec::<u32>::new());
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut dice = |sides: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % sides
            };
            for step in 0..2_000 {
                match dice(12) {
                    0..9 => {
                        let number = dice(200) as u32;
                        let new = !kept.contains(&number) && !batch.contains(&number);
                        let taken = seen.insert("t/r", Class::Telemetry, &id(number));
                        assert_eq!(taken, new, "seed {seed}, step {step}");
                        if new {
                            batch.push(number);
                        }
                    }
                    9 if dice(8) == 0 => {
                        seen.forget("t/r", Class::Telemetry);
                        commit(&mut seen, &mut twin);
                        kept.clear();
                        batch.clear();
                    }
                    10 => {
                        seen.discard();
                        batch.clear();
                    }
                    _ => {
                        commit(&mut seen, &mut twin);
                        kept.append(&mut batch);
                        // whole segments go, the oldest first, until no more are kept than the limit says
                        while kept.len() > 60 {
                            kept.drain(..7);
                        }
                    }
                }
            }
            commit(&mut seen, &mut twin);
            assert_eq!(seen.bytes(), twin.bytes());
            for number in 0..200 {
                assert_eq!(
                    seen.contains("t/r", Class::Telemetry, &id(number)),
                    twin.contains("t/r", Class::Telemetry, &id(number)),
                    "seed {seed}, {number}"
                );
            }
        }
    }
}
