//! `POST /v1/events`: contract JSON, one object a line, into ingress topics.
//!
//! A thread of its own owns the session, since a session is no thing to share; requests wait for it in a bounded queue. One
//! request is one transaction: either all its valid lines are in the log when it is answered, or none is. A line that is not
//! valid is named in the answer and, like everywhere, becomes a dead letter.

use crate::config::Config;
use crate::connect::Place;
use crate::metrics::Metrics;
use crate::metrics::wall_time_ms;
use crate::runtime::encode::Encoder;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use cairn_bus::{Fault, Membership, Offsets, Outgoing, Session};
use cairn_operators::admit::{self, Rejection};
use cairn_operators::operator::{Dead, Origin, Output, Place as LogPlace};
use cairn_topics::{ingress_name, run_key};
use serde_json::json;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use tokio::sync::oneshot;

/// Requests that may wait; more are told to come back.
const QUEUE_MAX: usize = 64;
/// Most faults named in one answer.
const FAULTS_MAX: usize = 20;

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
    faults: Vec<(usize, Rejection)>,
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
pub(super) fn start(config: &Config, place: &Place) -> Inbox {
    let (inbox, requests) = sync_channel(QUEUE_MAX);
    let (config, place) = (config.clone(), place.clone());
    // The session is opened on the writer's thread and never leaves it.
    std::thread::spawn(move || {
        Writer {
            config,
            place,
            open: None,
        }
        .work(&requests)
    });
    Inbox(inbox)
}

struct Writer {
    config: Config,
    place: Place,
    open: Option<(Box<dyn Session>, Encoder)>,
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

    fn write(&mut self, body: &[u8], traceparent: Option<&str>) -> Result<Taken, Fault> {
        if self.open.is_none() {
            let session = self.place.log.open(Membership {
                operator: "gateway".to_owned(),
                group: format!("{}.gateway", self.config.log.app_id),
                instance: format!("{}", std::process::id()),
                thread: 0,
                topics: Vec::new(),
            })?;
            let topics = self.place.log.topics()?;
            let metrics = Arc::new(Metrics::new());
            let encoder = Encoder::new(
                self.place.registry.clone(),
                &topics,
                &self.config.deadletter,
                metrics,
            )?;
            self.open = Some((session, encoder));
        }
        let Some((session, encoder)) = &mut self.open else {
            return Err(Fault::Unknown("no session".to_owned()));
        };
        let mut taken = Taken::default();
        for (number, line) in body.split(|byte| *byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match event(encoder, line, traceparent) {
                Ok(record) => {
                    taken.accepted += 1;
                    session.send(record?)?;
                }
                Err(fault) => {
                    taken.rejected += 1;
                    session.send(dead(encoder, line, number + 1, &fault)?)?;
                    if taken.faults.len() < FAULTS_MAX {
                        taken.faults.push((number + 1, fault));
                    }
                }
            }
        }
        session.commit(&Offsets::new())?;
        Ok(taken)
    }
}

fn event(
    encoder: &Encoder,
    line: &[u8],
    traceparent: Option<&str>,
) -> Result<Result<Outgoing, Fault>, Rejection> {
    let mut parsed = cairn_avro::json::line(line)
        .map_err(|fault| Rejection::new(fault.class.code(), fault.text))?;
    admit::check(parsed.topic, &mut parsed.payload)?;
    let tenant = cairn_topics::DEFAULT_TENANT;
    let key = run_key(tenant, parsed.payload.run_id());
    Ok(encoder
        .payload(&ingress_name(tenant, parsed.topic), &key, &parsed.payload)
        .map(|mut record| {
            if let Some(event_id) = parsed.event_id {
                record
                    .headers
                    .push(("event_id".to_owned(), event_id.into_bytes()));
            }
            if let Some(traceparent) = traceparent {
                record
                    .headers
                    .push(("traceparent".to_owned(), traceparent.as_bytes().to_vec()));
            }
            record
        }))
}

fn dead(
    encoder: &Encoder,
    line: &[u8],
    number: usize,
    fault: &Rejection,
) -> Result<Outgoing, Fault> {
    let dead = Dead {
        tenant: cairn_topics::DEFAULT_TENANT.to_owned(),
        class: fault.class,
        text: format!("line {number} of a request: {}", fault.text),
        topic: "telemetry.training".to_owned(),
        original: Some(line.to_vec()),
        event_id: None,
        origin: Some(Box::new(Origin {
            place: LogPlace {
                topic: "http".to_owned(),
                partition: 0,
                offset: 0,
            },
            append_time_ms: wall_time_ms(),
            key: None,
            value: None,
            headers: Vec::new(),
        })),
    };
    encoder.output("gateway", &Output::Dead(dead), None)
}
