//! Which schema may follow which, by Confluent's levels and apache-avro's checker.

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;

/// A compatibility level by its Confluent name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The new schema reads what was written with an older one.
    backward: bool,
    /// An older schema reads what is written with the new one.
    forward: bool,
    /// Against all versions, not only the latest.
    transitive: bool,
}

/// What holds where nobody set a level: Confluent's default.
pub const DEFAULT_LEVEL: &str = "BACKWARD";

impl Level {
    /// None for a name that does not exist.
    pub fn parse(name: &str) -> Option<Self> {
        let transitive = name.ends_with("_TRANSITIVE");
        let (backward, forward) = match name {
            "NONE" => (false, false),
            "BACKWARD" | "BACKWARD_TRANSITIVE" => (true, false),
            "FORWARD" | "FORWARD_TRANSITIVE" => (false, true),
            "FULL" | "FULL_TRANSITIVE" => (true, true),
            _ => return None,
        };
        Some(Self {
            backward,
            forward,
            transitive,
        })
    }
}

/// The schema as it is compared: Avro's parsing canonical form, *with* what decides about reading beside it (defaults and
/// aliases): the form alone would call two schemas equal that read old records differently.
pub fn canonical(schema: &Schema) -> String {
    serde_json::to_value(schema).map_or_else(|_| schema.canonical_form(), |value| value.to_string())
}

/// Why `new` may not follow `older` (oldest first); empty if it may.
pub fn objections(level: Level, new: &Schema, older: &[Schema]) -> Vec<String> {
    let first = if level.transitive {
        0
    } else {
        older.len().saturating_sub(1)
    };
    let mut found = Vec::new();
    for (index, old) in older.iter().enumerate().skip(first) {
        let version = index + 1;
        if level.backward {
            objection(
                old,
                new,
                &mut found,
                &format!("the new schema cannot read records of version {version}"),
            );
        }
        if level.forward {
            objection(
                new,
                old,
                &mut found,
                &format!("version {version} cannot read records of the new schema"),
            );
        }
    }
    found
}

fn objection(writer: &Schema, reader: &Schema, found: &mut Vec<String>, text: &str) {
    // "partial" passes: the checker says it of an enum with fewer symbols even if a default catches the others, and of unions
    // that overlap; Confluent's registry lets both pass
    if let Err(error) = SchemaCompatibility::can_read(writer, reader) {
        found.push(format!("{text}: {error}"));
    }
}
