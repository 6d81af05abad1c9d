//! What the contract consists of: every record with its topics, in reading order, and every file
//! that is made from them.

use std::path::{Path, PathBuf};

use crate::model::Model;
use crate::{docs, json, rust, schemas};

/// One record on the bus.
pub(crate) struct Subject {
    /// Name of the record; its schema is `schemas/<name in snake case>.avsc`.
    pub(crate) record: &'static str,
    /// Topics that carry it, ingress topics without the tenant's prefix.
    pub(crate) topics: &'static [&'static str],
}

/// Records of topics that are partitioned alike.
pub(crate) struct Family {
    /// Name of the family and of the Rust module.
    pub(crate) name: &'static str,
    /// First line of the module's documentation.
    pub(crate) about: &'static str,
    /// Its records.
    pub(crate) subjects: &'static [Subject],
}

const fn on(record: &'static str, topics: &'static [&'static str]) -> Subject {
    Subject { record, topics }
}

/// The contract, in the order of the documentation. A new record is a line here and an `.avsc`.
pub(crate) const FAMILIES: &[Family] = &[
    Family {
        name: "ingress",
        about: "What training stacks, evaluators, planners and people send in.",
        subjects: &[
            on("TrainingTelemetry", &["telemetry.training"]),
            on("RuntimeTelemetry", &["telemetry.runtime"]),
            on("ToolUse", &["telemetry.tooluse"]),
            on("EvalResult", &["eval.results"]),
            on("SafetyResult", &["safety.results"]),
            on("RunConfig", &["runs.config"]),
            on("RunLifecycle", &["runs.lifecycle"]),
            on("RunPlanned", &["runs.planned"]),
            on("RunTags", &["runs.tags"]),
        ],
    },
    Family {
        name: "run",
        about: "What is keyed by tenant and run.",
        subjects: &[
            on("RunEvents", &["runs.events"]),
            on("Window", &["runs.windows"]),
            on("Verdict", &["breaker.verdicts"]),
            on("Late", &["late"]),
        ],
    },
    Family {
        name: "tenant",
        about: "What is keyed by tenant.",
        subjects: &[
            on("ExperimentRow", &["experiments.rows"]),
            on("Cohort", &["registry.cohorts"]),
            on("ScalingFit", &["scaling.fits"]),
            on("PlanRequest", &["planner.requests"]),
            on("Recommendation", &["planner.recommendations"]),
            on("Answer", &["answers"]),
        ],
    },
    Family {
        name: "pool",
        about: "What is keyed by GPU pool.",
        subjects: &[
            on("GrowthRequest", &["growth.requests"]),
            on("GrowthAssignment", &["growth.assignments"]),
            on("WorkerHeartbeat", &["worker.heartbeats"]),
            on("ControlCommand", &["control.commands"]),
            on("ControlDecision", &["control.decisions"]),
            on("Artifact", &["artifacts"]),
        ],
    },
    Family {
        name: "own",
        about: "What the pipeline keeps for itself.",
        subjects: &[
            on("DeadLetter", &["deadletter"]),
            on("IngestProgress", &["ingest.progress"]),
            on("Guard", &["guards"]),
            on("FamilyPartitions", &["families"]),
            on("Tick", &["ticks.run", "ticks.tenant", "ticks.pool"]),
            on("Cut", &["cuts.run", "cuts.tenant", "cuts.pool"]),
            on(
                "Change",
                &["changelog.runs", "changelog.refit", "changelog.cockpit"],
            ),
        ],
    },
];

/// Every subject of the contract.
pub(crate) fn subjects() -> impl Iterator<Item = &'static Subject> {
    FAMILIES.iter().flat_map(|family| family.subjects)
}

/// Every generated file: path relative to the crate, and text.
pub(crate) fn outputs(root: &Path) -> Vec<(PathBuf, String)> {
    let model = Model::load(root);
    let mut files = schemas::outputs(&model);
    files.extend(rust::outputs(&model));
    files.extend(json::outputs(&model));
    files.extend(docs::outputs(&model));
    files
}
