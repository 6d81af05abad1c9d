//! What goes wrong, how often, and how the simulated cluster is set.

use super::broker::assign::Assignor;

/// How likely each fault is: shares of 1, drawn from the log's seed. All zero, the default, is a log without faults.
///
/// A *request* is one exchange with the brokers; a *call* is one of a session's, and may cost several requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultPlan {
    /// A transactional request never arrives, and the session's call ends with `Unknown` (opening: `Unreachable`).
    pub request_lost: f64,
    /// A transactional request is done, its answer is lost: `Unknown` (opening: `Unreachable`).
    pub answer_lost: f64,
    /// A transactional request arrives later, at most `delay_ms_max`; the call has ended with `Unknown` before.
    pub request_delayed: f64,
    /// The same for the end of a transaction alone: under protocol version 1 a delayed commit or abort ends whatever
    /// transaction the same epoch has open when it arrives.
    pub end_delayed: f64,
    /// A request that is no part of a transaction (offsets, ends, a restore) has no answer: `Unreachable`.
    pub ask_lost: f64,
    /// At most so late does a delayed request arrive.
    pub delay_ms_max: i64,
    /// At most so long does a call wait for an answer that does not come.
    pub answer_wait_ms_max: i64,
    /// `send` or `commit` ends with `Abort`, and the transaction was aborted.
    pub abort: f64,
    /// From a request on nobody can reach the brokers, for at most `unreachable_ms_max`. Calls wait it out up to
    /// `call_timeout_ms`, then end with `Unreachable`, those of a transaction with `Unknown`.
    pub unreachable: f64,
    /// At most so long are the brokers out of reach.
    pub unreachable_ms_max: i64,
    /// A request finds a rebalance under way in the session's group, for no reason of its own.
    pub rebalance: f64,
    /// A request finds the session's member thrown out of its group, as after a long silence.
    pub evict: f64,
    /// After a call the whole instance stands still, as after SIGSTOP, for `stop_ms_min` to `stop_ms_max`. See
    /// `SimulatedLog::is_stopped`: whoever drives the sessions lets the others go on meanwhile.
    pub stop: f64,
    /// The least such time.
    pub stop_ms_min: i64,
    /// The longest such time.
    pub stop_ms_max: i64,
    /// The instance dies before a request, as after SIGKILL: all its sessions are void. See `SimulatedLog::is_killed`.
    pub crash: f64,
    /// A transaction's marker is written later than decided, at most `marker_ms_max`: until then the partition's end is not
    /// stable, or the group's offsets are not.
    pub marker_late: f64,
    /// At most so late is a marker.
    pub marker_ms_max: i64,
    /// A sent record stays in the client, in a batch that is not full, until a later record or the commit takes it along.
    pub linger: f64,
    /// A poll delivers fewer records than it could.
    pub short_poll: f64,
    /// A poll delivers no records although there are some.
    pub empty_poll: f64,
    /// Compaction and retention happen just before a request.
    pub maintain: f64,
    /// Each request takes so long at most.
    pub latency_ms_max: i64,
}

impl FaultPlan {
    /// Nothing goes wrong.
    pub fn quiet() -> Self {
        Self::default()
    }

    /// Everything goes wrong now and then: about one call in ten meets a fault.
    pub fn rough() -> Self {
        Self {
            request_lost: 0.002,
            answer_lost: 0.004,
            request_delayed: 0.002,
            end_delayed: 0.01,
            ask_lost: 0.002,
            delay_ms_max: 3_000,
            answer_wait_ms_max: 2_000,
            abort: 0.01,
            unreachable: 0.000_5,
            unreachable_ms_max: 60_000,
            rebalance: 0.005,
            evict: 0.001,
            stop: 0.002,
            stop_ms_min: 500,
            stop_ms_max: 40_000,
            crash: 0.002,
            marker_late: 0.05,
            marker_ms_max: 500,
            linger: 0.2,
            short_poll: 0.2,
            empty_poll: 0.05,
            maintain: 0.01,
            latency_ms_max: 5,
        }
    }

    /// The rough plan with about half of its faults left out, which ones is drawn from a seed: a fault shows more when another
    /// does not hide it.
    pub fn drawn(seed: u64) -> Self {
        let mut draw = super::draw::Draw::new(seed ^ 0x706c_616e);
        let mut plan = Self::rough();
        for share in [
            &mut plan.request_lost,
            &mut plan.answer_lost,
            &mut plan.request_delayed,
            &mut plan.end_delayed,
            &mut plan.ask_lost,
            &mut plan.abort,
            &mut plan.unreachable,
            &mut plan.rebalance,
            &mut plan.evict,
            &mut plan.stop,
            &mut plan.crash,
            &mut plan.marker_late,
            &mut plan.linger,
            &mut plan.short_poll,
            &mut plan.empty_poll,
            &mut plan.maintain,
        ] {
            if draw.chance(0.5) {
                *share = 0.0;
            }
        }
        plan
    }
}

/// How the simulated cluster and its clients are set; the defaults are those of [`crate::kafka::KafkaSettings`] and of Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedSettings {
    /// A transaction that stays open longer is aborted; 10 s.
    pub transaction_timeout_ms: i64,
    /// How often the brokers look for such transactions; 10 s.
    pub transaction_scan_ms: i64,
    /// After so much silence a member is out; 10 s.
    pub session_timeout_ms: i64,
    /// A member that does not poll for so long falls silent, and a rebalance waits no longer for anybody; 300 s.
    pub max_poll_interval_ms: i64,
    /// How long one call to the brokers may take; 30 s.
    pub call_timeout_ms: i64,
    /// Whether a member has a name that outlives it; yes.
    pub static_membership: bool,
    /// How the members of a group share partitions; range.
    pub assignor: Assignor,
    /// Whether a session may go on after `Unknown`, as librdkafka would let it; no. To plant the bug "a commit is tried again
    /// in place", and for nothing else.
    pub retry_in_place: bool,
}

impl Default for SimulatedSettings {
    fn default() -> Self {
        Self {
            transaction_timeout_ms: 10_000,
            transaction_scan_ms: 10_000,
            session_timeout_ms: 10_000,
            max_poll_interval_ms: 300_000,
            call_timeout_ms: 30_000,
            static_membership: true,
            assignor: Assignor::Range,
            retry_in_place: false,
        }
    }
}
