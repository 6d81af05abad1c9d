//! What each setting means: the one list that `cairn config` prints and `docs/configuration.md` is generated from.
//!
//! The settings of the cores are described where the cores are: the comments of their structs are read out of the source at
//! build time, so that nothing is said twice. The settings of the shell are described here.

use super::{default_tree, names};

/// Name, meaning and reason of the default. A test holds the list to the tree of settings.
const MEANINGS: &[(&str, &str)] = &[
    (
        "log.data",
        "Directory of the embedded log; used where log.kafka is empty.",
    ),
    (
        "log.kafka",
        "Bootstrap servers of a Kafka cluster, host:port separated by commas; empty means the embedded log.",
    ),
    (
        "log.registry",
        "Base URL of a schema registry with the Confluent API; empty with Kafka means the compiled-in contract, which the gateway serves.",
    ),
    (
        "log.properties",
        "Further librdkafka properties, such as security.protocol, sasl.mechanism, sasl.username, sasl.password, ssl.ca.location.",
    ),
    (
        "log.app_id",
        "Prefix of group and transactional ids; two deployments on one cluster differ in it.",
    ),
    (
        "log.partitions_run",
        "Partitions of the run family, fixed at the first `topics apply`.",
    ),
    (
        "log.partitions_ingress",
        "Partitions of ingress topics that `topics apply` creates.",
    ),
    (
        "log.replication_factor",
        "Replicas of topics that `topics apply` creates; 3 on a cluster.",
    ),
    (
        "log.group_protocol",
        "classic (static membership, a restart takes its partitions back at once) or consumer.",
    ),
    (
        "log.session_timeout_ms",
        "A member that is silent this long loses its partitions.",
    ),
    (
        "log.transaction_timeout_ms",
        "The broker aborts a transaction that is open this long; a dead producer blocks readers until then.",
    ),
    (
        "log.reach_timeout_ms",
        "How long to wait for an answer before saying that something is out of reach.",
    ),
    (
        "runtime.tenants",
        "Tenants whose ingress topics are read: `default` without prefix, others as NAME.telemetry.training.",
    ),
    (
        "runtime.commit_interval_ms",
        "Longest time between commits, as long as they are quick; an urgent output commits at once.",
    ),
    (
        "runtime.commit_interval_ms_max",
        "Longest time between commits where they are slow: runtime.commit_share_max stretches the interval so far.",
    ),
    (
        "runtime.commit_share_max",
        "Share of the time that commits may take: under load the interval grows until they take no more. 1 never stretches it.",
    ),
    (
        "runtime.idle_commit_ms",
        "What is open is committed once no record has come for so long: a trickle is not held back for the interval.",
    ),
    (
        "runtime.poll_records_max",
        "Most records taken in one poll.",
    ),
    (
        "runtime.batch_records_max",
        "Most records in one transaction: bounds memory and what an abort repeats.",
    ),
    (
        "runtime.merge_records_max",
        "Most ingress records held back while another partition is behind in time; above it their partitions are paused.",
    ),
    ("runtime.merge_bytes_max", "The same in bytes of values."),
    (
        "runtime.merge_wait_ms_max",
        "Longest wait for an ingress partition that is behind and delivers nothing; then the others go on without it.",
    ),
    (
        "runtime.poll_patience_ms",
        "Longest wait for records: bounds how late a stop or a timer is noticed.",
    ),
    (
        "runtime.tick_interval_ms",
        "Least time between two ticks, appended only while a timer is armed.",
    ),
    (
        "runtime.restart_backoff_ms",
        "First wait before a task is rebuilt after a fault; doubles each time.",
    ),
    ("runtime.restart_backoff_ms_max", "Longest such wait."),
    (
        "runtime.stop_deadline_ms",
        "A stop is done within this time, or what is open is aborted.",
    ),
    (
        "runtime.drain_timeout_s",
        "`cairn run --drain` gives up after this long.",
    ),
    (
        "runtime.pass_ms_max",
        "Longest write transaction of the embedded log.",
    ),
    (
        "runtime.pass_pause_ms",
        "Pause between passes of the embedded log, in which other processes write.",
    ),
    (
        "runtime.state_bytes_max",
        "A task whose tables hold more stops with a configuration error, before the machine runs out of memory.",
    ),
    (
        "runtime.guard_after_ms",
        "A partition that waits for the schema registry this long opens a guard; a moment's silence is no news.",
    ),
    (
        "runtime.guard_notice_ms",
        "How long the guard slow_log stays open after the last slow commit.",
    ),
    (
        "runtime.loss_notice_ms",
        "How long the guards retention_overtaken and core_panic stay open, unless somebody resumes them.",
    ),
    (
        "runtime.slow_commit_ms",
        "A commit that takes longer opens the guard slow_log.",
    ),
    (
        "runtime.snapshot_dir",
        "Folder of local snapshots of task state, one folder an instance; empty: `snapshots` in log.data on Kafka, none on the embedded log.",
    ),
    (
        "runtime.snapshot_age_s_max",
        "An older snapshot is thrown away; 12 h, below the 24 h for which changelogs keep the tombstones of deleted keys.",
    ),
    (
        "runtime.snapshot_slack_bytes_max",
        "Bytes of a snapshot beyond twice the state that it holds; above it the snapshot is compacted in the background.",
    ),
    (
        "runtime.snapshot_mark_interval_ms",
        "How often a snapshot notes how far into the changelog it reaches: a restart reads the changelog from the last note on.",
    ),
    (
        "gateway.listen",
        "Address of /metrics, /healthz, /readyz, ingest and the built-in registry; loopback unless told otherwise; `off` turns it off.",
    ),
    (
        "gateway.events",
        "Whether POST /v1/events is there; off leaves metrics, health and the registry.",
    ),
    (
        "gateway.tokens",
        "Who may send events: a list of {sha256: digest of the token, tenant: NAME, topics: [ingress topics; all when left out]}. Without any, events are taken on loopback only, for the tenant default.",
    ),
    (
        "gateway.body_bytes_max",
        "Largest request body, as it is sent.",
    ),
    (
        "gateway.decoded_bytes_max",
        "Largest request body, decompressed.",
    ),
    (
        "gateway.queue_requests_max",
        "Requests that may wait for the writer; more are answered 429 with Retry-After.",
    ),
    (
        "gateway.batch_bytes_max",
        "Bodies that go into one transaction together, where several wait.",
    ),
    (
        "gateway.idempotency_s",
        "How long an Idempotency-Key is remembered (s).",
    ),
    (
        "gateway.idempotency_keys_max",
        "Idempotency-Keys remembered at once; beyond it the oldest is forgotten.",
    ),
    (
        "deadletter.recipient",
        "age recipient that originals are sealed to; `cairn init` makes one.",
    ),
    (
        "deadletter.identity",
        "File with the identity that opens them; keep it off the machines that run the pipeline.",
    ),
    (
        "redaction.key",
        "Key of pseudonyms, 64 hexadecimal digits; empty means that of redaction.key_file. Best said by the environment, from a store of secrets.",
    ),
    (
        "redaction.key_file",
        "File with the key of pseudonyms; `cairn init` makes one outside the data directory. Machines that share a cluster share its content.",
    ),
    (
        "deadletter.excerpt_chars_max",
        "Longest redacted excerpt of a dead letter.",
    ),
    ("refit.bootstrap", "Bootstrap replicates over runs."),
    ("refit.level", "Level of the intervals."),
    (
        "refit.huber_delta",
        "Where the Huber loss on log residuals turns from square to linear.",
    ),
    (
        "refit.holdout_runs",
        "Runs of the largest compute that the back-test holds out.",
    ),
    ("refit.memory_bytes_max", "Most memory of one window query."),
    (
        "migrate.transaction_bytes",
        "`cairn migrate` moves about so much state in one transaction: within the transaction time-out on a slow broker, too.",
    ),
    (
        "registry.store",
        "Where the experiment registry keeps its tables: delta, jsonl, postgres, or off.",
    ),
    (
        "registry.location",
        "Directory or s3://, gs://, az:// address (delta), directory (jsonl), or postgres:// address; empty means registry/ in log.data.",
    ),
    (
        "registry.postgres_ca_file",
        "PEM file of authorities to trust beside the system's, for a postgres:// address with sslmode=require.",
    ),
    (
        "registry.commit_interval_ms",
        "How often tables are brought up to the log: commands that look meanwhile say how far behind they are.",
    ),
    (
        "registry.commit_rows_max",
        "Rows that one commit takes at most.",
    ),
    (
        "registry.tidy_interval_s",
        "How often files that no version needs any more are removed.",
    ),
    (
        "registry.query_memory_bytes_max",
        "Memory that `cairn sql` and `cairn runs` may use for a query.",
    ),
    (
        "registry.delta_file_rows_max",
        "Rows of one data file: an upsert writes anew each file that holds a row of it.",
    ),
    (
        "registry.delta_retention_hours",
        "How long an earlier state of a table can be asked for.",
    ),
    (
        "replay.read_bytes",
        "`cairn replay` reads each partition about this far ahead.",
    ),
    (
        "replay.skew_ms_max",
        "How much later than its cut a record of the same batch may be stamped: the longest transaction, and how far the brokers' clocks differ.",
    ),
    (
        "replay.held_bytes_max",
        "Records that wait for their partner or their turn; above it, whoever waits longest is judged without.",
    ),
];

/// Where the settings of a group are described: prefix, source, struct.
const SOURCES: &[(&str, &str, &str)] = &[
    (
        "admit",
        include_str!("../../../operators/src/admit/mod.rs"),
        "AdmitRules",
    ),
    (
        "admit.guards",
        include_str!("../../../operators/src/admit/guarding.rs"),
        "GuardRules",
    ),
    (
        "cockpit",
        include_str!("../../../operators/src/cockpit.rs"),
        "CockpitRules",
    ),
    (
        "refit.rules",
        include_str!("../../../operators/src/refit/rules.rs"),
        "RefitRules",
    ),
    (
        "refit.rules.standing",
        include_str!("../../../operators/src/refit/standing.rs"),
        "StandingRules",
    ),
    (
        "runs",
        include_str!("../../../operators/src/runs/rules.rs"),
        "RunsRules",
    ),
    (
        "runs.derivation",
        include_str!("../../../operators/src/runs/normalize/derived/settings.rs"),
        "DerivationRules",
    ),
    (
        "runs.follow.time",
        include_str!("../../../operators/src/time.rs"),
        "TimeSettings",
    ),
    (
        "runs.follow.rules.windows",
        include_str!("../../../operators/src/windows/mod.rs"),
        "WindowSettings",
    ),
    (
        "runs.follow.rules.plateau",
        include_str!("../../../operators/src/breaker/rules.rs"),
        "PlateauRule",
    ),
    (
        "runs.follow.rules.divergence",
        include_str!("../../../operators/src/breaker/rules.rs"),
        "DivergenceRule",
    ),
    (
        "runs.follow.rules.non_finite",
        include_str!("../../../operators/src/breaker/rules.rs"),
        "NonFiniteRule",
    ),
    (
        "runs.follow.rules.recovery",
        include_str!("../../../operators/src/breaker/rules.rs"),
        "RecoveryRule",
    ),
];

/// The comment of a struct's field, on one line.
fn comment(source: &str, structure: &str, field: &str) -> Option<String> {
    let body = source.split_once(&format!("pub struct {structure} {{"))?.1;
    let body = body.split_once("\n}")?.0;
    let mut said: Vec<&str> = Vec::new();
    for line in body.lines().map(str::trim) {
        match line.strip_prefix("///") {
            Some(text) => said.push(text.trim()),
            None if line.starts_with(&format!("pub {field}:")) => {
                return Some(said.join(" ").replace('`', ""));
            }
            None if line.starts_with('#') => {}
            None => said.clear(),
        }
    }
    None
}

fn meaning(path: &str) -> String {
    if let Some((_, meaning)) = MEANINGS.iter().find(|(name, _)| *name == path) {
        return (*meaning).to_owned();
    }
    let Some((prefix, field)) = path.rsplit_once('.') else {
        return String::new();
    };
    let source = SOURCES.iter().find(|(known, ..)| *known == prefix);
    source
        .and_then(|(_, text, structure)| comment(text, structure, field))
        .unwrap_or_default()
}

/// Every setting: name, variable, default, meaning.
#[must_use]
pub fn describe() -> Vec<(String, String, String, String)> {
    names::leaves(&default_tree())
        .into_iter()
        .map(|(path, default)| {
            (
                path.clone(),
                names::to_variable(&path),
                names::compact(&default),
                meaning(&path),
            )
        })
        .collect()
}

/// `docs/configuration.md`.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# Configuration\n\nGenerated by `cairn config --markdown`; do not edit.\n\nA setting comes from its default, then the \
         file (`DIR/cairn.yaml` or `--config`), then the environment, then `--setting NAME=VALUE`. `--data`, `--kafka` and \
         `--registry` (or `CAIRN_DATA`, `CAIRN_KAFKA`, `CAIRN_REGISTRY`) are short for the settings of that name under `log`.\n\n\
         | setting | environment | default | meaning |\n|---|---|---|---|\n",
    );
    for (path, variable, default, meaning) in describe() {
        let default = default.replace('|', "\\|");
        let meaning = meaning.replace('|', "\\|");
        text.push_str(&format!(
            "| `{path}` | `{variable}` | `{default}` | {meaning} |\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_setting_is_described_and_nothing_else() {
        let settings = super::describe();
        let missing: Vec<_> = settings
            .iter()
            .filter(|(.., meaning)| meaning.is_empty())
            .map(|(name, ..)| name)
            .collect();
        assert!(
            missing.is_empty(),
            "settings without a meaning: {missing:?}"
        );
        let unknown: Vec<_> = super::MEANINGS
            .iter()
            .filter(|(name, _)| !settings.iter().any(|(path, ..)| path == name))
            .collect();
        assert!(unknown.is_empty(), "meanings of no setting: {unknown:?}");
    }

    /// `make docs` writes them, or this test with CAIRN_UPDATE_GOLDEN=1; a change of a setting or a metric without it fails
    /// here.
    #[test]
    fn the_generated_pages_are_current() {
        let root = std::path::Path::new("../docs"); // cargo starts a test in its crate's folder
        for (name, text) in [
            ("configuration.md", super::markdown()),
            ("metrics.md", crate::metrics::markdown()),
        ] {
            if std::env::var("CAIRN_UPDATE_GOLDEN").is_ok_and(|set| set == "1") {
                std::fs::write(root.join(name), &text).expect("written");
            }
            let kept = std::fs::read_to_string(root.join(name)).unwrap_or_default();
            assert!(kept == text, "docs/{name} is not current: run `make docs`");
        }
    }
}
