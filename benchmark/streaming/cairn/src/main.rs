//! Cairn as a contender: the benchmark's job as a core, on Cairn's own log and membership.
//!
//! - [`job`]: the core; no clock, no randomness, no IO.
//! - [`member`]: poll, apply, commit: outputs, changelog and offsets in one transaction.
//! - [`config`]: the harness' environment. - [`phases`]: where the time goes.
//!
//! Not here: anything about Kafka itself; that is `cairn-bus`.

mod config;
mod job;
mod member;
mod phases;

use cairn_bus::kafka::KafkaLog;
use cairn_bus::{Cleanup, Fault, Log, TopicSpec};
use config::Config;
use member::Member;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a stop may take; the harness allows 20 s.
const STOP: Duration = Duration::from_secs(15);
/// How long a topic that is said to exist may take to be seen.
const TOPIC_PATIENCE: Duration = Duration::from_secs(5);
/// First and longest pause before a new session after a fault.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let filter = std::env::var("LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let stop = Arc::new(AtomicBool::new(false));
    if let Err(error) = signal_hook::flag::register(signal_hook::consts::SIGTERM, stop.clone()) {
        tracing::error!(%error, "SIGTERM cannot be handled");
        return ExitCode::FAILURE;
    }
    let config = match Config::from_environment() {
        Ok(config) => config,
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::from(2);
        }
    };
    let mut pause = PAUSE_MIN;
    loop {
        // a new session fences the old one, whatever that still has in flight
        let mut has_worked = false;
        let fault = match session(&config, &stop, &mut has_worked) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(fault) => fault,
        };
        tracing::warn!(%fault, "the session is over");
        match fault {
            Fault::Config(_) => return ExitCode::from(2),
            Fault::Fenced(_) => return ExitCode::from(5),
            Fault::Abort(_) | Fault::Unknown(_) | Fault::Unreachable(_) => {}
        }
        if stop.load(Ordering::Relaxed) {
            return ExitCode::SUCCESS;
        }
        pause = if has_worked {
            PAUSE_MIN
        } else {
            (pause * 2).min(PAUSE_MAX)
        };
        std::thread::sleep(pause);
    }
}

fn session(config: &Config, stop: &AtomicBool, has_worked: &mut bool) -> Result<(), Fault> {
    let log = KafkaLog::connect(config.settings.clone())?;
    let partitions = partitions(&log, &config.input)?;
    log.create(&[TopicSpec::new(
        &config.changelog,
        partitions,
        Cleanup::Compact,
    )])?;
    let mut member = Member::new(log.open(config.who.clone())?, config);
    while !stop.load(Ordering::Relaxed) {
        member.step()?;
        *has_worked = true;
    }
    member.stop(STOP)
}

/// A broker may learn of a topic that was just created a moment after its creator was told.
fn partitions(log: &KafkaLog, topic: &str) -> Result<i32, Fault> {
    let deadline = Instant::now() + TOPIC_PATIENCE;
    loop {
        if let Some(state) = log.topics()?.get(topic) {
            return Ok(state.partitions);
        }
        if Instant::now() >= deadline {
            return Err(Fault::Config(format!("there is no topic {topic}")));
        }
        std::thread::sleep(PAUSE_MIN);
    }
}
