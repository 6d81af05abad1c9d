//! A transactional producer: begins with the first record, commits or aborts, and knows when it is of no more use.
//!
//! librdkafka repeats a request whose connection broke, for ever and without a word: the call succeeds in the end. The first
//! copy may still be on its way, and under transaction protocol 1 it would end a *later* transaction of this producer. So a
//! broken connection is noticed by librdkafka's own log, whatever the call says, and ends the producer: before the commit as
//! [`Fault::Unknown`], after it (the commit is certain then) with the next call.
//!
//! `send_offsets_to_transaction` may never come back, whatever its time-out: when the group's coordinator has left the cluster,
//! librdkafka waits for a broker it has forgotten (librdkafka issues 5456 and 5511, open in 2.16). So it has a thread of its own, which is
//! left behind with the producer once the transaction is too old to be committed anyway.

use super::events::Events;
use super::faults::{self, Verdict};
use super::settings::KafkaSettings;
use crate::log::{Fault, Membership, Outgoing};
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::TopicPartitionList;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

/// rdkafka's `flush`, which its `commit_transaction` begins with, sleeps in steps of 100 ms; so deliveries are waited for
/// here, in steps of this.
const STEP: Duration = Duration::from_micros(500);
/// After so many records their delivery reports are served.
const SERVE_EVERY: u32 = 1_024;
/// What each call of a commit has at least, however much of the deadline is gone: a broker that answers slowly may still answer.
const LAST_STEP: Duration = Duration::from_secs(1);
/// How long an abort waits before deliveries are served.
const ABORT_STEP: Duration = Duration::from_millis(20);

pub(crate) struct Transactions {
    producer: Arc<BaseProducer<Events>>,
    timeout: Duration,
    /// How long records may take to be delivered: what a transaction may last.
    delivery: Duration,
    /// When the open transaction began, by a clock that goes on while the machine sleeps.
    opened: Option<SystemTime>,
    over: Option<Fault>,
    /// Records sent since delivery reports were served last. (`in_flight_count` would take three locks for each record.)
    unserved: u32,
}

impl Transactions {
    /// Fences a predecessor and settles what it left open.
    pub(crate) fn begin(settings: &KafkaSettings, who: &Membership) -> Result<Self, Fault> {
        let producer: BaseProducer<Events> = settings
            .producer(who)
            .create_with_context(Events::default())
            .map_err(|error| faults::of_call("making a Kafka producer", &error))?;
        let id = settings.transactional_id(who);
        let doing = format!(
            "opening transactional id {id} at {}",
            settings.bootstrap_servers
        );
        if let Err(error) = producer.init_transactions(settings.call_timeout()) {
            // the errors of the client as a whole say why
            producer.poll(Duration::ZERO);
            let why = producer.context().take_last();
            let code = error.rdkafka_error_code();
            return Err(match (why, code) {
                (Some((code, reason)), _) if faults::is_config(code) => {
                    faults::config(&doing, code, &reason)
                }
                (_, Some(code)) if faults::is_config(code) => {
                    faults::config(&doing, code, &error.to_string())
                }
                // a successor was quicker
                (_, Some(code)) if faults::is_fenced(code) => {
                    Fault::Fenced(format!("{doing}: {error}"))
                }
                (why, _) => Fault::Unreachable(format!(
                    "{doing}: {error}{} (call_timeout_ms {})",
                    why.map(|(_, reason)| format!(": {reason}"))
                        .unwrap_or_default(),
                    settings.call_timeout_ms
                )),
            });
        }
        Ok(Self {
            producer: Arc::new(producer),
            timeout: settings.call_timeout(),
            delivery: Duration::from_millis(settings.transaction_timeout_ms.into()),
            opened: None,
            over: None,
            unserved: 0,
        })
    }

    /// The fault after which nothing more is possible.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        self.over.clone().map_or(Ok(()), Err)
    }

    fn ensure_open(&mut self) -> Result<(), Fault> {
        self.check()?;
        if self.opened.is_some() {
            return Ok(());
        }
        let _ = self.producer.context().take_undelivered();
        // between transactions nothing was in flight
        let _ = self.broken();
        let begun = self.producer.begin_transaction();
        self.settle("beginning a transaction", begun)?;
        self.opened = Some(SystemTime::now());
        Ok(())
    }

    pub(crate) fn send(&mut self, out: &Outgoing) -> Result<(), Fault> {
        self.ensure_open()?;
        let mut record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(&out.topic).partition(out.partition);
        record.key = out.key.as_deref();
        record.payload = out.value.as_deref();
        if !out.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(out.headers.len());
            record.headers = Some(out.headers.iter().fold(headers, |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(value),
                })
            }));
        }
        let deadline = Instant::now() + self.delivery;
        loop {
            match self.producer.send(record) {
                Ok(()) => {
                    // deliveries are served now and then, or their reports pile up until the commit
                    self.unserved += 1;
                    if self.unserved == SERVE_EVERY {
                        self.unserved = 0;
                        self.producer.poll(Duration::ZERO);
                    }
                    return Ok(());
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if Instant::now() < deadline =>
                {
                    self.serve();
                    std::thread::sleep(STEP);
                    record = back;
                }
                Err((error, _)) => {
                    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                    let doing = format!("sending to {}[{}]", out.topic, out.partition);
                    self.abort()?;
                    return Err(match code {
                        code if faults::is_config(code) => {
                            faults::config(&doing, code, &error.to_string())
                        }
                        code if faults::is_fenced(code) => {
                            self.give_up(Fault::Fenced(format!("{doing}: {error}")))
                        }
                        _ => Fault::Abort(format!("{doing}: {error}")),
                    });
                }
            }
        }
    }

    /// Serves delivery reports; true when none is awaited. What was not delivered is told by the commit.
    pub(crate) fn is_delivered(&mut self) -> Result<bool, Fault> {
        self.check()?;
        if self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::ZERO);
        }
        self.check_broken("delivering")?;
        Ok(self.producer.in_flight_count() == 0)
    }

    /// Records and offsets together, or neither.
    pub(crate) fn commit(
        &mut self,
        offsets: Option<(TopicPartitionList, ConsumerGroupMetadata)>,
    ) -> Result<(), Fault> {
        self.check()?;
        if self.opened.is_none() && offsets.is_none() {
            return Ok(());
        }
        self.ensure_open()?;
        // one deadline for all of it: a revoke waits for this, and so does everybody who shares the group
        let deadline = Instant::now() + self.timeout;
        let left = || {
            deadline
                .saturating_duration_since(Instant::now())
                .max(LAST_STEP)
        };
        self.deliver(self.delivery.min(left()));
        self.check_broken("delivering")?;
        if let Some((code, text)) = self.producer.context().take_undelivered() {
            // whatever librdkafka makes of it, this transaction lacks a record
            self.abort()?;
            return Err(if faults::is_config(code) {
                faults::config("committing", code, &text)
            } else {
                Fault::Abort(format!("committing: {text}"))
            });
        }
        if self.producer.in_flight_count() > 0 {
            return Err(self.give_up(Fault::Unknown(format!(
                "committing: records were not delivered within {} ms",
                self.delivery.as_millis()
            ))));
        }
        if let Some((offsets, group)) = offsets {
            const DOING: &str = "sending offsets to the transaction";
            let patience = left().min(self.delivery).max(LAST_STEP);
            let producer = self.producer.clone();
            let call = move || producer.send_offsets_to_transaction(&offsets, &group, patience);
            let Some(sent) = within(patience + LAST_STEP, call)? else {
                return Err(self.give_up(Fault::Unknown(format!(
                    "{DOING}: no answer within {} ms; is the group's coordinator gone?",
                    patience.as_millis()
                ))));
            };
            self.settle(DOING, sent)?;
            self.check_broken(DOING)?;
        }
        let committed = self.producer.commit_transaction(left());
        self.settle("committing", committed)?;
        self.opened = None;
        self.retire_if_broken("committed");
        Ok(())
    }

    /// Leaves nothing of the open transaction.
    pub(crate) fn abort(&mut self) -> Result<(), Fault> {
        self.check()?;
        if self.opened.is_none() {
            return Ok(());
        }
        self.check_broken("aborting")?;
        let deadline = Instant::now() + self.timeout;
        loop {
            // The first call throws away what is queued and then waits for reports, which nobody serves meanwhile; so it is
            // a short one, and is resumed once they have been served. (Purging first leaves a gap in the sequence numbers.)
            let is_waiting = self.producer.in_flight_count() > 0;
            let patience = if is_waiting {
                ABORT_STEP
            } else {
                deadline.saturating_duration_since(Instant::now())
            };
            let Err(error) = self.producer.abort_transaction(patience) else {
                break;
            };
            let may_resume =
                matches!(&error, KafkaError::Transaction(native) if native.is_retriable());
            if may_resume && Instant::now() < deadline {
                self.deliver(ABORT_STEP);
                continue;
            }
            let fault = match faults::of_transaction("aborting", &error) {
                // an abort that asks for an abort
                Verdict::AbortFirst(fault) => Fault::Unknown(fault.to_string()),
                Verdict::Over(fault) => fault,
            };
            return Err(self.give_up(fault));
        }
        let _ = self.producer.context().take_undelivered();
        self.opened = None;
        self.retire_if_broken("aborted");
        Ok(())
    }

    /// What broke since the transaction began: reads the log lines that wait.
    fn broken(&self) -> Option<String> {
        let events = self.producer.context();
        loop {
            let lines = events.lines();
            self.producer.poll(Duration::ZERO);
            if events.lines() == lines {
                return events.take_broken();
            }
        }
    }

    /// Nothing of this transaction is decided, and this producer must not decide it.
    fn check_broken(&mut self, doing: &str) -> Result<(), Fault> {
        match self.broken() {
            None => Ok(()),
            Some(line) => Err(self.give_up(Fault::Unknown(format!("{doing}: {line}")))),
        }
    }

    /// The transaction is decided; a copy of the request that decided it may decide another one.
    fn retire_if_broken(&mut self, done: &str) {
        if let Some(line) = self.broken() {
            self.over = Some(Fault::Unknown(format!(
                "{done}, by a repeated request: {line}"
            )));
        }
    }

    /// Waits for deliveries, but not for those of a connection that broke: they would be in vain.
    fn deliver(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.producer.in_flight_count() > 0
            && Instant::now() < deadline
            && !self.producer.context().is_broken()
        {
            self.serve();
            if self.producer.in_flight_count() > 0 {
                std::thread::sleep(STEP);
            }
        }
    }

    /// Takes the delivery reports that are there. Never with a patience: rdkafka 0.39 cuts what is left of it to whole
    /// milliseconds and so turns round and round through its last one.
    fn serve(&self) {
        let mut left = self.producer.in_flight_count();
        while left > 0 {
            self.producer.poll(Duration::ZERO);
            let before = std::mem::replace(&mut left, self.producer.in_flight_count());
            if left >= before {
                return;
            }
        }
    }

    fn settle(&mut self, doing: &str, result: KafkaResult<()>) -> Result<(), Fault> {
        let Err(error) = result else { return Ok(()) };
        match faults::of_transaction(doing, &error) {
            Verdict::AbortFirst(fault) => {
                self.abort()?;
                Err(fault)
            }
            Verdict::Over(fault) => Err(self.give_up(fault)),
        }
    }

    fn give_up(&mut self, fault: Fault) -> Fault {
        let age = self
            .opened
            .and_then(|opened| opened.elapsed().ok())
            .unwrap_or_default();
        // The broker itself fences the producer of a transaction that stayed open too long (a machine that slept, a stopped
        // process). Nobody need have taken over; the next session finds out.
        let fault = match fault {
            Fault::Fenced(text) if age > self.delivery => Fault::Unknown(format!(
                "{text}; the transaction was open for {} ms, longer than transaction_timeout_ms",
                age.as_millis()
            )),
            fault => fault,
        };
        self.over = Some(fault.clone());
        fault
    }
}

/// What a call gave that may never come back; none once patience is over. Its thread is left behind then, with all that it holds.
fn within<T: Send + 'static>(
    patience: Duration,
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<Option<T>, Fault> {
    let (give, take) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("kafka call".into())
        // nobody may be waiting any more
        .spawn(move || drop(give.send(call())))
        .map_err(|error| Fault::Unreachable(format!("beginning a thread: {error}")))?;
    Ok(take.recv_timeout(patience).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::consumer::Consumer;
    use rdkafka::mocking::{MockCluster, MockCoordinator};
    use rdkafka::topic_partition_list::Offset;

    /// librdkafka's own call was seen to wait for good here. Its mock cluster proves no promise; it stands still as asked.
    #[test]
    fn a_coordinator_that_is_gone_ends_the_commit_and_not_the_thread() {
        let cluster = MockCluster::new(3).expect("a mock cluster");
        for topic in ["in", "out"] {
            cluster.create_topic(topic, 1, 1).expect("a topic");
            cluster
                .partition_leader(topic, 0, Some(1))
                .expect("its leader");
        }
        let who = Membership {
            operator: "copy".into(),
            group: "cairn.copy".into(),
            instance: "a".into(),
            thread: 0,
            topics: vec!["in".into()],
        };
        let settings = KafkaSettings {
            call_timeout_ms: 3_000,
            ..KafkaSettings::new(cluster.bootstrap_servers())
        };
        let id = settings.transactional_id(&who);
        cluster
            .coordinator(MockCoordinator::Transaction(id), 1)
            .expect("1");
        cluster
            .coordinator(MockCoordinator::Group(who.group.clone()), 2)
            .expect("2");
        let member = crate::kafka::ends::consumer(&settings.member(&who)).expect("a consumer");
        let offsets = || {
            let group = member.group_metadata().expect("a group");
            let mut list = TopicPartitionList::new();
            list.add_partition_offset("in", 0, Offset::Offset(7))
                .expect("an offset");
            Some((list, group))
        };
        let out = Outgoing {
            topic: "out".into(),
            partition: 0,
            key: None,
            value: Some(b"one".to_vec()),
            headers: Vec::new(),
        };

        let mut transactions = Transactions::begin(&settings, &who).expect("a producer");
        transactions.send(&out).expect("a record");
        transactions.commit(offsets()).expect("a commit");
        // between two transactions, or the broken connection would say it
        cluster.broker_down(2).expect("down");
        std::thread::sleep(Duration::from_millis(500));
        transactions.send(&out).expect("a record");
        let begun = Instant::now();
        let fault = transactions.commit(offsets()).expect_err("nobody to ask");
        assert!(matches!(fault, Fault::Unknown(_)), "{fault}");
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?}",
            begun.elapsed()
        );
        assert!(transactions.check().is_err(), "a new producer is needed");
    }
}
