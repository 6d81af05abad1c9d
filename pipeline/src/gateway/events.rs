//! `POST /v1/events`: contract JSON, one object a line, or an Avro file, into ingress topics.
//!
//! A thread of its own owns the session, since a session is no thing to share; requests wait for it in a bounded queue, and
//! those that wait go into one transaction. Either all valid lines of a request are in the log when it is answered, or none
//! is. A line that is not valid is named in the answer and, like everywhere, becomes a dead letter.

use super::answers::Refused;
use super::bodies::{self, Event, Item, Shape};
use super::callers::Caller;
use super::keys::{self, Kept, Keys};
use crate::config::Config;
use crate::connect::Place;
use crate::ingest::format::{Position, Reject};
use crate::ingest::{Origin, Sealer, fits};
use crate::metrics::{Metrics, wall_time_ms};
use crate::redaction::Redaction;
use crate::runtime::encode::Encoder;
use crate::seal::Recipient;
use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use cairn_bus::{Fault, Membership, Offsets, Outgoing, Session, TopicState};
use cairn_operators::admit::{self, Received, Rejection};
use cairn_operators::redact::Tally;
use cairn_topics::Keyed as _;
use cairn_topics::handle::{DEADLETTER, INGEST_PROGRESS};
use cairn_topics::{ingress_name, run_key};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use tokio::sync::oneshot;

/// The route, which is also where its dead letters and keys say that they come from.
pub(super) const PATH: &str = "POST /v1/events";
/// Most faults named in one answer.
const FAULTS_MAX: usize = 20;
/// What `admit.sources_allowed` calls requests.
const SOURCE: &str = "gateway";
/// Says that an answer is that of an earlier request with the same key.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What a request brings.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) caller: Caller,
    pub(super) body: Bytes,
    pub(super) shape: Shape,
    pub(super) key: Option<String>,
    pub(super) traceparent: Option<String>,
}

struct Request {
    sent: Sent,
    reply: oneshot::Sender<Result<Taken, Refused>>,
}

/// What became of a request's lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    accepted: u64,
    rejected: u64,
    /// Line and what is wrong with it.
    faults: Vec<(u64, Rejection)>,
    /// Nothing was added: an earlier request with the same key had it.
    replayed: bool,
}

impl IntoResponse for Taken {
    fn into_response(self) -> Response {
        let faults: Vec<_> = self
            .faults
            .iter()
            .map(|(line, fault)| json!({"line": line, "class": fault.class, "text": fault.text}))
            .collect();
        let body = json!({"accepted": self.accepted, "rejected": self.rejected, "errors": faults});
        let status = if self.accepted == 0 && self.rejected > 0 {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::OK
        };
        let mut response = (status, axum::Json(body)).into_response();
        if self.replayed {
            let headers = response.headers_mut();
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

/// The way to the writer's thread.
#[derive(Clone)]
pub(super) struct Inbox(SyncSender<Request>);

impl Inbox {
    /// Hands over a request and waits for the commit.
    pub(super) async fn take(&self, sent: Sent) -> Response {
        let (reply, answer) = oneshot::channel();
        match self.0.try_send(Request { sent, reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Refused::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "busy",
                    "the queue is full",
                    "gateway.queue_requests_max",
                    "send it again after Retry-After seconds; nothing was taken",
                )
                .into_response();
            }
            Err(TrySendError::Disconnected(_)) => {
                return Refused::unreachable("the writer has stopped").into_response();
            }
        }
        match answer.await {
            Ok(Ok(taken)) => taken.into_response(),
            Ok(Err(refused)) => refused.into_response(),
            Err(_) => Refused::unreachable("the writer has stopped").into_response(),
        }
    }
}

/// Starts the writer's thread; it opens its session with the first request.
pub(super) fn start(
    config: &Config,
    place: &Place,
    metrics: Arc<Metrics>,
    instance: &str,
) -> Inbox {
    let (inbox, requests) = sync_channel(config.gateway.queue_requests_max);
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
    /// Read when the first request with a key comes.
    keys: Option<Keys>,
}

impl Writer {
    fn work(mut self, requests: &Receiver<Request>) {
        while let Ok(first) = requests.recv() {
            let mut bytes = first.sent.body.len();
            let mut batch = vec![first];
            while bytes < self.config.gateway.batch_bytes_max
                && let Ok(next) = requests.try_recv()
            {
                bytes += next.sent.body.len();
                batch.push(next);
            }
            let (sent, replies): (Vec<Sent>, Vec<_>) = batch
                .into_iter()
                .map(|request| (request.sent, request.reply))
                .unzip();
            let answers = self.write(&sent).unwrap_or_else(|fault| {
                // Whatever it was: a new session fences what this one left open.
                self.open = None;
                let refused = Refused::unreachable(fault.to_string());
                sent.iter().map(|_| Err(refused.clone())).collect()
            });
            for (reply, answer) in replies.into_iter().zip(answers) {
                // A client that has gone has its answer in the log.
                drop(reply.send(answer));
            }
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
            keys: None,
        })
    }

    /// Writes what requests bring in one transaction; an answer for each.
    fn write(&mut self, batch: &[Sent]) -> Result<Vec<Result<Taken, Refused>>, Fault> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open()?,
        };
        let answers = self.written(&mut open, batch)?;
        self.open = Some(open);
        Ok(answers)
    }

    fn written(
        &self,
        open: &mut Open,
        batch: &[Sent],
    ) -> Result<Vec<Result<Taken, Refused>>, Fault> {
        let mut answers = Vec::with_capacity(batch.len());
        let mut out = Records::default();
        let mut kept = Vec::new();
        for sent in batch {
            let known = match &sent.key {
                Some(key) => Some(self.known(open, sent, key, &kept)?),
                None => None,
            };
            let mut records = Records::default();
            let answer = match &known {
                Some(Known::Other(refused)) => Err(refused.clone()),
                _ => self.judged(open, sent, &mut records)?,
            };
            answers.push(match (answer, known) {
                (Ok(taken), Some(Known::Same(before))) => Ok(Taken {
                    accepted: before.accepted,
                    rejected: before.rejected,
                    replayed: true,
                    ..taken
                }),
                (Ok(taken), Some(Known::New(name, body_sha256))) => {
                    let said = Kept {
                        body_sha256,
                        accepted: taken.accepted,
                        rejected: taken.rejected,
                    };
                    let tenant = &sent.caller.tenant;
                    kept.push(keys::progress(tenant, &name, &said, sent.body.len()));
                    out.append(records);
                    Ok(taken)
                }
                (Ok(taken), _) => {
                    out.append(records);
                    Ok(taken)
                }
                (Err(refused), _) => Err(refused),
            });
        }
        self.keep(open, kept, &mut out.records)?;
        if !out.records.is_empty() {
            for record in out.records {
                open.session.send(record)?;
            }
            open.session.commit(&Offsets::new())?;
        }
        self.metrics.redacted(&out.tally);
        for (class, letters) in out.classes {
            self.metrics.dead_letters("gateway", class, letters);
        }
        Ok(answers)
    }

    /// What is known of a request's key.
    fn known(
        &self,
        open: &mut Open,
        sent: &Sent,
        key: &str,
        batch: &[cairn_avro::record::IngestProgress],
    ) -> Result<Known, Fault> {
        if open.keys.is_none() {
            let partitions = open
                .topics
                .get(INGEST_PROGRESS.name)
                .map_or(0, |state| state.partitions);
            open.keys = Some(Keys::read(open.session.as_mut(), partitions)?);
        }
        let name = keys::name(&sent.caller.tenant, key);
        // the type is part of what was sent: the same bytes are other events under another
        let mut digest = Sha256::new();
        digest.update(format!("{:?}\n", sent.shape));
        digest.update(&sent.body);
        let body_sha256 = format!("{:x}", digest.finalize());
        let pending = batch
            .iter()
            .find(|progress| progress.source_id == name)
            .map(keys::kept);
        let before = pending.or_else(|| open.keys.as_ref()?.get(&name).cloned());
        Ok(match before {
            None => Known::New(name, body_sha256),
            Some(before) if before.body_sha256 == body_sha256 => Known::Same(before),
            Some(_) => Known::Other(Refused::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key",
                "the key was used for another body",
                "header Idempotency-Key",
                "use a new key for a new body; nothing was taken",
            )),
        })
    }

    /// Remembers keys, and forgets old ones, in the transaction of `out`.
    fn keep(
        &self,
        open: &mut Open,
        kept: Vec<cairn_avro::record::IngestProgress>,
        out: &mut Vec<Outgoing>,
    ) -> Result<(), Fault> {
        let Some(keys) = open.keys.as_mut().filter(|_| !kept.is_empty()) else {
            return Ok(());
        };
        let gateway = &self.config.gateway;
        let now = wall_time_ms();
        for progress in &kept {
            let (partition_key, key) = (progress.partition_key(), progress.record_key());
            out.push(
                open.encoder
                    .avro(INGEST_PROGRESS.name, &partition_key, &key, progress)?,
            );
            keys.put(now, progress);
        }
        let age_ms = i64::try_from(gateway.idempotency_s.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let before_ms = now.saturating_sub(age_ms);
        for (tenant, source_id) in keys.forget(before_ms, gateway.idempotency_keys_max) {
            let gone = cairn_avro::record::IngestProgress {
                tenant,
                source_id,
                ..cairn_avro::record::IngestProgress::default()
            };
            let (partition_key, key) = (gone.partition_key(), gone.record_key());
            let record = open
                .encoder
                .avro(INGEST_PROGRESS.name, &partition_key, &key, &gone)?;
            out.push(Outgoing {
                value: None,
                ..record
            });
        }
        Ok(())
    }

    /// Judges what a request brings; its records are ready to be sent.
    fn judged(
        &self,
        open: &Open,
        sent: &Sent,
        records: &mut Records,
    ) -> Result<Result<Taken, Refused>, Fault> {
        let most = self.config.gateway.decoded_bytes_max;
        let body = match bodies::decoded(&sent.body, sent.shape.coding, most) {
            Ok(body) => body,
            Err(refused) => return Ok(Err(refused)),
        };
        let judged = Judged {
            config: &self.config,
            redaction: &self.redaction,
            recipient: &open.recipient,
            encoder: &open.encoder,
            topics: &open.topics,
            tenant: &sent.caller.tenant,
            traceparent: sent.traceparent.as_deref(),
        };
        let mut taken = Taken::default();
        let mut fault = None;
        let mut forbidden = BTreeSet::new();
        let read = bodies::items(sent.shape.kind, &body, most, &mut |item| {
            let topic = item.topic();
            if !sent.caller.may_send_to(&topic) {
                forbidden.insert(topic);
                return Ok(());
            }
            match judged.item(item, &mut records.tally) {
                Ok((record, None)) => {
                    taken.accepted += 1;
                    records.records.push(record);
                }
                Ok((record, Some((number, rejection)))) => {
                    taken.rejected += 1;
                    *records.classes.entry(rejection.class).or_default() += 1;
                    records.records.push(record);
                    if taken.faults.len() < FAULTS_MAX {
                        taken.faults.push((number, rejection));
                    }
                }
                Err(wrong) => {
                    fault = Some(wrong);
                    return Err(Refused::unreachable(""));
                }
            }
            Ok(())
        });
        if let Some(fault) = fault {
            return Err(fault);
        }
        if let Err(refused) = read {
            return Ok(Err(refused));
        }
        if !forbidden.is_empty() {
            let topics = forbidden.into_iter().collect::<Vec<_>>().join(", ");
            return Ok(Err(Refused::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                format!("the token may not send to {topics}"),
                "gateway.tokens",
                "leave those events out, or add the topics to the token; nothing was taken",
            )));
        }
        Ok(Ok(taken))
    }
}

/// What goes into a transaction, and what is counted once it is committed.
#[derive(Default)]
struct Records {
    records: Vec<Outgoing>,
    tally: Tally,
    classes: BTreeMap<&'static str, u64>,
}

impl Records {
    fn append(&mut self, mut other: Self) {
        self.records.append(&mut other.records);
        self.tally.merge(&other.tally);
        for (class, letters) in other.classes {
            *self.classes.entry(class).or_default() += letters;
        }
    }
}

/// What is known of a key.
enum Known {
    /// Nothing: its name, and the digest of the body.
    New(String, String),
    /// It was used for this body.
    Same(Kept),
    /// It was used for another one.
    Other(Refused),
}

/// Lines of one request, with what it takes to judge and to keep them.
struct Judged<'a> {
    config: &'a Config,
    redaction: &'a Redaction,
    recipient: &'a Recipient,
    encoder: &'a Encoder,
    topics: &'a BTreeMap<String, TopicState>,
    tenant: &'a str,
    traceparent: Option<&'a str>,
}

/// A record, and where it is a dead letter, which item died of what.
type Verdict = (Outgoing, Option<(u64, Rejection)>);

impl Judged<'_> {
    /// The record of an item; a fault where it cannot be told now.
    fn item(&self, item: Item, tally: &mut Tally) -> Result<Verdict, Fault> {
        let (number, topic) = (item.number, item.topic());
        let position = Position {
            line: number,
            byte: item.byte,
        };
        let judged = match item.read {
            Ok(event) => self.event(event, tally)?,
            Err(rejection) => Err(rejection),
        };
        Ok(match judged {
            Ok(record) => (record, None),
            Err(mut rejection) => {
                // the answer is kept by clients, and may quote the line
                let text = self.redaction.message(self.tenant, &rejection.text);
                rejection.text = text.into_owned();
                let letter = self.dead(&item.original, topic, position, &rejection)?;
                (letter, Some((number, rejection)))
            }
        })
    }

    /// The record of an event, or why it can never be one.
    fn event(&self, event: Event, tally: &mut Tally) -> Result<Result<Outgoing, Rejection>, Fault> {
        let rules = &self.config.admit;
        let received = Received {
            family_topic: event.topic,
            source: Some(SOURCE),
            size_bytes: None,
            time_ms: wall_time_ms(),
        };
        let mut payload = match admit::judge(rules, &received, Ok(event.payload)) {
            Ok(payload) => payload,
            Err(rejection) => return Ok(Err(rejection)),
        };
        self.redaction.payload(self.tenant, &mut payload, tally);
        let topic = ingress_name(self.tenant, event.topic);
        let key = run_key(self.tenant, payload.run_id());
        let mut record = self.encoder.payload(&topic, &key, &payload)?;
        let mut header = |name: &str, value: &str| {
            record
                .headers
                .push((name.to_owned(), value.as_bytes().to_vec()));
        };
        if let Some(event_id) = &event.event_id {
            header("event_id", &self.redaction.message(self.tenant, event_id));
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
    fn dead(
        &self,
        line: &[u8],
        topic: String,
        position: Position,
        fault: &Rejection,
    ) -> Result<Outgoing, Fault> {
        let reject = Reject {
            class: fault.class,
            text: format!("line {} of a request: {}", position.line, fault.text),
            topic,
            position,
            original: line.to_vec(),
        };
        let origin = Origin {
            path: PATH,
            format: "jsonl",
            run_id: "",
            replay_of: None,
        };
        let sealer = Sealer {
            tenant: self.tenant,
            operator: "gateway",
            recipient: self.recipient,
            excerpt_chars_max: self.config.deadletter.excerpt_chars_max,
            redaction: self.redaction,
            traceparent: self.traceparent,
        };
        let letter = sealer.letter(&reject, &origin).map_err(unsealable)?;
        let key = run_key(self.tenant, &letter.deadletter_id);
        self.encoder
            .avro(DEADLETTER.name, self.tenant, &key, &letter)
    }
}

fn unsealable(error: impl std::fmt::Display) -> Fault {
    Fault::Config(format!(
        "deadletter.recipient: {error}; `cairn init` makes a new key"
    ))
}

#[cfg(test)]
mod tests;
