//! Who wrote a record: only what the chosen kinds have written is recomputed.

use super::sameness::telegram;
use crate::runtime::task::Kind;
use cairn_avro::record::DeadLetter;
use cairn_bus::Record;
use std::sync::Arc;

/// Class of the dead letters of records that made a core panic: they are inputs of a replay, which passes them over, too.
pub(super) const CORE_PANIC: &str = "core_panic";

/// Which records of a topic are recomputed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// All.
    All,
    /// Dead letters of these operators.
    DeadLetters(Vec<&'static str>),
    /// Telegrams of these streams.
    Telegrams(Vec<&'static str>),
}

/// The topics that these kinds write, ticks, cuts and changelogs left out.
pub(super) fn writers(kinds: &[Arc<Kind>]) -> Vec<(&'static str, Writer)> {
    let names: Vec<&'static str> = kinds.iter().map(|kind| kind.name).collect();
    let written = cairn_topics::catalogue().iter().filter_map(|topic| {
        let writer = match topic.name {
            "deadletter" => Writer::DeadLetters(names.clone()),
            "cockpit.telegrams" => Writer::Telegrams(names.clone()),
            // refit is the only kind that asks
            "answers" if names.contains(&"refit") => Writer::All,
            _ if names.contains(&topic.owner) => Writer::All,
            _ => return None,
        };
        Some((topic.name, writer))
    });
    written.collect()
}

impl Writer {
    /// Whether it wrote this one.
    pub(super) fn writes(&self, record: &Record, letter: Option<&DeadLetter>) -> bool {
        match self {
            Self::All => true,
            Self::DeadLetters(operators) => letter.is_none_or(|letter| {
                // what the pipeline passed over is passed over here, and said nothing of
                letter.class != CORE_PANIC && operators.contains(&letter.operator.as_str())
            }),
            Self::Telegrams(streams) => {
                // guards tell of the moment, not of the input
                if telegram(record.value.as_deref(), "kind").as_deref() == Some("guard") {
                    return false;
                }
                let stream = telegram(record.value.as_deref(), "stream");
                stream.is_none_or(|stream| streams.contains(&stream.as_str()))
            }
        }
    }
}
