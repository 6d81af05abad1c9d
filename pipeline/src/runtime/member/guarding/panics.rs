//! Cores that panic: the member is void, and a record that did it too often is put aside.

use super::tenant;
use crate::runtime::member::Member;
use crate::runtime::suspects::words;
use crate::runtime::task::Task;
use cairn_bus::{Fault, Record};
use cairn_operators::guards::{GuardKind, Opening};
use cairn_operators::operator::{Dead, Output, Place};
use std::panic::{AssertUnwindSafe, catch_unwind};

impl Member {
    /// Puts a record aside that made the core panic too often.
    pub(in crate::runtime::member) fn condemn(&mut self, record: &Record, words: &str) {
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
    pub(in crate::runtime::member) fn flush_tasks(&mut self) -> Result<(), Fault> {
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
    pub(in crate::runtime::member) fn panicked(&self, words: &str) -> Fault {
        self.metrics.panicked(self.kind.name);
        Fault::Unknown(format!("{} panicked: {words}", self.kind.name))
    }
}

/// Gives a record to a task; what a panic said, where it panicked.
pub(in crate::runtime::member) fn guarded<T>(
    task: &mut dyn Task,
    apply: impl FnOnce(&mut dyn Task) -> T,
) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(|| apply(task))).map_err(|panic| words(&*panic))
}
