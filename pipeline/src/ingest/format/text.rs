//! What the parsers of text logs share: numbers with their states, restarts, lines as text.

use super::{Position, Setup};
use cairn_avro::record::NumberState;
use std::borrow::Cow;

/// A measured number, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number {
    /// The value, when it is finite.
    pub(super) value: Option<f64>,
    /// What is known of it.
    pub(super) state: NumberState,
}

impl Number {
    /// A number that a line of this kind does not have; the state is the schema's default, so that an absent measurement
    /// reads the same whoever sent it. `Missing` is kept for one that should have been there.
    pub(super) const ABSENT: Number = Number {
        value: None,
        state: NumberState::Finite,
    };

    /// Sorts a floating-point value.
    pub(super) fn of(value: f64) -> Self {
        let state = if value.is_nan() {
            NumberState::Nan
        } else if value == f64::INFINITY {
            NumberState::PositiveInfinity
        } else if value == f64::NEG_INFINITY {
            NumberState::NegativeInfinity
        } else {
            return Number {
                value: Some(value),
                state: NumberState::Finite,
            };
        };
        Number { value: None, state }
    }

    /// Reads a number as C, Python and Rust print it; `nan`, `-nan`, `inf`, `1.#IND` (old Windows runtimes) are numbers too.
    pub(super) fn read(text: &str) -> Option<Self> {
        if let Ok(value) = text.parse::<f64>() {
            return Some(Self::of(value));
        }
        match text.to_ascii_lowercase().as_str() {
            "-nan(ind)" | "1.#ind" | "-1.#ind" | "1.#qnan" => Some(Self::of(f64::NAN)),
            "1.#inf" => Some(Self::of(f64::INFINITY)),
            "-1.#inf" => Some(Self::of(f64::NEG_INFINITY)),
            _ => None,
        }
    }
}

/// Counts the attempts of a log: one whose step goes back was restarted from a checkpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Restarts {
    attempt: i32,
    last_step: i64,
}

impl Restarts {
    /// A log that begins with this attempt.
    pub(super) fn new(attempt: i32) -> Self {
        Self {
            attempt,
            last_step: i64::MIN,
        }
    }

    /// The attempt that a line of this step belongs to.
    pub(super) fn attempt(&mut self, step: i64) -> i32 {
        if step < self.last_step {
            self.attempt += 1;
        }
        self.last_step = step;
        self.attempt
    }

    /// The attempt of the last line.
    pub(super) fn current(&self) -> i32 {
        self.attempt
    }
}

/// The identity of a row of which there may be another that is alike in every number: its run, its place and its bytes.
pub(super) fn row_id(format: &str, setup: &Setup, position: Position, unit: &[u8]) -> String {
    let digest = crate::ingest::progress::digest(&[
        &setup.run_id,
        &setup.attempt.to_string(),
        &position.byte.to_string(),
        &String::from_utf8_lossy(unit),
    ]);
    format!("{format}:{}", &digest[..32])
}

/// A line as text without the white space around it; none where it is empty. Bytes that are no UTF-8 become `\u{fffd}`,
/// which no number and no name contains: such a line is a reject if it is one of the format at all.
pub(super) fn trimmed(line: &[u8]) -> Option<Cow<'_, str>> {
    let text = String::from_utf8_lossy(line.trim_ascii());
    (!text.is_empty()).then_some(text)
}

/// The lines of a head; the last one only when it has its end, because a head may be cut anywhere.
pub(super) fn whole_lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = if head.len() < super::HEAD_BYTES {
        head.len()
    } else {
        head.iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(head.len(), |last| last + 1)
    };
    head[..end]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
}

/// Puts a name that people wrote (`throughput per GPU (TFLOP/s/GPU)`) into the form of a metric (`throughput_per_gpu_tflop_s_gpu`).
pub(super) fn metric_name(name: &str) -> String {
    let mut metric = String::with_capacity(name.len());
    for character in name.trim().chars() {
        if character.is_alphanumeric() {
            metric.extend(character.to_lowercase());
        } else if !metric.ends_with('_') && !metric.is_empty() {
            metric.push('_');
        }
    }
    metric.truncate(metric.trim_end_matches('_').len());
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_states() {
        let read = |text| Number::read(text).map(|number| (number.value, number.state));
        assert_eq!(
            read("6.444662E+00"),
            Some((Some(6.444662), NumberState::Finite))
        );
        assert_eq!(read("nan"), Some((None, NumberState::Nan)));
        assert_eq!(read("-nan(ind)"), Some((None, NumberState::Nan)));
        assert_eq!(read("-inf"), Some((None, NumberState::NegativeInfinity)));
        assert_eq!(read("3.2s:124"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn a_step_back_is_a_restart() {
        let mut restarts = Restarts::new(2);
        assert_eq!(
            [10, 10, 20, 10, 20].map(|step| restarts.attempt(step)),
            [2, 2, 2, 3, 3]
        );
    }

    #[test]
    fn metric_names_are_plain() {
        assert_eq!(
            metric_name("throughput per GPU (TFLOP/s/GPU)"),
            "throughput_per_gpu_tflop_s_gpu"
        );
        assert_eq!(metric_name(" num zeros"), "num_zeros");
    }
}
