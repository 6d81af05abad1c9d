//! Rows that stand apart from the law, told from a law that does not hold.
//!
//! The usual objective hardly heeds a row that is far off, so that one bad run in ten leaves parameters and curve where they
//! were (`benchmark/coverage`). A judgement by the largest residual would throw such fits away. The scale of the residuals is
//! therefore the median deviation (Hampel 1974), which half of the rows must spoil before it fails; rows beyond
//! [`BEYOND`] of it are set apart, and the rest is judged. Where a law breaks the residuals are large everywhere, the scale
//! with them, and no row stands apart.

/// Robust deviations beyond which a row stands apart: one normal row in two million.
const BEYOND: f64 = 5.0;

/// What a median deviation is to the standard deviation of normal errors.
const NORMAL: f64 = 1.4826;

/// Residuals seen robustly.
pub(crate) struct Apart {
    /// 1.4826 times the median size, the rows that the parameters pass through not counted.
    pub(crate) scale: f64,
    /// Whether each row stands apart.
    pub(crate) rows: Vec<bool>,
}

/// Sets rows apart that are off by more than `least` and by more than [`BEYOND`] scales. `free`: parameters that were fitted.
pub(crate) fn apart(residuals: &[f64], free: usize, least: f64) -> Apart {
    let scale = scale(residuals, free);
    let limit = least.max(BEYOND * scale);
    Apart {
        scale,
        rows: residuals.iter().map(|one| one.abs() > limit).collect(),
    }
}

/// The robust scale. A fit near least absolute deviations passes through as many rows as it has parameters: these residuals
/// are zero by construction and say nothing of the noise (Koenker 2005, section 3.4).
pub(crate) fn scale(residuals: &[f64], free: usize) -> f64 {
    let mut sizes: Vec<f64> = residuals.iter().map(|one| one.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let rest = &sizes[passed_through(&sizes, free).min(sizes.len().saturating_sub(1))..];
    NORMAL * rest.get(rest.len() / 2).copied().unwrap_or(0.0)
}

/// How many of ascending sizes belong to the `free` smallest different ones: rows of a run that repeat each other are passed
/// through together.
pub(crate) fn passed_through(sizes: &[f64], free: usize) -> usize {
    let (mut different, mut last) = (0, f64::NEG_INFINITY);
    for (place, size) in sizes.iter().enumerate() {
        if *size > last + 1e-12 {
            different += 1;
            last = *size;
        }
        if different > free {
            return place;
        }
    }
    sizes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_far_off_stands_apart_and_moves_no_scale() {
        // Sizes .01 to .08 and one of .5; without parameters the upper median of nine is .05.
        let mut residuals: Vec<f64> = (1..=8).map(|step| 0.01 * f64::from(step)).collect();
        residuals.push(-0.5);
        let found = apart(&residuals, 0, 0.05);
        assert!((found.scale - 1.4826 * 0.05).abs() < 1e-12);
        assert_eq!(found.rows.iter().filter(|one| **one).count(), 1);
        assert!(found.rows[8]);
        // Nothing below the least size stands apart, however quiet the rest.
        assert!(!apart(&[1e-6, 1e-6, 1e-6, 0.04], 0, 0.05).rows[3]);
    }

    #[test]
    fn rows_that_the_parameters_pass_through_do_not_count() {
        // Two parameters, two rows: the scale is that of the other three.
        assert!((scale(&[0.0, 0.001, 0.01, 0.02, 0.03], 2) - 1.4826 * 0.02).abs() < 1e-12);
        // Nor does each row twice.
        let twice = [0.0, 0.0, 0.001, 0.001, 0.01, 0.01, 0.02, 0.02, 0.03, 0.03];
        assert!((scale(&twice, 2) - 1.4826 * 0.02).abs() < 1e-12);
    }
}
