//! `POST /v1/events`: contract JSON, one object a line, into ingress topics.
//!
//! A thread of its own owns the session, since a session is no thing to share; requests wait for it in a bounded queue. One
//! request is one transaction: either all its valid lines are in the log when it is answered, or none is. A line that is not
//! valid is named in the answer and, like everywhere, becomes a dead letter.

use crate::config::Config;
use crate::connect::Place;
use crate::ingest::format::{self, Position, Reject};
use crate::ingest::{Origin, Sealer, fits};
use crate::metrics::{Metrics, wall_time_ms};
use crate::redaction::Redaction;
use crate::runtime::encode::Encoder;
use crate::seal::Recipient;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use cairn_bus::{Fault, Membership, Offsets, Outgoing, Session, TopicState};
use cairn_operators::admit::{self, Received, Rejection};
use cairn_operators::redact::Tally;
use cairn_topics::handle::DEADLETTER;
use cairn_topics::{ingress_name, run_key};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use tokio::sync::oneshot;

/// Requests that may wait; more are told to come back.
const QUEUE_MAX: usize = 64;
/// Most faults named in one answer.
const FAULTS_MAX: usize = 20;
/// What `admit.sources_allowed` calls requests.
const SOURCE: &str = "gateway";
/// Whose events they are, until the gateway knows its callers.
const TENANT: &str = cairn_topics::DEFAULT_TENANT;

struct Request {
    body: Bytes,
    traceparent: Option<String>,
    reply: oneshot::Sender<Result<Taken, Fault>>,
}

/// What became of a request's lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    accepted: u64,
    rejected: u64,
    /// Line and what is wrong with it.
    faults: Vec<(u64, Rejection)>,
}

/// The way to the writer's thread.
#[derive(Clone)]
pub(super) struct Inbox(SyncSender<Request>);

impl Inbox {
    /// Hands over a body and waits for the commit.
    pub(super) async fn take(&self, body: Bytes, traceparent: Option<String>) -> Response {
        let (reply, answer) = oneshot::channel();
        match self.0.try_send(Request {
            body,
            traceparent,
            reply,
        }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return (
                    StatusCode::TOO_MANY_REQUESTS,
                    [(header::RETRY_AFTER, "1")],
                    "the queue is full; come back in a second\n",
                )
                    .into_response();
            }
            Err(TrySendError::Disconnected(_)) => return unavailable("the writer has stopped"),
        }
        match answer.await {
            Ok(Ok(taken)) => {
                let faults: Vec<_> = taken
                    .faults
                    .iter()
                    .map(|(line, fault)| json!({"line": line, "class": fault.class, "text": fault.text}))
                    .collect();
                let body = json!({"accepted": taken.accepted, "rejected": taken.rejected, "errors": faults});
                let status = if taken.accepted == 0 && taken.rejected > 0 {
                    StatusCode::BAD_REQUEST
                } else {
                    StatusCode::OK
                };
                (status, axum::Json(body)).into_response()
            }
            Ok(Err(fault)) => unavailable(&fault.to_string()),
            Err(_) => unavailable("the writer has stopped"),
        }
    }
}

fn unavailable(why: &str) -> Response {
    let body = json!({"error": {"code": "unreachable", "message": why, "where": "log", "remedy": "send it again: nothing was taken"}});
    (
        StatusCode::SERVICE_UNAVAILABLE,
        [(header::RETRY_AFTER, "1")],
        axum::Json(body),
    )
        .into_response()
}

/// Starts the writer's thread; it opens its session with the first request.
pub(super) fn start(
    config: &Config,
    place: &Place,
    metrics: Arc<Metrics>,
    instance: &str,
) -> Inbox {
    let (inbox, requests) = sync_channel(QUEUE_MAX);
    let (config, place, instance) = (config.clone(), place.clone(), instance.to_owned());
    // The session is opened on the writer's thread and never leaves it.
    std::thread::spawn(move || {
        Writer {
            redaction: Redaction::of(&config),
            config,
            place,
            metrics,
            instance,
            open: None,
        }
        .work(&requests)
    });
    Inbox(inbox)
}

struct Writer {
    config: Config,
    redaction: Redaction,
    place: Place,
    metrics: Arc<Metrics>,
    instance: String,
    open: Option<Open>,
}

/// A session, and what records are made with while it lasts.
struct Open {
    session: Box<dyn Session>,
    encoder: Encoder,
    recipient: Recipient,
    topics: BTreeMap<String, TopicState>,
}

impl Writer {
    fn work(mut self, requests: &Receiver<Request>) {
        while let Ok(request) = requests.recv() {
            let result = self.write(&request.body, request.traceparent.as_deref());
            if result.is_err() {
                // Whatever it was: a new session fences what this one left open.
                self.open = None;
            }
            // A client that has gone has its answer in the log.
            drop(request.reply.send(result));
        }
    }

    fn open(&self) -> Result<Open, Fault> {
        let session = self.place.log.open(Membership {
            operator: "gateway".to_owned(),
            group: format!("{}.gateway", self.config.log.app_id),
            // Stable, never random (DESIGN §3.1): after a kill it fences what it left open, and nobody else's.
            instance: self.instance.clone(),
            thread: 0,
            topics: Vec::new(),
        })?;
        let topics = self.place.log.topics()?;
        let encoder = Encoder::new(
            self.place.registry.clone(),
            &topics,
            &self.config.deadletter,
            &self.redaction,
            self.metrics.clone(),
        )?;
        let recipient = self
            .config
            .deadletter
            .recipient
            .parse()
            .map_err(|error: crate::seal::SealError| unsealable(error))?;
        Ok(Open {
            session,
            encoder,
            recipient,
            topics,
        })
    }

    fn write(&mut self, body: &[u8], traceparent: Option<&str>) -> Result<Taken, Fault> {
        if self.open.is_none() {
            self.open = Some(self.open()?);
        }
        let Some(open) = &mut self.open else {
            return Err(Fault::Unknown("no session".to_owned()));
        };
        let judged = Judged {
            config: &self.config,
            redaction: &self.redaction,
            recipient: &open.recipient,
            encoder: &open.encoder,
            topics: &open.topics,
            traceparent,
        };
        let mut taken = Taken::default();
        let mut tally = Tally::default();
        let mut classes: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut byte = 0;
        for (number, line) in (1..).zip(body.split(|byte| *byte == b'\n')) {
            let position = Position { line: number, byte };
            byte += line.len() as u64 + 1;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match judged.event(line, &mut tally)? {
                Ok(record) => {
                    taken.accepted += 1;
                    open.session.send(record)?;
                }
                Err(mut fault) => {
                    taken.rejected += 1;
                    // the answer is kept by clients, and may quote the line
                    fault.text = self.redaction.message(TENANT, &fault.text).into_owned();
                    open.session.send(judged.dead(line, position, &fault)?)?;
                    *classes.entry(fault.class).or_default() += 1;
                    if taken.faults.len() < FAULTS_MAX {
                        taken.faults.push((number, fault));
                    }
                }
            }
        }
        open.session.commit(&Offsets::new())?;
        self.metrics.redacted(&tally);
        for (class, letters) in classes {
            self.metrics.dead_letters("gateway", class, letters);
        }
        Ok(taken)
    }
}

/// Lines of one request, with what it takes to judge and to keep them.
struct Judged<'a> {
    config: &'a Config,
    redaction: &'a Redaction,
    recipient: &'a Recipient,
    encoder: &'a Encoder,
    topics: &'a BTreeMap<String, TopicState>,
    traceparent: Option<&'a str>,
}

impl Judged<'_> {
    /// The record of a line, or why it can never be one; a fault where it cannot be told now.
    fn event(&self, line: &[u8], tally: &mut Tally) -> Result<Result<Outgoing, Rejection>, Fault> {
        let rules = &self.config.admit;
        let parsed = match cairn_avro::json::line(line) {
            Ok(parsed) => parsed,
            Err(fault) => return Ok(Err(Rejection::new(fault.class.code(), fault.text))),
        };
        let received = Received {
            family_topic: parsed.topic,
            source: Some(SOURCE),
            size_bytes: None,
            time_ms: wall_time_ms(),
        };
        let mut payload = match admit::judge(rules, &received, Ok(parsed.payload)) {
            Ok(payload) => payload,
            Err(rejection) => return Ok(Err(rejection)),
        };
        self.redaction.payload(TENANT, &mut payload, tally);
        let topic = ingress_name(TENANT, parsed.topic);
        let key = run_key(TENANT, payload.run_id());
        let mut record = self.encoder.payload(&topic, &key, &payload)?;
        let mut header = |name: &str, value: &str| {
            record
                .headers
                .push((name.to_owned(), value.as_bytes().to_vec()));
        };
        if let Some(event_id) = &parsed.event_id {
            header("event_id", &self.redaction.message(TENANT, event_id));
        }
        if !rules.sources_allowed.is_empty() {
            header("source", SOURCE);
        }
        if let Some(traceparent) = self.traceparent {
            header("traceparent", traceparent);
        }
        let most = self
            .topics
            .get(&topic)
            .map_or(usize::MAX, |state| state.max_message_bytes as usize);
        Ok(fits(rules, &record, most).map(|()| record))
    }

    /// The dead letter of a line: headed for the topic that it names, replayed as the line that it is.
    fn dead(&self, line: &[u8], position: Position, fault: &Rejection) -> Result<Outgoing, Fault> {
        let topic =
            format::topic_of(line).unwrap_or_else(|| cairn_avro::json::DEFAULT_TOPIC.to_owned());
        let reject = Reject {
            class: fault.class,
            text: format!("line {} of a request: {}", position.line, fault.text),
            topic,
            position,
            original: line.to_vec(),
        };
        let origin = Origin {
            path: "POST /v1/events",
            format: "jsonl",
            run_id: "",
            replay_of: None,
        };
        let sealer = Sealer {
            tenant: TENANT,
            operator: "gateway",
            recipient: self.recipient,
            excerpt_chars_max: self.config.deadletter.excerpt_chars_max,
            redaction: self.redaction,
            traceparent: self.traceparent,
        };
        let letter = sealer.letter(&reject, &origin).map_err(unsealable)?;
        let key = run_key(TENANT, &letter.deadletter_id);
        self.encoder.avro(DEADLETTER.name, TENANT, &key, &letter)
    }
}

fn unsealable(error: impl std::fmt::Display) -> Fault {
    Fault::Config(format!(
        "deadletter.recipient: {error}; `cairn init` makes a new key"
    ))
}

#[cfg(test)]
mod tests;
