//! Records to Arrow columns and back, without a detour through Rust types: experiment rows become
//! the table that SQL runs on, windows and steps what a fit reads.
//!
//! Columns are those of this build's schema, whatever schema wrote the rows: fields by name, enums
//! as dictionaries of strings, times as timestamps in UTC, nested records as structs, the payloads of
//! `RunEvents` as a dense union.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_avro::reader::{Decoder, ReaderBuilder};
use arrow_avro::schema::{
    AvroSchema, Fingerprint, FingerprintAlgorithm, FingerprintStrategy, SCHEMA_METADATA_KEY,
    SchemaStore,
};
use arrow_avro::writer::{WriterBuilder, format::AvroSoeFormat};
use arrow_schema::{ArrowError, SchemaRef};
use thiserror::Error;

use crate::codec::{self, Reader};
use crate::contract::{Entry, Record};
use crate::frame;

/// Why rows and columns did not become each other.
#[derive(Debug, Error)]
pub enum Fault {
    /// A schema is of no use.
    #[error("{record}: {reason}")]
    Schema {
        /// Record of the contract.
        record: &'static str,
        /// What the library said.
        reason: String,
    },
    /// A row is not a framed datum of a known schema.
    #[error("row {row} is not a framed {record}: {reason}")]
    Row {
        /// Record of the contract.
        record: &'static str,
        /// Place of the row among those given, from 0.
        row: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A batch does not have the record's columns.
    #[error("not columns of {record}: {reason}")]
    Columns {
        /// Record of the contract.
        record: &'static str,
        /// What the library said.
        reason: String,
    },
}

/// The columns of a record.
pub fn schema(entry: &'static Entry) -> Result<SchemaRef, Fault> {
    Ok(decoder(entry, 1)?.schema())
}

/// Turns framed rows into columns. `readers` holds a reader of the record for each schema id that
/// may occur. All rows or none: the fault names the first bad one.
pub fn rows_to_batch(
    entry: &'static Entry,
    readers: &BTreeMap<u32, Reader>,
    rows: &[&[u8]],
) -> Result<RecordBatch, Fault> {
    let mut decoder = decoder(entry, rows.len())?;
    for (row, bytes) in rows.iter().enumerate() {
        let fault = |reason: String| Fault::Row {
            record: entry.record,
            row,
            reason,
        };
        let frame = frame::split(bytes).map_err(|reason| fault(reason.to_string()))?;
        let reader = readers
            .get(&frame.schema_id)
            .ok_or_else(|| fault(format!("schema {} is not known", frame.schema_id)))?;
        let body = reader
            .to_native(frame.body)
            .map_err(|reason| fault(reason.to_string()))?;
        feed(&mut decoder, &body).map_err(fault)?;
    }
    let batch = decoder
        .flush()
        .map_err(|error| columns_fault(entry, &error))?;
    Ok(batch.unwrap_or_else(|| RecordBatch::new_empty(decoder.schema())))
}

/// A decoder of this build's schema under the id 0.
fn decoder(entry: &'static Entry, rows: usize) -> Result<Decoder, Fault> {
    let fault = |error: ArrowError| Fault::Schema {
        record: entry.record,
        reason: error.to_string(),
    };
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    store
        .set(Fingerprint::Id(0), AvroSchema::new(entry.schema.to_owned()))
        .map_err(fault)?;
    ReaderBuilder::new()
        .with_batch_size(rows.max(1))
        .with_writer_schema_store(store)
        .with_active_fingerprint(Fingerprint::Id(0))
        .build_decoder()
        .map_err(fault)
}

/// Gives one datum to a decoder, behind a frame's header with the id 0.
fn feed(decoder: &mut Decoder, body: &[u8]) -> Result<(), String> {
    const HEADER: [u8; frame::HEADER_BYTES] = [frame::MAGIC, 0, 0, 0, 0];
    decoder.decode(&HEADER).map_err(|error| error.to_string())?;
    match decoder.decode(body).map_err(|error| error.to_string())? {
        // Every record of the contract has a field without which it is not a datum of no bytes.
        0 => Err("the bytes end inside a value".to_owned()),
        read if read == body.len() => Ok(()),
        read => Err(format!("{} bytes after the end", body.len() - read)),
    }
}

fn columns_fault(entry: &'static Entry, error: &dyn std::fmt::Display) -> Fault {
    Fault::Columns {
        record: entry.record,
        reason: error.to_string(),
    }
}

/// Turns columns into framed rows.
pub fn batch_to_rows(
    entry: &'static Entry,
    schema_id: u32,
    batch: &RecordBatch,
) -> Result<Vec<Vec<u8>>, Fault> {
    let mut schema = batch.schema().as_ref().clone();
    schema
        .metadata
        .insert(SCHEMA_METADATA_KEY.to_owned(), entry.schema.to_owned());
    let mut encoder = WriterBuilder::new(schema)
        .with_fingerprint_strategy(FingerprintStrategy::Id(schema_id))
        .build_encoder::<AvroSoeFormat>()
        .map_err(|error| columns_fault(entry, &error))?;
    encoder
        .encode(batch)
        .map_err(|error| columns_fault(entry, &error))?;
    Ok(encoder.flush().iter().map(|row| row.to_vec()).collect())
}

/// Turns records into columns.
pub fn records_to_batch<T: Record>(records: &[T]) -> Result<RecordBatch, Fault> {
    let entry = T::entry();
    let mut rows = Vec::with_capacity(records.len());
    for (row, record) in records.iter().enumerate() {
        let mut bytes = Vec::new();
        codec::encode_framed(0, record, &mut bytes).map_err(|fault| Fault::Row {
            record: entry.record,
            row,
            reason: fault.to_string(),
        })?;
        rows.push(bytes);
    }
    let rows: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
    rows_to_batch(entry, &BTreeMap::from([(0, Reader::native(entry))]), &rows)
}

/// Turns columns into records.
pub fn batch_to_records<T: Record>(batch: &RecordBatch) -> Result<Vec<T>, Fault> {
    let entry = T::entry();
    let fault = |row, reason| Fault::Row {
        record: entry.record,
        row,
        reason,
    };
    let rows = batch_to_rows(entry, 0, batch)?;
    let read = |(row, bytes): (usize, &Vec<u8>)| {
        let frame = frame::split(bytes).map_err(|reason| fault(row, reason.to_string()))?;
        codec::decode(frame.body).map_err(|reason| fault(row, reason.to_string()))
    };
    rows.iter().enumerate().map(read).collect()
}
