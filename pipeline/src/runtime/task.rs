//! The cores behind one trait: the only place of the runtime that names them.
//!
//! A [`Kind`] is what the catalogue and the configuration say about a task kind; [`Kind::open`] makes the task of one
//! partition. Each adapter turns a record into the input of its core and holds nothing else.

use super::decode::{Decoder, Undecodable};
use crate::config::Config;
use crate::redaction::Redaction;
use cairn_avro::record::Guard;
use cairn_bus::Record;
use cairn_operators::admit::{Admit, AdmitRules, Hold};
use cairn_operators::cockpit::{Cockpit, CockpitRules};
use cairn_operators::guards::Book;
use cairn_operators::operator::{At, Emit, Remember};
use cairn_operators::redact::Tally;
use cairn_operators::refit::{self, Refit, RefitRules};
use cairn_operators::runs::{self, Runs, RunsRules};
use std::sync::Arc;

/// What applying a record told the shell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Trace of the record, for the log.
    pub traceparent: Option<String>,
}

/// One partition's core.
pub trait Task: Send {
    /// Applies one record.
    ///
    /// # Errors
    /// What keeps the record from being decoded.
    fn apply(
        &mut self,
        record: &Record,
        decoder: &mut Decoder,
        emit: &mut Emit,
    ) -> Result<Applied, Undecodable>;
    /// Called once before each commit.
    fn flush(&mut self, _emit: &mut Emit) {}
    /// Finishes what only more input would finish: the end of a drain.
    fn drain(&mut self, _emit: &mut Emit) {}
    /// Called once after a restore.
    fn resume(&mut self, _emit: &mut Emit) {}
    /// When the armed timer is due, wall time; none when no timer is armed.
    fn due_ms(&self) -> Option<i64> {
        None
    }
    /// True while an answer is awaited.
    fn is_waiting(&self) -> bool {
        false
    }
    /// Longest silence of a running run in milliseconds of wall time, and how many runs have stalled; none without runs.
    fn health(&self, _wall_ms: i64) -> Option<runs::Health> {
        None
    }
    /// How its fits are; none for a task that has none.
    fn fits(&self, _wall_ms: i64) -> Option<refit::Health> {
        None
    }
    /// What must be remembered; none for a stateless core.
    fn state(&mut self) -> Option<&mut dyn Remember> {
        None
    }
    /// The batch is committed.
    fn merge(&mut self) {
        if let Some(state) = self.state() {
            state.merge();
        }
    }
    /// The guards that it opens; none for a core that opens none.
    fn guards(&mut self) -> Option<&mut Book> {
        None
    }
    /// The topic that is not to be read from now on, once after the record that said so.
    fn take_hold(&mut self) -> Option<Hold> {
        None
    }
    /// A topic that was not read is tried again.
    fn probe(&mut self, _topic: &str) {}
    /// Somebody says that what a guard holds may go on.
    fn resume_guard(&mut self, _guard: &Guard, _now_ms: i64, _emit: &mut Emit) {}
    /// What it has redacted in the batch.
    fn take_redacted(&mut self) -> Tally {
        Tally::default()
    }
    /// Forgets the batch.
    fn discard(&mut self) {
        if let Some(state) = self.state() {
            state.discard();
        }
    }
}

/// A task kind: its topics, and how a task of it is made.
pub struct Kind {
    /// Name, as `--only`, metrics and group ids have it.
    pub name: &'static str,
    /// Family of its topics, as ticks and cuts are named.
    pub family: &'static str,
    /// Topics it reads.
    pub inputs: Vec<String>,
    /// Its changelog; none for a stateless kind.
    pub changelog: Option<Arc<str>>,
    /// Topic of its ticks; none for a kind without timers.
    pub ticks: Option<Arc<str>>,
    /// True where what comes out depends on where batches end, or on the order of several input topics.
    pub has_cuts: bool,
    make: Box<dyn Fn() -> Box<dyn Task> + Send + Sync>,
}

impl Kind {
    /// A task with an empty state.
    #[must_use]
    pub fn open(&self) -> Box<dyn Task> {
        (self.make)()
    }

    /// The same kind with each task inside another one: for tests that watch a core, or plant a bug.
    #[must_use]
    pub fn wrapped(
        mut self,
        wrap: impl Fn(Box<dyn Task>) -> Box<dyn Task> + Send + Sync + 'static,
    ) -> Self {
        let make = self.make;
        self.make = Box::new(move || wrap(make()));
        self
    }
}

/// The task kinds of this release, in the order in which a drain works them off.
#[must_use]
pub fn kinds(config: &Config) -> Vec<Kind> {
    let ingress = config
        .runtime
        .tenants
        .iter()
        .flat_map(|tenant| {
            let topics = cairn_topics::catalogue()
                .iter()
                .filter(|topic| topic.family == cairn_topics::Family::Ingress);
            topics.map(move |topic| cairn_topics::ingress_name(tenant, topic.name))
        })
        .collect();
    let redactor = Redaction::of(config).theirs();
    let (admit, runs, refit, cockpit): (AdmitRules, RunsRules, RefitRules, CockpitRules) = (
        config.admit.clone(),
        config.runs.clone(),
        config.refit.rules.clone(),
        config.cockpit.clone(),
    );
    vec![
        Kind {
            name: "admit",
            family: "ingress",
            inputs: ingress,
            changelog: None,
            ticks: None,
            has_cuts: false,
            make: Box::new(move || {
                Box::new(AdmitTask(Admit::new(admit.clone(), redactor.clone())))
            }),
        },
        Kind {
            name: "runs",
            family: "run",
            inputs: vec!["runs.events".to_owned(), "ticks.run".to_owned()],
            changelog: Some("changelog.runs".into()),
            ticks: Some("ticks.run".into()),
            has_cuts: true,
            make: Box::new(move || Box::new(RunsTask(Runs::new(runs.clone())))),
        },
        Kind {
            name: "refit",
            family: "tenant",
            inputs: [
                "answers",
                "experiments.rows",
                "registry.cohorts",
                "ticks.tenant",
            ]
            .map(str::to_owned)
            .to_vec(),
            changelog: Some("changelog.refit".into()),
            ticks: Some("ticks.tenant".into()),
            has_cuts: true,
            make: Box::new(move || Box::new(RefitTask(Refit::new(refit.clone())))),
        },
        Kind {
            name: "cockpit",
            family: "tenant",
            inputs: vec!["cockpit.telegrams".to_owned()],
            changelog: Some("changelog.cockpit".into()),
            ticks: None,
            has_cuts: true,
            make: Box::new(move || Box::new(CockpitTask(Cockpit::new(cockpit.clone())))),
        },
    ]
}

/// Where a record lies.
pub(super) fn at(record: &Record) -> At<'_> {
    At {
        topic: &record.topic,
        partition: record.partition,
        offset: record.offset,
        append_time_ms: record.append_time_ms,
    }
}

struct AdmitTask(Admit);

impl Task for AdmitTask {
    fn apply(
        &mut self,
        record: &Record,
        decoder: &mut Decoder,
        emit: &mut Emit,
    ) -> Result<Applied, Undecodable> {
        let ingress = decoder.ingress(record)?;
        let traceparent = ingress.traceparent.map(str::to_owned);
        self.0.apply(&at(record), ingress, emit);
        Ok(Applied { traceparent })
    }
    fn flush(&mut self, emit: &mut Emit) {
        self.0.flush(emit);
    }
    fn merge(&mut self) {
        self.0.merge();
    }
    fn guards(&mut self) -> Option<&mut Book> {
        Some(self.0.guards_mut())
    }
    fn take_hold(&mut self) -> Option<Hold> {
        self.0.take_hold()
    }
    fn take_redacted(&mut self) -> Tally {
        self.0.take_redacted()
    }
    fn probe(&mut self, topic: &str) {
        self.0.probe(topic);
    }
    fn resume_guard(&mut self, guard: &Guard, now_ms: i64, emit: &mut Emit) {
        self.0.resume(guard, now_ms, emit);
    }
    fn discard(&mut self) {
        self.0.discard();
    }
}

struct RunsTask(Runs);

impl Task for RunsTask {
    fn apply(
        &mut self,
        record: &Record,
        decoder: &mut Decoder,
        emit: &mut Emit,
    ) -> Result<Applied, Undecodable> {
        let input = match &*record.topic {
            "runs.events" => runs::Input::Events(decoder.avro(record)?),
            _ => runs::Input::Tick,
        };
        self.0.apply(&at(record), input, emit);
        Ok(Applied::default())
    }
    fn flush(&mut self, emit: &mut Emit) {
        self.0.flush(emit);
    }
    fn drain(&mut self, emit: &mut Emit) {
        self.0.drain(emit);
    }
    fn due_ms(&self) -> Option<i64> {
        self.0.due_ms()
    }
    fn health(&self, wall_ms: i64) -> Option<runs::Health> {
        Some(self.0.health(wall_ms))
    }
    fn state(&mut self) -> Option<&mut dyn Remember> {
        Some(&mut self.0)
    }
}

struct RefitTask(Refit);

impl Task for RefitTask {
    fn apply(
        &mut self,
        record: &Record,
        decoder: &mut Decoder,
        emit: &mut Emit,
    ) -> Result<Applied, Undecodable> {
        let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
        let input = match &*record.topic {
            "experiments.rows" => refit::Input::Row {
                key,
                row: decoder.avro_or_tombstone(record)?,
            },
            "registry.cohorts" => refit::Input::Cohort {
                key,
                cohort: decoder.avro_or_tombstone(record)?,
            },
            "answers" => refit::Input::Answer(decoder.avro(record)?),
            _ => refit::Input::Tick,
        };
        self.0.apply(&at(record), input, emit);
        Ok(Applied::default())
    }
    fn drain(&mut self, emit: &mut Emit) {
        self.0.drain(emit);
    }
    fn resume(&mut self, emit: &mut Emit) {
        self.0.resume(emit);
    }
    fn due_ms(&self) -> Option<i64> {
        self.0.due_ms()
    }
    fn is_waiting(&self) -> bool {
        self.0.is_waiting()
    }
    fn fits(&self, wall_ms: i64) -> Option<refit::Health> {
        Some(self.0.health(wall_ms))
    }
    fn state(&mut self) -> Option<&mut dyn Remember> {
        Some(&mut self.0)
    }
}

struct CockpitTask(Cockpit);

impl Task for CockpitTask {
    fn apply(
        &mut self,
        record: &Record,
        decoder: &mut Decoder,
        _emit: &mut Emit,
    ) -> Result<Applied, Undecodable> {
        let telegram: cairn_operators::operator::Telegram = decoder.json(record)?;
        self.0.apply(&at(record), &telegram);
        Ok(Applied {
            traceparent: telegram.traceparent,
        })
    }
    fn flush(&mut self, emit: &mut Emit) {
        self.0.flush(emit);
    }
    fn state(&mut self) -> Option<&mut dyn Remember> {
        Some(&mut self.0)
    }
}
