//! The work behind an ask of kind `fit`: choose rows with SQL, fit the law, write the fit as a record.
//!
//! A pure function of the ask: rows in order of run id, one partition in DataFusion, a seed from the inputs. Asked twice, it
//! answers with the same bytes.

use crate::config::RefitConfig;
use crate::window_query;
use cairn_avro::record::{
    BacktestPoint, Basin, Certificate, FitParameter, FitVerdict, Identified, Offset, ScalingFit,
};
use cairn_operators::operator::Ask;
use cairn_operators::refit::LAW;
use cairn_scaling as scaling;
use sha2::{Digest, Sha256};

/// How the law counts, said in every fit.
pub const CONVENTION: &str = "n: model.parameters_total (embeddings included), d: tokens seen, loss: nats per token, validation before training";

/// Answers an ask.
///
/// # Errors
/// Why there is no fit: SQL that does not run, too little memory, or rows that are no data for this law.
pub fn fit(ask: &Ask, settings: &RefitConfig) -> Result<String, String> {
    let observations = window_query::observations(&ask.rows, &ask.sql, settings.memory_bytes_max)?;
    let options = scaling::FitOptions {
        delta: settings.huber_delta,
        bootstrap: settings.bootstrap,
        level: settings.level,
        holdout_runs: settings.holdout_runs,
        seed: ask.seed,
        ..scaling::FitOptions::default()
    };
    let outcome = scaling::fit_hoffmann(&observations, &options);
    let mut record = match outcome {
        Ok(fit) => record(&fit)?,
        // Too few runs, or none: no error of ours, but the answer that there is no law.
        Err(error) => ScalingFit {
            verdict: FitVerdict::Refused,
            reasons: vec![error.to_string()],
            n_rows: observations.len() as i32,
            n_runs: observations.len() as i32,
            ..ScalingFit::default()
        },
    };
    record.tenant.clone_from(&ask.tenant);
    record.cohort.clone_from(&ask.cohort);
    record.law = LAW.to_owned();
    record.convention = CONVENTION.to_owned();
    record.seed = i64::try_from(ask.seed).unwrap_or(i64::MAX);
    record.window.clone_from(&ask.sql);
    record.cut = ask
        .cut
        .iter()
        .map(|place| Offset {
            topic: place.topic.clone(),
            partition: place.partition,
            offset: place.offset,
        })
        .collect();
    let digest = Sha256::digest(format!("{}\n{}", ask.ask_id, record.fit_json));
    record.fit_id = cairn_avro::hex::text(&digest[..16]);
    serde_json::to_string(&record).map_err(|error| error.to_string())
}

fn record(fit: &scaling::HoffmannFit) -> Result<ScalingFit, String> {
    let parameters = fit
        .parameters
        .iter()
        .map(|(name, estimate)| FitParameter {
            name: name.clone(),
            unit: unit(name).to_owned(),
            value: finite(estimate.value),
            standard_error: estimate.standard_error.and_then(finite),
            low: finite(estimate.low),
            high: finite(estimate.high),
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
        verdict: match fit.verdict {
            scaling::FitVerdict::Usable => FitVerdict::Usable,
            scaling::FitVerdict::Weak => FitVerdict::Weak,
            scaling::FitVerdict::Refused => FitVerdict::Refused,
        },
        reasons: fit.reasons.clone(),
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
                n: point.parameters,
                d: point.tokens,
                observed: point.observed,
                predicted: point.predicted,
                low: point.low,
                high: point.high,
                level: point.level,
                inside: point.inside,
            })
            .collect(),
        n_rows: fit.n_rows as i32,
        n_runs: fit.n_runs as i32,
        fit_json: serde_json::to_string(fit).map_err(|error| error.to_string())?,
        ..ScalingFit::default()
    })
}

fn unit(parameter: &str) -> &'static str {
    match parameter {
        "e" => "nats per token",
        "a" => "nats per token at n = 1",
        "b" => "nats per token at d = 1",
        _ => "1",
    }
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
