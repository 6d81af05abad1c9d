//! Finds the known name that somebody probably meant.

/// Known names like a name, the nearest first, at most three; none when none is like it.
pub(super) fn like<'k>(name: &str, known: &[&'k str]) -> Vec<&'k str> {
    let close = name.len() / 3 + 1;
    let mut ranked = ranked(name, known);
    ranked.retain(|(far, _)| *far <= close);
    ranked.truncate(3);
    ranked.into_iter().map(|(_, known)| known).collect()
}

/// `; did you mean …?` with the names that are like it, else the nearest however far it is: it
/// shows how names look here.
pub(super) fn hint(name: &str, known: &[&str]) -> String {
    let mut names = like(name, known);
    if names.is_empty() {
        names.extend(ranked(name, known).first().map(|(_, known)| *known));
    }
    match names.as_slice() {
        [] => String::new(),
        [one] => format!("; did you mean `{one}`?"),
        several => format!("; did you mean one of `{}`?", several.join("`, `")),
    }
}

fn ranked<'k>(name: &str, known: &[&'k str]) -> Vec<(usize, &'k str)> {
    let mut ranked: Vec<_> = known
        .iter()
        .map(|known| (distance(name, known), *known))
        .collect();
    ranked.sort();
    ranked
}

/// How far a name is from a known one: 0 for other writing of the same words (`runId`, `lr` for
/// `learning_rate`), 1 when one is a whole word of the other (`train_loss`), else the number of
/// letters to change, add or drop.
fn distance(name: &str, known: &str) -> usize {
    let name = words(name);
    let initials: String = known
        .split('_')
        .filter_map(|word| word.chars().next())
        .collect();
    if name == known || (initials.len() > 1 && name == initials) {
        return 0;
    }
    let has = |long: &str, short: &str| {
        short.len() > 2 && format!("_{long}_").contains(&format!("_{short}_"))
    };
    if has(&name, known) || has(known, &name) {
        return 1;
    }
    levenshtein(&name, known)
}

/// `runId` and `run-id` become `run_id`. Names are cut at 64 letters: no known one is longer.
fn words(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars().take(64) {
        if letter.is_ascii_uppercase() && !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
        out.push(if letter.is_ascii_alphanumeric() {
            letter.to_ascii_lowercase()
        } else {
            '_'
        });
    }
    out
}

fn levenshtein(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (place, right) in b.iter().enumerate() {
            let change = diagonal + usize::from(left != *right);
            diagonal = row[place + 1];
            row[place + 1] = change.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: &str) {
        let known = [
            "loss",
            "learning_rate",
            "run_id",
            "step",
            "tokens",
            "grad_norm",
            "step_time_ms",
        ];
        assert_eq!(hint(name, &known), expected, "{name}");
    }

    #[test]
    fn names_what_was_meant() {
        check("los", "; did you mean `loss`?");
        check("train_loss", "; did you mean `loss`?");
        check("lr", "; did you mean `learning_rate`?");
        check("runId", "; did you mean `run_id`?");
        check("steps", "; did you mean `step`?");
        check("gradient_norm", "; did you mean `grad_norm`?");
        check("xyzzy", "; did you mean `loss`?");
        assert_eq!(hint("x", &[]), "");
    }
}
