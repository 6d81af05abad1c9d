//! Names in which nothing was found, so that the run of a million steps is not searched a million times.

use std::collections::BTreeSet;

/// Most names remembered; when there are so many, all are forgotten.
const NAMES_MAX: usize = 8_192;
/// Bytes of the longest name remembered: with the number of names it bounds what is held to a megabyte or two.
const NAME_BYTES_MAX: usize = 128;

/// Names that one redactor has looked at and found nothing in. What it finds in a name hangs on the name alone, so that this
/// changes nothing but the time it takes.
#[derive(Clone, Debug, Default)]
pub struct Harmless(BTreeSet<String>);

impl Harmless {
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    pub(super) fn note(&mut self, name: &str) {
        if name.len() > NAME_BYTES_MAX {
            return;
        }
        if self.0.len() >= NAMES_MAX {
            self.0.clear();
        }
        self.0.insert(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded() {
        let mut harmless = Harmless::default();
        for number in 0..NAMES_MAX * 3 {
            harmless.note(&format!("run-{number}"));
        }
        assert!(harmless.0.len() <= NAMES_MAX);
        assert!(harmless.has(&format!("run-{}", NAMES_MAX * 3 - 1)));
        harmless.note(&"x".repeat(NAME_BYTES_MAX + 1));
        assert!(!harmless.has(&"x".repeat(NAME_BYTES_MAX + 1)));
    }
}
