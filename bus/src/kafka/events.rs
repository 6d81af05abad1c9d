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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
    /// The first connection that broke under requests since the last transaction began.
    broken: Mutex<Option<String>>,
    /// Log lines so far.
    lines: AtomicU64,
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

    /// Takes what broke. Log lines come through the client's queue, before everything else that waits there.
    pub(crate) fn take_broken(&self) -> Option<String> {
        lock(&self.broken).take()
    }

    /// Whether something has broken; what is not served yet is not seen.
    pub(crate) fn is_broken(&self) -> bool {
        lock(&self.broken).is_some()
    }

    /// Log lines so far: whether a poll has brought another one.
    pub(crate) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
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

/// Whether a log line says that requests lost their answers: a connection that was up is no more, or its requests ran out of time.
/// (Bootstrap connections carry none that matter; brokers close them when they are idle.)
fn breaks_requests(facility: &str, message: &str) -> bool {
    match facility {
        "REQTMOUT" => true,
        "FAIL" => {
            let was_up = !message.contains(" in state ")
                || message.contains(" in state UP")
                || message.contains(" in state REAUTH");
            was_up && !message.contains("/bootstrap: ")
        }
        _ => false,
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.lines.fetch_add(1, Ordering::Relaxed);
        if breaks_requests(facility, message) {
            lock(&self.broken).get_or_insert_with(|| message.to_owned());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as librdkafka 2.12 writes them.
    #[test]
    fn what_breaks_requests() {
        let up = "[thrd:TxnCoordinator]: TxnCoordinator: 127.0.0.1:9092: Disconnected (after 512ms in state UP) (_TRANSPORT)";
        let refused = "[thrd:127.0.0.1:9092/1]: 127.0.0.1:9092/1: Connect to ipv4#127.0.0.1:9092 failed: Connection refused \
            (after 0ms in state CONNECT) (_TRANSPORT): identical to last error: error log suppressed";
        let idle = "[thrd:kafka:9092/bootstrap]: kafka:9092/bootstrap: Disconnected (after 600000ms in state UP) (_TRANSPORT)";
        let late = "[thrd:TxnCoordinator]: TxnCoordinator: Timed out 1 in-flight, 0 retry-queued, 0 out-queue, 0 partially-sent requests";
        let expected = [
            ("FAIL", up, true),
            ("FAIL", refused, false),
            ("FAIL", idle, false),
            ("FAIL", "a line that was cut", true),
            ("REQTMOUT", late, true),
            ("WAKEUP", "woke up", false),
        ];
        for (facility, line, breaks) in expected {
            assert_eq!(breaks_requests(facility, line), breaks, "{line}");
        }
        let events = Events::default();
        events.log(RDKafkaLogLevel::Debug, "FAIL", refused);
        assert_eq!(events.take_broken(), None);
        events.log(RDKafkaLogLevel::Debug, "FAIL", up);
        events.log(RDKafkaLogLevel::Warning, "REQTMOUT", late);
        assert_eq!(
            (events.take_broken().as_deref(), events.lines()),
            (Some(up), 3)
        );
        assert_eq!(events.take_broken(), None);
    }
}
