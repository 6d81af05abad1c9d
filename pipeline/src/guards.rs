//! Guards that are open, from outside: what `cairn doctor` shows, and what `cairn topics resume` asks for.

use crate::contents;
use cairn_avro::codec;
use cairn_avro::contract::{self, Record as _};
use cairn_avro::record::Guard;
use cairn_bus::{Fault, Log, Membership, Offsets, Outgoing, SchemaRegistry};
use cairn_topics::handle::GUARDS;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a resume waits as it leaves.
const PATIENCE: Duration = Duration::from_secs(5);

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
    let entry = Guard::entry();
    let id = registry.id_of(&contract::subject(GUARDS.name), entry.schema)?;
    let mut session = log.open(Membership {
        operator: "guards".into(),
        group: format!("{app_id}.guards"),
        instance: "resume".into(),
        thread: 0,
        topics: Vec::new(),
    })?;
    for guard in guards {
        let asked = Guard {
            resume: true,
            ..guard.clone()
        };
        let mut value = Vec::with_capacity(256);
        codec::encode_framed(id, &asked, &mut value)
            .map_err(|error| Fault::Config(format!("{}: {error}", GUARDS.name)))?;
        session.send(Outgoing {
            topic: GUARDS.name.into(),
            partition: GUARDS.partition(&asked, 1),
            key: Some(GUARDS.key(&asked).into_bytes()),
            value: Some(value),
            headers: Vec::new(),
        })?;
    }
    session.commit(&Offsets::new())?;
    session.close(PATIENCE)
}
