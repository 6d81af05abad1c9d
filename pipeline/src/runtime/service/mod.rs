//! All members of a process, and what happens when one of them meets a fault.
//!
//! On Kafka each task kind has its own thread; on the embedded log, and in every drain, one thread steps all members in
//! turn, the embedded log in passes whose work becomes durable together (DESIGN §4). Supervision goes by the kind of fault:
//!
//! - *Abort*: the member rolls back and reads again; it never gets here.
//! - *Unknown*, *Unreachable*: the member is void; a new one is built after a pause that doubles.
//! - *Fenced*: another took over; the process stops with 5.
//! - *Config*: waiting does not help; the process stops with 2.

mod drain;

pub use drain::Drained;

use super::decode::Decoder;
use super::encode::Encoder;
use super::executor::{Executor, Work};
use super::member::{Member, Step};
use super::snapshot::SnapshotLimits;
use super::supervision::Backoff;
use super::suspects::Suspects;
use super::task::{Kind, kinds};
use crate::config::Config;
use crate::connect::Place;
use crate::families::Families;
use crate::fit_work;
use crate::metrics::Metrics;
use crate::redaction::Redaction;
use cairn_bus::{Fault, Membership, Offsets};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the embedded log is compacted and the lag is looked at.
const MAINTAIN_EVERY: Duration = Duration::from_secs(10);

/// What a service needs; shared by its members.
pub struct Service {
    config: Config,
    place: Place,
    metrics: Arc<Metrics>,
    encoder: Arc<Encoder>,
    kinds: Vec<Arc<Kind>>,
    /// By task kind, over the lives of its members.
    suspects: BTreeMap<&'static str, Arc<Suspects>>,
    instance: String,
    /// True once every member owns its partitions.
    pub ready: Arc<AtomicBool>,
}

impl Service {
    /// A service over a log whose topics exist.
    ///
    /// # Errors
    /// [`Fault::Config`] for a task kind that does not exist or topics that are missing.
    pub fn new(
        config: &Config,
        place: Place,
        metrics: Arc<Metrics>,
        instance: String,
        only: &[String],
    ) -> Result<Self, Fault> {
        let topics = place.log.topics()?;
        let families = Families::read(&place, &topics)?;
        families.check_whole()?;
        let mut kinds = kinds(config);
        if let Some(unknown) = only
            .iter()
            .find(|name| !kinds.iter().any(|kind| kind.name == name.as_str()))
        {
            let known: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
            return Err(Fault::Config(format!(
                "--only {unknown}: there is no such task kind; there are {}",
                known.join(", ")
            )));
        }
        if !only.is_empty() {
            kinds.retain(|kind| only.iter().any(|name| name == kind.name));
        }
        for kind in &mut kinds {
            // A tenant's ingress topics exist only where somebody applied them.
            if kind.changelog.is_none() {
                kind.inputs.retain(|topic| topics.contains_key(topic));
            }
            if let Some(missing) = kind
                .inputs
                .iter()
                .find(|topic| !topics.contains_key(*topic))
            {
                return Err(Fault::Config(format!(
                    "topic {missing} does not exist; run `cairn topics apply`"
                )));
            }
        }
        let encoder = Arc::new(
            Encoder::new(
                place.registry.clone(),
                &topics,
                &config.deadletter,
                &Redaction::of(config),
                metrics.clone(),
            )?
            .with_families(families),
        );
        if !topics.contains_key("guards") {
            return Err(Fault::Config(
                "topic guards does not exist; run `cairn topics apply`".to_owned(),
            ));
        }
        Ok(Self {
            suspects: kinds
                .iter()
                .map(|kind| (kind.name, Arc::default()))
                .collect(),
            config: config.clone(),
            place,
            metrics,
            encoder,
            kinds: kinds.into_iter().map(Arc::new).collect(),
            instance,
            ready: Arc::default(),
        })
    }

    fn member(&self, kind: &Arc<Kind>, limits: Option<Offsets>) -> Result<Member, Fault> {
        let session = self.place.log.open(Membership {
            operator: kind.name.to_owned(),
            group: format!("{}.{}", self.config.log.app_id, kind.name),
            instance: self.instance.clone(),
            thread: 0,
            topics: kind.inputs.clone(),
        })?;
        let refit = self.config.refit.clone();
        let work: Work = Arc::new(move |ask| fit_work::fit(ask, &refit));
        Ok(Member::new(
            kind.clone(),
            session,
            Decoder::new(self.place.registry.clone()),
            self.encoder.clone(),
            Executor::new(work, self.metrics.clone()),
            self.config.runtime.clone(),
            self.metrics.clone(),
            limits,
        )
        .with_snapshots(self.snapshots())
        .in_process(
            &self.instance,
            self.suspects.get(kind.name).cloned().unwrap_or_default(),
        ))
    }

    /// On Kafka beside the data of this instance, or where the setting says; the embedded log is as near as a snapshot would be.
    fn snapshots(&self) -> SnapshotLimits {
        let runtime = &self.config.runtime;
        let base = if !runtime.snapshot_dir.as_os_str().is_empty() {
            Some(runtime.snapshot_dir.clone())
        } else if self.place.log.kind() == "embedded" {
            None
        } else {
            Some(self.config.log.data.join("snapshots"))
        };
        SnapshotLimits {
            app_id: self.config.log.app_id.clone(),
            dir: base.map(|base| base.join(folder_name(&self.instance))),
            age_ms_max: runtime.snapshot_age_s_max.saturating_mul(1_000),
            slack_bytes_max: runtime.snapshot_slack_bytes_max,
        }
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// [`Fault::Fenced`] and [`Fault::Config`]; everything else is waited out.
    pub fn run(&self, stop: &AtomicBool) -> Result<(), Fault> {
        if self.place.log.kind() == "embedded" {
            return self.run_passes(stop);
        }
        let ready: Vec<AtomicBool> = self.kinds.iter().map(|_| AtomicBool::new(false)).collect();
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .kinds
                .iter()
                .zip(&ready)
                .map(|(kind, ready)| {
                    let all = &self.ready;
                    scope.spawn(move || {
                        let work = AssertUnwindSafe(|| self.supervise(kind, stop, ready));
                        let result = catch_unwind(work).unwrap_or_else(|_| {
                            // A process that goes on without one of its operators would be ready and deaf.
                            Err(Fault::Config(format!(
                                "{} panicked; please report this with the log",
                                kind.name
                            )))
                        });
                        if result.is_err() {
                            stop.store(true, Ordering::Relaxed);
                        }
                        all.store(false, Ordering::Relaxed);
                        result
                    })
                })
                .collect();
            while !stop.load(Ordering::Relaxed) {
                if ready.iter().all(|ready| ready.load(Ordering::Relaxed))
                    && !self.ready.swap(true, Ordering::Relaxed)
                {
                    eprintln!("ready");
                }
                std::thread::sleep(Duration::from_millis(self.config.runtime.poll_patience_ms));
            }
            let mut worst = Ok(());
            for thread in threads {
                if let Ok(Err(fault)) = thread.join() {
                    worst = Err(fault);
                }
            }
            worst
        })
    }

    /// One task kind on a thread of its own, rebuilt after faults that pass.
    fn supervise(
        &self,
        kind: &Arc<Kind>,
        stop: &AtomicBool,
        ready: &AtomicBool,
    ) -> Result<(), Fault> {
        let patience = Duration::from_millis(self.config.runtime.poll_patience_ms);
        let mut backoff = Backoff::new(&self.config.runtime);
        // A member that has lived longer than the longest pause has got over what ended its predecessor.
        let proven = Duration::from_millis(self.config.runtime.restart_backoff_ms_max);
        while !stop.load(Ordering::Relaxed) {
            let fault = match self.member(kind, None) {
                Err(fault) => fault,
                Ok(mut member) => {
                    let built = Instant::now();
                    let mut looked = built;
                    let fault = loop {
                        if stop.load(Ordering::Relaxed) {
                            break member
                                .stop(Duration::from_millis(self.config.runtime.stop_deadline_ms))
                                .err();
                        }
                        match member.step(patience) {
                            Ok(_) => {}
                            Err(fault) => break Some(fault),
                        }
                        if member.has_joined() {
                            ready.store(true, Ordering::Relaxed);
                        }
                        if built.elapsed() > proven {
                            backoff.reset();
                        }
                        if looked.elapsed() > Duration::from_secs(1) {
                            looked = Instant::now();
                            if let Err(fault) = member.lag() {
                                break Some(fault);
                            }
                        }
                    };
                    match fault {
                        None => return Ok(()),
                        Some(fault) => fault,
                    }
                }
            };
            ready.store(false, Ordering::Relaxed);
            self.ready.store(false, Ordering::Relaxed);
            self.rebuild(kind.name, fault, &mut backoff, stop)?;
        }
        Ok(())
    }

    /// Waits before a rebuild, or gives up: what each kind of fault asks for.
    fn rebuild(
        &self,
        operator: &str,
        fault: Fault,
        backoff: &mut Backoff,
        stop: &AtomicBool,
    ) -> Result<(), Fault> {
        self.metrics.restarted(operator, fault.name());
        let why = fault.to_string();
        let wait = backoff.after(fault)?;
        tracing::warn!(
            operator,
            fault = why,
            wait_ms = wait.as_millis() as u64,
            "building the member anew"
        );
        let begun = Instant::now();
        while begun.elapsed() < wait && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The embedded log: all members in one thread, in passes.
    fn run_passes(&self, stop: &AtomicBool) -> Result<(), Fault> {
        let mut backoff = Backoff::new(&self.config.runtime);
        let pause = Duration::from_millis(self.config.runtime.pass_pause_ms);
        let patience = Duration::from_millis(self.config.runtime.poll_patience_ms);
        let proven = Duration::from_millis(self.config.runtime.restart_backoff_ms_max);
        loop {
            let built = Instant::now();
            let fault = match self.members(None) {
                Err(fault) => fault,
                Ok(mut members) => {
                    let mut maintained = built;
                    loop {
                        if stop.load(Ordering::Relaxed) {
                            return self.stop_members(members);
                        }
                        let moved = match self.pass(&mut members) {
                            Err(fault) => break fault,
                            Ok(moved) => moved,
                        };
                        if !self.ready.swap(true, Ordering::Relaxed) {
                            eprintln!("ready");
                        }
                        if built.elapsed() > proven {
                            backoff.reset();
                        }
                        if maintained.elapsed() > MAINTAIN_EVERY {
                            maintained = Instant::now();
                            if let Err(fault) = self.maintain(&mut members) {
                                break fault;
                            }
                        }
                        std::thread::sleep(if moved { pause } else { patience });
                    }
                }
            };
            self.ready.store(false, Ordering::Relaxed);
            self.rebuild("all", fault, &mut backoff, stop)?;
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }

    fn maintain(&self, members: &mut [Member]) -> Result<(), Fault> {
        self.place.log.maintain()?;
        for member in members {
            member.lag()?;
        }
        Ok(())
    }

    fn members(&self, limits: Option<&Offsets>) -> Result<Vec<Member>, Fault> {
        self.kinds
            .iter()
            .map(|kind| self.member(kind, limits.cloned()))
            .collect()
    }

    /// Steps every member until nothing moves or the pass is over. On Kafka a pass is only a turn.
    fn pass(&self, members: &mut [Member]) -> Result<bool, Fault> {
        let begun = Instant::now();
        let longest = Duration::from_millis(self.config.runtime.pass_ms_max);
        self.place.log.pass_begin()?;
        let moved = self.turns(members, begun, longest);
        // Ended after a fault too: an open pass would keep every other writer out.
        let ended = self.place.log.pass_end();
        let moved = moved?;
        ended?;
        Ok(moved)
    }

    fn turns(
        &self,
        members: &mut [Member],
        begun: Instant,
        longest: Duration,
    ) -> Result<bool, Fault> {
        let mut moved = false;
        loop {
            let mut any = false;
            for member in members.iter_mut() {
                any |= member.step(Duration::ZERO)? == Step::Moved;
                if self.place.log.kind() == "embedded" {
                    // What is open is committed within the pass: the next task reads what this one wrote.
                    member.commit()?;
                }
            }
            moved |= any;
            if !any || begun.elapsed() >= longest {
                return Ok(moved);
            }
        }
    }

    fn stop_members(&self, members: Vec<Member>) -> Result<(), Fault> {
        let deadline = Duration::from_millis(self.config.runtime.stop_deadline_ms);
        for member in members {
            member.stop(deadline)?;
        }
        Ok(())
    }
}

/// An instance's name as a folder: nothing that leads elsewhere.
fn folder_name(instance: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    instance.chars().map(plain).collect()
}
