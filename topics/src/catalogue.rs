//! The catalogue: every topic, as data. Nothing else in the project writes a topic down.
//!
//! `topics apply` creates what is listed here, the AsyncAPI document is made from it, and tests
//! hold the deployment against it.

use cairn_avro::contract::{self, Entry};
use cairn_avro::record::*;

use crate::keyed::Keyed;

/// Topics that are partitioned alike; a task reads topics of one family only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// What training stacks, evaluators, planners and people send in.
    Ingress,
    /// Keyed by tenant and run.
    Run,
    /// Keyed by tenant.
    Tenant,
    /// Keyed by GPU pool.
    Pool,
    /// What the pipeline keeps for itself.
    Own,
}

impl Family {
    /// Its name in settings, topic names and documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::Ingress => "ingress",
            Family::Run => "run",
            Family::Tenant => "tenant",
            Family::Pool => "pool",
            Family::Own => "own",
        }
    }
}

/// What the log may forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// All but the newest record of each key.
    Compact,
    /// Records older than this.
    Delete {
        /// Age at which a record may go (milliseconds).
        retention_ms: i64,
    },
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// A Confluent frame around Avro; on ingress topics also the contract's JSON.
    Avro,
    /// JSON held to a JSON Schema: browsers and shell scripts read it.
    Json,
}

/// What decides the partition of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionBy {
    /// The producer, as it likes.
    Producer,
    /// The values of these fields, through [`partition_of`](crate::partition_of).
    Fields(&'static [&'static str]),
    /// The task that writes it: a task's partition of the family is the topic's partition.
    Task,
}

/// What the record key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptBy {
    /// Whatever the producer sends.
    Producer,
    /// The values of these fields, see [`key`](crate::key()).
    Fields(&'static [&'static str]),
    /// A state table's name, a zero byte, and the key in that table.
    TableKey,
}

/// One topic.
#[derive(Clone, Copy, Debug)]
pub struct Topic {
    /// Its name; on the log an ingress topic may carry a tenant's prefix.
    pub name: &'static str,
    /// Its family.
    pub family: Family,
    /// What decides the partition of a record.
    pub partition_by: PartitionBy,
    /// What the record key is.
    pub kept_by: KeptBy,
    /// Partitions at the first `apply`; fixed from then on for our families.
    pub partitions: i32,
    /// What the log may forget.
    pub cleanup: Cleanup,
    /// How old a record of a compacted topic must be before compaction may take it (milliseconds): inputs of a task are kept
    /// as long as its cuts, or a replay could not begin at the first of them.
    pub compaction_lag_ms: i64,
    /// How values are written.
    pub encoding: Encoding,
    /// The record (Avro) or the file in `avro/json` without its extension (JSON).
    pub schema: &'static str,
    /// Whether the broker stamps records as they are appended; all of ours, so that a time read from
    /// a record is the log's and never a client's clock.
    pub append_time: bool,
    /// Largest record that the log takes (bytes).
    pub max_message_bytes: i32,
    /// Who writes it.
    pub owner: &'static str,
    /// What it carries.
    pub description: &'static str,
}

impl Topic {
    /// The Avro contract of its values; nothing for a topic in JSON.
    pub fn entry(&self) -> Option<&'static Entry> {
        match self.encoding {
            Encoding::Avro => contract::of_record(self.schema),
            Encoding::Json => None,
        }
    }

    /// The subject of its schema in the registry; nothing for a topic in JSON.
    pub fn subject(&self) -> Option<String> {
        self.entry().map(|_| contract::subject(self.name))
    }

    /// Whether compaction keeps the newest record of each key.
    pub fn is_compacted(&self) -> bool {
        self.cleanup == Cleanup::Compact
    }

    /// What decides the partition, in words.
    pub fn partition_words(&self) -> String {
        match self.partition_by {
            PartitionBy::Producer => "the producer's choice".to_owned(),
            PartitionBy::Fields(fields) => fields.join("/"),
            PartitionBy::Task => "the partition of the task that writes it".to_owned(),
        }
    }

    /// What the record key is, in words.
    pub fn key_words(&self) -> String {
        match self.kept_by {
            KeptBy::Producer => {
                "the producer's choice; run_id keeps a run's records in order".into()
            }
            KeptBy::Fields(fields) => fields.join("/"),
            KeptBy::TableKey => "table name, a zero byte, key in the table".to_owned(),
        }
    }
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Ingress is read within seconds; a week outlasts a long outage of ours.
const WEEK: Cleanup = Cleanup::Delete {
    retention_ms: 7 * DAY_MS,
};
/// How far back a replay can begin: inputs, ticks and cuts go together.
const MONTH: Cleanup = Cleanup::Delete {
    retention_ms: 30 * DAY_MS,
};
/// Decisions and what they rested on.
const YEAR: Cleanup = Cleanup::Delete {
    retention_ms: 365 * DAY_MS,
};

/// Partitions of the run family: more than a large machine has threads for it.
pub const RUN_PARTITIONS: i32 = 16;

/// Kafka's default of 1 MiB and its 12 bytes of overhead.
const MEBIBYTE: i32 = 1_048_588;
/// What carries an ingress record of a MiB and more of its own: a dead letter its sealed copy and its headers, a late event
/// its contract JSON, which may be six times its Avro. Fits carry their whole bootstrap, recommendations their cards.
const LARGE: i32 = 8 * MEBIBYTE;
/// One entry of a task's state. The largest is a run's open windows: 3 kinds of 16 windows of 2,048 rows of 91 bytes are 9 MB.
const STATE: i32 = 16 * MEBIBYTE;

/// A topic of ours with the usual settings; the table below says what differs.
const fn topic(family: Family, name: &'static str, schema: &'static str) -> Topic {
    Topic {
        name,
        family,
        partition_by: PartitionBy::Task,
        kept_by: KeptBy::TableKey,
        partitions: match family {
            Family::Ingress => 4,
            Family::Run => RUN_PARTITIONS,
            Family::Tenant | Family::Pool | Family::Own => 1,
        },
        cleanup: MONTH,
        compaction_lag_ms: 0,
        encoding: Encoding::Avro,
        schema,
        append_time: true,
        max_message_bytes: MEBIBYTE,
        owner: "",
        description: "",
    }
}

const fn ingress(
    name: &'static str,
    schema: &'static str,
    owner: &'static str,
    description: &'static str,
) -> Topic {
    Topic {
        partition_by: PartitionBy::Producer,
        kept_by: KeptBy::Producer,
        cleanup: WEEK,
        append_time: true,
        owner,
        description,
        ..topic(Family::Ingress, name, schema)
    }
}

const fn keyed<T: Keyed>(
    family: Family,
    name: &'static str,
    schema: &'static str,
    cleanup: Cleanup,
    owner: &'static str,
    description: &'static str,
) -> Topic {
    Topic {
        partition_by: PartitionBy::Fields(T::PARTITION_BY),
        kept_by: KeptBy::Fields(T::KEPT_BY),
        cleanup,
        owner,
        description,
        ..topic(family, name, schema)
    }
}

/// A topic whose partition is its task's: `partitions` are those of the task's family.
const fn task(
    name: &'static str,
    schema: &'static str,
    partitions: i32,
    kept_by: KeptBy,
    cleanup: Cleanup,
    description: &'static str,
) -> Topic {
    Topic {
        partitions,
        kept_by,
        cleanup,
        owner: "the task that owns the partition",
        description,
        ..topic(Family::Own, name, schema)
    }
}

/// A compacted topic that a task reads.
const fn read(topic: Topic) -> Topic {
    Topic {
        compaction_lag_ms: 30 * DAY_MS,
        ..topic
    }
}

const fn large(topic: Topic) -> Topic {
    Topic {
        max_message_bytes: LARGE,
        ..topic
    }
}

const fn state(topic: Topic) -> Topic {
    Topic {
        max_message_bytes: STATE,
        ..topic
    }
}

const fn cockpit(
    name: &'static str,
    schema: &'static str,
    cleanup: Cleanup,
    description: &'static str,
) -> Topic {
    Topic {
        partition_by: PartitionBy::Fields(&["tenant"]),
        kept_by: KeptBy::Fields(&["tenant", "stream"]),
        cleanup,
        encoding: Encoding::Json,
        owner: "cockpit",
        description,
        ..topic(Family::Tenant, name, schema)
    }
}

const TICK: &str =
    "Wall time for the family's tasks: at most one record a second while a timer is armed.";
const CUT: &str =
    "What each batch of the family's tasks covered, so that a replay can cut there too.";
const BY_OPERATOR: KeptBy = KeptBy::Fields(&["operator"]);

#[rustfmt::skip]
static TOPICS: &[Topic] = &[
    ingress("telemetry.training", "TrainingTelemetry", "training stacks, GPU workers", "Step metrics: loss, learning rate, gradient norm, tokens, throughput."),
    ingress("telemetry.runtime", "RuntimeTelemetry", "training stacks, model servers", "Latency, throughput and memory of a model."),
    ingress("telemetry.tooluse", "ToolUse", "agents, SRE exporters", "Tool calls and service traces."),
    ingress("eval.results", "EvalResult", "evaluation harnesses", "Scores with harness, task, number of items and standard error."),
    ingress("safety.results", "SafetyResult", "safety suites, governance", "Safety and governance findings."),
    ingress("runs.config", "RunConfig", "training stacks", "Configuration and provenance of a run."),
    ingress("runs.lifecycle", "RunLifecycle", "training stacks, ingest", "A run started, finished, crashed, or its file ended."),
    ingress("runs.planned", "RunPlanned", "planner", "Runs that the planner proposes."),
    ingress("runs.tags", "RunTags", "CLI, cockpit", "Tags put on a run or taken off it."),

    large(keyed::<RunEvents>(Family::Run, "runs.events", "RunEvents", MONTH, "admit", "Everything admitted about runs, several events of one run packed in a record.")),
    keyed::<Window>(Family::Run, "runs.windows", "Window", MONTH, "runs", "Closed windows."),
    keyed::<Verdict>(Family::Run, "breaker.verdicts", "Verdict", YEAR, "runs", "What the breaker decided about a run, and on which evidence."),
    large(keyed::<Late>(Family::Run, "late", "Late", MONTH, "runs", "Events too late for their window, and by how much.")),

    read(keyed::<ExperimentRow>(Family::Tenant, "experiments.rows", "ExperimentRow", Cleanup::Compact, "runs", "The normalised row of each run, with derived compute and input offsets.")),
    read(keyed::<Cohort>(Family::Tenant, "registry.cohorts", "Cohort", Cleanup::Compact, "CLI", "Named queries over the rows.")),
    large(keyed::<ScalingFit>(Family::Tenant, "scaling.fits", "ScalingFit", Cleanup::Compact, "refit", "Fitted laws with uncertainty and diagnostics.")),
    keyed::<PlanRequest>(Family::Tenant, "planner.requests", "PlanRequest", YEAR, "CLI, gateway", "Questions what to run next."),
    large(keyed::<Recommendation>(Family::Tenant, "planner.recommendations", "Recommendation", YEAR, "planner", "What to run next, and why; signed.")),
    large(keyed::<Answer>(Family::Tenant, "answers", "Answer", MONTH, "executors", "Results of long work that a core asked for.")),
    cockpit("cockpit.telegrams", "telegram", MONTH, "What happened, one small event a record."),
    cockpit("cockpit.board", "board", Cleanup::Compact, "The folded board of a stream: a snapshot replaces the one before."),

    keyed::<GrowthRequest>(Family::Pool, "growth.requests", "GrowthRequest", YEAR, "CLI, wizard, planner", "Models to be grown."),
    keyed::<GrowthAssignment>(Family::Pool, "growth.assignments", "GrowthAssignment", Cleanup::Compact, "dispatch", "Attempt, worker and lease of each growth job."),
    keyed::<WorkerHeartbeat>(Family::Pool, "worker.heartbeats", "WorkerHeartbeat", WEEK, "GPU workers", "Workers say that they live."),
    keyed::<ControlCommand>(Family::Pool, "control.commands", "ControlCommand", YEAR, "CLI, cockpit, rules", "What people and rules ask for."),
    keyed::<ControlDecision>(Family::Pool, "control.decisions", "ControlDecision", YEAR, "gate", "What was decided, by whom or by which rule, on which evidence."),
    keyed::<Artifact>(Family::Pool, "artifacts", "Artifact", Cleanup::Compact, "GPU workers", "What was made."),

    large(keyed::<DeadLetter>(Family::Own, "deadletter", "DeadLetter", MONTH, "every operator", "Records that could not be used, with the reason; the original is sealed.")),
    keyed::<IngestProgress>(Family::Own, "ingest.progress", "IngestProgress", Cleanup::Compact, "ingest", "How far each file has been read."),
    keyed::<Guard>(Family::Own, "guards", "Guard", Cleanup::Compact, "every operator", "Guards that are open: what is held back or warned of, why, and until when."),
    keyed::<FamilyPartitions>(Family::Own, "families", "FamilyPartitions", Cleanup::Compact, "`topics apply`, `migrate`", "How many partitions of a family are in use."),
    task("ticks.run", "Tick", RUN_PARTITIONS, BY_OPERATOR, MONTH, TICK),
    task("ticks.tenant", "Tick", 1, BY_OPERATOR, MONTH, TICK),
    task("ticks.pool", "Tick", 1, BY_OPERATOR, MONTH, TICK),
    task("cuts.run", "Cut", RUN_PARTITIONS, BY_OPERATOR, MONTH, CUT),
    task("cuts.tenant", "Cut", 1, BY_OPERATOR, MONTH, CUT),
    task("cuts.pool", "Cut", 1, BY_OPERATOR, MONTH, CUT),
    state(task("changelog.runs", "Change", RUN_PARTITIONS, KeptBy::TableKey, Cleanup::Compact, "State of the `runs` tasks: dedupe, normalize, windows, breaker.")),
    state(task("changelog.refit", "Change", 1, KeptBy::TableKey, Cleanup::Compact, "State of the `refit` tasks.")),
    state(task("changelog.cockpit", "Change", 1, KeptBy::TableKey, Cleanup::Compact, "State of the `cockpit` tasks.")),
];

/// Every topic, in the order of the documentation.
pub fn catalogue() -> &'static [Topic] {
    TOPICS
}

/// A topic by its name without a tenant's prefix.
pub fn find(name: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.name == name)
}

/// Tenant of an ingress topic without a prefix.
pub const DEFAULT_TENANT: &str = "default";

/// Whether a name can be a tenant's: `[a-z0-9][a-z0-9-]{0,62}`.
pub fn is_tenant(name: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    name.len() <= 63
        && !name.starts_with('-')
        && !name.is_empty()
        && name.as_bytes().iter().all(inner)
}

/// Tenant and topic of an ingress topic's name on the log; nothing for any other name.
///
/// ```
/// let (tenant, topic) = cairn_topics::split_tenant("acme.telemetry.training").unwrap();
/// assert_eq!((tenant, topic.name), ("acme", "telemetry.training"));
/// assert_eq!(cairn_topics::split_tenant("eval.results").unwrap().0, "default");
/// assert!(cairn_topics::split_tenant("acme.runs.events").is_none());
/// ```
pub fn split_tenant(name: &str) -> Option<(&str, &'static Topic)> {
    let ingress = |name| find(name).filter(|topic| topic.family == Family::Ingress);
    if let Some(topic) = ingress(name) {
        return Some((DEFAULT_TENANT, topic));
    }
    let (tenant, rest) = name.split_once('.')?;
    is_tenant(tenant).then_some(())?;
    Some((tenant, ingress(rest)?))
}

/// The name on the log of a tenant's ingress topic; [`split_tenant`] turned round.
pub fn ingress_name(tenant: &str, topic: &str) -> String {
    if tenant == DEFAULT_TENANT {
        topic.to_owned()
    } else {
        format!("{tenant}.{topic}")
    }
}
