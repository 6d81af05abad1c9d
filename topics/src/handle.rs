//! Topics that know the type of their records.

use std::marker::PhantomData;

use cairn_avro::codec::{self, Fault};
use cairn_avro::contract::Record;
use cairn_avro::record::*;

use crate::catalogue::{Topic, find};
use crate::key::partition_of;
use crate::keyed::Keyed;

/// A topic and the type of what it carries.
///
/// ```
/// use cairn_avro::record::Window;
/// use cairn_topics::handle::RUNS_WINDOWS;
///
/// let window = Window { tenant: "acme".into(), run_id: "r1".into(), ..Default::default() };
/// assert_eq!(RUNS_WINDOWS.name, "runs.windows");
/// assert_eq!(RUNS_WINDOWS.key(&window), "acme/r1");
/// assert!((0..16).contains(&RUNS_WINDOWS.partition(&window, 16)));
/// ```
#[derive(Debug)]
pub struct Handle<T> {
    /// Name of the topic; an ingress topic's without a tenant's prefix.
    pub name: &'static str,
    record: PhantomData<fn(T) -> T>,
}

impl<T: Record> Handle<T> {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            record: PhantomData,
        }
    }

    /// The topic in the catalogue.
    pub fn topic(&self) -> &'static Topic {
        find(self.name).expect("a test finds every handle in the catalogue")
    }

    /// Appends a record's Avro bytes, without a frame.
    pub fn encode(&self, record: &T, out: &mut Vec<u8>) -> Result<(), Fault> {
        codec::encode(record, out)
    }

    /// Appends a frame with a record: the value as it lies on the log.
    pub fn encode_framed(
        &self,
        schema_id: u32,
        record: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        codec::encode_framed(schema_id, record, out)
    }
}

impl<T: Keyed> Handle<T> {
    /// The record's key on the log.
    pub fn key(&self, record: &T) -> String {
        record.record_key()
    }

    /// The record's partition, of so many.
    pub fn partition(&self, record: &T, partitions: i32) -> i32 {
        partition_of(&record.partition_key(), partitions)
    }
}

macro_rules! handles {
    ($($constant:ident: $record:ident = $topic:literal;)+) => {
        $(#[doc = concat!("`", $topic, "`")]
        pub const $constant: Handle<$record> = Handle::new($topic);)+

        #[cfg(test)]
        const ALL: &[(&str, &str)] = &[$(($topic, stringify!($record))),+];
    };
}

handles! {
    TELEMETRY_TRAINING: TrainingTelemetry = "telemetry.training";
    TELEMETRY_RUNTIME: RuntimeTelemetry = "telemetry.runtime";
    TELEMETRY_TOOLUSE: ToolUse = "telemetry.tooluse";
    EVAL_RESULTS: EvalResult = "eval.results";
    SAFETY_RESULTS: SafetyResult = "safety.results";
    RUNS_CONFIG: RunConfig = "runs.config";
    RUNS_LIFECYCLE: RunLifecycle = "runs.lifecycle";
    RUNS_PLANNED: RunPlanned = "runs.planned";
    RUNS_TAGS: RunTags = "runs.tags";
    RUNS_EVENTS: RunEvents = "runs.events";
    RUNS_WINDOWS: Window = "runs.windows";
    BREAKER_VERDICTS: Verdict = "breaker.verdicts";
    LATE: Late = "late";
    EXPERIMENTS_ROWS: ExperimentRow = "experiments.rows";
    REGISTRY_COHORTS: Cohort = "registry.cohorts";
    SCALING_FITS: ScalingFit = "scaling.fits";
    PLANNER_REQUESTS: PlanRequest = "planner.requests";
    PLANNER_RECOMMENDATIONS: Recommendation = "planner.recommendations";
    ANSWERS: Answer = "answers";
    GROWTH_REQUESTS: GrowthRequest = "growth.requests";
    GROWTH_ASSIGNMENTS: GrowthAssignment = "growth.assignments";
    WORKER_HEARTBEATS: WorkerHeartbeat = "worker.heartbeats";
    CONTROL_COMMANDS: ControlCommand = "control.commands";
    CONTROL_DECISIONS: ControlDecision = "control.decisions";
    ARTIFACTS: Artifact = "artifacts";
    DEADLETTER: DeadLetter = "deadletter";
    INGEST_PROGRESS: IngestProgress = "ingest.progress";
    GUARDS: Guard = "guards";
    FAMILIES: FamilyPartitions = "families";
    TICKS_RUN: Tick = "ticks.run";
    TICKS_TENANT: Tick = "ticks.tenant";
    TICKS_POOL: Tick = "ticks.pool";
    CUTS_RUN: Cut = "cuts.run";
    CUTS_TENANT: Cut = "cuts.tenant";
    CUTS_POOL: Cut = "cuts.pool";
    CHANGELOG_RUNS: Change = "changelog.runs";
    CHANGELOG_REFIT: Change = "changelog.refit";
    CHANGELOG_COCKPIT: Change = "changelog.cockpit";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Encoding, catalogue};

    #[test]
    fn every_avro_topic_has_a_handle_of_its_record() {
        let wanted: Vec<_> = catalogue()
            .iter()
            .filter(|topic| topic.encoding == Encoding::Avro)
            .map(|topic| (topic.name, topic.schema))
            .collect();
        assert_eq!(wanted, ALL);
    }
}
