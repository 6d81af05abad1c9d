//! Tables that a user hands to a fit: files, or the registry's runs, shaped by SQL into columns of numbers.
//!
//! Several files without names are one table `input`, joined end to end by the names of their columns, with a column `file`
//! more; `NAME=FILE` makes a table of that name. A right-hand side that is the name of a column is that column, whatever
//! characters it has; anything else is SQL, in which names keep their case, as in a mapping.

mod amounts;
mod asker;
mod files;
mod lists;

pub use files::FILE_BYTES_MAX;
pub use lists::{assignments, parts};

use crate::ingest::source::{Everywhere, Place as _, stem};
use asker::{Asker, quoted};
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use files::{by_name, file, named, with_file};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The name of the table that unnamed files make.
const INPUT: &str = "input";

/// A table that cannot be used: what is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({place}); {remedy}")]
pub struct Unusable {
    /// Code, one of those in `docs/errors.md`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// File, column or expression.
    pub place: String,
    /// What to do.
    pub remedy: String,
}

fn unusable(
    code: &'static str,
    message: impl Into<String>,
    place: impl Into<String>,
    remedy: impl Into<String>,
) -> Unusable {
    Unusable {
        code,
        message: message.into(),
        place: place.into(),
        remedy: remedy.into(),
    }
}

/// A table shaped by SQL, ready to have columns taken from it.
pub struct InputTable {
    batch: RecordBatch,
    /// Knows the table as `input`.
    asker: Asker,
    /// Rows of files that could not be read: file, line, fault.
    pub bad: Vec<(String, u64, String)>,
    /// Columns of text that were read as numbers, with an example.
    read_as: RefCell<BTreeSet<String>>,
}

impl InputTable {
    /// Reads files, runs `sql` over them where there is one, and keeps the rows for which `filter` holds.
    ///
    /// # Errors
    /// A file or the SQL cannot be used.
    pub fn read(
        sources: &[String],
        sql: Option<&str>,
        filter: Option<&str>,
    ) -> Result<Self, Unusable> {
        let place = Everywhere::default();
        let mut unnamed = Vec::new();
        let mut tables: BTreeMap<String, Vec<RecordBatch>> = BTreeMap::new();
        let mut bad = Vec::new();
        for source in sources {
            let (name, argument) = named(source);
            let listed = place
                .list(argument)
                .map_err(|error| unusable("io", error.to_string(), argument, "check the path"))?;
            for found in listed {
                let (batch, faults) = file(&place, &found.name)?;
                bad.extend(
                    faults
                        .into_iter()
                        .map(|(line, fault)| (found.name.clone(), line, fault)),
                );
                match name {
                    Some(name) => tables.entry(name.to_owned()).or_default().push(batch),
                    None => unnamed.push(with_file(&batch, &stem(&found.name))?),
                }
            }
        }
        if !unnamed.is_empty() {
            tables.insert(INPUT.to_owned(), unnamed);
        }
        let asker = Asker::new()?;
        let first = tables.keys().next().cloned().unwrap_or_default();
        let only = (tables.len() == 1).then_some(first);
        for (name, batches) in tables {
            let whole = by_name(&batches).map_err(|error| {
                unusable("table", error, &name, "give the files the same columns")
            })?;
            asker.knows(&name, whole)?;
        }
        let sql = match (sql, only) {
            (Some(sql), _) => sql.to_owned(),
            (None, Some(name)) => format!("SELECT * FROM {}", quoted(&name)),
            (None, None) => {
                return Err(unusable(
                    "usage",
                    "several tables and no query",
                    "--input",
                    "join them with --sql 'SELECT … FROM a JOIN b …'",
                ));
            }
        };
        let batch = asker.ask(&sql)?;
        Self::over(asker, batch, bad, filter)
    }

    /// A table that is already there, such as rows of the registry.
    ///
    /// # Errors
    /// There are no rows, or the filter cannot be used.
    pub fn of(batches: &[RecordBatch], filter: Option<&str>) -> Result<Self, Unusable> {
        let batch = by_name(batches)
            .map_err(|error| unusable("table", error, "registry", "see the message"))?;
        Self::over(Asker::new()?, batch, Vec::new(), filter)
    }

    fn over(
        asker: Asker,
        mut batch: RecordBatch,
        bad: Vec<(String, u64, String)>,
        filter: Option<&str>,
    ) -> Result<Self, Unusable> {
        asker.knows(INPUT, batch.clone())?;
        if let Some(filter) = filter {
            batch = asker.ask(&format!("SELECT * FROM {INPUT} WHERE {filter}"))?;
            asker.knows(INPUT, batch.clone())?;
        }
        Ok(Self {
            batch,
            asker,
            bad,
            read_as: RefCell::default(),
        })
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// Names of the columns, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.batch
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect()
    }

    /// The values of a column or an expression, all rows in order.
    ///
    /// # Errors
    /// It is neither.
    pub fn column(&self, expression: &str) -> Result<ArrayRef, Unusable> {
        let expression = expression.trim();
        if let Some(column) = self.batch.column_by_name(expression) {
            return Ok(Arc::clone(column));
        }
        if expression.is_empty() {
            return Err(unusable(
                "usage",
                "an empty expression",
                "--columns",
                "write NAME=COLUMN or NAME=EXPRESSION",
            ));
        }
        let batch = self
            .asker
            .ask(&format!("SELECT {expression} AS \"value\" FROM {INPUT}"))
            .map_err(|error| self.nearly(expression, error))?;
        if batch.num_columns() != 1 || batch.num_rows() != self.rows() {
            return Err(unusable(
                "usage",
                "not one value a row",
                expression,
                "use an expression over the columns of one row",
            ));
        }
        Ok(Arc::clone(batch.column(0)))
    }

    /// The error of an expression that is a column's name but for case, blanks or punctuation says which column.
    fn nearly(&self, expression: &str, error: Unusable) -> Unusable {
        let plain = |text: &str| -> String {
            let letters = text.chars().filter(|one| one.is_alphanumeric());
            letters.flat_map(char::to_lowercase).collect()
        };
        let meant = plain(expression);
        match self.names().iter().find(|name| plain(name) == meant) {
            Some(name) if !meant.is_empty() => unusable(
                "unknown_column",
                format!("there is no column {expression}"),
                expression,
                format!("did you mean {name}?"),
            ),
            _ => error,
        }
    }

    /// The numbers of a column or an expression, NaN where there is none; `1.3B` and `45 %` are numbers.
    ///
    /// # Errors
    /// It is neither, or holds something that is no number.
    pub fn numbers(&self, expression: &str) -> Result<Vec<f64>, Unusable> {
        let column = self.column(expression)?;
        if !is_text(column.data_type()) {
            return numbers(&column, expression);
        }
        let cells = words(&column, expression)?;
        if let Some(values) = plain_numbers(&cells) {
            return Ok(values);
        }
        self.amounts(&cells, expression).map_err(|fault| {
            unusable(
                "not_a_number",
                fault,
                expression,
                "clean the column, or leave such rows out with --where",
            )
        })
    }

    /// Text as numbers, and a note that says so.
    fn amounts(&self, cells: &[Option<String>], expression: &str) -> Result<Vec<f64>, String> {
        let values = amounts::amounts(cells.iter().map(Option::as_deref))?;
        let example = cells.iter().zip(&values).find(|(cell, value)| {
            let plain = cell.as_deref().map(|cell| cell.trim().parse::<f64>());
            value.is_finite() && plain.is_some_and(|plain| plain.is_err())
        });
        if let Some((Some(cell), value)) = example {
            let note = format!("{expression}: `{}` is read as {value:e}", cell.trim());
            self.read_as.borrow_mut().insert(note);
        }
        Ok(values)
    }

    /// How columns of text were read as numbers: a sentence for each.
    #[must_use]
    pub fn read_as(&self) -> Vec<String> {
        self.read_as.borrow().iter().cloned().collect()
    }

    /// The words of a column or an expression; none where there is no value.
    ///
    /// # Errors
    /// It is neither.
    pub fn words(&self, expression: &str) -> Result<Vec<Option<String>>, Unusable> {
        words(&self.column(expression)?, expression)
    }

    /// The words of a column or an expression that has one in every row: `what` they are.
    ///
    /// # Errors
    /// It is neither, or lacks a value.
    pub fn names_of(&self, what: &str, expression: &str) -> Result<Vec<String>, Unusable> {
        let words = self.words(expression)?.into_iter().enumerate();
        words
            .map(|(row, word)| {
                word.ok_or_else(|| {
                    unusable(
                        "missing_value",
                        format!("row {} has no {what}", row + 1),
                        expression,
                        "leave such rows out with --where",
                    )
                })
            })
            .collect()
    }

    /// The runs of the rows; where nobody says which rows belong together, each is one of its own.
    ///
    /// # Errors
    /// As [`Self::names_of`].
    pub fn runs(&self, expression: Option<&str>) -> Result<Vec<String>, Unusable> {
        match expression {
            Some(expression) => self.names_of("run", expression),
            None => Ok((1..=self.rows())
                .map(|row| format!("row-{row:06}"))
                .collect()),
        }
    }

    /// The numbers of a column or an expression, sizes such as `1.3B` among them; its words where it holds other text.
    ///
    /// # Errors
    /// It is neither.
    pub fn values(&self, expression: &str) -> Result<Values, Unusable> {
        let column = self.column(expression)?;
        let kind = column.data_type();
        if *kind == DataType::Boolean {
            return words(&column, expression).map(Values::Words);
        }
        if !is_text(kind) {
            return numbers(&column, expression).map(Values::Numbers);
        }
        let cells = words(&column, expression)?;
        // sizes in words have an order that names have not
        match self.amounts(&cells, expression) {
            Ok(values)
                if values.iter().any(|value| value.is_finite())
                    && plain_numbers(&cells).is_none() =>
            {
                Ok(Values::Numbers(values))
            }
            _ => Ok(Values::Words(cells)),
        }
    }
}

/// What a column holds.
pub enum Values {
    /// Numbers; NaN where there is none.
    Numbers(Vec<f64>),
    /// Words.
    Words(Vec<Option<String>>),
}

fn is_text(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// The cells as numbers, where all that are there are plain ones.
fn plain_numbers(cells: &[Option<String>]) -> Option<Vec<f64>> {
    let number = |cell: &Option<String>| match cell {
        None => Some(f64::NAN),
        Some(cell) => cell.trim().parse().ok(),
    };
    cells.iter().map(number).collect()
}

fn numbers(column: &ArrayRef, expression: &str) -> Result<Vec<f64>, Unusable> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let cast = cast_with_options(column, &DataType::Float64, &options).map_err(|error| {
        unusable(
            "not_a_number",
            format!("a value is no number: {error}"),
            expression,
            "clean the column, or use try_cast(… AS double) and --where",
        )
    })?;
    Ok(cast
        .as_primitive::<Float64Type>()
        .iter()
        .map(|value| value.unwrap_or(f64::NAN))
        .collect())
}

fn words(column: &ArrayRef, expression: &str) -> Result<Vec<Option<String>>, Unusable> {
    let cast =
        cast_with_options(column, &DataType::Utf8, &CastOptions::default()).map_err(|error| {
            unusable(
                "not_text",
                error.to_string(),
                expression,
                "cast it: CAST(… AS varchar)",
            )
        })?;
    Ok(cast
        .as_string::<i32>()
        .iter()
        .map(|value| value.map(str::to_owned))
        .collect())
}

#[cfg(test)]
mod tests;
