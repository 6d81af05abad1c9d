//! What may be wrong with what a surface is given, each with a code, a sentence and a remedy.

use thiserror::Error;

/// Why there is no surface. The sentence is meant for the researcher who gave the table.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "the sentence on each variant says what its fields are"
)]
pub enum SurfaceError {
    #[error(
        "{rows} usable rows are fewer than the {needed} that a surface over {features} features needs"
    )]
    TooFewRows {
        rows: usize,
        needed: usize,
        features: usize,
    },
    #[error(
        "all rows come from {runs} run(s): what holds for another run cannot be learnt from fewer than {needed}"
    )]
    TooFewRuns { runs: usize, needed: usize },
    #[error("no feature is given")]
    NoFeatures,
    #[error("`{what}` has {found} rows where the target has {expected}")]
    Lengths {
        what: String,
        found: usize,
        expected: usize,
    },
    #[error("the target `{name}` is {value} in every row: there is nothing to explain")]
    ConstantTarget { name: String, value: f64 },
    #[error("the target `{name}` is not a finite number in row {row}")]
    TargetNotFinite { name: String, row: usize },
    #[error(
        "the target `{name}` is {value} in row {row}, which the scale {scale} does not allow ({allowed})"
    )]
    TargetOutside {
        name: String,
        row: usize,
        value: f64,
        scale: &'static str,
        allowed: &'static str,
    },
    #[error("there is no column `{name}`; there are: {known}")]
    UnknownColumn { name: String, known: String },
    #[error("the column `{column}` has no value in any row")]
    AllMissing { column: String },
    #[error("the column `{column}` has an infinite value in row {row}")]
    NotFinite { column: String, row: usize },
    #[error(
        "the column `{column}` is the target `{target}` itself, but for scale and offset: the surface would only copy it"
    )]
    TargetLeak { column: String, target: String },
    #[error("the weights of the mixture {group} add up to {sum} in row {row}, not to 1")]
    MixtureSum { group: String, row: usize, sum: f64 },
    #[error(
        "the mixture column `{column}` is {value} in row {row}; a share is between 0 and 1 and never missing"
    )]
    MixtureShare {
        column: String,
        row: usize,
        value: f64,
    },
    #[error("`{column}` holds names where numbers are needed ({why})")]
    NotANumber { column: String, why: &'static str },
    #[error("`{column}` holds numbers where the surface was fitted to names, or the reverse")]
    ColumnKind { column: String },
    #[error("a {kind} surface cannot {what}")]
    KindCannot {
        kind: &'static str,
        what: &'static str,
    },
    #[error("a weight is {value} in row {row}; weights are positive")]
    BadWeight { row: usize, value: f64 },
    #[error("the option `{name}` is {value}: {allowed}")]
    BadOption {
        name: &'static str,
        value: String,
        allowed: &'static str,
    },
    #[error("these are not the rows that the surface was fitted to")]
    OtherTable,
    #[error("the surface has version {found}, this program reads {known}")]
    Version { found: u32, known: u32 },
    #[error("the {kind} surface did not settle on these rows: {why}")]
    NotFitted {
        kind: &'static str,
        why: &'static str,
    },
}

impl SurfaceError {
    /// The error's name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooFewRows { .. } => "too_few_rows",
            Self::TooFewRuns { .. } => "too_few_runs",
            Self::NoFeatures => "no_features",
            Self::Lengths { .. } => "lengths_differ",
            Self::ConstantTarget { .. } => "constant_target",
            Self::TargetNotFinite { .. } => "target_not_finite",
            Self::TargetOutside { .. } => "target_outside",
            Self::UnknownColumn { .. } => "unknown_column",
            Self::AllMissing { .. } => "all_missing",
            Self::NotFinite { .. } => "not_finite",
            Self::TargetLeak { .. } => "target_leak",
            Self::MixtureSum { .. } => "mixture_sum",
            Self::MixtureShare { .. } => "mixture_share",
            Self::NotANumber { .. } => "not_a_number",
            Self::ColumnKind { .. } => "column_kind",
            Self::KindCannot { .. } => "kind_cannot",
            Self::BadWeight { .. } => "bad_weight",
            Self::BadOption { .. } => "bad_option",
            Self::OtherTable => "other_table",
            Self::Version { .. } => "surface_version",
            Self::NotFitted { .. } => "not_fitted",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::TooFewRows { .. } => "Add runs, or leave out features that cannot matter.".into(),
            Self::TooFewRuns { .. } => "Add runs; if each row is a run of its own, give each its own run id.".into(),
            Self::NoFeatures => "Name at least one column.".into(),
            Self::Lengths { .. } => "Give every column one value a row.".into(),
            Self::ConstantTarget { .. } => "Check that the right column is the target, and that the rows differ.".into(),
            Self::TargetNotFinite { .. } => "Leave out rows without a result, or model whether a run fails as a probability (1 failed, 0 did not).".into(),
            Self::TargetOutside { scale, .. } => match *scale {
                "probability" => "Give 0 or 1 for each row, or a share with the number of trials as weight; percentages are divided by 100.".into(),
                "log" => "Use the scale `identity`, or leave out rows of zero or less.".into(),
                _ => "Use the scale `probability` where shares of exactly 0 or 1 occur.".into(),
            },
            Self::UnknownColumn { .. } => "Correct the name.".into(),
            Self::AllMissing { column } => format!("Leave `{column}` out, or join the table that has it."),
            Self::NotFinite { .. } => "Write a missing value as missing (NaN), not as infinity.".into(),
            Self::TargetLeak { column, .. } => format!("Leave `{column}` out: it is known only once the target is."),
            Self::MixtureSum { .. } => "Divide each row's weights by their sum, or name every domain of the mixture.".into(),
            Self::MixtureShare { .. } => "Write 0 for a domain that a mixture leaves out.".into(),
            Self::NotANumber { .. } => "Give numbers, or drop the request.".into(),
            Self::ColumnKind { .. } => "Give the column as it was when the surface was fitted.".into(),
            Self::KindCannot { .. } => "Take another kind, or `auto`.".into(),
            Self::BadWeight { .. } => "Leave out rows that should not count.".into(),
            Self::BadOption { allowed, .. } => format!("Choose a value that fits: {allowed}."),
            Self::OtherTable => "Give the table of the fit, whole; its order does not matter.".into(),
            Self::Version { .. } => "Fit the surface again.".into(),
            Self::NotFitted { .. } => "Take another kind, or `auto`.".into(),
        }
    }
}
