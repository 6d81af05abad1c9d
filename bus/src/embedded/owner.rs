//! Who owns a group: a lock file that the kernel releases when its holder dies, and says who that is.
//!
//! The lock keeps a second *process* out and tells it whom to look for. Epochs, checked in each commit's transaction, decide
//! what counts: they also hold where a lock does not (a file system without locks, a deleted lock file).

use crate::log::Fault;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

/// The lock of one group, held until dropped.
#[derive(Debug)]
pub(crate) struct GroupLock {
    _file: File,
}

impl GroupLock {
    /// Takes the lock or says who has it.
    pub(crate) fn take(
        folder: &Path,
        group: &str,
        instance: &str,
        now_ms: i64,
    ) -> Result<Self, Fault> {
        let path = folder.join(format!("{}.lock", file_name(group)));
        let config = |doing: &str, error: std::io::Error| {
            Fault::Config(format!(
                "cannot {doing} {}: {error}. The data directory must be writable",
                path.display()
            ))
        };
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| config("open", error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // it may be about to write it; then the text is empty
                let _ = file.read_to_string(&mut holder);
                let holder = if holder.trim().is_empty() {
                    "another process"
                } else {
                    holder.trim()
                };
                return Err(Fault::Fenced(format!(
                    "group {group} is held by {holder} ({})",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(config("lock", error)),
        }
        let text = format!(
            "pid {} (instance {instance}) since {}\n",
            std::process::id(),
            utc(now_ms)
        );
        file.set_len(0).map_err(|error| config("write", error))?;
        file.rewind().map_err(|error| config("write", error))?;
        file.write_all(text.as_bytes())
            .map_err(|error| config("write", error))?;
        Ok(Self { _file: file })
    }
}

/// A group's name as a file's name: what is neither a letter, a digit, `.`, `-` nor `_` becomes `%XX`.
fn file_name(group: &str) -> String {
    let mut name = String::new();
    for byte in group.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                name.push(char::from(byte))
            }
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

/// Milliseconds since 1970 as `2026-01-31T12:00:00Z`; the days by Howard Hinnant's `civil_from_days`.
fn utc(time_ms: i64) -> String {
    let seconds = time_ms.div_euclid(1_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399_999), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_798_761_599_000), "2026-12-31T23:59:59Z");
    }

    #[test]
    fn the_second_is_told_who_is_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = GroupLock::take(folder.path(), "cairn.runs", "one", 0).unwrap();
        let Err(Fault::Fenced(text)) = GroupLock::take(folder.path(), "cairn.runs", "two", 0)
        else {
            panic!("both have it")
        };
        let expected = format!(
            "held by pid {} (instance one) since 1970-01-01T00:00:00Z",
            std::process::id()
        );
        assert!(text.contains(&expected), "{text}");
        drop(first);
        GroupLock::take(folder.path(), "cairn.runs", "two", 0).unwrap();
    }
}
