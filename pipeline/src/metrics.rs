//! What the pipeline counts: one list of names, from which the registry, `/metrics` and `docs/metrics.md` are made.
//!
//! Never a label by run id: a label's values are task kinds, topics and classes, all of them bounded.

use crate::runtime::member::Counts;
use cairn_operators::redact::Tally;
use cairn_operators::refit;
use prometheus::{
    Encoder as _, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

/// A metric: name, kind, labels, meaning.
pub struct Definition {
    /// Name, unit last.
    pub name: &'static str,
    /// counter, gauge or histogram.
    pub kind: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub meaning: &'static str,
}

/// Every metric.
pub const METRICS: &[Definition] = &[
    Definition {
        name: "cairn_records_in_total",
        kind: "counter",
        labels: &["operator"],
        meaning: "Records applied and committed.",
    },
    Definition {
        name: "cairn_records_out_total",
        kind: "counter",
        labels: &["operator", "topic"],
        meaning: "Records written, changelogs left out.",
    },
    Definition {
        name: "cairn_records_late_total",
        kind: "counter",
        labels: &["operator"],
        meaning: "Rows too late for their window.",
    },
    Definition {
        name: "cairn_records_dead_total",
        kind: "counter",
        labels: &["operator"],
        meaning: "Dead letters.",
    },
    Definition {
        name: "cairn_dead_letters_total",
        kind: "counter",
        labels: &["operator", "class"],
        meaning: "Dead letters by class; `docs/errors.md` says what each means.",
    },
    Definition {
        name: "cairn_fields_dropped_total",
        kind: "counter",
        labels: &["topic"],
        meaning: "Fields of ingress records that a writer's Avro schema has and the contract has not: what they held is dropped.",
    },
    Definition {
        name: "cairn_records_duplicate_total",
        kind: "counter",
        labels: &["operator"],
        meaning: "Events seen before and passed over.",
    },
    Definition {
        name: "cairn_redactions_total",
        kind: "counter",
        labels: &["entity"],
        meaning: "Places in what was sent that were replaced by a pseudonym, by what they held; see `docs/redaction.md`.",
    },
    Definition {
        name: "cairn_schema_errors_total",
        kind: "counter",
        labels: &["topic"],
        meaning: "Outputs that failed their JSON Schema and were kept back.",
    },
    Definition {
        name: "cairn_commit_seconds",
        kind: "histogram",
        labels: &["operator"],
        meaning: "Time of a commit, from the first flush to the answer.",
    },
    Definition {
        name: "cairn_end_to_end_seconds",
        kind: "histogram",
        labels: &["operator"],
        meaning: "From the append of the oldest record of a batch to its commit.",
    },
    Definition {
        name: "cairn_transaction_aborts_total",
        kind: "counter",
        labels: &["operator"],
        meaning: "Transactions aborted and done again.",
    },
    Definition {
        name: "cairn_restarts_total",
        kind: "counter",
        labels: &["operator", "cause"],
        meaning: "Members rebuilt after a fault, by its kind.",
    },
    Definition {
        name: "cairn_lag_records",
        kind: "gauge",
        labels: &["operator"],
        meaning: "Records between position and last stable offset; ticks are not lag.",
    },
    Definition {
        name: "cairn_watermark_lag_seconds_max",
        kind: "gauge",
        labels: &["operator"],
        meaning: "Longest time since a running run's last record was received.",
    },
    Definition {
        name: "cairn_runs_stalled",
        kind: "gauge",
        labels: &["operator"],
        meaning: "Runs that have neither ended nor sent anything for too long.",
    },
    Definition {
        name: "cairn_restore_seconds",
        kind: "gauge",
        labels: &["operator"],
        meaning: "Time of the last restore.",
    },
    Definition {
        name: "cairn_partitions_owned",
        kind: "gauge",
        labels: &["operator"],
        meaning: "Partitions that this process owns.",
    },
    Definition {
        name: "cairn_partitions_paused",
        kind: "gauge",
        labels: &["operator"],
        meaning: "Partitions that wait for something out of reach.",
    },
    Definition {
        name: "cairn_guards_open",
        kind: "gauge",
        labels: &["operator", "guard"],
        meaning: "Guards that are open; `cairn doctor` says about what.",
    },
    Definition {
        name: "cairn_records_lost_total",
        kind: "counter",
        labels: &["operator", "topic"],
        meaning: "Offsets that retention deleted before they were read: at most so many records are lost.",
    },
    Definition {
        name: "cairn_core_panics_total",
        kind: "counter",
        labels: &["operator"],
        meaning: "Panics of a core; the third over the same record makes it a dead letter.",
    },
    Definition {
        name: "cairn_state_bytes",
        kind: "gauge",
        labels: &["operator"],
        meaning: "Bytes that the tables hold.",
    },
    Definition {
        name: "cairn_ask_seconds",
        kind: "histogram",
        labels: &["kind"],
        meaning: "Time of one piece of long work.",
    },
    Definition {
        name: "cairn_asks_pending",
        kind: "gauge",
        labels: &["operator"],
        meaning: "Asks for long work that have no answer yet.",
    },
    Definition {
        name: "cairn_refit_seconds",
        kind: "histogram",
        labels: &["cohort"],
        meaning: "Time of one refit: query, fit, bootstrap, back-test. Cohorts beyond the first 50 that a process meets are `other`.",
    },
    Definition {
        name: "cairn_fits_total",
        kind: "counter",
        labels: &["cohort", "verdict"],
        meaning: "Fits published, by what they are good for.",
    },
    Definition {
        name: "cairn_fit_windows_passed_over_total",
        kind: "counter",
        labels: &["cohort"],
        meaning: "Windows that closed and were not fitted: more at once than refit.rules.windows_per_ask_max.",
    },
    Definition {
        name: "cairn_fit_residual_rms_ratio",
        kind: "gauge",
        labels: &["tenant", "cohort", "law"],
        meaning: "Root mean square of the relative residuals of the newest fit.",
    },
    Definition {
        name: "cairn_fit_age_seconds",
        kind: "gauge",
        labels: &["tenant", "cohort", "law"],
        meaning: "Since the newest record that the newest fit could see was appended.",
    },
    Definition {
        name: "cairn_fit_waiting_seconds",
        kind: "gauge",
        labels: &["tenant", "cohort", "law"],
        meaning: "Since rows have changed that no fit knows; 0 where the newest knows all. A stale fit is one that waits long.",
    },
    Definition {
        name: "cairn_fit_standing",
        kind: "gauge",
        labels: &["tenant", "cohort", "law"],
        meaning: "The newest fit beside the last one in good order: 0 fine, 1 degraded, 2 the law is broken.",
    },
    Definition {
        name: "cairn_registry_rows_total",
        kind: "counter",
        labels: &[],
        meaning: "Rows put into the tables of the experiment registry.",
    },
    Definition {
        name: "cairn_registry_commits_total",
        kind: "counter",
        labels: &[],
        meaning: "Commits of its tables.",
    },
    Definition {
        name: "cairn_registry_failures_total",
        kind: "counter",
        labels: &[],
        meaning: "Times that its store could not be written; the log keeps what is to come.",
    },
    Definition {
        name: "cairn_registry_unreadable_total",
        kind: "counter",
        labels: &[],
        meaning: "Records that could not be put into a table.",
    },
    Definition {
        name: "cairn_registry_seconds",
        kind: "histogram",
        labels: &[],
        meaning: "Time to bring all tables up to the log.",
    },
    Definition {
        name: "cairn_http_requests_total",
        kind: "counter",
        labels: &["route", "status"],
        meaning: "Requests to the gateway.",
    },
];

/// Seconds from a tenth of a millisecond to a minute.
const SECONDS: &[f64] = &[
    0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0,
];

enum Metric {
    Counter(IntCounterVec),
    Gauge(IntGaugeVec),
    /// A gauge that is no whole number.
    Fraction(GaugeVec),
    Histogram(HistogramVec),
}

/// Whether a gauge counts in parts.
fn is_fractional(name: &str) -> bool {
    name.contains("_seconds") || name.ends_with("_ratio")
}

/// Most cohorts with labels of their own.
const COHORTS_MAX: usize = 50;

/// The label of all further ones.
const OTHER: &str = "other";

/// All metrics of a process.
pub struct Metrics {
    registry: Registry,
    metrics: Vec<(&'static str, Metric)>,
    /// Cohorts that have labels of their own: users make cohorts, and Prometheus keeps every label for ever.
    cohorts: Mutex<BTreeSet<String>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers every metric of the list.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let metrics = METRICS
            .iter()
            .map(|definition| {
                let options = Opts::new(definition.name, definition.meaning);
                let metric = match definition.kind {
                    "counter" => {
                        IntCounterVec::new(options, definition.labels).map(Metric::Counter)
                    }
                    "gauge" if is_fractional(definition.name) => {
                        GaugeVec::new(options, definition.labels).map(Metric::Fraction)
                    }
                    "gauge" => IntGaugeVec::new(options, definition.labels).map(Metric::Gauge),
                    _ => HistogramVec::new(
                        HistogramOpts::from(options).buckets(SECONDS.to_vec()),
                        definition.labels,
                    )
                    .map(Metric::Histogram),
                }
                .expect("the list is valid, a test reads it");
                let registered = match &metric {
                    Metric::Counter(m) => registry.register(Box::new(m.clone())),
                    Metric::Gauge(m) => registry.register(Box::new(m.clone())),
                    Metric::Fraction(m) => registry.register(Box::new(m.clone())),
                    Metric::Histogram(m) => registry.register(Box::new(m.clone())),
                };
                registered.expect("names are unique, a test reads them");
                (definition.name, metric)
            })
            .collect();
        Self {
            registry,
            metrics,
            cohorts: Mutex::default(),
        }
    }

    /// The label of a cohort.
    fn cohort<'a>(&self, cohort: &'a str) -> &'a str {
        let Ok(mut known) = self.cohorts.lock() else {
            return OTHER;
        };
        if !known.contains(cohort) {
            if known.len() >= COHORTS_MAX {
                return OTHER;
            }
            known.insert(cohort.to_owned());
        }
        cohort
    }

    fn find(&self, name: &str) -> Option<&Metric> {
        self.metrics
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, metric)| metric)
    }

    fn add(&self, name: &str, labels: &[&str], by: u64) {
        if let Some(Metric::Counter(metric)) = self.find(name) {
            metric.with_label_values(labels).inc_by(by);
        }
    }

    fn set(&self, name: &str, labels: &[&str], value: f64) {
        match self.find(name) {
            Some(Metric::Gauge(metric)) => metric.with_label_values(labels).set(value as i64),
            Some(Metric::Fraction(metric)) => metric.with_label_values(labels).set(value),
            _ => {}
        }
    }

    fn observe(&self, name: &str, labels: &[&str], value: f64) {
        if let Some(Metric::Histogram(metric)) = self.find(name) {
            metric.with_label_values(labels).observe(value);
        }
    }

    /// A batch was committed.
    pub fn committed(
        &self,
        operator: &str,
        counts: &Counts,
        took: Duration,
        oldest_append_ms: Option<i64>,
        bytes: u64,
    ) {
        self.add("cairn_records_in_total", &[operator], counts.records_in);
        self.add("cairn_records_late_total", &[operator], counts.late);
        self.add("cairn_records_dead_total", &[operator], counts.dead);
        self.observe("cairn_commit_seconds", &[operator], took.as_secs_f64());
        if let Some(oldest) = oldest_append_ms {
            let age_ms = wall_time_ms().saturating_sub(oldest).max(0);
            self.observe(
                "cairn_end_to_end_seconds",
                &[operator],
                age_ms as f64 / 1000.0,
            );
        }
        self.set("cairn_state_bytes", &[operator], bytes as f64);
    }

    /// So many events of a committed batch had been seen before.
    pub fn duplicates(&self, operator: &str, events: u64) {
        self.add("cairn_records_duplicate_total", &[operator], events);
    }

    /// So many dead letters of a class.
    pub fn dead_letters(&self, operator: &str, class: &str, letters: u64) {
        self.add("cairn_dead_letters_total", &[operator, class], letters);
    }

    /// So many fields were dropped.
    pub fn dropped_fields(&self, topic: &str, fields: u64) {
        self.add("cairn_fields_dropped_total", &[topic], fields);
    }

    /// So much was redacted.
    pub fn redacted(&self, tally: &Tally) {
        for (kind, places) in tally.each() {
            self.add("cairn_redactions_total", &[kind.name()], places);
        }
    }

    /// So many records were written and committed.
    pub fn out(&self, operator: &str, topic: &str, records: u64) {
        self.add("cairn_records_out_total", &[operator, topic], records);
    }

    /// A transaction was aborted.
    pub fn aborted(&self, operator: &str) {
        self.add("cairn_transaction_aborts_total", &[operator], 1);
    }

    /// A member was rebuilt.
    pub fn restarted(&self, operator: &str, cause: &str) {
        self.add("cairn_restarts_total", &[operator, cause], 1);
    }

    /// Partitions were taken over.
    pub fn restored(&self, operator: &str, took: Duration, owned: usize) {
        self.set("cairn_restore_seconds", &[operator], took.as_secs_f64());
        self.set("cairn_partitions_owned", &[operator], owned as f64);
    }

    /// So many partitions wait.
    pub fn paused(&self, operator: &str, partitions: usize) {
        self.set("cairn_partitions_paused", &[operator], partitions as f64);
    }

    /// So many guards of a kind are open.
    pub fn guards(&self, operator: &str, guard: &str, open: i64) {
        self.set("cairn_guards_open", &[operator, guard], open as f64);
    }

    /// So many offsets were deleted unread.
    pub fn lost(&self, operator: &str, topic: &str, offsets: i64) {
        self.add(
            "cairn_records_lost_total",
            &[operator, topic],
            offsets.max(0).unsigned_abs(),
        );
    }

    /// A core panicked.
    pub fn panicked(&self, operator: &str) {
        self.add("cairn_core_panics_total", &[operator], 1);
    }

    /// So many records are unread.
    pub fn lag(&self, operator: &str, records: i64) {
        self.set("cairn_lag_records", &[operator], records as f64);
    }

    /// How far behind the slowest running run is, and how many have stalled.
    pub fn runs(&self, operator: &str, oldest_seconds: f64, stalled: usize) {
        self.set(
            "cairn_watermark_lag_seconds_max",
            &[operator],
            oldest_seconds,
        );
        self.set("cairn_runs_stalled", &[operator], stalled as f64);
    }

    /// An output failed its schema.
    pub fn schema_error(&self, topic: &str) {
        self.add("cairn_schema_errors_total", &[topic], 1);
    }

    /// Long work was done; refits by their cohort besides.
    pub fn asked(&self, kind: &str, cohort: &str, took: Duration) {
        self.observe("cairn_ask_seconds", &[kind], took.as_secs_f64());
        if kind == "fit" {
            let cohort = self.cohort(cohort);
            self.observe("cairn_refit_seconds", &[cohort], took.as_secs_f64());
        }
    }

    /// A fit was published.
    pub fn fitted(&self, cohort: &str, verdict: &str, windows_passed_over: i32) {
        let cohort = self.cohort(cohort);
        self.add("cairn_fits_total", &[cohort, verdict], 1);
        if let Ok(count @ 1..) = u64::try_from(windows_passed_over) {
            self.add("cairn_fit_windows_passed_over_total", &[cohort], count);
        }
    }

    /// How the fits of all tasks of a kind are.
    pub fn fits(&self, operator: &str, health: &refit::Health) {
        self.set("cairn_asks_pending", &[operator], health.asks as f64);
        for name in [
            "cairn_fit_residual_rms_ratio",
            "cairn_fit_age_seconds",
            "cairn_fit_waiting_seconds",
            "cairn_fit_standing",
        ] {
            self.reset(name);
        }
        for fit in &health.fits {
            let cohort = self.cohort(&fit.cohort);
            if cohort == OTHER {
                continue;
            }
            let labels = [&*fit.tenant, cohort, &*fit.law];
            if let Some(rms) = fit.residual_rms {
                self.set("cairn_fit_residual_rms_ratio", &labels, rms);
            }
            if let Some(age_ms) = fit.age_ms {
                self.set("cairn_fit_age_seconds", &labels, age_ms as f64 / 1000.0);
            }
            let waiting_s = fit.waiting_ms as f64 / 1000.0;
            self.set("cairn_fit_waiting_seconds", &labels, waiting_s);
            let standing = match fit.standing {
                refit::Standing::Fine => 0.0,
                refit::Standing::Degraded => 1.0,
                refit::Standing::Broken => 2.0,
            };
            self.set("cairn_fit_standing", &labels, standing);
        }
    }

    /// Forgets the labels of a gauge: what is gone is not told any more.
    fn reset(&self, name: &str) {
        match self.find(name) {
            Some(Metric::Gauge(metric)) => metric.reset(),
            Some(Metric::Fraction(metric)) => metric.reset(),
            _ => {}
        }
    }

    /// The registry's tables were brought up to the log.
    pub fn registry(&self, rows: u64, commits: u64, took: Duration) {
        self.add("cairn_registry_rows_total", &[], rows);
        self.add("cairn_registry_commits_total", &[], commits);
        self.observe("cairn_registry_seconds", &[], took.as_secs_f64());
    }

    /// The registry's store could not be written.
    pub fn registry_failed(&self) {
        self.add("cairn_registry_failures_total", &[], 1);
    }

    /// Records could not be put into a table.
    pub fn registry_unreadable(&self, records: u64) {
        self.add("cairn_registry_unreadable_total", &[], records);
    }

    /// A request was answered.
    pub fn request(&self, route: &str, status: u16) {
        self.add(
            "cairn_http_requests_total",
            &[route, &status.to_string()],
            1,
        );
    }

    /// The text that Prometheus scrapes.
    #[must_use]
    pub fn text(&self) -> String {
        let mut bytes = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut bytes) {
            Ok(()) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("# {error}\n"),
        }
    }
}

/// `docs/metrics.md`.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# Metrics\n\nGenerated by `cairn config --metrics`; do not edit.\n\n| name | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in METRICS {
        let labels = if metric.labels.is_empty() {
            "–".to_owned()
        } else {
            metric.labels.join(", ")
        };
        text.push_str(&format!(
            "| `{}` | {} | {labels} | {} |\n",
            metric.name, metric.kind, metric.meaning
        ));
    }
    text
}

/// Milliseconds since the epoch by this machine's clock: for shells and metrics, never for a core.
#[must_use]
pub fn wall_time_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
