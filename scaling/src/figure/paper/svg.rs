//! A scene as SVG: text stays text, unless the style wants outlines.

use std::fmt::Write;

use ttf_parser::OutlineBuilder;

use super::colour::Rgb;
use super::font::Font;
use super::scene::{Anchor, Item, Point, Scene, Stroke};
use super::style::Style;
use crate::figure::Figure;
use crate::figure::text::plain;

/// Hundredths of a point are finer than any printer; shorter numbers make smaller files.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

fn hex(colour: Rgb) -> String {
    format!("#{colour:06x}")
}

/// Text for XML: marks escaped, and without the control characters that XML cannot hold.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(' '),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {}
            letter => escaped.push(letter),
        }
    }
    escaped
}

pub(super) fn write(figure: &Figure, style: &Style, scene: &Scene) -> String {
    let font = Font::new();
    let (width, height) = (number(scene.width), number(scene.height));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}pt\" height=\"{height}pt\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" font-family=\"Inter, 'Helvetica Neue', Helvetica, Arial, sans-serif\">\n"
    );
    push(
        &mut svg,
        format_args!("<title>{}</title>\n", escape(&plain(&figure.title))),
    );
    push(
        &mut svg,
        format_args!("<desc>{}</desc>\n", escape(&plain(&figure.caption))),
    );
    push(
        &mut svg,
        format_args!(
            "<rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>\n",
            hex(scene.paper)
        ),
    );
    for item in &scene.items {
        match item {
            Item::Path {
                points,
                closed,
                fill,
                stroke,
                opacity,
            } => {
                if points.len() > 1 {
                    let data = path(points, *closed);
                    push(
                        &mut svg,
                        format_args!("<path d=\"{data}\"{}/>\n", paint(*fill, *stroke, *opacity)),
                    );
                }
            }
            Item::Disc {
                at,
                radius,
                fill,
                stroke,
                opacity,
            } => push(
                &mut svg,
                format_args!(
                    "<circle cx=\"{}\" cy=\"{}\" r=\"{}\"{}/>\n",
                    number(at.0),
                    number(at.1),
                    number(*radius),
                    paint(*fill, *stroke, *opacity)
                ),
            ),
            Item::Words { .. } if style.outlines => outlines(&mut svg, item, &font),
            Item::Words { .. } => words(&mut svg, item, &font),
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Writing to a string cannot fail.
fn push(svg: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = svg.write_fmt(arguments);
}

fn path(points: &[Point], closed: bool) -> String {
    let mut data = String::with_capacity(points.len() * 12);
    for (at, (x, y)) in points.iter().enumerate() {
        let letter = if at == 0 { 'M' } else { 'L' };
        push(
            &mut data,
            format_args!("{letter}{} {}", number(*x), number(*y)),
        );
    }
    if closed {
        data.push('Z');
    }
    data
}

fn paint(fill: Option<Rgb>, stroke: Option<Stroke>, opacity: f64) -> String {
    let mut text = format!(" fill=\"{}\"", fill.map_or("none".to_owned(), hex));
    if let Some(stroke) = stroke {
        push(
            &mut text,
            format_args!(
                " stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\"",
                hex(stroke.colour),
                number(stroke.width)
            ),
        );
        if stroke.dash.0 > 0.0 {
            push(
                &mut text,
                format_args!(
                    " stroke-dasharray=\"{} {}\"",
                    number(stroke.dash.0),
                    number(stroke.dash.1)
                ),
            );
        }
    }
    if opacity < 1.0 {
        push(&mut text, format_args!(" opacity=\"{}\"", number(opacity)));
    }
    text
}

fn words(svg: &mut String, item: &Item, font: &Font) {
    let Item::Words {
        at,
        label,
        anchor,
        size,
        bold,
        upwards,
        colour,
        halo,
    } = item
    else {
        return;
    };
    let (spans, _) = font.line(label, *size, *bold);
    push(
        svg,
        format_args!(
            "<text x=\"{}\" y=\"{}\" font-size=\"{}\" fill=\"{}\"",
            number(at.0),
            number(at.1),
            number(*size),
            hex(*colour)
        ),
    );
    match anchor {
        Anchor::Start => {}
        Anchor::Middle => svg.push_str(" text-anchor=\"middle\""),
        Anchor::End => svg.push_str(" text-anchor=\"end\""),
    }
    if *bold {
        svg.push_str(" font-weight=\"600\"");
    }
    turn_and_rim(svg, *at, *size, *upwards, *halo);
    svg.push('>');
    let mut rise = 0.0;
    for span in &spans {
        let text = escape(&span.text);
        if span.rise == rise && span.rise == 0.0 {
            svg.push_str(&text);
        } else {
            // A shift of the line lasts: the next stretch undoes it.
            let shift = number(rise - span.rise);
            push(
                svg,
                format_args!(
                    "<tspan dy=\"{shift}\" font-size=\"{}\">{text}</tspan>",
                    number(span.size)
                ),
            );
            rise = span.rise;
        }
    }
    svg.push_str("</text>\n");
}

fn outlines(svg: &mut String, item: &Item, font: &Font) {
    let Item::Words {
        at,
        label,
        anchor,
        size,
        bold,
        upwards,
        colour,
        halo,
    } = item
    else {
        return;
    };
    let (spans, width) = font.line(label, *size, *bold);
    let mut pen = Pen(String::new());
    let start = at.0 - offset(*anchor, width);
    for span in spans {
        font.outline(
            &span.text,
            start + span.advance,
            at.1 - span.rise,
            span.size,
            *bold,
            &mut pen,
        );
    }
    push(
        svg,
        format_args!("<path d=\"{}\" fill=\"{}\"", pen.0, hex(*colour)),
    );
    turn_and_rim(svg, *at, *size, *upwards, *halo);
    svg.push_str("/>\n");
}

/// From the anchor back to the start of a line of this width.
pub(super) fn offset(anchor: Anchor, width: f64) -> f64 {
    match anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => width / 2.0,
        Anchor::End => width,
    }
}

struct Pen(String);

impl Pen {
    fn add(&mut self, letter: char, numbers: &[f32]) {
        self.0.push(letter);
        let texts: Vec<String> = numbers.iter().map(|v| number(f64::from(*v))).collect();
        self.0.push_str(&texts.join(" "));
    }
}

impl OutlineBuilder for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        self.add('M', &[x, y]);
    }
    fn line_to(&mut self, x: f32, y: f32) {
        self.add('L', &[x, y]);
    }
    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.add('Q', &[x1, y1, x, y]);
    }
    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.add('C', &[x1, y1, x2, y2, x, y]);
    }
    fn close(&mut self) {
        self.0.push('Z');
    }
}

/// Attributes of words that are read upwards, and of a rim around letters.
fn turn_and_rim(svg: &mut String, at: Point, size: f64, upwards: bool, halo: Option<Rgb>) {
    if upwards {
        push(
            svg,
            format_args!(
                " transform=\"rotate(-90 {} {})\"",
                number(at.0),
                number(at.1)
            ),
        );
    }
    if let Some(halo) = halo {
        push(
            svg,
            format_args!(
                " stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\" paint-order=\"stroke\"",
                hex(halo),
                number(size * 0.4)
            ),
        );
    }
}
