//! Draws figures.
//!
//! `figures draw SPEC.json OUT.svg|OUT.png|-` draws a figure that is stored as JSON (`-`: in the terminal).
//! `figures chinchilla POINTS.csv FOLDER` fits Hoffmann's law to the points of Epoch AI's csv and draws the figures of that fit,
//! each as SVG, PNG and JSON.

#![allow(
    clippy::disallowed_methods,
    reason = "an example is no core: it need not replay exactly"
)]

use std::error::Error;
use std::fs;
use std::path::Path;

use cairn_scaling::figure::{Axis, Figure, Style, build, to_png, to_svg, to_terminal};
use cairn_scaling::{FitOptions, Law, Table, fit};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["draw", spec, out] => draw(&serde_json::from_str(&fs::read_to_string(spec)?)?, out),
        ["chinchilla", points, folder] => chinchilla(points, Path::new(folder)),
        _ => Err("usage: figures draw SPEC.json OUT | figures chinchilla POINTS.csv FOLDER".into()),
    }
}

fn draw(figure: &Figure, out: &str) -> Result<(), Box<dyn Error>> {
    let style = Style::default();
    if out == "-" {
        print!("{}", to_terminal(figure, 90, 24, true));
    } else if out.ends_with(".png") {
        fs::write(out, to_png(figure, &style))?;
    } else {
        fs::write(out, to_svg(figure, &style))?;
    }
    Ok(())
}

fn chinchilla(points: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut rows: Vec<(f64, f64, f64)> = Vec::new();
    for line in fs::read_to_string(points)?.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |at: usize| {
            cells
                .get(at)
                .and_then(|cell| cell.parse().ok())
                .unwrap_or(f64::NAN)
        };
        rows.push((cell(3), cell(4) / (6.0 * cell(3)), cell(6)));
    }
    // The paper leaves the five largest losses out.
    rows.sort_by(|one, other| other.2.total_cmp(&one.2));
    rows.drain(..rows.len().min(5));
    let mut table = Table::default();
    for (at, (n, d, loss)) in rows.iter().enumerate() {
        table.push(&format!("point-{at:03}"), &[("n", *n), ("d", *d)], *loss);
    }
    let options = FitOptions::default();
    let found = fit(&Law::named("hoffmann")?, &table, &options)?;
    let (against, quantiles) = build::fitted_residuals(&found, &table);
    let mut figures = vec![
        ("curve".to_owned(), build::fitted_curve(&found, &table)),
        (
            "contours".to_owned(),
            build::fitted_contours(&found, &table),
        ),
        ("residuals".to_owned(), against),
        ("quantiles".to_owned(), quantiles),
        ("backtest".to_owned(), build::fitted_backtest(&found)),
        ("isoflop".to_owned(), isoflops(&rows)),
    ];
    for (at, figure) in build::fitted_profiles(&found, &table, &options, 13)?
        .into_iter()
        .enumerate()
    {
        figures.push((format!("profile-{at}"), figure));
    }
    fs::create_dir_all(folder)?;
    for (name, figure) in figures {
        let style = Style::card();
        fs::write(folder.join(format!("{name}.svg")), to_svg(&figure, &style))?;
        fs::write(folder.join(format!("{name}.png")), to_png(&figure, &style))?;
        fs::write(
            folder.join(format!("{name}-column.png")),
            to_png(&figure, &Style::column()),
        )?;
        fs::write(
            folder.join(format!("{name}.json")),
            serde_json::to_string(&figure)?,
        )?;
        println!("{}", to_terminal(&figure, 90, 22, true));
    }
    Ok(())
}

/// Runs of about the same compute, with a parabola each: rounded budgets of the paper's third approach.
fn isoflops(rows: &[(f64, f64, f64)]) -> Figure {
    let budgets = [6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21];
    let mut groups = Vec::new();
    for compute in budgets {
        let near = rows
            .iter()
            .filter(|(n, d, _)| (6.0 * n * d / compute).ln().abs() < 0.1);
        let (x, y): (Vec<f64>, Vec<f64>) = near.map(|(n, _, loss)| (*n, *loss)).unzip();
        let (curve_x, curve_y, best) = parabola(&x, &y);
        groups.push(build::IsoFlop {
            compute,
            x,
            y,
            curve_x,
            curve_y,
            best,
        });
    }
    groups.retain(|group| group.x.len() > 3);
    build::isoflop(
        &groups,
        Axis::log("Parameters", ""),
        Axis::linear("Loss", "nats per token"),
    )
}

type Parabola = (Vec<f64>, Vec<f64>, Option<(f64, f64)>);

/// Least squares in ln x by orthogonal polynomials.
fn parabola(x: &[f64], y: &[f64]) -> Parabola {
    let count = x.len() as f64;
    let logs: Vec<f64> = x.iter().map(|x| x.ln()).collect();
    let mean = logs.iter().sum::<f64>() / count;
    let one: Vec<f64> = logs.iter().map(|log| log - mean).collect();
    let square = |p: &[f64]| p.iter().map(|v| v * v).sum::<f64>();
    let along = |p: &[f64], q: &[f64]| p.iter().zip(q).map(|(p, q)| p * q).sum::<f64>();
    let squares: Vec<f64> = one.iter().map(|v| v * v).collect();
    let (level, slant) = (
        squares.iter().sum::<f64>() / count,
        along(&squares, &one) / square(&one),
    );
    let two: Vec<f64> = one.iter().map(|v| v * v - level - slant * v).collect();
    let (c0, c1, c2) = (
        y.iter().sum::<f64>() / count,
        along(y, &one) / square(&one),
        along(y, &two) / square(&two),
    );
    let value = |log: f64| {
        let v = log - mean;
        c0 + c1 * v + c2 * (v * v - level - slant * v)
    };
    let (low, high) = logs
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
            (l.min(*v), h.max(*v))
        });
    let steps: Vec<f64> = (0..=40)
        .map(|at| low + (high - low) * f64::from(at) / 40.0)
        .collect();
    let turn = mean + (slant * c2 - c1) / (2.0 * c2);
    let best = (c2 > 0.0 && turn > low && turn < high).then(|| (turn.exp(), value(turn)));
    (
        steps.iter().map(|log| log.exp()).collect(),
        steps.iter().map(|log| value(*log)).collect(),
        best,
    )
}
