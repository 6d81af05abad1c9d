//! Real servers for tests: Apache Kafka and Apicurio Registry from Maven Central, on free ports, in temporary folders.
//!
//! What Maven has fetched stays in `CAIRN_SERVERS_DIR`, else `~/.cache/cairn/servers`. Where `java` or `mvn` is missing the
//! functions print a line and return None, so that a test can pass without them; with `CAIRN_REQUIRE_ALL=1` they panic.
//! Servers are killed by their handle when dropped; [`kafka`] and [`apicurio`] share one for each test process, which ends with
//! it.

mod apicurio;
mod http;
mod kafka;
mod maven;
mod process;
mod relay;
mod tls;

pub use apicurio::{ApicurioServer, apicurio};
pub use http::{RegistryDouble, get};
pub use kafka::{KafkaServer, Listener, kafka, start_kafka};
pub use relay::{END_TXN, Relay};

use std::net::TcpListener;
use std::path::PathBuf;

/// Where fetched servers lie.
pub fn servers_folder() -> PathBuf {
    let folder = std::env::var_os("CAIRN_SERVERS_DIR")
        .map(PathBuf::from)
        .or_else(|| {
            let home = std::env::var_os("HOME")?;
            Some(PathBuf::from(home).join(".cache/cairn/servers"))
        });
    folder.unwrap_or_else(|| std::env::temp_dir().join("cairn-servers"))
}

/// Says why a test does nothing, or fails it where everything is required.
pub(crate) fn missing(what: &str) {
    assert!(
        std::env::var("CAIRN_REQUIRE_ALL").as_deref() != Ok("1"),
        "{what}, and CAIRN_REQUIRE_ALL=1 is set"
    );
    eprintln!("skipped: {what}");
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
