//! The log on Apache Kafka, through librdkafka.
//!
//! A session is one consumer and one transactional producer. What librdkafka's defaults would cost is set right in
//! [`settings`]; what its errors mean is one table in `faults`; where offsets are sparse, `ends` finds the end.
//!
//! Not here: retries. After `Unknown` the caller opens a new session, and `init_transactions` decides what became of the last
//! commit: librdkafka 2.12 speaks transaction protocol 1, in which a commit that is repeated could end another transaction.

mod admin;
mod ends;
mod events;
mod faults;
mod reader;
mod session;
pub mod settings;
mod transactions;

pub use settings::{KafkaSettings, Protocol};

use crate::log::{Fault, Log, Membership, Reader, Session, TopicSpec, TopicState};
use ends::Ends;
use rdkafka::consumer::Consumer;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A Kafka cluster.
pub struct KafkaLog {
    settings: Arc<KafkaSettings>,
    ends: Arc<Ends>,
}

impl KafkaLog {
    /// Connects: returns once a broker has answered. [`Fault::Config`] when it refuses us, [`Fault::Unreachable`] when none
    /// answers within `start_timeout_ms`.
    pub fn connect(settings: KafkaSettings) -> Result<Self, Fault> {
        settings.check()?;
        let ends = Arc::new(Ends::new(&settings)?);
        first_answer(&settings, &ends)?;
        Ok(Self {
            settings: Arc::new(settings),
            ends,
        })
    }

    /// Deletes a partition's records before an offset, as retention would: for tests.
    #[cfg(feature = "testing")]
    pub fn delete_before(
        &self,
        part: &crate::log::TopicPartition,
        offset: i64,
    ) -> Result<(), Fault> {
        admin::delete_before(&self.settings, part, offset)
    }

    /// What it was opened with.
    pub fn settings(&self) -> &KafkaSettings {
        &self.settings
    }
}

/// Waits for the first answer, in steps, so that a refusal is told at once and not after the time-out.
fn first_answer(settings: &KafkaSettings, ends: &Ends) -> Result<(), Fault> {
    const STEP: Duration = Duration::from_millis(500);
    let client = ends.client();
    let doing = format!("connecting to {}", settings.bootstrap_servers);
    let deadline = Instant::now() + Duration::from_millis(settings.start_timeout_ms.into());
    let mut reason = String::from("no answer");
    loop {
        let error = match client.client().fetch_metadata(None, STEP) {
            Ok(metadata) if !metadata.brokers().is_empty() => return Ok(()),
            Ok(_) => String::from("no brokers in its metadata"),
            Err(error) => error.to_string(),
        };
        // errors come one at a time
        while client.poll(Duration::ZERO).is_some() {}
        match client.context().take_last() {
            Some((code, text)) if faults::is_config(code) => {
                return Err(faults::config(&doing, code, &text));
            }
            Some((_, text)) => reason = text,
            None if reason == "no answer" => reason = error,
            None => {}
        }
        if Instant::now() >= deadline {
            return Err(Fault::Unreachable(format!(
                "{doing}: {reason}. Is Kafka up, and bootstrap_servers right? (start_timeout_ms {})",
                settings.start_timeout_ms
            )));
        }
    }
}

impl Log for KafkaLog {
    fn kind(&self) -> &'static str {
        "kafka"
    }

    fn topics(&self) -> Result<BTreeMap<String, TopicState>, Fault> {
        admin::topics(&self.settings, &self.ends)
    }

    fn create(&self, wanted: &[TopicSpec]) -> Result<Vec<String>, Fault> {
        admin::create(&self.settings, &self.ends, wanted)
    }

    fn grow(&self, topic: &str, partitions: i32) -> Result<(), Fault> {
        admin::grow(&self.settings, &self.ends, topic, partitions)
    }

    fn open(&self, who: Membership) -> Result<Box<dyn Session>, Fault> {
        Ok(Box::new(session::KafkaSession::open(
            self.settings.clone(),
            self.ends.clone(),
            who,
        )?))
    }

    fn reader(&self) -> Result<Box<dyn Reader>, Fault> {
        Ok(Box::new(reader::KafkaReader::open(
            &self.settings,
            self.ends.clone(),
        )?))
    }
}
