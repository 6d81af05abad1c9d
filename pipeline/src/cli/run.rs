//! `cairn run`: the operators, until stopped or until everything is worked off.

use super::table::Table;
use super::{Failure, Global, Outcome, print, say};
use crate::config::Config;
use crate::connect::Place;
use crate::gateway;
use crate::metrics::Metrics;
use crate::registry;
use crate::registry::sink::{Following, Sink};
use crate::runtime::service::{Drained, Service};
use crate::runtime::task::kinds;
use cairn_bus::{Fault, Membership};
use clap::Args;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Run the operators.
#[derive(Args)]
pub struct Run {
    /// Task kinds to run, separated by commas; all of them when left out
    #[arg(long, value_name = "OPS", value_delimiter = ',')]
    only: Vec<String>,
    /// Name of this instance, stable across restarts: it takes its partitions back at once
    #[arg(
        long,
        env = "CAIRN_INSTANCE_ID",
        default_value = "a",
        value_name = "NAME"
    )]
    instance_id: String,
    /// Work off what ingress holds now and all that it causes, then exit
    #[arg(long)]
    drain: bool,
    /// Give up a drain after this long (600)
    #[arg(long, value_name = "N")]
    timeout_s: Option<u64>,
}

impl Run {
    /// Runs until it is stopped, and has somebody who reads its log.
    pub(super) fn stays(&self) -> bool {
        !self.drain
    }

    pub(super) fn run(self, global: &Global) -> Outcome {
        let (config, place) = global.open()?;
        let metrics = Arc::new(Metrics::new());
        let service = Service::new(
            &config,
            place.clone(),
            metrics.clone(),
            self.instance_id.clone(),
            &self.only,
        )?;
        if self.drain {
            let timeout =
                Duration::from_secs(self.timeout_s.unwrap_or(config.runtime.drain_timeout_s));
            let drained = service.drain(timeout)?;
            self.bring_up(&config, &place);
            report(global, &drained);
            if drained.lag == 0 {
                return Ok(0);
            }
            if !drained.held.is_empty() {
                eprintln!(
                    "cairn: {} records are left: a guard keeps {} from being read (drain); `cairn doctor` says why, `cairn topics resume` lets it go on",
                    drained.lag,
                    drained.held.join(", ")
                );
                return Ok(4);
            }
            eprintln!(
                "cairn: {} records are left after {} s (drain); run it again, or give it longer with --timeout-s",
                drained.lag,
                timeout.as_secs()
            );
            return Ok(4);
        }
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::flag::register(signal, stop.clone()).map_err(|error| {
                Failure::new(
                    "signals",
                    2,
                    error.to_string(),
                    "process",
                    "run it where signals can be handled",
                )
            })?;
        }
        let ready = service.ready.clone();
        let gateway = gateway::start(&config, &place, metrics.clone(), ready, &self.instance_id)
            .map_err(|failure| self.held(&config, &place).unwrap_or(failure))?;
        let registry = self.follow(&config, &place, metrics)?;
        let result = service.run(&stop);
        stop.store(true, Ordering::Relaxed);
        drop(gateway);
        drop(registry);
        result?;
        Ok(0)
    }
}

impl Run {
    /// The registry is written by whoever normalises runs.
    fn writes_registry(&self) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == "runs")
    }

    /// Lets the registry follow the log.
    fn follow(
        &self,
        config: &Config,
        place: &Place,
        metrics: Arc<Metrics>,
    ) -> Result<Option<Following>, Failure> {
        if !self.writes_registry() {
            return Ok(None);
        }
        match registry::open(config)? {
            Some(store) => Ok(Some(Following::start(
                store,
                place,
                &config.registry,
                metrics,
            ))),
            None => Ok(None),
        }
    }

    /// Brings the registry up to what a drain has written. Where it cannot be, the log has all the same what it needs: the next
    /// one who looks tries again.
    fn bring_up(&self, config: &Config, place: &Place) {
        if !self.writes_registry() {
            return;
        }
        let done = registry::open(config).and_then(|store| {
            let Some(store) = store else { return Ok(()) };
            let mut sink = Sink::new(store, place, &config.registry)?;
            if sink.become_writer()? {
                sink.catch_up()?;
            }
            Ok(())
        });
        if let Err(fault) = done {
            eprintln!("cairn: the registry was not brought up to the log: {fault}");
        }
    }

    /// Who holds the directory, where somebody does: an address that is taken may be that one's gateway's, and freeing it would
    /// not help. The sessions that tell are never used.
    fn held(&self, config: &Config, place: &Place) -> Option<Failure> {
        if place.log.kind() != "embedded" {
            return None;
        }
        kinds(config)
            .into_iter()
            .filter(|kind| self.only.is_empty() || self.only.iter().any(|name| name == kind.name))
            .find_map(|kind| {
                let who = Membership {
                    operator: kind.name.to_owned(),
                    group: format!("{}.{}", config.log.app_id, kind.name),
                    instance: self.instance_id.clone(),
                    thread: 0,
                    topics: kind.inputs,
                };
                match place.log.open(who) {
                    Err(fault @ Fault::Fenced(_)) => Some(fault.into()),
                    _ => None,
                }
            })
    }
}

/// The answer of a drain.
pub(super) fn json(drained: &Drained) -> serde_json::Value {
    let operators: serde_json::Map<String, serde_json::Value> = drained
        .operators
        .iter()
        .map(|(name, counts)| {
            let value = serde_json::json!({
                "in": counts.records_in, "out": counts.records_out, "late": counts.late, "dead": counts.dead
            });
            (name.clone(), value)
        })
        .collect();
    serde_json::json!({"operators": operators, "cut": drained.cut, "lag": drained.lag})
}

fn report(global: &Global, drained: &Drained) {
    if global.is_json() {
        say(&json(drained));
        return;
    }
    let mut table = Table::new(&["operator", "in", "out", "late", "dead"]);
    for (name, counts) in &drained.operators {
        let cells = [
            counts.records_in,
            counts.records_out,
            counts.late,
            counts.dead,
        ];
        let mut row = vec![name.clone()];
        row.extend(cells.iter().map(u64::to_string));
        table.row(row);
    }
    print(&table.text());
}
