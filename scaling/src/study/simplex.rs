//! Weights of a stack: least squares over weights that are not negative and sum to one.
//!
//! Breiman 1996, *Stacked regressions*; Yao et al. 2018 (arXiv 1704.02030) stack predictive distributions the same way. The
//! objective is convex, so the optimum is the best of the unconstrained ones over subsets of the candidates that come out
//! legal; with a dozen candidates that is exact and quick.

use crate::study::least::least_squares;

/// Candidates beyond which subsets are too many; the callers give the best first.
pub(crate) const CANDIDATES_MAX: usize = 12;

/// Weights for `predictions[candidate][row]` against `truth`, each row with an importance. All `NaN`-free.
pub(crate) fn stack(predictions: &[Vec<f64>], truth: &[f64], importance: &[f64]) -> Vec<f64> {
    let count = predictions.len().min(CANDIDATES_MAX);
    let mut best = (f64::INFINITY, vec![0.0; predictions.len()]);
    for subset in 1_u32..1 << count {
        let members: Vec<usize> = (0..count)
            .filter(|index| subset >> index & 1 == 1)
            .collect();
        let Some((value, weights)) = within(predictions, truth, importance, &members) else {
            continue;
        };
        // Subsets come small first among equals, so a candidate that adds nothing is left out.
        if value < best.0 * (1.0 - 1e-9) {
            best.0 = value;
            best.1 = vec![0.0; predictions.len()];
            for (member, weight) in members.iter().zip(&weights) {
                best.1[*member] = *weight;
            }
        }
    }
    best.1
}

/// The optimum with exactly these members and weights summing to one, if none is negative.
fn within(
    predictions: &[Vec<f64>],
    truth: &[f64],
    importance: &[f64],
    members: &[usize],
) -> Option<(f64, Vec<f64>)> {
    let (last, rest) = members.split_last()?;
    let base = &predictions[*last];
    let aim: Vec<f64> = truth
        .iter()
        .zip(base)
        .map(|(truth, base)| truth - base)
        .collect();
    let mut weights = Vec::new();
    if !rest.is_empty() {
        let rows: Vec<Vec<f64>> = (0..truth.len())
            .map(|row| {
                rest.iter()
                    .map(|member| predictions[*member][row] - base[row])
                    .collect()
            })
            .collect();
        weights = least_squares(&rows, &aim, importance)?.coefficients;
    }
    weights.push(1.0 - weights.iter().sum::<f64>());
    if weights.iter().any(|weight| *weight < 0.0) {
        return None;
    }
    let value = (0..truth.len())
        .map(|row| {
            let said: f64 = members
                .iter()
                .zip(&weights)
                .map(|(member, weight)| weight * predictions[*member][row])
                .sum();
            importance[row] * (truth[row] - said).powi(2)
        })
        .sum();
    Some((value, weights))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovers_a_mixture_and_drops_what_does_not_help() {
        let one = vec![1.0, 2.0, 3.0, 5.0];
        let two = vec![2.0, 1.0, 5.0, 4.0];
        let bad = vec![9.0, 9.0, 9.0, 9.0];
        let truth: Vec<f64> = one
            .iter()
            .zip(&two)
            .map(|(a, b)| 0.3 * a + 0.7 * b)
            .collect();
        let weights = stack(&[one.clone(), two, bad], &truth, &[1.0; 4]);
        for (weight, expected) in weights.iter().zip([0.3, 0.7, 0.0]) {
            assert!((weight - expected).abs() < 1e-12, "{weights:?}");
        }
        // Beyond the hull the nearest candidate has everything; equal candidates are not counted twice.
        assert_eq!(
            stack(&[one.clone(), one.clone()], &[0.0; 4], &[1.0; 4]),
            [1.0, 0.0]
        );
    }

    #[test]
    fn an_interior_optimum_by_hand() {
        // Predictions 0 and 4 for truths 1 (of twice the importance) and 2; w is the share of the second:
        // 2 (1 - 4 w)^2 + (2 - 4 w)^2 has its minimum at w = 1/3.
        let weights = stack(&[vec![0.0, 0.0], vec![4.0, 4.0]], &[1.0, 2.0], &[2.0, 1.0]);
        assert!((weights[1] - 1.0 / 3.0).abs() < 1e-12, "{weights:?}");
    }
}
