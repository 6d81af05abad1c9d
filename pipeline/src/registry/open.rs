//! The store that the configuration names.

use super::delta::{DeltaRules, DeltaStore};
use super::jsonl::JsonlStore;
use super::postgres::PostgresStore;
use super::{Fault, Store};
use crate::config::Config;
use crate::objects;

/// Opens the registry's store; none where it is turned off.
///
/// # Errors
/// A store that does not exist, or an address that it cannot be at.
pub fn open(config: &Config) -> Result<Option<Box<dyn Store>>, Fault> {
    let settings = &config.registry;
    let location = settings.location.as_str();
    let directory = || {
        if location.is_empty() {
            config.log.data.join("registry")
        } else {
            location.into()
        }
    };
    let rules = DeltaRules {
        file_rows_max: settings.delta_file_rows_max,
        retention_hours: settings.delta_retention_hours,
    };
    Ok(match settings.store.as_str() {
        "off" => None,
        "delta" if objects::is_address(location) => {
            let (store, _, url) = objects::open(location).map_err(Fault::Broken)?;
            Some(Box::new(DeltaStore::remote(url, store, rules)?))
        }
        "delta" => Some(Box::new(DeltaStore::local(directory(), rules)?)),
        "jsonl" if objects::is_address(location) => {
            return Err(Fault::Broken(format!(
                "registry.location = {location}: a jsonl registry lies in a directory; use registry.store = delta"
            )));
        }
        "jsonl" => Some(Box::new(JsonlStore::new(directory()))),
        "postgres" if location.starts_with("postgres") => Some(Box::new(PostgresStore::new(
            location.to_owned(),
            settings.postgres_ca_file.clone(),
        ))),
        "postgres" => {
            return Err(Fault::Broken(format!(
                "registry.location = {location:?}: write the database's address, postgres://USER:PASSWORD@HOST/DATABASE"
            )));
        }
        other => {
            return Err(Fault::Broken(format!(
                "registry.store = {other}: there is no such store; there are delta, jsonl, postgres and off"
            )));
        }
    })
}
