//! Names of files to names of runs.

use std::path::Path;

/// What says how a file is stored or written, not what it is about.
const KINDS: [&str; 17] = [
    ".gz", ".zst", ".zstd", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".log",
    ".txt", ".out", ".tar", ".tgz", ".err", ".stdout", ".stderr",
];

/// The name of the run that a file is about, when nothing else says it: the file's name without what says how it is stored,
/// and without the number or date of a rotated log. Where every run's file has the same name, it is that of the folder.
#[must_use]
pub(crate) fn stem(name: &str) -> String {
    if name == "-" {
        return "stdin".into();
    }
    let file = Path::new(name).file_name().map_or_else(
        || name.to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    let mut stem = file.as_str();
    for compressed in [".gz", ".zst", ".zstd"] {
        stem = stem.strip_suffix(compressed).unwrap_or(stem);
    }
    let mut stem = without_rotation(stem);
    for suffix in KINDS {
        stem = stem
            .strip_suffix(suffix)
            .filter(|shorter| !shorter.is_empty())
            .unwrap_or(stem);
    }
    // HELM writes `runs/<suite>/<run>/stats.json`
    if matches!(stem, "stats" | "run_spec")
        && let Some(folder) = Path::new(name).parent().and_then(Path::file_name)
    {
        return folder.to_string_lossy().into_owned();
    }
    stem.to_owned()
}

/// `run.log.1`, `run.log-20261130`, `run.log.2026-11-30`, `run.log.old`: the name that the log had while it was written.
fn without_rotation(name: &str) -> &str {
    let Some(at) = name.rfind(['.', '-']) else {
        return name;
    };
    // a date with hyphens has more than one of them
    let dated = name
        .len()
        .checked_sub("-2026-11-30".len())
        .filter(|at| name.is_char_boundary(*at));
    for at in [Some(at), dated].into_iter().flatten() {
        let (base, mark) = name.split_at(at);
        let is_log = KINDS.iter().any(|kind| base.ends_with(kind));
        if is_log && mark.starts_with(['.', '-']) && is_rotation(&mark[1..]) {
            return base;
        }
    }
    name
}

fn is_rotation(mark: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let date: Vec<&str> = mark.split('-').collect();
    match date.as_slice() {
        ["old" | "bak"] => true,
        // a number of one to three digits, a day, or seconds since 1970
        [one] => digits(one) && (one.len() <= 3 || matches!(one.len(), 8 | 10)),
        [year, month, day] => {
            [year, month, day].into_iter().all(|part| digits(part))
                && (year.len(), month.len(), day.len()) == (4, 2, 2)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems() {
        let of = |name| stem(name);
        assert_eq!(of("/a/run-7.jsonl.gz"), "run-7");
        assert_eq!(of("muon_gpt2-124m_eb5659d0.txt"), "muon_gpt2-124m_eb5659d0");
        assert_eq!(of("v1.2"), "v1.2");
        assert_eq!(
            of("runs/v1/boolq:model=openai_gpt2/stats.json"),
            "boolq:model=openai_gpt2"
        );
        assert_eq!(of("stats.json"), "stats");
        assert_eq!(of("-"), "stdin");
        assert_eq!(of(".log"), ".log");
    }

    #[test]
    fn a_rotated_log_is_the_run_that_it_was() {
        for name in [
            "run.log",
            "run.log.1",
            "run.log.12.gz",
            "run.log-20261130",
            "run.log.2026-11-30.zst",
            "run.log-1764500000",
            "run.jsonl.old",
        ] {
            assert_eq!(stem(name), "run", "{name}");
        }
        // a number without a kind before it is part of the name
        assert_eq!(stem("llama-3.2"), "llama-3.2");
        assert_eq!(stem("seed-12"), "seed-12");
        assert_eq!(stem("run.log.final"), "run.log.final");
    }
}
