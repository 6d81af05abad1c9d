//! Seals what could not be used: nothing is lost, nothing leaks (DESIGN §3.5).
//!
//! A dead letter holds the original encrypted with age (age-encryption.org/v1, X25519), and an excerpt for people. The
//! pipeline holds only the recipient; the identity that opens originals is a file that `cairn init` writes outside the
//! data directory, in the format of `age-keygen`. Sealing draws an ephemeral key, so the same original never gives the
//! same bytes: compare the digest of the plaintext.

mod excerpt;

pub use excerpt::excerpt;

use age::secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// Why something could not be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SealError(String);

/// Whom originals are sealed for: `age1…`.
#[derive(Clone)]
pub struct Recipient {
    key: age::x25519::Recipient,
    text: String,
}

impl FromStr for Recipient {
    type Err = SealError;

    fn from_str(text: &str) -> Result<Self, SealError> {
        let text = text.trim();
        let key = text.parse().map_err(|why| {
            SealError(format!("{text:?} is no age recipient ({why}); it begins with age1, as `cairn init` prints it"))
        })?;
        Ok(Self {
            key,
            text: text.to_owned(),
        })
    }
}

impl Recipient {
    /// The recipient as it is written in the configuration.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Seals an original.
    ///
    /// # Errors
    /// The encryption failed, which a valid recipient does not let happen.
    pub fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        age::encrypt(&self.key, plaintext)
            .map_err(|error| SealError(format!("the original cannot be sealed: {error}")))
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What opens originals; never printed.
pub struct Identity {
    key: age::x25519::Identity,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity for {}", self.recipient())
    }
}

impl Identity {
    /// Whom it opens for.
    #[must_use]
    pub fn recipient(&self) -> String {
        self.key.to_public().to_string()
    }

    /// Reads an identity file; lines that begin with `#` are comments.
    ///
    /// # Errors
    /// There is no X25519 identity in it.
    pub fn from_file(text: &str) -> Result<Self, SealError> {
        let line = text
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with('#'))
            .ok_or_else(|| {
                SealError(
                    "the identity file has no identity; it holds a line AGE-SECRET-KEY-1…".into(),
                )
            })?;
        let key = line.parse().map_err(|why| {
            SealError(format!(
                "the identity file holds no age identity ({why}); expected AGE-SECRET-KEY-1…"
            ))
        })?;
        Ok(Self { key })
    }

    /// The identity file, as `age-keygen` would write it.
    #[must_use]
    pub fn to_file(&self) -> String {
        format!(
            "# opens the originals of dead letters: keep it safe, and out of the data directory\n# public key: {}\n{}\n",
            self.recipient(),
            self.key.to_string().expose_secret()
        )
    }
}

/// Draws a new identity.
#[must_use]
pub fn new_identity() -> Identity {
    Identity {
        key: age::x25519::Identity::generate(),
    }
}

/// Draws a key of pseudonyms, as it is written: 64 hexadecimal digits. The randomness is that of a new identity, which nobody
/// keeps.
#[must_use]
pub fn new_redaction_key() -> String {
    let drawn = age::x25519::Identity::generate();
    let digest = Sha256::digest(drawn.to_string().expose_secret());
    cairn_avro::hex::text(&digest)
}

/// Seals an original for a recipient by its text; who seals many keeps a [`Recipient`].
///
/// # Errors
/// The text is no recipient.
pub fn seal(recipient: &str, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
    recipient.parse::<Recipient>()?.seal(plaintext)
}

/// Opens an original.
///
/// # Errors
/// It was sealed for somebody else, or is damaged.
pub fn open(identity: &Identity, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    age::decrypt(&identity.key, sealed).map_err(|error| {
        SealError(format!(
            "the original cannot be opened with the identity of {}: {error}; use the identity of the dead letter's \
             sealed_recipient",
            identity.recipient()
        ))
    })
}

/// SHA-256 of an original: what replays compare.
#[must_use]
pub fn plaintext_sha256(plaintext: &[u8]) -> [u8; 32] {
    Sha256::digest(plaintext).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_identity_opens() {
        let (mine, other) = (new_identity(), new_identity());
        let sealed = seal(&mine.recipient(), b"secret").expect("it can be sealed");
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(open(&mine, &sealed).as_deref(), Ok(&b"secret"[..]));
        let error = open(&other, &sealed).expect_err("it is not for the other");
        assert!(error.to_string().contains(&other.recipient()), "{error}");
    }

    #[test]
    fn an_identity_survives_its_file_and_is_not_printed() {
        let identity = new_identity();
        let again = Identity::from_file(&identity.to_file()).expect("it is one");
        assert_eq!(again.recipient(), identity.recipient());
        assert!(!format!("{identity:?}").contains("SECRET"));
        assert!(Identity::from_file("# nothing\n").is_err());
        assert!("age1nonsense".parse::<Recipient>().is_err());
    }
}
