//! How and when laws are refitted: the section `refit` of the configuration.

use serde::{Deserialize, Serialize};

/// A window over the rows: which of them a law is fitted to.
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
    /// A cohort is refitted once its rows have not changed for this long.
    pub debounce_ms: i64,
    /// … and at the latest this long after the first change.
    pub debounce_ms_max: i64,
    /// Most rows pinned to one ask; the newest by append time are kept. 100,000 rows are about 200 MB.
    pub rows_max: usize,
    /// Cohorts with fewer runs than this say so without raising anybody's attention.
    pub runs_noteworthy_min: i32,
}

impl Default for RefitRules {
    fn default() -> Self {
        Self {
            cohorts: vec![CohortRule {
                name: "all".to_owned(),
                condition: "TRUE".to_owned(),
            }],
            debounce_ms: 2_000,
            debounce_ms_max: 30_000,
            rows_max: 100_000,
            runs_noteworthy_min: 6,
        }
    }
}
