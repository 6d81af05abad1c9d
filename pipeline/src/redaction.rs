//! Redaction in the shell: one pair of redactors with the configured key, for everything that leaves this process.
//!
//! What others sent is redacted before it is written anywhere; what we say ourselves (logs, telegrams, guards, errors) goes
//! through the same recognisers, except that addresses of private networks stay. See `docs/redaction.md`.

use crate::config::Config;
use cairn_avro::record::Payload;
use cairn_operators::redact::{Harmless, Key, Redactor, Tally};
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// Both redactors; cheap to clone.
#[derive(Clone, Debug)]
pub struct Redaction {
    theirs: Arc<Redactor>,
    ours: Arc<Redactor>,
}

impl Default for Redaction {
    /// Without a key: what is found is replaced by its kind alone.
    fn default() -> Self {
        Self::keyed(Key::none(), Vec::new())
    }
}

impl Redaction {
    fn keyed(key: Key, text_allowed: Vec<String>) -> Self {
        Self {
            theirs: Arc::new(Redactor::new(key.clone()).with_text_allowed(text_allowed)),
            ours: Arc::new(Redactor::ours(key)),
        }
    }

    /// As the configuration says; its key was checked as it was read.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let key = config.redaction.key.parse().unwrap_or_else(|_| Key::none());
        Self::keyed(key, config.admit.text_allowed.clone())
    }

    /// The redactor of what others sent, for a core.
    #[must_use]
    pub fn theirs(&self) -> Arc<Redactor> {
        self.theirs.clone()
    }

    /// Redacts an ingress record in place.
    pub fn payload(&self, tenant: &str, payload: &mut Payload, tally: &mut Tally) {
        self.theirs.payload(tenant, payload, tally);
    }

    /// The same for one record of many.
    pub fn payload_after(
        &self,
        tenant: &str,
        payload: &mut Payload,
        tally: &mut Tally,
        harmless: &mut Harmless,
    ) {
        self.theirs.payload_after(tenant, payload, tally, harmless);
    }

    /// Text that others sent, or that quotes them.
    #[must_use]
    pub fn message<'t>(&self, tenant: &str, text: &'t str) -> Cow<'t, str> {
        self.theirs.message(tenant, text, &mut Tally::default())
    }

    /// A name that others gave.
    #[must_use]
    pub fn identifier<'t>(&self, tenant: &str, text: &'t str) -> Cow<'t, str> {
        self.theirs.identifier(tenant, text, &mut Tally::default())
    }

    /// Bytes that others sent and that may hold text.
    #[must_use]
    pub fn bytes<'t>(&self, tenant: &str, bytes: &'t [u8]) -> Cow<'t, [u8]> {
        self.theirs
            .redact_bytes(tenant, bytes, &mut Tally::default())
    }

    /// What we say ourselves.
    #[must_use]
    pub fn ours<'t>(&self, tenant: &str, text: &'t str) -> Cow<'t, str> {
        self.ours.message(tenant, text, &mut Tally::default())
    }

    /// The same for every text inside a JSON value.
    pub fn ours_json(&self, tenant: &str, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => {
                if let Cow::Owned(redacted) = self.ours(tenant, text) {
                    *text = redacted;
                }
            }
            serde_json::Value::Array(items) => {
                items
                    .iter_mut()
                    .for_each(|item| self.ours_json(tenant, item));
            }
            serde_json::Value::Object(members) => {
                members
                    .values_mut()
                    .for_each(|item| self.ours_json(tenant, item));
            }
            _ => {}
        }
    }
}

/// What logs and errors of this process are redacted with: set once the configuration is read, without a key until then.
static PROCESS: OnceLock<Redaction> = OnceLock::new();

/// Makes this the redaction of logs and errors, where none is yet.
pub fn set_process(redaction: &Redaction) {
    // A second command in one process, as tests make it, keeps the first.
    drop(PROCESS.set(redaction.clone()));
}

/// A line of a log, or an error, redacted.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    static KEYLESS: OnceLock<Redaction> = OnceLock::new();
    PROCESS
        .get()
        .unwrap_or_else(|| KEYLESS.get_or_init(Redaction::default))
        .ours("", text)
}

/// A writer of log lines that redacts each before it goes out.
pub struct Lines<W>(pub W);

impl<W: fmt::Debug> fmt::Debug for Lines<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<W: std::io::Write> std::io::Write for Lines<W> {
    /// The subscriber writes whole lines at once.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match std::str::from_utf8(bytes).map(line) {
            Ok(Cow::Owned(redacted)) => self.0.write_all(redacted.as_bytes())?,
            _ => self.0.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn log_lines_are_redacted_and_stay_json() {
        let mut out = Vec::new();
        let line =
            "{\"message\":\"mia@example.com from 192.0.2.17 by 10.0.0.1\",\"step\":4111111111}\n";
        assert_eq!(
            Lines(&mut out).write(line.as_bytes()).expect("written"),
            line.len()
        );
        let said: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(said["message"], "<email> from <ip> by 10.0.0.1");
        assert_eq!(said["step"], 4_111_111_111_u64);
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        let with = |key: &str| {
            Config::load(
                None,
                Vec::new(),
                &[("redaction.key".to_owned(), key.to_owned())],
            )
        };
        let error = with("short").expect_err("no key");
        assert_eq!(error.place, "redaction.key");
        assert!(!error.to_string().contains("short"), "{error}");
        let key = "0123456789abcdef".repeat(4);
        let config = with(&key).expect("a key");
        assert!(!format!("{config:?}").contains(&key));
        assert!(Redaction::of(&config).message("t", "mia@example.com").len() > "<email>".len());
    }
}
