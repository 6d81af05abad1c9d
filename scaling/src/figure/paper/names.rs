//! Words beside what they name: lines at their ends, annotations; each where it hides least.

use super::colour::mix;
use super::layout::Sheet;
use super::scene::{Anchor, Point, Rect, Stroke};
use crate::figure::spec::Layer;

/// Writes each labelled line's name at its right end: in the freest place beside it, or, where lines end at the edge of the
/// frame, in the margin, pushed apart where ends are close.
pub(super) fn direct(sheet: &mut Sheet<'_>) {
    let (unit, small, frame) = (sheet.unit(), sheet.small(), sheet.frame);
    let ink = sheet.theme.ink;
    let (mut outside, mut inside) = (Vec::new(), Vec::new());
    for (layer, colour) in sheet.figure.layers.iter().zip(&sheet.colours) {
        let Layer::Line(line) = layer else {
            continue;
        };
        let ends = line
            .x
            .iter()
            .zip(&line.y)
            .filter_map(|(x, y)| sheet.point(*x, *y));
        let end = ends
            .filter(|end| frame.holds(*end))
            .max_by(|one, other| one.0.total_cmp(&other.0));
        if let (Some(end), false) = (end, line.label.is_empty()) {
            // Words need more contrast than lines do.
            let name = (end, line.label.clone(), mix(*colour, ink, 0.35));
            if end.0 > frame.right - frame.width() * 0.06 {
                outside.push(name);
            } else {
                inside.push(name);
            }
        }
    }
    for (end, label, colour) in inside {
        let width = sheet.font.width(&label, small, false);
        let rect = |(x, y): Point| Rect {
            left: x,
            right: x + width,
            top: y - small * 0.55,
            bottom: y + small * 0.55,
        };
        let beside = [0.0, -0.6, 0.6, -1.1, 1.1]
            .map(|rows| (end.0 + 4.0 * unit, end.1 + rows * small * 1.1));
        let above = [-1.0, 1.0].map(|rows| (end.0 - width, end.1 + rows * small * 1.1));
        let page = Rect {
            right: sheet.style.width_pt - 2.0,
            ..frame
        };
        let fits = beside
            .into_iter()
            .chain(above)
            .filter(|place| rect(*place).within(&page));
        let Some(place) = fits.min_by_key(|place| sheet.taken.cost(&rect(*place))) else {
            outside.push((end, label, colour));
            continue;
        };
        sheet.taken.rect(&rect(place), 6);
        sheet.words(&label, place, Anchor::Start, small, colour);
    }
    outside.sort_by(|one, other| one.0.1.total_cmp(&other.0.1));
    let wanted: Vec<f64> = outside.iter().map(|(end, ..)| end.1).collect();
    let places = spread(&wanted, small * 1.15, frame.top, frame.bottom);
    let room = super::frame::direct_width(sheet) - 6.0 * unit;
    for ((_, label, colour), y) in outside.into_iter().zip(places) {
        let label = sheet.font.cut(&label, small, false, room);
        sheet.words(
            &label,
            (frame.right + 4.0 * unit, y),
            Anchor::Start,
            small,
            colour,
        );
    }
}

/// Ascending places at least `gap` apart, each as near to where it is wanted as its neighbours let it: places that would
/// touch become a block around the mean of their wishes.
fn spread(wanted: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    // A block: sum of the wishes for its first place, and how many it holds.
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for want in wanted {
        blocks.push((*want, 1));
        while let [.., one, other] = blocks.as_slice() {
            let (one, other) = (*one, *other);
            let start = one.0 / one.1 as f64;
            if start + gap * one.1 as f64 <= other.0 / other.1 as f64 {
                break;
            }
            blocks.truncate(blocks.len() - 2);
            let moved = other.0 - gap * (one.1 * other.1) as f64;
            blocks.push((one.0 + moved, one.1 + other.1));
        }
    }
    let mut places: Vec<f64> = blocks
        .into_iter()
        .flat_map(|(sum, count)| (0..count).map(move |at| sum / count as f64 + gap * at as f64))
        .collect();
    let mut limit = high;
    for place in places.iter_mut().rev() {
        *place = place.min(limit);
        limit = *place - gap;
    }
    let mut limit = low;
    for place in &mut places {
        *place = place.max(limit);
        limit = *place + gap;
    }
    places
}

/// Draws annotations: dashed lines across the frame, words in the freest place beside.
pub(super) fn annotate(sheet: &mut Sheet<'_>) {
    let (unit, size) = (sheet.unit(), sheet.small());
    let (frame, faint, ink) = (sheet.frame, sheet.theme.faint, sheet.theme.ink);
    let stroke = Stroke {
        colour: faint,
        width: 0.8 * unit,
        dash: (3.0 * unit, 2.0 * unit),
    };
    for annotation in &sheet.figure.annotations {
        let x = annotation
            .x
            .and_then(|x| sheet.px(x))
            .filter(|x| frame.holds((*x, frame.top)));
        let y = annotation
            .y
            .and_then(|y| sheet.py(y))
            .filter(|y| frame.holds((frame.left, *y)));
        let text = sheet
            .font
            .cut(&annotation.text, size, false, frame.width() * 0.9);
        let (width, half, gap) = (sheet.font.width(&text, size, false), size * 0.6, 3.0 * unit);
        // Centres of the words, best first.
        let mut places: Vec<(f64, f64)> = Vec::new();
        match (annotation.x.is_some(), annotation.y.is_some(), x, y) {
            (true, false, Some(x), _) => {
                let line = vec![(x, frame.bottom), (x, frame.top)];
                sheet.taken.line(&line);
                sheet.scene.line(line, stroke);
                for step in 0..12 {
                    let y = frame.top
                        + half
                        + gap
                        + (frame.height() - 2.0 * (half + gap)) * f64::from(step) / 11.0;
                    places.push((x + gap + width / 2.0, y));
                    places.push((x - gap - width / 2.0, y));
                }
            }
            (false, true, _, Some(y)) => {
                let line = vec![(frame.left, y), (frame.right, y)];
                sheet.taken.line(&line);
                sheet.scene.line(line, stroke);
                for step in 0..12 {
                    let x = frame.right
                        - gap
                        - width / 2.0
                        - (frame.width() - 2.0 * gap - width) * f64::from(step) / 11.0;
                    places.push((x, y - half - 1.0));
                    places.push((x, y + half + 1.0));
                }
            }
            (true, true, Some(x), Some(y)) => {
                for away in [5.0 * unit, 11.0 * unit, 20.0 * unit] {
                    for (right, down) in [
                        (1.0, -1.0),
                        (-1.0, -1.0),
                        (1.0, 1.0),
                        (-1.0, 1.0),
                        (1.0, 0.0),
                        (-1.0, 0.0),
                        (0.0, -1.0),
                        (0.0, 1.0),
                    ] {
                        places.push((
                            x + right * (away + width / 2.0),
                            y + down * (away + half * 0.5),
                        ));
                    }
                }
            }
            _ => continue,
        }
        if text.is_empty() {
            continue;
        }
        let rect = |(x, y): (f64, f64)| Rect {
            left: x - width / 2.0,
            right: x + width / 2.0,
            top: y - half,
            bottom: y + half,
        };
        let fits = places.iter().filter(|place| rect(**place).within(&frame));
        let cheapest = fits.min_by_key(|place| sheet.taken.cost(&rect(**place)));
        let Some(place) = cheapest.or(places.first()).copied() else {
            continue;
        };
        let halo = sheet.theme.paper;
        sheet.write(
            &text,
            (place.0, place.1 + 0.36 * size),
            Anchor::Middle,
            size,
            ink,
            Some(halo),
        );
        sheet.taken.rect(&rect(place), 6);
    }
}
