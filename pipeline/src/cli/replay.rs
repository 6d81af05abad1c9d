//! `cairn replay`: outputs once more from their inputs, held against what was written.

use super::table::Table;
use super::{Failure, Global, Outcome, print, say};
use crate::fit_work;
use crate::replay::{self, Report, Request, Start, Trouble};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;

/// Recompute outputs from their inputs into a new log, and hold them against what was written.
#[derive(Args)]
pub struct Replay {
    /// From where on outputs are written: `earliest`, a file with what `cairn run --drain --json` printed, or
    /// topic:partition=offset,… of inputs; what came before is recomputed and compared, too
    #[arg(long, value_name = "OFFSETS")]
    from: Start,
    /// Directory of the new log; must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// Task kinds, separated by commas; all that have cuts when left out
    #[arg(long, value_name = "OPS", value_delimiter = ',')]
    only: Vec<String>,
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Fault(fault) => fault.into(),
            Trouble::Refused {
                message,
                place,
                remedy,
            } => Self::new("replay_refused", 1, message, place, remedy),
        }
    }
}

impl Replay {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let (config, place) = global.look()?;
        let refit = config.refit.clone();
        let request = Request {
            from: self.from,
            into: self.into,
            only: self.only,
            work: Arc::new(move |ask| fit_work::fit(ask, &refit)),
        };
        let report = replay::replay(&config, &place, &request)?;
        tell(global, &report);
        let Some(first) = &report.first else {
            return Ok(0);
        };
        let offset = first
            .offset
            .map_or("no offset".to_owned(), |offset| format!("offset {offset}"));
        Err(Failure::new(
            "replay_differs",
            1,
            format!("{} of {}: {}", first.kind, first.key, first.what),
            format!("{}[{}], {offset}", first.topic, first.partition),
            "the settings and the binary must be those of the original; what was recomputed lies in the new log",
        ))
    }
}

fn tell(global: &Global, report: &Report) {
    if global.is_json() {
        for topic in &report.topics {
            say(&serde_json::json!({
                "topic": topic.topic, "records": topic.records, "equal": topic.equal, "different": topic.different,
                "missing": topic.missing, "extra": topic.extra, "before": topic.before, "compacted": topic.compacted,
                "sha256": topic.sha256, "sha256_original": topic.sha256_original
            }));
        }
        if let Some(first) = &report.first {
            say(&serde_json::json!({"first_difference": {
                "topic": first.topic, "partition": first.partition, "offset": first.offset, "key": first.key,
                "kind": first.kind, "what": first.what, "time_ms": first.time_ms
            }}));
        }
        return;
    }
    let mut table = Table::new(&[
        "topic",
        "records",
        "equal",
        "different",
        "missing",
        "extra",
        "sha256",
    ]);
    for topic in &report.topics {
        let counts = [
            topic.records,
            topic.equal,
            topic.different,
            topic.missing,
            topic.extra,
        ];
        let mut row = vec![topic.topic.clone()];
        row.extend(counts.iter().map(u64::to_string));
        let hash: String = topic.sha256.chars().take(12).collect();
        let sign = if topic.sha256 == topic.sha256_original {
            "="
        } else {
            "≠"
        };
        row.push(format!("{sign} {hash}"));
        table.row(row);
    }
    print(&table.text());
}
