//! A redactor over whole records: what `admit`, ingest and the gateway call.

use super::fields::{self, Content, Visit};
use super::{Harmless, Redactor, Tally};
use cairn_avro::record::Payload;
use std::borrow::Cow;

impl Redactor {
    /// Redacts an ingress record in place: its texts as their fields are classified, free text only where the allow-list
    /// names the field.
    pub fn payload(&self, tenant: &str, payload: &mut Payload, tally: &mut Tally) {
        self.fields(tenant, payload, tally, None);
    }

    /// The same for one record of many: names in which nothing was found are not searched again.
    pub fn payload_after(
        &self,
        tenant: &str,
        payload: &mut Payload,
        tally: &mut Tally,
        harmless: &mut Harmless,
    ) {
        self.fields(tenant, payload, tally, Some(harmless));
    }

    fn fields(
        &self,
        tenant: &str,
        payload: &mut Payload,
        tally: &mut Tally,
        harmless: Option<&mut Harmless>,
    ) {
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
                harmless,
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
    harmless: Option<&'a mut Harmless>,
}

impl Redacting<'_> {
    /// A name without what is found in it; none where nothing is.
    fn name(&mut self, name: &str) -> Option<String> {
        if self.harmless.as_ref().is_some_and(|known| known.has(name)) {
            return None;
        }
        let found = self
            .redactor
            .redact(self.tenant, Content::Identifier, name, self.tally);
        match found {
            Cow::Owned(redacted) => Some(redacted),
            Cow::Borrowed(_) => {
                if let Some(harmless) = &mut self.harmless {
                    harmless.note(name);
                }
                None
            }
        }
    }
}

impl Visit for Redacting<'_> {
    fn text(&mut self, field: &'static str, content: Content, text: &mut String) {
        if content == Content::Free && !self.redactor.is_allowed(self.topic, field) {
            if super::pseudonym::length(text.as_bytes()) != Some(text.len()) {
                *text = self.redactor.withheld(self.tenant, text, self.tally);
            }
            return;
        }
        let redacted = match content {
            Content::Identifier => self.name(text),
            Content::Free => match self.redactor.redact(self.tenant, content, text, self.tally) {
                Cow::Owned(redacted) => Some(redacted),
                Cow::Borrowed(_) => None,
            },
        };
        if let Some(redacted) = redacted {
            *text = redacted;
        }
    }

    fn key(&mut self, _: &'static str, name: &str) -> Option<String> {
        self.name(name)
    }
}
