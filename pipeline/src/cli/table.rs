//! Tables for people: columns as wide as their content, numbers to the right.

/// A table with these heads.
pub struct Table {
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(heads: &[&str]) -> Self {
        Self {
            heads: heads.iter().map(|head| (*head).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as text, each line indented by two.
    #[must_use]
    pub fn text(&self) -> String {
        let columns = self.heads.len();
        let cell = |row: &Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
        let is_number = |column: usize| {
            self.rows.iter().all(|row| {
                let text = cell(row, column);
                text.is_empty()
                    || text == "–"
                    || text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.')
            })
        };
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let longest = self
                    .rows
                    .iter()
                    .map(|row| cell(row, column).chars().count())
                    .max()
                    .unwrap_or(0);
                longest.max(self.heads[column].chars().count())
            })
            .collect();
        let mut text = String::new();
        for row in std::iter::once(&self.heads).chain(&self.rows) {
            let mut line = String::from(" ");
            for (column, width) in widths.iter().enumerate() {
                let content = cell(row, column);
                let gap = " ".repeat(width - content.chars().count());
                if is_number(column) {
                    line.push_str(&format!(" {gap}{content} "));
                } else {
                    line.push_str(&format!(" {content}{gap} "));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A number with as many digits as a reader needs, `–` for none.
#[must_use]
pub fn number(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(value) if !(1e-3..1e6).contains(&value.abs()) => format!("{value:.3e}"),
        Some(value) if value.abs() >= 1000.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.4}"),
    }
}
