//! A bad deploy stops a source or a topic, where a bad row only becomes a dead letter (DESIGN §3.5).
//!
//! ```text
//!   one source's rows are bad, others' are good ──► quarantine: all its rows become dead letters, for a while
//!   a schema's rows all fail, whoever sends them ─► pause: the topic is not read, is tried again, is paused for longer
//! ```
//!
//! Counted is only from a first bad row on, so that good rows cost one comparison. Counts live in memory: a restart counts
//! anew, but takes over what is open. Times are append times.

use crate::guards::{Book, Cleared, GuardKind, Opening};
use crate::operator::{At, Emit, Place};
use cairn_avro::record::Guard;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// When a source or topic is held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardRules {
    /// Rows of a source below which it is not judged: a handful of bad rows is nothing.
    pub quarantine_rows_min: u64,
    /// A source with a larger share of bad rows is quarantined.
    pub quarantine_bad_ratio_max: f64,
    /// How long a quarantine lasts.
    pub quarantine_ms: i64,
    /// Rows of a source, and of a schema, are counted from the first bad one on, for so long; then anew.
    pub count_window_ms: i64,
    /// Most sources that are counted at once; the one counted longest is dropped first.
    pub sources_max: usize,
    /// Rows of one schema that must fail one after the other before its topic is paused; 0 never pauses.
    pub pause_rows_min: u64,
    /// Where other schemas of the topic go well, a schema pauses it only if so many sources send it.
    pub pause_sources_min: usize,
    /// First pause of a topic; doubles while what is tried then fails again.
    pub pause_ms: i64,
    /// Longest pause of a topic.
    pub pause_ms_max: i64,
    /// Rows that are tried after a pause.
    pub probe_rows: u64,
    /// How long a guard that only warns (rows from the future, oversized records, sources denied) stays open after the last such row.
    pub notice_ms: i64,
}

impl Default for GuardRules {
    fn default() -> Self {
        Self {
            quarantine_rows_min: 100,
            quarantine_bad_ratio_max: 0.5,
            quarantine_ms: 600_000,
            count_window_ms: 600_000,
            sources_max: 1_000,
            pause_rows_min: 200,
            pause_sources_min: 3,
            pause_ms: 60_000,
            pause_ms_max: 3_600_000,
            probe_rows: 10,
            notice_ms: 600_000,
        }
    }
}

/// A row as the guards see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub tenant: &'a str,
    /// Who sends: the header `source`, else the record's key; none where there is neither.
    pub source: Option<&'a str>,
    /// Id of the schema it is written with; none for JSON, and for what has no frame.
    pub schema_id: Option<u32>,
    /// Class of what is wrong with it; none where it is good.
    pub class: Option<&'static str>,
}

/// A topic that is not to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its full name.
    pub topic: String,
    /// For how long, then [`Guarding::probe`].
    pub wait_ms: i64,
}

#[derive(Clone, Debug)]
struct SourceCount {
    since_ms: i64,
    rows: u64,
    bad: u64,
}

#[derive(Clone, Debug, Default)]
struct TopicCount {
    /// Bad rows since the last good one.
    bad: u64,
    /// By schema; one with a good row is dropped.
    schemas: BTreeMap<Option<u32>, SchemaCount>,
    /// Rows still to be tried after a pause; none while it is not tried.
    probe: Option<u64>,
    /// Pauses in a row.
    times: i32,
}

/// Rows of one schema that failed, with no good one among them.
#[derive(Clone, Debug, Default)]
struct SchemaCount {
    since_ms: i64,
    bad: u64,
    /// Who sent them, as far as that matters.
    sources: BTreeSet<String>,
}

/// Most schemas counted in a topic; random ids of broken frames are one schema beyond it.
const SCHEMAS_MAX: usize = 64;

/// Counts and open guards of ingress.
#[derive(Debug)]
pub(super) struct Guarding {
    rules: GuardRules,
    pub(super) book: Book,
    sources: BTreeMap<(String, String), SourceCount>,
    topics: BTreeMap<String, TopicCount>,
    /// What the batch has changed of both, as it was before.
    sources_before: BTreeMap<(String, String), Option<SourceCount>>,
    topics_before: BTreeMap<String, Option<TopicCount>>,
    hold: Option<Hold>,
}

impl Guarding {
    pub(super) fn new(rules: GuardRules) -> Self {
        Self {
            rules,
            book: Book::new("admit"),
            sources: BTreeMap::new(),
            topics: BTreeMap::new(),
            sources_before: BTreeMap::new(),
            topics_before: BTreeMap::new(),
            hold: None,
        }
    }

    /// True while a source's rows are dead letters whatever they say.
    pub(super) fn is_quarantined(&self, tenant: &str, source: Option<&str>) -> bool {
        source.is_some_and(|source| {
            self.book
                .get(GuardKind::Quarantine, tenant, source)
                .is_some()
        })
    }

    /// True while nothing is counted and nothing is open, so that a good row changes nothing.
    pub(super) fn is_quiet(&self) -> bool {
        self.sources.is_empty() && self.topics.is_empty() && self.book.is_empty()
    }

    /// Counts a row, and opens or closes what follows from it.
    pub(super) fn see(&mut self, at: &At<'_>, seen: &Seen<'_>, emit: &mut Emit) {
        let is_idle = self.sources.is_empty() && self.topics.is_empty();
        let Some(class) = seen.class else {
            if !is_idle {
                self.good(at, seen, emit);
            }
            return;
        };
        match class {
            "from_the_future" => self.warn(at, seen, GuardKind::FromTheFuture, emit),
            "oversized" => self.warn(at, seen, GuardKind::Oversized, emit),
            "source_denied" => {
                // Who may not send says nothing about the topic, and need not be held back twice.
                self.warn(at, seen, GuardKind::SourceDenied, emit);
                return;
            }
            _ => {}
        }
        if self.is_quarantined(seen.tenant, seen.source) {
            // Held already; its rows say nothing about the topic.
            return;
        }
        if !self.pauses(at, seen, class, emit) {
            self.quarantines(at, seen, class, emit);
        }
    }

    fn good(&mut self, at: &At<'_>, seen: &Seen<'_>, emit: &mut Emit) {
        if self.topics.contains_key(at.topic) {
            let topic = topic(&mut self.topics, &mut self.topics_before, at.topic);
            topic.bad = 0;
            topic.schemas.remove(&seen.schema_id);
            if topic.schemas.is_empty() {
                self.topics.remove(at.topic);
                self.book.close(
                    GuardKind::TopicPause,
                    seen.tenant,
                    at.topic,
                    Cleared::Recovered,
                    at.append_time_ms,
                    emit,
                );
            }
        }
        if let Some(source) = seen.source
            && !self.sources.is_empty()
        {
            let key = (seen.tenant.to_owned(), source.to_owned());
            if let Some(count) = self.sources.get_mut(&key) {
                self.sources_before
                    .entry(key)
                    .or_insert_with(|| Some(count.clone()));
                count.rows += 1;
            }
        }
    }

    /// Counts a bad row of a topic; true where the topic is paused with it.
    fn pauses(&mut self, at: &At<'_>, seen: &Seen<'_>, class: &str, emit: &mut Emit) -> bool {
        let rules = &self.rules;
        if rules.pause_rows_min == 0 {
            return false;
        }
        let topic = topic(&mut self.topics, &mut self.topics_before, at.topic);
        topic.bad += 1;
        let schema = match seen.schema_id {
            known if topic.schemas.contains_key(&known) => known,
            Some(_) if topic.schemas.len() >= SCHEMAS_MAX => None,
            id => id,
        };
        let count = topic.schemas.entry(schema).or_default();
        if at.append_time_ms.saturating_sub(count.since_ms) > rules.count_window_ms {
            *count = SchemaCount {
                since_ms: at.append_time_ms,
                ..SchemaCount::default()
            };
        }
        count.bad += 1;
        if count.sources.len() < rules.pause_sources_min
            && let Some(source) = seen.source
        {
            count.sources.insert(source.to_owned());
        }
        let fails = match &mut topic.probe {
            Some(left) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            None => {
                count.bad >= rules.pause_rows_min
                    && (topic.bad >= rules.pause_rows_min
                        || count.sources.len() >= rules.pause_sources_min)
            }
        };
        if !fails {
            return false;
        }
        let rows = count.bad;
        topic.probe = None;
        topic.times = topic.times.saturating_add(1);
        let doublings = u32::try_from(topic.times - 1).unwrap_or(0).min(30);
        let wait_ms = rules
            .pause_ms
            .saturating_mul(1 << doublings)
            .min(rules.pause_ms_max);
        let times = topic.times;
        let what = schema.map_or_else(
            || "rows without a schema".to_owned(),
            |id| format!("rows with schema id {id}"),
        );
        let opening = Opening {
            kind: GuardKind::TopicPause,
            tenant: seen.tenant.to_owned(),
            subject: at.topic.to_owned(),
            now_ms: at.append_time_ms,
            until_ms: Some(at.append_time_ms.saturating_add(wait_ms)),
            records: i64::try_from(rows).unwrap_or(i64::MAX),
            text: format!(
                "all of the last {rows} {what} failed, the last one as {class}; the topic is not read for {} s",
                wait_ms / 1_000
            ),
            evidence: vec![place(at)],
        };
        self.book.open(opening, times, emit);
        self.hold = Some(Hold {
            topic: at.topic.to_owned(),
            wait_ms,
        });
        true
    }

    fn quarantines(&mut self, at: &At<'_>, seen: &Seen<'_>, class: &str, emit: &mut Emit) {
        let Some(source) = seen.source else { return };
        let rules = &self.rules;
        let key = (seen.tenant.to_owned(), source.to_owned());
        let now_ms = at.append_time_ms;
        self.sources_before
            .entry(key.clone())
            .or_insert_with(|| self.sources.get(&key).cloned());
        if !self.sources.contains_key(&key) && self.sources.len() >= rules.sources_max {
            let oldest = self.sources.iter().min_by_key(|(_, count)| count.since_ms);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                let was = self.sources.remove(&oldest);
                self.sources_before.entry(oldest).or_insert(was);
            }
        }
        let count = self.sources.entry(key.clone()).or_insert(SourceCount {
            since_ms: now_ms,
            rows: 0,
            bad: 0,
        });
        if now_ms.saturating_sub(count.since_ms) > rules.count_window_ms {
            *count = SourceCount {
                since_ms: now_ms,
                rows: 0,
                bad: 0,
            };
        }
        count.rows += 1;
        count.bad += 1;
        let is_over = count.rows >= rules.quarantine_rows_min.max(1)
            && count.bad as f64 > rules.quarantine_bad_ratio_max * count.rows as f64;
        if !is_over {
            return;
        }
        let opening = Opening {
            kind: GuardKind::Quarantine,
            tenant: key.0.clone(),
            subject: key.1.clone(),
            now_ms,
            until_ms: Some(now_ms.saturating_add(rules.quarantine_ms)),
            records: i64::try_from(count.bad).unwrap_or(i64::MAX),
            text: format!(
                "{} of its {} rows since the first bad one could not be taken, the last one on {} as {class}; all its rows become dead letters for {} s",
                count.bad,
                count.rows,
                at.topic,
                rules.quarantine_ms / 1_000
            ),
            evidence: vec![place(at)],
        };
        self.sources.remove(&key);
        self.book.open(opening, 1, emit);
    }

    /// Opens a guard that only warns, or lets it go on.
    fn warn(&mut self, at: &At<'_>, seen: &Seen<'_>, kind: GuardKind, emit: &mut Emit) {
        let now_ms = at.append_time_ms;
        let until_ms = now_ms.saturating_add(self.rules.notice_ms);
        let is_fresh = self
            .book
            .get(kind, seen.tenant, at.topic)
            .and_then(|guard| guard.until_ms)
            .is_some_and(|until| until.saturating_sub(now_ms) > self.rules.notice_ms / 2);
        if is_fresh {
            return;
        }
        let what = match kind {
            GuardKind::FromTheFuture => "rows claim a time ahead of their receipt",
            GuardKind::SourceDenied => "a source or data set that no allow-list names was refused",
            _ => "records are larger than allowed",
        };
        let opening = Opening {
            kind,
            tenant: seen.tenant.to_owned(),
            subject: at.topic.to_owned(),
            now_ms,
            until_ms: Some(until_ms),
            records: 1,
            text: format!(
                "{what}; the latest is partition {} offset {}",
                at.partition, at.offset
            ),
            evidence: vec![place(at)],
        };
        self.book.open(opening, 1, emit);
    }

    /// The topic that is to be held from now on, once.
    pub(super) fn take_hold(&mut self) -> Option<Hold> {
        self.hold.take()
    }

    /// The pause of a topic is over: so many of its rows are tried.
    pub(super) fn probe(&mut self, name: &str) {
        let probe_rows = self.rules.probe_rows.max(1);
        let times = self
            .book
            .open_guards()
            .find(|(kind, guard)| *kind == GuardKind::TopicPause && guard.subject == name)
            .map_or(0, |(_, guard)| guard.times);
        let topic = self.topics.entry(name.to_owned()).or_default();
        topic.probe = Some(probe_rows);
        topic.times = topic.times.max(times);
        // So that a good row of any schema finds the topic as it is: tried.
        topic.schemas.clear();
    }

    /// Somebody says that it may go on.
    pub(super) fn resume(&mut self, guard: &Guard, now_ms: i64, emit: &mut Emit) {
        let Some(kind) = GuardKind::of_name(&guard.guard) else {
            return;
        };
        match kind {
            GuardKind::TopicPause => {
                self.topics.remove(&guard.subject);
            }
            GuardKind::Quarantine => {
                self.sources
                    .remove(&(guard.tenant.clone(), guard.subject.clone()));
            }
            _ => {}
        }
        self.book.close(
            kind,
            &guard.tenant,
            &guard.subject,
            Cleared::Person,
            now_ms,
            emit,
        );
    }

    pub(super) fn merge(&mut self) {
        self.book.merge();
        self.sources_before.clear();
        self.topics_before.clear();
    }

    pub(super) fn discard(&mut self) {
        self.book.discard();
        self.hold = None;
        for (key, was) in std::mem::take(&mut self.sources_before) {
            match was {
                Some(count) => drop(self.sources.insert(key, count)),
                None => drop(self.sources.remove(&key)),
            }
        }
        for (key, was) in std::mem::take(&mut self.topics_before) {
            match was {
                Some(count) => drop(self.topics.insert(key, count)),
                None => drop(self.topics.remove(&key)),
            }
        }
    }
}

/// The counts of a topic, kept as they were for an abort.
fn topic<'a>(
    topics: &'a mut BTreeMap<String, TopicCount>,
    before: &mut BTreeMap<String, Option<TopicCount>>,
    name: &str,
) -> &'a mut TopicCount {
    if !before.contains_key(name) {
        before.insert(name.to_owned(), topics.get(name).cloned());
    }
    topics.entry(name.to_owned()).or_default()
}

fn place(at: &At<'_>) -> Place {
    Place {
        topic: at.topic.to_owned(),
        partition: at.partition,
        offset: at.offset,
    }
}

#[cfg(test)]
mod tests;
