//! JSON as it stands in the text: members in their order, every number as it
//! was written, duplicate keys refused.
//!
//! `serde_json::Value` sorts members, keeps the last of two equal keys and has
//! no place for a number beyond `f64`; the contract's JSON needs the opposite.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number that fits `i64`.
    Int(i64),
    /// Any other number.
    Double(f64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Tree>),
    /// An object, members in the order of the text.
    Object(Vec<(String, Tree)>),
}

/// Members that an object is expected to have: those of a row of metrics.
const MEMBERS: usize = 8;

/// Up to so many members a key is looked for among them; beyond, in a set of them.
const LOOKED_THROUGH_MAX: usize = 32;

/// Says in an error that a key came twice; [`parse`] turns it into [`Flaw::Duplicate`].
const DUPLICATE: &str = "duplicate key ";

/// Why a text is not acceptable JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Not JSON; the parser's own words.
    Syntax(String),
    /// An object has a key twice.
    Duplicate(String),
}

/// Parses one JSON value; anything but white space behind it is an error.
pub fn parse(text: &[u8]) -> Result<Tree, Flaw> {
    serde_json::from_slice(text).map_err(|error| {
        let words = error.to_string();
        match words
            .strip_prefix(DUPLICATE)
            .and_then(|rest| rest.rsplit_once(" at line "))
        {
            Some((key, _)) => Flaw::Duplicate(key.to_owned()),
            None => Flaw::Syntax(words),
        }
    })
}

impl Tree {
    /// The member of an object.
    pub fn get(&self, name: &str) -> Option<&Tree> {
        match self {
            Tree::Object(members) => members
                .iter()
                .find_map(|(key, value)| (key == name).then_some(value)),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn text(&self) -> Option<&str> {
        match self {
            Tree::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of an array; none for anything else.
    pub fn items(&self) -> &[Tree] {
        match self {
            Tree::List(items) => items,
            _ => &[],
        }
    }

    /// What the value is, for messages: `a string`, `null`, …
    pub fn kind(&self) -> &'static str {
        match self {
            Tree::Null => "null",
            Tree::Bool(_) => "a boolean",
            Tree::Int(_) | Tree::Double(_) => "a number",
            Tree::Text(_) => "a string",
            Tree::List(_) => "an array",
            Tree::Object(_) => "an object",
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Grow)
    }
}

struct Grow;

impl<'de> Visitor<'de> for Grow {
    type Value = Tree;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(i64::try_from(value).map_or(Tree::Double(value as f64), Tree::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut members: Vec<(String, Tree)> = Vec::with_capacity(MEMBERS);
        let mut seen = BTreeSet::new();
        while let Some(key) = access.next_key::<String>()? {
            let is_twice = if members.len() < LOOKED_THROUGH_MAX {
                members.iter().any(|(other, _)| *other == key)
            } else {
                if seen.is_empty() {
                    seen.extend(members.iter().map(|(other, _)| other.clone()));
                }
                !seen.insert(key.clone())
            };
            if is_twice {
                return Err(A::Error::custom(format_args!("{DUPLICATE}{key}")));
            }
            members.push((key, access.next_value()?));
        }
        Ok(Tree::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_refuses_duplicates() {
        let tree = parse(br#"{"b":1,"a":[null,2.5,"x"]}"#).unwrap();
        assert_eq!(
            tree,
            Tree::Object(vec![
                ("b".into(), Tree::Int(1)),
                (
                    "a".into(),
                    Tree::List(vec![Tree::Null, Tree::Double(2.5), Tree::Text("x".into())])
                )
            ])
        );
        assert_eq!(
            parse(br#"{"a":1,"b":{"c":1,"c":2}}"#),
            Err(Flaw::Duplicate("c".into()))
        );
    }

    #[test]
    fn refuses_what_is_not_json() {
        for bad in [
            "",
            "{",
            "{} {}",
            "NaN",
            "1e999",
            "[1,]",
            "\u{feff}{}",
            "\"\\ud800\"",
        ] {
            assert!(
                matches!(parse(bad.as_bytes()), Err(Flaw::Syntax(_))),
                "{bad}"
            );
        }
        // few members are looked through, many are kept in a set
        for count in [2, LOOKED_THROUGH_MAX, LOOKED_THROUGH_MAX + 1, 100] {
            let members: Vec<String> = (0..count).map(|at| format!("\"k{at}\":1")).collect();
            let (text, last) = (members.join(","), count - 1);
            assert!(parse(format!("{{{text}}}").as_bytes()).is_ok());
            for again in [0, last] {
                assert_eq!(
                    parse(format!("{{{text},\"k{again}\":2}}").as_bytes()),
                    Err(Flaw::Duplicate(format!("k{again}")))
                );
            }
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(parse(deep.as_bytes()), Err(Flaw::Syntax(_))));
    }
}
