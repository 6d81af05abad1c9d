//! Laws as data: a formula over columns and parameters, with units, bounds, starts and a reference.
//!
//! A law is read from YAML, whether it is built in (`scaling/laws/NAME.yaml`) or a user's own; there is no second way. The
//! formula is parsed once, checked against the declared names, and compiled for a fit into a tape with exact first and second
//! derivatives.

mod affine;
mod builder;
mod catalogue;
mod error;
pub(crate) mod expression;
mod parse;
mod spec;
pub(crate) mod tape;
mod tape_rules;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use error::LawError;
pub(crate) use parse::nearest as nearest_name;

use crate::report::Interval;
use expression::Expression;
use spec::Spec;

/// On which scale a number is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// By its logarithm: positive numbers over orders of magnitude.
    Log,
    /// As it is.
    #[default]
    Linear,
}

/// A column that a law reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Name in the formula and in [`crate::Table::columns`].
    pub name: String,
    /// Unit, in words.
    #[serde(default)]
    pub unit: String,
    /// What it is.
    #[serde(default)]
    pub description: String,
    /// Whether only positive values make sense (the default); rows with others are left out.
    #[serde(default = "yes")]
    pub positive: bool,
}

fn yes() -> bool {
    true
}

/// What a law explains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// Name: `loss`, `error`, `score`.
    pub name: String,
    /// Unit, in words.
    #[serde(default)]
    pub unit: String,
    /// On which scale residuals are taken unless the objective says otherwise; on the logarithmic one it must be positive.
    #[serde(default)]
    pub scale: Scale,
}

/// A parameter of a law.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Name in the formula.
    pub name: String,
    /// Unit, in words.
    #[serde(default)]
    pub unit: String,
    /// What it means.
    #[serde(default)]
    pub description: String,
    /// Limits of the search, wide: they end a slide along a flat direction, they do not shape the answer.
    pub bounds: Interval,
    /// On which scale it is searched, averaged and read. Logarithmic ones are positive.
    #[serde(default)]
    pub scale: Scale,
    /// Where searches begin; may be empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub starts: Vec<f64>,
    /// For a coefficient A of a term A x^p: the column x and the exponent (`alpha` or `-alpha`). The search then moves the
    /// term's size at the middle of the data instead of at x = 1, where nobody has been.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub centre: BTreeMap<String, String>,
}

/// A name for a part of a formula.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The name.
    pub name: String,
    /// What it stands for.
    pub formula: String,
}

/// A scaling law.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Spec", into = "Spec")]
pub struct Law {
    /// Short name, as in `--law hoffmann`.
    pub name: String,
    /// What it is, in a line.
    pub title: String,
    /// The formula of the response.
    pub formula: String,
    /// Names for parts of the formula, each over columns, parameters and the definitions before it.
    pub define: Vec<Definition>,
    /// Where it comes from.
    pub reference: String,
    /// Columns it reads.
    pub columns: Vec<Column>,
    /// What it explains.
    pub response: Response,
    /// Its parameters; [`crate::Fit::replicates`] has them in this order.
    pub parameters: Vec<Parameter>,
    /// Training FLOPs over columns; orders hold-outs and measures extrapolation.
    pub compute: Option<String>,
    /// Where the law has no compute: a formula over columns that grows towards what one wants to predict.
    pub order: Option<String>,
    /// A simpler built-in law whose fit places the parameters of the same names.
    pub starts_from: Option<String>,
    /// Whether the rows of a single run may be fitted: a law of a learning curve.
    pub one_run: bool,
    /// Numbers that follow from the parameters, as formulas over them.
    pub derived: BTreeMap<String, String>,
    compiled: Compiled,
}

/// The parsed formulas. They follow from the public fields as they were read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Compiled {
    pub(crate) formula: Expression,
    pub(crate) compute: Option<Expression>,
    pub(crate) order: Option<Expression>,
    pub(crate) derived: BTreeMap<String, Expression>,
}

impl Law {
    /// A built-in law. An unknown name is an error that lists the nearest and all names.
    pub fn named(name: &str) -> Result<Self, LawError> {
        catalogue::named(name)
    }

    /// All built-in laws, by name.
    pub fn all() -> Vec<Self> {
        catalogue::all()
    }

    /// Ye et al.'s law of data mixtures for these domains, at least two: columns `r_NAME`, coefficients `t_NAME`. The last domain
    /// is the reference: it has neither, since shares add to one.
    pub fn mixture(domains: &[&str]) -> Result<Self, LawError> {
        catalogue::mixture(domains)
    }

    /// A law from YAML; errors name the line or field and the remedy.
    pub fn from_yaml(text: &str) -> Result<Self, LawError> {
        spec::from_yaml(text)
    }

    /// The response at a point. NaN where a name is missing.
    pub fn evaluate(
        &self,
        parameters: &BTreeMap<String, f64>,
        point: &BTreeMap<String, f64>,
    ) -> f64 {
        let values = self.values(parameters);
        self.value(&values, &self.coordinates(point))
    }

    /// Training FLOPs at a point, where the law says how to count them. NaN where a column is missing.
    pub fn compute_at(&self, point: &BTreeMap<String, f64>) -> Option<f64> {
        let formula = self.compiled.compute.as_ref()?;
        Some(formula.value(&[], &self.coordinates(point)))
    }

    /// Parameters in the law's order; NaN where one is missing.
    pub(crate) fn values(&self, parameters: &BTreeMap<String, f64>) -> Vec<f64> {
        let value = |name: &str| parameters.get(name).copied().unwrap_or(f64::NAN);
        self.parameters.iter().map(|one| value(&one.name)).collect()
    }

    /// Columns of a point in the law's order; NaN where one is missing.
    pub(crate) fn coordinates(&self, point: &BTreeMap<String, f64>) -> Vec<f64> {
        let value = |name: &str| point.get(name).copied().unwrap_or(f64::NAN);
        self.columns.iter().map(|one| value(&one.name)).collect()
    }

    /// What hold-outs go by: compute, or the law's order, or its first column.
    pub(crate) fn order_at(&self, columns: &[f64]) -> f64 {
        let formula = self
            .compiled
            .compute
            .as_ref()
            .or(self.compiled.order.as_ref());
        formula.map_or(columns[0], |formula| formula.value(&[], columns))
    }

    /// The response, everything in the law's order.
    pub(crate) fn value(&self, parameters: &[f64], columns: &[f64]) -> f64 {
        self.compiled.formula.value(parameters, columns)
    }

    pub(crate) fn compiled(&self) -> &Compiled {
        &self.compiled
    }
}
