//! Searching from many starts, and remembering which basins they fell into.
//!
//! Objectives are not convex: Huber's loss with a small delta has kinks in all but name, and near-ties are common.
//! A single start that converges says nothing about another basin; the list of basins with their values does.

use super::cohort::spread_evenly;
use super::loss::Loss;
use super::newton::{GRADIENT_TOLERANCE, Solution, minimise};
use super::problem::Problem;

/// Two converged points closer than this in every coordinate (relative where it is large) are one optimum. Converged points
/// of one basin agree to about 1e-9.
const SAME_POINT: f64 = 1e-5;

/// Factor on delta in the funnel: wide enough that residuals of some per cent are on its square part.
const SMOOTHER: f64 = 50.0;

/// Rows kept in the funnel's objective.
const FUNNEL_ROWS: usize = 60;

/// Starts from which a grid is far enough away to need the funnel.
const FUNNEL_STARTS: usize = 300;

/// Rows above which every start passes through a sample of them first, and the size of the sample.
const MANY_ROWS: usize = 2_000;
const SAMPLE_ROWS: usize = 1_000;

/// A local optimum and how many starts ended there.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The point, in the coordinates of the problem.
    pub(crate) at: Vec<f64>,
    /// Objective, normalised.
    pub(crate) value: f64,
    /// Starts that ended there.
    pub(crate) hits: u32,
}

/// What a search found.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    /// Lowest point, converged or not.
    pub(crate) best: Solution,
    /// Converged optima, lowest first.
    pub(crate) basins: Vec<Found>,
    /// Starts tried.
    pub(crate) starts: u32,
    /// Starts that did not converge.
    pub(crate) failed: u32,
}

/// Runs `near` starts directly and `far` ones, where there are many, through a funnel.
///
/// A grid like the paper's begins far away, where a delta far below the residuals makes every change of sign a kink and a
/// start creeps over hundreds of them. Its starts therefore pass through a smoother objective on fewer rows first (graduated
/// non-convexity, Blake and Zisserman 1987); starts that reach one point there have one future, which is followed once and
/// counted for each. What the funnel might smooth away, the direct starts can still find. Where there are thousands of rows
/// even the direct starts pass through a sample of them, with the objective as it is: the way to a basin needs no more.
/// `order`: what rows are ordered by when they are thinned. `None` where no start had a finite objective.
pub(crate) fn search(
    problem: &Problem,
    order: &[f64],
    near: &[Vec<f64>],
    far: &[Vec<f64>],
) -> Option<Search> {
    let mut tally = Tally::default();
    let direct = |start: &Vec<f64>| minimise(problem, &problem.bounds, start, GRADIENT_TOLERANCE);
    let robust = matches!(problem.loss(), Loss::Huber { .. });
    let funnelled = robust && far.len() >= FUNNEL_STARTS;
    let plain = near.iter().chain(far.iter().filter(|_| !funnelled));
    if problem.len() > MANY_ROWS {
        let sample = thinned(problem, order, SAMPLE_ROWS);
        for (at, hits) in arrivals(&sample, plain) {
            tally.add(direct(&at), hits);
        }
    } else {
        for start in plain {
            tally.add(direct(start), 1);
        }
    }
    if funnelled {
        let funnel = thinned(problem, order, FUNNEL_ROWS).smoother(SMOOTHER);
        for (at, hits) in arrivals(&funnel, far.iter()) {
            tally.add(direct(&at), hits);
        }
    }
    tally.finish()
}

/// Where starts end, and how many end there.
fn arrivals<'a>(
    problem: &Problem,
    starts: impl Iterator<Item = &'a Vec<f64>>,
) -> Vec<(Vec<f64>, u32)> {
    let mut arrivals: Vec<(Vec<f64>, u32)> = Vec::new();
    for start in starts {
        let at = minimise(problem, &problem.bounds, start, GRADIENT_TOLERANCE).at;
        match arrivals
            .iter_mut()
            .find(|(known, _)| same_point(known, &at))
        {
            Some((_, hits)) => *hits += 1,
            None => arrivals.push((at, 1)),
        }
    }
    arrivals
}

/// The objective over rows spread evenly in their order.
fn thinned(problem: &Problem, order: &[f64], count: usize) -> Problem {
    let rows = spread_evenly(order, count);
    problem.resampled(&rows, &vec![1.0; rows.len()])
}

#[derive(Default)]
struct Tally {
    best: Option<Solution>,
    basins: Vec<Found>,
    starts: u32,
    failed: u32,
}

impl Tally {
    fn add(&mut self, solution: Solution, hits: u32) {
        self.starts += hits;
        if solution.converged {
            match self
                .basins
                .iter_mut()
                .find(|known| same_point(&known.at, &solution.at))
            {
                Some(known) => known.hits += hits,
                None => self.basins.push(Found {
                    at: solution.at.clone(),
                    value: solution.evaluation.value,
                    hits,
                }),
            }
        } else {
            self.failed += hits;
        }
        if prefer(&solution, self.best.as_ref()) {
            self.best = Some(solution);
        }
    }

    fn finish(mut self) -> Option<Search> {
        self.basins
            .sort_by(|one, two| one.value.total_cmp(&two.value));
        Some(Search {
            best: self.best?,
            basins: self.basins,
            starts: self.starts,
            failed: self.failed,
        })
    }
}

/// Whether a solution replaces the best so far: lower, or as low to the last digits and converged where that was not.
pub(crate) fn prefer(solution: &Solution, best: Option<&Solution>) -> bool {
    let value = solution.evaluation.value;
    let Some(best) = best else {
        return value.is_finite();
    };
    let tie = 1e-12 * best.evaluation.value.abs() + 1e-14;
    match (solution.converged, best.converged) {
        (true, false) => value <= best.evaluation.value + tie,
        (false, true) => value < best.evaluation.value - tie,
        _ => value < best.evaluation.value,
    }
}

fn same_point(one: &[f64], two: &[f64]) -> bool {
    one.iter()
        .zip(two)
        .all(|(one, two)| (one - two).abs() <= SAME_POINT * one.abs().max(1.0))
}
