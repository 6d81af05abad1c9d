//! Writes the schemas again: every subject self-contained, every shared type spelled out where it
//! is used first, one field a line.
//!
//! The definition of a type is its own file; copies of it inside other files are made anew.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use cairn_avro::tree::Tree;

use crate::model::{Model, NAMESPACE, snake};

/// The schema files.
pub(crate) fn outputs(model: &Model) -> Vec<(PathBuf, String)> {
    model
        .types
        .values()
        .map(|named| {
            let folder = if named.shared {
                "schemas/shared"
            } else {
                "schemas"
            };
            let path = PathBuf::from(folder).join(format!("{}.avsc", snake(&named.name)));
            let tree = if named.shared {
                named.tree.clone()
            } else {
                expanded(model, &named.name)
            };
            (path, pretty(&tree))
        })
        .collect()
}

/// The self-contained schema of a named type.
pub(crate) fn expanded(model: &Model, name: &str) -> Tree {
    expand(
        model,
        &Tree::Text(format!("{NAMESPACE}.{name}")),
        &mut BTreeSet::new(),
    )
}

fn expand(model: &Model, tree: &Tree, seen: &mut BTreeSet<String>) -> Tree {
    match tree {
        Tree::Text(text) => {
            let name = text
                .strip_prefix(NAMESPACE)
                .and_then(|rest| rest.strip_prefix('.'));
            match name {
                Some(name) if seen.insert(name.to_owned()) => {
                    let named = model.types.get(name);
                    let named = named.unwrap_or_else(|| panic!("{name} is not defined"));
                    expand(model, &named.tree, seen)
                }
                _ => tree.clone(),
            }
        }
        Tree::List(items) => {
            Tree::List(items.iter().map(|item| expand(model, item, seen)).collect())
        }
        Tree::Object(members) => Tree::Object(
            members
                .iter()
                .map(|(key, value)| match key.as_str() {
                    "type" | "items" | "values" | "fields" => {
                        (key.clone(), expand(model, value, seen))
                    }
                    _ => (key.clone(), value.clone()),
                })
                .collect(),
        ),
        other => other.clone(),
    }
}

/// JSON with a line for each field and each member of a record.
pub(crate) fn pretty(tree: &Tree) -> String {
    let mut out = String::new();
    write_pretty(tree, 0, &mut out);
    out.push('\n');
    out
}

/// JSON with a line for each member that does not fit the line.
pub(crate) fn pretty_json(tree: &Tree) -> String {
    let mut out = String::new();
    write_json(tree, 0, &mut out);
    out.push('\n');
    out
}

fn write_json(tree: &Tree, depth: usize, out: &mut String) {
    const LINE: usize = 120;
    let mut flat = String::new();
    write_pretty(tree, 1, &mut flat);
    if !flat.contains('\n') && flat.len() + 2 * depth <= LINE {
        out.push_str(&flat);
        return;
    }
    let indent = "  ".repeat(depth);
    match tree {
        Tree::Object(members) => {
            out.push_str("{\n");
            for (at, (key, value)) in members.iter().enumerate() {
                let _ = write!(out, "{indent}  {}: ", quoted(key));
                write_json(value, depth + 1, out);
                out.push_str(comma(at, members.len()));
            }
            let _ = write!(out, "{indent}}}");
        }
        Tree::List(items) => {
            out.push_str("[\n");
            for (at, item) in items.iter().enumerate() {
                let _ = write!(out, "{indent}  ");
                write_json(item, depth + 1, out);
                out.push_str(comma(at, items.len()));
            }
            let _ = write!(out, "{indent}]");
        }
        _ => out.push_str(&flat),
    }
}

fn is_record(tree: &Tree) -> bool {
    tree.get("fields").is_some()
}

fn holds_record(tree: &Tree) -> bool {
    match tree {
        Tree::Object(members) => {
            is_record(tree) || members.iter().any(|(_, value)| holds_record(value))
        }
        Tree::List(items) => items.iter().any(holds_record),
        _ => false,
    }
}

fn write_pretty(tree: &Tree, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match tree {
        Tree::Object(members) if depth == 0 || is_record(tree) => {
            out.push_str("{\n");
            for (at, (key, value)) in members.iter().enumerate() {
                let _ = write!(out, "{indent}  {}: ", quoted(key));
                match value {
                    Tree::List(fields) if key == "fields" => {
                        out.push_str("[\n");
                        for (place, field) in fields.iter().enumerate() {
                            let _ = write!(out, "{indent}    ");
                            write_pretty(field, depth + 2, out);
                            out.push_str(comma(place, fields.len()));
                        }
                        let _ = write!(out, "{indent}  ]");
                    }
                    _ => write_pretty(value, depth + 1, out),
                }
                out.push_str(comma(at, members.len()));
            }
            let _ = write!(out, "{indent}}}");
        }
        Tree::List(items) if holds_record(tree) => {
            out.push_str("[\n");
            for (at, item) in items.iter().enumerate() {
                let _ = write!(out, "{indent}  ");
                write_pretty(item, depth + 1, out);
                out.push_str(comma(at, items.len()));
            }
            let _ = write!(out, "{indent}]");
        }
        Tree::Object(members) => {
            out.push('{');
            for (at, (key, value)) in members.iter().enumerate() {
                let _ = write!(out, "{}{}: ", if at > 0 { ", " } else { "" }, quoted(key));
                write_pretty(value, depth, out);
            }
            out.push('}');
        }
        Tree::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                write_pretty(item, depth, out);
            }
            out.push(']');
        }
        Tree::Null => out.push_str("null"),
        Tree::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Tree::Int(value) => {
            let _ = write!(out, "{value}");
        }
        Tree::Double(value) => {
            let _ = write!(out, "{value:?}");
        }
        Tree::Text(text) => out.push_str(&quoted(text)),
    }
}

fn comma(at: usize, length: usize) -> &'static str {
    if at + 1 < length { ",\n" } else { "\n" }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is JSON")
}
