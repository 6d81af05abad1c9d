//! `cairn migrate`: a family of topics to another number of partitions.

use super::{Failure, Global, Outcome, print, say};
use crate::connect;
use crate::migrate::{self, Migrated, Request, Trouble};
use clap::Args;

/// Move a family of topics to another number of partitions, with the state of its tasks.
#[derive(Args)]
pub struct Migrate {
    /// The family; only `run` has more than one partition
    family: String,
    /// Partitions to be in use
    #[arg(long, value_name = "N")]
    partitions: i32,
}

impl Migrate {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let (config, place) = global.look()?;
        if place.log.kind() == "embedded" {
            // A log of before may lack the topic that it is recorded in.
            connect::ensure_topics(&place, &config.log, &config.runtime.tenants)?;
        }
        let request = Request {
            family: self.family,
            partitions: self.partitions,
        };
        let Migrated {
            from,
            to,
            present,
            moved,
        } = migrate::migrate(&config, &place, &request, &mut || Ok(())).map_err(failure)?;
        if global.is_json() {
            say(&serde_json::json!({
                "family": request.family, "from": from, "to": to, "present": present, "moved": moved
            }));
        } else {
            print(&format!(
                "{}: {from} → {to} partitions in use, {present} there; {moved} entries of state moved\n\
                 Set log.partitions_run to {to} where it is set.\n",
                request.family
            ));
        }
        Ok(0)
    }
}

fn failure(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Fault(fault) => fault.into(),
        Trouble::Refused { message, remedy } => {
            Failure::new("migrate_refused", 1, message, "log", remedy)
        }
    }
}
