//! Why there is no fit at all, in words for a researcher.
//!
//! Each error has a code for programs, a sentence, and a remedy. What merely spoils a fit is no error: it is in the verdict.

use thiserror::Error;

use crate::table::Rejected;

/// Why there is nothing to report. What to do: see [`Self::remedy`].
#[derive(Clone, Debug, Error, PartialEq)]
pub enum FitError {
    /// An option has a value that means nothing.
    #[error("option {name} is {value}; expected {expected}")]
    BadOption {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
        /// What it should be.
        expected: String,
    },
    /// The law reads a column that the table lacks.
    #[error("the law {law} reads a column `{column}`, which the table does not have{}", near(.nearest))]
    UnknownColumn {
        /// The law.
        law: String,
        /// The column it reads.
        column: String,
        /// The most similar name in the table.
        nearest: Option<String>,
    },
    /// Columns of different lengths.
    #[error("{name} has {found} rows, the response has {expected}")]
    UnevenColumns {
        /// The column.
        name: String,
        /// Its rows.
        found: usize,
        /// Rows of the response.
        expected: usize,
    },
    /// Every row was left out.
    #[error("none of the {rows} rows can be used; the first: {reason}")]
    NoRows {
        /// Rows given.
        rows: usize,
        /// Why the first was left out.
        reason: String,
        /// All that were left out.
        rejected: Vec<Rejected>,
    },
    /// Fewer distinct points than an overdetermined fit needs.
    #[error(
        "{points} distinct points among {rows} usable rows for {free} free parameters; at least {needed} are needed"
    )]
    TooFewRows {
        /// Distinct points.
        points: usize,
        /// Usable rows.
        rows: usize,
        /// Parameters that are fitted.
        free: usize,
        /// Points needed.
        needed: usize,
        /// Rows that were left out.
        rejected: Vec<Rejected>,
    },
    /// All rows come from one run: its luck cannot be told from the law.
    #[error("all {rows} rows come from one run, {run_id}")]
    OneRun {
        /// The run.
        run_id: String,
        /// Its rows.
        rows: usize,
    },
    /// A column that does not vary: its effect cannot be told from a constant.
    #[error("column `{column}` is {value} in every row; its effect cannot be told from a constant")]
    ConstantColumn {
        /// The column.
        column: String,
        /// Its value.
        value: f64,
    },
    /// A response at or below a floor that was fixed.
    #[error(
        "a response of {response} (run {run_id}) is not above the fixed floor {name} = {floor}"
    )]
    LossBelowFloor {
        /// The smallest response.
        response: f64,
        /// Its run.
        run_id: String,
        /// The floor.
        name: String,
        /// Its value.
        floor: f64,
    },
    /// A point with a value that is no number where one is needed.
    #[error("{name} is {value}, not {expected}")]
    NotFinite {
        /// Which value.
        name: String,
        /// The value.
        value: f64,
        /// What it should be.
        expected: &'static str,
    },
    /// Rows under conventions that cannot be mixed.
    #[error("the conventions are mixed: {what}")]
    MixedConventions {
        /// Which.
        what: String,
    },
    /// No start led to a finite objective.
    #[error("no start of the search reached a finite objective: the law has no value at the data")]
    NoOptimum,
}

fn near(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| {
        format!("; the most similar is `{name}`")
    })
}

impl FitError {
    /// A code for programs; stable.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadOption { .. } => "bad_option",
            Self::UnknownColumn { .. } => "unknown_column",
            Self::UnevenColumns { .. } => "uneven_columns",
            Self::NoRows { .. } => "no_rows",
            Self::TooFewRows { .. } => "too_few_rows",
            Self::OneRun { .. } => "one_run",
            Self::ConstantColumn { .. } => "constant_column",
            Self::LossBelowFloor { .. } => "loss_below_floor",
            Self::NotFinite { .. } => "not_finite",
            Self::MixedConventions { .. } => "mixed_conventions",
            Self::NoOptimum => "no_optimum",
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::BadOption { name, expected, .. } => format!("set {name} to {expected}"),
            Self::UnknownColumn { column, .. } => {
                format!("say which column it is, as in `{column}=NAME`, or choose a law without it")
            }
            Self::UnevenColumns { .. } => "give every column one value a row".to_owned(),
            Self::NoRows { .. } => {
                "check units and column names: counts and losses are positive numbers".to_owned()
            }
            Self::TooFewRows { needed, .. } => format!(
                "add runs until there are {needed} distinct points, fix a parameter, or choose a law with fewer"
            ),
            Self::OneRun { .. } => {
                "add runs, or name the column that tells runs apart; for one run's curve fix all but its own parameters"
                    .to_owned()
            }
            Self::ConstantColumn { column, .. } => format!(
                "add runs that vary `{column}`, fix the parameters of its term, or choose a law without it"
            ),
            Self::LossBelowFloor { name, .. } => {
                format!("fix {name} below the smallest response, or let it be fitted")
            }
            Self::NotFinite { name, expected, .. } => format!("give {name} as {expected}"),
            Self::MixedConventions { .. } => "convert all rows to one convention".to_owned(),
            Self::NoOptimum => {
                "check the law's bounds and starts against the units of the data".to_owned()
            }
        }
    }
}
