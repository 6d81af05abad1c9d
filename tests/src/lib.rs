//! Contract, oracle, real-broker and end-to-end tests: what they need from the machine, and how they do without.

pub mod simulation;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Says why a test does nothing, or fails it where everything is required (`CAIRN_REQUIRE_ALL=1`).
///
/// # Panics
/// With `CAIRN_REQUIRE_ALL=1`.
pub fn missing(what: &str) {
    assert!(
        std::env::var("CAIRN_REQUIRE_ALL").as_deref() != Ok("1"),
        "{what}, and CAIRN_REQUIRE_ALL=1 is set"
    );
    eprintln!("skipped: {what}");
}

/// The folder of this crate, as cargo says it to what it runs: compiled in, it would be that of the clone that built this.
#[must_use]
pub fn folder() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// The binary `cairn` of the target directory that this test was built into.
///
/// # Panics
/// Where it was not built, with the command that builds it.
#[must_use]
pub fn cairn() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // target/debug/deps/test-hash -> target/debug/cairn
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("a test lies in deps");
    let binary = profile.join(format!("cairn{}", std::env::consts::EXE_SUFFIX));
    assert!(
        binary.exists(),
        "{} is missing; build it first: cargo build -p cairn-pipeline",
        binary.display()
    );
    binary
}

/// A Python that has the stock clients: `CAIRN_PYTHON`, else `~/.cache/cairn/venv`, else `python3`; none where none has them.
#[must_use]
pub fn python() -> Option<PathBuf> {
    let named = std::env::var_os("CAIRN_PYTHON").map(PathBuf::from);
    let kept = std::env::var_os("HOME")
        .map(|home| PathBuf::from(home).join(".cache/cairn/venv/bin/python"));
    let candidates = [named, kept, Some(PathBuf::from("python3"))];
    candidates.into_iter().flatten().find(|python| {
        starts(
            python,
            &[
                "-c",
                "import confluent_kafka.schema_registry.avro, fastavro",
            ],
        )
    })
}

/// Whether a program starts and ends well.
#[must_use]
pub fn starts(program: &Path, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
