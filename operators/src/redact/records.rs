//! A redactor over whole records: what `admit`, ingest and the gateway call.

use super::fields::{self, Content, Visit};
use super::{Redactor, Tally};
use cairn_avro::record::Payload;
use std::borrow::Cow;

impl Redactor {
    /// Redacts an ingress record in place: its texts as their fields are classified, free text only where the allow-list
    /// names the field.
    pub fn payload(&self, tenant: &str, payload: &mut Payload, tally: &mut Tally) {
        let topic = match &self.text_allowed[..] {
            // the topic is only for the allow-list
            [] => "",
            _ => payload.topic(),
        };
        fields::visit(
            payload,
            &mut Redacting {
                redactor: self,
                tenant,
                topic,
                tally,
            },
        );
    }

    /// Free text of ours about something of theirs: a reason, a message.
    pub fn message<'t>(&self, tenant: &str, text: &'t str, tally: &mut Tally) -> Cow<'t, str> {
        self.redact(tenant, Content::Free, text, tally)
    }

    /// A name that somebody sent: a source, a key.
    pub fn identifier<'t>(&self, tenant: &str, text: &'t str, tally: &mut Tally) -> Cow<'t, str> {
        self.redact(tenant, Content::Identifier, text, tally)
    }
}

struct Redacting<'a> {
    redactor: &'a Redactor,
    tenant: &'a str,
    topic: &'static str,
    tally: &'a mut Tally,
}

impl Visit for Redacting<'_> {
    fn text(&mut self, field: &'static str, content: Content, text: &mut String) {
        if content == Content::Free && !self.redactor.is_allowed(self.topic, field) {
            if super::pseudonym::length(text.as_bytes()) != Some(text.len()) {
                *text = self.redactor.withheld(self.tenant, text, self.tally);
            }
            return;
        }
        if let Cow::Owned(redacted) = self.redactor.redact(self.tenant, content, text, self.tally) {
            *text = redacted;
        }
    }

    fn key(&mut self, _: &'static str, name: &str) -> Option<String> {
        match self
            .redactor
            .redact(self.tenant, Content::Identifier, name, self.tally)
        {
            Cow::Owned(redacted) => Some(redacted),
            Cow::Borrowed(_) => None,
        }
    }
}
