//! The transaction coordinator of protocol version 1: who may write, what a transaction holds, and how it ends.
//!
//! The epoch of a producer grows when a successor comes or a transaction has taken too long, and *not* with each transaction:
//! so a delayed end reaches whatever transaction the same epoch has open by then. Only a successor's epoch stops it.

use super::{Lag, Refusal};
use crate::log::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Kafka gives a new producer id when the epoch is used up.
const EPOCH_MAX: i16 = i16::MAX - 1;

/// Who writes, as each of its requests says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) transactional_id: Arc<str>,
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

/// What a marker is written to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Partition(TopicPartition),
    /// A group's offsets.
    Group(Arc<str>),
}

/// A marker whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) target: Target,
    pub(crate) producer_id: i64,
    pub(crate) commit: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Empty,
    Ongoing {
        begun_ms: i64,
    },
    /// Decided; the markers that are still to be written, and when.
    Ending {
        commit: bool,
        markers: BTreeMap<Target, i64>,
    },
    Ended {
        commit: bool,
    },
}

#[derive(Clone, Debug)]
struct Transaction {
    producer_id: i64,
    epoch: i16,
    state: State,
    targets: BTreeSet<Target>,
}

/// The transactions of all producers.
#[derive(Clone, Debug)]
pub(crate) struct Coordinator {
    timeout_ms: i64,
    scan_ms: i64,
    next_id: i64,
    transactions: BTreeMap<Arc<str>, Transaction>,
}

impl Coordinator {
    /// Transactions older than `timeout_ms` are aborted by a look that is taken every `scan_ms`.
    pub(crate) fn new(timeout_ms: i64, scan_ms: i64) -> Self {
        Self {
            timeout_ms,
            scan_ms: scan_ms.max(1),
            next_id: 1_000,
            transactions: BTreeMap::new(),
        }
    }

    /// A producer with a new epoch. While a predecessor's transaction is not over: refused, and the predecessor fenced.
    pub(crate) fn init(
        &mut self,
        transactional_id: &Arc<str>,
        now_ms: i64,
        lag: Lag<'_>,
    ) -> Result<Producer, Refusal> {
        let next_id = &mut self.next_id;
        let mut new_id = || {
            *next_id += 1;
            *next_id
        };
        let Some(transaction) = self.transactions.get_mut(transactional_id) else {
            let id = new_id();
            let transaction = Transaction {
                producer_id: id,
                epoch: 0,
                state: State::Empty,
                targets: BTreeSet::new(),
            };
            self.transactions
                .insert(transactional_id.clone(), transaction);
            return Ok(Producer {
                transactional_id: transactional_id.clone(),
                id,
                epoch: 0,
            });
        };
        match transaction.state {
            State::Ongoing { .. } => {
                transaction.epoch += 1;
                transaction.decide(false, now_ms, lag);
                Err(Refusal::ConcurrentTransactions)
            }
            State::Ending { .. } => Err(Refusal::ConcurrentTransactions),
            State::Empty | State::Ended { .. } => {
                if transaction.epoch >= EPOCH_MAX {
                    transaction.producer_id = new_id();
                    transaction.epoch = 0;
                } else {
                    transaction.epoch += 1;
                }
                transaction.state = State::Empty;
                Ok(Producer {
                    transactional_id: transactional_id.clone(),
                    id: transaction.producer_id,
                    epoch: transaction.epoch,
                })
            }
        }
    }

    /// Makes partitions or a group part of the transaction, which begins with the first.
    pub(crate) fn add(
        &mut self,
        producer: &Producer,
        targets: impl IntoIterator<Item = Target>,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        let transaction = self.of(producer)?;
        match transaction.state {
            State::Ending { .. } => return Err(Refusal::ConcurrentTransactions),
            State::Ongoing { .. } => {}
            State::Empty | State::Ended { .. } => {
                transaction.state = State::Ongoing { begun_ms: now_ms };
            }
        }
        transaction.targets.extend(targets);
        Ok(())
    }

    /// Whether a producer may write there: what a broker asks before it appends.
    pub(crate) fn may_write(&self, producer: &Producer, target: &Target) -> Result<(), Refusal> {
        let transaction = self
            .transactions
            .get(&producer.transactional_id)
            .filter(|known| known.is(producer))
            .ok_or(Refusal::ProducerFenced)?;
        match transaction.state {
            State::Ongoing { .. } if transaction.targets.contains(target) => Ok(()),
            _ => Err(Refusal::InvalidTransactionState),
        }
    }

    /// Decides the transaction. To say it twice is no error, as long as nothing else was begun.
    pub(crate) fn end(
        &mut self,
        producer: &Producer,
        commit: bool,
        now_ms: i64,
        lag: Lag<'_>,
    ) -> Result<(), Refusal> {
        let transaction = self.of(producer)?;
        match &transaction.state {
            State::Ongoing { .. } => {
                transaction.decide(commit, now_ms, lag);
                Ok(())
            }
            State::Ending { commit: as_is, .. } if *as_is == commit => {
                Err(Refusal::ConcurrentTransactions)
            }
            State::Ended { commit: as_is } if *as_is == commit => Ok(()),
            _ => Err(Refusal::InvalidTransactionState),
        }
    }

    fn of(&mut self, producer: &Producer) -> Result<&mut Transaction, Refusal> {
        self.transactions
            .get_mut(&producer.transactional_id)
            .filter(|known| known.is(producer))
            .ok_or(Refusal::ProducerFenced)
    }

    /// Aborts what has taken too long, fencing its producer; returns the markers whose time has come.
    pub(crate) fn advance(&mut self, now_ms: i64, lag: Lag<'_>) -> Vec<Marker> {
        let mut due = Vec::new();
        for transaction in self.transactions.values_mut() {
            if let State::Ongoing { begun_ms } = transaction.state
                && now_ms >= next_scan(begun_ms + self.timeout_ms, self.scan_ms)
            {
                transaction.epoch += 1;
                transaction.decide(false, now_ms, lag);
            }
            let State::Ending { commit, markers } = &mut transaction.state else {
                continue;
            };
            let commit = *commit;
            markers.retain(|target, due_ms| {
                if *due_ms > now_ms {
                    return true;
                }
                due.push(Marker {
                    target: target.clone(),
                    producer_id: transaction.producer_id,
                    commit,
                });
                false
            });
            if markers.is_empty() {
                transaction.state = State::Ended { commit };
                transaction.targets.clear();
            }
        }
        due
    }

    /// When something happens next by itself.
    pub(crate) fn next_due_ms(&self) -> Option<i64> {
        let due = |transaction: &Transaction| match &transaction.state {
            State::Ongoing { begun_ms } => {
                Some(next_scan(begun_ms + self.timeout_ms, self.scan_ms))
            }
            State::Ending { markers, .. } => markers.values().min().copied(),
            State::Empty | State::Ended { .. } => None,
        };
        self.transactions.values().filter_map(due).min()
    }

    /// Transactions that are not over.
    pub(crate) fn undecided(&self) -> usize {
        self.transactions
            .values()
            .filter(|transaction| {
                matches!(
                    transaction.state,
                    State::Ongoing { .. } | State::Ending { .. }
                )
            })
            .count()
    }
}

impl Transaction {
    fn is(&self, producer: &Producer) -> bool {
        self.producer_id == producer.id && self.epoch == producer.epoch
    }

    fn decide(&mut self, commit: bool, now_ms: i64, lag: Lag<'_>) {
        let markers = self
            .targets
            .iter()
            .map(|target| (target.clone(), now_ms + lag()))
            .collect();
        self.state = State::Ending { commit, markers };
    }
}

fn next_scan(time_ms: i64, scan_ms: i64) -> i64 {
    time_ms.div_euclid(scan_ms) * scan_ms
        + if time_ms.rem_euclid(scan_ms) == 0 {
            0
        } else {
            scan_ms
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_once() -> i64 {
        0
    }

    fn target(number: i32) -> Target {
        Target::Partition(TopicPartition::new("t", number))
    }

    fn new() -> Coordinator {
        Coordinator::new(10_000, 10_000)
    }

    #[test]
    fn a_successor_fences_and_aborts() {
        let id: Arc<str> = "task".into();
        let mut coordinator = new();
        let first = coordinator.init(&id, 0, &mut at_once).unwrap();
        assert_eq!(first.epoch, 0);
        coordinator.add(&first, [target(0)], 0).unwrap();
        // what is open is ended under an epoch of its own, so the answer's is 2
        assert_eq!(
            coordinator.init(&id, 1, &mut at_once),
            Err(Refusal::ConcurrentTransactions)
        );
        assert_eq!(
            coordinator.end(&first, true, 1, &mut at_once),
            Err(Refusal::ProducerFenced)
        );
        let markers = coordinator.advance(1, &mut at_once);
        assert_eq!(markers.len(), 1);
        assert!(!markers[0].commit);
        let second = coordinator.init(&id, 2, &mut at_once).unwrap();
        assert_eq!((second.id, second.epoch), (first.id, 2));
        assert_eq!(
            coordinator.add(&first, [target(0)], 2),
            Err(Refusal::ProducerFenced)
        );
        // nothing was open: one step
        assert_eq!(coordinator.init(&id, 3, &mut at_once).unwrap().epoch, 3);
    }

    #[test]
    fn a_decided_transaction_is_not_over_before_its_last_marker() {
        let id: Arc<str> = "task".into();
        let mut coordinator = new();
        let producer = coordinator.init(&id, 0, &mut at_once).unwrap();
        coordinator
            .add(&producer, [target(0), target(1)], 0)
            .unwrap();
        let mut lags = [5, 9].into_iter();
        coordinator
            .end(&producer, true, 100, &mut || lags.next().unwrap())
            .unwrap();
        assert_eq!(coordinator.next_due_ms(), Some(105));
        assert_eq!(coordinator.advance(104, &mut at_once), []);
        assert_eq!(coordinator.advance(105, &mut at_once)[0].target, target(0));
        assert_eq!(coordinator.undecided(), 1);
        let refused = Err(Refusal::ConcurrentTransactions);
        assert_eq!(coordinator.add(&producer, [target(0)], 106), refused);
        assert_eq!(coordinator.end(&producer, true, 106, &mut at_once), refused);
        assert_eq!(
            coordinator.end(&producer, false, 106, &mut at_once),
            Err(Refusal::InvalidTransactionState)
        );
        assert_eq!(coordinator.advance(109, &mut at_once)[0].target, target(1));
        // said again: the same answer, and nothing more
        coordinator.end(&producer, true, 110, &mut at_once).unwrap();
        assert_eq!(coordinator.undecided(), 0);
        assert_eq!(
            coordinator.end(&producer, false, 110, &mut at_once),
            Err(Refusal::InvalidTransactionState)
        );
    }

    #[test]
    fn the_epoch_stays_from_one_transaction_to_the_next() {
        let id: Arc<str> = "task".into();
        let mut coordinator = new();
        let producer = coordinator.init(&id, 0, &mut at_once).unwrap();
        for _ in 0..2 {
            coordinator.add(&producer, [target(0)], 0).unwrap();
            coordinator.end(&producer, true, 0, &mut at_once).unwrap();
            coordinator.advance(0, &mut at_once);
        }
        // a third one is begun; a delayed end of the second hits it
        coordinator.add(&producer, [target(0)], 0).unwrap();
        coordinator.end(&producer, true, 0, &mut at_once).unwrap();
        assert!(coordinator.advance(0, &mut at_once)[0].commit);
    }

    #[test]
    fn a_transaction_that_takes_too_long_is_aborted_at_the_next_look() {
        let id: Arc<str> = "task".into();
        let mut coordinator = new();
        let producer = coordinator.init(&id, 0, &mut at_once).unwrap();
        coordinator.add(&producer, [target(0)], 1_000).unwrap();
        // 1,000 + 10,000, looked at every 10,000
        assert_eq!(coordinator.next_due_ms(), Some(20_000));
        assert_eq!(coordinator.advance(19_999, &mut at_once), []);
        assert_eq!(coordinator.advance(20_000, &mut at_once).len(), 1);
        assert_eq!(
            coordinator.end(&producer, true, 20_001, &mut at_once),
            Err(Refusal::ProducerFenced)
        );
        assert_eq!(next_scan(20_000, 10_000), 20_000);
    }

    #[test]
    fn nothing_is_written_outside_a_transaction() {
        let id: Arc<str> = "task".into();
        let mut coordinator = new();
        let producer = coordinator.init(&id, 0, &mut at_once).unwrap();
        let refused = Err(Refusal::InvalidTransactionState);
        assert_eq!(coordinator.may_write(&producer, &target(0)), refused);
        assert_eq!(coordinator.end(&producer, true, 0, &mut at_once), refused);
        coordinator.add(&producer, [target(0)], 0).unwrap();
        assert_eq!(coordinator.may_write(&producer, &target(0)), Ok(()));
        assert_eq!(coordinator.may_write(&producer, &target(1)), refused);
    }
}
