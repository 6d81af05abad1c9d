//! Brings tables up to the log: beside the operators of `cairn run`, at the end of a drain, and before a command that asks.

use super::records::Records;
use super::{Covered, Fault, Store, TABLES, Table};
use crate::config::RegistryConfig;
use crate::connect::Place;
use crate::metrics::Metrics;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the thread looks whether it is to stop.
const GLANCE: Duration = Duration::from_millis(50);

/// A store and the log that it follows.
pub struct Sink {
    store: Box<dyn Store>,
    records: Records,
    topics: Vec<&'static Table>,
    commit_rows_max: usize,
    covered: HashMap<&'static str, Covered>,
}

/// What a look at all tables did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows put into tables.
    pub rows: u64,
    /// Commits.
    pub commits: u64,
    /// Records that lie behind what was written.
    pub left: i64,
}

impl Sink {
    /// A sink; tables whose topic the log does not have are left out.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub fn new(
        store: Box<dyn Store>,
        place: &Place,
        settings: &RegistryConfig,
    ) -> Result<Self, Fault> {
        let topics = place
            .log
            .topics()
            .map_err(|fault| Fault::Unreachable(fault.to_string()))?;
        Ok(Self {
            store,
            records: Records::new(place)?,
            topics: TABLES
                .iter()
                .filter(|table| topics.contains_key(table.topic))
                .collect(),
            commit_rows_max: settings.commit_rows_max.max(1),
            covered: HashMap::new(),
        })
    }

    /// Becomes the one writer; false where another is.
    ///
    /// # Errors
    /// See [`Store::become_writer`].
    pub fn become_writer(&mut self) -> Result<bool, Fault> {
        self.store.become_writer()
    }

    /// One commit of one table, where there is something new; how much is left behind it.
    fn step(&mut self, table: &'static Table, written: &mut Written) -> Result<i64, Fault> {
        let covered = match self.covered.get(table.name) {
            Some(covered) => covered.clone(),
            None => self.store.covered(table)?,
        };
        let news = self.records.next(table, &covered, self.commit_rows_max)?;
        for (partition, wanted, first) in &news.lost {
            // rows of a compacted topic that are gone were replaced by later ones
            if table.keeps == super::Keeps::Every {
                tracing::error!(
                    table = table.name,
                    partition,
                    wanted,
                    first,
                    "records were deleted before the registry had them; raise the topic's retention, or keep the registry running"
                );
            }
        }
        if news.batch.rows.is_empty() {
            // nothing for the table, or a log that gives nothing now: going on at once would not end
            return Ok(0);
        }
        match self.store.write(table, &news.batch) {
            Ok(()) => {
                written.rows += news.batch.rows.len() as u64;
                written.commits += 1;
                self.covered.insert(table.name, news.batch.next);
                Ok(news.left)
            }
            Err(fault) => {
                // whether it was written is what the store says next time
                self.covered.remove(table.name);
                Err(fault)
            }
        }
    }

    /// Brings every table up to what the log holds now.
    ///
    /// # Errors
    /// A log that cannot be read, or a store that cannot be written; what is written stays.
    pub fn catch_up(&mut self) -> Result<Written, Fault> {
        let mut written = Written::default();
        for table in self.topics.clone() {
            while self.step(table, &mut written)? > 0 {}
        }
        Ok(written)
    }

    /// How many offsets the tables are behind the log.
    ///
    /// # Errors
    /// A log or store that cannot be read.
    pub fn behind(&mut self) -> Result<i64, Fault> {
        let mut behind = 0;
        for table in self.topics.clone() {
            let covered = self.store.covered(table)?;
            behind += self.records.behind(table, &covered)?;
        }
        Ok(behind)
    }

    /// The store, for who asks it.
    #[must_use]
    pub fn into_store(self) -> Box<dyn Store> {
        self.store
    }

    fn tidy(&mut self) {
        for table in self.topics.clone() {
            match self.store.tidy(table) {
                Ok(done) => tracing::info!(table = table.name, done, "registry tidied up"),
                Err(fault) => tracing::warn!(table = table.name, %fault, "registry not tidied up"),
            }
        }
    }

    /// Follows the log until it is told to stop, then writes what is there.
    fn follow(&mut self, settings: &RegistryConfig, metrics: &Metrics, stop: &AtomicBool) {
        let interval = Duration::from_millis(settings.commit_interval_ms);
        let pause = Duration::from_secs(settings.tidy_interval_s.max(1));
        let (mut due, mut tidied, mut is_writer) = (Instant::now(), Instant::now(), false);
        let mut held_said = false;
        loop {
            let stopping = stop.load(Ordering::Relaxed);
            if !stopping && Instant::now() < due {
                std::thread::sleep(GLANCE.min(interval));
                continue;
            }
            due = Instant::now() + interval;
            let begun = Instant::now();
            let done = if is_writer {
                self.catch_up()
            } else {
                match self.become_writer() {
                    Ok(true) => {
                        is_writer = true;
                        self.catch_up()
                    }
                    Ok(false) => {
                        if !held_said {
                            tracing::info!(place = %self.store.place(), "another process writes the registry");
                            held_said = true;
                        }
                        Ok(Written::default())
                    }
                    Err(fault) => Err(fault),
                }
            };
            match done {
                Ok(written) => {
                    metrics.registry(written.rows, written.commits, begun.elapsed());
                    if let Some((count, _)) = self.records.unreadable.take() {
                        metrics.registry_unreadable(count);
                    }
                }
                Err(fault) => {
                    metrics.registry_failed();
                    is_writer = false;
                    self.covered.clear();
                    tracing::error!(%fault, place = %self.store.place(), "the registry was not written; the log keeps what is to come");
                }
            }
            if stopping {
                return;
            }
            if is_writer && tidied.elapsed() >= pause {
                tidied = Instant::now();
                self.tidy();
            }
        }
    }
}

/// The thread that follows the log beside the operators.
pub struct Following {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Following {
    /// Starts to follow.
    #[must_use]
    pub fn start(
        store: Box<dyn Store>,
        place: &Place,
        settings: &RegistryConfig,
        metrics: Arc<Metrics>,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (place, settings, told) = (place.clone(), settings.clone(), stop.clone());
        let thread = std::thread::spawn(move || match Sink::new(store, &place, &settings) {
            Ok(mut sink) => sink.follow(&settings, &metrics, &told),
            Err(fault) => {
                metrics.registry_failed();
                tracing::error!(%fault, "the registry does not follow the log; start `cairn run` again");
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the registry's thread panicked");
        }
    }
}
