//! Runs set apart from everything, and what a surface fitted without them says of them.

use super::error::SurfaceError;
use super::features::{Column, Features};
use super::fit::fit_surface;
use super::options::{Scale, SurfaceHoldout, SurfaceOptions};
use super::report::Score;
use super::score::{Intervals, score};
use super::split::runs;
use crate::random::{generator, shuffle};

/// Rows kept and rows set apart.
pub(crate) fn held_out_rows(
    table: &Features,
    holdout: &SurfaceHoldout,
    seed: u64,
) -> Option<(Vec<usize>, Vec<usize>)> {
    let (run_of, count) = runs(&table.run_ids);
    let (mut order, fraction): (Vec<usize>, f64) = match holdout {
        SurfaceHoldout::None => return None,
        SurfaceHoldout::Runs(fraction) => {
            let mut order: Vec<usize> = (0..count).collect();
            shuffle(&mut order, &mut generator(seed, 15));
            (order, *fraction)
        }
        SurfaceHoldout::Largest { column, fraction } => {
            let Some(Column::Number(values)) = table.columns.get(column) else {
                return None;
            };
            let mut largest = vec![f64::NEG_INFINITY; count];
            for (run, value) in run_of.iter().zip(values) {
                largest[*run] = largest[*run].max(*value);
            }
            let mut order: Vec<usize> = (0..count).collect();
            order.sort_by(|one, two| largest[*one].total_cmp(&largest[*two]).then(one.cmp(two)));
            (order, *fraction)
        }
    };
    let held = ((count as f64 * fraction).ceil() as usize).clamp(1, count - 1);
    let mut apart = vec![false; count];
    order
        .drain(count - held..)
        .for_each(|run| apart[run] = true);
    Some((0..table.len()).partition(|row| !apart[run_of[*row]]))
}

/// Fits to the rest as if the runs set apart were not there, and predicts those.
pub(crate) fn judge_holdout(
    table: &Features,
    options: &SurfaceOptions,
    rest: &[usize],
    held: &[usize],
    warnings: &mut Vec<String>,
) -> Result<Score, SurfaceError> {
    let inner = SurfaceOptions {
        holdout: SurfaceHoldout::None,
        ..options.clone()
    };
    let fitted = fit_surface(&table.take(rest), &inner)?;
    let apart = table.take(held);
    let points = fitted.predict(&apart.columns, options.level)?;
    let means: Vec<f64> = points.iter().map(|point| point.mean).collect();
    let intervals = Intervals {
        low: points.iter().map(|point| point.low).collect(),
        high: points.iter().map(|point| point.high).collect(),
    };
    let probability = options.scale == Scale::Probability;
    let score = score(
        &apart,
        &means,
        (!probability).then_some(&intervals),
        options.level,
        probability,
    );
    if let Some(coverage) = score.coverage
        && coverage < options.level - 0.1
    {
        let which = match &options.holdout {
            SurfaceHoldout::Largest { column, .. } => format!("with the largest `{column}`"),
            _ => "set apart".to_owned(),
        };
        warnings.push(format!(
            "Intervals of level {} held {coverage:.2} of the rows of the runs {which}: do not rely on them there.",
            options.level
        ));
    }
    Ok(score)
}
