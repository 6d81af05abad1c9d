//! Residuals as they would be if their own run had not been fitted.
//!
//! A fit bends towards every run, most towards those at the corners of the design, and what is left over understates
//! their errors most. Sign flips of such residuals make a null distribution that is too narrow. The remedy is the
//! leave-one-cluster-out residual, `(I - H_gg)^-1 e_g` with H the hat matrix of the law's linearisation at its optimum
//! (Bell and McCaffrey 2002; MacKinnon, Nielsen and Webb 2023 for the wild bootstrap).

use crate::study::least::least_squares;
use crate::study::rows::point;
use crate::{Law, Table};

/// Residuals of each row without its unit. As given where the linearisation is singular: then the law is not identified
/// and nothing can be said of leverage.
pub(crate) fn left_out(
    law: &Law,
    table: &Table,
    optimum: &[f64],
    residuals: &[f64],
    units: &[usize],
    logarithmic: bool,
) -> Vec<f64> {
    let design = slopes(law, table, optimum, logarithmic);
    let Some(solved) = least_squares(&design, residuals, &vec![1.0; residuals.len()]) else {
        return residuals.to_vec();
    };
    let width = solved.basis.len();
    let mut corrected = residuals.to_vec();
    for unit in 0..units.iter().max().map_or(0, |last| last + 1) {
        let rows: Vec<usize> = (0..units.len()).filter(|row| units[*row] == unit).collect();
        // (I - Q Q')^-1 e = e + Q (I - Q'Q)^-1 Q' e: a system as small as the law, however many checkpoints a run has.
        let mut inner = vec![vec![0.0; width]; width];
        let mut right = vec![0.0; width];
        for (one, (line, right)) in inner.iter_mut().zip(&mut right).enumerate() {
            line[one] = 1.0;
            for row in &rows {
                let own = solved.basis[one][*row];
                *right += own * residuals[*row];
                for (value, basis) in line.iter_mut().zip(&solved.basis) {
                    *value -= own * basis[*row];
                }
            }
        }
        let Some(shift) = least_squares(&inner, &right, &vec![1.0; width]) else {
            continue;
        };
        for row in rows {
            let own: f64 = (0..width)
                .map(|one| solved.basis[one][row] * shift.coefficients[one])
                .sum();
            // A unit that alone decides a direction has no residual there; tenfold is as good as any guess.
            let most = 10.0 * residuals[row].abs();
            corrected[row] += own.clamp(-most, most);
        }
    }
    corrected
}

/// Derivatives of the fitted response by each parameter that moves it, a row each; central differences.
fn slopes(law: &Law, table: &Table, optimum: &[f64], logarithmic: bool) -> Vec<Vec<f64>> {
    let columns: Vec<Vec<f64>> = (0..table.len())
        .map(|row| law.coordinates(&point(table, row)))
        .collect();
    let value = |parameters: &[f64], columns: &[f64]| {
        let value = law.value(parameters, columns);
        if logarithmic { libm::log(value) } else { value }
    };
    let mut rows = vec![Vec::new(); columns.len()];
    for index in 0..optimum.len() {
        let step = 1e-5 * optimum[index].abs().max(1e-3);
        let (mut up, mut down) = (optimum.to_vec(), optimum.to_vec());
        up[index] += step;
        down[index] -= step;
        let slope: Vec<f64> = columns
            .iter()
            .map(|at| (value(&up, at) - value(&down, at)) / (2.0 * step))
            .collect();
        if slope.iter().all(|one| one.is_finite()) && slope.iter().any(|one| *one != 0.0) {
            for (row, slope) in rows.iter_mut().zip(slope) {
                row.push(slope);
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For a straight line the correction is exact: the residual of a point from the line through the others.
    #[test]
    fn agrees_with_leaving_out_by_hand() {
        let law = Law::from_yaml(
            "{name: line, formula: u + v * x, columns: [{name: x}], response: {name: y, scale: linear},
              parameters: [{name: u, bounds: [-9, 9]}, {name: v, bounds: [-9, 9]}]}",
        )
        .expect("a law");
        let mut table = Table::default();
        for (x, y) in [(1.0, 1.0), (2.0, 3.0), (3.0, 2.0), (4.0, 6.0)] {
            table.push(&format!("{x}"), &[("x", x)], y);
        }
        // Least squares by hand: slope 1.4, intercept -.5; residuals .1, .7, -1.7, .9.
        let corrected = left_out(
            &law,
            &table,
            &[-0.5, 1.4],
            &[0.1, 0.7, -1.7, 0.9],
            &[0, 1, 2, 3],
            false,
        );
        // Without (4, 6): slope .5, intercept 1: predicts 3. Without (1, 1): slope 1.5, intercept -5/6: predicts 2/3.
        assert!((corrected[3] - 3.0).abs() < 1e-6, "{corrected:?}");
        assert!((corrected[0] - 1.0 / 3.0).abs() < 1e-6, "{corrected:?}");
        // Without the two points 2 and 3: the line through (1, 1) and (4, 6) predicts 8/3 and 13/3.
        let pair = left_out(
            &law,
            &table,
            &[-0.5, 1.4],
            &[0.1, 0.7, -1.7, 0.9],
            &[0, 1, 1, 2],
            false,
        );
        assert!(
            (pair[1] - 1.0 / 3.0).abs() < 1e-6 && (pair[2] + 7.0 / 3.0).abs() < 1e-6,
            "{pair:?}"
        );
    }
}
