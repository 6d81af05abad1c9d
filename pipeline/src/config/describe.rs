//! What each setting means: the one list that `cairn config` prints and `docs/configuration.md` is generated from.

use super::{default_tree, names};

/// Name, meaning and reason of the default. A test holds the list to the tree of settings.
const MEANINGS: &[(&str, &str)] = &[
    ("log.data", "Directory of the embedded log; used where log.kafka is empty."),
    ("log.kafka", "Bootstrap servers of a Kafka cluster, host:port separated by commas; empty means the embedded log."),
    ("log.registry", "Base URL of a schema registry with the Confluent API; empty with Kafka means the compiled-in contract, which the gateway serves."),
    ("log.properties", "Further librdkafka properties, such as security.protocol, sasl.mechanism, sasl.username, sasl.password, ssl.ca.location."),
    ("log.app_id", "Prefix of group and transactional ids; two deployments on one cluster differ in it."),
    ("log.partitions_run", "Partitions of the run family, fixed at the first `topics apply`."),
    ("log.partitions_ingress", "Partitions of ingress topics that `topics apply` creates."),
    ("log.replication_factor", "Replicas of topics that `topics apply` creates; 3 on a cluster."),
    ("log.group_protocol", "classic (static membership, a restart takes its partitions back at once) or consumer."),
    ("log.session_timeout_ms", "A member that is silent this long loses its partitions."),
    ("log.transaction_timeout_ms", "The broker aborts a transaction that is open this long; a dead producer blocks readers until then."),
    ("log.reach_timeout_ms", "How long to wait for an answer before saying that something is out of reach."),
    ("runtime.tenants", "Tenants whose ingress topics are read: `default` without prefix, others as NAME.telemetry.training."),
    ("runtime.commit_interval_ms", "Longest time between commits; an urgent output commits at once."),
    ("runtime.poll_records_max", "Most records taken in one poll."),
    ("runtime.batch_records_max", "Most records in one transaction: bounds memory and what an abort repeats."),
    ("runtime.poll_patience_ms", "Longest wait for records: bounds how late a stop or a timer is noticed."),
    ("runtime.tick_interval_ms", "Least time between two ticks, appended only while a timer is armed."),
    ("runtime.restart_backoff_ms", "First wait before a task is rebuilt after a fault; doubles each time."),
    ("runtime.restart_backoff_ms_max", "Longest such wait."),
    ("runtime.stop_deadline_ms", "A stop is done within this time, or what is open is aborted."),
    ("runtime.drain_timeout_s", "`cairn run --drain` gives up after this long."),
    ("runtime.pass_ms_max", "Longest write transaction of the embedded log."),
    ("runtime.pass_pause_ms", "Pause between passes of the embedded log, in which other processes write."),
    ("runtime.state_bytes_max", "A task whose tables hold more stops with a configuration error, before the machine runs out of memory."),
    ("gateway.listen", "Address of /metrics, /healthz, /readyz, ingest and the built-in registry; loopback unless told otherwise; `off` turns it off."),
    ("gateway.body_bytes_max", "Largest request body."),
    ("deadletter.recipient", "age recipient that originals are sealed to; `cairn init` makes one."),
    ("deadletter.identity", "File with the identity that opens them; keep it off the machines that run the pipeline."),
    ("deadletter.excerpt_chars_max", "Longest redacted excerpt of a dead letter."),
    ("admit.metrics_allowed", "Names allowed in the free `metrics` maps, `*` at one end; empty lets all in."),
    ("admit.sources_allowed", "Values of the header `source` that may send; empty lets all in."),
    ("admit.datasets_allowed", "Data sets that a run's mix may name; empty lets all in."),
    ("admit.record_bytes_max", "Most bytes of one ingress record."),
    ("admit.packed_events_max", "Most events packed into one record of runs.events."),
    ("admit.metrics_max", "Most entries of a free `metrics` map."),
    ("admit.future_cap_ms", "How far ahead of its receipt an event may claim to be."),
    ("refit.rules.cohorts", "Cohorts every tenant has: name, and an SQL condition over the columns of `rows`."),
    ("refit.rules.debounce_ms", "A cohort is refitted once its rows have not changed for this long."),
    ("refit.rules.debounce_ms_max", "… and at the latest this long after the first change."),
    ("refit.rules.rows_max", "Most rows pinned to one fit."),
    ("refit.rules.runs_noteworthy_min", "Cohorts with fewer runs than this do not raise an alert when they cannot be fitted."),
    ("refit.bootstrap", "Bootstrap replicates over runs."),
    ("refit.level", "Level of the intervals."),
    ("refit.huber_delta", "Where the Huber loss on log residuals turns from square to linear."),
    ("refit.holdout_runs", "Runs of the largest compute that the back-test holds out."),
    ("refit.memory_bytes_max", "Most memory of one window query."),
    ("cockpit.alerts_max", "Most alerts on a board; the schema's bound is 50."),
    ("cockpit.breakers_max", "Most run breakers on a board; the schema's bound is 32."),
    ("cockpit.board_ttl_ms", "A board is stale this long after it was issued."),
    ("cockpit.remembered_max", "Most alerts remembered for a tenant."),
];

/// Every setting: name, variable, default, meaning.
#[must_use]
pub fn describe() -> Vec<(String, String, String, String)> {
    names::leaves(&default_tree())
        .into_iter()
        .map(|(path, default)| {
            let meaning = MEANINGS.iter().find(|(name, _)| *name == path).map_or("", |(_, meaning)| meaning);
            (path.clone(), names::to_variable(&path), names::compact(&default), meaning.to_owned())
        })
        .collect()
}

/// `docs/configuration.md`.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# Configuration\n\nGenerated by `cairn config --markdown`; do not edit.\n\nA setting comes from its default, then the \
         file (`DIR/cairn.yaml` or `--config`), then the environment, then `--set NAME=VALUE`. `--data`, `--kafka` and \
         `--registry` (or `CAIRN_DATA`, `CAIRN_KAFKA`, `CAIRN_REGISTRY`) are short for the settings of that name under `log`.\n\n\
         | setting | environment | default | meaning |\n|---|---|---|---|\n",
    );
    for (path, variable, default, meaning) in describe() {
        let default = default.replace('|', "\\|");
        text.push_str(&format!("| `{path}` | `{variable}` | `{default}` | {meaning} |\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    /// Settings of the cores are described where the cores say what they mean; everything else here.
    #[test]
    fn every_setting_is_described_and_nothing_else() {
        let settings = super::describe();
        let missing: Vec<_> = settings.iter().filter(|(.., meaning)| meaning.is_empty()).map(|(name, ..)| name).collect();
        assert!(missing.is_empty(), "settings without a meaning: {missing:?}");
        let unknown: Vec<_> =
            super::MEANINGS.iter().filter(|(name, _)| !settings.iter().any(|(path, ..)| path == name)).collect();
        assert!(unknown.is_empty(), "meanings of no setting: {unknown:?}");
    }
}
