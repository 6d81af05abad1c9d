//! Works off what is there and returns.

use super::super::member::{Counts, Member};
use super::super::supervision::Backoff;
use super::super::task::Kind;
use super::Service;
use cairn_bus::{Fault, Offsets, TopicPartition};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// How a drain ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Counts by task kind.
    pub operators: BTreeMap<String, Counts>,
    /// Where it stopped reading ingress.
    pub cut: BTreeMap<String, BTreeMap<i32, i64>>,
    /// What is left, records; 0 unless it gave up.
    pub lag: i64,
    /// Topics that a guard keeps from being read, where it gave up for that.
    pub held: Vec<String>,
}

/// What a turn of a drain found.
enum Turn {
    /// Something moved, or somebody is not ready.
    Moves,
    /// Everybody is quiet and has nothing to finish.
    Quiet,
    /// Everybody is quiet, but for topics that a guard keeps from being read.
    Held,
}

impl Service {
    /// Works off what ingress holds now and all that it causes, then returns (`cairn run --drain`).
    ///
    /// # Errors
    /// [`Fault::Fenced`] where another member owns a partition. At the time-out it gives up: [`Drained::lag`] is what is left.
    pub fn drain(&self, timeout: Duration) -> Result<Drained, Fault> {
        let begun = Instant::now();
        let limits = self.ingress_ends()?;
        let mut members = self.members(Some(&limits))?;
        let mut backoff = Backoff::new(&self.config.runtime);
        let mut quiet_turns = 0;
        let mut lag = 0;
        loop {
            if begun.elapsed() > timeout {
                for member in &mut members {
                    lag += member.lag()?;
                }
                // Not drained, even where only a fit is still awaited.
                lag = lag.max(1);
                break;
            }
            match self.drain_turn(&mut members, begun.elapsed()) {
                Ok(Turn::Held) => {
                    // Waiting would not help within a drain: what is held is for people to look at.
                    for member in &mut members {
                        lag += member.lag()?;
                    }
                    lag = lag.max(1);
                    break;
                }
                Ok(Turn::Quiet) => {
                    quiet_turns += 1;
                    // Twice in a row: what one member wrote while the next was asked has been seen by then.
                    if quiet_turns >= 2 {
                        break;
                    }
                }
                Ok(Turn::Moves) => quiet_turns = 0,
                Err(fault) => {
                    drop(members);
                    self.rebuild("all", fault, &mut backoff, &AtomicBool::new(false))?;
                    members = self.members(Some(&limits))?;
                    quiet_turns = 0;
                }
            }
        }
        let mut held: Vec<String> = members
            .iter()
            .flat_map(|member| member.held())
            .map(str::to_owned)
            .collect();
        held.dedup();
        let mut drained = Drained {
            lag,
            held,
            ..Drained::default()
        };
        for (place, next) in &limits {
            drained
                .cut
                .entry(place.topic.to_string())
                .or_default()
                .insert(place.partition, *next);
        }
        for member in members {
            let name = member.kind().name.to_owned();
            let counts =
                member.stop(Duration::from_millis(self.config.runtime.stop_deadline_ms))?;
            drained.operators.insert(name, counts);
        }
        Ok(drained)
    }

    fn drain_turn(&self, members: &mut [Member], waited: Duration) -> Result<Turn, Fault> {
        if self.pass(members)? {
            return Ok(Turn::Moves);
        }
        let expected: usize = members
            .iter()
            .map(|member| self.partitions_of(member.kind()))
            .sum();
        let owned: usize = members.iter().map(|member| member.owned().len()).sum();
        if owned < expected {
            let patience = Duration::from_millis(3 * self.config.log.session_timeout_ms);
            if waited > patience {
                return Err(Fault::Fenced(format!(
                    "{owned} of {expected} partitions are ours; another member owns the rest: stop it, or let it drain"
                )));
            }
            std::thread::sleep(Duration::from_millis(self.config.runtime.pass_pause_ms));
            return Ok(Turn::Moves);
        }
        for member in members.iter_mut() {
            if !member.is_quiet()? {
                std::thread::sleep(Duration::from_millis(self.config.runtime.pass_pause_ms));
                return Ok(Turn::Moves);
            }
        }
        if members.iter().any(|member| !member.held().is_empty()) {
            return Ok(Turn::Held);
        }
        // Upstream first: what a core finishes may be another's input.
        for member in members.iter_mut() {
            if member.drain()? {
                return Ok(Turn::Moves);
            }
        }
        Ok(Turn::Quiet)
    }

    fn partitions_of(&self, kind: &Kind) -> usize {
        let partitions = |topic: &String| self.encoder.partitions(topic).unwrap_or(0);
        kind.inputs
            .iter()
            .map(|topic| usize::try_from(partitions(topic)).unwrap_or(0))
            .sum()
    }

    /// The ends of all ingress topics as of now.
    fn ingress_ends(&self) -> Result<Offsets, Fault> {
        let mut reader = self.place.log.reader()?;
        let topics: Vec<&str> = self
            .kinds
            .iter()
            .filter(|kind| kind.family == "ingress")
            .flat_map(|kind| kind.inputs.iter().map(String::as_str))
            .collect();
        if topics.is_empty() {
            return Ok(Offsets::new());
        }
        let ends: BTreeMap<TopicPartition, (i64, i64)> = reader.ends(&topics)?;
        Ok(ends
            .into_iter()
            .map(|(place, (_, end))| (place, end))
            .collect())
    }
}
