//! What recognisers share: words, boundaries, groups of digits, and the words around a place.

use super::{Found, Kind};

/// How far before a place a word counts as its context, bytes.
const BEFORE: usize = 48;
/// How far behind it.
const BEHIND: usize = 24;

/// A byte that words are made of; what is not ASCII is a letter.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// True where a number or word may begin at `at`: no word goes on there, and no decimal fraction.
pub(super) fn starts(bytes: &[u8], at: usize) -> bool {
    match at.checked_sub(1).map(|before| bytes[before]) {
        None => true,
        Some(b'.') => at < 2 || !bytes[at - 2].is_ascii_digit(),
        Some(b'_') => false,
        Some(byte) => !is_word(byte),
    }
}

/// True where a number or word may end before `at`.
pub(super) fn ends(bytes: &[u8], at: usize) -> bool {
    match bytes.get(at) {
        None => true,
        Some(b'.') => !bytes.get(at + 1).is_some_and(u8::is_ascii_digit),
        Some(b'_') => false,
        Some(byte) => !is_word(*byte),
    }
}

/// First place at or behind `at` that is no digit.
pub(super) fn digits_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .map_or(bytes.len(), |length| at + length)
}

/// Maximal runs of digits, from left to right.
pub(super) fn digit_runs(bytes: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + bytes[at..].iter().position(u8::is_ascii_digit)?;
        at = digits_end(bytes, start);
        Some((start, at))
    })
}

/// Where groups of digits of these lengths end, the first beginning at `start`, one and the same separator between them.
pub(super) fn grouped(
    bytes: &[u8],
    start: usize,
    lengths: &[usize],
    separators: &[u8],
) -> Option<usize> {
    let mut at = start;
    let mut separator = None;
    for (index, length) in lengths.iter().enumerate() {
        if index > 0 {
            let here = *bytes.get(at)?;
            if !separators.contains(&here) || *separator.get_or_insert(here) != here {
                return None;
            }
            at += 1;
        }
        if at >= bytes.len() || digits_end(bytes, at) != at + length {
            return None;
        }
        at += length;
    }
    Some(at)
}

/// Maximal words of ASCII letters and digits and of these further bytes.
pub(super) fn tokens<'b>(
    bytes: &'b [u8],
    further: &'static [u8],
) -> impl Iterator<Item = (usize, usize)> + 'b {
    let belongs = |byte: &u8| byte.is_ascii_alphanumeric() || further.contains(byte);
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + bytes[at..].iter().position(belongs)?;
        at = bytes[start..]
            .iter()
            .position(|byte| !belongs(byte))
            .map_or(bytes.len(), |length| start + length);
        Some((start, at))
    })
}

/// True where one of these lower-case words stands a little before or behind the place.
pub(super) fn has_context(bytes: &[u8], start: usize, end: usize, words: &[&str]) -> bool {
    let before = &bytes[start.saturating_sub(BEFORE)..start];
    let behind = &bytes[end..bytes.len().min(end + BEHIND)];
    [before, behind]
        .into_iter()
        .any(|window| has_word(window, words))
}

/// True where one of these lower-case words is in the text; `_` and every other mark part words.
pub(super) fn has_word(bytes: &[u8], words: &[&str]) -> bool {
    bytes.split(|byte| !is_word(*byte)).any(|word| {
        !word.is_empty()
            && words
                .iter()
                .any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
    })
}

/// The word that stands before a place, with nothing but marks of assignment and white space between.
pub(super) fn label_before(bytes: &[u8], start: usize) -> &[u8] {
    let mut end = start;
    while end > 0 && start - end < 4 && b" \t:=\"'#".contains(&bytes[end - 1]) {
        end -= 1;
    }
    let mut begin = end;
    while begin > 0
        && end - begin < 64
        && (is_word(bytes[begin - 1]) || b"_-.".contains(&bytes[begin - 1]))
    {
        begin -= 1;
    }
    &bytes[begin..end]
}

/// The word behind a place.
pub(super) fn word_behind(bytes: &[u8], end: usize) -> &[u8] {
    let rest = &bytes[end..];
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let length = rest
        .iter()
        .take(32)
        .take_while(|byte| is_word(**byte))
        .count();
    &rest[..length]
}

/// What a telemetry number is called, or what its last part is.
const LABELS: &[&str] = &[
    "batch",
    "block",
    "blocks",
    "bytes",
    "count",
    "counter",
    "duration",
    "epoch",
    "flop",
    "flops",
    "hash",
    "id",
    "index",
    "iteration",
    "lag",
    "len",
    "length",
    "max",
    "mean",
    "min",
    "ms",
    "nanos",
    "ns",
    "offset",
    "params",
    "parameters",
    "pid",
    "rank",
    "rows",
    "samples",
    "seed",
    "seq",
    "sequence",
    "shard",
    "size",
    "step",
    "steps",
    "sum",
    "tid",
    "time",
    "timestamp",
    "tokens",
    "total",
    "ts",
    "us",
    "usec",
];
/// What a telemetry number is counted in.
const UNITS: &[&str] = &[
    "b",
    "blocks",
    "bytes",
    "calls",
    "events",
    "examples",
    "flop",
    "flops",
    "gb",
    "items",
    "iterations",
    "iters",
    "kb",
    "mb",
    "messages",
    "ms",
    "ns",
    "parameters",
    "params",
    "records",
    "requests",
    "rows",
    "samples",
    "seconds",
    "sequences",
    "steps",
    "tokens",
    "us",
];

/// True for a number that is named or measured as telemetry is: it is no card and no account, whatever its check digit.
pub(super) fn is_telemetry(bytes: &[u8], start: usize, end: usize) -> bool {
    let label = label_before(bytes, start);
    let last = label
        .rsplit(|byte| b"_-.".contains(byte))
        .next()
        .unwrap_or_default();
    let among = |word: &[u8], words: &[&str]| {
        words
            .iter()
            .any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
    };
    // `3 of 4`, `3-4`: a share, a range
    let is_share = last.eq_ignore_ascii_case(b"of")
        && bytes[..start - last.len()]
            .iter()
            .rev()
            .find(|byte| !byte.is_ascii_whitespace())
            .is_some_and(u8::is_ascii_digit);
    let follows = bytes[..start].ends_with(b"-") && start > 1 && bytes[start - 2].is_ascii_digit();
    let leads = bytes.get(end) == Some(&b'-') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
    let is_counted = among(word_behind(bytes, end), UNITS) || word_behind(bytes, end) == b"of";
    is_share || follows || leads || among(last, LABELS) || is_counted
}

/// True where a grouped number is one of a list: another group of digits stands beside it.
pub(super) fn is_listed(bytes: &[u8], start: usize, end: usize) -> bool {
    let beside = |at: Option<usize>| {
        at.and_then(|at| bytes.get(at))
            .is_some_and(u8::is_ascii_digit)
    };
    let is_gap = |at: Option<usize>| {
        at.and_then(|at| bytes.get(at))
            .is_some_and(|byte| b" -".contains(byte))
    };
    is_gap(start.checked_sub(1)) && beside(start.checked_sub(2))
        || is_gap(Some(end)) && beside(Some(end + 1))
}

/// Digits of a span, whatever is between them.
pub(super) fn digits(bytes: &[u8]) -> impl DoubleEndedIterator<Item = u32> + Clone {
    bytes
        .iter()
        .filter(|byte| byte.is_ascii_digit())
        .map(|byte| u32::from(byte - b'0'))
}

/// Notes a find.
pub(super) fn note(kind: Kind, start: usize, end: usize, found: &mut Vec<Found>) {
    found.push(Found { kind, start, end });
}
