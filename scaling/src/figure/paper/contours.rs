//! Contour lines with their heights written on them.

use super::colour::Rgb;
use super::layout::Sheet;
use super::scene::{Anchor, Point, Rect, Stroke, cut_line};
use crate::figure::contour::lines;
use crate::figure::spec::{Contours, Layer};
use crate::figure::text::minus;

/// The pieces of a level within the frame.
fn pieces(sheet: &Sheet<'_>, layer: &Contours, level: f64) -> Vec<Vec<Point>> {
    let across: Option<Vec<f64>> = layer.x.iter().map(|x| sheet.px(*x)).collect();
    let up: Option<Vec<f64>> = layer.y.iter().map(|y| sheet.py(*y)).collect();
    let (Some(across), Some(up)) = (across, up) else {
        return Vec::new();
    };
    let found = lines(&across, &up, &layer.z, level);
    found
        .iter()
        .flat_map(|line| cut_line(line, &sheet.frame))
        .collect()
}

pub(super) fn draw(sheet: &mut Sheet<'_>, layer: &Contours, colour: Rgb) {
    let stroke = Stroke {
        colour,
        width: 0.8 * sheet.unit(),
        dash: (0.0, 0.0),
    };
    for level in &layer.levels {
        for piece in pieces(sheet, layer, *level) {
            sheet.scene.line(piece, stroke);
        }
    }
}

/// Writes heights where they hide the fewest points, once all layers are drawn.
pub(super) fn label(sheet: &mut Sheet<'_>) {
    let figure = sheet.figure;
    for (at, layer) in figure.layers.iter().enumerate() {
        let Layer::Contours(layer) = layer else {
            continue;
        };
        for (level, text) in layer.levels.iter().zip(names(&layer.levels)) {
            let found = pieces(sheet, layer, *level);
            // One name for the longest piece of a level is enough.
            let longest = found
                .iter()
                .max_by(|one, other| length(one).total_cmp(&length(other)));
            if let Some(piece) = longest {
                name(sheet, piece, &text, sheet.colours[at]);
            }
        }
        for level in &layer.levels {
            for piece in pieces(sheet, layer, *level) {
                sheet.taken.line(&piece);
            }
        }
    }
}

/// Levels with as many decimals as they need to differ from each other.
fn names(levels: &[f64]) -> Vec<String> {
    let write = |decimals: usize| -> Vec<String> {
        let text = |level: &f64| minus(&format!("{level:.decimals$}"));
        levels.iter().map(text).collect()
    };
    let exact = |decimals: usize| {
        write(decimals).iter().zip(levels).all(|(text, level)| {
            let read: f64 = text.replace('−', "-").parse().unwrap_or(f64::NAN);
            (read - level).abs() <= 1e-3 * level.abs()
        })
    };
    let decimals = (0..6).find(|decimals| exact(*decimals)).unwrap_or(6);
    write(decimals)
}

fn length(line: &[Point]) -> f64 {
    let steps = line.windows(2);
    steps
        .map(|pair| libm::hypot(pair[1].0 - pair[0].0, pair[1].1 - pair[0].1))
        .sum()
}

fn name(sheet: &mut Sheet<'_>, piece: &[Point], text: &str, colour: Rgb) {
    let size = sheet.small() * 0.95;
    let width = sheet.font.width(text, size, false);
    if length(piece) < width * 1.5 {
        return;
    }
    let place = |(x, y): Point| Rect {
        left: x - width / 2.0 - 1.0,
        right: x + width / 2.0 + 1.0,
        top: y - size * 0.6,
        bottom: y + size * 0.6,
    };
    let inner: Vec<Point> = piece
        .iter()
        .copied()
        .filter(|at| place(*at).within(&sheet.frame))
        .collect();
    // Nearest to 60 % of the way among the freest: neighbouring levels then have their names side by side.
    let wanted = inner.len() as f64 * 0.6;
    let best = inner
        .iter()
        .enumerate()
        .min_by(|(at, one), (other_at, other)| {
            let cost = |at: usize, point: Point| {
                (sheet.taken.cost(&place(point)), (at as f64 - wanted).abs())
            };
            let (one, other) = (cost(*at, **one), cost(*other_at, **other));
            one.0.cmp(&other.0).then(one.1.total_cmp(&other.1))
        });
    if let Some((_, at)) = best {
        let (at, paper) = (*at, sheet.theme.paper);
        let Rect {
            left,
            top,
            right,
            bottom,
        } = place(at);
        // The line stops for its name.
        let corners = vec![
            (left, top + 1.0),
            (right, top + 1.0),
            (right, bottom - 1.0),
            (left, bottom - 1.0),
        ];
        sheet.scene.area(corners, paper, 1.0);
        sheet.words(text, at, Anchor::Middle, size, colour);
        sheet.taken.rect(&place(at), 6);
    }
}
