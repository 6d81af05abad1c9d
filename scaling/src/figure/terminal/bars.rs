//! Horizontal bars as blocks.

use super::{GREY, PALETTE, paint, ramp_shade, short};
use crate::figure::scale::places;
use crate::figure::spec::{Bars, Colour, Figure};
use crate::figure::text::{axis_title, plain};

/// A row for each bar: name, bar in eighths of a character, number and whiskers.
pub(super) fn bars(figure: &Figure, layer: &Bars, width: usize, colour: bool) -> String {
    let (x, _, ramp) = places(figure);
    let name = |at: usize| {
        figure
            .y
            .categories
            .get(at)
            .map_or(String::new(), |name| plain(name))
    };
    let cut = |name: String| -> String {
        let most = width / 3;
        if name.chars().count() <= most {
            return name;
        }
        name.chars()
            .take(most.saturating_sub(1))
            .chain(std::iter::once('…'))
            .collect()
    };
    let names: Vec<String> = (0..layer.value.len()).map(|at| cut(name(at))).collect();
    let margin = names
        .iter()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0);
    let room = width.saturating_sub(margin + 26).max(8);
    let shade = match layer.colour {
        Colour::Slot(slot) => PALETTE[usize::from(slot) % PALETTE.len()],
        Colour::Ramp(value) => ramp_shade(&ramp, value),
        Colour::Ink | Colour::Grey => GREY,
        Colour::Auto => PALETTE[0],
    };
    let mut text = String::new();
    let share = |value: f64| x.share(value).unwrap_or(0.0).clamp(0.0, 1.0);
    for (at, name) in names.iter().enumerate() {
        let value = layer.value[at];
        let eighths = ((share(value) - share(0.0)).abs() * room as f64 * 8.0).round() as usize;
        let mut bar = "█".repeat(eighths / 8);
        if !eighths.is_multiple_of(8) {
            bar.push(['▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8 - 1]);
        }
        let padding = " ".repeat(room.saturating_sub(bar.chars().count()));
        let ends = match (layer.low.get(at), layer.high.get(at)) {
            (Some(low), Some(high)) => format!(" [{}, {}]", short(*low), short(*high)),
            _ => String::new(),
        };
        text.push_str(&format!(
            "{name:>margin$} │{}{padding} {}{ends}\n",
            paint(&bar, Some(shade), colour),
            short(value)
        ));
    }
    let title = plain(&axis_title(&figure.x.label, &figure.x.unit, 0));
    if !title.is_empty() {
        text.push_str(&format!("{} └ {title}\n", " ".repeat(margin)));
    }
    text
}
