//! Guards as a member keeps them: what it sees itself, what `admit` decides, and who says that it may go on.
//!
//! The topic `guards` holds what is open. A member reads it when it takes partitions over, and once a second while something
//! of its kind is open: that is how `cairn topics resume` reaches it. What it opens and closes is part of the batch.

mod holding;
mod panics;
mod telling;

pub(super) use panics::guarded;

use super::Member;
use cairn_avro::record::Guard;
use cairn_avro::{codec, frame};
use cairn_bus::{Fault, Record, TopicPartition};
use cairn_operators::guards::{Book, Cleared, GuardKind};
use cairn_topics::handle::GUARDS;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often the topic of open guards is looked at while one is open.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a member knows of guards.
pub(super) struct Watch {
    /// What only the shell sees.
    book: Book,
    /// Topics that are not read, until when, and whether a commit has kept that yet.
    held: BTreeMap<String, Held>,
    /// Partitions that wait for a schema, since when, and for what.
    waiting: BTreeMap<TopicPartition, (Instant, GuardKind)>,
    /// The next record of the topic `guards`; none before the first look.
    pub(super) next: Option<i64>,
    looked: Option<Instant>,
    /// The last commit took so long.
    slow: Option<Duration>,
    /// The gauges say that something is open, or nothing yet.
    is_shown: bool,
}

struct Held {
    until: Instant,
    is_kept: bool,
}

impl Watch {
    pub(super) fn new(operator: &'static str) -> Self {
        Self {
            book: Book::new(operator),
            held: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next: None,
            looked: None,
            slow: None,
            is_shown: true,
        }
    }

    /// What waited in these partitions is for their next owner to say.
    pub(super) fn let_go(&mut self, parts: &[TopicPartition]) {
        self.waiting.retain(|part, _| !parts.contains(part));
    }

    pub(super) fn is_held(&self, topic: &str) -> bool {
        self.held.contains_key(topic)
    }
}

impl Member {
    /// Topics that a guard keeps from being read.
    #[must_use]
    pub fn held(&self) -> Vec<&str> {
        self.watch.held.keys().map(String::as_str).collect()
    }

    /// Every second while a guard is open: what is over, and what people ask for.
    pub(super) fn look_at_guards_again(&mut self) -> Result<(), Fault> {
        let now = self.clock.now();
        let is_open = !self.watch.book.is_empty()
            || self
                .tasks
                .values_mut()
                .any(|task| task.guards().is_some_and(|book| !book.is_empty()));
        let is_due = self
            .watch
            .looked
            .is_some_and(|looked| now.saturating_duration_since(looked) >= LOOK_EVERY);
        if is_open && is_due {
            self.look_at_guards()?;
        }
        Ok(())
    }

    /// Takes over what is open, the first time; then does what people ask for.
    pub(super) fn look_at_guards(&mut self) -> Result<(), Fault> {
        let now = self.clock.now();
        let is_first = self.watch.next.is_none();
        self.watch.looked = Some(now);
        let place = TopicPartition::new(GUARDS.name, 0);
        let mut found: BTreeMap<Vec<u8>, Option<Guard>> = BTreeMap::new();
        let from = self.watch.next.unwrap_or(0);
        let end = self.session.read_from(&place, from, &mut |record| {
            found.insert(record.key.clone().unwrap_or_default(), read(&record));
        })?;
        self.watch.next = Some(end.max(0));
        let now_ms = self.clock.wall_ms();
        for guard in found.into_values().flatten() {
            if guard.operator == self.kind.name {
                self.take_guard(guard, is_first, now, now_ms);
            }
        }
        // What is over without a record that would say so.
        if self.watch.book.is_due(now_ms) {
            self.watch.book.expire(now_ms, &mut self.emit);
        }
        for task in self.tasks.values_mut() {
            if let Some(book) = task.guards()
                && book.is_due(now_ms)
            {
                book.expire(now_ms, &mut self.emit);
            }
        }
        self.begin_if_told();
        Ok(())
    }

    fn take_guard(&mut self, guard: Guard, is_first: bool, now: Instant, now_ms: i64) {
        let Some(kind) = GuardKind::of_name(&guard.guard) else {
            return;
        };
        if is_first {
            if kind == GuardKind::TopicPause && !guard.resume {
                let left = guard.until_ms.unwrap_or(now_ms).saturating_sub(now_ms);
                let until = now + Duration::from_millis(left.max(0).unsigned_abs());
                let held = Held {
                    until,
                    is_kept: true,
                };
                self.watch.held.insert(guard.subject.clone(), held);
            }
            match self.tasks.values_mut().find_map(|task| task.guards()) {
                Some(book) if is_of_ingress(kind) => book.restore(guard.clone()),
                _ => self.watch.book.restore(guard.clone()),
            }
        }
        if !guard.resume {
            return;
        }
        tracing::info!(
            operator = self.kind.name,
            guard = guard.guard,
            subject = guard.subject,
            "resumed by hand"
        );
        if let Some(held) = self.watch.held.get_mut(&guard.subject) {
            held.until = now;
        }
        self.watch.book.close(
            kind,
            &guard.tenant,
            &guard.subject,
            Cleared::Person,
            now_ms,
            &mut self.emit,
        );
        for task in self.tasks.values_mut() {
            task.resume_guard(&guard, now_ms, &mut self.emit);
        }
    }

    /// A guard that opens by itself is committed like anything else.
    pub(super) fn begin_if_told(&mut self) {
        if self.batch.begun.is_none() && !self.emit.outputs().is_empty() {
            self.batch.begun = Some(self.clock.now());
        }
    }

    /// The batch is committed, in so long.
    pub(super) fn keep_guards(&mut self, took: Duration) {
        for held in self.watch.held.values_mut() {
            held.is_kept = true;
        }
        self.watch.book.merge();
        if took >= Duration::from_millis(self.settings.slow_commit_ms) {
            self.watch.slow = Some(took);
        }
        self.show_guards();
    }

    /// Sets the gauges, where they may have changed.
    fn show_guards(&mut self) {
        let mut open: BTreeMap<&'static str, i64> = BTreeMap::new();
        let books = self.tasks.values_mut().filter_map(|task| task.guards());
        let mut count = |book: &Book| {
            for (kind, _) in book.open_guards() {
                *open.entry(kind.name()).or_default() += 1;
            }
        };
        books.for_each(|book| count(book));
        count(&self.watch.book);
        if open.is_empty() && !self.watch.is_shown {
            return;
        }
        self.watch.is_shown = !open.is_empty();
        for kind in GuardKind::ALL {
            let number = open.get(kind.name()).copied().unwrap_or(0);
            self.metrics.guards(self.kind.name, kind.name(), number);
        }
    }
}

/// Tenant of a topic of ours or theirs.
fn tenant(topic: &str) -> &str {
    cairn_topics::split_tenant(topic).map_or(cairn_topics::DEFAULT_TENANT, |(tenant, _)| tenant)
}

/// What `admit` itself decides.
fn is_of_ingress(kind: GuardKind) -> bool {
    matches!(
        kind,
        GuardKind::Quarantine
            | GuardKind::TopicPause
            | GuardKind::FromTheFuture
            | GuardKind::Oversized
            | GuardKind::SourceDenied
    )
}

/// A guard's record; none for its end, and for what a later version wrote.
fn read(record: &Record) -> Option<Guard> {
    let body = frame::split(record.value.as_deref()?).ok()?.body;
    codec::decode(body).ok()
}
