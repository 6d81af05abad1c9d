//! Another number of partitions for a family: the state of its tasks moves to where the new number puts each run.
//!
//! ```text
//!  nobody runs, everything is read ──► "moving to M" ──► topics grow ──► entries move, some at a time ──► "M in use"
//!  └───── refused otherwise ─────┘    └────── half done: everything refuses to run; a second call goes on ──────┘
//! ```
//!
//! An entry moves in one transaction: written where it belongs, deleted where it was. So a second call finds what a killed
//! one left, and nothing twice. Only what is in use is recorded: topics of a log never lose partitions, and after a shrink
//! the last ones hold the past, and an idle task each.
//!
//! # Layout
//! - `alone`: nobody else is a member, and what there is is read.
//! - `moving`: the entries.

mod alone;
mod moving;

use crate::config::Config;
use crate::connect::Place;
use crate::families::{self, Families};
use cairn_avro::record::FamilyPartitions;
use cairn_bus::{Fault, Membership, Offsets, Session, TopicState};
use cairn_topics::Family;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Name of the family.
    pub family: String,
    /// Partitions to be in use.
    pub partitions: i32,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Partitions that were in use.
    pub from: i32,
    /// Partitions that are in use.
    pub to: i32,
    /// Partitions that the topics have.
    pub present: i32,
    /// Entries that moved, in this call.
    pub moved: u64,
}

/// Why it was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It cannot be done with what is there.
    #[error("{message}")]
    Refused {
        /// What is wrong.
        message: String,
        /// What to do.
        remedy: String,
    },
    /// The log or the registry; [`Fault::Fenced`]: somebody runs.
    #[error("{0}")]
    Fault(#[from] Fault),
}

impl Trouble {
    fn refused(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused {
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

/// Most partitions of a family: more would be idle tasks, and 2^16 runs of a task each is what nobody has.
const PARTITIONS_MAX: i32 = 4_096;
/// Topics beside those of the family whose partition is the task's.
const OF_TASKS: [&str; 3] = ["ticks.run", "cuts.run", "changelog.runs"];

/// Moves the family to another number of partitions. `committed` is called after each transaction; what it says ends the
/// work there, as a kill would.
///
/// # Errors
/// See [`Trouble`].
pub fn migrate(
    config: &Config,
    place: &Place,
    request: &Request,
    committed: &mut dyn FnMut() -> Result<(), Fault>,
) -> Result<Migrated, Trouble> {
    let to = request.partitions;
    if request.family != Family::Run.as_str() {
        return Err(Trouble::refused(
            format!("the family {} cannot be migrated", request.family),
            "only the family run can: its topics hold no compacted rows that readers find by their partition",
        ));
    }
    if !(1..=PARTITIONS_MAX).contains(&to) {
        return Err(Trouble::refused(
            format!("{to} is no number of partitions"),
            format!("name 1 to {PARTITIONS_MAX}"),
        ));
    }
    let topics = place.log.topics()?;
    let Some(found) = families::as_found(&topics) else {
        return Err(Trouble::refused(
            "there is no runs.events",
            "`cairn topics apply` makes the topics with log.partitions_run partitions",
        ));
    };
    if !topics.contains_key(families::TOPIC) {
        return Err(Trouble::refused(
            format!("there is no topic {}", families::TOPIC),
            "run `cairn topics apply`",
        ));
    }
    let recorded = Families::read(place, &topics)?;
    let recorded = recorded.of(&request.family).cloned().unwrap_or(found);
    match recorded.moving_to {
        Some(other) if other != to => {
            return Err(Trouble::refused(
                format!("a migration to {other} partitions is under way"),
                format!("finish it first: cairn migrate run --partitions {other}"),
            ));
        }
        None if recorded.partitions == to => {
            return Ok(Migrated {
                from: to,
                to,
                present: present(&topics),
                moved: 0,
            });
        }
        _ => {}
    }
    let moving = FamilyPartitions {
        moving_to: Some(to),
        migrations: recorded.migrations + i32::from(recorded.moving_to.is_none()),
        ..recorded.clone()
    };
    alone::claim(config, place, &topics, &families::record(place, &moving)?)?;
    committed()?;
    for name in grown(&topics) {
        place.log.grow(name, to)?;
    }
    let topics = place.log.topics()?;
    let mut session = writer(config, place)?;
    let moved = moving::entries(
        place,
        &mut *session,
        present(&topics),
        to,
        config.migrate.transaction_bytes,
        committed,
    )?;
    let done = FamilyPartitions {
        partitions: to,
        moving_to: None,
        ..moving
    };
    session.send(families::record(place, &done)?)?;
    session.commit(&Offsets::new())?;
    committed()?;
    session.close(Duration::from_millis(config.runtime.stop_deadline_ms))?;
    Ok(Migrated {
        from: recorded.partitions,
        to,
        present: present(&topics),
        moved,
    })
}

/// Partitions that the topics have.
fn present(topics: &BTreeMap<String, TopicState>) -> i32 {
    topics
        .get("runs.events")
        .map_or(0, |state| state.partitions)
}

/// Topics whose partitions are the family's.
fn grown(topics: &BTreeMap<String, TopicState>) -> Vec<&str> {
    let of_family = |name: &str| {
        cairn_topics::find(name).is_some_and(|topic| topic.family == Family::Run)
            || OF_TASKS.contains(&name)
    };
    topics
        .keys()
        .map(String::as_str)
        .filter(|name| of_family(name))
        .collect()
}

/// A session that only writes; a second migration fences this one.
fn writer(config: &Config, place: &Place) -> Result<Box<dyn Session>, Fault> {
    place.log.open(Membership {
        operator: "migrate".to_owned(),
        group: format!("{}.migrate", config.log.app_id),
        instance: "migrate".to_owned(),
        thread: 0,
        topics: Vec::new(),
    })
}
