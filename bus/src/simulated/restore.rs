//! Reads a partition from its start to its end, as a task does that restores its state.

use super::shared::{Shared, Trouble};
use super::world::World;
use crate::log::{Fault, Record, TopicPartition};

/// What a restore takes in one request, so that something can happen in its middle.
const RESTORE_RECORDS: usize = 100;
/// How much longer than a transaction may last a restore waits for an undecided one: what the brokers' look for such ones
/// takes, twice.
const UNDECIDED_EXTRA_MS: i64 = 20_000;

/// Everything committed from an offset up to the high watermark of now; what is undecided there is waited for.
pub(super) fn to_end(
    shared: &Shared,
    client: u64,
    part: &TopicPartition,
    from: i64,
    each: &mut dyn FnMut(Record),
) -> Result<i64, Fault> {
    let doing = format!("reading {part} to its end");
    let fault = |trouble: Trouble| trouble.outside(&doing);
    let (start, end) = shared
        .ask(client, "ListOffsets", |world| {
            let partition = world.broker.partition(part)?;
            Ok((partition.start(), partition.high()))
        })
        .map_err(fault)?;
    let stable = |world: &mut World| {
        let partition = world.broker.partition(part).ok()?;
        (partition.last_stable() >= end).then_some(())
    };
    let patience_ms = shared.world().settings.transaction_timeout_ms + UNDECIDED_EXTRA_MS;
    if shared.wait_for(patience_ms, stable).is_none() {
        return Err(Fault::Unreachable(format!(
            "{doing}: a transaction has been undecided for {patience_ms} ms"
        )));
    }
    let mut next = start.max(from);
    while next < end {
        let fetched = shared
            .ask(client, "Fetch", |world| {
                let partition = world.broker.partition(part)?;
                let fetched = partition.fetch(part, next, RESTORE_RECORDS);
                world.trace.records(&fetched.records);
                Ok(fetched)
            })
            .map_err(fault)?;
        // retention may have moved the start beyond the position, never back
        next = fetched.next.max(next + 1);
        for record in fetched.records {
            if record.offset < end {
                each(record);
            }
        }
    }
    Ok(end)
}
