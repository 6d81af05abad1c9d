//! The errors of an iso-FLOP study, and replicates of its minima: see [`crate::study::isoflop`].

use crate::random::{index_below, sign};
use crate::study::budgets::{Parabola, Slice};
use crate::study::random::{Purpose, generator};

/// What the bootstrap draws from.
pub(crate) struct Errors {
    /// Residuals over sqrt(1 - leverage), by budget and row.
    scaled: Vec<Vec<f64>>,
    /// The same of all budgets, about their mean.
    pool: Vec<f64>,
    /// Whether some run has several rows, so that its residuals are flipped together.
    pub(crate) by_run: bool,
    /// Variance of an error, all budgets together, and its degrees of freedom.
    pub(crate) variance: f64,
    /// Those degrees of freedom.
    pub(crate) degrees: f64,
}

impl Errors {
    /// From the kept budgets; `runs` is the number of run indices.
    pub(crate) fn of(kept: &[(Slice, Parabola)], runs: usize) -> Self {
        let mut scaled = Vec::new();
        let mut rows_of = vec![0_u32; runs];
        let (mut squares, mut degrees) = (0.0, 0.0);
        for (slice, parabola) in kept {
            squares += parabola.solved.sum_of_squares;
            degrees += slice.rows.len() as f64 - 3.0;
            for row in &slice.rows {
                rows_of[row.run] += 1;
            }
            let pairs = parabola
                .solved
                .residuals
                .iter()
                .zip(&parabola.solved.leverages);
            scaled.push(
                // A row with leverage 1 has no residual to scale: the parabola goes through it.
                pairs
                    .map(|(e, h)| {
                        if *h < 1.0 - 1e-9 {
                            e / (1.0 - h).sqrt()
                        } else {
                            f64::NAN
                        }
                    })
                    .collect::<Vec<f64>>(),
            );
        }
        let known: Vec<f64> = scaled
            .iter()
            .flatten()
            .copied()
            .filter(|one| one.is_finite())
            .collect();
        let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
        Self {
            pool: known.iter().map(|one| one - mean).collect(),
            scaled,
            by_run: rows_of.iter().any(|rows| *rows > 1),
            variance: if degrees > 0.0 {
                squares / degrees
            } else {
                0.0
            },
            degrees,
        }
    }

    /// The minima (ln n, ln d) of one replicate; `None` where a budget lost its minimum.
    pub(crate) fn redrawn(
        &self,
        kept: &[(Slice, Parabola)],
        seed: u64,
        replicate: u32,
    ) -> Vec<Option<[f64; 2]>> {
        let mut draws = generator(seed, Purpose::IsoFlop, replicate);
        let runs = kept
            .iter()
            .flat_map(|(slice, _)| &slice.rows)
            .map(|row| row.run + 1)
            .max()
            .unwrap_or(0);
        let signs: Vec<f64> = (0..runs).map(|_| sign(&mut draws)).collect();
        kept.iter()
            .zip(&self.scaled)
            .map(|((slice, parabola), scaled)| {
                let mut again = slice.clone();
                for ((row, fitted), own) in again
                    .rows
                    .iter_mut()
                    .zip(parabola.fitted(slice))
                    .zip(scaled)
                {
                    let error = if self.by_run {
                        if own.is_finite() {
                            signs[row.run] * own
                        } else {
                            0.0
                        }
                    } else if self.pool.is_empty() {
                        0.0
                    } else {
                        self.pool[index_below(&mut draws, self.pool.len())]
                    };
                    row.response = fitted + error;
                }
                let vertex = again.parabola().ok()?.vertex();
                Some([vertex, again.ln_d_at(vertex)])
            })
            .collect()
    }
}
