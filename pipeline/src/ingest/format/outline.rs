//! The keys of a JSON document's head, each with the way to it, however the head was cut.
//!
//! Detection asks which keys stand where, not whether some text occurs: a word inside of a string is no key. Several
//! documents one after the other (JSON Lines) count as one. What is no JSON has no keys.

use std::collections::BTreeSet;

/// Keys below this depth tell no format from another.
const DEPTH: usize = 5;
/// Keys kept: a head of [`super::HEAD_BYTES`] that has more is told by its first ones.
const PATHS: usize = 8_192;
/// Nesting that is followed; serde_json gives up at the same depth.
const NESTING: usize = 128;

/// An element of an array, in a path.
pub(super) const ELEMENT: &str = "[]";
/// Any one component, in a pattern.
pub(super) const ANY: &str = "*";

/// The keys of a head.
#[derive(Debug, Default)]
pub(super) struct Outline {
    paths: BTreeSet<Vec<String>>,
}

struct Level {
    object: bool,
    key: Option<String>,
}

impl Outline {
    /// Reads as far as the head goes and is JSON.
    pub(super) fn of(head: &[u8]) -> Self {
        let mut outline = Self::default();
        let mut levels: Vec<Level> = Vec::new();
        let mut at = 0;
        while at < head.len() && outline.paths.len() < PATHS {
            let byte = head[at];
            at += 1;
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {}
                b'{' | b'[' if levels.len() < NESTING => levels.push(Level {
                    object: byte == b'{',
                    key: None,
                }),
                b'}' | b']' => match levels.pop() {
                    Some(level) if level.object == (byte == b'}') => {}
                    _ => break,
                },
                b'"' if !levels.is_empty() => {
                    let Some(end) = string_end(head, at) else {
                        break;
                    };
                    let text = &head[at..end];
                    at = end + 1;
                    let depth = levels.len();
                    let Some(level) = levels.last_mut() else {
                        break;
                    };
                    if !level.object || level.key.is_some() {
                        continue;
                    }
                    // a key that was cut off before its colon may be a string of something that is no JSON
                    while head.get(at).is_some_and(u8::is_ascii_whitespace) {
                        at += 1;
                    }
                    if head.get(at) != Some(&b':') {
                        break;
                    }
                    level.key = Some(String::from_utf8_lossy(text).into_owned());
                    if depth <= DEPTH {
                        let path = levels.iter().map(Level::component).collect();
                        outline.paths.insert(path);
                    }
                }
                b',' => {
                    if let Some(level) = levels.last_mut() {
                        level.key = None;
                    }
                }
                _ if levels.is_empty() => break,
                _ => {}
            }
        }
        outline
    }

    /// Whether a key stands at this path; [`ANY`] stands for each component.
    pub(super) fn has(&self, pattern: &[&str]) -> bool {
        self.paths.iter().any(|path| fits(path, pattern))
    }

    /// Whether any of these keys stands under this path.
    pub(super) fn has_any(&self, under: &[&str], keys: &[&str]) -> bool {
        self.keys(under).any(|key| keys.contains(&key))
    }

    /// Whether all of these keys stand under this path.
    pub(super) fn has_all(&self, under: &[&str], keys: &[&str]) -> bool {
        keys.iter()
            .all(|wanted| self.keys(under).any(|key| key == *wanted))
    }

    /// The keys under this path.
    pub(super) fn keys<'a>(&'a self, under: &'a [&str]) -> impl Iterator<Item = &'a str> {
        self.paths
            .iter()
            .filter_map(move |path| match path.split_last() {
                Some((key, above)) if fits(above, under) => Some(key.as_str()),
                _ => None,
            })
    }
}

impl Level {
    fn component(&self) -> String {
        match &self.key {
            Some(key) => key.clone(),
            None => ELEMENT.to_owned(),
        }
    }
}

fn fits(path: &[String], pattern: &[&str]) -> bool {
    path.len() == pattern.len()
        && path
            .iter()
            .zip(pattern)
            .all(|(component, wanted)| *wanted == ANY || component == wanted)
}

/// The byte of the quote that ends a string whose first byte is at `at`.
fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    while at < text.len() {
        match text[at] {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(head: &str) -> String {
        let outline = Outline::of(head.as_bytes());
        let paths: Vec<_> = outline.paths.iter().map(|path| path.join("/")).collect();
        paths.join(" ")
    }

    #[test]
    fn keys_have_their_paths() {
        assert_eq!(
            shown(r#"{"a":{"b":[{"c":"d"},{"e":1}]},"f":NaN}"#),
            "a a/b a/b/[]/c a/b/[]/e f"
        );
        assert_eq!(shown("{\"a\":1}\n{\"b\":2}\n"), "a b");
    }

    #[test]
    fn cut_and_foreign_heads_have_what_can_be_told() {
        let whole = r#"{"a":{"b \" {":"c:"},"d"  : [1,{"e":2}]}"#;
        let told = Outline::of(whole.as_bytes());
        for end in 0..whole.len() {
            let part = Outline::of(&whole.as_bytes()[..end]);
            assert!(part.paths.is_subset(&told.paths), "{}", &whole[..end]);
        }
        assert_eq!(shown("step {\"a\":1}"), "");
        assert_eq!(shown("\"a\":1"), "");
        assert_eq!(shown("{]\"a\":1"), "");
        assert_eq!(shown("{\"a\" 1}"), "");
    }

    #[test]
    fn patterns_fit_by_component() {
        let outline = Outline::of(br#"{"results":{"t":{"acc":1,"acc_stderr":2}},"config":{}}"#);
        assert!(outline.has(&["results", ANY, "acc"]) && !outline.has(&["results", "acc"]));
        assert!(outline.has_all(&[], &["config", "results"]));
        assert!(
            outline
                .keys(&["results", ANY])
                .any(|key| key.ends_with("_stderr"))
        );
    }
}
