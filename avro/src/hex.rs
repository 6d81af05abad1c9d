//! Bytes as lower-case hexadecimal digits: how ids and digests are written where people or JSON read them.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Two digits a byte.
///
/// ```
/// assert_eq!(cairn_avro::hex::text(&[0x00, 0x7f, 0xff]), "007fff");
/// ```
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    push(bytes, &mut out);
    out
}

/// The same, at the end of a text.
pub(crate) fn push(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)] as char);
        out.push(DIGITS[usize::from(byte & 15)] as char);
    }
}
