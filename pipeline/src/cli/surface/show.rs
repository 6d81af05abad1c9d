//! A surface as scripts and people see it.

use super::super::table::{Table, number};
use cairn_scaling::surface::{Score, Surface};
use serde_json::{Value, json};

/// What a surface says of itself, without what only a prediction needs.
pub(super) fn summary(surface: &Surface) -> Value {
    json!({
        "target": surface.target,
        "kind": surface.kind,
        "scale": surface.scale,
        "features": surface.features(),
        "monotone": surface.monotone,
        "simplex": surface.simplex,
        "n_rows": surface.n_rows,
        "n_runs": surface.n_runs,
        "candidates": surface.candidates,
        "backtest": surface.backtest,
        "holdout": surface.holdout,
        "guarantee": surface.guarantee,
        "warnings": surface.warnings,
        "level": surface.level,
        "seed": surface.seed,
    })
}

fn score(name: &str, score: &Score, table: &mut Table) {
    table.row(vec![
        name.to_owned(),
        score.rows.to_string(),
        score.runs.to_string(),
        number(Some(score.rmse)),
        number(Some(score.r_squared)),
        number(Some(score.spearman)),
        number(score.coverage),
        number(score.width),
        number(score.log_loss),
    ]);
}

pub(super) fn text(surface: &Surface) -> String {
    let mut text = format!(
        "{}: {} over {} columns, learnt on the {} scale from {} rows of {} runs\n",
        surface.target,
        surface.kind.name(),
        surface.features().len(),
        surface.scale.name(),
        surface.n_rows,
        surface.n_runs
    );
    for warning in &surface.warnings {
        text.push_str(&format!("  ! {warning}\n"));
    }
    let mut candidates = Table::new(&["form", "held-out error", ""]);
    for candidate in &surface.candidates {
        candidates.row(vec![
            candidate.kind.name().to_owned(),
            number(candidate.error),
            candidate.left_out.clone().unwrap_or_default(),
        ]);
    }
    text.push_str(&candidates.text());
    let coverage = format!("inside {:.0} %", 100.0 * surface.level);
    let mut scores = Table::new(&[
        "on runs not seen",
        "rows",
        "runs",
        "rmse",
        "R²",
        "Spearman",
        &coverage,
        "width",
        "log loss",
    ]);
    score("folds", &surface.backtest, &mut scores);
    if let Some(held) = &surface.holdout {
        score("set apart", held, &mut scores);
    }
    format!("{text}\n{}{}\n", scores.text(), surface.guarantee)
}
