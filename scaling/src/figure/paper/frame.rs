//! Margins, axes and grid.

use super::furniture::{
    LINE, caption_lines, colour_bar_width, draw_colour_bar, draw_title, note, title_lines,
};
use super::layout::Sheet;
use super::scene::{Anchor, Item, Stroke};
use crate::figure::spec::{Axis, Layer, Legend};
use crate::figure::text::axis_title;
use crate::figure::ticks::{Tick, Ticks, ticks};

/// Finds the frame that axes, words and `legend_height` leave, and the numbers that have room.
pub(super) fn measure(sheet: &mut Sheet<'_>, legend_height: f64) {
    let (font, small, unit) = (sheet.style.font_pt, sheet.small(), sheet.unit());
    let pad = 6.0 * unit;
    let page = sheet.frame;
    let title = title_lines(sheet).len() as f64;
    let top = pad
        + title * font * 1.1 * LINE
        + legend_height
        + if title > 0.0 { 3.0 * unit } else { small * 0.3 };
    let below = note(sheet.figure, sheet).map_or(0.0, |_| small * LINE)
        + caption_lines(sheet).len() as f64 * small * LINE;
    let gap = if below > 0.0 { 3.0 * unit } else { 0.0 };
    let x_label = if sheet.figure.x.label.is_empty() && sheet.figure.x.unit.is_empty() {
        0.0
    } else {
        font * 1.5
    };
    let bottom = page.bottom - pad - below - gap - x_label - small * 1.2 - 5.0 * unit;
    sheet.frame.top = top;
    sheet.frame.bottom = bottom.max(top + 20.0);

    let most = (sheet.frame.height() / (small * 2.8)) as usize;
    sheet.y_ticks = named(&sheet.figure.y)
        .unwrap_or_else(|| ticks(sheet.y.low, sheet.y.high, sheet.y.scale, most.clamp(2, 8)));
    let widest = page.width() * 0.42;
    for tick in &mut sheet.y_ticks.major {
        tick.label = sheet.font.cut(&tick.label, small, false, widest);
    }
    let numbers = widths(sheet, &sheet.y_ticks).fold(0.0, f64::max);
    let y_label = if sheet.figure.y.label.is_empty() && sheet.figure.y.unit.is_empty() {
        0.0
    } else {
        font * 1.5
    };
    sheet.frame.left = pad + y_label + numbers + 5.0 * unit;
    sheet.frame.right = page.right - pad - colour_bar_width(sheet) - direct_width(sheet);
    sheet.frame.right = sheet.frame.right.max(sheet.frame.left + 30.0);

    if let Some(names) = named(&sheet.figure.x) {
        sheet.x_ticks = names;
        let room = sheet.frame.width() / sheet.x_ticks.major.len() as f64 - small * 0.5;
        for tick in &mut sheet.x_ticks.major {
            tick.label = sheet.font.cut(&tick.label, small, false, room.max(small));
        }
    } else {
        for most in (2..=8).rev() {
            sheet.x_ticks = ticks(sheet.x.low, sheet.x.high, sheet.x.scale, most);
            if has_room(sheet) {
                break;
            }
        }
    }
    // The last number must not leave the page.
    let last = sheet.x_ticks.major.last();
    let end = last.and_then(|tick| {
        Some(sheet.px(tick.value)? + sheet.font.width(&tick.label, small, false) / 2.0)
    });
    let beyond = end.unwrap_or(0.0) - (page.right - pad * 0.5);
    if beyond > 0.0 {
        sheet.frame.right -= beyond;
    }
    let first = sheet.x_ticks.major.first();
    let start = first.and_then(|tick| {
        Some(sheet.px(tick.value)? - sheet.font.width(&tick.label, small, false) / 2.0)
    });
    let beyond = pad * 0.5 - start.unwrap_or(pad);
    if beyond > 0.0 {
        sheet.frame.left += beyond;
    }
}

fn named(axis: &Axis) -> Option<Ticks> {
    let names = axis.categories.iter().enumerate();
    let major: Vec<Tick> = names
        .map(|(at, name)| Tick {
            value: at as f64,
            label: name.clone(),
        })
        .collect();
    (!major.is_empty()).then(|| Ticks {
        major,
        ..Ticks::default()
    })
}

pub(super) fn widths<'a>(sheet: &'a Sheet<'_>, ticks: &'a Ticks) -> impl Iterator<Item = f64> + 'a {
    let width = |tick: &Tick| sheet.font.width(&tick.label, sheet.small(), false);
    ticks.major.iter().map(width)
}

/// Whether no number on the horizontal axis touches its neighbour.
fn has_room(sheet: &Sheet<'_>) -> bool {
    let small = sheet.small();
    let mut free = f64::NEG_INFINITY;
    sheet.x_ticks.major.iter().all(|tick| {
        let Some(x) = sheet.px(tick.value) else {
            return true;
        };
        let half = sheet.font.width(&tick.label, small, false) / 2.0;
        let fits = x - half >= free;
        free = x + half + small * 0.9;
        fits
    })
}

/// Room in the margin for names at the ends of lines: what they need beyond the frame.
pub(super) fn direct_width(sheet: &Sheet<'_>) -> f64 {
    if sheet.figure.legend != Legend::Direct {
        return 0.0;
    }
    let about = sheet.style.width_pt * 0.7;
    let needed = sheet.figure.layers.iter().filter_map(|layer| match layer {
        Layer::Line(line) if !line.label.is_empty() => {
            let shares = line.x.iter().filter_map(|x| sheet.x.share(*x));
            let end = shares.filter(|share| *share <= 1.0).fold(0.0, f64::max);
            let inside = if end > 0.94 { 0.0 } else { (1.0 - end) * about };
            Some(sheet.font.width(&line.label, sheet.small(), false) + 8.0 * sheet.unit() - inside)
        }
        _ => None,
    });
    needed.fold(0.0, f64::max).min(sheet.style.width_pt * 0.3)
}

/// Thin lines behind the data.
pub(super) fn draw_grid(sheet: &mut Sheet<'_>) {
    let stroke = Stroke {
        colour: sheet.theme.grid,
        width: 0.5,
        dash: (0.0, 0.0),
    };
    let frame = sheet.frame;
    let places =
        |ticks: &Ticks| -> Vec<f64> { ticks.major.iter().map(|tick| tick.value).collect() };
    for value in places(&sheet.x_ticks) {
        if let Some(x) = sheet.px(value) {
            sheet
                .scene
                .line(vec![(x, frame.bottom), (x, frame.top)], stroke);
        }
    }
    if sheet.figure.y.categories.is_empty() {
        for value in places(&sheet.y_ticks) {
            if let Some(y) = sheet.py(value) {
                sheet
                    .scene
                    .line(vec![(frame.left, y), (frame.right, y)], stroke);
            }
        }
    }
}

/// Axes with numbers and names, title, caption, colour bar.
pub(super) fn draw_axes(sheet: &mut Sheet<'_>) {
    let (frame, unit, small, font) = (
        sheet.frame,
        sheet.unit(),
        sheet.small(),
        sheet.style.font_pt,
    );
    let ink = sheet.theme.ink;
    let stroke = Stroke {
        colour: ink,
        width: 0.7 * unit,
        dash: (0.0, 0.0),
    };
    sheet.scene.line(
        vec![
            (frame.left, frame.top),
            (frame.left, frame.bottom),
            (frame.right, frame.bottom),
        ],
        stroke,
    );
    let (x_ticks, y_ticks) = (sheet.x_ticks.clone(), sheet.y_ticks.clone());
    let fine = Stroke {
        width: 0.5 * unit,
        ..stroke
    };
    for x in x_ticks
        .minor
        .iter()
        .filter_map(|value| sheet.px(*value))
        .collect::<Vec<f64>>()
    {
        sheet.scene.line(
            vec![(x, frame.bottom), (x, frame.bottom + 1.8 * unit)],
            fine,
        );
    }
    for y in y_ticks
        .minor
        .iter()
        .filter_map(|value| sheet.py(*value))
        .collect::<Vec<f64>>()
    {
        sheet
            .scene
            .line(vec![(frame.left, y), (frame.left - 1.8 * unit, y)], fine);
    }
    for tick in &x_ticks.major {
        if let Some(x) = sheet.px(tick.value) {
            sheet.scene.line(
                vec![(x, frame.bottom), (x, frame.bottom + 3.2 * unit)],
                stroke,
            );
            let y = frame.bottom + 5.0 * unit + small * 0.65;
            sheet.words(&tick.label, (x, y), Anchor::Middle, small, ink);
        }
    }
    let is_named = !sheet.figure.y.categories.is_empty();
    for tick in &y_ticks.major {
        if let Some(y) = sheet.py(tick.value) {
            if !is_named {
                sheet
                    .scene
                    .line(vec![(frame.left, y), (frame.left - 3.2 * unit, y)], stroke);
            }
            sheet.words(
                &tick.label,
                (frame.left - 5.0 * unit, y),
                Anchor::End,
                small,
                ink,
            );
        }
    }
    let x_title = axis_title(
        &sheet.figure.x.label,
        &sheet.figure.x.unit,
        x_ticks.exponent,
    );
    let x_title = sheet
        .font
        .cut(&x_title, font, false, sheet.style.width_pt - 12.0 * unit);
    let half = sheet.font.width(&x_title, font, false) / 2.0;
    let middle = ((frame.left + frame.right) / 2.0).clamp(
        half + 4.0,
        (sheet.style.width_pt - half - 4.0).max(half + 4.0),
    );
    let y = frame.bottom + 5.0 * unit + small * 1.3 + font * 0.75;
    sheet.words(&x_title, (middle, y), Anchor::Middle, font, ink);
    let y_title = axis_title(
        &sheet.figure.y.label,
        &sheet.figure.y.unit,
        y_ticks.exponent,
    );
    upwards(sheet, &y_title, 6.0 * unit + font * 0.85);
    draw_title(sheet);
    if let Some(axis) = sheet.figure.colour.clone() {
        draw_colour_bar(sheet, &axis);
    }
    if sheet.figure.layers.is_empty()
        || sheet
            .figure
            .layers
            .iter()
            .all(|layer| is_empty(sheet, layer))
    {
        let middle = (
            (frame.left + frame.right) / 2.0,
            (frame.top + frame.bottom) / 2.0,
        );
        let faint = sheet.theme.faint;
        sheet.words("no data", middle, Anchor::Middle, font, faint);
    }
}

fn is_empty(sheet: &Sheet<'_>, layer: &Layer) -> bool {
    let none = |x: &[f64], y: &[f64]| !x.iter().zip(y).any(|(x, y)| sheet.point(*x, *y).is_some());
    match layer {
        Layer::Points(layer) => none(&layer.x, &layer.y),
        Layer::Line(layer) => none(&layer.x, &layer.y),
        Layer::Band(layer) => none(&layer.x, &layer.low),
        Layer::Contours(layer) => layer.z.is_empty(),
        Layer::Bars(layer) => layer.value.is_empty(),
        Layer::HeatMap(layer) => layer.z.is_empty(),
    }
}

/// An axis title read from below, its line at `x`, in the middle of the frame, between legend and caption.
pub(super) fn upwards(sheet: &mut Sheet<'_>, label: &str, x: f64) {
    let font = sheet.style.font_pt;
    let (top, bottom) = (
        sheet.frame.top - font * 0.5,
        sheet.frame.bottom + font * 2.5,
    );
    let label = sheet.font.cut(label, font, false, bottom - top);
    let half = sheet.font.width(&label, font, false) / 2.0;
    let middle = (sheet.frame.top + sheet.frame.bottom) / 2.0;
    let y = middle.max(top + half).min(bottom - half);
    sheet.scene.items.push(Item::Words {
        at: (x, y),
        label,
        anchor: Anchor::Middle,
        size: font,
        bold: false,
        upwards: true,
        colour: sheet.theme.ink,
        halo: None,
    });
}
