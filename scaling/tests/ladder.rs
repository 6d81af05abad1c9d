//! Real trainings on text whose entropy is known exactly: what the fit says of a floor that the form gets wrong.

use std::path::Path;

use cairn_scaling::{Fit, FitOptions, FitVerdict, Law, Table, fit};

/// The cohorts of `examples/ladder`, a row a run.
fn ladder(cohorts: &[&str]) -> Table {
    let crate_folder = std::env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo");
    let file = Path::new(&crate_folder).join("../examples/ladder/summary.json");
    let text = std::fs::read_to_string(file).expect("the ladder");
    let runs: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    let mut table = Table::default();
    for run in &runs {
        let number = |name: &str| run[name].as_f64().expect("a number");
        if cohorts.contains(&run["cohort"].as_str().expect("a cohort")) {
            table.push(
                run["run_id"].as_str().expect("a name"),
                &[("n", number("parameters_total")), ("d", number("tokens"))],
                number("loss"),
            );
        }
    }
    table
}

fn fitted(cohorts: &[&str], level: f64) -> Fit {
    let law = Law::named("hoffmann").expect("built in");
    let options = FitOptions {
        level,
        ..FitOptions::default()
    };
    fit(&law, &ladder(cohorts), &options).expect("a fit")
}

/// The entropy of the source, a sum over its stationary law (`examples/ladder/truth.json`): 1.875742 nats. The bootstrap trusts
/// the form and misses it. The rule of the range was chosen on synthetic ladders (decision 0018).
#[test]
fn the_range_of_the_floor_holds_the_entropy_where_the_bootstrap_misses_it() {
    let entropy = 1.875_742;
    for level in [0.9, 0.95] {
        let found = fitted(&["grid"], level);
        assert_eq!(found.verdict, FitVerdict::Usable, "{:?}", found.warnings);
        let floor = &found.parameters["e"];
        assert!(floor.ci.low > entropy, "{floor:?}");
        assert!(
            floor.range.low < entropy && entropy < floor.range.high,
            "{floor:?}"
        );
        let width = (floor.range.high - floor.range.low) / floor.value;
        println!(
            "level {level}: {:?}, {:.1} % wide",
            floor.range,
            100.0 * width
        );
        assert!(level > 0.9 || width < 0.08, "{width}");
    }
}

/// Nine runs of another source among 36 are no bad runs of one law.
#[test]
fn two_sources_in_one_table_are_refused() {
    let found = fitted(&["grid", "jump"], 0.95);
    assert_eq!(found.verdict, FitVerdict::Refused, "{:?}", found.warnings);
}
