//! Quantiles: of a sample, and of Student's t.

/// Quantile of an ascending sample, linear between order statistics (Hyndman and Fan 1996, type 7, numpy's default).
/// `None` for an empty sample.
pub(crate) fn sample_quantile(sorted: &[f64], probability: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = probability.clamp(0.0, 1.0) * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    let share = position - below as f64;
    Some(sorted[below] + share * (sorted[above] - sorted[below]))
}

/// Two-sided quantile of Student's t: the t that |T| exceeds with probability `1 - level`. Bisection of the regularised
/// incomplete beta function; good to 1e-10.
pub(crate) fn student_t(level: f64, degrees: f64) -> f64 {
    let tail = |t: f64| incomplete_beta(degrees / 2.0, 0.5, degrees / (degrees + t * t));
    let (mut low, mut high) = (0.0, 1.0);
    while tail(high) > 1.0 - level && high < 1e9 {
        high *= 2.0;
    }
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if tail(middle) > 1.0 - level {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// Regularised incomplete beta function by its continued fraction (Numerical Recipes, 3rd edition, section 6.4).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = libm::exp(
        libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b)
            + a * libm::log(x)
            + b * libm::log1p(-x),
    );
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, 1.0 - x) / b
    }
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    let guard = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut result = d;
    for step in 1..500 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / guard(1.0 + even * d);
        c = guard(1.0 + even / c);
        result *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / guard(1.0 + odd * d);
        c = guard(1.0 + odd / c);
        let change = d * c;
        result *= change;
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn student_t_agrees_with_printed_tables() {
        // Two-sided 95 %: 1, 10 and 235 degrees of freedom (tables; the last from R's qt).
        for (degrees, expected) in [(1.0, 12.7062), (10.0, 2.22814), (235.0, 1.97011)] {
            let value = student_t(0.95, degrees);
            assert!((value - expected).abs() < 1e-4, "{degrees}: {value}");
        }
    }

    #[test]
    fn sample_quantile_is_numpys() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(sample_quantile(&sorted, 0.5), Some(3.0));
        assert_eq!(sample_quantile(&sorted, 0.75), Some(5.0));
        assert_eq!(sample_quantile(&[], 0.5), None);
    }
}
