//! Dense linear algebra for matrices of a handful of rows: Cholesky solve and symmetric eigenvalues.
//!
//! A law has a handful of parameters, so a general library would bring more code than the two textbook routines here
//! (Golub and Van Loan, *Matrix Computations*, 4th edition, algorithms 4.2.1 and 8.5.2).

// The textbook's indices, rows and columns of one matrix at once, read better than iterators over half of them.
#![allow(clippy::needless_range_loop)]

/// A small symmetric matrix by rows; both triangles are filled.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matrix {
    size: usize,
    cells: Vec<f64>,
}

impl Matrix {
    /// All zeros.
    pub(crate) fn zero(size: usize) -> Self {
        Self {
            size,
            cells: vec![0.0; size * size],
        }
    }

    /// Number of rows.
    pub(crate) fn size(&self) -> usize {
        self.size
    }
}

impl std::ops::Index<usize> for Matrix {
    type Output = [f64];

    fn index(&self, row: usize) -> &[f64] {
        &self.cells[row * self.size..(row + 1) * self.size]
    }
}

impl std::ops::IndexMut<usize> for Matrix {
    fn index_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.cells[row * self.size..(row + 1) * self.size]
    }
}

/// Solves `matrix * x = right` by Cholesky over the rows marked `free`; other entries of `x` are zero.
/// `None` where the free block is not (numerically) positive definite.
pub(crate) fn solve_positive(matrix: &Matrix, right: &[f64], free: &[bool]) -> Option<Vec<f64>> {
    let size = matrix.size();
    let mut factor = Matrix::zero(size);
    for row in (0..size).filter(|row| free[*row]) {
        for column in (0..=row).filter(|column| free[*column]) {
            let mut sum = matrix[row][column];
            for inner in 0..column {
                sum -= factor[row][inner] * factor[column][inner];
            }
            if row == column {
                // A pivot lost to cancellation is as good as none: the step it would give is noise.
                if !sum.is_finite() || sum <= 1e-14 * matrix[row][row].abs() || sum <= 0.0 {
                    return None;
                }
                factor[row][row] = sum.sqrt();
            } else {
                factor[row][column] = sum / factor[column][column];
            }
        }
    }
    let mut solution = vec![0.0; size];
    for row in (0..size).filter(|row| free[*row]) {
        let mut sum = right[row];
        for inner in 0..row {
            sum -= factor[row][inner] * solution[inner];
        }
        solution[row] = sum / factor[row][row];
    }
    for row in (0..size).rev().filter(|row| free[*row]) {
        let mut sum = solution[row];
        for inner in row + 1..size {
            sum -= factor[inner][row] * solution[inner];
        }
        solution[row] = sum / factor[row][row];
    }
    solution
        .iter()
        .all(|value| value.is_finite())
        .then_some(solution)
}

/// Eigenvalues, ascending, of the free block of a symmetric matrix after scaling its diagonal to one.
///
/// The scaling makes the condition number a statement about the shape of the problem and not about the units
/// in which its parameters are written. Cyclic Jacobi rotations.
pub(crate) fn scaled_eigenvalues(matrix: &Matrix, free: &[bool]) -> Vec<f64> {
    let chosen: Vec<usize> = (0..matrix.size()).filter(|index| free[*index]).collect();
    let size = chosen.len();
    let scale = |index: usize| matrix[index][index].abs().max(f64::MIN_POSITIVE).sqrt();
    let mut work = Matrix::zero(size);
    for (row, from_row) in chosen.iter().enumerate() {
        for (column, from_column) in chosen.iter().enumerate() {
            work[row][column] =
                matrix[*from_row][*from_column] / (scale(*from_row) * scale(*from_column));
        }
    }
    // Jacobi converges quadratically; five rows need about six sweeps, thirty is a limit that is never met.
    for _ in 0..30 {
        let mut off_diagonal = 0.0;
        for row in 0..size {
            for column in 0..row {
                off_diagonal += work[row][column] * work[row][column];
            }
        }
        if off_diagonal < 1e-30 || !off_diagonal.is_finite() {
            break;
        }
        for row in 0..size {
            for column in 0..row {
                rotate(&mut work, size, column, row);
            }
        }
    }
    let mut values: Vec<f64> = (0..size).map(|index| work[index][index]).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn rotate(work: &mut Matrix, size: usize, first: usize, second: usize) {
    let off = work[first][second];
    if off == 0.0 {
        return;
    }
    let theta = (work[second][second] - work[first][first]) / (2.0 * off);
    let tangent = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let tangent = if theta == 0.0 { 1.0 } else { tangent };
    let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
    let sine = tangent * cosine;
    for index in 0..size {
        let (left, right) = (work[index][first], work[index][second]);
        work[index][first] = cosine * left - sine * right;
        work[index][second] = sine * left + cosine * right;
    }
    for index in 0..size {
        let (left, right) = (work[first][index], work[second][index]);
        work[first][index] = cosine * left - sine * right;
        work[second][index] = sine * left + cosine * right;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(cells: &[f64]) -> Matrix {
        let size = cells.len().isqrt();
        let mut matrix = Matrix::zero(size);
        matrix.cells.copy_from_slice(cells);
        matrix
    }

    #[test]
    fn solves_a_known_system_and_leaves_fixed_rows_alone() {
        let matrix = filled(&[4.0, 2.0, 9.0, 2.0, 3.0, 9.0, 9.0, 9.0, 9.0]);
        let solution = solve_positive(&matrix, &[8.0, 8.0, 1.0], &[true, true, false])
            .expect("positive definite");
        assert!((solution[0] - 1.0).abs() < 1e-15 && (solution[1] - 2.0).abs() < 1e-15);
        assert_eq!(solution[2], 0.0);
        assert!(
            solve_positive(&filled(&[1.0, 2.0, 2.0, 1.0]), &[1.0, 1.0], &[true, true]).is_none()
        );
    }

    #[test]
    fn eigenvalues_of_a_correlation_matrix() {
        // Unit diagonal with correlation .5 everywhere: eigenvalues 1/2, 1/2 and 2; units must not matter.
        let matrix = filled(&[1.0, 5.0, 50.0, 5.0, 100.0, 500.0, 50.0, 500.0, 10_000.0]);
        let values = scaled_eigenvalues(&matrix, &[true; 3]);
        for (value, expected) in values.iter().zip([0.5, 0.5, 2.0]) {
            assert!((value - expected).abs() < 1e-12, "{values:?}");
        }
    }
}
