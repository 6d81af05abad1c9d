//! The cells of a raw row: CSV by its header, JSON by its members.

use super::super::Refusal;
use super::super::whole::quoted_numbers;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// How a table's rows are written.
pub(super) enum Shape {
    /// With a header, cells in its order.
    Csv(Csv),
    /// An object a row.
    Json,
}

/// A CSV table.
pub(super) struct Csv {
    pub(super) header: Vec<String>,
    separator: u8,
}

/// A cell as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    /// Empty, `null`, or one of the words for it.
    Null,
    /// Digits, `true`, words: the column decides what it is.
    Plain(Cow<'a, str>),
    /// A JSON string: text, whatever it looks like.
    Quoted(Cow<'a, str>),
}

impl Cell<'_> {
    fn plain(text: Cow<'_, str>) -> Cell<'_> {
        match text.trim() {
            "" | "NA" | "N/A" | "null" | "NULL" | "None" => Cell::Null,
            _ => Cell::Plain(text),
        }
    }
}

impl Shape {
    /// A CSV table whose header was not read yet.
    pub(super) fn csv() -> Self {
        Self::Csv(Csv {
            header: Vec::new(),
            separator: b',',
        })
    }

    /// The columns that a row has.
    pub(super) fn columns(&self, row: &[u8], into: &mut Vec<String>) {
        match self {
            Self::Csv(csv) if into.is_empty() => into.clone_from(&csv.header),
            Self::Csv(_) => {}
            Self::Json => {
                let quoted = quoted_numbers(row);
                let _ = members(quoted.as_deref().unwrap_or(row), "", &mut |name, _| {
                    if !into.iter().any(|known| known == name) {
                        into.push(name.to_owned());
                    }
                });
            }
        }
    }

    /// Reads the cells of these columns, `each` gets them with the column's number.
    ///
    /// # Errors
    /// The row is broken: class and text.
    pub(super) fn cells(
        &self,
        row: &[u8],
        columns: &[String],
        each: &mut dyn FnMut(usize, Cell<'_>),
    ) -> Result<(), (&'static str, String)> {
        match self {
            Self::Csv(csv) => csv.cells(row, columns, each),
            Self::Json => {
                let quoted = quoted_numbers(row);
                members(quoted.as_deref().unwrap_or(row), "", &mut |name, value| {
                    if let Some(column) = columns.iter().position(|column| column == name) {
                        each(column, json_cell(value));
                    }
                })
                .map_err(|error| ("json", format!("the row is no JSON object: {error}")))
            }
        }
    }
}

fn json_cell(value: &str) -> Cell<'_> {
    match value.as_bytes().first() {
        None | Some(b'n') => Cell::Null,
        Some(b'"') => match serde_json::from_str::<Cow<'_, str>>(value) {
            Ok(text) => Cell::Quoted(text),
            Err(_) => Cell::Null,
        },
        Some(b'[' | b'{') => Cell::Quoted(Cow::Borrowed(value)),
        _ => Cell::Plain(Cow::Borrowed(value)),
    }
}

/// Calls `each` with the members of an object; those of nested objects come by `outer.inner`, and the object as text too.
fn members(
    row: &[u8],
    prefix: &str,
    each: &mut dyn FnMut(&str, &str),
) -> Result<(), serde_json::Error> {
    let object: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(row)?;
    for (name, value) in object {
        let text = value.get();
        if text.starts_with('{') {
            let inner = format!("{prefix}{name}.");
            members(text.as_bytes(), &inner, each)?;
        }
        if prefix.is_empty() {
            each(&name, text);
        } else {
            each(&format!("{prefix}{name}"), text);
        }
    }
    Ok(())
}

impl Csv {
    /// Takes the first line; the separator is the one of comma, semicolon and tab that it has most of.
    pub(super) fn read_header(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let count = |separator| line.iter().filter(|byte| **byte == separator).count();
        self.separator = [b',', b';', b'\t']
            .into_iter()
            .rev()
            .max_by_key(|separator| count(*separator))
            .unwrap_or(b',');
        let mut header = Vec::new();
        split(line, self.separator, &mut |_, cell| {
            header.push(cell.trim().to_owned())
        })
        .map_err(|text| Refusal(format!("the header of the table cannot be read: {text}")))?;
        if header.iter().all(String::is_empty) {
            return Err(Refusal(
                "the first line of the table names no column; a CSV file begins with its header"
                    .into(),
            ));
        }
        if let Some(twice) = header
            .iter()
            .enumerate()
            .find(|(at, name)| !name.is_empty() && header[..*at].contains(name))
        {
            return Err(Refusal(format!(
                "the table has two columns {:?}; rename one",
                twice.1
            )));
        }
        self.header = header;
        Ok(())
    }

    /// Whether a record has as many cells as the header, none of them open.
    pub(super) fn is_whole(&self, record: &[u8]) -> bool {
        !self.header.is_empty() && self.cells(record, &[], &mut |_, _| {}).is_ok()
    }

    fn cells(
        &self,
        row: &[u8],
        columns: &[String],
        each: &mut dyn FnMut(usize, Cell<'_>),
    ) -> Result<(), (&'static str, String)> {
        let mut found = 0;
        split(row, self.separator, &mut |at, cell| {
            found = at + 1;
            if let Some(name) = self.header.get(at)
                && let Some(column) = columns.iter().position(|column| column == name)
            {
                each(column, Cell::plain(cell));
            }
        })
        .map_err(|text| ("bad_row", text))?;
        if found != self.header.len() {
            let text = format!(
                "the row has {found} cells, the header names {}; the row was cut or a cell needs quotes",
                self.header.len()
            );
            return Err(("bad_row", text));
        }
        Ok(())
    }
}

/// Cuts a CSV record into its cells.
fn split<'a>(
    record: &'a [u8],
    separator: u8,
    each: &mut dyn FnMut(usize, Cow<'a, str>),
) -> Result<(), String> {
    let text = std::str::from_utf8(record)
        .map_err(|error| format!("byte {} is no UTF-8", error.valid_up_to()))?;
    let bytes = text.as_bytes();
    let (mut start, mut cell) = (0, 0);
    loop {
        let value;
        let mut at = start;
        if bytes.get(start) == Some(&b'"') {
            // a quoted cell: a doubled quote is one, the closing quote stands before a separator or the end
            let mut doubled = false;
            at += 1;
            loop {
                match bytes[at..].iter().position(|byte| *byte == b'"') {
                    None => return Err("a quote is not closed".into()),
                    Some(quote) if bytes.get(at + quote + 1) == Some(&b'"') => {
                        doubled = true;
                        at += quote + 2;
                    }
                    Some(quote) => {
                        at += quote;
                        break;
                    }
                }
            }
            let inner = &text[start + 1..at];
            value = if doubled {
                Cow::Owned(inner.replace("\"\"", "\""))
            } else {
                Cow::Borrowed(inner)
            };
            at += 1;
            if at < bytes.len() && bytes[at] != separator {
                return Err(format!(
                    "cell {} goes on behind its closing quote",
                    cell + 1
                ));
            }
        } else {
            at += bytes[at..]
                .iter()
                .position(|byte| *byte == separator)
                .unwrap_or(bytes.len() - at);
            value = Cow::Borrowed(&text[start..at]);
        }
        each(cell, value);
        cell += 1;
        if at >= bytes.len() {
            return Ok(());
        }
        start = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(record: &str) -> Result<Vec<String>, String> {
        let mut cells = Vec::new();
        split(record.as_bytes(), b',', &mut |_, cell| {
            cells.push(cell.into_owned())
        })?;
        Ok(cells)
    }

    #[test]
    fn records_are_cut_as_rfc_4180_says() {
        assert_eq!(
            cut("a,b,").as_deref(),
            Ok(&["a".to_owned(), "b".into(), String::new()][..])
        );
        assert_eq!(
            cut("\"a,\"\"b\"\"\",c").as_deref(),
            Ok(&["a,\"b\"".to_owned(), "c".into()][..])
        );
        assert_eq!(
            cut("\"a\nb\",c").as_deref(),
            Ok(&["a\nb".to_owned(), "c".into()][..])
        );
        assert_eq!(cut("\"a"), Err("a quote is not closed".into()));
        assert_eq!(
            cut("\"a\"b,c"),
            Err("cell 1 goes on behind its closing quote".into())
        );
    }

    #[test]
    fn the_separator_is_the_headers() {
        for header in ["a;b;c,d", "a\tb\tc"] {
            let mut csv = Csv {
                header: Vec::new(),
                separator: b',',
            };
            csv.read_header(header.as_bytes()).expect("it is a header");
            assert_eq!(csv.header.len(), 3);
        }
    }

    #[test]
    fn nested_members_are_columns() {
        let mut columns = Vec::new();
        Shape::Json.columns(br#"{"a":{"b":1,"c":{"d":NaN}},"e":[1]}"#, &mut columns);
        assert_eq!(columns, ["a.b", "a.c.d", "a.c", "a", "e"]);
    }
}
