//! The figures of a fit. Each takes plain data, so that whoever has numbers can draw; `fitted_*` takes a [`Fit`](crate::Fit)
//! and the table that it was fitted to.

mod backtest;
mod contours;
mod curve;
mod isoflop;
mod profile;
mod residuals;
mod surface;

pub use backtest::{backtest, fitted_backtest};
pub use contours::{ContourMap, contour_map, fitted_contours};
pub use curve::{Curve, CurveFamily, curve, fitted_curve};
pub use isoflop::{IsoFlop, isoflop};
pub use profile::{Profile, fitted_profiles, profile};
pub use residuals::{fitted_residuals, residual_quantiles, residuals_against};
pub use surface::{Dependence, Importance, dependence, importances};

use std::collections::BTreeMap;

use super::{Axis, Scale};
use crate::Table;
use crate::law::{Column, Law};

/// `count` numbers from `low` to `high`, equally far apart on this scale.
fn spaced(low: f64, high: f64, count: usize, scale: Scale) -> Vec<f64> {
    let last = count.max(2) - 1;
    (0..=last)
        .map(|at| match at {
            0 => low,
            at if at == last => high,
            at => {
                let share = at as f64 / last as f64;
                match scale {
                    Scale::Linear => low + (high - low) * share,
                    Scale::Log => low * libm::pow(high / low, share),
                }
            }
        })
        .collect()
}

/// Least and most of what is finite (and, for a logarithm, positive).
fn span(numbers: impl Iterator<Item = f64>, scale: Scale) -> Option<(f64, f64)> {
    let held =
        numbers.filter(|value| value.is_finite() && (scale == Scale::Linear || *value > 0.0));
    let (low, high) = held.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    (low <= high).then_some((low, high))
}

fn median(numbers: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = numbers
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Logarithmic where the column is positive and spans more than a factor of eight.
fn axis_of(column: &Column, numbers: &[f64]) -> Axis {
    let wide = span(numbers.iter().copied(), Scale::Linear)
        .is_some_and(|(low, high)| low > 0.0 && high / low > 8.0);
    // "n" and "d" say little; the description says it in words.
    let words = column.description.split([',', ';']).next().unwrap_or("");
    let label = if words.is_empty() {
        column.name.clone()
    } else {
        capital(words)
    };
    // "Training tokens seen (tokens)" says it twice.
    let unit = if words.contains(&column.unit) {
        ""
    } else {
        &column.unit
    };
    if wide {
        Axis::log(&label, unit)
    } else {
        Axis::linear(&label, unit)
    }
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn response_axis(law: &Law) -> Axis {
    Axis::linear(
        &capital(&law.response.name.replace('_', " ")),
        &law.response.unit,
    )
}

/// The law's columns of a row.
fn point(law: &Law, table: &Table, row: usize) -> BTreeMap<String, f64> {
    let value = |name: &String| {
        table
            .columns
            .get(name)
            .and_then(|column| column.get(row))
            .copied()
    };
    law.columns
        .iter()
        .map(|column| (column.name.clone(), value(&column.name).unwrap_or(f64::NAN)))
        .collect()
}

/// The middle of each of the law's columns.
fn middle(law: &Law, table: &Table) -> BTreeMap<String, f64> {
    law.columns
        .iter()
        .map(|column| {
            let numbers = table
                .columns
                .get(&column.name)
                .map_or(f64::NAN, |numbers| median(numbers));
            (column.name.clone(), numbers)
        })
        .collect()
}

/// A number in a sentence or a legend: three digits, `2.1×10^{9}` where it is large.
fn written(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let text = format!("{value:.2e}");
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    let text = if (-4..5).contains(&power) {
        let decimals = (2 - power).max(0) as usize;
        trimmed(&format!("{value:.decimals$}"))
    } else {
        match trimmed(mantissa).as_str() {
            "1" => format!("10^{{{power}}}"),
            mantissa => format!("{mantissa}×10^{{{power}}}"),
        }
    };
    text.replace('-', "−")
}

/// A level as people say it.
fn percent(level: f64) -> String {
    let text = format!("{:.1}", level * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_with_three_digits() {
        let numbers = [
            0.0,
            477.826,
            2143.9,
            0.3473127,
            -0.00012345,
            1e20,
            6.02e23,
            1e-7,
            99_999.0,
        ];
        let written: Vec<String> = numbers.into_iter().map(written).collect();
        let expected = [
            "0",
            "478",
            "2144",
            "0.347",
            "−0.000123",
            "10^{20}",
            "6.02×10^{23}",
            "10^{−7}",
            "10^{5}",
        ];
        assert_eq!(written, expected);
    }
}
