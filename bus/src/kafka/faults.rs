//! What an error of librdkafka means for the caller, in one table.
//!
//! | error | fault |
//! |---|---|
//! | fenced, or fatal for the client | `Fenced`; `Unknown` where the transaction was older than its time-out |
//! | the coordinator knows no such transaction of ours | `Unknown`: it looks at the epoch first, so nobody has taken over |
//! | not authenticated, not authorized, no such topic, record too large, invalid setting | `Config` |
//! | the transaction must be aborted | `Abort`, once it was |
//! | time-out, transport, everything else of a transactional call | `Unknown`: never tried again in place |
//! | no broker answers, outside a transaction | `Unreachable` |

use crate::log::Fault;
use rdkafka::error::{KafkaError, RDKafkaError, RDKafkaErrorCode as Code};

/// Somebody else has this transactional id or this place in the group.
pub(crate) fn is_fenced(code: Code) -> bool {
    matches!(
        code,
        Code::Fenced
            | Code::ProducerFenced
            | Code::InvalidProducerEpoch
            | Code::FencedInstanceId
            | Code::FencedMemberEpoch
    )
}

/// A person has to change something.
pub(crate) fn is_config(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::SSL
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::InvalidTopic
            | Code::MessageSizeTooLarge
            | Code::InvalidRecord
            | Code::InvalidTransactionTimeout
            | Code::InvalidSessionTimeout
            | Code::InvalidArgument
            | Code::InvalidConfig
            | Code::InvalidReplicationFactor
            | Code::PolicyViolation
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
    ) || is_unknown(code)
}

/// The client asked the wrong broker, or nobody: newer metadata settle it.
pub(crate) fn is_moving(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerNotAvailable
            | Code::BrokerTransportFailure
            | Code::DestroyBroker
            | Code::FencedLeaderEpoch
            | Code::KafkaStorageError
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::OffsetNotAvailable
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::ReplicaNotAvailable
            | Code::UnknownLeaderEpoch
    ) || is_unknown(code)
}

/// There is no such topic, or a broker that has just started does not know it yet.
pub(crate) fn is_unknown(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition
    )
}

/// What a person can do about it, where the code says it.
fn remedy(code: Code) -> &'static str {
    match code {
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
            ". Check security.protocol, sasl.mechanisms, sasl.username and sasl.password"
        }
        Code::SSL => ". Check security.protocol and ssl.ca.location",
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => ". Check this user's ACLs",
        code if is_unknown(code) => "; `cairn topics apply` creates the topics of the catalogue",
        Code::MessageSizeTooLarge => ". Check the topic's max.message.bytes",
        Code::InvalidRecord => ". A compacted topic refuses records without a key",
        Code::InvalidReplicationFactor => {
            ". Set replication_factor to what the cluster has brokers for"
        }
        Code::InvalidTransactionTimeout => {
            ". The brokers' transaction.max.timeout.ms is smaller than transaction_timeout_ms"
        }
        Code::InvalidSessionTimeout => {
            ". The brokers' group.min.session.timeout.ms is larger than session_timeout_ms"
        }
        _ => "",
    }
}

/// A `Config` fault for a code.
pub(crate) fn config(doing: &str, code: Code, reason: &str) -> Fault {
    Fault::Config(format!("{doing}: {reason}{}", remedy(code)))
}

/// The error of a call that is no part of a transaction: nothing is undecided afterwards.
pub(crate) fn of_call(doing: &str, error: &KafkaError) -> Fault {
    match error.rdkafka_error_code() {
        Some(code) if is_fenced(code) => Fault::Fenced(format!("{doing}: {error}")),
        Some(code) if is_config(code) => config(doing, code, &error.to_string()),
        _ => match error {
            KafkaError::MessageConsumptionFatal(_) => Fault::Fenced(format!("{doing}: {error}")),
            KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) | KafkaError::Nul(_) => {
                Fault::Config(format!("{doing}: {error}"))
            }
            _ => Fault::Unreachable(format!("{doing}: {error}")),
        },
    }
}

/// What to do about an error of a transactional call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The transaction is to be aborted; then this is the fault.
    AbortFirst(Fault),
    /// The producer is of no more use.
    Over(Fault),
}

/// The error of a transactional call.
pub(crate) fn of_transaction(doing: &str, error: &KafkaError) -> Verdict {
    let KafkaError::Transaction(native) = error else {
        // the flush before a commit ran out of time: records may yet arrive
        return Verdict::Over(Fault::Unknown(format!("{doing}: {error}")));
    };
    sorted(
        doing,
        native.code(),
        native.is_fatal(),
        native.txn_requires_abort(),
        &text(native),
    )
}

fn text(error: &RDKafkaError) -> String {
    format!("{} ({})", error.string(), error.name())
}

fn sorted(doing: &str, code: Code, fatal: bool, abortable: bool, text: &str) -> Verdict {
    let text = format!("{doing}: {text}");
    if is_fenced(code) {
        return Verdict::Over(Fault::Fenced(text));
    }
    let fault = if is_config(code) {
        Fault::Config(format!("{text}{}", remedy(code)))
    } else {
        Fault::Abort(text.clone())
    };
    match (abortable, fatal, &fault) {
        (true, _, _) => Verdict::AbortFirst(fault),
        (false, _, Fault::Config(_)) => Verdict::Over(fault),
        (false, true, _) if code == Code::InvalidTransactionalState => {
            Verdict::Over(Fault::Unknown(text))
        }
        (false, true, _) => Verdict::Over(Fault::Fenced(text)),
        (false, false, _) => Verdict::Over(Fault::Unknown(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: Code, fatal: bool, abortable: bool, expected: &str) {
        let (kind, fault) = match sorted("committing", code, fatal, abortable, "x") {
            Verdict::AbortFirst(fault) => ("abort first, ", fault),
            Verdict::Over(fault) => ("", fault),
        };
        assert_eq!(format!("{kind}{}", fault.name()), expected, "{code:?}");
    }

    #[test]
    fn the_table() {
        check(Code::Fenced, true, false, "fenced");
        check(Code::InvalidProducerEpoch, false, true, "fenced");
        check(Code::OutOfOrderSequenceNumber, true, false, "fenced");
        check(Code::OperationTimedOut, false, false, "unknown");
        check(Code::BrokerTransportFailure, false, false, "unknown");
        check(Code::InvalidTransactionalState, false, false, "unknown");
        check(Code::InvalidTransactionalState, true, false, "unknown");
        check(Code::IllegalGeneration, false, true, "abort first, abort");
        check(Code::MessageTimedOut, false, true, "abort first, abort");
        check(
            Code::TopicAuthorizationFailed,
            false,
            true,
            "abort first, config",
        );
        check(
            Code::TransactionalIdAuthorizationFailed,
            true,
            false,
            "config",
        );
    }
}
