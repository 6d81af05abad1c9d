//! Widths and outlines of letters, from the fonts in `fonts/`.

use ttf_parser::{Face, OutlineBuilder};

use crate::figure::text::{Level, Span, parse};

/// Raised and lowered letters are this much smaller.
const SMALL: f64 = 0.72;

/// Two weights of one family.
pub(super) struct Font {
    regular: Face<'static>,
    bold: Face<'static>,
}

/// A stretch of a label with its place in the line: distance from the start, rise, type size.
pub(super) struct Placed {
    pub text: String,
    pub advance: f64,
    pub rise: f64,
    pub size: f64,
}

impl Font {
    pub fn new() -> Self {
        let face =
            |bytes: &'static [u8]| Face::parse(bytes, 0).expect("the font in this crate is one");
        Self {
            regular: face(include_bytes!("../../../fonts/inter-regular.ttf")),
            bold: face(include_bytes!("../../../fonts/inter-semibold.ttf")),
        }
    }

    fn face(&self, bold: bool) -> &Face<'static> {
        if bold { &self.bold } else { &self.regular }
    }

    fn advance(&self, letter: char, bold: bool) -> f64 {
        let face = self.face(bold);
        // A letter that the font lacks: the renderer of an SVG will find another font, where most such letters are wide.
        let Some(glyph) = face.glyph_index(letter) else {
            return 1.0;
        };
        let advance = face.glyph_hor_advance(glyph).unwrap_or(0);
        f64::from(advance) / f64::from(face.units_per_em())
    }

    /// Stretches of a label in a line that starts at 0, and the width of the line.
    pub fn line(&self, label: &str, size: f64, bold: bool) -> (Vec<Placed>, f64) {
        let mut at = 0.0;
        let placed = parse(label)
            .into_iter()
            .map(|Span { text, level }| {
                let (scale, rise) = match level {
                    Level::Base => (1.0, 0.0),
                    Level::Super => (SMALL, 0.36),
                    Level::Sub => (SMALL, -0.16),
                };
                let advance = at;
                let width: f64 = text.chars().map(|c| self.advance(c, bold)).sum();
                at += width * size * scale;
                Placed {
                    text,
                    advance,
                    rise: rise * size,
                    size: size * scale,
                }
            })
            .collect();
        (placed, at)
    }

    pub fn width(&self, label: &str, size: f64, bold: bool) -> f64 {
        self.line(label, size, bold).1
    }

    /// A text broken into lines no wider than `width`, where it has spaces; a word that is wider is cut with an ellipsis. At
    /// most `most` lines, the last one cut with an ellipsis where there would be more.
    pub fn wrap(&self, text: &str, size: f64, bold: bool, width: f64, most: usize) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            let joined = lines.last().map(|line| format!("{line} {word}"));
            match joined {
                Some(joined) if self.width(&joined, size, bold) <= width || lines.len() == most => {
                    lines.pop();
                    lines.push(joined);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        lines
            .into_iter()
            .map(|line| self.cut(&line, size, bold, width))
            .collect()
    }

    /// A text no wider than `width`: letters at its end give way to an ellipsis. Markup does not survive the cut.
    pub fn cut(&self, text: &str, size: f64, bold: bool, width: f64) -> String {
        if self.width(text, size, bold) <= width {
            return text.to_owned();
        }
        let mut letters: Vec<char> = crate::figure::text::plain(text).chars().collect();
        loop {
            let shown: String = letters.iter().collect::<String>().trim_end().to_owned() + "…";
            if letters.is_empty() || self.width(&shown, size, bold) <= width {
                return shown;
            }
            letters.pop();
        }
    }

    /// Draws the outlines of a text whose line starts at (`x`, `y`).
    pub fn outline(
        &self,
        text: &str,
        x: f64,
        y: f64,
        size: f64,
        bold: bool,
        pen: &mut dyn OutlineBuilder,
    ) {
        let face = self.face(bold);
        let scale = size / f64::from(face.units_per_em());
        let mut at = x;
        for letter in text.chars() {
            let glyph = face
                .glyph_index(letter)
                .or_else(|| face.glyph_index('\u{fffd}'));
            if let Some(glyph) = glyph {
                let mut moved = Moved {
                    pen,
                    x: at,
                    y,
                    scale,
                };
                face.outline_glyph(glyph, &mut moved);
            }
            at += self.advance(letter, bold) * size;
        }
    }
}

/// From the font's units, upwards, to points on the page, downwards.
struct Moved<'a> {
    pen: &'a mut dyn OutlineBuilder,
    x: f64,
    y: f64,
    scale: f64,
}

impl Moved<'_> {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (
            (self.x + f64::from(x) * self.scale) as f32,
            (self.y - f64::from(y) * self.scale) as f32,
        )
    }
}

impl OutlineBuilder for Moved<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.pen.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.pen.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.pen.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.pen.curve_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.pen.close();
    }
}
