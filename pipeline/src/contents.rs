//! All that a topic holds now, for commands that look at it and go.

use cairn_avro::{codec, contract, frame};
use cairn_bus::{Fault, Log, Offsets, Record};
use std::time::Duration;

/// Records asked of the log at once.
const READ_RECORDS: usize = 1_000;
/// How long a read waits: what is asked for is there already.
const PATIENCE: Duration = Duration::from_secs(5);

/// Calls `each` with every record that is there now, partition by partition in order; what comes meanwhile is left out.
///
/// # Errors
/// The log cannot be read, or whatever `each` says.
pub fn each<E: From<Fault>>(
    log: &dyn Log,
    topic: &str,
    each: &mut dyn FnMut(&Record) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = log.reader()?;
    for (part, (start, end)) in reader.ends(&[topic])? {
        let mut from = Offsets::from([(part.clone(), start)]);
        while from.get(&part).is_some_and(|next| *next < end) {
            let (records, next) = reader.read(&from, PATIENCE, READ_RECORDS)?;
            if records.is_empty() && next == from {
                break;
            }
            for record in records.iter().filter(|record| record.offset < end) {
                each(record)?;
            }
            from = next;
        }
    }
    Ok(())
}

/// What a record of ours says, whose value this is.
///
/// # Errors
/// Where it lies, and why it cannot be read.
pub fn decoded<T: contract::Record>(record: &Record, value: &[u8]) -> Result<T, String> {
    frame::split(value)
        .map_err(|fault| fault.to_string())
        .and_then(|framed| codec::decode(framed.body).map_err(|fault| fault.to_string()))
        .map_err(|why| {
            format!(
                "{} offset {}: {why}; is this program older than the one that wrote it?",
                record.place(),
                record.offset
            )
        })
}
