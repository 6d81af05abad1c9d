//! Lets events in: valid, allowed, redacted, of a known tenant, packed by run.
//!
//! Stateless but for the guards that are open (`guarding`), which lie in a topic of their own. Its input is what ingress topics carry once the shell has resolved the frame; its output is `runs.events`,
//! placed by our own partitioner because stock clients hash keys differently (DESIGN §3.2), and a dead letter for what
//! cannot be taken. It trusts nothing of the payload: the tenant comes from the topic, ids from a header or from the
//! content itself.

mod check;
mod guarding;
mod id;
mod judge;

pub use check::{ID_BYTES_MAX, Rejection, check};
pub use guarding::{GuardRules, Hold};
pub use id::{event_id, from_header};
pub use judge::{Received, judge, oversized};

use crate::guards::Book;
use crate::operator::{At, Dead, Emit, Output};
use crate::redact::{Harmless, Redactor, Tally};
use cairn_avro::record::{Guard, Offset, Payload, RunEvent, RunEvents};
use guarding::{Guarding, Seen};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is let in; every limit has its name and default here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdmitRules {
    /// Names allowed in the free `metrics` maps, `*` at an end standing for anything; empty lets all in.
    pub metrics_allowed: Vec<String>,
    /// Values of the header `source` that may send, `TOPIC=PATTERN` for one topic alone, `*` at an end standing for anything; empty
    /// lets all in, otherwise a record without it is denied. A file is the source `ingest`, a request `gateway`.
    pub sources_allowed: Vec<String>,
    /// Fields that may hold free text, as `TOPIC.FIELD` (such as `safety.results.finding`), `*` at an end standing for anything; empty
    /// names all. Text of another one is replaced whole by a pseudonym.
    pub text_allowed: Vec<String>,
    /// Data sets that a run's mix may name; empty lets all in.
    pub datasets_allowed: Vec<String>,
    /// Most bytes of one ingress record. Kafka's own default is 1 MiB; a telemetry event is about 100 bytes.
    pub record_bytes_max: u64,
    /// Most events packed into one record of `runs.events`: bounds what one bad record can hold up.
    pub packed_events_max: usize,
    /// Most bytes of ingress that are packed into one record of runs.events; a larger event is alone in its own. A quarter of
    /// a MiB: JSON may grow threefold as Avro, and a record stays below a MiB all the same.
    pub packed_bytes_max: u64,
    /// Most entries of a free `metrics` map.
    pub metrics_max: usize,
    /// How far ahead of its append time an event may claim to be: clocks of training machines are off by seconds.
    pub future_cap_ms: i64,
    /// When a bad deploy stops a source or a topic.
    pub guards: GuardRules,
}

impl Default for AdmitRules {
    fn default() -> Self {
        Self {
            metrics_allowed: Vec::new(),
            sources_allowed: Vec::new(),
            text_allowed: Vec::new(),
            datasets_allowed: Vec::new(),
            record_bytes_max: 1 << 20,
            packed_events_max: 500,
            packed_bytes_max: 256 << 10,
            metrics_max: 256,
            future_cap_ms: 300_000,
            guards: GuardRules::default(),
        }
    }
}

/// One ingress record, its frame resolved by the shell.
#[derive(Clone, Debug)]
pub struct Ingress<'a> {
    /// Tenant, from the topic's prefix or the token.
    pub tenant: &'a str,
    /// Topic name without the tenant's prefix.
    pub family_topic: &'a str,
    /// Header `event_id`.
    pub event_id: Option<&'a str>,
    /// Header `traceparent`.
    pub traceparent: Option<&'a str>,
    /// Header `source`.
    pub source: Option<&'a str>,
    /// The record's key, where it is text: who sends, where no header says it.
    pub key: Option<&'a str>,
    /// Id of the schema in its frame; none for JSON.
    pub schema_id: Option<u32>,
    /// Size of the value.
    pub size_bytes: u64,
    /// What the value says, or why it says nothing.
    pub payload: Result<Payload, Rejection>,
}

/// Events of one run on their way into one record.
#[derive(Debug, Default)]
struct Pack {
    events: Vec<RunEvent>,
    /// Bytes that they had on ingress.
    bytes: u64,
}

/// The core. It holds the events of the batch until [`Admit::flush`] packs them.
pub struct Admit {
    rules: AdmitRules,
    redactor: Arc<Redactor>,
    guarding: Guarding,
    /// By tenant and run.
    pending: BTreeMap<String, BTreeMap<String, Pack>>,
    /// Places redacted in the batch.
    redacted: Tally,
    /// Names in which nothing was found.
    harmless: Harmless,
}

impl Admit {
    /// A core with these rules.
    #[must_use]
    pub fn new(rules: AdmitRules, redactor: Arc<Redactor>) -> Self {
        Self {
            guarding: Guarding::new(rules.guards.clone()),
            rules,
            redactor,
            pending: BTreeMap::new(),
            redacted: Tally::default(),
            harmless: Harmless::default(),
        }
    }

    /// Takes one ingress record.
    pub fn apply(&mut self, at: &At<'_>, ingress: Ingress<'_>, emit: &mut Emit) {
        let Ingress {
            tenant,
            family_topic,
            event_id: given_id,
            traceparent,
            source,
            key,
            schema_id,
            size_bytes,
            payload,
        } = ingress;
        let received = Received {
            family_topic,
            source,
            size_bytes: Some(size_bytes),
            time_ms: at.append_time_ms,
        };
        let judged = judge(&self.rules, &received, payload);
        // Who sends is only told where something is wrong, and what is told is redacted like everything.
        let sender = match source.or(key) {
            Some(name) if judged.is_err() || !self.guarding.is_quiet() => {
                Some(self.redactor.message(tenant, name, &mut self.redacted))
            }
            _ => None,
        };
        let sender = sender.as_deref();
        let seen = Seen {
            tenant,
            source: sender,
            schema_id,
            class: judged.as_ref().err().map(|rejection| rejection.class),
        };
        let judged = match judged {
            Ok(_) if self.guarding.is_quarantined(tenant, sender) => Err(quarantined(sender)),
            judged => judged,
        };
        self.guarding.see(at, &seen, emit);
        match judged {
            Ok(mut payload) => {
                self.redactor.payload_after(
                    tenant,
                    &mut payload,
                    &mut self.redacted,
                    &mut self.harmless,
                );
                let event = RunEvent {
                    event_id: event_id(tenant, family_topic, given_id, &payload).to_vec(),
                    attempt: payload.attempt(),
                    clock: clock(&payload),
                    received_time_ms: at.append_time_ms,
                    topic: family_topic.to_owned(),
                    source: Some(Offset {
                        topic: at.topic.to_owned(),
                        partition: at.partition,
                        offset: at.offset,
                    }),
                    traceparent: traceparent
                        .filter(|value| is_traceparent(value))
                        .map(str::to_owned),
                    payload,
                };
                self.pack(tenant, event, size_bytes, emit);
            }
            Err(rejection) => {
                // The reason may quote what it is about.
                let text = self
                    .redactor
                    .message(tenant, &rejection.text, &mut self.redacted)
                    .into_owned();
                emit.trace(traceparent);
                emit.put(Output::Dead(Dead {
                    tenant: tenant.to_owned(),
                    class: rejection.class,
                    text,
                    topic: family_topic.to_owned(),
                    original: None,
                    event_id: given_id.map(|id| id::from_header(tenant, id).to_vec()),
                    origin: None,
                }));
                emit.trace(None);
            }
        }
    }

    /// Puts an event into its run's pack; what would make that too large is given out first.
    fn pack(&mut self, tenant: &str, event: RunEvent, size_bytes: u64, emit: &mut Emit) {
        if !self.pending.contains_key(tenant) {
            self.pending.insert(tenant.to_owned(), BTreeMap::new());
        }
        let Some(runs) = self.pending.get_mut(tenant) else {
            return;
        };
        let run_id = event.payload.run_id();
        if !runs.contains_key(run_id) {
            runs.insert(run_id.to_owned(), Pack::default());
        }
        let Some(pack) = runs.get_mut(run_id) else {
            return;
        };
        if pack.bytes.saturating_add(size_bytes) > self.rules.packed_bytes_max {
            put(tenant, run_id, std::mem::take(pack), emit);
        }
        pack.events.push(event);
        pack.bytes = pack.bytes.saturating_add(size_bytes);
        if pack.events.len() >= self.rules.packed_events_max
            && let Some(first) = pack.events.first()
        {
            let run_id = first.payload.run_id().to_owned();
            put(tenant, &run_id, std::mem::take(pack), emit);
        }
    }

    /// Packs what the batch let in; called once before each commit.
    pub fn flush(&mut self, emit: &mut Emit) {
        for (tenant, runs) in std::mem::take(&mut self.pending) {
            for (run_id, pack) in runs {
                put(&tenant, &run_id, pack, emit);
            }
        }
    }

    /// Forgets the batch, when its transaction was aborted.
    pub fn discard(&mut self) {
        self.pending.clear();
        self.redacted = Tally::default();
        self.guarding.discard();
    }

    /// The batch is committed.
    pub fn merge(&mut self) {
        self.guarding.merge();
    }

    /// What was redacted since this was asked last; asked once before each commit.
    pub fn take_redacted(&mut self) -> Tally {
        std::mem::take(&mut self.redacted)
    }

    /// The guards that are open.
    #[must_use]
    pub fn guards(&self) -> &Book {
        &self.guarding.book
    }

    /// The same, to take over what an earlier owner left open, and to close what is over.
    pub fn guards_mut(&mut self) -> &mut Book {
        &mut self.guarding.book
    }

    /// The topic that is not to be read from now on, once after the record that said so.
    pub fn take_hold(&mut self) -> Option<Hold> {
        self.guarding.take_hold()
    }

    /// The pause of a topic is over: some of its rows are tried.
    pub fn probe(&mut self, topic: &str) {
        self.guarding.probe(topic);
    }

    /// Somebody says that what the guard holds may go on.
    pub fn resume(&mut self, guard: &Guard, now_ms: i64, emit: &mut Emit) {
        self.guarding.resume(guard, now_ms, emit);
    }
}

fn quarantined(source: Option<&str>) -> Rejection {
    Rejection::new(
        "quarantined",
        format!(
            "the row is good, but its source {:?} is quarantined because too many others were bad; mend the source, resume it, \
             replay this",
            source.unwrap_or_default()
        ),
    )
}

/// Gives a pack out; an empty one is nothing.
fn put(tenant: &str, run_id: &str, pack: Pack, emit: &mut Emit) {
    if !pack.events.is_empty() {
        emit.put(Output::Events(RunEvents {
            tenant: tenant.to_owned(),
            run_id: run_id.to_owned(),
            events: pack.events,
        }));
    }
}

/// W3C Trace Context, version 00: `00-<32 hex>-<16 hex>-<2 hex>`, ids not all zero.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, length: usize| {
        part.len() == length
            && part
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let [version, trace, parent, flags] = parts.as_slice() else {
        return false;
    };
    *version == "00"
        && hex(trace, 32)
        && hex(parent, 16)
        && hex(flags, 2)
        && trace.bytes().any(|b| b != b'0')
        && parent.bytes().any(|b| b != b'0')
}

/// The step, else the event time: what orders an event within its run.
#[must_use]
pub fn clock(payload: &Payload) -> Option<i64> {
    payload.step().or_else(|| payload.event_time_ms())
}

#[cfg(test)]
mod tests;
