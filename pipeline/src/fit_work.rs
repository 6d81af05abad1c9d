//! The work behind an ask of kind `fit`: choose rows with SQL, fit the law, write the fit as a record.
//!
//! A pure function of the ask: rows in order of run id, one partition in DataFusion, a seed from the inputs. Asked twice, it
//! answers with the same bytes.

use crate::config::RefitConfig;
use crate::window_query::{self, LossKind};
use cairn_avro::record::{
    BacktestPoint, Basin, Certificate, ExperimentRow, FitParameter, FitVerdict, Identified, Offset,
    ScalingFit,
};
use cairn_operators::operator::Ask;
use cairn_operators::refit::LAW;
use cairn_scaling as scaling;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// How the law counts, said in every fit; behind it, on which text the loss was measured.
pub const CONVENTION: &str =
    "n: model.parameters_total (embeddings included), d: tokens seen, loss: nats per token";

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
    let measured = Measured::of(&ask.rows, &observations);
    let outcome = scaling::fit_hoffmann(&observations, &options);
    let mut record = match outcome {
        Ok(mut fit) => {
            if let Some(reason) = measured.mixed() {
                fit.reasons.push(reason);
                if fit.verdict == scaling::FitVerdict::Usable {
                    fit.verdict = scaling::FitVerdict::Weak;
                }
            }
            record(&fit)?
        }
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
    record.convention = format!("{CONVENTION}, {}", measured.words());
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

/// On which text the losses of a fit were measured, runs of each kind.
struct Measured {
    validation: usize,
    training: usize,
}

impl Measured {
    fn of(rows: &[ExperimentRow], observations: &[scaling::Observation]) -> Self {
        let kinds: BTreeMap<&str, LossKind> = rows
            .iter()
            .filter_map(|row| Some((row.run_id.as_str(), window_query::final_loss(row)?.1)))
            .collect();
        let count = |wanted| {
            let runs = observations.iter().map(|one| one.run_id.as_str());
            runs.filter(|run| kinds.get(run) == Some(&wanted)).count()
        };
        Self {
            validation: count(LossKind::Validation),
            training: count(LossKind::Training),
        }
    }

    fn words(&self) -> String {
        match (self.validation, self.training) {
            (_, 0) => "validation".to_owned(),
            (0, _) => "training".to_owned(),
            (validation, training) => {
                format!("validation in {validation} runs and training in {training}")
            }
        }
    }

    /// Two kinds of loss differ by more than a law's residuals: pooled, the difference looks like an effect of size.
    fn mixed(&self) -> Option<String> {
        (self.validation > 0 && self.training > 0).then(|| {
            format!(
                "the runs do not measure the same loss ({}): log a validation loss at the end of each run, or make a cohort of \
                 each kind (loss_kind = 'validation')",
                self.words()
            )
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_avro::record::{ModelConfig, RunStatus};
    use cairn_operators::refit::window_sql;

    /// A grid on an exact law, each run's loss measured as `kind` says for its number.
    fn fitted(kind: impl Fn(usize) -> LossKind) -> ScalingFit {
        let sizes = [1e6, 2e6, 4e6, 8e6, 16e6];
        let tokens = [20e6, 50e6, 120e6, 300e6, 800e6];
        let cells = sizes
            .iter()
            .flat_map(|n| tokens.iter().map(move |d| (*n, *d)));
        let rows: Vec<ExperimentRow> = cells
            .enumerate()
            .map(|(number, (n, d))| {
                let loss = 1.7 + 400.0 / f64::powf(n, 0.34) + 410.0 / f64::powf(d, 0.28);
                let is_validation = kind(number) == LossKind::Validation;
                ExperimentRow {
                    tenant: "default".to_owned(),
                    run_id: format!("run-{number:02}"),
                    status: RunStatus::Finished,
                    steps: Some(1_000),
                    tokens: Some(d as i64),
                    loss_last: Some(loss),
                    validation_loss_last: Some(loss),
                    validation_loss_step: Some(if is_validation { 1_000 } else { 10 }),
                    model: ModelConfig {
                        parameters_total: Some(n),
                        ..ModelConfig::default()
                    },
                    ..ExperimentRow::default()
                }
            })
            .collect();
        let ask = Ask {
            ask_id: "one".to_owned(),
            kind: "fit",
            tenant: "default".to_owned(),
            cohort: "all".to_owned(),
            sql: window_sql("true"),
            rows,
            cut: Vec::new(),
            seed: 7,
        };
        let settings = RefitConfig {
            bootstrap: 20,
            ..RefitConfig::default()
        };
        let body = fit(&ask, &settings).expect("a fit");
        serde_json::from_str(&body).expect("a record")
    }

    #[test]
    fn a_fit_says_which_loss_it_is_of_and_is_weak_where_they_are_mixed() {
        let pure = fitted(|_| LossKind::Validation);
        assert!(
            pure.convention.ends_with(", validation"),
            "{}",
            pure.convention
        );
        assert_eq!(pure.verdict, FitVerdict::Usable, "{:?}", pure.reasons);
        let training = fitted(|_| LossKind::Training);
        assert!(training.convention.ends_with(", training"));
        assert_eq!(
            training.verdict,
            FitVerdict::Usable,
            "{:?}",
            training.reasons
        );

        let mixed = fitted(|number| match number % 5 {
            0 => LossKind::Training,
            _ => LossKind::Validation,
        });
        assert_eq!(mixed.verdict, FitVerdict::Weak, "{:?}", mixed.reasons);
        let expected = "validation in 20 runs and training in 5";
        assert!(
            mixed.reasons.iter().any(|reason| reason.contains(expected)),
            "{:?}",
            mixed.reasons
        );
        assert!(mixed.convention.ends_with(expected), "{}", mixed.convention);
    }
}
