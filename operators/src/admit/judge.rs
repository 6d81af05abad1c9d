//! May an event come in? One answer for `admit`, `cairn ingest` and the gateway, so that what these reject is final, and
//! what they accept is not refused behind their backs.
//!
//! It knows the rules, the record that an event came in and the time of its receipt; nothing of other events. What hangs on
//! a run's history (a step that leaps, a run that is forgotten) is for `runs` to say.

use super::AdmitRules;
use super::check::{Rejection, check};
use cairn_avro::record::Payload;

/// How an event was received.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Topic name without the tenant's prefix.
    pub family_topic: &'a str,
    /// Header `source`.
    pub source: Option<&'a str>,
    /// Size of the record's value; none where it is not a record yet, and [`oversized`] is asked when it is.
    pub size_bytes: Option<u64>,
    /// When, milliseconds since 1970: the append time of its record, or the wall time where it has none yet.
    pub time_ms: i64,
}

/// The event in its normal form, or why it may not come in.
///
/// # Errors
/// The first thing that is wrong, with the name of the member or the setting, and the remedy.
pub fn judge(
    rules: &AdmitRules,
    received: &Received<'_>,
    payload: Result<Payload, Rejection>,
) -> Result<Payload, Rejection> {
    if let Some(size_bytes) = received.size_bytes {
        oversized(rules, size_bytes)?;
    }
    let source = received.source.unwrap_or_default();
    if !may_send(&rules.sources_allowed, received.family_topic, source) {
        return Err(Rejection::new(
            "source_denied",
            format!(
                "source {source:?} may not send to {}: admit.sources_allowed does not name it; add it there if it may",
                received.family_topic
            ),
        ));
    }
    let mut payload = payload?;
    check(received.family_topic, &mut payload)?;
    allowed(rules, &payload)?;
    if let Some(event_time_ms) = payload.event_time_ms()
        && event_time_ms > received.time_ms.saturating_add(rules.future_cap_ms)
    {
        return Err(Rejection::new(
            "from_the_future",
            format!(
                "event_time_ms {event_time_ms} is {} ms ahead of the time it was received, more than \
                 admit.future_cap_ms = {}; set the sender's clock, or check the unit",
                event_time_ms.saturating_sub(received.time_ms),
                rules.future_cap_ms
            ),
        ));
    }
    Ok(payload)
}

/// Whether a value of this size may be a record of an ingress topic.
///
/// # Errors
/// It is larger than the limit.
pub fn oversized(rules: &AdmitRules, size_bytes: u64) -> Result<(), Rejection> {
    if size_bytes <= rules.record_bytes_max {
        return Ok(());
    }
    Err(Rejection::new(
        "oversized",
        format!(
            "the record has {size_bytes} bytes, more than admit.record_bytes_max = {}; split it, or raise the limit",
            rules.record_bytes_max
        ),
    ))
}

fn allowed(rules: &AdmitRules, payload: &Payload) -> Result<(), Rejection> {
    let metrics = match payload {
        Payload::TrainingTelemetry(event) => Some(&event.metrics),
        Payload::RuntimeTelemetry(event) => Some(&event.metrics),
        _ => None,
    };
    if let Some(metrics) = metrics {
        if metrics.len() > rules.metrics_max {
            return Err(Rejection::new(
                "out_of_range",
                format!(
                    "metrics has {} entries, more than admit.metrics_max = {}",
                    metrics.len(),
                    rules.metrics_max
                ),
            ));
        }
        if let Some(name) = metrics
            .keys()
            .find(|name| !names(&rules.metrics_allowed, name))
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
        && let Some(denied) = config
            .data_mix
            .iter()
            .find(|source| !names(&rules.datasets_allowed, &source.dataset))
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

/// True when a source may send to a topic: an entry is a pattern of sources, or `TOPIC=PATTERN` for some topics alone. An empty
/// list lets everybody send everywhere.
fn may_send(allowed: &[String], topic: &str, source: &str) -> bool {
    allowed.is_empty()
        || allowed.iter().any(|entry| match entry.split_once('=') {
            Some((topics, sources)) => matches(topics, topic) && matches(sources, source),
            None => matches(entry, source),
        })
}

/// True when an allow-list names the text; an empty list names everything.
fn names(allowed: &[String], text: &str) -> bool {
    allowed.is_empty() || allowed.iter().any(|pattern| matches(pattern, text))
}

/// True when `text` is `pattern`, or begins or ends as it does where it has a `*` at the other end.
fn matches(pattern: &str, text: &str) -> bool {
    match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(head), _) => text.starts_with(head),
        (None, Some(tail)) => text.ends_with(tail),
        (None, None) => pattern == text,
    }
}
