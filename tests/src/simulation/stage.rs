//! What a story plays on: the topics of the catalogue on a simulated log, the settings that a seed draws, and the parts that
//! all stories share (schemas, encoder).

use super::baton::Baton;
use super::draw::Draw;
use cairn_avro::hex;
use cairn_avro::record::{ExperimentRow, FitVerdict, RunStatus, ScalingFit};
use cairn_bus::registry::{MemoryStore, StoreRegistry};
use cairn_bus::simulated::{
    Assignor, Clock, FaultPlan, SimulatedClock, SimulatedLog, SimulatedSettings,
};
use cairn_bus::{Log, SchemaRegistry, TopicSpec, TopicState};
use cairn_operators::operator::Ask;
use cairn_operators::refit::{LAW, Over, WindowRule};
use cairn_pipeline::config::Config;
use cairn_pipeline::connect::wanted_topics;
use cairn_pipeline::metrics::Metrics;
use cairn_pipeline::runtime::encode::Encoder;
use cairn_pipeline::runtime::snapshot::SnapshotLimits;
use cairn_pipeline::runtime::task::{Kind, kinds};
use cairn_pipeline::runtime::timepiece::Timepiece;
use cairn_pipeline::seal;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;

/// Tenants that a story may have.
pub const TENANTS: [&str; 2] = ["default", "acme"];
const PARTITIONS_RUN: i32 = 3;
const PARTITIONS_INGRESS: i32 = 2;
/// Shorter than in life, so that tombstones go within a story; longer than anybody stands still in the middle of a restore.
const DELETE_RETENTION_MS: i64 = 180_000;

/// What costs too much to be made for each story, and holds nothing of one.
pub struct Shared {
    /// Schemas by id, all registered in the same order.
    pub registry: Arc<dyn SchemaRegistry>,
    /// Outputs to records.
    pub encoder: Arc<Encoder>,
    /// Counted, not looked at.
    pub metrics: Arc<Metrics>,
}

/// The parts that all stories share.
///
/// # Panics
/// Where the contract's own schemas are refused.
pub fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let mut config = Config::default();
        config.log.partitions_run = PARTITIONS_RUN;
        config.log.partitions_ingress = PARTITIONS_INGRESS;
        config.deadletter.recipient = seal::new_identity().recipient();
        let wanted = wanted_topics(&config.log, &TENANTS.map(str::to_owned));
        let registry = StoreRegistry(Arc::new(MemoryStore::default()));
        for spec in &wanted {
            let name = cairn_topics::split_tenant(&spec.name)
                .map_or(spec.name.as_str(), |(_, topic)| topic.name);
            if let Some(entry) = cairn_topics::find(name).and_then(cairn_topics::Topic::entry) {
                registry
                    .id_of(&cairn_avro::contract::subject(&spec.name), entry.schema)
                    .expect("the contract's own schema");
            }
        }
        let topics = wanted.iter().map(state).collect();
        let metrics = Arc::new(Metrics::new());
        let registry: Arc<dyn SchemaRegistry> = Arc::new(registry);
        let encoder = Encoder::new(
            registry.clone(),
            &topics,
            &config.deadletter,
            &cairn_pipeline::redaction::Redaction::of(&config),
            metrics.clone(),
        );
        Shared {
            encoder: Arc::new(encoder.expect("the contract's own schemas")),
            registry,
            metrics,
        }
    })
}

fn state(spec: &TopicSpec) -> (String, TopicState) {
    let state = TopicState {
        partitions: spec.partitions,
        cleanup: spec.cleanup,
        append_time: spec.append_time,
        max_message_bytes: spec.max_message_bytes,
        delete_retention_ms: spec.delete_retention_ms,
    };
    (spec.name.clone(), state)
}

/// Who moves the time of a story on.
#[derive(Clone)]
pub enum Time {
    /// One thread.
    Hand(SimulatedClock),
    /// Many, in turn.
    Baton(Arc<Baton>),
}

impl Time {
    /// Time goes by, for others too where there are any.
    pub fn advance_ms(&self, by_ms: i64) {
        match self {
            Self::Hand(clock) => clock.advance_ms(by_ms),
            Self::Baton(baton) => baton.sleep_until(baton.now_ms() + by_ms),
        }
    }
}

impl Clock for Time {
    fn now_ms(&self) -> i64 {
        match self {
            Self::Hand(clock) => clock.now_ms(),
            Self::Baton(baton) => baton.now_ms(),
        }
    }

    fn wait_until(&self, time_ms: i64) {
        match self {
            Self::Hand(clock) => clock.wait_until(time_ms),
            Self::Baton(baton) => baton.wait_until(time_ms),
        }
    }
}

/// One story's cluster and settings.
pub struct Stage {
    /// The cluster.
    pub log: SimulatedLog,
    /// Its clock.
    pub clock: Time,
    /// As the seed draws it.
    pub config: Config,
    /// All four, as they are.
    pub kinds: Vec<Arc<Kind>>,
    /// Where snapshots of changelogs lie, if there are any.
    snapshots: Option<TempDir>,
    /// Which kinds each instance runs, with a planted bug where there is one.
    pub instances: Vec<(&'static str, Vec<Arc<Kind>>)>,
}

impl Stage {
    /// The stage of a seed, without faults yet; `wrap` has the last word on each kind that an instance runs.
    ///
    /// # Panics
    /// Where the log refuses the catalogue's topics.
    #[must_use]
    pub fn new(seed: u64, clock: Time, retry_in_place: bool, wrap: impl Fn(Kind) -> Kind) -> Self {
        // Partition p of all topics of a family must go to one member. Of the two assignors only range sees to that, so with the
        // other one kinds of several topics and a state live in one instance, and under one name: beside a dead predecessor
        // that nobody misses yet, even one instance would get half of what belongs together.
        let assignor = if seed.is_multiple_of(2) {
            Assignor::Range
        } else {
            Assignor::CooperativeSticky
        };
        let settings = SimulatedSettings {
            assignor,
            static_membership: assignor == Assignor::CooperativeSticky || seed.is_multiple_of(4),
            retry_in_place,
            ..SimulatedSettings::default()
        };
        let log = SimulatedLog::with_settings(seed, FaultPlan::quiet(), clock.clone(), settings);
        let mut draw = Draw::new(seed, 1);
        let config = settings_of(&mut draw);
        let mut wanted = wanted_topics(&config.log, &config.runtime.tenants);
        let snapshots = draw
            .percent(40)
            .then(|| tempfile::tempdir().expect("a folder"));
        for spec in &mut wanted {
            // Tombstones outlive snapshots.
            if snapshots.is_none() {
                spec.delete_retention_ms = DELETE_RETENTION_MS;
            }
        }
        log.create(&wanted)
            .expect("an empty log takes the catalogue");
        let wrapped: Vec<Arc<Kind>> = kinds(&config)
            .into_iter()
            .map(|kind| Arc::new(wrap(kind)))
            .collect();
        let kinds = kinds(&config).into_iter().map(Arc::new).collect();
        let number = draw.between(1, 3) as usize;
        let instances = ["a", "b", "c"]
            .into_iter()
            .take(number)
            .enumerate()
            .map(|(index, name)| {
                let may = |kind: &&Arc<Kind>| {
                    assignor == Assignor::Range
                        || index == 0
                        || kind.changelog.is_none()
                        || kind.inputs.len() == 1
                };
                (name, wrapped.iter().filter(may).cloned().collect())
            })
            .collect();
        Self {
            log,
            clock,
            config,
            kinds,
            snapshots,
            instances,
        }
    }

    /// Where an instance keeps snapshots. They are not compacted: that takes a thread, whose time is nobody's.
    #[must_use]
    pub fn snapshots(&self, instance: &str) -> SnapshotLimits {
        match &self.snapshots {
            None => SnapshotLimits::none(),
            Some(folder) => SnapshotLimits {
                app_id: self.config.log.app_id.clone(),
                dir: Some(folder.path().join(instance)),
                age_ms_max: self.config.runtime.snapshot_age_s_max * 1_000,
                slack_bytes_max: u64::MAX >> 1,
            },
        }
    }

    /// Partitions that the members of all kinds own together.
    #[must_use]
    pub fn partitions(&self) -> usize {
        let topics = self.kinds.iter().flat_map(|kind| &kind.inputs);
        let partitions = topics.filter_map(|topic| shared().encoder.partitions(topic));
        partitions.map(|number| number as usize).sum()
    }

    /// A task kind by name.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    pub fn kind(&self, name: &str) -> &Arc<Kind> {
        let mut kinds = self.kinds.iter();
        kinds.find(|kind| kind.name == name).expect("a task kind")
    }

    /// The time of the log.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The same time for a member.
    #[must_use]
    pub fn timepiece(&self) -> Timepiece {
        let clock = self.clock.clone();
        Timepiece::by_hand(move || clock.now_ms())
    }
}

/// Small numbers everywhere, so that a short story meets every limit.
fn settings_of(draw: &mut Draw) -> Config {
    let mut config = Config::default();
    config.log.partitions_run = PARTITIONS_RUN;
    config.log.partitions_ingress = PARTITIONS_INGRESS;
    let tenants = draw.between(1, 2) as usize;
    config.runtime.tenants = TENANTS[..tenants].iter().map(|&name| name.into()).collect();
    config.runtime.commit_interval_ms = draw.pick(&[50, 100, 400, 1_000]);
    config.runtime.poll_records_max = draw.pick(&[5, 50, 500]);
    config.runtime.batch_records_max = draw.pick(&[20, 200]);
    config.runtime.merge_records_max = draw.pick(&[10, 1_000]);
    config.runtime.tick_interval_ms = draw.pick(&[1_000, 3_000]);
    config.admit.packed_events_max = draw.pick(&[3, 500]);
    config.runtime.snapshot_mark_interval_ms = draw.pick(&[500, 5_000]);
    config.refit.rules.debounce_ms = 500;
    config.refit.rules.debounce_ms_max = 3_000;
    config.refit.rules.windows.push(WindowRule {
        name: "newest".to_owned(),
        over: Over::SlidingCount { rows: 3, step: 1 },
        ..WindowRule::default()
    });
    config.runs.forget_after_end_ms = 20_000;
    let follow = &mut config.runs.follow;
    follow.time.disorder_steps = 5;
    follow.time.disorder_tokens = 5_000;
    follow.time.disorder_ms = 5_000;
    follow.time.end_grace_ms = 5_000;
    follow.time.idle_after_ms = 10_000;
    follow.time.stalled_after_ms = 30_000;
    follow.time.given_up_after_ms = 45_000;
    follow.rules.windows.step_size = 10;
    follow.rules.windows.tokens_size = 10_000;
    follow.rules.windows.time_size_ms = 10_000;
    follow.rules.divergence.noise_rows_min = 4;
    config
}

/// The work of an ask, as cheap as it can be: a pure function of the same rows that a real fit would see.
///
/// # Errors
/// Never; the type is the executor's.
pub fn fit(ask: &Ask) -> Result<String, String> {
    let content = fit_content(&ask.tenant, &ask.cohort, &ask.sql, ask.rows.iter());
    let is_even = content.as_bytes().first().is_some_and(|byte| byte % 2 == 0);
    let fit = ScalingFit {
        tenant: ask.tenant.clone(),
        cohort: ask.cohort.clone(),
        law: LAW.to_owned(),
        fit_id: ask.ask_id.clone(),
        verdict: if is_even {
            FitVerdict::Usable
        } else {
            FitVerdict::Weak
        },
        window: ask.sql.clone(),
        fit_json: content,
        ..ScalingFit::default()
    };
    serde_json::to_string(&fit).map_err(|error| error.to_string())
}

/// What [`fit`] says of the rows of a tenant.
pub fn fit_content<'a>(
    tenant: &str,
    cohort: &str,
    sql: &str,
    rows: impl Iterator<Item = &'a ExperimentRow>,
) -> String {
    let mut seen: BTreeMap<&str, String> = BTreeMap::new();
    for row in rows.filter(|row| row.tenant == tenant && row.status == RunStatus::Finished) {
        let bits = |value: Option<f64>| value.map(f64::to_bits);
        seen.insert(
            &row.run_id,
            format!(
                "{:?} {:?} {:?} {:?} {:?}",
                row.model,
                row.tokens,
                bits(row.loss_last),
                bits(row.validation_loss_last),
                row.tags
            ),
        );
    }
    hex::text(&Sha256::digest(format!("{tenant}\n{cohort}\n{sql}\n{seen:?}"))[..16])
}
