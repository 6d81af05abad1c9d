//! The registry's answers, the client against them, and the client against somebody else's registry.

#![allow(clippy::unwrap_used, reason = "a test")]

use cairn_bus::registry::{Answer, MemoryStore, Registry, RegistrySettings, answer};
use cairn_bus::{Fault, Lookup, SchemaRegistry, testing};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const FIRST: &str = r#"{"type":"record","name":"A","fields":[{"name":"x","type":"long"}]}"#;
/// FIRST and a field with a default.
const WIDER: &str = r#"{"type":"record","name":"A","fields":[{"name":"x","type":"long"},{"name":"y","type":["null","long"],"default":null}]}"#;
/// FIRST and a field without one.
const STRICT: &str = r#"{"type":"record","name":"A","fields":[{"name":"x","type":"long"},{"name":"z","type":"string"}]}"#;

/// One request; the expected status, and what its body must hold.
fn check(store: &MemoryStore, method: &str, path: &str, body: Value, status: u16, expected: Value) {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let Answer {
        status: found,
        body,
    } = answer(store, method, path, body.as_bytes());
    assert_eq!(found, status, "{method} {path}: {body}");
    match expected {
        Value::Object(members) if body.is_object() => {
            for (name, value) in members {
                assert_eq!(body[&name], value, "{method} {path}: {body}");
            }
        }
        expected => assert_eq!(body, expected, "{method} {path}"),
    }
}

#[test]
fn the_calls_of_a_serializer() {
    let store = MemoryStore::default();
    let schema = |text: &str| json!({"schema": text});
    check(&store, "GET", "/subjects", Value::Null, 200, json!([]));
    check(
        &store,
        "POST",
        "/subjects/in-value/versions",
        schema(FIRST),
        200,
        json!({"id": 1}),
    );
    check(
        &store,
        "POST",
        "/subjects/in-value/versions",
        schema(FIRST),
        200,
        json!({"id": 1}),
    );
    check(
        &store,
        "POST",
        "/subjects/in-value/versions",
        schema(WIDER),
        200,
        json!({"id": 2}),
    );
    check(
        &store,
        "POST",
        "/subjects/in-value/versions",
        schema(STRICT),
        409,
        json!({"error_code": 409}),
    );
    check(
        &store,
        "POST",
        "/subjects/a%2Fb-value/versions",
        schema(FIRST),
        200,
        json!({"id": 1}),
    );
    check(
        &store,
        "GET",
        "/subjects",
        Value::Null,
        200,
        json!(["a/b-value", "in-value"]),
    );
    check(
        &store,
        "POST",
        "/subjects/in-value?normalize=false",
        schema(WIDER),
        200,
        json!({"id": 2, "version": 2}),
    );
    check(
        &store,
        "POST",
        "/subjects/in-value",
        schema(STRICT),
        404,
        json!({"error_code": 40403}),
    );
    check(
        &store,
        "POST",
        "/subjects/none",
        schema(FIRST),
        404,
        json!({"error_code": 40401}),
    );
    check(
        &store,
        "GET",
        "/schemas/ids/2?deleted=true",
        Value::Null,
        200,
        json!({"schema": WIDER}),
    );
    check(
        &store,
        "GET",
        "/schemas/ids/9",
        Value::Null,
        404,
        json!({"error_code": 40403}),
    );
    let uses =
        json!([{"subject": "a/b-value", "version": 1}, {"subject": "in-value", "version": 1}]);
    check(
        &store,
        "GET",
        "/schemas/ids/1/versions",
        Value::Null,
        200,
        uses,
    );
    check(
        &store,
        "GET",
        "/subjects/in-value/versions",
        Value::Null,
        200,
        json!([1, 2]),
    );
    check(
        &store,
        "GET",
        "/subjects/in-value/versions/latest",
        Value::Null,
        200,
        json!({"id": 2, "version": 2}),
    );
    check(
        &store,
        "GET",
        "/subjects/in-value/versions/1",
        Value::Null,
        200,
        json!({"id": 1, "schema": FIRST}),
    );
    check(
        &store,
        "GET",
        "/subjects/in-value/versions/7",
        Value::Null,
        404,
        json!({"error_code": 40402}),
    );
    check(
        &store,
        "GET",
        "/subjects/in-value/versions/x",
        Value::Null,
        422,
        json!({"error_code": 42202}),
    );
    check(
        &store,
        "GET",
        "/subjects/none/versions/latest",
        Value::Null,
        404,
        json!({"error_code": 40401}),
    );
    check(
        &store,
        "POST",
        "/subjects/in-value/versions",
        schema("{"),
        422,
        json!({"error_code": 42201}),
    );
    check(
        &store,
        "POST",
        "/subjects/in-value/versions",
        json!({"schema": FIRST, "schemaType": "JSON"}),
        422,
        json!({}),
    );
    check(
        &store,
        "DELETE",
        "/subjects/in-value",
        Value::Null,
        404,
        json!({"error_code": 404}),
    );
}

#[test]
fn compatibility_is_asked_and_set() {
    let store = MemoryStore::default();
    let schema = |text: &str| json!({"schema": text});
    let latest = "/compatibility/subjects/in-value/versions/latest";
    check(
        &store,
        "POST",
        latest,
        schema(FIRST),
        404,
        json!({"error_code": 40401}),
    );
    check(
        &store,
        "POST",
        "/subjects/in-value/versions",
        schema(FIRST),
        200,
        json!({"id": 1}),
    );
    check(
        &store,
        "POST",
        latest,
        schema(WIDER),
        200,
        json!({"is_compatible": true}),
    );
    check(
        &store,
        "POST",
        latest,
        schema(STRICT),
        200,
        json!({"is_compatible": false}),
    );
    let Answer { body, .. } = answer(
        &store,
        "POST",
        &format!("{latest}?verbose=true"),
        schema(STRICT).to_string().as_bytes(),
    );
    assert_eq!(body["messages"].as_array().map(Vec::len), Some(1), "{body}");
    check(
        &store,
        "GET",
        "/config",
        Value::Null,
        200,
        json!({"compatibilityLevel": "BACKWARD"}),
    );
    check(
        &store,
        "GET",
        "/config/in-value",
        Value::Null,
        404,
        json!({"error_code": 40408}),
    );
    check(
        &store,
        "PUT",
        "/config/in-value",
        json!({"compatibility": "SOME"}),
        422,
        json!({"error_code": 42203}),
    );
    check(
        &store,
        "PUT",
        "/config/in-value",
        json!({"compatibility": "NONE"}),
        200,
        json!({"compatibility": "NONE"}),
    );
    check(
        &store,
        "GET",
        "/config/in-value",
        Value::Null,
        200,
        json!({"compatibilityLevel": "NONE"}),
    );
    check(
        &store,
        "POST",
        "/subjects/in-value/versions",
        schema(STRICT),
        200,
        json!({"id": 2}),
    );
    check(
        &store,
        "PUT",
        "/config/in-value",
        json!({"compatibility": "FORWARD_TRANSITIVE"}),
        200,
        json!({}),
    );
    check(
        &store,
        "POST",
        latest,
        schema(FIRST),
        200,
        json!({"is_compatible": false}),
    );
}

/// What the client promises of any registry.
fn client_contract(url: &str, subject: &str) {
    let registry = Registry::new(RegistrySettings::new(url)).unwrap();
    let id = registry.id_of(subject, FIRST).unwrap();
    assert_eq!(registry.id_of(subject, FIRST).unwrap(), id);
    let again = Registry::new(RegistrySettings::new(url)).unwrap();
    let Lookup::Schema(text) = again.schema_of(id).unwrap() else {
        panic!("denied")
    };
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap(),
        serde_json::from_str::<Value>(FIRST).unwrap()
    );
    assert_ne!(again.id_of(subject, WIDER).unwrap(), id);
    assert_eq!(again.schema_of(99_999).unwrap(), Lookup::Denied);
    assert!(matches!(again.id_of(subject, "{"), Err(Fault::Config(_))));
}

#[test]
fn the_client_and_our_answers() {
    let double = testing::RegistryDouble::start(Arc::new(MemoryStore::default()));
    client_contract(&double.url(), "in-value");
    let registry = Registry::new(RegistrySettings::new(double.url())).unwrap();
    assert!(
        matches!(registry.id_of("in-value", STRICT), Err(Fault::Config(text)) if text.contains("incompatible"))
    );
    let id = registry.id_of("in-value", FIRST).unwrap();
    // what is known needs no registry; what is not known does
    double.force(503);
    assert!(matches!(registry.schema_of(id), Ok(Lookup::Schema(_))));
    for status in [500, 503] {
        double.force(status);
        assert!(
            matches!(registry.schema_of(77), Err(Fault::Unreachable(_))),
            "{status}"
        );
    }
    double.force(404);
    assert!(
        matches!(registry.schema_of(77), Err(Fault::Config(text)) if text.contains("/apis/ccompat/v7"))
    );
    double.force(401);
    assert!(
        matches!(registry.schema_of(77), Err(Fault::Config(text)) if text.contains("password"))
    );
}

#[test]
fn a_denial_is_asked_again_until_it_is_settled() {
    let double = testing::RegistryDouble::start(Arc::new(MemoryStore::default()));
    let mut settings = RegistrySettings::new(double.url());
    settings.ask_again_every = Duration::ZERO;
    settings.deny_after = Duration::ZERO;
    settings.believe_denial = Duration::from_secs(600);
    let settled = Registry::new(settings.clone()).unwrap();
    assert_eq!(settled.schema_of(1).unwrap(), Lookup::Denied);
    let asked = double.asked();
    assert_eq!(settled.schema_of(1).unwrap(), Lookup::Denied);
    assert_eq!(double.asked(), asked, "a settled denial is believed");
    settings.deny_after = Duration::from_secs(600);
    let young = Registry::new(settings).unwrap();
    assert_eq!(young.schema_of(1).unwrap(), Lookup::Denied);
    young.id_of("late-value", FIRST).unwrap();
    assert!(
        matches!(young.schema_of(1).unwrap(), Lookup::Schema(_)),
        "it was registered meanwhile"
    );
}

#[test]
fn nobody_there_is_unreachable() {
    let registry = Registry::new(RegistrySettings::new("http://127.0.0.1:9")).unwrap();
    assert!(
        matches!(registry.schema_of(1), Err(Fault::Unreachable(text)) if text.contains("127.0.0.1:9"))
    );
    assert!(matches!(
        Registry::new(RegistrySettings::new("localhost:8081")),
        Err(Fault::Config(_))
    ));
}

#[test]
fn the_client_and_apicurio() {
    let Some(server) = testing::apicurio() else {
        return;
    };
    client_contract(&server.url(), "cairn-tests-value");
}
