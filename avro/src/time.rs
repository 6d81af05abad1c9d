//! Times as the contract writes them: milliseconds since 1970 in records, RFC 3339 in UTC where
//! people read. Leap seconds are the first moment of the next minute, as in Unix time.

const DAY_MS: i64 = 86_400_000;

/// Milliseconds since 1970 of an RFC 3339 time in UTC (`Z`, or an offset of zero); digits past the
/// millisecond are dropped. Nothing for anything else.
///
/// ```
/// assert_eq!(cairn_avro::time::parse("1970-01-02T00:00:00.5Z"), Some(86_400_500));
/// assert_eq!(cairn_avro::time::parse("1970-01-02T00:00:00+02:00"), None);
/// ```
pub fn parse(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        digits.iter().try_fold(0, |value, digit| {
            digit
                .is_ascii_digit()
                .then(|| value * 10 + i64::from(digit - b'0'))
        })
    };
    let mark = |at: usize, mark: u8| (bytes.get(at) == Some(&mark)).then_some(());
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    mark(4, b'-')?;
    mark(7, b'-')?;
    mark(10, b'T')?;
    mark(13, b':')?;
    mark(16, b':')?;
    let mut rest = &bytes[19..];
    let mut fraction_ms = 0;
    if let [b'.', after @ ..] = rest {
        let digits = after
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if digits == 0 || digits > 9 {
            return None;
        }
        for place in 0..3 {
            let digit = after[..digits].get(place).map_or(0, |digit| digit - b'0');
            fraction_ms = fraction_ms * 10 + i64::from(digit);
        }
        rest = &after[digits..];
    }
    if !matches!(rest, b"Z" | b"+00:00" | b"-00:00") {
        return None;
    }
    let valid = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && (second < 60 || (second == 60 && hour == 23 && minute == 59));
    valid.then(|| {
        let seconds = (hour * 60 + minute) * 60 + second;
        days_from_civil(year, month, day) * DAY_MS + seconds * 1000 + fraction_ms
    })
}

/// The first and the last moment that RFC 3339 can write: it knows the years 0 to 9999.
const WRITABLE_MS: (i64, i64) = (-62_167_219_200_000, 253_402_300_799_999);

/// RFC 3339 in UTC, with milliseconds. Total: a time outside the years 0 to 9999 is written as the nearest within.
///
/// ```
/// assert_eq!(cairn_avro::time::rfc3339(86_400_500), "1970-01-02T00:00:00.500Z");
/// ```
#[must_use]
pub fn rfc3339(ms: i64) -> String {
    let ms = ms.clamp(WRITABLE_MS.0, WRITABLE_MS.1);
    let (days, within) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute) = (within / 3_600_000, within / 60_000 % 60);
    let (second, ms) = (within / 1000 % 60, within % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 (Howard Hinnant's `days_from_civil`): years begin in March, so that the
/// leap day comes last, and 400 of them, an era, always have 146,097 days.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * of_era + of_era / 4 - of_era / 100);
    let march = (5 * of_year + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + of_era + i64::from(month <= 2);
    (year, month, of_year - (153 * march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-29T23:59:59.999Z", 951_868_799_999),
            ("2026-11-24T15:03:52.123Z", 1_795_532_632_123),
            ("1969-12-31T23:59:59.999Z", -1),
            ("0000-01-01T00:00:00.000Z", -62_167_219_200_000),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        ] {
            assert_eq!(parse(text), Some(ms), "{text}");
            assert_eq!(rfc3339(ms), text);
        }
        for ms in (0..400_000).map(|day| day * DAY_MS - 6_000_000_000_000) {
            assert_eq!(parse(&rfc3339(ms)), Some(ms));
        }
    }

    /// Expected values from `date -u -d @…`.
    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        assert_eq!(rfc3339(951_782_400_123), "2000-02-29T00:00:00.123Z");
        assert_eq!(rfc3339(1_795_532_982_999), "2026-11-24T15:09:42.999Z");
        assert_eq!(rfc3339(i64::MIN), "0000-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(i64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn other_ways_to_write_a_time() {
        assert_eq!(parse("1970-01-01T00:00:01Z"), Some(1000));
        assert_eq!(parse("1970-01-01T00:00:01.123456789+00:00"), Some(1123));
        assert_eq!(parse("2016-12-31T23:59:60Z"), parse("2017-01-01T00:00:00Z"));
        for bad in [
            "",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-01-01 00:00:00Z",
            "1970-02-29T00:00:00Z",
            "1970-13-01T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:60Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00.0123456789Z",
            "1970-01-01T00:00:00+01:00",
            "197a-01-01T00:00:00Z",
            "19700101T000000Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
