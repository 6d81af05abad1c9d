//! How a figure looks: size, type size, light or dark.

/// How a figure looks. Lengths are points (1/72 inch).
#[derive(Clone, Debug, PartialEq)]
pub struct Style {
    /// Width of the picture.
    pub width_pt: f64,
    /// Height of the picture.
    pub height_pt: f64,
    /// Type size of axis labels and legend; numbers on axes are a tenth smaller, the title a tenth larger.
    pub font_pt: f64,
    /// Light on dark, for screens.
    pub dark: bool,
    /// Whether the title is drawn; papers put it into the caption.
    pub title: bool,
    /// Whether the caption is drawn below the picture.
    pub caption: bool,
    /// Letters in SVG as outlines: looks the same everywhere, but cannot be searched or edited.
    pub outlines: bool,
    /// Resolution of PNG.
    pub pixels_per_pt: f64,
}

impl Style {
    /// For one column of a paper: 3.4 inches wide.
    #[must_use]
    pub fn column() -> Self {
        Self {
            width_pt: 245.0,
            height_pt: 185.0,
            font_pt: 7.5,
            dark: false,
            title: true,
            caption: false,
            outlines: false,
            pixels_per_pt: 4.0,
        }
    }

    /// For the width of a page or a screen.
    #[must_use]
    pub fn page() -> Self {
        Self {
            width_pt: 400.0,
            height_pt: 270.0,
            font_pt: 9.0,
            pixels_per_pt: 3.0,
            ..Self::column()
        }
    }

    /// With the sentence below: what a card or a report shows.
    #[must_use]
    pub fn card() -> Self {
        Self {
            height_pt: 300.0,
            caption: true,
            ..Self::page()
        }
    }

    /// Lengths that make a picture, whatever the fields say.
    pub(super) fn sane(&self) -> Self {
        let within = |value: f64, low: f64, high: f64, otherwise: f64| {
            if value.is_finite() {
                value.clamp(low, high)
            } else {
                otherwise
            }
        };
        Self {
            width_pt: within(self.width_pt, 100.0, 4000.0, 400.0),
            height_pt: within(self.height_pt, 80.0, 4000.0, 270.0),
            font_pt: within(self.font_pt, 4.0, 40.0, 9.0),
            pixels_per_pt: within(self.pixels_per_pt, 0.5, 12.0, 3.0),
            ..self.clone()
        }
    }
}

impl Default for Style {
    fn default() -> Self {
        Self::page()
    }
}
