//! What is generated from the schemas is what is checked in.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../examples/generate/contract.rs"]
mod contract;
#[path = "../examples/generate/docs.rs"]
mod docs;
#[path = "../examples/generate/json.rs"]
mod json;
#[path = "../examples/generate/model.rs"]
mod model;
#[path = "../examples/generate/rust.rs"]
mod rust;
#[path = "../examples/generate/schemas.rs"]
mod schemas;
#[path = "../examples/generate/seeds.rs"]
mod seeds;

#[test]
fn a_fresh_run_of_the_generator_changes_nothing() {
    let root = model::root();
    for (path, text) in contract::outputs(&root) {
        let kept = std::fs::read_to_string(root.join(&path)).unwrap_or_default();
        assert!(
            kept == text,
            "{} is not what the schemas say: cargo run -p cairn-avro --example generate",
            path.display()
        );
    }
}

#[test]
fn every_schema_is_in_the_contract_or_shared() {
    let model = model::Model::load(&model::root());
    for named in model.types.values() {
        let listed = contract::subjects().any(|subject| subject.record == named.name);
        assert_eq!(listed, !named.shared, "{}", named.name);
    }
}

#[test]
fn copies_of_a_type_are_identical() {
    // Every copy is made from the one definition; what is checked in is what is made (above).
    // This looks at the files themselves, without the generator's eyes.
    let mut seen = std::collections::BTreeMap::new();
    for path in model::files(&model::root().join("schemas"), "avsc") {
        let text = std::fs::read_to_string(&path).unwrap();
        let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
        each_named(&schema, &mut |name, definition| {
            let shallow = shallow(definition, true);
            let twin = seen
                .entry(name.to_owned())
                .or_insert_with(|| shallow.clone());
            assert_eq!(*twin, shallow, "{name} in {}", path.display());
        });
    }
}

fn each_named(schema: &serde_json::Value, see: &mut impl FnMut(&str, &serde_json::Value)) {
    match schema {
        serde_json::Value::Object(members) => {
            if let (Some(name), true) = (schema["name"].as_str(), members.contains_key("namespace"))
            {
                see(name, schema);
            }
            members.values().for_each(|value| each_named(value, see));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| each_named(item, see)),
        _ => {}
    }
}

/// A definition with the definitions inside replaced by their names.
fn shallow(schema: &serde_json::Value, root: bool) -> serde_json::Value {
    match schema {
        serde_json::Value::Object(members) => match (schema["name"].as_str(), &schema["namespace"])
        {
            (Some(name), serde_json::Value::String(space)) if !root => {
                format!("{space}.{name}").into()
            }
            _ => members
                .iter()
                .map(|(key, value)| (key.clone(), shallow(value, false)))
                .collect(),
        },
        serde_json::Value::Array(items) => items.iter().map(|item| shallow(item, false)).collect(),
        other => other.clone(),
    }
}
