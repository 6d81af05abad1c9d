//! Files that commands read and write, and what is said where that fails.

use super::Failure;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// A file or folder that cannot be written.
pub(super) fn unwritable(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(
        "io",
        2,
        why.to_string(),
        path.display().to_string(),
        "name a place that can be written",
    )
}

/// Writes a file.
///
/// # Errors
/// It cannot be written.
pub(super) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Failure> {
    std::fs::write(path, content).map_err(|error| unwritable(path, error))
}

/// Writes a value as one line of JSON.
///
/// # Errors
/// It cannot be written.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| unwritable(path, error))?;
    write(path, text + "\n")
}

/// Makes a folder where there is none.
///
/// # Errors
/// It cannot be made.
pub(super) fn folder(path: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(path).map_err(|error| unwritable(path, error))
}

/// Reads a value that [`write_json`] wrote; `code` and `remedy` are for a file that holds something else.
///
/// # Errors
/// There is no such file, or it holds something else.
pub(super) fn read_json<T: DeserializeOwned>(
    path: &Path,
    code: &'static str,
    remedy: &str,
) -> Result<T, Failure> {
    let place = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new("io", 2, error.to_string(), &place, remedy))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::new(code, 2, error.to_string(), &place, remedy))
}
