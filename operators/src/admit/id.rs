//! The id of an event: the sender's, or the content's (DESIGN §3.5).
//!
//! Content ids hash the *canonical contract JSON*, which leaves out what has its default: a field that a later version
//! adds does not change the ids of events that do not use it.

use super::clock;
use cairn_avro::record::Payload;
use sha2::{Digest, Sha256};

/// The id of an event: the header's, else SHA-256 of tenant, run, attempt, topic, clock and canonical payload.
#[must_use]
pub fn event_id(
    tenant: &str,
    family_topic: &str,
    given: Option<&str>,
    payload: &Payload,
) -> [u8; 32] {
    if let Some(given) = given.filter(|given| !given.is_empty()) {
        return from_header(tenant, given);
    }
    let mut hash = Sha256::new();
    for part in [tenant, payload.run_id(), family_topic] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(payload.attempt().to_be_bytes());
    match clock(payload) {
        None => hash.update([0]),
        Some(clock) => {
            hash.update([1]);
            hash.update(clock.to_be_bytes());
        }
    }
    hash.update(crate::operator::canonical(payload));
    hash.finalize().into()
}

/// Sixty-four hexadecimal digits are the id itself, as a replayed dead letter carries it; any other text is hashed with
/// the tenant, so that tenants cannot collide.
#[must_use]
pub fn from_header(tenant: &str, given: &str) -> [u8; 32] {
    if let Some(id) = hex32(given) {
        return id;
    }
    let mut hash = Sha256::new();
    hash.update((tenant.len() as u64).to_be_bytes());
    hash.update(tenant);
    hash.update(given);
    hash.finalize().into()
}

fn hex32(text: &str) -> Option<[u8; 32]> {
    let bytes = text.as_bytes();
    if bytes.len() != 64 {
        return None;
    }
    let mut id = [0; 32];
    for (place, pair) in id.iter_mut().zip(bytes.chunks_exact(2)) {
        let digit = |byte: u8| (byte as char).to_digit(16);
        *place = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(id)
}
