//! What to train when it will also be served: Sardana et al. 2023, *Beyond Chinchilla-Optimal*, arXiv 2401.00448.
//!
//! Training costs compute(n, d), 6 n d for instance; serving T tokens costs the forward pass, a third of what training on
//! them would. Which point is best depends on what is held fast, and the paper's text and its readers differ in it, so it
//! is said by name:
//!
//! * [`Goal::QualityOf`]: the loss that a training budget would buy without serving in mind, at the least cost of training
//!   and serving together. This is the paper's reading ("a 13B-Chinchilla-quality model").
//! * [`Goal::TargetLoss`]: the same for a stated loss.
//! * [`Goal::TotalBudget`]: the least loss for a budget that pays for training and serving together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::study::allocation::{Allocation, Found};
use crate::study::error::StudyError;
use crate::study::estimate::estimate;
use crate::study::optimal::{AllocationOptions, thinned};
use crate::{Estimate, Fit};

/// What is held fast.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "value")]
pub enum Goal {
    /// The response that this many training FLOPs buy at their optimum; least total cost.
    QualityOf(f64),
    /// This response; least total cost.
    TargetLoss(f64),
    /// This many FLOPs for training and serving together; least response.
    TotalBudget(f64),
}

/// A point and what it costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The law's columns.
    pub columns: BTreeMap<String, Estimate>,
    /// The law's response.
    pub response: Estimate,
    /// FLOPs of training.
    pub training_flops: Estimate,
    /// FLOPs of serving.
    pub serving_flops: Estimate,
    /// Both.
    pub total_flops: Estimate,
}

/// The optimum with serving in mind, beside the one without.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Serving {
    /// What is held fast.
    pub goal: Goal,
    /// Tokens served over the model's life, T.
    pub serving_tokens: f64,
    /// The best plan with serving in mind.
    pub plan: Plan,
    /// The plan that training alone would choose for the same goal: the cheapest to train at the same response, or, for a
    /// total budget, the compute-optimal shape that the budget can pay for together with its serving.
    pub without_serving: Plan,
    /// Share of the total cost that is saved against it (for a total budget: by how much the response falls, over it).
    pub saving: Estimate,
    /// Columns at an end of what they may be.
    pub at_bounds: Vec<String>,
}

/// Finds both plans, with intervals from the fit's replicates.
pub fn serving(
    fit: &Fit,
    goal: Goal,
    serving_tokens: f64,
    options: &AllocationOptions,
) -> Result<Serving, StudyError> {
    let (Goal::QualityOf(number) | Goal::TargetLoss(number) | Goal::TotalBudget(number)) = goal;
    let legal = |value: f64| value.is_finite() && value > 0.0;
    if !(legal(number) && serving_tokens.is_finite() && serving_tokens >= 0.0) {
        return Err(StudyError::BadOption {
            name: "goal and serving tokens",
            value: format!("{number} and {serving_tokens}"),
            expected: "a positive goal and tokens that are not negative",
        });
    }
    let allocation = Allocation::new(&fit.definition, options)?;
    if !allocation.solves_tokens() {
        return Err(StudyError::MissingColumn {
            study: "serving",
            column: "d".to_owned(),
            why: " that makes compute and is not fixed",
        });
    }
    let pair = |parameters: &[f64]| plans(&allocation, parameters, goal, serving_tokens);
    let found = pair(&fit.optimum())?;
    let replicates: Vec<[Costed; 2]> = thinned(&fit.replicates)
        .into_iter()
        .filter_map(|one| pair(one).ok())
        .collect();
    let level = options.level.unwrap_or(fit.level);
    let names: Vec<&String> = fit
        .definition
        .columns
        .iter()
        .map(|column| &column.name)
        .collect();
    let plan = |which: usize| {
        let of = |pick: &dyn Fn(&Costed) -> f64| {
            let values: Vec<f64> = replicates.iter().map(|both| pick(&both[which])).collect();
            estimate(pick(&found[which]), &values, level)
        };
        let columns = names.iter().enumerate();
        Plan {
            columns: columns
                .map(|(place, name)| ((*name).clone(), of(&|one| one.at.columns[place])))
                .collect(),
            response: of(&|one| one.at.response),
            training_flops: of(&|one| one.training),
            serving_flops: of(&|one| one.serving),
            total_flops: of(&|one| one.training + one.serving),
        }
    };
    let saved = |both: &[Costed; 2]| match goal {
        Goal::TotalBudget(_) => 1.0 - both[0].at.response / both[1].at.response,
        _ => 1.0 - (both[0].training + both[0].serving) / (both[1].training + both[1].serving),
    };
    let savings: Vec<f64> = replicates.iter().map(saved).collect();
    Ok(Serving {
        goal,
        serving_tokens,
        plan: plan(0),
        without_serving: plan(1),
        saving: estimate(saved(&found), &savings, level),
        at_bounds: found[0].at.at_bounds.clone(),
    })
}

/// A point with its costs.
#[derive(Clone, Debug)]
struct Costed {
    at: Found,
    training: f64,
    serving: f64,
}

/// With serving in mind, and without.
fn plans(
    allocation: &Allocation<'_>,
    parameters: &[f64],
    goal: Goal,
    tokens: f64,
) -> Result<[Costed; 2], StudyError> {
    let costed = |at: Found| Costed {
        training: allocation.compute(&at.columns),
        serving: allocation.serving(&at.columns, tokens),
        at,
    };
    let out_of_reach = |why: String| StudyError::NoAllocation { why };
    let cheapest = |target: f64, tokens: f64| {
        allocation
            .search(parameters, |allocation, columns| {
                allocation.solve_response(parameters, columns, target)?;
                Some(libm::log(
                    allocation.compute(columns) + allocation.serving(columns, tokens),
                ))
            })
            .ok_or_else(|| out_of_reach(format!("the law does not reach a response of {target}")))
    };
    let target = match goal {
        Goal::QualityOf(flops) => allocation.at_budget(parameters, flops)?.response,
        Goal::TargetLoss(target) => target,
        Goal::TotalBudget(total) => {
            let best = allocation
                .search(parameters, |allocation, columns| {
                    let left = total - allocation.serving(columns, tokens);
                    if left <= 0.0 {
                        return None;
                    }
                    allocation.solve_budget(columns, left)?;
                    Some(allocation.response(parameters, columns))
                })
                .ok_or_else(|| {
                    out_of_reach(format!(
                        "{total:e} FLOPs do not pay for serving {tokens:e} tokens"
                    ))
                })?;
            return Ok([
                costed(best),
                costed(affordable(allocation, parameters, total, tokens)?),
            ]);
        }
    };
    Ok([
        costed(cheapest(target, tokens)?),
        costed(cheapest(target, 0.0)?),
    ])
}

/// The compute-optimal point whose training and serving together cost `total`.
fn affordable(
    allocation: &Allocation<'_>,
    parameters: &[f64],
    total: f64,
    tokens: f64,
) -> Result<Found, StudyError> {
    let whole = |flops: f64| {
        let at = allocation.at_budget(parameters, flops)?;
        let cost = allocation.compute(&at.columns) + allocation.serving(&at.columns, tokens);
        Ok::<_, StudyError>((at, cost))
    };
    let difference =
        |at: f64| whole(libm::exp(at)).map_or(f64::NAN, |(_, cost)| libm::log(cost / total));
    let top = libm::log(total);
    let found = crate::study::line_search::root(difference, top - 14.0, top).unwrap_or(top - 14.0);
    whole(libm::exp(found)).map(|(at, _)| at)
}
