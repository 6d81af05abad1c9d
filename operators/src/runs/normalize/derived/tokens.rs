//! What repeated tokens are worth.

use cairn_avro::record::ExperimentRow;

/// Repetitions after which a repeated token has lost 1 − 1/e of its worth: R*_D of Muennighoff et al. 2023
/// (arXiv 2305.16264, section 5 and appendix A).
const REPETITIONS_STAR: f64 = 15.387_756;

/// Effective tokens D' = U + U R* (1 − e^(−R/R*)) with R = D/U − 1 repetitions of U distinct tokens (Muennighoff et al. 2023,
/// arXiv 2305.16264, eq. 5); D itself where nothing is repeated. In tokens.
pub(super) fn effective(tokens: f64, distinct_tokens: f64) -> f64 {
    if distinct_tokens <= 0.0 || tokens <= distinct_tokens {
        return tokens;
    }
    let repetitions = tokens / distinct_tokens - 1.0;
    let worth = -libm::expm1(-repetitions / REPETITIONS_STAR);
    distinct_tokens * (1.0 + REPETITIONS_STAR * worth)
}

/// Effective tokens of a row and its passes over the distinct ones. A run that tells its distinct tokens is taken whole;
/// otherwise each data set of the mixture counts by its share and its own, where all of them tell.
pub(super) fn of_row(row: &ExperimentRow) -> (Option<f64>, Option<f64>) {
    let Some(tokens) = row.tokens.map(|tokens| tokens as f64) else {
        return (None, None);
    };
    if let Some(distinct) = row
        .training
        .unique_tokens
        .filter(|distinct| *distinct > 0.0)
    {
        return (Some(effective(tokens, distinct)), Some(tokens / distinct));
    }
    let shares: f64 = row.data_mix.iter().map(|source| source.ratio).sum();
    let parts: Option<Vec<(f64, f64)>> = row
        .data_mix
        .iter()
        .map(|source| Some((source.ratio / shares * tokens, source.unique_tokens?)))
        .collect();
    let Some(parts) = parts.filter(|parts| !parts.is_empty() && shares > 0.0) else {
        return (None, None);
    };
    let distinct: f64 = parts.iter().map(|(_, distinct)| distinct).sum();
    let worth = parts
        .iter()
        .map(|(tokens, distinct)| effective(*tokens, *distinct))
        .sum();
    (Some(worth), (distinct > 0.0).then(|| tokens / distinct))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_avro::record::DataSource;

    /// Section 5 of the paper: R* repetitions of U tokens are worth (1 − 1/e) R* U fresh ones, more than 4 epochs lose little.
    #[test]
    fn repeated_tokens_are_worth_what_the_paper_says() {
        let of = |epochs: f64| effective(100e9 * epochs, 100e9) / 100e9;
        assert_eq!(of(0.5), 0.5, "nothing is repeated");
        assert_eq!(of(1.0), 1.0);
        // 1 + 15.387756 (1 − e^(−1)) = 10.7269
        assert!(
            (of(16.387_756) - 10.7269).abs() < 1e-4,
            "{}",
            of(16.387_756)
        );
        // 1 + 15.387756 (1 − e^(−3/15.387756)) = 3.7257: four epochs are worth 93 % of fresh data
        assert!((of(4.0) - 3.7257).abs() < 1e-3, "{}", of(4.0));
        // however long: 1 + R*
        assert!((of(1e6) - 16.387_756).abs() < 1e-9);
    }

    #[test]
    fn a_mixture_counts_each_data_set_by_its_own() {
        let source = |ratio: f64, unique: Option<f64>| DataSource {
            ratio,
            unique_tokens: unique,
            ..DataSource::default()
        };
        let mut row = ExperimentRow {
            tokens: Some(1000),
            data_mix: vec![source(0.5, Some(1000.0)), source(0.5, Some(125.0))],
            ..ExperimentRow::default()
        };
        // 500 fresh tokens, and four epochs of 125
        let (worth, epochs) = of_row(&row);
        assert!((worth.expect("told") - (500.0 + 125.0 * 3.7257)).abs() < 0.1);
        assert_eq!(epochs, Some(1000.0 / 1125.0));
        row.data_mix[1].unique_tokens = None;
        assert_eq!(of_row(&row), (None, None), "not all of them tell");
        row.training.unique_tokens = Some(500.0);
        assert_eq!(of_row(&row).1, Some(2.0));
    }
}
