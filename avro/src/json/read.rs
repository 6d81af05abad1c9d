//! JSON to Avro bytes, by the schema alone.

use super::{Class, Fault, near};
use crate::shape::{Field, Fields, Node};
use crate::time;
use crate::tree::Tree;
use crate::wire::{put_bytes, put_long};

/// Whole numbers up to here are exact as a double, so that `100.0` can be read as 100.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Appends the bytes of one value.
pub(crate) fn datum(node: &Node, tree: &Tree, out: &mut Vec<u8>) -> Result<(), Fault> {
    value(node, tree, &Path::Root, out)
}

/// Fields of a record whose members are sorted out without a list on the heap.
const FIELDS: usize = 64;

/// The way to a value, made into text only when something is wrong there.
enum Path<'a> {
    Root,
    Member(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl Path<'_> {
    fn text(&self) -> String {
        match self {
            Path::Root => String::new(),
            Path::Member(Path::Root, name) => (*name).to_owned(),
            Path::Member(above, name) => format!("{}.{name}", above.text()),
            Path::Item(above, at) => format!("{}[{at}]", above.text()),
        }
    }
}

fn value(node: &Node, tree: &Tree, path: &Path<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    match (node, tree) {
        (Node::Null, Tree::Null) => {}
        (Node::Boolean, Tree::Bool(value)) => out.push(u8::from(*value)),
        (Node::Int, Tree::Int(_) | Tree::Double(_)) => {
            let value = whole(node, tree, path)?;
            let int = i32::try_from(value)
                .map_err(|_| out_of_range(path, format!("{value} does not fit 32 bits")))?;
            put_long(i64::from(int), out);
        }
        (Node::Long | Node::Time, Tree::Int(_) | Tree::Double(_)) => {
            put_long(whole(node, tree, path)?, out);
        }
        (Node::Time, Tree::Text(text)) => match time::parse(text) {
            Some(ms) => put_long(ms, out),
            None => return Err(wrong(node, tree, path)),
        },
        (Node::Float, _) => match double(tree) {
            Some(value) => out.extend_from_slice(&(value as f32).to_le_bytes()),
            None => return Err(wrong(node, tree, path)),
        },
        (Node::Double, _) => match double(tree) {
            Some(value) => out.extend_from_slice(&value.to_le_bytes()),
            None => return Err(wrong(node, tree, path)),
        },
        (Node::Text, Tree::Text(text)) => put_bytes(text.as_bytes(), out),
        (Node::Bytes, Tree::Text(text)) => match bytes(text) {
            Some(bytes) => put_bytes(&bytes, out),
            None => return Err(wrong(node, tree, path)),
        },
        (Node::Fixed(size), Tree::Text(text)) => match bytes(text) {
            Some(bytes) if bytes.len() == *size => out.extend_from_slice(&bytes),
            _ => return Err(wrong(node, tree, path)),
        },
        (Node::Enum(symbols), Tree::Text(text)) => {
            match symbols.symbols.iter().position(|symbol| symbol == text) {
                Some(at) => put_long(at as i64, out),
                None => {
                    let known: Vec<_> = symbols.symbols.iter().map(String::as_str).collect();
                    let text = format!(
                        "`{text}` is not {}{}",
                        node.expected(),
                        near::hint(text, &known)
                    );
                    return Err(out_of_range(path, text));
                }
            }
        }
        (Node::Array(items), Tree::List(list)) => {
            block(list.len(), out, |out| {
                list.iter()
                    .enumerate()
                    .try_for_each(|(at, item)| value(items, item, &Path::Item(path, at), out))
            })?;
        }
        (Node::Map(values), Tree::Object(members)) => {
            block(members.len(), out, |out| {
                members.iter().try_for_each(|(key, member)| {
                    put_bytes(key.as_bytes(), out);
                    value(values, member, &Path::Member(path, key), out)
                })
            })?;
        }
        (Node::Union(branches), _) => union(node, branches, tree, path, out)?,
        (Node::Record(fields), Tree::Object(members)) => record(fields, members, path, out)?,
        _ => return Err(wrong(node, tree, path)),
    }
    Ok(())
}

fn record(
    fields: &Fields,
    members: &[(String, Tree)],
    path: &Path<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let mut few = [None; FIELDS];
    let mut many;
    let given = match few.get_mut(..fields.fields.len()) {
        Some(given) => given,
        None => {
            many = vec![None; fields.fields.len()];
            &mut many[..]
        }
    };
    // members mostly come in the schema's order: each is looked for from behind the one before
    let mut next = 0;
    for (name, tree) in members {
        let (before, behind) = fields.fields.split_at(next);
        let place = |part: &[Field]| part.iter().position(|field| field.name == *name);
        let at = match place(behind) {
            Some(at) => next + at,
            None => place(before).ok_or_else(|| unknown(fields, name, tree, path))?,
        };
        given[at] = Some(tree);
        next = at + 1;
    }
    for (field, given) in fields.fields.iter().zip(given) {
        match (*given, &field.default) {
            (Some(tree), _) => value(&field.node, tree, &Path::Member(path, &field.name), out)?,
            (None, Some(default)) => out.extend_from_slice(default),
            (None, None) => {
                let member = Path::Member(path, &field.name).text();
                let text = format!("member `{member}` is missing: {}", field.node.expected());
                return Err(Fault::new(Class::MissingField, member, text));
            }
        }
    }
    Ok(())
}

fn unknown(fields: &Fields, name: &str, given: &Tree, path: &Path<'_>) -> Fault {
    let known: Vec<_> = fields
        .fields
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    let mut text = format!("unknown member `{name}`{}", near::hint(name, &known));
    if matches!(path, Path::Member(..) | Path::Item(..)) {
        text = format!("in `{}`: {text}", path.text());
    }
    let takes_others = fields.fields.iter().any(|field| field.name == "metrics");
    if takes_others && double(given).is_some() && near::like(name, &known).is_empty() {
        text.push_str(" (numbers without a field of their own go under `metrics`)");
    }
    Fault::new(Class::UnknownField, Path::Member(path, name).text(), text)
}

fn union(
    node: &Node,
    branches: &[Node],
    tree: &Tree,
    path: &Path<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let null = branches
        .iter()
        .position(|branch| matches!(branch, Node::Null));
    let chosen = match (tree, branches, null) {
        (Tree::Null, _, Some(null)) => Some((null, tree)),
        // Null or something: the value stands for itself.
        (_, [_, _], Some(null)) => Some((1 - null, tree)),
        // Several records: an object with the record's name as its only member.
        (Tree::Object(members), _, _) => match members.as_slice() {
            [(name, inner)] => branches
                .iter()
                .position(|branch| branch.name() == Some(name))
                .map(|at| (at, inner)),
            _ => None,
        },
        _ => None,
    };
    let (at, inner) = chosen.ok_or_else(|| wrong(node, tree, path))?;
    put_long(at as i64, out);
    value(&branches[at], inner, path, out)
}

/// Writes the items as one block, and the empty block that ends them.
fn block(
    length: usize,
    out: &mut Vec<u8>,
    items: impl FnOnce(&mut Vec<u8>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if length > 0 {
        put_long(length as i64, out);
        items(out)?;
    }
    put_long(0, out);
    Ok(())
}

fn whole(node: &Node, tree: &Tree, path: &Path<'_>) -> Result<i64, Fault> {
    match *tree {
        Tree::Int(value) => Ok(value),
        Tree::Double(value) if value.fract() == 0.0 && value.abs() < EXACT => Ok(value as i64),
        Tree::Double(value) if value.fract() == 0.0 => {
            Err(out_of_range(path, format!("{value} does not fit 64 bits")))
        }
        _ => Err(wrong(node, tree, path)),
    }
}

fn double(tree: &Tree) -> Option<f64> {
    match tree {
        Tree::Int(value) => Some(*value as f64),
        Tree::Double(value) => Some(*value),
        Tree::Text(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// Pairs of hexadecimal digits.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let digit = |letter: u8| char::from(letter).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok();
    pairs.iter().map(byte).collect()
}

fn out_of_range(path: &Path<'_>, text: String) -> Fault {
    let member = path.text();
    Fault::new(
        Class::OutOfRange,
        member.as_str(),
        format!("member `{member}`: {text}"),
    )
}

fn wrong(node: &Node, tree: &Tree, path: &Path<'_>) -> Fault {
    wrong_type(&path.text(), &node.expected(), tree)
}

/// `member` holds something else than `expected`.
pub(super) fn wrong_type(member: &str, expected: &str, found: &Tree) -> Fault {
    let shown = match found {
        Tree::Text(text) if text.len() <= 32 => format!("the string {text:?}"),
        Tree::Int(value) => format!("the number {value}"),
        Tree::Double(value) => format!("the number {value:?}"),
        other => other.kind().to_owned(),
    };
    let text = format!("member `{member}`: expected {expected}, found {shown}");
    Fault::new(Class::WrongType, member, text)
}
