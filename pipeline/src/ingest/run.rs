//! One source from its name to its summary: who it is, what of it is on the log, and another try when the log says so.
//!
//! A fault that aborts begins the source anew from the progress that was committed; one whose outcome is not known does so
//! through a new session, which decides it.

use super::format::{self, Format, Framing, HEAD_BYTES, Parser, Refusal, Setup};
use super::progress::{HEAD_BYTES as PROGRESS_HEAD_BYTES, Identity, Known};
use super::reading::{Begun, Reading, Wrong};
use super::source::{Content, Found, Growing, Place, Rewind, Storage, stem};
use super::units::{Next, NoUnits, Units};
use super::writer::{Origin, Writer};
use super::{IngestError, Options, SourceSummary, Step};
use crate::objects::is_address;
use cairn_avro::record::IngestProgress;
use cairn_bus::{Fault, Log, Membership, SchemaRegistry, TopicState};
use cairn_topics::handle::INGEST_PROGRESS;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::ops::ControlFlow;

/// What a source's head says.
#[derive(Clone, Copy)]
pub(super) enum Told {
    /// Nothing is in it.
    Empty,
    /// It holds files of its own.
    Archive,
    /// This format.
    Format(&'static dyn Format),
}

impl Told {
    fn name(self) -> &'static str {
        match self {
            Told::Empty => "empty",
            Told::Archive => "tar",
            Told::Format(format) => format.name(),
        }
    }

    /// The format to read it with; an empty source has no units, and any will do.
    fn format(self) -> &'static dyn Format {
        match self {
            Told::Empty | Told::Archive => format::FORMATS[0],
            Told::Format(format) => format,
        }
    }
}

/// What one call ingests with.
pub(super) struct Ingest<'a> {
    pub(super) place: &'a dyn Place,
    pub(super) log: &'a dyn Log,
    pub(super) registry: &'a dyn SchemaRegistry,
    pub(super) options: &'a Options,
    pub(super) topics: &'a BTreeMap<String, TopicState>,
    /// The source is followed, and this is it.
    pub(super) growing: Option<&'a Growing<'a>>,
}

impl Ingest<'_> {
    /// Ingests one source; of an archive, everything in it.
    pub(super) fn source(
        &self,
        found: &Found,
        told: Option<&Told>,
        each: &mut dyn FnMut(&Step<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<SourceSummary>, IngestError> {
        let unreadable = |error| IngestError::Unreadable {
            path: found.name.clone(),
            error,
        };
        if let Some(Told::Archive) = told {
            let content = self
                .place
                .open(&found.name)
                .and_then(Content::new)
                .map_err(unreadable)?;
            return self.archive(found, content, each);
        }
        if found.name == "-" {
            // it can be read only once: its head is looked at, and then read again before the rest
            let mut raw = self.place.open("-").map_err(unreadable)?;
            let mut head = Vec::new();
            raw.by_ref()
                .take(HEAD_BYTES as u64)
                .read_to_end(&mut head)
                .map_err(unreadable)?;
            let looked = Content::new(Box::new(Cursor::new(head.clone())))
                .and_then(|mut content| content.peek(HEAD_BYTES))
                .map_err(unreadable)?;
            let told = super::told(&looked, found, self.options)?;
            let raw: Box<dyn Read> = Box::new(Cursor::new(head).chain(raw));
            if let Told::Archive = told {
                let content = Content::new(raw).map_err(unreadable)?;
                return self.archive(found, content, each);
            }
            let mut begun = Begun::default();
            return self
                .attempt(found, Some(&told), Some(raw), &mut begun, each)
                .map(|summary| vec![summary]);
        }
        let mut begun = Begun::default();
        for _ in 0..self.options.limits.retries {
            match self.attempt(found, told, None, &mut begun, each) {
                // what is followed is taken up again by whoever follows it, at its new beginning
                Err(IngestError::Fault(Fault::Abort(_) | Fault::Unknown(_)))
                    if self.growing.is_none() => {}
                done => return done.map(|summary| vec![summary]),
            }
        }
        self.attempt(found, told, None, &mut begun, each)
            .map(|summary| vec![summary])
    }

    fn attempt(
        &self,
        found: &Found,
        told: Option<&Told>,
        raw: Option<Box<dyn Read>>,
        begun: &mut Begun,
        each: &mut dyn FnMut(&Step<'_>) -> ControlFlow<()>,
    ) -> Result<SourceSummary, IngestError> {
        let options = self.options;
        let unreadable = |error| IngestError::Unreadable {
            path: found.name.clone(),
            error,
        };
        let refused = |refusal: Refusal| IngestError::Refused(format!("{}: {refusal}", found.name));
        let by_convention = || match told {
            Some(Told::Format(format)) => format.run_of(found.path()),
            _ => None,
        };
        let run_id = options
            .run_id
            .clone()
            .or_else(by_convention)
            .unwrap_or_else(|| stem(found.path()));
        let mut identity = Identity {
            tenant: options.tenant.clone(),
            path: found.name.clone(),
            format: String::new(),
            run_id: run_id.clone(),
            mapping_sha256: options
                .mapping
                .as_ref()
                .map(|mapping| mapping.sha256.clone()),
            path_matters: false,
        };
        if found.name != "-" && !is_address(&found.name) {
            // the same file is the same source from whatever directory it is named
            identity.path = std::path::absolute(&found.name)
                .map_or(identity.path, |path| path.to_string_lossy().into_owned());
        }
        // what is kept of a path is redacted like everything; the same path is the same source all the same
        identity.path = options
            .redaction
            .identifier(&options.tenant, &identity.path)
            .into_owned();
        let source_id = identity.source_id();
        let session = self.log.open(Membership {
            operator: "ingest".into(),
            group: format!("{}.ingest", options.app_id),
            // another process that reads the same source is fenced, one that reads another is not
            instance: source_id[..16].to_owned(),
            thread: 0,
            topics: Vec::new(),
        })?;
        let traceparent = options.traceparent.as_deref();
        let mut writer = Writer::new(
            session,
            self.registry,
            self.topics,
            &options.tenant,
            traceparent,
            &options.recipient,
            &options.redaction,
        );
        let partitions = self
            .topics
            .get(INGEST_PROGRESS.name)
            .map_or(0, |state| state.partitions);
        let mut known = Known::read(writer.session(), &options.tenant, partitions)?;

        // standard input; everything else can be opened again
        let stream = raw.map(Rewind::new);
        let open = || match (&stream, self.growing) {
            (Some(stream), _) => Ok(stream.reader()),
            (None, Some(growing)) => Ok(growing.snapshot()),
            (None, None) => self.place.open(&found.name),
        };
        let raw = match self.growing {
            Some(growing) => growing.reader(),
            None => open().map_err(unreadable)?,
        };
        let mut content = Content::new(raw).map_err(unreadable)?;
        let head = content.peek(HEAD_BYTES).map_err(unreadable)?;
        let told = match told {
            Some(told) => *told,
            None => super::told(&head, found, options)?,
        };
        let format = told.format();
        identity.format = told.name().to_owned();
        identity.path_matters = format.path_matters();
        if format.names_its_runs() {
            identity.run_id.clear();
        }
        let training = options
            .config
            .as_ref()
            .and_then(|config| config.training.as_ref());
        let model = options
            .config
            .as_ref()
            .and_then(|config| config.model.as_ref());
        let length = options
            .config
            .as_ref()
            .and_then(|config| config.context_length_tokens);
        let setup = Setup {
            run_id: run_id.clone(),
            run_id_given: options.run_id.is_some(),
            stem: stem(found.path()),
            attempt: options.attempt,
            batch_tokens: training.and_then(|training| training.batch_tokens),
            sequence_tokens: length.or(model.and_then(|model| model.context_length_tokens)),
            mapping: options.mapping.clone(),
            source: found.path().to_owned(),
        };
        let mut candidates = known.candidates(&identity);
        if stream.is_some() {
            // who writes a stream slowly must not wait until as much has come as something else was long
            let own = head_digest(&head);
            candidates.retain(|other| {
                other.byte.unsigned_abs() <= PROGRESS_HEAD_BYTES as u64 || other.head_sha256 == own
            });
        }
        let generations = identity.generations(&known);
        if let Some(growing) = self.growing {
            let parser = format.parser(&setup).map_err(refused)?;
            let is_cut_as_it_grows = !matches!(parser.framing(), Framing::Whole | Framing::Table);
            if content.storage == Storage::Plain && is_cut_as_it_grows {
                growing.follow();
            }
            if self
                .may_be_a_copy(growing, &head, &identity.path, &candidates)
                .map_err(unreadable)?
            {
                writer.close()?;
                return Err(IngestError::Held);
            }
        }
        let covered = if candidates.is_empty() {
            None
        } else {
            let content = open()
                .and_then(Content::new)
                .map_err(unreadable)?
                .undigested();
            verify(
                content,
                format.parser(&setup).map_err(refused)?.as_mut(),
                &candidates,
                &|source_id| generations.has(source_id),
            )
            .map_err(unreadable)?
        };
        if let Some(stream) = &stream {
            stream.let_go();
        }
        let base = begun.base.get_or_insert_with(|| covered.clone()).clone();

        let mut parser = format.parser(&setup).map_err(refused)?;
        let head_sha256 = head_digest(&head);
        let progress = IngestProgress {
            tenant: options.tenant.clone(),
            source_id: generations.name(covered.as_ref()),
            path: identity.path.clone(),
            format: identity.format.clone(),
            mapping_sha256: identity.mapping_sha256.clone(),
            head_sha256,
            ..IngestProgress::default()
        };
        let origin = Origin {
            path: &found.name,
            format: format.replayed_as(),
            run_id: &run_id,
            replay_of: None,
        };
        let mut reading = Reading::new(self, writer, &mut known, begun, each, origin, progress);
        let mut summary = SourceSummary {
            source: found.name.clone(),
            format: identity.format.clone(),
            ..Default::default()
        };
        let duplicate_document = match Units::new(content, parser.as_mut()) {
            Ok(mut units) => {
                reading
                    .read(&mut units, parser.as_mut(), covered.as_ref())
                    .map_err(|error| match error {
                        Wrong::Refusal(refusal) => refused(refusal),
                        Wrong::Io(error) => unreadable(error),
                        Wrong::Ingest(error) => error,
                    })?;
                summary.lines = units.count;
                summary.sha256 = units.source_sha256();
                false
            }
            Err(NoUnits::Io(error)) => return Err(unreadable(error)),
            Err(NoUnits::Unfit(refusal)) => return Err(refused(refusal)),
            Err(NoUnits::Refused(refusal)) => {
                let mut refusal = *refusal;
                refusal.1.drain();
                summary.sha256 = refusal.1.sha256();
                reading.refused_document(refusal.0)?
            }
        };
        let (done, ignored) = reading.close()?;
        summary.ignored = ignored;
        let (base_events, base_rejected) = base.as_ref().map_or((0, 0), |base| {
            (base.events.unsigned_abs(), base.rejected.unsigned_abs())
        });
        summary.duplicate = base_events + base_rejected + u64::from(duplicate_document);
        summary.accepted = done.events.saturating_sub(base_events) + begun.configs;
        summary.rejected = done.rejected.saturating_sub(base_rejected);
        summary.errors = begun.errors.clone();
        summary.redacted = begun
            .redacted
            .each()
            .map(|(kind, places)| (kind.name(), places))
            .collect();
        summary.read = summary.accepted + summary.duplicate + summary.rejected;
        summary.resumed_byte = base.map_or(0, |base| base.byte.unsigned_abs());
        summary.runs = done.runs.into_iter().collect();
        Ok(summary)
    }

    /// Whether a file that is followed may be the copy of another that is not whole yet, or whose reader has not committed
    /// all of it: it was written a moment ago and begins as something else that is on the log. Also whether it is of a kind
    /// that is read when it is whole.
    fn may_be_a_copy(
        &self,
        growing: &Growing<'_>,
        head: &[u8],
        path: &str,
        candidates: &[&IngestProgress],
    ) -> std::io::Result<bool> {
        let (age, _) = growing.age()?;
        if age >= self.options.follow.settle {
            return Ok(false);
        }
        if !growing.follows() {
            return Ok(true);
        }
        if growing.is_successor() || head.len() < PROGRESS_HEAD_BYTES {
            return Ok(false);
        }
        let own = head_digest(head);
        Ok(candidates
            .iter()
            .any(|candidate| candidate.path != path && candidate.head_sha256 == own))
    }
}

fn head_digest(head: &[u8]) -> String {
    format!(
        "{:x}",
        Sha256::digest(&head[..head.len().min(PROGRESS_HEAD_BYTES)])
    )
}

/// Finds the longest prefix of a source that is on the log already.
fn verify(
    content: Content,
    parser: &mut dyn Parser,
    candidates: &[&IngestProgress],
    is_own: &dyn Fn(&str) -> bool,
) -> std::io::Result<Option<IngestProgress>> {
    let mut units = match Units::new(content, parser) {
        Ok(units) => units,
        Err(NoUnits::Io(error)) => return Err(error),
        Err(NoUnits::Refused(_) | NoUnits::Unfit(_)) => return Ok(None),
    };
    let mut best: Option<&IngestProgress> = None;
    let mut next = 0;
    loop {
        while let Some(candidate) = candidates
            .get(next)
            .filter(|candidate| candidate.byte.unsigned_abs() <= units.bytes)
        {
            if candidate.byte.unsigned_abs() == units.bytes
                && candidate.prefix_sha256 == units.prefix_sha256()
            {
                // of several that cover as much, the source's own knows best how it ended
                let own = is_own(&candidate.source_id);
                if best.is_none_or(|best| {
                    best.byte < candidate.byte
                        || own
                        || (!is_own(&best.source_id) && candidate.complete)
                }) {
                    best = Some(candidate);
                }
            }
            next += 1;
        }
        if next == candidates.len() {
            return Ok(best.cloned());
        }
        if let Next::End(_) | Next::Idle = units.next()? {
            return Ok(best.cloned());
        }
    }
}
