//! The input row, read in place: decoded, validated and normalised without a copy.
//!
//! Texts stay bytes: that they are UTF-8 is checked, what they say is compared. Nothing is allocated.

/// From here on an event time counts microseconds.
const MICROSECONDS_FROM: i64 = 100_000_000_000_000;
const LOSS_MAX: f64 = 100.0;

/// A valid, normalised row that borrows from the record's value.
#[derive(Debug, PartialEq)]
pub struct Row<'a> {
    pub run_id: &'a [u8],
    /// As the sender spelled it; [`canonical`] is what it means.
    pub metric: &'a [u8],
    pub step: i64,
    pub event_ms: i64,
    pub loss: f64,
    pub log_perplexity: f64,
}

/// Why a row cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    Frame,
    Decode,
    Invalid,
}

impl Bad {
    /// The dead letter's `error`.
    pub fn name(self) -> &'static str {
        match self {
            Bad::Frame => "frame",
            Bad::Decode => "decode",
            Bad::Invalid => "invalid",
        }
    }
}

/// Reads a record's value, which must begin with this frame.
#[inline]
pub fn read<'a>(value: &'a [u8], frame: &[u8; 5]) -> Result<Row<'a>, Bad> {
    let body = value.strip_prefix(frame).ok_or(Bad::Frame)?;
    let raw = Raw::decode(body).ok_or(Bad::Decode)?;
    raw.normalise().ok_or(Bad::Invalid)
}

/// The canonical spelling of a metric; empty where it says nothing.
pub fn canonical(metric: &[u8]) -> Box<[u8]> {
    trim(metric)
        .iter()
        .map(|byte| match byte {
            b'/' | b'.' | b'-' | b' ' => b'_',
            byte => byte.to_ascii_lowercase(),
        })
        .collect()
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = text {
        text = rest;
    }
    text
}

/// Fields as they are written.
struct Raw<'a> {
    run_id: &'a [u8],
    metric: &'a [u8],
    step: i64,
    tokens: i64,
    event_time: i64,
    loss: f64,
    perplexity: Option<f64>,
    learning_rate: f64,
    grad_norm: f64,
}

impl<'a> Raw<'a> {
    #[inline]
    fn decode(body: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor(body);
        let run_id = cursor.text()?;
        let host = cursor.text()?;
        let metric = cursor.text()?;
        // the three and their lengths in one look; only other alphabets are looked at one by one
        let texts = &body[..body.len() - cursor.0.len()];
        if !texts.is_ascii() {
            for text in [run_id, host, metric] {
                std::str::from_utf8(text).ok()?;
            }
        }
        let (step, tokens, event_time) = (cursor.long()?, cursor.long()?, cursor.long()?);
        let loss = cursor.double()?;
        let perplexity = match cursor.long()? {
            0 => None,
            1 => Some(cursor.double()?),
            _ => return None,
        };
        let (learning_rate, grad_norm) = (cursor.double()?, cursor.double()?);
        cursor.0.is_empty().then_some(Self {
            run_id,
            metric,
            step,
            tokens,
            event_time,
            loss,
            perplexity,
            learning_rate,
            grad_norm,
        })
    }

    #[inline]
    fn normalise(self) -> Option<Row<'a>> {
        let not_negative = 0.0..=f64::MAX;
        let is_valid = !self.run_id.is_empty()
            && !trim(self.metric).is_empty()
            && self.step >= 0
            && self.tokens >= 0
            && self.event_time > 0
            && (0.0..=LOSS_MAX).contains(&self.loss)
            && self
                .perplexity
                .is_none_or(|p| (1.0..=f64::MAX).contains(&p))
            && not_negative.contains(&self.learning_rate)
            && not_negative.contains(&self.grad_norm);
        is_valid.then(|| Row {
            run_id: self.run_id,
            metric: self.metric,
            step: self.step,
            event_ms: if self.event_time >= MICROSECONDS_FROM {
                self.event_time / 1000
            } else {
                self.event_time
            },
            loss: self.loss,
            // a missing perplexity is exp(loss), and its logarithm the loss
            log_perplexity: self.perplexity.map_or(self.loss, f64::ln),
        })
    }
}

/// What is left to read.
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    /// A zig-zag varint. Eight bytes at once where they are there: the row ends in doubles, so nearly always.
    #[inline]
    pub fn long(&mut self) -> Option<i64> {
        if let Some(word) = self.0.first_chunk::<8>() {
            let word = u64::from_le_bytes(*word);
            let ends = !word & 0x8080_8080_8080_8080;
            if ends != 0 {
                let length = ends.trailing_zeros() as usize / 8 + 1;
                self.0 = &self.0[length..];
                return Some(unzigzag(septets(word & (ends ^ (ends - 1)))));
            }
        }
        self.long_bytewise()
    }

    #[cold]
    fn long_bytewise(&mut self) -> Option<i64> {
        let mut value = 0u64;
        for (index, &byte) in self.0.iter().take(10).enumerate() {
            // the tenth byte holds the last bit
            if index == 9 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.0 = &self.0[index + 1..];
                return Some(unzigzag(value));
            }
        }
        None
    }

    #[inline]
    pub fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text)
    }

    #[inline]
    pub fn double(&mut self) -> Option<f64> {
        let (bytes, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(f64::from_le_bytes(*bytes))
    }
}

/// Joins the low seven bits of each byte.
#[inline]
fn septets(word: u64) -> u64 {
    let word = word & 0x7f7f_7f7f_7f7f_7f7f;
    let word = word & 0x007f_007f_007f_007f | (word & 0x7f00_7f00_7f00_7f00) >> 1;
    let word = word & 0x0000_3fff_0000_3fff | (word & 0x3fff_0000_3fff_0000) >> 2;
    word & 0x0000_0000_0fff_ffff | (word & 0x0fff_ffff_0000_0000) >> 4
}

#[inline]
fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_long(bytes: &[u8], expected: Option<(i64, usize)>) {
        // once with bytes behind it, so that the wide way is taken, and once without
        for padding in [0, 16] {
            let mut padded = bytes.to_vec();
            padded.resize(bytes.len() + padding, 0xff);
            let mut cursor = Cursor(&padded);
            let found = cursor
                .long()
                .map(|value| (value, padded.len() - cursor.0.len()));
            assert_eq!(found, expected, "{bytes:02x?} with {padding} behind");
        }
    }

    /// Values worked out by hand from Avro's definition: n is (n << 1) ^ (n >> 63), seven bits a byte, low ones first.
    #[test]
    fn longs() {
        check_long(&[0x00], Some((0, 1)));
        check_long(&[0x01], Some((-1, 1)));
        check_long(&[0x02], Some((1, 1)));
        check_long(&[0x7f], Some((-64, 1)));
        check_long(&[0x80, 0x01], Some((64, 2)));
        // 300 -> 600 = 4 * 128 + 88
        check_long(&[0xd8, 0x04], Some((300, 2)));
        // 2^48 -> 2^49, which is bit 0 of the eighth byte
        check_long(
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
            Some((1 << 48, 8)),
        );
        check_long(
            &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            Some((i64::MAX, 10)),
        );
        check_long(
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            Some((i64::MIN, 10)),
        );
        check_long(
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            None,
        );
    }

    #[test]
    fn a_long_that_is_cut_off_is_none() {
        assert_eq!(Cursor(&[]).long(), None);
        assert_eq!(Cursor(&[0x80, 0x80]).long(), None);
    }

    #[test]
    fn metrics_have_one_canonical_spelling() {
        for (spelled, expected) in [
            ("train/loss", "train_loss"),
            (" Train.Loss ", "train_loss"),
            ("EVAL LOSS", "eval_loss"),
            ("eval-code ", "eval_code"),
            ("  ", ""),
        ] {
            assert_eq!(
                &*canonical(spelled.as_bytes()),
                expected.as_bytes(),
                "{spelled:?}"
            );
        }
    }
}
