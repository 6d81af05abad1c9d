//! Outputs of cores to records: topic, partition, key, frame, headers, and the seal of dead letters.
//!
//! Where an output goes follows from its kind and the catalogue alone. JSON outputs are held to their schema here: one that
//! fails is kept as a dead letter and counted, and never published.

use crate::families::Families;
use crate::metrics::Metrics;
use crate::redaction::Redaction;
use crate::seal::{self, Recipient, SealError};
use cairn_avro::contract::{self, Record as AvroRecord};
use cairn_avro::record::{Answer, Change as ChangeRecord, Cut, DeadLetter, Offset, Tick};
use cairn_avro::{codec, frame, hex};
use cairn_bus::{Fault, Outgoing, SchemaRegistry, TopicState};
use cairn_operators::operator::{Change, Dead, Output, short};
use cairn_topics::Keyed as _;
use cairn_topics::{partition_of, run_key};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Version of this program, as dead letters name it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Version of the changelog's values.
pub(super) const STATE_VERSION: i32 = 1;

/// Turns outputs into records.
pub struct Encoder {
    registry: Arc<dyn SchemaRegistry>,
    partitions: BTreeMap<String, i32>,
    families: Families,
    ids: Mutex<BTreeMap<String, u32>>,
    telegram: jsonschema::Validator,
    board: jsonschema::Validator,
    recipient: Recipient,
    excerpt_chars_max: usize,
    redaction: Redaction,
    metrics: Arc<Metrics>,
}

impl Encoder {
    /// An encoder for the topics as they are.
    ///
    /// # Errors
    /// A recipient of dead letters that is none; a schema of the contract that does not compile, a bug of ours. Both are
    /// said at the start.
    pub fn new(
        registry: Arc<dyn SchemaRegistry>,
        topics: &BTreeMap<String, TopicState>,
        deadletter: &crate::config::DeadletterConfig,
        redaction: &Redaction,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Fault> {
        Ok(Self {
            registry,
            partitions: topics
                .iter()
                .map(|(name, state)| (name.clone(), state.partitions))
                .collect(),
            families: Families::default(),
            ids: Mutex::default(),
            telegram: validator("telegram")?,
            board: validator("board")?,
            recipient: deadletter.recipient.parse().map_err(unsealable)?,
            excerpt_chars_max: deadletter.excerpt_chars_max,
            redaction: redaction.clone(),
            metrics,
        })
    }

    /// The same encoder where fewer partitions of a family may be in use than there are.
    #[must_use]
    pub fn with_families(mut self, families: Families) -> Self {
        self.families = families;
        self
    }

    /// How many partitions are in use.
    #[must_use]
    pub fn families(&self) -> &Families {
        &self.families
    }

    /// Partitions of a topic, where it exists.
    #[must_use]
    pub fn partitions(&self, topic: &str) -> Option<i32> {
        self.partitions.get(topic).copied()
    }

    /// The record of an output.
    ///
    /// # Errors
    /// [`Fault::Unreachable`] where a schema must be registered and nobody answers; [`Fault::Config`] where it is refused or
    /// a topic does not exist.
    pub fn output(
        &self,
        operator: &str,
        output: &Output,
        traceparent: Option<&str>,
    ) -> Result<Outgoing, Fault> {
        let mut record = match output {
            Output::Events(events) => {
                let key = run_key(&events.tenant, &events.run_id);
                self.avro("runs.events", &key, &key, events)?
            }
            Output::Row(row) => self.avro(
                "experiments.rows",
                &row.tenant,
                &run_key(&row.tenant, &row.run_id),
                row,
            )?,
            Output::Window(window) => {
                let key = run_key(&window.tenant, &window.run_id);
                self.avro("runs.windows", &key, &key, window)?
            }
            Output::Verdict(verdict) => {
                let key = run_key(&verdict.tenant, &verdict.run_id);
                self.avro("breaker.verdicts", &key, &key, verdict)?
            }
            Output::Late(late) => {
                let key = run_key(&late.tenant, &late.run_id);
                self.avro("late", &key, &key, late)?
            }
            Output::Fit(fit) => {
                let key = format!("{}/{}", run_key(&fit.tenant, &fit.cohort), fit.law);
                self.avro("scaling.fits", &fit.tenant, &key, fit)?
            }
            Output::Telegram(telegram) => {
                let mut value = serde_json::to_value(telegram).unwrap_or_default();
                self.redaction.ours_json(&telegram.tenant, &mut value);
                if let Some(fallback) = value["text"]["fallback"].as_str() {
                    // a pseudonym may be longer than what it stands for
                    value["text"]["fallback"] = short(fallback).into();
                }
                self.json(
                    operator,
                    "cockpit.telegrams",
                    &telegram.tenant,
                    &telegram.tenant,
                    &value,
                    &self.telegram,
                )?
            }
            Output::Board {
                tenant,
                stream,
                snapshot,
            } => self.json(
                operator,
                "cockpit.board",
                tenant,
                &run_key(tenant, stream),
                snapshot,
                &self.board,
            )?,
            Output::Dead(dead) => self.dead(operator, dead)?,
            Output::Guard(guard, is_open) => {
                let key = guard.record_key();
                let guard = cairn_avro::record::Guard {
                    // a panic says what it met
                    text: self.redaction.ours(&guard.tenant, &guard.text).into_owned(),
                    ..guard.clone()
                };
                let mut record = self.avro("guards", &guard.tenant, &key, &guard)?;
                if !is_open {
                    record.value = None;
                }
                record
            }
            Output::Ask(ask) => {
                return Err(Fault::Config(format!(
                    "ask {} was to be sent as a record; asks go to the executor",
                    ask.ask_id
                )));
            }
        };
        if let Some(traceparent) = traceparent {
            record
                .headers
                .push(("traceparent".to_owned(), traceparent.as_bytes().to_vec()));
        }
        Ok(record)
    }

    /// The record of an answer.
    ///
    /// # Errors
    /// See [`Encoder::output`].
    pub fn answer(&self, answer: &Answer) -> Result<Outgoing, Fault> {
        self.avro("answers", &answer.tenant, &answer.tenant, answer)
    }

    /// The changelog's record of a change.
    ///
    /// # Errors
    /// See [`Encoder::output`].
    pub fn change(
        &self,
        changelog: &Arc<str>,
        partition: i32,
        change: Change,
    ) -> Result<Outgoing, Fault> {
        let key = format!("{}\0{}", change.table, change.key).into_bytes();
        let value = match change.value {
            None => None,
            Some(value) => {
                let record = ChangeRecord {
                    table: change.table.to_owned(),
                    version: STATE_VERSION,
                    value,
                };
                Some(self.frame(changelog, &record)?)
            }
        };
        Ok(Outgoing {
            topic: changelog.clone(),
            partition,
            key: Some(key),
            value,
            headers: Vec::new(),
        })
    }

    /// The record of a cut.
    ///
    /// # Errors
    /// See [`Encoder::output`].
    pub fn cut(&self, family: &str, cut: &Cut) -> Result<Outgoing, Fault> {
        let topic: Arc<str> = format!("cuts.{family}").into();
        let value = self.frame(&topic, cut)?;
        let key = cut.operator.clone().into_bytes();
        Ok(Outgoing {
            topic,
            partition: cut.partition,
            key: Some(key),
            value: Some(value),
            headers: Vec::new(),
        })
    }

    /// The record of a tick.
    ///
    /// # Errors
    /// See [`Encoder::output`].
    pub fn tick(&self, topic: &Arc<str>, partition: i32, tick: &Tick) -> Result<Outgoing, Fault> {
        let value = self.frame(topic, tick)?;
        let key = tick.operator.clone().into_bytes();
        Ok(Outgoing {
            topic: topic.clone(),
            partition,
            key: Some(key),
            value: Some(value),
            headers: Vec::new(),
        })
    }

    /// A framed Avro record for the partition that its partition key says.
    ///
    /// # Errors
    /// See [`Encoder::output`].
    pub fn avro<T: AvroRecord>(
        &self,
        topic: &str,
        partition_key: &str,
        key: &str,
        value: &T,
    ) -> Result<Outgoing, Fault> {
        let topic: Arc<str> = topic.into();
        let value = self.frame(&topic, value)?;
        self.place(topic, partition_key, key, value)
    }

    /// An ingress event, framed.
    ///
    /// # Errors
    /// See [`Encoder::output`].
    pub fn payload(
        &self,
        topic: &str,
        key: &str,
        payload: &cairn_avro::record::Payload,
    ) -> Result<Outgoing, Fault> {
        let mut value = Vec::with_capacity(128);
        frame::put(self.id(topic, payload.entry())?, &mut value);
        payload
            .encode(&mut value)
            .map_err(|error| Fault::Config(format!("{topic}: {error}")))?;
        self.place(topic.into(), key, key, value)
    }

    fn json(
        &self,
        operator: &str,
        topic: &str,
        partition_key: &str,
        key: &str,
        value: &serde_json::Value,
        schema: &jsonschema::Validator,
    ) -> Result<Outgoing, Fault> {
        if let Err(error) = schema.validate(value) {
            self.metrics.schema_error(topic);
            let bytes = value.to_string().into_bytes();
            let dead = Dead {
                tenant: partition_key.to_owned(),
                class: "telegram_schema",
                text: format!("{topic}: {error} at {}", error.instance_path()),
                topic: topic.to_owned(),
                original: Some(bytes),
                event_id: None,
                origin: None,
            };
            return self.dead(operator, &dead);
        }
        self.place(
            topic.into(),
            partition_key,
            key,
            value.to_string().into_bytes(),
        )
    }

    fn place(
        &self,
        topic: Arc<str>,
        partition_key: &str,
        key: &str,
        value: Vec<u8>,
    ) -> Result<Outgoing, Fault> {
        let partitions = self.partitions.get(&*topic).copied().ok_or_else(|| {
            Fault::Config(format!(
                "topic {topic} does not exist; `cairn topics apply` creates what is missing"
            ))
        })?;
        let partition = partition_of(partition_key, self.families.in_use(&topic, partitions));
        Ok(Outgoing {
            topic,
            partition,
            key: Some(key.as_bytes().to_vec()),
            value: Some(value),
            headers: Vec::new(),
        })
    }

    fn frame<T: AvroRecord>(&self, topic: &str, value: &T) -> Result<Vec<u8>, Fault> {
        let id = self.id(topic, T::entry())?;
        let mut bytes = Vec::with_capacity(256);
        codec::encode_framed(id, value, &mut bytes)
            .map_err(|error| Fault::Config(format!("{topic}: {error}")))?;
        Ok(bytes)
    }

    fn id(&self, topic: &str, entry: &contract::Entry) -> Result<u32, Fault> {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = ids.get(topic) {
            return Ok(*id);
        }
        let id = self
            .registry
            .id_of(&contract::subject(topic), entry.schema)?;
        ids.insert(topic.to_owned(), id);
        Ok(id)
    }

    fn dead(&self, operator: &str, dead: &Dead) -> Result<Outgoing, Fault> {
        let origin = dead.origin.as_deref();
        let original = dead
            .original
            .as_deref()
            .or_else(|| origin.and_then(|origin| origin.value.as_deref()))
            .unwrap_or_default();
        let digest = Sha256::digest(original);
        let mut id = Sha256::new();
        id.update(dead.class);
        if let Some(origin) = origin {
            id.update(format!(
                "{}/{}/{}",
                origin.place.topic, origin.place.partition, origin.place.offset
            ));
        }
        id.update(digest);
        if let Some(event_id) = &dead.event_id {
            id.update(event_id);
        }
        let id = hex::text(&id.finalize()[..16]);
        let sealed = self.recipient.seal(original).map_err(unsealable)?;
        let letter = DeadLetter {
            deadletter_id: id.clone(),
            tenant: dead.tenant.clone(),
            class: dead.class.to_owned(),
            text: self
                .redaction
                .message(&dead.tenant, &dead.text)
                .into_owned(),
            source: origin.map(|origin| Offset {
                topic: origin.place.topic.clone(),
                partition: origin.place.partition,
                offset: origin.place.offset,
            }),
            topic: dead.topic.clone(),
            key: origin.and_then(|origin| {
                let key = origin.key.as_deref()?;
                Some(self.redaction.bytes(&dead.tenant, key).into_owned())
            }),
            event_id: dead.event_id.clone(),
            schema_id: frame::split(original)
                .ok()
                .and_then(|frame| i32::try_from(frame.schema_id).ok()),
            excerpt: seal::excerpt(
                &self.redaction,
                &dead.tenant,
                original,
                self.excerpt_chars_max,
            ),
            sealed,
            sealed_recipient: self.recipient.as_str().to_owned(),
            plaintext_sha256: digest.to_vec(),
            plaintext_bytes: original.len() as i64,
            headers: origin
                .map(|origin| self.headers(&dead.tenant, &origin.headers))
                .unwrap_or_default(),
            operator: operator.to_owned(),
            operator_version: VERSION.to_owned(),
            append_time_ms: origin.map_or(0, |origin| origin.append_time_ms),
            ..DeadLetter::default()
        };
        self.avro(
            "deadletter",
            &dead.tenant,
            &run_key(&dead.tenant, &id),
            &letter,
        )
    }

    /// Headers without what is found in them. An event id that changes is left out: the letter has what it stands for.
    fn headers(&self, tenant: &str, headers: &[(String, Vec<u8>)]) -> BTreeMap<String, Vec<u8>> {
        headers
            .iter()
            .filter_map(|(name, value)| {
                let redacted = self.redaction.bytes(tenant, value);
                let is_kept = name != "event_id" || *redacted == **value;
                let name = self.redaction.message(tenant, name).into_owned();
                is_kept.then(|| (name, redacted.into_owned()))
            })
            .collect()
    }
}

fn unsealable(error: SealError) -> Fault {
    Fault::Config(format!(
        "deadletter.recipient: {error}; `cairn init` makes a new key"
    ))
}

fn validator(name: &str) -> Result<jsonschema::Validator, Fault> {
    let wrong = |error: String| {
        Fault::Config(format!(
            "the JSON Schema {name} of the contract: {error}; please report this"
        ))
    };
    let text = contract::json_schema(name).ok_or_else(|| wrong("it is missing".to_owned()))?;
    let schema: serde_json::Value =
        serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .map_err(|error| wrong(error.to_string()))
}
