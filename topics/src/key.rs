//! Keys and the partition that a key belongs to.
//!
//! A key is a list of parts (tenant, run, …), percent-encoded and joined by `/`, so that two
//! different lists never make the same key. Its partition is what Kafka's own Java client would
//! choose: stock clients disagree with each other here, our topics must not.

/// Joins parts to a key: percent-encoded as in a URL path, with `/` between them.
///
/// ```
/// assert_eq!(cairn_topics::key(&["acme", "run 1/b"]), "acme/run%201%2Fb");
/// ```
pub fn key(parts: &[&str]) -> String {
    let mut out = String::with_capacity(parts.iter().map(|part| part.len() + 1).sum());
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            out.push('/');
        }
        encode_part(part, &mut out);
    }
    out
}

/// The key of a run.
pub fn run_key(tenant: &str, run_id: &str) -> String {
    key(&[tenant, run_id])
}

/// Appends one part, everything but RFC 3986's unreserved characters as `%XX`.
fn encode_part(part: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// The parts of a key, decoded; nothing when the key is not one of ours.
pub fn parts_of(key: &str) -> Option<Vec<String>> {
    key.split('/').map(decode_part).collect()
}

fn decode_part(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The partition of a key, from 0: murmur2, made positive, modulo the number of partitions, as
/// Kafka's Java client does for a record with a key.
///
/// # Panics
///
/// If `partitions` is not positive: a topic has at least one.
pub fn partition_of(key: &str, partitions: i32) -> i32 {
    assert!(partitions > 0, "a topic has at least one partition");
    (murmur2(key.as_bytes()) & 0x7fff_ffff) % partitions
}

/// Kafka's murmur2 (`org.apache.kafka.common.utils.Utils.murmur2`), seed 0x9747b28c.
pub fn murmur2(data: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const MIX: u32 = 0x5bd1_e995;
    // The length of a key fits 32 bits: the log takes no record of 4 GiB.
    let mut hash = SEED ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(MIX);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(MIX) ^ mixed.wrapping_mul(MIX);
    }
    for (at, byte) in tail.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * at);
    }
    if !tail.is_empty() {
        hash = hash.wrapping_mul(MIX);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MIX);
    hash ^= hash >> 15;
    hash.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_is_kafkas() {
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()), hash, "{text}");
        }
    }

    #[test]
    fn partitions_are_in_range_and_used() {
        let mut seen = [false; 16];
        for run in 0..1000 {
            let partition = partition_of(&run_key("acme", &format!("run-{run}")), 16);
            seen[usize::try_from(partition).unwrap()] = true;
        }
        assert!(seen.iter().all(|seen| *seen));
        assert_eq!(partition_of("anything", 1), 0);
    }

    #[test]
    fn keys_keep_their_parts_apart() {
        for parts in [
            ["a", "b"],
            ["a/b", ""],
            ["", "a/b"],
            ["ü%2F", "∂ ~"],
            ["", ""],
        ] {
            let joined = key(&parts);
            assert_eq!(joined.matches('/').count(), 1, "{joined}");
            assert_eq!(parts_of(&joined).unwrap(), parts);
        }
        assert_eq!(run_key("acme", "a b"), "acme/a%20b");
        assert_eq!(parts_of("%f"), None);
        assert_eq!(parts_of("%ff"), None);
    }
}
