//! SVG and PNG: a figure is laid out once into a scene of paths and words, which both draw.
//!
//! Lengths are points (1/72 inch), from the upper left corner. Nothing is drawn beyond the frame of the data: layers are cut
//! geometrically, so that both renderers show the same and neither meets a number it cannot hold.

mod colour;
mod contours;
mod font;
mod frame;
mod furniture;
mod layers;
mod layout;
mod legend;
mod names;
mod raster;
mod scene;
mod style;
mod svg;
mod taken;

pub use style::Style;

use super::Figure;

/// The figure as an SVG document. Title and caption are its accessible name and description.
#[must_use]
pub fn to_svg(figure: &Figure, style: &Style) -> String {
    svg::write(figure, style, &layout::scene(figure, style))
}

/// The figure as a PNG of `style.pixels_per_pt` pixels a point.
#[must_use]
pub fn to_png(figure: &Figure, style: &Style) -> Vec<u8> {
    raster::draw(style, &layout::scene(figure, style))
}
