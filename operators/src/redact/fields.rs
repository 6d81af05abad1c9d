//! Which fields of ingress records hold text, and of what kind: one line a field, held to the Avro schemas by a test.
//!
//! A field that a schema adds and this list lacks fails the test: nobody forgets to decide. Numbers, times and enums are not
//! text and are never looked at.

use cairn_avro::record::{
    ArtifactRef, DataSource, Environment, EvalResult, Expected, Hardware, ModelConfig, Payload,
    RunConfig, RunLifecycle, RunPlanned, RunTags, RuntimeTelemetry, SafetyResult, ToolUse,
    TrainingConfig, TrainingTelemetry,
};
use std::collections::BTreeMap;

/// What a text field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// A name, version, path or digest that programs compare: recognisers by shapes that such things have stay away.
    Identifier,
    /// Whatever a person or a model wrote.
    Free,
}

use Content::{Free, Identifier};

/// Sees every text of a record.
pub trait Visit {
    /// A text, to be changed in place.
    fn text(&mut self, field: &'static str, content: Content, text: &mut String);
    /// A name in a map, which is an identifier; the new name where it changes.
    fn key(&mut self, field: &'static str, name: &str) -> Option<String>;
}

/// Shows a visitor every text of a payload.
pub fn visit(payload: &mut Payload, see: &mut impl Visit) {
    match payload {
        Payload::TrainingTelemetry(event) => training_telemetry(event, see),
        Payload::RuntimeTelemetry(event) => runtime_telemetry(event, see),
        Payload::ToolUse(event) => tool_use(event, see),
        Payload::EvalResult(event) => eval_result(event, see),
        Payload::SafetyResult(event) => safety_result(event, see),
        Payload::RunConfig(event) => run_config(event, see),
        Payload::RunLifecycle(event) => run_lifecycle(event, see),
        Payload::RunPlanned(event) => run_planned(event, see),
        Payload::RunTags(event) => run_tags(event, see),
    }
}

fn training_telemetry(event: &mut TrainingTelemetry, see: &mut impl Visit) {
    see.text("run_id", Identifier, &mut event.run_id);
    keys("metrics", &mut event.metrics, see);
}

fn runtime_telemetry(event: &mut RuntimeTelemetry, see: &mut impl Visit) {
    see.text("run_id", Identifier, &mut event.run_id);
    keys("metrics", &mut event.metrics, see);
}

fn tool_use(event: &mut ToolUse, see: &mut impl Visit) {
    see.text("run_id", Identifier, &mut event.run_id);
    maybe("trace_id", Identifier, &mut event.trace_id, see);
    maybe("span_id", Identifier, &mut event.span_id, see);
    see.text("tool", Free, &mut event.tool);
    maybe("error_class", Free, &mut event.error_class, see);
    maybe("task", Free, &mut event.task, see);
}

fn eval_result(event: &mut EvalResult, see: &mut impl Visit) {
    see.text("run_id", Identifier, &mut event.run_id);
    see.text("harness", Identifier, &mut event.harness);
    maybe(
        "harness_version",
        Identifier,
        &mut event.harness_version,
        see,
    );
    see.text("task", Free, &mut event.task);
    see.text("metric", Identifier, &mut event.metric);
    maybe(
        "dataset_version",
        Identifier,
        &mut event.dataset_version,
        see,
    );
}

fn safety_result(event: &mut SafetyResult, see: &mut impl Visit) {
    see.text("run_id", Identifier, &mut event.run_id);
    see.text("suite", Identifier, &mut event.suite);
    maybe("category", Free, &mut event.category, see);
    see.text("metric", Identifier, &mut event.metric);
    maybe("finding", Free, &mut event.finding, see);
    maybe("policy", Free, &mut event.policy, see);
    maybe("method", Free, &mut event.method, see);
}

fn run_lifecycle(event: &mut RunLifecycle, see: &mut impl Visit) {
    see.text("run_id", Identifier, &mut event.run_id);
    maybe("reason", Free, &mut event.reason, see);
    for ArtifactRef {
        kind, uri, sha256, ..
    } in &mut event.artifacts
    {
        see.text("artifacts.kind", Identifier, kind);
        see.text("artifacts.uri", Free, uri);
        maybe("artifacts.sha256", Identifier, sha256, see);
    }
}

fn run_planned(event: &mut RunPlanned, see: &mut impl Visit) {
    see.text("run_id", Identifier, &mut event.run_id);
    see.text("plan_id", Identifier, &mut event.plan_id);
    run_config(&mut event.config, see);
    for Expected { metric, .. } in &mut event.expected {
        see.text("expected.metric", Identifier, metric);
    }
    maybe("reason", Free, &mut event.reason, see);
}

fn run_tags(event: &mut RunTags, see: &mut impl Visit) {
    see.text("run_id", Identifier, &mut event.run_id);
    each("add", Free, &mut event.add, see);
    each("remove", Free, &mut event.remove, see);
    maybe("actor", Free, &mut event.actor, see);
}

fn run_config(event: &mut RunConfig, see: &mut impl Visit) {
    see.text("run_id", Identifier, &mut event.run_id);
    if let Some(ModelConfig {
        family,
        name,
        positional_encoding,
        tokenizer,
        ..
    }) = &mut event.model
    {
        maybe("model.family", Identifier, family, see);
        maybe("model.name", Identifier, name, see);
        maybe(
            "model.positional_encoding",
            Identifier,
            positional_encoding,
            see,
        );
        maybe("model.tokenizer", Identifier, tokenizer, see);
    }
    if let Some(TrainingConfig {
        optimizer,
        schedule,
        precision,
        ..
    }) = &mut event.training
    {
        maybe("training.optimizer", Identifier, optimizer, see);
        maybe("training.schedule", Identifier, schedule, see);
        maybe("training.precision", Identifier, precision, see);
    }
    for DataSource {
        dataset,
        version,
        license,
        ..
    } in &mut event.data_mix
    {
        see.text("data_mix.dataset", Identifier, dataset);
        maybe("data_mix.version", Identifier, version, see);
        maybe("data_mix.license", Free, license, see);
    }
    each("augmentation", Free, &mut event.augmentation, see);
    if let Some(Hardware {
        accelerator,
        interconnect,
        region,
        currency,
        ..
    }) = &mut event.hardware
    {
        maybe("hardware.accelerator", Identifier, accelerator, see);
        maybe("hardware.interconnect", Identifier, interconnect, see);
        maybe("hardware.region", Identifier, region, see);
        maybe("hardware.currency", Identifier, currency, see);
    }
    if let Some(environment) = &mut event.environment {
        let Environment {
            code_commit,
            code_repository,
            framework,
            framework_version,
            container_image,
            python_version,
            cuda_version,
            launcher,
        } = environment;
        maybe("environment.code_commit", Identifier, code_commit, see);
        maybe(
            "environment.code_repository",
            Identifier,
            code_repository,
            see,
        );
        maybe("environment.framework", Identifier, framework, see);
        maybe(
            "environment.framework_version",
            Identifier,
            framework_version,
            see,
        );
        maybe(
            "environment.container_image",
            Identifier,
            container_image,
            see,
        );
        maybe(
            "environment.python_version",
            Identifier,
            python_version,
            see,
        );
        maybe("environment.cuda_version", Identifier, cuda_version, see);
        // a command line, more often than a name
        maybe("environment.launcher", Free, launcher, see);
    }
    each("tags", Free, &mut event.tags, see);
    maybe("parent_run_id", Identifier, &mut event.parent_run_id, see);
}

fn maybe(field: &'static str, content: Content, text: &mut Option<String>, see: &mut impl Visit) {
    if let Some(text) = text {
        see.text(field, content, text);
    }
}

fn each(field: &'static str, content: Content, texts: &mut [String], see: &mut impl Visit) {
    for text in texts {
        see.text(field, content, text);
    }
}

/// Names of a map. They nearly always stay, so that the map is only made anew when one changes.
fn keys(field: &'static str, map: &mut BTreeMap<String, f64>, see: &mut impl Visit) {
    let changed: Vec<(String, String)> = map
        .keys()
        .filter_map(|name| see.key(field, name).map(|new| (name.clone(), new)))
        .collect();
    for (name, new) in changed {
        if let Some(value) = map.remove(&name) {
            map.insert(new, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_avro::contract;
    use serde_json::Value;
    use std::collections::BTreeSet;

    /// Notes the fields that it was shown.
    #[derive(Default)]
    struct Seen(BTreeSet<String>);

    impl Visit for Seen {
        fn text(&mut self, field: &'static str, _: Content, text: &mut String) {
            assert_eq!(text, "text", "{field}");
            self.0.insert(field.to_owned());
        }

        fn key(&mut self, field: &'static str, _: &str) -> Option<String> {
            self.0.insert(field.to_owned());
            None
        }
    }

    /// Paths of every string of a schema, and a value that has them all.
    fn strings(schema: &Value, path: &str, found: &mut BTreeSet<String>) -> Value {
        match schema {
            Value::String(name) => match name.as_str() {
                "string" => {
                    found.insert(path.to_owned());
                    "text".into()
                }
                "boolean" => false.into(),
                "bytes" => "".into(),
                _ if name.starts_with("cairn.v1.") => match name.as_str() {
                    "cairn.v1.NumberState" => "finite".into(),
                    other => panic!("{other} is used twice: say here what it looks like"),
                },
                _ => 0.into(),
            },
            Value::Array(branches) => strings(branches.last().expect("a branch"), path, found),
            _ => match schema["type"].as_str() {
                Some("record") => {
                    let fields = schema["fields"].as_array().expect("fields");
                    let value = fields.iter().map(|field| {
                        let name = field["name"].as_str().expect("a name");
                        let inner = match path {
                            "" => name.to_owned(),
                            // a plan's configuration is the configuration's own
                            "config" => name.to_owned(),
                            path => format!("{path}.{name}"),
                        };
                        (name.to_owned(), strings(&field["type"], &inner, found))
                    });
                    Value::Object(value.collect())
                }
                Some("array") => vec![strings(&schema["items"], path, found)].into(),
                Some("map") => {
                    found.insert(path.to_owned());
                    serde_json::json!({"text": strings(&schema["values"], path, found)})
                }
                Some("enum") => schema["symbols"][0].clone(),
                _ => strings(&schema["type"], path, found),
            },
        }
    }

    #[test]
    fn every_string_of_every_ingress_schema_is_classified() {
        for record in Payload::RECORDS {
            let entry = contract::of_record(record).expect("it is in the contract");
            let schema: Value = serde_json::from_str(entry.schema).expect("JSON");
            let mut expected = BTreeSet::new();
            let value = strings(&schema, "", &mut expected);
            let mut payload =
                cairn_avro::json::payload(entry.topics[0], value.to_string().as_bytes())
                    .unwrap_or_else(|fault| panic!("{record}: {fault:?}"));
            let mut seen = Seen::default();
            visit(&mut payload, &mut seen);
            assert_eq!(seen.0, expected, "{record}");
        }
    }
}
