//! A scene as PNG. Drawn without vector instructions: the same pixels on every machine.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use ttf_parser::OutlineBuilder;
use zeno::{Command, Fill, Join, Mask, PathBuilder as _, Stroke as Pen, Transform};

use super::colour::Rgb;
use super::font::Font;
use super::scene::{Item, Scene, Stroke};
use super::style::Style;
use super::svg::offset;

/// Pixels, three bytes each, and how many of them a point has.
struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
    scale: f32,
}

impl Canvas {
    /// `None` where the page is too large for memory.
    fn new(width: usize, height: usize, paper: Rgb, scale: f32) -> Option<Self> {
        let bytes = width
            .checked_mul(height)?
            .checked_mul(3)
            .filter(|bytes| *bytes > 0 && *bytes <= PAGE_BYTES_MAX)?;
        let pixels = channels(paper).into_iter().cycle().take(bytes).collect();
        Some(Self {
            width,
            height,
            pixels,
            scale,
        })
    }

    fn fill(&mut self, path: &[Command], rgb: Rgb, opacity: f64, turn: Transform) {
        let transform = turn.then_scale(self.scale, self.scale);
        let mut mask = Mask::new(path);
        mask.style(Fill::NonZero).transform(Some(transform));
        self.lay(&mask.render(), rgb, opacity);
    }

    fn stroke(&mut self, path: &[Command], stroke: &Stroke, opacity: f64, turn: Transform) {
        let dashes = [stroke.dash.0 as f32, stroke.dash.1 as f32];
        let mut pen = Pen::new(stroke.width as f32);
        pen.join(Join::Round);
        if dashes[0] > 0.0 {
            pen.dash(&dashes, 0.0);
        }
        let transform = turn.then_scale(self.scale, self.scale);
        let mut mask = Mask::new(path);
        mask.style(pen).transform(Some(transform));
        self.lay(&mask.render(), stroke.colour, opacity);
    }

    fn shape(&mut self, path: &[Command], fill: Option<Rgb>, stroke: Option<Stroke>, opacity: f64) {
        if let Some(fill) = fill {
            self.fill(path, fill, opacity, Transform::IDENTITY);
        }
        if let Some(stroke) = stroke {
            self.stroke(path, &stroke, opacity, Transform::IDENTITY);
        }
    }

    /// Lays a colour over the page as thickly as the mask says.
    fn lay(&mut self, (mask, place): &(Vec<u8>, zeno::Placement), rgb: Rgb, opacity: f64) {
        let share = (opacity.clamp(0.0, 1.0) * 256.0 + 0.5) as u32;
        let ink = channels(rgb).map(u32::from);
        let columns = place.width as usize;
        for (row, coverage) in mask.chunks_exact(columns.max(1)).enumerate() {
            let Ok(y) = usize::try_from(place.top + row as i32) else {
                continue;
            };
            if y >= self.height {
                break;
            }
            for (column, thick) in coverage.iter().enumerate().filter(|(_, thick)| **thick > 0) {
                let Ok(x) = usize::try_from(place.left + column as i32) else {
                    continue;
                };
                if x >= self.width {
                    break;
                }
                // of 65,280 parts
                let over = u32::from(*thick) * share;
                let at = 3 * (y * self.width + x);
                for (below, ink) in self.pixels[at..at + 3].iter_mut().zip(ink) {
                    let mixed = u32::from(*below) * (65_280 - over) + ink * over;
                    *below = ((mixed + 32_640) / 65_280) as u8;
                }
            }
        }
    }

    /// The page as PNG (W3C Portable Network Graphics, third edition): eight bits of red, green and blue, no filters.
    fn png(&self) -> Option<Vec<u8>> {
        let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
        for row in self.pixels.chunks_exact(3 * self.width) {
            rows.write_all(&[0]).ok()?;
            rows.write_all(row).ok()?;
        }
        let rows = rows.finish().ok()?;
        let mut head = Vec::with_capacity(13);
        head.extend(u32::try_from(self.width).ok()?.to_be_bytes());
        head.extend(u32::try_from(self.height).ok()?.to_be_bytes());
        head.extend([8, 2, 0, 0, 0]);
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        for (kind, content) in [(b"IHDR", head), (b"IDAT", rows), (b"IEND", Vec::new())] {
            png.extend(u32::try_from(content.len()).ok()?.to_be_bytes());
            let start = png.len();
            png.extend(kind);
            png.extend(content);
            let check = crc32fast::hash(&png[start..]);
            png.extend(check.to_be_bytes());
        }
        Some(png)
    }
}

/// Largest page, in bytes of its pixels: 16,000 by 16,000 would be three times as many.
const PAGE_BYTES_MAX: usize = 256 << 20;

fn channels(rgb: Rgb) -> [u8; 3] {
    [16, 8, 0].map(|shift| ((rgb >> shift) & 0xff) as u8)
}

/// An empty byte string where the page is too large for memory, which a sane style excludes.
pub(super) fn draw(style: &Style, scene: &Scene) -> Vec<u8> {
    let scale = style.sane().pixels_per_pt;
    let pixels = |points: f64| libm::ceil(points * scale) as usize;
    let size = (pixels(scene.width), pixels(scene.height));
    let Some(mut canvas) = Canvas::new(size.0, size.1, scene.paper, scale as f32) else {
        return Vec::new();
    };
    let font = Font::new();
    for item in &scene.items {
        match item {
            Item::Path {
                points,
                closed,
                fill,
                stroke,
                opacity,
            } => {
                let mut path = Vec::with_capacity(points.len() + 1);
                for (at, (x, y)) in points.iter().enumerate() {
                    if at == 0 {
                        path.move_to((*x as f32, *y as f32));
                    } else {
                        path.line_to((*x as f32, *y as f32));
                    }
                }
                if *closed {
                    path.close();
                }
                canvas.shape(&path, *fill, *stroke, *opacity);
            }
            Item::Disc {
                at,
                radius,
                fill,
                stroke,
                opacity,
            } => {
                let mut path = Vec::new();
                path.add_circle((at.0 as f32, at.1 as f32), *radius as f32);
                canvas.shape(&path, *fill, *stroke, *opacity);
            }
            Item::Words {
                at,
                label,
                anchor,
                size,
                bold,
                upwards,
                colour,
                halo,
            } => {
                let (spans, width) = font.line(label, *size, *bold);
                let mut outline = Outline(Vec::new());
                let start = at.0 - offset(*anchor, width);
                for span in spans {
                    font.outline(
                        &span.text,
                        start + span.advance,
                        at.1 - span.rise,
                        span.size,
                        *bold,
                        &mut outline,
                    );
                }
                let turn = if *upwards {
                    // a quarter turn about the anchor; zeno 0.3's `rotation_about` moves the page instead
                    let (x, y) = (at.0 as f32, at.1 as f32);
                    Transform::new(0.0, -1.0, 1.0, 0.0, x - y, x + y)
                } else {
                    Transform::IDENTITY
                };
                let path = outline.0;
                if !path.is_empty() {
                    if let Some(halo) = halo {
                        let stroke = Stroke {
                            colour: *halo,
                            width: size * 0.4,
                            dash: (0.0, 0.0),
                        };
                        canvas.stroke(&path, &stroke, 1.0, turn);
                    }
                    canvas.fill(&path, *colour, 1.0, turn);
                }
            }
        }
    }
    canvas.png().unwrap_or_default()
}

struct Outline(Vec<Command>);

impl OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        self.0.move_to((x, y));
    }
    fn line_to(&mut self, x: f32, y: f32) {
        self.0.line_to((x, y));
    }
    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.0.quad_to((x1, y1), (x, y));
    }
    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.0.curve_to((x1, y1), (x2, y2), (x, y));
    }
    fn close(&mut self) {
        self.0.close();
    }
}
