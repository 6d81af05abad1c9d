//! How well is the end of a run foretold? Real logs, each run left out of its own calibration.
//!
//! `cargo run -p cairn-scaling --release --example learning_curves -- LADDER_LOGS [NANOGPT_LOGS]` prints, for forecasts made
//! at 30, 50 and 70 % of each run, how often the 90 % interval held the end and how wide it was.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    missing_docs,
    reason = "an example is no core"
)]

#[path = "../tests/common/logs.rs"]
mod logs;

use std::path::Path;

use cairn_scaling::study::curves::{Calibration, Curve, Known, calibrate, forecast};
use logs::{ladder, nanogpt};

fn main() {
    let mut folders = std::env::args().skip(1);
    let ladder = folders
        .next()
        .map(|folder| ladder(Path::new(&folder)))
        .unwrap_or_default();
    println!(
        "| runs | schedule | seen | runs | inside 90 % | median half width | median abs error | not identified |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let cosine: Vec<Curve> = ladder
        .iter()
        .filter(|curve| !odd(&curve.run_id))
        .cloned()
        .collect();
    let blind: Vec<Curve> = cosine.iter().cloned().map(without_schedule).collect();
    leave_one_out("ladder", "given", &cosine);
    leave_one_out("ladder", "not given", &blind);
    if let Some(folder) = folders.next() {
        let gpt = nanogpt(Path::new(&folder));
        let blind: Vec<Curve> = gpt.iter().cloned().map(without_schedule).collect();
        leave_one_out("GPT-2 124M", "given", &gpt);
        leave_one_out("GPT-2 124M", "not given", &blind);
        transfer(
            "GPT-2 124M from the ladder's errors",
            "given",
            &cosine,
            &gpt,
        );
    }
}

fn odd(run_id: &str) -> bool {
    run_id.starts_with("diverging") || run_id.starts_with("plateau")
}

fn without_schedule(curve: Curve) -> Curve {
    Curve {
        schedule: Vec::new(),
        ..curve
    }
}

fn leave_one_out(name: &str, schedule: &str, curves: &[Curve]) {
    let pairs: Vec<(Vec<Curve>, &Curve)> = (0..curves.len())
        .map(|left| {
            let rest = curves
                .iter()
                .enumerate()
                .filter(|(index, _)| *index != left);
            (
                rest.map(|(_, curve)| curve.clone()).collect(),
                &curves[left],
            )
        })
        .collect();
    let calibrations: Vec<_> = pairs
        .iter()
        .map(|(rest, curve)| (calibrate(rest), *curve))
        .collect();
    table(name, schedule, &calibrations);
}

fn transfer(name: &str, schedule: &str, from: &[Curve], to: &[Curve]) {
    let calibration = calibrate(from);
    let pairs: Vec<_> = to
        .iter()
        .map(|curve| (calibration.clone(), curve))
        .collect();
    table(name, schedule, &pairs);
}

fn table(name: &str, schedule: &str, pairs: &[(Calibration, &Curve)]) {
    for seen in [0.3, 0.5, 0.7] {
        let (mut count, mut inside, mut unknown) = (0_usize, 0_usize, 0_usize);
        let (mut widths, mut errors) = (Vec::new(), Vec::new());
        for (calibration, curve) in pairs {
            let Some(end) = curve.final_loss() else {
                continue;
            };
            let answer = forecast(&curve.until(seen), calibration, 0.9);
            count += 1;
            unknown += usize::from(answer.identified == Known::No);
            let (Some(loss), Some([low, high])) = (answer.loss, answer.interval) else {
                continue;
            };
            inside += usize::from(low <= end && end <= high);
            widths.push(0.5 * (high - low) / loss);
            errors.push((loss / end - 1.0).abs());
        }
        println!(
            "| {name} | {schedule} | {:.0} % | {count} | {:.0} % | {:.2} % | {:.2} % | {unknown} |",
            100.0 * seen,
            100.0 * inside as f64 / count.max(1) as f64,
            100.0 * median(&mut widths),
            100.0 * median(&mut errors),
        );
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
