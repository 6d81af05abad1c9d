//! What a changelog holds in the end is what a core remembers that nothing happened to.

use super::replay::Core;
use super::text::body;
use super::{Found, compare};
use cairn_avro::hex;
use cairn_avro::record::Change;
use cairn_pipeline::runtime::task::Kind;
use std::collections::BTreeMap;

/// Tables whose entries depend on where batches end: only their union is compared.
const BY_BATCH: &str = "seen";

type Entries = BTreeMap<(String, String), Vec<u8>>;

pub(super) fn differs(
    found: &Found,
    kind: &Kind,
    partition: i32,
    core: &mut Core,
) -> Result<(), String> {
    let Some(changelog) = &kind.changelog else {
        return Ok(());
    };
    // Its changes were never merged: they are all that it knows.
    let mut expected = Entries::new();
    if let Some(state) = core.task.state() {
        for change in state.changes() {
            if let Some(value) = change.value {
                expected.insert((change.table.to_owned(), change.key), value);
            }
        }
    }
    let kept = entries(found, changelog, partition)?;
    compare(
        &format!("{changelog}[{partition}]"),
        lines(expected),
        lines(kept),
    )
}

/// The newest value of each key.
pub(super) fn entries(found: &Found, changelog: &str, partition: i32) -> Result<Entries, String> {
    let mut kept = Entries::new();
    for record in found.of(changelog, partition) {
        let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
        let (table, key) = key.split_once('\0').ok_or("a key without a table")?;
        let key = (table.to_owned(), key.to_owned());
        if record.value.is_some() {
            let change: Change = body(record.value.as_deref())?;
            kept.insert(key, change.value);
        } else {
            kept.remove(&key);
        }
    }
    Ok(kept)
}

fn lines(entries: Entries) -> Vec<String> {
    let mut lines = Vec::new();
    for ((table, key), value) in entries {
        if table == BY_BATCH {
            // segments of 16-byte ids, numbered behind the last bar
            let run = key.rsplit_once('|').map_or(&*key, |(run, _)| run);
            let ids = value.chunks(16);
            lines.extend(ids.map(|id| format!("{table} {run} {}", hex::text(id))));
        } else {
            let text = readable(&value);
            lines.push(format!("{table} {key} {text} {}", hex::text(&value)));
        }
    }
    lines
}

/// MessagePack with named fields, as far as it is text.
fn readable(value: &[u8]) -> String {
    let text = |byte: &u8| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '.',
    };
    value.iter().map(text).collect()
}
