//! Object stores by address: `s3://`, `gs://`, `az://`, `http(s)://`.
//!
//! What a store needs to know beside its address (keys, region, endpoint) comes from the environment under the names that its
//! own tools use: `AWS_*`, `GOOGLE_*`, `AZURE_*`.

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreScheme};
use std::sync::Arc;
use url::Url;

/// Schemes of the addresses that are no files.
pub const SCHEMES: [&str; 10] = [
    "s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl", "http", "https",
];

/// Whether this names something in an object store.
#[must_use]
pub fn is_address(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        SCHEMES
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
    })
}

/// The store of an address, and the path in it.
///
/// # Errors
/// An address that names none, or a store whose settings are missing.
pub fn open(address: &str) -> Result<(Arc<dyn ObjectStore>, Path, Url), String> {
    open_with(address, &[])
}

/// [`open`] for long downloads: a request may take as long as its answer comes in, which whoever reads it has to watch.
///
/// # Errors
/// As [`open`].
pub fn open_for_reading(address: &str) -> Result<(Arc<dyn ObjectStore>, Path, Url), String> {
    open_with(address, &[("timeout", "1 day"), ("allow_http", "true")])
}

fn open_with(
    address: &str,
    more: &[(&str, &str)],
) -> Result<(Arc<dyn ObjectStore>, Path, Url), String> {
    let url = Url::parse(address).map_err(|error| format!("{address}: {error}"))?;
    if matches!(
        ObjectStoreScheme::parse(&url),
        Ok((ObjectStoreScheme::Local | ObjectStoreScheme::Memory, _))
    ) {
        return Err(format!("{address} is no object store's address"));
    }
    // http:// was written by the user; for the others AWS_ALLOW_HTTP and its like say so
    let plain = url.scheme() == "http";
    let more = more
        .iter()
        .filter(|(name, _)| plain || *name != "allow_http")
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let settings = std::env::vars()
        .filter(|(name, _)| {
            ["AWS_", "GOOGLE_", "AZURE_"]
                .iter()
                .any(|of| name.starts_with(of))
        })
        .chain(more);
    let (store, path) = object_store::parse_url_opts(&url, settings)
        .map_err(|error| format!("{address}: {error}"))?;
    Ok((Arc::from(store), path, url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_files() {
        for address in [
            "s3://b/k",
            "gs://b",
            "az://c/x",
            "https://h/x.gz",
            "S3://b/k",
        ] {
            assert!(is_address(address), "{address}");
        }
        for file in ["a.jsonl", "/s3/b", "./http:/x", "file:///tmp/x", "-"] {
            assert!(!is_address(file), "{file}");
        }
    }

    #[test]
    fn paths_lie_behind_the_bucket() {
        let (_, path, _) = open("https://example.com/logs/a.jsonl").expect("an address");
        assert_eq!(path.as_ref(), "logs/a.jsonl");
    }
}
