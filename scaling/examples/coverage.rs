//! Do intervals cover? Synthetic studies with a known truth, counted.
//!
//! `cargo run -p cairn-scaling --release --example coverage -- [STUDIES] [REPLICATES] [CELL] [SECONDS]` prints the tables of
//! `benchmark/coverage/README.md` as markdown, a cell at a time. One core; 2000 studies a cell with 100 replicates by default.
//! With SECONDS each cell stops then, and says how many studies it came to.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "an example is no core: it prints, and its draws need not replay on another platform"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::time::Instant;

use cairn_scaling::study::pooling::{PoolingOptions, PoolingVerdict, pool};
use cairn_scaling::{Fit, FitOptions, Law, ObjectiveKind, Table, fit};
use common::Draws;

/// Besiroglu et al. 2024.
const TRUTH: [(&str, f64); 5] = [
    ("a", 482.0),
    ("b", 2085.4),
    ("e", 1.817),
    ("alpha", 0.3478),
    ("beta", 0.3659),
];

/// What errors are like.
#[derive(Clone, Copy, PartialEq)]
enum Errors {
    /// Normal, 1 % everywhere.
    Even,
    /// Normal, 2 % at the smallest compute falling to .3 % at the largest.
    Uneven,
    /// Normal, 1 %, and one run in ten 10 % above the law.
    Outliers,
    /// A share of 1 % for each run, .3 % for each of its five checkpoints.
    Clustered,
}

struct Cell {
    name: &'static str,
    errors: Errors,
    runs: usize,
}

const CELLS: [Cell; 5] = [
    Cell {
        name: "even errors, 36 runs",
        errors: Errors::Even,
        runs: 36,
    },
    Cell {
        name: "uneven errors, 36 runs",
        errors: Errors::Uneven,
        runs: 36,
    },
    Cell {
        name: "one outlier in ten, 36 runs",
        errors: Errors::Outliers,
        runs: 36,
    },
    Cell {
        name: "20 runs of 5 checkpoints",
        errors: Errors::Clustered,
        runs: 20,
    },
    Cell {
        name: "60 runs of 5 checkpoints",
        errors: Errors::Clustered,
        runs: 60,
    },
];

fn main() {
    let numbers: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    let studies = numbers.first().copied().unwrap_or(2000);
    let replicates = numbers.get(1).copied().unwrap_or(100);
    let only = numbers.get(2).copied();
    let seconds = numbers.get(3).copied().unwrap_or(usize::MAX) as u64;
    println!("{studies} studies a cell, {replicates} replicates a study, nominal level 90 %.\n");
    for (index, cell) in CELLS.iter().enumerate() {
        if only.is_none_or(|only| only == index) {
            count(index, cell, studies, replicates, seconds);
        }
    }
    if only.is_none_or(|only| only == CELLS.len()) {
        pooled(studies / 5, seconds);
    }
}

/// What is covered, and how often.
#[derive(Default)]
struct Tally {
    inside: usize,
    below: usize,
    widths: Vec<f64>,
}

impl Tally {
    fn add(&mut self, low: f64, high: f64, truth: f64) {
        self.inside += usize::from(low <= truth && truth <= high);
        self.below += usize::from(truth < low);
        self.widths.push((high - low) / truth.abs());
    }
}

fn count(index: usize, cell: &Cell, studies: usize, replicates: usize, seconds: u64) {
    let begun = Instant::now();
    let law = Law::named("hoffmann").expect("built in");
    let options = FitOptions {
        bootstrap: replicates as u32,
        level: 0.9,
        ..FitOptions::default()
    };
    let (mut converged, mut usable, mut done) = (0, 0, 0);
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let mut add = |name: &str, low: f64, high: f64, truth: f64| {
        tallies
            .entry(name.to_owned())
            .or_default()
            .add(low, high, truth);
    };
    // Inside the data, and at ten times its largest compute.
    let points = [
        ("inside", 3e8, 1e10),
        ("10 times the compute", 1.2e10, 2.4e11),
    ];
    let mut errors: BTreeMap<&str, Spread> = BTreeMap::new();
    let mut verdicts: BTreeMap<String, usize> = BTreeMap::new();
    let mut tried = 0;
    for study in 0..studies {
        if begun.elapsed().as_secs() >= seconds {
            break;
        }
        tried += 1;
        let mut draws = Draws::new((index * 1_000_000 + study) as u64);
        let table = table(cell, &mut draws);
        let Ok(found) = fit(
            &law,
            &table,
            &FitOptions {
                seed: study as u64,
                ..options.clone()
            },
        ) else {
            continue;
        };
        done += 1;
        converged += usize::from(found.certificate.converged);
        usable += usize::from(found.verdict != cairn_scaling::FitVerdict::Refused);
        *verdicts.entry(format!("{:?}", found.verdict)).or_default() += 1;
        parameters(&found, &mut add);
        for name in ["alpha", "beta", "e"] {
            let one = &found.parameters[name];
            errors
                .entry(name)
                .or_default()
                .add(one.value, one.se, one.sandwich_se);
        }
        for (name, n, d) in points {
            let point = [("n".to_owned(), n), ("d".to_owned(), d)].into();
            let curve = truth(n, d);
            let Ok(said) = found.predict(&point, 0.9) else {
                continue;
            };
            add(
                &format!("4 curve, {name}"),
                said.curve_low,
                said.curve_high,
                curve,
            );
            let run = curve * error(cell, n * d, &mut draws).exp();
            add(&format!("5 new run, {name}"), said.low, said.high, run);
        }
    }
    println!("### {}\n", cell.name);
    println!(
        "{done} of {tried} studies gave a fit, {:.1} % converged, {:.1} % were not refused.\n",
        percent(converged, done),
        percent(usable, done)
    );
    println!(
        "| 90 % interval of | holds the truth | truth below it | above it | median width over truth | |"
    );
    println!("|---|---|---|---|---|---|");
    for (name, tally) in &mut tallies {
        let count = tally.widths.len();
        tally.widths.sort_by(f64::total_cmp);
        let share = percent(tally.inside, count);
        let remark = if share < 85.0 {
            "**too narrow**"
        } else if share > 95.0 {
            "too wide"
        } else {
            ""
        };
        println!(
            "| {} | {share:.1} % | {:.1} % | {:.1} % | {:.4} | {remark} |",
            &name[2..],
            percent(tally.below, count),
            percent(count - tally.inside - tally.below, count),
            tally.widths[count / 2],
        );
    }
    println!(
        "\nVerdicts: {verdicts:?}.\n\n| parameter | spread of the estimate over studies | bootstrap `se` | `sandwich_se` |\n|---|---|---|---|"
    );
    for (name, errors) in &mut errors {
        let spread = {
            let low = quantile(&mut errors.values, 0.1587);
            0.5 * (quantile(&mut errors.values, 0.8413) - low)
        };
        println!(
            "| {name} | {spread:.4} | {:.4} | {:.4} |",
            quantile(&mut errors.bootstrap, 0.5),
            quantile(&mut errors.sandwich, 0.5)
        );
    }
    println!();
}

/// Estimates and their standard errors over studies. The spread is half the distance of the quantiles that are one standard
/// deviation off in a normal sample; of standard errors medians are printed.
#[derive(Default)]
struct Spread {
    values: Vec<f64>,
    bootstrap: Vec<f64>,
    sandwich: Vec<f64>,
}

impl Spread {
    fn add(&mut self, value: f64, bootstrap: Option<f64>, sandwich: Option<f64>) {
        self.values.push(value);
        self.bootstrap.extend(bootstrap);
        self.sandwich.extend(sandwich);
    }
}

fn quantile(sample: &mut [f64], probability: f64) -> f64 {
    sample.sort_by(f64::total_cmp);
    let place = (probability * sample.len() as f64) as usize;
    sample.get(place).copied().unwrap_or(f64::NAN)
}

fn parameters(found: &Fit, add: &mut impl FnMut(&str, f64, f64, f64)) {
    for (name, truth) in TRUTH {
        let one = &found.parameters[name];
        add(&format!("1 {name} (`ci`)"), one.ci.low, one.ci.high, truth);
        add(
            &format!("2 {name} (`range`)"),
            one.range.low,
            one.range.high,
            truth,
        );
        add(
            &format!("2 {name} (profile)"),
            one.profile.low,
            one.profile.high,
            truth,
        );
        if let Some(error) = one.sandwich_se.filter(|_| !["a", "b"].contains(&name)) {
            // The normal quantile of 90 %.
            let half = 1.6449 * error;
            add(
                &format!("2 {name} (sandwich)"),
                one.value - half,
                one.value + half,
                truth,
            );
        }
    }
    let (alpha, beta) = (TRUTH[3].1, TRUTH[4].1);
    let exponent = &found.derived["a"];
    add(
        "3 allocation exponent",
        exponent.ci.low,
        exponent.ci.high,
        beta / (alpha + beta),
    );
}

/// How often the test for one law is wrong, and how often right.
fn pooled(studies: usize, seconds: u64) {
    println!(
        "### One law or several, at the level .05\n\nTwo groups of 16 runs with three checkpoints that share half their luck, errors of Student's t with three degrees of freedom, 49 replicates, least squares of logarithms.\n"
    );
    println!("| the second group's data term | called several |\n|---|---|");
    let law = Law::named("hoffmann").expect("built in");
    let options = FitOptions {
        objective: ObjectiveKind::LeastSquaresLog,
        bootstrap: 0,
        ..FitOptions::default()
    };
    for shift in [1.0, 1.1] {
        let quickly = PoolingOptions {
            replicates: 49,
            ..PoolingOptions::default()
        };
        let (mut several, mut done) = (0, 0);
        let begun = Instant::now();
        for study in 0..studies {
            if begun.elapsed().as_secs() >= seconds / 2 {
                break;
            }
            let mut draws = Draws::new(900_000_000 + study as u64);
            if let Ok(found) = pool(&law, &groups(shift, &mut draws), &options, &quickly) {
                done += 1;
                several += usize::from(found.verdict == PoolingVerdict::Several);
            }
        }
        println!(
            "| times {shift} | {:.1} % of {done} |",
            percent(several, done)
        );
    }
}

fn groups(shift: f64, draws: &mut Draws) -> Table {
    let mut table = Table::default();
    let heavy = |draws: &mut Draws| {
        let square: f64 = (0..3).map(|_| draws.normal().powi(2)).sum();
        draws.normal() / square.sqrt()
    };
    for group in 0..2 {
        for run in 0..16 {
            let n = 1e7 * 10_f64.powf(2.5 * draws.uniform());
            let own = 0.004 * heavy(draws);
            for share in [0.4, 0.7, 1.0] {
                let d = share * n * (5.0 + 60.0 * ((run * 7) % 16) as f64 / 16.0);
                let factor = if group == 1 { shift } else { 1.0 };
                let loss = 1.8 + 480.0 / n.powf(0.35) + factor * 2080.0 / d.powf(0.37);
                table.push(
                    &format!("{group}-{run}"),
                    &[("n", n), ("d", d)],
                    loss * (own + 0.004 * heavy(draws)).exp(),
                );
                table.groups.push(["old", "new"][group].to_owned());
            }
        }
    }
    table
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

fn truth(n: f64, d: f64) -> f64 {
    let [(_, a), (_, b), (_, e), (_, alpha), (_, beta)] = TRUTH;
    e + a / n.powf(alpha) + b / d.powf(beta)
}

/// A study: runs over two and a half decades of n and of tokens per parameter from 2 to 200, the same design in every
/// study of a cell (low-discrepancy points), largest compute about 1.7e21.
fn table(cell: &Cell, draws: &mut Draws) -> Table {
    let mut table = Table::default();
    for run in 0..cell.runs {
        // The plastic number's sequence in two dimensions (Roberts 2018).
        let place = |step: f64| (0.5 + step * (run + 1) as f64).fract();
        let n = 1e7 * 10_f64.powf(2.3 * place(0.754_877_666_2));
        let tokens = 2.0 * 10_f64.powf(2.0 * place(0.569_840_290_9)) * n;
        let shared = if cell.errors == Errors::Clustered {
            0.01 * draws.normal()
        } else {
            0.0
        };
        let shares: &[f64] = if cell.errors == Errors::Clustered {
            &[0.2, 0.4, 0.6, 0.8, 1.0]
        } else {
            &[1.0]
        };
        for share in shares {
            let d = share * tokens;
            let error = if cell.errors == Errors::Clustered {
                shared + 0.003 * draws.normal()
            } else {
                error(cell, n * d, draws)
            };
            table.push(
                &format!("run-{run:02}"),
                &[("n", n), ("d", d)],
                truth(n, d) * error.exp(),
            );
        }
    }
    table
}

/// The error of a new run, ln loss; `compute` is n d.
fn error(cell: &Cell, compute: f64, draws: &mut Draws) -> f64 {
    match cell.errors {
        Errors::Even => 0.01 * draws.normal(),
        // .02 at n d = 2e14, .003 at 3e20 and beyond.
        Errors::Uneven => {
            let share = ((compute / 2e14).ln() / (3e20_f64 / 2e14).ln()).clamp(0.0, 1.0);
            0.02 * (0.15_f64).powf(share) * draws.normal()
        }
        Errors::Outliers => 0.01 * draws.normal() + if draws.uniform() < 0.1 { 0.1 } else { 0.0 },
        Errors::Clustered => 0.01 * draws.normal() + 0.003 * draws.normal(),
    }
}
