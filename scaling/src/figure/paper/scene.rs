//! What a figure becomes before a medium: paths, discs and words, all within the page.

use super::colour::Rgb;

/// A place on the page, points from the upper left corner.
pub(super) type Point = (f64, f64);

/// An upright rectangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rect {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Rect {
    pub fn width(&self) -> f64 {
        self.right - self.left
    }

    pub fn height(&self) -> f64 {
        self.bottom - self.top
    }

    pub fn holds(&self, (x, y): Point) -> bool {
        let slack = 1e-6;
        x >= self.left - slack
            && x <= self.right + slack
            && y >= self.top - slack
            && y <= self.bottom + slack
    }

    pub fn within(&self, outer: &Rect) -> bool {
        outer.holds((self.left, self.top)) && outer.holds((self.right, self.bottom))
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Stroke {
    pub colour: Rgb,
    pub width: f64,
    /// Lengths of dash and gap; 0 and 0 for a solid line.
    pub dash: (f64, f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

#[derive(Clone, Debug)]
pub(super) enum Item {
    Path {
        points: Vec<Point>,
        closed: bool,
        fill: Option<Rgb>,
        stroke: Option<Stroke>,
        opacity: f64,
    },
    Disc {
        at: Point,
        radius: f64,
        fill: Option<Rgb>,
        stroke: Option<Stroke>,
        opacity: f64,
    },
    Words {
        /// Where the line of letters stands, at its anchor.
        at: Point,
        label: String,
        anchor: Anchor,
        size: f64,
        bold: bool,
        /// Read from the bottom to the top.
        upwards: bool,
        colour: Rgb,
        /// Colour of a rim that keeps words apart from lines behind them.
        halo: Option<Rgb>,
    },
}

/// A page.
#[derive(Clone, Debug, Default)]
pub(super) struct Scene {
    pub width: f64,
    pub height: f64,
    pub paper: Rgb,
    pub items: Vec<Item>,
}

impl Scene {
    pub fn line(&mut self, points: Vec<Point>, stroke: Stroke) {
        self.items.push(Item::Path {
            points,
            closed: false,
            fill: None,
            stroke: Some(stroke),
            opacity: 1.0,
        });
    }

    pub fn area(&mut self, points: Vec<Point>, fill: Rgb, opacity: f64) {
        self.items.push(Item::Path {
            points,
            closed: true,
            fill: Some(fill),
            stroke: None,
            opacity,
        });
    }
}

/// The parts of a line within a rectangle.
pub(super) fn cut_line(line: &[Point], frame: &Rect) -> Vec<Vec<Point>> {
    let mut parts: Vec<Vec<Point>> = Vec::new();
    for pair in line.windows(2) {
        let Some((from, to)) = cut_segment(pair[0], pair[1], frame) else {
            continue;
        };
        match parts.last_mut() {
            Some(part) if part.last() == Some(&from) => part.push(to),
            _ => parts.push(vec![from, to]),
        }
    }
    parts
}

/// Liang and Barsky: the share of a segment on the inner side of each of four lines.
fn cut_segment(from: Point, to: Point, frame: &Rect) -> Option<(Point, Point)> {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let (mut enter, mut leave) = (0.0_f64, 1.0_f64);
    for (slope, room) in [
        (-dx, from.0 - frame.left),
        (dx, frame.right - from.0),
        (-dy, from.1 - frame.top),
        (dy, frame.bottom - from.1),
    ] {
        if slope == 0.0 {
            if room < 0.0 {
                return None;
            }
        } else if slope < 0.0 {
            enter = enter.max(room / slope);
        } else {
            leave = leave.min(room / slope);
        }
    }
    let at = |share: f64| (from.0 + dx * share, from.1 + dy * share);
    let start = if enter > 0.0 { at(enter) } else { from };
    let end = if leave < 1.0 { at(leave) } else { to };
    (enter <= leave).then_some((start, end))
}

/// The part of an area within a rectangle: Sutherland and Hodgman, one side after the other.
pub(super) fn cut_area(area: &[Point], frame: &Rect) -> Vec<Point> {
    let sides: [(usize, f64, f64); 4] = [
        (0, 1.0, frame.left),
        (0, -1.0, frame.right),
        (1, 1.0, frame.top),
        (1, -1.0, frame.bottom),
    ];
    let mut area = area.to_vec();
    for (axis, sign, limit) in sides {
        let along = |point: &Point| if axis == 0 { point.0 } else { point.1 };
        let depth = |point: &Point| sign * (along(point) - limit);
        let mut kept = Vec::with_capacity(area.len() + 4);
        for (at, point) in area.iter().enumerate() {
            let before = &area[(at + area.len() - 1) % area.len()];
            let (was, is) = (depth(before), depth(point));
            if (was < 0.0) != (is < 0.0) {
                let share = was / (was - is);
                let mut edge = (
                    before.0 + (point.0 - before.0) * share,
                    before.1 + (point.1 - before.1) * share,
                );
                if axis == 0 {
                    edge.0 = limit
                } else {
                    edge.1 = limit
                }
                kept.push(edge);
            }
            if is >= 0.0 {
                kept.push(*point);
            }
        }
        area = kept;
    }
    area
}
