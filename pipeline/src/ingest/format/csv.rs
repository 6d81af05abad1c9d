//! Rows of CSV (RFC 4180) for formats with a header of their own: commas, quotes, and quotes doubled within them.

use super::{Out, Position};
use std::borrow::Cow;

/// Bytes of one row spread over lines by quotes; beyond it a quote was opened by mistake.
const ROW_BYTES_MAX: usize = 1024 * 1024;

/// The cells of a row, or nothing while a quote is open.
pub(super) fn cells(row: &str) -> Option<Vec<Cow<'_, str>>> {
    let mut cells = Vec::new();
    let mut rest = row.strip_suffix('\r').unwrap_or(row);
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            match rest.split_once(',') {
                Some((cell, behind)) => {
                    cells.push(cell.into());
                    rest = behind;
                    continue;
                }
                None => {
                    cells.push(rest.into());
                    return Some(cells);
                }
            }
        };
        let mut cell = String::new();
        let mut from = quoted;
        loop {
            let end = from.find('"')?;
            cell.push_str(&from[..end]);
            from = &from[end + 1..];
            match from.strip_prefix('"') {
                Some(behind) => {
                    cell.push('"');
                    from = behind;
                }
                None => break,
            }
        }
        match from.split_once(',') {
            // what stands between the closing quote and the comma is kept as it is
            Some((behind, next)) => {
                cell.push_str(behind);
                cells.push(cell.into());
                rest = next;
            }
            None => {
                cell.push_str(from);
                cells.push(cell.into());
                return Some(cells);
            }
        }
    }
}

/// Puts lines together to rows: a quoted cell may hold line ends.
#[derive(Debug, Default)]
pub(super) struct Rows {
    open: String,
}

impl Rows {
    /// The end of the source: a row that is still open, from where it began, is a reject.
    pub(super) fn end(&self, begun: Position, out: &mut Out) {
        if self.is_open() {
            let text = "a quote was opened and never closed; the file was cut or is damaged";
            out.reject("bad_row", text.into(), "telemetry.training", begun, &[]);
        }
    }

    /// Takes a line; returns the row that it ends.
    pub(super) fn line(&mut self, line: &str) -> Option<String> {
        if self.open.is_empty() {
            if cells(line).is_some() {
                return Some(line.to_owned());
            }
        } else {
            self.open.push('\n');
        }
        self.open.push_str(line);
        if cells(&self.open).is_some() || self.open.len() > ROW_BYTES_MAX {
            return Some(std::mem::take(&mut self.open));
        }
        None
    }

    /// True while a quote is open.
    pub(super) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_cut_as_rfc_4180_says() {
        let of = |row| cells(row).map(|cells| cells.join("|"));
        assert_eq!(of("a,b,,c\r").as_deref(), Some("a|b||c"));
        assert_eq!(
            of("\"a,1\",\"say \"\"b\"\"\",c").as_deref(),
            Some("a,1|say \"b\"|c")
        );
        assert_eq!(of("").as_deref(), Some(""));
        assert_eq!(of("a,\"open"), None);
        let mut rows = Rows::default();
        assert_eq!(rows.line("a,\"one"), None);
        assert!(rows.is_open());
        assert_eq!(rows.line("two\",c").as_deref(), Some("a,\"one\ntwo\",c"));
        assert!(!rows.is_open());
    }
}
