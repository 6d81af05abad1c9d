//! Lists on the command line: `n=X,d=f(a, b)`.

use super::{Unusable, unusable};

/// Splits `n=X,d=f(a, b),loss=Y` into names and what they stand for.
///
/// # Errors
/// A part has no `=`, or a name comes twice.
pub fn assignments(text: &str) -> Result<Vec<(String, String)>, Unusable> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for part in parts(text) {
        let wrong = |message: String| {
            unusable(
                "usage",
                message,
                part,
                "write NAME=COLUMN,NAME=EXPRESSION,…",
            )
        };
        let (name, value) = part
            .split_once('=')
            .ok_or_else(|| wrong("it has no =".to_owned()))?;
        let name = name.trim().to_owned();
        if pairs.iter().any(|(known, _)| *known == name) {
            return Err(wrong(format!("{name} comes twice")));
        }
        pairs.push((name, value.trim().to_owned()));
    }
    Ok(pairs)
}

/// Cuts a list at the commas that stand in no bracket and no quote; empty parts are left out.
#[must_use]
pub fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth, mut quote) = (0, 0_i32, None);
    for (at, one) in text.char_indices() {
        match (quote, one) {
            (Some(open), _) if one == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"' | '`') => quote = Some(one),
            (None, '(' | '[') => depth += 1,
            (None, ')' | ']') => depth -= 1,
            (None, ',') if depth <= 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    let trimmed = parts.into_iter().map(str::trim);
    trimmed.filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_cut_outside_brackets_and_quotes() {
        let pairs = assignments("n=Model Size,d=coalesce(a, b), loss=\"x,y\"").expect("pairs");
        let expected = [
            ("n", "Model Size"),
            ("d", "coalesce(a, b)"),
            ("loss", "\"x,y\""),
        ];
        assert!(
            pairs
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .eq(expected)
        );
        assert!(assignments("n").is_err() && assignments("n=a,n=b").is_err());
    }
}
