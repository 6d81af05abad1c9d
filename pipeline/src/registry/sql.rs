//! SQL over the registry, in DataFusion.
//!
//! `rows` has every column of the table, and those that the windows of a refit know (`parameters`, `loss`, `loss_kind`, …), so
//! that a query tried here can be put into the configuration; parameters that nobody told are those counted from the shape. `scores` and `cards` are lists of `rows` and `recommendations`
//! with a row each.

use super::{AsOf, Fault, Store, TABLES, Table};
use crate::window_query::VALIDATION_LAG_SHARE_MAX;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use tokio::runtime::Runtime;

/// The registry as it was at one time.
pub struct Query {
    session: SessionContext,
    runtime: Runtime,
}

/// Why a query gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// What was asked cannot be answered: what is wrong, and what was probably meant.
    #[error("{message}")]
    Wrong {
        /// What is wrong.
        message: String,
        /// What to do.
        remedy: String,
    },
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] Fault),
}

impl Query {
    /// A session over all tables.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn new(
        store: &mut dyn Store,
        as_of: &AsOf,
        memory_bytes_max: usize,
    ) -> Result<Self, Refused> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Fault::Broken(error.to_string()))?;
        let environment = RuntimeEnvBuilder::new()
            .with_memory_limit(memory_bytes_max, 1.0)
            .build_arc()
            .map_err(broken)?;
        let session = SessionContext::new_with_config_rt(
            SessionConfig::new().with_information_schema(true),
            environment,
        );
        for table in TABLES {
            let name = if table.name == "rows" {
                "stored_rows"
            } else {
                table.name
            };
            // an earlier state is asked of rows; a table that is younger than it was empty then
            let provider = match store.provider(table, as_of) {
                Ok(provider) => provider,
                Err(_) if *as_of != AsOf::Now && table.name != "rows" => {
                    store.provider(table, &AsOf::Now)?
                }
                Err(fault) => return Err(fault.into()),
            };
            session.register_table(name, provider).map_err(broken)?;
        }
        let query = Self { session, runtime };
        for view in views() {
            query.run(&view)?;
        }
        Ok(query)
    }

    /// The answer to a query, batch by batch.
    ///
    /// # Errors
    /// A query that cannot be understood, or that needs more memory than it may have.
    pub fn run(&self, sql: &str) -> Result<Vec<RecordBatch>, Refused> {
        self.runtime.block_on(async {
            let frame = self
                .session
                .sql(sql)
                .await
                .map_err(|error| refused_here(&error))?;
            frame.collect().await.map_err(|error| refused_here(&error))
        })
    }
}

fn broken(error: DataFusionError) -> Fault {
    Fault::Broken(error.to_string())
}

/// Views over the stored tables.
fn views() -> Vec<String> {
    let is_last = format!(
        "validation_loss_last IS NOT NULL AND steps - validation_loss_step <= {VALIDATION_LAG_SHARE_MAX} * steps"
    );
    vec![
        format!(
            "CREATE VIEW rows AS SELECT * REPLACE (
                    coalesce(parameters_active, derived_parameters_active) AS parameters_active,
                    coalesce(parameters_non_embedding, derived_parameters_non_embedding) AS parameters_non_embedding
                ),
                coalesce(parameters_total, derived_parameters_total) AS parameters,
                CASE WHEN {is_last} THEN validation_loss_last ELSE loss_last END AS loss,
                CASE WHEN {is_last} THEN 'validation' WHEN loss_last IS NOT NULL THEN 'training' END AS loss_kind,
                loss_last AS loss_train,
                validation_loss_last AS loss_validation,
                1.0 AS weight
             FROM stored_rows"
        ),
        "CREATE VIEW scores AS SELECT tenant, run_id, status, parameters_total, tokens AS run_tokens,
            score['harness'] AS harness, score['task'] AS task, score['metric'] AS metric, score['value'] AS value,
            score['n'] AS n, score['standard_error'] AS standard_error, score['step'] AS step, score['tokens'] AS tokens,
            score['higher_is_better'] AS higher_is_better, score['kind'] AS kind
         FROM (SELECT tenant, run_id, status, parameters_total, tokens, unnest(scores) AS score FROM stored_rows)"
            .to_owned(),
        "CREATE VIEW cards AS SELECT tenant, recommendation_id,
            card['kind'] AS kind, card['title'] AS title, card['sentence'] AS sentence,
            card['data_json'] AS data_json, card['figure_json'] AS figure_json
         FROM (SELECT tenant, recommendation_id, unnest(explanations) AS card FROM recommendations)"
            .to_owned(),
    ]
}

/// What a query could have named.
pub(crate) struct Known<'a> {
    /// Names of tables.
    pub(crate) tables: &'a [&'a str],
    /// What to do about a column that is not there.
    pub(crate) columns: &'a str,
    /// What to do about anything else.
    pub(crate) otherwise: &'a str,
}

/// The error of a query over the registry.
fn refused_here(error: &DataFusionError) -> Refused {
    let tables = TABLES.iter().map(|table| table.name);
    refused(
        error,
        &Known {
            tables: &tables.chain(["scores", "cards"]).collect::<Vec<_>>(),
            columns: "`cairn sql 'DESCRIBE rows'` lists the columns",
            otherwise: "correct the SQL; `cairn sql 'SHOW TABLES'` and `cairn sql 'DESCRIBE rows'` say what there is",
        },
    )
}

/// An error of DataFusion's as a sentence, with the name that was probably meant.
pub(crate) fn refused(error: &DataFusionError, known: &Known<'_>) -> Refused {
    if let DataFusionError::SchemaError(inner, _) = error.find_root()
        && let SchemaError::FieldNotFound {
            field,
            valid_fields,
        } = inner.as_ref()
    {
        let nearest = nearest(
            &field.name,
            valid_fields.iter().map(|column| column.name.as_str()),
        );
        return Refused::Wrong {
            message: format!("there is no column {}", field.name),
            remedy: match nearest {
                Some(name) => format!("did you mean {name}? {}", known.columns),
                None => known.columns.to_owned(),
            },
        };
    }
    let text = error.strip_backtrace();
    let text = text.lines().next().unwrap_or_default().to_owned();
    if let Some(name) = text
        .split("table '")
        .nth(1)
        .and_then(|rest| rest.split('\'').next())
        .map(|path| path.rsplit('.').next().unwrap_or(path).to_owned())
        .filter(|_| text.contains("not found"))
    {
        return Refused::Wrong {
            message: format!("there is no table {name}"),
            remedy: nearest(&name, known.tables.iter().copied()).map_or_else(
                || format!("there are {}", known.tables.join(", ")),
                |nearest| format!("did you mean {nearest}?"),
            ),
        };
    }
    Refused::Wrong {
        message: text,
        remedy: known.otherwise.to_owned(),
    }
}

/// The name that is nearest, if any is near.
fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (strsim::jaro_winkler(wanted, name), name))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// The tables and views that there are, for help texts.
#[must_use]
pub fn names() -> Vec<&'static str> {
    TABLES
        .iter()
        .map(|table: &Table| table.name)
        .chain(["scores", "cards"])
        .collect()
}
