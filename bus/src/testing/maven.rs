//! Fetches servers through Maven, once: into a folder beside the final one, which is renamed when it is whole.

use super::servers_folder;
use std::ffi::OsStr;
use std::fs::{File, create_dir_all, remove_dir_all, rename};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The versions are those of `tests/servers/pom.xml`.
pub(crate) const KAFKA: &str = "kafka-4.3.1";
pub(crate) const APICURIO: &str = "apicurio-3.0.9";

/// Whether a program can be started.
pub(crate) fn has(program: &str) -> bool {
    let started = Command::new(program)
        .arg("-version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    started.is_ok_and(|status| status.success())
}

/// The folder of a server; `fill` makes it where it is missing.
pub(crate) fn folder(
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let root = servers_folder();
    let folder = root.join(name);
    let text = |error: std::io::Error| format!("{}: {error}", root.display());
    create_dir_all(&root).map_err(text)?;
    // several test processes come at once
    let lock = File::create(root.join(format!(".{name}.lock"))).map_err(text)?;
    lock.lock().map_err(text)?;
    if !folder.join("complete").exists() {
        let part = root.join(format!("{name}.part"));
        let _ = remove_dir_all(&part);
        let _ = remove_dir_all(&folder);
        create_dir_all(&part).map_err(text)?;
        fill(&part)?;
        File::create(part.join("complete")).map_err(text)?;
        rename(&part, &folder).map_err(text)?;
    }
    Ok(folder)
}

/// Runs Maven quietly; its output is the error.
pub(crate) fn maven<S: AsRef<OsStr>>(arguments: &[S]) -> Result<(), String> {
    let output = Command::new("mvn")
        .args(["-q", "-B"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("mvn: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "mvn failed: {}",
        String::from_utf8_lossy(&output.stdout)
            .chars()
            .take(2_000)
            .collect::<String>()
    ))
}
