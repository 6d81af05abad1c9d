//! A fit as the record on `scaling.fits`, and what the next one gets of it.

use cairn_avro::record::{
    BacktestPoint, Basin, Certificate, Coordinate, FitParameter, FitVerdict, Identified, ScalingFit,
};
use cairn_operators::operator::Previous;
use cairn_scaling as scaling;
use std::collections::BTreeMap;

/// The part of the record that the fit says.
pub(super) fn of(fit: &scaling::Fit) -> Result<ScalingFit, String> {
    let units = fit.definition.parameters.iter();
    let units: BTreeMap<&str, &str> = units.map(|one| (&*one.name, &*one.unit)).collect();
    let parameters = fit
        .parameters
        .iter()
        .map(|(name, estimate)| FitParameter {
            name: name.clone(),
            unit: units
                .get(&**name)
                .copied()
                .filter(|unit| !unit.is_empty())
                .unwrap_or("1")
                .to_owned(),
            value: finite(estimate.value),
            standard_error: estimate.se.and_then(finite),
            low: finite(estimate.ci.low),
            high: finite(estimate.ci.high),
            level: Some(estimate.level),
            identified: match estimate.identified {
                scaling::Identified::Yes => Identified::Yes,
                scaling::Identified::Weakly => Identified::Weakly,
                scaling::Identified::No => Identified::No,
            },
            range_low: finite(estimate.range.low),
            range_high: finite(estimate.range.high),
        })
        .collect();
    let certificate = &fit.certificate;
    Ok(ScalingFit {
        fit_id: fit.fit_id.clone(),
        verdict: match fit.verdict {
            scaling::FitVerdict::Usable => FitVerdict::Usable,
            scaling::FitVerdict::Weak => FitVerdict::Weak,
            scaling::FitVerdict::Refused => FitVerdict::Refused,
        },
        reasons: fit.warnings.clone(),
        parameters,
        objective_kind: fit.objective.kind.clone(),
        objective_delta: Some(fit.objective.delta),
        objective_value: finite(fit.objective.value),
        certificate: Certificate {
            converged: certificate.converged,
            gradient_norm: finite(certificate.gradient_norm),
            condition: certificate.condition.and_then(finite),
            basins: certificate
                .basins
                .iter()
                .map(|basin| Basin {
                    objective: basin.objective,
                    hits: basin.hits as i32,
                })
                .collect(),
            at_bounds: certificate.at_bounds.clone(),
            starts: certificate.starts as i32,
            failed_starts: certificate.failed_starts as i32,
        },
        bootstrap_requested: fit.bootstrap.requested as i32,
        bootstrap_converged: fit.bootstrap.converged as i32,
        residual_max_relative: finite(fit.residuals.max_abs_relative),
        residual_rms_relative: finite(fit.residuals.rms_relative),
        backtest: fit
            .backtest
            .points
            .iter()
            .map(|point| BacktestPoint {
                run_id: point.run_id.clone(),
                n: point.point.get("n").copied().unwrap_or(0.0),
                d: point.point.get("d").copied().unwrap_or(0.0),
                observed: point.observed,
                predicted: point.predicted,
                low: point.low,
                high: point.high,
                level: point.level,
                inside: point.inside,
                point: coordinates(&point.point),
            })
            .collect(),
        n_rows: fit.n_rows as i32,
        n_runs: fit.n_runs as i32,
        fit_json: serde_json::to_string(fit).map_err(|error| error.to_string())?,
        ..ScalingFit::default()
    })
}

/// What the fit of the next window gets of this one.
pub(super) fn previous(record: &ScalingFit) -> Previous {
    Previous {
        fit_id: record.fit_id.clone(),
        parameters: record
            .parameters
            .iter()
            .filter_map(|parameter| Some((parameter.name.clone(), parameter.value?)))
            .collect(),
        fit_json: if record.verdict == FitVerdict::Refused {
            String::new()
        } else {
            record.fit_json.clone()
        },
        window_end: record.window_end,
        drift_json: record.drift_json.clone(),
        data_digest: record.data_digest.clone(),
    }
}

/// A point of the law's columns.
pub(super) fn coordinates(point: &BTreeMap<String, f64>) -> Vec<Coordinate> {
    let finite = point.iter().filter(|(_, value)| value.is_finite());
    finite
        .map(|(name, value)| Coordinate {
            name: name.clone(),
            value: *value,
        })
        .collect()
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
