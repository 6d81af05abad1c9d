//! Asks a Confluent-compatible registry (Confluent's, Karapace, Apicurio's `/apis/ccompat/v7`) and remembers what it said.
//!
//! An id is never given to another schema, so an answer is remembered for ever. A denial is not final at once: a producer may
//! register a schema a moment after its first record arrives. So while a denial is young the registry is asked again, at most
//! once a second for an id; when it has denied an id for 30 s, that is remembered for 10 minutes.
//!
//! Blocking; not to be used on a thread of an asynchronous runtime.

use crate::log::{Fault, Lookup, SchemaRegistry};
use schema_registry_converter::blocking::schema_registry::{
    SrSettings, get_schema_by_id, post_schema,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RawError, SchemaType, SuppliedSchema};
use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Which registry, and how patiently it is asked.
#[derive(Clone)]
pub struct RegistrySettings {
    /// Base URL; several, separated by commas, are tried in order.
    pub url: String,
    /// Basic authentication: user and password (with Confluent Cloud, key and secret).
    pub basic: Option<(String, String)>,
    /// Bearer token, instead of `basic`.
    pub token: Option<String>,
    /// For one call; 5 s, because a pipeline stands still meanwhile.
    pub timeout: Duration,
    /// So long an id that was denied is asked for again; 30 s: a deployment's slowest producer.
    pub deny_after: Duration,
    /// At most so often; 1 s.
    pub ask_again_every: Duration,
    /// So long a settled denial is believed; 10 minutes.
    pub believe_denial: Duration,
}

impl RegistrySettings {
    /// The defaults for a registry without authentication.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            basic: None,
            token: None,
            timeout: Duration::from_secs(5),
            deny_after: Duration::from_secs(30),
            ask_again_every: Duration::from_secs(1),
            believe_denial: Duration::from_secs(600),
        }
    }
}

/// A registry over HTTP, with a cache.
pub struct Registry {
    settings: RegistrySettings,
    client: SrSettings,
    ids: Mutex<HashMap<(String, String), u32>>,
    schemas: Mutex<HashMap<u32, Known>>,
}

#[derive(Clone)]
enum Known {
    Schema(Arc<str>),
    Denied { since: Instant, asked: Instant },
}

impl Registry {
    /// Prepares the client; the registry is not asked yet.
    pub fn new(settings: RegistrySettings) -> Result<Self, Fault> {
        let mut urls = settings
            .url
            .split(',')
            .map(|url| url.trim().trim_end_matches('/').to_owned());
        let first = urls.next().unwrap_or_default();
        if !first.starts_with("http://") && !first.starts_with("https://") {
            return Err(Fault::Config(format!(
                "the schema registry's URL `{}` does not begin with http:// or https://",
                settings.url
            )));
        }
        let mut builder = SrSettings::new_builder(first);
        for url in urls {
            builder.add_url(url);
        }
        if let Some((user, password)) = &settings.basic {
            builder.set_basic_authorization(user, Some(password));
        } else if let Some(token) = &settings.token {
            builder.set_token_authorization(token);
        }
        builder.set_timeout(settings.timeout);
        let client = builder.build().map_err(|error| {
            Fault::Config(format!(
                "no client for the schema registry {}: {error}",
                settings.url
            ))
        })?;
        Ok(Self {
            settings,
            client,
            ids: Mutex::default(),
            schemas: Mutex::default(),
        })
    }

    fn fault(&self, asked: &str, error: &SRCError) -> Refusal {
        sorted(&self.settings.url, asked, error)
    }

    fn remembered(&self, id: u32) -> Option<Lookup> {
        let schemas = self
            .schemas
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match schemas.get(&id)? {
            Known::Schema(schema) => Some(Lookup::Schema(schema.clone())),
            Known::Denied { since, asked } => {
                let settled = asked.duration_since(*since) >= self.settings.deny_after;
                let believe = if settled {
                    self.settings.believe_denial
                } else {
                    self.settings.ask_again_every
                };
                (asked.elapsed() < believe).then_some(Lookup::Denied)
            }
        }
    }

    fn remember(&self, id: u32, lookup: &Lookup) {
        let mut schemas = self
            .schemas
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = Instant::now();
        let known = match (lookup, schemas.get(&id)) {
            (Lookup::Schema(schema), _) => Known::Schema(schema.clone()),
            (Lookup::Denied, Some(Known::Denied { since, .. })) => Known::Denied {
                since: *since,
                asked: now,
            },
            (Lookup::Denied, _) => Known::Denied {
                since: now,
                asked: now,
            },
        };
        schemas.insert(id, known);
    }
}

impl SchemaRegistry for Registry {
    fn id_of(&self, subject: &str, schema: &str) -> Result<u32, Fault> {
        let key = (subject.to_owned(), schema.to_owned());
        let ids = || {
            self.ids
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        };
        if let Some(&id) = ids().get(&key) {
            return Ok(id);
        }
        let supplied = SuppliedSchema::new(None, SchemaType::Avro, schema.to_owned());
        let registered =
            post_schema(&self.client, subject.to_owned(), supplied).map_err(|error| match self
                .fault(&format!("registering the schema of {subject}"), &error)
            {
                Refusal::Denied(text) => Fault::Config(text),
                Refusal::Fault(fault) => fault,
            })?;
        ids().insert(key, registered.id);
        self.remember(registered.id, &Lookup::Schema(Arc::from(schema)));
        Ok(registered.id)
    }

    fn schema_of(&self, id: u32) -> Result<Lookup, Fault> {
        if let Some(lookup) = self.remembered(id) {
            return Ok(lookup);
        }
        let lookup = match get_schema_by_id(id, &self.client) {
            Ok(registered) => Lookup::Schema(Arc::from(registered.schema)),
            Err(error) => match self.fault(&format!("asking for schema {id}"), &error) {
                Refusal::Denied(_) => Lookup::Denied,
                Refusal::Fault(fault) => return Err(fault),
            },
        };
        self.remember(id, &lookup);
        Ok(lookup)
    }
}

/// A 404 with a registry's own code is an answer; everything else is a fault.
enum Refusal {
    Denied(String),
    Fault(Fault),
}

fn sorted(url: &str, asked: &str, error: &SRCError) -> Refusal {
    let Some(status) = status_of(error) else {
        return Refusal::Fault(Fault::Unreachable(format!(
            "the schema registry {url} ({asked}): {}",
            reason(error)
        )));
    };
    // the body, where it was a registry's
    let body = error
        .source()
        .and_then(|source| source.downcast_ref::<RawError>());
    let code = body.map_or(0, |body| body.error_code);
    let said = body.map_or("no reason given", |body| body.message.as_str());
    let text = format!("the schema registry {url} ({asked}) answered {status}: {said}");
    match status {
        404 if code >= 40_400 => Refusal::Denied(text),
        404 => Refusal::Fault(Fault::Config(format!(
            "{text}. Is the path right? Apicurio's Confluent API lies under /apis/ccompat/v7"
        ))),
        401 | 403 => Refusal::Fault(Fault::Config(format!(
            "{text}. Check the user and the password, or the token"
        ))),
        408 | 429 | 500.. => Refusal::Fault(Fault::Unreachable(text)),
        _ => Refusal::Fault(Fault::Config(text)),
    }
}

/// The HTTP status. schema_registry_converter 6 keeps it nowhere but in its text, "… failed with status 404 Not Found".
fn status_of(error: &SRCError) -> Option<u16> {
    let (_, rest) = error.error.split_once("failed with status ")?;
    rest.split(' ').next()?.parse().ok()
}

fn reason(error: &SRCError) -> String {
    // the innermost source says what happened ("connection refused"), the outer ones where
    let mut innermost: Option<&dyn Error> = error.source();
    while let Some(next) = innermost.and_then(Error::source) {
        innermost = Some(next);
    }
    innermost.map_or_else(
        || error.error.clone(),
        |source| format!("{}: {source}", error.error),
    )
}
