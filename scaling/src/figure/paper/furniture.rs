//! Around the frame: title, caption, the note about what is left out, colour bar.

use super::frame::{direct_width, upwards, widths};
use super::layout::Sheet;
use super::scene::{Anchor, Item, Rect, Stroke};
use crate::figure::spec::{Axis, Figure, Layer};
use crate::figure::text::axis_title;
use crate::figure::ticks::{Ticks, ticks};

/// Distance of lines of text, in type sizes.
pub(super) const LINE: f64 = 1.28;

pub(super) fn title_lines(sheet: &Sheet<'_>) -> Vec<String> {
    if !sheet.style.title {
        return Vec::new();
    }
    let width = sheet.style.width_pt - 12.0 * sheet.unit();
    sheet.font.wrap(
        &sheet.figure.title,
        sheet.style.font_pt * 1.1,
        true,
        width,
        2,
    )
}

pub(super) fn caption_lines(sheet: &Sheet<'_>) -> Vec<String> {
    if !sheet.style.caption {
        return Vec::new();
    }
    let width = sheet.style.width_pt - 12.0 * sheet.unit();
    sheet
        .font
        .wrap(&sheet.figure.caption, sheet.small(), false, width, 6)
}

/// What is not to be seen, in words.
pub(super) fn note(figure: &Figure, sheet: &Sheet<'_>) -> Option<String> {
    let outside: usize = figure
        .layers
        .iter()
        .map(|layer| match layer {
            Layer::Points(points) => points
                .x
                .iter()
                .zip(&points.y)
                .filter_map(|(x, y)| Some((sheet.x.share(*x)?, sheet.y.share(*y)?)))
                .filter(|(x, y)| {
                    !(-1e-9..=1.0 + 1e-9).contains(x) || !(-1e-9..=1.0 + 1e-9).contains(y)
                })
                .count(),
            _ => 0,
        })
        .sum();
    let mut parts = Vec::new();
    let lost = figure.left_out();
    if lost > 0 {
        parts.push(format!(
            "{lost} left out: not finite{}",
            if log(figure) { " or not positive" } else { "" }
        ));
    }
    if outside > 0 {
        parts.push(format!("{outside} outside the axes"));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

pub(super) fn log(figure: &Figure) -> bool {
    [&figure.x, &figure.y]
        .iter()
        .any(|axis| axis.scale == crate::figure::Scale::Log)
}

pub(super) fn colour_ticks(sheet: &Sheet<'_>) -> Ticks {
    let most = (sheet.frame.height() / (sheet.small() * 2.8)) as usize;
    ticks(
        sheet.colour.low,
        sheet.colour.high,
        sheet.colour.scale,
        most.clamp(2, 7),
    )
}

pub(super) fn colour_bar_width(sheet: &Sheet<'_>) -> f64 {
    if sheet.figure.colour.is_none() {
        return 0.0;
    }
    let numbers = widths(sheet, &colour_ticks(sheet)).fold(0.0, f64::max);
    numbers + sheet.style.font_pt * 1.5 + 22.0 * sheet.unit()
}

pub(super) fn draw_title(sheet: &mut Sheet<'_>) {
    let (unit, small) = (sheet.unit(), sheet.small());
    let size = sheet.style.font_pt * 1.1;
    for (at, line) in title_lines(sheet).into_iter().enumerate() {
        sheet.scene.items.push(Item::Words {
            at: (6.0 * unit, 6.0 * unit + size * (0.9 + LINE * at as f64)),
            label: line,
            anchor: Anchor::Start,
            size,
            bold: true,
            upwards: false,
            colour: sheet.theme.ink,
            halo: None,
        });
    }
    let faint = sheet.theme.faint;
    let mut y = sheet.style.height_pt - 6.0 * unit - small * 0.2;
    let ink = sheet.theme.ink;
    for line in caption_lines(sheet).into_iter().rev() {
        sheet.write(&line, (6.0 * unit, y), Anchor::Start, small, ink, None);
        y -= small * LINE;
    }
    if let Some(note) = note(sheet.figure, sheet) {
        let right = sheet.style.width_pt - 6.0 * unit;
        sheet.write(&note, (right, y), Anchor::End, small * 0.95, faint, None);
    }
}

pub(super) fn draw_colour_bar(sheet: &mut Sheet<'_>, axis: &Axis) {
    const STEPS: usize = 64;
    let (frame, unit, small) = (sheet.frame, sheet.unit(), sheet.small());
    let left = frame.right + direct_width(sheet) + 8.0 * unit;
    let bar = Rect {
        left,
        right: left + 7.0 * unit,
        ..frame
    };
    for step in 0..STEPS {
        // Each step reaches up to the top: no seams between neighbours.
        let bottom = bar.bottom - bar.height() * step as f64 / STEPS as f64;
        let colour = sheet.theme.ramp((step as f64 + 0.5) / STEPS as f64);
        let corners = vec![
            (bar.left, bottom),
            (bar.right, bottom),
            (bar.right, bar.top),
            (bar.left, bar.top),
        ];
        sheet.scene.area(corners, colour, 1.0);
    }
    let ticks = colour_ticks(sheet);
    let numbers = widths(sheet, &ticks).fold(0.0, f64::max);
    let ink = sheet.theme.ink;
    let stroke = Stroke {
        colour: ink,
        width: 0.6 * unit,
        dash: (0.0, 0.0),
    };
    for tick in &ticks.major {
        if let Some(share) = sheet.colour.share(tick.value) {
            let y = bar.bottom - share * bar.height();
            sheet
                .scene
                .line(vec![(bar.right, y), (bar.right + 2.5 * unit, y)], stroke);
            sheet.words(
                &tick.label,
                (bar.right + 4.5 * unit, y),
                Anchor::Start,
                small,
                ink,
            );
        }
    }
    let title = axis_title(&axis.label, &axis.unit, ticks.exponent);
    let x = bar.right + 6.5 * unit + numbers + sheet.style.font_pt * 0.85;
    upwards(sheet, &title, x);
}
