//! The slope that a few wild points cannot move: Theil–Sen, with Sen's confidence interval.
//!
//! The estimate is the median of the slopes of all pairs of points; up to 29 % of the points may be arbitrary before it
//! moves without bound. The interval inverts Kendall's test (Sen 1968), with the correction for ties, and picks the order
//! statistics as `scipy.stats.theilslopes` does, so that the numbers can be checked against something that is not ours.
//! It assumes independent noise and nothing about its shape.
//!
//! It does not weight points and fits no intercept.

/// More points than this are thinned evenly: pairs grow with the square, and 256 points make 32,640 of them, about a millisecond.
pub const POINTS_MAX: usize = 256;

/// A slope with its interval, in units of y per unit of x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// The median of the pairwise slopes.
    pub slope: f64,
    /// Lower end of the two-sided interval.
    pub low: f64,
    /// Upper end of the two-sided interval.
    pub high: f64,
    /// How many points went in.
    pub n: usize,
}

/// The Theil–Sen slope of `(x, y)` points with a two-sided interval at `level` (0.95); `None` where no two points differ in x.
///
/// Points that are not finite are left out.
///
/// ```
/// // The example of Sen (1968): slope 4, interval 26/7 to 35/8.
/// let points = [(1., 9.), (2., 15.), (3., 19.), (4., 20.), (10., 45.), (12., 55.), (18., 78.)];
/// let fit = cairn_operators::theil_sen::theil_sen(&points, 0.93).unwrap();
/// assert_eq!((fit.slope, fit.low, fit.high), (4.0, 26.0 / 7.0, 35.0 / 8.0));
/// ```
pub fn theil_sen(points: &[(f64, f64)], level: f64) -> Option<Slope> {
    let finite: Vec<(f64, f64)> = points
        .iter()
        .copied()
        .filter(|(x, y)| x.is_finite() && y.is_finite())
        .collect();
    let points = thin(&finite);
    let n = points.len();
    let mut slopes = Vec::with_capacity(n * n.saturating_sub(1) / 2);
    for (i, a) in points.iter().enumerate() {
        for b in points.iter().skip(i + 1) {
            let run = b.0 - a.0;
            let slope = (b.1 - a.1) / run;
            if run != 0.0 && slope.is_finite() {
                slopes.push(slope);
            }
        }
    }
    if slopes.is_empty() {
        return None;
    }
    slopes.sort_by(f64::total_cmp);
    let pairs = slopes.len() as f64;
    let sigma = libm::sqrt(kendall_variance(&points).max(0.0));
    let z = normal_quantile(0.5 + level.clamp(0.0, 0.999_999) / 2.0);
    let high_at = (libm::rint((pairs + z * sigma) / 2.0)).clamp(0.0, pairs - 1.0);
    let low_at = (libm::rint((pairs - z * sigma) / 2.0) - 1.0).clamp(0.0, pairs - 1.0);
    let at = |index: f64| slopes.get(index as usize).copied().unwrap_or_default();
    Some(Slope {
        slope: median_of_sorted(&slopes),
        low: at(low_at),
        high: at(high_at),
        n,
    })
}

/// The median of the finite values; `None` where there is none.
pub fn median(values: &[f64]) -> Option<f64> {
    let finite = values.iter().copied().filter(|v| v.is_finite());
    if values.len() > NEAR {
        return median_of(&mut finite.collect::<Vec<f64>>());
    }
    let mut near = [0.0; NEAR];
    let mut n = 0;
    for (place, value) in near.iter_mut().zip(finite) {
        *place = value;
        n += 1;
    }
    median_of(near.get_mut(..n)?)
}

/// So many values are put in order where they are, without memory of their own: a breaker asks for several medians a row.
const NEAR: usize = 32;

fn median_of(finite: &mut [f64]) -> Option<f64> {
    finite.sort_unstable_by(f64::total_cmp);
    (!finite.is_empty()).then(|| median_of_sorted(finite))
}

/// The standard deviation of the noise of a series, blind to its trend and to outliers: from the median absolute deviation of
/// successive differences (× 1.4826 for a normal, ÷ √2 for a difference). `None` below three values.
pub fn noise(values: &[f64]) -> Option<f64> {
    let steps: Vec<f64> = values
        .windows(2)
        .filter_map(|pair| Some(pair.get(1)? - pair.first()?))
        .collect();
    if steps.len() < 2 {
        return None;
    }
    let middle = median(&steps)?;
    let off: Vec<f64> = steps.iter().map(|step| (step - middle).abs()).collect();
    Some(1.4826 * median(&off)? / core::f64::consts::SQRT_2)
}

fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let n = points.len();
    if n <= POINTS_MAX {
        return points.to_vec();
    }
    (0..POINTS_MAX)
        .filter_map(|i| points.get(i * (n - 1) / (POINTS_MAX - 1)).copied())
        .collect()
}

fn median_of_sorted(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    let at = |i: usize| sorted.get(i).copied().unwrap_or_default();
    if n % 2 == 1 {
        at(n / 2)
    } else {
        0.5 * (at((n / 2).saturating_sub(1)) + at(n / 2))
    }
}

/// Variance of Kendall's S under "no trend", with ties in either coordinate.
fn kendall_variance(points: &[(f64, f64)]) -> f64 {
    let term = |k: f64| k * (k - 1.0) * (2.0 * k + 5.0);
    let ties = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values
            .chunk_by(|a, b| a == b)
            .map(|run| term(run.len() as f64))
            .sum::<f64>()
    };
    let n = points.len() as f64;
    let x = ties(points.iter().map(|p| p.0).collect());
    let y = ties(points.iter().map(|p| p.1).collect());
    (term(n) - x - y) / 18.0
}

/// The standard normal quantile for `p` in [0.5, 1), by bisection of `erfc`: exact to the last digits, and called once a fit.
fn normal_quantile(p: f64) -> f64 {
    let (mut low, mut high) = (0.0_f64, 10.0_f64);
    for _ in 0..70 {
        let middle = 0.5 * (low + high);
        if 1.0 - 0.5 * libm::erfc(middle / core::f64::consts::SQRT_2) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(y: &[f64], level: f64, expected: (f64, f64, f64)) {
        let points: Vec<(f64, f64)> = y.iter().enumerate().map(|(i, y)| (i as f64, *y)).collect();
        let fit = theil_sen(&points, level).expect("two points that differ in x");
        for (got, want) in [
            (fit.slope, expected.0),
            (fit.low, expected.1),
            (fit.high, expected.2),
        ] {
            assert!((got - want).abs() < 1e-12, "{fit:?} is not {expected:?}");
        }
    }

    /// By hand: points 0, 1, 5 have slopes 1, 2.5, 4; the median is 2.5, and three points decide nothing else.
    #[test]
    fn three_points_by_hand() {
        check(&[0., 1., 5.], 0.95, (2.5, 1.0, 4.0));
    }

    /// scipy 1.17: `theilslopes([3,1,4,1,5,9,2,6,5,3.5,8.9,7.9], range(12), 0.95)` and at 0.90; the ones tie.
    #[test]
    fn agrees_with_scipy() {
        let y = [3., 1., 4., 1., 5., 9., 2., 6., 5., 3.5, 8.9, 7.9];
        check(
            &y,
            0.95,
            (0.460_227_272_727_272_8, 0.0, 0.966_666_666_666_666_8),
        );
        check(
            &y,
            0.90,
            (0.460_227_272_727_272_8, 0.055_555_555_555_555_55, 0.862_5),
        );
    }

    #[test]
    fn one_wild_point_in_twenty_does_not_move_it() {
        let mut points: Vec<(f64, f64)> = (0..20)
            .map(|i| (f64::from(i), 3.0 - 0.01 * f64::from(i)))
            .collect();
        if let Some(point) = points.get_mut(11) {
            point.1 = 1e6;
        }
        let fit = theil_sen(&points, 0.95).expect("points");
        assert!((fit.slope + 0.01).abs() < 1e-9);
    }

    #[test]
    fn nothing_in_nothing_out() {
        assert_eq!(theil_sen(&[], 0.95), None);
        assert_eq!(theil_sen(&[(1., 1.), (1., 2.)], 0.95), None);
        assert_eq!(
            theil_sen(&[(f64::NAN, 1.), (1., f64::INFINITY), (2., 2.)], 0.95),
            None
        );
    }

    #[test]
    fn noise_ignores_trend_and_outliers() {
        let series: Vec<f64> = (0..60)
            .map(|i| {
                5.0 - 0.1 * f64::from(i)
                    + if i % 2 == 0 { 0.05 } else { -0.05 }
                    + if i == 30 { 9.0 } else { 0.0 }
            })
            .collect();
        let sd = noise(&series).expect("sixty values");
        assert!((0.05..0.25).contains(&sd), "{sd}");
    }
}
