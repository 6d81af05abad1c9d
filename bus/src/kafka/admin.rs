//! Topics: what is there, and what is to be there.

use super::ends::Ends;
use super::faults;
use super::settings::KafkaSettings;
use crate::log::{Cleanup, Fault, TopicSpec, TopicState};
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewPartitions, NewTopic, OwnedResourceSpecifier,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

/// Every topic that is not Kafka's own.
pub(super) fn topics(
    settings: &KafkaSettings,
    ends: &Ends,
) -> Result<BTreeMap<String, TopicState>, Fault> {
    const DOING: &str = "reading the topics";
    let partitions = partition_counts(settings, ends)?;
    let resources: Vec<_> = partitions
        .keys()
        .map(|name| ResourceSpecifier::Topic(name))
        .collect();
    if resources.is_empty() {
        return Ok(BTreeMap::new());
    }
    let admin = admin(settings)?;
    let described = wait(admin.describe_configs(&resources, &options(settings)))
        .map_err(|error| faults::of_call(DOING, &error))?;
    let mut topics = BTreeMap::new();
    for resource in described {
        let resource = match resource {
            Ok(resource) => resource,
            // deleted meanwhile
            Err(RDKafkaErrorCode::UnknownTopicOrPartition) => continue,
            Err(code) => return Err(faults::of_call(DOING, &KafkaError::AdminOp(code))),
        };
        let OwnedResourceSpecifier::Topic(name) = &resource.specifier else {
            continue;
        };
        if let Some(&count) = partitions.get(name) {
            topics.insert(name.clone(), state(&resource, count));
        }
    }
    Ok(topics)
}

fn state(resource: &ConfigResource, partitions: i32) -> TopicState {
    let text = |name: &str| {
        resource
            .get(name)
            .and_then(|entry| entry.value.as_deref())
            .unwrap_or_default()
    };
    let cleanup = if text("cleanup.policy").contains("compact") {
        Cleanup::Compact
    } else {
        Cleanup::Delete {
            retention_ms: text("retention.ms").parse().unwrap_or(-1),
        }
    };
    TopicState {
        partitions,
        cleanup,
        append_time: text("message.timestamp.type") == "LogAppendTime",
        max_message_bytes: text("max.message.bytes")
            .parse()
            .unwrap_or(TopicSpec::MAX_MESSAGE_BYTES),
        delete_retention_ms: text("delete.retention.ms")
            .parse()
            .unwrap_or(TopicSpec::DELETE_RETENTION_MS),
    }
}

/// Creates what is missing and waits until it can be used.
pub(super) fn create(
    settings: &KafkaSettings,
    ends: &Ends,
    wanted: &[TopicSpec],
) -> Result<Vec<String>, Fault> {
    let known = partition_counts(settings, ends)?;
    let missing: Vec<&TopicSpec> = wanted
        .iter()
        .filter(|spec| !known.contains_key(&spec.name))
        .collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let configs: Vec<BTreeMap<String, String>> = missing.iter().map(|spec| config(spec)).collect();
    let new: Vec<NewTopic<'_>> = missing
        .iter()
        .zip(&configs)
        .map(|(spec, config)| {
            let replication = TopicReplication::Fixed(settings.replication_factor);
            let topic = NewTopic::new(&spec.name, spec.partitions, replication);
            config
                .iter()
                .fold(topic, |topic, (name, value)| topic.set(name, value))
        })
        .collect();
    let admin = admin(settings)?;
    let results = wait(admin.create_topics(&new, &options(settings)))
        .map_err(|error| faults::of_call("creating topics", &error))?;
    let mut created = Vec::new();
    for result in results {
        match result {
            Ok(name) => created.push(name),
            // somebody else was quicker
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                return Err(faults::of_call(
                    &format!("creating topic {name}"),
                    &KafkaError::AdminOp(code),
                ));
            }
        }
    }
    usable(settings, ends, &missing)?;
    Ok(created)
}

/// Adds partitions until there are so many, and waits until they can be used.
pub(super) fn grow(
    settings: &KafkaSettings,
    ends: &Ends,
    topic: &str,
    partitions: i32,
) -> Result<(), Fault> {
    let doing = format!("adding partitions to {topic}");
    let known = partition_counts(settings, ends)?;
    let Some(&count) = known.get(topic) else {
        return Err(Fault::Config(format!("there is no topic {topic}")));
    };
    if count >= partitions {
        return Ok(());
    }
    let admin = admin(settings)?;
    let wanted = NewPartitions::new(topic, usize::try_from(partitions).unwrap_or_default());
    let results = wait(admin.create_partitions([&wanted], &options(settings)))
        .map_err(|error| faults::of_call(&doing, &error))?;
    for result in results {
        if let Err((_, code)) = result {
            return Err(faults::of_call(&doing, &KafkaError::AdminOp(code)));
        }
    }
    // any cleanup will do: only name and number are looked at
    let spec = TopicSpec::new(topic, partitions, Cleanup::Compact);
    usable(settings, ends, &[&spec])
}

fn config(spec: &TopicSpec) -> BTreeMap<String, String> {
    let mut config = BTreeMap::new();
    let mut set = |name: &str, value: String| config.insert(name.to_owned(), value);
    match spec.cleanup {
        Cleanup::Compact => {
            set("cleanup.policy", "compact".into());
            set("delete.retention.ms", spec.delete_retention_ms.to_string());
        }
        Cleanup::Delete { retention_ms } => {
            set("cleanup.policy", "delete".into());
            set("retention.ms", retention_ms.max(-1).to_string());
        }
    }
    set(
        "message.timestamp.type",
        if spec.append_time {
            "LogAppendTime"
        } else {
            "CreateTime"
        }
        .into(),
    );
    set("max.message.bytes", spec.max_message_bytes.to_string());
    config.extend(spec.extra.clone());
    config
}

/// Waits until the brokers know a leader for every partition.
fn usable(settings: &KafkaSettings, ends: &Ends, topics: &[&TopicSpec]) -> Result<(), Fault> {
    let deadline = Instant::now() + settings.call_timeout();
    for spec in topics {
        loop {
            let metadata = ends
                .client()
                .client()
                .fetch_metadata(Some(&spec.name), settings.call_timeout())
                .map_err(|error| faults::of_call("creating topics", &error))?;
            let led = metadata
                .topics()
                .iter()
                .find(|topic| topic.name() == spec.name)
                .is_some_and(|topic| {
                    topic.partitions().len() == spec.partitions as usize
                        && topic
                            .partitions()
                            .iter()
                            .all(|partition| partition.leader() >= 0 && partition.error().is_none())
                });
            if led {
                break;
            }
            if Instant::now() >= deadline {
                return Err(Fault::Unreachable(format!(
                    "topic {} was created but has no leader",
                    spec.name
                )));
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
    Ok(())
}

/// Partitions by topic, without Kafka's own topics.
pub(super) fn partition_counts(
    settings: &KafkaSettings,
    ends: &Ends,
) -> Result<BTreeMap<String, i32>, Fault> {
    let metadata = ends
        .client()
        .client()
        .fetch_metadata(None, settings.call_timeout())
        .map_err(|error| faults::of_call("reading the topics", &error))?;
    let ours = metadata
        .topics()
        .iter()
        .filter(|topic| !topic.name().starts_with("__"));
    Ok(ours
        .map(|topic| (topic.name().to_owned(), topic.partitions().len() as i32))
        .collect())
}

/// Deletes a partition's records before an offset, as retention would.
#[cfg(feature = "testing")]
pub(crate) fn delete_before(
    settings: &KafkaSettings,
    part: &crate::log::TopicPartition,
    offset: i64,
) -> Result<(), Fault> {
    let before =
        super::ends::list([(part, rdkafka::topic_partition_list::Offset::Offset(offset))])?;
    wait(admin(settings)?.delete_records(&before, &options(settings)))
        .map(drop)
        .map_err(|error| faults::of_call("deleting records", &error))
}

fn admin(
    settings: &KafkaSettings,
) -> Result<AdminClient<rdkafka::client::DefaultClientContext>, Fault> {
    settings
        .admin()
        .create()
        .map_err(|error| faults::of_call("making a Kafka admin client", &error))
}

fn options(settings: &KafkaSettings) -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(settings.call_timeout()))
        .operation_timeout(Some(settings.call_timeout()))
}

/// Waits for a future on this thread: the admin client is the only thing here that has any.
fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
