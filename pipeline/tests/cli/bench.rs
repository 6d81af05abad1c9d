//! The binary in a directory and home of its own.

use serde_json::Value;
use std::process::{Command, Output};

/// A command in a directory and home of its own.
pub(crate) struct Bench {
    pub(crate) home: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            home: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        command
            .args(arguments)
            .current_dir(self.home.path())
            .env("HOME", self.home.path());
        command
            .env_remove("XDG_CONFIG_HOME")
            .env("CAIRN_GATEWAY_LISTEN", "127.0.0.1:0");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary starts")
    }

    /// Exit code and the lines of an NDJSON answer.
    pub(crate) fn json(&self, arguments: &[&str]) -> (i32, Vec<Value>) {
        let mut all = arguments.to_vec();
        all.push("--json");
        let output = self.run(&all);
        let lines = String::from_utf8(output.stdout).expect("UTF-8");
        let values = lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("NDJSON and nothing else"))
            .collect();
        (output.status.code().expect("no signal"), values)
    }

    /// What a `cairn run` that keeps running says until it is ready; the caller kills it.
    pub(crate) fn ready(&self, arguments: &[&str]) -> std::process::Child {
        use std::io::Read as _;
        let mut child = self
            .command(arguments)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stderr = child.stderr.as_mut().expect("piped");
        let (mut seen, mut byte) = (Vec::new(), [0]);
        while !seen.ends_with(b"ready\n") && stderr.read(&mut byte).expect("readable") == 1 {
            seen.push(byte[0]);
        }
        child
    }

    /// The values of a topic's records, from its start to its end.
    pub(crate) fn values(&self, topic: &str) -> Vec<Value> {
        let (exit, records) = self.json(&["tail", topic, "--from-start", "--until-end"]);
        assert_eq!(exit, 0, "{records:?}");
        records
            .into_iter()
            .map(|mut record| record["value"].take())
            .collect()
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }
}

/// The error that a failing command answers with.
pub(crate) fn error(values: &[Value]) -> &Value {
    &values.last().expect("an answer")["error"]
}
