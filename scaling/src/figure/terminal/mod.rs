//! A figure in a terminal: braille dots, two by four in a character; bars as blocks, heat maps as shades.

mod bars;
mod board;

use self::bars::bars;
use self::board::Board;
use super::scale::{Place, places};
use super::spec::{Colour, Dash, Figure, Layer, Shape};
use super::text::{axis_title, plain};
use super::ticks::{Ticks, ticks};

/// Colours of the 256 that terminals share: blue, orange, green, pink, sky, yellow, grey; bright enough on dark and light.
const PALETTE: [u8; 7] = [32, 166, 36, 175, 74, 178, 245];
/// Indigo to yellow in the same 256.
const RAMP: [u8; 8] = [55, 61, 31, 37, 36, 71, 149, 227];
const GREY: u8 = 245;

/// The figure as lines of text, about `width` by `height` characters with axes (at least 24 by 6), title and legend beside
/// that. With `colour`, ANSI sequences colour the layers.
#[must_use]
pub fn to_terminal(figure: &Figure, width: usize, height: usize, colour: bool) -> String {
    let (width, height) = (width.clamp(24, 400), height.clamp(6, 200));
    let mut text = String::new();
    if !figure.title.is_empty() {
        text.push_str(&plain(&figure.title));
        text.push('\n');
    }
    let is_bars = |layer: &Layer| matches!(layer, Layer::Bars(_));
    if figure.layers.iter().any(is_bars) {
        for layer in &figure.layers {
            if let Layer::Bars(layer) = layer {
                text.push_str(&bars(figure, layer, width, colour));
            }
        }
        return text;
    }
    let (x, y, ramp) = places(figure);
    let y_ticks = ticks(y.low, y.high, y.scale, (height / 3).clamp(2, 8));
    let x_ticks = ticks(x.low, x.high, x.scale, (width / 12).clamp(2, 8));
    let widest = y_ticks
        .major
        .iter()
        .map(|tick| plain(&tick.label).chars().count());
    let margin = widest.max().unwrap_or(1);
    let y_title = plain(&axis_title(
        &figure.y.label,
        &figure.y.unit,
        y_ticks.exponent,
    ));
    if !y_title.is_empty() {
        text.push_str(&y_title);
        text.push('\n');
    }
    let mut board = Board::new(width - margin - 2, height - 2, x, y);
    let shades: Vec<u8> = slots(figure, &ramp);
    for (layer, shade) in figure.layers.iter().zip(&shades) {
        board.layer(layer, *shade, &ramp);
    }
    for annotation in &figure.annotations {
        board.rule(annotation.x, annotation.y);
    }
    if board.is_empty() {
        text.push_str("no data\n");
        return text;
    }
    board.write(&mut text, &y_ticks, margin, colour);
    footer(&mut text, figure, &board, &x_ticks, margin);
    for (layer, shade) in figure.layers.iter().zip(&shades) {
        if let Some((label, mark)) = entry(layer) {
            text.push_str(&format!(
                "{} {}\n",
                paint(mark, Some(*shade), colour),
                plain(label)
            ));
        }
    }
    if let Some(axis) = &figure.colour {
        let title = plain(&axis_title(&axis.label, &axis.unit, 0));
        let bar: String = RAMP
            .iter()
            .map(|shade| paint("█", Some(*shade), colour))
            .collect();
        text.push_str(&format!(
            "{title}: {} {bar} {}\n",
            short(ramp.low),
            short(ramp.high)
        ));
    }
    for annotation in &figure.annotations {
        text.push_str(&note(annotation.x, annotation.y, &annotation.text));
    }
    let lost = figure.left_out();
    if lost > 0 {
        text.push_str(&format!("{lost} left out: not finite or not on the axis\n"));
    }
    text
}

fn note(x: Option<f64>, y: Option<f64>, words: &str) -> String {
    if words.is_empty() {
        return String::new();
    }
    let place = match (x, y) {
        (Some(x), Some(y)) => format!("{}, {}", short(x), short(y)),
        (Some(at), None) | (None, Some(at)) => short(at),
        (None, None) => return String::new(),
    };
    format!("┆ {place}: {}\n", plain(words))
}

/// Three or four digits of a number.
fn short(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e5).contains(&size) {
        format!("{value:.2e}")
    } else {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

fn paint(text: &str, shade: Option<u8>, colour: bool) -> String {
    match shade {
        Some(shade) if colour => format!("\u{1b}[38;5;{shade}m{text}\u{1b}[0m"),
        _ => text.to_owned(),
    }
}

fn ramp_shade(ramp: &Place, value: f64) -> u8 {
    let share = ramp.share(value).unwrap_or(0.0).clamp(0.0, 1.0);
    RAMP[((share * RAMP.len() as f64) as usize).min(RAMP.len() - 1)]
}

fn slots(figure: &Figure, ramp: &Place) -> Vec<u8> {
    let mut next = 0;
    let layers = figure.layers.iter();
    layers
        .map(|layer| {
            let colour = match layer {
                Layer::Points(layer) => layer.colour,
                Layer::Line(layer) => layer.colour,
                Layer::Band(layer) => layer.colour,
                Layer::Contours(layer) => layer.colour,
                Layer::Bars(layer) => layer.colour,
                Layer::HeatMap(_) => Colour::Grey,
            };
            match colour {
                Colour::Auto => {
                    next += 1;
                    PALETTE[(next - 1) % PALETTE.len()]
                }
                Colour::Slot(slot) => PALETTE[usize::from(slot) % PALETTE.len()],
                Colour::Ink | Colour::Grey => GREY,
                Colour::Ramp(value) => ramp_shade(ramp, value),
            }
        })
        .collect()
}

fn entry(layer: &Layer) -> Option<(&str, &'static str)> {
    let (label, mark) = match layer {
        Layer::Points(layer) if layer.shape == Shape::Ring => (&layer.label, "○"),
        Layer::Points(layer) if layer.shape == Shape::Tick => (&layer.label, "│"),
        Layer::Points(layer) => (&layer.label, "●"),
        Layer::Line(layer) if layer.dash == Dash::Solid => (&layer.label, "─"),
        Layer::Line(layer) => (&layer.label, "┄"),
        Layer::Band(layer) => (&layer.label, "░"),
        Layer::Contours(layer) => (&layer.label, "─"),
        _ => return None,
    };
    (!label.is_empty()).then_some((label.as_str(), mark))
}
fn footer(text: &mut String, figure: &Figure, board: &Board, x_ticks: &Ticks, margin: usize) {
    let mut rule: Vec<char> = vec!['─'; board.width];
    let mut numbers: Vec<char> = vec![' '; board.width + margin + 2];
    let mut free = 0_usize;
    for tick in &x_ticks.major {
        let Some((across, _)) = board.place(tick.value, board.y.low) else {
            continue;
        };
        let column = (across.round().max(0.0) as usize / 2).min(board.width - 1);
        rule[column] = '┬';
        let label: Vec<char> = plain(&tick.label).chars().collect();
        let start = (column + margin + 2)
            .saturating_sub(label.len() / 2)
            .min(numbers.len() - label.len().min(numbers.len()));
        if start >= free {
            for (at, letter) in label.iter().enumerate() {
                if let Some(place) = numbers.get_mut(start + at) {
                    *place = *letter;
                }
            }
            free = start + label.len() + 1;
        }
    }
    let rule: String = rule.into_iter().collect();
    let numbers: String = numbers.into_iter().collect();
    text.push_str(&format!(
        "{} └{rule}\n{}\n",
        " ".repeat(margin),
        numbers.trim_end()
    ));
    let title = plain(&axis_title(
        &figure.x.label,
        &figure.x.unit,
        x_ticks.exponent,
    ));
    if !title.is_empty() {
        let indent = margin + 2 + board.width.saturating_sub(title.chars().count()) / 2;
        text.push_str(&format!("{}{title}\n", " ".repeat(indent)));
    }
}
