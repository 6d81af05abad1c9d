//! Whether a point lies among the data.
//!
//! Two questions: does a column leave its span (or a name come up that no run had), and is the nearest run further away than
//! runs are from each other? The second finds the gap in the middle of a grid and the corner of a simplex that spans do not show.

use serde::{Deserialize, Serialize};

use super::encode::{Encoded, Encoder};
use super::features::{Column, Columns};
use crate::random::{generator, shuffle};

/// Rows kept to measure distances to.
const REFERENCES: usize = 256;

/// What distances are measured against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reach {
    points: Vec<Vec<f32>>,
    /// The distance to the nearest other run that 99 of 100 kept rows stay under.
    usual: f64,
}

fn distance(one: &[f32], two: &[f32]) -> f64 {
    let square = |(one, two): (&f32, &f32)| f64::from(one - two) * f64::from(one - two);
    one.iter().zip(two).map(square).sum::<f64>().sqrt()
}

impl Reach {
    pub(crate) fn new(encoded: &Encoded, run_of: &[usize], seed: u64) -> Self {
        let mut rows: Vec<usize> = (0..run_of.len()).collect();
        shuffle(&mut rows, &mut generator(seed, 13));
        rows.truncate(REFERENCES);
        rows.sort_unstable();
        let points: Vec<Vec<f32>> = rows
            .iter()
            .map(|row| {
                encoded.dense[*row]
                    .iter()
                    .map(|value| *value as f32)
                    .collect()
            })
            .collect();
        let mut nearest: Vec<f64> = (0..rows.len())
            .map(|one| {
                let others = (0..rows.len()).filter(|two| run_of[rows[*two]] != run_of[rows[one]]);
                others
                    .map(|two| distance(&points[one], &points[two]))
                    .fold(f64::INFINITY, f64::min)
            })
            .filter(|distance| distance.is_finite())
            .collect();
        nearest.sort_by(f64::total_cmp);
        let usual = crate::quantile::sample_quantile(&nearest, 0.99).unwrap_or(0.0);
        Self { points, usual }
    }

    /// The distance to the nearest kept row in multiples of the usual one, and the reasons why the row is outside.
    pub(crate) fn judge(
        &self,
        encoder: &Encoder,
        encoded: &Encoded,
        columns: &Columns,
        row: usize,
    ) -> (f64, Vec<String>) {
        let mut why = Vec::new();
        for (feature, raw) in encoder.features.iter().zip(&encoded.raw) {
            let (name, value) = (&feature.name, raw[row]);
            match (feature.span, columns.get(name)) {
                (Some([low, high]), _) if value < low || value > high => {
                    why.push(format!(
                        "`{name}` is {value}; the fit knows {low} to {high}."
                    ));
                }
                (None, Some(Column::Category(names))) => {
                    if let Some(given) = names[row].as_ref().filter(|_| value.is_nan()) {
                        why.push(format!(
                            "`{name}` is `{given}`, which no run of the fit had."
                        ));
                    }
                }
                _ => {}
            }
            let absent = match columns.get(name) {
                Some(Column::Category(names)) => names[row].is_none(),
                _ => value.is_nan(),
            };
            if absent && feature.missing == 0 {
                why.push(format!(
                    "`{name}` is missing, which it was in no run of the fit."
                ));
            }
        }
        let point: Vec<f32> = encoded.dense[row]
            .iter()
            .map(|value| *value as f32)
            .collect();
        let nearest = self
            .points
            .iter()
            .map(|other| distance(&point, other))
            .fold(f64::INFINITY, f64::min);
        let ratio = if nearest == 0.0 {
            0.0
        } else {
            nearest / self.usual.max(1e-9)
        };
        // Half as far again as the farthest of a hundred: the kept rows are a sample, and a new one may be between them.
        if ratio > 1.5 {
            why.push(format!("The nearest run is {ratio:.1} times as far away as runs usually are from each other."));
        }
        (ratio, why)
    }
}
