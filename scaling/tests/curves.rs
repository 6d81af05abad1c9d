//! The end of real runs, foretold from their beginnings.

#![allow(
    clippy::disallowed_methods,
    reason = "a test is no core: its expectations need not replay exactly"
)]

mod common;
#[path = "common/logs.rs"]
mod logs;

use std::path::PathBuf;

use cairn_scaling::study::curves::{Calibration, Curve, CurvePoint, Known, calibrate, forecast};
use common::{Draws, shared};

/// L = 2.5 + 1.5 t^-.4 over 10000 steps, noise .02, one step in a hundred a nat too high.
fn made(seed: u64) -> Curve {
    let mut draws = Draws::new(seed);
    let floor = 2.5 + 0.1 * draws.normal();
    let alpha = 0.4 * (0.1 * draws.normal()).exp();
    let points = (1..=10_000).map(|step| {
        let at = f64::from(step);
        let spike = if draws.uniform() < 0.01 { 1.0 } else { 0.0 };
        CurvePoint {
            at,
            loss: floor + 20.0 * at.powf(-alpha) + 0.02 * draws.normal() + spike,
        }
    });
    Curve {
        run_id: seed.to_string(),
        points: points.collect(),
        end: 10_000.0,
        schedule: Vec::new(),
    }
}

#[test]
fn made_curves_are_covered_and_spikes_change_nothing() {
    let finished: Vec<Curve> = (0..25).map(made).collect();
    let calibration = calibrate(&finished);
    let mut inside = 0;
    for seed in 100..140 {
        let curve = made(seed);
        let end = curve.final_loss().expect("finished");
        let said = forecast(&curve.until(0.4), &calibration, 0.9);
        assert_eq!(said.identified, Known::Yes, "{:?}", said.why);
        let [low, high] = said.interval.expect("an interval");
        inside += usize::from(low <= end && end <= high);
        assert!((said.loss.expect("a loss") / end - 1.0).abs() < 0.03);
        // A spike of ten nats at the last point seen moves nothing that matters.
        let mut struck = curve.until(0.4);
        struck.points.last_mut().expect("points").loss += 10.0;
        let again = forecast(&struck, &calibration, 0.9).loss.expect("a loss");
        assert!((again / said.loss.expect("a loss") - 1.0).abs() < 1e-3);
    }
    // Binomial(40, .9): 30 or fewer with probability .005.
    println!("{inside} of 40 made curves inside");
    assert!(inside >= 31, "{inside} of 40");
}

#[test]
fn too_early_or_alone_is_said() {
    let curve = made(1);
    let calibration = calibrate(&(2..14).map(made).collect::<Vec<_>>());
    assert_eq!(
        forecast(&curve.until(0.05), &calibration, 0.9).identified,
        Known::No
    );
    let alone = forecast(&curve.until(0.5), &Calibration::default(), 0.9);
    assert!(alone.identified == Known::No && alone.interval.is_none() && alone.loss.is_some());
    let few = calibrate(&(2..6).map(made).collect::<Vec<_>>());
    assert_eq!(
        forecast(&curve.until(0.5), &few, 0.9).identified,
        Known::Weakly
    );
    let nothing = forecast(&Curve::default(), &calibration, 0.9);
    assert!(nothing.identified == Known::No && nothing.loss.is_none());
}

/// Half of the ladder's runs calibrate, the other half are foretold.
#[test]
fn the_ladders_runs_end_where_they_are_said_to() {
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let mut curves = logs::ladder(&package.join("../examples/ladder/logs"));
    curves.retain(|curve| {
        !curve.run_id.starts_with("diverging") && !curve.run_id.starts_with("plateau")
    });
    let calibration = calibrate(&curves.iter().step_by(2).cloned().collect::<Vec<_>>());
    let rest: Vec<&Curve> = curves.iter().skip(1).step_by(2).collect();
    for (seen, error_max) in [(0.3, 0.03), (0.5, 0.02), (0.7, 0.015)] {
        let (mut inside, mut errors) = (0, Vec::new());
        for curve in &rest {
            let end = curve.final_loss().expect("finished");
            let said = forecast(&curve.until(seen), &calibration, 0.9);
            let [low, high] = said.interval.expect("an interval");
            inside += usize::from(low <= end && end <= high);
            errors.push((said.loss.expect("a loss") / end - 1.0).abs());
        }
        errors.sort_by(f64::total_cmp);
        let median = errors[errors.len() / 2];
        println!(
            "{:.0} % seen: {inside} of {} inside, median error {:.2} %",
            100.0 * seen,
            rest.len(),
            100.0 * median
        );
        assert!(
            inside * 10 >= rest.len() * 8 && median < error_max,
            "{inside} of {}, {median}",
            rest.len()
        );
    }
}

/// Three to five quoted lines, and 27 records of 450 steps each: too little is said to be too little.
#[test]
fn short_logs_are_not_over_read() {
    let Some(folder) = shared() else { return };
    let text = std::fs::read_to_string(folder.join("data/hf-trainer-state/trainer_state.json"))
        .expect("the state");
    let state: serde_json::Value = serde_json::from_str(&text).expect("json");
    let records = state["log_history"].as_array().expect("records");
    let points = records.iter().filter_map(|one| {
        Some(CurvePoint {
            at: one["step"].as_f64()?,
            loss: one["loss"].as_f64()?,
        })
    });
    let curve = Curve {
        run_id: "hf".to_owned(),
        points: points.collect(),
        end: 12_030.0,
        schedule: Vec::new(),
    };
    let calibration = calibrate(&(2..14).map(made).collect::<Vec<_>>());
    let said = forecast(&curve.until(0.3), &calibration, 0.9);
    println!(
        "{} records, {:?} {:?} {:?}",
        curve.points.len(),
        said.loss,
        said.interval,
        said.why
    );
    assert_eq!(said.identified, Known::No);
    let few =
        [(6200.0, 6.5), (6900.0, 6.3), (7010.0, 14.0)].map(|(at, loss)| CurvePoint { at, loss });
    let incident = Curve {
        run_id: "exp1".to_owned(),
        points: few.to_vec(),
        end: 10_000.0,
        schedule: Vec::new(),
    };
    assert_eq!(forecast(&incident, &calibration, 0.9).identified, Known::No);
}
