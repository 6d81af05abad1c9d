//! What can be wrong with a law, with the place and the remedy.

use thiserror::Error;

/// Why a text is no law.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LawError {
    /// No built-in law has this name.
    #[error("there is no law `{name}`; the nearest is `{nearest}`; there are {all}")]
    UnknownLaw {
        /// The name.
        name: String,
        /// The most similar name.
        nearest: String,
        /// All names.
        all: String,
    },
    /// Not YAML, or not the fields of a law.
    #[error("the law cannot be read: {message}")]
    BadYaml {
        /// What the reader said, with line and column where it knows them.
        message: String,
    },
    /// A formula that does not parse.
    #[error("{field}, column {column}: {message}\n  {formula}\n  {caret}")]
    BadFormula {
        /// Which formula.
        field: String,
        /// Where, counted in characters from 1.
        column: usize,
        /// What is wrong.
        message: String,
        /// What to do.
        remedy: String,
        /// The formula.
        formula: String,
        /// A caret under the place.
        caret: String,
    },
    /// A field whose value cannot be.
    #[error("{field}: {message}")]
    BadField {
        /// Where: `parameters.alpha.bounds`.
        field: String,
        /// What is wrong.
        message: String,
        /// What to do.
        remedy: String,
    },
}

impl LawError {
    /// A code for programs; stable.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownLaw { .. } => "unknown_law",
            Self::BadYaml { .. } => "bad_yaml",
            Self::BadFormula { .. } => "bad_formula",
            Self::BadField { .. } => "bad_field",
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::UnknownLaw { nearest, .. } => format!("use `{nearest}`, or give a file of your own"),
            Self::BadYaml { .. } => {
                "a law has name, formula, columns, response and parameters; `cairn laws hoffmann --yaml` writes one that is right".to_owned()
            }
            Self::BadFormula { remedy, .. } | Self::BadField { remedy, .. } => remedy.clone(),
        }
    }
}
