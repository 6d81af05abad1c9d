//! A kind's inputs once more, in the order of its cuts, through a core that nothing happens to.

use super::admit::dead_letters;
use super::text::{self, body};
use super::{Found, compare, tables};
use crate::simulation::stage::{Stage, shared};
use cairn_avro::record::{Cut, CutCause};
use cairn_bus::simulated::SimulatedClock;
use cairn_bus::{Outgoing, Record};
use cairn_operators::operator::{Emit, Emitted, Origin, Output, Place};
use cairn_pipeline::runtime::decode::{Decoder, Undecodable};
use cairn_pipeline::runtime::task::{Kind, Task};
use cairn_pipeline::runtime::timepiece::Timepiece;
use std::collections::BTreeMap;

/// One task without a runtime around it.
pub(super) struct Core {
    operator: &'static str,
    pub(super) task: Box<dyn Task>,
    decoder: Decoder,
    clock: SimulatedClock,
    emit: Emit,
}

impl Core {
    pub(super) fn new(kind: &Kind) -> Self {
        let clock = SimulatedClock::at(0);
        let mut decoder = Decoder::new(shared().registry.clone());
        let hand = clock.clone();
        decoder.set_clock(Timepiece::by_hand(move || {
            cairn_bus::simulated::Clock::now_ms(&hand)
        }));
        Self {
            operator: kind.name,
            task: kind.open(),
            decoder,
            clock,
            emit: Emit::default(),
        }
    }

    pub(super) fn apply(&mut self, record: &Record) -> Result<(), String> {
        loop {
            match self.task.apply(record, &mut self.decoder, &mut self.emit) {
                Ok(_) => break,
                Err(Undecodable::Never(dead)) => {
                    self.emit.put(Output::Dead(dead));
                    break;
                }
                // Waited for as long as it takes.
                Err(Undecodable::Later { wait, .. }) => {
                    self.clock.advance_ms(wait.as_millis() as i64 + 1);
                }
            }
        }
        self.emit.attach(|| origin(record));
        Ok(())
    }

    pub(super) fn flush(&mut self) {
        self.task.flush(&mut self.emit);
    }

    /// What it put out, as the records that they should have become.
    pub(super) fn take(&mut self) -> Result<Vec<(Output, Outgoing)>, String> {
        let mut all = Vec::new();
        for Emitted {
            output,
            traceparent,
            ..
        } in self.emit.take()
        {
            if matches!(output, Output::Ask(_)) {
                continue;
            }
            let out = shared()
                .encoder
                .output(self.operator, &output, traceparent.as_deref())
                .map_err(|fault| fault.to_string())?;
            all.push((output, out));
        }
        Ok(all)
    }
}

fn origin(record: &Record) -> Origin {
    Origin {
        place: Place {
            topic: record.topic.to_string(),
            partition: record.partition,
            offset: record.offset,
        },
        append_time_ms: record.append_time_ms,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record.headers.clone(),
    }
}

/// What a kind's tasks put out, by topic, and what they remember.
pub(super) struct Replayed {
    operator: &'static str,
    out: BTreeMap<String, Vec<String>>,
    /// The same by record key, the newest, for compacted topics.
    newest: BTreeMap<(String, Vec<u8>), String>,
    compacted: &'static str,
    topics: &'static [&'static str],
}

/// The kind `runs`.
pub(super) fn runs(stage: &Stage, found: &Found) -> Result<Replayed, String> {
    let topics: &[&str] = &["runs.windows", "breaker.verdicts", "late"];
    replayed(stage, found, "runs", "experiments.rows", topics)
}

/// The kind `cockpit`.
pub(super) fn cockpit(stage: &Stage, found: &Found) -> Result<Replayed, String> {
    replayed(stage, found, "cockpit", "cockpit.board", &[])
}

fn replayed(
    stage: &Stage,
    found: &Found,
    operator: &'static str,
    compacted: &'static str,
    topics: &'static [&'static str],
) -> Result<Replayed, String> {
    let kind = stage.kind(operator);
    let mut replayed = Replayed {
        operator,
        out: BTreeMap::new(),
        newest: BTreeMap::new(),
        compacted,
        topics,
    };
    for partition in 0..found.partitions(&kind.inputs[0]) {
        let mut core = Core::new(kind);
        let mut position: BTreeMap<String, i64> = BTreeMap::new();
        let mut batch = None;
        for cut in cuts(found, kind, partition)? {
            let begins = cut.cause != CutCause::Records;
            match batch {
                Some(last) if last > cut.batch => {
                    return Err(format!(
                        "{operator}: batch {} of partition {partition} comes after batch {last}",
                        cut.batch
                    ));
                }
                Some(last) if last < cut.batch || begins => core.flush(),
                _ => {}
            }
            batch = Some(cut.batch);
            match cut.cause {
                CutCause::Records => {}
                CutCause::Resumed => core.task.resume(&mut core.emit),
                CutCause::Drained => core.task.drain(&mut core.emit),
            }
            let mut chunk: Vec<&Record> = Vec::new();
            for input in &cut.inputs {
                let next = position.entry(input.topic.clone()).or_default();
                let new = found.of(&input.topic, partition).iter();
                chunk.extend(new.filter(|record| (*next..input.offset).contains(&record.offset)));
                *next = input.offset.max(*next);
            }
            chunk.sort_by_key(|record| (record.topic.clone(), record.offset));
            for record in chunk {
                core.apply(record)?;
            }
        }
        core.flush();
        for topic in &kind.inputs {
            let next = position.get(topic).copied().unwrap_or(0);
            if let Some(record) = found.of(topic, partition).last()
                && record.offset >= next
            {
                return Err(format!(
                    "{operator}: {topic}[{partition}] is cut at {next}, its last record lies at {}",
                    record.offset
                ));
            }
        }
        for (_, out) in core.take()? {
            let line = text::expected(&out)?;
            let key = (out.topic.to_string(), out.key.clone().unwrap_or_default());
            replayed.newest.insert(key, line.clone());
            let lines = replayed.out.entry(out.topic.to_string()).or_default();
            lines.push(line);
        }
        tables::differs(found, kind, partition, &mut core)?;
        if let Some(due_ms) = core.task.due_ms() {
            return Err(format!(
                "{operator}: partition {partition} is at rest, and a timer is due at {due_ms}"
            ));
        }
    }
    Ok(replayed)
}

fn cuts(found: &Found, kind: &Kind, partition: i32) -> Result<Vec<Cut>, String> {
    let mut cuts = Vec::new();
    for record in found.of(&format!("cuts.{}", kind.family), partition) {
        let cut: Cut = body(record.value.as_deref())?;
        if cut.operator == kind.name {
            cuts.push(cut);
        }
    }
    Ok(cuts)
}

impl Replayed {
    pub(super) fn differs(mut self, found: &Found, is_compacted: bool) -> Result<(), String> {
        for &topic in self.topics {
            let mut lines = Vec::new();
            for record in found.all(topic) {
                lines.push(text::found(record)?);
            }
            compare(topic, self.out.remove(topic).unwrap_or_default(), lines)?;
        }
        let what = format!("dead letters of {}", self.operator);
        let expected = self.out.remove("deadletter").unwrap_or_default();
        compare(&what, expected, dead_letters(found, self.operator)?)?;
        if self.operator == "runs" {
            let mut lines = Vec::new();
            for record in found.all("cockpit.telegrams") {
                let line = text::found(record)?;
                // guards tell of the moment, not of the input
                if !line.contains(r#""stream":"refit""#) && !line.contains(r#""kind":"guard""#) {
                    lines.push(line);
                }
            }
            let expected = self.out.remove("cockpit.telegrams").unwrap_or_default();
            compare("telegrams", expected, lines)?;
        }
        let (mut newest, mut all) = (BTreeMap::new(), Vec::new());
        for record in found.all(self.compacted) {
            let line = text::found(record)?;
            newest.insert(record.key.clone().unwrap_or_default(), line.clone());
            all.push(line);
        }
        let expected = self.newest.into_iter();
        let expected = expected.filter(|((topic, _), _)| topic == self.compacted);
        let expected = expected.map(|(_, line)| line).collect();
        let what = format!("newest of {}", self.compacted);
        compare(&what, expected, newest.into_values().collect())?;
        if !is_compacted {
            let expected = self.out.remove(self.compacted).unwrap_or_default();
            compare(self.compacted, expected, all)?;
        }
        Ok(())
    }
}
