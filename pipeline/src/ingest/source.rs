//! Where bytes come from: files, globs, directories, standard input, object stores; plain, gzip or zstd, told by their first
//! bytes.
//!
//! Streaming: whatever the size of a source, this holds one buffer. A source that ends in the middle of its compression
//! gives what could be read and then says at which byte it broke. A [`Place`] is what lists and opens names: the file system
//! ([`Files`]), or that and object stores ([`Everywhere`]).

mod content;
mod glob;
mod growing;
mod names;
mod objects;
mod rewind;
mod spool;

pub use content::{Broken, Content, LINE_BYTES_MAX, Line, Lines, Storage, is_wait};
pub(crate) use growing::{FileId, Growing, Patience, Wait, id as file_id};
pub(crate) use names::stem;
pub(crate) use rewind::Rewind;
pub use spool::Spool;

use super::IngestError;
use super::format::Refusal;
use crate::objects::is_address;
use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A source by name, as the user or a listing wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Path or URI; `-` is standard input; what lies in an archive is `archive!member`.
    pub name: String,
    /// True where the user named it, false where a directory, a glob or an archive did.
    pub named: bool,
    /// Path within its archive.
    pub member: Option<String>,
}

impl Found {
    /// What the user named.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            named: true,
            member: None,
        }
    }

    /// The path that says what the source is about.
    #[must_use]
    pub fn path(&self) -> &str {
        self.member.as_deref().unwrap_or(&self.name)
    }
}

/// What lists and opens sources.
pub trait Place {
    /// Everything that an argument stands for, in order.
    ///
    /// # Errors
    /// There is nothing, or the place cannot be reached.
    fn list(&self, argument: &str) -> Result<Vec<Found>, IngestError>;

    /// The raw bytes of a source.
    ///
    /// # Errors
    /// It cannot be opened.
    fn open(&self, name: &str) -> io::Result<Box<dyn Read>>;

    /// How many bytes a source has, where that is known before it is read.
    fn size(&self, _name: &str) -> Option<u64> {
        None
    }
}

/// The file system, standard input, and object stores by their addresses.
#[derive(Default)]
pub struct Everywhere {
    objects: OnceCell<objects::Objects>,
}

impl Everywhere {
    fn objects(&self) -> io::Result<&objects::Objects> {
        match self.objects.get() {
            Some(objects) => Ok(objects),
            None => {
                let made = objects::Objects::new()?;
                Ok(self.objects.get_or_init(|| made))
            }
        }
    }
}

impl Place for Everywhere {
    fn list(&self, argument: &str) -> Result<Vec<Found>, IngestError> {
        if !is_address(argument) {
            return Files.list(argument);
        }
        let unreadable = |error| IngestError::Unreadable {
            path: argument.to_owned(),
            error,
        };
        self.objects().map_err(unreadable)?.list(argument)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read>> {
        if is_address(name) {
            self.objects()?.open(name)
        } else {
            Files.open(name)
        }
    }

    fn size(&self, name: &str) -> Option<u64> {
        if is_address(name) {
            self.objects.get().and_then(|objects| objects.size(name))
        } else {
            Files.size(name)
        }
    }
}

/// The file system and standard input.
pub struct Files;

impl Place for Files {
    fn list(&self, argument: &str) -> Result<Vec<Found>, IngestError> {
        if argument == "-" {
            return Ok(vec![Found::named(argument)]);
        }
        let refused = |why: String| Err(IngestError::from(Refusal(why)));
        let argument = argument.strip_prefix("file://").unwrap_or(argument);
        if argument.contains("://") {
            return refused(format!(
                "{argument}: there is no such kind of address; files, s3://, gs://, az:// and http(s):// can be read"
            ));
        }
        let path = Path::new(argument);
        if path.is_dir() {
            let mut found = Vec::new();
            walk(path, &mut found).map_err(|error| IngestError::Unreadable {
                path: argument.to_owned(),
                error,
            })?;
            if found.is_empty() {
                return refused(format!(
                    "{argument} is a directory without files; name the one that holds the logs"
                ));
            }
            return Ok(found.into_iter().map(|path| of(&path, false)).collect());
        }
        if path.exists() {
            return Ok(vec![of(path, true)]);
        }
        if argument.contains(['*', '?', '[']) {
            let found = glob::expand(argument);
            if found.is_empty() {
                return refused(format!(
                    "{argument} matches no file; check the pattern and the directory"
                ));
            }
            return Ok(found.iter().map(|path| of(path, false)).collect());
        }
        refused(format!(
            "{argument} does not exist; name a file, a directory, a glob, an address or -"
        ))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read>> {
        if name == "-" {
            Ok(Box::new(io::stdin().lock()))
        } else {
            Ok(Box::new(File::open(name)?))
        }
    }

    fn size(&self, name: &str) -> Option<u64> {
        let meta = std::fs::metadata(name).ok()?;
        meta.is_file().then_some(meta.len())
    }
}

fn of(path: &Path, named: bool) -> Found {
    Found {
        name: path.to_string_lossy().into_owned(),
        named,
        member: None,
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
