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
        let kept = identity_file.exists();
        let key_file = match config.redaction.key_file.as_str() {
            "" => key_path(data)?,
            file => PathBuf::from(file),
        };
        make_key(&key_file)?;
        let recipient = create(data, &identity_file, &key_file)?;
        if global.is_json() {
            say(
                &serde_json::json!({"data": data, "config": file, "identity": identity_file, "recipient": recipient, "redaction_key": key_file}),
            );
        } else {
            print(&format!(
                "{}\n  configuration  {}\n  recipient      {recipient} (dead letters are sealed for it)\n  identity       {} ({}opens dead letters; keep it off the machines that run the pipeline)\n  \
                 redaction key  {} (pseudonyms hang on it; every machine of a cluster has the same)\n\
                 Next: cairn ingest FILE…, cairn run\n",
                data.display(),
                file.display(),
                identity_file.display(),
                if kept { "kept from before; " } else { "" },
                key_file.display()
            ));
        }
        Ok(0)
    }
}

/// Names the identity and, where the configuration names no recipient, takes the identity's; reads the key of pseudonyms.
/// Makes nothing.
///
/// # Errors
/// An identity or key that is there and cannot be read.
pub fn find_identity(config: &mut Config) -> Result<(), Failure> {
    find_key(config)?;
    if config.deadletter.identity.is_empty() {
        match identity_path(&config.log.data) {
            Ok(file) => config.deadletter.identity = file.display().to_string(),
            // Whoever needs it says so.
            Err(_) => return Ok(()),
        }
    }
    let file = Path::new(&config.deadletter.identity);
    if config.deadletter.recipient.is_empty() && file.exists() {
        config.deadletter.recipient = read(file)?.recipient();
    }
    Ok(())
}

/// A recipient for dead letters where the configuration names none: the one that an earlier call made, or a new one. A cluster
/// is fed by several machines that must seal for the same recipient and must not hold the identity (DESIGN §3.5): there
/// none is made up.
///
/// # Errors
/// What cannot be written, or that a cluster's recipient was not said.
pub fn complete(config: &mut Config) -> Result<(), Failure> {
    let is_said = !config.deadletter.recipient.is_empty();
    find_identity(config)?;
    complete_key(config)?;
    if is_said {
        return Ok(());
    }
    let is_found = !config.deadletter.recipient.is_empty();
    if !config.log.kafka.is_empty() {
        return if is_found {
            Ok(())
        } else {
            Err(no_recipient())
        };
    }
    let identity_file = match config.deadletter.identity.as_str() {
        "" => identity_path(&config.log.data)?,
        file => PathBuf::from(file),
    };
    let key_file = PathBuf::from(&config.redaction.key_file);
    config.deadletter.recipient = create(&config.log.data, &identity_file, &key_file)?;
    config.deadletter.identity = identity_file.display().to_string();
    Ok(())
}

/// Nobody has said for whom dead letters are sealed.
pub(super) fn no_recipient() -> Failure {
    Failure::new(
        "config",
        2,
        "it is not set: for whom are dead letters sealed?",
        "deadletter.recipient",
        "run `cairn init` once where the key may lie, and name its recipient on every machine (CAIRN_DEADLETTER_RECIPIENT)",
    )
}

fn read(identity_file: &Path) -> Result<seal::Identity, Failure> {
    let text = std::fs::read_to_string(identity_file).map_err(|error| {
        Failure::new(
            "identity",
            2,
            error.to_string(),
            identity_file.display().to_string(),
            "make it readable for this user, or name another with deadletter.identity",
        )
    })?;
    seal::Identity::from_file(&text).map_err(|error| {
        Failure::new(
            "identity",
            2,
            error.to_string(),
            identity_file.display().to_string(),
            "name the right file with deadletter.identity",
        )
    })
}

/// Reads the key of pseudonyms, where there is one.
fn find_key(config: &mut Config) -> Result<(), Failure> {
    if !config.redaction.key.is_empty() {
        return Ok(());
    }
    if config.redaction.key_file.is_empty() {
        match key_path(&config.log.data) {
            Ok(file) => config.redaction.key_file = file.display().to_string(),
            // without a place there is no key
            Err(_) => return Ok(()),
        }
    }
    let file = Path::new(&config.redaction.key_file);
    if file.exists() {
        config.redaction.key = read_key(file)?;
    }
    Ok(())
}

/// Makes the key of pseudonyms where there is none. A cluster is fed by several machines that must have the same one: there none
/// is made up, nor on a machine that may not keep it. Without a key what is redacted is replaced by its kind alone, which leaks
/// nothing and does not join.
fn complete_key(config: &mut Config) -> Result<(), Failure> {
    if !config.redaction.key.is_empty() {
        return Ok(());
    }
    if config.log.kafka.is_empty() && !config.redaction.key_file.is_empty() {
        let file = PathBuf::from(&config.redaction.key_file);
        match make_key(&file) {
            Ok(()) => {
                config.redaction.key = read_key(&file)?;
                return Ok(());
            }
            Err(failure) => tracing::warn!(%failure, "no key of pseudonyms could be made"),
        }
    }
    tracing::warn!(
        "redaction.key is not set: what is redacted is replaced by its kind alone, and different values become the same; see docs/redaction.md"
    );
    Ok(())
}

/// Writes a key, unless the file is there.
fn make_key(file: &Path) -> Result<(), Failure> {
    if file.exists() {
        return Ok(());
    }
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent).map_err(|error| cannot(parent, &error))?;
    }
    match write_private(file, &format!("{}\n", seal::new_redaction_key())) {
        // another process was quicker
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(cannot(file, &error))
        }
        _ => Ok(()),
    }
}

fn read_key(file: &Path) -> Result<String, Failure> {
    let wrong = |message: String| {
        Failure::new(
            "config",
            2,
            message,
            file.display().to_string(),
            "make it readable for this user, or name the key with redaction.key",
        )
    };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let key = text.trim();
    key.parse::<cairn_operators::redact::Key>()
        .map_err(|error| wrong(error.to_string()))?;
    Ok(key.to_owned())
}

fn key_path(data: &Path) -> Result<PathBuf, Failure> {
    kept_path(data, "redaction", "key")
}

/// Where the identity of a data directory is kept: with the user, under a name made of the directory's own. No two directories
/// have the same: `/` becomes `_`, and what is neither a letter, a digit nor `-` becomes `.XX`.
fn identity_path(data: &Path) -> Result<PathBuf, Failure> {
    kept_path(data, "identity", "txt")
}

fn kept_path(data: &Path, what: &str, extension: &str) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(data).map_err(|error| cannot(data, &error))?;
    let mut name = String::new();
    for byte in absolute.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' => name.push('_'),
            b'-' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => name.push(char::from(*byte)),
            _ => name.push_str(&format!(".{byte:02x}")),
        }
    }
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
    Ok(home.join("cairn").join(format!("{what}{name}.{extension}")))
}

/// Writes key and configuration where they are not there yet; answers with the recipient. A key that is there is kept: what was
/// sealed for it can still be opened, though the directory was removed.
fn create(data: &Path, identity_file: &Path, key_file: &Path) -> Result<String, Failure> {
    std::fs::create_dir_all(data).map_err(|error| cannot(data, &error))?;
    let identity = if identity_file.exists() {
        read(identity_file)?
    } else {
        let identity = seal::new_identity();
        if let Some(parent) = identity_file.parent() {
            std::fs::create_dir_all(parent).map_err(|error| cannot(parent, &error))?;
        }
        write_private(identity_file, &identity.to_file())
            .map_err(|error| cannot(identity_file, &error))?;
        identity
    };
    let recipient = identity.recipient();
    let file = data.join("cairn.yaml");
    if !file.exists() {
        let text = commented(&recipient, identity_file, key_file);
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

/// The configuration with every setting as a comment, and those that differ from the defaults.
fn commented(recipient: &str, identity_file: &Path, key_file: &Path) -> String {
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
                    let is_said = prefix == "deadletter"
                        || prefix == "redaction" && !key_file.as_os_str().is_empty();
                    let mark = if is_said { "" } else { "# " };
                    text.push_str(&format!("{mark}{}{part}:\n", "  ".repeat(level)));
                }
            }
            group = this;
        }
        text.push_str(&format!("# {}## {meaning}\n", "  ".repeat(depth)));
        let value = match path.as_str() {
            "deadletter.recipient" => Some(recipient.to_owned()),
            "deadletter.identity" => Some(identity_file.display().to_string()),
            "redaction.key_file" if !key_file.as_os_str().is_empty() => {
                Some(key_file.display().to_string())
            }
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
