//! The surfaces of `benchmark/surfaces`: `surface_benchmark regmix|fcnet|obs|speed|stability` prints one JSON line a result.
//!
//! Data is read from `CAIRN_SHARED`. CPU seconds are this thread's, as the kernel counts them.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "a measurement has a clock, and ends where its data is not as described"
)]

use std::collections::BTreeMap;
use std::time::Instant;

use cairn_scaling::surface::{
    Column, Columns, Features, Kind, Scale, Surface, SurfaceHoldout, SurfaceOptions, fit_surface,
    spearman,
};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::json;

fn cpu_s() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|ns| ns.parse::<f64>().ok())
        .unwrap_or(f64::NAN)
        / 1e9
}

struct Csv {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

fn csv(path: &str) -> Csv {
    let path = format!("{}/data/{path}", std::env::var("CAIRN_SHARED").unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines = text
        .lines()
        .map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    Csv {
        head: lines.next().unwrap(),
        rows: lines.collect(),
    }
}

impl Csv {
    fn number(&self, name: &str) -> Vec<f64> {
        self.text(name)
            .iter()
            .map(|cell| cell.parse().unwrap_or(f64::NAN))
            .collect()
    }

    fn text(&self, name: &str) -> Vec<String> {
        let place = self.head.iter().position(|head| head == name).unwrap();
        self.rows.iter().map(|row| row[place].clone()).collect()
    }
}

fn regmix(part: &str, size: &str) -> (Columns, Csv) {
    let mixtures = csv(&format!("regmix/{part}_mixture_{size}.csv"));
    let mut losses = csv(&format!("regmix/{part}_pile_loss_{size}.csv"));
    let by_index: BTreeMap<String, Vec<String>> = losses
        .rows
        .drain(..)
        .map(|row| (row[0].clone(), row))
        .collect();
    losses.rows = mixtures
        .rows
        .iter()
        .map(|row| by_index[&row[0]].clone())
        .collect();
    let columns = mixtures.head[1..]
        .iter()
        .map(|name| {
            let short = name.trim_start_matches("train_the_pile_").to_owned();
            (short, Column::Number(mixtures.number(name)))
        })
        .collect();
    (columns, losses)
}

fn coverage(surface: &Surface, columns: &Columns, actual: &[f64]) -> (f64, f64) {
    let points = surface.predict(columns, 0.9).unwrap();
    let within = points
        .iter()
        .zip(actual)
        .filter(|(point, actual)| (point.low..=point.high).contains(actual))
        .count();
    let width = points
        .iter()
        .map(|point| point.high - point.low)
        .sum::<f64>()
        / points.len() as f64;
    (within as f64 / points.len() as f64, width)
}

fn kind(name: &str) -> Kind {
    serde_json::from_value(json!(name)).unwrap()
}

fn run_regmix(form: &str, only: Option<&str>) {
    let (columns, losses) = regmix("train", "1m");
    let tests: Vec<_> = ["1m", "60m", "1B"]
        .iter()
        .map(|size| (*size, regmix("test", size)))
        .collect();
    for name in &losses.head[1..] {
        let short = name
            .trim_start_matches("metric/the_pile_")
            .trim_end_matches("_val_loss");
        if only.is_some_and(|only| only != short) {
            continue;
        }
        let features = Features {
            run_ids: losses.text("index"),
            columns: columns.clone(),
            target_name: short.into(),
            target: losses.number(name),
            weights: Vec::new(),
        };
        let options = SurfaceOptions {
            kind: kind(form),
            simplex: vec![columns.keys().cloned().collect()],
            ..SurfaceOptions::default()
        };
        let (cpu, wall) = (cpu_s(), Instant::now());
        let surface = fit_surface(&features, &options).unwrap();
        let (cpu, wall) = (cpu_s() - cpu, wall.elapsed().as_secs_f64());
        let mut out = json!({"target": short, "kind": surface.kind, "cpu_s": cpu, "wall_s": wall,
            "json_mb": serde_json::to_string(&surface).unwrap().len() as f64 / 1e6,
            "cv_spearman": 100.0 * surface.backtest.spearman, "cv_coverage": surface.backtest.coverage,
            "candidates": surface.candidates.iter().map(|c| json!([c.kind, c.error])).collect::<Vec<_>>()});
        for (size, (columns, losses)) in &tests {
            let actual = losses.number(name);
            let means = surface.means(columns).unwrap();
            out[size] = json!((1e4 * spearman(&means, &actual)).round() / 100.0);
            if *size == "1m" {
                let (covered, width) = coverage(&surface, columns, &actual);
                let rmse = (means
                    .iter()
                    .zip(&actual)
                    .map(|(m, a)| (m - a) * (m - a))
                    .sum::<f64>()
                    / actual.len() as f64)
                    .sqrt();
                out["rmse_1m"] = json!(rmse);
                out["coverage_1m"] = json!(covered);
                out["width_1m"] = json!(width);
            }
        }
        println!("{out}");
    }
}

fn run_fcnet(form: &str) {
    let table = csv("fcnet-protein/fcnet_protein.csv");
    let mut columns = Columns::new();
    for name in &table.head[..9] {
        let column = if name.starts_with("activation") || name == "lr_schedule" {
            Column::Category(table.text(name).into_iter().map(Some).collect())
        } else {
            Column::Number(table.number(name))
        };
        columns.insert(name.clone(), column);
    }
    let seeds: Vec<Vec<f64>> = table.head[9..]
        .iter()
        .map(|name| table.number(name))
        .collect();
    let target: Vec<f64> = (0..table.rows.len())
        .map(|row| seeds.iter().map(|seed| seed[row]).sum::<f64>() / 4.0)
        .collect();
    let all = Features {
        run_ids: (0..target.len()).map(|row| format!("{row:05}")).collect(),
        columns,
        target_name: "valid_mse".into(),
        target,
        weights: Vec::new(),
    };
    let (test, train): (Vec<usize>, Vec<usize>) =
        (0..all.len()).partition(|row| ((*row as u64 * 2_654_435_761) % (1 << 32)) < (1 << 32) / 5);
    let (train, test) = (all.take(&train), all.take(&test));
    let options = SurfaceOptions {
        kind: kind(form),
        scale: Scale::Log,
        ..SurfaceOptions::default()
    };
    let (cpu, wall) = (cpu_s(), Instant::now());
    let surface = fit_surface(&train, &options).unwrap();
    let (cpu, wall) = (cpu_s() - cpu, wall.elapsed().as_secs_f64());
    let means = surface.means(&test.columns).unwrap();
    let (covered, width) = coverage(&surface, &test.columns, &test.target);
    let log_rmse = (means
        .iter()
        .zip(&test.target)
        .map(|(m, a)| (m / a).ln().powi(2))
        .sum::<f64>()
        / test.len() as f64)
        .sqrt();
    println!(
        "{}",
        json!({"rows": train.len(), "kind": surface.kind, "cpu_s": cpu, "wall_s": wall, "spearman": 100.0 * spearman(&means, &test.target),
        "log_rmse": log_rmse, "coverage": covered, "width": width, "cv": surface.backtest, "json_mb": serde_json::to_string(&surface).unwrap().len() as f64 / 1e6,
        "candidates": surface.candidates.iter().map(|c| json!([c.kind, c.error])).collect::<Vec<_>>()})
    );
}

fn run_obs(form: &str) {
    let table = csv("obs-scaling/base_llm_benchmark_eval.csv");
    let targets = [
        "MMLU",
        "ARC-C",
        "HellaSwag",
        "Winograd",
        "TruthfulQA",
        "GSM8K",
        "XWinograd",
        "HumanEval",
    ];
    for target in targets {
        let values = table.number(target);
        let rows: Vec<usize> = (0..values.len())
            .filter(|row| values[*row].is_finite())
            .collect();
        let mut columns = Columns::new();
        for name in [
            "Model Size (B)",
            "Pretraining Data Size (T)",
            "FLOPs (1E21)",
        ] {
            columns.insert(name.into(), Column::Number(table.number(name)));
        }
        let family = table.text("Model Family");
        let features = Features {
            // Models of a family share data and recipe: they are held out together.
            run_ids: family,
            columns,
            target_name: target.into(),
            target: values,
            weights: Vec::new(),
        }
        .take(&rows);
        let missing = match &features.columns["FLOPs (1E21)"] {
            Column::Number(values) => values.iter().filter(|value| value.is_nan()).count(),
            Column::Category(_) => 0,
        };
        let (mut covered, mut rows, mut r2, cpu) = (0.0, 0.0, 0.0, cpu_s());
        for seed in 0..5 {
            let options = SurfaceOptions {
                kind: kind(form),
                holdout: SurfaceHoldout::Runs(0.3),
                seed,
                ..SurfaceOptions::default()
            };
            let score = fit_surface(&features, &options).unwrap().holdout.unwrap();
            covered += score.coverage.unwrap() * score.rows as f64;
            rows += score.rows as f64;
            r2 += score.r_squared / 5.0;
        }
        let cpu = (cpu_s() - cpu) / 5.0;
        let holdout = SurfaceHoldout::Largest {
            column: "FLOPs (1E21)".into(),
            fraction: 0.2,
        };
        let options = SurfaceOptions {
            kind: kind(form),
            holdout,
            ..SurfaceOptions::default()
        };
        let surface = fit_surface(&features, &options).unwrap();
        let largest = surface.holdout.unwrap();
        println!(
            "{}",
            json!({"target": target, "kind": surface.kind, "rows": surface.n_rows, "families": surface.n_runs, "missing": missing, "cpu_s": cpu,
            "cv_r2": surface.backtest.r_squared, "cv_coverage": surface.backtest.coverage, "cv_width": surface.backtest.width,
            "held_out_coverage": covered / rows, "held_out_rows": rows, "held_out_r2": r2,
            "largest_coverage": largest.coverage, "largest_r2": largest.r_squared, "largest_width": largest.width, "warnings": surface.warnings})
        );
    }
}

struct Random(ChaCha12Rng);

impl Random {
    fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

fn run_speed(form: &str) {
    let mut random = Random(ChaCha12Rng::seed_from_u64(1));
    let rows = 10_000;
    let columns: Vec<Vec<f64>> = (0..40)
        .map(|_| (0..rows).map(|_| random.uniform()).collect())
        .collect();
    let truth = |row: usize| {
        (6.0 * columns[0][row]).sin()
            + 2.0 * columns[1][row] * columns[2][row]
            + columns[3][row].powi(2)
    };
    let features = Features {
        target: (0..rows)
            .map(|row| truth(row) + 0.1 * random.normal())
            .collect(),
        run_ids: (0..rows).map(|row| format!("{row:05}")).collect(),
        target_name: "y".into(),
        weights: Vec::new(),
        columns: columns
            .iter()
            .enumerate()
            .map(|(place, values)| (format!("x{place:02}"), Column::Number(values.clone())))
            .collect(),
    };
    let (cpu, wall) = (cpu_s(), Instant::now());
    let surface = fit_surface(
        &features,
        &SurfaceOptions {
            kind: kind(form),
            ..SurfaceOptions::default()
        },
    )
    .unwrap();
    println!(
        "{}",
        json!({"rows": rows, "columns": 40, "kind": surface.kind, "cpu_s": cpu_s() - cpu, "wall_s": wall.elapsed().as_secs_f64(),
        "r2": surface.backtest.r_squared, "coverage": surface.backtest.coverage, "json_mb": serde_json::to_string(&surface).unwrap().len() as f64 / 1e6,
        "candidates": surface.candidates.iter().map(|c| json!([c.kind, c.error])).collect::<Vec<_>>()})
    );
}

/// Whether a run diverges, with a known probability over learning rate, width, warm-up and optimiser.
fn run_stability(form: &str) {
    for (rows, seed) in [
        (400, 1),
        (400, 2),
        (400, 3),
        (2_000, 1),
        (2_000, 2),
        (10_000, 1),
    ] {
        let mut random = Random(ChaCha12Rng::seed_from_u64(seed));
        let draw = |random: &mut Random, rows: usize| {
            let rate: Vec<f64> = (0..rows)
                .map(|_| 10_f64.powf(-4.5 + 3.0 * random.uniform()))
                .collect();
            let width: Vec<f64> = (0..rows)
                .map(|_| 2_f64.powf((6.0 + 5.0 * random.uniform()).floor()))
                .collect();
            let warmup: Vec<f64> = (0..rows)
                .map(|_| (2000.0 * random.uniform()).floor())
                .collect();
            let muon: Vec<bool> = (0..rows).map(|_| random.uniform() < 0.4).collect();
            let truth: Vec<f64> = (0..rows)
                .map(|row| {
                    let sum = 3.0 * (rate[row].log10() + 3.0) + 1.2 * (width[row].log2() - 8.5)
                        - warmup[row] / 700.0
                        - if muon[row] { 1.5 } else { 0.0 };
                    1.0 / (1.0 + (-sum).exp())
                })
                .collect();
            let names = muon
                .iter()
                .map(|muon| Some(if *muon { "muon" } else { "adamw" }.to_owned()))
                .collect();
            let columns: Columns = [
                ("lr".to_owned(), Column::Number(rate)),
                ("width".to_owned(), Column::Number(width)),
                ("warmup".to_owned(), Column::Number(warmup)),
                ("optimiser".to_owned(), Column::Category(names)),
            ]
            .into();
            (columns, truth)
        };
        let (columns, truth) = draw(&mut random, rows);
        let features = Features {
            target: truth
                .iter()
                .map(|truth| f64::from(random.uniform() < *truth))
                .collect(),
            run_ids: (0..rows).map(|row| format!("{row:05}")).collect(),
            target_name: "diverged".into(),
            weights: Vec::new(),
            columns,
        };
        let cpu = cpu_s();
        let options = SurfaceOptions {
            kind: kind(form),
            scale: Scale::Probability,
            monotone: cairn_scaling::surface::parse_monotone("lr:+,width:+").unwrap(),
            ..SurfaceOptions::default()
        };
        let surface = fit_surface(&features, &options).unwrap();
        let cpu = cpu_s() - cpu;
        let (columns, truth) = draw(&mut random, 5_000);
        let (covered, width) = coverage(&surface, &columns, &truth);
        let means = surface.means(&columns).unwrap();
        let mut order: Vec<usize> = (0..means.len()).collect();
        order.sort_by(|one, two| means[*one].total_cmp(&means[*two]));
        let bins = order.chunks(500).map(|bin| {
            let mean =
                |values: &[f64]| bin.iter().map(|row| values[*row]).sum::<f64>() / bin.len() as f64;
            (mean(&means) - mean(&truth)).abs()
        });
        let error = means
            .iter()
            .zip(&truth)
            .map(|(mean, truth)| (mean - truth).abs())
            .sum::<f64>()
            / truth.len() as f64;
        println!(
            "{}",
            json!({"rows": rows, "seed": seed, "kind": surface.kind, "cpu_s": cpu, "coverage_of_true_probability": covered, "width": width,
            "mean_error": error, "calibration_error_on_truth": bins.clone().sum::<f64>() / 10.0, "largest_bin_error": bins.fold(0.0, f64::max),
            "cv_calibration_error": surface.backtest.calibration_error, "cv_log_loss": surface.backtest.log_loss,
            "candidates": surface.candidates.iter().map(|c| json!([c.kind, c.error])).collect::<Vec<_>>()})
        );
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let word = |place: usize| arguments.get(place).map(String::as_str);
    let form = word(2).unwrap_or("auto");
    match word(1) {
        Some("regmix") => run_regmix(form, word(3)),
        Some("fcnet") => run_fcnet(form),
        Some("obs") => run_obs(form),
        Some("speed") => run_speed(form),
        Some("stability") => run_stability(form),
        _ => println!(
            "surface_benchmark regmix|fcnet|obs|speed|stability [auto|linear|boosting|forest|gaussian_process]"
        ),
    }
}
