//! Files into ingress topics, exactly once.
//!
//! A source is found ([`source`]), its format told ([`mod@format`]), its units become events, and events, dead letters and
//! the progress that covers them go into one transaction after the other. Whoever is killed goes on where its last
//! transaction ended; the same content again adds nothing; a file that grew adds its tail.
//!
//! # Layout
//!
//! - [`source`]: names to decompressed bytes.
//! - [`mod@format`]: bytes to events, one parser a format.
//! - [`fields`], [`settings`]: named values to records; `--set`.
//! - `units`, `progress`, `writer`, `reading`, `run`: cutting, resuming, writing, the loop over them, and one source.
//! - `archive`, [`mod@follow`]: the members of a tar; files that are still written and rotated.

mod archive;
pub mod fields;
pub mod follow;
pub mod format;
mod progress;
mod reading;
mod run;
pub mod settings;
pub mod source;
mod units;
mod writer;

pub(crate) use writer::{
    FORMAT_HEADER, Origin, REPLAY_HEADER, RUN_HEADER, SOURCE, Sealer, Writer, fits,
};

use crate::redaction::Redaction;
pub(crate) use progress::digest as progress_digest;

use crate::seal::Recipient;
use cairn_avro::record::RunConfig;
use cairn_bus::{Fault, Log, SchemaRegistry};
use cairn_operators::admit::AdmitRules;
use format::mapped::Mapping;
use format::{HEAD_BYTES, Refusal};
use serde::Serialize;
use source::{Content, Everywhere, Found, Place};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Sizes of transactions, each with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records a transaction: enough that a commit's round trips (some 5 ms) vanish, few enough that a reader sees the
    /// first rows of a big file at once.
    pub batch_records: usize,
    /// Bytes a transaction: what a log holds in memory for one.
    pub batch_bytes: usize,
    /// Units of a source a transaction, be they events or noise: bounds what is read again after a kill.
    pub batch_units: u64,
    /// Age of a transaction: well below the 10 s after which a broker gives one up.
    pub batch_ms: u64,
    /// How often a source is begun anew after a transaction was aborted.
    pub retries: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_records: 5_000,
            batch_bytes: 4 * 1024 * 1024,
            batch_units: 200_000,
            batch_ms: 1_000,
            retries: 5,
        }
    }
}

/// What is to be ingested, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files, directories, globs, addresses of object stores, `-`.
    pub sources: Vec<String>,
    /// Name of a format; told from the content without it.
    pub format: Option<String>,
    /// The mapping file, read.
    pub mapping: Option<Arc<Mapping>>,
    /// The run of logs that name none; the file's name without it.
    pub run_id: Option<String>,
    /// First attempt.
    pub attempt: i32,
    /// Configuration of every run that is read (`--set`), see [`settings::parse`].
    pub config: Option<RunConfig>,
    /// Tenant; `default` has no prefix.
    pub tenant: String,
    /// W3C trace context that every record carries.
    pub traceparent: Option<String>,
    /// For whom dead letters are sealed.
    pub recipient: Recipient,
    /// Prefix of groups, `cairn`.
    pub app_id: String,
    /// What `admit` will let in: what is rejected here is rejected for good.
    pub rules: AdmitRules,
    /// Takes out what nobody may see.
    pub redaction: Redaction,
    /// Sizes of transactions.
    pub limits: Limits,
    /// How files that are still written are followed.
    pub follow: follow::Follow,
}

impl Options {
    /// These sources, told from their content, for the tenant `default`.
    #[must_use]
    pub fn new(sources: Vec<String>, recipient: Recipient) -> Self {
        Self {
            sources,
            format: None,
            mapping: None,
            run_id: None,
            attempt: 0,
            config: None,
            tenant: cairn_topics::DEFAULT_TENANT.to_owned(),
            traceparent: None,
            recipient,
            app_id: "cairn".to_owned(),
            rules: AdmitRules::default(),
            redaction: Redaction::default(),
            limits: Limits::default(),
            follow: follow::Follow::default(),
        }
    }
}

/// What became of a source; the fields of `cairn ingest --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SourceSummary {
    /// Path, or `-`.
    pub source: String,
    /// SHA-256 of the raw bytes, as `sha256sum` prints it.
    pub sha256: String,
    /// The format's name; `empty` where there was nothing, `unknown` where the source was skipped.
    pub format: String,
    /// Runs that it holds.
    pub runs: Vec<String>,
    /// Events and bad rows that it holds: accepted + duplicate + rejected.
    pub read: u64,
    /// Events put on the log now.
    pub accepted: u64,
    /// What was on the log already.
    pub duplicate: u64,
    /// Rows that cannot be taken, now; each is a dead letter.
    pub rejected: u64,
    /// The rejects, by class.
    pub errors: BTreeMap<&'static str, u64>,
    /// Places replaced by pseudonyms, by what they held.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub redacted: BTreeMap<&'static str, u64>,
    /// Byte of the content from which on it was new; 0 where all of it was.
    pub resumed_byte: u64,
    /// Lines, or entries of a document.
    pub lines: u64,
    /// Lines that are no data of the format.
    pub ignored: u64,
    /// Why a file that a directory or a glob brought in was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

impl SourceSummary {
    /// A source that was left out.
    fn skipped(source: &str, why: String) -> Self {
        Self {
            source: source.to_owned(),
            format: "unknown".into(),
            skipped: Some(why),
            ..Default::default()
        }
    }
}

/// What the caller is told after each transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// The source.
    pub source: &'a str,
    /// Bytes of its content that are on the log.
    pub bytes: u64,
    /// Events of it that are on the log.
    pub events: u64,
    /// Rejects of it that are on the log.
    pub rejected: u64,
    /// Bytes of the source as it is stored that were read.
    pub raw_bytes: u64,
    /// How many there are, where that is known.
    pub size: Option<u64>,
}

/// Why nothing more was ingested.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The user asked for something that cannot be; says what and how to ask.
    #[error("{0}")]
    Refused(String),
    /// A source cannot be read.
    #[error("{path} cannot be read: {error}; check that it is there and may be read")]
    Unreadable {
        /// The source.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A followed file may be a copy that is not whole yet; it is looked at again.
    #[error("the file was written a moment ago, and is looked at again")]
    Held,
    /// The log refused, or is not there.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The caller asked to stop; what was committed stays, and the next call goes on from there.
    #[error("stopped on request; the same command goes on where this one ended")]
    Stopped,
}

impl From<Refusal> for IngestError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.0)
    }
}

impl IngestError {
    /// The exit code that specs/cli.md gives it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Fault(Fault::Config(_)) => 2,
            Self::Unreadable { .. }
            | Self::Fault(Fault::Unreachable(_) | Fault::Abort(_) | Fault::Unknown(_)) => 4,
            Self::Fault(Fault::Fenced(_)) => 5,
            Self::Stopped | Self::Held => 0,
        }
    }
}

/// Puts files on the log; `each` is told of every transaction and may ask to stop.
///
/// Sources are looked at before the first is read, so that a wrong call changes nothing.
///
/// # Errors
/// See [`IngestError`]; what was committed until then stays.
pub fn ingest(
    log: &dyn Log,
    registry: &dyn SchemaRegistry,
    options: &Options,
    each: &mut dyn FnMut(&Step<'_>) -> ControlFlow<()>,
) -> Result<Vec<SourceSummary>, IngestError> {
    ingest_from(&Everywhere::default(), log, registry, options, each)
}

/// [`ingest`] from a place of one's own.
///
/// # Errors
/// See [`IngestError`].
pub fn ingest_from(
    place: &dyn Place,
    log: &dyn Log,
    registry: &dyn SchemaRegistry,
    options: &Options,
    each: &mut dyn FnMut(&Step<'_>) -> ControlFlow<()>,
) -> Result<Vec<SourceSummary>, IngestError> {
    is_tenant(&options.tenant)?;
    let mut found: Vec<Found> = Vec::new();
    for argument in &options.sources {
        for source in place.list(argument)? {
            if !found.iter().any(|known| known.name == source.name) {
                found.push(source);
            }
        }
    }
    if found.is_empty() {
        return Err(IngestError::Refused(
            "no source was named; name a file, a directory, a glob or -".into(),
        ));
    }
    let mut sources = Vec::with_capacity(found.len());
    for source in found {
        // standard input can be looked at only once, while it is read
        let format = if source.name == "-" {
            Ok(None)
        } else {
            look(place, &source, options).map(Some)
        };
        match format {
            Ok(format) => sources.push((source, Ok(format))),
            Err(IngestError::Refused(why)) if !source.named => sources.push((source, Err(why))),
            Err(error) => return Err(error),
        }
    }
    let topics = log.topics()?;
    let ingest = run::Ingest {
        place,
        log,
        registry,
        options,
        topics: &topics,
        growing: None,
    };
    let mut summaries = Vec::with_capacity(sources.len());
    for (source, format) in sources {
        match format {
            Ok(format) => summaries.extend(ingest.source(&source, format.as_ref(), each)?),
            Err(why) => summaries.push(SourceSummary::skipped(&source.name, why)),
        }
    }
    Ok(summaries)
}

/// What a record of `ingest.progress` says.
pub(crate) fn progress_record(value: &[u8]) -> Result<cairn_avro::record::IngestProgress, String> {
    let framed = cairn_avro::frame::split(value).map_err(|error| error.to_string())?;
    cairn_avro::codec::decode(framed.body).map_err(|error| error.to_string())
}

fn is_tenant(tenant: &str) -> Result<(), IngestError> {
    if cairn_topics::is_tenant(tenant) {
        return Ok(());
    }
    Err(IngestError::Refused(format!(
        "--tenant {tenant:?} is no tenant's name; use lower-case letters, digits and dashes"
    )))
}

/// Tells the format of a source; none where it is empty.
fn look(place: &dyn Place, source: &Found, options: &Options) -> Result<run::Told, IngestError> {
    let unreadable = |error| IngestError::Unreadable {
        path: source.name.clone(),
        error,
    };
    let mut content = place
        .open(&source.name)
        .and_then(Content::new)
        .map_err(unreadable)?;
    let head = content.peek(HEAD_BYTES).map_err(unreadable)?;
    told(&head, source, options)
}

/// Tells the format of a head.
fn told(head: &[u8], source: &Found, options: &Options) -> Result<run::Told, IngestError> {
    let refused = |refusal: Refusal| IngestError::Refused(format!("{}: {refusal}", source.name));
    format::is_itself(head).map_err(refused)?;
    let head = format::without_mark(head);
    let told = match &options.format {
        _ if head.iter().all(u8::is_ascii_whitespace) => return Ok(run::Told::Empty),
        _ if archive::is_archive(head) => return Ok(run::Told::Archive),
        Some(name) => {
            // `jsonl` with a mapping is the table, not the contract
            let name = if options.mapping.is_some() && name == "jsonl" {
                "mapped_jsonl"
            } else {
                name
            };
            format::named(name)
        }
        None => format::detect(head, options.mapping.is_some()),
    };
    let format = told.map_err(refused)?;
    if let Some(run_id) = &options.run_id {
        format
            .takes_run_id(head, run_id, options.mapping.as_deref())
            .map_err(refused)?;
    }
    Ok(run::Told::Format(format))
}
