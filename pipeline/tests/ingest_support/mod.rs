//! A directory with an embedded log, files beside it, and a log whose commits break when they are told to.

use cairn_avro::contract::Record as AvroRecord;
use cairn_avro::record::Payload;
use cairn_avro::{codec, frame};
use cairn_bus::embedded::EmbeddedLog;
use cairn_bus::registry::{MemoryStore, StoreRegistry};
use cairn_bus::{
    Cleanup, Fault, Log, Membership, Offsets, Outgoing, Poll, Reader, Record, Session,
    TopicPartition, TopicSpec, TopicState,
};
use cairn_pipeline::ingest::source::{Files, Found, Place};
use cairn_pipeline::ingest::{IngestError, Options, SourceSummary, Step, ingest, ingest_from};
use cairn_pipeline::seal::{Identity, new_identity};
use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How a commit breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    Abort,
    UnknownDone,
    UnknownUndone,
    Fenced,
}

/// A log whose commits can be broken, once.
pub(crate) struct BreakingLog {
    log: EmbeddedLog,
    next: Arc<Mutex<Option<(u32, Break)>>>,
}

impl BreakingLog {
    /// The commit of this number from now on breaks.
    pub(crate) fn break_commit(&self, number: u32, how: Break) {
        *self.next.lock().expect("no test panics within") = Some((number, how));
    }
}

impl Log for BreakingLog {
    fn kind(&self) -> &'static str {
        self.log.kind()
    }
    fn topics(&self) -> Result<BTreeMap<String, TopicState>, Fault> {
        self.log.topics()
    }
    fn create(&self, wanted: &[TopicSpec]) -> Result<Vec<String>, Fault> {
        self.log.create(wanted)
    }
    fn open(&self, who: Membership) -> Result<Box<dyn Session>, Fault> {
        Ok(Box::new(BreakingSession {
            session: self.log.open(who)?,
            next: self.next.clone(),
        }))
    }
    fn reader(&self) -> Result<Box<dyn Reader>, Fault> {
        self.log.reader()
    }
}

struct BreakingSession {
    session: Box<dyn Session>,
    next: Arc<Mutex<Option<(u32, Break)>>>,
}

impl Session for BreakingSession {
    fn poll(&mut self, patience: Duration, max_records: usize) -> Result<Poll, Fault> {
        self.session.poll(patience, max_records)
    }
    fn assigned(&mut self, start: &Offsets) -> Result<(), Fault> {
        self.session.assigned(start)
    }
    fn revoked(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        self.session.revoked(parts)
    }
    fn committed(&mut self, parts: &[TopicPartition]) -> Result<Offsets, Fault> {
        self.session.committed(parts)
    }
    fn read_from(
        &mut self,
        part: &TopicPartition,
        from: i64,
        each: &mut dyn FnMut(Record),
    ) -> Result<i64, Fault> {
        self.session.read_from(part, from, each)
    }
    fn send(&mut self, out: Outgoing) -> Result<(), Fault> {
        self.session.send(out)
    }
    fn commit(&mut self, offsets: &Offsets) -> Result<(), Fault> {
        let how = {
            let mut next = self.next.lock().expect("no test panics within");
            match next.as_mut() {
                Some((1, _)) => next.take().map(|(_, how)| how),
                Some((number, _)) => {
                    *number -= 1;
                    None
                }
                None => None,
            }
        };
        match how {
            None => self.session.commit(offsets),
            Some(Break::UnknownDone) => self
                .session
                .commit(offsets)
                .and(Err(Fault::Unknown("told to".into()))),
            Some(how) => {
                self.session.abort()?;
                Err(match how {
                    Break::Abort => Fault::Abort("told to".into()),
                    Break::Fenced => Fault::Fenced("told to".into()),
                    _ => Fault::Unknown("told to".into()),
                })
            }
        }
    }
    fn abort(&mut self) -> Result<(), Fault> {
        self.session.abort()
    }
    fn seek(&mut self, offsets: &Offsets) -> Result<(), Fault> {
        self.session.seek(offsets)
    }
    fn pause(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        self.session.pause(parts)
    }
    fn resume(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        self.session.resume(parts)
    }
    fn last_stable(&mut self, parts: &[TopicPartition]) -> Result<Offsets, Fault> {
        self.session.last_stable(parts)
    }
    fn position(&mut self) -> Result<Offsets, Fault> {
        self.session.position()
    }
    fn close(self: Box<Self>, deadline: Duration) -> Result<(), Fault> {
        self.session.close(deadline)
    }
}

/// A log, its registry, and a directory for files.
pub(crate) struct Bench {
    directory: tempfile::TempDir,
    pub(crate) log: BreakingLog,
    pub(crate) registry: StoreRegistry<MemoryStore>,
    pub(crate) identity: Identity,
    pub(crate) options: Options,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("there is room");
        let log = EmbeddedLog::open(directory.path().join("log")).expect("it opens");
        let mut wanted = Vec::new();
        for topic in cairn_topics::catalogue() {
            let compact = topic.is_compacted();
            let cleanup = if compact {
                Cleanup::Compact
            } else {
                Cleanup::Delete { retention_ms: -1 }
            };
            let partitions = if topic.family == cairn_topics::Family::Ingress {
                4
            } else {
                topic.partitions
            };
            let tenants: &[&str] = if topic.family == cairn_topics::Family::Ingress {
                &["default", "acme"]
            } else {
                &["default"]
            };
            wanted.extend(tenants.iter().map(|tenant| {
                let name = if tenants.len() > 1 {
                    cairn_topics::ingress_name(tenant, topic.name)
                } else {
                    topic.name.to_owned()
                };
                TopicSpec::new(name, partitions, cleanup)
            }));
        }
        log.create(&wanted).expect("they can be made");
        let identity = new_identity();
        let recipient = identity.recipient().parse().expect("it is one");
        Self {
            directory,
            log: BreakingLog {
                log,
                next: Arc::default(),
            },
            registry: StoreRegistry(MemoryStore::default()),
            identity,
            options: Options::new(Vec::new(), recipient),
        }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory
            .path()
            .join(name)
            .to_string_lossy()
            .into_owned()
    }

    /// Writes a file; returns its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(Path::new(&path).parent().expect("it has one"))
            .expect("there is room");
        std::fs::write(&path, content).expect("there is room");
        path
    }

    pub(crate) fn try_ingest(
        &self,
        sources: &[&str],
        each: &mut dyn FnMut(&Step<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<SourceSummary>, IngestError> {
        let sources = sources.iter().map(|source| (*source).to_owned()).collect();
        ingest(
            &self.log,
            &self.registry,
            &Options {
                sources,
                ..self.options.clone()
            },
            each,
        )
    }

    /// Ingests one source.
    pub(crate) fn ingest(&self, sources: &[&str]) -> SourceSummary {
        self.try_ingest(sources, &mut |_| ControlFlow::Continue(()))
            .expect("it works")
            .remove(0)
    }

    /// Ingests what standard input holds.
    pub(crate) fn pipe(&self, content: Vec<u8>) -> SourceSummary {
        struct Pipe(Mutex<Option<Vec<u8>>>);
        impl Place for Pipe {
            fn list(&self, argument: &str) -> Result<Vec<Found>, IngestError> {
                Files.list(argument)
            }
            fn open(&self, _: &str) -> std::io::Result<Box<dyn Read>> {
                let content = self
                    .0
                    .lock()
                    .expect("no test panics within")
                    .take()
                    .expect("it can be read only once");
                Ok(Box::new(Cursor::new(content)))
            }
        }
        let options = Options {
            sources: vec!["-".into()],
            ..self.options.clone()
        };
        let pipe = Pipe(Mutex::new(Some(content)));
        ingest_from(&pipe, &self.log, &self.registry, &options, &mut |_| {
            ControlFlow::Continue(())
        })
        .expect("it works")
        .remove(0)
    }

    /// Everything in a topic.
    pub(crate) fn raw(&self, topic: &str) -> Vec<Record> {
        let mut reader = self.log.reader().expect("it opens");
        let ends = reader.ends(&[topic]).expect("it is there");
        let mut found = Vec::new();
        for (part, (start, end)) in ends {
            let mut from = Offsets::from([(part.clone(), start)]);
            while from[&part] < end {
                let (records, next) = reader
                    .read(&from, Duration::from_secs(5), 10_000)
                    .expect("it can be read");
                found.extend(records);
                from.extend(next);
            }
        }
        found
    }

    pub(crate) fn records<T: AvroRecord>(&self, topic: &str) -> Vec<T> {
        self.raw(topic)
            .iter()
            .map(|record| {
                let framed = frame::split(record.value.as_deref().expect("it has a value"))
                    .expect("it is framed");
                codec::decode(framed.body).expect("it is a record")
            })
            .collect()
    }

    /// The payloads of an ingress topic.
    pub(crate) fn payloads(&self, topic: &str) -> Vec<Payload> {
        match topic.rsplit('.').next() {
            Some("config") => self
                .records(topic)
                .into_iter()
                .map(|record| Payload::RunConfig(Box::new(record)))
                .collect(),
            Some("lifecycle") => self
                .records(topic)
                .into_iter()
                .map(Payload::RunLifecycle)
                .collect(),
            _ => self
                .records(topic)
                .into_iter()
                .map(Payload::TrainingTelemetry)
                .collect(),
        }
    }

    /// The steps on `telemetry.training`, sorted.
    pub(crate) fn steps(&self) -> Vec<i64> {
        let steps = |payload| match payload {
            Payload::TrainingTelemetry(step) => Some(step.step),
            _ => None,
        };
        let mut steps: Vec<i64> = self
            .payloads("telemetry.training")
            .into_iter()
            .filter_map(steps)
            .collect();
        steps.sort_unstable();
        steps
    }
}

/// Lines of llm.c for these steps.
pub(crate) fn llmc(steps: Range<i64>) -> Vec<u8> {
    steps
        .flat_map(|step| {
            format!(
                "s:{step} trl:{}.{:04} lr:0.0001 norm:1.5\n",
                3,
                step * 7919 % 10_000
            )
            .into_bytes()
        })
        .collect()
}

pub(crate) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// SHA-256 of a file, as `sha256sum` prints it.
pub(crate) fn sha256(path: &str) -> String {
    let bytes = std::fs::read(path).expect("it is there");
    cairn_avro::hex::text(&cairn_pipeline::seal::plaintext_sha256(&bytes))
}

/// The shared real data beside the checkout; says so where it is not there.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let named = std::env::var_os("CAIRN_SHARED").map(PathBuf::from);
    // From cargo at run time: compiled in, it would be the folder of the clone that built this.
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let beside = package.ancestors().map(|base| base.join("shared"));
    let found = named
        .into_iter()
        .chain(beside)
        .map(|root| root.join("data").join(name))
        .find(|path| path.exists());
    if found.is_none() {
        println!("skipped: shared data {name} is not at hand; set CAIRN_SHARED");
    }
    found
}

/// CPU seconds of this process so far, all threads; 0 where the system does not say.
pub(crate) fn cpu_seconds() -> f64 {
    /// Clock ticks a second: 100 on every Linux that Rust runs on.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|f| f.parse().ok())
        .collect();
    fields.iter().sum::<f64>() / TICKS
}
