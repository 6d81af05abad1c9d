//! What people are told of a guard.

use super::{Cleared, GuardKind};
use crate::operator::{Evidence, Place, Subject, Telegram, Text, short};
use cairn_avro::hex;
use cairn_avro::record::Guard;
use cairn_avro::time::rfc3339;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The telegram of a guard that opens, or closes for this reason.
pub(super) fn telegram(
    kind: GuardKind,
    guard: &Guard,
    now_ms: i64,
    cleared: Option<Cleared>,
) -> Telegram {
    let name = kind.name();
    let (key, priority, fallback) = match cleared {
        None => (
            format!("guard.{name}.open"),
            kind.priority(),
            format!("{}: {}", guard.subject, guard.text),
        ),
        Some(why) => (
            format!("guard.{name}.closed"),
            3,
            format!("{}: {name} is over, {}", guard.subject, why.words()),
        ),
    };
    let mut args = BTreeMap::from([
        ("guard".to_owned(), name.into()),
        ("times".to_owned(), guard.times.into()),
        ("records".to_owned(), guard.records.into()),
    ]);
    if let Some(until_ms) = guard.until_ms {
        args.insert("until".to_owned(), rfc3339(until_ms).into());
    }
    let digest = Sha256::digest(format!(
        "{key}\n{}\n{}\n{}\n{}\n{now_ms}",
        guard.tenant, guard.subject, guard.operator, guard.times
    ));
    Telegram {
        schema_version: "1.0".to_owned(),
        telegram_id: hex::text(&digest[..16]),
        tenant: guard.tenant.clone(),
        stream: guard.operator.clone(),
        time: rfc3339(now_ms),
        kind: "guard".to_owned(),
        subject: Subject {
            kind: kind.subject().to_owned(),
            // The subject alone would end another guard's alert about the same topic.
            id: id(&format!("{name}:{}", guard.subject)),
        },
        priority,
        text: Text {
            key,
            args,
            fallback: short(&fallback),
        },
        evidence: Evidence {
            offsets: guard
                .evidence
                .iter()
                .map(|offset| Place {
                    topic: offset.topic.clone(),
                    partition: offset.partition,
                    offset: offset.offset.max(0),
                })
                .collect(),
            ..Evidence::default()
        },
        traceparent: None,
    }
}

/// At most 256 characters, as the schema's ids have it.
fn id(text: &str) -> String {
    text.chars().take(256).collect()
}
