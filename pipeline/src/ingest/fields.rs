//! Named scalars into records of the contract: what a mapping file and `--set` say becomes the fields of a record.
//!
//! A serde deserializer over `(path, scalar)` pairs, so that every field of every record can be named without a line of
//! code for each. Dots lead into nested records (`model.depth_layers`) and maps (`metrics.mfu`). Numbers change their type
//! only where nothing is lost; what does not fit is an error that names the field.

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use std::fmt;

/// One value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// A whole number.
    Int(i64),
    /// Any number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text; numbers and lists are read from it where the field wants one.
    Text(&'a str),
}

impl<'a> Scalar<'a> {
    /// What a text that people typed most likely is.
    #[must_use]
    pub fn read(text: &'a str) -> Self {
        if let Ok(value) = text.parse() {
            return Self::Int(value);
        }
        // f64 also takes words such as `infinity` and `nan`; those are words here
        if text.bytes().any(|byte| byte.is_ascii_digit())
            && let Ok(value) = text.parse()
        {
            return Self::Float(value);
        }
        match text {
            "true" | "True" => Self::Bool(true),
            "false" | "False" => Self::Bool(false),
            _ => Self::Text(text),
        }
    }
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

/// What does not fit, with the field's name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Misfit(pub String);

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

/// Makes a record of pairs that are sorted by path; fields that are not named have their defaults.
///
/// # Errors
/// A value does not fit its field.
pub fn record<T: DeserializeOwned>(pairs: &[(&str, Scalar<'_>)]) -> Result<T, Misfit> {
    T::deserialize(Group { pairs, prefix: 0 })
}

/// The names of a record's fields.
#[must_use]
pub fn names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // the deserializer refuses after it has noted the names
    let _ = T::deserialize(Names(&mut names));
    names
}

/// Pairs with a common beginning of their paths.
#[derive(Clone, Copy)]
struct Group<'a> {
    pairs: &'a [(&'a str, Scalar<'a>)],
    prefix: usize,
}

impl<'de, 'a> Deserializer<'de> for Group<'a> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_map(Members {
            rest: self,
            value: None,
        })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_some(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Walks over the members of a group.
struct Members<'a> {
    rest: Group<'a>,
    value: Option<(&'a str, Member<'a>)>,
}

enum Member<'a> {
    One(Scalar<'a>),
    Many(Group<'a>),
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Misfit> {
        let Group { pairs, prefix } = self.rest;
        let Some((path, scalar)) = pairs.first() else {
            return Ok(None);
        };
        let path = &path[prefix..];
        let (key, length, member) = match path.split_once('.') {
            None => (path, 1, Member::One(*scalar)),
            Some((key, _)) => {
                let inner = prefix + key.len() + 1;
                let length = pairs
                    .iter()
                    .take_while(|(other, _)| {
                        other[prefix..]
                            .strip_prefix(key)
                            .is_some_and(|rest| rest.starts_with('.'))
                    })
                    .count();
                (
                    key,
                    length,
                    Member::Many(Group {
                        pairs: &pairs[..length],
                        prefix: inner,
                    }),
                )
            }
        };
        self.rest.pairs = &pairs[length..];
        self.value = Some((key, member));
        let key: StrDeserializer<'_, Misfit> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let (key, member) = self.value.take().expect("serde asks for a key first");
        match member {
            Member::One(scalar) => seed.deserialize(One(scalar)),
            Member::Many(group) => seed.deserialize(group),
        }
        .map_err(|misfit| Misfit(format!("{key} {}", misfit.0)))
    }
}

/// One value for one field.
struct One<'a>(Scalar<'a>);

impl One<'_> {
    fn whole(&self) -> Result<i64, Misfit> {
        let float = match self.0 {
            Scalar::Int(value) => return Ok(value),
            Scalar::Bool(value) => return Ok(value.into()),
            Scalar::Float(value) => Some(value),
            Scalar::Text(text) => match text.trim().parse() {
                Ok(value) => return Ok(value),
                Err(_) => text.trim().parse().ok(),
            },
        };
        // beyond 2^53 a double no longer tells whole numbers apart
        float
            .filter(|value| value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0)
            .map(|value| value as i64)
            .ok_or_else(|| {
                Misfit(format!(
                    "is {:?}, which is no whole number",
                    self.0.to_string()
                ))
            })
    }
}

impl<'de> Deserializer<'de> for One<'_> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Scalar::Int(value) => visitor.visit_i64(value),
            Scalar::Float(value) => visitor.visit_f64(value),
            Scalar::Bool(value) => visitor.visit_bool(value),
            Scalar::Text(value) => visitor.visit_str(value),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_some(self)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_i64(self.whole()?)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_i64(self.whole()?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Scalar::Int(value) => visitor.visit_f64(value as f64),
            Scalar::Float(value) => visitor.visit_f64(value),
            Scalar::Text(text) if text.trim().parse::<f64>().is_ok() => {
                visitor.visit_f64(text.trim().parse().unwrap_or(f64::NAN))
            }
            other => Err(Misfit(format!(
                "is {:?}, which is no number",
                other.to_string()
            ))),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Scalar::Bool(value) => visitor.visit_bool(value),
            Scalar::Int(value @ (0 | 1)) => visitor.visit_bool(value == 1),
            Scalar::Text(text) if text.eq_ignore_ascii_case("true") => visitor.visit_bool(true),
            Scalar::Text(text) if text.eq_ignore_ascii_case("false") => visitor.visit_bool(false),
            other => Err(Misfit(format!(
                "is {:?}, which is neither true nor false",
                other.to_string()
            ))),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_string(self.0.to_string())
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let text = self.0.to_string().to_ascii_lowercase();
        if !variants.contains(&text.as_str()) {
            return Err(Misfit(format!(
                "is {text:?}; it is one of {}",
                variants.join(", ")
            )));
        }
        let text: StrDeserializer<'_, Misfit> = text.as_str().into_deserializer();
        visitor.visit_enum(text)
    }

    /// A list is written with commas.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        struct Items<'a>(std::str::Split<'a, char>);
        impl<'de> SeqAccess<'de> for Items<'_> {
            type Error = Misfit;
            fn next_element_seed<T: DeserializeSeed<'de>>(
                &mut self,
                seed: T,
            ) -> Result<Option<T::Value>, Misfit> {
                self.0
                    .next()
                    .map(|item| seed.deserialize(One(Scalar::Text(item.trim()))))
                    .transpose()
            }
        }
        visitor.visit_seq(Items(self.0.to_string().split(',')))
    }

    serde::forward_to_deserialize_any! {
        i8 i16 u8 u16 u32 u64 f32 char str bytes byte_buf unit unit_struct newtype_struct
        tuple tuple_struct map struct identifier ignored_any
    }
}

/// Notes the names of a struct's fields.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Misfit> {
        Err(Misfit(String::new()))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Misfit> {
        *self.0 = fields;
        Err(Misfit(String::new()))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_avro::record::{RunConfig, ToolUse, TrainingTelemetry};

    #[test]
    fn nested_fields_maps_and_lists_are_filled() {
        let config: RunConfig = record(&[
            ("hardware.accelerator", Scalar::Text("H100")),
            ("model.depth_layers", Scalar::Float(12.0)),
            ("model.parameters_total", Scalar::Int(124_000_000)),
            ("run_id", Scalar::Int(7)),
            ("tags", Scalar::Text("a, b")),
        ])
        .expect("it fits");
        assert_eq!(config.run_id, "7");
        assert_eq!(config.tags, ["a", "b"]);
        let model = config.model.expect("it was named");
        assert_eq!(
            (model.depth_layers, model.parameters_total),
            (Some(12), Some(124e6))
        );
        let step: TrainingTelemetry = record(&[
            ("metrics.mfu", Scalar::Float(0.4)),
            ("run_id", Scalar::Text("r")),
            ("step", Scalar::Text("3")),
        ])
        .expect("it fits");
        assert_eq!(step.metrics["mfu"], 0.4);
    }

    #[test]
    fn a_misfit_names_the_field() {
        let misfit = |pairs: &[(&str, Scalar<'_>)]| {
            record::<TrainingTelemetry>(pairs)
                .expect_err("it does not fit")
                .0
        };
        assert_eq!(
            misfit(&[("run_id", Scalar::Text("r")), ("step", Scalar::Float(1.5))]),
            "step is \"1.5\", which is no whole number"
        );
        assert_eq!(
            misfit(&[("loss", Scalar::Text("high"))]),
            "loss is \"high\", which is no number"
        );
        let misfit = record::<ToolUse>(&[("outcome", Scalar::Text("maybe"))])
            .expect_err("it does not fit")
            .0;
        assert!(
            misfit.starts_with("outcome is \"maybe\"; it is one of"),
            "{misfit}"
        );
    }

    #[test]
    fn names_are_the_contracts() {
        assert!(names::<TrainingTelemetry>().contains(&"grad_norm_state"));
    }
}
