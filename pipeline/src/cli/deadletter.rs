//! `cairn deadletter`: what could not be taken, why, and the way back.

use super::table::Table;
use super::{Failure, Global, Outcome, print, say};
use crate::deadletter::{self, DeadLetterError, Outcome as Fate, Replay};
use crate::redaction::Redaction;
use crate::seal::Identity;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Records that could not be taken.
#[derive(Args)]
pub struct Deadletter {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Every dead letter: class, reason, source
    List,
    /// One dead letter with all that is known of it; never the original
    Show {
        /// Its id, or a beginning of at least six characters
        id: String,
        /// Open the original with the identity, and print it
        #[arg(long)]
        open: bool,
        /// File with the identity
        #[arg(long, env = "CAIRN_IDENTITY", value_name = "FILE")]
        identity: Option<PathBuf>,
    },
    /// Send originals again, under their event ids
    Replay {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<String>,
        /// File with the identity
        #[arg(long, env = "CAIRN_IDENTITY", value_name = "FILE")]
        identity: Option<PathBuf>,
    },
}

impl Deadletter {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let (config, place) = global.look()?;
        let identity = |named: Option<PathBuf>| {
            let file = named.unwrap_or_else(|| PathBuf::from(&config.deadletter.identity));
            let wrong = |message: String| {
                Failure::new(
                    "identity",
                    2,
                    message,
                    file.display().to_string(),
                    "name the identity with --identity",
                )
            };
            let text = std::fs::read_to_string(&file).map_err(|error| wrong(error.to_string()))?;
            Identity::from_file(&text).map_err(|error| wrong(error.to_string()))
        };
        match self.action {
            Action::List => {
                let mut table = Table::new(&["id", "class", "source", "text"]);
                deadletter::list(&*place.log, &mut |letter| {
                    let listed = deadletter::listed(&letter);
                    if global.is_json() {
                        say(&listed);
                    } else {
                        let source = &listed["source"];
                        let source = match source["file"].as_str() {
                            Some(file) => format!("{file}:{}", source["line"]),
                            None => format!(
                                "{}/{}@{}",
                                source["topic"].as_str().unwrap_or("–"),
                                source["partition"],
                                source["offset"]
                            ),
                        };
                        let id = letter.deadletter_id.chars().take(12).collect();
                        table.row(vec![id, letter.class.clone(), source, letter.text.clone()]);
                    }
                })
                .map_err(failure)?;
                if !global.is_json() {
                    print(&table.text());
                }
                Ok(0)
            }
            Action::Show {
                id,
                open,
                identity: file,
            } => {
                let letters = deadletter::find(&*place.log, &[id]).map_err(failure)?;
                for letter in &letters {
                    let mut shown = deadletter::shown(letter);
                    if open {
                        let original = crate::seal::open(&identity(file.clone())?, &letter.sealed)
                            .map_err(|error| {
                                Failure::new(
                                    "seal",
                                    2,
                                    error.to_string(),
                                    "original",
                                    "name the identity it was sealed for",
                                )
                            })?;
                        shown["original"] = String::from_utf8_lossy(&original).into_owned().into();
                    }
                    if global.is_json() {
                        say(&shown);
                    } else {
                        print(&format!(
                            "{}\n",
                            serde_json::to_string_pretty(&shown).unwrap_or_default()
                        ));
                    }
                }
                Ok(0)
            }
            Action::Replay {
                ids,
                identity: file,
            } => {
                let letters = deadletter::find(&*place.log, &ids).map_err(failure)?;
                let recipient = super::ingest::recipient(&config.deadletter.recipient)?;
                let with = Replay {
                    log: &*place.log,
                    registry: &*place.registry,
                    identity: &identity(file)?,
                    recipient: &recipient,
                    redaction: &Redaction::of(&config),
                    app_id: &config.log.app_id,
                    rules: &config.admit,
                };
                let replayed = deadletter::replay(&with, &letters).map_err(failure)?;
                let mut exit = 0;
                for one in &replayed {
                    exit = exit.max(match one.outcome {
                        Fate::Sent => 0,
                        Fate::Dead => 3,
                        Fate::Refused => 1,
                    });
                    if global.is_json() {
                        say(&serde_json::to_value(one).unwrap_or_default());
                    } else {
                        print(&format!("{} {:?} {}\n", one.id, one.outcome, one.text));
                    }
                }
                Ok(exit)
            }
        }
    }
}

fn failure(error: DeadLetterError) -> Failure {
    match error {
        DeadLetterError::Fault(fault) => fault.into(),
        DeadLetterError::Seal { .. } => Failure::new(
            "seal",
            2,
            error.to_string(),
            "identity",
            "name the identity it was sealed for with --identity",
        ),
        DeadLetterError::Refused(_) => Failure::new(
            "not_found",
            1,
            error.to_string(),
            "deadletter",
            "`cairn deadletter list` shows what there is",
        ),
    }
}
