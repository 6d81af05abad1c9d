//! Apicurio Registry: a registry of somebody else, with Confluent's API.

use super::process::Process;
use super::{free_port, http, maven, missing};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A running registry, in memory; killed when dropped.
pub struct ApicurioServer {
    _process: Process,
    port: u16,
    folder: tempfile::TempDir,
}

const LOG: &str = "registry.log";
const START: Duration = Duration::from_secs(120);

/// The registry of this test process; None (and a line) where it cannot run.
///
/// # Panics
/// Where java and mvn are there but it does not start.
pub fn apicurio() -> Option<&'static ApicurioServer> {
    static SERVER: OnceLock<Option<ApicurioServer>> = OnceLock::new();
    let start = || {
        if !maven::has("java") || !maven::has("mvn") {
            missing("java (17 or newer) and mvn are needed for a real schema registry");
            return None;
        }
        match maven::folder(maven::APICURIO, fetch)
            .and_then(|folder| ApicurioServer::start(&folder))
        {
            Ok(server) => Some(server),
            Err(error) => panic!("Apicurio did not start: {error}"),
        }
    };
    SERVER.get_or_init(start).as_ref()
}

/// The archive has a parent that Maven Central lacks, so it is copied alone, without a pom.
fn fetch(folder: &Path) -> Result<(), String> {
    let output = format!("-DoutputDirectory={}", folder.display());
    maven::maven(&[
        "dependency:copy",
        "-Dartifact=io.apicurio:apicurio-registry-app:3.0.9:tar.gz:all",
        &output,
    ])?;
    let archive = folder.join("apicurio-registry-app-3.0.9-all.tar.gz");
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(&archive)
        .arg("-C")
        .arg(folder)
        .status();
    if !unpacked.is_ok_and(|status| status.success()) {
        return Err(format!("cannot unpack {}", archive.display()));
    }
    std::fs::remove_file(archive).map_err(|error| error.to_string())
}

impl ApicurioServer {
    /// The base URL of its Confluent API.
    pub fn url(&self) -> String {
        format!("http://localhost:{}/apis/ccompat/v7", self.port)
    }

    fn start(folder: &Path) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        let jar = folder.join("apicurio-registry-app-3.0.9-runner.jar");
        let port = free_port().map_err(text)?;
        let own = tempfile::Builder::new()
            .prefix("cairn-apicurio-")
            .tempdir()
            .map_err(text)?;
        let listen = format!("-Dquarkus.http.port={port}");
        let jar = jar.display().to_string();
        let program = [
            "java",
            "-Xmx384m",
            "-XX:+UseSerialGC",
            &listen,
            "-jar",
            &jar,
        ];
        let process = Process::start(own.path(), LOG, &program).map_err(text)?;
        let server = Self {
            _process: process,
            port,
            folder: own,
        };
        let begun = Instant::now();
        loop {
            if http::get(&format!("{}/subjects", server.url()))
                .is_ok_and(|(status, _)| status == 200)
            {
                return Ok(server);
            }
            if begun.elapsed() > START {
                return Err(format!("no answer: {}", server.tail()));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn tail(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default()
    }
}
