//! The configuration: one tree of settings, from defaults, a file, the environment and flags, in that order.
//!
//! The tree is the `Default` of [`Config`]; every leaf is a setting with a name such as `runtime.commit_interval_ms`. The
//! environment says the same as `CAIRN_RUNTIME_COMMIT_INTERVAL_MS`, a flag as `--setting
//! runtime.commit_interval_ms=50`. A
//! name that does not exist is refused with the nearest one. `docs/configuration.md` is generated from the tree.

mod describe;
mod names;
mod windows;

pub use describe::{describe, markdown};

use cairn_operators::admit::AdmitRules;
use cairn_operators::cockpit::CockpitRules;
use cairn_operators::redact::Key;
use cairn_operators::refit::RefitRules;
use cairn_operators::runs::RunsRules;
use serde::{Deserialize, Serialize};
use serde_yaml_ng::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every setting. What each means stands in `config/describe.rs`, where the documentation is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(
    missing_docs,
    reason = "describe.rs says what each setting means, and a test holds it to the tree"
)]
pub struct Config {
    pub log: LogConfig,
    pub runtime: RuntimeConfig,
    pub gateway: GatewayConfig,
    pub deadletter: DeadletterConfig,
    pub redaction: RedactionConfig,
    pub admit: AdmitRules,
    pub runs: RunsRules,
    pub refit: RefitConfig,
    pub cockpit: CockpitRules,
    pub registry: RegistryConfig,
    pub replay: ReplayConfig,
    pub migrate: MigrateConfig,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "see Config")]
pub struct LogConfig {
    pub data: PathBuf,
    pub kafka: String,
    pub registry: String,
    pub properties: BTreeMap<String, String>,
    pub app_id: String,
    pub partitions_run: i32,
    pub partitions_ingress: i32,
    pub replication_factor: i32,
    pub group_protocol: String,
    pub session_timeout_ms: u64,
    pub transaction_timeout_ms: u64,
    pub reach_timeout_ms: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            data: PathBuf::from(".cairn"),
            kafka: String::new(),
            registry: String::new(),
            properties: BTreeMap::new(),
            app_id: "cairn".to_owned(),
            partitions_run: 16,
            partitions_ingress: 4,
            replication_factor: 1,
            group_protocol: "classic".to_owned(),
            session_timeout_ms: 10_000,
            transaction_timeout_ms: 10_000,
            reach_timeout_ms: 10_000,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "see Config")]
pub struct RuntimeConfig {
    pub tenants: Vec<String>,
    pub commit_interval_ms: u64,
    pub commit_interval_ms_max: u64,
    pub commit_share_max: f64,
    pub idle_commit_ms: u64,
    pub poll_records_max: usize,
    pub batch_records_max: usize,
    pub merge_records_max: usize,
    pub merge_bytes_max: usize,
    pub merge_wait_ms_max: u64,
    pub poll_patience_ms: u64,
    pub tick_interval_ms: i64,
    pub restart_backoff_ms: u64,
    pub restart_backoff_ms_max: u64,
    pub stop_deadline_ms: u64,
    pub drain_timeout_s: u64,
    pub pass_ms_max: u64,
    pub pass_pause_ms: u64,
    pub state_bytes_max: u64,
    pub guard_after_ms: u64,
    pub guard_notice_ms: i64,
    pub loss_notice_ms: i64,
    pub slow_commit_ms: u64,
    pub snapshot_dir: PathBuf,
    pub snapshot_age_s_max: i64,
    pub snapshot_slack_bytes_max: u64,
    pub snapshot_mark_interval_ms: u64,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            tenants: vec!["default".to_owned()],
            commit_interval_ms: 100,
            commit_interval_ms_max: 400,
            commit_share_max: 0.2,
            idle_commit_ms: 10,
            poll_records_max: 5_000,
            batch_records_max: 50_000,
            merge_records_max: 50_000,
            merge_bytes_max: 64 << 20,
            merge_wait_ms_max: 5_000,
            poll_patience_ms: 20,
            tick_interval_ms: 1_000,
            restart_backoff_ms: 200,
            restart_backoff_ms_max: 10_000,
            stop_deadline_ms: 10_000,
            drain_timeout_s: 600,
            pass_ms_max: 50,
            pass_pause_ms: 5,
            state_bytes_max: 4 << 30,
            guard_after_ms: 5_000,
            guard_notice_ms: 60_000,
            loss_notice_ms: 86_400_000,
            slow_commit_ms: 5_000,
            snapshot_dir: PathBuf::new(),
            snapshot_age_s_max: 43_200,
            snapshot_slack_bytes_max: 64 << 20,
            snapshot_mark_interval_ms: 10_000,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "see Config")]
pub struct GatewayConfig {
    pub listen: String,
    pub events: String,
    pub tokens: Vec<TokenConfig>,
    pub body_bytes_max: usize,
    pub decoded_bytes_max: usize,
    pub queue_requests_max: usize,
    pub batch_bytes_max: usize,
    pub idempotency_s: u64,
    pub idempotency_keys_max: usize,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9464".to_owned(),
            events: "on".to_owned(),
            tokens: Vec::new(),
            body_bytes_max: 8 << 20,
            decoded_bytes_max: 64 << 20,
            queue_requests_max: 64,
            batch_bytes_max: 4 << 20,
            idempotency_s: 86_400,
            idempotency_keys_max: 100_000,
        }
    }
}

/// Who may send events: an entry of `gateway.tokens`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// SHA-256 of the token, 64 hexadecimal digits: the configuration does not hold the token.
    pub sha256: String,
    /// Whose events they are.
    pub tenant: String,
    /// Ingress topics that it may send to, without tenant; left out, all of them.
    #[serde(default)]
    pub topics: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "see Config")]
pub struct DeadletterConfig {
    pub recipient: String,
    pub identity: String,
    pub excerpt_chars_max: usize,
}

impl Default for DeadletterConfig {
    fn default() -> Self {
        Self {
            recipient: String::new(),
            identity: String::new(),
            excerpt_chars_max: 512,
        }
    }
}

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "see Config")]
pub struct RedactionConfig {
    pub key: String,
    pub key_file: String,
}

impl std::fmt::Debug for RedactionConfig {
    /// The key is a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedactionConfig")
            .field("key", &!self.key.is_empty())
            .field("key_file", &self.key_file)
            .finish()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "see Config")]
pub struct RefitConfig {
    pub rules: RefitRules,
    pub bootstrap: u32,
    pub level: f64,
    pub huber_delta: f64,
    pub holdout_runs: u32,
    pub memory_bytes_max: usize,
}

impl Default for RefitConfig {
    fn default() -> Self {
        Self {
            rules: RefitRules::default(),
            bootstrap: 400,
            level: 0.95,
            huber_delta: 1e-3,
            holdout_runs: 2,
            memory_bytes_max: 512 << 20,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "see Config")]
pub struct RegistryConfig {
    pub store: String,
    pub location: String,
    pub postgres_ca_file: PathBuf,
    pub commit_interval_ms: u64,
    pub commit_rows_max: usize,
    pub tidy_interval_s: u64,
    pub query_memory_bytes_max: usize,
    pub delta_file_rows_max: usize,
    pub delta_retention_hours: u64,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            store: "delta".to_owned(),
            location: String::new(),
            postgres_ca_file: PathBuf::new(),
            commit_interval_ms: 10_000,
            commit_rows_max: 10_000,
            tidy_interval_s: 86_400,
            query_memory_bytes_max: 1 << 30,
            delta_file_rows_max: 50_000,
            delta_retention_hours: 720,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "see Config")]
pub struct ReplayConfig {
    pub read_bytes: usize,
    pub skew_ms_max: i64,
    pub held_bytes_max: usize,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self {
            read_bytes: 512 << 10,
            skew_ms_max: 10_000,
            held_bytes_max: 256 << 20,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "see Config")]
pub struct MigrateConfig {
    pub transaction_bytes: usize,
}

impl Default for MigrateConfig {
    fn default() -> Self {
        Self {
            transaction_bytes: 4 << 20,
        }
    }
}

/// What is wrong with a configuration; the caller exits with 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}; {remedy}")]
pub struct ConfigError {
    /// File, variable or flag.
    pub place: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl Config {
    /// Puts the configuration together: defaults, then the file (where there is one), then `CAIRN_*`, then flags.
    ///
    /// # Errors
    /// The first setting that does not exist or cannot be read, and where it was said.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let defaults = default_tree();
        let mut tree = defaults.clone();
        let mut said: Vec<Said> = Vec::new();
        if let Some(file) = file {
            let text = std::fs::read_to_string(file).map_err(|error| ConfigError {
                place: file.display().to_string(),
                problem: error.to_string(),
                remedy: "name an existing file with --config, or run `cairn init`".to_owned(),
            })?;
            let whole: Value = serde_yaml_ng::from_str(&text).map_err(|error| ConfigError {
                place: file.display().to_string(),
                problem: error.to_string(),
                remedy: "mend the YAML there".to_owned(),
            })?;
            if !whole.is_null() {
                let place = file.display().to_string();
                names::overlay(&mut tree, &whole, &defaults, "", &place)?;
                let paths = names::leaves(&tree).into_iter().map(|(path, _)| path);
                said.extend(paths.map(|path| Said {
                    path,
                    place: place.clone(),
                }));
            }
        }
        let mut variables: Vec<(String, String)> = environment
            .into_iter()
            .filter(|(name, _)| name.starts_with("CAIRN_"))
            .collect();
        variables.sort();
        for (name, value) in variables {
            if names::NOT_SETTINGS.contains(&name.as_str()) {
                continue;
            }
            let path = names::of_variable(&defaults, &name)?;
            names::set(&mut tree, &defaults, &path, &value, &name)?;
            said.push(Said { path, place: name });
        }
        for (path, value) in flags {
            let place = format!("--setting {path}");
            names::set(&mut tree, &defaults, path, value, &place)?;
            let path = path.clone();
            said.push(Said { path, place });
        }
        let mut config: Self = serde_yaml_ng::from_value(tree.clone())
            .map_err(|error| wrong_value(&tree, &defaults, &said, &error))?;
        windows::complete(&mut config.refit.rules.windows, file)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |name: &str, problem: String, remedy: &str| ConfigError {
            place: name.to_owned(),
            problem,
            remedy: remedy.to_owned(),
        };
        if !self.redaction.key.is_empty() && self.redaction.key.parse::<Key>().is_err() {
            return Err(wrong(
                "redaction.key",
                "it is no key: one has 64 hexadecimal digits".to_owned(),
                "name the file that `cairn init` made with redaction.key_file, or copy its line",
            ));
        }
        let runtime = &self.runtime;
        if runtime.commit_interval_ms == 0
            || runtime.commit_interval_ms >= self.log.transaction_timeout_ms
        {
            return Err(wrong(
                "runtime.commit_interval_ms",
                format!(
                    "{} is not between 1 and log.transaction_timeout_ms",
                    runtime.commit_interval_ms
                ),
                "a transaction that outlives its time-out is aborted by the broker; 100 is the default",
            ));
        }
        if runtime.commit_interval_ms_max >= self.log.transaction_timeout_ms {
            return Err(wrong(
                "runtime.commit_interval_ms_max",
                format!(
                    "{} is not under log.transaction_timeout_ms",
                    runtime.commit_interval_ms_max
                ),
                "a transaction that outlives its time-out is aborted by the broker; 400 is the default",
            ));
        }
        if !(0.01..=1.0).contains(&runtime.commit_share_max) {
            return Err(wrong(
                "runtime.commit_share_max",
                format!("{} is not a share from 0.01 to 1", runtime.commit_share_max),
                "0.2 is the default; 1 keeps to runtime.commit_interval_ms whatever commits take",
            ));
        }
        for (name, value) in [
            ("runtime.poll_records_max", runtime.poll_records_max),
            ("runtime.merge_records_max", runtime.merge_records_max),
            ("runtime.merge_bytes_max", runtime.merge_bytes_max),
            ("runtime.batch_records_max", runtime.batch_records_max),
            ("admit.packed_events_max", self.admit.packed_events_max),
            (
                "refit.rules.windows_per_ask_max",
                self.refit.rules.windows_per_ask_max,
            ),
            (
                "gateway.queue_requests_max",
                self.gateway.queue_requests_max,
            ),
        ] {
            if value == 0 {
                return Err(wrong(
                    name,
                    "0 lets nothing through".to_owned(),
                    "set 1 or more",
                ));
            }
        }
        for (name, value) in [
            ("log.partitions_run", self.log.partitions_run),
            ("log.partitions_ingress", self.log.partitions_ingress),
        ] {
            if value < 1 {
                return Err(wrong(
                    name,
                    format!("{value} is no number of partitions"),
                    "set 1 or more",
                ));
            }
        }
        if !matches!(
            self.registry.store.as_str(),
            "delta" | "jsonl" | "postgres" | "off"
        ) {
            return Err(wrong(
                "registry.store",
                format!("{:?} is unknown", self.registry.store),
                "set delta, jsonl, postgres or off",
            ));
        }
        if !matches!(self.log.group_protocol.as_str(), "classic" | "consumer") {
            return Err(wrong(
                "log.group_protocol",
                format!("{:?} is unknown", self.log.group_protocol),
                "set classic or consumer",
            ));
        }
        if let Some(tenant) = runtime
            .tenants
            .iter()
            .find(|tenant| !cairn_topics::is_tenant(tenant))
        {
            return Err(wrong(
                "runtime.tenants",
                format!("{tenant:?} is no tenant"),
                "use lower-case letters, digits and hyphens, 63 at most, beginning with a letter or digit",
            ));
        }
        if let Err((name, problem)) = self.runs.derivation.check() {
            return Err(wrong(
                name,
                problem,
                "`cairn config` says what an entry has; mend it there",
            ));
        }
        if !matches!(self.gateway.events.as_str(), "on" | "off") {
            return Err(wrong(
                "gateway.events",
                format!("{:?} is unknown", self.gateway.events),
                "set on or off",
            ));
        }
        for (number, token) in self.gateway.tokens.iter().enumerate() {
            token.check(&runtime.tenants).map_err(|(problem, remedy)| {
                wrong(
                    "gateway.tokens",
                    format!("entry {}: {problem}", number + 1),
                    remedy,
                )
            })?;
        }
        let rules = &self.refit.rules;
        let mut cohorts = rules.cohorts.iter();
        if let Some(cohort) =
            cohorts.find(|cohort| windows::is_ambiguous(&rules.windows, &cohort.name))
        {
            return Err(wrong(
                "refit.rules.cohorts",
                format!("{:?} is the name of a window over a cohort", cohort.name),
                "give it another name",
            ));
        }
        if !(0.0..1.0).contains(&self.refit.level) {
            return Err(wrong(
                "refit.level",
                format!("{} is no level", self.refit.level),
                "set a number between 0 and 1",
            ));
        }
        Ok(())
    }
}

impl TokenConfig {
    /// What is wrong with it, and what to do.
    fn check(&self, tenants: &[String]) -> Result<(), (String, &'static str)> {
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if self.sha256.len() != 64 || !self.sha256.bytes().all(hexadecimal) {
            return Err((
                "its sha256 is no digest of 64 lower-case hexadecimal digits".to_owned(),
                "take that of the token: printf %s TOKEN | sha256sum",
            ));
        }
        if !tenants.contains(&self.tenant) {
            return Err((
                format!("tenant {:?} is none of runtime.tenants", self.tenant),
                "name it there, too: its topics are made and its events admitted",
            ));
        }
        let ingress = |name: &String| {
            cairn_topics::find(name)
                .is_some_and(|topic| topic.family == cairn_topics::Family::Ingress)
        };
        match self.topics.iter().find(|name| !ingress(name)) {
            Some(name) => Err((
                format!("{name:?} is no ingress topic"),
                "`cairn topics list` shows them; write them without tenant",
            )),
            None => Ok(()),
        }
    }
}

/// A setting that was said, and where.
struct Said {
    path: String,
    place: String,
}

/// Which setting has a value of the wrong kind: the one that is wrong all by itself. What was said last counts.
fn wrong_value(
    tree: &Value,
    defaults: &Value,
    said: &[Said],
    error: &serde_yaml_ng::Error,
) -> ConfigError {
    for Said { path, place } in said.iter().rev() {
        let mut alone = defaults.clone();
        let Some(value) = names::at(tree, path) else {
            continue;
        };
        names::put(&mut alone, path, value.clone());
        if let Err(error) = serde_yaml_ng::from_value::<Config>(alone) {
            let default = names::at(defaults, path).map_or(String::new(), names::compact);
            return ConfigError {
                place: place.clone(),
                problem: format!("{path}: {error}"),
                remedy: format!("its default is {default}; `cairn config` says what it means"),
            };
        }
    }
    ConfigError {
        place: "configuration".to_owned(),
        problem: error.to_string(),
        remedy: "`cairn config` lists every setting with its kind and default".to_owned(),
    }
}

fn default_tree() -> Value {
    serde_yaml_ng::to_value(Config::default()).expect("defaults are plain data")
}

#[cfg(test)]
mod tests;
