//! What a Confluent-compatible registry answers, as a function of method, path, body and a store: no sockets, no framework.
//!
//! The gateway mounts [`answer`] so that stock serializers work without a registry beside us; tests mount it as the double.
//! Avro only; no references between schemas, no deletion, no modes: what our contract does not use is answered with 422.

use super::compatibility::{self, DEFAULT_LEVEL, Level};
use super::store::{SchemaStore, Stored};
use crate::log::Fault;
use apache_avro::Schema;
use serde::Deserialize;
use serde_json::{Value, json};

/// Of every answer, and of requests.
pub const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Status and JSON body.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// HTTP's.
    pub status: u16,
    /// The body, [`CONTENT_TYPE`].
    pub body: Value,
}

/// Why something was not done; its code begins with the HTTP status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Confluent's, for example 40403.
    pub code: u32,
    /// For a person.
    pub message: String,
}

const SUBJECT_NOT_FOUND: u32 = 40401;
const VERSION_NOT_FOUND: u32 = 40402;
const SCHEMA_NOT_FOUND: u32 = 40403;
const LEVEL_NOT_SET: u32 = 40408;
const INCOMPATIBLE: u32 = 409;
const INVALID_SCHEMA: u32 = 42201;
const INVALID_VERSION: u32 = 42202;
const INVALID_LEVEL: u32 = 42203;

/// How often a registration is tried again because another one came between judging and adding.
const TRIES: u32 = 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemaBody {
    schema: String,
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<Value>,
}

#[derive(Deserialize)]
struct LevelBody {
    compatibility: String,
}

type Refused<T> = Result<Result<T, Refusal>, Fault>;

fn refuse<T>(code: u32, message: impl Into<String>) -> Refused<T> {
    Ok(Err(Refusal {
        code,
        message: message.into(),
    }))
}

/// Answers one request. `path` is below the registry's base URL; a query string is ignored but for `verbose=true`. A fault
/// of the store is a 500.
pub fn answer(store: &dyn SchemaStore, method: &str, path: &str, body: &[u8]) -> Answer {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts: Vec<String> = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(decoded)
        .collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match route(store, method, &parts, query, body) {
        Ok(Ok(body)) => Answer { status: 200, body },
        Ok(Err(Refusal { code, message })) => {
            let status = if code < 1000 { code } else { code / 100 };
            Answer {
                status: status as u16,
                body: json!({"error_code": code, "message": message}),
            }
        }
        Err(fault) => Answer {
            status: 500,
            body: json!({"error_code": 50001, "message": fault.to_string()}),
        },
    }
}

fn route(
    store: &dyn SchemaStore,
    method: &str,
    parts: &[&str],
    query: &str,
    body: &[u8],
) -> Refused<Value> {
    match (method, parts) {
        ("GET", []) => Ok(Ok(json!({}))),
        ("GET", ["subjects"]) => Ok(Ok(json!(store.subjects()?))),
        ("GET", ["schemas", "types"]) => Ok(Ok(json!(["AVRO"]))),
        ("GET", ["schemas", "ids", id]) => match known(store, id)? {
            Some((_, schema)) => Ok(Ok(json!({"schema": &*schema}))),
            None => refuse(SCHEMA_NOT_FOUND, format!("Schema {id} not found")),
        },
        ("GET", ["schemas", "ids", id, "versions"]) => match known(store, id)? {
            Some((id, _)) => {
                let uses = store.uses(id)?;
                Ok(Ok(uses
                    .into_iter()
                    .map(|(subject, version)| json!({"subject": subject, "version": version}))
                    .collect()))
            }
            None => refuse(SCHEMA_NOT_FOUND, format!("Schema {id} not found")),
        },
        ("GET", ["subjects", subject, "versions"]) => {
            let versions = store.versions(subject)?;
            if versions.is_empty() {
                return no_subject(subject);
            }
            Ok(Ok(versions.iter().map(|stored| stored.version).collect()))
        }
        ("GET", ["subjects", subject, "versions", version]) => {
            Ok(version_of(store, subject, version)?.map(|stored| described(subject, &stored)))
        }
        ("GET", ["subjects", subject, "versions", version, "schema"]) => {
            Ok(version_of(store, subject, version)?.map(|stored| {
                serde_json::from_str(&stored.schema)
                    .unwrap_or_else(|_| Value::String(stored.schema.to_string()))
            }))
        }
        ("POST", ["subjects", subject, "versions"]) => match schema_of(body) {
            Ok(schema) => {
                Ok(register(store, subject, &schema)?.map(|stored| json!({"id": stored.id})))
            }
            Err(refusal) => Ok(Err(refusal)),
        },
        ("POST", ["subjects", subject]) => find(store, subject, body),
        ("POST", ["compatibility", "subjects", subject, "versions"]) => {
            check(store, subject, None, query, body)
        }
        ("POST", ["compatibility", "subjects", subject, "versions", version]) => {
            check(store, subject, Some(version), query, body)
        }
        ("GET", ["config"]) => {
            let level = store
                .level(None)?
                .unwrap_or_else(|| DEFAULT_LEVEL.to_owned());
            Ok(Ok(json!({"compatibilityLevel": level})))
        }
        ("GET", ["config", subject]) => match store.level(Some(subject))? {
            Some(level) => Ok(Ok(json!({"compatibilityLevel": level}))),
            None if query.contains("defaultToGlobal=true") => {
                route(store, "GET", &["config"], query, body)
            }
            None => refuse(
                LEVEL_NOT_SET,
                format!("Subject '{subject}' does not have subject-level compatibility configured"),
            ),
        },
        ("PUT", ["config"]) => set_level(store, None, body),
        ("PUT", ["config", subject]) => set_level(store, Some(subject), body),
        ("GET", ["mode"]) => Ok(Ok(json!({"mode": "READWRITE"}))),
        _ => refuse(
            404,
            format!("HTTP 404 Not Found: {method} /{}", parts.join("/")),
        ),
    }
}

/// Registers a schema, or finds it: the REST call and the registry of this process do the same.
pub fn register<S: SchemaStore + ?Sized>(
    store: &S,
    subject: &str,
    schema: &str,
) -> Refused<Stored> {
    let parsed = match Schema::parse_str(schema) {
        Ok(parsed) => parsed,
        Err(error) => return refuse(INVALID_SCHEMA, format!("Invalid schema: {error}")),
    };
    let canonical = compatibility::canonical(&parsed);
    for _ in 0..TRIES {
        let versions = store.versions(subject)?;
        let known = versions
            .iter()
            .any(|stored| canonical_text(&stored.schema).as_deref() == Some(&canonical));
        let level = level_of(store, subject)?;
        if !known && let Some(objections) = objections(level, &parsed, &versions) {
            return refuse(
                INCOMPATIBLE,
                format!(
                    "Schema being registered is incompatible with an earlier schema for subject \"{subject}\": {objections}"
                ),
            );
        }
        if let Some(stored) = store.add(subject, schema, &canonical, versions.len() as u32)? {
            return Ok(Ok(stored));
        }
    }
    Err(Fault::Unreachable(format!(
        "{TRIES} other schemas were registered for {subject} meanwhile"
    )))
}

fn known(store: &dyn SchemaStore, id: &str) -> Result<Option<(u32, std::sync::Arc<str>)>, Fault> {
    let Ok(id) = id.parse() else { return Ok(None) };
    Ok(store.by_id(id)?.map(|schema| (id, schema)))
}

fn no_subject<T>(subject: &str) -> Refused<T> {
    refuse(SUBJECT_NOT_FOUND, format!("Subject '{subject}' not found."))
}

fn described(subject: &str, stored: &Stored) -> Value {
    json!({"subject": subject, "version": stored.version, "id": stored.id, "schema": &*stored.schema})
}

fn version_of(store: &dyn SchemaStore, subject: &str, version: &str) -> Refused<Stored> {
    let versions = store.versions(subject)?;
    let Some(latest) = versions.last() else {
        return no_subject(subject);
    };
    if version == "latest" || version == "-1" {
        return Ok(Ok(latest.clone()));
    }
    let Some(number) = version.parse::<u32>().ok().filter(|&number| number > 0) else {
        return refuse(
            INVALID_VERSION,
            format!(
                "The specified version '{version}' is not a valid version id. Allowed: 1 to 2147483647 and \"latest\""
            ),
        );
    };
    match versions.get(number as usize - 1) {
        Some(stored) => Ok(Ok(stored.clone())),
        None => refuse(VERSION_NOT_FOUND, format!("Version {version} not found.")),
    }
}

/// The schema's text in a request's body.
fn schema_of(body: &[u8]) -> Result<String, Refusal> {
    let invalid = |message: String| Refusal {
        code: INVALID_SCHEMA,
        message,
    };
    let body: SchemaBody = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("Invalid request: {error}")))?;
    if body
        .schema_type
        .as_deref()
        .is_some_and(|kind| kind != "AVRO")
    {
        return Err(invalid(
            "Invalid schema type: only AVRO is kept here".into(),
        ));
    }
    if !body.references.is_empty() {
        return Err(invalid(
            "References between schemas are not kept here: put the types in one schema".into(),
        ));
    }
    Ok(body.schema)
}

fn find(store: &dyn SchemaStore, subject: &str, body: &[u8]) -> Refused<Value> {
    let schema = match schema_of(body) {
        Ok(schema) => schema,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let Some(canonical) = canonical_text(&schema) else {
        return refuse(INVALID_SCHEMA, "Invalid schema");
    };
    let versions = store.versions(subject)?;
    if versions.is_empty() {
        return no_subject(subject);
    }
    match versions
        .iter()
        .find(|stored| canonical_text(&stored.schema).as_deref() == Some(&canonical))
    {
        Some(stored) => Ok(Ok(described(subject, stored))),
        None => refuse(SCHEMA_NOT_FOUND, "Schema not found"),
    }
}

fn check(
    store: &dyn SchemaStore,
    subject: &str,
    version: Option<&str>,
    query: &str,
    body: &[u8],
) -> Refused<Value> {
    let schema = match schema_of(body) {
        Ok(schema) => schema,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let parsed = match Schema::parse_str(&schema) {
        Ok(parsed) => parsed,
        Err(error) => return refuse(INVALID_SCHEMA, format!("Invalid schema: {error}")),
    };
    let against = match version {
        None => store.versions(subject)?,
        Some(version) => match version_of(store, subject, version)? {
            Ok(stored) => vec![stored],
            Err(refusal) => return Ok(Err(refusal)),
        },
    };
    let objections = objections(level_of(store, subject)?, &parsed, &against);
    let mut answer = json!({"is_compatible": objections.is_none()});
    if query.contains("verbose=true") {
        answer["messages"] = json!(objections.into_iter().collect::<Vec<_>>());
    }
    Ok(Ok(answer))
}

fn set_level(store: &dyn SchemaStore, subject: Option<&str>, body: &[u8]) -> Refused<Value> {
    let level = serde_json::from_slice::<LevelBody>(body)
        .map(|body| body.compatibility)
        .unwrap_or_default();
    if Level::parse(&level).is_none() {
        return refuse(
            INVALID_LEVEL,
            format!("Invalid compatibility level '{level}'"),
        );
    }
    store.set_level(subject, &level)?;
    Ok(Ok(json!({"compatibility": level})))
}

fn level_of<S: SchemaStore + ?Sized>(store: &S, subject: &str) -> Result<Level, Fault> {
    let name = match store.level(Some(subject))? {
        Some(level) => level,
        None => store
            .level(None)?
            .unwrap_or_else(|| DEFAULT_LEVEL.to_owned()),
    };
    Level::parse(&name).ok_or_else(|| {
        Fault::Config(format!(
            "the store holds an unknown compatibility level {name}"
        ))
    })
}

fn canonical_text(schema: &str) -> Option<String> {
    Schema::parse_str(schema)
        .ok()
        .map(|parsed| compatibility::canonical(&parsed))
}

fn objections(level: Level, new: &Schema, versions: &[Stored]) -> Option<String> {
    let older: Vec<Schema> = versions
        .iter()
        .filter_map(|stored| Schema::parse_str(&stored.schema).ok())
        .collect();
    let found = compatibility::objections(level, new, &older);
    if found.is_empty() {
        None
    } else {
        Some(found.join("; "))
    }
}

/// `%XX` as the byte it stands for; what is not UTF-8 afterwards finds nothing.
fn decoded(part: &str) -> String {
    let bytes = part.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let pair = bytes
            .get(index + 1..index + 3)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        match pair
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .filter(|_| bytes[index] == b'%')
        {
            Some(byte) => {
                out.push(byte);
                index += 3;
            }
            None => {
                out.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
