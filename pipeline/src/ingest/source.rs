//! Where bytes come from: files, globs, directories, standard input; plain, gzip or zstd, told by their first bytes.
//!
//! Streaming: whatever the size of a source, this holds one buffer. A source that ends in the middle of its compression
//! gives what could be read and then says at which byte it broke. A [`Place`] is what lists and opens names; the file
//! system is one, an object store will be another.

mod content;
mod glob;

pub use content::{Broken, Content, LINE_BYTES_MAX, Line, Lines, Storage};

use super::format::Refusal;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A source by name, as the user or a listing wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Path or URI; `-` is standard input.
    pub name: String,
    /// True where the user named it, false where a directory or a glob did.
    pub named: bool,
}

/// What lists and opens sources.
pub trait Place {
    /// Everything that an argument stands for, in order.
    ///
    /// # Errors
    /// There is nothing, or the place cannot be reached.
    fn list(&self, argument: &str) -> Result<Vec<Found>, Refusal>;

    /// The raw bytes of a source.
    ///
    /// # Errors
    /// It cannot be opened.
    fn open(&self, name: &str) -> io::Result<Box<dyn Read>>;
}

/// The file system and standard input.
pub struct Files;

impl Place for Files {
    fn list(&self, argument: &str) -> Result<Vec<Found>, Refusal> {
        if argument == "-" {
            return Ok(vec![Found {
                name: argument.into(),
                named: true,
            }]);
        }
        let argument = argument.strip_prefix("file://").unwrap_or(argument);
        if argument.contains("://") {
            return Err(Refusal(format!(
                "{argument}: only files can be read so far; download it, or pipe it into `ingest -`"
            )));
        }
        let path = Path::new(argument);
        if path.is_dir() {
            let mut found = Vec::new();
            walk(path, &mut found).map_err(|error| Refusal(format!("{argument}: {error}")))?;
            if found.is_empty() {
                return Err(Refusal(format!(
                    "{argument} is a directory without files; name the one that holds the logs"
                )));
            }
            return Ok(found.into_iter().map(|path| of(&path, false)).collect());
        }
        if path.exists() {
            return Ok(vec![of(path, true)]);
        }
        if argument.contains(['*', '?', '[']) {
            let found = glob::expand(argument);
            if found.is_empty() {
                return Err(Refusal(format!(
                    "{argument} matches no file; check the pattern and the directory"
                )));
            }
            return Ok(found.iter().map(|path| of(path, false)).collect());
        }
        Err(Refusal(format!(
            "{argument} does not exist; name a file, a directory, a glob or -"
        )))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read>> {
        if name == "-" {
            Ok(Box::new(io::stdin().lock()))
        } else {
            Ok(Box::new(File::open(name)?))
        }
    }
}

fn of(path: &Path, named: bool) -> Found {
    Found {
        name: path.to_string_lossy().into_owned(),
        named,
    }
}

/// All files below a directory, sorted; hidden ones are left out, and links to directories (they may lead back).
fn walk(directory: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = std::fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), found)?;
        } else if entry.path().is_file() {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// The name of the run that a file is about, when nothing else says it: the file's name without what says how it is stored.
/// Where every run's file has the same name, it is that of the folder.
#[must_use]
pub fn stem(name: &str) -> String {
    if name == "-" {
        return "stdin".into();
    }
    let mut stem = Path::new(name).file_name().map_or_else(
        || name.to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    for suffix in [
        ".gz", ".zst", ".zstd", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".log", ".txt",
        ".out",
    ] {
        if let Some(shorter) = stem
            .strip_suffix(suffix)
            .filter(|shorter| !shorter.is_empty())
        {
            stem.truncate(shorter.len());
        }
    }
    // HELM writes `runs/<suite>/<run>/stats.json`
    if matches!(stem.as_str(), "stats" | "run_spec")
        && let Some(folder) = Path::new(name).parent().and_then(Path::file_name)
    {
        return folder.to_string_lossy().into_owned();
    }
    stem
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
    }
}
