//! What people and launchers say of a run: configuration, plan, tags, beginning and end. What is said fills in, the last
//! word counts; what a run says of itself stands above its plan.

use super::{LIST_MAX, RowState, set};
use cairn_avro::record::{
    ArtifactRef, ModelConfig, RunConfig, RunLifecycle, RunPlanned, RunState, RunTags,
};

impl RowState {
    pub(super) fn config(&mut self, config: &RunConfig) {
        let row = &mut self.row;
        if let Some(model) = &config.model {
            fill_model(&mut row.model, model);
        }
        if let Some(training) = &config.training {
            fill_training(&mut row.training, training);
        }
        if let Some(hardware) = &config.hardware {
            fill_hardware(&mut row.hardware, hardware);
        }
        if let Some(environment) = &config.environment {
            fill_environment(&mut row.environment, environment);
        }
        if !config.data_mix.is_empty() {
            row.data_mix.clone_from(&config.data_mix);
        }
        if !config.augmentation.is_empty() {
            row.augmentation.clone_from(&config.augmentation);
        }
        let context = config
            .context_length_tokens
            .or(config.model.as_ref().and_then(|m| m.context_length_tokens));
        set(&mut row.context_length_tokens, context);
        set(&mut row.curriculum, config.curriculum);
        set(&mut row.parent_run_id, config.parent_run_id.clone());
        add_tags(&mut row.tags, &config.tags);
    }

    pub(super) fn lifecycle(&mut self, event: &RunLifecycle) {
        let finished = match event.state {
            RunState::Finished => Some(true),
            RunState::Crashed => Some(false),
            RunState::Started | RunState::EndOfFile | RunState::Unknown => None,
        };
        if let Some(finished) = finished
            && self
                .ended
                .is_none_or(|(attempt, _)| event.attempt >= attempt)
        {
            self.ended = Some((event.attempt, finished));
        }
        self.reach(event.attempt, event.step, event.tokens);
        for artifact in &event.artifacts {
            add_artifact(&mut self.row.artifacts, artifact);
        }
    }

    pub(super) fn planned(&mut self, planned: &RunPlanned) {
        self.row.plan_id = Some(planned.plan_id.clone());
        self.row.expected.clone_from(&planned.expected);
        // What a run says of itself stands above what was planned.
        let said = self.row.clone();
        self.config(&planned.config);
        if said.attempts > 0 {
            fill_model(&mut self.row.model, &said.model);
            fill_training(&mut self.row.training, &said.training);
            fill_hardware(&mut self.row.hardware, &said.hardware);
            fill_environment(&mut self.row.environment, &said.environment);
            let row = &mut self.row;
            if !said.data_mix.is_empty() {
                row.data_mix = said.data_mix;
            }
            if !said.augmentation.is_empty() {
                row.augmentation = said.augmentation;
            }
            set(&mut row.context_length_tokens, said.context_length_tokens);
            set(&mut row.curriculum, said.curriculum);
            set(&mut row.parent_run_id, said.parent_run_id);
        }
    }

    pub(super) fn tags(&mut self, tags: &RunTags) {
        add_tags(&mut self.row.tags, &tags.add);
        self.row.tags.retain(|tag| !tags.remove.contains(tag));
    }
}

fn add_tags(tags: &mut Vec<String>, new: &[String]) {
    for tag in new {
        if let Err(place) = tags.binary_search(tag)
            && tags.len() < LIST_MAX
        {
            tags.insert(place, tag.clone());
        }
    }
}

fn add_artifact(artifacts: &mut Vec<ArtifactRef>, new: &ArtifactRef) {
    match artifacts
        .iter()
        .position(|known| known.kind == new.kind && known.uri == new.uri)
    {
        Some(place) => artifacts[place] = new.clone(),
        None if artifacts.len() < LIST_MAX => artifacts.push(new.clone()),
        None => {}
    }
}

/// Fills in the named fields where `new` says something.
macro_rules! fill {
    ($name:ident, $type:ty, $($field:ident),+ $(,)?) => {
        fn $name(known: &mut $type, new: &$type) {
            $(set(&mut known.$field, new.$field.clone());)+
        }
    };
}

fill!(
    fill_model,
    ModelConfig,
    family,
    name,
    parameters_total,
    parameters_active,
    parameters_non_embedding,
    parameters_embedding,
    depth_layers,
    width,
    feed_forward_width,
    heads,
    key_value_heads,
    head_dimension,
    experts,
    experts_active,
    vocabulary_size,
    context_length_tokens,
    positional_encoding,
    tied_embeddings,
    gated_mlp,
    tokenizer,
);
fill!(
    fill_training,
    cairn_avro::record::TrainingConfig,
    optimizer,
    learning_rate_peak,
    learning_rate_final,
    schedule,
    warmup_steps,
    warmup_tokens,
    decay_steps,
    weight_decay,
    beta1,
    beta2,
    gradient_clip,
    batch_tokens,
    batch_sequences,
    steps_planned,
    tokens_planned,
    unique_tokens,
    precision,
    seed,
    dropout,
);
fill!(
    fill_hardware,
    cairn_avro::record::Hardware,
    accelerator,
    accelerator_count,
    nodes,
    interconnect,
    peak_flops_per_second,
    memory_bytes_per_accelerator,
    region,
    price_per_hour,
    currency,
);
fill!(
    fill_environment,
    cairn_avro::record::Environment,
    code_commit,
    code_repository,
    framework,
    framework_version,
    container_image,
    python_version,
    cuda_version,
    launcher,
);
