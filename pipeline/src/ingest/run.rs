//! The loop over a source: units in, transactions out.
//!
//! What is on the log already is parsed once more and dropped, so that the parser stands where it stood; then events are
//! sent, and a transaction ends with the progress that covers it. A fault that aborts begins the source anew from the
//! progress that was committed; one whose outcome is not known does so through a new session, which decides it.

use super::format::{self, Format, HEAD_BYTES, Out, Parser, Refusal, Reject, Setup};
use super::progress::{HEAD_BYTES as PROGRESS_HEAD_BYTES, Identity, Known, digest};
use super::source::{Content, Found, Place, stem};
use super::units::{Finish, Next, NoUnits, Units};
use super::writer::{Origin, Writer};
use super::{IngestError, Options, SourceSummary, Step};
use cairn_avro::json;
use cairn_avro::record::{IngestProgress, Payload};
use cairn_bus::{Fault, Log, Membership, SchemaRegistry, TopicState};
use cairn_operators::admit;
use cairn_topics::handle::INGEST_PROGRESS;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};
use std::ops::ControlFlow;
use std::time::Instant;

/// Names of runs that a progress record lists; a table may have any number, a record may not.
const PROGRESS_RUNS_MAX: usize = 1_000;

/// What a source's head says.
#[derive(Clone, Copy)]
pub(super) enum Told {
    /// Nothing is in it.
    Empty,
    /// This format.
    Format(&'static dyn Format),
}

impl Told {
    fn name(self) -> &'static str {
        match self {
            Told::Empty => "empty",
            Told::Format(format) => format.name(),
        }
    }

    /// The format to read it with; an empty source has no units, and any will do.
    fn format(self) -> &'static dyn Format {
        match self {
            Told::Empty => format::FORMATS[0],
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
}

/// What is kept of a source when it is begun anew.
#[derive(Default)]
struct Begun {
    /// The progress that was there at the first beginning; none until it was looked up.
    base: Option<Option<IngestProgress>>,
    /// Configurations that this call has committed.
    configs: u64,
    /// Rejects that this call has committed, by class.
    errors: BTreeMap<&'static str, u64>,
}

/// What a source's transactions have covered.
#[derive(Default)]
struct Covered {
    events: u64,
    rejected: u64,
    runs: BTreeSet<String>,
    /// Of the transaction that is open.
    open_configs: u64,
    open_errors: BTreeMap<&'static str, u64>,
}

impl Ingest<'_> {
    /// Ingests one source.
    pub(super) fn source(
        &self,
        found: &Found,
        told: Option<&Told>,
        each: &mut dyn FnMut(&Step<'_>) -> ControlFlow<()>,
    ) -> Result<SourceSummary, IngestError> {
        let mut begun = Begun::default();
        for _ in 0..self.options.limits.retries {
            match self.attempt(found, told, &mut begun, each) {
                Err(IngestError::Fault(Fault::Abort(_) | Fault::Unknown(_))) if found.name != "-" => {}
                done => return done,
            }
        }
        self.attempt(found, told, &mut begun, each)
    }

    fn attempt(
        &self,
        found: &Found,
        told: Option<&Told>,
        begun: &mut Begun,
        each: &mut dyn FnMut(&Step<'_>) -> ControlFlow<()>,
    ) -> Result<SourceSummary, IngestError> {
        let options = self.options;
        let unreadable = |error| IngestError::Unreadable { path: found.name.clone(), error };
        let refused = |refusal: Refusal| IngestError::Refused(format!("{}: {refusal}", found.name));
        let run_id = options.run_id.clone().unwrap_or_else(|| stem(&found.name));
        let mut identity = Identity {
            tenant: options.tenant.clone(),
            path: found.name.clone(),
            format: String::new(),
            run_id: run_id.clone(),
            mapping_sha256: options.mapping.as_ref().map(|mapping| mapping.sha256.clone()),
        };
        if found.name != "-" {
            // the same file is the same source from whatever directory it is named
            identity.path = std::path::absolute(&found.name).map_or(identity.path, |path| path.to_string_lossy().into_owned());
        }
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
        let mut writer = Writer::new(session, self.registry, self.topics, &options.tenant, traceparent, &options.recipient);
        let partitions = self.topics.get(INGEST_PROGRESS.name).map_or(0, |state| state.partitions);
        let mut known = Known::read(writer.session(), &options.tenant, partitions)?;

        let spool = match found.name.as_str() {
            // what standard input held before is compared first, and it can be read only once
            "-" if known.get(&source_id).is_some() => Some(self.spool().map_err(unreadable)?),
            _ => None,
        };
        let open = || match &spool {
            Some(file) => reopened(file),
            None => self.place.open(&found.name),
        };
        let mut content = open().and_then(Content::new).map_err(unreadable)?;
        let head = content.peek(HEAD_BYTES).map_err(unreadable)?;
        let told = match told {
            Some(told) => *told,
            None => super::told(&head, found, options)?,
        };
        let format = told.format();
        identity.format = told.name().to_owned();
        if format.names_its_runs() {
            identity.run_id.clear();
        }
        let training = options.config.as_ref().and_then(|config| config.training.as_ref());
        let model = options.config.as_ref().and_then(|config| config.model.as_ref());
        let length = options.config.as_ref().and_then(|config| config.context_length_tokens);
        let setup = Setup {
            run_id: run_id.clone(),
            run_id_given: options.run_id.is_some(),
            attempt: options.attempt,
            batch_tokens: training.and_then(|training| training.batch_tokens),
            sequence_tokens: length.or(model.and_then(|model| model.context_length_tokens)),
            mapping: options.mapping.clone(),
        };
        let candidates = known.candidates(&identity);
        let covered = if candidates.is_empty() {
            None
        } else {
            let content = open().and_then(Content::new).map_err(unreadable)?;
            verify(content, format.parser(&setup).map_err(refused)?.as_mut(), &candidates, &source_id).map_err(unreadable)?
        };
        let base = begun.base.get_or_insert_with(|| covered.clone()).clone();

        let mut parser = format.parser(&setup).map_err(refused)?;
        let head_sha256 = format!("{:x}", Sha256::digest(&head[..head.len().min(PROGRESS_HEAD_BYTES)]));
        let progress = IngestProgress {
            tenant: options.tenant.clone(),
            source_id,
            path: identity.path.clone(),
            format: identity.format.clone(),
            mapping_sha256: identity.mapping_sha256.clone(),
            head_sha256,
            ..IngestProgress::default()
        };
        let mut reading = Reading {
            ingest: self,
            writer,
            known: &mut known,
            begun,
            each,
            origin: Origin { path: &found.name, format: format.name(), run_id: &run_id, replay_of: None },
            progress,
            covered: Covered::default(),
            out: Out::default(),
            since: Instant::now(),
        };
        let mut summary = SourceSummary { source: found.name.clone(), format: identity.format.clone(), ..Default::default() };
        let duplicate_document = match Units::new(content, parser.as_mut()) {
            Ok(mut units) => {
                reading.read(&mut units, parser.as_mut(), covered.as_ref()).map_err(|error| match error {
                    Wrong::Refusal(refusal) => refused(refusal),
                    Wrong::Io(error) => unreadable(error),
                    Wrong::Ingest(error) => error,
                })?;
                summary.lines = units.count;
                summary.sha256 = units.source_sha256();
                false
            }
            Err(NoUnits::Io(error)) => return Err(unreadable(error)),
            Err(NoUnits::Refused(refusal)) => {
                let mut refusal = *refusal;
                refusal.1.drain();
                summary.sha256 = refusal.1.sha256();
                reading.refused_document(refusal.0)?
            }
        };
        summary.ignored = reading.out.ignored;
        let Covered { events, rejected, runs, .. } = std::mem::take(&mut reading.covered);
        reading.writer.close()?;

        let (base_events, base_rejected) =
            base.as_ref().map_or((0, 0), |base| (base.events.unsigned_abs(), base.rejected.unsigned_abs()));
        summary.duplicate = base_events + base_rejected + u64::from(duplicate_document);
        summary.accepted = events.saturating_sub(base_events) + begun.configs;
        summary.rejected = rejected.saturating_sub(base_rejected);
        summary.errors = begun.errors.clone();
        summary.read = summary.accepted + summary.duplicate + summary.rejected;
        summary.resumed_byte = base.map_or(0, |base| base.byte.unsigned_abs());
        summary.runs = runs.into_iter().collect();
        Ok(summary)
    }

    fn spool(&self) -> std::io::Result<std::fs::File> {
        let mut file = tempfile::tempfile()?;
        std::io::copy(&mut self.place.open("-")?, &mut file)?;
        Ok(file)
    }
}

fn reopened(file: &std::fs::File) -> std::io::Result<Box<dyn Read>> {
    let mut file = file.try_clone()?;
    file.rewind()?;
    Ok(Box::new(file))
}

/// Finds the longest prefix of a source that is on the log already.
fn verify(
    content: Content,
    parser: &mut dyn Parser,
    candidates: &[&IngestProgress],
    source_id: &str,
) -> std::io::Result<Option<IngestProgress>> {
    let mut units = match Units::new(content, parser) {
        Ok(units) => units,
        Err(NoUnits::Io(error)) => return Err(error),
        Err(NoUnits::Refused(_)) => return Ok(None),
    };
    let mut best: Option<&IngestProgress> = None;
    let mut next = 0;
    loop {
        while let Some(candidate) = candidates.get(next).filter(|candidate| candidate.byte.unsigned_abs() <= units.bytes) {
            if candidate.byte.unsigned_abs() == units.bytes && candidate.prefix_sha256 == units.prefix_sha256() {
                // of several that cover as much, the source's own knows best how it ended
                let own = candidate.source_id == source_id;
                if best.is_none_or(|best| best.byte < candidate.byte || own || (best.source_id != source_id && candidate.complete)) {
                    best = Some(candidate);
                }
            }
            next += 1;
        }
        if next == candidates.len() {
            return Ok(best.cloned());
        }
        if let Next::End(_) = units.next()? {
            return Ok(best.cloned());
        }
    }
}

/// What can go wrong while a source is read.
enum Wrong {
    Refusal(Refusal),
    Io(std::io::Error),
    Ingest(IngestError),
}

impl From<Refusal> for Wrong {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

impl From<IngestError> for Wrong {
    fn from(error: IngestError) -> Self {
        Self::Ingest(error)
    }
}

/// One source while it is read.
struct Reading<'r, 'a> {
    ingest: &'r Ingest<'a>,
    writer: Writer<'r>,
    known: &'r mut Known,
    begun: &'r mut Begun,
    each: &'r mut dyn FnMut(&Step<'_>) -> ControlFlow<()>,
    origin: Origin<'r>,
    progress: IngestProgress,
    covered: Covered,
    out: Out,
    since: Instant,
}

impl Reading<'_, '_> {
    fn read(&mut self, units: &mut Units, parser: &mut dyn Parser, covered: Option<&IngestProgress>) -> Result<(), Wrong> {
        if let Some(covered) = covered {
            self.pass_over(units, parser, covered)?;
        }
        let limits = self.ingest.options.limits;
        let first = units.count;
        let mut committed = units.count;
        let finish = loop {
            match units.next().map_err(Wrong::Io)? {
                Next::Unit(position) => parser.unit(units.unit(), position, &mut self.out)?,
                Next::Oversized(position) => {
                    let text = format!("the line has more than {} bytes; no record is that long", super::source::LINE_BYTES_MAX);
                    self.out.reject("oversized", text, json::DEFAULT_TOPIC, position, units.unit());
                }
                Next::End(finish) => break finish,
            }
            self.drain()?;
            let due = self.writer.records >= limits.batch_records
                || self.writer.bytes >= limits.batch_bytes
                || units.count - committed >= limits.batch_units
                || (units.count.is_multiple_of(256) && self.since.elapsed().as_millis() >= u128::from(limits.batch_ms));
            if due && !parser.inside_a_record() {
                parser.flush(&mut self.out)?;
                self.drain()?;
                committed = units.count;
                self.commit(units, 0, false)?;
            }
        };
        // the end of a source that has nothing new was seen before
        let rest = match &finish {
            Finish::Complete => 0,
            Finish::Broken(_, _, rest) | Finish::PartialLine(rest) => rest.len() as u64,
        };
        let nothing_new = first == units.count;
        let end_seen = nothing_new
            && covered.is_some_and(|covered| covered.complete && covered.size_bytes.unsigned_abs() == units.bytes + rest);
        if end_seen {
            return Ok(());
        }
        let position = units.end();
        match finish {
            Finish::Complete => parser.end(position, &mut self.out)?,
            Finish::PartialLine(rest) => {
                parser.end(position, &mut self.out)?;
                let text = "the last line has no end: it was cut, or is still being written; add a line end if it is whole";
                self.out.reject("partial_line", text.into(), json::DEFAULT_TOPIC, position, &rest);
            }
            Finish::Broken(class, text, rest) => {
                parser.flush(&mut self.out)?;
                self.out.reject(class, text, json::DEFAULT_TOPIC, position, &rest);
            }
        }
        self.drain()?;
        if self.writer.records > 0 || units.count > committed {
            self.commit(units, rest, true)?;
        }
        Ok(())
    }

    /// Parses what is on the log already, and drops what it says.
    fn pass_over(&mut self, units: &mut Units, parser: &mut dyn Parser, covered: &IngestProgress) -> Result<(), Wrong> {
        while units.bytes < covered.byte.unsigned_abs() {
            match units.next().map_err(Wrong::Io)? {
                Next::Unit(position) => parser.unit(units.unit(), position, &mut self.out)?,
                Next::Oversized(_) => {}
                Next::End(_) => break,
            }
            self.drop_out()?;
        }
        parser.flush(&mut self.out)?;
        self.drop_out()?;
        self.covered.events = covered.events.unsigned_abs();
        self.covered.rejected = covered.rejected.unsigned_abs();
        self.covered.runs.extend(covered.runs.iter().cloned());
        Ok(())
    }

    fn drop_out(&mut self) -> Result<(), IngestError> {
        for event in std::mem::take(&mut self.out.events) {
            self.meet(event.payload.run_id())?;
        }
        self.out.rejects.clear();
        Ok(())
    }

    /// Sends what the parser has said.
    fn drain(&mut self) -> Result<(), IngestError> {
        let mut events = std::mem::take(&mut self.out.events);
        for event in &events {
            self.meet(event.payload.run_id())?;
            self.writer.event(event)?;
            self.covered.events += 1;
        }
        events.clear();
        self.out.events = events;
        for reject in std::mem::take(&mut self.out.rejects) {
            self.writer.dead_letter(&reject, &self.origin)?;
            self.covered.rejected += 1;
            *self.covered.open_errors.entry(reject.class).or_default() += 1;
        }
        Ok(())
    }

    /// Meets a run: the first time, it gets the configuration that the user set, unless it has it already.
    fn meet(&mut self, run_id: &str) -> Result<(), IngestError> {
        if self.covered.runs.contains(run_id) {
            return Ok(());
        }
        self.covered.runs.insert(run_id.to_owned());
        let Some(config) = &self.ingest.options.config else { return Ok(()) };
        let mut config = config.clone();
        run_id.clone_into(&mut config.run_id);
        config.attempt = self.ingest.options.attempt;
        let text = json::canonical(&config).map_err(|error| IngestError::Refused(format!("--set: {error}")))?;
        let source_id = digest(&[&self.progress.tenant, "runs.config", &text]);
        if self.known.get(&source_id).is_some() {
            return Ok(());
        }
        let mut payload = Payload::RunConfig(Box::new(config));
        admit::check("runs.config", &mut payload).map_err(|rejection| IngestError::Refused(format!("--set: {}", rejection.text)))?;
        let event = format::Event { payload, position: format::Position::default(), event_id: None };
        self.writer.event(&event)?;
        let progress = IngestProgress {
            tenant: self.progress.tenant.clone(),
            source_id,
            path: "--set".into(),
            format: "runs.config".into(),
            events: 1,
            runs: vec![run_id.to_owned()],
            complete: true,
            ..IngestProgress::default()
        };
        self.writer.progress(&progress)?;
        self.known.put(progress);
        self.covered.open_configs += 1;
        Ok(())
    }

    /// Ends a transaction with the progress that covers it.
    fn commit(&mut self, units: &Units, rest: u64, complete: bool) -> Result<(), IngestError> {
        self.progress.byte = units.bytes.cast_signed();
        self.progress.line = units.count.cast_signed();
        self.progress.size_bytes = (units.bytes + rest).cast_signed();
        self.progress.prefix_sha256 = units.prefix_sha256();
        self.progress.complete = complete;
        self.finish_transaction()
    }

    fn finish_transaction(&mut self) -> Result<(), IngestError> {
        self.progress.events = self.covered.events.cast_signed();
        self.progress.rejected = self.covered.rejected.cast_signed();
        self.progress.runs = self.covered.runs.iter().take(PROGRESS_RUNS_MAX).cloned().collect();
        self.writer.progress(&self.progress)?;
        self.writer.commit()?;
        self.since = Instant::now();
        self.begun.configs += std::mem::take(&mut self.covered.open_configs);
        for (class, count) in std::mem::take(&mut self.covered.open_errors) {
            *self.begun.errors.entry(class).or_default() += count;
        }
        let step = Step {
            source: self.origin.path,
            bytes: self.progress.byte.unsigned_abs(),
            events: self.covered.events,
            rejected: self.covered.rejected,
        };
        match (self.each)(&step) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(IngestError::Stopped),
        }
    }

    /// A document that cannot be cut is one reject. It has a progress of its own, because the document may have been good
    /// before and be good again. Returns whether it was known.
    fn refused_document(&mut self, reject: Reject) -> Result<bool, IngestError> {
        let sha256 = super::hex(&crate::seal::plaintext_sha256(&reject.original));
        self.progress.source_id = digest(&[&self.progress.source_id, "refused"]);
        if self.known.get(&self.progress.source_id).is_some_and(|known| known.prefix_sha256 == sha256) {
            return Ok(true);
        }
        self.progress.size_bytes = reject.original.len() as i64;
        self.progress.prefix_sha256 = sha256;
        self.progress.complete = true;
        let mut reject = reject;
        // the file keeps the rest
        reject.original.truncate(super::source::LINE_BYTES_MAX);
        self.out.rejects.push(reject);
        self.drain()?;
        self.finish_transaction()?;
        Ok(false)
    }
}
