//! The YAML of a law: reading, checking, writing back.

use std::collections::BTreeMap;
use std::fmt::Formatter;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::error::LawError;
use super::parse::{Names, nearest, parse};
use super::{Column, Compiled, Definition, Law, Parameter, Response, Scale};

/// The fields as written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spec {
    name: String,
    #[serde(default)]
    title: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    define: Vec<Definition>,
    formula: String,
    #[serde(default)]
    reference: String,
    #[serde(deserialize_with = "words_or_columns")]
    columns: Vec<Column>,
    #[serde(deserialize_with = "word_or_response")]
    response: Response,
    parameters: Vec<Parameter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compute: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    starts_from: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    one_run: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    derived: BTreeMap<String, String>,
}

/// A column or a response that says no more than its name may be written as that word.
#[derive(Deserialize)]
#[serde(transparent)]
struct Short<T: FromWord + DeserializeOwned>(#[serde(deserialize_with = "short")] T);

trait FromWord {
    fn from_word(name: &str) -> Self;
}

impl FromWord for Column {
    fn from_word(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            unit: String::new(),
            description: String::new(),
            positive: true,
        }
    }
}

impl FromWord for Response {
    fn from_word(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            unit: String::new(),
            scale: Scale::default(),
        }
    }
}

/// An untagged enum would do as well, but would forget which member is wrong.
fn short<'de, T: FromWord + DeserializeOwned, D: Deserializer<'de>>(
    from: D,
) -> Result<T, D::Error> {
    struct Reader<T>(PhantomData<T>);
    impl<'de, T: FromWord + DeserializeOwned> Visitor<'de> for Reader<T> {
        type Value = T;

        fn expecting(&self, text: &mut Formatter<'_>) -> std::fmt::Result {
            text.write_str("a name, or {name: …, unit: …}")
        }

        fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<T, E> {
            Ok(T::from_word(name))
        }

        fn visit_map<M: MapAccess<'de>>(self, members: M) -> Result<T, M::Error> {
            T::deserialize(MapAccessDeserializer::new(members))
        }
    }
    from.deserialize_any(Reader(PhantomData))
}

fn words_or_columns<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Column>, D::Error> {
    let columns = Vec::<Short<Column>>::deserialize(from)?;
    Ok(columns.into_iter().map(|one| one.0).collect())
}

fn word_or_response<'de, D: Deserializer<'de>>(from: D) -> Result<Response, D::Error> {
    short(from)
}

/// Reads and checks a law.
pub(crate) fn from_yaml(text: &str) -> Result<Law, LawError> {
    let spec: Spec = serde_yaml_ng::from_str(text).map_err(|error| LawError::BadYaml {
        message: error.to_string(),
    })?;
    Law::try_from(spec)
}

fn bad(field: String, message: &str, remedy: &str) -> LawError {
    LawError::BadField {
        field,
        message: message.to_owned(),
        remedy: remedy.to_owned(),
    }
}

impl TryFrom<Spec> for Law {
    type Error = LawError;

    fn try_from(spec: Spec) -> Result<Self, LawError> {
        let columns: Vec<&str> = spec.columns.iter().map(|one| one.name.as_str()).collect();
        let parameters: Vec<&str> = spec
            .parameters
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        check_names(&columns, &parameters)?;
        for parameter in &spec.parameters {
            check_parameter(parameter, &columns, &parameters)?;
        }
        let mut names = Names {
            columns: &columns,
            parameters: &parameters,
            defined: Vec::new(),
        };
        for definition in &spec.define {
            let taken = names
                .columns
                .iter()
                .chain(names.parameters)
                .any(|name| *name == definition.name);
            if taken
                || names
                    .defined
                    .iter()
                    .any(|(name, _)| *name == definition.name)
            {
                let field = format!("define.{}", definition.name);
                return Err(bad(field, "is declared twice", "rename one of them"));
            }
            let meaning = parse(
                &format!("define.{}", definition.name),
                &definition.formula,
                &names,
            )?;
            names.defined.push((definition.name.clone(), meaning));
        }
        let formula = parse("formula", &spec.formula, &names)?;
        let used = formula.parameters(parameters.len());
        if let Some(idle) = used.iter().position(|used| !used) {
            let field = format!("parameters.{}", parameters[idle]);
            return Err(bad(
                field,
                "does not occur in the formula",
                "use it there, or remove it",
            ));
        }
        let read = formula.columns(columns.len());
        let only_columns = Names {
            columns: &columns,
            parameters: &[],
            defined: Vec::new(),
        };
        let compute = match &spec.compute {
            Some(text) => Some(parse("compute", text, &only_columns)?),
            None => None,
        };
        let order = match &spec.order {
            Some(text) => Some(parse("order", text, &only_columns)?),
            None => None,
        };
        let counted = compute.as_ref().map(|one| one.columns(columns.len()));
        let idle =
            |index: &usize| !read[*index] && !counted.as_ref().is_some_and(|one| one[*index]);
        if let Some(idle) = (0..columns.len()).find(idle) {
            let field = format!("columns.{}", columns[idle]);
            return Err(bad(
                field,
                "does not occur in the formula",
                "use it there, or remove it",
            ));
        }
        let only_parameters = Names {
            columns: &[],
            parameters: &parameters,
            defined: Vec::new(),
        };
        let mut derived = BTreeMap::new();
        for (name, text) in &spec.derived {
            derived.insert(
                name.clone(),
                parse(&format!("derived.{name}"), text, &only_parameters)?,
            );
        }
        Ok(Self {
            name: spec.name,
            title: spec.title,
            formula: spec.formula,
            define: spec.define,
            reference: spec.reference,
            columns: spec.columns,
            response: spec.response,
            parameters: spec.parameters,
            compute: spec.compute,
            order: spec.order,
            starts_from: spec.starts_from,
            one_run: spec.one_run,
            derived: spec.derived,
            compiled: Compiled {
                formula,
                compute,
                order,
                derived,
            },
        })
    }
}

impl From<Law> for Spec {
    fn from(law: Law) -> Self {
        Self {
            name: law.name,
            title: law.title,
            formula: law.formula,
            define: law.define,
            reference: law.reference,
            columns: law.columns,
            response: law.response,
            parameters: law.parameters,
            compute: law.compute,
            order: law.order,
            starts_from: law.starts_from,
            one_run: law.one_run,
            derived: law.derived,
        }
    }
}

fn check_names(columns: &[&str], parameters: &[&str]) -> Result<(), LawError> {
    if columns.is_empty() {
        return Err(bad(
            "columns".to_owned(),
            "none",
            "name at least one column",
        ));
    }
    if parameters.is_empty() {
        return Err(bad(
            "parameters".to_owned(),
            "none",
            "name at least one parameter",
        ));
    }
    // More would mean hundreds of second derivatives a row and no data that determine them.
    if parameters.len() > 64 {
        return Err(bad(
            "parameters".to_owned(),
            "more than 64",
            "fix some as numbers in the formula",
        ));
    }
    let fields = columns.iter().map(|name| ("columns", *name));
    let fields: Vec<(&str, &str)> = fields
        .chain(parameters.iter().map(|name| ("parameters", *name)))
        .collect();
    for (index, (list, name)) in fields.iter().enumerate() {
        let mut letters = name.chars();
        let begins = letters
            .next()
            .is_some_and(|first| first.is_alphabetic() || first == '_');
        if !begins || !letters.all(|one| one.is_alphanumeric() || one == '_' || one == '\'') {
            let remedy = "use a letter, then letters, digits and `_`";
            return Err(bad(format!("{list}.{name}"), "is no name", remedy));
        }
        if fields[..index].iter().any(|(_, before)| before == name) {
            return Err(bad(
                format!("{list}.{name}"),
                "is declared twice",
                "rename one of them",
            ));
        }
    }
    Ok(())
}

fn check_parameter(
    parameter: &Parameter,
    columns: &[&str],
    parameters: &[&str],
) -> Result<(), LawError> {
    let field = |part: &str| format!("parameters.{}.{part}", parameter.name);
    let bounds = parameter.bounds;
    if !(bounds.low.is_finite() && bounds.high.is_finite() && bounds.low < bounds.high) {
        return Err(bad(
            field("bounds"),
            "are not two finite numbers in ascending order",
            "write [low, high]",
        ));
    }
    if parameter.scale == Scale::Log && bounds.low <= 0.0 {
        let remedy = "make the low bound positive, or the scale linear";
        return Err(bad(
            field("bounds"),
            "reach zero on a logarithmic scale",
            remedy,
        ));
    }
    if parameter
        .starts
        .iter()
        .any(|one| !(bounds.low <= *one && *one <= bounds.high))
    {
        return Err(bad(
            field("starts"),
            "lie outside the bounds",
            "move them inside, or widen the bounds",
        ));
    }
    if !parameter.centre.is_empty() && parameter.scale != Scale::Log {
        return Err(bad(
            field("centre"),
            "needs a logarithmic scale",
            "write `scale: log`, or leave `centre` out",
        ));
    }
    for (column, exponent) in &parameter.centre {
        if !columns.contains(&column.as_str()) {
            let near = nearest(column, columns.iter().copied()).unwrap_or("none");
            return Err(bad(
                field("centre"),
                &format!("`{column}` is no column; the nearest is `{near}`"),
                "name a column",
            ));
        }
        let name = exponent.strip_prefix('-').unwrap_or(exponent);
        if !parameters.contains(&name) {
            let near = nearest(name, parameters.iter().copied()).unwrap_or("none");
            let message = format!("`{name}` is no parameter; the nearest is `{near}`");
            return Err(bad(
                field("centre"),
                &message,
                "name the exponent, with a `-` where the term falls with it",
            ));
        }
    }
    Ok(())
}
