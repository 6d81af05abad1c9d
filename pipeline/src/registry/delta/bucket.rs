//! Delta's log in an object store: a commit is an object that is put only where there is none of its name yet, which S3 (since
//! 2024), Google's and Azure's stores promise. Delta's own crates for these stores would bring their clients along; ours is `object_store`.

use crate::registry::Fault;
use deltalake::logstore::{
    LogStore, LogStoreFactory, ObjectStoreRef, StorageConfig, default_logstore, logstore_factories,
};
use std::sync::Arc;
use url::Url;

struct PutIfAbsent;

impl LogStoreFactory for PutIfAbsent {
    fn with_options(
        &self,
        prefixed_store: ObjectStoreRef,
        root_store: ObjectStoreRef,
        location: &Url,
        options: &StorageConfig,
    ) -> deltalake::DeltaResult<Arc<dyn LogStore>> {
        Ok(default_logstore(
            prefixed_store,
            root_store,
            location,
            options,
        ))
    }
}

/// Lets Delta keep its log under addresses of this scheme.
///
/// # Errors
/// Plain web servers, which promise nothing of the kind.
pub(super) fn admit_scheme(address: &Url) -> Result<(), Fault> {
    let scheme = address.scheme();
    if scheme.starts_with("http") {
        return Err(Fault::Broken(format!(
            "{address}: a registry cannot be written over {scheme}; name the store itself, s3://, gs:// or az:// (AWS_ENDPOINT and its like say where it is)"
        )));
    }
    let known =
        Url::parse(&format!("{scheme}://")).map_err(|error| Fault::Broken(error.to_string()))?;
    logstore_factories()
        .entry(known)
        .or_insert_with(|| Arc::new(PutIfAbsent));
    Ok(())
}
