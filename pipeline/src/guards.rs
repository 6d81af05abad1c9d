//! Guards that are open, from outside: what `cairn doctor` shows, and what `cairn topics resume` asks for.

use crate::contents;
use crate::publish::{Keys, Who, publish};
use cairn_avro::record::Guard;
use cairn_bus::{Fault, Log, SchemaRegistry};
use cairn_topics::handle::GUARDS;
use std::collections::BTreeMap;

/// Every guard that is open, in the order of their keys.
///
/// # Errors
/// The log cannot be read, or holds a guard that this program cannot read.
pub fn open_guards(log: &dyn Log) -> Result<Vec<Guard>, Fault> {
    let mut open: BTreeMap<Vec<u8>, Guard> = BTreeMap::new();
    contents::each::<Fault>(log, GUARDS.name, &mut |record| {
        let key = record.key.clone().unwrap_or_default();
        let Some(value) = record.value.as_deref() else {
            open.remove(&key);
            return Ok(());
        };
        let guard = contents::decoded(record, value).map_err(Fault::Config)?;
        open.insert(key, guard);
        Ok(())
    })?;
    Ok(open.into_values().collect())
}

/// Asks whoever opened them to close these guards; they do within a second or two, or as they start.
///
/// # Errors
/// The log or the registry refuses.
pub fn resume(
    log: &dyn Log,
    registry: &dyn SchemaRegistry,
    app_id: &str,
    guards: &[Guard],
) -> Result<(), Fault> {
    let who = Who {
        app_id,
        operator: "guards",
        instance: "resume",
    };
    let asked: Vec<Keys<Guard>> = guards
        .iter()
        .map(|guard| {
            Guard {
                resume: true,
                ..guard.clone()
            }
            .into()
        })
        .collect();
    publish(log, registry, &who, GUARDS.name, &asked)
}
