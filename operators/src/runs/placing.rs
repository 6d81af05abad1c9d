//! Where an entry of a task's changelog lies: what a migration to another number of partitions must know.

use super::{WALL_MS, open_rows, seen};

/// What decides about the partition of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed<'a> {
    /// It lies with this run, by the run's key.
    Run(&'a str),
    /// Each task has one of its own, see [`joined`].
    Task,
}

/// What decides about the partition of an entry of a table.
///
/// # Errors
/// A table that this core does not have, or a key that is none of it.
pub fn placed<'a>(table: &str, key: &'a str) -> Result<Placed<'a>, String> {
    match table {
        // run|class|segment; a run's key has no bar, it is percent-encoded
        seen::TABLE => key
            .split_once('|')
            .map(|(run, _)| Placed::Run(run))
            .ok_or_else(|| format!("table {table}, key {key}: not a segment of ids")),
        open_rows::TABLE => open_rows::split(key)
            .map(|(run, _)| Placed::Run(run))
            .ok_or_else(|| format!("table {table}, key {key}: not a segment of rows")),
        "rows" | "followed" | "endings" | "forgotten" => Ok(Placed::Run(key)),
        "clock" if key == WALL_MS => Ok(Placed::Task),
        other => Err(format!(
            "runs has no table {other} with a key {key}; the changelog was written by another version"
        )),
    }
}

/// The entry of a task that takes over runs of others: its wall time is the greatest of theirs, because wall time never goes
/// back for a run.
///
/// # Errors
/// A value that is no time.
pub fn joined(values: &[Vec<u8>]) -> Result<Vec<u8>, String> {
    let mut greatest = i64::MIN;
    for value in values {
        let time: i64 = rmp_serde::from_slice(value).map_err(|error| error.to_string())?;
        greatest = greatest.max(time);
    }
    rmp_serde::to_vec_named(&greatest).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_placed_by_its_run() {
        for (table, key, expected) in [
            ("seen", "acme/r%7C1|t|12", Placed::Run("acme/r%7C1")),
            ("rows", "acme/r1", Placed::Run("acme/r1")),
            ("followed", "acme/r1", Placed::Run("acme/r1")),
            ("window_rows", "acme/r%7C1|12", Placed::Run("acme/r%7C1")),
            ("endings", "acme/r1", Placed::Run("acme/r1")),
            ("forgotten", "acme/r1", Placed::Run("acme/r1")),
            ("clock", "wall_ms", Placed::Task),
        ] {
            assert_eq!(placed(table, key), Ok(expected), "{table}");
        }
        assert!(placed("clock", "other").is_err());
        assert!(placed("pending", "acme/all").is_err());
    }

    #[test]
    fn time_never_goes_back() {
        let packed = |time: i64| rmp_serde::to_vec_named(&time).expect("a number");
        assert_eq!(joined(&[packed(5), packed(9), packed(-1)]), Ok(packed(9)));
        assert!(joined(&[vec![0xc1]]).is_err());
    }
}
