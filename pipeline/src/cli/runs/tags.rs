//! `cairn runs tag` and `untag`: what people add to a run, at ingress like anything else that is said of it.

use super::super::{Failure, Global, Outcome, print, say};
use super::view::View;
use crate::metrics::wall_time_ms;
use crate::publish::{Keys, Who, publish};
use crate::registry::AsOf;
use cairn_avro::record::RunTags;
use cairn_topics::{handle::RUNS_TAGS, ingress_name, run_key};
use clap::Args;
use std::collections::BTreeMap;

/// Add tags to runs.
#[derive(Args)]
pub struct Tag {
    /// The run, or TENANT/RUN
    run: String,
    /// Tags
    #[arg(required = true)]
    tags: Vec<String>,
}

/// Take tags from runs.
#[derive(Args)]
pub struct Untag {
    /// The run, or TENANT/RUN
    run: String,
    /// Tags
    #[arg(required = true)]
    tags: Vec<String>,
}

impl Tag {
    pub(super) fn run(self, global: &Global) -> Outcome {
        send(global, &self.run, self.tags, Vec::new())
    }
}

impl Untag {
    pub(super) fn run(self, global: &Global) -> Outcome {
        send(global, &self.run, Vec::new(), self.tags)
    }
}

fn send(global: &Global, run: &str, add: Vec<String>, remove: Vec<String>) -> Outcome {
    if let Some(tag) = add.iter().find(|tag| tag.trim().is_empty()) {
        return Err(Failure::usage(format!("{tag:?} is no tag"), "write a word"));
    }
    let mut view = View::open(global, &AsOf::Now)?;
    let row = view.run(run)?;
    let told = RunTags {
        run_id: row.run_id.clone(),
        event_time_ms: Some(wall_time_ms()),
        add,
        remove,
        actor: std::env::var("USER").ok().filter(|user| !user.is_empty()),
        ..RunTags::default()
    };
    let topic = ingress_name(&row.tenant, RUNS_TAGS.name);
    let keyed = Keys {
        partition_key: run_key(&row.tenant, &row.run_id),
        record_key: row.run_id.clone(),
        record: told,
    };
    let who = Who {
        app_id: &view.config.log.app_id,
        operator: "tags",
        instance: "cli",
    };
    publish(
        &*view.place.log,
        &*view.place.registry,
        &who,
        &topic,
        std::slice::from_ref(&keyed),
    )?;
    // what the tags will be, once `cairn run` has seen them
    let mut tags: BTreeMap<&str, ()> = row.tags.iter().map(|tag| (tag.as_str(), ())).collect();
    tags.extend(keyed.record.add.iter().map(|tag| (tag.as_str(), ())));
    for tag in &keyed.record.remove {
        tags.remove(tag.as_str());
    }
    let tags: Vec<&str> = tags.into_keys().collect();
    if global.is_json() {
        say(&serde_json::json!({"tenant": row.tenant, "run_id": row.run_id, "tags": tags}));
    } else {
        print(&format!(
            "{}: {}\n",
            super::list::name(&row),
            if tags.is_empty() {
                "no tags".to_owned()
            } else {
                tags.join(" ")
            }
        ));
    }
    Ok(0)
}
