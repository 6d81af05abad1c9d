//! Where a registry of our own keeps its schemas.

use super::answers;
use crate::log::{Fault, Lookup, SchemaRegistry};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A schema under a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// From 1, counting within the subject.
    pub version: u32,
    /// From 1, the same for the same schema in every subject.
    pub id: u32,
    /// The text as it was registered first.
    pub schema: Arc<str>,
}

/// Keeps schemas, subjects and compatibility levels. Decides nothing: see [`answers`].
pub trait SchemaStore: Send + Sync {
    /// All subjects, sorted.
    fn subjects(&self) -> Result<Vec<String>, Fault>;

    /// The versions of a subject, oldest first; empty if there is no such subject.
    fn versions(&self, subject: &str) -> Result<Vec<Stored>, Fault>;

    /// Adds a version unless the subject holds this canonical form already. `after` is what the caller judged by: if the
    /// subject has another number of versions meanwhile, nothing is added and None is returned.
    fn add(
        &self,
        subject: &str,
        schema: &str,
        canonical: &str,
        after: u32,
    ) -> Result<Option<Stored>, Fault>;

    /// The text of an id.
    fn by_id(&self, id: u32) -> Result<Option<Arc<str>>, Fault>;

    /// Subjects and versions under which an id is registered.
    fn uses(&self, id: u32) -> Result<Vec<(String, u32)>, Fault>;

    /// The compatibility level of a subject, or the store's own (None).
    fn level(&self, subject: Option<&str>) -> Result<Option<String>, Fault>;

    /// Sets it.
    fn set_level(&self, subject: Option<&str>, level: &str) -> Result<(), Fault>;
}

/// A store as the registry of this process, without HTTP. Refuses what is not compatible, as the REST calls do.
#[derive(Clone)]
pub struct StoreRegistry<S>(pub S);

impl<S: SchemaStore> SchemaRegistry for StoreRegistry<S> {
    fn id_of(&self, subject: &str, schema: &str) -> Result<u32, Fault> {
        match answers::register(&self.0, subject, schema)? {
            Ok(stored) => Ok(stored.id),
            Err(refusal) => Err(Fault::Config(format!(
                "the schema of {subject} was refused: {}",
                refusal.message
            ))),
        }
    }

    fn schema_of(&self, id: u32) -> Result<Lookup, Fault> {
        Ok(self.0.by_id(id)?.map_or(Lookup::Denied, Lookup::Schema))
    }
}

/// A store in memory, for tests.
#[derive(Debug, Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// text and canonical form; the id is the index plus 1
    schemas: Vec<(Arc<str>, String)>,
    subjects: BTreeMap<String, Vec<u32>>,
    levels: BTreeMap<Option<String>, String>,
}

impl MemoryStore {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    fn stored(&self, index: usize, id: u32) -> Stored {
        let schema = self.schemas[id as usize - 1].0.clone();
        Stored {
            version: index as u32 + 1,
            id,
            schema,
        }
    }
}

impl SchemaStore for MemoryStore {
    fn subjects(&self) -> Result<Vec<String>, Fault> {
        Ok(self.inner().subjects.keys().cloned().collect())
    }

    fn versions(&self, subject: &str) -> Result<Vec<Stored>, Fault> {
        let inner = self.inner();
        let ids = inner.subjects.get(subject).map_or(&[][..], Vec::as_slice);
        Ok(ids
            .iter()
            .enumerate()
            .map(|(index, &id)| inner.stored(index, id))
            .collect())
    }

    fn add(
        &self,
        subject: &str,
        schema: &str,
        canonical: &str,
        after: u32,
    ) -> Result<Option<Stored>, Fault> {
        let mut inner = self.inner();
        let known = inner.schemas.iter().position(|(_, form)| form == canonical);
        let ids = inner.subjects.get(subject).cloned().unwrap_or_default();
        if let Some(index) =
            known.and_then(|known| ids.iter().position(|&id| id as usize == known + 1))
        {
            return Ok(Some(inner.stored(index, ids[index])));
        }
        if ids.len() != after as usize {
            return Ok(None);
        }
        let id = match known {
            Some(index) => index as u32 + 1,
            None => {
                inner
                    .schemas
                    .push((Arc::from(schema), canonical.to_owned()));
                inner.schemas.len() as u32
            }
        };
        inner
            .subjects
            .entry(subject.to_owned())
            .or_default()
            .push(id);
        Ok(Some(inner.stored(ids.len(), id)))
    }

    fn by_id(&self, id: u32) -> Result<Option<Arc<str>>, Fault> {
        let inner = self.inner();
        Ok((id as usize)
            .checked_sub(1)
            .and_then(|index| inner.schemas.get(index))
            .map(|(text, _)| text.clone()))
    }

    fn uses(&self, id: u32) -> Result<Vec<(String, u32)>, Fault> {
        let inner = self.inner();
        let version = |ids: &Vec<u32>| {
            ids.iter()
                .position(|&known| known == id)
                .map(|index| index as u32 + 1)
        };
        Ok(inner
            .subjects
            .iter()
            .filter_map(|(name, ids)| Some((name.clone(), version(ids)?)))
            .collect())
    }

    fn level(&self, subject: Option<&str>) -> Result<Option<String>, Fault> {
        Ok(self
            .inner()
            .levels
            .get(&subject.map(str::to_owned))
            .cloned())
    }

    fn set_level(&self, subject: Option<&str>, level: &str) -> Result<(), Fault> {
        self.inner()
            .levels
            .insert(subject.map(str::to_owned), level.to_owned());
        Ok(())
    }
}

impl<S: SchemaStore + ?Sized> SchemaStore for Arc<S> {
    fn subjects(&self) -> Result<Vec<String>, Fault> {
        (**self).subjects()
    }
    fn versions(&self, subject: &str) -> Result<Vec<Stored>, Fault> {
        (**self).versions(subject)
    }
    fn add(
        &self,
        subject: &str,
        schema: &str,
        canonical: &str,
        after: u32,
    ) -> Result<Option<Stored>, Fault> {
        (**self).add(subject, schema, canonical, after)
    }
    fn by_id(&self, id: u32) -> Result<Option<Arc<str>>, Fault> {
        (**self).by_id(id)
    }
    fn uses(&self, id: u32) -> Result<Vec<(String, u32)>, Fault> {
        (**self).uses(id)
    }
    fn level(&self, subject: Option<&str>) -> Result<Option<String>, Fault> {
        (**self).level(subject)
    }
    fn set_level(&self, subject: Option<&str>, level: &str) -> Result<(), Fault> {
        (**self).set_level(subject, level)
    }
}
