//! The figure as data: what a card stores and every renderer reads.
//!
//! All fields are legal with any value. Columns of one layer may differ in length: what has no partner is left out, like
//! what is not finite, and [`Figure::left_out`] counts it. In JSON a number that is not finite is `null`.

use serde::{Deserialize, Serialize};

/// A picture, without any decision about size, fonts or medium.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figure {
    /// One line; may contain `^{..}` and `_{..}`, like every other text here.
    pub title: String,
    /// What the picture shows, one or two sentences. The description of the SVG; drawn where the style asks for it.
    pub caption: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis; with [`Layer::Bars`] its `categories` name the bars, from the top.
    pub y: Axis,
    /// What the `value` of points, [`Colour::Ramp`] and heat maps stand for. Its scale gets a colour bar.
    pub colour: Option<Axis>,
    /// Drawn in order, first at the back.
    pub layers: Vec<Layer>,
    /// Where layers are named.
    pub legend: Legend,
    /// Words on the picture.
    pub annotations: Vec<Annotation>,
}

/// An axis.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Axis {
    /// What it measures.
    pub label: String,
    /// Unit, without brackets; empty for a pure number.
    pub unit: String,
    /// Linear or logarithmic.
    pub scale: Scale,
    /// Ends of the axis; `None` fits the data.
    pub range: Option<[f64; 2]>,
    /// Names of the positions 0, 1, 2, ... instead of numbers.
    pub categories: Vec<String>,
}

impl Axis {
    /// A linear axis.
    #[must_use]
    pub fn linear(label: &str, unit: &str) -> Self {
        Self {
            label: label.to_owned(),
            unit: unit.to_owned(),
            ..Self::default()
        }
    }

    /// A logarithmic axis.
    #[must_use]
    pub fn log(label: &str, unit: &str) -> Self {
        Self {
            scale: Scale::Log,
            ..Self::linear(label, unit)
        }
    }
}

/// How an axis maps numbers to places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Equal differences are equally far apart.
    #[default]
    Linear,
    /// Equal ratios are equally far apart.
    Log,
}

/// Where layers are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Legend {
    /// In a corner free of data, otherwise above the picture.
    #[default]
    Auto,
    /// Each labelled line at its right end; other layers as with `Auto`.
    Direct,
    /// Nowhere.
    None,
}

/// Words on the picture: beside a point, or on a dashed line across it where only one coordinate is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Annotation {
    /// The words; may be empty for a bare line.
    pub text: String,
    /// Place on the horizontal axis.
    pub x: Option<f64>,
    /// Place on the vertical axis.
    pub y: Option<f64>,
}

/// A layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Layer {
    /// Marks, with error bars where given.
    Points(Points),
    /// A line through points in their order.
    Line(Line),
    /// A filled area between two lines.
    Band(Band),
    /// Lines of equal height over a grid.
    Contours(Contours),
    /// Horizontal bars from zero, one for each category of the vertical axis.
    Bars(Bars),
    /// A grid of coloured cells.
    HeatMap(HeatMap),
}

/// Marks, with error bars where given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Points {
    /// Name in the legend; empty for none.
    pub label: String,
    /// Horizontal places.
    #[serde(with = "numbers")]
    pub x: Vec<f64>,
    /// Vertical places.
    #[serde(with = "numbers")]
    pub y: Vec<f64>,
    /// Low ends of the vertical error bars; empty for none.
    #[serde(with = "numbers")]
    pub low: Vec<f64>,
    /// High ends of the vertical error bars; empty for none.
    #[serde(with = "numbers")]
    pub high: Vec<f64>,
    /// What colours each mark on the figure's colour axis; empty for one colour.
    #[serde(with = "numbers")]
    pub value: Vec<f64>,
    /// Shape of the mark.
    pub shape: Shape,
    /// Colour, where `value` gives none.
    pub colour: Colour,
}

/// A line through points in their order; a point that cannot be drawn interrupts it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Line {
    /// Name in the legend; empty for none.
    pub label: String,
    /// Horizontal places.
    #[serde(with = "numbers")]
    pub x: Vec<f64>,
    /// Vertical places.
    #[serde(with = "numbers")]
    pub y: Vec<f64>,
    /// Solid or broken.
    pub dash: Dash,
    /// Colour.
    pub colour: Colour,
}

/// A filled area between two lines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Band {
    /// Name in the legend; empty for none.
    pub label: String,
    /// Horizontal places.
    #[serde(with = "numbers")]
    pub x: Vec<f64>,
    /// Lower edge.
    #[serde(with = "numbers")]
    pub low: Vec<f64>,
    /// Upper edge.
    #[serde(with = "numbers")]
    pub high: Vec<f64>,
    /// Colour; drawn pale.
    pub colour: Colour,
}

/// Lines of equal height over a grid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contours {
    /// Name in the legend; empty for none.
    pub label: String,
    /// Columns of the grid, ascending.
    #[serde(with = "numbers")]
    pub x: Vec<f64>,
    /// Rows of the grid, ascending.
    #[serde(with = "numbers")]
    pub y: Vec<f64>,
    /// Heights, row by row: `z[row * x.len() + column]`.
    #[serde(with = "numbers")]
    pub z: Vec<f64>,
    /// Heights to draw; each is written on its line.
    #[serde(with = "numbers")]
    pub levels: Vec<f64>,
    /// Colour.
    pub colour: Colour,
}

/// Horizontal bars from zero, one for each category of the vertical axis.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bars {
    /// Name in the legend; empty for none.
    pub label: String,
    /// Lengths.
    #[serde(with = "numbers")]
    pub value: Vec<f64>,
    /// Low ends of the whiskers; empty for none.
    #[serde(with = "numbers")]
    pub low: Vec<f64>,
    /// High ends of the whiskers; empty for none.
    #[serde(with = "numbers")]
    pub high: Vec<f64>,
    /// Colour.
    pub colour: Colour,
}

/// A grid of coloured cells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeatMap {
    /// Centres of the columns, ascending.
    #[serde(with = "numbers")]
    pub x: Vec<f64>,
    /// Centres of the rows, ascending.
    #[serde(with = "numbers")]
    pub y: Vec<f64>,
    /// Heights on the figure's colour axis, row by row: `z[row * x.len() + column]`. What is not finite stays empty.
    #[serde(with = "numbers")]
    pub z: Vec<f64>,
}

/// Which colour, not how it looks: that is the style's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Colour {
    /// The next of the palette.
    #[default]
    Auto,
    /// This one of the palette, from 0; a palette has seven that colour-blind readers tell apart.
    Slot(u8),
    /// Of the text.
    Ink,
    /// Of what stands back.
    Grey,
    /// By a number on the figure's colour axis.
    Ramp(f64),
}

/// Shape of a mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Filled circle.
    #[default]
    Circle,
    /// Filled square.
    Square,
    /// Filled diamond.
    Diamond,
    /// Circle that is not filled.
    Ring,
    /// Short upright line: where data is along an axis.
    Tick,
}

/// Solid or broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dash {
    /// Solid.
    #[default]
    Solid,
    /// Dashed.
    Dashed,
    /// Dotted.
    Dotted,
}

impl Figure {
    /// Points, line vertices, cells and bars that cannot be drawn: not finite, without a partner, or not positive on a
    /// logarithmic axis.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.layers
            .iter()
            .map(|layer| match layer {
                Layer::Points(points) => self.lost(&points.x, &[&points.y]),
                Layer::Line(line) => self.lost(&line.x, &[&line.y]),
                Layer::Band(band) => self.lost(&band.x, &[&band.low, &band.high]),
                Layer::Contours(grid) => lost_cells(&grid.x, &grid.y, &grid.z),
                Layer::HeatMap(grid) => lost_cells(&grid.x, &grid.y, &grid.z),
                Layer::Bars(bars) => bars.value.iter().filter(|v| !self.x.holds(**v)).count(),
            })
            .sum()
    }

    fn lost(&self, x: &[f64], columns: &[&[f64]]) -> usize {
        let most = columns.iter().map(|c| c.len()).fold(x.len(), usize::max);
        (0..most)
            .filter(|at| {
                let fits = |axis: &Axis, column: &[f64]| {
                    column.get(*at).is_some_and(|value| axis.holds(*value))
                };
                !(fits(&self.x, x) && columns.iter().all(|column| fits(&self.y, column)))
            })
            .count()
    }
}

fn lost_cells(x: &[f64], y: &[f64], z: &[f64]) -> usize {
    let cells = x.len() * y.len();
    let held = z.iter().take(cells).filter(|z| z.is_finite()).count();
    cells.max(z.len()) - held
}

impl Axis {
    /// Whether the axis has a place for a number.
    #[must_use]
    pub fn holds(&self, value: f64) -> bool {
        value.is_finite() && (self.scale == Scale::Linear || value > 0.0)
    }
}

/// Numbers in JSON, where `null` is a number that is not finite: JSON has none of those.
mod numbers {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        numbers: &[f64],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(numbers.iter().map(|v| v.is_finite().then_some(*v)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<f64>, D::Error> {
        let numbers: Vec<Option<f64>> = Vec::deserialize(deserializer)?;
        Ok(numbers.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect())
    }
}
