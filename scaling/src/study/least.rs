//! Linear least squares over a handful of columns, by orthogonalisation.
//!
//! Modified Gram-Schmidt on the design with the response carried along as a last column, which is as stable as Householder's
//! method for this purpose (Björck 1967; Golub and Van Loan, 4th edition, section 5.3.5). Leverages and the unscaled
//! covariance come with it, because every interval in this folder needs them.

/// A solved least-squares problem.
#[derive(Clone, Debug)]
pub(crate) struct LeastSquares {
    /// One coefficient a column.
    pub(crate) coefficients: Vec<f64>,
    /// Inverse of `X'WX`: times the error variance it is the covariance of the coefficients.
    pub(crate) covariance: Vec<Vec<f64>>,
    /// Diagonal of the hat matrix, one a row, in 0..=1.
    pub(crate) leverages: Vec<f64>,
    /// Response less fitted value, one a row, unweighted.
    pub(crate) residuals: Vec<f64>,
    /// Weighted sum of squared residuals.
    pub(crate) sum_of_squares: f64,
    /// An orthonormal basis of the (weighted) columns, one a column.
    pub(crate) basis: Vec<Vec<f64>>,
}

/// Solves `min sum w (y - x b)^2`. `None` where there are fewer rows than columns, a column depends on the others, or
/// something is not finite. Weights must not be negative.
pub(crate) fn least_squares(
    rows: &[Vec<f64>],
    response: &[f64],
    weights: &[f64],
) -> Option<LeastSquares> {
    let width = rows.first()?.len();
    let count = rows.len();
    if count < width || width == 0 {
        return None;
    }
    let root: Vec<f64> = weights.iter().map(|weight| weight.sqrt()).collect();
    // Columns of Q, scaled rows; `upper` is R.
    let mut basis: Vec<Vec<f64>> = (0..width)
        .map(|column| {
            (0..count)
                .map(|row| rows[row][column] * root[row])
                .collect()
        })
        .collect();
    let mut target: Vec<f64> = (0..count).map(|row| response[row] * root[row]).collect();
    let mut upper = vec![vec![0.0; width]; width];
    let mut projected = vec![0.0; width];
    for column in 0..width {
        let before = norm(
            &(0..count)
                .map(|row| rows[row][column] * root[row])
                .collect::<Vec<_>>(),
        );
        let length = norm(&basis[column]);
        // What is left of a dependent column is rounding.
        if !length.is_finite() || length <= 1e-11 * before || length == 0.0 {
            return None;
        }
        upper[column][column] = length;
        for value in &mut basis[column] {
            *value /= length;
        }
        let unit = basis[column].clone();
        for later in column + 1..width {
            let share = dot(&unit, &basis[later]);
            upper[column][later] = share;
            for (value, along) in basis[later].iter_mut().zip(&unit) {
                *value -= share * along;
            }
        }
        let share = dot(&unit, &target);
        projected[column] = share;
        for (value, along) in target.iter_mut().zip(&unit) {
            *value -= share * along;
        }
    }
    let coefficients = back_substitute(&upper, &projected);
    let inverse: Vec<Vec<f64>> = (0..width)
        .map(|column| {
            let unit: Vec<f64> = (0..width)
                .map(|row| f64::from(u8::from(row == column)))
                .collect();
            back_substitute(&upper, &unit)
        })
        .collect();
    // inverse[k] is column k of R^-1; the covariance is R^-1 R^-T.
    let covariance = (0..width)
        .map(|row| {
            (0..width)
                .map(|column| {
                    (0..width)
                        .map(|k| inverse[k][row] * inverse[k][column])
                        .sum()
                })
                .collect()
        })
        .collect();
    let leverages = (0..count)
        .map(|row| {
            basis
                .iter()
                .map(|column| column[row] * column[row])
                .sum::<f64>()
                .min(1.0)
        })
        .collect();
    let residuals: Vec<f64> = rows
        .iter()
        .zip(response)
        .map(|(row, value)| value - dot(row, &coefficients))
        .collect();
    let sum_of_squares = residuals.iter().zip(weights).map(|(e, w)| w * e * e).sum();
    coefficients
        .iter()
        .all(|value: &f64| value.is_finite())
        .then_some(LeastSquares {
            coefficients,
            covariance,
            leverages,
            residuals,
            sum_of_squares,
            basis,
        })
}

fn back_substitute(upper: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let width = right.len();
    let mut solution = vec![0.0; width];
    for row in (0..width).rev() {
        let known: f64 = (row + 1..width).map(|k| upper[row][k] * solution[k]).sum();
        solution[row] = (right[row] - known) / upper[row][row];
    }
    solution
}

fn dot(one: &[f64], two: &[f64]) -> f64 {
    one.iter().zip(two).map(|(a, b)| a * b).sum()
}

fn norm(values: &[f64]) -> f64 {
    dot(values, values).sqrt()
}

/// Least squares with coefficients that are not negative where `positive` says so: the best of all choices of columns at
/// zero. Exact, and quick for the three or four columns it is used for.
pub(crate) fn non_negative(
    rows: &[Vec<f64>],
    response: &[f64],
    weights: &[f64],
    positive: &[bool],
) -> Option<LeastSquares> {
    let width = positive.len();
    let mut best: Option<LeastSquares> = None;
    for mask in 1_u32..1 << width {
        let used: Vec<usize> = (0..width)
            .filter(|column| mask >> column & 1 == 1)
            .collect();
        if (0..width).any(|column| !positive[column] && !used.contains(&column)) {
            continue;
        }
        let part: Vec<Vec<f64>> = rows
            .iter()
            .map(|row| used.iter().map(|k| row[*k]).collect())
            .collect();
        let Some(solved) = least_squares(&part, response, weights) else {
            continue;
        };
        let legal = used
            .iter()
            .zip(&solved.coefficients)
            .all(|(k, value)| !positive[*k] || *value >= 0.0);
        let better = best
            .as_ref()
            .is_none_or(|best| solved.sum_of_squares < best.sum_of_squares);
        if legal && better {
            let mut full = solved.clone();
            full.coefficients = vec![0.0; width];
            for (k, value) in used.iter().zip(&solved.coefficients) {
                full.coefficients[*k] = *value;
            }
            best = Some(full);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longley's data, the classic test of least-squares programs: NIST StRD, certified values.
    #[test]
    fn longley_agrees_with_nist() {
        let data = [
            [60323.0, 83.0, 234289.0, 2356.0, 1590.0, 107608.0, 1947.0],
            [61122.0, 88.5, 259426.0, 2325.0, 1456.0, 108632.0, 1948.0],
            [60171.0, 88.2, 258054.0, 3682.0, 1616.0, 109773.0, 1949.0],
            [61187.0, 89.5, 284599.0, 3351.0, 1650.0, 110929.0, 1950.0],
            [63221.0, 96.2, 328975.0, 2099.0, 3099.0, 112075.0, 1951.0],
            [63639.0, 98.1, 346999.0, 1932.0, 3594.0, 113270.0, 1952.0],
            [64989.0, 99.0, 365385.0, 1870.0, 3547.0, 115094.0, 1953.0],
            [63761.0, 100.0, 363112.0, 3578.0, 3350.0, 116219.0, 1954.0],
            [66019.0, 101.2, 397469.0, 2904.0, 3048.0, 117388.0, 1955.0],
            [67857.0, 104.6, 419180.0, 2822.0, 2857.0, 118734.0, 1956.0],
            [68169.0, 108.4, 442769.0, 2936.0, 2798.0, 120445.0, 1957.0],
            [66513.0, 110.8, 444546.0, 4681.0, 2637.0, 121950.0, 1958.0],
            [68655.0, 112.6, 482704.0, 3813.0, 2552.0, 123366.0, 1959.0],
            [69564.0, 114.2, 502601.0, 3931.0, 2514.0, 125368.0, 1960.0],
            [69331.0, 115.7, 518173.0, 4806.0, 2572.0, 127852.0, 1961.0],
            [70551.0, 116.9, 554894.0, 4007.0, 2827.0, 130081.0, 1962.0],
        ];
        let rows: Vec<Vec<f64>> = data
            .iter()
            .map(|row| {
                std::iter::once(1.0)
                    .chain(row[1..].iter().copied())
                    .collect()
            })
            .collect();
        let response: Vec<f64> = data.iter().map(|row| row[0]).collect();
        let solved = least_squares(&rows, &response, &[1.0; 16]).expect("full rank");
        let certified = [
            -3482258.63459582,
            15.0618722713733,
            -0.358191792925910e-1,
            -2.02022980381683,
            -1.03322686717359,
            -0.511041056535807e-1,
            1829.15146461355,
        ];
        for (value, expected) in solved.coefficients.iter().zip(certified) {
            assert!(
                (value / expected - 1.0).abs() < 1e-6,
                "{value}, certified {expected}"
            );
        }
        // Certified residual standard deviation and standard error of the first coefficient.
        let variance = solved.sum_of_squares / 9.0;
        assert!((variance.sqrt() / 304.854073561965 - 1.0).abs() < 1e-8);
        let error = (variance * solved.covariance[0][0]).sqrt();
        assert!((error / 890420.383607373 - 1.0).abs() < 1e-6, "{error}");
        let trace: f64 = solved.leverages.iter().sum();
        assert!(
            (trace - 7.0).abs() < 1e-6,
            "leverages sum to the number of columns"
        );
    }

    #[test]
    fn dependent_columns_have_no_solution() {
        let rows = vec![vec![1.0, 2.0], vec![2.0, 4.0], vec![3.0, 6.0]];
        assert!(least_squares(&rows, &[1.0, 2.0, 3.0], &[1.0; 3]).is_none());
    }

    #[test]
    fn a_negative_slope_is_cut_off() {
        let rows: Vec<Vec<f64>> = [0.0, 1.0, 2.0].iter().map(|x| vec![1.0, *x]).collect();
        let solved =
            non_negative(&rows, &[3.0, 2.0, 1.0], &[1.0; 3], &[false, true]).expect("a constant");
        assert_eq!(solved.coefficients[1], 0.0);
        assert!((solved.coefficients[0] - 2.0).abs() < 1e-14);
    }
}
