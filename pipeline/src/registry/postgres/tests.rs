//! Tests: who is spoken to, and whether in the clear.

use super::connect::connect;
use super::testing::Server;
use crate::registry::Fault;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

fn openssl(folder: &Path, arguments: &str) -> bool {
    Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// An authority, and a certificate of its for `localhost`.
fn certificates(folder: &Path) -> bool {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").expect("a file");
    openssl(
        folder,
        &format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"),
    ) && openssl(
        folder,
        &format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"),
    ) && openssl(
        folder,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
    )
}

#[test]
fn a_connection_that_must_be_encrypted_is_and_to_nobody_else() {
    let made = TempDir::new().expect("a directory");
    if !certificates(made.path()) {
        assert!(
            std::env::var("CAIRN_REQUIRE_ALL").as_deref() != Ok("1"),
            "there is no openssl, and CAIRN_REQUIRE_ALL=1 is set"
        );
        println!("skipped: there is no openssl");
        return;
    }
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let port_is = format!("port={port}");
    let settings = ["listen_addresses=127.0.0.1", &port_is, "ssl=on"];
    let prepare = |data: &Path| {
        let owner = std::fs::metadata(data).expect("a directory");
        let put = |name: &str, bytes: Vec<u8>| {
            let path = data.join(name);
            std::fs::write(&path, bytes).expect("a file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
                .expect("permissions");
            std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid()))
                .expect("given away");
        };
        for (from, to) in [("server.pem", "server.crt"), ("server.key", "server.key")] {
            put(to, std::fs::read(made.path().join(from)).expect("made"));
        }
        put(
            "pg_hba.conf",
            b"local all all trust\nhostssl all all 127.0.0.1/32 trust\n".to_vec(),
        );
    };
    let Some(server) = Server::with(&settings, prepare) else {
        return;
    };
    let at = |host: &str, mode: &str| {
        format!("postgresql://cairn@{host}:{port}/postgres?hostaddr=127.0.0.1&sslmode={mode}")
    };
    let (ours, nobody) = (made.path().join("ca.pem"), Path::new(""));

    let mut client = connect(&at("localhost", "require"), &ours).expect("encrypted");
    let is_encrypted: bool = client
        .query_one(
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
            &[],
        )
        .expect("a row")
        .get(0);
    assert!(is_encrypted);

    let refused = |address: String, ca: &Path, expected: &str| {
        let Err(Fault::Unreachable(why)) = connect(&address, ca) else {
            panic!("{address} answered");
        };
        assert!(why.contains(expected), "{address}: {why}");
    };
    // nobody vouches for it, or not under this name
    refused(at("localhost", "require"), nobody, "UnknownIssuer");
    refused(at("elsewhere.test", "require"), &ours, "elsewhere.test");
    // the server takes nothing in the clear
    refused(at("localhost", "prefer"), &ours, "no encryption");

    std::fs::write(made.path().join("empty"), "").expect("a file");
    for (name, expected) in [("empty", "no certificate"), ("missing", "missing")] {
        let error = connect(&at("localhost", "require"), &made.path().join(name))
            .map(drop)
            .expect_err("no authorities");
        assert!(
            matches!(&error, Fault::Broken(why) if why.contains(expected)),
            "{error}"
        );
    }
    drop(server);
}
