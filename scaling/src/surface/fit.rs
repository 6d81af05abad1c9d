//! The one function that fits: check, encode, try the forms on held-out runs, keep one, calibrate, back-test.

use super::check::{check, process_cannot};
use super::conformal::{Calibration, Method};
use super::encode::Encoder;
use super::error::SurfaceError;
use super::event::{Events, model_error, recalibrate};
use super::features::Features;
use super::holdout::{held_out_rows, judge_holdout};
use super::model::{Crossed, Model, Task};
use super::options::{Kind, Scale, SurfaceOptions};
use super::reach::Reach;
use super::report::{Candidate, Score};
use super::score::{Intervals, cross_coverage, score};
use super::split::{folds, runs};
use super::surface::{SURFACE_VERSION, Surface};

/// Above so many rows one split of the runs calibrates, and the model is that of the other part: folds would cost
/// several times as much and gain next to nothing.
const SPLIT_ABOVE: usize = 3_000;

/// Fits a surface.
///
/// The form is the one with the least error on held-out runs, or the one asked for. Equal rows in any order, options and
/// seed give equal bytes.
///
/// # Errors
/// [`SurfaceError`] says what is wrong with the table or the options, and what to do.
pub fn fit_surface(features: &Features, options: &SurfaceOptions) -> Result<Surface, SurfaceError> {
    let mut warnings = check(features, options)?;
    let table = features.canonical();
    let holdout = match held_out_rows(&table, &options.holdout, options.seed) {
        Some((rest, held)) => Some(judge_holdout(&table, options, &rest, &held, &mut warnings)?),
        None => None,
    };
    let (task, encoder) = task(&table, options);
    let plan = Folds::new(&task, options);
    let (candidates, mut crossed) = try_forms(&task, &plan, options)?;
    let best = candidates
        .iter()
        .filter(|candidate| candidate.error.is_some())
        .min_by(|one, two| {
            one.error
                .unwrap_or(f64::INFINITY)
                .total_cmp(&two.error.unwrap_or(f64::INFINITY))
        })
        .map(|candidate| candidate.kind)
        .ok_or(SurfaceError::NotFitted {
            kind: options.kind.name(),
            why: "no form gave a finite error",
        })?;
    let place = candidates
        .iter()
        .position(|candidate| candidate.kind == best)
        .unwrap_or(0);
    let Some(crossed) = crossed.swap_remove(place) else {
        return Err(SurfaceError::NotFitted {
            kind: best.name(),
            why: "it gave no model",
        });
    };
    let (model, calibration) = calibrate(&task, &plan, crossed, best)?;
    let backtest = backtest(&task, &plan, &table, &calibration, options);
    judge_backtest(&backtest, options, &mut warnings);
    let reach = Reach::new(&task.encoded, &task.run_of, options.seed);
    Ok(Surface {
        version: SURFACE_VERSION,
        target: table.target_name.clone(),
        kind: best,
        scale: options.scale,
        monotone: options.monotone.clone(),
        simplex: options.simplex.clone(),
        level: options.level,
        seed: options.seed,
        folds: plan.count,
        n_rows: table.len(),
        n_runs: task.runs,
        candidates,
        backtest,
        holdout,
        guarantee: calibration.method.guarantee().to_owned(),
        warnings,
        encoder,
        model,
        calibration: calibration.calibration,
        reach,
        fingerprint: fingerprint(&table),
    })
}

/// A number that hangs on runs and targets, whatever their order was: 64-bit FNV-1a.
pub(crate) fn fingerprint(canonical: &Features) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for (run, target) in canonical.run_ids.iter().zip(&canonical.target) {
        run.bytes().chain([0]).for_each(&mut add);
        target
            .to_bits()
            .to_le_bytes()
            .into_iter()
            .for_each(&mut add);
    }
    hash
}

/// Encodes a canonical table.
pub(crate) fn task(table: &Features, options: &SurfaceOptions) -> (Task, Encoder) {
    let encoder = Encoder::new(&table.columns, &options.simplex);
    let raw = encoder.encode(&table.columns).unwrap_or_default();
    let sign = |name: &str| {
        options
            .monotone
            .get(name)
            .map_or(0, |direction| direction.sign())
    };
    let (run_of, count) = runs(&table.run_ids);
    let tree_signs: Vec<i8> = encoder
        .features
        .iter()
        .map(|feature| sign(&feature.name))
        .collect();
    let task = Task {
        encoded: raw,
        target: table
            .target
            .iter()
            .map(|value| options.scale.forward(*value))
            .collect(),
        weights: (0..table.len()).map(|row| table.weight(row)).collect(),
        run_of,
        runs: count,
        probability: options.scale == Scale::Probability,
        dense_signs: encoder
            .dense
            .iter()
            .map(|column| column.sign(&tree_signs))
            .collect(),
        tree_signs,
        seed: options.seed,
    };
    (task, encoder)
}

/// Which rows are held out together.
pub(crate) struct Folds {
    pub(crate) of_row: Vec<usize>,
    /// Folds that are held out in turn: 1 where one split calibrates.
    pub(crate) count: usize,
}

impl Folds {
    pub(crate) fn new(task: &Task, options: &SurfaceOptions) -> Self {
        let (of_row, count) = folds_of(&task.run_of, task.runs, options.folds, options.seed);
        Self { of_row, count }
    }

    /// Rows that are held out at some time.
    pub(crate) fn held(&self) -> Vec<usize> {
        (0..self.of_row.len())
            .filter(|row| self.of_row[*row] < self.count)
            .collect()
    }
}

/// The fold of each row and how many of them are held out in turn; explanations ask the same question later.
pub(crate) fn folds_of(
    run_of: &[usize],
    runs: usize,
    count: usize,
    seed: u64,
) -> (Vec<usize>, usize) {
    if run_of.len() > SPLIT_ABOVE {
        // A fifth calibrates; the other folds are one part, numbered 1.
        let of_row = folds(run_of, runs, 5, seed, 10);
        return (of_row.into_iter().map(|fold| fold.min(1)).collect(), 1);
    }
    let count = count.min(runs);
    (folds(run_of, runs, count, seed, 10), count)
}

type Tried = (Vec<Candidate>, Vec<Option<Crossed>>);

fn try_forms(task: &Task, plan: &Folds, options: &SurfaceOptions) -> Result<Tried, SurfaceError> {
    if options.kind != Kind::Auto {
        let crossed = task.cross(options.kind, &plan.of_row, plan.count)?;
        let error = Some(held_error(task, plan, &crossed));
        return Ok((
            vec![Candidate {
                kind: options.kind,
                error,
                left_out: None,
            }],
            vec![Some(crossed)],
        ));
    }
    let mut candidates = Vec::new();
    let mut all = Vec::new();
    for kind in [
        Kind::Linear,
        Kind::Boosting,
        Kind::Forest,
        Kind::GaussianProcess,
    ] {
        let cannot = (kind == Kind::GaussianProcess)
            .then(|| process_cannot(task.target.len(), options))
            .flatten();
        let tried = match cannot {
            Some(what) => Err(format!("It cannot {what}.")),
            None => task
                .cross(kind, &plan.of_row, plan.count)
                .map_err(|error| error.to_string()),
        };
        let error = tried
            .as_ref()
            .ok()
            .map(|crossed| held_error(task, plan, crossed))
            .filter(|error| error.is_finite());
        candidates.push(Candidate {
            kind,
            error,
            left_out: tried.as_ref().err().cloned(),
        });
        all.push(tried.ok());
    }
    Ok((candidates, all))
}

/// Error on held-out rows, on the model's scale.
fn held_error(task: &Task, plan: &Folds, crossed: &Crossed) -> f64 {
    let rows = plan.held();
    let pick = |values: &[f64]| rows.iter().map(|row| values[*row]).collect::<Vec<f64>>();
    let (at, target, weights) = (pick(&crossed.held), pick(&task.target), pick(&task.weights));
    let loss = super::boosting::mean_loss(&at, &target, &weights, task.probability);
    if task.probability { loss } else { loss.sqrt() }
}

struct Calibrated {
    calibration: Calibration,
    method: Method,
    /// Held-out sums, recalibrated where the target is an event.
    held: Vec<f64>,
}

fn calibrate(
    task: &Task,
    plan: &Folds,
    crossed: Crossed,
    kind: Kind,
) -> Result<(Model, Calibrated), SurfaceError> {
    let rows = plan.held();
    let mut rows_of_run = vec![0.0_f32; task.runs];
    rows.iter()
        .for_each(|row| rows_of_run[task.run_of[*row]] += 1.0);
    let all: Vec<usize> = (0..task.target.len()).collect();
    let mut held = crossed.held.clone();
    let (mut recalibration, mut error) = ([0.0, 1.0], 0.0);
    if task.probability {
        let pick = |values: &[f64]| rows.iter().map(|row| values[*row]).collect::<Vec<f64>>();
        recalibration = recalibrate(&pick(&held), &pick(&task.target), &pick(&task.weights));
        held.iter_mut()
            .for_each(|sum| *sum = recalibration[0] + recalibration[1] * *sum);
        error = model_error(&Events {
            scores: &pick(&held),
            outcomes: &pick(&task.target),
            weights: &pick(&task.weights),
            runs: &rows.iter().map(|row| task.run_of[*row]).collect::<Vec<_>>(),
            folds: &rows.iter().map(|row| plan.of_row[*row]).collect::<Vec<_>>(),
            points: &rows
                .iter()
                .map(|row| task.encoded.dense[*row].clone())
                .collect::<Vec<_>>(),
        });
    }
    let method = match (task.probability, plan.count) {
        (true, _) => Method::NeighbourError,
        (false, 1) => Method::Split,
        (false, _) => Method::CvPlus,
    };
    let score = |row: &usize| (task.target[*row] - held[*row]).abs();
    let mut order = if task.probability { Vec::new() } else { rows };
    order.sort_by(|one, two| score(one).total_cmp(&score(two)).then(one.cmp(two)));
    let model = if plan.count == 1 {
        None
    } else {
        Some(task.finish(&crossed, kind, &all)?)
    };
    let mut models = crossed.models;
    let model = match model {
        Some(model) => model,
        None => models.remove(0),
    };
    let calibration = Calibration {
        method,
        scores: order.iter().map(|row| score(row) as f32).collect(),
        weights: order
            .iter()
            .map(|row| 1.0 / rows_of_run[task.run_of[*row]])
            .collect(),
        folds: if method == Method::CvPlus {
            order.iter().map(|row| plan.of_row[*row] as u16).collect()
        } else {
            Vec::new()
        },
        error,
        models,
        recalibration,
    };
    Ok((
        model,
        Calibrated {
            calibration,
            method,
            held,
        },
    ))
}

fn backtest(
    task: &Task,
    plan: &Folds,
    table: &Features,
    calibrated: &Calibrated,
    options: &SurfaceOptions,
) -> Score {
    let rows = plan.held();
    let predicted: Vec<f64> = rows
        .iter()
        .map(|row| options.scale.backward(calibrated.held[*row]))
        .collect();
    let intervals = (!task.probability).then(|| {
        // One split has no folds: its own halves by run calibrate each other.
        let part = if plan.count > 1 {
            plan.of_row.clone()
        } else {
            folds(&task.run_of, task.runs, 2, options.seed, 14)
        };
        let half = cross_coverage(
            &rows,
            &part,
            &task.run_of,
            |row| (task.target[row] - calibrated.held[row]).abs(),
            options.level,
        );
        let end = |sign: f64| {
            rows.iter()
                .zip(&half)
                .map(|(row, half)| options.scale.backward(calibrated.held[*row] + sign * half))
                .collect()
        };
        Intervals {
            low: end(-1.0),
            high: end(1.0),
        }
    });
    score(
        &table.take(&rows),
        &predicted,
        intervals.as_ref(),
        options.level,
        task.probability,
    )
}

fn judge_backtest(score: &Score, options: &SurfaceOptions, warnings: &mut Vec<String>) {
    if score.r_squared < 0.1 {
        warnings.push(format!(
            "The surface explains next to nothing of runs that it had not seen (R2 {:.2}).",
            score.r_squared
        ));
    }
    if let Some(coverage) = score.coverage
        && coverage < options.level - 0.1
    {
        warnings.push(format!(
            "Intervals of level {} held {coverage:.2} of held-out rows.",
            options.level
        ));
    }
    if options.scale == Scale::Probability
        && let events = score
            .reliability
            .iter()
            .map(|bin| bin.observed * bin.weight)
            .sum::<f64>()
        && events < 10.0
    {
        warnings.push(format!(
            "Only {events:.0} events: their probability is hardly known anywhere."
        ));
    }
}
