//! One Kafka broker (KRaft, broker and controller in one process).

use super::process::Process;
use super::relay::Relay;
use super::{free_port, maven, missing, tls};
use crate::kafka::{KafkaLog, KafkaSettings};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How clients reach the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Plain TCP.
    Plain,
    /// TLS with a self-signed certificate, and SASL/SCRAM-SHA-512: user `anna`, password `anna-secret`.
    SaslSsl,
}

/// A running broker; killed when dropped.
pub struct KafkaServer {
    process: Process,
    port: u16,
    /// Ports of the listener behind a relay: its own, and the one it tells clients to come to.
    behind: u16,
    relayed: u16,
    listener: Listener,
    folder: tempfile::TempDir,
}

const LOG: &str = "broker.log";
/// How long a broker may take to answer: 4 s on an idle machine, much more beside a build.
const START: Duration = Duration::from_secs(120);

/// The broker of this test process, with a plain listener; None (and a line) where it cannot run.
pub fn kafka() -> Option<&'static KafkaServer> {
    static SERVER: OnceLock<Option<KafkaServer>> = OnceLock::new();
    SERVER.get_or_init(|| start_kafka(Listener::Plain)).as_ref()
}

/// A broker of one's own.
///
/// # Panics
/// Where java and mvn are there but the broker does not start: that is no reason to skip a test.
pub fn start_kafka(listener: Listener) -> Option<KafkaServer> {
    if !maven::has("java") || !maven::has("mvn") {
        missing("java (17 or newer) and mvn are needed for a real Kafka");
        return None;
    }
    let started =
        maven::folder(maven::KAFKA, fetch).and_then(|jars| KafkaServer::start(&jars, listener));
    match started {
        Ok(server) => Some(server),
        Err(error) => panic!("Kafka did not start: {error}"),
    }
}

/// Which broker; compiled in, because a path would be that of the clone that built it.
const POM: &str = include_str!("../../../tests/servers/pom.xml");

fn fetch(folder: &Path) -> Result<(), String> {
    let pom = folder.join("pom.xml");
    std::fs::write(&pom, POM).map_err(|error| format!("{}: {error}", pom.display()))?;
    let output = format!("-DoutputDirectory={}", folder.display());
    maven::maven(&[
        "-f",
        &pom.display().to_string(),
        "dependency:copy-dependencies",
        &output,
    ])
}

impl KafkaServer {
    /// `host:port`.
    pub fn bootstrap_servers(&self) -> String {
        // a certificate names localhost
        format!("localhost:{}", self.port)
    }

    /// Settings for tests: short sessions, and with [`Listener::SaslSsl`] the right credentials.
    pub fn settings(&self) -> KafkaSettings {
        let mut settings = KafkaSettings::new(self.bootstrap_servers());
        settings.session_timeout_ms = 6_000;
        settings.replication_factor = 1;
        if self.listener == Listener::SaslSsl {
            let certificate = self
                .folder
                .path()
                .join(tls::CERTIFICATE)
                .display()
                .to_string();
            for (name, value) in [
                ("security.protocol", "SASL_SSL"),
                ("ssl.ca.location", &certificate),
                ("sasl.mechanisms", "SCRAM-SHA-512"),
                ("sasl.username", "anna"),
                ("sasl.password", "anna-secret"),
            ] {
                settings.extra.insert(name.into(), value.into());
            }
        }
        settings
    }

    /// A relay before this broker, and settings that lead through it. Once for each broker.
    ///
    /// # Panics
    /// Where its port is taken by now.
    pub fn relay(&self) -> (Relay, KafkaSettings) {
        let relay = Relay::start(self.relayed, self.behind).expect("its port was free");
        let mut settings = self.settings();
        settings.bootstrap_servers = format!("127.0.0.1:{}", self.relayed);
        (relay, settings)
    }

    /// Connects with [`KafkaServer::settings`].
    pub fn log(&self) -> KafkaLog {
        KafkaLog::connect(self.settings()).expect("the broker answered when it started")
    }

    /// Stops the broker as a power loss would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    fn start(jars: &Path, listener: Listener) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        let folder = tempfile::Builder::new()
            .prefix("cairn-kafka-")
            .tempdir()
            .map_err(text)?;
        let port = free_port().map_err(text)?;
        let controller = free_port().map_err(text)?;
        // the broker talks to itself too (transaction markers): never through TLS
        let internal = free_port().map_err(text)?;
        let behind = free_port().map_err(text)?;
        let relayed = free_port().map_err(text)?;
        if listener == Listener::SaslSsl {
            tls::make_key(folder.path())?;
        }
        let properties = folder.path().join("server.properties");
        std::fs::write(
            &properties,
            server_properties(
                folder.path(),
                [port, internal, controller, behind, relayed],
                listener,
            ),
        )
        .map_err(text)?;
        let class_path = format!("{}/*", jars.display());
        let mut format = Command::new("java");
        format.args([
            "-XX:TieredStopAtLevel=1",
            "-cp",
            &class_path,
            "kafka.tools.StorageTool",
            "format",
        ]);
        format
            .args(["-t", "Y2Fpcm4tdGVzdHMtc2VydmVyLQ", "-c"])
            .arg(&properties);
        if listener == Listener::SaslSsl {
            format.args([
                "--add-scram",
                "SCRAM-SHA-512=[name=anna,password=anna-secret]",
            ]);
        }
        let formatted = format.stdin(Stdio::null()).output().map_err(text)?;
        if !formatted.status.success() {
            return Err(format!(
                "formatting its storage: {}",
                String::from_utf8_lossy(&formatted.stderr)
            ));
        }
        let arguments = properties.display().to_string();
        let program = [
            "java",
            "-Xms256m",
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-cp",
            &class_path,
            "kafka.Kafka",
            &arguments,
        ];
        let process = Process::start(folder.path(), LOG, &program).map_err(text)?;
        let server = Self {
            process,
            port,
            behind,
            relayed,
            listener,
            folder,
        };
        server.wait()?;
        Ok(server)
    }

    fn wait(&self) -> Result<(), String> {
        let begun = Instant::now();
        let mut settings = self.settings();
        settings.start_timeout_ms = 3_000;
        loop {
            match KafkaLog::connect(settings.clone()) {
                Ok(_) => return Ok(()),
                Err(error) if begun.elapsed() > START => {
                    return Err(format!("{error}: {}", self.tail()));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    fn tail(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(15).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

fn server_properties(
    folder: &Path,
    [port, internal, controller, behind, relayed]: [u16; 5],
    listener: Listener,
) -> String {
    let folder = folder.display();
    let (name, security) = match listener {
        Listener::Plain => ("PLAINTEXT", String::new()),
        Listener::SaslSsl => (
            "SASL_SSL",
            format!(
                "sasl.enabled.mechanisms=SCRAM-SHA-512\n\
                 listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
                 ssl.keystore.type=PKCS12\n\
                 ssl.keystore.location={folder}/{}\n\
                 ssl.keystore.password={}\n\
                 ssl.key.password={}\n",
                tls::STORE,
                tls::PASSWORD,
                tls::PASSWORD
            ),
        ),
    };
    // one broker, so one copy; groups wait for nobody; sessions as short as tests want them
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@localhost:{controller}\n\
         listeners={name}://localhost:{port},INTERNAL://localhost:{internal},RELAYED://127.0.0.1:{behind},CONTROLLER://localhost:{controller}\n\
         advertised.listeners={name}://localhost:{port},INTERNAL://localhost:{internal},RELAYED://127.0.0.1:{relayed}\n\
         inter.broker.listener.name=INTERNAL\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map={name}:{name},INTERNAL:PLAINTEXT,RELAYED:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={folder}/data\n\
         auto.create.topics.enable=false\n\
         num.io.threads=2\n\
         num.network.threads=2\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\n\
         transaction.abort.timed.out.transaction.cleanup.interval.ms=1000\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         group.min.session.timeout.ms=1000\n\
         group.consumer.min.session.timeout.ms=6000\n\
         group.consumer.session.timeout.ms=6000\n\
         group.consumer.min.heartbeat.interval.ms=500\n\
         group.consumer.heartbeat.interval.ms=1000\n\
         log.cleaner.backoff.ms=500\n\
         log.retention.check.interval.ms=1000\n\
         {security}"
    )
}
