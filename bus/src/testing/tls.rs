//! A self-signed certificate for `localhost`, by the JDK's keytool.

use std::path::Path;
use std::process::{Command, Stdio};

pub(super) const STORE: &str = "keystore.p12";
pub(super) const CERTIFICATE: &str = "certificate.pem";
pub(super) const PASSWORD: &str = "cairn-tests";

/// Makes key store and certificate in a folder.
pub(super) fn make_key(folder: &Path) -> Result<(), String> {
    let store = folder.join(STORE).display().to_string();
    let certificate = folder.join(CERTIFICATE).display().to_string();
    let common = [
        "-keystore",
        &store,
        "-storepass",
        PASSWORD,
        "-storetype",
        "PKCS12",
        "-alias",
        "broker",
    ];
    keytool(
        &[
            "-genkeypair",
            "-keyalg",
            "EC",
            "-groupname",
            "secp256r1",
            "-dname",
            "CN=localhost",
            "-ext",
            "san=dns:localhost",
        ],
        &common,
    )?;
    keytool(&["-exportcert", "-rfc", "-file", &certificate], &common)
}

fn keytool(command: &[&str], common: &[&str]) -> Result<(), String> {
    let output = Command::new("keytool")
        .args(command)
        .args(common)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("keytool: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
