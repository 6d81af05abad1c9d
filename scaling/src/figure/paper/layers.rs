//! Each kind of layer, drawn and marked as taken.

use super::colour::{Rgb, mix};
use super::contours;
use super::layout::Sheet;
use super::scene::{Item, Point, Rect, Stroke, cut_area, cut_line};
use crate::figure::scale::edges;
use crate::figure::spec::{Band, Bars, Dash, HeatMap, Layer, Line, Points, Shape};

/// Draws the layer at this place of the figure.
pub(super) fn draw(sheet: &mut Sheet<'_>, at: usize) {
    let colour = sheet.colours[at];
    match &sheet.figure.layers[at] {
        Layer::Points(layer) => points(sheet, layer, colour),
        Layer::Line(layer) => line(sheet, layer, colour),
        Layer::Band(layer) => band(sheet, layer, colour),
        Layer::Contours(layer) => contours::draw(sheet, layer, colour),
        Layer::Bars(layer) => bars(sheet, layer, colour),
        Layer::HeatMap(layer) => heat_map(sheet, layer),
    }
}

/// Radius of a mark among so many.
pub(super) fn radius(sheet: &Sheet<'_>, count: usize) -> f64 {
    let radius = match count {
        0..=40 => 2.5,
        41..=400 => 1.9,
        401..=4000 => 1.3,
        _ => 0.8,
    };
    radius * sheet.unit()
}

/// Dash and gap of a line of this width.
pub(super) fn dash(dash: Dash, unit: f64) -> (f64, f64) {
    match dash {
        Dash::Solid => (0.0, 0.0),
        Dash::Dashed => (4.0 * unit, 2.5 * unit),
        Dash::Dotted => (1.2 * unit, 1.8 * unit),
    }
}

/// A mark of this shape.
pub(super) fn mark(
    sheet: &mut Sheet<'_>,
    at: Point,
    radius: f64,
    shape: Shape,
    colour: Rgb,
    crowded: bool,
) {
    let rim = Stroke {
        colour: sheet.theme.paper,
        width: 0.4 * sheet.unit(),
        dash: (0.0, 0.0),
    };
    let stroke = if crowded { None } else { Some(rim) };
    let opacity = if crowded { 0.6 } else { 1.0 };
    let (x, y) = at;
    let corners = match shape {
        Shape::Circle | Shape::Ring => {
            let ring = Stroke {
                colour,
                width: 0.9 * sheet.unit(),
                dash: (0.0, 0.0),
            };
            let hollow = shape == Shape::Ring;
            sheet.scene.items.push(Item::Disc {
                at,
                radius,
                fill: Some(if hollow { sheet.theme.paper } else { colour }),
                stroke: if hollow { Some(ring) } else { stroke },
                opacity,
            });
            return;
        }
        Shape::Tick => {
            let half = 2.6 * sheet.unit();
            let stroke = Stroke {
                colour,
                width: 0.7 * sheet.unit(),
                dash: (0.0, 0.0),
            };
            sheet.scene.line(vec![(x, y - half), (x, y + half)], stroke);
            return;
        }
        Shape::Square => {
            let r = radius * 0.9;
            vec![
                (x - r, y - r),
                (x + r, y - r),
                (x + r, y + r),
                (x - r, y + r),
            ]
        }
        Shape::Diamond => {
            let r = radius * 1.3;
            vec![(x - r, y), (x, y - r), (x + r, y), (x, y + r)]
        }
    };
    sheet.scene.items.push(Item::Path {
        points: corners,
        closed: true,
        fill: Some(colour),
        stroke,
        opacity,
    });
}

fn points(sheet: &mut Sheet<'_>, layer: &Points, colour: Rgb) {
    let count = layer.x.len();
    let (radius, unit) = (radius(sheet, count), sheet.unit());
    let crowded = count > 400 || is_chain(sheet, layer, radius);
    let shades: Vec<Rgb> = (0..count)
        .map(|at| {
            layer
                .value
                .get(at)
                .map_or(colour, |value| sheet.ramp(*value))
        })
        .collect();
    for (at, (x, y)) in layer.x.iter().zip(&layer.y).enumerate() {
        let Some(place) = sheet
            .point(*x, *y)
            .filter(|place| sheet.frame.holds(*place))
        else {
            continue;
        };
        let end = |ends: &[f64]| {
            ends.get(at)
                .and_then(|end| sheet.py(*end))
                .unwrap_or(place.1)
        };
        let (low, high) = (end(&layer.low), end(&layer.high));
        if low != high {
            whisker(sheet, place.0, (low, high), shades[at], count <= 40, unit);
        }
    }
    for (at, (x, y)) in layer.x.iter().zip(&layer.y).enumerate() {
        let Some(place) = sheet
            .point(*x, *y)
            .filter(|place| sheet.frame.holds(*place))
        else {
            continue;
        };
        mark(sheet, place, radius, layer.shape, shades[at], crowded);
        sheet.taken.disc(place, radius + 1.0);
    }
}

/// Whether most points touch the next one: rims would eat them.
fn is_chain(sheet: &Sheet<'_>, layer: &Points, radius: f64) -> bool {
    let pairs = layer.x.iter().zip(&layer.y);
    let places: Vec<Point> = pairs.filter_map(|(x, y)| sheet.point(*x, *y)).collect();
    let touching = places.windows(2).filter(|pair| {
        let (dx, dy) = (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1);
        dx * dx + dy * dy < radius * radius
    });
    touching.count() * 2 > places.len()
}

fn whisker(
    sheet: &mut Sheet<'_>,
    x: f64,
    (low, high): (f64, f64),
    colour: Rgb,
    capped: bool,
    unit: f64,
) {
    let frame = sheet.frame;
    let stroke = Stroke {
        colour,
        width: 0.8 * unit,
        dash: (0.0, 0.0),
    };
    let ends = [
        low.clamp(frame.top, frame.bottom),
        high.clamp(frame.top, frame.bottom),
    ];
    let stem = vec![(x, ends[0]), (x, ends[1])];
    sheet.taken.line(&stem);
    sheet.scene.line(stem, stroke);
    // An end beyond the frame has no cap: the interval goes on.
    for (end, shown) in [low, high].into_iter().zip(ends) {
        if capped && end == shown {
            let cap = vec![(x - 1.8 * unit, end), (x + 1.8 * unit, end)];
            sheet.scene.line(cap, stroke);
        }
    }
}

/// The stretches of columns that can be drawn, as places on the page.
fn stretches(sheet: &Sheet<'_>, x: &[f64], y: &[f64]) -> Vec<Vec<Point>> {
    let mut parts: Vec<Vec<Point>> = vec![Vec::new()];
    for (x, y) in x.iter().zip(y) {
        match (sheet.point(*x, *y), parts.last_mut()) {
            (Some(place), Some(part)) => part.push(place),
            (None, Some(part)) if !part.is_empty() => parts.push(Vec::new()),
            _ => {}
        }
    }
    parts.retain(|part| part.len() > 1);
    parts
}

fn line(sheet: &mut Sheet<'_>, layer: &Line, colour: Rgb) {
    let stroke = Stroke {
        colour,
        width: 1.25 * sheet.unit(),
        dash: dash(layer.dash, sheet.unit()),
    };
    for part in stretches(sheet, &layer.x, &layer.y) {
        for piece in cut_line(&part, &sheet.frame) {
            sheet.taken.line(&piece);
            sheet.scene.line(piece, stroke);
        }
    }
}

fn band(sheet: &mut Sheet<'_>, layer: &Band, colour: Rgb) {
    let count = layer.x.len().min(layer.low.len()).min(layer.high.len());
    let mut from = 0;
    while from < count {
        let edge = |at: usize| {
            Some((
                sheet.point(layer.x[at], layer.low[at])?,
                sheet.point(layer.x[at], layer.high[at])?,
            ))
        };
        let part: Vec<(Point, Point)> = (from..count).map_while(edge).collect();
        from += part.len() + 1;
        if part.len() < 2 {
            continue;
        }
        let lower: Vec<Point> = part.iter().map(|(low, _)| *low).collect();
        let upper: Vec<Point> = part.iter().map(|(_, high)| *high).collect();
        let area: Vec<Point> = lower
            .iter()
            .copied()
            .chain(upper.iter().rev().copied())
            .collect();
        let area = cut_area(&area, &sheet.frame);
        sheet.scene.area(area, colour, 0.2);
        for column in part.windows(2) {
            let ys = column.iter().flat_map(|(low, high)| [low.1, high.1]);
            let rect = Rect {
                left: column[0].0.0.max(sheet.frame.left),
                right: column[1].0.0.min(sheet.frame.right),
                top: ys
                    .clone()
                    .fold(f64::INFINITY, f64::min)
                    .max(sheet.frame.top),
                bottom: ys.fold(f64::NEG_INFINITY, f64::max).min(sheet.frame.bottom),
            };
            if rect.left <= rect.right && rect.top <= rect.bottom {
                sheet.taken.rect(&rect, 1);
            }
        }
    }
}

fn bars(sheet: &mut Sheet<'_>, layer: &Bars, colour: Rgb) {
    let rows = sheet.figure.y.categories.len().max(1) as f64;
    let thickness = (sheet.frame.height() / rows * 0.62).min(16.0 * sheet.unit());
    let unit = sheet.unit();
    let frame = sheet.frame;
    // On an axis that does not hold zero a bar starts at its low end.
    let zero = sheet
        .px(0.0)
        .unwrap_or(frame.left)
        .clamp(frame.left, frame.right);
    for (at, value) in layer.value.iter().enumerate() {
        let (Some(x), Some(y)) = (sheet.px(*value), sheet.py(at as f64)) else {
            continue;
        };
        let x = x.clamp(frame.left, frame.right);
        let (top, bottom) = (y - thickness / 2.0, y + thickness / 2.0);
        let rect = Rect {
            left: zero.min(x),
            right: zero.max(x),
            top,
            bottom,
        };
        let pale = mix(colour, sheet.theme.paper, 0.25);
        let corners = vec![(zero, top), (x, top), (x, bottom), (zero, bottom)];
        sheet.scene.area(corners, pale, 1.0);
        sheet.taken.rect(&rect, 4);
        let end = |ends: &[f64]| ends.get(at).and_then(|end| sheet.px(*end));
        if let (Some(low), Some(high)) = (end(&layer.low), end(&layer.high)) {
            let stroke = Stroke {
                colour: sheet.theme.ink,
                width: 0.9 * unit,
                dash: (0.0, 0.0),
            };
            let clamp = |x: f64| x.clamp(frame.left, frame.right);
            let stem = vec![(clamp(low), y), (clamp(high), y)];
            sheet.taken.line(&stem);
            sheet.scene.line(stem, stroke);
            for end in [low, high] {
                if frame.holds((end, y)) {
                    sheet
                        .scene
                        .line(vec![(end, y - 2.0 * unit), (end, y + 2.0 * unit)], stroke);
                }
            }
        }
    }
    let stroke = Stroke {
        colour: sheet.theme.ink,
        width: 0.7 * unit,
        dash: (0.0, 0.0),
    };
    if zero > frame.left + 1.0 {
        sheet
            .scene
            .line(vec![(zero, frame.top), (zero, frame.bottom)], stroke);
    }
}

fn heat_map(sheet: &mut Sheet<'_>, layer: &HeatMap) {
    let (columns, rows) = (
        edges(&layer.x, sheet.x.scale),
        edges(&layer.y, sheet.y.scale),
    );
    for row in 0..layer.y.len() {
        for column in 0..layer.x.len() {
            let height = layer.z.get(row * layer.x.len() + column).copied();
            let Some(height) = height.filter(|height| height.is_finite()) else {
                continue;
            };
            let corner = |column: usize, row: usize| sheet.point(columns[column], rows[row]);
            let (Some(one), Some(other)) = (corner(column, row), corner(column + 1, row + 1))
            else {
                continue;
            };
            let colour = sheet.ramp(height);
            let corners = [one, (other.0, one.1), other, (one.0, other.1)];
            let area = cut_area(&corners, &sheet.frame);
            if area.len() > 2 {
                // The rim in the same colour closes the hairline that smoothing leaves between neighbours.
                sheet.scene.items.push(Item::Path {
                    points: area,
                    closed: true,
                    fill: Some(colour),
                    stroke: Some(Stroke {
                        colour,
                        width: 0.3,
                        dash: (0.0, 0.0),
                    }),
                    opacity: 1.0,
                });
            }
        }
    }
    let frame = sheet.frame;
    sheet.taken.rect(&frame, 4);
}
