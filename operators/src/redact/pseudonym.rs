//! Typed keyed pseudonyms: `<kind:16 hexadecimal digits>`.
//!
//! The digits are the first eight bytes of HMAC-SHA-256 (RFC 2104, FIPS 198-1) over tenant, kind and the value in its normal
//! form. Keyed, because card numbers and dates of birth are few enough to try them all against a bare hash. The tenant is
//! part of it, so that two tenants cannot tell that they know the same person.

use super::Kind;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::fmt::{self, Write as _};
use std::str::FromStr;

/// Hexadecimal digits of a pseudonym: 64 bits, so that a million values meet with a probability of 3e-8.
const DIGITS: usize = 16;
/// Longest name of a kind, bytes.
const NAME_MAX: usize = 16;

/// The secret that pseudonyms hang on; never printed.
///
/// Without one a pseudonym is the kind alone, such as `<email>`: nothing leaks, and nothing joins.
#[derive(Clone)]
pub struct Key(Option<Hmac<Sha256>>);

/// A key that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key has 64 hexadecimal digits (32 random bytes)")]
pub struct KeyError;

impl Key {
    /// A key of 32 random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Hmac::new_from_slice(&bytes).ok())
    }

    /// No key.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// True where there is one.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Appends the pseudonym of a value.
    pub(super) fn write(&self, tenant: &str, kind: Kind, value: &str, out: &mut String) {
        let Some(mut mac) = self.0.clone() else {
            let _ = write!(out, "<{kind}>");
            return;
        };
        mac.update(&(tenant.len() as u64).to_be_bytes());
        mac.update(tenant.as_bytes());
        mac.update(kind.name().as_bytes());
        mac.update(&[0]);
        normal(kind, value, &mut |bytes| mac.update(bytes));
        let digest = mac.finalize().into_bytes();
        let _ = write!(out, "<{kind}:");
        for byte in digest.iter().take(DIGITS / 2) {
            let _ = write!(out, "{byte:02x}");
        }
        out.push('>');
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim().as_bytes();
        if text.len() != 64 {
            return Err(KeyError);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let digit = |byte: u8| (byte as char).to_digit(16).ok_or(KeyError);
            *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
        }
        Ok(Self::from_bytes(bytes))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// The value however it is written: without separators and case where these say nothing.
fn normal(kind: Kind, value: &str, each: &mut dyn FnMut(&[u8])) {
    match kind {
        Kind::Card | Kind::Ssn | Kind::Phone | Kind::Iban | Kind::NationalId | Kind::Mac => {
            for byte in value.bytes().filter(u8::is_ascii_alphanumeric) {
                each(&[byte.to_ascii_uppercase()]);
            }
        }
        Kind::Email => {
            for byte in value.bytes() {
                each(&[byte.to_ascii_lowercase()]);
            }
        }
        _ => each(value.as_bytes()),
    }
}

/// Where a text holds pseudonyms.
pub(super) fn spans(text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let starts = (0..bytes.len()).filter(|at| bytes[*at] == b'<');
    starts
        .filter_map(|start| length(&bytes[start..]).map(|length| (start, start + length)))
        .collect()
}

/// Length of the pseudonym that the text begins with.
#[must_use]
pub(super) fn length(text: &[u8]) -> Option<usize> {
    let inner = text.strip_prefix(b"<")?;
    let is_kind = |name: &[u8]| Kind::ALL.iter().any(|kind| kind.name().as_bytes() == name);
    if let Some(end) = inner
        .iter()
        .take(NAME_MAX + 1)
        .position(|byte| *byte == b'>')
        && is_kind(&inner[..end])
    {
        return Some(end + 2);
    }
    let colon = inner
        .iter()
        .take(NAME_MAX + 1)
        .position(|byte| *byte == b':')?;
    let (name, digits) = (&inner[..colon], inner.get(colon + 1..colon + 1 + DIGITS)?);
    let is_one = is_kind(name)
        && inner.get(colon + 1 + DIGITS) == Some(&b'>')
        && digits
            .iter()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte));
    is_one.then_some(colon + DIGITS + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pseudonym(key: &Key, tenant: &str, kind: Kind, value: &str) -> String {
        let mut out = String::new();
        key.write(tenant, kind, value, &mut out);
        out
    }

    #[test]
    fn it_is_hmac_sha_256() {
        // Python: hmac.new(bytes(range(32)), (4).to_bytes(8,"big")+b"acme"+b"email\0"+b"mia@example.com", "sha256")
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = at as u8;
        }
        let key = Key::from_bytes(bytes);
        assert_eq!(
            pseudonym(&key, "acme", Kind::Email, "Mia@example.com"),
            "<email:a21e3ca1d2c2e575>"
        );
    }

    #[test]
    fn it_hangs_on_key_tenant_kind_and_value_and_not_on_how_it_is_written() {
        let key = Key::from_bytes([1; 32]);
        let one = pseudonym(&key, "a", Kind::Card, "4111 1111 1111 1111");
        assert_eq!(one, pseudonym(&key, "a", Kind::Card, "4111-1111-1111-1111"));
        for other in [
            pseudonym(
                &Key::from_bytes([2; 32]),
                "a",
                Kind::Card,
                "4111111111111111",
            ),
            pseudonym(&key, "b", Kind::Card, "4111111111111111"),
            pseudonym(&key, "a", Kind::Phone, "4111111111111111"),
            pseudonym(&key, "a", Kind::Card, "4111111111111112"),
        ] {
            assert_ne!(one[6..], other[other.len() - 17..], "{other}");
        }
        assert_eq!(length(one.as_bytes()), Some(one.len()));
        assert_eq!(
            pseudonym(&Key::none(), "a", Kind::Card, "4111111111111111"),
            "<card>"
        );
        assert_eq!(length(b"<card>"), Some(6));
        assert_eq!(length(b"<card:123>"), None);
        assert_eq!(length(b"<nothing:0123456789abcdef>"), None);
    }

    #[test]
    fn a_key_is_read_and_not_printed() {
        assert!("00".parse::<Key>().is_err());
        assert!("g".repeat(64).parse::<Key>().is_err());
        let key: Key = "ab".repeat(32).parse().expect("a key");
        assert_eq!(format!("{key:?}"), "Key");
    }
}
