//! The schemas as the generator sees them: named types that refer to each other by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cairn_avro::tree::{self, Tree};

/// Namespace of every named type.
pub(crate) const NAMESPACE: &str = "cairn.v1";

/// The folder of this crate, as cargo says it to what it runs: compiled in, it would be that of the clone that built this.
pub(crate) fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// A type at a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Type {
    Boolean,
    Int,
    Long,
    /// Milliseconds since 1970, UTC.
    Time,
    Double,
    Bytes,
    Text,
    /// A record or enum, by its name without namespace.
    Named(String),
    /// Null or something.
    Option(Box<Type>),
    List(Box<Type>),
    Map(Box<Type>),
    /// One of several records.
    Union(Vec<String>),
}

/// One field of a record.
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) kind: Type,
    pub(crate) default: Option<Tree>,
}

/// What a named type is.
pub(crate) enum Shape {
    Record(Vec<Field>),
    Enum {
        symbols: Vec<String>,
        default: String,
    },
}

/// A named type.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) shape: Shape,
    /// Whether it is a subject of its own or lies in `schemas/shared`.
    pub(crate) shared: bool,
    /// Its definition; other named types are references in it.
    pub(crate) tree: Tree,
}

/// All named types, by name.
pub(crate) struct Model {
    pub(crate) types: BTreeMap<String, Named>,
}

impl Model {
    /// Reads `schemas/*.avsc` and `schemas/shared/*.avsc`.
    pub(crate) fn load(root: &Path) -> Self {
        let mut types = BTreeMap::new();
        for (folder, shared) in [("schemas", false), ("schemas/shared", true)] {
            for path in files(&root.join(folder), "avsc") {
                let text = std::fs::read(&path).expect("a schema can be read");
                let tree = tree::parse(&text)
                    .unwrap_or_else(|flaw| panic!("{}: {flaw:?}", path.display()));
                let named = named(collapse(&tree, true), shared);
                assert_eq!(
                    path.file_stem().and_then(|stem| stem.to_str()),
                    Some(snake(&named.name).as_str()),
                    "a schema's file is named after it"
                );
                let twin = types.insert(named.name.clone(), named);
                assert!(twin.is_none(), "{} is defined twice", path.display());
            }
        }
        Self { types }
    }
}

impl Model {
    /// The fields of a record.
    pub(crate) fn fields(&self, record: &str) -> &[Field] {
        match &self.types[record].shape {
            Shape::Record(fields) => fields,
            Shape::Enum { .. } => panic!("{record} is an enum"),
        }
    }
}

/// Files of a folder with an extension, sorted.
pub(crate) fn files(folder: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder exists")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|end| end == extension))
        .collect();
    paths.sort();
    paths
}

/// `TrainingTelemetry` becomes `training_telemetry`.
pub(crate) fn snake(name: &str) -> String {
    let mut out = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && at > 0 {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// `end_of_file` becomes `EndOfFile`.
pub(crate) fn pascal(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_ascii_uppercase() + rest
        })
        .collect()
}

/// Replaces every named type inside a definition by its name.
fn collapse(tree: &Tree, root: bool) -> Tree {
    match tree {
        Tree::Object(members) => {
            let is_named = matches!(
                tree.get("type").and_then(Tree::text),
                Some("record" | "enum" | "fixed")
            );
            if is_named && !root {
                let name = tree
                    .get("name")
                    .and_then(Tree::text)
                    .expect("a named type has a name");
                return Tree::Text(format!("{NAMESPACE}.{name}"));
            }
            Tree::Object(
                members
                    .iter()
                    .map(|(key, value)| match key.as_str() {
                        "default" | "doc" | "symbols" => (key.clone(), value.clone()),
                        _ => (key.clone(), collapse(value, false)),
                    })
                    .collect(),
            )
        }
        Tree::List(items) => Tree::List(items.iter().map(|item| collapse(item, false)).collect()),
        other => other.clone(),
    }
}

fn named(tree: Tree, shared: bool) -> Named {
    let text = |key: &str| {
        let value = tree.get(key).and_then(Tree::text);
        value
            .unwrap_or_else(|| panic!("no {key} in {tree:?}"))
            .to_owned()
    };
    assert_eq!(text("namespace"), NAMESPACE);
    let shape = match text("type").as_str() {
        "record" => Shape::Record(
            tree.get("fields")
                .expect("a record has fields")
                .items()
                .iter()
                .map(field)
                .collect(),
        ),
        "enum" => Shape::Enum {
            symbols: tree
                .get("symbols")
                .expect("an enum has symbols")
                .items()
                .iter()
                .filter_map(Tree::text)
                .map(str::to_owned)
                .collect(),
            default: text("default"),
        },
        other => panic!("the contract has no {other}"),
    };
    Named {
        name: text("name"),
        doc: text("doc"),
        shape,
        shared,
        tree,
    }
}

fn field(tree: &Tree) -> Field {
    let text = |key: &str| {
        let value = tree.get(key).and_then(Tree::text);
        value
            .unwrap_or_else(|| panic!("no {key} in {tree:?}"))
            .to_owned()
    };
    Field {
        name: text("name"),
        doc: text("doc"),
        kind: kind(tree.get("type").expect("a field has a type")),
        default: tree.get("default").cloned(),
    }
}

fn kind(tree: &Tree) -> Type {
    match tree {
        Tree::Text(name) => match name.as_str() {
            "boolean" => Type::Boolean,
            "int" => Type::Int,
            "long" => Type::Long,
            "double" => Type::Double,
            "bytes" => Type::Bytes,
            "string" => Type::Text,
            other => Type::Named(
                other
                    .strip_prefix(NAMESPACE)
                    .and_then(|rest| rest.strip_prefix('.'))
                    .unwrap_or_else(|| panic!("what is {other}?"))
                    .to_owned(),
            ),
        },
        Tree::List(branches) => match branches.as_slice() {
            [Tree::Text(null), one] if null == "null" => Type::Option(Box::new(kind(one))),
            _ => Type::Union(
                branches
                    .iter()
                    .map(|branch| match kind(branch) {
                        Type::Named(name) => name,
                        other => panic!("a union of {other:?}"),
                    })
                    .collect(),
            ),
        },
        Tree::Object(_) => match tree.get("type").and_then(Tree::text) {
            Some("array") => Type::List(Box::new(kind(tree.get("items").expect("items")))),
            Some("map") => Type::Map(Box::new(kind(tree.get("values").expect("values")))),
            Some("long") => {
                let logical = tree.get("logicalType").and_then(Tree::text);
                assert_eq!(logical, Some("timestamp-millis"));
                Type::Time
            }
            other => panic!("what is {other:?}?"),
        },
        other => panic!("what is {other:?}?"),
    }
}
