//! Guards that are open, with the changes of a batch: what is told, and what an abort undoes.

use super::telegram::telegram;
use super::{GuardKind, Opening};
use crate::operator::{Emit, Output, Place};
use cairn_avro::record::{Guard, Offset};
use std::collections::BTreeMap;

/// Most guards that are open in one book; beyond it nothing more opens, and what there is says enough.
const OPEN_MAX: usize = 1_000;
/// Longest text of a guard's record, bytes.
const TEXT_BYTES_MAX: usize = 1_024;
/// Most places that a guard's record names.
const EVIDENCE_MAX: usize = 32;

/// Why a guard closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleared {
    /// Its time is over.
    Time,
    /// What it was about has gone well again.
    Recovered,
    /// Somebody said so.
    Person,
}

impl Cleared {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Time => "its time is over",
            Self::Recovered => "it goes well again",
            Self::Person => "somebody resumed it",
        }
    }
}

/// Kind, tenant, subject.
type Key = (GuardKind, String, String);

/// The open guards of one operator.
#[derive(Debug)]
pub struct Book {
    operator: &'static str,
    open: BTreeMap<Key, Guard>,
    /// What the batch has changed, as it was before.
    before: BTreeMap<Key, Option<Guard>>,
}

impl Book {
    /// An empty book of this operator.
    #[must_use]
    pub fn new(operator: &'static str) -> Self {
        Self {
            operator,
            open: BTreeMap::new(),
            before: BTreeMap::new(),
        }
    }

    /// True where nothing is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// What is open, in order.
    pub fn open_guards(&self) -> impl Iterator<Item = (GuardKind, &Guard)> {
        self.open.iter().map(|((kind, ..), guard)| (*kind, guard))
    }

    /// The open guard about a subject.
    #[must_use]
    pub fn get(&self, kind: GuardKind, tenant: &str, subject: &str) -> Option<&Guard> {
        if self.open.is_empty() {
            return None;
        }
        self.open
            .get(&(kind, tenant.to_owned(), subject.to_owned()))
    }

    /// Opens a guard, or lets an open one go on: its record is written anew, and a telegram says so where it is new or has
    /// opened another time (`times`).
    pub fn open(&mut self, opening: Opening, times: i32, emit: &mut Emit) {
        let key = (opening.kind, opening.tenant, opening.subject);
        let known = self.open.get(&key);
        if known.is_none() && self.open.len() >= OPEN_MAX {
            return;
        }
        let is_news = known.is_none_or(|guard| guard.times != times);
        let guard = Guard {
            tenant: key.1.clone(),
            guard: opening.kind.name().to_owned(),
            subject: key.2.clone(),
            operator: self.operator.to_owned(),
            instance: String::new(),
            resume: false,
            since_ms: known.map_or(opening.now_ms, |guard| guard.since_ms),
            until_ms: opening.until_ms,
            times,
            records: known.map_or(0, |guard| guard.records) + opening.records,
            text: cut(&opening.text),
            remedy: opening.kind.remedy().replace("SUBJECT", &key.2),
            evidence: opening
                .evidence
                .iter()
                .take(EVIDENCE_MAX)
                .map(offset)
                .collect(),
        };
        if is_news {
            emit.put_urgent(Output::Telegram(telegram(
                opening.kind,
                &guard,
                opening.now_ms,
                None,
            )));
        }
        emit.put(Output::Guard(guard.clone(), true));
        self.change(key, Some(guard));
    }

    /// Closes a guard, where it is open.
    pub fn close(
        &mut self,
        kind: GuardKind,
        tenant: &str,
        subject: &str,
        why: Cleared,
        now_ms: i64,
        emit: &mut Emit,
    ) -> bool {
        let key = (kind, tenant.to_owned(), subject.to_owned());
        let Some(guard) = self.open.get(&key).cloned() else {
            return false;
        };
        emit.put_urgent(Output::Telegram(telegram(kind, &guard, now_ms, Some(why))));
        emit.put(Output::Guard(guard, false));
        self.change(key, None);
        true
    }

    /// Closes what is over by its own time, but for kinds that are tried again instead.
    pub fn expire(&mut self, now_ms: i64, emit: &mut Emit) {
        let over: Vec<Key> = self
            .open
            .iter()
            .filter(|((kind, ..), guard)| {
                *kind != GuardKind::TopicPause
                    && guard.until_ms.is_some_and(|until| until <= now_ms)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for (kind, tenant, subject) in over {
            self.close(kind, &tenant, &subject, Cleared::Time, now_ms, emit);
        }
    }

    /// True where [`Book::expire`] would close something.
    #[must_use]
    pub fn is_due(&self, now_ms: i64) -> bool {
        self.open.iter().any(|((kind, ..), guard)| {
            *kind != GuardKind::TopicPause && guard.until_ms.is_some_and(|until| until <= now_ms)
        })
    }

    /// Takes over what an earlier owner left open; part of the state, not of a batch.
    pub fn restore(&mut self, guard: Guard) {
        if let Some(kind) = GuardKind::of_name(&guard.guard)
            && self.open.len() < OPEN_MAX
        {
            let key = (kind, guard.tenant.clone(), guard.subject.clone());
            self.open.insert(key, guard);
        }
    }

    /// The batch is committed.
    pub fn merge(&mut self) {
        self.before.clear();
    }

    /// The batch was aborted.
    pub fn discard(&mut self) {
        for (key, guard) in std::mem::take(&mut self.before) {
            match guard {
                Some(guard) => drop(self.open.insert(key, guard)),
                None => drop(self.open.remove(&key)),
            }
        }
    }

    fn change(&mut self, key: Key, to: Option<Guard>) {
        let was = match to {
            Some(guard) => self.open.insert(key.clone(), guard),
            None => self.open.remove(&key),
        };
        self.before.entry(key).or_insert(was);
    }
}

fn offset(place: &Place) -> Offset {
    Offset {
        topic: place.topic.clone(),
        partition: place.partition,
        offset: place.offset,
    }
}

/// At most [`TEXT_BYTES_MAX`] of a text, whole characters.
fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(until_ms: Option<i64>) -> Opening {
        Opening {
            kind: GuardKind::Oversized,
            tenant: "default".to_owned(),
            subject: "telemetry.training".to_owned(),
            now_ms: 1_000,
            until_ms,
            records: 1,
            text: "a record of 2 MiB".to_owned(),
            evidence: Vec::new(),
        }
    }

    /// What was told: `+` a guard's record, `-` its end, `!` a telegram that it is open, `.` one that it is not.
    fn told(emit: &mut Emit) -> String {
        emit.take()
            .into_iter()
            .map(|emitted| match emitted.output {
                Output::Guard(_, true) => '+',
                Output::Guard(_, false) => '-',
                Output::Telegram(telegram) if telegram.priority < 3 => '!',
                Output::Telegram(_) => '.',
                _ => '?',
            })
            .collect()
    }

    #[test]
    fn a_guard_is_told_once_goes_on_and_closes_by_its_time() {
        let (mut book, mut emit) = (Book::new("admit"), Emit::default());
        book.open(opening(Some(2_000)), 1, &mut emit);
        assert_eq!(told(&mut emit), "!+");
        book.open(opening(Some(3_000)), 1, &mut emit);
        assert_eq!(told(&mut emit), "+", "it goes on without another telegram");
        book.expire(2_999, &mut emit);
        assert_eq!(told(&mut emit), "");
        assert!(book.is_due(3_000));
        book.expire(3_000, &mut emit);
        assert_eq!(told(&mut emit), ".-");
        assert!(book.is_empty());
    }

    #[test]
    fn an_abort_undoes_what_the_batch_did_and_nothing_else() {
        let (mut book, mut emit) = (Book::new("admit"), Emit::default());
        book.open(opening(None), 1, &mut emit);
        book.discard();
        assert!(book.is_empty());
        book.open(opening(None), 1, &mut emit);
        book.merge();
        let kept = book.open_guards().next().map(|(_, guard)| guard.clone());
        book.open(opening(Some(9)), 2, &mut emit);
        book.close(
            GuardKind::Oversized,
            "default",
            "telemetry.training",
            Cleared::Person,
            5,
            &mut emit,
        );
        book.discard();
        assert_eq!(
            book.open_guards().next().map(|(_, guard)| guard.clone()),
            kept
        );
    }

    #[test]
    fn a_restored_guard_is_open_and_not_told_again() {
        let (mut first, mut second, mut emit) =
            (Book::new("admit"), Book::new("admit"), Emit::default());
        first.open(opening(None), 1, &mut emit);
        for emitted in emit.take() {
            if let Output::Guard(guard, true) = emitted.output {
                second.restore(guard);
            }
        }
        second.open(opening(Some(9)), 1, &mut emit);
        assert_eq!(told(&mut emit), "+");
        assert_eq!(
            second
                .open_guards()
                .map(|(_, guard)| guard.records)
                .sum::<i64>(),
            2
        );
    }
}
