//! What must have come of a story, worked out from what the log holds in the end: single-threaded, on cores that know no
//! transaction, no overlay and no restart.
//!
//! The cores are the product's own: what is looked for is what the runtime loses, doubles, or does on a wrong state. Whether a
//! window or a verdict is right in itself is the matter of `tests/oracle`, which shares no code with the product.

mod admit;
mod exact;
pub mod offsets;
mod refit;
mod replay;
mod tables;
mod text;

use super::planted::read;
use super::stage::Stage;
use cairn_bus::{Record, TopicPartition};
use std::collections::BTreeMap;

/// Everything committed, by place.
pub struct Found(BTreeMap<TopicPartition, Vec<Record>>);

impl Found {
    fn read(stage: &Stage) -> Result<Self, String> {
        let topics = cairn_bus::Log::topics(&stage.log).map_err(|fault| fault.to_string())?;
        let mut all = BTreeMap::new();
        for topic in topics.keys() {
            all.extend(read(&stage.log, topic).map_err(|fault| fault.to_string())?);
        }
        Ok(Self(all))
    }

    /// A partition's records.
    fn of(&self, topic: &str, partition: i32) -> &[Record] {
        let place = TopicPartition::new(topic, partition);
        self.0.get(&place).map_or(&[], Vec::as_slice)
    }

    /// A topic's records, partition by partition.
    fn all<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a Record> {
        self.0
            .iter()
            .filter(move |(place, _)| &*place.topic == topic)
            .flat_map(|(_, records)| records)
    }

    fn partitions(&self, topic: &str) -> i32 {
        self.0.keys().filter(|place| &*place.topic == topic).count() as i32
    }
}

/// Names the first difference. `is_compacted`: old rows may be gone. Counts what was compared.
///
/// # Errors
/// The difference.
pub fn differs(
    stage: &Stage,
    is_compacted: bool,
    counts: &mut BTreeMap<&'static str, usize>,
) -> Result<(), String> {
    offsets::differs(stage)?;
    let found = Found::read(stage)?;
    for (name, topic) in [
        ("windows", "runs.windows"),
        ("verdicts", "breaker.verdicts"),
        ("late rows", "late"),
        ("dead letters", "deadletter"),
        ("telegrams", "cockpit.telegrams"),
        ("answers", "answers"),
        ("fits", "scaling.fits"),
        ("ticks", "ticks.run"),
        ("events", "runs.events"),
    ] {
        counts.insert(name, found.all(topic).count());
    }
    admit::differs(stage, &found)?;
    let runs = replay::runs(stage, &found)?;
    runs.differs(&found, is_compacted)?;
    let cockpit = replay::cockpit(stage, &found)?;
    cockpit.differs(&found, is_compacted)?;
    refit::differs(stage, &found, is_compacted)?;
    exact::differs(stage, is_compacted)
}

/// Two multisets, line by line.
fn compare(what: &str, expected: Vec<String>, found: Vec<String>) -> Result<(), String> {
    /// So much of a line is shown, so many lines of each side.
    const SHOWN_CHARS: usize = 900;
    const SHOWN_LINES: usize = 3;
    let mut balance: BTreeMap<&str, i64> = BTreeMap::new();
    for line in &expected {
        *balance.entry(line).or_default() += 1;
    }
    for line in &found {
        *balance.entry(line).or_default() -= 1;
    }
    let show = |sign: i64| {
        let lines = balance.iter().filter(|(_, left)| *left * sign > 0);
        lines
            .take(SHOWN_LINES)
            .map(|(line, left)| {
                let line: String = line.chars().take(SHOWN_CHARS).collect();
                format!("  {} x {line}", left.abs())
            })
            .collect::<Vec<_>>()
            .join("\n")
    };
    if balance.values().all(|left| *left == 0) {
        return Ok(());
    }
    Err(format!(
        "{what}: {} expected, {} found\n missing:\n{}\n too many:\n{}",
        expected.len(),
        found.len(),
        show(1),
        show(-1)
    ))
}
