//! The Azure traces of language-model inference: CSV with the columns `TIMESTAMP`, `ContextTokens`, `GeneratedTokens`.
//!
//! Published format: `AzureLLMInferenceDataset2023.md` (Patel et al., Splitwise, ISCA 2024), `AzureLLMInferenceDataset2024.md`
//! (Stojkovic et al., DynamoLLM, HPCA 2025) and `AzureLMMInferenceDataset2025.md` (Qiu et al., ModServe, SoCC 2025, with
//! `NumImages`) of github.com/Azure/AzurePublicDataset. Columns are found by their names.
//!
//! A row is a request, `TIMESTAMP` its arrival: `2023-11-16 18:15:46.6805900`, in later traces with an offset; one without
//! is taken for UTC, since the descriptions name no zone and only differences between rows matter. Digits past the
//! millisecond are dropped, so that rows can be alike; each is known by its place. Other columns that hold numbers are
//! metrics. The files end without a line end: the last row counts when it has all its columns.

use super::csv::cells;
use super::names::keep;
use super::text::{Number, row_id, trimmed, whole_lines};
use super::{Confidence, Format, Out, Parser, Position, Refusal, Setup};
use cairn_avro::record::{Payload, RuntimeTelemetry};
use cairn_avro::time;

#[cfg(test)]
mod tests;

const COLUMNS: [&str; 3] = ["timestamp", "contexttokens", "generatedtokens"];

/// The format.
pub(super) struct AzureLlm;

impl Format for AzureLlm {
    fn name(&self) -> &'static str {
        "azure_llm"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["azure", "azure-llm-trace"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        let Some(first) = whole_lines(head).next().and_then(trimmed) else {
            return Confidence::No;
        };
        let header = header(&first);
        match COLUMNS
            .iter()
            .filter(|name| position(&header, name).is_some())
            .count()
        {
            3 => Confidence::Sure,
            2 => Confidence::Perhaps(
                "its header has two of TIMESTAMP, ContextTokens and GeneratedTokens",
            ),
            _ => Confidence::No,
        }
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Ok(Box::new(Rows {
            setup: setup.clone(),
            header: Vec::new(),
        }))
    }
}

fn header(line: &str) -> Vec<String> {
    cells(line.trim_start_matches('\u{feff}'))
        .unwrap_or_default()
        .iter()
        .map(|cell| cell.trim().to_owned())
        .collect()
}

fn position(header: &[String], name: &str) -> Option<usize> {
    header
        .iter()
        .position(|column| column.eq_ignore_ascii_case(name))
}

struct Rows {
    setup: Setup,
    header: Vec<String>,
}

impl Parser for Rows {
    fn takes_unended(&self, line: &[u8]) -> bool {
        trimmed(line)
            .and_then(|line| self.record(&line).ok())
            .is_some()
    }

    fn unit(&mut self, unit: &[u8], at: Position, out: &mut Out) -> Result<(), Refusal> {
        let Some(line) = trimmed(unit) else {
            out.ignored += 1;
            return Ok(());
        };
        if self.header.is_empty() {
            let header = header(&line);
            if let Some(missing) = COLUMNS
                .iter()
                .find(|name| position(&header, name).is_none())
            {
                return Err(Refusal(format!(
                    "its header has no column {missing}; it is no trace of Azure, describe it with --map"
                )));
            }
            self.header = header;
            out.ignored += 1;
            return Ok(());
        }
        match self.record(&line) {
            Ok(record) => {
                let id = row_id("azure_llm", &self.setup, at, unit);
                out.identified(Payload::RuntimeTelemetry(record), Some(id), at, unit);
            }
            Err((class, text)) => out.reject(class, text, "telemetry.runtime", at, unit),
        }
        Ok(())
    }
}

impl Rows {
    fn record(&self, line: &str) -> Result<RuntimeTelemetry, (&'static str, String)> {
        let cells = cells(line).unwrap_or_default();
        if cells.len() != self.header.len() {
            let text = format!(
                "the row has {} cells, its header {}; it was cut or damaged",
                cells.len(),
                self.header.len()
            );
            return Err(("bad_row", text));
        }
        let mut record = RuntimeTelemetry {
            run_id: self.setup.run_id.clone(),
            attempt: self.setup.attempt,
            n: Some(1),
            ..RuntimeTelemetry::default()
        };
        for (name, cell) in self.header.iter().zip(&cells) {
            let cell = cell.trim();
            let bad = |what| {
                let text = format!("{name} is {cell:?}, which is no {what}; the row is damaged");
                ("bad_value", text)
            };
            match name.to_ascii_lowercase().as_str() {
                "timestamp" => {
                    record.event_time_ms = Some(arrival(cell).ok_or_else(|| bad("time"))?);
                }
                "contexttokens" => {
                    let tokens = cell.parse().map_err(|_| bad("number of tokens"))?;
                    (record.context_tokens, record.input_tokens) = (Some(tokens), Some(tokens));
                }
                "generatedtokens" => {
                    record.output_tokens = Some(cell.parse().map_err(|_| bad("number of tokens"))?);
                }
                "numimages" => {
                    if let Some(value) = Number::read(cell).and_then(|number| number.value) {
                        keep(&mut record.metrics, "images", value);
                    }
                }
                _ => {
                    if let Some(value) = Number::read(cell).and_then(|number| number.value) {
                        keep(&mut record.metrics, name, value);
                    }
                }
            }
        }
        Ok(record)
    }
}

/// `2023-11-16 18:15:46.6805900`, with `Z`, an offset (`+00:00`) or nothing behind it.
fn arrival(text: &str) -> Option<i64> {
    let (date, clock) = text.split_once([' ', 'T'])?;
    let at = clock.find(['+', '-', 'Z']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(at);
    let utc = time::parse(&format!("{date}T{clock}Z"))?;
    let offset_ms = match zone {
        "" | "Z" => 0,
        _ => {
            let (hours, minutes) = zone[1..].split_once(':').unwrap_or((&zone[1..], "0"));
            let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
            if hours > 14 || minutes > 59 {
                return None;
            }
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            sign * (hours * 60 + minutes) * 60_000
        }
    };
    utc.checked_sub(offset_ms)
}
