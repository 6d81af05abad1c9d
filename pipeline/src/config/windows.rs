//! The windows of a configuration as the refit core takes them: laws read, columns complete, mistakes refused.

use super::ConfigError;
use crate::fit_work;
use cairn_operators::refit::{LawRule, PLAIN, WindowRule};
use cairn_scaling::Law;
use std::collections::BTreeSet;
use std::path::Path;

/// Columns that laws are wont to have, in SQL over `rows`. Any other column is looked for under its own name.
const USUAL: [(&str, &str); 3] = [("n", "parameters"), ("d", "tokens"), ("c", "flops")];

/// Brings each window into the form that the core takes; paths of laws are relative to the configuration's file.
///
/// # Errors
/// The first window that cannot be, and what to do.
pub(super) fn complete(windows: &mut [WindowRule], file: Option<&Path>) -> Result<(), ConfigError> {
    let mut known = BTreeSet::new();
    for window in windows {
        let name = window.name.clone();
        let wrong = |problem: String, remedy: String| ConfigError {
            place: "refit.rules.windows".to_owned(),
            problem: format!("window {name:?}: {problem}"),
            remedy,
        };
        let is_plain_text =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_plain_text) {
            return Err(wrong(
                "that is no name".to_owned(),
                "use lower-case letters, digits, hyphens and underscores".to_owned(),
            ));
        }
        if !known.insert(name.clone()) {
            return Err(wrong(
                "there are two of that name".to_owned(),
                "give one of them another name: fits are kept by it".to_owned(),
            ));
        }
        let step = window.over.check();
        step.map_err(|problem| wrong(problem, "mend `over` there".to_owned()))?;
        read(&mut window.law, file).map_err(|(problem, remedy)| wrong(problem, remedy))?;
        let law = fit_work::law(&window.law)
            .map_err(|problem| wrong(problem, "`cairn laws` lists the built-in ones".to_owned()))?;
        columns(window, &law).map_err(|(problem, remedy)| wrong(problem, remedy))?;
    }
    Ok(())
}

/// Puts a law's file in the place of its path.
fn read(law: &mut LawRule, file: Option<&Path>) -> Result<(), (String, String)> {
    let LawRule::Named(path) = &*law else {
        return Ok(());
    };
    if !path.ends_with(".yaml") && !path.ends_with(".yml") {
        return Ok(());
    }
    let folder = file.and_then(Path::parent).unwrap_or(Path::new(""));
    let place = folder.join(path);
    let problem = |error: String| format!("{}: {error}", place.display());
    let text = std::fs::read_to_string(&place).map_err(|error| {
        let remedy = "name an existing file, relative to the configuration's".to_owned();
        (problem(error.to_string()), remedy)
    })?;
    Law::from_yaml(&text).map_err(|error| (problem(error.to_string()), error.remedy()))?;
    let whole = serde_yaml_ng::from_str(&text)
        .map_err(|error| (problem(error.to_string()), "mend the YAML there".to_owned()))?;
    *law = LawRule::Whole(whole);
    Ok(())
}

/// Gives each column of the law its SQL. The plain window is left as it is: its SQL is that of all fits so far.
fn columns(window: &mut WindowRule, law: &Law) -> Result<(), (String, String)> {
    if window.columns.is_empty() && window.law == LawRule::default() {
        return Ok(());
    }
    let wanted: Vec<&str> = law
        .columns
        .iter()
        .map(|column| &*column.name)
        .chain([&*law.response.name, "weight"])
        .collect();
    if let Some(unknown) = window
        .columns
        .keys()
        .find(|name| !wanted.contains(&name.as_str()))
    {
        let nearest = wanted
            .iter()
            .min_by_key(|known| strsim::damerau_levenshtein(known, unknown))
            .copied()
            .unwrap_or_default();
        return Err((
            format!("the law {} reads no column {unknown:?}", law.name),
            format!("did you mean {nearest}? It reads {}", wanted.join(", ")),
        ));
    }
    for name in wanted.iter().filter(|name| **name != "weight") {
        let usual = USUAL.iter().find(|(known, _)| known == name);
        let sql = usual.map_or(*name, |(_, sql)| sql);
        window
            .columns
            .entry((*name).to_owned())
            .or_insert_with(|| sql.to_owned());
    }
    Ok(())
}

/// Whether the name of a cohort could be taken for that of a window over another one.
pub(super) fn is_ambiguous(windows: &[WindowRule], cohort: &str) -> bool {
    windows
        .iter()
        .filter(|window| window.name != PLAIN)
        .any(|window| cohort.ends_with(&format!("@{}", window.name)))
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn load(yaml: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().expect("a folder");
        let law = "name: line\ntitle: A line\nformula: e + a / c^alpha\nreference: none\ncolumns:\n  - {name: c, unit: FLOP}\nresponse: {name: loss, unit: nats, scale: log}\nparameters:\n  - {name: e, bounds: [0, 10]}\n  - {name: a, scale: log, bounds: [1.0e-9, 1.0e9]}\n  - {name: alpha, bounds: [0, 5]}\n";
        std::fs::write(folder.path().join("line.yaml"), law).expect("written");
        let file = folder.path().join("cairn.yaml");
        std::fs::write(&file, yaml).expect("written");
        Config::load(Some(&file), [], &[])
    }

    #[test]
    fn the_plain_window_stays_as_it_is() {
        let config = load("refit:\n  rules:\n    debounce_ms: 1\n").expect("valid");
        assert_eq!(config.refit.rules.windows, [WindowRule::default()]);
    }

    #[test]
    fn a_law_is_read_from_beside_the_configuration_and_gets_its_columns() {
        let config = load(
            "refit:\n  rules:\n    windows:\n      - name: weekly\n        law: line.yaml\n        over: {kind: tumbling_time, ms: 604800000}\n        columns: {loss: loss_train}\n",
        )
        .expect("valid");
        let window = &config.refit.rules.windows[0];
        assert_eq!(window.law.name(), "line");
        let columns: Vec<_> = window.columns.iter().collect();
        let expected =
            [("c", "flops"), ("loss", "loss_train")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(
            columns,
            expected.iter().map(|(a, b)| (a, b)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_remedy() {
        for (window, words) in [
            ("{name: Weekly}", "lower-case"),
            ("{law: hofman}", "hoffmann"),
            ("{law: missing.yaml}", "existing file"),
            ("{columns: {m: width}}", "did you mean n"),
            ("{over: {kind: sliding_count, rows: 2, step: 3}}", "step"),
            ("{}\n      - {}", "another name"),
        ] {
            let yaml = format!("refit:\n  rules:\n    windows:\n      - {window}\n");
            let error = load(&yaml).expect_err(window);
            assert_eq!(error.place, "refit.rules.windows");
            assert!(error.to_string().contains(words), "{window}: {error}");
        }
    }
}
