//! SQL over tables by name: one partition, names keep their case, bounded memory.

use super::amounts::amount;
use super::{Unusable, unusable};
use crate::registry::sql::{Known, Refused, refused};
use datafusion::arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::TableReference;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use datafusion::prelude::{SessionConfig, SessionContext};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Memory that the queries over a table may take.
const MEMORY_BYTES_MAX: usize = 2 << 30;

/// Columns that an error names: a wide table has thousands.
const NAMED_MAX: usize = 30;

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The session that answers.
pub(super) struct Asker {
    session: SessionContext,
    runtime: Runtime,
    /// Tables and their columns, for errors.
    tables: RefCell<BTreeMap<String, Vec<String>>>,
}

impl Asker {
    pub(super) fn new() -> Result<Self, Unusable> {
        let broken = |error: String| unusable("table", error, "SQL", "see the message");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| broken(error.to_string()))?;
        let environment = RuntimeEnvBuilder::new()
            .with_memory_limit(MEMORY_BYTES_MAX, 1.0)
            .build_arc()
            .map_err(|error| broken(error.to_string()))?;
        let mut config = SessionConfig::new().with_target_partitions(1);
        config.options_mut().sql_parser.enable_ident_normalization = false;
        let session = SessionContext::new_with_config_rt(config, environment);
        session.register_udf(create_udf(
            "amount",
            vec![DataType::Utf8],
            DataType::Float64,
            Volatility::Immutable,
            Arc::new(amounts_of),
        ));
        Ok(Self {
            session,
            runtime,
            tables: RefCell::default(),
        })
    }

    /// Gives a table its name, in place of the one that had it.
    pub(super) fn knows(&self, name: &str, table: RecordBatch) -> Result<(), Unusable> {
        let broken =
            |error: DataFusionError| unusable("table", error.to_string(), name, "rename it");
        let reference = TableReference::bare(name);
        self.session
            .deregister_table(reference.clone())
            .map_err(broken)?;
        let schema = table.schema();
        let columns = schema.fields().iter().map(|field| field.name().clone());
        self.tables
            .borrow_mut()
            .insert(name.to_owned(), columns.collect());
        let table = MemTable::try_new(schema, vec![vec![table]]).map_err(broken)?;
        self.session
            .register_table(reference, Arc::new(table))
            .map(drop)
            .map_err(broken)
    }

    pub(super) fn ask(&self, sql: &str) -> Result<RecordBatch, Unusable> {
        let wrong = |error: DataFusionError| {
            let listed = self.listed();
            let tables = self.tables.borrow();
            let known = Known {
                tables: &tables.keys().map(String::as_str).collect::<Vec<_>>(),
                columns: &listed,
                otherwise: &format!("correct the SQL; {listed}"),
            };
            match refused(&error, &known) {
                Refused::Wrong { message, .. } if message.contains("Cannot cast string") => {
                    unusable(
                        "not_a_number",
                        message,
                        sql,
                        "amount(…) reads 1.3B, 20B tokens and 45 % as numbers, try_cast(… AS double) makes nothing of the rest",
                    )
                }
                Refused::Wrong { message, remedy } => {
                    unusable("unknown_column", message, sql, remedy)
                }
                Refused::Store(fault) => {
                    unusable("table", fault.to_string(), sql, "see the message")
                }
            }
        };
        self.runtime.block_on(async {
            let frame = self.session.sql(sql).await.map_err(wrong)?;
            let schema = Arc::new(frame.schema().as_arrow().clone());
            let batches = frame.collect().await.map_err(wrong)?;
            let schema = batches.first().map_or(schema, RecordBatch::schema);
            concat_batches(&schema, &batches)
                .map_err(|error| unusable("table", error.to_string(), sql, "see the message"))
        })
    }

    /// The tables and their columns, as a sentence.
    fn listed(&self) -> String {
        let tables = self.tables.borrow();
        let said: Vec<String> = tables
            .iter()
            .map(|(name, columns)| {
                let shown: Vec<&str> = columns.iter().take(NAMED_MAX).map(String::as_str).collect();
                let more = columns.len() - shown.len();
                let rest = if more > 0 {
                    format!(" and {more} more")
                } else {
                    String::new()
                };
                format!("{name} has {}{rest}", shown.join(", "))
            })
            .collect();
        format!(
            "{}; in SQL a name with blanks or signs stands in double quotes",
            said.join("; ")
        )
    }
}

/// `amount('1.3B')`, for expressions; a direct column needs no call.
fn amounts_of(arguments: &[ColumnarValue]) -> Result<ColumnarValue, DataFusionError> {
    let arrays = ColumnarValue::values_to_arrays(arguments)?;
    let Some(cells) = arrays
        .first()
        .and_then(|array| array.as_string_opt::<i32>())
    else {
        return Err(DataFusionError::Execution("amount() reads text".to_owned()));
    };
    let values = cells
        .iter()
        .map(|cell| {
            cell.map(|cell| {
                amount(cell).ok_or_else(|| {
                    DataFusionError::Execution(format!("amount(): `{cell}` is no number"))
                })
            })
            .transpose()
        })
        .collect::<Result<Float64Array, DataFusionError>>()?;
    let values: ArrayRef = Arc::new(values);
    Ok(ColumnarValue::Array(values))
}
