//! A server that speaks S3, started for a test: moto from PyPI, in the Python that the other tests use.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The server looks at who signs, not at the signature; anybody may read what was put.
const AS_OWNER: &str = "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=none\r\nx-amz-acl: public-read\r\n";

/// The server; killed when it is dropped.
pub(crate) struct S3 {
    server: Child,
    pub(crate) address: SocketAddr,
}

/// `CAIRN_PYTHON`, else `~/.cache/cairn/venv`, else `python3`: the first that has a module. None, and a line that says so, where
/// none has it.
pub(crate) fn python(module: &str) -> Option<PathBuf> {
    let named = std::env::var_os("CAIRN_PYTHON").map(PathBuf::from);
    let kept = std::env::var_os("HOME")
        .map(|home| PathBuf::from(home).join(".cache/cairn/venv/bin/python"));
    let found = [named, kept, Some(PathBuf::from("python3"))]
        .into_iter()
        .flatten()
        .find(|python| {
            Command::new(python)
                .args(["-c", &format!("import {module}")])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        });
    if found.is_none() {
        let what = format!("a Python with {module} is needed (tests/requirements.txt)");
        assert!(
            std::env::var("CAIRN_REQUIRE_ALL").as_deref() != Ok("1"),
            "{what}, and CAIRN_REQUIRE_ALL=1 is set"
        );
        println!("skipped: {what}");
    }
    found
}

impl S3 {
    /// None, and a line that says so, where moto is missing.
    pub(crate) fn start() -> Option<Self> {
        let python = python("moto.server")?;
        let mut server = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let mut lines = BufReader::new(server.stderr.take().expect("piped")).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("http://")?.1.trim().parse().ok())
            .expect("it says where it listens");
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Some(Self { server, address })
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{AS_OWNER}Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(body).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }

    pub(crate) fn bucket(&self, name: &str) {
        self.ask("PUT", &format!("/{name}"), b"");
    }

    pub(crate) fn put(&self, key: &str, body: impl AsRef<[u8]>) {
        self.ask("PUT", &format!("/{key}"), body.as_ref());
    }

    /// What object stores' own tools call these settings.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ]
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}
