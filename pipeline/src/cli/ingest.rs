//! `cairn ingest`: logs in, with a bar while it runs and a summary at the end.

use super::table::Table;
use super::{Failure, Global, Outcome, print, say};
use crate::connect;
use crate::ingest::format::mapped::Mapping;
use crate::ingest::{self, IngestError, Options, SourceSummary, Step, follow, settings};
use crate::redaction::Redaction;
use crate::seal::Recipient;
use clap::Args;
use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Read logs and send what they say.
#[derive(Args)]
pub struct Ingest {
    /// Files, globs, directories, addresses (s3://, gs://, az://, http(s)://), or - for standard input
    #[arg(required = true, value_name = "SRC")]
    sources: Vec<String>,
    /// Their format; told from the content when left out
    #[arg(long, value_name = "F")]
    format: Option<String>,
    /// Mapping file for CSV, JSONL and Parquet of one's own; see docs/mapping.md
    #[arg(long, value_name = "M.yaml")]
    map: Option<PathBuf>,
    /// Run of logs that name none; the file's name without it
    #[arg(long, value_name = "ID")]
    run_id: Option<String>,
    /// Configuration of the runs, such as parameters_total=124e6; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Tenant that the runs belong to
    #[arg(long, default_value = cairn_topics::DEFAULT_TENANT, value_name = "T")]
    tenant: String,
    /// Go on reading what is written and rotated, until stopped
    #[arg(long)]
    follow: bool,
}

impl Ingest {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let (config, place) = global.open()?;
        if place.log.kind() == "embedded" {
            connect::ensure_topics(&place, &config.log, std::slice::from_ref(&self.tenant))?;
        }
        let mut options = Options::new(self.sources, recipient(&config.deadletter.recipient)?);
        options.format = self.format;
        options.mapping = self.map.as_deref().map(mapping).transpose()?;
        options.run_id = self.run_id;
        options.config = settings::parse(&self.set)
            .map_err(|refusal| Failure::usage(refusal.0, "see `cairn ingest --help`"))?;
        options.tenant = self.tenant;
        options.app_id.clone_from(&config.log.app_id);
        options.redaction = Redaction::of(&config);
        options.rules = config.admit;
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            drop(signal_hook::flag::register(signal, stop.clone()));
        }
        // who follows looks at the flag while it waits, and may commit for as long as that takes
        if !self.follow {
            end_what_only_waits(stop.clone(), global.is_json());
        }
        let rate = Rate::new();
        let said = |step: &Step<'_>| {
            rate.show(step);
            if stop.load(Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let (log, registry) = (&*place.log, &*place.registry);
        let summaries = if self.follow {
            follow::follow(log, registry, &options, &stop, &said)
        } else {
            ingest::ingest(log, registry, &options, &mut |step| said(step))
        };
        rate.clear();
        let summaries = summaries.map_err(failure)?;
        report(global, &summaries);
        if !global.is_json() {
            print(&rate.total());
        }
        hint(&summaries);
        Ok(if summaries.iter().any(|summary| summary.rejected > 0) {
            3
        } else {
            0
        })
    }
}

/// How long after a request to stop a source may still be read and committed.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether somebody has asked.
const STOP_LOOK: Duration = Duration::from_millis(100);

/// A read that waits for its writer (a terminal, a pipe) is not woken by a signal: then the process ends all the same. As after a kill, what
/// was committed stays.
fn end_what_only_waits(stop: Arc<AtomicBool>, is_json: bool) {
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(STOP_LOOK);
        }
        std::thread::sleep(STOP_PATIENCE);
        let stopped = failure(IngestError::Stopped);
        super::failed(&stopped, is_json);
        std::process::exit(stopped.exit.into());
    });
}

/// How fast it goes, and how long it takes: a line on standard error, drawn only on a terminal, and a total at the end.
struct Rate {
    bar: ProgressBar,
    since: Instant,
    all: Mutex<Totals>,
}

/// What has gone by.
#[derive(Default)]
struct Totals {
    source: String,
    /// Of the source that is read: bytes, and events with rejects.
    last: (u64, u64),
    bytes: u64,
    rows: u64,
}

impl Rate {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Self {
            bar,
            since: Instant::now(),
            all: Mutex::default(),
        }
    }

    fn show(&self, step: &Step<'_>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.source != step.source {
            step.source.clone_into(&mut all.source);
            all.last = (0, 0);
        }
        let now = (step.raw_bytes, step.events + step.rejected);
        all.bytes += now.0.saturating_sub(all.last.0);
        all.rows += now.1.saturating_sub(all.last.1);
        all.last = now;
        let seconds = self.since.elapsed().as_secs_f64().max(1e-3);
        let (bytes, rows) = (all.bytes as f64 / seconds, all.rows as f64 / seconds);
        let mut line = format!(
            "{}: {} read, {} rows, {}/s, {} rows/s",
            short(step.source),
            HumanBytes(step.raw_bytes),
            HumanCount(now.1),
            HumanBytes(bytes as u64),
            HumanCount(rows as u64),
        );
        if let Some(size) = step.size
            && bytes > 0.0
        {
            let left = size.saturating_sub(step.raw_bytes) as f64 / bytes;
            line.push_str(&format!(
                ", {} % of {}, {} left",
                (100 * step.raw_bytes)
                    .checked_div(size)
                    .unwrap_or(100)
                    .min(100),
                HumanBytes(size),
                HumanDuration(Duration::from_secs_f64(left)),
            ));
        }
        self.bar.set_message(line);
        self.bar.tick();
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// One line behind the table.
    fn total(&self) -> String {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = self.since.elapsed().as_secs_f64().max(1e-3);
        format!(
            "  {} and {} rows in {seconds:.1} s: {}/s, {} rows/s\n",
            HumanBytes(all.bytes),
            HumanCount(all.rows),
            HumanBytes((all.bytes as f64 / seconds) as u64),
            HumanCount((all.rows as f64 / seconds) as u64),
        )
    }
}

fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The recipient of dead letters.
pub(super) fn recipient(text: &str) -> Result<Recipient, Failure> {
    if text.is_empty() {
        return Err(super::init::no_recipient());
    }
    text.parse::<Recipient>().map_err(|error| {
        Failure::new(
            "seal",
            2,
            error.to_string(),
            "deadletter.recipient",
            "run `cairn init` for a new key",
        )
    })
}

/// A mapping file, read.
pub(super) fn mapping(file: &Path) -> Result<Arc<Mapping>, Failure> {
    let place = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::new(
            "io",
            2,
            error.to_string(),
            place.clone(),
            "name an existing file",
        )
    })?;
    let mapping = Mapping::parse(&text).map_err(|refusal| {
        Failure::new(
            "mapping",
            2,
            refusal.0,
            place,
            "docs/mapping.md shows every member",
        )
    })?;
    Ok(Arc::new(mapping))
}

/// Why ingest stopped, as the command says it.
pub(super) fn failure(error: IngestError) -> Failure {
    let exit = error.exit_code();
    match error {
        IngestError::Fault(fault) => fault.into(),
        IngestError::Refused(why) => {
            // A refusal says what, and behind the last semicolon what to do.
            let (what, remedy) = why
                .rsplit_once("; ")
                .unwrap_or((&why, "`cairn ingest --help` shows what there is"));
            Failure::usage(what, remedy)
        }
        IngestError::Unreadable { path, error } => Failure::new(
            "unreadable",
            exit,
            error.to_string(),
            path,
            "check that it is there and may be read; what was committed stays",
        ),
        IngestError::Held => Failure::new(
            "unreadable",
            4,
            error.to_string(),
            "ingest",
            "call again in a moment",
        ),
        IngestError::Stopped => Failure::new(
            "stopped",
            exit,
            "stopped on request",
            "ingest",
            "what was committed stays; the same command goes on",
        ),
    }
}

/// A file without one line of its format was most likely not of that format.
fn hint(summaries: &[SourceSummary]) {
    for summary in summaries {
        if summary.read == 0 && summary.ignored > 0 && summary.skipped.is_none() {
            eprintln!(
                "cairn: {}: none of its {} lines is of format {}; leave out --format, or name another",
                summary.source, summary.lines, summary.format
            );
        }
    }
}

fn report(global: &Global, summaries: &[SourceSummary]) {
    if global.is_json() {
        for summary in summaries {
            say(&serde_json::to_value(summary).unwrap_or_default());
        }
        return;
    }
    let mut table = Table::new(&[
        "source",
        "format",
        "runs",
        "read",
        "accepted",
        "duplicate",
        "rejected",
        "why",
    ]);
    for summary in summaries {
        let mut why: Vec<String> = summary
            .errors
            .iter()
            .map(|(class, count)| format!("{class} × {count}"))
            .collect();
        why.extend(summary.skipped.clone());
        table.row(vec![
            summary.source.clone(),
            summary.format.clone(),
            summary.runs.len().to_string(),
            summary.read.to_string(),
            summary.accepted.to_string(),
            summary.duplicate.to_string(),
            summary.rejected.to_string(),
            why.join(", "),
        ]);
    }
    print(&table.text());
    if summaries.iter().any(|summary| summary.rejected > 0) {
        print("  `cairn deadletter list` shows what was rejected and why\n");
    }
}
