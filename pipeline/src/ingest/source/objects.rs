//! Objects as sources: `s3://`, `gs://`, `az://`, and single files behind `http(s)://`.
//!
//! An object is streamed: a task of its own downloads a few megabytes ahead of the parser and holds no more. A download that
//! breaks or stalls goes on at the byte where it stood, and only if the object is still the same one. What a store needs
//! beside its address comes from the environment, see `crate::objects`.
//!
//! What it does not do: write, and list what lies behind `http(s)://`, which has no listing.

use super::{Found, glob};
use crate::ingest::IngestError;
use crate::objects;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Pieces that are downloaded ahead: as a network hands them out (16 KiB to 64 KiB) a few megabytes.
const AHEAD_PIECES_MAX: usize = 64;
/// How often a download is taken up again without a byte in between.
const RETRIES_MAX: u32 = 6;
/// First pause before that; it doubles.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How long a download may bring nothing before it is taken up again.
const STALL: Duration = Duration::from_secs(30);
/// How long a listing or the first word about an object may take, retries and the search for credentials included.
const ASK: Duration = Duration::from_secs(60);
/// Objects that one argument may stand for.
const OBJECTS_MAX: usize = 100_000;

/// The object stores.
pub(super) struct Objects {
    runtime: tokio::runtime::Runtime,
    /// What was listed, by its name.
    found: RefCell<BTreeMap<String, Object>>,
}

#[derive(Clone)]
struct Object {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl Objects {
    /// Nothing was asked yet.
    pub(super) fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("cairn-objects")
            .enable_all()
            .build()?;
        Ok(Self {
            runtime,
            found: RefCell::default(),
        })
    }

    /// Everything that an address stands for, by name.
    pub(super) fn list(&self, address: &str) -> Result<Vec<Found>, IngestError> {
        let refused = |why: String| Err(IngestError::Refused(why));
        let web = address.starts_with("http");
        if web && address.contains('?') {
            return refused(format!(
                "{address}: what stands behind the question mark would be lost; download it, or pipe it into `ingest -`"
            ));
        }
        let globbed = address.find(['*', '?', '[']);
        let (base, pattern) = match globbed {
            Some(_) if web => {
                return refused(format!(
                    "{address}: http has no listing that a pattern could be held against; name each file"
                ));
            }
            Some(at) => address.split_at(address[..at].rfind('/').map_or(0, |slash| slash + 1)),
            None => (address, ""),
        };
        let (store, path, _) = objects::open_for_reading(base).map_err(IngestError::Refused)?;
        if globbed.is_some() {
            let pattern: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
            let found = self.below(address, base, &store, &path, &|parts| {
                glob::matches_path(&pattern, parts)
            })?;
            if found.is_empty() {
                return refused(format!(
                    "{address} matches no object; check the pattern and the bucket"
                ));
            }
            return Ok(found);
        }
        if !path.as_ref().is_empty() && !address.ends_with('/') {
            match self.ask(address, store.head(&path)) {
                Ok(meta) => {
                    self.keep(address.to_owned(), &store, meta);
                    return Ok(vec![Found::named(address)]);
                }
                Err(IngestError::Unreadable { error, .. })
                    if error.kind() == io::ErrorKind::NotFound && !web => {}
                Err(error) => return Err(error),
            }
        }
        if web {
            return refused(format!(
                "{address} is a directory, and http has no listing; name each file"
            ));
        }
        let base = format!("{}/", address.trim_end_matches('/'));
        let visible = |parts: &[&str]| parts.iter().all(|part| !part.starts_with('.'));
        let found = self.below(address, &base, &store, &path, &visible)?;
        if found.is_empty() {
            return refused(format!(
                "{address} does not exist: there is no such object and none below it; check bucket and key"
            ));
        }
        Ok(found)
    }

    /// The objects below a prefix that are wanted, sorted by name.
    fn below(
        &self,
        address: &str,
        base: &str,
        store: &Arc<dyn ObjectStore>,
        prefix: &Path,
        wanted: &dyn Fn(&[&str]) -> bool,
    ) -> Result<Vec<Found>, IngestError> {
        let below = (!prefix.as_ref().is_empty()).then_some(prefix);
        let mut listed: Vec<(String, ObjectMeta)> = Vec::new();
        let listing = async {
            let mut stream = store.list(below);
            while let Some(meta) = stream.try_next().await? {
                let Some(parts) = meta.location.prefix_match(prefix) else {
                    continue;
                };
                let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                // an object without a name below the prefix is the mark that some tools leave for a folder
                if parts.is_empty() || !wanted(&parts) {
                    continue;
                }
                if listed.len() == OBJECTS_MAX {
                    return Ok(false);
                }
                listed.push((format!("{base}{}", parts.join("/")), meta));
            }
            Ok::<bool, Error>(true)
        };
        if !self.ask(address, listing)? {
            return Err(IngestError::Refused(format!(
                "{address} stands for more than {OBJECTS_MAX} objects; name a longer prefix or a pattern"
            )));
        }
        listed.sort_by(|(one, _), (other, _)| one.cmp(other));
        let found = listed.into_iter().map(|(name, meta)| {
            self.keep(name.clone(), store, meta);
            Found {
                name,
                named: false,
                member: None,
            }
        });
        Ok(found.collect())
    }

    fn keep(&self, name: String, store: &Arc<dyn ObjectStore>, meta: ObjectMeta) {
        let object = Object {
            store: store.clone(),
            path: meta.location,
            size: meta.size,
        };
        self.found.borrow_mut().insert(name, object);
    }

    fn ask<T>(
        &self,
        address: &str,
        question: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, IngestError> {
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(ASK, question).await });
        let error = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => said(&error),
            Err(_) => io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "no answer within {} s; endpoint, region and credentials come from AWS_*, GOOGLE_* and AZURE_* (AWS_SKIP_SIGNATURE=true for a public bucket)",
                    ASK.as_secs()
                ),
            ),
        };
        Err(IngestError::Unreadable {
            path: address.to_owned(),
            error,
        })
    }

    /// Size of what was listed.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        self.found.borrow().get(name).map(|object| object.size)
    }

    /// Begins to download.
    pub(super) fn open(&self, name: &str) -> io::Result<Box<dyn Read>> {
        let known = self.found.borrow().get(name).cloned();
        let (store, path) = match known {
            Some(object) => (object.store, object.path),
            None => {
                let (store, path, _) = objects::open_for_reading(name).map_err(io::Error::other)?;
                (store, path)
            }
        };
        let (sender, pieces) = mpsc::channel(AHEAD_PIECES_MAX);
        self.runtime.spawn(async move {
            if let Err(error) = download(store, path, &sender).await {
                drop(sender.send(Err(error)).await);
            }
        });
        Ok(Box::new(Download {
            pieces,
            piece: Vec::new().into(),
            failed: None,
        }))
    }
}

/// Hands an object out piece by piece; returns when all of it, or nobody is left who takes it.
async fn download(
    store: Arc<dyn ObjectStore>,
    path: Path,
    pieces: &mpsc::Sender<io::Result<Piece>>,
) -> io::Result<()> {
    let mut offset = 0;
    let mut first: Option<ObjectMeta> = None;
    let mut failures = 0;
    loop {
        let options = GetOptions {
            range: (offset > 0).then_some(GetRange::Offset(offset)),
            ..GetOptions::default()
        };
        let why = match tokio::time::timeout(ASK, store.get_opts(&path, options)).await {
            Ok(Ok(result)) => {
                let meta = first.get_or_insert_with(|| result.meta.clone());
                if !is_same(meta, &result.meta) {
                    return Err(io::Error::other(
                        "the object was written anew while it was read; what was committed stays, the same command takes the new one",
                    ));
                }
                let size = meta.size;
                let mut stream = result.into_stream();
                loop {
                    match tokio::time::timeout(STALL, stream.next()).await {
                        Ok(Some(Ok(piece))) => {
                            offset += piece.len() as u64;
                            failures = 0;
                            if pieces.send(Ok(piece)).await.is_err() {
                                return Ok(());
                            }
                        }
                        Ok(None) if offset >= size => return Ok(()),
                        Ok(None) => {
                            break io::Error::new(
                                io::ErrorKind::UnexpectedEof,
                                format!("the download ended at byte {offset} of {size}"),
                            );
                        }
                        Ok(Some(Err(error))) => break said(&error),
                        Err(_) => {
                            break io::Error::new(
                                io::ErrorKind::TimedOut,
                                format!("nothing came for {} s", STALL.as_secs()),
                            );
                        }
                    }
                }
            }
            Ok(Err(error)) if is_final(&error) => return Err(said(&error)),
            Ok(Err(error)) => said(&error),
            Err(_) => io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer within {} s", ASK.as_secs()),
            ),
        };
        failures += 1;
        if failures > RETRIES_MAX {
            return Err(why);
        }
        tokio::time::sleep(RETRY_PAUSE * 2_u32.pow(failures - 1)).await;
    }
}

fn is_same(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    one.size == other.size
        && match (&one.e_tag, &other.e_tag) {
            (Some(one), Some(other)) => one == other,
            _ => one.last_modified == other.last_modified,
        }
}

/// Asking again would bring the same.
fn is_final(error: &Error) -> bool {
    matches!(
        error,
        Error::NotFound { .. }
            | Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::InvalidPath { .. }
            | Error::UnknownConfigurationKey { .. }
    )
}

fn said(error: &Error) -> io::Error {
    let kind = match error {
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            io::ErrorKind::PermissionDenied
        }
        _ => io::ErrorKind::Other,
    };
    let text = error.to_string();
    // one line: servers answer with pages
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = text.chars().take(500).collect();
    io::Error::new(kind, short)
}

/// What a network hands out at once.
type Piece = axum::body::Bytes;

struct Download {
    pieces: mpsc::Receiver<io::Result<Piece>>,
    piece: Piece,
    /// Said again to whoever asks again.
    failed: Option<(io::ErrorKind, String)>,
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some((kind, text)) = &self.failed {
            return Err(io::Error::new(*kind, text.clone()));
        }
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(error)) => {
                    self.failed = Some((error.kind(), error.to_string()));
                    return Err(error);
                }
            }
        }
        let count = self.piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}
