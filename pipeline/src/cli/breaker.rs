//! `cairn breaker replay`: the breaker on files, without a log, through the same code as the pipeline.
//!
//! The files go through ingest into an embedded log in a temporary directory: what a parser makes of them here is what the
//! pipeline would have got.

use super::ingest::{failure, mapping};
use super::looks::Look;
use super::{Failure, Global, Outcome, print, say, verdicts};
use crate::config::Config;
use crate::connect::{self, Place};
use crate::ingest::{self, Options};
use crate::seal;
use cairn_avro::record::{Payload, TrainingTelemetry};
use cairn_operators::admit;
use cairn_operators::breaker::follow::FollowSettings;
use cairn_operators::breaker::replay::{BreakerRow, replay};
use cairn_operators::breaker::{BreakerRules, Plan, Preset};
use cairn_operators::operator::At;
use cairn_operators::runs;
use clap::{Args, Subcommand};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Try the breaker on files.
#[derive(Args)]
pub struct Breaker {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// What the breaker would have said of these logs
    Replay {
        /// Files to read
        #[arg(required = true)]
        files: Vec<String>,
        /// Their format; told from the content when left out
        #[arg(long, value_name = "F")]
        format: Option<String>,
        /// A file with rules, or the name of a preset: pretraining, fine_tuning, divergence_only
        #[arg(long, value_name = "R.yaml|PRESET")]
        rules: Option<String>,
        /// Mapping file for CSV and JSONL of one's own
        #[arg(long, value_name = "M.yaml")]
        map: Option<PathBuf>,
    },
}

impl Breaker {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let Action::Replay {
            files,
            format,
            rules,
            map,
        } = self.action;
        let settings = FollowSettings {
            rules: rules_of(rules.as_deref())?,
            ..FollowSettings::default()
        };
        let map = map.as_deref().map(mapping).transpose()?;
        let mut exit = 0;
        for file in &files {
            let directory = tempfile::tempdir().map_err(|error| {
                Failure::new(
                    "io",
                    2,
                    error.to_string(),
                    "temporary directory",
                    "set TMPDIR",
                )
            })?;
            let mut config = Config::default();
            config.log.data = directory.path().to_path_buf();
            let place = connect::open(&config.log)?;
            connect::ensure_topics(&place, &config.log, &config.runtime.tenants)?;
            // Rejects are sealed for nobody: the file itself is at hand.
            let recipient = super::ingest::recipient(&seal::new_identity().recipient())?;
            let mut options = Options::new(vec![file.clone()], recipient);
            options.format.clone_from(&format);
            options.mapping.clone_from(&map);
            let summaries = ingest::ingest(&*place.log, &*place.registry, &options, &mut |_| {
                ControlFlow::Continue(())
            })
            .map_err(failure)?;
            if summaries.iter().any(|summary| summary.rejected > 0) {
                exit = 3;
            }
            let (rows, plans) = read(&place)?;
            let (replayed, summary) = replay(rows, &settings, &plans);
            let at = At {
                topic: "runs.events",
                partition: 0,
                offset: 0,
                append_time_ms: 0,
            };
            for said in replayed {
                let verdict = runs::verdict(&at, "default", &said.run_id, said.decision);
                let value = verdicts::shape(&serde_json::to_value(&verdict).unwrap_or_default());
                if global.is_json() {
                    say(&value);
                } else {
                    print(&format!(
                        "{}: {} ({}): {}\n",
                        verdict.run_id, verdict.state, verdict.cause, verdict.text
                    ));
                }
            }
            let (runs, steps, trips) = (summary.runs, summary.steps, summary.trips);
            if global.is_json() {
                say(
                    &serde_json::json!({"file": file, "runs": runs, "steps": steps, "trips": trips}),
                );
            } else {
                print(&format!(
                    "{file}: {runs} runs, {steps} steps, {trips} trips\n"
                ));
            }
        }
        Ok(exit)
    }
}

fn rules_of(rules: Option<&str>) -> Result<BreakerRules, Failure> {
    let Some(rules) = rules else {
        return Ok(BreakerRules::default());
    };
    if let Some(preset) = Preset::named(rules) {
        return Ok(preset.rules());
    }
    let text = std::fs::read_to_string(rules).map_err(|error| {
        let presets: Vec<&str> = Preset::ALL.iter().map(|(name, _)| *name).collect();
        Failure::new(
            "io",
            2,
            error.to_string(),
            rules,
            format!("name a file, or a preset: {}", presets.join(", ")),
        )
    })?;
    serde_yaml_ng::from_str(&text).map_err(|error| {
        Failure::new(
            "rules",
            2,
            error.to_string(),
            rules,
            "`cairn config` lists the settings under runs.follow.rules",
        )
    })
}

/// Rows and plans of what was ingested.
fn read(place: &Place) -> Result<(Vec<BreakerRow>, BTreeMap<String, Plan>), Failure> {
    let mut look = Look::new(place)?;
    let mut plans = BTreeMap::new();
    look.all("runs.config", |_, record| {
        let value = record.value.as_deref().unwrap_or_default();
        if let Some(Payload::RunConfig(config)) = payload("runs.config", value) {
            let plan = runs::plan_of(config.training.as_ref(), config.curriculum);
            plans.insert(config.run_id.clone(), plan);
        }
        Ok(())
    })?;
    let mut rows = Vec::new();
    look.all("telemetry.training", |_, record| {
        let value = record.value.as_deref().unwrap_or_default();
        if let Some(mut payload @ Payload::TrainingTelemetry(_)) =
            payload("telemetry.training", value)
            && admit::check("telemetry.training", &mut payload).is_ok()
            && let Payload::TrainingTelemetry(telemetry) = payload
        {
            rows.push(row(&record, &telemetry));
        }
        Ok(())
    })?;
    Ok((rows, plans))
}

fn payload(topic: &str, value: &[u8]) -> Option<Payload> {
    let entry = cairn_avro::contract::of_topic(topic)?;
    let frame = cairn_avro::frame::split(value).ok()?;
    cairn_avro::codec::Reader::native(entry)
        .read_payload(frame.body)
        .ok()
}

fn row(record: &cairn_bus::Record, telemetry: &TrainingTelemetry) -> BreakerRow {
    let at = At {
        topic: &record.topic,
        partition: record.partition,
        offset: record.offset,
        append_time_ms: record.append_time_ms,
    };
    BreakerRow {
        run_id: telemetry.run_id.clone(),
        row: runs::row(&at, telemetry.attempt, &[], telemetry),
    }
}
