//! Records of a table's topic, as batches for its store.

use super::{Batch, Covered, Fault, Keeps, Row, Table};
use crate::connect::Place;
use cairn_avro::codec::Reader as Decoder;
use cairn_avro::{codec, frame};
use cairn_bus::{Lookup, Offsets, Reader, Record, TopicPartition};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// How long a read waits for what is there already.
const PATIENCE: Duration = Duration::from_millis(500);

/// Reads topics for tables, wherever their stores stand.
pub struct Records {
    place: Place,
    reader: Box<dyn Reader>,
    decoders: HashMap<(&'static str, u32), Decoder>,
    /// Records that could not be read, and why the last of them.
    pub unreadable: Option<(u64, String)>,
}

/// What there is for a table.
#[derive(Debug)]
pub struct News {
    /// The records.
    pub batch: Batch,
    /// How many offsets lie behind the batch, up to what is committed now.
    pub left: i64,
    /// Records that compaction or retention took before they were read: first offset that was wanted, first there is.
    pub lost: Vec<(i32, i64, i64)>,
}

impl Records {
    /// A reader of this log.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub fn new(place: &Place) -> Result<Self, Fault> {
        Ok(Self {
            place: place.clone(),
            reader: place.log.reader().map_err(fault)?,
            decoders: HashMap::new(),
            unreadable: None,
        })
    }

    /// How many offsets a table is behind its topic.
    ///
    /// # Errors
    /// A log that cannot be read, or that is not the one the table was made from.
    pub fn behind(&mut self, table: &Table, covered: &Covered) -> Result<i64, Fault> {
        let ends = self.ends(table, covered)?;
        Ok(ends
            .iter()
            .map(|(partition, (first, end))| {
                end - (*first).max(covered.get(partition).copied().unwrap_or(0))
            })
            .sum())
    }

    fn ends(
        &mut self,
        table: &Table,
        covered: &Covered,
    ) -> Result<BTreeMap<i32, (i64, i64)>, Fault> {
        let ends: BTreeMap<i32, (i64, i64)> = self
            .reader
            .ends(&[table.topic])
            .map_err(fault)?
            .into_iter()
            .map(|(place, ends)| (place.partition, ends))
            .collect();
        for (partition, next) in covered {
            let end = ends.get(partition).map_or(0, |(_, end)| *end);
            if *next > end {
                return Err(Fault::Broken(format!(
                    "table {} covers {}[{partition}] up to offset {next}, the log ends at {end}: the registry belongs to another log; name another place for it (registry.location), or remove it and let `cairn run` make it again",
                    table.name, table.topic
                )));
            }
        }
        Ok(ends)
    }

    /// The next records behind what is covered, at most `rows_max` of them.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub fn next(
        &mut self,
        table: &'static Table,
        covered: &Covered,
        rows_max: usize,
    ) -> Result<News, Fault> {
        let ends = self.ends(table, covered)?;
        let mut from = Offsets::new();
        let mut lost = Vec::new();
        for (partition, (first, end)) in &ends {
            let wanted = covered.get(partition).copied();
            // The first offsets of a compacted topic are gone from the start: nobody has missed them.
            if let Some(wanted) = wanted.filter(|wanted| wanted < first) {
                lost.push((*partition, wanted, *first));
            }
            let next = wanted.unwrap_or(*first).max(*first);
            if next < *end {
                from.insert(TopicPartition::new(table.topic, *partition), next);
            }
        }
        let mut rows = Vec::new();
        let mut next = from.clone();
        while rows.len() < rows_max && left(&next, &ends) > 0 {
            let (records, on) = self
                .reader
                .read(&next, PATIENCE, rows_max - rows.len())
                .map_err(fault)?;
            if records.is_empty() && on == next {
                break;
            }
            for record in &records {
                rows.extend(self.row(table, record)?);
            }
            next = on;
        }
        // every partition has its offset from the first batch on
        let mut covers: Covered = ends
            .iter()
            .map(|(partition, (first, _))| {
                let known = covered.get(partition).copied().unwrap_or(*first);
                (*partition, known.max(*first))
            })
            .collect();
        for (place, next) in &next {
            covers.insert(place.partition, *next);
        }
        Ok(News {
            batch: Batch {
                rows: newest(table.keeps, rows),
                from: covered.clone(),
                next: covers,
            },
            left: left(&next, &ends),
            lost,
        })
    }

    fn row(&mut self, table: &'static Table, record: &Record) -> Result<Option<Row>, Fault> {
        let key = match table.keeps {
            Keeps::Newest => {
                String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned()
            }
            Keeps::Every => format!("{}/{}", record.partition, record.offset),
        };
        let framed = match record.value.as_deref() {
            None => None,
            Some(value) => match self.native(table, value)? {
                Ok(framed) => Some(framed),
                Err(why) => {
                    let text = format!("{}@{}: {why}", record.place(), record.offset);
                    tracing::error!(table = table.name, %text, "a record cannot be put into its table");
                    let count = self.unreadable.as_ref().map_or(0, |(count, _)| *count);
                    self.unreadable = Some((count + 1, text));
                    return Ok(None);
                }
            },
        };
        Ok(Some(Row {
            key,
            partition: record.partition,
            offset: record.offset,
            append_time_ms: record.append_time_ms,
            framed,
        }))
    }

    /// A value in the layout of this build; the inner error is the record's own.
    fn native(&mut self, table: &Table, value: &[u8]) -> Result<Result<Vec<u8>, String>, Fault> {
        let entry = table.entry()?;
        let framed = match frame::split(value) {
            Ok(framed) => framed,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let id = framed.schema_id;
        if !self.decoders.contains_key(&(table.name, id)) {
            let schema = match self.place.registry.schema_of(id).map_err(fault)? {
                Lookup::Schema(schema) => schema,
                Lookup::Denied => return Ok(Err(format!("the schema registry has no id {id}"))),
            };
            match Decoder::new(entry, &schema) {
                Ok(decoder) => self.decoders.insert((table.name, id), decoder),
                Err(error) => return Ok(Err(error.to_string())),
            };
        }
        let Some(decoder) = self.decoders.get(&(table.name, id)) else {
            return Ok(Err(format!("schema {id}")));
        };
        let mut out = Vec::with_capacity(framed.body.len() + frame::HEADER_BYTES);
        frame::put(0, &mut out);
        Ok(match decoder.to_native(framed.body) {
            Ok(body) => {
                out.extend_from_slice(&body);
                // read once whole: a store must never meet a row that cannot be read
                shape_of(entry, &body).map(|()| out)
            }
            Err(error) => Err(error.to_string()),
        })
    }
}

/// Whether bytes are one datum of this record.
fn shape_of(entry: &'static cairn_avro::contract::Entry, body: &[u8]) -> Result<(), String> {
    cairn_avro::json::from_avro(entry.shape(), body)
        .map(drop)
        .map_err(|error| error.to_string())
}

fn left(next: &Offsets, ends: &BTreeMap<i32, (i64, i64)>) -> i64 {
    next.iter()
        .filter_map(|(place, next)| {
            let (_, end) = ends.get(&place.partition)?;
            Some((end - next).max(0))
        })
        .sum()
}

/// Of each key the last, in the order of the log.
fn newest(keeps: Keeps, rows: Vec<Row>) -> Vec<Row> {
    if keeps == Keeps::Every {
        return rows
            .into_iter()
            .filter(|row| row.framed.is_some())
            .collect();
    }
    let mut last: HashMap<&str, usize> = HashMap::with_capacity(rows.len());
    for (at, row) in rows.iter().enumerate() {
        last.insert(&row.key, at);
    }
    let mut kept: Vec<usize> = last.into_values().collect();
    kept.sort_unstable();
    let mut kept = kept.into_iter().peekable();
    let mut found = Vec::new();
    for (at, row) in rows.into_iter().enumerate() {
        if kept.next_if_eq(&at).is_some() {
            found.push(row);
        }
    }
    found
}

/// A fault of the log as one of the registry.
fn fault(fault: cairn_bus::Fault) -> Fault {
    match fault {
        cairn_bus::Fault::Unreachable(text) => Fault::Unreachable(text),
        other => Fault::Broken(other.to_string()),
    }
}

impl From<codec::Fault> for Fault {
    fn from(fault: codec::Fault) -> Self {
        Self::Broken(fault.to_string())
    }
}
