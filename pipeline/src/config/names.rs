//! Names of settings: the dotted path in a file or flag, the upper-case one in the environment, and near misses.

use super::ConfigError;
use serde_yaml_ng::Value;

/// Variables of this program that are no settings: flags of the command, and what its tests understand.
pub(super) const NOT_SETTINGS: [&str; 15] = [
    "CAIRN_CHAOS_RECORDS",
    "CAIRN_CHAOS_SEED",
    "CAIRN_CONFIG",
    "CAIRN_DATA",
    "CAIRN_IDENTITY",
    "CAIRN_INSTANCE_ID",
    "CAIRN_KAFKA",
    "CAIRN_KEEP_VERSION",
    "CAIRN_PYTHON",
    "CAIRN_REGISTRY",
    "CAIRN_REQUIRE_ALL",
    "CAIRN_SERVERS_DIR",
    "CAIRN_SHARED",
    "CAIRN_UPDATE_GOLDEN",
    "CAIRN_VENV",
];

/// Leaves of the tree with their values, in order of their names. A list, and a map that users fill, is one leaf.
pub(super) fn leaves(tree: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    walk(tree, "", &mut found);
    found
}

fn walk(tree: &Value, prefix: &str, found: &mut Vec<(String, Value)>) {
    match tree {
        Value::Mapping(map) if !map.is_empty() => {
            for (key, value) in map {
                walk(
                    value,
                    &join(prefix, key.as_str().unwrap_or_default()),
                    found,
                );
            }
        }
        leaf => found.push((prefix.to_owned(), leaf.clone())),
    }
}

/// Lays what a file says over the tree; every name in it must exist in the defaults.
pub(super) fn overlay(
    tree: &mut Value,
    said: &Value,
    defaults: &Value,
    prefix: &str,
    place: &str,
) -> Result<(), ConfigError> {
    let (Value::Mapping(said), Value::Mapping(tree_map), Value::Mapping(default_map)) =
        (said, &mut *tree, defaults)
    else {
        return Err(ConfigError {
            place: place.to_owned(),
            problem: format!(
                "{} is a group of settings, not a value",
                if prefix.is_empty() {
                    "the file"
                } else {
                    prefix
                }
            ),
            remedy: "indent its settings below it".to_owned(),
        });
    };
    for (key, value) in said {
        let name = key.as_str().unwrap_or_default();
        let path = join(prefix, name);
        let Some(default) = default_map.get(key) else {
            return Err(unknown(&path, defaults_of(prefix, default_map), place));
        };
        match default {
            Value::Mapping(inner) if !inner.is_empty() => {
                let slot = tree_map
                    .get_mut(key)
                    .expect("the tree has what the defaults have");
                overlay(slot, value, default, &path, place)?;
            }
            _ => {
                tree_map.insert(key.clone(), value.clone());
            }
        }
    }
    Ok(())
}

/// The path that an environment variable names.
pub(super) fn of_variable(defaults: &Value, variable: &str) -> Result<String, ConfigError> {
    let paths: Vec<String> = leaves(defaults).into_iter().map(|(path, _)| path).collect();
    match paths.iter().find(|path| to_variable(path) == variable) {
        Some(path) => Ok(path.clone()),
        None => {
            let names: Vec<String> = paths.iter().map(|path| to_variable(path)).collect();
            Err(unknown(variable, names, "environment"))
        }
    }
}

/// How the environment spells a setting.
pub(super) fn to_variable(path: &str) -> String {
    format!("CAIRN_{}", path.replace('.', "_").to_uppercase())
}

/// Sets one leaf from text, read as YAML; a text setting takes the text as it is.
pub(super) fn set(
    tree: &mut Value,
    defaults: &Value,
    path: &str,
    text: &str,
    place: &str,
) -> Result<(), ConfigError> {
    let paths = leaves(defaults);
    let Some((_, default)) = paths.iter().find(|(name, _)| name == path) else {
        return Err(unknown(
            path,
            paths.into_iter().map(|(name, _)| name).collect(),
            place,
        ));
    };
    let value = match default {
        Value::String(_) => Value::String(text.to_owned()),
        _ => serde_yaml_ng::from_str(text).map_err(|error| ConfigError {
            place: place.to_owned(),
            problem: error.to_string(),
            remedy: format!(
                "{path} is read as YAML; its default is {}",
                compact(default)
            ),
        })?,
    };
    put(tree, path, value);
    Ok(())
}

/// What a path names.
pub(super) fn at<'t>(tree: &'t Value, path: &str) -> Option<&'t Value> {
    path.split('.').try_fold(tree, |slot, part| slot.get(part))
}

/// Puts a value where a path of the defaults leads.
pub(super) fn put(tree: &mut Value, path: &str, value: Value) {
    let mut slot = tree;
    for part in path.split('.') {
        slot = slot
            .get_mut(part)
            .expect("the tree has what the defaults have");
    }
    *slot = value;
}

/// A value on one line.
pub(super) fn compact(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "(empty)".to_owned(),
        Value::String(text) => text.clone(),
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

fn defaults_of(prefix: &str, map: &serde_yaml_ng::Mapping) -> Vec<String> {
    map.keys()
        .filter_map(|key| key.as_str())
        .map(|name| join(prefix, name))
        .collect()
}

fn unknown(name: &str, known: Vec<String>, place: &str) -> ConfigError {
    let nearest = known
        .iter()
        .min_by_key(|known| strsim::damerau_levenshtein(known, name))
        .cloned();
    ConfigError {
        place: place.to_owned(),
        problem: format!("there is no setting {name}"),
        remedy: match nearest {
            Some(nearest) => format!("did you mean {nearest}? `cairn config` lists them all"),
            None => "`cairn config` lists them all".to_owned(),
        },
    }
}
