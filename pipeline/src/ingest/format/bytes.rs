//! Bytes in memory as a format, without a log: what the tests of formats and the fuzz targets read by.

use super::{Out, Refusal, Setup, named};
use crate::ingest::source::Content;
use crate::ingest::units::{Finish, Next, NoUnits, Units};
use std::io::Cursor;

/// Reads bytes as a format, ends and breaks included, as the loop of ingest does.
///
/// # Errors
/// A source that the format refuses as a whole.
pub fn read_bytes(name: &str, bytes: &[u8], setup: &Setup) -> Result<Out, Refusal> {
    let io = |error: std::io::Error| Refusal(error.to_string());
    let mut parser = named(name)?.parser(setup)?;
    let mut out = Out::default();
    let content = Content::new(Box::new(Cursor::new(bytes.to_vec()))).map_err(io)?;
    let mut units = match Units::new(content, parser.as_mut()) {
        Ok(units) => units,
        Err(NoUnits::Refused(refused)) => {
            out.rejects.push(refused.0);
            return Ok(out);
        }
        Err(NoUnits::Unfit(refusal)) => return Err(refusal),
        Err(NoUnits::Io(error)) => return Err(io(error)),
    };
    let finish = loop {
        match units.next().map_err(io)? {
            Next::Unit(position) => parser.unit(units.unit(), position, &mut out)?,
            Next::Oversized(_) if parser.passes_over_oversized() => out.ignored += 1,
            Next::Oversized(position) => out.reject(
                "oversized",
                "too long".into(),
                "telemetry.training",
                position,
                units.unit(),
            ),
            Next::Idle => return Err(Refusal("memory is never idle".into())),
            Next::End(finish) => break finish,
        }
    };
    let position = units.end();
    let reject =
        |out: &mut Out, class, text| out.reject(class, text, "telemetry.training", position, &[]);
    match finish {
        Finish::Complete => parser.end(position, &mut out)?,
        Finish::PartialLine(line) if parser.takes_unended(&line) => {
            parser.unit(&line, position, &mut out)?;
            parser.end(position, &mut out)?;
        }
        Finish::PartialLine(_) => {
            parser.end(position, &mut out)?;
            reject(&mut out, "partial_line", "cut".into());
        }
        Finish::Broken(class, text, _) => {
            parser.broken(position, &mut out)?;
            reject(&mut out, class, text);
        }
    }
    Ok(out)
}
