//! Where an axis has its numbers: 1, 2 or 5 times a power of ten, decades on a logarithmic axis.

use super::spec::Scale;
use super::text::minus;

/// A number on an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Where.
    pub value: f64,
    /// What is written there; may contain `^{..}`.
    pub label: String,
}

/// The numbers of an axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ticks {
    /// Ticks with a label, ascending.
    pub major: Vec<Tick>,
    /// Ticks without, ascending.
    pub minor: Vec<f64>,
    /// The labels are to be multiplied with ten to this power; the axis says so beside its unit. 0 for most.
    pub exponent: i32,
}

/// Ticks of the axis from `low` to `high`, at most about `most` with a label. Ends that make no axis give none.
#[must_use]
pub fn ticks(low: f64, high: f64, scale: Scale, most: usize) -> Ticks {
    let usable = low.is_finite() && high.is_finite() && low < high;
    if !usable || (scale == Scale::Log && low <= 0.0) {
        return Ticks::default();
    }
    match scale {
        Scale::Linear => linear(low, high, most.max(2)),
        Scale::Log => log(low, high, most.max(2)),
    }
}

/// Ten to a whole power, as near as a float gets: table look-ups of the parser, no rounding of repeated products.
pub(crate) fn ten(power: i32) -> f64 {
    format!("1e{power}").parse().unwrap_or(f64::NAN)
}

fn floor_log10(value: f64) -> i32 {
    let guess = libm::floor(libm::log10(value)) as i32;
    // The logarithm of 1000 may come out a hair below 3.
    if ten(guess + 1) <= value {
        guess + 1
    } else {
        guess
    }
}

/// `whole` times ten to `power`: divided, not multiplied, where the power is negative, so that 3 tenths are 0.3.
fn scaled(whole: f64, power: i32) -> f64 {
    if power < 0 {
        whole / ten(-power)
    } else {
        whole * ten(power)
    }
}

fn multiples(low: f64, high: f64, step: f64, power: i32) -> Vec<f64> {
    let unit = scaled(step, power);
    let slack = high * 1e-9 - low * 1e-9;
    let first = libm::ceil((low - slack) / unit);
    let last = libm::floor((high + slack) / unit);
    let count = (last - first) as usize;
    (0..=count.min(1000))
        .map(|at| scaled((first + at as f64) * step, power) + 0.0)
        .collect()
}

fn linear(low: f64, high: f64, most: usize) -> Ticks {
    // Divided first: the ends may be as far apart as floats go.
    let raw = high / most as f64 - low / most as f64;
    let mut power = floor_log10(raw);
    let mantissa = raw / ten(power);
    let (mut step, mut minor) = match mantissa {
        m if m <= 1.0 => (1.0, (2.0, -1)),
        m if m <= 2.0 => (2.0, (5.0, -1)),
        m if m <= 5.0 => (5.0, (1.0, 0)),
        _ => (10.0, (2.0, 0)),
    };
    if step == 10.0 {
        power += 1;
        step = 1.0;
        minor = (2.0, -1);
    }
    let values = multiples(low, high, step, power);
    let largest = f64::max(low.abs(), high.abs());
    let size = floor_log10(largest);
    let exponent = if !(-3..5).contains(&size) {
        size.div_euclid(3) * 3
    } else {
        0
    };
    let decimals = (exponent - power).clamp(0, 17) as usize;
    let label = |value: f64| {
        let shown = scaled(value, -exponent);
        minus(&format!("{:.decimals$}", shown + 0.0))
    };
    let minor = multiples(low, high, minor.0, power + minor.1)
        .into_iter()
        .filter(|m| values.iter().all(|v| (v - m).abs() > 1e-6 * raw))
        .collect();
    Ticks {
        major: values
            .into_iter()
            .map(|value| Tick {
                value,
                label: label(value),
            })
            .collect(),
        minor,
        exponent,
    }
}

/// Digits with the powers of ten that they are multiplied with.
type Digits = Vec<(u8, i32)>;

fn log(low: f64, high: f64, most: usize) -> Ticks {
    let (first, last) = (floor_log10(low), floor_log10(high));
    let inside = |value: &f64| (low * (1.0 - 1e-9)..=high * (1.0 + 1e-9)).contains(value);
    let all = |digits: &[u8]| -> Digits {
        (first..=last)
            .flat_map(|power| digits.iter().map(move |digit| (*digit, power)))
            .filter(|(digit, power)| inside(&scaled(f64::from(*digit), *power)))
            .collect()
    };
    let decades = all(&[1]);
    let span = libm::log10(high / low);
    let (chosen, minor): (Digits, Digits) = if decades.len() >= 3 && span > 1.8 {
        let wanted = decades.len().div_ceil(most) as i32;
        let round = [1, 2, 3, 4, 5, 10, 20, 25, 50, 100, 200];
        let stride = round
            .into_iter()
            .find(|stride| *stride >= wanted)
            .unwrap_or(wanted);
        let chosen = decades
            .iter()
            .copied()
            .filter(|(_, power)| power.rem_euclid(stride) == 0)
            .collect();
        let minor = if stride == 1 && decades.len() < 12 {
            all(&[2, 3, 4, 5, 6, 7, 8, 9])
        } else if decades.len() < 60 {
            decades
        } else {
            Vec::new()
        };
        (chosen, minor)
    } else {
        let sets: [&[u8]; 3] = [&[1, 2, 5], &[1, 3], &[1]];
        let set = sets
            .into_iter()
            .map(all)
            .find(|set| set.len() <= most)
            .unwrap_or(decades);
        (set, all(&[1, 2, 3, 4, 5, 6, 7, 8, 9]))
    };
    // Within part of a decade a logarithmic axis is nearly a linear one, and so are its numbers.
    if chosen.len() < 2 || span < 0.6 {
        return linear(low, high, most);
    }
    let plain = low >= 0.000_999 && high < 10_001.0;
    let label = |digit: u8, power: i32| match (plain, digit) {
        (true, digit) => {
            let decimals = (-power).max(0) as usize;
            format!("{:.decimals$}", scaled(f64::from(digit), power))
        }
        (false, 1) => format!("10^{{{}}}", minus(&power.to_string())),
        (false, digit) => format!("{digit}×10^{{{}}}", minus(&power.to_string())),
    };
    Ticks {
        minor: minor
            .into_iter()
            .filter(|tick| !chosen.contains(tick))
            .map(|(digit, power)| scaled(f64::from(digit), power))
            .collect(),
        major: chosen
            .iter()
            .map(|(digit, power)| Tick {
                value: scaled(f64::from(*digit), *power),
                label: label(*digit, *power),
            })
            .collect(),
        exponent: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(low: f64, high: f64, scale: Scale, most: usize, expected: &str) {
        let ticks = ticks(low, high, scale, most);
        let labels: Vec<&str> = ticks.major.iter().map(|tick| tick.label.as_str()).collect();
        let exponent = match ticks.exponent {
            0 => String::new(),
            exponent => format!(" e{exponent}"),
        };
        assert_eq!(labels.join(" ") + &exponent, expected);
    }

    #[test]
    fn linear_axes_count_in_ones_twos_and_fives() {
        check(0.0, 1.0, Scale::Linear, 5, "0.0 0.2 0.4 0.6 0.8 1.0");
        check(1.93, 4.07, Scale::Linear, 5, "2.0 2.5 3.0 3.5 4.0");
        check(-3.0, 3.0, Scale::Linear, 6, "−3 −2 −1 0 1 2 3");
        check(
            -0.012,
            0.013,
            Scale::Linear,
            5,
            "−0.010 −0.005 0.000 0.005 0.010",
        );
        check(0.0, 1.6e10, Scale::Linear, 4, "0 5 10 15 e9");
        check(0.0, 4e-5, Scale::Linear, 4, "0 10 20 30 40 e-6");
        check(0.0, 99_999.0, Scale::Linear, 4, "0 50000");
        let minor = ticks(0.0, 1.0, Scale::Linear, 2).minor;
        assert_eq!(minor, [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9]);
    }

    #[test]
    fn logarithmic_axes_count_in_decades_and_in_parts_of_one() {
        check(
            1e18,
            1e22,
            Scale::Log,
            8,
            "10^{18} 10^{19} 10^{20} 10^{21} 10^{22}",
        );
        check(
            1e3,
            1e26,
            Scale::Log,
            6,
            "10^{4} 10^{8} 10^{12} 10^{16} 10^{20} 10^{24}",
        );
        check(0.01, 100.0, Scale::Log, 8, "0.01 0.1 1 10 100");
        check(1.0, 10.0, Scale::Log, 8, "1 2 5 10");
        check(3e18, 4e19, Scale::Log, 8, "5×10^{18} 10^{19} 2×10^{19}");
        check(2.0, 4.5, Scale::Log, 5, "2.0 2.5 3.0 3.5 4.0 4.5");
        check(1e-300, 1e300, Scale::Log, 5, "10^{−200} 10^{0} 10^{200}");
        let one = ticks(1.0, 10.0, Scale::Log, 8);
        assert_eq!(one.minor, [3.0, 4.0, 6.0, 7.0, 8.0, 9.0]);
    }

    #[test]
    fn what_is_no_axis_has_no_ticks() {
        for (low, high, scale) in [
            (1.0, 1.0, Scale::Linear),
            (f64::NAN, 1.0, Scale::Linear),
            (0.0, 1.0, Scale::Log),
            (2.0, 1.0, Scale::Log),
            (1.0, f64::INFINITY, Scale::Log),
        ] {
            assert_eq!(ticks(low, high, scale, 5), Ticks::default());
        }
    }
}
