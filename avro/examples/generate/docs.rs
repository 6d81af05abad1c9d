//! Writes `docs/data-model.md`: every field of every record, and where the seeds' fields lie.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use cairn_avro::contract::json_schema;
use cairn_avro::tree::{self, Tree};

use crate::contract::FAMILIES;
use crate::model::{Field, Model, Shape, Type};
use crate::seeds::PARTS;

const HEAD: &str = "\
# Data model

Made from `avro/schemas` by `cargo run -p cairn-avro --example generate`; a test holds it to them. Edit a schema, not this page.

Every record is Avro, namespace `cairn.v1`. `?` marks what may be null; a field with a default may be left out, in Avro and in
the contract's JSON. Enums are open: a symbol that a reader does not know reads as the one in bold. Telegrams and boards are
JSON, held to `avro/json/telegram.json` and `avro/json/board.json`.

A schema may change as long as every version reads every other in full (FULL_TRANSITIVE; `avro/versions` keeps them, a test
compares all pairs). A field more needs a default, an enum may get symbols; a type, a name and the order of released fields stay.
The union of payloads in `RunEvents` cannot get another record: an older reader would have no branch for it. What is new about runs
becomes a field of a record that is there, or `runs.events` gets a successor topic.

";

/// The page; its path is relative to the crate.
pub(crate) fn outputs(model: &Model) -> Vec<(PathBuf, String)> {
    let mut out = HEAD.to_owned();
    for family in FAMILIES {
        let _ = writeln!(out, "## Family {}\n\n{}\n", family.name, family.about);
        for subject in family.subjects {
            let named = &model.types[subject.record];
            let topics: Vec<_> = subject
                .topics
                .iter()
                .map(|topic| format!("`{topic}`"))
                .collect();
            let _ = writeln!(
                out,
                "### {} on {}\n\n{}\n",
                named.name,
                topics.join(", "),
                named.doc
            );
            fields(model.fields(&named.name), &mut out);
        }
    }
    out.push_str("## Parts\n\nRecords inside records.\n\n");
    for named in model.types.values().filter(|named| named.shared) {
        if let Shape::Record(parts) = &named.shape {
            let _ = writeln!(out, "### {}\n\n{}\n", named.name, named.doc);
            fields(parts, &mut out);
        }
    }
    out.push_str("## Enums\n\n| enum | symbols | meaning |\n|---|---|---|\n");
    for named in model.types.values() {
        if let Shape::Enum { symbols, default } = &named.shape {
            let symbols: Vec<_> = symbols
                .iter()
                .map(|symbol| {
                    if symbol == default {
                        format!("**{symbol}**")
                    } else {
                        symbol.clone()
                    }
                })
                .collect();
            let _ = writeln!(
                out,
                "| {} | {} | {} |",
                named.name,
                symbols.join(", "),
                named.doc
            );
        }
    }
    seeds(model, &mut out);
    vec![("../docs/data-model.md".into(), out)]
}

fn fields(fields: &[Field], out: &mut String) {
    out.push_str("| field | type | default | meaning and unit |\n|---|---|---|---|\n");
    for field in fields {
        let (kind, is_optional) = match &field.kind {
            Type::Option(inner) => (&**inner, true),
            other => (other, false),
        };
        let default = match &field.default {
            Some(default) if !is_optional => shown(default),
            _ => String::new(),
        };
        let mark = if is_optional { "?" } else { "" };
        let _ = writeln!(
            out,
            "| `{}` | {}{mark} | {default} | {} |",
            field.name,
            words(kind),
            field.doc
        );
    }
    out.push('\n');
}

fn words(kind: &Type) -> String {
    match kind {
        Type::Boolean => "boolean".to_owned(),
        Type::Int => "int".to_owned(),
        Type::Long => "long".to_owned(),
        Type::Time => "time".to_owned(),
        Type::Double => "double".to_owned(),
        Type::Bytes => "bytes".to_owned(),
        Type::Text => "string".to_owned(),
        Type::Named(name) => name.clone(),
        Type::Option(inner) => format!("{}?", words(inner)),
        Type::List(items) => format!("list of {}", words(items)),
        Type::Map(values) => format!("map of {}", words(values)),
        Type::Union(names) => names.join(" or "),
    }
}

fn shown(default: &Tree) -> String {
    match default {
        Tree::Text(text) if text.is_empty() => "empty".to_owned(),
        Tree::Text(text) => format!("`{text}`"),
        Tree::Int(value) => value.to_string(),
        Tree::Bool(value) => value.to_string(),
        _ => "empty".to_owned(),
    }
}

fn seeds(model: &Model, out: &mut String) {
    let documents: BTreeMap<&str, Tree> = ["board", "telegram"]
        .into_iter()
        .map(|name| {
            let text = json_schema(name).expect("the schema is there");
            (
                name,
                tree::parse(text.as_bytes()).expect("a schema is JSON"),
            )
        })
        .collect();
    out.push_str(
        "\n## Where the seeds' fields are\n\nWhat the two seed documents name, and its place.\n",
    );
    for part in PARTS {
        let _ = writeln!(out, "\n### {}\n\n| named | place |\n|---|---|", part.title);
        for place in part.places {
            let mut shown = Vec::new();
            for path in place.at {
                shown.push(format!("`{path}`"));
                let (root, rest) = path.split_once('.').expect("a place has a field");
                match documents.get(root) {
                    Some(schema) => {
                        let found = schema.get("properties").and_then(|all| all.get(rest));
                        assert!(found.is_some(), "there is no {path}");
                    }
                    None => exists(model, root, rest, path),
                }
            }
            let _ = writeln!(out, "| {} | {} |", place.named, shown.join(", "));
        }
    }
}

/// Refuses a path that no schema has.
fn exists(model: &Model, record: &str, rest: &str, path: &str) {
    let (name, deeper) = rest
        .split_once('.')
        .map_or((rest, None), |(name, deeper)| (name, Some(deeper)));
    let field = model.fields(record).iter().find(|field| field.name == name);
    let field = field.unwrap_or_else(|| panic!("there is no {path}"));
    if let Some(deeper) = deeper {
        let mut kind = &field.kind;
        while let Type::Option(inner) | Type::List(inner) | Type::Map(inner) = kind {
            kind = inner;
        }
        match kind {
            Type::Named(inner) => exists(model, inner, deeper, path),
            _ => panic!("there is no {path}"),
        }
    }
}
