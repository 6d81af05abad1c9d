//! `cairn topics`: the catalogue, and the log held against it.

use super::table::Table;
use super::{Failure, Global, Outcome, print, say};
use crate::connect;
use crate::families::Families;
use crate::guards;
use clap::{Args, Subcommand};
use std::collections::BTreeSet;

/// The catalogue of topics.
#[derive(Args)]
pub struct Topics {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Every topic: family, keys, partitions, retention, schema, who writes it
    List,
    /// Create what is missing and register its schemas; changes nothing that exists
    Apply,
    /// What differs between the catalogue and the log; exit 1 if anything does
    Diff,
    /// The AsyncAPI 3 document
    Asyncapi,
    /// Let go on what a guard holds: a topic, a source, an operator, as `cairn doctor` names it
    Resume(Resume),
}

#[derive(Args)]
struct Resume {
    /// The subject of the guard
    subject: String,
    /// Only this guard, such as topic_pause or quarantine; all about the subject when left out
    #[arg(long, value_name = "NAME")]
    guard: Option<String>,
    /// Only this tenant's
    #[arg(long, value_name = "T")]
    tenant: Option<String>,
}

impl Topics {
    pub(super) fn run(self, global: &Global) -> Outcome {
        match self.action {
            Action::List => list(global),
            Action::Apply => apply(global),
            Action::Diff => diff(global),
            Action::Resume(which) => resume(global, &which),
            Action::Asyncapi => {
                let document = cairn_topics::asyncapi();
                print(&format!(
                    "{}\n",
                    serde_json::to_string_pretty(&document).unwrap_or_default()
                ));
                Ok(0)
            }
        }
    }
}

fn list(global: &Global) -> Outcome {
    let mut table = Table::new(&[
        "topic",
        "family",
        "partitioned by",
        "record key",
        "partitions",
        "kept",
        "schema",
        "written by",
    ]);
    for topic in cairn_topics::catalogue() {
        let kept = match topic.cleanup {
            cairn_topics::Cleanup::Compact => "compacted".to_owned(),
            cairn_topics::Cleanup::Delete { retention_ms } if retention_ms < 0 => {
                "for ever".to_owned()
            }
            cairn_topics::Cleanup::Delete { retention_ms } => {
                format!("{} days", retention_ms / 86_400_000)
            }
        };
        let schema = topic.entry().map_or("JSON", |entry| entry.record);
        if global.is_json() {
            say(&serde_json::json!({
                "topic": topic.name, "family": topic.family.as_str(), "partitioned_by": topic.partition_words(),
                "record_key": topic.key_words(), "partitions": topic.partitions, "kept": kept, "schema": schema,
                "subject": topic.subject(), "owner": topic.owner, "description": topic.description,
            }));
        } else {
            table.row(vec![
                topic.name.to_owned(),
                topic.family.as_str().to_owned(),
                topic.partition_words(),
                topic.key_words(),
                topic.partitions.to_string(),
                kept,
                schema.to_owned(),
                topic.owner.to_owned(),
            ]);
        }
    }
    if !global.is_json() {
        print(&table.text());
    }
    Ok(0)
}

fn apply(global: &Global) -> Outcome {
    // No key is needed to create topics, and a machine that administers a cluster need not have one.
    let config = global.load()?;
    let place = connect::open(&config.log)?;
    let created = connect::ensure_topics(&place, &config.log, &config.runtime.tenants)?;
    let found = place.log.topics()?;
    let partitions = found.get("runs.events").map_or(0, |state| state.partitions);
    let in_use = Families::read(&place, &found)?.in_use("runs.events", partitions);
    if in_use != config.log.partitions_run {
        return Err(Failure::new(
            "partitions",
            1,
            format!(
                "the run family has {in_use} partitions, the configuration says {}",
                config.log.partitions_run
            ),
            "log.partitions_run",
            format!(
                "counts are fixed at the first apply: set it to {in_use}, or run `cairn migrate run --partitions {}`",
                config.log.partitions_run
            ),
        ));
    }
    let mut subjects = 0;
    for topic in cairn_topics::catalogue() {
        let Some(entry) = topic.entry() else { continue };
        let names: Vec<String> = if topic.family == cairn_topics::Family::Ingress {
            config
                .runtime
                .tenants
                .iter()
                .map(|tenant| cairn_topics::ingress_name(tenant, topic.name))
                .collect()
        } else {
            vec![topic.name.to_owned()]
        };
        for name in names {
            place
                .registry
                .id_of(&cairn_avro::contract::subject(&name), entry.schema)?;
            subjects += 1;
        }
    }
    if global.is_json() {
        say(&serde_json::json!({"created": created, "subjects": subjects}));
    } else {
        for name in &created {
            print(&format!("created {name}\n"));
        }
        print(&format!(
            "{} topics created, {subjects} schemas registered\n",
            created.len()
        ));
    }
    Ok(0)
}

fn resume(global: &Global, which: &Resume) -> Outcome {
    let (config, place) = global.look()?;
    let open = guards::open_guards(&*place.log)?;
    let is_meant = |guard: &&cairn_avro::record::Guard| {
        guard.subject == which.subject
            && which.guard.as_ref().is_none_or(|name| *name == guard.guard)
            && which
                .tenant
                .as_ref()
                .is_none_or(|name| *name == guard.tenant)
    };
    let meant: Vec<_> = open.iter().filter(is_meant).cloned().collect();
    if meant.is_empty() {
        let known: Vec<String> = open
            .iter()
            .map(|guard| format!("{} ({})", guard.subject, guard.guard))
            .collect();
        let remedy = if known.is_empty() {
            "no guard is open; there is nothing to resume".to_owned()
        } else {
            format!("open are {}", known.join(", "))
        };
        return Err(Failure::new(
            "not_found",
            1,
            format!("no open guard is about {}", which.subject),
            "topics resume",
            remedy,
        ));
    }
    guards::resume(&*place.log, &*place.registry, &config.log.app_id, &meant)?;
    for guard in &meant {
        if global.is_json() {
            say(&serde_json::json!({
                "subject": guard.subject, "guard": guard.guard, "tenant": guard.tenant,
                "operator": guard.operator, "instance": guard.instance,
            }));
        } else {
            print(&format!(
                "asked {} to resume {} ({})\n",
                guard.operator, guard.subject, guard.guard
            ));
        }
    }
    Ok(0)
}

fn diff(global: &Global) -> Outcome {
    let (config, place) = global.look()?;
    let wanted = connect::wanted_topics(&config.log, &config.runtime.tenants);
    let found = place.log.topics()?;
    let families = Families::read(&place, &found)?;
    let mut differences = Vec::new();
    for spec in &wanted {
        match found.get(&spec.name) {
            None => differences.push((
                spec.name.clone(),
                "missing".to_owned(),
                "run `cairn topics apply`",
            )),
            Some(state) => {
                let in_use = families.in_use(&spec.name, state.partitions);
                // After a migration to fewer, some hold only the past.
                if in_use != spec.partitions && state.partitions != spec.partitions {
                    differences.push((
                        spec.name.clone(),
                        format!("{in_use} partitions, the catalogue says {}", spec.partitions),
                        "counts are fixed at the first apply: set log.partitions_* to what is there, or run `cairn migrate run --partitions N`",
                    ));
                }
                if state.cleanup != spec.cleanup {
                    differences.push((
                        spec.name.clone(),
                        format!(
                            "kept as {:?}, the catalogue says {:?}",
                            state.cleanup, spec.cleanup
                        ),
                        "alter the topic's configuration",
                    ));
                }
                if state.max_message_bytes < spec.max_message_bytes {
                    differences.push((
                        spec.name.clone(),
                        format!(
                            "records of {} bytes at most, the catalogue says {}",
                            state.max_message_bytes, spec.max_message_bytes
                        ),
                        "set max.message.bytes, or larger records stop whoever writes them",
                    ));
                }
                if state.append_time != spec.append_time {
                    differences.push((
                        spec.name.clone(),
                        format!(
                            "append time {}, the catalogue says {}",
                            state.append_time, spec.append_time
                        ),
                        "set message.timestamp.type",
                    ));
                }
            }
        }
    }
    let known: BTreeSet<&str> = wanted.iter().map(|spec| spec.name.as_str()).collect();
    let tenants: BTreeSet<&str> = found
        .keys()
        .filter(|name| !known.contains(name.as_str()))
        .filter_map(|name| cairn_topics::split_tenant(name).map(|(tenant, _)| tenant))
        .collect();
    for tenant in tenants {
        differences.push((
            format!("{tenant}.*"),
            "topics of a tenant that runtime.tenants does not name".to_owned(),
            "add the tenant to runtime.tenants, or nothing reads them",
        ));
    }
    let mut table = Table::new(&["topic", "difference", "what to do"]);
    for (topic, difference, remedy) in &differences {
        if global.is_json() {
            say(&serde_json::json!({"topic": topic, "difference": difference, "remedy": remedy}));
        } else {
            table.row(vec![
                topic.clone(),
                difference.clone(),
                (*remedy).to_owned(),
            ]);
        }
    }
    if !global.is_json() {
        print(&if differences.is_empty() {
            "no difference\n".to_owned()
        } else {
            table.text()
        });
    }
    Ok(u8::from(!differences.is_empty()))
}
