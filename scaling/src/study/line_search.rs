//! Search in one dimension: a scan that finds the valley, a golden section that finds its floor, and roots by bisection.
//!
//! Brent 1973, chapters 4 and 5. Golden section keeps what Brent's parabolic steps do not: the same steps for every
//! function, so that replicates differ by their parameters alone.

/// Where a function is least between `low` and `high`: (place, value). The scan has `points` places, so a valley narrower
/// than their distance may be missed. Places with NaN count as infinitely high. `None` where the function is nowhere finite.
pub(crate) fn least(
    mut function: impl FnMut(f64) -> f64,
    low: f64,
    high: f64,
    points: usize,
) -> Option<(f64, f64)> {
    let mut value = |at: f64| {
        let value = function(at);
        if value.is_nan() { f64::INFINITY } else { value }
    };
    let step = (high - low) / (points.max(2) - 1) as f64;
    let scanned: Vec<f64> = (0..points.max(2))
        .map(|index| value(low + step * index as f64))
        .collect();
    let best = (0..scanned.len()).min_by(|one, two| scanned[*one].total_cmp(&scanned[*two]))?;
    if !scanned[best].is_finite() {
        return None;
    }
    let mut left = low + step * best.saturating_sub(1) as f64;
    let mut right = (low + step * (best + 1) as f64).min(high);
    const SECTION: f64 = 0.618_033_988_749_894_8;
    let mut inner = [
        right - SECTION * (right - left),
        left + SECTION * (right - left),
    ];
    let mut values = [value(inner[0]), value(inner[1])];
    // 45 sections shrink the bracket by 4e-10; the floor of a smooth valley is flat below the root of the precision.
    for _ in 0..45 {
        if values[0] <= values[1] {
            right = inner[1];
            inner = [right - SECTION * (right - left), inner[0]];
            values = [value(inner[0]), values[0]];
        } else {
            left = inner[0];
            inner = [inner[1], left + SECTION * (right - left)];
            values = [values[1], value(inner[1])];
        }
    }
    let found = if values[0] <= values[1] {
        (inner[0], values[0])
    } else {
        (inner[1], values[1])
    };
    let edge = low + step * best as f64;
    // A minimum at an end of the range is the end itself.
    Some(if scanned[best] <= found.1 {
        (edge, scanned[best])
    } else {
        found
    })
}

/// Where a monotone function crosses zero between `low` and `high`; `None` where it does not change its sign.
pub(crate) fn root(mut function: impl FnMut(f64) -> f64, low: f64, high: f64) -> Option<f64> {
    let (mut low, mut high) = (low, high);
    let (mut at_low, mut at_high) = (function(low), function(high));
    if at_low == 0.0 {
        return Some(low);
    }
    if at_high == 0.0 {
        return Some(high);
    }
    let crosses = at_low < 0.0 && at_high > 0.0 || at_low > 0.0 && at_high < 0.0;
    if !crosses {
        return None;
    }
    // Regula falsi with the Illinois weights: one step where the function is a line in logarithms, as compute often is;
    // every third step halves, so that it ends whatever the function.
    for step in 0..200 {
        let middle = if step % 3 == 2 {
            0.5 * (low + high)
        } else {
            (low * at_high - high * at_low) / (at_high - at_low)
        };
        let middle = if middle > low && middle < high {
            middle
        } else {
            0.5 * (low + high)
        };
        let value = function(middle);
        if value == 0.0 || (high - low) < 1e-14 * (low.abs() + high.abs()).max(1e-300) {
            return Some(middle);
        }
        if value.is_nan() {
            return None;
        }
        if (value < 0.0) == (at_low < 0.0) {
            (low, at_low) = (middle, value);
            at_high *= 0.5;
        } else {
            (high, at_high) = (middle, value);
            at_low *= 0.5;
        }
        if middle_is_exact(value) {
            return Some(middle);
        }
    }
    Some(0.5 * (low + high))
}

/// Functions here are differences of logarithms or of losses: below this a difference is rounding.
fn middle_is_exact(value: f64) -> bool {
    value.abs() < 1e-14
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_deeper_of_two_valleys_and_an_end() {
        // (x^2 - 1)^2 + .1 x has its deeper valley where 4 x (x^2 - 1) = -.1, near -1.0122 (numpy.roots: -1.01227).
        let (at, _) = least(|x| (x * x - 1.0).powi(2) + 0.1 * x, -2.0, 2.0, 50).expect("a valley");
        assert!((at + 1.012_27).abs() < 1e-4, "{at}");
        assert_eq!(least(|x| x, 1.0, 2.0, 20), Some((1.0, 1.0)));
        assert_eq!(least(|_| f64::NAN, 1.0, 2.0, 20), None);
    }

    #[test]
    fn finds_a_root_or_says_there_is_none() {
        let found = root(|x| x * x * x - 2.0, 0.0, 3.0).expect("a root");
        assert!((found - 1.259_921_049_894_873).abs() < 1e-12, "{found}");
        assert_eq!(root(|x| x + 10.0, 0.0, 1.0), None);
    }
}
