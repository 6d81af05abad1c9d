//! The environment that the harness gives a contender.

use crate::job::outputs::{Frames, frame};
use cairn_bus::Membership;
use cairn_bus::kafka::KafkaSettings;
use std::str::FromStr;
use std::time::Duration;

/// What the environment says.
pub struct Config {
    pub input: String,
    pub windows: String,
    pub dlq: String,
    pub late: String,
    pub changelog: String,
    /// Longest time between commits.
    pub commit: Duration,
    pub frames: Frames,
    pub settings: KafkaSettings,
    pub who: Membership,
}

impl Config {
    pub fn from_environment() -> Result<Self, String> {
        let app_id = text("APP_ID")?;
        let input = text("INPUT")?;
        let mut settings = KafkaSettings::new(text("BROKERS")?);
        settings.app_id = app_id.clone();
        settings.session_timeout_ms = number("SESSION_MS")?;
        // the settings that are equal for all contenders; acks, idempotence, lz4, 256 KiB and read_committed are ours anyway
        settings.linger_ms = 20;
        settings
            .extra
            .insert("fetch.min.bytes".into(), "65536".into());
        if let Ok(kib) = std::env::var("READ_AHEAD_KIB") {
            settings.read_ahead_kib = kib
                .parse()
                .map_err(|_| format!("READ_AHEAD_KIB: {kib} is no number"))?;
        }
        // further properties of librdkafka, for measuring what they do: `EXTRA="name=value name=value"`
        for pair in std::env::var("EXTRA")
            .unwrap_or_default()
            .split_whitespace()
        {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("EXTRA: {pair} is not name=value"))?;
            settings.extra.insert(name.into(), value.into());
        }
        Ok(Self {
            windows: text("WINDOWS")?,
            dlq: text("DLQ")?,
            late: text("LATE")?,
            changelog: format!("{app_id}-changelog"),
            commit: Duration::from_millis(number("COMMIT_MS")?),
            frames: Frames {
                telemetry: frame(number("TELEMETRY_ID")?),
                window: frame(number("WINDOW_ID")?),
                dead_letter: frame(number("DEAD_LETTER_ID")?),
                late: frame(number("LATE_ID")?),
            },
            who: Membership {
                operator: "windows".into(),
                group: app_id,
                instance: text("INSTANCE")?,
                thread: 0,
                topics: vec![input.clone()],
            },
            input,
            settings,
        })
    }
}

fn text(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|error| format!("{name}: {error}"))
}

fn number<T: FromStr>(name: &str) -> Result<T, String> {
    let text = text(name)?;
    text.parse()
        .map_err(|_| format!("{name}: {text} is no number"))
}
