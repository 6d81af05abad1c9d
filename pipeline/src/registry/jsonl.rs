//! Tables as files of lines: nothing but a directory, and `git diff` shows what changed.
//!
//! `DIR/TABLE.jsonl` is a journal. A batch is appended and closed by a line `{"log_covered":{partition:next}}`; what lies behind
//! the last such line was cut off by a crash and does not count. Of a key that occurs twice the last line stands; a line with
//! a key alone takes it away. When more than half of the lines are past, the file is written anew, in order of the keys, and
//! put in place of the old one.

use super::lock::Lock;
use super::{AsOf, Batch, Covered, Fault, Keeps, Row, Size, Store, Table, columns};
use datafusion::catalog::TableProvider;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Lines below which a journal is left alone, however many of them are past.
const COMPACT_LINES_MIN: u64 = 1_000;

/// Tables in a directory.
pub(super) struct JsonlStore {
    directory: PathBuf,
    lock: Option<Lock>,
    files: HashMap<&'static str, Journal>,
}

/// What is known of a journal that this process writes.
#[derive(Clone, Debug, Default)]
struct Journal {
    covered: Covered,
    /// Where the next batch goes.
    end: u64,
    lines: u64,
    /// Keys that stand, of tables that keep the newest of each.
    keys: BTreeSet<String>,
}

impl Journal {
    fn count(&mut self, table: &Table, key: &str, is_there: bool) {
        self.lines += 1;
        match (table.keeps, is_there) {
            (Keeps::Every, _) => {}
            (Keeps::Newest, true) => drop(self.keys.insert(key.to_owned())),
            (Keeps::Newest, false) => drop(self.keys.remove(key)),
        }
    }

    fn rows(&self, table: &Table) -> u64 {
        match table.keeps {
            Keeps::Newest => self.keys.len() as u64,
            Keeps::Every => self.lines,
        }
    }
}

/// A line of a journal.
#[derive(serde::Serialize, serde::Deserialize)]
struct Line<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log_covered: Option<Covered>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log_partition: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log_offset: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log_append_time_ms: Option<i64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    record: Option<&'a RawValue>,
}

impl JsonlStore {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            lock: None,
            files: HashMap::new(),
        }
    }

    fn path(&self, table: &Table) -> PathBuf {
        self.directory.join(format!("{}.jsonl", table.name))
    }

    fn failed(path: &Path) -> impl Fn(std::io::Error) -> Fault {
        let path = path.to_owned();
        move |error| Fault::Broken(format!("{}: {error}", path.display()))
    }

    /// The journal of a table as it stands: read once by the writer, each time by others.
    fn journal(&mut self, table: &'static Table) -> Result<&mut Journal, Fault> {
        if self.lock.is_none() || !self.files.contains_key(table.name) {
            let journal = self.read(table)?;
            self.files.insert(table.name, journal);
        }
        self.files
            .get_mut(table.name)
            .ok_or_else(|| Fault::Broken("a journal is not open".into()))
    }

    fn read(&self, table: &'static Table) -> Result<Journal, Fault> {
        let mut journal = Journal::default();
        // lines of a batch count once its closing line is there
        let mut open: Vec<(String, bool)> = Vec::new();
        self.lines(table, &mut |line, end| {
            if let Some(covered) = line.log_covered {
                journal.covered = covered;
                journal.end = end;
                for (key, is_there) in open.drain(..) {
                    journal.count(table, &key, is_there);
                }
            } else if let Some(key) = line.log_key {
                open.push((key, line.record.is_some()));
            }
            Ok(())
        })?;
        Ok(journal)
    }

    /// Gives each whole line with the offset of its end.
    fn lines(
        &self,
        table: &Table,
        each: &mut dyn FnMut(Line<'_>, u64) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let path = self.path(table);
        let failed = Self::failed(&path);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let (mut text, mut end, mut number) = (Vec::new(), 0_u64, 0_u64);
        loop {
            text.clear();
            let read = reader.read_until(b'\n', &mut text).map_err(&failed)?;
            if read == 0 || text.last() != Some(&b'\n') {
                return Ok(());
            }
            end += read as u64;
            number += 1;
            match serde_json::from_slice::<Line<'_>>(&text) {
                Ok(line) => each(line, end)?,
                Err(error) => {
                    return Err(Fault::Broken(format!(
                        "{} line {number}: {error}; restore the file, or remove it and let `cairn run` make it again",
                        path.display()
                    )));
                }
            }
        }
    }

    /// The rows that stand.
    fn rows(&mut self, table: &'static Table) -> Result<Vec<Row>, Fault> {
        let end = self.journal(table)?.end;
        let entry = table.entry()?;
        let mut found: BTreeMap<(String, i64), Row> = BTreeMap::new();
        self.lines(table, &mut |line, at| {
            let Some(key) = line.log_key.filter(|_| at <= end) else {
                return Ok(());
            };
            // rows that are all kept stay in the order of the log, the others in that of their keys
            let order = match table.keeps {
                Keeps::Newest => (key.clone(), 0),
                Keeps::Every => (
                    format!("{:010}", line.log_partition.unwrap_or_default()),
                    line.log_offset.unwrap_or_default(),
                ),
            };
            let Some(record) = line.record else {
                found.remove(&order);
                return Ok(());
            };
            let body = cairn_avro::json::to_avro(entry.shape(), record.get().as_bytes())
                .map_err(|fault| Fault::Broken(format!("table {}: {fault}", table.name)))?;
            let mut framed = Vec::with_capacity(body.len() + 5);
            cairn_avro::frame::put(0, &mut framed);
            framed.extend_from_slice(&body);
            let row = Row {
                key,
                partition: line.log_partition.unwrap_or_default(),
                offset: line.log_offset.unwrap_or_default(),
                append_time_ms: line.log_append_time_ms.unwrap_or_default(),
                framed: Some(framed),
            };
            found.insert(order, row);
            Ok(())
        })?;
        Ok(found.into_values().collect())
    }

    /// Writes the rows that stand into a new file, and puts it in place of the old one.
    fn compact(&mut self, table: &'static Table) -> Result<(), Fault> {
        let rows = self.rows(table)?;
        let path = self.path(table);
        let beside = path.with_extension("jsonl.new");
        let failed = Self::failed(&beside);
        let file = File::create(&beside).map_err(&failed)?;
        let mut writer = BufWriter::with_capacity(1 << 20, file);
        let mut end = 0;
        for row in &rows {
            let line = line_of(table, row)?;
            writer.write_all(line.as_bytes()).map_err(&failed)?;
            end += line.len() as u64;
        }
        let journal = self.journal(table)?;
        let close = closing(&journal.covered)?;
        writer.write_all(close.as_bytes()).map_err(&failed)?;
        let file = writer
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(&failed)?;
        fs::rename(&beside, &path).map_err(&failed)?;
        journal.end = end + close.len() as u64;
        journal.lines = rows.len() as u64;
        sync_directory(&self.directory)
    }
}

fn sync_directory(directory: &Path) -> Result<(), Fault> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(JsonlStore::failed(directory))
}

/// A row as a line.
fn line_of(table: &Table, row: &Row) -> Result<String, Fault> {
    let record = match &row.framed {
        None => None,
        Some(framed) => {
            let body = framed
                .get(cairn_avro::frame::HEADER_BYTES..)
                .unwrap_or_default();
            let text = cairn_avro::json::from_avro(table.entry()?.shape(), body)
                .map_err(|error| Fault::Broken(format!("table {}: {error}", table.name)))?;
            Some(RawValue::from_string(text).map_err(json)?)
        }
    };
    let line = Line {
        log_covered: None,
        log_key: Some(row.key.clone()),
        log_partition: Some(row.partition),
        log_offset: Some(row.offset),
        log_append_time_ms: Some(row.append_time_ms),
        record: record.as_deref(),
    };
    let mut text = serde_json::to_string(&line).map_err(json)?;
    text.push('\n');
    Ok(text)
}

fn closing(covered: &Covered) -> Result<String, Fault> {
    let mut text =
        serde_json::to_string(&serde_json::json!({ "log_covered": covered })).map_err(json)?;
    text.push('\n');
    Ok(text)
}

fn json(error: serde_json::Error) -> Fault {
    Fault::Broken(error.to_string())
}

impl Store for JsonlStore {
    fn kind(&self) -> &'static str {
        "jsonl"
    }

    fn place(&self) -> String {
        self.directory.display().to_string()
    }

    fn become_writer(&mut self) -> Result<bool, Fault> {
        if self.lock.is_none() {
            self.lock = Lock::take(&self.directory)?;
            self.files.clear();
        }
        Ok(self.lock.is_some())
    }

    fn covered(&mut self, table: &'static Table) -> Result<Covered, Fault> {
        Ok(self.journal(table)?.covered.clone())
    }

    fn write(&mut self, table: &'static Table, batch: &Batch) -> Result<(), Fault> {
        if self.lock.is_none() {
            return Err(Fault::Conflict("the directory is not locked".into()));
        }
        let path = self.path(table);
        let mut text = Vec::new();
        for row in &batch.rows {
            text.extend_from_slice(line_of(table, row)?.as_bytes());
        }
        text.extend_from_slice(closing(&batch.next)?.as_bytes());
        let journal = self.journal(table)?;
        if journal.covered != batch.from {
            return Err(Fault::Conflict(format!(
                "table {} covers {:?}, the batch begins with {:?}",
                table.name, journal.covered, batch.from
            )));
        }
        let failed = Self::failed(&path);
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(&failed)?;
        // what a crash left behind the last batch
        file.set_len(journal.end).map_err(&failed)?;
        file.seek(SeekFrom::Start(journal.end)).map_err(&failed)?;
        file.write_all(&text).map_err(&failed)?;
        file.sync_data().map_err(&failed)?;
        journal.end += text.len() as u64;
        journal.covered.clone_from(&batch.next);
        for row in &batch.rows {
            journal.count(table, &row.key, row.framed.is_some());
        }
        let past = journal.lines - journal.rows(table).min(journal.lines);
        if journal.lines > COMPACT_LINES_MIN && past * 2 > journal.lines {
            self.compact(table)?;
        }
        Ok(())
    }

    fn provider(
        &mut self,
        table: &'static Table,
        as_of: &AsOf,
    ) -> Result<Arc<dyn TableProvider>, Fault> {
        if *as_of != AsOf::Now {
            return Err(Fault::Broken(
                "a jsonl registry keeps no earlier states; keep it in git, or use registry.store = delta".into(),
            ));
        }
        let rows = self.rows(table)?;
        columns::in_memory(table, &rows)
    }

    fn size(&mut self, table: &'static Table) -> Result<Size, Fault> {
        let journal = self.journal(table)?;
        Ok(Size {
            rows: journal.rows(table),
            files: u64::from(journal.end > 0),
            bytes: journal.end,
            version: None,
        })
    }

    fn tidy(&mut self, table: &'static Table) -> Result<String, Fault> {
        let before = self.journal(table)?.lines;
        if before == 0 {
            return Ok("nothing to do".into());
        }
        self.compact(table)?;
        let after = self.journal(table)?.lines;
        Ok(format!("{after} lines instead of {before}"))
    }
}
