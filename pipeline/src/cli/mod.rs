//! The command line: one file a command, and what they share.
//!
//! Names, JSON fields and exit codes are a contract with scripts. With `--json` standard output is NDJSON and nothing else;
//! text for people goes to standard error. Exit: 0 done, 1 refused, 2 wrong usage or configuration, 3 done with rejected
//! rows, 4 out of reach, 5 locked or fenced.

mod backfill;
mod breaker;
mod config_list;
mod deadletter;
mod demo;
mod doctor;
mod files;
mod fit;
mod fits;
mod ingest;
mod init;
mod laws;
mod looks;
mod migrate;
mod optimal;
mod predict;
mod replay;
mod run;
mod runs;
mod sql;
mod surface;
mod table;
mod tail;
mod topics;
mod verdicts;

use crate::config::{Config, ConfigError};
use crate::connect::{self, Place};
use crate::redaction::{self, Redaction};
use crate::registry;
use cairn_bus::Fault;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Tells teams who train language models what to train next, and stops what goes wrong.
#[derive(Parser)]
#[command(name = "cairn", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Args, Clone, Debug, Default)]
pub struct Global {
    /// Directory of the embedded log
    #[arg(long, global = true, env = "CAIRN_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Bootstrap servers of a Kafka cluster, instead of the embedded log
    #[arg(long, global = true, env = "CAIRN_KAFKA", value_name = "HOSTS")]
    kafka: Option<String>,
    /// Schema registry of the cluster
    #[arg(long, global = true, env = "CAIRN_REGISTRY", value_name = "URL")]
    registry: Option<String>,
    /// Configuration file; DIR/cairn.yaml where it exists
    #[arg(long, global = true, env = "CAIRN_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, as `cairn config` lists them; may be repeated
    #[arg(long = "setting", global = true, value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Answer as NDJSON on standard output
    #[arg(long, global = true)]
    json: bool,
    /// What to log: off, error, warn, info, debug, or directives; warn for `run`, off for what ends by itself
    #[arg(long, global = true, value_name = "LEVEL")]
    log: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Make a data directory with a configuration and a key for dead letters
    Init(init::Init),
    /// Run the operators until stopped, or work off what is there with --drain
    Run(run::Run),
    /// Read logs and send what they say
    Ingest(ingest::Ingest),
    /// Print the records of a topic
    Tail(tail::Tail),
    /// What the breaker said of runs
    Verdicts(verdicts::Verdicts),
    /// Runs of the registry: list, show, tag, untag, cohort, diff, export
    Runs(runs::Runs),
    /// Ask the registry's tables in SQL
    Sql(sql::Sql),
    /// The scaling laws there are
    Laws(laws::Laws),
    /// Fit a law to a table, with intervals, a certificate and a back-test
    Fit(Box<fit::FitCommand>),
    /// What a fit says of runs that were not trained
    Predict(predict::Predict),
    /// What to train with a budget
    Optimal(optimal::Optimal),
    /// Learn a target over the configuration of runs: fit, predict, explain
    Surface(Box<surface::SurfaceCommand>),
    /// Fits of the registry and in files: list, show, plot, export
    Fits(fits::Fits),
    /// Try the breaker on files, without a log
    Breaker(breaker::Breaker),
    /// Records that could not be taken: list, show, replay
    Deadletter(deadletter::Deadletter),
    /// Have derived fields of rows computed again, after prices or a convention have changed
    Backfill(backfill::Backfill),
    /// Recompute outputs from their inputs into a new log, and hold them against what was written
    Replay(replay::Replay),
    /// The catalogue of topics: list, apply, diff, asyncapi
    Topics(topics::Topics),
    /// Every setting with its default and meaning
    Config(config_list::ConfigList),
    /// Move a family of topics to another number of partitions, with the state of its tasks
    Migrate(migrate::Migrate),
    /// Check what Cairn needs
    Doctor(doctor::Doctor),
    /// The main job on real input: the ladder through all operators
    Demo(demo::Demo),
}

/// Why a command did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({place}); {remedy}")]
pub struct Failure {
    /// Code, one of those in `docs/errors.md`.
    pub code: &'static str,
    /// Exit status.
    pub exit: u8,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub place: String,
    /// What to do.
    pub remedy: String,
}

impl Failure {
    /// A failure of this kind.
    #[must_use]
    pub fn new(
        code: &'static str,
        exit: u8,
        message: impl Into<String>,
        place: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            code,
            exit,
            message: message.into(),
            place: place.into(),
            remedy: remedy.into(),
        }
    }

    /// Wrong usage.
    #[must_use]
    pub fn usage(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new("usage", 2, message, "command line", remedy)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new("config", 2, error.problem, error.place, error.remedy)
    }
}

impl From<registry::Fault> for Failure {
    fn from(fault: registry::Fault) -> Self {
        let (code, exit, remedy) = match &fault {
            registry::Fault::Unreachable(_) => (
                "unreachable",
                4,
                "start it, or check registry.location; the log keeps what is to come",
            ),
            registry::Fault::Conflict(_) => ("fenced", 5, "let one process write the registry"),
            registry::Fault::Broken(_) => (
                "registry",
                2,
                "see the message; the registry can be made again from the log",
            ),
        };
        Self::new(code, exit, fault.to_string(), "registry", remedy)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let (code, exit, remedy) = match &fault {
            Fault::Config(_) => ("config", 2, "see the message"),
            Fault::Unreachable(_) => (
                "unreachable",
                4,
                "start it, or check the address; `cairn doctor` tells more",
            ),
            Fault::Fenced(_) => (
                "fenced",
                5,
                "stop the other one, or give this one its own --data or --instance-id",
            ),
            Fault::Abort(_) | Fault::Unknown(_) => (
                "transaction",
                4,
                "run the command again: nothing was written twice",
            ),
        };
        Self::new(code, exit, fault.to_string(), "log", remedy)
    }
}

/// The answer of a command: its exit status.
pub type Outcome = Result<u8, Failure>;

/// Wrong usage on one line: what clap says, without its pages.
fn misused(error: &clap::Error) -> Failure {
    let said = error.render().to_string();
    let mut parts = said.split("\n\n").map(|part| {
        let lines: Vec<&str> = part.lines().map(str::trim).collect();
        lines.join(" ")
    });
    let message = parts.next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let tip = parts
        .find_map(|part| part.strip_prefix("tip: ").map(str::to_owned))
        .map(|tip| format!("{tip}; "))
        .unwrap_or_default();
    Failure::usage(message, format!("{tip}`cairn help` shows what there is"))
}

/// Parses the command line, does the work, says what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            // It could not be parsed, so that the flag is looked for where it was written.
            let is_json = std::env::args_os().any(|argument| argument == "--json");
            if !is_json && error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                drop(error.print());
                return ExitCode::from(2);
            }
            return failed(&misused(&error), is_json);
        }
        Err(page) => {
            drop(page.print());
            return ExitCode::from(0);
        }
    };
    // Only a process that stays has something to tell besides its answer: the line of an error says what a command met.
    let level = match (&cli.global.log, &cli.command) {
        (Some(level), _) => level,
        (None, Command::Run(run)) if run.stays() => "warn",
        (None, _) => "off",
    };
    crate::logging::init(level);
    let global = cli.global;
    let outcome = match cli.command {
        Command::Init(command) => command.run(&global),
        Command::Run(command) => command.run(&global),
        Command::Ingest(command) => command.run(&global),
        Command::Tail(command) => command.run(&global),
        Command::Verdicts(command) => command.run(&global),
        Command::Runs(command) => command.run(&global),
        Command::Sql(command) => command.run(&global),
        Command::Laws(command) => command.run(&global),
        Command::Fit(command) => command.run(&global),
        Command::Predict(command) => command.run(&global),
        Command::Optimal(command) => command.run(&global),
        Command::Surface(command) => command.run(&global),
        Command::Fits(command) => command.run(&global),
        Command::Breaker(command) => command.run(&global),
        Command::Deadletter(command) => command.run(&global),
        Command::Backfill(command) => command.run(&global),
        Command::Replay(command) => command.run(&global),
        Command::Topics(command) => command.run(&global),
        Command::Migrate(command) => command.run(&global),
        Command::Config(command) => command.run(&global),
        Command::Doctor(command) => command.run(&global),
        Command::Demo(command) => command.run(&global),
    };
    match outcome {
        Ok(exit) => ExitCode::from(exit),
        Err(failure) => failed(&failure, global.json),
    }
}

/// Says what went wrong: one line for people, and one for scripts that asked for it.
fn failed(failure: &Failure, is_json: bool) -> ExitCode {
    if is_json {
        let Failure { code, .. } = failure;
        let [message, place, remedy] =
            [&failure.message, &failure.place, &failure.remedy].map(|text| redaction::line(text));
        say(
            &serde_json::json!({"error": {"code": code, "message": message, "where": place, "remedy": remedy}}),
        );
    }
    eprintln!("cairn: {}", redaction::line(&failure.to_string()));
    ExitCode::from(failure.exit)
}

impl Global {
    /// Answers as NDJSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The configuration that file, environment and flags make.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn load(&self) -> Result<Config, Failure> {
        let data = self.data.clone().unwrap_or_else(|| PathBuf::from(".cairn"));
        let beside = data.join("cairn.yaml");
        let file: Option<&Path> = match &self.config {
            Some(file) => Some(file),
            None if beside.exists() => Some(&beside),
            None => None,
        };
        let mut flags = Vec::new();
        if let Some(data) = &self.data {
            flags.push(("log.data".to_owned(), data.display().to_string()));
        }
        if let Some(kafka) = &self.kafka {
            flags.push(("log.kafka".to_owned(), kafka.clone()));
        }
        if let Some(registry) = &self.registry {
            flags.push(("log.registry".to_owned(), registry.clone()));
        }
        for setting in &self.settings {
            let (name, value) = setting.split_once('=').ok_or_else(|| {
                Failure::usage(
                    format!("--setting {setting} has no ="),
                    "write --setting NAME=VALUE",
                )
            })?;
            flags.push((name.to_owned(), value.to_owned()));
        }
        Ok(Config::load(file, std::env::vars(), &flags)?)
    }

    /// The configuration and the log that it names, for commands that only look: nothing is made where nothing is.
    ///
    /// # Errors
    /// What keeps it from being opened; a directory that holds no log is one of these.
    pub fn look(&self) -> Result<(Config, Place), Failure> {
        let mut config = self.load()?;
        there_is_a_log(&config)?;
        init::find_identity(&mut config)?;
        redaction::set_process(&Redaction::of(&config));
        let place = connect::open(&config.log)?;
        Ok((config, place))
    }

    /// The configuration and the log that it names, topics in place where the log is embedded, and somebody to seal for.
    ///
    /// # Errors
    /// What keeps it from being opened.
    pub fn open(&self) -> Result<(Config, Place), Failure> {
        let mut config = self.load()?;
        init::complete(&mut config)?;
        redaction::set_process(&Redaction::of(&config));
        let place = connect::open(&config.log)?;
        if place.log.kind() == "embedded" {
            connect::ensure_topics(&place, &config.log, &config.runtime.tenants)?;
        }
        Ok((config, place))
    }
}

/// Refuses a directory in which nobody has put a log: a typing error more often than not.
fn there_is_a_log(config: &Config) -> Result<(), Failure> {
    let file = config.log.data.join("log.sqlite");
    if !config.log.kafka.is_empty() || file.exists() {
        return Ok(());
    }
    Err(Failure::new(
        "no_log",
        2,
        "there is no log",
        config.log.data.display().to_string(),
        "name the directory with --data; `cairn ingest` and `cairn run` make one where there is none",
    ))
}

/// Prints one line of an NDJSON answer. A closed pipe ends the process quietly, as `head` expects.
pub fn say(value: &serde_json::Value) {
    use std::io::Write as _;
    if writeln!(std::io::stdout().lock(), "{value}").is_err() {
        std::process::exit(0);
    }
}

/// Whether text for people may have colours.
#[must_use]
pub fn has_colours() -> bool {
    use std::io::IsTerminal as _;
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Prints text for people on standard output.
pub fn print(text: &str) {
    use std::io::Write as _;
    if write!(std::io::stdout().lock(), "{text}").is_err() {
        std::process::exit(0);
    }
}
