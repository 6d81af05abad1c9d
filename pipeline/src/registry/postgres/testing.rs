//! A real Postgres for tests, in a temporary directory, on a socket there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The server; killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    _directory: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where `initdb` and `postgres` are; none where there is no Postgres.
fn binaries() -> Option<PathBuf> {
    let named = std::env::var_os("CAIRN_POSTGRES").map(PathBuf::from);
    let in_path = std::env::var_os("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .collect::<Vec<_>>();
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"));
    named
        .into_iter()
        .chain(installed)
        .chain(in_path)
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

impl Server {
    /// One that listens on a socket in its directory; none, and a line that says so, where there is no Postgres.
    pub(crate) fn start() -> Option<Self> {
        Self::with(&[], |_| {})
    }

    /// With more settings; `prepare` is called with the data directory before it starts.
    pub(crate) fn with(settings: &[&str], prepare: impl FnOnce(&Path)) -> Option<Self> {
        let Some(folder) = binaries() else {
            assert!(
                std::env::var("CAIRN_REQUIRE_ALL").as_deref() != Ok("1"),
                "there is no Postgres, and CAIRN_REQUIRE_ALL=1 is set"
            );
            println!(
                "skipped: there is no Postgres; install one, or name its bin folder in CAIRN_POSTGRES"
            );
            return None;
        };
        let directory = TempDir::new().expect("a directory");
        let data = directory.path().join("data");
        // a server does not run as root: then as nobody
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| {
            use std::os::unix::fs::MetadataExt as _;
            own.uid() == 0
        });
        let command = |program: &str| {
            let path = folder.join(program);
            if is_root {
                let mut command = Command::new("setpriv");
                command
                    .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
                    .arg(path);
                command
            } else {
                Command::new(path)
            }
        };
        if is_root {
            std::os::unix::fs::chown(directory.path(), Some(65_534), Some(65_534))
                .expect("root may give a directory away");
        }
        let made = command("initdb")
            .args(["--auth=trust", "--username=cairn", "--no-sync", "-D"])
            .arg(&data)
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .status()
            .expect("initdb starts");
        assert!(made.success(), "initdb");
        prepare(&data);
        let child = command("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-k"])
            .arg(directory.path())
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres starts");
        let socket = directory.path().display().to_string().replace('/', "%2F");
        let port = settings
            .iter()
            .find_map(|setting| setting.strip_prefix("port="))
            .unwrap_or("5432");
        let address = format!("postgresql://cairn@{socket}:{port}/postgres");
        let begun = Instant::now();
        while ::postgres::Client::connect(&address, ::postgres::NoTls).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "postgres is up");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(Self {
            child,
            address,
            _directory: directory,
        })
    }
}
