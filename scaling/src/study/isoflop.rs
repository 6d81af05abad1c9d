//! Approach 2 of Hoffmann et al. 2022 (section 3.2): a parabola over ln n at each compute budget, and how its minimum moves.
//!
//! The method assumes no form of the loss beyond a valley at each budget. What it needs is that the valley was seen: budgets
//! whose minimum is not between sizes that were tried are left out *and listed*, since a parabola extrapolates badly
//! (Porian et al. 2024, arXiv 2406.19146).
//!
//! *Intervals.* A resample of five runs of a budget often has two different sizes and no parabola, so the runs themselves
//! are not drawn. Each replicate keeps the design and draws errors: where every run has one row, from the residuals of all
//! budgets together, each divided by sqrt(1 - leverage) (Davison and Hinkley 1997, algorithm 6.1); where runs have several
//! rows, by flipping the signs of a run's residuals together (the wild cluster bootstrap of Cameron, Gelbach and Miller
//! 2008). Where the minima lie further from their power law than those errors explain, the intervals are widened by the
//! excess, and t quantiles stand for the few budgets.

use serde::{Deserialize, Serialize};

use crate::quantile::student_t;
use crate::study::budgets::{Parabola, Slice, WhyNot, slices};
use crate::study::error::StudyError;
use crate::study::estimate::{estimate, widened};
use crate::study::least::least_squares;
use crate::study::redraw::Errors;
use crate::{Estimate, Table};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IsoflopOptions {
    /// Largest over least compute of a budget, less one, at most; .1 unless given. Neighbours are joined narrowest first.
    pub budget_tolerance: f64,
    /// Different sizes that a budget needs; 3 unless given, which is also the least.
    pub sizes_min: usize,
    /// Whether the parabola is laid through ln loss instead of loss (the paper's).
    pub log_response: bool,
    /// Replicates of the bootstrap.
    pub bootstrap: u32,
    /// Level of the intervals.
    pub level: f64,
    /// Seed of the bootstrap.
    pub seed: u64,
}

impl Default for IsoflopOptions {
    fn default() -> Self {
        Self {
            budget_tolerance: 0.1,
            sizes_min: 3,
            log_response: false,
            bootstrap: 1000,
            level: 0.95,
            seed: 0,
        }
    }
}

/// A budget with an optimum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Training FLOPs: geometric mean of its rows.
    pub flops: f64,
    /// Largest over least compute of its rows, less one.
    pub spread: f64,
    /// Rows.
    pub points: usize,
    /// Parameters at the minimum.
    pub n_opt: Estimate,
    /// Tokens at the minimum.
    pub d_opt: Estimate,
    /// Response at the minimum (of the parabola, which has no noise).
    pub response: f64,
    /// Parabola: response = `response` + curvature (ln n - ln n_opt)^2, in ln response if that was asked for.
    pub curvature: f64,
}

/// A budget that was left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Training FLOPs.
    pub flops: f64,
    /// Rows.
    pub points: usize,
    /// Why.
    pub why: WhyNot,
    /// Why, in a sentence.
    pub reason: String,
}

/// A power law of compute: value = coefficient (C / reference)^exponent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PowerLaw {
    /// Exponent of compute.
    pub exponent: Estimate,
    /// Value at the reference compute, where it is known best.
    pub coefficient: Estimate,
    /// Compute at which the coefficient is given, FLOPs.
    pub reference_flops: f64,
    /// Mean square distance of the points from the law over what their own errors explain; above 1 the points do not lie
    /// on a power law, or their errors are larger than the rows show. Intervals are widened by its root.
    pub dispersion: f64,
}

impl PowerLaw {
    /// The value at a budget.
    pub fn value(&self, flops: f64) -> f64 {
        self.coefficient.value * libm::pow(flops / self.reference_flops, self.exponent.value)
    }
}

/// The study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Isoflop {
    /// Budgets with an optimum, ascending.
    pub budgets: Vec<Budget>,
    /// Budgets without, ascending.
    pub left_out: Vec<LeftOut>,
    /// Optimal parameters against compute.
    pub n_opt: PowerLaw,
    /// Optimal tokens against compute.
    pub d_opt: PowerLaw,
    /// `residuals` or `runs`: what the bootstrap drew; see the module.
    pub resampling: String,
    /// Replicates in which at least two budgets had a minimum, and replicates asked for.
    pub replicates: [usize; 2],
    /// Rows that were no positive numbers.
    pub rejected_rows: usize,
    /// What a reader should know, a sentence each.
    pub warnings: Vec<String>,
}

/// Runs the study on a table with columns `n` and `c`, or `n` and `d` (compute is then 6 n d).
pub fn isoflop(table: &Table, options: &IsoflopOptions) -> Result<Isoflop, StudyError> {
    check(options)?;
    let (all, runs, rejected_rows) = slices(table, options)?;
    let mut left_out = Vec::new();
    let mut kept: Vec<(Slice, Parabola)> = Vec::new();
    for slice in all {
        let found = if slice.sizes() < options.sizes_min.max(3) {
            Err(WhyNot::TooFewPoints)
        } else if slice.lowest_at_the_edge() {
            slice.parabola().and(Err(WhyNot::LowestAtTheEdge))
        } else {
            slice.parabola()
        };
        match found {
            Ok(parabola) => kept.push((slice, parabola)),
            Err(why) => left_out.push(LeftOut {
                flops: libm::exp(slice.ln_c),
                points: slice.rows.len(),
                why,
                reason: why.sentence().to_owned(),
            }),
        }
    }
    if kept.len() < 2 {
        return Err(StudyError::TooFew {
            study: "isoflop",
            what: "budgets with a minimum",
            found: kept.len(),
            needed: 2,
            left_out: left_out
                .iter()
                .map(|one| format!("{:.3e} FLOPs: {}", one.flops, one.reason))
                .collect(),
        });
    }
    let errors = Errors::of(&kept, runs.len());
    let weights: Vec<f64> = kept
        .iter()
        .map(|(_, parabola)| 1.0 / parabola.vertex_variance())
        .collect();
    let optima: Vec<Option<[f64; 2]>> = kept
        .iter()
        .map(|(slice, parabola)| Some([parabola.vertex(), slice.ln_d_at(parabola.vertex())]))
        .collect();
    let places: Vec<f64> = kept.iter().map(|(slice, _)| slice.ln_c).collect();
    let line = Line::through(&places, &optima, &weights).ok_or(StudyError::TooFew {
        study: "isoflop",
        what: "different budgets",
        found: 1,
        needed: 2,
        left_out: Vec::new(),
    })?;
    let mut lines = Vec::new();
    let mut moved: Vec<Vec<[f64; 2]>> = vec![Vec::new(); kept.len()];
    for replicate in 0..options.bootstrap {
        let again = errors.redrawn(&kept, options.seed, replicate);
        for (one, all) in again.iter().zip(&mut moved) {
            all.extend(*one);
        }
        lines.extend(Line::through(&places, &again, &weights));
    }
    let budgets = budgets(&kept, &moved, options);
    let laws = [0, 1].map(|which| {
        power_law(
            which,
            &line,
            &lines,
            &places,
            &optima,
            &weights,
            &errors,
            options.level,
        )
    });
    let [n_opt, d_opt] = laws;
    let mut warnings = Vec::new();
    if errors.degrees <= 0.0 {
        warnings.push("every budget has three points: a parabola goes through them whatever the noise, so there are no intervals".to_owned());
    }
    if n_opt.dispersion > 2.0 {
        warnings.push(format!(
            "the minima lie {:.1} times as far from a power law as their errors explain; intervals are widened by as much",
            n_opt.dispersion.sqrt()
        ));
    }
    if kept.len() == 2 {
        warnings.push("two budgets: a power law goes through them whatever they are".to_owned());
    }
    Ok(Isoflop {
        budgets,
        left_out,
        n_opt,
        d_opt,
        resampling: if errors.by_run { "runs" } else { "residuals" }.to_owned(),
        replicates: [lines.len(), options.bootstrap as usize],
        rejected_rows,
        warnings,
    })
}

fn check(options: &IsoflopOptions) -> Result<(), StudyError> {
    let bad = |name, value: f64, expected| {
        Err(StudyError::BadOption {
            name,
            value: value.to_string(),
            expected,
        })
    };
    if !(options.budget_tolerance >= 0.0 && options.budget_tolerance < 1.0) {
        return bad(
            "budget_tolerance",
            options.budget_tolerance,
            "a share from 0 to below 1",
        );
    }
    if !(options.level > 0.0 && options.level < 1.0) {
        return bad("level", options.level, "a number between 0 and 1");
    }
    Ok(())
}

fn budgets(
    kept: &[(Slice, Parabola)],
    moved: &[Vec<[f64; 2]>],
    options: &IsoflopOptions,
) -> Vec<Budget> {
    kept.iter()
        .zip(moved)
        .map(|((slice, parabola), moved)| {
            let of = |value: f64, which: usize| {
                let values: Vec<f64> = moved.iter().map(|both| libm::exp(both[which])).collect();
                estimate(libm::exp(value), &values, options.level)
            };
            let floor = parabola.floor();
            Budget {
                flops: libm::exp(slice.ln_c),
                spread: slice.spread - 1.0,
                points: slice.rows.len(),
                n_opt: of(parabola.vertex(), 0),
                d_opt: of(slice.ln_d_at(parabola.vertex()), 1),
                response: if options.log_response {
                    libm::exp(floor)
                } else {
                    floor
                },
                curvature: parabola.curvature(),
            }
        })
        .collect()
}

/// Lines of ln n_opt and ln d_opt on ln compute: middle, then (value there, slope) of each.
#[derive(Clone, Copy, Debug)]
struct Line {
    middle: f64,
    both: [[f64; 2]; 2],
}

impl Line {
    fn through(places: &[f64], optima: &[Option<[f64; 2]>], weights: &[f64]) -> Option<Self> {
        let total: f64 = weights.iter().sum();
        let middle = places
            .iter()
            .zip(weights)
            .map(|(place, weight)| place * weight)
            .sum::<f64>()
            / total;
        let present: Vec<usize> = (0..places.len())
            .filter(|index| optima[*index].is_some())
            .collect();
        let design: Vec<Vec<f64>> = present
            .iter()
            .map(|index| vec![1.0, places[*index] - middle])
            .collect();
        let used: Vec<f64> = present.iter().map(|index| weights[*index]).collect();
        let one = |which: usize| -> Option<[f64; 2]> {
            let response: Vec<f64> = present
                .iter()
                .filter_map(|index| optima[*index])
                .map(|both| both[which])
                .collect();
            let solved = least_squares(&design, &response, &used)?;
            Some([solved.coefficients[0], solved.coefficients[1]])
        };
        Some(Self {
            middle,
            both: [one(0)?, one(1)?],
        })
    }
}

#[expect(clippy::too_many_arguments, reason = "the pieces of one formula")]
fn power_law(
    which: usize,
    line: &Line,
    lines: &[Line],
    places: &[f64],
    optima: &[Option<[f64; 2]>],
    weights: &[f64],
    errors: &Errors,
    level: f64,
) -> PowerLaw {
    let [value, slope] = line.both[which];
    let left = (places.len() as f64 - 2.0).max(0.0);
    let squares: f64 = places
        .iter()
        .zip(optima.iter().flatten())
        .zip(weights)
        .map(|((place, both), weight)| {
            weight * (both[which] - value - slope * (place - line.middle)).powi(2)
        })
        .sum();
    let dispersion = if left > 0.0 && errors.variance > 0.0 {
        squares / (left * errors.variance)
    } else {
        1.0
    };
    // Where the minima scatter as their errors say, both sources of variance are one and are pooled; where they clearly
    // scatter more, only the few budgets know by how much.
    let total = errors.degrees + left;
    let (ratio, degrees) = if dispersion > 2.0 {
        (dispersion, left)
    } else {
        ((errors.degrees + left * dispersion) / total.max(1.0), total)
    };
    let few = if degrees >= 1.0 {
        student_t(level, degrees) / student_t(level, 1e6)
    } else {
        1.0
    };
    let factor = ratio.sqrt() * few;
    let slopes: Vec<f64> = lines.iter().map(|one| one.both[which][1]).collect();
    let values: Vec<f64> = lines.iter().map(|one| one.both[which][0]).collect();
    let logarithm = widened(estimate(value, &values, level), factor);
    let at = libm::exp(value);
    PowerLaw {
        exponent: widened(estimate(slope, &slopes, level), factor),
        coefficient: Estimate {
            value: at,
            se: logarithm.se.map(|se| se * at),
            ci: [libm::exp(logarithm.ci.low), libm::exp(logarithm.ci.high)].into(),
            level,
        },
        reference_flops: libm::exp(line.middle),
        dispersion,
    }
}
