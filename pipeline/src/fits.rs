//! Fits for people and programs outside: `scaling_law_fits.json`, held to the JSON Schema of that name in `avro/json`.

use cairn_avro::record::{BacktestPoint, Named, ScalingFit};
use serde_json::{Map, Value, json};

/// The document: the given fits in order of tenant, cohort and law, each with its lineage and the whole fit, from which
/// `cairn predict` goes on.
#[must_use]
pub fn export(fits: &[ScalingFit]) -> Value {
    let mut fits: Vec<&ScalingFit> = fits.iter().collect();
    fits.sort_by(|a, b| {
        let key = |fit: &ScalingFit| (fit.tenant.clone(), fit.cohort.clone(), fit.law.clone());
        key(a).cmp(&key(b)).then(a.fit_id.cmp(&b.fit_id))
    });
    json!({
        "schema_version": "1.0",
        "fits": fits.into_iter().map(one).collect::<Vec<_>>(),
    })
}

fn one(fit: &ScalingFit) -> Value {
    let parameters: Map<String, Value> = fit
        .parameters
        .iter()
        .map(|parameter| {
            let value = json!({
                "value": parameter.value,
                "unit": parameter.unit,
                "se": parameter.standard_error,
                "ci": pair(parameter.low, parameter.high),
                "level": parameter.level,
                "identified": parameter.identified,
                "range": pair(parameter.range_low, parameter.range_high),
            });
            (parameter.name.clone(), value)
        })
        .collect();
    let certificate = &fit.certificate;
    // A fit of another version that cannot be read is left out, not the record.
    let whole: Value = serde_json::from_str(&fit.fit_json).unwrap_or(Value::Null);
    json!({
        "tenant": fit.tenant,
        "cohort": fit.cohort,
        "law": fit.law,
        "fit_id": fit.fit_id,
        "verdict": fit.verdict,
        "reasons": fit.reasons,
        "standing": if fit.standing.is_empty() { "fine" } else { &fit.standing },
        "troubles": fit.troubles,
        "parameters": parameters,
        "objective": {
            "kind": fit.objective_kind, "delta": fit.objective_delta, "value": fit.objective_value,
        },
        "certificate": {
            "converged": certificate.converged,
            "gradient_norm": certificate.gradient_norm,
            "condition": certificate.condition,
            "basins": certificate.basins.iter().map(|basin| {
                json!({"objective": basin.objective, "hits": basin.hits})
            }).collect::<Vec<_>>(),
            "at_bounds": certificate.at_bounds,
            "starts": certificate.starts,
            "failed_starts": certificate.failed_starts,
        },
        "bootstrap": {"requested": fit.bootstrap_requested, "converged": fit.bootstrap_converged},
        "residuals": {
            "max_abs_relative": fit.residual_max_relative, "rms_relative": fit.residual_rms_relative,
        },
        "backtest": fit.backtest.iter().map(point).collect::<Vec<_>>(),
        "convention": fit.convention,
        "n_rows": fit.n_rows,
        "n_runs": fit.n_runs,
        "seed": fit.seed,
        "lineage": {
            "cohort_version": fit.cohort_version,
            "window": {
                "name": if fit.window_name.is_empty() { "all" } else { &fit.window_name },
                "kind": if fit.window_kind.is_empty() { "all" } else { &fit.window_kind },
                "start": fit.window_start,
                "end": fit.window_end,
                "sql": fit.window,
            },
            "cut": fit.cut.iter().map(|place| {
                json!({"topic": place.topic, "partition": place.partition, "offset": place.offset})
            }).collect::<Vec<_>>(),
            "asked_time_ms": fit.asked_time_ms,
            "data_digest": fit.data_digest,
            "previous_fit_id": fit.previous_fit_id,
        },
        "change": members(&fit.change),
        "fresh": {
            "runs": fit.fresh_runs,
            "outside": fit.fresh_outside,
            "points": fit.fresh.iter().map(point).collect::<Vec<_>>(),
        },
        "drift": {
            "runs": fit.drift_runs,
            "outside": fit.drift_outside,
            "evidence": fit.drift_evidence,
            "broken_at": fit.drift_broken_at,
        },
        "groups": {
            "verdict": fit.groups_verdict,
            "p": fit.groups_p,
            "gap": fit.groups_gap,
            "gap_in": fit.groups_gap_in,
            "test": serde_json::from_str::<Value>(&fit.groups_json).unwrap_or(Value::Null),
        },
        "windows_passed_over": fit.windows_passed_over,
        "fit": whole,
    })
}

fn pair(low: Option<f64>, high: Option<f64>) -> Value {
    json!([low, high])
}

fn members(named: &[Named]) -> Map<String, Value> {
    let each = named.iter();
    each.map(|named| (named.name.clone(), named.value.into()))
        .collect()
}

fn point(point: &BacktestPoint) -> Value {
    let columns: Map<String, Value> = if point.point.is_empty() {
        // Fits of before laws had other columns.
        [("n", point.n), ("d", point.d)]
            .map(|(name, value)| (name.to_owned(), value.into()))
            .into_iter()
            .collect()
    } else {
        let each = point.point.iter();
        each.map(|one| (one.name.clone(), one.value.into()))
            .collect()
    };
    json!({
        "run_id": point.run_id,
        "point": columns,
        "observed": point.observed,
        "predicted": point.predicted,
        "low": point.low,
        "high": point.high,
        "level": point.level,
        "inside": point.inside,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_avro::record::{Certificate, FitParameter, FitVerdict, Identified, Offset};

    fn fit(cohort: &str) -> ScalingFit {
        ScalingFit {
            tenant: "acme".to_owned(),
            cohort: cohort.to_owned(),
            law: "hoffmann".to_owned(),
            fit_id: "f1".to_owned(),
            verdict: FitVerdict::Weak,
            parameters: vec![FitParameter {
                name: "e".to_owned(),
                unit: "nats per token".to_owned(),
                value: Some(1.69),
                low: Some(1.6),
                high: Some(1.75),
                level: Some(0.95),
                identified: Identified::Yes,
                ..FitParameter::default()
            }],
            certificate: Certificate {
                converged: true,
                ..Certificate::default()
            },
            backtest: vec![BacktestPoint {
                run_id: "r".to_owned(),
                n: 1e6,
                d: 2e7,
                observed: 3.0,
                predicted: 3.01,
                low: 2.9,
                high: 3.1,
                level: 0.9,
                inside: true,
                point: Vec::new(),
            }],
            cut: vec![Offset {
                topic: "experiments.rows".to_owned(),
                partition: 0,
                offset: 17,
            }],
            window_end: Some(50),
            groups_verdict: "several".to_owned(),
            groups_p: Some(0.005),
            groups_gap: Some(0.12),
            groups_gap_in: Some("muon".to_owned()),
            groups_json: r#"{"groups":{}}"#.to_owned(),
            windows_passed_over: 7,
            fit_json: r#"{"law":"hoffmann"}"#.to_owned(),
            ..ScalingFit::default()
        }
    }

    #[test]
    fn what_is_exported_obeys_its_schema() {
        let schema = cairn_avro::contract::json_schema("scaling_law_fits").expect("a schema");
        let schema: Value = serde_json::from_str(schema).expect("JSON");
        let validator = jsonschema::validator_for(&schema).expect("a JSON Schema");
        let refused = ScalingFit {
            verdict: FitVerdict::Refused,
            reasons: vec!["too few".to_owned()],
            ..ScalingFit::default()
        };
        let document = export(&[fit("b"), fit("a"), refused]);
        if let Err(error) = validator.validate(&document) {
            panic!("{error} at {}", error.instance_path());
        }
        let fits = document["fits"].as_array().expect("a list");
        let cohorts: Vec<&str> = fits
            .iter()
            .filter_map(|fit| fit["cohort"].as_str())
            .collect();
        assert_eq!(cohorts, ["", "a", "b"], "in order");
        assert_eq!(fits[1]["parameters"]["e"]["ci"], json!([1.6, 1.75]));
        assert_eq!(fits[1]["backtest"][0]["point"], json!({"n": 1e6, "d": 2e7}));
        assert_eq!(fits[1]["fit"]["law"], "hoffmann");
        assert_eq!(
            (&fits[1]["groups"]["p"], &fits[1]["windows_passed_over"]),
            (&json!(0.005), &json!(7))
        );
        assert_eq!(fits[0]["groups"]["test"], Value::Null);
        for (pointer, wrong) in [
            ("/fits/1/verdict", json!("good")),
            ("/fits/1/lineage/window/kind", json!("hopping")),
            ("/fits/1/parameters/e/ci", json!([1.0])),
            ("/fits/1/groups/verdict", json!("many")),
            ("/schema_version", json!("2.0")),
        ] {
            let mut other = document.clone();
            *other.pointer_mut(pointer).expect("a member") = wrong;
            assert!(!validator.is_valid(&other), "{pointer}");
        }
    }
}
