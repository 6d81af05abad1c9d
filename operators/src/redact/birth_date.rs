//! Dates of birth: a date of the calendar behind a word that says whose it is.

use super::scan::{digit_runs, ends, has_context, note, starts, tokens};
use super::{Found, Kind, Recogniser, Text};

const CONTEXT: &[&str] = &[
    "birth",
    "birthdate",
    "birthday",
    "born",
    "dob",
    "geboren",
    "geburtsdatum",
    "naissance",
    "nee",
];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Finds dates of birth.
pub(super) struct BirthDate;

impl Recogniser for BirthDate {
    fn kind(&self) -> Kind {
        Kind::BirthDate
    }

    fn reads_identifiers(&self) -> bool {
        false
    }

    fn may_find(&self, text: &Text<'_>) -> bool {
        text.digits >= 5 && text.text.len() >= 10
    }

    fn find(&self, text: &Text<'_>, found: &mut Vec<Found>) {
        let bytes = text.bytes();
        for (start, end) in digit_runs(bytes) {
            if starts(bytes, start)
                && let Some(end) = numeric(bytes, start, end)
                && ends(bytes, end)
                && has_context(bytes, start, end, CONTEXT)
            {
                note(Kind::BirthDate, start, end, found);
            }
        }
        for (start, end) in tokens(bytes, b"") {
            if let Some((start, end)) = written(bytes, start, end)
                && has_context(bytes, start, end, CONTEXT)
            {
                note(Kind::BirthDate, start, end, found);
            }
        }
    }
}

/// `1984-03-12`, `12.03.1984`, `3/12/1984`, `12.3.84` and `19840312`.
fn numeric(bytes: &[u8], start: usize, end: usize) -> Option<usize> {
    let value = |start: usize, end: usize| {
        bytes[start..end]
            .iter()
            .fold(0_u32, |value, digit| value * 10 + u32::from(digit - b'0'))
    };
    if end - start == 8 {
        let (year, month, day) = (
            value(start, start + 4),
            value(start + 4, start + 6),
            value(start + 6, end),
        );
        return is_date(year, month, day).then_some(end);
    }
    if end - start > 4 {
        return None;
    }
    let separator = *bytes.get(end).filter(|byte| b"-./".contains(byte))?;
    let part = |from: usize| {
        let length = bytes
            .get(from..)?
            .iter()
            .take(5)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        (1..=4).contains(&length).then_some(from + length)
    };
    let middle = part(end + 1)?;
    if bytes.get(middle) != Some(&separator) {
        return None;
    }
    let last = part(middle + 1)?;
    let (first, second, third) = (
        value(start, end),
        value(end + 1, middle),
        value(middle + 1, last),
    );
    let is_one = if end - start == 4 {
        is_date(first, second, third)
    } else {
        let year = if last - middle == 3 {
            1900 + third
        } else {
            third
        };
        is_date(year, second, first) || is_date(year, first, second)
    };
    is_one.then_some(last)
}

/// `12 March 1984`, `March 12, 1984` and the like, around the name of a month.
fn written(bytes: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
    let word = &bytes[start..end];
    let is_month = word.len() >= 3
        && MONTHS.iter().any(|month| {
            month.len() >= word.len() && month.as_bytes()[..word.len()].eq_ignore_ascii_case(word)
        });
    if !is_month {
        return None;
    }
    let number_behind = |from: usize| {
        let gap = bytes[from..]
            .iter()
            .take(2)
            .take_while(|byte| b" ,.".contains(byte))
            .count();
        let begin = from + gap;
        let length = bytes[begin..]
            .iter()
            .take(4)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        (gap > 0 && length > 0).then_some((begin, begin + length))
    };
    let (first_start, first_end) = number_behind(end)?;
    if first_end - first_start == 4 {
        // the day stands before the month
        let digits = bytes[..start]
            .iter()
            .rev()
            .skip_while(|byte| b" .".contains(byte))
            .take(2)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let gap = bytes[..start]
            .iter()
            .rev()
            .take_while(|byte| b" .".contains(byte))
            .take(2)
            .count();
        return (digits > 0).then(|| (start - gap - digits, first_end));
    }
    let (year_start, year_end) = number_behind(first_end)?;
    (year_end - year_start == 4).then_some((start, year_end))
}

fn is_date(year: u32, month: u32, day: u32) -> bool {
    (1900..2100).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_nothing};
    use super::*;

    #[test]
    fn dates_behind_a_word_are_found() {
        for (text, date) in [
            ("born 1984-03-12", "1984-03-12"),
            ("DOB: 3/12/1984", "3/12/1984"),
            ("geboren am 12.03.1984 in", "12.03.1984"),
            ("date of birth is 12 March 1984,", "12 March 1984"),
            ("birthday: Mar 12, 1984", "Mar 12, 1984"),
            ("dob=19840312", "19840312"),
        ] {
            finds(&BirthDate, text, date);
        }
    }

    #[test]
    fn other_dates_and_numbers_are_none() {
        for text in [
            "started 2026-11-30",
            "born 1984-13-12",
            "born with 19841312 tokens",
            "12 March 1984",
        ] {
            finds_nothing(&BirthDate, text);
        }
    }
}
