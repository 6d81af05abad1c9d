//! What holds the line where single bad rows do not: guards that open on a bad deploy, a silent registry, lost records, and
//! close by time, by recovery, or when somebody says so (DESIGN §3.5).
//!
//! A guard is about a *subject* (a topic, a source, an operator). While it is open its record lies in the topic `guards`,
//! which is what `cairn doctor` reads and a restart takes over; when it opens and when it closes a telegram says so. The book
//! of a task or member keeps what is open; like every state it is part of the batch, and an abort undoes it.
//!
//! - [`book`]: open guards, and what is told of them.
//! - `telegram`: the words.
//!
//! Who opens: `admit` (a source, a topic, rows it refuses) and the shell (what only it can see). This module knows no limits
//! but the book's own size.

mod book;
mod telegram;

pub use book::{Book, Cleared};

use crate::operator::Place;

/// Why something is held back or warned of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GuardKind {
    /// Too many rows of a source are bad: all its rows become dead letters.
    Quarantine,
    /// Every row of a schema fails: the topic is not read.
    TopicPause,
    /// The schema registry does not answer: the partition waits.
    RegistryOutage,
    /// The schema registry denies an id: the partition waits, then the rows are bad.
    UnknownSchema,
    /// The log has deleted what was to be read next.
    RetentionOvertaken,
    /// Commits take long: the log, or the disk under it, is slow or full.
    SlowLog,
    /// A record made a core panic and was put aside.
    CorePanic,
    /// Rows claim a time ahead of their receipt.
    FromTheFuture,
    /// Records are larger than allowed.
    Oversized,
    /// A source that no allow-list names sends.
    SourceDenied,
}

impl GuardKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Quarantine,
        Self::TopicPause,
        Self::RegistryOutage,
        Self::UnknownSchema,
        Self::RetentionOvertaken,
        Self::SlowLog,
        Self::CorePanic,
        Self::FromTheFuture,
        Self::Oversized,
        Self::SourceDenied,
    ];

    /// Its name in records, metrics, telegrams and documentation.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Quarantine => "quarantine",
            Self::TopicPause => "topic_pause",
            Self::RegistryOutage => "registry_outage",
            Self::UnknownSchema => "unknown_schema",
            Self::RetentionOvertaken => "retention_overtaken",
            Self::SlowLog => "slow_log",
            Self::CorePanic => "core_panic",
            Self::FromTheFuture => "from_the_future",
            Self::Oversized => "oversized",
            Self::SourceDenied => "source_denied",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Priority of the telegram that says it opened: 0 act now, 1 within minutes, 2 advisory.
    #[must_use]
    pub fn priority(self) -> u8 {
        match self {
            Self::RetentionOvertaken => 0,
            Self::TopicPause | Self::RegistryOutage | Self::CorePanic => 1,
            _ => 2,
        }
    }

    /// What to do about it, one sentence.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Quarantine => {
                "mend the source, then `cairn topics resume SUBJECT` and `cairn deadletter replay`"
            }
            Self::TopicPause => {
                "mend what writes to the topic, then `cairn topics resume SUBJECT`; it is tried again by itself"
            }
            Self::RegistryOutage => "bring the schema registry back; the topic goes on by itself",
            Self::UnknownSchema => {
                "register the schema; after 30 s the rows become dead letters, which can be replayed"
            }
            Self::RetentionOvertaken => {
                "send the lost records again, raise the topic's retention, then `cairn topics resume SUBJECT`"
            }
            Self::SlowLog => "look at the brokers, or the disk, that hold the log",
            Self::CorePanic => {
                "report it with the dead letter (`cairn deadletter list`), then `cairn topics resume SUBJECT`"
            }
            Self::FromTheFuture => {
                "set the clock of the sender; the rows are dead letters, which can be replayed"
            }
            Self::Oversized => "split the records, or raise admit.record_bytes_max",
            Self::SourceDenied => {
                "stop the sender, or name it in admit.sources_allowed or admit.datasets_allowed and replay its dead letters"
            }
        }
    }

    /// What its subject is, as telegrams name it.
    fn subject(self) -> &'static str {
        match self {
            Self::Quarantine => "source",
            Self::SlowLog => "operator",
            _ => "topic",
        }
    }
}

/// A guard that opens, or goes on being open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Why.
    pub kind: GuardKind,
    /// Tenant of the subject.
    pub tenant: String,
    /// A topic, a source, an operator.
    pub subject: String,
    /// When, milliseconds since 1970.
    pub now_ms: i64,
    /// When it closes by itself, or is tried again; none: only recovery or a person closes it.
    pub until_ms: Option<i64>,
    /// Records it is opened for.
    pub records: i64,
    /// What happened, one sentence.
    pub text: String,
    /// Where that can be seen.
    pub evidence: Vec<Place>,
}
