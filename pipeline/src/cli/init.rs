//! `cairn init`: a data directory with a commented configuration, and a key that is kept elsewhere.

use super::{Failure, Global, Outcome, print, say};
use crate::config::{Config, describe};
use crate::seal;
use clap::Args;
use std::path::{Path, PathBuf};

/// Make a data directory with a configuration and a key for dead letters.
#[derive(Args)]
pub struct Init {
    /// Where to put the identity that opens dead letters; outside the data directory
    #[arg(long, env = "CAIRN_IDENTITY", value_name = "FILE")]
    identity: Option<PathBuf>,
}

impl Init {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let config = global.load()?;
        let data = &config.log.data;
        let file = data.join("cairn.yaml");
        if file.exists() {
            return Err(Failure::new(
                "exists",
                1,
                "there is a configuration already",
                file.display().to_string(),
                "edit it, or name another directory with --data",
            ));
        }
        let identity_file = match self.identity {
            Some(file) => file,
            None => identity_path(data)?,
        };
        let recipient = create(data, &identity_file)?;
        if global.is_json() {
            say(
                &serde_json::json!({"data": data, "config": file, "identity": identity_file, "recipient": recipient}),
            );
        } else {
            print(&format!(
                "{}\n  configuration  {}\n  identity       {} (opens dead letters; keep it off the machines that run the pipeline)\n\
                 Next: cairn ingest FILE…, cairn run\n",
                data.display(),
                file.display(),
                identity_file.display()
            ));
        }
        Ok(0)
    }
}

/// A recipient for dead letters where the configuration names none: the one that an earlier call made, or a new one.
///
/// # Errors
/// What cannot be written.
pub fn complete(config: &mut Config) -> Result<(), Failure> {
    let identity_file = if config.deadletter.identity.is_empty() {
        identity_path(&config.log.data)?
    } else {
        PathBuf::from(&config.deadletter.identity)
    };
    config.deadletter.identity = identity_file.display().to_string();
    if !config.deadletter.recipient.is_empty() {
        return Ok(());
    }
    config.deadletter.recipient = if identity_file.exists() {
        let text = std::fs::read_to_string(&identity_file)
            .map_err(|error| cannot(&identity_file, &error))?;
        let identity = seal::Identity::from_file(&text).map_err(|error| {
            Failure::new(
                "identity",
                2,
                error.to_string(),
                identity_file.display().to_string(),
                "name the right file with deadletter.identity",
            )
        })?;
        identity.recipient()
    } else {
        create(&config.log.data, &identity_file)?
    };
    Ok(())
}

/// Where the identity of a data directory is kept: with the user, under a name made of the directory's own.
fn identity_path(data: &Path) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(data).map_err(|error| cannot(data, &error))?;
    let name: String = absolute
        .display()
        .to_string()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect();
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))
        .ok_or_else(|| {
            Failure::new(
                "identity",
                2,
                "neither HOME nor XDG_CONFIG_HOME is set",
                "environment",
                "name a file with deadletter.identity",
            )
        })?;
    Ok(home.join("cairn").join(format!("identity{name}.txt")))
}

/// Writes key and configuration; answers with the recipient.
fn create(data: &Path, identity_file: &Path) -> Result<String, Failure> {
    std::fs::create_dir_all(data).map_err(|error| cannot(data, &error))?;
    let identity = seal::new_identity();
    if let Some(parent) = identity_file.parent() {
        std::fs::create_dir_all(parent).map_err(|error| cannot(parent, &error))?;
    }
    write_private(identity_file, &identity.to_file())
        .map_err(|error| cannot(identity_file, &error))?;
    let recipient = identity.recipient();
    let file = data.join("cairn.yaml");
    if !file.exists() {
        let text = commented(&recipient, identity_file);
        std::fs::write(&file, text).map_err(|error| cannot(&file, &error))?;
    }
    Ok(recipient)
}

/// A file that only its owner may read, whatever the umask says; never one that exists.
fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(file)?.write_all(text.as_bytes())
}

/// The configuration with every setting as a comment, and the two that differ from the defaults.
fn commented(recipient: &str, identity_file: &Path) -> String {
    let mut text = String::from(
        "# Cairn's configuration. Every setting is here with its default; remove the # to change one.\n",
    );
    let mut group = String::new();
    for (path, _, default, meaning) in describe() {
        let parts: Vec<&str> = path.split('.').collect();
        let depth = parts.len() - 1;
        let this = parts[..depth].join(".");
        if this != group {
            for (level, part) in parts[..depth].iter().enumerate() {
                let prefix = parts[..=level].join(".");
                if !group.starts_with(&prefix) {
                    let mark = if prefix == "deadletter" { "" } else { "# " };
                    text.push_str(&format!("{mark}{}{part}:\n", "  ".repeat(level)));
                }
            }
            group = this;
        }
        text.push_str(&format!("# {}## {meaning}\n", "  ".repeat(depth)));
        let value = match path.as_str() {
            "deadletter.recipient" => Some(recipient.to_owned()),
            "deadletter.identity" => Some(identity_file.display().to_string()),
            _ => None,
        };
        let name = parts[depth];
        match value {
            Some(value) => text.push_str(&format!("{}{name}: {value}\n", "  ".repeat(depth))),
            None => {
                let default = if default == "(empty)" {
                    "\"\"".to_owned()
                } else {
                    default
                };
                text.push_str(&format!("# {}{name}: {default}\n", "  ".repeat(depth)));
            }
        }
    }
    text
}

fn cannot(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        "io",
        2,
        error.to_string(),
        path.display().to_string(),
        "make it writable for this user, or name another place with --data",
    )
}
