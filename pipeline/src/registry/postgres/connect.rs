//! A connection: encrypted, and the server's name and certificate checked, where the address says `sslmode=require`; in the clear otherwise.
//!
//! libpq's `require` encrypts without asking who is there, and its `prefer` gives in to whoever refuses; here is one kind of safe.

use super::said;
use crate::registry::Fault;
use ::postgres::config::SslMode;
use ::postgres::{Client, Config, NoTls};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Connects to `postgres://…`; `ca_file` is empty, or a PEM file of authorities beside the system's.
///
/// # Errors
/// An address that is none, authorities that cannot be read, a server that is not there or not who it should be.
pub(super) fn connect(address: &str, ca_file: &Path) -> Result<Client, Fault> {
    let config: Config = address
        .parse()
        .map_err(|error: ::postgres::Error| Fault::Broken(said(&error)))?;
    let client = if config.get_ssl_mode() == SslMode::Require {
        config.connect(encrypted(ca_file)?)
    } else {
        config.connect(NoTls)
    };
    client.map_err(|error| Fault::Unreachable(said(&error)))
}

fn encrypted(ca_file: &Path) -> Result<MakeRustlsConnect, Fault> {
    let mut roots = RootCertStore::empty();
    // what of the system's store cannot be read is trusted by nobody
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if !ca_file.as_os_str().is_empty() {
        let broken = |error: &dyn std::fmt::Display| {
            Fault::Broken(format!(
                "registry.postgres_ca_file, {}: {error}",
                ca_file.display()
            ))
        };
        let before = roots.len();
        for certificate in CertificateDer::pem_file_iter(ca_file).map_err(|error| broken(&error))? {
            let certificate = certificate.map_err(|error| broken(&error))?;
            roots.add(certificate).map_err(|error| broken(&error))?;
        }
        if roots.len() == before {
            return Err(broken(&"there is no certificate in it"));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::Broken(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}
