//! Numbers as people write them in tables: `1.3B`, `20B tokens`, `1,024`, `45.2 %`.
//!
//! A column is read this way only when it is text and every cell can be read. Where some cells name a scale and others
//! leave it out (`1.3B` beside `7`), nobody can tell what the others mean, and the column is refused.

/// What the column says besides its digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// Nothing: `1024`.
    None,
    /// A power of a thousand: `1.3B`.
    Scale,
    /// `%`.
    Percent,
}

/// What things are counted in where they are counted, not measured: their names change no number.
const COUNTED: [&str; 20] = [
    "params",
    "param",
    "parameters",
    "parameter",
    "tokens",
    "token",
    "tok",
    "toks",
    "flops",
    "flop",
    "examples",
    "samples",
    "steps",
    "step",
    "experts",
    "layers",
    "sequences",
    "words",
    "bytes",
    "runs",
];

/// How a table writes that there is nothing.
const NOTHING: [&str; 9] = ["", "n/a", "na", "nan", "none", "null", "-", "–", "—"];

/// The size above which a cell without a scale is written out in full, beside others that name one.
const WRITTEN_OUT_MIN: f64 = 1e4;

/// A cell as a number; NaN where it says that there is nothing, `None` where it is neither.
#[must_use]
pub fn amount(cell: &str) -> Option<f64> {
    marked(cell).map(|(value, _)| value)
}

/// The cells of a column as numbers.
///
/// # Errors
/// A sentence: which row holds what.
pub fn amounts<'a>(cells: impl Iterator<Item = Option<&'a str>>) -> Result<Vec<f64>, String> {
    let mut values = Vec::new();
    // the first cell of each kind: its row and text
    let mut first: [Option<(usize, &str)>; 3] = [None; 3];
    for (row, cell) in cells.enumerate() {
        let Some(cell) = cell else {
            values.push(f64::NAN);
            continue;
        };
        let (value, mark) = marked(cell).ok_or_else(|| {
            format!(
                "row {} holds `{}`, which is no number",
                row + 1,
                cell.trim()
            )
        })?;
        let written_out = mark == Mark::None && (value == 0.0 || value.abs() >= WRITTEN_OUT_MIN);
        if !value.is_nan() && !written_out {
            first[mark as usize].get_or_insert((row + 1, cell.trim()));
        }
        values.push(value);
    }
    let mut marks = first.iter().flatten();
    match (marks.next(), marks.next()) {
        (Some((one_row, one)), Some((other_row, other))) => Err(format!(
            "row {one_row} holds `{one}` and row {other_row} holds `{other}`: it is not said that they count in the same unit"
        )),
        _ => Ok(values),
    }
}

fn marked(cell: &str) -> Option<(f64, Mark)> {
    let cell = cell.trim();
    if NOTHING.contains(&cell.to_lowercase().as_str()) {
        return Some((f64::NAN, Mark::None));
    }
    let cell = cell.trim_start_matches(['~', '≈', '$']).trim_start();
    let end = digits(cell);
    let value = ungrouped(&cell[..end])?.parse::<f64>().ok()?;
    let rest = cell[end..].trim();
    if rest == "%" {
        return Some((value / 100.0, Mark::Percent));
    }
    let mut words = rest.split_whitespace();
    let (factor, mark) = match words.clone().next().and_then(scale) {
        Some(factor) => {
            words.next();
            (factor, Mark::Scale)
        }
        None => (1.0, Mark::None),
    };
    match (words.next(), words.next()) {
        (None, _) => Some((value * factor, mark)),
        (Some(unit), None) if COUNTED.contains(&unit.to_lowercase().as_str()) => {
            Some((value * factor, mark))
        }
        _ => None,
    }
}

/// Where the number at the beginning ends.
fn digits(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut end = 0;
    while let Some(byte) = bytes.get(end) {
        let exponent = matches!(byte, b'e' | b'E')
            && end > 0
            && match bytes.get(end + 1) {
                Some(b'+' | b'-') => bytes.get(end + 2).is_some_and(u8::is_ascii_digit),
                next => next.is_some_and(u8::is_ascii_digit),
            };
        let signed =
            matches!(byte, b'+' | b'-') && (end == 0 || matches!(bytes[end - 1], b'e' | b'E'));
        if !(byte.is_ascii_digit() || matches!(byte, b'.' | b',' | b'_') || exponent || signed) {
            break;
        }
        end += 1;
    }
    end
}

/// Without its thousands separators; `None` where the commas group no thousands, as in `3,14`.
fn ungrouped(number: &str) -> Option<String> {
    let whole = number.split(['.', 'e', 'E']).next().unwrap_or(number);
    let mut groups = whole.split([',', '_']);
    let first = groups
        .next()
        .unwrap_or_default()
        .trim_start_matches(['+', '-']);
    let mut rest = groups.peekable();
    let grouped = rest.peek().is_some();
    if grouped && (first.is_empty() || first.len() > 3) || rest.any(|group| group.len() != 3) {
        return None;
    }
    Some(number.replace([',', '_'], ""))
}

/// The power of a thousand that a word stands for. A small `m` is a million here: nobody counts parameters in thousandths.
fn scale(word: &str) -> Option<f64> {
    match word.to_lowercase().as_str() {
        "k" | "thousand" => Some(1e3),
        "m" | "mn" | "mio" | "million" => Some(1e6),
        "b" | "bn" | "g" | "billion" => Some(1e9),
        "t" | "tn" | "trillion" => Some(1e12),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_published_tables_are_numbers() {
        for (cell, expected) in [
            ("70M", 7e7),
            ("125m", 1.25e8),
            (" 1.3B ", 1.3e9),
            ("20B tokens", 2e10),
            ("1.4T Tokens", 1.4e12),
            ("300 billion", 3e11),
            ("2.5e20 FLOPs", 2.5e20),
            ("6E-3", 6e-3),
            ("1,024", 1024.0),
            ("-1_000_000.5", -1_000_000.5),
            ("45.2%", 0.452),
            ("~7B", 7e9),
            ("512 experts", 512.0),
        ] {
            let value = amount(cell).unwrap_or(f64::NAN);
            assert!((value / expected - 1.0).abs() < 1e-12, "{cell}: {value}");
        }
        assert!(
            ["n/a", "-", " "]
                .iter()
                .all(|cell| amount(cell).is_some_and(f64::is_nan))
        );
        for cell in [
            "3,14", "1,2345", "12 ms", "7B-chat", "B", "1.2.3", "8x7B", "1e", "4 GPUs",
        ] {
            assert_eq!(amount(cell), None, "{cell}");
        }
    }

    #[test]
    fn a_column_counts_in_one_unit_or_is_refused() {
        let read = |cells: &[&'static str]| amounts(cells.iter().copied().map(Some));
        assert_eq!(
            read(&["1.3B", "130000000", "0"]),
            Ok(vec![1.3e9, 1.3e8, 0.0])
        );
        let error = read(&["1.3B", "7"]).expect_err("seven of what");
        assert!(error.contains("row 1") && error.contains("`7`"), "{error}");
        assert!(read(&["45%", "0.5"]).is_err() && read(&["45%", "3M"]).is_err());
        let error = read(&["1B", "2B", "small"]).expect_err("no number");
        assert_eq!(error, "row 3 holds `small`, which is no number");
    }
}
