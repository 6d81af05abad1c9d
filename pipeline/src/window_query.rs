//! SQL over experiment rows, in DataFusion: which runs a law sees, as the configuration's windows say.
//!
//! One partition, ordered input, no statistics of the machine: the same rows and the same SQL give the same answer in the
//! same order (DESIGN §3.6). Memory is bounded.

use cairn_avro::record::ExperimentRow;
use cairn_scaling::Observation;
use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::sync::Arc;

/// How far before a run's last step its last validation may lie, as a share of its steps, to stand for the run's end: a loss
/// falls by less than a tenth of this meanwhile.
pub const VALIDATION_LAG_SHARE_MAX: f64 = 0.01;

/// On which text a loss was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LossKind {
    /// Text that was held out.
    Validation,
    /// The text that the run was trained on at that moment.
    Training,
}

impl LossKind {
    /// As SQL and fits call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Training => "training",
        }
    }
}

/// The loss that belongs to all the tokens that a run has seen: the validation loss of its end, else the training loss. An
/// earlier validation belongs to fewer tokens, and is none.
#[must_use]
pub fn final_loss(row: &ExperimentRow) -> Option<(f64, LossKind)> {
    let is_of_the_end = match (row.steps, row.validation_loss_step) {
        (Some(steps), Some(step)) => {
            steps.saturating_sub(step) as f64 <= VALIDATION_LAG_SHARE_MAX * steps as f64
        }
        _ => false,
    };
    match row.validation_loss_last.filter(|_| is_of_the_end) {
        Some(loss) => Some((loss, LossKind::Validation)),
        None => row.loss_last.map(|loss| (loss, LossKind::Training)),
    }
}

/// Rows of a window: columns `run_id, n, d, loss, weight`.
///
/// # Errors
/// What is wrong with the SQL, or that the query needs more memory than it may have.
pub fn observations(
    rows: &[ExperimentRow],
    sql: &str,
    memory_bytes_max: usize,
) -> Result<Vec<Observation>, String> {
    let batches = query(table(rows)?, sql, memory_bytes_max)?;
    let mut found = Vec::new();
    for batch in batches {
        let text = |name: &str| -> Result<ArrayRef, String> {
            let column = batch
                .column_by_name(name)
                .ok_or_else(|| format!("the window's SQL selects no column {name}"))?;
            datafusion::arrow::compute::cast(column, &DataType::Utf8)
                .map_err(|error| format!("column {name}: {error}"))
        };
        let number = |name: &str| -> Result<ArrayRef, String> {
            let column = batch
                .column_by_name(name)
                .ok_or_else(|| format!("the window's SQL selects no column {name}"))?;
            datafusion::arrow::compute::cast(column, &DataType::Float64)
                .map_err(|error| format!("column {name}: {error}"))
        };
        let (run_ids, n, d, loss, weight) = (
            text("run_id")?,
            number("n")?,
            number("d")?,
            number("loss")?,
            number("weight")?,
        );
        let run_ids = run_ids
            .as_any()
            .downcast_ref::<StringArray>()
            .ok_or("run_id is no text")?;
        let floats = |column: &ArrayRef| {
            column
                .as_any()
                .downcast_ref::<Float64Array>()
                .cloned()
                .ok_or("not a number")
        };
        let (n, d, loss, weight) = (floats(&n)?, floats(&d)?, floats(&loss)?, floats(&weight)?);
        for row in 0..batch.num_rows() {
            if n.is_null(row) || d.is_null(row) || loss.is_null(row) {
                continue;
            }
            found.push(Observation {
                run_id: run_ids.value(row).to_owned(),
                parameters: n.value(row),
                tokens: d.value(row),
                loss: loss.value(row),
                weight: if weight.is_null(row) {
                    1.0
                } else {
                    weight.value(row)
                },
            });
        }
    }
    Ok(found)
}

/// Runs SQL over one table, `rows`.
fn query(
    table: RecordBatch,
    sql: &str,
    memory_bytes_max: usize,
) -> Result<Vec<RecordBatch>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let environment = RuntimeEnvBuilder::new()
            .with_memory_limit(memory_bytes_max, 1.0)
            .build_arc()
            .map_err(|error| error.to_string())?;
        let session = SessionContext::new_with_config_rt(
            SessionConfig::new().with_target_partitions(1),
            environment,
        );
        session
            .register_batch("rows", table)
            .map_err(|error| error.to_string())?;
        let frame = session
            .sql(sql)
            .await
            .map_err(|error| format!("the window's SQL: {error}"))?;
        frame
            .collect()
            .await
            .map_err(|error| format!("the window's SQL: {error}"))
    })
}

/// The columns that a window's SQL may name.
pub const COLUMNS: &[(&str, &str)] = &[
    ("tenant", "tenant"),
    ("run_id", "run"),
    ("status", "planned, running, finished, failed or stalled"),
    ("family", "model family"),
    (
        "parameters",
        "parameters, embeddings included; counted from the shape where not told",
    ),
    ("parameters_active", "parameters active for a token"),
    ("parameters_non_embedding", "parameters without embeddings"),
    ("depth_layers", "layers"),
    ("width", "width"),
    ("tokens", "tokens seen"),
    ("steps", "steps"),
    (
        "loss",
        "loss at the end, nats a token: the validation loss where it is of the last 1 % of the steps, else the training loss",
    ),
    ("loss_kind", "validation or training: which of them loss is"),
    ("loss_train", "last training loss"),
    ("loss_validation", "last validation loss"),
    ("context_length_tokens", "context"),
    ("curriculum", "curriculum or not"),
    ("optimizer", "optimiser"),
    ("learning_rate_peak", "peak learning rate"),
    ("batch_tokens", "tokens a step"),
    ("tokenizer", "tokenizer"),
    (
        "flops",
        "training FLOPs by runs.derivation.flops_convention, 6ND unless set",
    ),
    ("retries", "restarts"),
    ("breaker_state", "closed, open or half_open"),
    (
        "last_event_time_ms",
        "last event, milliseconds since the epoch",
    ),
    ("tags", "list of tags: array_has(tags, 'grid')"),
    ("weight", "1"),
];

/// The rows as one table.
fn table(rows: &[ExperimentRow]) -> Result<RecordBatch, String> {
    let text = |value: &dyn Fn(&ExperimentRow) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(value).collect::<StringArray>())
    };
    let float = |value: &dyn Fn(&ExperimentRow) -> Option<f64>| -> ArrayRef {
        Arc::new(rows.iter().map(value).collect::<Float64Array>())
    };
    let long = |value: &dyn Fn(&ExperimentRow) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.iter().map(value).collect::<Int64Array>())
    };
    let mut tags = ListBuilder::new(StringBuilder::new());
    for row in rows {
        for tag in &row.tags {
            tags.values().append_value(tag);
        }
        tags.append(true);
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("tenant", text(&|row| Some(row.tenant.clone()))),
        ("run_id", text(&|row| Some(row.run_id.clone()))),
        ("status", text(&|row| word(&row.status))),
        ("family", text(&|row| row.model.family.clone())),
        (
            "parameters",
            float(&|row| row.model.parameters_total.or(row.derived.parameters_total)),
        ),
        (
            "parameters_active",
            float(&|row| {
                row.model
                    .parameters_active
                    .or(row.derived.parameters_active)
            }),
        ),
        (
            "parameters_non_embedding",
            float(&|row| {
                let told = row.model.parameters_non_embedding;
                told.or(row.derived.parameters_non_embedding)
            }),
        ),
        ("depth_layers", long(&|row| row.model.depth_layers)),
        ("width", long(&|row| row.model.width)),
        ("tokens", long(&|row| row.tokens)),
        ("steps", long(&|row| row.steps)),
        ("loss", float(&|row| final_loss(row).map(|(loss, _)| loss))),
        (
            "loss_kind",
            text(&|row| final_loss(row).map(|(_, kind)| kind.as_str().to_owned())),
        ),
        ("loss_train", float(&|row| row.loss_last)),
        ("loss_validation", float(&|row| row.validation_loss_last)),
        (
            "context_length_tokens",
            long(&|row| row.context_length_tokens),
        ),
        (
            "curriculum",
            Arc::new(
                rows.iter()
                    .map(|row| row.curriculum)
                    .collect::<BooleanArray>(),
            ),
        ),
        ("optimizer", text(&|row| row.training.optimizer.clone())),
        (
            "learning_rate_peak",
            float(&|row| row.training.learning_rate_peak),
        ),
        ("batch_tokens", long(&|row| row.training.batch_tokens)),
        ("tokenizer", text(&|row| row.model.tokenizer.clone())),
        ("flops", float(&|row| row.derived.flops)),
        ("retries", long(&|row| Some(row.retries))),
        ("breaker_state", text(&|row| word(&row.breaker_state))),
        ("last_event_time_ms", long(&|row| row.last_event_time_ms)),
        ("tags", Arc::new(tags.finish())),
        ("weight", float(&|_| Some(1.0))),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns.into_iter().map(|(_, column)| column).collect(),
    )
    .map_err(|error| error.to_string())
}

/// The word that the contract has for a value of an enum.
fn word(value: &impl serde::Serialize) -> Option<String> {
    serde_json::to_value(value)
        .ok()?
        .as_str()
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_avro::record::{ModelConfig, RunStatus};
    use cairn_operators::refit::window_sql;

    fn row(run_id: &str, status: RunStatus, tags: &[&str]) -> ExperimentRow {
        ExperimentRow {
            tenant: "default".to_owned(),
            run_id: run_id.to_owned(),
            status,
            tokens: Some(1000),
            steps: Some(1000),
            loss_last: Some(3.0),
            validation_loss_last: Some(2.5),
            validation_loss_step: Some(1000),
            model: ModelConfig {
                parameters_total: Some(100.0),
                ..ModelConfig::default()
            },
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..ExperimentRow::default()
        }
    }

    #[test]
    fn a_window_chooses_finished_runs_of_its_cohort_in_order() {
        let rows = [
            row("b", RunStatus::Finished, &["grid"]),
            row("a", RunStatus::Finished, &["grid", "x"]),
            row("c", RunStatus::Running, &["grid"]),
            row("d", RunStatus::Finished, &["jump"]),
        ];
        let found = observations(&rows, &window_sql("array_has(tags, 'grid')"), 1 << 26)
            .expect("valid SQL");
        let names: Vec<&str> = found.iter().map(|o| o.run_id.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(
            (found[0].parameters, found[0].tokens, found[0].loss),
            (100.0, 1000.0, 2.5)
        );
    }

    /// D counts the tokens of the whole run: a loss from its middle does not belong to it.
    #[test]
    fn a_validation_counts_where_it_is_of_the_end() {
        let of = |validation_loss_step, loss_last| {
            final_loss(&ExperimentRow {
                validation_loss_step,
                loss_last,
                ..row("a", RunStatus::Finished, &[])
            })
        };
        let (validation, training) = (LossKind::Validation, LossKind::Training);
        assert_eq!(of(Some(1000), Some(3.0)), Some((2.5, validation)));
        assert_eq!(of(Some(990), Some(3.0)), Some((2.5, validation)));
        assert_eq!(of(Some(989), Some(3.0)), Some((3.0, training)));
        assert_eq!(of(Some(500), Some(3.0)), Some((3.0, training)));
        assert_eq!(of(None, Some(3.0)), Some((3.0, training)));
        assert_eq!(of(Some(500), None), None);
        let early = ExperimentRow {
            validation_loss_step: Some(500),
            ..row("a", RunStatus::Finished, &[])
        };
        let found = observations(&[early], &window_sql("loss_kind = 'training'"), 1 << 26);
        let found = found.expect("valid SQL");
        assert_eq!((found.len(), found[0].loss), (1, 3.0));
    }

    #[test]
    fn sql_that_does_not_run_says_why() {
        let error =
            observations(&[], &window_sql("colour = 'red'"), 1 << 26).expect_err("no such column");
        assert!(error.contains("colour"), "{error}");
    }

    #[test]
    fn every_column_is_described() {
        let batch = table(&[]).expect("an empty table");
        let schema = batch.schema();
        let names: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        assert_eq!(
            names,
            COLUMNS.iter().map(|(name, _)| *name).collect::<Vec<_>>()
        );
    }
}
