//! The judgement: what a fit is good for, and why.
//!
//! Each rule is one sentence in the warnings. The thresholds are constants with their reasons; they were set before the
//! test data was looked at and are not tuned to it, except where a comment says so.

use std::collections::BTreeMap;

use super::coordinates::asymptote;
use crate::law::{Law, Scale};
use crate::report::{
    Backtest, BacktestPoint, Certificate, FitVerdict, Identified, ParameterEstimate,
    ResidualSummary,
};
use crate::words::short;

/// Runs per fitted parameter below which there are hardly degrees of freedom against them.
const RUNS_PER_PARAMETER: usize = 2;

/// Largest relative residual of a law that holds: laws are bought to tell apart losses that differ by a per cent; ten times
/// that is another regime in the same table. Scores spread more from run to run: for plain residuals three times that.
const RESIDUAL_REFUSED: f64 = 0.10;
/// Half of it.
pub(crate) const RESIDUAL_WEAK: f64 = 0.05;
pub(crate) const PLAIN_ALLOWANCE: f64 = 3.0;

/// Share of rows that may stand apart: with one bad run in ten the intervals keep their promise (`benchmark/coverage`); a
/// sixth is that share among 36 runs and a standard deviation and a half. More is another law in the same table.
const APART_SHARE: f64 = 1.0 / 6.0;
/// Runs apart that a sentence names.
const APART_NAMED: usize = 5;

/// Root-mean-square residual at which a significant pattern matters: half a per cent is about the spread over seeds.
const STRUCTURE_WEAK: f64 = 0.005;
/// Two per cent in a pattern: the form does not hold.
const STRUCTURE_REFUSED: f64 = 0.02;
/// Probability of the pattern by chance.
const STRUCTURE_P: f64 = 0.01;

/// Back-test error at which predictions are useless for choosing between plans.
const BACKTEST_REFUSED: f64 = 0.10;
/// Back-test error that must be told even if the interval held it.
const BACKTEST_WEAK: f64 = 0.03;
/// Interval misses below this relative error are of no practical weight.
const BACKTEST_NEGLIGIBLE: f64 = 0.005;

/// Share of replicates that must have converged.
const CONVERGED_SHARE: f64 = 0.95;

/// What the rules look at.
pub(crate) struct Evidence<'a> {
    pub(crate) law: &'a Law,
    pub(crate) free: usize,
    pub(crate) rows: usize,
    pub(crate) runs: usize,
    pub(crate) certificate: &'a Certificate,
    pub(crate) parameters: &'a BTreeMap<String, ParameterEstimate>,
    pub(crate) requested: u32,
    pub(crate) replicates: usize,
    pub(crate) residuals: &'a ResidualSummary,
    pub(crate) logarithmic: bool,
    pub(crate) backtest: &'a Backtest,
}

/// The verdict and its reasons, gravest first.
pub(crate) fn judge(evidence: &Evidence<'_>) -> (FitVerdict, Vec<String>) {
    let mut findings = Vec::new();
    search_findings(evidence, &mut findings);
    parameter_findings(evidence, &mut findings);
    residual_findings(evidence, &mut findings);
    backtest_findings(evidence.backtest, &mut findings);
    findings.sort_by(|(one, _), (two, _)| two.cmp(one));
    let verdict = findings
        .first()
        .map_or(FitVerdict::Usable, |(verdict, _)| *verdict);
    (
        verdict,
        findings.into_iter().map(|(_, reason)| reason).collect(),
    )
}

/// Whether a held-out run speaks against predictions beyond the data: far off, or off and outside its interval.
pub(crate) fn too_far_off(point: &BacktestPoint) -> bool {
    let error = point.relative_error.abs();
    error > BACKTEST_REFUSED || error > BACKTEST_WEAK && !point.inside
}

type Findings = Vec<(FitVerdict, String)>;

fn search_findings(evidence: &Evidence<'_>, findings: &mut Findings) {
    let certificate = evidence.certificate;
    let wanted = RUNS_PER_PARAMETER * evidence.free;
    if evidence.runs < wanted {
        let reason = format!(
            "{} runs for {} parameters; {wanted} at least",
            evidence.runs, evidence.free
        );
        findings.push((FitVerdict::Weak, reason));
    }
    if !certificate.converged {
        let reason = format!(
            "not converged: scaled gradient {:.1e}",
            certificate.gradient_norm
        );
        findings.push((FitVerdict::Refused, reason));
    }
    let converged = evidence.replicates as f64;
    if evidence.requested == 0 {
        let reason = "no bootstrap: intervals hold the residuals only".to_owned();
        findings.push((FitVerdict::Weak, reason));
    } else if converged < CONVERGED_SHARE * f64::from(evidence.requested) {
        let reason = format!(
            "{} of {} replicates converged",
            evidence.replicates, evidence.requested
        );
        findings.push((FitVerdict::Weak, reason));
    }
}

fn parameter_findings(evidence: &Evidence<'_>, findings: &mut Findings) {
    for (index, parameter) in evidence.law.parameters.iter().enumerate() {
        let name = &parameter.name;
        let estimate = &evidence.parameters[name];
        let range = estimate.range;
        if evidence.certificate.at_bounds.contains(name) {
            // A loss that would fall to nothing, or a term that is not there, is no answer about what the data have shown. A
            // place or half-life beyond all data merely has not been seen: the curve is known where the data are.
            let unseen = asymptote(evidence.law, index)
                || parameter.scale == Scale::Log && parameter.centre.is_empty();
            let verdict = if unseen {
                FitVerdict::Weak
            } else {
                FitVerdict::Refused
            };
            let reason = format!(
                "{name} is at its bound and not identified: {} to {}",
                short(range.low),
                short(range.high)
            );
            findings.push((verdict, reason));
        } else if estimate.identified == Identified::No {
            let reason = format!(
                "{name} is not identified: {} to {}",
                short(range.low),
                short(range.high)
            );
            // The size of a term at x = 1 is read by nobody; what shapes the curve is.
            let size = parameter.scale == Scale::Log && !parameter.centre.is_empty();
            let verdict = if size {
                FitVerdict::Usable
            } else {
                FitVerdict::Weak
            };
            findings.push((verdict, reason));
        }
    }
}

fn residual_findings(evidence: &Evidence<'_>, findings: &mut Findings) {
    let residuals = evidence.residuals;
    let allowance = if evidence.logarithmic {
        1.0
    } else {
        PLAIN_ALLOWANCE
    };
    let grade = |refused: bool| {
        if refused {
            FitVerdict::Refused
        } else {
            FitVerdict::Weak
        }
    };
    // Bad runs are named and the law judged by the others: the objective leaves them out just so.
    if !residuals.outliers.is_empty() {
        let share = residuals.rows_apart as f64 / evidence.rows.max(1) as f64;
        let named: Vec<String> = residuals
            .outliers
            .iter()
            .take(APART_NAMED)
            .map(|one| format!("{} ({:+.1} %)", one.run_id, 100.0 * one.relative))
            .collect();
        let more = residuals.outliers.len() - named.len();
        let reason = format!(
            "{} of {} rows stand apart from the law: {}{}",
            residuals.rows_apart,
            evidence.rows,
            named.join(", "),
            if more > 0 {
                format!(" and {more} runs more")
            } else {
                String::new()
            }
        );
        findings.push((grade(share > APART_SHARE), reason));
    }
    let largest = residuals.max_abs_relative_rest;
    if largest > allowance * RESIDUAL_WEAK {
        let verdict = grade(largest > allowance * RESIDUAL_REFUSED);
        findings.push((verdict, format!("a residual of {:.1} %", 100.0 * largest)));
    }
    let rms = residuals.rms_relative_rest;
    if residuals.structure_p < STRUCTURE_P && rms > allowance * STRUCTURE_WEAK {
        let reason = format!(
            "neighbouring runs err alike (correlation {:.2}, p {:.3}) by {:.2} % rms",
            residuals.neighbour_correlation,
            residuals.structure_p,
            100.0 * rms
        );
        findings.push((grade(rms > allowance * STRUCTURE_REFUSED), reason));
    }
}

fn backtest_findings(backtest: &Backtest, findings: &mut Findings) {
    if !backtest.performed {
        findings.push((FitVerdict::Weak, "too few runs for a back-test".to_owned()));
        return;
    }
    let largest = backtest.max_abs_relative_error;
    if largest > BACKTEST_WEAK {
        // One bad run among those held out is no failure of the law; more than half of them are.
        let mut errors: Vec<f64> = backtest
            .points
            .iter()
            .map(|point| point.relative_error.abs())
            .collect();
        errors.sort_by(|one, two| two.total_cmp(one));
        let typical = errors.get(errors.len() / 2).copied().unwrap_or(largest);
        let verdict = if typical > BACKTEST_REFUSED {
            FitVerdict::Refused
        } else {
            FitVerdict::Weak
        };
        findings.push((
            verdict,
            format!("the back-test missed by {:.1} %", 100.0 * largest),
        ));
    }
    for point in backtest.points.iter().filter(|point| !point.inside) {
        if point.relative_error.abs() > BACKTEST_NEGLIGIBLE {
            let reason = format!(
                "held-out run {} at {} outside {} to {}",
                point.run_id,
                short(point.observed),
                short(point.low),
                short(point.high)
            );
            findings.push((FitVerdict::Weak, reason));
        }
    }
}
