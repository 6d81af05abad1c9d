//! The configuration of a run, said on the command line (`--set key=value`) or by a mapping file (`config:`).
//!
//! Keys are the fields of `runs.config`: with their path (`model.parameters_total`), or by their own name where only one
//! part has it (`parameters_total`). `hardware=H100` is short for `hardware.accelerator`, `optimizer=adamw` for
//! `training.optimizer`; `data_mix.<data set>=<ratio>` adds a source of data.

use super::fields::{self, Scalar};
use super::format::Refusal;
use cairn_avro::record::{
    DataSource, Environment, Hardware, ModelConfig, RunConfig, TrainingConfig,
};

/// The path of a configuration key within `runs.config`.
///
/// # Errors
/// No part of the configuration has it, or several have; names the nearest.
pub fn path(key: &str) -> Result<String, Refusal> {
    let parts: [(&str, &[&str]); 4] = [
        ("model", fields::names::<ModelConfig>()),
        ("training", fields::names::<TrainingConfig>()),
        ("hardware", fields::names::<Hardware>()),
        ("environment", fields::names::<Environment>()),
    ];
    let top: Vec<&str> = fields::names::<RunConfig>()
        .iter()
        .copied()
        .filter(|name| !["run_id", "attempt", "event_time_ms", "data_mix"].contains(name))
        .filter(|name| parts.iter().all(|(part, _)| part != name))
        .collect();
    if top.contains(&key)
        || key
            .strip_prefix("data_mix.")
            .is_some_and(|name| !name.is_empty())
    {
        return Ok(key.to_owned());
    }
    match key {
        "hardware" => return Ok("hardware.accelerator".into()),
        "model" => return Ok("model.name".into()),
        _ => {}
    }
    if let Some((part, field)) = key.split_once('.')
        && parts
            .iter()
            .any(|(name, names)| *name == part && names.contains(&field))
    {
        return Ok(key.to_owned());
    }
    let holders: Vec<String> = parts
        .iter()
        .filter(|(_, names)| names.contains(&key))
        .map(|(part, _)| format!("{part}.{key}"))
        .collect();
    if let [one] = holders.as_slice() {
        return Ok(one.clone());
    }
    if holders.len() > 1 {
        return Err(Refusal(format!(
            "{key} could be {}; write the one that is meant",
            holders.join(" or ")
        )));
    }
    let all = parts.iter().flat_map(|(part, names)| {
        names
            .iter()
            .map(move |name| (format!("{part}.{name}"), *name))
    });
    let nearest = all
        .chain(top.iter().map(|name| ((*name).to_owned(), *name)))
        .max_by(|(_, one), (_, other)| {
            strsim::jaro_winkler(one, key).total_cmp(&strsim::jaro_winkler(other, key))
        });
    Err(Refusal(match nearest {
        Some((path, _)) => format!("{key} is no field of runs.config; the nearest is {path}"),
        None => format!("{key} is no field of runs.config"),
    }))
}

/// A configuration of these values; the paths come from [`path`].
///
/// # Errors
/// A value does not fit its field.
pub fn config(values: &[(String, Scalar<'_>)]) -> Result<RunConfig, Refusal> {
    let mut pairs: Vec<(&str, Scalar<'_>)> = values
        .iter()
        .filter(|(path, _)| !path.starts_with("data_mix."))
        .map(|(path, value)| (path.as_str(), *value))
        .collect();
    pairs.push(("run_id", Scalar::Text("")));
    pairs.sort_by_key(|(path, _)| *path);
    if let Some([(path, _), _]) = pairs
        .array_windows()
        .find(|[(one, _), (other, _)]| one == other)
    {
        return Err(Refusal(format!("{path} is set twice; leave one")));
    }
    let mut config: RunConfig =
        fields::record(&pairs).map_err(|misfit| Refusal(misfit.to_string()))?;
    for (path, value) in values {
        let Some(dataset) = path.strip_prefix("data_mix.") else {
            continue;
        };
        let ratio = match value {
            Scalar::Float(ratio) => *ratio,
            Scalar::Int(ratio) => *ratio as f64,
            other => {
                return Err(Refusal(format!(
                    "{path} is {:?}, which is no ratio",
                    other.to_string()
                )));
            }
        };
        config.data_mix.push(DataSource {
            dataset: dataset.to_owned(),
            ratio,
            ..DataSource::default()
        });
    }
    Ok(config)
}

/// Reads `key=value` settings.
///
/// # Errors
/// One is no `key=value`, its key is unknown, or its value does not fit.
pub fn parse<S: AsRef<str>>(settings: &[S]) -> Result<Option<RunConfig>, Refusal> {
    if settings.is_empty() {
        return Ok(None);
    }
    let values = settings
        .iter()
        .map(|setting| {
            let setting = setting.as_ref();
            let (key, value) = setting
                .split_once('=')
                .ok_or_else(|| Refusal(format!("--set {setting}: write it as key=value")))?;
            let path = path(key.trim())
                .map_err(|refusal| Refusal(format!("--set {setting}: {refusal}")))?;
            Ok((path, Scalar::read(value.trim())))
        })
        .collect::<Result<Vec<_>, Refusal>>()?;
    config(&values)
        .map(Some)
        .map_err(|refusal| Refusal(format!("--set: {refusal}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_find_their_place() {
        let config = parse(&[
            "parameters_total=124e6",
            "batch_tokens=524288",
            "hardware=H100",
            "data_mix.fineweb=1.0",
            "context_length_tokens=1024",
            "optimizer=adamw",
        ])
        .expect("they fit")
        .expect("there are some");
        assert_eq!(
            config.model.and_then(|model| model.parameters_total),
            Some(124e6)
        );
        let training = config.training.expect("it was set");
        assert_eq!(
            (training.batch_tokens, training.optimizer.as_deref()),
            (Some(524_288), Some("adamw"))
        );
        assert_eq!(
            config
                .hardware
                .and_then(|hardware| hardware.accelerator)
                .as_deref(),
            Some("H100")
        );
        assert_eq!(config.data_mix[0].dataset, "fineweb");
        assert_eq!(config.context_length_tokens, Some(1024));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |setting| parse(&[setting]).expect_err("it is wrong").0;
        assert!(wrong("paramters_total=1").contains("the nearest is model.parameters_total"));
        assert!(
            wrong("batch_tokens=many")
                .contains("batch_tokens is \"many\", which is no whole number")
        );
        assert!(wrong("lr").contains("write it as key=value"));
    }
}
