//! Scores, by harness, task and metric; the newest step wins. A score with a standard error has a band.
//!
//! A row keeps so many scores and no more. Where there are more, those of the fewest items give way: of an evaluation that says
//! every item and a mean over all of them, the mean stays.

use super::{LIST_MAX, RowState};
use cairn_avro::record::{Band, EvalResult, SafetyResult, Score, ScoreKind};

/// Level of the bands that are made from standard errors.
const BAND_LEVEL: f64 = 0.95;
/// Two-sided 95 % quantile of the normal distribution.
const BAND_Z: f64 = 1.959_963_984_540_054;

impl RowState {
    pub(super) fn evaluation(&mut self, result: &EvalResult) {
        self.score(Score {
            harness: result.harness.clone(),
            task: result.task.clone(),
            metric: result.metric.clone(),
            value: result.value,
            n: result.n,
            standard_error: result.standard_error,
            step: result.step,
            tokens: result.tokens,
            higher_is_better: result.higher_is_better,
            kind: score_kind(&result.task),
        });
    }

    pub(super) fn safety(&mut self, result: &SafetyResult) {
        self.score(Score {
            harness: result.suite.clone(),
            task: result
                .category
                .clone()
                .unwrap_or_else(|| result.suite.clone()),
            metric: result.metric.clone(),
            value: Some(result.value),
            n: result.n,
            standard_error: result.standard_error,
            step: result.step,
            tokens: None,
            higher_is_better: None,
            kind: ScoreKind::Safety,
        });
    }

    fn score(&mut self, score: Score) {
        let name = |s: &Score| (s.harness.clone(), s.task.clone(), s.metric.clone());
        let row = &mut self.row;
        match row.scores.binary_search_by_key(&name(&score), name) {
            Ok(place) if score.step >= row.scores[place].step => row.scores[place] = score,
            Err(place) if row.scores.len() < LIST_MAX => row.scores.insert(place, score),
            Err(place) => match fewest(&row.scores) {
                Some(least) if items(&row.scores[least]) < items(&score) => {
                    row.scores.remove(least);
                    row.scores.insert(place - usize::from(least < place), score);
                }
                _ => return,
            },
            Ok(_) => return,
        }
        row.uncertainty = row.scores.iter().filter_map(band).collect();
    }
}

/// Items that a score is over; one that does not say is no single item's.
fn items(score: &Score) -> i64 {
    score.n.unwrap_or(i64::MAX)
}

/// The score of the fewest items, the last of them by name.
fn fewest(scores: &[Score]) -> Option<usize> {
    (0..scores.len()).rev().min_by_key(|at| items(&scores[*at]))
}

fn band(score: &Score) -> Option<Band> {
    let (value, error) = (score.value?, score.standard_error?);
    Some(Band {
        metric: format!("{}/{}/{}", score.harness, score.task, score.metric),
        low: value - BAND_Z * error,
        high: value + BAND_Z * error,
        level: BAND_LEVEL,
    })
}

/// Tasks that are read as reasoning, by the beginning of their names in lm-evaluation-harness.
const REASONING_TASKS: [&str; 9] = [
    "arc_",
    "bbh",
    "drop",
    "gpqa",
    "gsm8k",
    "hendrycks_math",
    "logiqa",
    "math",
    "minerva_math",
];

fn score_kind(task: &str) -> ScoreKind {
    if REASONING_TASKS.iter().any(|name| task.starts_with(name)) {
        ScoreKind::Reasoning
    } else {
        ScoreKind::Quality
    }
}
