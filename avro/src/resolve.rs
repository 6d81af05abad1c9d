//! Schema resolution: the bytes of a writer's schema into the layout of the reader's, by the rules
//! of the Avro specification.
//!
//! Fields are matched by name, branches of a union and enum symbols too; a field that the writer
//! lacks is its default, one that the reader lacks is dropped; numbers widen. Stricter than the
//! specification in one point: an array may not have more items than it has bytes left.

use crate::shape::{Fields, Node, Symbols};
use crate::wire::{Break, Cursor, put_bytes, put_long};

/// Brings a datum into the reader's layout; also says how many bytes stand behind it.
pub(crate) fn datum(writer: &Node, reader: &Node, bytes: &[u8]) -> Result<(Vec<u8>, usize), Break> {
    let mut cursor = Cursor { rest: bytes };
    let mut out = Vec::with_capacity(bytes.len() + 64);
    value(writer, reader, &mut cursor, &mut out)?;
    Ok((out, cursor.rest.len()))
}

/// Says why no datum of the writer's could be read; data-dependent misfits are found at the datum.
pub(crate) fn check(writer: &Node, reader: &Node) -> Result<(), String> {
    match (writer, reader) {
        (Node::Union(branches), _) => {
            // One branch that can be read is enough, but not the null of an optional field.
            let mut reasons = Vec::new();
            for branch in branches
                .iter()
                .filter(|branch| !matches!(branch, Node::Null))
            {
                match check(branch, reader) {
                    Ok(()) => return Ok(()),
                    Err(reason) => reasons.push(reason),
                }
            }
            if reasons.is_empty() {
                Ok(())
            } else {
                Err(reasons.join("; "))
            }
        }
        (_, Node::Union(branches)) => match branch(writer, branches) {
            Some(at) => check(writer, &branches[at]),
            None => Err(misfit(writer, reader)),
        },
        (Node::Record(writer), Node::Record(reader)) => {
            for field in &reader.fields {
                let name = &field.name;
                match writer.fields.iter().find(|given| given.name == *name) {
                    Some(given) => check(&given.node, &field.node)
                        .map_err(|reason| format!("{name}: {reason}"))?,
                    None if field.default.is_some() => {}
                    None => return Err(format!("{}.{name} is missing", reader.name)),
                }
            }
            Ok(())
        }
        (Node::Array(writer), Node::Array(reader)) | (Node::Map(writer), Node::Map(reader)) => {
            check(writer, reader)
        }
        _ if fits(writer, reader) => Ok(()),
        _ => Err(misfit(writer, reader)),
    }
}

fn misfit(writer: &Node, reader: &Node) -> String {
    format!(
        "{} is written, {} is read",
        writer.expected(),
        reader.expected()
    )
}

fn value(
    writer: &Node,
    reader: &Node,
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Break> {
    match (writer, reader) {
        (Node::Union(branches), _) => {
            let at = cursor.choice(branches.len())?;
            value(&branches[at], reader, cursor, out)?;
        }
        (_, Node::Union(branches)) => {
            let at = branch(writer, branches).ok_or_else(|| unfit(writer, reader))?;
            put_long(at as i64, out);
            value(writer, &branches[at], cursor, out)?;
        }
        (Node::Null, Node::Null) => {}
        (Node::Boolean, Node::Boolean) => out.push(u8::from(cursor.boolean()?)),
        (Node::Int, Node::Int) => put_long(i64::from(cursor.int()?), out),
        (Node::Int | Node::Long | Node::Time, Node::Long | Node::Time) => {
            put_long(cursor.long()?, out);
        }
        (Node::Int | Node::Long | Node::Time, Node::Float) => {
            out.extend_from_slice(&(cursor.long()? as f32).to_le_bytes());
        }
        (Node::Int | Node::Long | Node::Time, Node::Double) => {
            out.extend_from_slice(&(cursor.long()? as f64).to_le_bytes());
        }
        (Node::Float, Node::Float) => out.extend_from_slice(cursor.take(4)?),
        (Node::Float, Node::Double) => {
            out.extend_from_slice(&f64::from(cursor.float()?).to_le_bytes());
        }
        (Node::Double, Node::Double) => out.extend_from_slice(cursor.take(8)?),
        (Node::Bytes | Node::Text, Node::Text) => put_bytes(cursor.text()?.as_bytes(), out),
        (Node::Bytes | Node::Text, Node::Bytes) => put_bytes(cursor.bytes()?, out),
        (Node::Fixed(written), Node::Fixed(read)) if written == read => {
            out.extend_from_slice(cursor.take(*written)?);
        }
        (Node::Enum(writer), Node::Enum(reader)) => {
            put_long(symbol(writer, reader, cursor)? as i64, out);
        }
        (Node::Array(writer), Node::Array(reader)) => {
            blocks(cursor, out, |cursor, out| {
                value(writer, reader, cursor, out)
            })?;
        }
        (Node::Map(writer), Node::Map(reader)) => blocks(cursor, out, |cursor, out| {
            put_bytes(cursor.text()?.as_bytes(), out);
            value(writer, reader, cursor, out)
        })?,
        (Node::Record(writer), Node::Record(reader)) => record(writer, reader, cursor, out)?,
        _ => return Err(unfit(writer, reader)),
    }
    Ok(())
}

fn unfit(writer: &Node, reader: &Node) -> Break {
    Break::Unfit(misfit(writer, reader))
}

/// The branch that takes what the writer wrote: one of the same type and name, else the first that
/// it can be turned into.
fn branch(writer: &Node, branches: &[Node]) -> Option<usize> {
    let same = |branch: &Node| {
        std::mem::discriminant(branch) == std::mem::discriminant(writer)
            && branch.name() == writer.name()
            && (branch.name().is_some() || fits(writer, branch))
    };
    let optional = |branch: &Node| match (writer, branch) {
        // `[null, T]` takes a record whatever the writer calls it: there is nothing to confuse.
        (Node::Record(_), Node::Record(_)) | (Node::Enum(_), Node::Enum(_)) => branches.len() <= 2,
        _ => fits(writer, branch),
    };
    branches
        .iter()
        .position(same)
        .or_else(|| branches.iter().position(optional))
}

/// Whether a type can be turned into another, looking at the outside only.
fn fits(writer: &Node, reader: &Node) -> bool {
    match (writer, reader) {
        (Node::Int, Node::Int | Node::Long | Node::Time | Node::Float | Node::Double)
        | (Node::Long | Node::Time, Node::Long | Node::Time | Node::Float | Node::Double)
        | (Node::Float, Node::Float | Node::Double)
        | (Node::Bytes | Node::Text, Node::Bytes | Node::Text) => true,
        (Node::Fixed(written), Node::Fixed(read)) => written == read,
        _ => std::mem::discriminant(writer) == std::mem::discriminant(reader),
    }
}

fn symbol(writer: &Symbols, reader: &Symbols, cursor: &mut Cursor<'_>) -> Result<usize, Break> {
    let written = &writer.symbols[cursor.choice(writer.symbols.len())?];
    reader
        .symbols
        .iter()
        .position(|symbol| symbol == written)
        .or(reader.default)
        .ok_or_else(|| Break::Unfit(format!("{written} is not a symbol of {}", reader.name)))
}

/// Reads the writer's fields in their order to learn where each begins, then writes the reader's.
fn record(
    writer: &Fields,
    reader: &Fields,
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Break> {
    let in_order =
        |(given, wanted): (&crate::shape::Field, &crate::shape::Field)| given.name == wanted.name;
    // The usual change adds fields at the end: nothing to look up then.
    let common = writer
        .fields
        .iter()
        .zip(&reader.fields)
        .take_while(|pair| in_order(*pair))
        .count();
    for (given, wanted) in writer.fields.iter().zip(&reader.fields).take(common) {
        value(&given.node, &wanted.node, cursor, out)?;
    }
    let mut starts = Vec::with_capacity(writer.fields.len() - common);
    for given in &writer.fields[common..] {
        starts.push((given, *cursor));
        skip(&given.node, cursor)?;
    }
    for wanted in &reader.fields[common..] {
        match starts.iter().find(|(given, _)| given.name == wanted.name) {
            Some((given, start)) => {
                value(&given.node, &wanted.node, &mut start.clone(), out)?;
            }
            None => match &wanted.default {
                Some(default) => out.extend_from_slice(default),
                None => {
                    let reason = format!("{}.{} is missing", reader.name, wanted.name);
                    return Err(Break::Unfit(reason));
                }
            },
        }
    }
    Ok(())
}

fn blocks(
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
    mut item: impl FnMut(&mut Cursor<'_>, &mut Vec<u8>) -> Result<(), Break>,
) -> Result<(), Break> {
    loop {
        let count = cursor.block()?;
        put_long(count as i64, out);
        if count == 0 {
            return Ok(());
        }
        for _ in 0..count {
            item(cursor, out)?;
        }
    }
}

fn skip(node: &Node, cursor: &mut Cursor<'_>) -> Result<(), Break> {
    match node {
        Node::Null => {}
        Node::Boolean => drop(cursor.boolean()?),
        Node::Int | Node::Long | Node::Time => drop(cursor.long()?),
        Node::Float => drop(cursor.take(4)?),
        Node::Double => drop(cursor.take(8)?),
        Node::Bytes | Node::Text => drop(cursor.bytes()?),
        Node::Fixed(size) => drop(cursor.take(*size)?),
        Node::Enum(symbols) => drop(cursor.choice(symbols.symbols.len())?),
        Node::Array(items) => skip_blocks(cursor, |cursor| skip(items, cursor))?,
        Node::Map(values) => skip_blocks(cursor, |cursor| {
            cursor.bytes()?;
            skip(values, cursor)
        })?,
        Node::Union(branches) => {
            let at = cursor.choice(branches.len())?;
            skip(&branches[at], cursor)?;
        }
        Node::Record(fields) => {
            fields
                .fields
                .iter()
                .try_for_each(|field| skip(&field.node, cursor))?;
        }
    }
    Ok(())
}

fn skip_blocks(
    cursor: &mut Cursor<'_>,
    mut item: impl FnMut(&mut Cursor<'_>) -> Result<(), Break>,
) -> Result<(), Break> {
    loop {
        let count = cursor.block()?;
        if count == 0 {
            return Ok(());
        }
        (0..count).try_for_each(|_| item(cursor))?;
    }
}
