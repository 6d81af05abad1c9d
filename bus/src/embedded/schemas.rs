//! Schemas in the same file: the registry that needs no server.

use super::EmbeddedLog;
use crate::log::{Fault, Lookup, SchemaRegistry};
use crate::registry::{SchemaStore, StoreRegistry, Stored};
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::Arc;

const SELECT: &str = "SELECT version, schema_id, text FROM subjects JOIN schemas ON schemas.id = schema_id WHERE name = ?1 ORDER BY version";

fn versions(connection: &Connection, subject: &str) -> rusqlite::Result<Vec<Stored>> {
    let mut select = connection.prepare_cached(SELECT)?;
    let rows = select.query_map([subject], |row| {
        Ok(Stored {
            version: row.get(0)?,
            id: row.get(1)?,
            schema: Arc::from(row.get::<_, String>(2)?),
        })
    })?;
    rows.collect()
}

fn add(
    connection: &Connection,
    subject: &str,
    schema: &str,
    canonical: &str,
    after: u32,
) -> rusqlite::Result<Option<Stored>> {
    let known: Option<u32> = connection
        .query_row(
            "SELECT id FROM schemas WHERE canonical = ?1",
            [canonical],
            |row| row.get(0),
        )
        .optional()?;
    let versions = versions(connection, subject)?;
    if let Some(stored) = known.and_then(|id| versions.iter().find(|stored| stored.id == id)) {
        return Ok(Some(stored.clone()));
    }
    if versions.len() != after as usize {
        return Ok(None);
    }
    let id = match known {
        Some(id) => id,
        None => connection.query_row(
            "INSERT INTO schemas (text, canonical) VALUES (?1, ?2) RETURNING id",
            [schema, canonical],
            |row| row.get(0),
        )?,
    };
    let version = after + 1;
    connection.execute(
        "INSERT INTO subjects VALUES (?1, ?2, ?3)",
        params![subject, version, id],
    )?;
    let text: String =
        connection.query_row("SELECT text FROM schemas WHERE id = ?1", [id], |row| {
            row.get(0)
        })?;
    Ok(Some(Stored {
        version,
        id,
        schema: Arc::from(text),
    }))
}

impl EmbeddedLog {
    fn look<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Fault> {
        work(&self.shared.writer().connection).map_err(self.shared.fault("reading schemas"))
    }
}

impl EmbeddedLog {
    /// Keeps a schema under the id that it has elsewhere, so that copied records can be read here.
    ///
    /// # Errors
    /// [`Fault::Config`] where the id is another schema's here.
    pub fn keep_schema(&self, subject: &str, id: u32, schema: &str) -> Result<(), Fault> {
        if self.by_id(id)?.is_some_and(|known| *known != *schema) {
            return Err(Fault::Config(format!(
                "schema id {id} is another schema in {}",
                self.shared.path.display()
            )));
        }
        let version = self.versions(subject)?.len() as u32 + 1;
        if self.uses(id)?.iter().any(|(name, _)| name == subject) {
            return Ok(());
        }
        let fault = self.shared.fault("keeping a schema");
        self.shared.writer().transact(&fault, |connection| {
            // elsewhere, two ids may be one canonical form: here the id tells them apart
            connection
                .execute(
                    "INSERT OR IGNORE INTO schemas (id, text, canonical) VALUES (?1, ?2, ?3)",
                    params![id, schema, format!("{id}\n{schema}")],
                )
                .and_then(|_| {
                    connection.execute(
                        "INSERT INTO subjects VALUES (?1, ?2, ?3)",
                        params![subject, version, id],
                    )
                })
                .map(|_| ())
                .map_err(&fault)
        })
    }
}

impl SchemaStore for EmbeddedLog {
    fn subjects(&self) -> Result<Vec<String>, Fault> {
        self.look(|connection| {
            connection
                .prepare_cached("SELECT DISTINCT name FROM subjects ORDER BY name")?
                .query_map([], |row| row.get(0))?
                .collect()
        })
    }

    fn versions(&self, subject: &str) -> Result<Vec<Stored>, Fault> {
        self.look(|connection| versions(connection, subject))
    }

    fn add(
        &self,
        subject: &str,
        schema: &str,
        canonical: &str,
        after: u32,
    ) -> Result<Option<Stored>, Fault> {
        let fault = self.shared.fault("registering a schema");
        self.shared.writer().transact(&fault, |connection| {
            add(connection, subject, schema, canonical, after).map_err(&fault)
        })
    }

    fn by_id(&self, id: u32) -> Result<Option<Arc<str>>, Fault> {
        self.look(|connection| {
            let text: Option<String> = connection
                .query_row("SELECT text FROM schemas WHERE id = ?1", [id], |row| {
                    row.get(0)
                })
                .optional()?;
            Ok(text.map(Arc::from))
        })
    }

    fn uses(&self, id: u32) -> Result<Vec<(String, u32)>, Fault> {
        self.look(|connection| {
            connection
                .prepare_cached("SELECT name, version FROM subjects WHERE schema_id = ?1 ORDER BY name, version")?
                .query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
    }

    fn level(&self, subject: Option<&str>) -> Result<Option<String>, Fault> {
        self.look(|connection| {
            connection
                .query_row(
                    "SELECT level FROM compatibility WHERE subject = ?1",
                    [subject.unwrap_or_default()],
                    |row| row.get(0),
                )
                .optional()
        })
    }

    fn set_level(&self, subject: Option<&str>, level: &str) -> Result<(), Fault> {
        let fault = self.shared.fault("setting a compatibility level");
        self.shared.writer().transact(&fault, |connection| {
            connection
                .execute(
                    "INSERT INTO compatibility VALUES (?1, ?2) ON CONFLICT DO UPDATE SET level = excluded.level",
                    // no subject is called ""
                    [subject.unwrap_or_default(), level],
                )
                .map(|_| ())
                .map_err(&fault)
        })
    }
}

impl SchemaRegistry for EmbeddedLog {
    fn id_of(&self, subject: &str, schema: &str) -> Result<u32, Fault> {
        StoreRegistry(self.clone()).id_of(subject, schema)
    }

    fn schema_of(&self, id: u32) -> Result<Lookup, Fault> {
        StoreRegistry(self.clone()).schema_of(id)
    }
}
