//! A small task on the simulated log, and an oracle for it: three instances copy records and number them, with the numbers in
//! a changelog. Whatever is lost, doubled or restored wrongly shows in the output.

use cairn_bus::simulated::{FaultPlan, SimulatedClock, SimulatedLog, SimulatedSettings};
use cairn_bus::{
    Cleanup, Fault, Log, Membership, Offsets, Outgoing, Poll, Record, Session, TopicPartition,
    TopicSpec,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const PARTITIONS: i32 = 4;
const RECORDS: i64 = 200;
const INSTANCES: [&str; 3] = ["a", "b", "c"];
/// So many steps with faults, then as many without as it takes.
const ROUGH_STEPS: usize = 400;
const QUIET_STEPS_MAX: usize = 20_000;

/// What the task does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    None,
    /// Outputs and offsets in two transactions.
    OffsetsOutside,
    /// After `Unknown` the commit is tried again by the same producer.
    RetryInPlace,
    /// The changelog is read before the session is opened.
    RestoreBeforeFencing,
    /// After an abort the numbers stay as if it had been a commit.
    OverlayKept,
}

/// What came of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub trace_hash: String,
    /// None: as the oracle says.
    pub difference: Option<String>,
    /// Faults by name.
    pub faults: BTreeMap<&'static str, usize>,
    pub requests: u64,
    pub trace: Vec<String>,
}

pub fn out(topic: &str, partition: i32, key: &str, value: &str) -> Outgoing {
    Outgoing {
        topic: topic.into(),
        partition,
        key: Some(key.into()),
        value: Some(value.into()),
        headers: vec![],
    }
}

pub fn who(operator: &str, instance: &str, topics: &[&str]) -> Membership {
    Membership {
        operator: operator.into(),
        group: operator.into(),
        instance: instance.into(),
        thread: 0,
        topics: topics.iter().map(|topic| topic.to_string()).collect(),
    }
}

pub fn text(record: &Record) -> String {
    String::from_utf8(record.value.clone().unwrap_or_default()).unwrap()
}

/// Everything committed in a partition.
pub fn everything(log: &SimulatedLog, topic: &str, partition: i32) -> Vec<Record> {
    let mut reader = log.reader().unwrap();
    let part = TopicPartition::new(topic, partition);
    let (start, end) = reader.ends(&[topic]).unwrap()[&part];
    let mut position = Offsets::from([(part.clone(), start)]);
    let mut found = Vec::new();
    while position[&part] < end {
        let (records, next) = reader.read(&position, Duration::ZERO, 1_000).unwrap();
        found.extend(records);
        position = next;
    }
    found
}

struct Instance<'a> {
    log: &'a SimulatedLog,
    name: &'static str,
    bug: Bug,
    session: Option<Box<dyn Session>>,
    owned: BTreeSet<i32>,
    /// How many records of each partition are numbered; and as of the last commit.
    counts: BTreeMap<i32, i64>,
    merged: BTreeMap<i32, i64>,
    offsets: Offsets,
    /// What was read too early.
    early: BTreeMap<i32, i64>,
    faults: BTreeMap<&'static str, usize>,
}

impl Instance<'_> {
    fn step(&mut self, commits: bool) {
        if self.log.is_killed(self.name) {
            *self.faults.entry("killed").or_default() += 1;
            return self.drop_session();
        }
        if self.log.is_stopped(self.name) {
            *self.faults.entry("stopped").or_default() += 1;
            return;
        }
        let fault = match self.try_step(commits) {
            Ok(()) => return,
            Err(fault) => fault,
        };
        *self.faults.entry(fault.name()).or_default() += 1;
        let over = match fault {
            Fault::Abort(_) => self.roll_back().err(),
            other => Some(other),
        };
        if let Some(fault) = over {
            assert!(!matches!(fault, Fault::Config(_)), "{fault}");
            self.drop_session();
        }
    }

    fn drop_session(&mut self) {
        self.session = None;
        self.owned.clear();
        self.counts.clear();
        self.merged.clear();
        self.offsets.clear();
    }

    fn session(&mut self) -> &mut dyn Session {
        &mut **self.session.as_mut().unwrap()
    }

    fn try_step(&mut self, commits: bool) -> Result<(), Fault> {
        if self.session.is_none() {
            if self.bug == Bug::RestoreBeforeFencing {
                for number in 0..PARTITIONS {
                    let last = everything(self.log, "state", number);
                    let count = last
                        .last()
                        .map_or(0, |record| text(record).parse().unwrap());
                    self.early.insert(number, count);
                }
            }
            self.session = Some(self.log.open(who("copy", self.name, &["in"]))?);
            return Ok(());
        }
        match self.session().poll(Duration::from_millis(50), 5)? {
            Poll::Assigned(parts) => self.take_over(&parts)?,
            Poll::Revoked(parts) => {
                // answered even where the commit is refused
                let committed = self.commit();
                if let Err(Fault::Abort(_)) = committed {
                    self.discard();
                    self.session().abort()?;
                } else {
                    committed?;
                }
                self.let_go(&parts)?;
                self.rewind()?;
            }
            Poll::Lost(parts) => {
                self.discard();
                self.session().abort()?;
                self.let_go(&parts)?;
            }
            Poll::Records(records) => {
                for record in records.to_records() {
                    let number = record.partition;
                    let count = self.counts.entry(number).or_default();
                    let value = format!("{}/{count}", text(&record));
                    *count += 1;
                    self.offsets.insert(record.place(), record.offset + 1);
                    self.session().send(out("out", number, "k", &value))?;
                }
                if commits {
                    self.commit()?;
                }
            }
            Poll::Overtaken(gaps) => panic!("nothing was deleted: {gaps:?}"),
            Poll::Idle => self.commit()?,
        }
        Ok(())
    }

    fn take_over(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        let start = self.session().committed(parts)?;
        for part in parts {
            let mut count = 0;
            let state = TopicPartition::new("state", part.partition);
            let mut each = |record: Record| count = text(&record).parse().unwrap();
            self.session().read_to_end(&state, &mut each)?;
            if self.bug == Bug::RestoreBeforeFencing {
                count = self.early.remove(&part.partition).unwrap_or(count);
            }
            self.owned.insert(part.partition);
            self.counts.insert(part.partition, count);
            self.merged.insert(part.partition, count);
        }
        self.session().assigned(&start)
    }

    fn let_go(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        for part in parts {
            self.owned.remove(&part.partition);
            self.counts.remove(&part.partition);
            self.merged.remove(&part.partition);
        }
        self.session().revoked(parts)
    }

    fn commit(&mut self) -> Result<(), Fault> {
        if self.offsets.is_empty() {
            return Ok(());
        }
        for (number, count) in self.counts.clone() {
            if self.merged.get(&number) != Some(&count) {
                let change = out("state", number, "count", &count.to_string());
                self.session().send(change)?;
            }
        }
        let offsets = self.offsets.clone();
        if self.bug == Bug::OffsetsOutside {
            self.session().commit(&Offsets::new())?;
        }
        let mut committed = self.session().commit(&offsets);
        if self.bug == Bug::RetryInPlace {
            for _ in 0..3 {
                if matches!(committed, Err(Fault::Unknown(_))) {
                    committed = self.session().commit(&offsets);
                }
            }
        }
        committed?;
        self.merged = self.counts.clone();
        self.offsets.clear();
        Ok(())
    }

    fn discard(&mut self) {
        self.offsets.clear();
        if self.bug != Bug::OverlayKept {
            self.counts = self.merged.clone();
        }
    }

    fn rewind(&mut self) -> Result<(), Fault> {
        let owned: Vec<_> = self
            .owned
            .iter()
            .map(|number| TopicPartition::new("in", *number))
            .collect();
        let mut start = self.session().committed(&owned)?;
        for part in owned {
            start.entry(part).or_insert(0);
        }
        self.session().seek(&start)
    }

    fn roll_back(&mut self) -> Result<(), Fault> {
        self.discard();
        self.session().abort()?;
        self.rewind()
    }
}

/// A cluster with the task's topics and its input.
pub fn stage(seed: u64, clock: &SimulatedClock, settings: SimulatedSettings) -> SimulatedLog {
    let log = SimulatedLog::with_settings(seed, FaultPlan::quiet(), clock.clone(), settings);
    let all = Cleanup::Delete { retention_ms: -1 };
    log.create(&[
        TopicSpec::new("in", PARTITIONS, all),
        TopicSpec::new("out", PARTITIONS, all),
        TopicSpec::new("state", PARTITIONS, Cleanup::Compact),
    ])
    .unwrap();
    let mut writer = log.open(who("writer", "w", &[])).unwrap();
    for number in 0..RECORDS {
        let partition = (number % i64::from(PARTITIONS)) as i32;
        writer
            .send(out("in", partition, "k", &number.to_string()))
            .unwrap();
        // now and then something that is never delivered
        if number % 7 == 0 {
            writer.commit(&Offsets::new()).unwrap();
        }
    }
    writer.commit(&Offsets::new()).unwrap();
    log
}

/// What happens to the task.
pub struct Story {
    pub seed: u64,
    pub plan: FaultPlan,
    pub bug: Bug,
    pub settings: SimulatedSettings,
    /// An instance is killed before so many requests of the task; 0: none.
    pub crash_at: u64,
}

/// Copies with faults, then without, then looks.
pub fn run(story: Story) -> Outcome {
    let Story { seed, bug, .. } = story;
    let clock = SimulatedClock::default();
    let settings = SimulatedSettings {
        retry_in_place: bug == Bug::RetryInPlace,
        ..story.settings
    };
    let log = stage(seed, &clock, settings);
    log.set_plan(story.plan);
    let before = log.requests();
    if story.crash_at > 0 {
        log.crash_at_request(before + story.crash_at);
    }
    let mut instances: Vec<Instance<'_>> = INSTANCES
        .iter()
        .map(|&name| Instance {
            log: &log,
            name,
            bug,
            session: None,
            owned: BTreeSet::new(),
            counts: BTreeMap::new(),
            merged: BTreeMap::new(),
            offsets: Offsets::new(),
            early: BTreeMap::new(),
            faults: BTreeMap::new(),
        })
        .collect();
    // who comes next: xorshift
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % below
    };
    let mut left = QUIET_STEPS_MAX;
    for step in 0.. {
        if step == ROUGH_STEPS {
            log.set_plan(FaultPlan::quiet());
        }
        if step > ROUGH_STEPS {
            left -= 1;
            if left == 0 || is_done(&log) {
                break;
            }
        }
        let who = draw(instances.len());
        instances[who].step(draw(3) == 0);
        // work takes time; and it goes by where everybody stands still
        clock.advance_ms(draw(100) as i64);
    }
    let mut faults = BTreeMap::new();
    for (name, count) in instances.iter().flat_map(|instance| &instance.faults) {
        *faults.entry(*name).or_insert(0) += count;
    }
    drop(instances);
    // what the last owner left open is aborted after its time
    clock.advance_ms(60_000);
    let difference = if left == 0 {
        Some(format!("not done: {:?}", log.committed_offsets("copy")))
    } else {
        differs(&log)
    };
    Outcome {
        trace_hash: log.trace_hash(),
        difference,
        faults,
        requests: log.requests() - before,
        trace: log.trace(),
    }
}

/// Every record of the input is covered by a committed offset.
fn is_done(log: &SimulatedLog) -> bool {
    let committed = log.committed_offsets("copy");
    (0..PARTITIONS).all(|number| {
        let last = everything(log, "in", number).last().map_or(0, |r| r.offset);
        committed
            .get(&TopicPartition::new("in", number))
            .is_some_and(|next| *next > last)
    })
}

fn differs(log: &SimulatedLog) -> Option<String> {
    for number in 0..PARTITIONS {
        let expected: Vec<String> = (0..RECORDS)
            .filter(|value| (*value % i64::from(PARTITIONS)) as i32 == number)
            .enumerate()
            .map(|(rank, value)| format!("{value}/{rank}"))
            .collect();
        let found: Vec<String> = everything(log, "out", number).iter().map(text).collect();
        if found != expected {
            return Some(format!("partition {number}: {found:?}"));
        }
    }
    None
}
