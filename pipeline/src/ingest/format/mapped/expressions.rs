//! Columns and SQL expressions over columns, evaluated by DataFusion on batches.
//!
//! A right-hand side that is the name of a column is that column, whatever characters it has; anything else is SQL, in
//! which names keep their case. Expressions see one row: aggregates and subqueries are refused.

use super::super::Refusal;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Float64Type, Int64Type, Schema, TimeUnit, TimestampMillisecondType,
};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, Volatility};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ingest::fields::Scalar;

/// Plans expressions; one a table.
pub(super) struct Planner {
    context: SessionContext,
}

impl Planner {
    /// A planner that keeps the case of names.
    pub(super) fn new() -> Self {
        let mut config = SessionConfig::new().with_target_partitions(1);
        config.options_mut().sql_parser.enable_ident_normalization = false;
        Self {
            context: SessionContext::new_with_config(config),
        }
    }

    fn logical(&self, sql: &str, schema: &DFSchema, what: &str) -> Result<Expr, Refusal> {
        let name = sql.trim();
        if schema.fields().iter().any(|field| field.name() == name) {
            return Ok(Expr::Column(Column::new_unqualified(name)));
        }
        self.context.parse_sql_expr(sql, schema).map_err(|error| {
            let error = error.strip_backtrace();
            let error = error.lines().next().unwrap_or_default();
            let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).take(40).collect();
            Refusal(format!(
                "the mapping's {what} {sql:?} is neither a column nor an expression over the columns: {error}; the table has {}",
                columns.join(", ")
            ))
        })
    }

    /// The columns that an expression reads.
    ///
    /// # Errors
    /// It is neither a column nor an expression over columns.
    pub(super) fn columns(
        &self,
        sql: &str,
        schema: &Schema,
        what: &str,
        into: &mut BTreeSet<String>,
    ) -> Result<(), Refusal> {
        let schema = df_schema(schema)?;
        let expression = self.logical(sql, &schema, what)?;
        into.extend(
            expression
                .column_refs()
                .into_iter()
                .map(|column| column.name.clone()),
        );
        Ok(())
    }

    /// An expression over batches of this schema.
    ///
    /// # Errors
    /// Types do not go together, or it needs more than one row.
    pub(super) fn plan(
        &self,
        sql: &str,
        schema: &Schema,
        what: &str,
    ) -> Result<Arc<dyn PhysicalExpr>, Refusal> {
        let schema = df_schema(schema)?;
        let expression = self.logical(sql, &schema, what)?;
        if expression.is_volatile() || asks_the_time(&expression) {
            return Err(Refusal(format!(
                "the mapping's {what} {sql:?} gives another value each time: the same table twice would be two sets of events; \
                 use a column or a constant"
            )));
        }
        self.simplified(expression, &schema)
            .and_then(|expression| self.context.create_physical_expr(expression, &schema))
            .map_err(|error| {
                let error = error.strip_backtrace();
                Refusal(format!(
                    "the mapping's {what} {sql:?} cannot be evaluated: {}",
                    error.lines().next().unwrap_or_default()
                ))
            })
    }

    /// What has no evaluation of its own (`coalesce`, `nvl`) rewritten into what has.
    fn simplified(&self, expression: Expr, schema: &DFSchema) -> Result<Expr, DataFusionError> {
        let state = self.context.state();
        let context = SimplifyContext::builder()
            .with_schema(Arc::new(schema.clone()))
            .with_config_options(Arc::clone(state.config_options()))
            .build();
        let simplifier = ExprSimplifier::new(context);
        simplifier.simplify(simplifier.coerce(expression, schema)?)
    }
}

/// `now()` and its like are fixed within a query, and differ between two.
fn asks_the_time(expression: &Expr) -> bool {
    expression
        .exists(|part| {
            Ok(matches!(part, Expr::ScalarFunction(call)
                if call.func.signature().volatility == Volatility::Stable
                    && matches!(call.name(), "now" | "current_date" | "current_time" | "today")))
        })
        .unwrap_or(false)
}

fn df_schema(schema: &Schema) -> Result<DFSchema, Refusal> {
    DFSchema::try_from(schema.clone())
        .map_err(|error| Refusal(format!("the table's columns cannot be used: {error}")))
}

/// Values of one expression, a row each, in one of the types that a field takes.
pub(super) enum Values {
    Null,
    Int(datafusion::arrow::array::Int64Array),
    Float(datafusion::arrow::array::Float64Array),
    Bool(datafusion::arrow::array::BooleanArray),
    Text(datafusion::arrow::array::StringArray),
    /// Milliseconds since 1970.
    Time(datafusion::arrow::array::TimestampMillisecondArray),
}

impl Values {
    /// Evaluates an expression on a batch.
    ///
    /// # Errors
    /// A row cannot be evaluated (a cast of a word to a number, a division by zero), or the result is no scalar.
    pub(super) fn of(expression: &dyn PhysicalExpr, batch: &RecordBatch) -> Result<Self, String> {
        let said = |error: datafusion::error::DataFusionError| {
            error
                .strip_backtrace()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let array: ArrayRef = expression
            .evaluate(batch)
            .and_then(|value| value.into_array(batch.num_rows()))
            .map_err(said)?;
        let to = |kind: &DataType| cast(&array, kind).map_err(|error| error.to_string());
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool(array.as_boolean().clone()),
            kind if kind.is_integer() => {
                Self::Int(to(&DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            kind if kind.is_numeric() => Self::Float(
                to(&DataType::Float64)?
                    .as_primitive::<Float64Type>()
                    .clone(),
            ),
            DataType::Utf8 => Self::Text(array.as_string::<i32>().clone()),
            DataType::Utf8View | DataType::LargeUtf8 => {
                Self::Text(to(&DataType::Utf8)?.as_string::<i32>().clone())
            }
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Self::Time(
                to(&DataType::Timestamp(TimeUnit::Millisecond, None))?
                    .as_primitive::<TimestampMillisecondType>()
                    .clone(),
            ),
            other => {
                return Err(format!(
                    "it gives a {other}; a field takes a number, a truth value or text"
                ));
            }
        })
    }

    /// The value of a row.
    pub(super) fn get(&self, row: usize) -> Option<Scalar<'_>> {
        match self {
            Self::Null => None,
            Self::Int(array) => array.is_valid(row).then(|| Scalar::Int(array.value(row))),
            Self::Float(array) => array.is_valid(row).then(|| Scalar::Float(array.value(row))),
            Self::Bool(array) => array.is_valid(row).then(|| Scalar::Bool(array.value(row))),
            Self::Text(array) => array.is_valid(row).then(|| Scalar::Text(array.value(row))),
            Self::Time(array) => array.is_valid(row).then(|| Scalar::Int(array.value(row))),
        }
    }

    /// True where the values are times in milliseconds already.
    pub(super) fn is_time(&self) -> bool {
        matches!(self, Self::Time(_))
    }
}
