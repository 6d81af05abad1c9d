//! The workspace as DESIGN §4 draws it: which crate may see which, and who names Kafka and SQLite.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A crate of ours and the crates of ours that it may see.
const MAY_SEE: [(&str, &[&str]); 8] = [
    ("cairn-avro", &[]),
    ("cairn-topics", &["cairn-avro"]),
    ("cairn-scaling", &[]),
    (
        "cairn-operators",
        &["cairn-avro", "cairn-topics", "cairn-scaling"],
    ),
    ("cairn-bus", &["cairn-avro", "cairn-topics"]),
    (
        "cairn-pipeline",
        &[
            "cairn-avro",
            "cairn-topics",
            "cairn-scaling",
            "cairn-operators",
            "cairn-bus",
        ],
    ),
    (
        "cairn-fuzz",
        &[
            "cairn-avro",
            "cairn-topics",
            "cairn-scaling",
            "cairn-operators",
            "cairn-bus",
            "cairn-pipeline",
        ],
    ),
    (
        "cairn-tests",
        &[
            "cairn-avro",
            "cairn-topics",
            "cairn-scaling",
            "cairn-operators",
            "cairn-bus",
            "cairn-pipeline",
        ],
    ),
];

struct Workspace {
    /// Names by package id.
    names: BTreeMap<String, String>,
    /// What each of our manifests names: (name, kind), kind being normal, dev or build.
    named: BTreeMap<String, BTreeSet<(String, String)>>,
    /// Normal dependencies in the resolved graph, by package id.
    graph: BTreeMap<String, Vec<String>>,
}

/// The platform that we build for: other platforms' packages need not be on this machine.
fn host() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("-vV")
        .output()
        .expect("rustc built this test");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("rustc says its host")
        .to_owned()
}

fn workspace() -> Workspace {
    let manifest = cairn_tests::folder().join("../Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--offline",
            "--filter-platform",
            &host(),
            "--manifest-path",
        ])
        .arg(manifest)
        .output()
        .expect("cargo runs this test");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let members: BTreeSet<String> = list(&metadata["workspace_members"])
        .iter()
        .map(text)
        .collect();
    let mut names = BTreeMap::new();
    let mut named = BTreeMap::new();
    for package in list(&metadata["packages"]) {
        names.insert(text(&package["id"]), text(&package["name"]));
        if members.contains(&text(&package["id"])) {
            let kind =
                |dependency: &Value| dependency["kind"].as_str().unwrap_or("normal").to_owned();
            let dependencies = list(&package["dependencies"])
                .iter()
                .map(|found| (text(&found["name"]), kind(found)))
                .collect();
            named.insert(text(&package["name"]), dependencies);
        }
    }
    let mut graph = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let is_normal = |dependency: &Value| {
            list(&dependency["dep_kinds"])
                .iter()
                .any(|kind| kind["kind"].is_null())
        };
        let normal = list(&node["deps"])
            .iter()
            .filter(|found| is_normal(found))
            .map(|found| text(&found["pkg"]))
            .collect();
        graph.insert(text(&node["id"]), normal);
    }
    Workspace {
        names,
        named,
        graph,
    }
}

impl Workspace {
    /// Everything that a crate of ours is built from, itself included.
    fn built_from(&self, name: &str) -> BTreeSet<&str> {
        let root = self
            .names
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(id, _)| id.as_str())
            .expect("a crate of ours");
        let (mut seen, mut waiting) = (BTreeSet::new(), vec![root]);
        while let Some(id) = waiting.pop() {
            if seen.insert(id) {
                waiting.extend(self.graph[id].iter().map(String::as_str));
            }
        }
        seen.into_iter().map(|id| self.names[id].as_str()).collect()
    }

    /// Crates of ours whose manifest names a package, for whatever purpose.
    fn who_names(&self, package: &str) -> Vec<&str> {
        let names_it =
            |found: &BTreeSet<(String, String)>| found.iter().any(|(name, _)| name == package);
        self.named
            .iter()
            .filter(|(_, found)| names_it(found))
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

#[test]
fn dependencies_point_one_way() {
    let workspace = workspace();
    let known: BTreeSet<&str> = MAY_SEE.iter().map(|(name, _)| *name).collect();
    let ours: BTreeSet<&str> = workspace.named.keys().map(String::as_str).collect();
    assert_eq!(
        ours, known,
        "a crate came or went: say here what it may see"
    );
    for (name, may_see) in MAY_SEE {
        let built_from = workspace.built_from(name);
        let sees: Vec<&&str> = built_from
            .iter()
            .filter(|found| known.contains(**found) && **found != name)
            .collect();
        for found in sees {
            assert!(
                may_see.contains(found),
                "{name} is built from {found}; DESIGN §4 has it the other way round"
            );
        }
    }
}

#[test]
fn cores_know_neither_tasks_nor_kafka() {
    let workspace = workspace();
    for name in [
        "cairn-operators",
        "cairn-scaling",
        "cairn-avro",
        "cairn-topics",
    ] {
        let built_from = workspace.built_from(name);
        for shell in [
            "tokio",
            "rdkafka",
            "rdkafka-sys",
            "rusqlite",
            "libsqlite3-sys",
            "ureq",
            "axum",
        ] {
            assert!(
                !built_from.contains(shell),
                "{name} is built from {shell}: cores decide, shells act"
            );
        }
    }
    let bus = workspace.built_from("cairn-bus");
    assert!(
        bus.contains("rdkafka") && bus.contains("rusqlite"),
        "this test looks where nothing is"
    );
}

#[test]
fn one_crate_names_kafka_and_sqlite() {
    let workspace = workspace();
    for package in ["rdkafka", "rdkafka-sys", "rusqlite", "libsqlite3-sys"] {
        let who = workspace.who_names(package);
        assert!(
            who.iter().all(|name| *name == "cairn-bus"),
            "{package} is named by {who:?}; only cairn-bus may"
        );
    }
    assert_eq!(workspace.who_names("rdkafka"), ["cairn-bus"]);
    assert_eq!(workspace.who_names("rusqlite"), ["cairn-bus"]);
}

/// Every Rust file below a folder of ours; `target` and what begins with a dot is none.
fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of ours") {
        let path = entry.expect("an entry of it").path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, into);
        } else if path.extension().is_some_and(|end| end == "rs") {
            into.push(path);
        }
    }
}

/// Compiled in, it is the folder of the clone that built the binary first: with one target directory for two clones cargo takes
/// the binary for fresh, and it looks for its files in the other one. `std::env::var_os` asks at run time.
#[test]
fn no_folder_of_a_crate_is_compiled_in() {
    let mut files = Vec::new();
    for (name, _) in MAY_SEE {
        let folder = name.strip_prefix("cairn-").expect("ours");
        sources(&cairn_tests::folder().join("..").join(folder), &mut files);
    }
    let compiled_in = format!("env!({}CARGO_MANIFEST_", '"');
    let found: Vec<&PathBuf> = files
        .iter()
        .filter(|path| {
            let text = std::fs::read_to_string(path).expect("Rust is UTF-8");
            text.split_whitespace()
                .collect::<String>()
                .contains(&compiled_in)
        })
        .collect();
    assert!(files.len() > 100 && found.is_empty(), "{found:?}");
}
