//! Training curves from real logs: the ladder of this repository, modded-nanogpt and llm.c.

#![allow(
    dead_code,
    clippy::disallowed_methods,
    reason = "each user takes its part; a test is no core"
)]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use cairn_scaling::study::curves::{Curve, CurvePoint};

fn files(folder: &Path, ending: &str) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    paths.sort();
    paths
}

/// Contract JSON lines: the points of the last attempt win, the logged rate is the planned one.
pub fn ladder(folder: &Path) -> Vec<Curve> {
    files(folder, ".jsonl.gz")
        .iter()
        .map(|path| ladder_run(path))
        .collect()
}

fn ladder_run(path: &Path) -> Curve {
    let mut text = String::new();
    let file = std::fs::File::open(path).expect("a log");
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("gzip");
    let mut points: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
    let mut curve = Curve::default();
    for line in text.lines() {
        let row: serde_json::Value = serde_json::from_str(line).expect("json");
        let number = |name: &str| row[name].as_f64();
        if row["topic"] == "runs.config" {
            curve.run_id = row["run_id"].as_str().unwrap_or_default().to_owned();
            curve.end = row["training"]["tokens_planned"].as_f64().unwrap_or(0.0);
        }
        if row["topic"] == "telemetry.training"
            && let (Some(at), Some(loss), Some(rate)) =
                (number("tokens"), number("loss"), number("learning_rate"))
        {
            points.insert(at as u64, (loss, rate));
        }
    }
    for (at, (loss, rate)) in points {
        curve.points.push(CurvePoint {
            at: at as f64,
            loss,
        });
        curve.schedule.push((at as f64, rate));
    }
    curve
}

/// Step logs of modded-nanogpt and llm.c. The first logs its rate; of the others the program of the time held it
/// constant and let it fall in a straight line over the last 1800 (muon, soap) or 450 (valueembed) steps.
pub fn nanogpt(folder: &Path) -> Vec<Curve> {
    let mut curves = Vec::new();
    for path in files(folder, ".txt")
        .into_iter()
        .chain(files(folder, "main.log"))
    {
        let text = std::fs::read_to_string(&path).expect("a log");
        let run_id = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        let mut curve = Curve {
            run_id: run_id.clone(),
            ..Curve::default()
        };
        for line in text.lines() {
            let field = |name: &str| -> Option<f64> {
                let cell = line
                    .split_whitespace()
                    .find_map(|cell| cell.strip_prefix(name))?;
                cell.split('/').next()?.parse().ok()
            };
            let (step, loss) = (
                field("step:").or(field("s:")),
                field("train_loss:").or(field("trl:")),
            );
            if let (Some(step), Some(loss)) = (step, loss) {
                curve.points.push(CurvePoint { at: step, loss });
                curve.end = curve.end.max(step);
                if let Some(rate) = field("lr:") {
                    curve.schedule.push((step, rate));
                }
            }
        }
        if curve.schedule.is_empty() {
            let fall = if run_id.starts_with("valueembed") {
                450.0
            } else {
                1800.0
            };
            curve.schedule = vec![(0.0, 1.0), (curve.end - fall, 1.0), (curve.end, 0.0)];
        }
        curves.push(curve);
    }
    curves
}
