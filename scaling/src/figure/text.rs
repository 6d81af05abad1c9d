//! Labels: plain words with `^{..}` for superscripts and `_{..}` for subscripts.

/// How a stretch of a label stands on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Base,
    Super,
    Sub,
}

/// A stretch of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub text: String,
    pub level: Level,
}

/// Splits a label. A brace that is never closed is no markup.
pub(crate) fn parse(label: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut push = |text: &str, level: Level| {
        if text.is_empty() {
            return;
        }
        match spans.last_mut() {
            Some(last) if last.level == level => last.text.push_str(text),
            _ => spans.push(Span {
                text: text.to_owned(),
                level,
            }),
        }
    };
    let mut rest = label;
    while let Some(at) = rest.find("^{").into_iter().chain(rest.find("_{")).min() {
        let Some(end) = rest[at..].find('}') else {
            break;
        };
        let level = if rest[at..].starts_with('^') {
            Level::Super
        } else {
            Level::Sub
        };
        push(&rest[..at], Level::Base);
        push(&rest[at + 2..at + end], level);
        rest = &rest[at + end + 1..];
    }
    push(rest, Level::Base);
    spans
}

const BASE: &str = "0123456789+-−n";
const SUPER: &str = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻ⁿ";
const SUB: &str = "₀₁₂₃₄₅₆₇₈₉₊₋₋ₙ";

/// A label without markup, for terminals and descriptions: raised and lowered digits where Unicode has them.
pub(crate) fn plain(label: &str) -> String {
    let mut text = String::new();
    for span in parse(label) {
        let (alphabet, sign) = match span.level {
            Level::Base => {
                text.push_str(&span.text);
                continue;
            }
            Level::Super => (SUPER, '^'),
            Level::Sub => (SUB, '_'),
        };
        let small: Option<String> = span
            .text
            .chars()
            .map(|c| {
                let at = BASE.chars().position(|base| base == c)?;
                alphabet.chars().nth(at)
            })
            .collect();
        match small {
            Some(small) => text.push_str(&small),
            None => {
                text.push(sign);
                text.push_str(&span.text);
            }
        }
    }
    text
}

/// `label (unit)`, with the power of ten that its numbers are to be multiplied with.
pub(crate) fn axis_title(label: &str, unit: &str, exponent: i32) -> String {
    let power = match exponent {
        0 => String::new(),
        exponent => format!("10^{{{}}}", minus(&exponent.to_string())),
    };
    let inside = match (power.is_empty(), unit.is_empty()) {
        (true, true) => return label.to_owned(),
        (true, false) => unit.to_owned(),
        (false, true) => power,
        (false, false) => format!("{power} {unit}"),
    };
    if label.is_empty() {
        inside
    } else {
        format!("{label} ({inside})")
    }
}

/// A number with the sign that typesetters use.
pub(crate) fn minus(number: &str) -> String {
    number.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_spans_and_plain_text() {
        let spans = parse("N_{opt} = 10^{20}");
        let levels: Vec<(&str, Level)> = spans.iter().map(|s| (s.text.as_str(), s.level)).collect();
        assert_eq!(
            levels,
            [
                ("N", Level::Base),
                ("opt", Level::Sub),
                (" = 10", Level::Base),
                ("20", Level::Super)
            ]
        );
        assert_eq!(plain("N_{opt} = 10^{−20} ^{open"), "N_opt = 10⁻²⁰ ^{open");
        assert_eq!(
            plain(&axis_title("Tokens", "tokens", 9)),
            "Tokens (10⁹ tokens)"
        );
    }
}
