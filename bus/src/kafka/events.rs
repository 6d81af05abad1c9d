//! What librdkafka calls back with: log lines, errors, deliveries, rebalances. Everything is noted, nothing is done: a
//! rebalance is answered by the session's owner, which has the transaction.

use super::faults;
use rdkafka::bindings::rd_kafka_resp_err_t as Response;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;
use rdkafka::topic_partition_list::TopicPartitionList;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// A change of ownership that was not answered yet.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Assign(TopicPartitionList),
    Revoke(TopicPartitionList),
    Lost(TopicPartitionList),
}

/// The context of every client of ours.
#[derive(Default)]
pub(crate) struct Events {
    /// The last error of the client as a whole, as code and reason.
    last: Mutex<Option<(RDKafkaErrorCode, String)>>,
    /// The first record that was not delivered since the last transaction began.
    undelivered: Mutex<Option<(RDKafkaErrorCode, String)>>,
    changes: Mutex<VecDeque<Change>>,
    noted: AtomicBool,
    /// Nobody is there to answer any more: rebalances are answered at once, or closing would wait for ever.
    closing: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Events {
    /// Takes the last error.
    pub(crate) fn take_last(&self) -> Option<(RDKafkaErrorCode, String)> {
        lock(&self.last).take()
    }

    pub(crate) fn take_undelivered(&self) -> Option<(RDKafkaErrorCode, String)> {
        lock(&self.undelivered).take()
    }

    /// Whether a change waits; cheap.
    pub(crate) fn is_noted(&self) -> bool {
        self.noted.load(Ordering::Acquire)
    }

    /// The oldest change that nobody was told of.
    pub(crate) fn next_change(&self) -> Option<Change> {
        let mut changes = lock(&self.changes);
        let change = changes.pop_front();
        self.noted.store(!changes.is_empty(), Ordering::Release);
        change
    }

    /// From now on rebalances are answered in the callback.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => {
                tracing::warn!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
                tracing::info!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", facility, "{message}")
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason);
        let Some(code) = error.rdkafka_error_code() else {
            return;
        };
        let mut last = lock(&self.last);
        // "all brokers are down" follows the reason and would hide it
        let keeps = last
            .as_ref()
            .is_some_and(|(known, _)| faults::is_config(*known) && !faults::is_config(code));
        let is_summary = code == RDKafkaErrorCode::AllBrokersDown && last.is_some();
        if !keeps && !is_summary {
            *last = Some((code, reason.to_owned()));
        }
    }
}

impl ProducerContext for Events {
    type DeliveryOpaque = ();

    fn delivery(&self, delivery: &DeliveryResult<'_>, (): ()) {
        let Err((error, message)) = delivery else {
            return;
        };
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        // what an abort throws away is not news
        if matches!(
            code,
            RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight
        ) {
            return;
        }
        lock(&self.undelivered).get_or_insert_with(|| {
            (
                code,
                format!(
                    "a record for {}[{}]: {error}",
                    message.topic(),
                    message.partition()
                ),
            )
        });
    }
}

impl ConsumerContext for Events {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        response: Response,
        partitions: &mut TopicPartitionList,
    ) {
        if self.closing.load(Ordering::Acquire) {
            let _ = take_back(consumer, partitions);
            return;
        }
        let change = match response {
            Response::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Change::Assign(partitions.clone()),
            _ if consumer.assignment_lost() => Change::Lost(partitions.clone()),
            _ => Change::Revoke(partitions.clone()),
        };
        lock(&self.changes).push_back(change);
        self.noted.store(true, Ordering::Release);
    }
}

/// Answers an assignment.
pub(crate) fn give(
    consumer: &BaseConsumer<Events>,
    partitions: &TopicPartitionList,
) -> KafkaResult<()> {
    if matches!(
        consumer.rebalance_protocol(),
        RebalanceProtocol::Cooperative
    ) {
        consumer.incremental_assign(partitions)
    } else {
        consumer.assign(partitions)
    }
}

/// Answers a revocation.
pub(crate) fn take_back(
    consumer: &BaseConsumer<Events>,
    partitions: &TopicPartitionList,
) -> KafkaResult<()> {
    if matches!(
        consumer.rebalance_protocol(),
        RebalanceProtocol::Cooperative
    ) {
        consumer.incremental_unassign(partitions)
    } else {
        consumer.unassign()
    }
}
