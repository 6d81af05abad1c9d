//! Which rows of a cohort one fit rests on: all of them, or windows that move over them by count or by time.
//!
//! Runs are in the order of `order_by`, event time unless told otherwise. A window by count is full with its last row; one by
//! time is closed by the first row behind its end: event time says when, never the clock (DESIGN §3.4). What chooses rows is
//! SQL, which goes into the fit and can be asked again.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The window that bears its cohort's name alone; the fits of any other are those of `cohort@window`.
pub const PLAIN: &str = "all";

/// Most windows that a row may be in: what a sliding window costs.
const OVERLAP_MAX: i64 = 1_000;

/// Where the columns of Hoffmann's law come from unless told otherwise.
const COLUMNS: [(&str, &str); 3] = [("d", "tokens"), ("loss", "loss"), ("n", "parameters")];

/// A window over cohorts, and the law that is fitted in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WindowRule {
    /// Name; fits of a window that is not called `all` are those of `cohort@name`.
    pub name: String,
    /// Cohorts it moves over; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cohorts: Vec<String>,
    /// Tenants it is for; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<String>,
    /// How it moves.
    #[serde(skip_serializing_if = "Over::is_all")]
    pub over: Over,
    /// A law by name, the path of a YAML file, or the law itself.
    pub law: LawRule,
    /// The law's columns and its response, each an SQL expression over the columns of `rows`; `weight` may be among them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// SQL expression: to which group a row belongs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// SQL expression in milliseconds that says in which order the runs came.
    #[serde(skip_serializing_if = "is_event_time")]
    pub order_by: String,
}

const EVENT_TIME: &str = "last_event_time_ms";

fn is_event_time(order_by: &str) -> bool {
    order_by == EVENT_TIME
}

impl Default for WindowRule {
    fn default() -> Self {
        Self {
            name: PLAIN.to_owned(),
            cohorts: Vec::new(),
            tenants: Vec::new(),
            over: Over::All,
            law: LawRule::default(),
            columns: BTreeMap::new(),
            group: String::new(),
            order_by: EVENT_TIME.to_owned(),
        }
    }
}

/// A law: by name or whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LawRule {
    /// Name of a built-in law; in a configuration also the path of a YAML file, which is read when it is loaded.
    Named(String),
    /// The law as its YAML says it.
    Whole(serde_json::Value),
}

impl Default for LawRule {
    fn default() -> Self {
        Self::Named(super::LAW.to_owned())
    }
}

impl LawRule {
    /// The law's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::Whole(law) => law["name"].as_str().unwrap_or_default(),
        }
    }
}

/// How a window moves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Over {
    /// It does not: all rows.
    #[default]
    All,
    /// So many rows, then the next so many.
    TumblingCount {
        /// Rows of a window.
        rows: i64,
    },
    /// The newest so many rows, each `step` rows anew.
    SlidingCount {
        /// Rows of a window.
        rows: i64,
        /// Rows from one window to the next.
        step: i64,
    },
    /// So long, then the next as long, from 1970 on.
    TumblingTime {
        /// Length in milliseconds of event time.
        ms: i64,
    },
    /// The last so long, each `step_ms` anew.
    SlidingTime {
        /// Length in milliseconds of event time.
        ms: i64,
        /// From one window to the next.
        step_ms: i64,
    },
}

/// First place or time in a window, and the first behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bounds {
    /// Place from 0, or milliseconds since the epoch.
    pub start: i64,
    /// The same, not in the window any more.
    pub end: i64,
}

/// The windows of an ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instances {
    /// Those that are fitted, oldest first.
    pub chosen: Vec<Bounds>,
    /// How many before them closed since the last fit and are not.
    pub passed_over: i64,
}

impl Over {
    /// As the configuration calls it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::TumblingCount { .. } => "tumbling_count",
            Self::SlidingCount { .. } => "sliding_count",
            Self::TumblingTime { .. } => "tumbling_time",
            Self::SlidingTime { .. } => "sliding_time",
        }
    }

    /// True for the one window of all rows.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::All
    }

    /// Length and step; none for all rows.
    fn extent(&self) -> Option<(i64, i64)> {
        match *self {
            Self::All => None,
            Self::TumblingCount { rows: size } | Self::TumblingTime { ms: size } => {
                Some((size, size))
            }
            Self::SlidingCount { rows, step } => Some((rows, step)),
            Self::SlidingTime { ms, step_ms } => Some((ms, step_ms)),
        }
    }

    /// The windows that are full or closed and end behind `after`, oldest first: at most the newest `most`, and always the
    /// newest of all, whose rows may have changed. Those that are too many are counted. `places` are those of the rows,
    /// ascending: 0, 1, 2, … or times.
    #[must_use]
    pub fn instances(&self, places: &[i64], after: Option<i64>, most: usize) -> Instances {
        let mut found = Instances::default();
        let (Some((size, step)), Some(last)) = (self.extent(), places.last().copied()) else {
            return found;
        };
        if size < 1 || step < 1 {
            return found;
        }
        // A window by count is full with the row before its end, one by time is closed by a row at its end or behind it. Ends
        // are the size and whole steps more, or multiples of the step.
        let (limit, origin) = match self {
            Self::TumblingCount { .. } | Self::SlidingCount { .. } => (last + 1, size),
            _ => (last, 0),
        };
        let floor = |value: i64| origin + (value - origin).div_euclid(step) * step;
        let mut end = floor(limit);
        while found.chosen.len() < most {
            let before = places.partition_point(|place| *place < end);
            let Some(newest) = before.checked_sub(1).map(|index| places[index]) else {
                break;
            };
            if newest < end - size {
                // Nobody is in it: on to the last window that has somebody.
                end = floor(newest + size);
                continue;
            }
            if end - size < 0 && origin > 0 {
                break;
            }
            if !found.chosen.is_empty() && after.is_some_and(|after| end <= after) {
                break;
            }
            found.chosen.push(Bounds {
                start: end - size,
                end,
            });
            end -= step;
        }
        found.chosen.reverse();
        let Some(oldest) = found.chosen.first() else {
            return found;
        };
        // A window has somebody in it if it ends behind a row and no more than its size behind it.
        let none_before = if origin > 0 { origin - 1 } else { i64::MIN };
        let mut counted = after.unwrap_or(i64::MIN).max(none_before);
        for place in places {
            let from = counted.max(*place);
            let to = (place + size).min(oldest.end - 1);
            if to > from {
                found.passed_over += (floor(to) - floor(from)) / step;
                counted = to;
            }
        }
        found
    }

    /// What is wrong with it, and what to do.
    ///
    /// # Errors
    /// A length or step that is none.
    pub fn check(&self) -> Result<(), String> {
        match self.extent() {
            Some((size, step)) if size < 1 || step < 1 => {
                Err("a window has a length and a step of 1 or more".to_owned())
            }
            Some((size, step)) if step > size => Err(format!(
                "a step of {step} passes over rows between windows of {size}; set a step of {size} or less"
            )),
            Some((size, step)) if size / step > OVERLAP_MAX => Err(format!(
                "each row would be in {} windows; set a step of {} or more",
                size / step,
                size / OVERLAP_MAX
            )),
            _ => Ok(()),
        }
    }
}

impl WindowRule {
    /// Whether it moves over this cohort of this tenant.
    #[must_use]
    pub fn covers(&self, tenant: &str, cohort: &str) -> bool {
        let holds = |list: &[String], name: &str| {
            list.is_empty() || list.iter().any(|listed| listed == name)
        };
        holds(&self.tenants, tenant) && holds(&self.cohorts, cohort)
    }

    /// How fits of this window name what they are of.
    #[must_use]
    pub fn subject(&self, cohort: &str) -> String {
        if self.name == PLAIN {
            cohort.to_owned()
        } else {
            format!("{cohort}@{}", self.name)
        }
    }

    /// The SQL of the cohort's rows with the law's columns: finished runs, and their places where the window moves. For all
    /// rows it is what chooses them, ordered.
    #[must_use]
    pub fn sql(&self, condition: &str) -> String {
        let is_usual = self.columns.is_empty()
            || self.columns.len() == COLUMNS.len()
                && COLUMNS
                    .iter()
                    .all(|(name, sql)| self.columns.get(*name).is_some_and(|said| said == sql));
        let mut chosen = String::from("run_id");
        if is_usual {
            chosen.push_str(", parameters AS n, tokens AS d, loss");
        } else {
            for (name, sql) in self.columns.iter().filter(|(name, _)| *name != "weight") {
                chosen.push_str(&format!(", ({sql}) AS \"{name}\""));
            }
        }
        match self.columns.get("weight") {
            Some(sql) => chosen.push_str(&format!(", ({sql}) AS weight")),
            None => chosen.push_str(", weight"),
        }
        if !self.group.is_empty() {
            chosen.push_str(&format!(", CAST(({}) AS VARCHAR) AS \"group\"", self.group));
        }
        let order_by = &self.order_by;
        match self.over {
            Over::All => {}
            Over::TumblingCount { .. } | Over::SlidingCount { .. } => chosen.push_str(&format!(
                ", CAST(row_number() OVER (ORDER BY ({order_by}) NULLS FIRST, run_id) AS BIGINT) - 1 AS place"
            )),
            Over::TumblingTime { .. } | Over::SlidingTime { .. } => {
                chosen.push_str(&format!(", CAST(({order_by}) AS BIGINT) AS place"));
            }
        }
        let usable = if is_usual {
            "parameters > 0 AND tokens > 0 AND loss > 0 AND "
        } else {
            ""
        };
        let end = if self.over.is_all() {
            " ORDER BY run_id"
        } else {
            ""
        };
        format!(
            "SELECT {chosen} FROM rows WHERE status = 'finished' AND {usable}({condition}){end}"
        )
    }
}

/// The SQL of the places of [`WindowRule::sql`], ascending.
#[must_use]
pub fn places_sql(sql: &str) -> String {
    format!("SELECT place FROM ({sql}) WHERE place IS NOT NULL ORDER BY place")
}

/// The SQL of one window's rows.
#[must_use]
pub fn instance_sql(sql: &str, bounds: Bounds) -> String {
    let Bounds { start, end } = bounds;
    format!("SELECT * FROM ({sql}) WHERE place >= {start} AND place < {end} ORDER BY run_id")
}

#[cfg(test)]
mod tests;
