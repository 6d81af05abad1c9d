//! Everything sent is an event or a dead letter, once; and a run's events of one ingress partition keep their order.

use super::replay::Core;
use super::text::{self, body};
use super::{Found, compare};
use crate::simulation::stage::Stage;
use cairn_avro::record::{DeadLetter, RunEvents};
use cairn_operators::operator::Output;
use cairn_topics::{partition_of, run_key};
use std::collections::BTreeMap;

pub(super) fn differs(stage: &Stage, found: &Found) -> Result<(), String> {
    let kind = stage.kind("admit");
    let mut core = Core::new(kind);
    for topic in &kind.inputs {
        for record in found.all(topic) {
            core.apply(record)?;
        }
    }
    core.flush();
    let (mut expected, mut dead) = (Vec::new(), Vec::new());
    for (output, out) in core.take()? {
        match output {
            Output::Events(events) => expected.extend(lines(&events)),
            // Guards tell of the moment: what opens them is among the dead letters.
            Output::Guard(..) | Output::Telegram(_) => {}
            _ => dead.push(text::expected(&out)?),
        }
    }
    let mut events = Vec::new();
    let mut last: BTreeMap<(String, String, i32), i64> = BTreeMap::new();
    for record in found.all("runs.events") {
        let packed: RunEvents = body(record.value.as_deref())?;
        let key = run_key(&packed.tenant, &packed.run_id);
        if record.partition != partition_of(&key, found.partitions("runs.events")) {
            return Err(format!("{key} lies in partition {}", record.partition));
        }
        for source in packed
            .events
            .iter()
            .filter_map(|event| event.source.as_ref())
        {
            let lane = (key.clone(), source.topic.clone(), source.partition);
            let before = last.insert(lane, source.offset);
            if before.is_some_and(|before| before >= source.offset) {
                return Err(format!(
                    "{key}: the event at {source:?} comes after the one at {before:?}"
                ));
            }
        }
        events.extend(lines(&packed));
    }
    compare("runs.events", expected, events)?;
    compare("dead letters of admit", dead, dead_letters(found, "admit")?)
}

fn lines(packed: &RunEvents) -> impl Iterator<Item = String> + '_ {
    packed
        .events
        .iter()
        .map(|event| format!("{} {} {event:?}", packed.tenant, packed.run_id))
}

/// The dead letters of an operator.
pub(super) fn dead_letters(found: &Found, operator: &str) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    for record in found.all("deadletter") {
        let letter: DeadLetter = body(record.value.as_deref())?;
        if letter.operator == operator {
            lines.push(text::found(record)?);
        }
    }
    Ok(lines)
}
