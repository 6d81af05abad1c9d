//! Arrow columns of a batch of raw rows; the first rows decide what type a column has.
//!
//! A column that is numbers but for a few cells is a column of numbers: those cells are the bad ones, and their rows are
//! rejects. Whole numbers become floating-point ones when the first fraction comes; a column without a value takes its
//! type from the first value that it gets.

use super::Batch;
use super::cells::{Cell, Shape};
use datafusion::arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, NullArray, StringBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;

/// Share of a column's cells that must be numbers for it to be a column of numbers: a text column has hardly any, a
/// numeric one with damaged cells nearly only.
const NUMERIC_SHARE: f64 = 0.9;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No value was seen yet.
    Unknown,
    /// Whole numbers.
    Int,
    /// Numbers.
    Float,
    /// Truth values.
    Bool,
    /// Text.
    Text,
}

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Self::Unknown => DataType::Null,
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Text => DataType::Utf8,
        }
    }
}

/// Counts what the cells of a column look like.
#[derive(Clone, Copy, Default)]
struct Votes {
    ints: usize,
    floats: usize,
    bools: usize,
    texts: usize,
    /// `NaN`, `Infinity`: numbers among numbers, and alone.
    words: usize,
}

impl Votes {
    fn count(&mut self, cell: &Cell<'_>) {
        match cell {
            Cell::Null => {}
            Cell::Plain(text) | Cell::Quoted(text)
                if text.parse::<f64>().is_ok_and(|value| !value.is_finite()) =>
            {
                self.words += 1;
            }
            Cell::Quoted(_) => self.texts += 1,
            Cell::Plain(text) => {
                let text = text.trim();
                if text.parse::<i64>().is_ok() {
                    self.ints += 1;
                } else if text.parse::<f64>().is_ok() {
                    self.floats += 1;
                } else if truth(text).is_some() {
                    self.bools += 1;
                } else {
                    self.texts += 1;
                }
            }
        }
    }

    fn kind(self) -> Kind {
        let Votes {
            ints,
            floats,
            bools,
            texts,
            words,
        } = self;
        let all = ints + floats + bools + texts;
        if all + words == 0 {
            Kind::Unknown
        } else if (ints + floats) as f64 >= NUMERIC_SHARE * all as f64 {
            if floats + words > 0 {
                Kind::Float
            } else {
                Kind::Int
            }
        } else if bools == all {
            Kind::Bool
        } else {
            Kind::Text
        }
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// The columns of a table, or those of them that a mapping uses.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) names: Vec<String>,
    kinds: Vec<Kind>,
}

/// A row that could not be read: its number, class, text.
pub(super) type BadRow = (usize, &'static str, String);

impl Columns {
    /// Learns names and types from rows.
    pub(super) fn learn(shape: &Shape, batch: &Batch) -> Self {
        let mut names = Vec::new();
        batch
            .iter()
            .for_each(|(row, _)| shape.columns(row, &mut names));
        let mut columns = Self {
            kinds: vec![Kind::Unknown; names.len()],
            names,
        };
        columns.widen(shape, batch);
        columns
    }

    /// Takes the types of columns that have none yet from these rows, and makes whole numbers floating-point ones where a
    /// fraction comes. Returns whether something changed.
    pub(super) fn widen(&mut self, shape: &Shape, batch: &Batch) -> bool {
        let mut votes = vec![Votes::default(); self.names.len()];
        for (row, _) in batch.iter() {
            // a broken row has no say; it is rejected when it is read
            let _ = shape.cells(row, &self.names, &mut |column, cell| {
                votes[column].count(&cell)
            });
        }
        let before = self.kinds.clone();
        for (kind, votes) in self.kinds.iter_mut().zip(votes) {
            match kind {
                Kind::Unknown => *kind = votes.kind(),
                Kind::Int if votes.floats + votes.words > 0 => *kind = Kind::Float,
                _ => {}
            }
        }
        before != self.kinds
    }

    /// True where a batch may still change types.
    pub(super) fn may_widen(&self) -> bool {
        self.kinds
            .iter()
            .any(|kind| matches!(kind, Kind::Unknown | Kind::Int))
    }

    /// Keeps these columns only.
    pub(super) fn keep(&mut self, used: &dyn Fn(&str) -> bool) {
        let kept: Vec<(String, Kind)> = self
            .names
            .drain(..)
            .zip(self.kinds.drain(..))
            .filter(|(name, _)| used(name))
            .collect();
        (self.names, self.kinds) = kept.into_iter().unzip();
    }

    /// The schema of the batches.
    pub(super) fn schema(&self) -> Schema {
        Schema::new(
            self.names
                .iter()
                .zip(&self.kinds)
                .map(|(name, kind)| Field::new(name, kind.data_type(), true))
                .collect::<Vec<_>>(),
        )
    }

    /// Makes columns of rows; rows that cannot be read are left out and named in `bad`. Returns the row numbers taken.
    pub(super) fn build(
        &self,
        shape: &Shape,
        batch: &Batch,
        bad: &mut Vec<BadRow>,
    ) -> (Vec<ArrayRef>, Vec<usize>) {
        let mut builders: Vec<Builder> = self
            .kinds
            .iter()
            .map(|kind| Builder::new(*kind, batch.rows.len()))
            .collect();
        let mut taken = Vec::with_capacity(batch.rows.len());
        let mut filled = vec![false; self.names.len()];
        for (number, (row, _)) in batch.iter().enumerate() {
            filled.fill(false);
            let mut wrong = None;
            let read = shape.cells(row, &self.names, &mut |column, cell| {
                if std::mem::replace(&mut filled[column], true) {
                    return;
                }
                if let Err(kind) = builders[column].push(&cell) {
                    builders[column].null();
                    let (Cell::Plain(text) | Cell::Quoted(text)) = &cell else {
                        return;
                    };
                    wrong.get_or_insert_with(|| {
                        let text: String = text.chars().take(40).collect();
                        format!(
                            "column {} holds {text:?}, which is no {kind}; correct the cell",
                            self.names[column]
                        )
                    });
                }
            });
            for (builder, _) in builders
                .iter_mut()
                .zip(&filled)
                .filter(|(_, filled)| !**filled)
            {
                builder.null();
            }
            match (read, wrong) {
                (Ok(()), None) => taken.push(number),
                (Err((class, text)), _) => bad.push((number, class, text)),
                (Ok(()), Some(text)) => bad.push((number, "bad_value", text)),
            }
        }
        let all = batch.rows.len();
        let mut arrays: Vec<ArrayRef> = builders
            .into_iter()
            .map(|builder| builder.finish(all))
            .collect();
        if taken.len() < all {
            let rows = datafusion::arrow::array::UInt64Array::from_iter_values(
                taken.iter().map(|row| *row as u64),
            );
            for array in &mut arrays {
                *array = datafusion::arrow::compute::take(array, &rows, None)
                    .expect("the rows are within the batch");
            }
        }
        (arrays, taken)
    }
}

enum Builder {
    Unknown,
    Int(Int64Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
    Text(StringBuilder),
}

impl Builder {
    fn new(kind: Kind, rows: usize) -> Self {
        match kind {
            Kind::Unknown => Self::Unknown,
            Kind::Int => Self::Int(Int64Builder::with_capacity(rows)),
            Kind::Float => Self::Float(Float64Builder::with_capacity(rows)),
            Kind::Bool => Self::Bool(BooleanBuilder::with_capacity(rows)),
            Kind::Text => Self::Text(StringBuilder::with_capacity(rows, rows * 16)),
        }
    }

    fn null(&mut self) {
        match self {
            Self::Unknown => {}
            Self::Int(builder) => builder.append_null(),
            Self::Float(builder) => builder.append_null(),
            Self::Bool(builder) => builder.append_null(),
            Self::Text(builder) => builder.append_null(),
        }
    }

    fn push(&mut self, cell: &Cell<'_>) -> Result<(), &'static str> {
        let (Cell::Plain(text) | Cell::Quoted(text)) = cell else {
            self.null();
            return Ok(());
        };
        match self {
            Self::Unknown => {}
            Self::Int(builder) => {
                builder.append_value(text.trim().parse().map_err(|_| "whole number")?)
            }
            Self::Float(builder) => {
                builder.append_value(text.trim().parse().map_err(|_| "number")?)
            }
            Self::Bool(builder) => builder.append_value(truth(text.trim()).ok_or("truth value")?),
            Self::Text(builder) => builder.append_value(text),
        }
        Ok(())
    }

    fn finish(self, rows: usize) -> ArrayRef {
        match self {
            Self::Unknown => Arc::new(NullArray::new(rows)),
            Self::Int(mut builder) => Arc::new(builder.finish()),
            Self::Float(mut builder) => Arc::new(builder.finish()),
            Self::Bool(mut builder) => Arc::new(builder.finish()),
            Self::Text(mut builder) => Arc::new(builder.finish()),
        }
    }
}
