//! The ids of one run and class in memory: each once, in its segment, and an index of positions beside them.
//!
//! An index entry is four bytes, not an id: of 65,536 ids a tree of ids would hold 32 bytes each beside the segments, the index 6 to 12.

use super::{ID_BYTES, Id};
use hashbrown::HashTable;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};

/// Most ids in a segment: what the low bits of a position can say.
pub(super) const SEGMENT_IDS_MOST: usize = 1 << OFFSET_BITS;

const OFFSET_BITS: u32 = 8;

/// Bytes of an entry of the index: a position, and the byte by which the table skips what does not fit.
const INDEX_ENTRY_BYTES: u64 = 5;

/// Bytes of a segment beside its ids: its number, where its ids lie and what the allocator keeps of that.
const SEGMENT_BYTES: u64 = 40;

/// A segment's number and its ids in order of arrival.
pub(super) type Segment = (u64, Box<[Id]>);

/// Where an id lies: the last 24 bits of its segment's number and its place there. Numbers of a run grow by one, and of the last
/// 16 million a few thousand are kept at most, so that no two positions are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position(u32);

impl Position {
    fn new(number: u64, offset: usize) -> Self {
        // cut on purpose: the last bits tell kept segments apart
        Self(((number as u32) << OFFSET_BITS) | offset as u32)
    }

    fn offset(self) -> usize {
        self.0 as usize % SEGMENT_IDS_MOST
    }

    /// How many segments after `first` this one's number is.
    fn beyond(self, first: u64) -> u64 {
        let step = self.0.wrapping_sub((first as u32) << OFFSET_BITS) >> OFFSET_BITS;
        u64::from(step)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    segments: VecDeque<Segment>,
    index: HashTable<Position>,
}

impl Held {
    pub(super) fn contains(&self, id: &Id) -> bool {
        self.index
            .find(hash(id), |position| {
                self.segments.id_at(*position) == Some(id)
            })
            .is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub(super) fn segments(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.segments.iter()
    }

    /// Bytes that the ids hold in memory, by what the table's growth in powers of two makes of them.
    pub(super) fn bytes(&self) -> u64 {
        let ids = self.len() as u64;
        let slots = if ids == 0 {
            0
        } else {
            (ids * 8).div_ceil(7).next_power_of_two()
        };
        ids * ID_BYTES as u64
            + slots * INDEX_ENTRY_BYTES
            + self.segments.len() as u64 * SEGMENT_BYTES
    }

    /// Puts a segment in its place; an empty one removes it. No longer than [`SEGMENT_IDS_MOST`].
    pub(super) fn place(&mut self, number: u64, fresh: Vec<Id>) {
        let known = match self.segments.binary_search_by_key(&number, |(n, _)| *n) {
            Ok(place) => {
                let before = &self.segments[place].1;
                // a segment grows at its end, and is not what it was only where its run was forgotten
                if fresh.starts_with(before) {
                    let known = before.len();
                    self.segments[place].1 = fresh.into_boxed_slice();
                    known
                } else {
                    self.remove(place);
                    return self.place(number, fresh);
                }
            }
            Err(_) if fresh.is_empty() => return,
            Err(place) => {
                self.segments
                    .insert(place, (number, fresh.into_boxed_slice()));
                0
            }
        };
        self.note(number, known);
    }

    /// Notes the ids of a segment in the index, from one on.
    fn note(&mut self, number: u64, from: usize) {
        let Ok(place) = self.segments.binary_search_by_key(&number, |(n, _)| *n) else {
            return;
        };
        let ids = &self.segments[place].1;
        for (offset, id) in ids.iter().enumerate().skip(from) {
            self.index
                .insert_unique(hash(id), Position::new(number, offset), |position| {
                    self.segments.id_at(*position).map_or(0, hash)
                });
        }
    }

    fn remove(&mut self, place: usize) {
        let (number, ids) = &self.segments[place];
        for (offset, id) in ids.iter().enumerate() {
            let position = Position::new(*number, offset);
            if let Ok(entry) = self.index.find_entry(hash(id), |other| *other == position) {
                entry.remove();
            }
        }
        self.segments.remove(place);
    }
}

trait Lookup {
    fn id_at(&self, position: Position) -> Option<&Id>;
}

impl Lookup for VecDeque<Segment> {
    fn id_at(&self, position: Position) -> Option<&Id> {
        let first = self.front()?.0;
        let beyond = position.beyond(first);
        let number = first + beyond;
        // without gaps a segment is as far from the first as its number
        let (_, ids) = match self.get(beyond as usize) {
            Some(segment) if segment.0 == number => segment,
            _ => &self[self.binary_search_by_key(&number, |(n, _)| *n).ok()?],
        };
        ids.get(position.offset())
    }
}

/// The standard library's keyed hash with keys that never change: the same on every machine, and what it costs a row is 15 ns.
fn hash(id: &Id) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(id);
    hasher.finish()
}
