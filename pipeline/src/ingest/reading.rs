//! The loop over a source: units in, transactions out.
//!
//! What is on the log already is parsed once more and dropped, so that the parser stands where it stood; then events are
//! sent, and a transaction ends with the progress that covers it.

use super::format::{self, Out, Parser, Refusal, Reject};
use super::progress::{Known, digest};
use super::run::Ingest;
use super::source::{LINE_BYTES_MAX, Wait};
use super::units::{Finish, Next, Units};
use super::writer::{Origin, Writer};
use super::{IngestError, Step};
use crate::metrics::wall_time_ms;
use cairn_avro::record::{IngestProgress, Payload};
use cairn_avro::{hex, json};
use cairn_operators::admit::{self, Received, Rejection};
use cairn_operators::operator::canonical;
use cairn_operators::redact::{Harmless, Tally};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Instant;

/// Names of runs that a progress record lists; a table may have any number, a record may not.
const PROGRESS_RUNS_MAX: usize = 1_000;

/// Units passed over between two words to the caller.
const PASSED_UNITS: u64 = 65_536;

/// What is kept of a source when it is begun anew.
#[derive(Default)]
pub(super) struct Begun {
    /// The progress that was there at the first beginning; none until it was looked up.
    pub(super) base: Option<Option<IngestProgress>>,
    /// Configurations that this call has committed.
    pub(super) configs: u64,
    /// Rejects that this call has committed, by class.
    pub(super) errors: BTreeMap<&'static str, u64>,
    /// What this call has redacted in what it committed.
    pub(super) redacted: Tally,
}

/// What a source's transactions have covered.
#[derive(Default)]
pub(super) struct Covered {
    pub(super) events: u64,
    pub(super) rejected: u64,
    pub(super) runs: BTreeSet<String>,
    /// Of the transaction that is open.
    open_configs: u64,
    open_errors: BTreeMap<&'static str, u64>,
    open_redacted: Tally,
}

/// What can go wrong while a source is read.
pub(super) enum Wrong {
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
pub(super) struct Reading<'r, 'a> {
    ingest: &'r Ingest<'a>,
    writer: Writer<'r>,
    known: &'r mut Known,
    begun: &'r mut Begun,
    each: &'r mut dyn FnMut(&Step<'_>) -> ControlFlow<()>,
    origin: Origin<'r>,
    progress: IngestProgress,
    covered: Covered,
    out: Out,
    /// Names in which redaction found nothing.
    harmless: Harmless,
    since: Instant,
    /// Raw bytes read, and how many there are.
    raw: (u64, Option<u64>),
}

impl<'r, 'a> Reading<'r, 'a> {
    /// A source of which nothing was read yet.
    pub(super) fn new(
        ingest: &'r Ingest<'a>,
        writer: Writer<'r>,
        known: &'r mut Known,
        begun: &'r mut Begun,
        each: &'r mut dyn FnMut(&Step<'_>) -> ControlFlow<()>,
        origin: Origin<'r>,
        progress: IngestProgress,
    ) -> Self {
        let (covered, since) = (Covered::default(), Instant::now());
        let out = Out {
            rules: ingest.options.rules.clone(),
            ..Out::default()
        };
        Self {
            ingest,
            writer,
            known,
            begun,
            each,
            raw: (0, ingest.place.size(origin.path)),
            harmless: Harmless::default(),
            origin,
            progress,
            covered,
            out,
            since,
        }
    }

    /// Leaves the log; returns what is covered, and the units that were no data.
    pub(super) fn close(self) -> Result<(Covered, u64), IngestError> {
        self.writer.close()?;
        Ok((self.covered, self.out.ignored))
    }

    /// Reads a source to its end, from where it is covered; one that is followed, until it is left.
    pub(super) fn read(
        &mut self,
        units: &mut Units,
        parser: &mut dyn Parser,
        covered: Option<&IngestProgress>,
    ) -> Result<(), Wrong> {
        if let Some(covered) = covered {
            self.pass_over(units, parser, covered)?;
        }
        let limits = self.ingest.options.limits;
        let first = units.count;
        let mut committed = units.count;
        let finish = loop {
            let next = units.next().map_err(Wrong::Io)?;
            // after the wait: standard input may have been silent for hours
            self.out.received_ms = wall_time_ms();
            match next {
                Next::Unit(position) => self.unit(units, parser, position)?,
                Next::Oversized(_) if parser.passes_over_oversized() => self.out.ignored += 1,
                Next::Oversized(position) => {
                    let text = format!(
                        "the line has more than {} bytes; no record is that long",
                        LINE_BYTES_MAX
                    );
                    self.out.reject(
                        "oversized",
                        text,
                        json::DEFAULT_TOPIC,
                        position,
                        units.unit(),
                    );
                }
                Next::Idle => {
                    // nobody knows when there is more: what is whole goes out now
                    if !parser.inside_a_record() {
                        parser.flush(&mut self.out)?;
                        self.drain()?;
                        if self.writer.records > 0 || units.count > committed {
                            committed = units.count;
                            self.commit(units, 0, false)?;
                        }
                    }
                    match self.wait()? {
                        Wait::More | Wait::Ended => continue,
                        Wait::Truncated | Wait::Idle | Wait::Stop => return Ok(()),
                    }
                }
                Next::End(finish) => break finish,
            }
            self.drain()?;
            let due = self.writer.records >= limits.batch_records
                || self.writer.bytes >= limits.batch_bytes
                || units.count - committed >= limits.batch_units
                || (units.count.is_multiple_of(256)
                    && self.since.elapsed().as_millis() >= u128::from(limits.batch_ms));
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
            && covered.is_some_and(|covered| {
                covered.complete && covered.size_bytes.unsigned_abs() == units.bytes + rest
            });
        if end_seen {
            // what the user has set meanwhile is news of runs that are known
            if self.covered.open_configs > 0 {
                self.commit(units, rest, true)?;
            }
            return Ok(());
        }
        let position = units.end();
        match finish {
            Finish::Complete => parser.end(position, &mut self.out)?,
            Finish::PartialLine(line) if parser.takes_unended(&line) => {
                parser.unit(&line, position, &mut self.out)?;
                parser.end(position, &mut self.out)?;
            }
            Finish::PartialLine(rest) => {
                parser.end(position, &mut self.out)?;
                let text = "the last line has no end: it was cut, or is still being written; add a line end if it is whole";
                self.out.reject(
                    "partial_line",
                    text.into(),
                    json::DEFAULT_TOPIC,
                    position,
                    &rest,
                );
            }
            Finish::Broken(class, text, rest) => {
                parser.broken(position, &mut self.out)?;
                self.out
                    .reject(class, text, json::DEFAULT_TOPIC, position, &rest);
            }
        }
        self.drain()?;
        if self.writer.records > 0 || units.count > committed {
            self.commit(units, rest, true)?;
        }
        Ok(())
    }

    fn wait(&self) -> Result<Wait, Wrong> {
        match self.ingest.growing {
            Some(growing) => growing.wait().map_err(Wrong::Io),
            None => Ok(Wait::Ended),
        }
    }

    /// Gives a unit to the parser, and before it the columns that it is the first of.
    fn unit(
        &mut self,
        units: &mut Units,
        parser: &mut dyn Parser,
        position: format::Position,
    ) -> Result<(), Refusal> {
        if let Some(batch) = units.take_batch() {
            parser.batch(&batch, &mut self.out)?;
        }
        parser.unit(units.unit(), position, &mut self.out)
    }

    /// Parses what is on the log already, and drops what it says.
    fn pass_over(
        &mut self,
        units: &mut Units,
        parser: &mut dyn Parser,
        covered: &IngestProgress,
    ) -> Result<(), Wrong> {
        // a parser that remembers nothing need not see it, unless its runs are to be met
        let skips = parser.is_stateless() && self.ingest.options.config.is_none();
        while units.bytes < covered.byte.unsigned_abs() {
            match units.next().map_err(Wrong::Io)? {
                Next::Unit(_) if skips => {}
                Next::Unit(position) => self.unit(units, parser, position)?,
                Next::Oversized(_) => {}
                Next::End(_) | Next::Idle => break,
            }
            self.drop_out()?;
            if units.count.is_multiple_of(PASSED_UNITS) {
                self.progress.byte = units.bytes.cast_signed();
                self.raw.0 = units.raw_bytes();
                self.tell()?;
            }
        }
        parser.flush(&mut self.out)?;
        self.drop_out()?;
        if covered.complete {
            parser.passed_end();
        }
        self.covered.events = covered.events.unsigned_abs();
        self.covered.rejected = covered.rejected.unsigned_abs();
        self.covered.runs.extend(covered.runs.iter().cloned());
        Ok(())
    }

    fn drop_out(&mut self) -> Result<(), IngestError> {
        if self.out.events.is_empty() && self.out.rejects.is_empty() {
            return Ok(());
        }
        let options = self.ingest.options;
        for event in std::mem::take(&mut self.out.events) {
            let run_id = options
                .redaction
                .identifier(&options.tenant, event.payload.run_id());
            self.meet(&run_id)?;
        }
        self.out.rejects.clear();
        Ok(())
    }

    /// Sends what the parser has said.
    fn drain(&mut self) -> Result<(), IngestError> {
        if self.out.events.is_empty() && self.out.rejects.is_empty() {
            return Ok(());
        }
        let mut events = std::mem::take(&mut self.out.events);
        let options = self.ingest.options;
        for event in &mut events {
            // before anything keeps it, and before it may turn out to be too large
            options.redaction.payload_after(
                &options.tenant,
                &mut event.payload,
                &mut self.covered.open_redacted,
                &mut self.harmless,
            );
            let event = &*event;
            self.meet(event.payload.run_id())?;
            match self.writer.event(event, &self.out.rules)? {
                Ok(()) => self.covered.events += 1,
                Err(rejection) => self.out.reject(
                    rejection.class,
                    rejection.text,
                    event.payload.topic(),
                    event.position,
                    &canonical(&event.payload),
                ),
            }
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
        let Some(config) = &self.ingest.options.config else {
            return Ok(());
        };
        let mut config = config.clone();
        run_id.clone_into(&mut config.run_id);
        config.attempt = self.ingest.options.attempt;
        let text = json::canonical(&config)
            .map_err(|error| IngestError::Refused(format!("--set: {error}")))?;
        let source_id = digest(&[&self.progress.tenant, "runs.config", &text]);
        if self.known.get(&source_id).is_some() {
            return Ok(());
        }
        let payload = Payload::RunConfig(Box::new(config));
        let received = Received {
            family_topic: "runs.config",
            source: Some(super::SOURCE),
            size_bytes: None,
            time_ms: self.out.received_ms,
        };
        let refused =
            |rejection: Rejection| IngestError::Refused(format!("--set: {}", rejection.text));
        let mut payload = admit::judge(&self.out.rules, &received, Ok(payload)).map_err(refused)?;
        let options = self.ingest.options;
        options.redaction.payload(
            &options.tenant,
            &mut payload,
            &mut self.covered.open_redacted,
        );
        let event = format::Event {
            payload,
            position: format::Position::default(),
            event_id: None,
        };
        self.writer
            .event(&event, &self.out.rules)?
            .map_err(refused)?;
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
        self.raw.0 = units.raw_bytes();
        self.finish_transaction()
    }

    fn finish_transaction(&mut self) -> Result<(), IngestError> {
        self.progress.events = self.covered.events.cast_signed();
        self.progress.rejected = self.covered.rejected.cast_signed();
        self.progress.runs = self
            .covered
            .runs
            .iter()
            .take(PROGRESS_RUNS_MAX)
            .cloned()
            .collect();
        self.writer.progress(&self.progress)?;
        self.writer.commit()?;
        self.since = Instant::now();
        self.begun.configs += std::mem::take(&mut self.covered.open_configs);
        for (class, count) in std::mem::take(&mut self.covered.open_errors) {
            *self.begun.errors.entry(class).or_default() += count;
        }
        self.begun
            .redacted
            .merge(&std::mem::take(&mut self.covered.open_redacted));
        self.tell()
    }

    /// Tells the caller how far it is.
    fn tell(&mut self) -> Result<(), IngestError> {
        let step = Step {
            source: self.origin.path,
            bytes: self.progress.byte.unsigned_abs(),
            events: self.covered.events,
            rejected: self.covered.rejected,
            raw_bytes: self.raw.0,
            size: self.raw.1,
        };
        match (self.each)(&step) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(IngestError::Stopped),
        }
    }

    /// A document that cannot be cut is one reject. It has a progress of its own, because the document may have been good
    /// before and be good again. Returns whether it was known.
    pub(super) fn refused_document(&mut self, reject: Reject) -> Result<bool, IngestError> {
        let sha256 = hex::text(&crate::seal::plaintext_sha256(&reject.original));
        self.progress.source_id = digest(&[&self.progress.source_id, "refused"]);
        if self
            .known
            .get(&self.progress.source_id)
            .is_some_and(|known| known.prefix_sha256 == sha256)
        {
            return Ok(true);
        }
        self.progress.size_bytes = reject.original.len() as i64;
        self.progress.prefix_sha256 = sha256;
        self.progress.complete = true;
        let mut reject = reject;
        // the file keeps the rest
        reject.original.truncate(LINE_BYTES_MAX);
        self.out.rejects.push(reject);
        self.drain()?;
        self.finish_transaction()?;
        Ok(false)
    }
}
