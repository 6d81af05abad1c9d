//! Lets events in: valid, allowed, redacted, of a known tenant, packed by run.
//!
//! Stateless. Its input is what ingress topics carry once the shell has resolved the frame; its output is `runs.events`,
//! placed by our own partitioner because stock clients hash keys differently (DESIGN §3.2), and a dead letter for what
//! cannot be taken. It trusts nothing of the payload: the tenant comes from the topic, ids from a header or from the
//! content itself.

mod check;
mod id;

pub use check::{ID_BYTES_MAX, Rejection, check};
pub use id::{event_id, from_header};

use crate::operator::{At, Dead, Emit, Output};
use cairn_avro::record::{Offset, Payload, RunEvent, RunEvents};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is let in; every limit has its name and default here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdmitRules {
    /// Names allowed in the free `metrics` maps, `*` at an end standing for anything; empty lets all in.
    pub metrics_allowed: Vec<String>,
    /// Values of the header `source` that may send; empty lets all in, otherwise a record without it is denied.
    pub sources_allowed: Vec<String>,
    /// Data sets that a run's mix may name; empty lets all in.
    pub datasets_allowed: Vec<String>,
    /// Most bytes of one ingress record. Kafka's own default is 1 MiB; a telemetry event is about 100 bytes.
    pub record_bytes_max: u64,
    /// Most events packed into one record of `runs.events`: bounds what one bad record can hold up.
    pub packed_events_max: usize,
    /// Most entries of a free `metrics` map.
    pub metrics_max: usize,
    /// How far ahead of its append time an event may claim to be: clocks of training machines are off by seconds.
    pub future_cap_ms: i64,
}

impl Default for AdmitRules {
    fn default() -> Self {
        Self {
            metrics_allowed: Vec::new(),
            sources_allowed: Vec::new(),
            datasets_allowed: Vec::new(),
            record_bytes_max: 1 << 20,
            packed_events_max: 500,
            metrics_max: 256,
            future_cap_ms: 300_000,
        }
    }
}

/// Takes personal data out of an event before anything keeps it. The ingest issue fills this in.
pub trait Redact {
    /// Redacts in place; answers how many places it changed.
    fn redact(&self, payload: &mut Payload) -> u64;
}

/// Leaves everything as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct RedactNothing;

impl Redact for RedactNothing {
    fn redact(&self, _payload: &mut Payload) -> u64 {
        0
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
    /// Size of the value.
    pub size_bytes: u64,
    /// What the value says, or why it says nothing.
    pub payload: Result<Payload, Rejection>,
}

/// The core. It holds the events of the batch until [`Admit::flush`] packs them.
pub struct Admit {
    rules: AdmitRules,
    redact: Box<dyn Redact>,
    pending: BTreeMap<(String, String), Vec<RunEvent>>,
    /// Places redacted since the start.
    pub redactions: u64,
}

impl Admit {
    /// A core with these rules.
    #[must_use]
    pub fn new(rules: AdmitRules, redact: Box<dyn Redact>) -> Self {
        Self {
            rules,
            redact,
            pending: BTreeMap::new(),
            redactions: 0,
        }
    }

    /// Takes one ingress record.
    pub fn apply(&mut self, at: &At<'_>, ingress: Ingress<'_>, emit: &mut Emit) {
        let Ingress {
            tenant,
            family_topic,
            event_id: given_id,
            traceparent,
            ..
        } = ingress;
        match self.judge(at, ingress) {
            Ok(payload) => {
                let run_id = payload.run_id().to_owned();
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
                let events = self
                    .pending
                    .entry((tenant.to_owned(), run_id.clone()))
                    .or_default();
                events.push(event);
                if events.len() >= self.rules.packed_events_max {
                    let events = std::mem::take(events);
                    emit.put(Output::Events(RunEvents {
                        tenant: tenant.to_owned(),
                        run_id,
                        events,
                    }));
                }
            }
            Err(rejection) => {
                emit.trace(traceparent);
                emit.put(Output::Dead(Dead {
                    tenant: tenant.to_owned(),
                    class: rejection.class,
                    text: rejection.text,
                    topic: family_topic.to_owned(),
                    original: None,
                    event_id: given_id.map(|id| id::from_header(tenant, id).to_vec()),
                    origin: None,
                }));
                emit.trace(None);
            }
        }
    }

    /// Packs what the batch let in; called once before each commit.
    pub fn flush(&mut self, emit: &mut Emit) {
        for ((tenant, run_id), events) in std::mem::take(&mut self.pending) {
            if !events.is_empty() {
                emit.put(Output::Events(RunEvents {
                    tenant,
                    run_id,
                    events,
                }));
            }
        }
    }

    /// Forgets the batch, when its transaction was aborted.
    pub fn discard(&mut self) {
        self.pending.clear();
    }

    fn judge(&mut self, at: &At<'_>, ingress: Ingress<'_>) -> Result<Payload, Rejection> {
        if ingress.size_bytes > self.rules.record_bytes_max {
            return Err(Rejection::new(
                "oversized",
                format!(
                    "the record has {} bytes, more than admit.record_bytes_max = {}; split it, or raise the limit",
                    ingress.size_bytes, self.rules.record_bytes_max
                ),
            ));
        }
        if !self.rules.sources_allowed.is_empty() {
            let source = ingress.source.unwrap_or_default();
            if !self
                .rules
                .sources_allowed
                .iter()
                .any(|pattern| matches(pattern, source))
            {
                return Err(Rejection::new(
                    "source_denied",
                    format!(
                        "header source={source:?} is not in admit.sources_allowed; add it there if it may send"
                    ),
                ));
            }
        }
        let mut payload = ingress.payload?;
        check(ingress.family_topic, &mut payload)?;
        self.allowed(&payload)?;
        if let Some(event_time_ms) = payload.event_time_ms()
            && event_time_ms > at.append_time_ms.saturating_add(self.rules.future_cap_ms)
        {
            return Err(Rejection::new(
                "from_the_future",
                format!(
                    "event_time_ms {event_time_ms} is {} ms ahead of the time it was received, more than \
                     admit.future_cap_ms = {}; set the sender's clock, or check the unit",
                    event_time_ms.saturating_sub(at.append_time_ms),
                    self.rules.future_cap_ms
                ),
            ));
        }
        self.redactions += self.redact.redact(&mut payload);
        Ok(payload)
    }

    fn allowed(&self, payload: &Payload) -> Result<(), Rejection> {
        let metrics = match payload {
            Payload::TrainingTelemetry(event) => Some(&event.metrics),
            Payload::RuntimeTelemetry(event) => Some(&event.metrics),
            _ => None,
        };
        if let Some(metrics) = metrics {
            if metrics.len() > self.rules.metrics_max {
                return Err(Rejection::new(
                    "out_of_range",
                    format!(
                        "metrics has {} entries, more than admit.metrics_max = {}",
                        metrics.len(),
                        self.rules.metrics_max
                    ),
                ));
            }
            if !self.rules.metrics_allowed.is_empty()
                && let Some(name) = metrics
                    .keys()
                    .find(|name| !self.rules.metrics_allowed.iter().any(|p| matches(p, name)))
            {
                return Err(Rejection::new(
                    "unknown_field",
                    format!(
                        "metrics.{name} is not in admit.metrics_allowed; add it there, or leave it out"
                    ),
                ));
            }
        }
        if let Payload::RunConfig(config) = payload
            && !self.rules.datasets_allowed.is_empty()
            && let Some(denied) = config.data_mix.iter().find(|source| {
                !self
                    .rules
                    .datasets_allowed
                    .iter()
                    .any(|p| matches(p, &source.dataset))
            })
        {
            return Err(Rejection::new(
                "source_denied",
                format!(
                    "data set {:?} is not in admit.datasets_allowed",
                    denied.dataset
                ),
            ));
        }
        Ok(())
    }
}

/// True when `text` is `pattern`, or begins or ends as it does where it has a `*` at the other end.
fn matches(pattern: &str, text: &str) -> bool {
    match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(head), _) => text.starts_with(head),
        (None, Some(tail)) => text.ends_with(tail),
        (None, None) => pattern == text,
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
