//! SQL over experiment rows, in DataFusion: which runs a law sees, as the configuration's windows say.
//!
//! One partition, ordered input, no statistics of the machine: the same rows and the same SQL give the same answer in the
//! same order (DESIGN §3.6). Memory is bounded.

use cairn_avro::record::ExperimentRow;
use cairn_scaling::{Law, Table};
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

/// The rows of an ask, to be asked of once or more.
pub struct Rows {
    session: SessionContext,
    runtime: tokio::runtime::Runtime,
}

impl Rows {
    /// One table, `rows`. Queries together use no more memory than this.
    ///
    /// # Errors
    /// Why there is no session.
    pub fn new(rows: &[ExperimentRow], memory_bytes_max: usize) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| error.to_string())?;
        let environment = RuntimeEnvBuilder::new()
            .with_memory_limit(memory_bytes_max, 1.0)
            .build_arc()
            .map_err(|error| error.to_string())?;
        let session = SessionContext::new_with_config_rt(
            SessionConfig::new().with_target_partitions(1),
            environment,
        );
        session
            .register_batch("rows", table(rows)?)
            .map_err(|error| error.to_string())?;
        Ok(Self { session, runtime })
    }

    /// What the SQL chooses.
    fn batches(&self, sql: &str) -> Result<Vec<RecordBatch>, String> {
        self.runtime.block_on(async {
            let frame = self
                .session
                .sql(sql)
                .await
                .map_err(|error| format!("the window's SQL: {error}"))?;
            frame
                .collect()
                .await
                .map_err(|error| format!("the window's SQL: {error}"))
        })
    }

    /// The places of a window's rows, ascending: see [`cairn_operators::refit::places_sql`].
    ///
    /// # Errors
    /// What is wrong with the SQL, or that the query needs more memory than it may have.
    pub fn places(&self, sql: &str) -> Result<Vec<i64>, String> {
        let mut found = Vec::new();
        for batch in self.batches(sql)? {
            let places = cast::<Int64Array>(&batch, "place", &DataType::Int64)?;
            found.extend(places.iter().flatten());
        }
        Ok(found)
    }

    /// A window's rows for this law: columns `run_id`, those of the law, its response, and `weight` and `group` where they are
    /// chosen. A row that lacks a number is none.
    ///
    /// # Errors
    /// What is wrong with the SQL, or that the query needs more memory than it may have.
    pub fn window(&self, sql: &str, law: &Law) -> Result<Window, String> {
        let mut found = Window::default();
        let names: Vec<&str> = law.columns.iter().map(|column| &*column.name).collect();
        let study = &mut found.study;
        for name in &names {
            study.columns.entry((*name).to_owned()).or_default();
        }
        for batch in self.batches(sql)? {
            let run_ids = cast::<StringArray>(&batch, "run_id", &DataType::Utf8)?;
            let number = |name: &str| cast::<Float64Array>(&batch, name, &DataType::Float64);
            let response = number(&law.response.name)?;
            let columns = names
                .iter()
                .map(|name| number(name))
                .collect::<Result<Vec<_>, _>>()?;
            let has = |name: &str| batch.column_by_name(name).is_some();
            let weights = has("weight").then(|| number("weight")).transpose()?;
            let groups = has("group")
                .then(|| cast::<StringArray>(&batch, "group", &DataType::Utf8))
                .transpose()?;
            let places = has("place")
                .then(|| cast::<Int64Array>(&batch, "place", &DataType::Int64))
                .transpose()?;
            for row in 0..batch.num_rows() {
                if response.is_null(row) || columns.iter().any(|column| column.is_null(row)) {
                    continue;
                }
                study.run_ids.push(run_ids.value(row).to_owned());
                study.response.push(response.value(row));
                for (name, column) in names.iter().zip(&columns) {
                    if let Some(values) = study.columns.get_mut(*name) {
                        values.push(column.value(row));
                    }
                }
                let weight = weights.as_ref().filter(|weights| weights.is_valid(row));
                study
                    .weights
                    .push(weight.map_or(1.0, |weights| weights.value(row)));
                if let Some(groups) = &groups {
                    let group = groups.is_valid(row).then(|| groups.value(row));
                    study.groups.push(group.unwrap_or_default().to_owned());
                }
                if let Some(places) = &places {
                    found.places.push(places.value(row));
                }
            }
        }
        Ok(found)
    }
}

/// The rows of one window.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// The rows as a fit takes them, in order of run id.
    pub study: Table,
    /// Place of each row where the window moves; else empty.
    pub places: Vec<i64>,
}

/// A column of a batch as another type.
fn cast<T: Array + Clone + 'static>(
    batch: &RecordBatch,
    name: &str,
    kind: &DataType,
) -> Result<T, String> {
    let column = batch
        .column_by_name(name)
        .ok_or_else(|| format!("the window's SQL selects no column {name}"))?;
    let column = datafusion::arrow::compute::cast(column, kind)
        .map_err(|error| format!("column {name}: {error}"))?;
    let column = column.as_any().downcast_ref::<T>().cloned();
    column.ok_or_else(|| format!("column {name} is no {kind}"))
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
mod tests;
