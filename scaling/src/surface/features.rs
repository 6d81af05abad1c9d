//! What goes in: named columns of numbers or names, a target, the run each row belongs to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One column. A missing number is `NaN`, a missing name is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// Numbers, in the unit the caller uses throughout.
    Number(Vec<f64>),
    /// Names: optimiser, schedule, tokenizer, curriculum.
    Category(Vec<Option<String>>),
}

impl Column {
    /// Rows of the column.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Number(values) => values.len(),
            Self::Category(values) => values.len(),
        }
    }

    /// Whether the column has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Columns by name, all of one length. The names' order is the order of features everywhere.
pub type Columns = BTreeMap<String, Column>;

/// Rows to learn from. Every vector has the length of `target`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    /// What is known of a row before it is measured.
    pub columns: Columns,
    /// Name of the target, for messages and figures.
    pub target_name: String,
    /// What is explained, on the caller's own scale; 0 or 1 (or a share) for a probability.
    pub target: Vec<f64>,
    /// The run of each row: rows of one run share its luck, and stay together in every split.
    pub run_ids: Vec<String>,
    /// Weights; empty means 1 for each row.
    pub weights: Vec<f64>,
}

impl Features {
    /// Rows of the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.target.len()
    }

    /// Whether the table has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.target.is_empty()
    }

    /// The weight of a row.
    pub(crate) fn weight(&self, row: usize) -> f64 {
        self.weights.get(row).copied().unwrap_or(1.0)
    }

    /// The given rows, in the given order.
    #[must_use]
    pub fn take(&self, rows: &[usize]) -> Self {
        Self {
            columns: take_columns(&self.columns, rows),
            target_name: self.target_name.clone(),
            target: rows.iter().map(|row| self.target[*row]).collect(),
            run_ids: rows.iter().map(|row| self.run_ids[*row].clone()).collect(),
            weights: if self.weights.is_empty() {
                Vec::new()
            } else {
                rows.iter().map(|row| self.weights[*row]).collect()
            },
        }
    }

    /// The rows in an order that hangs on their content only: the order in which they came must not show in a result.
    pub(crate) fn canonical(&self) -> Self {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by(|one, two| {
            let mut ordering = self.run_ids[*one]
                .cmp(&self.run_ids[*two])
                .then(self.target[*one].total_cmp(&self.target[*two]))
                .then(self.weight(*one).total_cmp(&self.weight(*two)));
            for column in self.columns.values() {
                ordering = ordering.then_with(|| match column {
                    Column::Number(values) => values[*one].total_cmp(&values[*two]),
                    Column::Category(values) => values[*one].cmp(&values[*two]),
                });
            }
            ordering
        });
        self.take(&order)
    }
}

/// The given rows of each column.
pub(crate) fn take_columns(columns: &Columns, rows: &[usize]) -> Columns {
    let pick = |column: &Column| match column {
        Column::Number(values) => Column::Number(rows.iter().map(|row| values[*row]).collect()),
        Column::Category(values) => {
            Column::Category(rows.iter().map(|row| values[*row].clone()).collect())
        }
    };
    columns
        .iter()
        .map(|(name, column)| (name.clone(), pick(column)))
        .collect()
}
