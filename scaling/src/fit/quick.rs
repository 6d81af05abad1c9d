//! An optimum without its evidence, for studies that need hundreds of them.
//!
//! No replicates, profiles or back-tests: whoever calls this has one fit with all of that and asks how its optimum moves.

use super::cohort::Cohort;
use super::loss::Loss;
use super::solve::{Solved, aim, from_starts, kind, logarithmic, solve};
use super::{checks, problem::Aim};
use crate::error::FitError;
use crate::law::Law;
use crate::options::{FitOptions, ObjectiveKind};
use crate::table::Table;

/// Factor on delta in the start that goes through a smoother problem.
const SMOOTHER: f64 = 30.0;

/// An optimum.
#[derive(Clone, Debug)]
pub(crate) struct Quick {
    /// Parameters in the law's order, natural units.
    pub(crate) optimum: Vec<f64>,
    /// The objective there.
    pub(crate) objective: f64,
    /// Whether the gradient vanished.
    pub(crate) converged: bool,
}

/// Fits, with the same checks as [`super::fit`]. Where `near` has points (natural values in the law's order) the search
/// begins there and at the optimum of a smoother problem only, as a replicate of the bootstrap does; else as the options say.
pub(crate) fn quick(
    law: &Law,
    table: &Table,
    options: &FitOptions,
    near: &[Vec<f64>],
) -> Result<Quick, FitError> {
    options.check()?;
    checks::options(law, options)?;
    let kind = kind(law, options);
    let (mut cohort, rejected) = Cohort::clean(law, table, logarithmic(kind))?;
    checks::cohort(law, table, options, &cohort, &rejected)?;
    if cohort.runs.len() == 1 {
        cohort.split_into_blocks();
    }
    // The scale of Student's t is part of the search, and so are the linear parameters of variable projection.
    let simple = match kind {
        ObjectiveKind::StudentT | ObjectiveKind::StudentTLog => options.delta.is_some(),
        ObjectiveKind::VariableProjection => false,
        _ => true,
    };
    let Solved { problem, found } = if near.is_empty() || !simple {
        solve(law, &cohort, options)?
    } else {
        let aim = aim(kind, &cohort, options.delta);
        let mut starts = near.to_vec();
        if let Loss::Huber { delta } = aim.loss {
            let loss = Loss::Huber {
                delta: SMOOTHER * delta,
            };
            let smooth = Aim { loss, ..aim };
            if let Ok(solved) = from_starts(law, &cohort, &options.fixed, smooth, &near[..1], &[]) {
                starts.push(solved.problem.coordinates.natural(&solved.found.best.at));
            }
        }
        from_starts(law, &cohort, &options.fixed, aim, &starts, &[])?
    };
    Ok(Quick {
        optimum: problem.coordinates.natural(&found.best.at),
        objective: problem.reported(found.best.evaluation.value),
        converged: found.best.converged,
    })
}
