//! The log and the registry that the configuration names.

use crate::config::LogConfig;
use crate::families;
use cairn_bus::embedded::{EmbeddedLog, EmbeddedSettings};
use cairn_bus::kafka::{KafkaLog, KafkaSettings, Protocol};
use cairn_bus::registry::{MemoryStore, Registry, RegistrySettings, SchemaStore, StoreRegistry};
use cairn_bus::{Cleanup, Fault, Log, Membership, Offsets, SchemaRegistry, TopicSpec};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A log with the registry of its schemas.
#[derive(Clone)]
pub struct Place {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Schemas by id.
    pub registry: Arc<dyn SchemaRegistry>,
    /// The store behind the built-in registry, where there is one: the gateway answers for it.
    pub store: Option<Arc<dyn SchemaStore>>,
}

/// Opens the log that the configuration names.
///
/// # Errors
/// [`Fault::Config`] for a directory or cluster that cannot be used, [`Fault::Unreachable`] for one that does not answer.
pub fn open(config: &LogConfig) -> Result<Place, Fault> {
    if config.kafka.is_empty() {
        embedded(&config.data)
    } else {
        kafka(config)
    }
}

fn embedded(directory: &Path) -> Result<Place, Fault> {
    let mut settings = EmbeddedSettings::new(directory);
    settings.compaction_lag_ms = cairn_topics::catalogue()
        .iter()
        .map(|topic| (topic.name.to_owned(), topic.compaction_lag_ms))
        .collect();
    let log = EmbeddedLog::with(settings)?;
    let store: Arc<dyn SchemaStore> = Arc::new(log.clone());
    Ok(Place {
        registry: Arc::new(StoreRegistry(log.clone())),
        store: Some(store),
        log: Arc::new(log),
    })
}

fn kafka(config: &LogConfig) -> Result<Place, Fault> {
    let milliseconds = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let mut settings = KafkaSettings::new(config.kafka.clone());
    settings.app_id.clone_from(&config.app_id);
    settings.extra.clone_from(&config.properties);
    settings.replication_factor = config.replication_factor;
    settings.session_timeout_ms = milliseconds(config.session_timeout_ms);
    settings.transaction_timeout_ms = milliseconds(config.transaction_timeout_ms);
    settings.start_timeout_ms = milliseconds(config.reach_timeout_ms);
    settings.protocol = if config.group_protocol == "consumer" {
        Protocol::Consumer
    } else {
        Protocol::Classic
    };
    let log = Arc::new(KafkaLog::connect(settings)?);
    if config.registry.is_empty() {
        // The contract's own numbering: the same binary gives the same ids, and the gateway answers for them.
        let store = Arc::new(MemoryStore::default());
        let registry = StoreRegistry(store.clone());
        for topic in cairn_topics::catalogue() {
            if let (Some(subject), Some(entry)) = (topic.subject(), topic.entry()) {
                registry.id_of(&subject, entry.schema)?;
            }
        }
        return Ok(Place {
            log,
            registry: Arc::new(registry),
            store: Some(store),
        });
    }
    let mut registry = RegistrySettings::new(config.registry.clone());
    registry.timeout = Duration::from_millis(config.reach_timeout_ms);
    // How long a denial is waited for is the runtime's decision, by topic.
    registry.deny_after = Duration::ZERO;
    registry.believe_denial = Duration::from_secs(1);
    Ok(Place {
        log,
        registry: Arc::new(Registry::new(registry)?),
        store: None,
    })
}

/// Every topic that should exist for these tenants.
#[must_use]
pub fn wanted_topics(config: &LogConfig, tenants: &[String]) -> Vec<TopicSpec> {
    let mut wanted = Vec::new();
    for topic in cairn_topics::catalogue() {
        let partitions = match topic.family {
            cairn_topics::Family::Run => config.partitions_run,
            cairn_topics::Family::Ingress => config.partitions_ingress,
            _ if topic.partitions == cairn_topics::RUN_PARTITIONS => config.partitions_run,
            _ => topic.partitions,
        };
        let cleanup = match topic.cleanup {
            cairn_topics::Cleanup::Compact => Cleanup::Compact,
            cairn_topics::Cleanup::Delete { retention_ms } => Cleanup::Delete { retention_ms },
        };
        let names: Vec<String> = if topic.family == cairn_topics::Family::Ingress {
            tenants
                .iter()
                .map(|tenant| cairn_topics::ingress_name(tenant, topic.name))
                .collect()
        } else {
            vec![topic.name.to_owned()]
        };
        for name in names {
            let mut spec = TopicSpec::new(name, partitions, cleanup);
            spec.append_time = topic.append_time;
            if topic.compaction_lag_ms > 0 {
                let lag_ms = topic.compaction_lag_ms.to_string();
                spec.extra
                    .insert("min.compaction.lag.ms".to_owned(), lag_ms);
            }
            spec.max_message_bytes =
                u32::try_from(topic.max_message_bytes).unwrap_or(TopicSpec::MAX_MESSAGE_BYTES);
            wanted.push(spec);
        }
    }
    wanted
}

/// Creates the topics that are missing; the embedded log does so by itself, a cluster when asked.
///
/// # Errors
/// See [`Log::create`].
pub fn ensure_topics(
    place: &Place,
    config: &LogConfig,
    tenants: &[String],
) -> Result<Vec<String>, Fault> {
    let created = place.log.create(&wanted_topics(config, tenants))?;
    if created.iter().any(|name| name == families::TOPIC)
        && let Some(found) = families::as_found(&place.log.topics()?)
    {
        // From here on keys are spread by this number, whatever is added to the topics by hand.
        let mut session = place.log.open(Membership {
            operator: "families".to_owned(),
            group: format!("{}.families", config.app_id),
            instance: "apply".to_owned(),
            thread: 0,
            topics: Vec::new(),
        })?;
        session.send(families::record(place, &found)?)?;
        session.commit(&Offsets::new())?;
        session.close(Duration::from_millis(config.reach_timeout_ms))?;
    }
    Ok(created)
}
