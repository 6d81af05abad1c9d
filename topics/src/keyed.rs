//! By which fields each record is partitioned and kept.

use cairn_avro::contract::Record;
use cairn_avro::record::*;

use crate::key::key;

/// A record that carries its own keys.
pub trait Keyed: Record {
    /// Fields whose values make the partition key.
    const PARTITION_BY: &'static [&'static str];
    /// Fields whose values make the record key: what compaction keeps one of.
    const KEPT_BY: &'static [&'static str];

    /// The key that the partitioner hashes.
    fn partition_key(&self) -> String;

    /// The key of the record on the log.
    fn record_key(&self) -> String;
}

/// The key that our partitioner hashes for a record.
pub fn partition_key_for<T: Keyed>(record: &T) -> String {
    record.partition_key()
}

macro_rules! keyed {
    ($($record:ident: [$($by:ident),+] [$($kept:ident),+];)+) => {
        $(impl Keyed for $record {
            const PARTITION_BY: &'static [&'static str] = &[$(stringify!($by)),+];
            const KEPT_BY: &'static [&'static str] = &[$(stringify!($kept)),+];

            fn partition_key(&self) -> String {
                key(&[$(&self.$by),+])
            }

            fn record_key(&self) -> String {
                key(&[$(&self.$kept),+])
            }
        })+
    };
}

keyed! {
    RunEvents: [tenant, run_id] [tenant, run_id];
    Window: [tenant, run_id] [tenant, run_id];
    Verdict: [tenant, run_id] [tenant, run_id];
    Late: [tenant, run_id] [tenant, run_id];
    ExperimentRow: [tenant] [tenant, run_id];
    Cohort: [tenant] [tenant, name];
    ScalingFit: [tenant] [tenant, cohort, law];
    PlanRequest: [tenant] [tenant, request_id];
    Recommendation: [tenant] [tenant, recommendation_id];
    Answer: [tenant] [tenant, ask_id];
    GrowthRequest: [pool] [tenant, job_id];
    GrowthAssignment: [pool] [tenant, job_id];
    WorkerHeartbeat: [pool] [pool, worker];
    ControlCommand: [pool] [tenant, command_id];
    ControlDecision: [pool] [tenant, decision_id];
    Artifact: [pool] [tenant, artifact_id];
    DeadLetter: [tenant] [tenant, deadletter_id];
    IngestProgress: [tenant] [tenant, source_id];
    Guard: [tenant] [tenant, guard, subject, operator, instance];
    FamilyPartitions: [family] [family];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_of_the_named_fields() {
        let fit = ScalingFit {
            tenant: "acme".into(),
            cohort: "all runs".into(),
            law: "power/1".into(),
            ..Default::default()
        };
        assert_eq!(partition_key_for(&fit), "acme");
        assert_eq!(fit.record_key(), "acme/all%20runs/power%2F1");
        assert_eq!(ScalingFit::KEPT_BY, ["tenant", "cohort", "law"]);
    }
}
