//! Which law? Candidates judged by what they say of larger compute than they were fitted to (`--law auto`).
//!
//! A law is used beyond its data, so that is where it is judged: each candidate is fitted to the runs of smaller compute
//! and predicts the larger ones, at several cuts. In-sample fit, and information criteria made of it, reward the form that
//! bends best where the runs are. Of the candidates the one with fewest parameters is chosen whose error is within one
//! standard error of the best (Breiman et al. 1984): a handful of held-out runs cannot tell closer ones apart.
//!
//! Beside the chosen law stands a stack: the mixture of all candidates with the weights that would have predicted the
//! held-out runs best (Breiman 1996). Its interval is that of the mixture, so it widens where the forms disagree, which the
//! interval of one law never does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fit::{fit, quick};
use crate::law::Scale;
use crate::study::error::StudyError;
use crate::study::rows::{compute, legal, point, runs_by_compute};
use crate::study::simplex::{CANDIDATES_MAX, stack};
use crate::{Fit, FitError, FitOptions, FitVerdict, Law, Table};

/// Weight from which a candidate is a member of the stack.
const WEIGHT_MIN: f64 = 0.01;

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChoiceOptions {
    /// Shares of the runs, largest compute first, that each cut holds out.
    pub cuts: Vec<f64>,
    /// Runs that a cut holds out at least.
    pub held_min: usize,
}

impl Default for ChoiceOptions {
    fn default() -> Self {
        Self {
            cuts: vec![0.15, 0.3, 0.45],
            held_min: 2,
        }
    }
}

/// A law that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name.
    pub law: String,
    /// Parameters that are fitted.
    pub parameters: usize,
    /// Mean over held-out runs and cuts of |ln (observed / predicted)|, or of |observed - predicted| where a response is on
    /// a linear scale; `None` where it could not be tried.
    pub holdout_error: Option<f64>,
    /// Its share in the stack.
    pub weight: f64,
    /// Why it was not tried.
    pub left_out: Option<String>,
}

/// A cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    /// Largest compute that was fitted.
    pub fitted_to: f64,
    /// Largest compute that was predicted.
    pub predicted_to: f64,
    /// Runs fitted.
    pub fitted_runs: usize,
    /// Runs held out.
    pub held_runs: usize,
}

/// Laws mixed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stack {
    /// Members with their weights, which sum to one.
    pub members: Vec<Member>,
}

/// A law of a stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its share.
    pub weight: f64,
    /// Its fit to all rows.
    pub fit: Fit,
}

/// The study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// All laws, best first, those left out last.
    pub candidates: Vec<Candidate>,
    /// What was held out.
    pub cuts: Vec<Cut>,
    /// `log` or `linear`: the scale of the errors.
    pub error_scale: Scale,
    /// The fit of the chosen law to all rows.
    pub chosen: Fit,
    /// The mixture.
    pub stack: Stack,
    /// What a reader should know, a sentence each.
    pub warnings: Vec<String>,
}

/// Built-in laws of a response (`loss`) whose columns the table has.
pub fn candidates(table: &Table, response: &str) -> Vec<Law> {
    Law::all()
        .into_iter()
        .filter(|law| law.response.name == response)
        .filter(|law| {
            law.columns
                .iter()
                .all(|column| table.columns.contains_key(&column.name))
        })
        .collect()
}

/// Held-out errors of one candidate, in the order in which every candidate meets the rows.
struct Tried {
    law: usize,
    said: Vec<f64>,
    /// Mean absolute error.
    error: f64,
}

/// One held-out row.
struct Held {
    truth: f64,
    run: String,
    importance: f64,
}

/// Chooses among laws. The laws must explain the same response.
pub fn choose(
    laws: &[Law],
    table: &Table,
    options: &FitOptions,
    choice: &ChoiceOptions,
) -> Result<Choice, StudyError> {
    let Some(first) = laws.first() else {
        return Err(StudyError::TooFew {
            study: "the choice of a law",
            what: "laws with all their columns",
            found: 0,
            needed: 1,
            left_out: Vec::new(),
        });
    };
    let linear = laws.iter().any(|law| law.response.scale == Scale::Linear)
        || table.response.iter().any(|y| *y <= 0.0);
    let read = |value: f64| if linear { value } else { libm::log(value) };
    // All candidates meet the same rows: those that every one can read.
    let rows = laws
        .iter()
        .fold(table.clone(), |rows, law| legal(law, &rows, !linear));
    let counted = laws
        .iter()
        .find(|law| law.compute.is_some())
        .unwrap_or(first);
    let computes = compute(counted, &rows);
    let runs = runs_by_compute(&rows, &computes);
    let splits = splits(&runs, choice);
    let mut held = Vec::new();
    let mut cuts = Vec::new();
    for below in &splits {
        let (small, large) = runs.split_at(*below);
        let most = |names: &[String]| {
            let of = rows
                .run_ids
                .iter()
                .zip(&computes)
                .filter(|(run, _)| names.contains(run));
            of.map(|(_, compute)| *compute)
                .fold(f64::NEG_INFINITY, f64::max)
        };
        cuts.push(Cut {
            fitted_to: most(small),
            predicted_to: most(large),
            fitted_runs: small.len(),
            held_runs: large.len(),
        });
        for row in (0..rows.len()).filter(|row| large.contains(&rows.run_ids[*row])) {
            let of_run = rows
                .run_ids
                .iter()
                .filter(|run| **run == rows.run_ids[row])
                .count();
            held.push(Held {
                truth: read(rows.response[row]),
                run: rows.run_ids[row].clone(),
                // Each cut weighs the same, in it each run, in it each row.
                importance: 1.0 / (splits.len() * large.len() * of_run) as f64,
            });
        }
    }
    let mut tried: Vec<Tried> = Vec::new();
    let mut failed: Vec<(usize, String)> = Vec::new();
    for (index, law) in laws.iter().enumerate() {
        match held_out(law, &rows, options, &runs, &splits, read) {
            Ok(said) => {
                let errors = said
                    .iter()
                    .zip(&held)
                    .map(|(said, held)| held.importance * (said - held.truth).abs());
                let error = errors.sum();
                tried.push(Tried {
                    law: index,
                    said,
                    error,
                });
            }
            Err(why) => failed.push((index, why)),
        }
    }
    if tried.is_empty() || splits.is_empty() {
        return Err(StudyError::TooFew {
            study: "the choice of a law",
            what: "laws that can be fitted to the smaller runs",
            found: 0,
            needed: 1,
            left_out: failed
                .iter()
                .map(|(law, why)| format!("{}: {why}", laws[*law].name))
                .collect(),
        });
    }
    tried.sort_by(|one, two| {
        one.error
            .total_cmp(&two.error)
            .then(laws[one.law].name.cmp(&laws[two.law].name))
    });
    let weights = weights(&tried, &held);
    let free = |law: &Law| {
        law.parameters
            .iter()
            .filter(|one| !options.fixed.contains_key(&one.name))
            .count()
    };
    let chosen = simplest(&tried, &held, |index| free(&laws[index]));
    let mut warnings = Vec::new();
    let held_runs = splits
        .iter()
        .map(|below| runs.len() - below)
        .max()
        .unwrap_or(0);
    if held_runs < 3 * tried.len() {
        warnings.push(format!(
            "{held_runs} held-out runs judge {} laws: the order of close ones is chance",
            tried.len()
        ));
    }
    let mut members = Vec::new();
    let mut listed = Vec::new();
    let mut chosen_fit = None;
    for (one, weight) in tried.iter().zip(&weights) {
        let law = &laws[one.law];
        if one.law == chosen || *weight >= WEIGHT_MIN {
            let fit = fit(law, &rows, options)?;
            if *weight >= WEIGHT_MIN {
                members.push(Member {
                    weight: *weight,
                    fit: fit.clone(),
                });
            }
            if one.law == chosen {
                chosen_fit = Some(fit);
            }
        }
        listed.push(Candidate {
            law: law.name.clone(),
            parameters: free(law),
            holdout_error: Some(one.error),
            weight: *weight,
            left_out: None,
        });
    }
    for (law, why) in failed {
        listed.push(Candidate {
            law: laws[law].name.clone(),
            parameters: free(&laws[law]),
            holdout_error: None,
            weight: 0.0,
            left_out: Some(why),
        });
    }
    // Few parameters may carry far and still miss what lies within the data: then the next best that does not.
    let mut chosen = chosen_fit.ok_or(FitError::NoOptimum)?;
    if chosen.verdict == FitVerdict::Refused {
        for one in &tried {
            let other = fit(&laws[one.law], &rows, options)?;
            if other.verdict != FitVerdict::Refused {
                warnings.push(format!(
                    "{} predicts the largest compute as well with fewer parameters, but its fit to all runs is refused ({}); {} was taken",
                    chosen.law,
                    chosen.warnings.first().map_or("", String::as_str),
                    other.law
                ));
                chosen = other;
                break;
            }
        }
    }
    let total: f64 = members.iter().map(|member| member.weight).sum();
    for member in &mut members {
        member.weight /= total;
    }
    Ok(Choice {
        candidates: listed,
        cuts,
        error_scale: if linear { Scale::Linear } else { Scale::Log },
        chosen,
        stack: Stack { members },
        warnings,
    })
}

/// How many runs each cut fits.
fn splits(runs: &[String], choice: &ChoiceOptions) -> Vec<usize> {
    let mut splits: Vec<usize> = choice
        .cuts
        .iter()
        .filter(|share| **share > 0.0 && **share < 1.0)
        .map(|share| ((runs.len() as f64 * share).round() as usize).max(choice.held_min.max(1)))
        .filter(|held| held + 2 <= runs.len())
        .map(|held| runs.len() - held)
        .collect();
    splits.sort_unstable();
    splits.dedup();
    splits
}

/// What a law says of the held-out rows of every cut.
fn held_out(
    law: &Law,
    rows: &Table,
    options: &FitOptions,
    runs: &[String],
    splits: &[usize],
    read: impl Fn(f64) -> f64,
) -> Result<Vec<f64>, String> {
    let mut said = Vec::new();
    for below in splits {
        let small = &runs[..*below];
        let part = rows.filtered(|row| small.contains(&rows.run_ids[row]));
        let found = quick(law, &part, options, &[])
            .map_err(|error| format!("{below} smaller runs: {error}"))?;
        if !found.converged {
            return Err(format!("the fit to {below} smaller runs did not converge"));
        }
        for row in (0..rows.len()).filter(|row| !small.contains(&rows.run_ids[*row])) {
            let plain = law.value(&found.optimum, &law.coordinates(&point(rows, row)));
            let value = read(plain);
            if !value.is_finite() {
                // a line in log compute ends below zero, where a loss has no logarithm
                let what = if plain <= 0.0 {
                    "zero or less"
                } else {
                    "no number"
                };
                return Err(format!("predicts {what} for a held-out run"));
            }
            said.push(value);
        }
    }
    Ok(said)
}

fn weights(tried: &[Tried], held: &[Held]) -> Vec<f64> {
    let said: Vec<Vec<f64>> = tried
        .iter()
        .take(CANDIDATES_MAX)
        .map(|one| one.said.clone())
        .collect();
    let truth: Vec<f64> = held.iter().map(|one| one.truth).collect();
    let importance: Vec<f64> = held.iter().map(|one| one.importance).collect();
    let mut weights = stack(&said, &truth, &importance);
    weights.resize(tried.len(), 0.0);
    weights
}

/// The law with fewest parameters within one standard error of the best; the standard error is that of the difference over
/// runs, each averaged over its rows and cuts.
fn simplest(tried: &[Tried], held: &[Held], parameters: impl Fn(usize) -> usize) -> usize {
    let best = &tried[0];
    let within = tried.iter().filter(|one| {
        let mut of_run: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for ((said, lowest), held) in one.said.iter().zip(&best.said).zip(held) {
            let entry = of_run.entry(&held.run).or_insert((0.0, 0.0));
            entry.0 += held.importance * ((said - held.truth).abs() - (lowest - held.truth).abs());
            entry.1 += held.importance;
        }
        let total: f64 = of_run.values().map(|(_, weight)| weight).sum();
        let mean = of_run.values().map(|(sum, _)| sum).sum::<f64>() / total;
        let squares: f64 = of_run
            .values()
            .map(|(sum, weight)| (sum - mean * weight).powi(2))
            .sum();
        let runs = of_run.len() as f64;
        let error = (squares * runs / (runs - 1.0).max(1.0)).sqrt() / total;
        mean <= error
    });
    let fewest = within.min_by_key(|one| parameters(one.law)).unwrap_or(best);
    fewest.law
}

impl Stack {
    /// The mixture's response at a point.
    pub fn value(&self, point: &BTreeMap<String, f64>) -> f64 {
        self.members
            .iter()
            .map(|member| member.weight * member.fit.value(point))
            .sum()
    }

    /// Interval of a new run: quantiles of the mixture of the members' predictive distributions, each of them read at forty
    /// levels.
    pub fn interval(
        &self,
        point: &BTreeMap<String, f64>,
        level: f64,
    ) -> Result<[f64; 2], FitError> {
        const LEVELS: usize = 40;
        let mut sample: Vec<(f64, f64)> = Vec::new();
        for member in &self.members {
            for index in 0..LEVELS {
                let inner = (index as f64 + 0.5) / LEVELS as f64;
                let said = member.fit.predict(point, inner)?;
                sample.push((said.low, member.weight));
                sample.push((said.high, member.weight));
            }
        }
        sample.sort_by(|one, two| one.0.total_cmp(&two.0));
        let total: f64 = sample.iter().map(|one| one.1).sum();
        let at = |probability: f64| {
            let mut sum = 0.0;
            let found = sample.iter().find(|(_, weight)| {
                sum += weight;
                sum >= probability * total
            });
            found.or(sample.last()).map_or(f64::NAN, |one| one.0)
        };
        if let [only] = self.members.as_slice() {
            let said = only.fit.predict(point, level)?;
            return Ok([said.low, said.high]);
        }
        Ok([at(0.5 - 0.5 * level), at(0.5 + 0.5 * level)])
    }
}
