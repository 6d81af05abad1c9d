//! One writer for a directory, as long as its process lives.

use super::Fault;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// A directory that only its holder writes to.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the directory; none where somebody else has it. The system lets go of it when the process ends.
    ///
    /// # Errors
    /// A directory that cannot be written.
    pub(super) fn take(directory: &Path) -> Result<Option<Self>, Fault> {
        let path = directory.join("writer.lock");
        let failed = |path: PathBuf, error: std::io::Error| {
            Fault::Broken(format!("{}: {error}", path.display()))
        };
        std::fs::create_dir_all(directory).map_err(|error| failed(directory.into(), error))?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| failed(path.clone(), error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(path, error)),
        }
    }
}
