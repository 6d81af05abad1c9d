//! The legend: in the frame where it hides nothing, otherwise above.

use super::colour::Rgb;
use super::layers::{dash, mark, radius};
use super::layout::Sheet;
use super::scene::{Anchor, Rect, Stroke};
use crate::figure::spec::{Colour, Layer, Legend, Shape};

/// A line of the legend.
pub(super) struct Entry {
    label: String,
    colour: Rgb,
    key: Key,
}

#[derive(Clone, Copy)]
enum Key {
    Mark(Shape, f64),
    Line((f64, f64)),
    Area(f64),
}

/// What the legend names: layers with a label, but for lines that are named at their end.
pub(super) fn entries(sheet: &Sheet<'_>) -> Vec<Entry> {
    if sheet.figure.legend == Legend::None {
        return Vec::new();
    }
    let is_direct = sheet.figure.legend == Legend::Direct;
    let room = sheet.style.width_pt * 0.7;
    let named = sheet
        .figure
        .layers
        .iter()
        .zip(&sheet.colours)
        .filter_map(|(layer, colour)| {
            let (label, key) = match layer {
                Layer::Points(layer) => (
                    &layer.label,
                    Key::Mark(
                        layer.shape,
                        radius(sheet, layer.x.len()).max(1.5 * sheet.unit()),
                    ),
                ),
                Layer::Line(layer) if !is_direct => {
                    (&layer.label, Key::Line(dash(layer.dash, sheet.unit())))
                }
                Layer::Band(layer) => (&layer.label, Key::Area(0.2)),
                Layer::Contours(layer) => (&layer.label, Key::Line((0.0, 0.0))),
                Layer::Bars(layer) => (&layer.label, Key::Area(0.75)),
                _ => return None,
            };
            // What is coloured by a number has no colour of its own.
            let many = match layer {
                Layer::Points(layer) => !layer.value.is_empty(),
                Layer::Line(layer) => matches!(layer.colour, Colour::Ramp(_)),
                Layer::Band(layer) => matches!(layer.colour, Colour::Ramp(_)),
                _ => false,
            };
            let colour = if many { sheet.theme.faint } else { *colour };
            (!label.is_empty()).then(|| Entry {
                label: sheet.font.cut(label, sheet.small(), false, room),
                colour,
                key,
            })
        });
    named.collect()
}

fn key_width(sheet: &Sheet<'_>) -> f64 {
    17.0 * sheet.unit()
}

fn entry_width(sheet: &Sheet<'_>, entry: &Entry) -> f64 {
    key_width(sheet) + sheet.font.width(&entry.label, sheet.small(), false)
}

/// Draws the legend in the first place of the frame where it hides nothing. False, and nothing drawn, where there is none.
pub(super) fn inside(sheet: &mut Sheet<'_>, entries: &[Entry]) -> bool {
    let (unit, row) = (sheet.unit(), sheet.small() * 1.4);
    let width = entries
        .iter()
        .map(|entry| entry_width(sheet, entry))
        .fold(0.0, f64::max)
        + 6.0 * unit;
    let height = row * entries.len() as f64 + 3.0 * unit;
    let (frame, gap) = (sheet.frame, 5.0 * unit);
    if width > frame.width() * 0.7 || height > frame.height() * 0.6 {
        return false;
    }
    let (right, top) = (frame.right - width - gap, frame.top + gap);
    let (left, bottom) = (frame.left + gap, frame.bottom - height - gap);
    let (middle, centre) = ((left + right) / 2.0, (top + bottom) / 2.0);
    let corners = [
        (right, top),
        (left, top),
        (right, bottom),
        (left, bottom),
        (middle, top),
        (middle, bottom),
        (right, centre),
        (left, centre),
    ];
    let rect = |(left, top): (f64, f64)| Rect {
        left,
        top,
        right: left + width,
        bottom: top + height,
    };
    let Some(corner) = corners
        .into_iter()
        .find(|corner| sheet.taken.cost(&rect(*corner)) == 0)
    else {
        return false;
    };
    let paper = sheet.theme.paper;
    let Rect {
        left,
        top,
        right,
        bottom,
    } = rect(corner);
    let corners = vec![(left, top), (right, top), (right, bottom), (left, bottom)];
    sheet.scene.area(corners, paper, 0.85);
    for (at, entry) in entries.iter().enumerate() {
        let y = top + 1.5 * unit + row * (at as f64 + 0.5);
        draw(sheet, entry, left + 3.0 * unit, y);
    }
    true
}

/// Entries in rows across the page.
fn rows(sheet: &Sheet<'_>, entries: &[Entry]) -> Vec<Vec<(usize, f64)>> {
    let (gap, room) = (
        10.0 * sheet.unit(),
        sheet.style.width_pt - 12.0 * sheet.unit(),
    );
    let mut rows: Vec<Vec<(usize, f64)>> = Vec::new();
    let mut x = f64::INFINITY;
    for (at, entry) in entries.iter().enumerate() {
        let width = entry_width(sheet, entry);
        if x + width > room {
            rows.push(Vec::new());
            x = 0.0;
        }
        if let Some(row) = rows.last_mut() {
            row.push((at, x));
        }
        x += width + gap;
    }
    rows
}

/// Height of the legend above the frame.
pub(super) fn above_height(sheet: &Sheet<'_>, entries: &[Entry]) -> f64 {
    rows(sheet, entries).len() as f64 * sheet.small() * 1.4 + 3.0 * sheet.unit()
}

/// Draws the legend between title and frame.
pub(super) fn above(sheet: &mut Sheet<'_>, entries: &[Entry]) {
    let (unit, row) = (sheet.unit(), sheet.small() * 1.4);
    let rows = rows(sheet, entries);
    let top = sheet.frame.top - row * rows.len() as f64 - 4.0 * unit;
    for (line, row_entries) in rows.into_iter().enumerate() {
        for (at, x) in row_entries {
            draw(
                sheet,
                &entries[at],
                6.0 * unit + x,
                top + row * (line as f64 + 0.5),
            );
        }
    }
}

fn draw(sheet: &mut Sheet<'_>, entry: &Entry, x: f64, y: f64) {
    let (unit, small, ink) = (sheet.unit(), sheet.small(), sheet.theme.ink);
    let (from, to) = (x, x + 13.0 * unit);
    match entry.key {
        Key::Mark(shape, radius) => mark(
            sheet,
            ((from + to) / 2.0, y),
            radius,
            shape,
            entry.colour,
            false,
        ),
        Key::Line(dash) => {
            let stroke = Stroke {
                colour: entry.colour,
                width: 1.25 * unit,
                dash,
            };
            sheet.scene.line(vec![(from, y), (to, y)], stroke);
        }
        Key::Area(opacity) => {
            let half = small * 0.35;
            let corners = vec![
                (from, y - half),
                (to, y - half),
                (to, y + half),
                (from, y + half),
            ];
            sheet.scene.area(corners, entry.colour, opacity);
        }
    }
    sheet.words(
        &entry.label,
        (x + key_width(sheet), y),
        Anchor::Start,
        small,
        ink,
    );
}
