//! Where each thing lies that the two seed documents name. The generator refuses a place that does
//! not exist.

/// One thing that a seed names, and its places.
pub(crate) struct Place {
    /// Words of the seed.
    pub(crate) named: &'static str,
    /// `Record.field.field`, or `board.member` and `telegram.member` of the JSON Schemas.
    pub(crate) at: &'static [&'static str],
}

/// One part of a seed.
pub(crate) struct Part {
    pub(crate) title: &'static str,
    pub(crate) places: &'static [Place],
}

const fn at(named: &'static str, at: &'static [&'static str]) -> Place {
    Place { named, at }
}

#[rustfmt::skip]
pub(crate) const PARTS: &[Part] = &[
    Part { title: "Seed 000: config", places: &[
        at("model: family", &["RunConfig.model.family", "ExperimentRow.model.family"]),
        at("model: params", &["RunConfig.model.parameters_total", "RunConfig.model.parameters_active", "RunConfig.model.parameters_non_embedding", "RunConfig.model.parameters_embedding"]),
        at("model: depth/width", &["RunConfig.model.depth_layers", "RunConfig.model.width", "RunConfig.model.feed_forward_width", "RunConfig.model.heads"]),
        at("model: moe/expert counts", &["RunConfig.model.experts", "RunConfig.model.experts_active"]),
        at("training: lr schedule", &["RunConfig.training.schedule", "RunConfig.training.learning_rate_peak", "RunConfig.training.learning_rate_final"]),
        at("training: optimizer", &["RunConfig.training.optimizer", "RunConfig.training.beta1", "RunConfig.training.beta2", "RunConfig.training.weight_decay"]),
        at("training: warmup/decay", &["RunConfig.training.warmup_steps", "RunConfig.training.warmup_tokens", "RunConfig.training.decay_steps"]),
        at("training: batch", &["RunConfig.training.batch_tokens", "RunConfig.training.batch_sequences"]),
        at("data mix: datasets + ratios", &["RunConfig.data_mix.dataset", "RunConfig.data_mix.ratio"]),
        at("context length", &["RunConfig.context_length_tokens", "RunConfig.model.context_length_tokens"]),
        at("curriculum flag", &["RunConfig.curriculum"]),
        at("augmentation toggles", &["RunConfig.augmentation"]),
    ]},
    Part { title: "Seed 000: metrics", places: &[
        at("training loss", &["TrainingTelemetry.loss", "Window.loss_mean", "ExperimentRow.loss_last", "ExperimentRow.loss_min"]),
        at("eval reasoning scores", &["EvalResult.value", "ExperimentRow.scores.value"]),
        at("eval tool scores", &["ToolUse.outcome", "ExperimentRow.tool_success_ratio", "ExperimentRow.scores.kind"]),
        at("eval safety scores", &["SafetyResult.value", "SafetyResult.severity", "ExperimentRow.scores.kind"]),
        at("latency/throughput", &["RuntimeTelemetry.latency_ms", "RuntimeTelemetry.throughput_tokens_per_second", "ExperimentRow.latency_ms_p50", "ExperimentRow.throughput_tokens_per_second", "ExperimentRow.quantiles.p99", "ExperimentRow.quantiles.sketch"]),
        at("cost: gpu hours", &["ExperimentRow.derived.accelerator_hours"]),
        at("cost: cloud cost", &["ExperimentRow.derived.cost", "ExperimentRow.derived.currency", "ExperimentRow.derived.price_per_hour", "RunConfig.hardware.price_per_hour"]),
        at("stability: divergence", &["ExperimentRow.divergences", "ExperimentRow.nonfinite_steps", "TrainingTelemetry.nan_steps", "TrainingTelemetry.loss_state"]),
        at("stability: retries", &["ExperimentRow.retries", "ExperimentRow.attempts", "ToolUse.retries"]),
        at("uncertainty bands", &["ExperimentRow.uncertainty.low", "ExperimentRow.uncertainty.high", "EvalResult.standard_error"]),
    ]},
    Part { title: "Seed 000: experiment", places: &[
        at("identifiers", &["ExperimentRow.tenant", "ExperimentRow.run_id", "ExperimentRow.attempt", "ExperimentRow.parent_run_id", "ExperimentRow.plan_id"]),
        at("config", &["ExperimentRow.model", "ExperimentRow.training", "ExperimentRow.context_length_tokens", "ExperimentRow.curriculum", "ExperimentRow.augmentation"]),
        at("hardware", &["ExperimentRow.hardware.accelerator", "ExperimentRow.hardware.accelerator_count"]),
        at("runtime environment", &["ExperimentRow.environment.framework", "ExperimentRow.environment.container_image"]),
        at("code commit", &["ExperimentRow.environment.code_commit", "ExperimentRow.environment.code_repository"]),
        at("dataset versions", &["ExperimentRow.data_mix.version", "EvalResult.dataset_version"]),
        at("metrics", &["ExperimentRow.loss_last", "ExperimentRow.scores"]),
        at("artifacts locations", &["ExperimentRow.artifacts.uri"]),
        at("tag experiments", &["RunTags.add", "RunTags.remove", "ExperimentRow.tags"]),
        at("fetch cohorts for fitting", &["Cohort.where_sql"]),
        at("provenance of the row", &["ExperimentRow.inputs", "ExperimentRow.derivation_version"]),
    ]},
    Part { title: "Seed 000: derived", places: &[
        at("FLOPs (derived compute)", &["ExperimentRow.derived.flops", "ExperimentRow.derived.flops_convention"]),
        at("effective tokens", &["ExperimentRow.derived.effective_tokens", "RunConfig.data_mix.unique_tokens"]),
        at("cost", &["ExperimentRow.derived.cost"]),
        at("utilisation of the hardware", &["ExperimentRow.derived.model_flops_utilization", "RunConfig.hardware.peak_flops_per_second"]),
        at("energy", &["ExperimentRow.derived.energy_kilowatt_hours", "RuntimeTelemetry.power_watts"]),
    ]},
    Part { title: "Seed 000: scaling fits", places: &[
        at("power-law/log-linear parameters", &["ScalingFit.law", "ScalingFit.parameters.value"]),
        at("per-fit residuals", &["ScalingFit.residual_max_relative", "ScalingFit.residual_rms_relative"]),
        at("prediction intervals", &["ScalingFit.parameters.low", "ScalingFit.parameters.high", "ScalingFit.backtest.low", "ScalingFit.backtest.high"]),
        at("fit diagnostics", &["ScalingFit.verdict", "ScalingFit.reasons", "ScalingFit.certificate.converged", "ScalingFit.certificate.basins"]),
    ]},
    Part { title: "Seed 000: plan and recommendation", places: &[
        at("plan(objective)", &["PlanRequest.objective"]),
        at("plan(budget)", &["PlanRequest.budget.name", "PlanRequest.budget.value"]),
        at("plan(constraints)", &["PlanRequest.constraints.name", "PlanRequest.constraints.low", "PlanRequest.constraints.high", "PlanRequest.constraints.allowed"]),
        at("plan(preference_weights)", &["PlanRequest.preference_weights.value"]),
        at("objective", &["Recommendation.objective"]),
        at("constraints", &["Recommendation.constraints"]),
        at("predicted metrics", &["Recommendation.predicted.mean", "Recommendation.predicted.low", "Recommendation.predicted.high"]),
        at("config suggestion", &["Recommendation.config"]),
        at("expected utility", &["Recommendation.expected_utility"]),
        at("explanations (importance, partial dependence)", &["Recommendation.explanations.kind", "Recommendation.explanations.data_json", "Recommendation.explanations.figure_json"]),
        at("rationale, why-this-choice notes", &["Recommendation.rationale", "Recommendation.explanations.sentence"]),
        at("follow-on experiment set", &["Recommendation.follow_on"]),
        at("Pareto frontier candidates", &["Recommendation.pareto.config", "Recommendation.pareto.utility"]),
        at("evaluation plan, expected cost", &["Recommendation.evaluation_plan.suite", "Recommendation.evaluation_plan.expected_cost"]),
        at("recommendation confidence", &["Recommendation.confidence"]),
        at("signed recommendation artifacts", &["Recommendation.signature", "Recommendation.key_id"]),
        at("planned experiments in the registry", &["RunPlanned.config", "ExperimentRow.status", "ExperimentRow.expected"]),
    ]},
    Part { title: "Seed 001: telemetry and breaker", places: &[
        at("perplexity", &["TrainingTelemetry.perplexity", "ExperimentRow.perplexity_last"]),
        at("perplexity slope", &["Window.log_perplexity_slope", "Verdict.slope", "Verdict.slope_low", "Verdict.slope_high"]),
        at("accuracy slope (no field of its own yet: the accuracy)", &["TrainingTelemetry.accuracy"]),
        at("circuit breaker", &["Verdict.state", "Verdict.cause", "Verdict.rule", "ExperimentRow.breaker_state"]),
        at("JSONL events of the metrics logger", &["TrainingTelemetry.step", "TrainingTelemetry.metrics"]),
        at("status emitted by jobs", &["GrowthAssignment.state", "WorkerHeartbeat.state", "WorkerHeartbeat.step"]),
        at("context scaling impacts (latency, memory)", &["RuntimeTelemetry.context_tokens", "RuntimeTelemetry.time_to_first_token_ms", "RuntimeTelemetry.memory_bytes", "board.context_impact"]),
    ]},
    Part { title: "Seed 001: cockpit", places: &[
        at("telegram updates", &["telegram.kind", "telegram.text", "telegram.evidence"]),
        at("cockpit strip, telemetry snapshots", &["board.telemetry", "board.phase"]),
        at("circuit-breaker status", &["board.breakers"]),
        at("Approve/Abort/Rollback actions", &["ControlCommand.command", "board.approvals", "board.rollback"]),
        at("human contract gate", &["ControlCommand.contract_digest", "ControlDecision.decision", "ControlDecision.evidence"]),
        at("cognitive-load throttle", &["board.throttle", "board.alerts", "telegram.priority"]),
        at("voice narration", &["board.narration"]),
    ]},
    Part { title: "Seed 001: growth", places: &[
        at("base model", &["GrowthRequest.base_model", "Artifact.base_model"]),
        at("growth strategy: LoRA, context extension, distillation", &["GrowthRequest.method", "GrowthRequest.recipe_yaml"]),
        at("dataset", &["GrowthRequest.dataset_uri"]),
        at("contract validation", &["GrowthRequest.contract_digest"]),
        at("metadata of the run: adapters, dataset, hyperparameters", &["Artifact.metadata"]),
        at("artifact export", &["Artifact.kind", "Artifact.uri", "Artifact.sha256"]),
        at("hardware for the profile recommender", &["WorkerHeartbeat.accelerator", "WorkerHeartbeat.memory_bytes_free"]),
    ]},
];
