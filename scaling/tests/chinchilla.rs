//! Chinchilla's points as extracted by Epoch AI, against the published fit (Besiroglu et al. 2024, arXiv 2404.10102) and
//! an independent scipy reproduction; both are listed in `data/chinchilla-epoch/SOURCE.md`, none of the figures is ours.

#![allow(
    clippy::disallowed_methods,
    reason = "a test is no core: its expectations need not replay exactly"
)]

use std::path::PathBuf;

use cairn_scaling::{Fit, FitOptions, Law, Starts, Table};

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
fn points() -> Option<Table> {
    let path = shared()?.join("data/chinchilla-epoch/svg_extracted_data.csv");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: no {}", path.display());
        return None;
    };
    let mut rows: Vec<[f64; 3]> = text
        .lines()
        .skip(1)
        .map(|line| {
            let cell = |place: usize| -> f64 {
                line.split(',')
                    .nth(place)
                    .and_then(|cell| cell.parse().ok())
                    .expect("a number")
            };
            [cell(3), cell(4) / (6.0 * cell(3)), cell(6)]
        })
        .collect();
    rows.sort_by(|one, two| two[2].total_cmp(&one[2]));
    let mut table = Table::default();
    for (index, [n, d, loss]) in rows.into_iter().skip(5).enumerate() {
        table.push(&format!("point-{index:03}"), &[("n", n), ("d", d)], loss);
    }
    assert_eq!(table.len(), 240);
    Some(table)
}

fn hoffmann() -> Law {
    Law::named("hoffmann").expect("built in")
}

fn fit(options: FitOptions) -> Option<Fit> {
    points().map(|table| cairn_scaling::fit(&hoffmann(), &table, &options).expect("a fit"))
}

#[track_caller]
fn near(name: &str, value: f64, expected: f64, tolerance: f64) {
    let error = (value / expected - 1.0).abs();
    assert!(
        error <= tolerance,
        "{name}: {value}, expected {expected} within {tolerance}"
    );
}

fn check_optimum(fit: &Fit) {
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
    for starts in [Starts::Data, Starts::Grid] {
        let Some(fit) = fit(FitOptions {
            starts,
            bootstrap: 0,
            ..FitOptions::default()
        }) else {
            return;
        };
        check_optimum(&fit);
        assert!(fit.certificate.starts >= if starts == Starts::Grid { 4500 } else { 81 });
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
        near(name, estimate.se.expect("replicates"), error, tolerance);
        // Ends of the interval within a quarter of a standard error.
        let slack = if name == "b" { 300.0 } else { 0.25 * error };
        assert!(
            (estimate.ci.low - low).abs() < slack,
            "{name}: low {}",
            estimate.ci.low
        );
        assert!(
            (estimate.ci.high - high).abs() < slack,
            "{name}: high {}",
            estimate.ci.high
        );
        assert!(estimate.range.low <= estimate.ci.low && estimate.range.high >= estimate.ci.high);
    }
    let exponent = &fit.derived["a"];
    assert!(
        (exponent.value - 0.513).abs() < 0.0015,
        "{}",
        exponent.value
    );
    near("s.e.(a)", exponent.se.expect("replicates"), 0.020, 0.05);
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
    let exponent = &fit.derived["a"];
    near(
        "80 % width of a",
        exponent.ci.high - exponent.ci.low,
        0.051,
        0.12,
    );
    assert!(fit.parameters["b"].se.expect("replicates") > 900.0);
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
    let value = |name: &str| fit.parameters[name].value;
    let (alpha, beta) = (value("alpha"), value("beta"));
    let g = (alpha * value("a") / (beta * value("b"))).powf(1.0 / (alpha + beta));
    for (flops, expected) in [(1e21_f64, 21.5), (5.88e23, 18.3), (1e25, 17.1)] {
        let size = g * (flops / 6.0).powf(fit.derived["a"].value);
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
    let Some(table) = points() else { return };
    let fit = cairn_scaling::fit(&hoffmann(), &table, &FitOptions::default()).expect("a fit");
    let point = |n: f64, d: f64| [("n".to_owned(), n), ("d".to_owned(), d)].into();
    let inside = (0..table.len()).filter(|row| {
        let point = point(table.columns["n"][*row], table.columns["d"][*row]);
        let prediction = fit.predict(&point, 0.9).expect("a prediction");
        assert_eq!(prediction.extrapolation.factor, 1.0);
        assert!(prediction.low <= prediction.curve_low && prediction.curve_high <= prediction.high);
        prediction.low <= table.response[*row] && table.response[*row] <= prediction.high
    });
    let share = inside.count() as f64 / table.len() as f64;
    assert!(
        (0.86..=0.97).contains(&share),
        "{share} of the points inside 90 % intervals"
    );
    let far = fit.predict(&point(1e12, 1e14), 0.9).expect("a prediction");
    assert!(far.extrapolation.factor > 50.0 && far.low < far.mean && far.mean < far.high);
    println!("{:?} {:?}", fit.verdict, fit.warnings);
}
