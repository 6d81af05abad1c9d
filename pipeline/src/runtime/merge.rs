//! Partitions merged by append time, for a kind without state.
//!
//! A run's rows may come in on several partitions, since clients hash keys differently. A client of the log hands out one
//! partition's backlog after another; applied like that, the second partition's rows would all come late. So while a
//! partition is *behind* (its next offset lies before an end that is known), what is newer than its latest record waits:
//!
//! ```text
//!   p0  ■■■■■■■■        held, newer than p1's latest
//!   p1  ■■□□□□□□ end    behind: □ is known to be there
//! ```
//!
//! A record counts with the greatest append time so far in its partition: times may go back within one, offsets never do.
//! Nothing waits once no partition is behind, and never longer than [`MergeLimits::wait_max`]: an unreachable partition is
//! passed over. This file keeps the order and reads no clock; whoever polls tells it the ends and the time.

use cairn_bus::{Offsets, Record, TopicPartition};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

/// How much and how long it holds back.
#[derive(Clone, Copy, Debug)]
pub(super) struct MergeLimits {
    /// Records held above which the partitions that hold some are paused.
    pub records_max: usize,
    /// The same for bytes of values.
    pub bytes_max: usize,
    /// How long the others wait for a partition that is behind and delivers nothing.
    pub wait_max: Duration,
}

/// After so long without a record of the partition that is awaited, the others are paused: then the log finds out whether
/// anything is left there at all.
const PAUSE_AFTER: Duration = Duration::from_millis(100);

/// After so long the log is asked whether anything is left of the partition that is awaited: a transaction's marker is not.
const LOOK_AFTER: Duration = Duration::from_millis(25);

/// So many offsets before an end that is told there may be nothing but markers.
const MARKERS_MAX: i64 = 100;

/// By how much receipt may go back within a run: what was appended while a backlog was worked off is a backlog again, until
/// that took no longer than this; and a member that has not polled for so long looks whether it has one.
pub(super) const DISORDER: Duration = Duration::from_millis(200);

/// What is held of one partition.
#[derive(Debug)]
struct Lane {
    held: VecDeque<(i64, Record)>,
    /// Greatest append time so far, of what was delivered.
    greatest_ms: i64,
    /// The next offset to be delivered by the log, as far as its records tell.
    next: i64,
    /// Behind while `next` is smaller.
    end: i64,
    is_paused: bool,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            held: VecDeque::new(),
            greatest_ms: i64::MIN,
            next: 0,
            end: 0,
            is_paused: false,
        }
    }
}

/// The partitions of one member.
#[derive(Debug)]
pub(super) struct Merge {
    limits: MergeLimits,
    lanes: BTreeMap<TopicPartition, Lane>,
    records: usize,
    bytes: usize,
    /// Since when which bound has held something back.
    stuck: Option<(Instant, Option<(i64, TopicPartition)>)>,
    has_ready: bool,
}

impl Merge {
    pub(super) fn new(limits: MergeLimits) -> Self {
        Self {
            limits,
            lanes: BTreeMap::new(),
            records: 0,
            bytes: 0,
            stuck: None,
            has_ready: false,
        }
    }

    /// Records held back.
    pub(super) fn held(&self) -> usize {
        self.records
    }

    /// These partitions are read from `next` on, and there is something up to their ends.
    pub(super) fn learn(&mut self, next: &Offsets, ends: &Offsets) {
        for (place, end) in ends {
            let lane = self.lanes.entry(place.clone()).or_default();
            lane.end = lane.end.max(*end);
            if let Some(next) = next.get(place) {
                lane.next = lane.next.max(*next);
            }
        }
    }

    /// Forgets a partition and what is held of it.
    pub(super) fn forget(&mut self, place: &TopicPartition) {
        if let Some(lane) = self.lanes.remove(place) {
            self.records -= lane.held.len();
            self.bytes -= lane
                .held
                .iter()
                .map(|(_, record)| bytes(record))
                .sum::<usize>();
        }
    }

    /// Forgets everything; returns what was paused.
    pub(super) fn clear(&mut self) -> Vec<TopicPartition> {
        let lanes = std::mem::take(&mut self.lanes);
        *self = Self::new(self.limits);
        lanes
            .into_iter()
            .filter(|(_, lane)| lane.is_paused)
            .map(|(place, _)| place)
            .collect()
    }

    /// Takes what a poll brought, in offset order within each partition.
    pub(super) fn take(&mut self, records: Vec<Record>) {
        let mut place: Option<TopicPartition> = None;
        for record in records {
            // Runs of one partition: one look at the lanes for many records.
            let same = place
                .as_ref()
                .is_some_and(|at| at.partition == record.partition && at.topic == record.topic);
            if !same {
                place = Some(record.place());
            }
            let Some(place) = &place else { continue };
            if !self.lanes.contains_key(place) {
                self.lanes.insert(place.clone(), Lane::default());
            }
            let Some(lane) = self.lanes.get_mut(place) else {
                continue;
            };
            lane.greatest_ms = lane.greatest_ms.max(record.append_time_ms);
            lane.next = record.offset + 1;
            self.records += 1;
            self.bytes += bytes(&record);
            lane.held.push_back((lane.greatest_ms, record));
        }
    }

    /// Partitions for which something has been held back for a while, though nothing of theirs is held: whoever looks into
    /// others would read their backlog.
    pub(super) fn awaited(&self, now: Instant) -> Vec<TopicPartition> {
        let is_stuck = (self.stuck.as_ref()).is_some_and(|(since, _)| now - *since >= LOOK_AFTER);
        let empty = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.is_behind() && lane.held.is_empty());
        if is_stuck {
            empty.map(|(place, _)| place.clone()).collect()
        } else {
            Vec::new()
        }
    }

    /// Of these partitions those that are at their ends, but for markers perhaps, or not known yet.
    pub(super) fn near(&self, ends: &Offsets) -> Vec<TopicPartition> {
        let is_near = |place: &TopicPartition, end: i64| {
            let lane = self.lanes.get(place);
            lane.is_none_or(|lane| end - lane.next <= MARKERS_MAX)
        };
        let near = ends.iter().filter(|(place, end)| is_near(place, **end));
        near.map(|(place, _)| place.clone()).collect()
    }

    /// True while a partition has not reached its known end.
    pub(super) fn is_behind(&self) -> bool {
        self.lanes.values().any(Lane::is_behind)
    }

    /// True when the last release stopped at its maximum: there is more that may go.
    pub(super) fn has_ready(&self) -> bool {
        self.has_ready
    }

    /// A position that the log itself tells: it passes what is never delivered (markers, aborted records).
    pub(super) fn passed(&mut self, positions: &Offsets) {
        for (place, lane) in &mut self.lanes {
            if let Some(next) = positions.get(place) {
                lane.next = lane.next.max(*next);
            }
        }
    }

    /// At most so many of the records that may be applied now, in order.
    pub(super) fn release(&mut self, max: usize, now: Instant) -> Vec<Record> {
        if self.records == 0 {
            (self.stuck, self.has_ready) = (None, false);
            return Vec::new();
        }
        let mut bound = self.bound();
        if bound.is_none() {
            self.stuck = None;
        } else {
            match &self.stuck {
                Some((since, at)) if *at == bound => {
                    if now.duration_since(*since) >= self.limits.wait_max {
                        // Only an empty lane can keep the bound from moving.
                        for lane in self.lanes.values_mut().filter(|lane| lane.held.is_empty()) {
                            lane.end = lane.next;
                        }
                        self.stuck = None;
                        bound = self.bound();
                    }
                }
                _ => self.stuck = Some((now, bound.clone())),
            }
        }
        let bound = bound.as_ref();
        let may_go = |time_ms: i64, place: &TopicPartition| {
            bound.is_none_or(|(bound_ms, bound)| (time_ms, place) <= (*bound_ms, bound))
        };
        // The lanes come in the order of their places, so their numbers break ties of time.
        let mut lanes: Vec<_> = self.lanes.iter_mut().collect();
        let mut heads: BinaryHeap<Reverse<(i64, usize)>> = lanes
            .iter()
            .enumerate()
            .filter_map(|(number, (_, lane))| Some(Reverse((lane.head_ms()?, number))))
            .collect();
        let mut out = Vec::new();
        while out.len() < max
            && let Some(Reverse((time_ms, number))) = heads.pop()
            && let Some((place, lane)) = lanes.get_mut(number)
            && may_go(time_ms, place)
            && let Some((_, record)) = lane.held.pop_front()
        {
            self.records -= 1;
            self.bytes -= bytes(&record);
            out.push(record);
            heads.extend(lane.head_ms().map(|time_ms| Reverse((time_ms, number))));
        }
        self.has_ready = lanes
            .iter()
            .any(|(place, lane)| lane.head_ms().is_some_and(|time_ms| may_go(time_ms, place)));
        out
    }

    /// Partitions to be paused, and those to be resumed.
    pub(super) fn flow(&mut self, now: Instant) -> (Vec<TopicPartition>, Vec<TopicPartition>) {
        let limits = self.limits;
        let is_stuck = self
            .stuck
            .as_ref()
            .is_some_and(|(since, _)| now.duration_since(*since) >= PAUSE_AFTER);
        let is_over =
            is_stuck || self.records >= limits.records_max || self.bytes >= limits.bytes_max;
        let is_low = !is_stuck
            && self.records <= limits.records_max / 2
            && self.bytes <= limits.bytes_max / 2;
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for (place, lane) in &mut self.lanes {
            if is_over && !lane.is_paused && !lane.held.is_empty() {
                lane.is_paused = true;
                pause.push(place.clone());
            } else if lane.is_paused && (is_low || lane.held.is_empty()) {
                lane.is_paused = false;
                resume.push(place.clone());
            }
        }
        (pause, resume)
    }

    /// The least that a partition that is behind can still bring: nothing that sorts after it may go.
    fn bound(&self) -> Option<(i64, TopicPartition)> {
        self.lanes
            .iter()
            .filter(|(_, lane)| lane.is_behind())
            .map(|(place, lane)| (lane.greatest_ms, place))
            .min()
            .map(|(time_ms, place)| (time_ms, place.clone()))
    }
}

impl Lane {
    fn head_ms(&self) -> Option<i64> {
        self.held.front().map(|(time_ms, _)| *time_ms)
    }

    fn is_behind(&self) -> bool {
        self.next < self.end
    }
}

fn bytes(record: &Record) -> usize {
    record.value.as_ref().map_or(0, Vec::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: MergeLimits = MergeLimits {
        records_max: 1_000,
        bytes_max: 1_000_000,
        wait_max: Duration::from_secs(5),
    };

    fn record(partition: i32, offset: i64, append_time_ms: i64) -> Record {
        Record {
            topic: "t".into(),
            partition,
            offset,
            append_time_ms,
            key: None,
            value: Some(vec![0; 10]),
            headers: Vec::new(),
        }
    }

    fn places(records: &[Record]) -> Vec<(i32, i64)> {
        records.iter().map(|r| (r.partition, r.offset)).collect()
    }

    fn ends(ends: &[(i32, i64)]) -> Offsets {
        ends.iter()
            .map(|(partition, end)| (TopicPartition::new("t", *partition), *end))
            .collect()
    }

    #[test]
    fn partitions_of_one_poll_are_merged_and_offsets_never_go_back() {
        // Partition 0's clock goes back at offset 2: two producers with clocks of their own.
        let mut merge = Merge::new(LIMITS);
        merge.take(vec![
            record(1, 7, 105),
            record(0, 1, 110),
            record(0, 2, 90),
            record(0, 3, 130),
            record(1, 8, 120),
        ]);
        let out = merge.release(1_000, Instant::now());
        assert_eq!(places(&out), [(1, 7), (0, 1), (0, 2), (1, 8), (0, 3)]);
    }

    #[test]
    fn what_is_newer_than_a_partition_that_is_behind_waits_for_it() {
        let (mut merge, now) = (Merge::new(LIMITS), Instant::now());
        merge.learn(&Offsets::new(), &ends(&[(0, 2), (1, 3)]));
        merge.take(vec![record(0, 0, 10), record(0, 1, 30)]);
        assert_eq!(places(&merge.release(1_000, now)), []);
        assert_eq!(merge.awaited(now), []);
        let one = [TopicPartition::new("t", 1)];
        assert_eq!(
            merge.awaited(now + LOOK_AFTER),
            one,
            "partition 0 is at its end"
        );
        merge.take(vec![record(1, 0, 5), record(1, 1, 20)]);
        assert_eq!(places(&merge.release(1_000, now)), [(1, 0), (0, 0), (1, 1)]);
        // Offset 2 is a marker, never delivered; the log says that its end is reached.
        merge.passed(&ends(&[(1, 3)]));
        assert_eq!(places(&merge.release(1_000, now)), [(0, 1)]);
        assert_eq!(merge.held(), 0);
    }

    /// Looking into a backlog reads it, and throws away what was read: only who waits for an end looks for markers before it.
    #[test]
    fn markers_are_looked_for_at_ends_alone() {
        let (mut merge, now) = (Merge::new(LIMITS), Instant::now());
        let told = ends(&[(0, 1_000), (1, 101), (2, 5)]);
        assert_eq!(
            merge.near(&told).len(),
            3,
            "of none it is known where it stands"
        );
        merge.learn(&ends(&[(0, 0), (1, 0), (2, 0)]), &told);
        let two = [TopicPartition::new("t", 2)];
        assert_eq!(merge.near(&told), two);
        merge.take(vec![record(0, 0, 10), record(1, 0, 12)]);
        assert_eq!(merge.near(&told)[0], TopicPartition::new("t", 1));
        assert_eq!(places(&merge.release(1_000, now)), []);
        assert_eq!(
            merge.awaited(now + LOOK_AFTER),
            two,
            "of the others something is held"
        );
    }

    #[test]
    fn a_partition_that_delivers_nothing_is_waited_for_so_long_and_no_longer() {
        let (mut merge, now) = (Merge::new(LIMITS), Instant::now());
        merge.learn(&Offsets::new(), &ends(&[(1, 3)]));
        merge.take(vec![record(0, 0, 10)]);
        assert!(merge.release(1_000, now).is_empty());
        assert!(
            merge
                .release(1_000, now + Duration::from_millis(4_999))
                .is_empty()
        );
        assert_eq!(
            places(&merge.release(1_000, now + Duration::from_secs(5))),
            [(0, 0)]
        );
    }

    #[test]
    fn a_full_merge_pauses_who_fills_it_and_resumes_once_half_is_gone() {
        let limits = MergeLimits {
            records_max: 4,
            ..LIMITS
        };
        let (mut merge, now) = (Merge::new(limits), Instant::now());
        merge.learn(&Offsets::new(), &ends(&[(0, 9), (1, 1)]));
        merge.take((0..4).map(|offset| record(0, offset, offset)).collect());
        assert!(merge.release(1_000, now).is_empty());
        let zero = vec![TopicPartition::new("t", 0)];
        assert_eq!(merge.flow(now), (zero.clone(), Vec::new()));
        merge.take(vec![record(1, 0, 1)]);
        assert_eq!(
            places(&merge.release(1_000, now)),
            [(0, 0), (0, 1), (1, 0), (0, 2), (0, 3)]
        );
        assert_eq!(merge.flow(now), (Vec::new(), zero));
    }

    proptest! {
        /// However the polls hand out the backlogs, the order is that of one sort of everything.
        #[test]
        fn polls_do_not_show(
            lengths in prop::collection::vec(0_usize..30, 1..4),
            steps in prop::collection::vec((0_usize..4, 1_usize..12), 0..60),
            times in prop::collection::vec(0_i64..20, 120),
        ) {
            let (mut merge, now) = (Merge::new(LIMITS), Instant::now());
            let mut logs: Vec<VecDeque<Record>> = Vec::new();
            let mut expected = Vec::new();
            let mut known = Offsets::new();
            let mut times = times.into_iter();
            for (partition, length) in lengths.iter().enumerate() {
                let partition = partition as i32;
                let mut log = VecDeque::new();
                let mut greatest = i64::MIN;
                for offset in 0..*length as i64 {
                    let time_ms = times.next().unwrap_or(0);
                    greatest = greatest.max(time_ms);
                    expected.push((greatest, partition, offset));
                    log.push_back(record(partition, offset, time_ms));
                }
                known.insert(TopicPartition::new("t", partition), *length as i64);
                logs.push(log);
            }
            expected.sort();
            merge.learn(&Offsets::new(), &known);
            let mut out = Vec::new();
            let whole = (0..logs.len()).map(|partition| (partition, usize::MAX));
            for (partition, count) in steps.into_iter().chain(whole) {
                if let Some(log) = logs.get_mut(partition) {
                    let count = count.min(log.len());
                    merge.take(log.drain(..count).collect());
                    while let Some(some) = Some(places(&merge.release(7, now))).filter(|some| !some.is_empty()) {
                        out.extend(some);
                    }
                }
            }
            let expected: Vec<(i32, i64)> =
                expected.into_iter().map(|(_, partition, offset)| (partition, offset)).collect();
            prop_assert_eq!(out, expected);
        }
    }
}
