//! What was called and answered, line by line: the last lines to read, all of them as one hash.

use crate::log::Record;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::fmt::Write as _;

/// So many lines are kept to be read unless more are wanted; the hash covers all.
const LINES_MAX: usize = 2_000;

pub(super) struct Trace {
    hash: Sha256,
    lines: VecDeque<String>,
    pub(super) lines_max: usize,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            hash: Sha256::new(),
            lines: VecDeque::new(),
            lines_max: LINES_MAX,
        }
    }
}

impl Trace {
    pub(super) fn line(&mut self, line: String) {
        self.hash.update(line.as_bytes());
        self.hash.update(b"\n");
        if self.lines.len() >= self.lines_max {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Records enter the hash whole and the lines by their places.
    pub(super) fn records(&mut self, records: &[Record]) -> String {
        let mut places = String::new();
        for record in records {
            let _ = write!(
                places,
                " {}[{}]@{}",
                record.topic, record.partition, record.offset
            );
            self.hash.update(record.append_time_ms.to_le_bytes());
            for part in [&record.key, &record.value] {
                let bytes = part.as_deref();
                self.hash
                    .update(bytes.map_or(-1, |bytes| bytes.len() as i64).to_le_bytes());
                self.hash.update(bytes.unwrap_or_default());
            }
            for (name, value) in &record.headers {
                self.hash.update(name.as_bytes());
                self.hash.update(value);
            }
        }
        places
    }

    pub(super) fn hash(&self) -> String {
        let digest = self.hash.clone().finalize();
        digest.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}
