//! Avro bytes to JSON, by the schema alone.

use std::fmt::Write;

use crate::hex;
use crate::shape::{Fields, Node, Shape};
use crate::wire::{Break, Cursor};

/// One line of JSON for a datum; bytes behind it are an error.
pub(super) fn datum(shape: &Shape, bytes: &[u8]) -> Result<String, Break> {
    let mut cursor = Cursor { rest: bytes };
    let mut out = String::with_capacity(bytes.len() * 2);
    value(&shape.node, &mut cursor, &mut out)?;
    match cursor.rest.len() {
        0 => Ok(out),
        left => Err(Break::Unfit(format!("{left} bytes after the end"))),
    }
}

fn value(node: &Node, cursor: &mut Cursor<'_>, out: &mut String) -> Result<(), Break> {
    match node {
        Node::Null => out.push_str("null"),
        Node::Boolean => out.push_str(if cursor.boolean()? { "true" } else { "false" }),
        Node::Int => show(cursor.int()?, out),
        Node::Long | Node::Time => show(cursor.long()?, out),
        Node::Float => double(f64::from(cursor.float()?), out),
        Node::Double => double(cursor.double()?, out),
        Node::Text => text(cursor.text()?, out),
        Node::Bytes => digits(cursor.bytes()?, out),
        Node::Fixed(size) => digits(cursor.take(*size)?, out),
        Node::Enum(symbols) => {
            let at = cursor.choice(symbols.symbols.len())?;
            text(&symbols.symbols[at], out);
        }
        Node::Array(items) => {
            out.push('[');
            blocks(cursor, out, |cursor, out| value(items, cursor, out))?;
            out.push(']');
        }
        Node::Map(values) => {
            out.push('{');
            blocks(cursor, out, |cursor, out| {
                text(cursor.text()?, out);
                out.push(':');
                value(values, cursor, out)
            })?;
            out.push('}');
        }
        Node::Union(branches) => {
            let branch = &branches[cursor.choice(branches.len())?];
            match branch.name().filter(|_| branches.len() > 2) {
                Some(name) => {
                    out.push('{');
                    text(name, out);
                    out.push(':');
                    value(branch, cursor, out)?;
                    out.push('}');
                }
                None => value(branch, cursor, out)?,
            }
        }
        Node::Record(fields) => record(fields, cursor, out)?,
    }
    Ok(())
}

fn record(fields: &Fields, cursor: &mut Cursor<'_>, out: &mut String) -> Result<(), Break> {
    out.push('{');
    let first = out.len();
    for field in &fields.fields {
        let (before, from) = (out.len(), cursor.rest);
        // A value's bytes say where they end, so what begins with the default's bytes is the default.
        if let Some(rest) = field
            .default
            .as_deref()
            .and_then(|default| from.strip_prefix(default))
        {
            cursor.rest = rest;
            continue;
        }
        if before > first {
            out.push(',');
        }
        text(&field.name, out);
        out.push(':');
        value(&field.node, cursor, out)?;
        let read = &from[..from.len() - cursor.rest.len()];
        if field.default.as_deref() == Some(read) {
            out.truncate(before);
        }
    }
    out.push('}');
    Ok(())
}

fn blocks(
    cursor: &mut Cursor<'_>,
    out: &mut String,
    mut item: impl FnMut(&mut Cursor<'_>, &mut String) -> Result<(), Break>,
) -> Result<(), Break> {
    let mut first = true;
    loop {
        let count = cursor.block()?;
        if count == 0 {
            return Ok(());
        }
        for _ in 0..count {
            if !first {
                out.push(',');
            }
            first = false;
            item(cursor, out)?;
        }
    }
}

fn show(number: impl std::fmt::Display, out: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{number}");
}

/// The shortest digits that read back as the same number, as Rust prints them.
fn double(number: f64, out: &mut String) {
    if number.is_nan() {
        out.push_str("\"NaN\"");
    } else if number.is_infinite() {
        out.push_str(if number > 0.0 {
            "\"Infinity\""
        } else {
            "\"-Infinity\""
        });
    } else {
        let _ = write!(out, "{number:?}");
    }
}

fn digits(bytes: &[u8], out: &mut String) {
    out.push('"');
    hex::push(bytes, out);
    out.push('"');
}

/// A JSON string: quotes, backslashes and control characters escaped, the rest as it is.
fn text(text: &str, out: &mut String) {
    out.push('"');
    if text
        .bytes()
        .all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
    {
        out.push_str(text);
        out.push('"');
        return;
    }
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x1f' => {
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            _ => out.push(letter),
        }
    }
    out.push('"');
}
