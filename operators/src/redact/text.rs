//! A text with its signs: what one pass over the bytes says about which recognisers can find anything.

/// What a byte is, one bit each.
const DIGIT: u8 = 1;
const UPPER: u8 = 2;
const AT: u8 = 4;
const COLON: u8 = 8;
const EQUALS: u8 = 16;
const DOT: u8 = 32;
const SPACE: u8 = 64;
const HYPHEN: u8 = 128;

const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        class[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT,
            b'A'..=b'Z' => UPPER,
            b'@' => AT,
            b':' => COLON,
            b'=' => EQUALS,
            b'.' => DOT,
            b' ' | b'\t' | b'\n' | b'\r' => SPACE,
            b'-' => HYPHEN,
            _ => 0,
        };
        byte += 1;
    }
    class
};

/// A text and its signs.
#[derive(Clone, Copy, Debug)]
pub struct Text<'t> {
    /// The text.
    pub text: &'t str,
    signs: u8,
    /// How many ASCII digits it has.
    pub digits: usize,
}

impl<'t> Text<'t> {
    /// Reads a text once.
    #[must_use]
    pub fn new(text: &'t str) -> Self {
        let (mut signs, mut digits) = (0, 0);
        for byte in text.bytes() {
            let class = CLASS[byte as usize];
            signs |= class;
            digits += usize::from(class & DIGIT);
        }
        Self {
            text,
            signs,
            digits,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &'t [u8] {
        self.text.as_bytes()
    }

    /// It has an `@`.
    #[must_use]
    pub fn has_at(&self) -> bool {
        self.signs & AT != 0
    }

    /// It has a colon.
    #[must_use]
    pub fn has_colon(&self) -> bool {
        self.signs & COLON != 0
    }

    /// It has an equals sign.
    #[must_use]
    pub fn has_equals(&self) -> bool {
        self.signs & EQUALS != 0
    }

    /// It has a full stop.
    #[must_use]
    pub fn has_dot(&self) -> bool {
        self.signs & DOT != 0
    }

    /// It has white space.
    #[must_use]
    pub fn has_space(&self) -> bool {
        self.signs & SPACE != 0
    }

    /// It has a hyphen.
    #[must_use]
    pub fn has_hyphen(&self) -> bool {
        self.signs & HYPHEN != 0
    }

    /// It has an ASCII capital.
    #[must_use]
    pub fn has_upper(&self) -> bool {
        self.signs & UPPER != 0
    }
}

/// True when `topic.field` is `pattern`, or begins or ends as it does where it has a `*` at the other end. Nothing is
/// allocated for it.
pub(super) fn matches(pattern: &str, topic: &str, field: &str) -> bool {
    let whole = || {
        topic
            .bytes()
            .chain(std::iter::once(b'.'))
            .chain(field.bytes())
    };
    let length = topic.len() + 1 + field.len();
    match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(head), _) => head.len() <= length && whole().zip(head.bytes()).all(|(a, b)| a == b),
        (None, Some(tail)) => {
            tail.len() <= length && whole().skip(length - tail.len()).eq(tail.bytes())
        }
        (None, None) => whole().eq(pattern.bytes()),
    }
}
