//! Pictures that a reader would put into a paper, as data.
//!
//! A [`Figure`] is a plain value: axes with units, layers of numbers, a sentence. It is what explanation cards store, so
//! that whoever gets the card can draw it again in a column of a paper, on a dark screen or in a terminal. Drawing is a
//! pure function and equal figures give equal bytes; no font of the system is needed (a subset of Inter, SIL Open Font
//! License 1.1, lies in `fonts/`).
//!
//! * `spec`: the figure as data. `ticks`, `scale`: where an axis has its numbers. `text`: `^{..}` and `_{..}` in labels.
//! * `terminal`: braille, for a shell. Needs nothing.
//! * `paper`: SVG and PNG; behind the feature `figures`, which is on by default.
//! * `build`: the figures of a fit, from plain data.
//!
//! What cannot be drawn (not finite, not positive on a logarithmic axis) is left out and counted: the figure says how many.
//!
//! ```
//! use cairn_scaling::figure::{Axis, Figure, Layer, Points, to_terminal};
//!
//! let figure = Figure {
//!     title: "Loss against compute".to_owned(),
//!     x: Axis::log("Training compute", "FLOP"),
//!     y: Axis::linear("Loss", "nats per token"),
//!     layers: vec![Layer::Points(Points {
//!         x: vec![1e18, 1e19, 1e20],
//!         y: vec![3.1, 2.7, 2.4],
//!         ..Points::default()
//!     })],
//!     ..Figure::default()
//! };
//! assert!(to_terminal(&figure, 60, 12, false).contains("Loss against compute"));
//! ```

pub mod build;
mod contour;
#[cfg(feature = "figures")]
mod paper;
mod scale;
mod spec;
mod terminal;
mod text;
mod ticks;

#[cfg(feature = "figures")]
pub use paper::{Style, to_png, to_svg};
pub use spec::{
    Annotation, Axis, Band, Bars, Colour, Contours, Dash, Figure, HeatMap, Layer, Legend, Line,
    Points, Scale, Shape,
};
pub use terminal::to_terminal;
pub use ticks::{Tick, Ticks, ticks};
