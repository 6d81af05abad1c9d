//! Serde for a map whose values are bytes: `Vec<u8>` alone would be a sequence of numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize)]
#[serde(transparent)]
struct Borrowed<'a>(#[serde(with = "apache_avro::serde::bytes")] &'a [u8]);

#[derive(Deserialize)]
#[serde(transparent)]
struct Owned(#[serde(with = "apache_avro::serde::bytes")] Vec<u8>);

pub(crate) fn serialize<S: Serializer>(
    map: &BTreeMap<String, Vec<u8>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(map.iter().map(|(key, value)| (key, Borrowed(value))))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Vec<u8>>, D::Error> {
    let map = BTreeMap::<String, Owned>::deserialize(deserializer)?;
    Ok(map.into_iter().map(|(key, value)| (key, value.0)).collect())
}
