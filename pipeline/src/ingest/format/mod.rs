//! The formats that files come in: one parser a file, all behind [`Format`].
//!
//! A parser turns *units* (lines of a text file, or the entries of a whole JSON document) into events and rejects. It
//! knows nothing of files, transactions or the log, keeps only what the format itself carries from unit to unit (a
//! header, the attempt), and is deterministic: fed the same units again it says the same again. Resuming rests on that:
//! the units that are already on the log are parsed once more and their events dropped.
//!
//! Noise between the lines of a log (banners, `nvidia-smi` tables, rules of dashes) is ignored and counted. A line that
//! *is* of the format and cannot be read is a reject with a reason. A loss that is not finite is evidence, never a reject.

mod avro;
mod azure_llm;
mod bytes;
mod contract;
mod csv;
mod evals;
mod llmc;
mod llmperf;
pub mod mapped;
mod megatron;
mod mlflow;
mod mlperf;
mod names;
mod nanogpt;
mod otlp;
mod outline;
mod tensorboard;
mod text;
mod trainer_state;
mod vllm_bench;
mod wandb;
mod wandb_chart;
mod whole;

#[cfg(test)]
mod confusion;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;

pub use bytes::read_bytes;
pub(crate) use contract::topic_of;

use cairn_avro::record::Payload;
use cairn_operators::admit::{self, AdmitRules, Received};
use datafusion::arrow::array::RecordBatch;

use super::source::Spool;
use std::sync::Arc;

/// Where something stands in a source; both of the decompressed content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Line, counted from 1.
    pub line: u64,
    /// Byte at which it starts, counted from 0.
    pub byte: u64,
}

/// What a unit says.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The record.
    pub payload: Payload,
    /// Where it was read.
    pub position: Position,
    /// Id that the sender gave.
    pub event_id: Option<String>,
}

/// A unit that cannot be taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Reject {
    /// Class, one of those that `docs/errors.md` lists.
    pub class: &'static str,
    /// What is wrong and what to do; one line.
    pub text: String,
    /// Topic that it was headed for, without tenant.
    pub topic: String,
    /// Where it was read.
    pub position: Position,
    /// The unit as it was read.
    pub original: Vec<u8>,
}

/// Collects what a parser says, judged as `admit` will judge it; the engine empties it and uses it again.
#[derive(Debug)]
pub struct Out {
    /// By which rules.
    pub rules: AdmitRules,
    /// At what wall time, milliseconds since 1970; the engine sets it before each unit.
    pub received_ms: i64,
    /// Events, in the order of the source.
    pub events: Vec<Event>,
    /// Rejects, in the order of the source.
    pub rejects: Vec<Reject>,
    /// Units that are no data of the format.
    pub ignored: u64,
}

impl Default for Out {
    /// The default rules, and no future: without an engine nobody says what time it is.
    fn default() -> Self {
        Self {
            rules: AdmitRules::default(),
            received_ms: i64::MAX,
            events: Vec::new(),
            rejects: Vec::new(),
            ignored: 0,
        }
    }
}

impl Out {
    /// Takes an event, or makes a reject of it where `admit` would: what ingest rejects is final.
    fn event(&mut self, payload: Payload, position: Position, original: &[u8]) {
        self.identified(payload, None, position, original);
    }

    fn identified(
        &mut self,
        payload: Payload,
        event_id: Option<String>,
        position: Position,
        original: &[u8],
    ) {
        let topic = payload.entry().topics[0];
        let received = Received {
            family_topic: topic,
            source: Some(super::SOURCE),
            size_bytes: None,
            time_ms: self.received_ms,
        };
        match admit::judge(&self.rules, &received, Ok(payload)) {
            Ok(payload) => self.events.push(Event {
                payload,
                position,
                event_id,
            }),
            Err(rejection) => {
                self.reject(rejection.class, rejection.text, topic, position, original)
            }
        }
    }

    pub(super) fn reject(
        &mut self,
        class: &'static str,
        text: String,
        topic: &str,
        position: Position,
        original: &[u8],
    ) {
        self.rejects.push(Reject {
            class,
            text,
            topic: topic.to_owned(),
            position,
            original: original.to_vec(),
        });
    }
}

/// How a parser wants its source cut.
#[derive(Clone, Copy, Debug)]
pub enum Framing {
    /// Line by line; memory stays flat.
    Lines,
    /// The whole document at once, [`Parser::split`] into its entries.
    Whole,
    /// Binary records, one after the other; the function says where the one at the front of the bytes ends. Memory stays
    /// flat. A unit is a record with its frame.
    Records(fn(&[u8]) -> Frame),
    /// A columnar table, opened by [`Parser::table`], batch by batch. A unit is a row as a JSON object of the columns that are
    /// read.
    Table,
}

/// The rows of a columnar table.
pub trait TableRows {
    /// The next batch; none at the end.
    fn next_batch(&mut self) -> Option<Result<RecordBatch, String>>;

    /// The byte of the file at which what holds this row (counted from 0) begins.
    fn byte_of(&self, row: u64) -> u64;
}

/// Why a table cannot be opened.
#[derive(Clone, Debug, PartialEq)]
pub enum TableFault {
    /// It is not what the format says; it becomes one reject.
    Reject(Reject),
    /// The mapping does not fit it.
    Refusal(Refusal),
}

/// What the bytes of a binary source begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A record of so many bytes, its frame included; they need not all be there.
    Record(u64),
    /// So many bytes are needed to tell.
    Short(usize),
    /// No record: class and what is wrong. Nothing behind it can be found either.
    Lost(&'static str, String),
}

/// One entry of a whole document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it stands.
    pub position: Position,
    /// Its first byte in the document given to [`Parser::split`].
    pub start: usize,
    /// The byte behind its last.
    pub end: usize,
}

/// What a parser is told before the first unit.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Run that a log without run ids is about.
    pub run_id: String,
    /// True where the user named it, false where it is the file's name.
    pub run_id_given: bool,
    /// The file's name without what tells its kind (see [`super::source::stem`]), whatever the user named the run.
    pub stem: String,
    /// First attempt; a log that goes back counts on from here.
    pub attempt: i32,
    /// Tokens of one optimizer step, where the user said so.
    pub batch_tokens: Option<i64>,
    /// Tokens of one sample (the sequence length), where the user said so.
    pub sequence_tokens: Option<i64>,
    /// The mapping of `--map`.
    pub mapping: Option<Arc<mapped::Mapping>>,
    /// Path of the source; some formats keep the name of a metric there.
    pub source: String,
}

/// What is wrong with a source as a whole or with how it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// Reads one source.
pub trait Parser {
    /// How the source is to be cut.
    fn framing(&self) -> Framing {
        Framing::Lines
    }

    /// Cuts a whole document; returns the (possibly repaired) text and its entries.
    ///
    /// # Errors
    /// The document is not what the format says; it becomes one reject.
    fn split(&mut self, _document: Vec<u8>) -> Result<(Vec<u8>, Vec<Piece>), Reject> {
        Ok((Vec::new(), Vec::new()))
    }

    /// Opens a columnar table.
    ///
    /// # Errors
    /// It is none, or the mapping does not fit it.
    fn table(&mut self, _file: Spool) -> Result<Box<dyn TableRows>, TableFault> {
        Err(TableFault::Refusal(Refusal(
            "the format has no columns; this is a bug, please report it".into(),
        )))
    }

    /// The columns of the units that follow, one unit a row.
    ///
    /// # Errors
    /// As [`Parser::unit`].
    fn batch(&mut self, _batch: &RecordBatch, _out: &mut Out) -> Result<(), Refusal> {
        Ok(())
    }

    /// Whether what a unit says hangs on nothing before it: units that are on the log already need not be read again.
    fn is_stateless(&self) -> bool {
        false
    }

    /// Takes one unit, without its line end.
    ///
    /// # Errors
    /// The source as a whole is refused (a column that the mapping names is not there); single bad units are rejects.
    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal>;

    /// True between the lines of one record: no transaction may end here.
    fn inside_a_record(&self) -> bool {
        false
    }

    /// Whether a last line without a line end is a whole one. Where it may have been cut, it is a reject.
    fn takes_unended(&self, _line: &[u8]) -> bool {
        false
    }

    /// Whether what is longer than any record is no data of the format (a picture), rather than a bad row.
    fn passes_over_oversized(&self) -> bool {
        false
    }

    /// The source broke off: gives out what is whole.
    ///
    /// # Errors
    /// As [`Parser::unit`].
    fn broken(&mut self, _position: Position, out: &mut Out) -> Result<(), Refusal> {
        self.flush(out)
    }

    /// An earlier reading ended here, and there is more behind it now: what was given out then must not be again.
    fn passed_end(&mut self) {}

    /// Gives out what was held back for the sake of speed; called before each commit.
    ///
    /// # Errors
    /// As [`Parser::unit`].
    fn flush(&mut self, _out: &mut Out) -> Result<(), Refusal> {
        Ok(())
    }

    /// The end of the source: gives out what the end means.
    ///
    /// # Errors
    /// As [`Parser::unit`].
    fn end(&mut self, position: Position, out: &mut Out) -> Result<(), Refusal> {
        let _ = position;
        self.flush(out)
    }
}

/// How sure a format is that a head is its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// Nothing of it was found.
    No,
    /// Something alike was found; not enough to go on.
    Perhaps(&'static str),
    /// Its own marks were found.
    Sure,
}

/// One format.
pub trait Format: Sync {
    /// Name, as `--format` takes it and the summary shows it.
    fn name(&self) -> &'static str;

    /// Other names that `--format` takes.
    fn aliases(&self) -> &'static [&'static str] {
        &[]
    }

    /// Looks at the first bytes of the content; they may be cut anywhere.
    fn detect(&self, head: &[u8]) -> Confidence;

    /// The format that a reject of it is read as when it is replayed.
    fn replayed_as(&self) -> &'static str {
        self.name()
    }

    /// True where the rows name their runs, so that the name of the file does not matter.
    fn names_its_runs(&self) -> bool {
        false
    }

    /// The run that a path stands for by the format's own convention, where it is not the file's name.
    fn run_of(&self, _path: &str) -> Option<String> {
        None
    }

    /// True where the path says what the content is about, so that the same content elsewhere is something else.
    fn path_matters(&self) -> bool {
        false
    }

    /// Whether a run that the user named (`--run-id`) can be what the source is about.
    ///
    /// # Errors
    /// Its rows name their runs, and the name would be dropped.
    fn takes_run_id(
        &self,
        _head: &[u8],
        _run_id: &str,
        _mapping: Option<&mapped::Mapping>,
    ) -> Result<(), Refusal> {
        Ok(())
    }

    /// A parser for one source.
    ///
    /// # Errors
    /// The setup lacks what the format needs.
    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal>;
}

/// Every format, in the order in which `--format` lists them.
pub const FORMATS: [&dyn Format; 25] = [
    &contract::Contract,
    &avro::Avro,
    &megatron::Megatron,
    &nanogpt::NanoGpt,
    &llmc::LlmC,
    &trainer_state::TrainerState,
    &evals::LmEval,
    &evals::Helm,
    &evals::OpenAiEvals,
    &evals::TauBench,
    &evals::HarmBench,
    &evals::JailbreakBench,
    &mlperf::MlPerf,
    &llmperf::LlmPerf,
    &azure_llm::AzureLlm,
    &vllm_bench::VllmBench,
    &wandb::Wandb,
    &wandb_chart::WandbChart,
    &tensorboard::TensorBoard,
    &otlp::Otlp,
    &mlflow::MlFlow,
    &mapped::MappedCsv,
    &mapped::MappedJsonl,
    &mapped::MappedJson,
    &mapped::MappedParquet,
];

/// Bytes of a source that detection looks at: a header with the tables of eight GPUs has 8 KiB, the argument list of
/// Megatron-LM 20 KiB.
pub const HEAD_BYTES: usize = 256 * 1024;

/// The format of this name.
///
/// # Errors
/// No format has it; says which there are.
pub fn named(name: &str) -> Result<&'static dyn Format, Refusal> {
    FORMATS
        .into_iter()
        .find(|format| format.name() == name || format.aliases().contains(&name))
        .ok_or_else(|| Refusal(format!("--format {name} is unknown; there are {}", names())))
}

/// What some programs of Windows put before a text in UTF-8 (U+FEFF).
pub(super) const MARK: &[u8] = b"\xef\xbb\xbf";

/// The beginning of a text without that mark.
pub(super) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(MARK).unwrap_or(text)
}

/// Looks for what is no file of any format, whatever the user calls it.
///
/// # Errors
/// Says what it is, and what to do.
pub(super) fn is_itself(head: &[u8]) -> Result<(), Refusal> {
    if head.starts_with(b"version https://git-lfs.github.com/spec/") {
        return Err(Refusal(
            "it is the pointer that Git LFS left in the place of the file; get the file with `git lfs pull`"
                .into(),
        ));
    }
    let utf_16 = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
    if utf_16 && head.iter().take(64).any(|byte| *byte == 0) {
        return Err(Refusal(
            "it is text in UTF-16, as PowerShell's `>` writes it; make it UTF-8 with `iconv -f UTF-16 -t UTF-8`"
                .into(),
        ));
    }
    Ok(())
}

/// Finds the format of a head; with a mapping only the mapped formats are asked.
///
/// # Errors
/// None or several are sure; says what was looked for and asks for `--format`.
pub fn detect(head: &[u8], mapped: bool) -> Result<&'static dyn Format, Refusal> {
    let head = without_mark(head);
    let asked = || {
        FORMATS
            .into_iter()
            .filter(|format| format.name().starts_with("mapped_") == mapped)
    };
    let found: Vec<_> = asked()
        .map(|format| (format.detect(head), format))
        .collect();
    let mut sure = found
        .iter()
        .filter(|(confidence, _)| *confidence == Confidence::Sure)
        .map(|(_, format)| *format);
    match (sure.next(), sure.next()) {
        (Some(format), None) => Ok(format),
        (Some(one), Some(other)) => Err(Refusal(format!(
            "it looks like {} as well as like {}; say which with --format",
            one.name(),
            other.name()
        ))),
        (None, _) => {
            let near = found
                .iter()
                .filter_map(|(confidence, format)| match confidence {
                    Confidence::Perhaps(why) => Some(format!("{} ({why})", format.name())),
                    _ => None,
                })
                .collect::<Vec<_>>();
            let near = if near.is_empty() {
                "nothing in its first lines is of a known format".to_owned()
            } else {
                format!("it might be {}", near.join(" or "))
            };
            Err(Refusal(format!(
                "{near}; name the format with --format ({}), or describe a table with --map",
                names()
            )))
        }
    }
}

fn names() -> String {
    FORMATS.map(Format::name).join(", ")
}
