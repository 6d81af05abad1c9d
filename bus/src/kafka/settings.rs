//! How Kafka is reached and used; every value has a default and a reason.

use crate::log::{Fault, Membership};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use std::collections::BTreeMap;
use std::time::Duration;

/// How the members of a group share partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// The clients decide, assignor `range`: partition *p* of all topics of a task goes to one member. With static membership
    /// a restart takes its partitions back at once.
    #[default]
    Classic,
    /// The broker decides (KIP-848), assignor `uniform`, which co-assigns. A static member that died must wait for its session
    /// (KAFKA-16566).
    Consumer,
}

/// How Kafka is reached and used.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// `host:port`, separated by commas; one that answers is enough.
    pub bootstrap_servers: String,
    /// The schema registry's base URL, for those who open one beside the log.
    pub registry_url: Option<String>,
    /// Any librdkafka property, for TLS and SASL above all (`security.protocol`, `sasl.mechanisms`, `sasl.username`,
    /// `sasl.password`, `ssl.ca.location`). What would break a promise of the log is refused, see [`FIXED`].
    pub extra: BTreeMap<String, String>,
    /// Begins every transactional id, client id and group of ours, and so is what ACLs name; `cairn`.
    pub app_id: String,
    /// How the members of a group share partitions; classic.
    pub protocol: Protocol,
    /// Whether a member has a name that outlives it; yes: a restart after a `kill -9` waits for no session. Without it a
    /// member leaves at once when it closes.
    pub static_membership: bool,
    /// After so much silence a member's partitions go to the others; 10 s: a node's failure costs that, a long garbage
    /// collection elsewhere does not. The broker's `group.min.session.timeout.ms` (6 s) bounds it. Classic protocol only.
    pub session_timeout_ms: u32,
    /// A transaction that stays open longer is aborted by the broker; 10 s, because a dead producer's transaction holds up
    /// every read-committed reader of its partitions until then.
    pub transaction_timeout_ms: u32,
    /// How long one call to the brokers may take (commit, offsets, fencing a predecessor); 30 s, more than a transaction may.
    pub call_timeout_ms: u32,
    /// How long the first contact may take before the brokers count as unreachable; 10 s.
    pub start_timeout_ms: u32,
    /// How long a record waits for others in its batch; 5 ms: a commit waits for the last one.
    pub linger_ms: u32,
    /// Largest batch; 256 KiB, well under any topic's `max.message.bytes`.
    pub batch_bytes: u32,
    /// Largest record that the client itself lets pass; 64 MiB: the topic's `max_message_bytes` decides, not the client.
    pub message_max_bytes: u32,
    /// What is read ahead for each session; 32 MiB: half a second of a fast topic. A pause drops it.
    pub read_ahead_kib: u32,
    /// How many copies new topics get; -1: as many as the cluster says (`default.replication.factor`).
    pub replication_factor: i32,
}

/// Properties that are part of a promise; setting one in `extra` is a [`Fault::Config`].
pub const FIXED: [&str; 12] = [
    "acks",
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "partition.assignment.strategy",
    "transaction.timeout.ms",
    "transactional.id",
];

impl KafkaSettings {
    /// The defaults for some brokers.
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into(),
            registry_url: None,
            extra: BTreeMap::new(),
            app_id: "cairn".into(),
            protocol: Protocol::default(),
            static_membership: true,
            session_timeout_ms: 10_000,
            transaction_timeout_ms: 10_000,
            call_timeout_ms: 30_000,
            start_timeout_ms: 10_000,
            linger_ms: 5,
            batch_bytes: 256 << 10,
            message_max_bytes: 64 << 20,
            read_ahead_kib: 32 << 10,
            replication_factor: -1,
        }
    }

    pub(crate) fn call_timeout(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms.into())
    }

    /// Refuses what cannot work.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        if self.bootstrap_servers.trim().is_empty() {
            return Err(Fault::Config(
                "bootstrap_servers is empty: where is Kafka?".into(),
            ));
        }
        if self.app_id.is_empty() {
            return Err(Fault::Config("app_id is empty".into()));
        }
        match self.extra.keys().find(|key| FIXED.contains(&key.as_str())) {
            Some(key) => Err(Fault::Config(format!(
                "{key} cannot be set: exactly-once hangs on it"
            ))),
            None => Ok(()),
        }
    }

    /// What all clients share; `extra` last, so that it decides.
    fn client(&self, client_id: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", client_id)
            // a broker that comes back is found within a second, not after ten
            .set("reconnect.backoff.max.ms", "1000")
            .set("message.max.bytes", self.message_max_bytes.to_string())
            // a client of ours is used by one thread and says what it does itself
            .set("log.connection.close", "false");
        for (key, value) in &self.extra {
            config.set(key, value);
        }
        config
    }

    /// `app.operator.instance.thread`: the transactional id. Only the instance may hold dots too, and it is between fixed parts.
    pub(crate) fn transactional_id(&self, who: &Membership) -> String {
        format!(
            "{}.{}.{}.{}",
            self.app_id, who.operator, who.instance, who.thread
        )
    }

    pub(crate) fn producer(&self, who: &Membership) -> ClientConfig {
        let id = self.transactional_id(who);
        let mut config = self.client(&id);
        config
            .set("transactional.id", &id)
            .set(
                "transaction.timeout.ms",
                self.transaction_timeout_ms.to_string(),
            )
            // a topic that was deleted meanwhile is found missing within a transaction's time
            .set("topic.metadata.propagation.max.ms", "5000")
            // librdkafka wants a record's own time limit within the transaction's
            .set(
                "message.timeout.ms",
                self.transaction_timeout_ms.to_string(),
            )
            .set("acks", "all")
            .set(
                "compression.type",
                self.extra
                    .get("compression.type")
                    .map_or("lz4", String::as_str),
            )
            .set("linger.ms", self.linger_ms.to_string())
            .set("batch.size", self.batch_bytes.to_string());
        // only this part of the log tells of every connection that breaks; see `transactions`
        let debug = match self.extra.get("debug") {
            Some(more) => format!("broker,{more}"),
            None => "broker".into(),
        };
        config
            .set("debug", debug)
            .set_log_level(RDKafkaLogLevel::Debug);
        config
    }

    fn reading(&self, client_id: &str) -> ClientConfig {
        let mut config = self.client(client_id);
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            // the default pauses a partition for a second once its queue is full: an idle core
            .set("fetch.queue.backoff.ms", "5")
            .set(
                "queued.max.messages.kbytes",
                self.read_ahead_kib.to_string(),
            )
            .set("isolation.level", "read_committed");
        config
    }

    /// The consumer of a session.
    pub(crate) fn member(&self, who: &Membership) -> ClientConfig {
        let mut config = self.reading(&self.transactional_id(who));
        config
            .set("group.id", &who.group)
            // what retention took unread is told to the owner, never passed over
            .set("auto.offset.reset", "error");
        if self.static_membership {
            config.set(
                "group.instance.id",
                format!("{}.{}.{}", who.operator, who.instance, who.thread),
            );
        }
        match self.protocol {
            Protocol::Classic => config
                .set("group.protocol", "classic")
                .set("partition.assignment.strategy", "range")
                .set("session.timeout.ms", self.session_timeout_ms.to_string())
                // three chances before the session ends
                .set(
                    "heartbeat.interval.ms",
                    (self.session_timeout_ms / 4).to_string(),
                ),
            Protocol::Consumer => config
                .set("group.protocol", "consumer")
                .set("group.remote.assignor", "uniform"),
        };
        config
    }

    /// A consumer without membership, which says where a partition ends.
    pub(crate) fn looker(&self, isolation: &str, name: &str) -> ClientConfig {
        let mut config = self.reading(&format!("{}.{name}", self.app_id));
        config
            // librdkafka assigns only to consumers with a group; nothing is ever committed in this one
            .set("group.id", format!("{}.look", self.app_id))
            .set("enable.partition.eof", "true")
            // the end of a partition is reported after an empty fetch, which waits so long
            .set("fetch.wait.max.ms", "10")
            .set("isolation.level", isolation);
        config
    }

    pub(crate) fn admin(&self) -> ClientConfig {
        self.client(&format!("{}.admin", self.app_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_promise_hangs_on_cannot_be_set() {
        let mut settings = KafkaSettings::new("localhost:9092");
        settings.check().unwrap();
        settings.extra.insert("sasl.username".into(), "anna".into());
        settings.check().unwrap();
        settings
            .extra
            .insert("isolation.level".into(), "read_uncommitted".into());
        assert!(
            matches!(settings.check(), Err(Fault::Config(text)) if text.contains("isolation.level"))
        );
    }
}
