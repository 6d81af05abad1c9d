//! Why a study has nothing to report.

use thiserror::Error;

use crate::FitError;

/// Why there is no study. What to do: see [`Self::remedy`].
#[derive(Clone, Debug, Error, PartialEq)]
pub enum StudyError {
    /// A fit inside the study failed.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The table or the point lacks a column.
    #[error("{study} needs a column `{column}`{why}")]
    MissingColumn {
        /// The study.
        study: &'static str,
        /// The column.
        column: String,
        /// In which case, with a space in front; may be empty.
        why: &'static str,
    },
    /// An option has a value that means nothing.
    #[error("option {name} is {value}; expected {expected}")]
    BadOption {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The law does not say how to count compute.
    #[error("the law {law} does not say how its columns make compute")]
    NoCompute {
        /// The law.
        law: String,
    },
    /// No allocation meets the demand.
    #[error("no allocation: {why}")]
    NoAllocation {
        /// Why not.
        why: String,
    },
    /// Too little is left after what had to be left out.
    #[error("{study}: {found} {what} can be used, {needed} are needed{}", listed(.left_out))]
    TooFew {
        /// The study.
        study: &'static str,
        /// What there is too little of.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many it takes.
        needed: usize,
        /// What was left out and why, a line each.
        left_out: Vec<String>,
    },
}

fn listed(left_out: &[String]) -> String {
    if left_out.is_empty() {
        String::new()
    } else {
        format!("; left out: {}", left_out.join("; "))
    }
}

impl StudyError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Fit(error) => error.code(),
            Self::MissingColumn { .. } => "unknown_column",
            Self::BadOption { .. } => "bad_option",
            Self::NoCompute { .. } => "no_compute",
            Self::NoAllocation { .. } => "no_allocation",
            Self::TooFew { .. } => "too_few",
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Fit(error) => error.remedy(),
            Self::MissingColumn { column, .. } => {
                format!("give the column, `{column}=…`, or its value")
            }
            Self::BadOption { expected, .. } => format!("give {expected}"),
            Self::NoCompute { .. } => {
                "add a line `compute:` to the law, for instance `compute: 6 * n * d`".to_owned()
            }
            Self::NoAllocation { .. } => {
                "ask for a target that the law can reach within the bounds".to_owned()
            }
            Self::TooFew { what, .. } => format!("add {what}, or loosen what leaves them out"),
        }
    }
}
