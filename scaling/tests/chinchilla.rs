//! Chinchilla's points as extracted by Epoch AI, against the published fit (Besiroglu et al. 2024, arXiv 2404.10102) and
//! an independent scipy reproduction; both are listed in `data/chinchilla-epoch/SOURCE.md`, none of the figures is ours.

#![allow(
    clippy::disallowed_methods,
    reason = "a test is no core: its expectations need not replay exactly"
)]

use std::path::PathBuf;

use cairn_scaling::{FitOptions, HoffmannFit, Observation, StartGrid, fit_hoffmann};

/// The folder of this crate, as cargo says it to what it runs: compiled in, it would be that of the clone that built this.
fn package() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// `CAIRN_SHARED`, or a folder `shared` beside any parent of this crate.
fn shared() -> Option<PathBuf> {
    let given = std::env::var_os("CAIRN_SHARED").map(PathBuf::from);
    let package = package();
    let parents = package.ancestors().map(|parent| parent.join("shared"));
    given
        .into_iter()
        .chain(parents)
        .find(|folder| folder.join("data").is_dir())
}

/// The 240 points of the paper: five with the largest loss left out. `None`, with a line, where the data is absent.
fn points() -> Option<Vec<Observation>> {
    let path = shared()?.join("data/chinchilla-epoch/svg_extracted_data.csv");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: no {}", path.display());
        return None;
    };
    let mut rows: Vec<Observation> = text
        .lines()
        .skip(1)
        .enumerate()
        .map(|(index, line)| {
            let cell = |place: usize| -> f64 {
                line.split(',')
                    .nth(place)
                    .and_then(|cell| cell.parse().ok())
                    .expect("a number")
            };
            let parameters = cell(3);
            Observation {
                run_id: format!("point-{index:03}"),
                parameters,
                tokens: cell(4) / (6.0 * parameters),
                loss: cell(6),
                weight: 1.0,
            }
        })
        .collect();
    rows.sort_by(|one, two| two.loss.total_cmp(&one.loss));
    rows.drain(..5);
    assert_eq!(rows.len(), 240);
    Some(rows)
}

fn fit(options: FitOptions) -> Option<HoffmannFit> {
    points().map(|rows| fit_hoffmann(&rows, &options).expect("a fit"))
}

#[track_caller]
fn near(name: &str, value: f64, expected: f64, tolerance: f64) {
    let error = (value / expected - 1.0).abs();
    assert!(
        error <= tolerance,
        "{name}: {value}, expected {expected} within {tolerance}"
    );
}

fn check_optimum(fit: &HoffmannFit) {
    let value = |name: &str| fit.parameters[name].value;
    near("objective", fit.objective.value, 0.00101827402, 5e-9);
    near("a", value("a"), 477.826, 2e-6);
    near("b", value("b"), 2143.42, 2e-6);
    near("e", value("e"), 1.81722, 2e-6);
    near("alpha", value("alpha"), 0.347310, 2e-6);
    near("beta", value("beta"), 0.367172, 2e-6);
    assert!(
        fit.objective.value < 0.00101827403,
        "above the notebook's objective"
    );
    assert!(fit.certificate.converged && fit.certificate.gradient_norm < 1e-9);
    assert!(fit.certificate.at_bounds.is_empty());
}

#[test]
fn both_grids_find_the_published_optimum() {
    for starts in [StartGrid::Data, StartGrid::Paper] {
        let Some(fit) = fit(FitOptions {
            starts,
            bootstrap: 0,
            ..FitOptions::default()
        }) else {
            return;
        };
        check_optimum(&fit);
        assert!(fit.certificate.starts >= if starts == StartGrid::Paper { 4500 } else { 81 });
        assert!(fit.certificate.failed_starts * 100 <= fit.certificate.starts);
    }
}

/// The published figures come from another generator, so they are met up to the noise of 4000 replicates: 1.1 % in a
/// standard error of normal replicates, several times that for B, whose replicates have a long tail.
#[test]
fn the_bootstrap_agrees_with_the_paper() {
    let Some(fit) = fit(FitOptions {
        bootstrap: 4000,
        seed: 42,
        ..FitOptions::default()
    }) else {
        return;
    };
    assert_eq!(fit.bootstrap.converged, 4000);
    for (name, error, tolerance, low, high) in [
        ("a", 124.52232, 0.06, 285.214, 743.626),
        ("b", 1293.28410, 0.20, 1042.357, 5810.344),
        ("e", 0.02566, 0.05, 1.769, 1.871),
        ("alpha", 0.01540, 0.05, 0.317, 0.373),
        ("beta", 0.02060, 0.05, 0.331, 0.415),
    ] {
        let estimate = &fit.parameters[name];
        near(
            name,
            estimate.standard_error.expect("replicates"),
            error,
            tolerance,
        );
        // Ends of the interval within a quarter of a standard error.
        let slack = if name == "b" { 300.0 } else { 0.25 * error };
        assert!(
            (estimate.low - low).abs() < slack,
            "{name}: low {}",
            estimate.low
        );
        assert!(
            (estimate.high - high).abs() < slack,
            "{name}: high {}",
            estimate.high
        );
        assert!(estimate.range.low <= estimate.low && estimate.range.high >= estimate.high);
    }
    let exponent = &fit.allocation_exponent;
    assert!(
        (exponent.value - 0.513).abs() < 0.0015,
        "{}",
        exponent.value
    );
    near(
        "s.e.(a)",
        exponent.standard_error.expect("replicates"),
        0.020,
        0.05,
    );
}

/// L-BFGS-B with its default tolerance says "success" 4000 times and gives .0022 for the 80 % width and 469 for s.e.(B).
#[test]
fn replicates_do_not_stop_early() {
    let options = FitOptions {
        bootstrap: 1000,
        level: 0.8,
        ..FitOptions::default()
    };
    let Some(fit) = fit(options) else { return };
    let exponent = &fit.allocation_exponent;
    near("80 % width of a", exponent.high - exponent.low, 0.051, 0.12);
    assert!(fit.parameters["b"].standard_error.expect("replicates") > 900.0);
}

/// Tokens per parameter of the compute-optimal run, G = (alpha A / (beta B))^(1/(alpha+beta)): the published 21.5, 18.3 and
/// 17.1 are of the paper's likelihood fit, from which the grid fit differs by some per cent.
#[test]
fn optimal_tokens_per_parameter_agree_with_the_paper() {
    let Some(fit) = fit(FitOptions {
        bootstrap: 0,
        ..FitOptions::default()
    }) else {
        return;
    };
    let law = fit.optimum;
    let sum = law.alpha + law.beta;
    let g = (law.alpha * law.a / (law.beta * law.b)).powf(1.0 / sum);
    for (flops, expected) in [(1e21_f64, 21.5), (5.88e23, 18.3), (1e25, 17.1)] {
        let size = g * (flops / 6.0).powf(law.allocation_exponent());
        near(
            "tokens per parameter",
            flops / (6.0 * size * size),
            expected,
            0.05,
        );
    }
}

/// In-sample coverage, and widening with distance.
#[test]
fn predictions_cover_and_report_their_distance() {
    let Some(rows) = points() else { return };
    let fit = fit_hoffmann(&rows, &FitOptions::default()).expect("a fit");
    let inside = rows.iter().filter(|row| {
        let prediction = fit.predict(row.parameters, row.tokens, 0.9);
        assert_eq!(prediction.extrapolation_factor, 1.0);
        prediction.low <= row.loss && row.loss <= prediction.high
    });
    let share = inside.count() as f64 / rows.len() as f64;
    assert!(
        (0.86..=0.97).contains(&share),
        "{share} of the points inside 90 % intervals"
    );
    let far = fit.predict(1e12, 1e14, 0.9);
    assert!(far.extrapolation_factor > 50.0 && far.low < far.mean && far.mean < far.high);
}
