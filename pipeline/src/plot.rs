//! A curve in the terminal: braille dots, two by four in a character, axes with numbers.

/// A series to draw: points, and the mark of a step worth seeing.
pub struct Series<'a> {
    /// Points, x and y; those that are not finite are left out.
    pub points: &'a [(f64, f64)],
    /// Where a vertical line is drawn, with its label.
    pub marks: &'a [(f64, String)],
    /// Title.
    pub title: &'a str,
    /// Names of the axes with units.
    pub axes: (&'a str, &'a str),
}

/// From this ratio of the greatest to the least value on, the vertical axis is logarithmic.
const LOG_FROM: f64 = 20.0;

/// A number in nine characters.
fn label(value: f64) -> String {
    if value.abs() < 1e5 {
        format!("{value:>9.3}")
    } else {
        format!("{value:>9.2e}")
    }
}

/// A curve in one line: a block for each of `width` stretches, as high as the mean of its values; logarithmic where the values
/// span so much. Nothing for no values.
#[must_use]
pub fn sparkline(values: &[f64], width: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let width = width.min(finite.len());
    let mut means: Vec<f64> = (0..width)
        .map(|at| {
            let stretch = &finite[at * finite.len() / width..(at + 1) * finite.len() / width];
            stretch.iter().sum::<f64>() / stretch.len() as f64
        })
        .collect();
    let extremes = |means: &[f64]| {
        let low = means.iter().copied().fold(f64::INFINITY, f64::min);
        let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (low, high)
    };
    let (low, high) = extremes(&means);
    if low > 0.0 && high / low > LOG_FROM {
        means.iter_mut().for_each(|mean| *mean = mean.log10());
    }
    let (low, high) = extremes(&means);
    means
        .iter()
        .map(|mean| {
            let share = if high > low {
                (mean - low) / (high - low)
            } else {
                0.0
            };
            BLOCKS[((share * 7.0).round() as usize).min(7)]
        })
        .collect()
}

/// Draws a series into `width` by `height` characters. Nothing to draw gives a line that says so.
#[must_use]
pub fn draw(series: &Series<'_>, width: usize, height: usize) -> String {
    let mut points: Vec<(f64, f64)> = series
        .points
        .iter()
        .copied()
        .filter(|(x, y)| x.is_finite() && y.is_finite())
        .collect();
    // A run that blows up would flatten everything before it: powers of ten, where the span is that wide.
    let least = points.iter().map(|(_, y)| *y).fold(f64::INFINITY, f64::min);
    let most = points
        .iter()
        .map(|(_, y)| *y)
        .fold(f64::NEG_INFINITY, f64::max);
    let is_log = least > 0.0 && most / least > LOG_FROM;
    if is_log {
        points.iter_mut().for_each(|(_, y)| *y = y.log10());
    }
    let natural = |y: f64| if is_log { 10_f64.powf(y) } else { y };
    let Some(first) = points.first() else {
        return format!("{}: nothing to draw\n", series.title);
    };
    let (mut low, mut high) = (*first, *first);
    for (x, y) in &points {
        low = (low.0.min(*x), low.1.min(*y));
        high = (high.0.max(*x), high.1.max(*y));
    }
    for (x, _) in series.marks {
        low.0 = low.0.min(*x);
        high.0 = high.0.max(*x);
    }
    let span = |low: f64, high: f64| if high > low { high - low } else { 1.0 };
    let (width, height) = (width.clamp(20, 200), height.clamp(4, 60));
    let (columns, rows) = (width * 2, height * 4);
    let mut cells = vec![0_u8; width * height];
    let mut dot = |x: f64, y: f64| {
        let column = ((x - low.0) / span(low.0, high.0) * (columns - 1) as f64).round() as usize;
        let row = ((high.1 - y) / span(low.1, high.1) * (rows - 1) as f64).round() as usize;
        let bit = match (column % 2, row % 4) {
            (0, 0) => 0x01,
            (0, 1) => 0x02,
            (0, 2) => 0x04,
            (1, 0) => 0x08,
            (1, 1) => 0x10,
            (1, 2) => 0x20,
            (0, _) => 0x40,
            _ => 0x80,
        };
        cells[row / 4 * width + column / 2] |= bit;
    };
    for (x, y) in &points {
        dot(*x, *y);
    }
    for (x, _) in series.marks {
        for step in (0..rows).step_by(2) {
            dot(
                *x,
                high.1 - span(low.1, high.1) * step as f64 / (rows - 1) as f64,
            );
        }
    }
    let mut text = format!("{}\n", series.title);
    for row in 0..height {
        let label = match row {
            0 => crate::plot::label(natural(high.1)),
            row if row == height - 1 => crate::plot::label(natural(low.1)),
            row if row == height / 2 => {
                format!("{:>9}", series.axes.1.chars().take(9).collect::<String>())
            }
            _ => " ".repeat(9),
        };
        let line: String = cells[row * width..(row + 1) * width]
            .iter()
            .map(|bits| char::from_u32(0x2800 + u32::from(*bits)).unwrap_or(' '))
            .collect();
        text.push_str(&format!("{label} ┤{line}\n"));
    }
    let left = format!("{}", low.0);
    let right = format!("{}", high.0);
    let gap = width
        .saturating_sub(left.len() + right.len() + series.axes.0.len())
        .max(2);
    let half = gap / 2;
    text.push_str(&format!(
        "{}└{left}{}{}{}{right}\n",
        " ".repeat(10),
        " ".repeat(half),
        series.axes.0,
        " ".repeat(gap - half)
    ));
    for (x, label) in series.marks {
        text.push_str(&format!("{}┆ at {x}: {label}\n", " ".repeat(10)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_falling_line_runs_from_the_upper_left_to_the_lower_right() {
        let points: Vec<(f64, f64)> = (0..100)
            .map(|x| (f64::from(x), 200.0 - f64::from(x)))
            .collect();
        let text = draw(
            &Series {
                points: &points,
                marks: &[],
                title: "t",
                axes: ("step", "loss"),
            },
            20,
            5,
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 7);
        let filled = |line: &str| {
            line.chars()
                .filter(|c| ('\u{2801}'..='\u{28ff}').contains(c))
                .count()
        };
        assert!(lines[1..6].iter().all(|line| filled(line) >= 3), "{text}");
        assert!(
            lines[1].contains("200.000") && lines[5].contains("101.000"),
            "{text}"
        );
    }

    #[test]
    fn no_points_and_no_numbers_are_no_accident() {
        let points = [(1.0, f64::NAN)];
        assert!(
            draw(
                &Series {
                    points: &points,
                    marks: &[],
                    title: "t",
                    axes: ("x", "y")
                },
                20,
                5
            )
            .contains("nothing")
        );
        let points = [(1.0, 2.0)];
        assert!(
            draw(
                &Series {
                    points: &points,
                    marks: &[],
                    title: "t",
                    axes: ("x", "y")
                },
                20,
                5
            )
            .lines()
            .count()
                == 7
        );
    }

    #[test]
    fn a_sparkline_follows_its_values() {
        assert_eq!(
            sparkline(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 8),
            "▁▂▃▄▅▆▇█"
        );
        assert_eq!(sparkline(&[4.0, 4.0, 1.0, 1.0], 2), "█▁");
        assert_eq!(sparkline(&[2.0, f64::NAN], 9), "▁");
        assert_eq!(sparkline(&[], 9), "");
    }
}
