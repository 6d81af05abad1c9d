//! A schema made ready for walking bytes: references resolved, defaults encoded.
//!
//! The serde path of `apache-avro` needs a Rust type and the schema of this build. Whatever has
//! to work for *any* writer's schema (resolution, JSON) walks a [`Shape`] instead.

use std::collections::HashMap;
use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, Name, NamesRef, ResolvedSchema, UuidSchema};
use thiserror::Error;

use crate::json;
use crate::tree;

/// Most values that a record may have without its arrays and maps: far more than any of ours, and
/// few enough that a schema nested to mischief costs nothing.
const LEAVES_MAX: usize = 10_000;

/// Most records inside records: walking a datum recurses as deep.
const DEPTH_MAX: usize = 64;

/// Why a schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SchemaFault {
    /// It is not an Avro schema.
    #[error("not an Avro schema: {0}")]
    Invalid(String),
    /// It contains itself, so that a short record could nest without end.
    #[error("the type {0} contains itself")]
    Recursive(String),
    /// It is absurdly large or deep.
    #[error("the type {0} has more than {LEAVES_MAX} values or {DEPTH_MAX} levels")]
    Large(String),
    /// A field's default is not of the field's type.
    #[error("the default of {0} does not fit")]
    Default(String),
    /// What it writes cannot be read as the contract's record.
    #[error("cannot be read as {record}: {reason}")]
    Unfit {
        /// Record that the contract has.
        record: &'static str,
        /// What stands in the way.
        reason: String,
    },
}

/// A schema made ready for walking bytes.
#[derive(Clone, Debug)]
pub struct Shape {
    pub(crate) node: Node,
}

impl Shape {
    /// Parses a schema, any writer's.
    pub fn parse(schema: &str) -> Result<Self, SchemaFault> {
        let parsed =
            Schema::parse_str(schema).map_err(|error| SchemaFault::Invalid(error.to_string()))?;
        Self::of(&parsed)
    }

    pub(crate) fn of(schema: &Schema) -> Result<Self, SchemaFault> {
        let resolved = ResolvedSchema::try_from(schema)
            .map_err(|error| SchemaFault::Invalid(error.to_string()))?;
        let mut builder = Builder {
            names: resolved.get_names(),
            done: HashMap::new(),
            open: Vec::new(),
        };
        Ok(Self {
            node: builder.node(schema)?,
        })
    }
}

/// One type.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    /// Milliseconds since 1970: a long with that meaning.
    Time,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Arc<Symbols>),
    Array(Arc<Node>),
    Map(Arc<Node>),
    Union(Arc<[Node]>),
    Record(Arc<Fields>),
}

/// An enum.
#[derive(Debug)]
pub(crate) struct Symbols {
    pub(crate) name: String,
    pub(crate) symbols: Vec<String>,
    pub(crate) default: Option<usize>,
}

/// A record.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(crate) name: String,
    pub(crate) fields: Vec<Field>,
    leaves: usize,
    depth: usize,
}

/// One field.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) node: Node,
    /// The default's bytes.
    pub(crate) default: Option<Vec<u8>>,
}

impl Node {
    /// What a value must be, for messages.
    pub(crate) fn expected(&self) -> String {
        match self {
            Node::Null => "null".to_owned(),
            Node::Boolean => "a boolean".to_owned(),
            Node::Int | Node::Long => "an integer".to_owned(),
            Node::Time => "milliseconds since 1970 or an RFC 3339 time in UTC".to_owned(),
            Node::Float | Node::Double => {
                "a number, \"NaN\", \"Infinity\" or \"-Infinity\"".to_owned()
            }
            Node::Bytes => "bytes as hexadecimal digits".to_owned(),
            Node::Text => "a string".to_owned(),
            Node::Fixed(size) => format!("{size} bytes as hexadecimal digits"),
            Node::Enum(symbols) => format!("one of {}", symbols.symbols.join(", ")),
            Node::Array(items) => format!("an array, each item {}", items.expected()),
            Node::Map(values) => format!("an object, each member {}", values.expected()),
            Node::Union(branches) => match &branches[..] {
                [Node::Null, one] | [one, Node::Null] => format!("{} or null", one.expected()),
                _ => "an object with the record's name as its only member".to_owned(),
            },
            Node::Record(fields) => format!("an object ({})", fields.name),
        }
    }

    /// The name by which a branch of a union is found.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Node::Record(fields) => Some(&fields.name),
            Node::Enum(symbols) => Some(&symbols.name),
            _ => None,
        }
    }

    fn leaves(&self) -> usize {
        match self {
            Node::Record(fields) => fields.leaves,
            Node::Union(branches) => branches.iter().map(Node::leaves).max().unwrap_or(1),
            Node::Array(inner) | Node::Map(inner) => inner.leaves(),
            _ => 1,
        }
    }
}

impl Node {
    fn depth(&self) -> usize {
        match self {
            Node::Record(fields) => fields.depth,
            Node::Union(branches) => 1 + branches.iter().map(Node::depth).max().unwrap_or(0),
            Node::Array(inner) | Node::Map(inner) => 1 + inner.depth(),
            _ => 0,
        }
    }
}

struct Builder<'s> {
    names: &'s NamesRef<'s>,
    done: HashMap<Name, Node>,
    open: Vec<Name>,
}

impl Builder<'_> {
    fn node(&mut self, schema: &Schema) -> Result<Node, SchemaFault> {
        Ok(match schema {
            Schema::Null => Node::Null,
            Schema::Boolean => Node::Boolean,
            Schema::Int | Schema::Date | Schema::TimeMillis => Node::Int,
            Schema::Long
            | Schema::TimeMicros
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => Node::Long,
            Schema::TimestampMillis => Node::Time,
            Schema::Float => Node::Float,
            Schema::Double => Node::Double,
            Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => Node::Bytes,
            Schema::String | Schema::Uuid(UuidSchema::String) => Node::Text,
            Schema::Fixed(fixed)
            | Schema::Duration(fixed)
            | Schema::Uuid(UuidSchema::Fixed(fixed)) => Node::Fixed(fixed.size),
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => Node::Bytes,
                InnerDecimalSchema::Fixed(fixed) => Node::Fixed(fixed.size),
            },
            Schema::Array(array) => Node::Array(Arc::new(self.node(&array.items)?)),
            Schema::Map(map) => Node::Map(Arc::new(self.node(&map.types)?)),
            Schema::Union(union) => {
                let branches: Result<Vec<_>, _> = union
                    .variants()
                    .iter()
                    .map(|branch| self.node(branch))
                    .collect();
                Node::Union(branches?.into())
            }
            Schema::Enum(symbols) => Node::Enum(Arc::new(Symbols {
                name: symbols.name.name().to_owned(),
                default: symbols.default.as_ref().and_then(|default| {
                    symbols.symbols.iter().position(|symbol| symbol == default)
                }),
                symbols: symbols.symbols.clone(),
            })),
            Schema::Record(record) => return self.record(record),
            Schema::Ref { name } => {
                if let Some(node) = self.done.get(name) {
                    node.clone()
                } else {
                    let unknown =
                        || SchemaFault::Invalid(format!("{} is not defined", name.name()));
                    let schema = *self.names.get(name).ok_or_else(unknown)?;
                    self.node(schema)?
                }
            }
        })
    }

    fn record(&mut self, record: &apache_avro::schema::RecordSchema) -> Result<Node, SchemaFault> {
        let name = record.name.name().to_owned();
        if self.open.contains(&record.name) {
            return Err(SchemaFault::Recursive(name));
        }
        self.open.push(record.name.clone());
        let mut fields = Vec::with_capacity(record.fields.len());
        let (mut leaves, mut depth) = (1usize, 1usize);
        for field in &record.fields {
            let node = self.node(&field.schema)?;
            leaves = leaves.saturating_add(node.leaves());
            depth = depth.max(1 + node.depth());
            let default = match &field.default {
                Some(default) => Some(
                    encoded(default, &node)
                        .ok_or_else(|| SchemaFault::Default(format!("{name}.{}", field.name)))?,
                ),
                None => None,
            };
            fields.push(Field {
                name: field.name.clone(),
                node,
                default,
            });
        }
        self.open.pop();
        if leaves > LEAVES_MAX || depth > DEPTH_MAX {
            return Err(SchemaFault::Large(name));
        }
        let node = Node::Record(Arc::new(Fields {
            name,
            fields,
            leaves,
            depth,
        }));
        self.done.insert(record.name.clone(), node.clone());
        Ok(node)
    }
}

/// A default's bytes. The default of a union is a value of its first branch.
fn encoded(default: &serde_json::Value, node: &Node) -> Option<Vec<u8>> {
    let tree = tree::parse(default.to_string().as_bytes()).ok()?;
    let mut out = Vec::new();
    match (node, &tree) {
        // Avro writes the default of bytes as text, one character a byte.
        (Node::Bytes, tree::Tree::Text(text)) => {
            let bytes: Result<Vec<u8>, _> = text
                .chars()
                .map(|letter| u8::try_from(u32::from(letter)))
                .collect();
            crate::wire::put_bytes(&bytes.ok()?, &mut out);
        }
        _ => json::read::datum(node, &tree, &mut out).ok()?,
    }
    Some(out)
}
