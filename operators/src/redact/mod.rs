//! Takes personal data and secrets out of text, before anything keeps it.
//!
//! ```text
//!   text ─► signs (one pass) ─► recognisers that the signs let in ─► spans ─► typed keyed pseudonyms
//! ```
//!
//! A [`Recogniser`] finds one kind of thing, by a checksum, a shape that nothing else has, or words around it; each has a
//! file of its own, and [`recognisers`] is the only list of them. What is found is replaced by a pseudonym such as
//! `<email:3f9a0c5de1b27744>`: the same value of the same tenant is the same pseudonym, so that rows still join, and only
//! who holds the [`Key`] can try values against it.
//!
//! Everything here is linear in the text (a recogniser looks a bounded way around each place), total, and without
//! allocation where nothing is found. Numbers are never looked at: only text is redacted.

mod api_key;
mod birth_date;
mod card;
mod email;
pub mod fields;
mod harmless;
mod iban;
mod ip;
mod jwt;
mod mac;
mod mrn;
mod name;
mod national_id;
mod phone;
mod private_key;
mod pseudonym;
mod records;
mod scan;
mod secret;
mod ssn;
mod tally;
mod text;
mod url_credentials;

pub use fields::Content;
pub use harmless::Harmless;
pub use pseudonym::{Key, KeyError};
pub use tally::Tally;
pub use text::Text;

use std::borrow::Cow;
use std::fmt;

/// What was found. The order is the order of precedence where spans overlap: the more a kind is sure of, the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A private key in PEM or age's form.
    PrivateKey,
    /// User and password inside a URL.
    UrlCredentials,
    /// A JSON Web Token.
    Jwt,
    /// A key of a cloud or service, known by its prefix.
    ApiKey,
    /// A password, token or key, known by the word before it.
    Secret,
    /// An e-mail address.
    Email,
    /// An international bank account number.
    Iban,
    /// A payment card's number.
    Card,
    /// A social security number of the United States.
    Ssn,
    /// A national identity, tax or health number with a check digit.
    NationalId,
    /// A date of birth.
    BirthDate,
    /// A medical record number.
    Mrn,
    /// A telephone number.
    Phone,
    /// A network card's address.
    Mac,
    /// An internet address.
    Ip,
    /// A person's name.
    Name,
    /// Text of a field that the allow-list does not name, whatever it says.
    Withheld,
}

impl Kind {
    /// Every kind, in order.
    pub const ALL: [Self; 17] = [
        Self::PrivateKey,
        Self::UrlCredentials,
        Self::Jwt,
        Self::ApiKey,
        Self::Secret,
        Self::Email,
        Self::Iban,
        Self::Card,
        Self::Ssn,
        Self::NationalId,
        Self::BirthDate,
        Self::Mrn,
        Self::Phone,
        Self::Mac,
        Self::Ip,
        Self::Name,
        Self::Withheld,
    ];

    /// Its name in pseudonyms, metrics and documentation.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PrivateKey => "private_key",
            Self::UrlCredentials => "url_credentials",
            Self::Jwt => "jwt",
            Self::ApiKey => "api_key",
            Self::Secret => "secret",
            Self::Email => "email",
            Self::Iban => "iban",
            Self::Card => "card",
            Self::Ssn => "ssn",
            Self::NationalId => "national_id",
            Self::BirthDate => "birth_date",
            Self::Mrn => "mrn",
            Self::Phone => "phone",
            Self::Mac => "mac",
            Self::Ip => "ip",
            Self::Name => "name",
            Self::Withheld => "withheld",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where something was found: byte offsets into the text, on character boundaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What.
    pub kind: Kind,
    /// First byte.
    pub start: usize,
    /// Byte behind the last one.
    pub end: usize,
}

/// Finds one kind of thing. This is the hook: a file that implements it and a line in [`recognisers`] are a new one.
pub trait Recogniser: Send + Sync {
    /// What it finds.
    fn kind(&self) -> Kind;
    /// Whether it looks into identifiers, too. One that goes by shapes which names and versions have does not.
    fn reads_identifiers(&self) -> bool;
    /// Whether a text with these signs can hold what it finds; false costs nothing more.
    fn may_find(&self, text: &Text<'_>) -> bool;
    /// Finds every place, in any order; linear in the text.
    fn find(&self, text: &Text<'_>, found: &mut Vec<Found>);
}

/// The built-in recognisers.
#[must_use]
pub fn recognisers() -> Vec<Box<dyn Recogniser>> {
    vec![
        Box::new(private_key::PrivateKey),
        Box::new(url_credentials::UrlCredentials),
        Box::new(jwt::Jwt),
        Box::new(api_key::ApiKey),
        Box::new(secret::Secret),
        Box::new(email::Email),
        Box::new(iban::Iban),
        Box::new(card::Card),
        Box::new(ssn::Ssn),
        Box::new(national_id::NationalId),
        Box::new(birth_date::BirthDate),
        Box::new(mrn::Mrn),
        Box::new(phone::Phone),
        Box::new(mac::Mac),
        Box::new(ip::Ip::default()),
        Box::new(name::Name),
    ]
}

/// Recognisers with the key of their pseudonyms; shared by every thread of a process.
pub struct Redactor {
    key: Key,
    recognisers: Vec<Box<dyn Recogniser>>,
    text_allowed: Vec<String>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.recognisers.iter().map(|recogniser| recogniser.kind());
        f.debug_list().entries(kinds).finish()
    }
}

impl Redactor {
    /// The built-in recognisers, and a key.
    #[must_use]
    pub fn new(key: Key) -> Self {
        Self::with(key, recognisers())
    }

    /// These recognisers, and a key.
    #[must_use]
    pub fn with(key: Key, recognisers: Vec<Box<dyn Recogniser>>) -> Self {
        Self {
            key,
            recognisers,
            text_allowed: Vec::new(),
        }
    }

    /// Leaves everything as it is: for tests, and where a user has switched redaction off.
    #[must_use]
    pub fn off() -> Self {
        Self::with(Key::none(), Vec::new())
    }

    /// Lets free text in only where a name of the list matches `topic.field`, `*` at an end standing for anything; other free
    /// text is replaced whole. An empty list names everything.
    #[must_use]
    pub fn with_text_allowed(mut self, names: Vec<String>) -> Self {
        self.text_allowed = names;
        self
    }

    /// The built-in recognisers for what we say ourselves, in logs, telegrams and guards: addresses of private networks stay,
    /// because they are those of our own servers.
    #[must_use]
    pub fn ours(key: Key) -> Self {
        let mut all = recognisers();
        all.retain(|recogniser| recogniser.kind() != Kind::Ip);
        all.push(Box::new(ip::Ip {
            keeps_private: true,
        }));
        Self::with(key, all)
    }

    /// What is in a text, in order, nothing overlapping; nothing is allocated where nothing is found.
    #[must_use]
    pub fn find(&self, content: Content, text: &str) -> Vec<Found> {
        let read = Text::new(text);
        let mut found = Vec::new();
        for recogniser in &self.recognisers {
            if (content == Content::Free || recogniser.reads_identifiers())
                && recogniser.may_find(&read)
            {
                recogniser.find(&read, &mut found);
            }
        }
        if found.is_empty() {
            found
        } else {
            settled(text, found)
        }
    }

    /// The text without what was found in it; the text itself where nothing was.
    pub fn redact<'t>(
        &self,
        tenant: &str,
        content: Content,
        text: &'t str,
        tally: &mut Tally,
    ) -> Cow<'t, str> {
        let spans = self.find(content, text);
        if spans.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len() + 16 * spans.len());
        let mut behind = 0;
        for Found { kind, start, end } in spans {
            out.push_str(&text[behind..start]);
            self.key.write(tenant, kind, &text[start..end], &mut out);
            tally.add(kind);
            behind = end;
        }
        out.push_str(&text[behind..]);
        Cow::Owned(out)
    }

    /// Bytes that may hold text, such as a header: every stretch of valid UTF-8 is redacted, the rest is kept.
    pub fn redact_bytes<'t>(
        &self,
        tenant: &str,
        bytes: &'t [u8],
        tally: &mut Tally,
    ) -> Cow<'t, [u8]> {
        if let Ok(text) = std::str::from_utf8(bytes) {
            return match self.redact(tenant, Content::Free, text, tally) {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            };
        }
        let mut out = Vec::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            let valid = self.redact(tenant, Content::Free, chunk.valid(), tally);
            out.extend_from_slice(valid.as_bytes());
            out.extend_from_slice(chunk.invalid());
        }
        Cow::Owned(out)
    }

    /// A pseudonym for a whole text.
    #[must_use]
    pub fn withheld(&self, tenant: &str, text: &str, tally: &mut Tally) -> String {
        let mut out = String::new();
        self.key.write(tenant, Kind::Withheld, text, &mut out);
        tally.add(Kind::Withheld);
        out
    }

    fn is_allowed(&self, topic: &str, field: &str) -> bool {
        self.text_allowed.is_empty()
            || self
                .text_allowed
                .iter()
                .any(|pattern| text::matches(pattern, topic, field))
    }
}

/// Length of the pseudonym that a text begins with, if it begins with one.
#[must_use]
pub fn pseudonym_length(text: &str) -> Option<usize> {
    pseudonym::length(text.as_bytes())
}

/// Spans in order, none overlapping: those that touch a common byte become one of the kind that takes precedence. A span
/// inside a pseudonym is nothing new, so that redacting twice is redacting once.
fn settled(text: &str, mut found: Vec<Found>) -> Vec<Found> {
    let opaque = pseudonym::spans(text);
    found.retain(|one| {
        !opaque
            .iter()
            .any(|(start, end)| *start <= one.start && one.end <= *end)
    });
    for one in &mut found {
        // a look around that is bounded in bytes may end inside a character
        while !text.is_char_boundary(one.start) {
            one.start -= 1;
        }
        while !text.is_char_boundary(one.end) {
            one.end += 1;
        }
    }
    found.sort_by_key(|one| (one.start, one.end));
    let mut spans: Vec<Found> = Vec::with_capacity(found.len());
    for one in found {
        match spans.last_mut() {
            Some(last) if one.start < last.end => {
                last.end = last.end.max(one.end);
                last.kind = last.kind.min(one.kind);
            }
            _ => spans.push(one),
        }
    }
    spans
}

#[cfg(test)]
mod tests;
