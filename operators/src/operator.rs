//! The vocabulary between cores and shells: what a core is told, and what it answers.
//!
//! A core is synchronous and total. It sees records with their place in the log, never a clock: the only wall time it
//! knows is the append time of what it read. Everything that it wants of the world is an [`Output`]; everything that it
//! must remember is a [`Change`] of one of its tables.

use crate::refit::WindowRule;
use cairn_avro::record::{ExperimentRow, Guard, Late, RunEvents, ScalingFit, Verdict, Window};
use serde::{Deserialize, Serialize};

/// Where a record lies in the log, and when the log took it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<'a> {
    /// Topic, as the log names it.
    pub topic: &'a str,
    /// Partition within the topic.
    pub partition: i32,
    /// Offset within the partition.
    pub offset: i64,
    /// Append time of the record, milliseconds since the epoch, UTC.
    pub append_time_ms: i64,
}

/// Something a core wants done, with the trace it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Emitted {
    /// What is to be done.
    pub output: Output,
    /// W3C `traceparent` of the event that caused it, where it had one.
    pub traceparent: Option<String>,
    /// True ends the batch at once: the commit interval is a maximum (DESIGN §3.8).
    pub urgent: bool,
}

/// Everything a core may ask of the world.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "outputs are moved once, from the core to the encoder"
)]
pub enum Output {
    /// Admitted events of one run, packed.
    Events(RunEvents),
    /// The newest state of one run's row.
    Row(ExperimentRow),
    /// A closed window.
    Window(Window),
    /// A change of a breaker's state.
    Verdict(Verdict),
    /// An event that came after its window had closed.
    Late(Late),
    /// An event that cannot be taken, with the reason.
    Dead(Dead),
    /// A law fitted to a cohort.
    Fit(ScalingFit),
    /// A guard as it is from now on: open, or (false) closed.
    Guard(Guard, bool),
    /// What people should know, as the JSON of `telegram.json`.
    Telegram(Telegram),
    /// The folded board of one stream, as the JSON of `board.json`.
    Board {
        /// Tenant whose board it is.
        tenant: String,
        /// Stream within the tenant.
        stream: String,
        /// The snapshot.
        snapshot: serde_json::Value,
    },
    /// Long work to be done beside the loop (DESIGN §3.7).
    Ask(Ask),
}

/// Why an event cannot be taken; the shell seals the original and adds where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// Tenant it belongs to.
    pub tenant: String,
    /// Class, one of those that `docs/errors.md` lists.
    pub class: &'static str,
    /// What is wrong and what to do, one line.
    pub text: String,
    /// Where the event was headed: a family's topic name.
    pub topic: String,
    /// The original bytes where the core holds them; otherwise the shell takes those of the record in hand.
    pub original: Option<Vec<u8>>,
    /// The event's id where it is known.
    pub event_id: Option<Vec<u8>>,
    /// The record it came with; a core leaves it out, the shell fills it in.
    pub origin: Option<Box<Origin>>,
}

/// A record as the log had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Where it lies.
    pub place: Place,
    /// When the log took it, milliseconds since the epoch.
    pub append_time_ms: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// One small event for people; `telegram.json` is its schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Telegram {
    /// Always `1.0`.
    pub schema_version: String,
    /// Thirty-two hexadecimal digits, derived from the evidence: the same cause has the same id.
    pub telegram_id: String,
    /// Tenant.
    pub tenant: String,
    /// Stream within the tenant: the operator that speaks.
    pub stream: String,
    /// RFC 3339, UTC.
    pub time: String,
    /// breaker, fit, run, guard, decision, deadletter or system.
    pub kind: String,
    /// Whom it is about.
    pub subject: Subject,
    /// 0 act now, 1 act within minutes, 2 advisory, 3 status.
    pub priority: u8,
    /// What it says.
    pub text: Text,
    /// What it rests on.
    pub evidence: Evidence,
    /// W3C `traceparent` of the event that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// Whom a telegram is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// run, fit, topic, source or operator.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its id.
    pub id: String,
}

/// A message that a client can translate: key and arguments, and an English sentence to fall back on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Text {
    /// Key of the message.
    pub key: String,
    /// Arguments, numbers or short strings.
    #[serde(default)]
    pub args: std::collections::BTreeMap<String, serde_json::Value>,
    /// At most 160 characters.
    pub fallback: String,
}

/// What a telegram rests on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Places in the log.
    #[serde(default)]
    pub offsets: Vec<Place>,
    /// Run, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The verdict in short, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<serde_json::Value>,
    /// Fit, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit_id: Option<String>,
}

/// A place in the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

/// Long work: a pure function of what it carries (DESIGN §3.7).
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Id, derived from the inputs.
    pub ask_id: String,
    /// Tenant.
    pub tenant: String,
    /// What to do; `fit` for now.
    pub kind: &'static str,
    /// Name of what is fitted: the cohort, or `cohort@window`.
    pub cohort: String,
    /// Version of the cohort where it is a saved one.
    pub cohort_version: Option<i32>,
    /// How the cohort's rows are cut into windows, and which law is fitted.
    pub window: WindowRule,
    /// SQL over the table `rows` that chooses the cohort's rows with the law's columns.
    pub sql: String,
    /// Cut of the inputs it was asked at.
    pub cut: Vec<Place>,
    /// Greatest append time that was seen, milliseconds since the epoch.
    pub asked_ms: i64,
    /// Seed, derived from the inputs.
    pub seed: u64,
    /// The rows as of the cut, in order of run id.
    pub rows: Vec<ExperimentRow>,
    /// The last fit, from which this one starts and which has to predict what is new.
    pub previous: Option<Previous>,
    /// Runs that finished since the last fit was asked for; of many the newest.
    pub fresh: Vec<String>,
}

/// What an ask carries of the last fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Previous {
    /// Identity of the fit.
    pub fit_id: String,
    /// Its parameters.
    pub parameters: std::collections::BTreeMap<String, f64>,
    /// The whole fit as JSON; empty where it was refused.
    pub fit_json: String,
    /// State of the monitor that asks whether the law holds, as JSON; empty where it has not begun.
    pub drift_json: String,
    /// End of its window, where that moves.
    pub window_end: Option<i64>,
    /// Digest of its rows.
    pub data_digest: String,
}

/// What a task remembers: one entry of one table, or its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Table.
    pub table: &'static str,
    /// Key within the table.
    pub key: String,
    /// MessagePack with named fields; none removes the key.
    pub value: Option<Vec<u8>>,
}

/// Collects what a batch causes.
#[derive(Debug, Default)]
pub struct Emit {
    emitted: Vec<Emitted>,
    /// Outputs before this one have their origins.
    attached: usize,
    traceparent: Option<String>,
    urgent: bool,
    /// Events seen before and passed over since the last [`Emit::take`].
    pub duplicates: u64,
}

impl Emit {
    /// Names the trace that the following outputs belong to.
    pub fn trace(&mut self, traceparent: Option<&str>) {
        self.traceparent = traceparent.map(str::to_owned);
    }

    /// Adds an output.
    pub fn put(&mut self, output: Output) {
        self.emitted.push(Emitted {
            output,
            traceparent: self.traceparent.clone(),
            urgent: false,
        });
    }

    /// Adds an output that ends the batch at once.
    pub fn put_urgent(&mut self, output: Output) {
        self.urgent = true;
        self.emitted.push(Emitted {
            output,
            traceparent: self.traceparent.clone(),
            urgent: true,
        });
    }

    /// The trace named last.
    #[must_use]
    pub fn current_trace(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// True once something urgent was put.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// Outputs so far.
    #[must_use]
    pub fn outputs(&self) -> &[Emitted] {
        &self.emitted
    }

    /// Gives each dead letter that has none yet the record it came with; called after each record.
    pub fn attach(&mut self, origin: impl Fn() -> Origin) {
        for emitted in &mut self.emitted[self.attached..] {
            if let Output::Dead(dead) = &mut emitted.output
                && dead.origin.is_none()
            {
                dead.origin = Some(Box::new(origin()));
            }
        }
        self.attached = self.emitted.len();
    }

    /// Takes everything out, ready for the next batch.
    pub fn take(&mut self) -> Vec<Emitted> {
        self.urgent = false;
        self.traceparent = None;
        self.attached = 0;
        self.duplicates = 0;
        std::mem::take(&mut self.emitted)
    }
}

/// The state of one task: what a shell needs to keep, restore and bound it.
pub trait Remember {
    /// The changes of the batch so far, table by table in key order. They *are* the changelog write.
    fn changes(&mut self) -> Vec<Change>;
    /// Makes the batch's changes the state: called when they are committed.
    fn merge(&mut self);
    /// Forgets the batch's changes: called when the transaction is aborted.
    fn discard(&mut self);
    /// Takes one entry of the changelog; the only other way in.
    fn restore(&mut self, table: &str, key: &str, value: Option<&[u8]>) -> Result<(), String>;
    /// Why something that was restored could not be opened when it was asked for; the batch in which it was must not be committed.
    fn unreadable(&self) -> Option<&str> {
        None
    }
    /// Bytes that the committed tables hold: ids as in memory, values as in the changelog, where an open one takes several times that.
    fn bytes(&self) -> u64;
}

/// The canonical contract JSON of an event: members in the schema's order, defaults left out.
#[must_use]
pub fn canonical(payload: &cairn_avro::record::Payload) -> Vec<u8> {
    // A payload that was decoded encodes again; were that ever untrue, its debug form still tells events apart.
    cairn_avro::json::canonical_payload(payload)
        .unwrap_or_else(|_| format!("{payload:?}"))
        .into_bytes()
}

/// What fits into [`Text::fallback`]: at most 160 characters, the last one an ellipsis where something was cut.
pub fn short(text: &str) -> String {
    if text.chars().count() <= 160 {
        return text.to_owned();
    }
    text.chars().take(159).chain(['…']).collect()
}
