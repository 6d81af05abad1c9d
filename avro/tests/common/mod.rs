//! What several tests need: a full sample of every record, made from its schema, and kept bytes.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each test binary uses a part"
)]

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use cairn_avro::contract::Entry;
use cairn_avro::json;
use cairn_avro::tree::{self, Tree};

/// Calls a macro with its arguments, a semicolon and the name of every record of the contract.
macro_rules! with_records {
    ($call:ident $($argument:tt)*) => {
        $call!(
            $($argument)*;
            TrainingTelemetry RuntimeTelemetry ToolUse EvalResult SafetyResult RunConfig
            RunLifecycle RunPlanned RunTags RunEvents Window Verdict Late ExperimentRow Cohort
            ScalingFit PlanRequest Recommendation Answer GrowthRequest GrowthAssignment
            WorkerHeartbeat ControlCommand ControlDecision Artifact DeadLetter IngestProgress Guard
            FamilyPartitions Tick Cut Change
        )
    };
}
pub(crate) use with_records;

/// A folder of this crate: cargo starts a test in the crate's own. Compiled in, it would be that of the clone that built it.
pub(crate) fn folder(name: &str) -> PathBuf {
    PathBuf::from(name)
}

/// `ScalingFit` becomes `scaling_fit`: how a record's files are named.
pub(crate) fn snake(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// Whether kept files are to be written anew.
pub(crate) fn is_updating() -> bool {
    std::env::var_os("CAIRN_UPDATE_GOLDEN").is_some_and(|value| value == "1")
}

/// Whether a check that cannot run here is a failure.
pub(crate) fn requires_all() -> bool {
    std::env::var_os("CAIRN_REQUIRE_ALL").is_some_and(|value| value == "1")
}

/// The sample of a record as contract JSON: every field given, no two alike, arrays with an item
/// for each kind of thing they hold.
pub(crate) fn sample_text(schema: &str) -> String {
    let schema = tree::parse(schema.as_bytes()).expect("a schema is JSON");
    let mut names = HashMap::new();
    collect(&schema, &mut names);
    let mut out = String::new();
    Sampler { names, count: 0 }.write(&schema, "", 0, &mut out);
    out
}

/// The sample of a record as Avro bytes.
pub(crate) fn sample(entry: &Entry) -> Vec<u8> {
    let text = sample_text(entry.schema);
    json::to_avro(entry.shape(), text.as_bytes()).unwrap_or_else(|fault| panic!("{fault}: {text}"))
}

fn collect<'a>(tree: &'a Tree, names: &mut HashMap<String, &'a Tree>) {
    match tree {
        Tree::Object(members) => {
            if let (Some(namespace), Some(name)) = (tree.get("namespace"), tree.get("name")) {
                let (namespace, name) = (namespace.text().unwrap(), name.text().unwrap());
                names.insert(format!("{namespace}.{name}"), tree);
            }
            members.iter().for_each(|(_, value)| collect(value, names));
        }
        Tree::List(items) => items.iter().for_each(|item| collect(item, names)),
        _ => {}
    }
}

struct Sampler<'a> {
    names: HashMap<String, &'a Tree>,
    count: i64,
}

impl Sampler<'_> {
    /// Writes a value of a type; `item` counts the items of the array around it.
    fn write(&mut self, kind: &Tree, name: &str, item: usize, out: &mut String) {
        self.count += 1;
        let count = self.count;
        match kind {
            Tree::Text(kind) => match kind.as_str() {
                "boolean" => out.push_str("true"),
                "int" | "long" => write!(out, "{}", 1000 + count).unwrap(),
                "double" => write!(out, "{}.25", count).unwrap(),
                "string" => write!(out, "\"{name} {count}\"").unwrap(),
                "bytes" => write!(out, "\"{:04x}ff00\"", count).unwrap(),
                named => {
                    let kind = self.names[named];
                    self.write(kind, name, item, out);
                }
            },
            // The last branch of an optional field, each in turn of a union of records.
            Tree::List(branches) if branches.len() == 2 => {
                self.write(&branches[1], name, item, out)
            }
            Tree::List(branches) => {
                let branch = &branches[item % branches.len()];
                let full = branch.get("name").unwrap_or(branch).text().unwrap();
                write!(out, "{{\"{}\":", full.rsplit('.').next().unwrap()).unwrap();
                self.write(branch, name, item, out);
                out.push('}');
            }
            Tree::Object(_) => self.write_object(kind, name, item, out),
            other => panic!("{other:?}"),
        }
    }

    fn write_object(&mut self, kind: &Tree, name: &str, item: usize, out: &mut String) {
        match kind.get("type").unwrap().text().unwrap() {
            "long" => write!(out, "{}", 1_795_532_632_000 + self.count).unwrap(),
            "enum" => {
                let symbols = kind.get("symbols").unwrap().items();
                let at = 1 + usize::try_from(self.count).unwrap() % (symbols.len() - 1);
                write!(out, "\"{}\"", symbols[at].text().unwrap()).unwrap();
            }
            "array" => {
                let items = kind.get("items").unwrap();
                out.push('[');
                for at in 0..if holds_union(items) { 9 } else { 2 } {
                    out.push_str(if at > 0 { "," } else { "" });
                    self.write(items, name, at, out);
                }
                out.push(']');
            }
            "map" => {
                write!(out, "{{\"{name}_key\":").unwrap();
                self.write(kind.get("values").unwrap(), name, item, out);
                out.push('}');
            }
            "record" => {
                out.push('{');
                for (at, field) in kind.get("fields").unwrap().items().iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    let name = field.get("name").unwrap().text().unwrap();
                    write!(out, "\"{name}\":").unwrap();
                    self.write(field.get("type").unwrap(), name, item, out);
                }
                out.push('}');
            }
            other => panic!("{other}"),
        }
    }
}

fn holds_union(kind: &Tree) -> bool {
    let fields = kind.get("fields").map_or(&[][..], Tree::items);
    fields
        .iter()
        .any(|field| field.get("type").unwrap().items().len() > 2)
}

/// Bytes as lines of 32 bytes in hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            write!(out, "{byte:02x}").unwrap();
        }
        out.push('\n');
    }
    out
}

/// The bytes of [`to_hex`].
pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .chars()
        .filter_map(|letter| letter.to_digit(16))
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
        .collect()
}

/// Compares a kept file with what it should be, or writes it when asked to.
pub(crate) fn hold(path: &Path, text: &str) {
    if is_updating() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == text,
        "{} is not what is made now; if that is meant, run with CAIRN_UPDATE_GOLDEN=1",
        path.display()
    );
}
