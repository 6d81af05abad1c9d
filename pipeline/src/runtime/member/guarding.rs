//! Guards as a member keeps them: what it sees itself, what `admit` decides, and who says that it may go on.
//!
//! The topic `guards` holds what is open. A member reads it when it takes partitions over, and once a second while something
//! of its kind is open: that is how `cairn topics resume` reaches it. What it opens and closes is part of the batch.

use super::super::suspects::words;
use super::super::task::Task;
use super::Member;
use cairn_avro::record::Guard;
use cairn_avro::{codec, frame};
use cairn_bus::{Fault, Gap, Offsets, Record, TopicPartition};
use cairn_operators::admit::Hold;
use cairn_operators::guards::{Book, Cleared, GuardKind, Opening};
use cairn_operators::operator::{Dead, Output, Place};
use cairn_topics::handle::GUARDS;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
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

    /// From now on nothing of this topic is read; it goes on behind what was applied.
    pub(super) fn hold(&mut self, hold: Hold) -> Result<Vec<TopicPartition>, Fault> {
        let until = self.clock.now() + Duration::from_millis(hold.wait_ms.max(0).unsigned_abs());
        tracing::error!(
            operator = self.kind.name,
            topic = hold.topic,
            wait_ms = hold.wait_ms,
            "topic paused by a guard; `cairn doctor` says why"
        );
        let parts: Vec<TopicPartition> = self
            .owned
            .iter()
            .filter(|place| *place.topic == *hold.topic)
            .cloned()
            .collect();
        self.session.pause(&parts)?;
        let mut next = Offsets::new();
        for place in &parts {
            let applied = self.batch.offsets.get(place).or(self.applied.get(place));
            if let Some(offset) = applied {
                next.insert(place.clone(), *offset);
            }
            if let Some(merge) = &mut self.merge {
                merge.forget(place);
            }
        }
        self.session.seek(&next)?;
        let held = Held {
            until,
            is_kept: false,
        };
        self.watch.held.insert(hold.topic, held);
        Ok(parts)
    }

    /// Pauses what is held of partitions that have just come.
    pub(super) fn hold_again(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        let held: Vec<TopicPartition> = parts
            .iter()
            .filter(|place| self.watch.held.contains_key(&*place.topic))
            .cloned()
            .collect();
        if held.is_empty() {
            return Ok(());
        }
        self.session.pause(&held)
    }

    /// Tries again what has been held long enough.
    pub(super) fn end_holds(&mut self) -> Result<(), Fault> {
        if self.watch.held.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let due: Vec<String> = self
            .watch
            .held
            .iter()
            .filter(|(_, held)| held.until <= now)
            .map(|(topic, _)| topic.clone())
            .collect();
        for topic in &due {
            self.watch.held.remove(topic);
            for task in self.tasks.values_mut() {
                task.probe(topic);
            }
        }
        self.go_on(&due)
    }

    /// The batch was aborted: what it held is read again, and held again.
    pub(super) fn undo_holds(&mut self) -> Result<(), Fault> {
        let undone: Vec<String> = self
            .watch
            .held
            .iter()
            .filter(|(_, held)| !held.is_kept)
            .map(|(topic, _)| topic.clone())
            .collect();
        for topic in &undone {
            self.watch.held.remove(topic);
        }
        self.watch.book.discard();
        self.go_on(&undone)
    }

    fn go_on(&mut self, topics: &[String]) -> Result<(), Fault> {
        let parts: Vec<TopicPartition> = self
            .owned
            .iter()
            .filter(|place| topics.iter().any(|topic| **topic == *place.topic))
            .cloned()
            .collect();
        if parts.is_empty() {
            return Ok(());
        }
        self.session.resume(&parts)
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
        let mut open: BTreeMap<&'static str, i64> = BTreeMap::new();
        let books = self.tasks.values_mut().filter_map(|task| task.guards());
        let mut count = |book: &Book| {
            for (kind, _) in book.open_guards() {
                *open.entry(kind.name()).or_default() += 1;
            }
        };
        books.for_each(|book| count(book));
        count(&self.watch.book);
        for kind in GuardKind::ALL {
            let number = open.get(kind.name()).copied().unwrap_or(0);
            self.metrics.guards(self.kind.name, kind.name(), number);
        }
    }

    /// Says that commits are slow, where the last one was.
    pub(super) fn tell_slow(&mut self) {
        let Some(took) = self.watch.slow.take() else {
            return;
        };
        let now_ms = self.clock.wall_ms();
        let is_fresh = self
            .watch
            .book
            .get(GuardKind::SlowLog, "default", self.kind.name)
            .and_then(|guard| guard.until_ms)
            .is_some_and(|until| until.saturating_sub(now_ms) > self.settings.guard_notice_ms / 2);
        if is_fresh {
            return;
        }
        let opening = Opening {
            kind: GuardKind::SlowLog,
            tenant: "default".to_owned(),
            subject: self.kind.name.to_owned(),
            now_ms,
            until_ms: Some(now_ms.saturating_add(self.settings.guard_notice_ms)),
            records: 0,
            text: format!(
                "a commit took {} ms, more than runtime.slow_commit_ms = {}",
                took.as_millis(),
                self.settings.slow_commit_ms
            ),
            evidence: Vec::new(),
        };
        self.watch.book.open(opening, 1, &mut self.emit);
        self.begin_if_told();
    }

    /// A partition waits for a schema; a guard opens once that takes long.
    pub(super) fn waits(&mut self, place: &TopicPartition, kind: GuardKind, why: &str) {
        let now = self.clock.now();
        let (since, known) = self
            .watch
            .waiting
            .entry(place.clone())
            .or_insert((now, kind));
        *known = kind;
        let waited = now.saturating_duration_since(*since);
        let tenant = tenant(&place.topic);
        if waited < Duration::from_millis(self.settings.guard_after_ms)
            || self.watch.book.get(kind, tenant, &place.topic).is_some()
        {
            return;
        }
        let opening = Opening {
            kind,
            tenant: tenant.to_owned(),
            subject: place.topic.to_string(),
            now_ms: self.clock.wall_ms(),
            until_ms: None,
            records: 0,
            text: format!("partition {} waits: {why}", place.partition),
            evidence: Vec::new(),
        };
        self.watch.book.open(opening, 1, &mut self.emit);
        self.begin_if_told();
    }

    /// A record of this partition could be read: what waited for it is over.
    pub(super) fn goes_well(&mut self, place: &TopicPartition) {
        if self.watch.waiting.is_empty() && self.watch.book.is_empty() {
            return;
        }
        self.watch.waiting.remove(place);
        if self
            .watch
            .waiting
            .keys()
            .any(|other| other.topic == place.topic)
        {
            return;
        }
        let now_ms = self.clock.wall_ms();
        for kind in [GuardKind::RegistryOutage, GuardKind::UnknownSchema] {
            self.watch.book.close(
                kind,
                tenant(&place.topic),
                &place.topic,
                Cleared::Recovered,
                now_ms,
                &mut self.emit,
            );
        }
    }

    /// The log has deleted what was to be read: said loudly, counted, never silent.
    pub(super) fn overtaken(&mut self, gaps: &[Gap]) {
        let now_ms = self.clock.wall_ms();
        for gap in gaps {
            let lost = gap.to.saturating_sub(gap.from).max(0);
            tracing::error!(
                operator = self.kind.name,
                topic = &*gap.part.topic,
                partition = gap.part.partition,
                from = gap.from,
                to = gap.to,
                lost,
                "retention has overtaken the reader: these offsets are gone unread"
            );
            self.metrics.lost(self.kind.name, &gap.part.topic, lost);
            let text = if gap.to < gap.from {
                format!(
                    "partition {} ends before offset {}, which was to be read next: the topic was made anew or cut off; it is read from {} on",
                    gap.part.partition, gap.from, gap.to
                )
            } else {
                format!(
                    "partition {} lost up to {lost} records: offsets {} to {} were deleted before they were read",
                    gap.part.partition, gap.from, gap.to
                )
            };
            let opening = Opening {
                kind: GuardKind::RetentionOvertaken,
                tenant: tenant(&gap.part.topic).to_owned(),
                subject: gap.part.topic.to_string(),
                now_ms,
                until_ms: Some(now_ms.saturating_add(self.settings.loss_notice_ms)),
                records: lost,
                text,
                evidence: vec![Place {
                    topic: gap.part.topic.to_string(),
                    partition: gap.part.partition,
                    offset: gap.from,
                }],
            };
            let times = self
                .watch
                .book
                .get(
                    GuardKind::RetentionOvertaken,
                    tenant(&gap.part.topic),
                    &gap.part.topic,
                )
                .map_or(1, |guard| guard.times.saturating_add(1));
            self.watch.book.open(opening, times, &mut self.emit);
            self.applied.insert(gap.part.clone(), gap.to);
            self.batch.offsets.insert(gap.part.clone(), gap.to);
        }
        self.begin_if_told();
    }

    /// Puts a record aside that made the core panic too often.
    pub(super) fn condemn(&mut self, record: &Record, words: &str) {
        let now_ms = self.clock.wall_ms();
        let text = format!(
            "{}[{}] offset {}: {} panicked over it three times: {words}",
            record.topic, record.partition, record.offset, self.kind.name
        );
        tracing::error!(operator = self.kind.name, text, "record put aside");
        let opening = Opening {
            kind: GuardKind::CorePanic,
            tenant: tenant(&record.topic).to_owned(),
            subject: record.topic.to_string(),
            now_ms,
            until_ms: Some(now_ms.saturating_add(self.settings.loss_notice_ms)),
            records: 1,
            text: text.clone(),
            evidence: vec![Place {
                topic: record.topic.to_string(),
                partition: record.partition,
                offset: record.offset,
            }],
        };
        self.watch.book.open(opening, 1, &mut self.emit);
        self.emit.put(Output::Dead(Dead {
            tenant: tenant(&record.topic).to_owned(),
            class: "core_panic",
            text,
            topic: cairn_topics::split_tenant(&record.topic).map_or_else(
                || record.topic.to_string(),
                |(_, topic)| topic.name.to_owned(),
            ),
            original: None,
            event_id: None,
            origin: None,
        }));
    }

    /// What the flush of a batch panics with; the member is void then.
    pub(super) fn flush_tasks(&mut self) -> Result<(), Fault> {
        let (tasks, emit) = (&mut self.tasks, &mut self.emit);
        let flushed = catch_unwind(AssertUnwindSafe(|| {
            for task in tasks.values_mut() {
                task.flush(emit);
            }
        }));
        let Err(panic) = flushed else { return Ok(()) };
        let words = words(&*panic);
        match (&self.batch.last, self.batch.records) {
            (Some((place, offset)), 1) => self.suspects.blame(place.clone(), *offset, &words),
            (_, 0) => {
                return Err(Fault::Config(format!(
                    "{} panicked without a record: {words}; please report this with the log",
                    self.kind.name
                )));
            }
            (_, records) => self.suspects.blame_batch(records),
        }
        Err(self.panicked(&words))
    }

    /// The fault after a panic: another member restores what this one's core was.
    pub(super) fn panicked(&self, words: &str) -> Fault {
        self.metrics.panicked(self.kind.name);
        Fault::Unknown(format!("{} panicked: {words}", self.kind.name))
    }
}

/// Gives a record to a task; what a panic said, where it panicked.
pub(super) fn guarded<T>(
    task: &mut dyn Task,
    apply: impl FnOnce(&mut dyn Task) -> T,
) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(|| apply(task))).map_err(|panic| words(&*panic))
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
    )
}

/// A guard's record; none for its end, and for what a later version wrote.
fn read(record: &Record) -> Option<Guard> {
    let body = frame::split(record.value.as_deref()?).ok()?.body;
    codec::decode(body).ok()
}
