//! A JSON document that is one object and yet a table: rows in one of its members, columns by name, or rows by name.
//!
//! `{"runs": [{…}, {…}], …}`, `{"n": [1, 2], "loss": [4, 3]}`, `{"n": {"0": 1, "1": 2}, …}` as pandas writes it, and
//! `{"a": {"n": 1}, "b": {"n": 2}}`. Everything else that is one object is one row.

use serde_json::value::RawValue;
use std::collections::BTreeMap;

type Members<'a> = BTreeMap<String, &'a RawValue>;

/// The rows of such a document as JSON objects; `None` where it is none.
pub(super) fn rows(document: &str) -> Option<Vec<String>> {
    let members: Members = serde_json::from_str(document).ok()?;
    in_one_member(&members)
        .or_else(|| lists(&members))
        .or_else(|| objects(&members))
}

/// The array of objects, where exactly one member is one.
fn in_one_member(members: &Members) -> Option<Vec<String>> {
    let mut found = None;
    for value in members.values() {
        let Ok(entries) = serde_json::from_str::<Vec<&RawValue>>(value.get()) else {
            continue;
        };
        if entries.is_empty() || !entries.iter().all(|entry| entry.get().starts_with('{')) {
            continue;
        }
        if found.is_some() {
            return None;
        }
        found = Some(entries.iter().map(|entry| entry.get().to_owned()).collect());
    }
    found
}

/// Columns as arrays of one length.
fn lists(members: &Members) -> Option<Vec<String>> {
    let columns = members
        .iter()
        .map(|(name, value)| Some((name, serde_json::from_str(value.get()).ok()?)))
        .collect::<Option<Vec<(&String, Vec<&RawValue>)>>>()?;
    let length = columns.first()?.1.len();
    if length == 0 || columns.iter().any(|(_, values)| values.len() != length) {
        return None;
    }
    (0..length)
        .map(|row| {
            object(
                columns
                    .iter()
                    .map(|(name, values)| (name.as_str(), values[row])),
            )
        })
        .collect()
}

/// Objects with the same members: rows by name, or columns where the names are the numbers of rows.
fn objects(members: &Members) -> Option<Vec<String>> {
    let inner = members
        .iter()
        .map(|(name, value)| Some((name, serde_json::from_str(value.get()).ok()?)))
        .collect::<Option<Vec<(&String, Members)>>>()?;
    let first = &inner.first()?.1;
    if inner.len() < 2
        || first.is_empty()
        || inner.iter().any(|(_, one)| !one.keys().eq(first.keys()))
    {
        return None;
    }
    let numbers = first.keys().map(|name| name.parse::<u64>().ok());
    let Some(mut numbers) = numbers.collect::<Option<Vec<u64>>>() else {
        return inner
            .iter()
            .map(|(name, row)| {
                let key = RawValue::from_string(serde_json::to_string(name).ok()?).ok()?;
                let named = (!row.contains_key("key")).then_some(("key", &*key));
                object(
                    row.iter()
                        .map(|(name, value)| (name.as_str(), *value))
                        .chain(named),
                )
            })
            .collect();
    };
    numbers.sort_unstable();
    numbers
        .iter()
        .map(|row| {
            let row = row.to_string();
            let cells = inner
                .iter()
                .map(|(name, column)| Some((name.as_str(), *column.get(&row)?)))
                .collect::<Option<Vec<(&str, &RawValue)>>>()?;
            object(cells.into_iter())
        })
        .collect()
}

fn object<'a>(cells: impl Iterator<Item = (&'a str, &'a RawValue)>) -> Option<String> {
    let cells: BTreeMap<&str, &RawValue> = cells.collect();
    serde_json::to_string(&cells).ok()
}

#[cfg(test)]
mod tests {
    use super::rows;

    #[test]
    fn tables_are_told_from_single_rows() {
        let read = |text: &str| rows(text).map(|rows| rows.join(" "));
        let pair = Some(r#"{"l":3,"n":1} {"l":2,"n":10}"#.to_owned());
        assert_eq!(read(r#"{"n":[1,10],"l":[3,2]}"#), pair);
        assert_eq!(read(r#"{"n":{"2":1,"10":10},"l":{"2":3,"10":2}}"#), pair);
        assert_eq!(
            read(r#"{"x":[{"l":3,"n":1},{"l":2,"n":10}],"by":"me","y":[]}"#),
            pair
        );
        assert_eq!(
            read(r#"{"a":{"n":1},"b":{"n":2}}"#),
            Some(r#"{"key":"a","n":1} {"key":"b","n":2}"#.to_owned())
        );
        for one_row in [
            r#"{"n":1,"loss":3}"#,
            r#"{"config":{"n":1},"metrics":{"loss":3}}"#,
            r#"{"n":1,"losses":[3,2]}"#,
            r#"{"n":[1,2],"l":[3]}"#,
            "{}",
        ] {
            assert_eq!(read(one_row), None, "{one_row}");
        }
    }
}
