//! The corpus that redaction is measured on: 2,000 texts with something in them, 20,000 telemetry texts with nothing.
//!
//! Everything follows from the seed. Values are made here from their published rules, by code that shares nothing with the
//! recognisers, and the sentences around them are not those of the recognisers' tests.

mod negatives;
mod values;

use cairn_operators::redact::Kind;
use values::Value;

/// The seed of the published figures.
pub const SEED: u64 = 20_261_130;
/// Texts that hold something.
pub const POSITIVES: usize = 2_000;
/// Texts that hold nothing.
pub const NEGATIVES: usize = 20_000;

/// SplitMix64 (Steele, Lea, Flood 2014): enough for a corpus, and the same everywhere.
pub struct Draw(u64);

impl Draw {
    /// A sequence from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below another.
    pub fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    /// One of several.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// So many characters of an alphabet.
    pub fn text(&mut self, length: usize, alphabet: &str) -> String {
        let letters: Vec<char> = alphabet.chars().collect();
        (0..length).map(|_| self.one(&letters)).collect()
    }

    /// So many digits.
    pub fn digits(&mut self, length: usize) -> String {
        self.text(length, "0123456789")
    }

    /// A fraction between 0 and 1.
    pub fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// How a kind is known, and with it the recall that is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    /// By a check digit.
    Checksum,
    /// By a shape that nothing else has.
    Shape,
    /// By words around it.
    Context,
}

/// A text with something in it.
pub struct Positive {
    /// The text.
    pub text: String,
    /// What is in it.
    pub kind: Kind,
    /// Where: bytes.
    pub span: (usize, usize),
}

/// How a kind is known, how many texts there are of it, a value of it, and the sentences that it stands in.
pub struct Class {
    /// What.
    pub kind: Kind,
    /// How it is known.
    pub known: Known,
    count: usize,
    value: fn(&mut Draw) -> Value,
    sentences: &'static [&'static str],
}

/// Sentences that say nothing about what stands in them.
const PLAIN: &[&str] = &[
    "The model answered: {} and then went on with the recipe.",
    "tool_call search(query=\"{}\") -> 0 results",
    "Completion leaked {} verbatim from the pre-training mix",
    "user turn 3 | {}",
    "assert failed: expected refusal, got '{}'",
    "{}",
    "memorised string ({}) found in 2 of 64 samples",
    "row 118,{},accepted",
    "stderr: cannot parse {}; retrying",
    "[redteam] prompt contained {} / severity high",
];

/// Every class, in the order of the results.
#[rustfmt::skip]
pub const CLASSES: &[Class] = &[
    Class { kind: Kind::Card, known: Known::Checksum, count: 250, value: values::card, sentences: &[
        PLAIN[0], PLAIN[1], PLAIN[2], PLAIN[3], PLAIN[4], PLAIN[5], PLAIN[6], PLAIN[7], PLAIN[8], PLAIN[9],
        "charge Visa {} exp 09/29 cvv 123", "{\"pan\":\"{}\",\"amount\":12.5}",
    ] },
    Class { kind: Kind::Iban, known: Known::Checksum, count: 250, value: values::iban, sentences: &[
        PLAIN[0], PLAIN[1], PLAIN[2], PLAIN[3], PLAIN[4], PLAIN[5], PLAIN[6], PLAIN[7], PLAIN[8], PLAIN[9],
        "transfer to {} (BIC unknown)", "beneficiary_account: {}\namount: 100",
    ] },
    Class { kind: Kind::NationalId, known: Known::Checksum, count: 200, value: values::national_id, sentences: &[
        PLAIN[0], PLAIN[1], PLAIN[2], PLAIN[3], PLAIN[4], PLAIN[6], PLAIN[7], PLAIN[8], PLAIN[9],
    ] },
    Class { kind: Kind::Email, known: Known::Shape, count: 200, value: values::email, sentences: PLAIN },
    Class { kind: Kind::Ip, known: Known::Shape, count: 150, value: values::ip, sentences: &[
        PLAIN[0], PLAIN[1], PLAIN[2], PLAIN[3], PLAIN[4], PLAIN[8], PLAIN[9], "connect to {} port 22: Connection refused", "GET / from {} took 12 ms",
        "NCCL WARN Net: peer {} closed", "ssh root@{}",
    ] },
    Class { kind: Kind::Mac, known: Known::Shape, count: 80, value: values::mac, sentences: PLAIN },
    Class { kind: Kind::Jwt, known: Known::Shape, count: 80, value: values::jwt, sentences: PLAIN },
    Class { kind: Kind::ApiKey, known: Known::Shape, count: 150, value: values::api_key, sentences: PLAIN },
    Class { kind: Kind::UrlCredentials, known: Known::Shape, count: 80, value: values::url_credentials, sentences: PLAIN },
    Class { kind: Kind::PrivateKey, known: Known::Shape, count: 60, value: values::private_key, sentences: PLAIN },
    Class { kind: Kind::Phone, known: Known::Context, count: 110, value: values::phone, sentences: &[
        "her mobile is {}", "You can reach support on {} during office hours", "fax {} attached", "please text me at {} tonight", "contact number {}",
        "emergency contact: {}", "{} (cell)", "I left a voicemail at {} twice", "dial {} and ask for the lab", "tel:{}",
    ] },
    Class { kind: Kind::Ssn, known: Known::Context, count: 80, value: values::ssn, sentences: &[
        "the applicant's social is {}", "SSN on file: {}", "model produced the SSN {} for a real person", "W-2 box a, social security no. {}", "ssn={};dob=unknown",
    ] },
    Class { kind: Kind::BirthDate, known: Known::Context, count: 80, value: values::birth_date, sentences: &[
        "Date of birth: {}", "she was born on {} in Lyon", "dob {}", "patient's birthday is {}", "birth date ({}) disclosed", "Geburtsdatum: {}",
    ] },
    Class { kind: Kind::Mrn, known: Known::Context, count: 80, value: values::mrn, sentences: &[
        "MRN {}", "chart for mrn #{} opened", "medical record no. {} was quoted", "Patient number: {}", "hospital record number {} appears in the output", "mrn={}",
    ] },
    Class { kind: Kind::Secret, known: Known::Context, count: 80, value: values::secret, sentences: &[
        "export DB_PASSWORD={}", "root password: {}", "{\"client_secret\": \"{}\"}", "curl -H 'X-Api-Key: {}' https://api.example", "passphrase = {}", "connect(user='svc', passwd='{}')",
        "secret_key: {}", "login with pwd {} failed", "config has auth_token={}", "my password is {}",
    ] },
    Class { kind: Kind::Name, known: Known::Context, count: 70, value: values::name, sentences: &[
        "Patient {} was admitted twice", "annotator: {}", "Mr. {} called", "escalated to Dr {} for review", "approved by {} on Friday", "{\"reviewer\": \"{}\"}", "customer {} complained",
        "dear Mrs {}, thank you", "ticket reporter = {}", "Prof. {} disagreed",
    ] },
];

/// Every positive text, class by class.
pub fn positives(seed: u64) -> Vec<Positive> {
    let mut draw = Draw::new(seed);
    let mut all = Vec::with_capacity(POSITIVES);
    for class in CLASSES {
        for _ in 0..class.count {
            let Value {
                before,
                value,
                after,
            } = (class.value)(&mut draw);
            let sentence = draw.one(class.sentences);
            let at = sentence.find("{}").expect("a sentence has a place");
            let start = at + before.len();
            let text = format!(
                "{}{before}{value}{after}{}",
                &sentence[..at],
                &sentence[at + 2..]
            );
            all.push(Positive {
                text,
                kind: class.kind,
                span: (start, start + value.len()),
            });
        }
    }
    assert_eq!(all.len(), POSITIVES);
    all
}

/// Every negative text.
pub fn negatives(seed: u64) -> Vec<String> {
    let mut draw = Draw::new(seed ^ 0xffff);
    (0..NEGATIVES).map(|_| negatives::line(&mut draw)).collect()
}
