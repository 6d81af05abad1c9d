//! Tables in Postgres: for a service that others query while it is written.
//!
//! In schema `cairn` each table holds a record as `jsonb` beside where it comes from; `rows_flat` is a view with a typed column
//! for each member. Rows and offsets are one transaction. One writer, by an advisory lock.

mod connect;
mod migrations;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;

use super::{AsOf, Batch, Covered, Fault, Keeps, Row, Size, Store, TABLES, Table, columns};
use ::postgres::{Client, Transaction};
use cairn_avro::frame;
use datafusion::catalog::TableProvider;
use std::path::PathBuf;
use std::sync::Arc;

/// The number of the lock that the one writer holds: `cairn` in ASCII.
const WRITER_LOCK: i64 = 0x0063_6169_726e;

/// Tables in a database.
pub(super) struct PostgresStore {
    address: String,
    /// Authorities that are trusted beside the system's; empty for none.
    ca_file: PathBuf,
    client: Option<Client>,
    is_writer: bool,
}

impl PostgresStore {
    pub(super) fn new(address: String, ca_file: PathBuf) -> Self {
        Self {
            address,
            ca_file,
            client: None,
            is_writer: false,
        }
    }

    fn client(&mut self) -> Result<&mut Client, Fault> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            self.is_writer = false;
            self.client = Some(connect::connect(&self.address, &self.ca_file)?);
        }
        self.client
            .as_mut()
            .ok_or_else(|| Fault::Unreachable("no connection".into()))
    }

    fn exists(client: &mut Client) -> Result<bool, Fault> {
        let row = client
            .query_one("SELECT to_regclass('cairn.covered') IS NOT NULL", &[])
            .map_err(fault)?;
        Ok(row.get(0))
    }

    fn rows(&mut self, table: &'static Table) -> Result<Vec<Row>, Fault> {
        let entry = table.entry()?;
        let client = self.client()?;
        if !Self::exists(client)? {
            return Ok(Vec::new());
        }
        let order = match table.keeps {
            Keeps::Newest => "log_key",
            Keeps::Every => "log_partition, log_offset",
        };
        let query = format!(
            "SELECT log_key, log_partition, log_offset, (extract(epoch FROM log_append_time) * 1000)::bigint, record::text
             FROM cairn.{} ORDER BY {order}",
            table.name
        );
        let mut found = Vec::new();
        for row in client.query(&query, &[]).map_err(fault)? {
            let text: &str = row.get(4);
            let body = cairn_avro::json::to_avro(entry.shape(), text.as_bytes())
                .map_err(|error| Fault::Broken(format!("table {}: {error}", table.name)))?;
            let mut framed = Vec::with_capacity(body.len() + frame::HEADER_BYTES);
            frame::put(0, &mut framed);
            framed.extend_from_slice(&body);
            found.push(Row {
                key: row.get(0),
                partition: row.get(1),
                offset: row.get(2),
                append_time_ms: row.get(3),
                framed: Some(framed),
            });
        }
        Ok(found)
    }
}

/// What the server said, its detail included.
fn said(error: &::postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => match db.detail() {
            Some(detail) => format!("{}: {detail}", db.message()),
            None => db.message().to_owned(),
        },
        None => {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
        }
    }
}

fn fault(error: ::postgres::Error) -> Fault {
    if error.is_closed() || error.as_db_error().is_none() {
        Fault::Unreachable(said(&error))
    } else {
        Fault::Broken(said(&error))
    }
}

fn covered(client: &mut impl ::postgres::GenericClient, table: &Table) -> Result<Covered, Fault> {
    Ok(client
        .query(
            "SELECT log_partition, next_offset FROM cairn.covered WHERE table_name = $1",
            &[&table.name],
        )
        .map_err(fault)?
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect())
}

/// A record as the text of a `jsonb`, which holds no NUL.
fn text_of(table: &Table, framed: &[u8]) -> Result<String, Fault> {
    let body = framed.get(frame::HEADER_BYTES..).unwrap_or_default();
    let text = cairn_avro::json::from_avro(table.entry()?.shape(), body)
        .map_err(|error| Fault::Broken(format!("table {}: {error}", table.name)))?;
    Ok(if text.contains("\\u0000") {
        text.replace("\\u0000", "\\ufffd")
    } else {
        text
    })
}

fn put(within: &mut Transaction<'_>, table: &'static Table, rows: &[Row]) -> Result<(), Fault> {
    let (mut keys, mut partitions, mut offsets, mut times, mut texts, mut gone) = (
        Vec::new(),
        Vec::new(),
        Vec::new(),
        Vec::new(),
        Vec::new(),
        Vec::new(),
    );
    for row in rows {
        let Some(framed) = &row.framed else {
            gone.push(row.key.as_str());
            continue;
        };
        keys.push(row.key.as_str());
        partitions.push(row.partition);
        offsets.push(row.offset);
        times.push(row.append_time_ms);
        texts.push(text_of(table, framed)?);
    }
    let statement = format!(
        "INSERT INTO cairn.{} (log_key, log_partition, log_offset, log_append_time, record)
         SELECT k, p, o, to_timestamp(t / 1000.0), r::jsonb
         FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[], $5::text[]) AS new(k, p, o, t, r)
         ON CONFLICT (log_key) DO UPDATE SET log_partition = excluded.log_partition, log_offset = excluded.log_offset,
             log_append_time = excluded.log_append_time, record = excluded.record",
        table.name
    );
    within
        .execute(&statement, &[&keys, &partitions, &offsets, &times, &texts])
        .map_err(fault)?;
    if !gone.is_empty() {
        let statement = format!("DELETE FROM cairn.{} WHERE log_key = ANY($1)", table.name);
        within.execute(&statement, &[&gone]).map_err(fault)?;
    }
    Ok(())
}

impl Store for PostgresStore {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn place(&self) -> String {
        // the password is nobody's business
        match (
            self.address.split_once("://"),
            self.address.rsplit_once('@'),
        ) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            _ => "postgres".to_owned(),
        }
    }

    fn become_writer(&mut self) -> Result<bool, Fault> {
        let was = self.is_writer;
        let client = self.client()?;
        if was {
            return Ok(true);
        }
        let is_ours: bool = client
            .query_one("SELECT pg_try_advisory_lock($1)", &[&WRITER_LOCK])
            .map_err(fault)?
            .get(0);
        if is_ours {
            migrations::apply(client)?;
        }
        self.is_writer = is_ours;
        Ok(is_ours)
    }

    fn covered(&mut self, table: &'static Table) -> Result<Covered, Fault> {
        let client = self.client()?;
        if !Self::exists(client)? {
            return Ok(Covered::new());
        }
        covered(client, table)
    }

    fn write(&mut self, table: &'static Table, batch: &Batch) -> Result<(), Fault> {
        if !self.is_writer {
            return Err(Fault::Conflict("another process holds the lock".into()));
        }
        let client = self.client()?;
        let mut within = client.transaction().map_err(fault)?;
        within
            .batch_execute("LOCK TABLE cairn.covered IN SHARE ROW EXCLUSIVE MODE")
            .map_err(fault)?;
        let found = covered(&mut within, table)?;
        if found != batch.from {
            return Err(Fault::Conflict(format!(
                "table {} covers {found:?}, the batch begins with {:?}",
                table.name, batch.from
            )));
        }
        put(&mut within, table, &batch.rows)?;
        for (partition, next) in &batch.next {
            within
                .execute(
                    "INSERT INTO cairn.covered VALUES ($1, $2, $3)
                     ON CONFLICT (table_name, log_partition) DO UPDATE SET next_offset = excluded.next_offset",
                    &[&table.name, partition, next],
                )
                .map_err(fault)?;
        }
        within.commit().map_err(fault)
    }

    fn provider(
        &mut self,
        table: &'static Table,
        as_of: &AsOf,
    ) -> Result<Arc<dyn TableProvider>, Fault> {
        if *as_of != AsOf::Now {
            return Err(Fault::Broken(
                "a Postgres registry keeps no earlier states; use registry.store = delta".into(),
            ));
        }
        let rows = self.rows(table)?;
        columns::in_memory(table, &rows)
    }

    fn size(&mut self, table: &'static Table) -> Result<Size, Fault> {
        let client = self.client()?;
        if !Self::exists(client)? {
            return Ok(Size::default());
        }
        let name = format!("cairn.{}", table.name);
        let row = client
            .query_one(
                &format!("SELECT count(*), pg_total_relation_size('{name}') FROM {name}"),
                &[],
            )
            .map_err(fault)?;
        Ok(Size {
            rows: row.get::<_, i64>(0).unsigned_abs(),
            files: 0,
            bytes: row.get::<_, i64>(1).unsigned_abs(),
            version: None,
        })
    }

    fn tidy(&mut self, table: &'static Table) -> Result<String, Fault> {
        debug_assert!(TABLES.contains(table));
        Ok("Postgres tidies up by itself (autovacuum)".into())
    }
}
