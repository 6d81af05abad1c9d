//! A run's entry in the changelog: its clock and its open windows, packed.
//!
//! ```text
//! version 1, clock_ms, for each metric with open windows: its name, how many (1 or 2), and for each
//!     start / 10 s, count, first step, first ln(perplexity), and
//!     for one row   its loss
//!     for more      last step and least step less the first, least, greatest and summed loss, x, y, xx, xy
//! ```
//! Whole numbers and lengths are zig-zag varints, the others eight bytes, little-endian: every bit comes back.

use super::outputs::{bytes, double, long};
use super::row::Cursor;
use super::sums::Sums;
use super::{WINDOW_MS, Window};

const VERSION: u8 = 1;

/// Begins an entry.
pub fn begin(clock_ms: i64, out: &mut Vec<u8>) {
    out.push(VERSION);
    long(clock_ms, out);
}

/// Adds a metric, where it has open windows.
pub fn metric(name: &[u8], windows: &[Window], out: &mut Vec<u8>) {
    let open = windows.iter().filter(|window| window.is_open());
    let count = open.clone().count();
    if count == 0 {
        return;
    }
    bytes(name, out);
    out.push(count as u8);
    for Window { start_ms, sums } in open {
        long(start_ms / WINDOW_MS, out);
        long(sums.count, out);
        long(sums.first_step, out);
        double(sums.first_y, out);
        if sums.count == 1 {
            double(sums.loss_min, out);
            continue;
        }
        long(sums.last_step.wrapping_sub(sums.first_step), out);
        long(sums.least_step.wrapping_sub(sums.first_step), out);
        for value in [
            sums.loss_min,
            sums.loss_max,
            sums.loss_sum,
            sums.x,
            sums.y,
            sums.xx,
            sums.xy,
        ] {
            double(value, out);
        }
    }
}

/// Reads an entry: the clock, and each open window with its metric's name. None: it is none of ours.
pub fn read(entry: &[u8], mut each: impl FnMut(&[u8], Window)) -> Option<i64> {
    let mut cursor = Cursor(entry.strip_prefix(&[VERSION])?);
    let clock_ms = cursor.long()?;
    while !cursor.0.is_empty() {
        let name = cursor.text()?;
        let (&count, rest) = cursor.0.split_first()?;
        cursor.0 = rest;
        for _ in 0..count {
            let start_ms = cursor.long()?.checked_mul(WINDOW_MS)?;
            let sums = sums(&mut cursor)?;
            each(name, Window { start_ms, sums });
        }
    }
    Some(clock_ms)
}

fn sums(cursor: &mut Cursor<'_>) -> Option<Sums> {
    let (count, first_step, first_y) = (cursor.long()?, cursor.long()?, cursor.double()?);
    if count < 1 {
        return None;
    }
    if count == 1 {
        return Some(Sums::first(first_step, cursor.double()?, first_y));
    }
    Some(Sums {
        count,
        first_step,
        first_y,
        last_step: cursor.long()?.wrapping_add(first_step),
        least_step: cursor.long()?.wrapping_add(first_step),
        loss_min: cursor.double()?,
        loss_max: cursor.double()?,
        loss_sum: cursor.double()?,
        x: cursor.double()?,
        y: cursor.double()?,
        xx: cursor.double()?,
        xy: cursor.double()?,
    })
}
