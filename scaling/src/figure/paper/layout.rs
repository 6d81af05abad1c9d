//! From a figure to a page: margins, frame, layers, words, in the order in which they are drawn.

use super::colour::{Rgb, Theme};
use super::font::Font;
use super::scene::{Anchor, Item, Point, Rect, Scene};
use super::style::Style;
use super::taken::Taken;
use super::{contours, frame, layers, legend, names};
use crate::figure::scale::{Place, places};
use crate::figure::spec::{Colour, Figure, Layer, Legend};
use crate::figure::ticks::Ticks;

/// A page in the making.
pub(super) struct Sheet<'a> {
    pub figure: &'a Figure,
    pub style: Style,
    pub theme: Theme,
    pub font: &'a Font,
    pub scene: Scene,
    pub taken: Taken,
    /// Where the data is.
    pub frame: Rect,
    pub x: Place,
    pub y: Place,
    pub colour: Place,
    pub x_ticks: Ticks,
    pub y_ticks: Ticks,
    /// Colour of each layer.
    pub colours: Vec<Rgb>,
    /// The vertical axis runs downwards: bars are read from the top.
    pub downwards: bool,
}

/// Lays a figure out. The legend goes into the frame where that hides nothing, otherwise above it.
pub(super) fn scene(figure: &Figure, style: &Style) -> Scene {
    let (style, font) = (style.sane(), Font::new());
    let mut sheet = Sheet::new(figure, &style, &font, 0.0);
    sheet.draw();
    let entries = legend::entries(&sheet);
    if !entries.is_empty() && !legend::inside(&mut sheet, &entries) {
        let height = legend::above_height(&sheet, &entries);
        sheet = Sheet::new(figure, &style, &font, height);
        sheet.draw();
        legend::above(&mut sheet, &entries);
    }
    sheet.scene
}

impl<'a> Sheet<'a> {
    fn new(figure: &'a Figure, style: &Style, font: &'a Font, legend_height: f64) -> Self {
        let (x, y, colour) = places(figure);
        let theme = Theme::new(style.dark);
        let mut sheet = Self {
            figure,
            style: style.clone(),
            theme,
            font,
            scene: Scene {
                width: style.width_pt,
                height: style.height_pt,
                paper: theme.paper,
                items: Vec::new(),
            },
            taken: Taken::new(style.width_pt, style.height_pt),
            frame: Rect {
                left: 0.0,
                top: 0.0,
                right: style.width_pt,
                bottom: style.height_pt,
            },
            x,
            y,
            colour,
            x_ticks: Ticks::default(),
            y_ticks: Ticks::default(),
            colours: Vec::new(),
            downwards: figure
                .layers
                .iter()
                .any(|layer| matches!(layer, Layer::Bars(_))),
        };
        sheet.colours = sheet.resolve();
        frame::measure(&mut sheet, legend_height);
        sheet
    }

    fn draw(&mut self) {
        frame::draw_grid(self);
        for at in 0..self.figure.layers.len() {
            layers::draw(self, at);
        }
        frame::draw_axes(self);
        contours::label(self);
        if self.figure.legend == Legend::Direct {
            names::direct(self);
        }
        names::annotate(self);
    }

    fn resolve(&self) -> Vec<Rgb> {
        let mut next = 0;
        let layers = self.figure.layers.iter();
        layers
            .map(|layer| match layer.colour() {
                Colour::Auto => {
                    next += 1;
                    self.theme.slot(next - 1)
                }
                Colour::Slot(slot) => self.theme.slot(usize::from(slot)),
                Colour::Ink => self.theme.ink,
                Colour::Grey => self.theme.faint,
                Colour::Ramp(value) => self.ramp(value),
            })
            .collect()
    }

    /// Colour of a number on the figure's colour axis.
    pub fn ramp(&self, value: f64) -> Rgb {
        self.colour
            .share(value)
            .map_or(self.theme.grid, |share| self.theme.ramp(share))
    }

    /// Small type: numbers on axes, notes.
    pub fn small(&self) -> f64 {
        self.style.font_pt * 0.9
    }

    /// Lengths grow with the type.
    pub fn unit(&self) -> f64 {
        self.style.font_pt / 9.0
    }

    /// Horizontal place of a number; far outside the page for far outside the axis.
    pub fn px(&self, value: f64) -> Option<f64> {
        let share = self.x.share(value)?.clamp(-1e3, 1e3);
        Some(self.frame.left + share * self.frame.width())
    }

    /// Vertical place of a number.
    pub fn py(&self, value: f64) -> Option<f64> {
        let share = self.y.share(value)?.clamp(-1e3, 1e3);
        let share = if self.downwards { 1.0 - share } else { share };
        Some(self.frame.bottom - share * self.frame.height())
    }

    /// Place of a point.
    pub fn point(&self, x: f64, y: f64) -> Option<Point> {
        Some((self.px(x)?, self.py(y)?))
    }

    /// Words whose middle line is at `y`.
    pub fn words(&mut self, label: &str, (x, y): Point, anchor: Anchor, size: f64, colour: Rgb) {
        self.write(label, (x, y + 0.36 * size), anchor, size, colour, None);
    }

    /// Words that stand on `y`, with a rim of `halo`.
    pub fn write(
        &mut self,
        label: &str,
        at: Point,
        anchor: Anchor,
        size: f64,
        colour: Rgb,
        halo: Option<Rgb>,
    ) {
        self.scene.items.push(Item::Words {
            at,
            label: label.to_owned(),
            anchor,
            size,
            bold: false,
            upwards: false,
            colour,
            halo,
        });
    }
}

impl Layer {
    fn colour(&self) -> Colour {
        match self {
            Self::Points(layer) => layer.colour,
            Self::Line(layer) => layer.colour,
            Self::Band(layer) => layer.colour,
            Self::Contours(layer) => layer.colour,
            Self::Bars(layer) => layer.colour,
            Self::HeatMap(_) => Colour::Grey,
        }
    }
}
