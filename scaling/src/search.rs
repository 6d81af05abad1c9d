//! Searching from many starts, and remembering which basins they fell into.
//!
//! The objective is not convex: Huber's loss with a small delta has kinks in all but name, and near-ties are common.
//! A single start that converges says nothing about another basin; the list of basins with their values does.

use crate::laws::hoffmann::{COUNT, Centre, LogHuber, Point};
use crate::newton::{GRADIENT_TOLERANCE, Solution, minimise};
use crate::options::StartGrid;

/// Two converged points closer than this in every centred coordinate are one optimum. Converged points of one basin
/// agree to about 1e-9.
const SAME_POINT: f64 = 1e-5;

/// A local optimum and how many starts ended there.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The point, in the coordinates of the objective.
    pub(crate) at: Point,
    /// Objective over delta.
    pub(crate) value: f64,
    /// Starts that ended there.
    pub(crate) hits: u32,
}

/// Factor on delta in the funnel: wide enough that residuals of some per cent are on its square part.
const SMOOTHER: f64 = 50.0;

/// Rows kept in the funnel's objective.
const FUNNEL_ROWS: usize = 60;

/// What a search found.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    /// Lowest point, converged or not.
    pub(crate) best: Solution<COUNT>,
    /// Converged optima, lowest first.
    pub(crate) basins: Vec<Found>,
    /// Starts tried.
    pub(crate) starts: u32,
    /// Starts that did not converge.
    pub(crate) failed: u32,
}

/// Runs all starts directly. `None` where none had a finite objective.
pub(crate) fn search(problem: &LogHuber, starts: &[Point]) -> Option<Search> {
    let mut tally = Tally::default();
    let bounds = problem.bounds();
    for start in starts {
        tally.add(minimise(problem, &bounds, start, GRADIENT_TOLERANCE), 1);
    }
    tally.finish()
}

/// Runs the grid that was asked for.
///
/// [`StartGrid::Data`] begins near enough to run directly. The grid of the paper begins far away, where a delta far below
/// the residuals makes every change of sign a kink and a start creeps over hundreds of them. Its starts therefore pass
/// through a smoother objective on fewer rows first (graduated non-convexity, Blake and Zisserman 1987); starts that reach
/// one point there have one future, which is followed once and counted for each. What the funnel might smooth away, the
/// direct starts of [`StartGrid::Data`], which are run as well, can still find.
pub(crate) fn search_grid(problem: &LogHuber, kind: StartGrid) -> Option<Search> {
    let mut tally = Tally::default();
    let bounds = problem.bounds();
    for start in data_grid(problem) {
        tally.add(minimise(problem, &bounds, &start, GRADIENT_TOLERANCE), 1);
    }
    if kind == StartGrid::Paper {
        let funnel = thinned(problem);
        let mut arrivals: Vec<(Point, u32)> = Vec::new();
        for start in paper_grid(&problem.centre) {
            let at = minimise(&funnel, &bounds, &start, GRADIENT_TOLERANCE).at;
            match arrivals
                .iter_mut()
                .find(|(known, _)| same_point(known, &at))
            {
                Some((_, hits)) => *hits += 1,
                None => arrivals.push((at, 1)),
            }
        }
        for (at, hits) in arrivals {
            tally.add(minimise(problem, &bounds, &at, GRADIENT_TOLERANCE), hits);
        }
    }
    tally.finish()
}

/// The smoother objective over rows spread evenly in the order of their compute.
fn thinned(problem: &LogHuber) -> LogHuber {
    let mut rows = problem.rows.clone();
    rows.sort_by(|one, two| {
        (one.parameters + one.tokens).total_cmp(&(two.parameters + two.tokens))
    });
    let step = rows.len().div_ceil(FUNNEL_ROWS).max(1);
    let rows = rows.into_iter().step_by(step).collect();
    LogHuber {
        rows,
        delta: SMOOTHER * problem.delta,
        centre: problem.centre,
    }
}

#[derive(Default)]
struct Tally {
    best: Option<Solution<COUNT>>,
    basins: Vec<Found>,
    starts: u32,
    failed: u32,
}

impl Tally {
    fn add(&mut self, solution: Solution<COUNT>, hits: u32) {
        self.starts += hits;
        if solution.converged {
            match self
                .basins
                .iter_mut()
                .find(|known| same_point(&known.at, &solution.at))
            {
                Some(known) => known.hits += hits,
                None => {
                    let value = solution.evaluation.value;
                    self.basins.push(Found {
                        at: solution.at,
                        value,
                        hits,
                    });
                }
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
        let Self {
            best,
            basins,
            starts,
            failed,
        } = self;
        Some(Search {
            best: best?,
            basins,
            starts,
            failed,
        })
    }
}

/// Whether a solution replaces the best so far: lower, or as low to the last digits and converged where that was not.
pub(crate) fn prefer(solution: &Solution<COUNT>, best: Option<&Solution<COUNT>>) -> bool {
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

fn same_point(one: &Point, two: &Point) -> bool {
    one.iter()
        .zip(two)
        .all(|(one, two)| (one - two).abs() <= SAME_POINT)
}

/// The starts of [`StartGrid::Data`] in the coordinates of the objective.
pub(crate) fn data_grid(problem: &LogHuber) -> Vec<Point> {
    let smallest = problem.rows.iter().map(|row| row.loss).fold(0.0, f64::min);
    let mut starts = Vec::with_capacity(81);
    for floor_share in [0.2, 0.7, 0.95] {
        let floor = floor_share * libm::exp(smallest);
        // The middle loss is 1 in these units; what E does not explain there, the terms do.
        let rest = (1.0 - floor).max(0.01);
        for size_share in [0.25, 0.5, 0.75] {
            let (size, data) = (
                libm::log(rest * size_share),
                libm::log(rest * (1.0 - size_share)),
            );
            for alpha in [0.1, 0.35, 1.0] {
                for beta in [0.1, 0.35, 1.0] {
                    starts.push([size, data, floor, alpha, beta]);
                }
            }
        }
    }
    starts
}

fn paper_grid(centre: &Centre) -> Vec<Point> {
    let exponents = [0.0, 0.5, 1.0, 1.5, 2.0];
    let logarithms = [0.0, 5.0, 10.0, 15.0, 20.0, 25.0];
    let mut starts = Vec::with_capacity(4500);
    for alpha in exponents {
        for beta in exponents {
            for floor in [-1.0, -0.5, 0.0, 0.5, 1.0] {
                for ln_a in logarithms {
                    for ln_b in logarithms {
                        starts.push(centre.point(ln_a, ln_b, libm::exp(floor), alpha, beta));
                    }
                }
            }
        }
    }
    starts
}
