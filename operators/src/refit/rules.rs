//! How and when laws are refitted: the section `refit` of the configuration.

use super::standing::StandingRules;
use super::window::WindowRule;
use serde::{Deserialize, Serialize};

/// A cohort: which rows belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CohortRule {
    /// Name of the cohort.
    pub name: String,
    /// SQL condition over the columns of `rows`.
    #[serde(rename = "where")]
    pub condition: String,
}

/// How and when laws are refitted; every limit has its name and default here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RefitRules {
    /// Cohorts that every tenant has, beside those in `registry.cohorts`.
    pub cohorts: Vec<CohortRule>,
    /// Windows over the rows of each cohort, and the law that is fitted in each: name, cohorts, tenants (none: all), over (kind: all, tumbling_count with rows, sliding_count with rows and step, tumbling_time with ms, sliding_time with ms and step_ms), law (name, YAML file or the law itself), columns (SQL for each column of the law), group, order_by.
    pub windows: Vec<WindowRule>,
    /// Windows of one kind that one ask fits at most. Of more that closed since the last fit, the newest are fitted; the others are passed over, counted in the fit and told.
    pub windows_per_ask_max: usize,
    /// A cohort is refitted once its rows have not changed for this long.
    pub debounce_ms: i64,
    /// … and at the latest this long after the first change.
    pub debounce_ms_max: i64,
    /// Most rows pinned to one ask; the newest by append time are kept. 100,000 rows are about 200 MB.
    pub rows_max: usize,
    /// Cohorts with fewer runs than this say so without raising anybody's attention.
    pub runs_noteworthy_min: i32,
    /// When a fit is called degraded, and a law broken.
    pub standing: StandingRules,
}

impl Default for RefitRules {
    fn default() -> Self {
        Self {
            cohorts: vec![CohortRule {
                name: "all".to_owned(),
                condition: "TRUE".to_owned(),
            }],
            windows: vec![WindowRule::default()],
            windows_per_ask_max: 4,
            debounce_ms: 2_000,
            debounce_ms_max: 30_000,
            rows_max: 100_000,
            runs_noteworthy_min: 6,
            standing: StandingRules::default(),
        }
    }
}
