use super::*;
use cairn_avro::record::{ModelConfig, RunStatus};
use cairn_operators::refit::Over;

/// A grid on an exact law with this floor, each run's loss measured as `kind` says for its number.
fn grid(prefix: &str, floor: f64, kind: impl Fn(usize) -> LossKind) -> Vec<ExperimentRow> {
    let sizes = [1e6, 2e6, 4e6, 8e6, 16e6];
    let tokens = [20e6, 50e6, 120e6, 300e6, 800e6];
    let cells = sizes
        .iter()
        .flat_map(|n| tokens.iter().map(move |d| (*n, *d)));
    cells
        .enumerate()
        .map(|(number, (n, d))| {
            let loss = floor + 400.0 / f64::powf(n, 0.34) + 410.0 / f64::powf(d, 0.28);
            let is_validation = kind(number) == LossKind::Validation;
            ExperimentRow {
                tenant: "default".to_owned(),
                run_id: format!("{prefix}-{number:02}"),
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
        .collect()
}

fn ask(window: WindowRule, rows: Vec<ExperimentRow>) -> Ask {
    Ask {
        ask_id: "one".to_owned(),
        kind: "fit",
        tenant: "default".to_owned(),
        cohort: window.subject("all"),
        cohort_version: None,
        sql: window.sql("true"),
        window,
        rows,
        cut: Vec::new(),
        asked_ms: 1_800_000_000_000,
        seed: 7,
        previous: None,
        fresh: Vec::new(),
    }
}

fn answer(ask: &Ask) -> String {
    let settings = RefitConfig {
        bootstrap: 20,
        ..RefitConfig::default()
    };
    fit(ask, &settings).expect("a fit")
}

fn fitted(kind: impl Fn(usize) -> LossKind) -> ScalingFit {
    let body = answer(&ask(WindowRule::default(), grid("run", 1.7, kind)));
    serde_json::from_str(&body).expect("a record")
}

fn value(fit: &ScalingFit, name: &str) -> f64 {
    let mut parameters = fit.parameters.iter();
    let found = parameters.find(|parameter| parameter.name == name);
    found.and_then(|found| found.value).expect("a value")
}

/// Twenty-five runs with a floor of 1.7, then as many with one of 2.0: each window has its law, and the runs of the second
/// lie outside what the first had said.
#[test]
fn each_window_is_fitted_once_from_the_one_before_and_tested_by_it() {
    let validation = |_| LossKind::Validation;
    let mut rows = grid("a", 1.7, validation);
    rows.extend(grid("b", 2.0, validation));
    for (number, row) in rows.iter_mut().enumerate() {
        row.last_event_time_ms = Some(1_000 + number as i64);
    }
    let halves = WindowRule {
        name: "halves".to_owned(),
        over: Over::TumblingCount { rows: 25 },
        ..WindowRule::default()
    };
    let mut asked = ask(halves, rows);
    let body = answer(&asked);
    assert_eq!(body, answer(&asked), "a pure function of the ask");
    let fits: Vec<ScalingFit> = serde_json::from_str(&body).expect("records");
    assert_eq!(fits.len(), 2);
    for (fit, floor, bounds) in [(&fits[0], 1.7, (0, 25)), (&fits[1], 2.0, (25, 50))] {
        assert_eq!(
            (fit.window_start, fit.window_end),
            (Some(bounds.0), Some(bounds.1))
        );
        assert_eq!(
            (&*fit.cohort, &*fit.window_kind),
            ("all@halves", "tumbling_count")
        );
        assert!(
            (value(fit, "e") - floor).abs() < 1e-4,
            "{}",
            value(fit, "e")
        );
        let (low, high) = bounds;
        let chosen = format!("WHERE place >= {low} AND place < {high} ORDER BY run_id");
        assert!(fit.window.ends_with(&chosen), "{}", fit.window);
    }
    assert_eq!((fits[0].fresh_runs, fits[0].fresh_outside), (0, 0));
    assert_eq!((fits[1].fresh_runs, fits[1].fresh_outside), (25, 25));
    assert_eq!(fits[1].fresh.len(), 20);
    let point = &fits[1].fresh[0];
    assert!(
        (point.observed - point.predicted - 0.3).abs() < 1e-3,
        "{point:?}"
    );

    asked.previous = Some(record::previous(&fits[1]));
    assert_eq!(answer(&asked), "[]", "nothing is new");
    // A row of the newest window is amended: that window once more.
    asked.rows[49].validation_loss_last = Some(2.5);
    let again: Vec<ScalingFit> = serde_json::from_str(&answer(&asked)).expect("records");
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].window_end, Some(50));
    assert_eq!(again[0].fresh_runs, 0, "it saw them all");
}

/// Two optimisers on one grid each, with an error of .02 % at most.
fn optimisers(names: [&str; 2], floors: [f64; 2]) -> ScalingFit {
    let mut rows = Vec::new();
    for (name, floor) in names.into_iter().zip(floors) {
        let part = rows.len();
        rows.extend(grid(&format!("run-{part}"), floor, |_| {
            LossKind::Validation
        }));
        for row in &mut rows[part..] {
            row.training.optimizer = Some(name.to_owned());
        }
    }
    for (number, row) in rows.iter_mut().enumerate() {
        let error = 0.0002 * ((number * 7 % 11) as f64 / 5.0 - 1.0);
        row.validation_loss_last = row.validation_loss_last.map(|loss| loss * (1.0 + error));
    }
    let window = WindowRule {
        group: "optimizer".to_owned(),
        ..WindowRule::default()
    };
    serde_json::from_str(&answer(&ask(window, rows))).expect("a record")
}

#[test]
fn groups_of_a_window_are_tested_and_several_laws_are_a_weak_fit() {
    let same = optimisers(["adamw", "muon"], [1.7, 1.7]);
    assert_eq!(same.groups_verdict, "one law", "{}", same.groups_json);
    assert_eq!(same.verdict, FitVerdict::Usable, "{:?}", same.reasons);

    // The floors are .1 apart, the common law lies between, and no loss is below 4.4: 2.3 % at most.
    let other = optimisers(["adamw", "muon"], [1.7, 1.8]);
    assert_eq!(other.groups_verdict, "several", "{}", other.groups_json);
    let p = other.groups_p.expect("a p");
    assert!(p < 0.01, "{p}");
    let gap = other.groups_gap.expect("a gap");
    assert!((0.005..0.025).contains(&gap), "{gap}");
    assert_eq!(other.verdict, FitVerdict::Weak);
    assert!(
        other.reasons[0].starts_with("the groups obey several laws"),
        "{:?}",
        other.reasons
    );
    let test: serde_json::Value = serde_json::from_str(&other.groups_json).expect("JSON");
    for (group, floor) in [("adamw", 1.7), ("muon", 1.8)] {
        let group = &test["groups"][group];
        assert_eq!(group["n_runs"], 25);
        let found = group["parameters"]["e"].as_f64().expect("E");
        assert!((found - floor).abs() < 0.05, "{found}");
    }

    // One group is no comparison: said, and no fault of the fit.
    let alone = optimisers(["adamw", "adamw"], [1.7, 1.7]);
    assert_eq!(
        (&*alone.groups_verdict, alone.verdict),
        ("", FitVerdict::Usable)
    );
    assert!(
        alone.groups_json.contains("untested"),
        "{}",
        alone.groups_json
    );
}

/// Six windows close at once and two may be fitted: the newest two, and the first of them says what is missing.
#[test]
fn windows_that_are_passed_over_are_counted_in_the_fit() {
    let mut rows = grid("a", 1.7, |_| LossKind::Validation);
    for (number, row) in rows.iter_mut().enumerate() {
        row.last_event_time_ms = Some(number as i64);
    }
    let window = WindowRule {
        name: "fours".to_owned(),
        over: Over::TumblingCount { rows: 4 },
        ..WindowRule::default()
    };
    let mut settings = RefitConfig {
        bootstrap: 0,
        ..RefitConfig::default()
    };
    settings.rules.windows_per_ask_max = 2;
    let body = fit(&ask(window, rows), &settings).expect("fits");
    let fits: Vec<ScalingFit> = serde_json::from_str(&body).expect("records");
    let told: Vec<_> = fits
        .iter()
        .map(|fit| (fit.window_end, fit.windows_passed_over))
        .collect();
    assert_eq!(told, [(Some(20), 4), (Some(24), 0)]);
}

/// Loss falls as a power of compute to a floor of 1.7: a built-in law over a column in SQL, and the same law said whole.
#[test]
fn any_law_is_fitted_to_columns_in_sql() {
    let mut rows = grid("a", 1.7, |_| LossKind::Training);
    for row in &mut rows {
        let compute =
            6.0 * row.model.parameters_total.unwrap_or(0.0) * row.tokens.unwrap_or(0) as f64;
        row.loss_last = Some(1.7 + 90.0 * f64::powf(compute, -0.15));
    }
    let law = |law: LawRule| WindowRule {
        name: "compute".to_owned(),
        law,
        columns: [("c", "6 * parameters * tokens"), ("loss", "loss_train")]
            .map(|(name, sql)| (name.to_owned(), sql.to_owned()))
            .into(),
        ..WindowRule::default()
    };
    let whole = serde_json::json!({
        "name": "mine", "title": "A power of compute", "formula": "floor + size / c^slope", "reference": "none",
        "columns": [{"name": "c", "unit": "FLOPs"}],
        "response": {"name": "loss", "unit": "nats per token", "scale": "log"},
        "parameters": [
            {"name": "floor", "unit": "nats per token", "bounds": [0.0, 100.0]},
            {"name": "size", "scale": "log", "bounds": [1e-9, 1e9], "centre": {"c": "-slope"}},
            {"name": "slope", "bounds": [0.0, 5.0]}
        ],
        "compute": "c"
    });
    for (rule, floor, slope) in [
        (LawRule::Named("power".to_owned()), "e", "b"),
        (LawRule::Whole(whole), "floor", "slope"),
    ] {
        let asked = ask(law(rule), rows.clone());
        let fit: ScalingFit = serde_json::from_str(&answer(&asked)).expect("a record");
        assert_eq!(fit.law, asked.window.law.name());
        assert_eq!(fit.cohort, "all@compute");
        assert!(
            (value(&fit, floor) - 1.7).abs() < 1e-3,
            "{:?}",
            fit.parameters
        );
        assert!(
            (value(&fit, slope) - 0.15).abs() < 1e-3,
            "{:?}",
            fit.parameters
        );
        assert!(
            fit.convention.contains("c: 6 * parameters * tokens"),
            "{}",
            fit.convention
        );
        let whole: scaling::Fit = serde_json::from_str(&fit.fit_json).expect("the whole fit");
        assert_eq!(whole.fit_id, fit.fit_id);
        assert_eq!(whole.conventions["loss"], "loss_train");
    }
}

/// Of all rows, those are new that the ask names.
#[test]
fn a_run_that_finished_since_is_predicted_by_the_last_fit() {
    let validation = |_| LossKind::Validation;
    let mut asked = ask(WindowRule::default(), grid("a", 1.7, validation));
    let first: ScalingFit = serde_json::from_str(&answer(&asked)).expect("a record");
    let mut strange = grid("b", 2.0, validation).remove(7);
    strange.run_id = "strange".to_owned();
    let mut usual = grid("b", 1.7, validation).remove(8);
    usual.run_id = "usual".to_owned();
    asked.rows.extend([strange, usual]);
    asked.fresh = vec!["strange".to_owned(), "usual".to_owned(), "gone".to_owned()];
    asked.previous = Some(record::previous(&first));
    let second: ScalingFit = serde_json::from_str(&answer(&asked)).expect("a record");
    assert_eq!((second.fresh_runs, second.fresh_outside), (2, 1));
    assert_eq!(second.fresh[0].run_id, "strange", "{:?}", second.fresh);
    assert!(second.fresh[1].inside);
    assert_eq!(second.n_runs, 27);
    assert_ne!(second.data_digest, first.data_digest);
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
