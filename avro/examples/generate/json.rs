//! Writes the JSON Schemas of what files, HTTP bodies and the CLI's output hold: the contract's
//! JSON, as `cairn_avro::json` takes it.

use std::path::PathBuf;

use cairn_avro::json::DEFAULT_TOPIC;
use cairn_avro::tree::Tree;

use crate::contract::FAMILIES;
use crate::model::{Field, Model, Shape, Type};
use crate::schemas::pretty_json;

/// One JSON Schema: file, title, and the records of which a text is one.
struct Document {
    name: &'static str,
    title: &'static str,
    about: &'static str,
    records: &'static [&'static str],
}

const DOCUMENTS: &[Document] = &[
    Document {
        name: "config",
        title: "Run configuration",
        about: "Model, training, data and environment of a run, as a record of `runs.config`.",
        records: &["RunConfig"],
    },
    Document {
        name: "metrics",
        title: "Metrics",
        about: "What a run reports: training, runtime, tool use, evaluation and safety, one record each.",
        records: &[
            "TrainingTelemetry",
            "RuntimeTelemetry",
            "ToolUse",
            "EvalResult",
            "SafetyResult",
        ],
    },
    Document {
        name: "experiment",
        title: "Experiment row",
        about: "The normalised row of a run, as a record of `experiments.rows`.",
        records: &["ExperimentRow"],
    },
    Document {
        name: "recommendation",
        title: "Recommendation",
        about: "What to run next and why, as a record of `planner.recommendations`.",
        records: &["Recommendation"],
    },
];

/// The JSON Schema files.
pub(crate) fn outputs(model: &Model) -> Vec<(PathBuf, String)> {
    DOCUMENTS
        .iter()
        .map(|document| {
            let path = PathBuf::from("json").join(format!("{}.json", document.name));
            (path, pretty_json(&schema(model, document)))
        })
        .collect()
}

fn schema(model: &Model, document: &Document) -> Tree {
    let mut used = Vec::new();
    let roots: Vec<Tree> = document
        .records
        .iter()
        .map(|record| reference(record, &mut used))
        .collect();
    let mut definitions = Vec::new();
    let mut at = 0;
    while at < used.len() {
        let name = used[at].clone();
        definitions.push((name.clone(), definition(model, document, &name, &mut used)));
        at += 1;
    }
    definitions.sort_by(|a, b| a.0.cmp(&b.0));
    let root = match roots.as_slice() {
        [one] => (
            "$ref".to_owned(),
            one.get("$ref").cloned().unwrap_or(Tree::Null),
        ),
        _ => ("anyOf".to_owned(), Tree::List(roots)),
    };
    Tree::Object(vec![
        member(
            "$schema",
            text("https://json-schema.org/draft/2020-12/schema"),
        ),
        member("$id", text(&format!("urn:cairn:{}:1", document.name))),
        member("title", text(document.title)),
        member("description", text(document.about)),
        root,
        member("$defs", Tree::Object(definitions)),
    ])
}

fn definition(model: &Model, document: &Document, name: &str, used: &mut Vec<String>) -> Tree {
    match name {
        "double" => {
            return object(vec![
                member(
                    "description",
                    text("A number; JSON has none for these three, training has."),
                ),
                member(
                    "anyOf",
                    Tree::List(vec![
                        of_type("number"),
                        member_object("enum", texts(["NaN", "Infinity", "-Infinity"])),
                    ]),
                ),
            ]);
        }
        "time" => {
            return object(vec![
                member(
                    "description",
                    text("Milliseconds since 1970 (UTC), or RFC 3339 in UTC."),
                ),
                member(
                    "anyOf",
                    Tree::List(vec![
                        of_type("integer"),
                        object(vec![
                            member("type", text("string")),
                            member("pattern", text(TIME_PATTERN)),
                        ]),
                    ]),
                ),
            ]);
        }
        _ => {}
    }
    let named = &model.types[name];
    match &named.shape {
        Shape::Enum { symbols, .. } => object(vec![
            member("description", text(&named.doc)),
            member("enum", texts(symbols.iter().map(String::as_str))),
        ]),
        Shape::Record(fields) => record(
            ingress_topic(name).filter(|_| document.records.contains(&name)),
            document.records.len() > 1,
            &named.doc,
            fields,
            used,
        ),
    }
}

const TIME_PATTERN: &str = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\
                            (\\.[0-9]{1,9})?(Z|[+-]00:00)$";

/// The schema of a record; one that travels alone may say its topic and its event's identity.
fn record(
    topic: Option<&str>,
    among_several: bool,
    doc: &str,
    fields: &[Field],
    used: &mut Vec<String>,
) -> Tree {
    let mut properties = Vec::new();
    if let Some(topic) = topic {
        let about = "Topic family, in files and HTTP bodies; telemetry.training when left out.";
        properties.push((
            "topic".to_owned(),
            object(vec![
                member("description", text(about)),
                member("const", text(topic)),
            ]),
        ));
        let about = "The sender's own identity of the event, in files and HTTP bodies.";
        properties.push((
            "event_id".to_owned(),
            object(vec![
                member("description", text(about)),
                member("type", text("string")),
            ]),
        ));
    }
    for field in fields {
        let mut members = vec![member("description", text(&field.doc))];
        match kind(&field.kind, used) {
            Tree::Object(more) => members.extend(more),
            other => panic!("{other:?} is no schema"),
        }
        if let Some(default) = field
            .default
            .as_ref()
            .filter(|default| **default != Tree::Null)
        {
            members.push(member("default", default.clone()));
        }
        properties.push((field.name.clone(), object(members)));
    }
    // Where a text may be one of several records, its topic says which; only the default may lack.
    let must_say = topic
        .filter(|topic| among_several && *topic != DEFAULT_TOPIC)
        .map(|_| "topic");
    let needed = fields
        .iter()
        .filter(|field| field.default.is_none())
        .map(|field| field.name.as_str());
    let required = must_say.into_iter().chain(needed);
    object(vec![
        member("description", text(doc)),
        member("type", text("object")),
        member("properties", Tree::Object(properties)),
        member("required", texts(required)),
        member("additionalProperties", Tree::Bool(false)),
    ])
}

fn kind(kind: &Type, used: &mut Vec<String>) -> Tree {
    match kind {
        Type::Boolean => of_type("boolean"),
        Type::Int => object(vec![
            member("type", text("integer")),
            member("minimum", Tree::Int(i64::from(i32::MIN))),
            member("maximum", Tree::Int(i64::from(i32::MAX))),
        ]),
        Type::Long => of_type("integer"),
        Type::Text => of_type("string"),
        Type::Bytes => object(vec![
            member("type", text("string")),
            member("pattern", text("^([0-9a-fA-F]{2})*$")),
        ]),
        Type::Double => reference("double", used),
        Type::Time => reference("time", used),
        Type::Named(name) => reference(name, used),
        Type::Option(inner) => member_object(
            "anyOf",
            Tree::List(vec![self::kind(inner, used), of_type("null")]),
        ),
        Type::List(items) => object(vec![
            member("type", text("array")),
            member("items", self::kind(items, used)),
        ]),
        Type::Map(values) => object(vec![
            member("type", text("object")),
            member("additionalProperties", self::kind(values, used)),
        ]),
        Type::Union(_) => panic!("no document holds a union of records"),
    }
}

fn ingress_topic(record: &str) -> Option<&'static str> {
    let ingress = FAMILIES.iter().find(|family| family.name == "ingress")?;
    let subject = ingress
        .subjects
        .iter()
        .find(|subject| subject.record == record)?;
    subject.topics.first().copied()
}

fn reference(name: &str, used: &mut Vec<String>) -> Tree {
    if !used.iter().any(|known| known == name) {
        used.push(name.to_owned());
    }
    member_object("$ref", text(&format!("#/$defs/{name}")))
}

fn of_type(name: &str) -> Tree {
    member_object("type", text(name))
}

fn member_object(name: &str, value: Tree) -> Tree {
    object(vec![member(name, value)])
}

fn object(members: Vec<(String, Tree)>) -> Tree {
    Tree::Object(members)
}

fn member(name: &str, value: Tree) -> (String, Tree) {
    (name.to_owned(), value)
}

fn text(text: &str) -> Tree {
    Tree::Text(text.to_owned())
}

fn texts<'a>(items: impl IntoIterator<Item = &'a str>) -> Tree {
    Tree::List(items.into_iter().map(text).collect())
}
