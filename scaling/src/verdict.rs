//! The judgement: what a fit is good for, and why.
//!
//! Each rule is one sentence in the reasons. The thresholds are constants with their reasons; they were set before the
//! test data was looked at and are not tuned to it, except where a comment says so.

use crate::report::{
    Backtest, Certificate, FitVerdict, Identified, ParameterEstimate, ResidualSummary,
};

/// Runs below which five parameters have fewer than five degrees of freedom against them.
const RUNS_MIN: usize = 10;

/// Largest relative residual of a law that holds: laws are bought to tell apart losses that differ by a per cent; ten times
/// that is another regime in the same table.
const RESIDUAL_REFUSED: f64 = 0.10;
/// Half of it.
const RESIDUAL_WEAK: f64 = 0.05;

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
    pub(crate) runs: usize,
    pub(crate) certificate: &'a Certificate,
    pub(crate) floor: &'a ParameterEstimate,
    pub(crate) requested: u32,
    pub(crate) replicates: usize,
    pub(crate) residuals: &'a ResidualSummary,
    pub(crate) backtest: &'a Backtest,
}

/// The verdict and its reasons, gravest first.
pub(crate) fn judge(evidence: &Evidence<'_>) -> (FitVerdict, Vec<String>) {
    let mut findings = Vec::new();
    search_findings(evidence, &mut findings);
    residual_findings(evidence.residuals, &mut findings);
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

type Findings = Vec<(FitVerdict, String)>;

fn search_findings(evidence: &Evidence<'_>, findings: &mut Findings) {
    let certificate = evidence.certificate;
    if evidence.runs < RUNS_MIN {
        let reason = format!(
            "{} runs for five parameters; {RUNS_MIN} at least",
            evidence.runs
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
    for name in &certificate.at_bounds {
        // A loss that would fall to nothing, or a term that is not there, is no answer about what the data have shown.
        let verdict = if name == "e" {
            FitVerdict::Weak
        } else {
            FitVerdict::Refused
        };
        findings.push((verdict, format!("{name} is at its bound")));
    }
    if evidence.floor.identified == Identified::No && !certificate.at_bounds.contains(&"e".into()) {
        let range = evidence.floor.range;
        let reason = format!("e is not identified: {:.4} to {:.4}", range.low, range.high);
        findings.push((FitVerdict::Weak, reason));
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

fn residual_findings(residuals: &ResidualSummary, findings: &mut Findings) {
    let largest = residuals.max_abs_relative;
    if largest > RESIDUAL_WEAK {
        let refused = largest > RESIDUAL_REFUSED;
        let verdict = if refused {
            FitVerdict::Refused
        } else {
            FitVerdict::Weak
        };
        findings.push((verdict, format!("a residual of {:.1} %", 100.0 * largest)));
    }
    let rms = residuals.rms_relative;
    if residuals.structure_p < STRUCTURE_P && rms > STRUCTURE_WEAK {
        let refused = rms > STRUCTURE_REFUSED;
        let verdict = if refused {
            FitVerdict::Refused
        } else {
            FitVerdict::Weak
        };
        let reason = format!(
            "neighbouring runs err alike (correlation {:.2}, p {:.3}) by {:.2} % rms",
            residuals.neighbour_correlation,
            residuals.structure_p,
            100.0 * rms
        );
        findings.push((verdict, reason));
    }
}

fn backtest_findings(backtest: &Backtest, findings: &mut Findings) {
    if !backtest.performed {
        findings.push((FitVerdict::Weak, "too few runs for a back-test".to_owned()));
        return;
    }
    let largest = backtest.max_abs_relative_error;
    if largest > BACKTEST_REFUSED {
        let reason = format!("the back-test missed by {:.1} %", 100.0 * largest);
        findings.push((FitVerdict::Refused, reason));
    } else if largest > BACKTEST_WEAK {
        let reason = format!("the back-test missed by {:.1} %", 100.0 * largest);
        findings.push((FitVerdict::Weak, reason));
    }
    for point in backtest.points.iter().filter(|point| !point.inside) {
        if point.relative_error.abs() > BACKTEST_NEGLIGIBLE {
            let reason = format!(
                "held-out run {} at {:.4} outside {:.4} to {:.4}",
                point.run_id, point.observed, point.low, point.high
            );
            findings.push((FitVerdict::Weak, reason));
        }
    }
}
