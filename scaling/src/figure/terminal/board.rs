//! Characters with braille dots and a colour each.

use super::{GREY, paint, ramp_shade};
use crate::figure::contour::lines;
use crate::figure::scale::Place;
use crate::figure::spec::{Dash, HeatMap, Layer};
use crate::figure::text::plain;
use crate::figure::ticks::Ticks;

/// Characters with braille dots and a colour each.
pub(super) struct Board {
    pub(super) width: usize,
    height: usize,
    x: Place,
    pub(super) y: Place,
    dots: Vec<u8>,
    shades: Vec<Option<u8>>,
    letters: Vec<Option<char>>,
}

impl Board {
    pub(super) fn new(width: usize, height: usize, x: Place, y: Place) -> Self {
        let (width, height) = (width.max(8), height.max(2));
        Self {
            width,
            height,
            x,
            y,
            dots: vec![0; width * height],
            shades: vec![None; width * height],
            letters: vec![None; width * height],
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.dots.iter().all(|dots| *dots == 0) && self.letters.iter().all(Option::is_none)
    }

    /// Column and row of dots, with a fraction.
    pub(super) fn place(&self, x: f64, y: f64) -> Option<(f64, f64)> {
        let across = self.x.share(x)?.clamp(-1e3, 1e3) * (self.width * 2 - 1) as f64;
        let down = (1.0 - self.y.share(y)?.clamp(-1e3, 1e3)) * (self.height * 4 - 1) as f64;
        Some((across, down))
    }

    pub(super) fn dot(&mut self, (across, down): (f64, f64), shade: u8) {
        let (column, row) = (across.round(), down.round());
        let inside = column >= 0.0
            && row >= 0.0
            && column < (self.width * 2) as f64
            && row < (self.height * 4) as f64;
        if !inside {
            return;
        }
        let (column, row) = (column as usize, row as usize);
        let bit = match (column % 2, row % 4) {
            (0, 3) => 0x40,
            (1, 3) => 0x80,
            (0, row) => 1 << row,
            (_, row) => 8 << row,
        };
        let cell = row / 4 * self.width + column / 2;
        self.dots[cell] |= bit;
        self.shades[cell] = Some(shade);
    }

    pub(super) fn line(&mut self, line: &[(f64, f64)], shade: u8, dash: Dash) {
        let mut step = 0_usize;
        for pair in line.windows(2) {
            let ((x, y), (to_x, to_y)) = (pair[0], pair[1]);
            let steps = (to_x - x)
                .abs()
                .max((to_y - y).abs())
                .ceil()
                .clamp(1.0, 1e5);
            for at in 0..=steps as usize {
                let share = at as f64 / steps;
                let drawn = match dash {
                    Dash::Solid => true,
                    Dash::Dashed => step % 8 < 5,
                    Dash::Dotted => step.is_multiple_of(3),
                };
                step += 1;
                if drawn {
                    self.dot((x + (to_x - x) * share, y + (to_y - y) * share), shade);
                }
            }
        }
    }

    pub(super) fn rule(&mut self, x: Option<f64>, y: Option<f64>) {
        let (right, bottom) = ((self.width * 2 - 1) as f64, (self.height * 4 - 1) as f64);
        let (low, lowest) = (self.x.low, self.y.low);
        match (x, y) {
            (Some(x), None) => {
                if let Some((across, _)) = self.place(x, lowest) {
                    self.line(&[(across, 0.0), (across, bottom)], GREY, Dash::Dotted);
                }
            }
            (None, Some(y)) => {
                if let Some((_, down)) = self.place(low, y) {
                    self.line(&[(0.0, down), (right, down)], GREY, Dash::Dotted);
                }
            }
            _ => {}
        }
    }

    pub(super) fn layer(&mut self, layer: &Layer, shade: u8, ramp: &Place) {
        match layer {
            Layer::Points(points) => {
                for (at, (x, y)) in points.x.iter().zip(&points.y).enumerate() {
                    let shade = points
                        .value
                        .get(at)
                        .map_or(shade, |value| ramp_shade(ramp, *value));
                    let Some(place) = self.place(*x, *y) else {
                        continue;
                    };
                    let end = |ends: &[f64]| ends.get(at).and_then(|end| self.place(*x, *end));
                    if let (Some(low), Some(high)) = (end(&points.low), end(&points.high)) {
                        self.line(&[low, high], shade, Dash::Solid);
                    }
                    self.dot(place, shade);
                    // A few points are crosses: one dot is easily lost.
                    if points.x.len() <= 30 {
                        for (right, down) in [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)] {
                            self.dot((place.0 + right, place.1 + down), shade);
                        }
                    }
                }
            }
            Layer::Line(line) => self.columns(&line.x, &line.y, shade, line.dash),
            Layer::Band(band) => {
                self.columns(&band.x, &band.low, shade, Dash::Dotted);
                self.columns(&band.x, &band.high, shade, Dash::Dotted);
            }
            Layer::Contours(grid) => {
                let across: Option<Vec<f64>> = grid
                    .x
                    .iter()
                    .map(|x| Some(self.place(*x, self.y.low)?.0))
                    .collect();
                let down: Option<Vec<f64>> = grid
                    .y
                    .iter()
                    .map(|y| Some(self.place(self.x.low, *y)?.1))
                    .collect();
                if let (Some(across), Some(down)) = (across, down) {
                    for level in &grid.levels {
                        for line in lines(&across, &down, &grid.z, *level) {
                            self.line(&line, shade, Dash::Solid);
                        }
                    }
                }
            }
            Layer::HeatMap(grid) => self.heat_map(grid, ramp),
            Layer::Bars(_) => {}
        }
    }

    pub(super) fn columns(&mut self, x: &[f64], y: &[f64], shade: u8, dash: Dash) {
        let mut part: Vec<(f64, f64)> = Vec::new();
        for (x, y) in x.iter().zip(y) {
            match self.place(*x, *y) {
                Some(place) => part.push(place),
                None => self.line(&std::mem::take(&mut part), shade, dash),
            }
        }
        self.line(&part, shade, dash);
    }

    pub(super) fn heat_map(&mut self, grid: &HeatMap, ramp: &Place) {
        let nearest = |axis: &Place, numbers: &[f64], share: f64| {
            let away = |value: &f64| {
                axis.share(*value)
                    .map_or(f64::INFINITY, |at| (at - share).abs())
            };
            let best = numbers
                .iter()
                .enumerate()
                .min_by(|a, b| away(a.1).total_cmp(&away(b.1)));
            best.map(|(at, _)| at)
        };
        for row in 0..self.height {
            for column in 0..self.width {
                let across = (column as f64 + 0.5) / self.width as f64;
                let up = 1.0 - (row as f64 + 0.5) / self.height as f64;
                let at = (
                    nearest(&self.x, &grid.x, across),
                    nearest(&self.y, &grid.y, up),
                );
                let (Some(x), Some(y)) = at else {
                    return;
                };
                let value = grid.z.get(y * grid.x.len() + x).copied();
                let Some(value) = value.filter(|value| value.is_finite()) else {
                    continue;
                };
                let share = ramp.share(value).unwrap_or(0.0).clamp(0.0, 1.0);
                let letter = ['░', '▒', '▓', '█'][((share * 4.0) as usize).min(3)];
                self.letters[row * self.width + column] = Some(letter);
                self.shades[row * self.width + column] = Some(ramp_shade(ramp, value));
            }
        }
    }

    pub(super) fn write(&self, text: &mut String, y_ticks: &Ticks, margin: usize, colour: bool) {
        let mut names: Vec<Option<String>> = vec![None; self.height];
        for tick in &y_ticks.major {
            if let Some((_, down)) = self.place(self.x.low, tick.value) {
                let row = (down.round().max(0.0) as usize / 4).min(self.height - 1);
                names[row] = Some(plain(&tick.label));
            }
        }
        for (row, name) in names.into_iter().enumerate() {
            let edge = if name.is_some() { '┤' } else { '│' };
            text.push_str(&format!("{:>margin$} {edge}", name.unwrap_or_default()));
            let mut line = String::new();
            for column in 0..self.width {
                let cell = row * self.width + column;
                let dots = char::from_u32(0x2800 + u32::from(self.dots[cell])).unwrap_or(' ');
                let letter = match (self.letters[cell], self.dots[cell]) {
                    (Some(letter), 0) => letter,
                    (None, 0) => ' ',
                    _ => dots,
                };
                line.push_str(&paint(&letter.to_string(), self.shades[cell], colour));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
}
