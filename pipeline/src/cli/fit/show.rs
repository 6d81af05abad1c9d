//! A fit on one screen.

use super::super::table::{Table, number};
use cairn_scaling::{Fit, FitVerdict, Identified, Interval};

fn interval(interval: &Interval) -> String {
    format!(
        "{} … {}",
        number(Some(interval.low)),
        number(Some(interval.high))
    )
}

/// The fit for people: verdict, parameters, evidence, back-test.
#[must_use]
pub fn fit(fit: &Fit) -> String {
    let verdict = match fit.verdict {
        FitVerdict::Usable => "usable",
        FitVerdict::Weak => "weak",
        FitVerdict::Refused => "refused: no decision should rest on it",
    };
    let law = &fit.definition;
    let mut text = format!(
        "{}: {} = {}\n{}; {verdict}\n",
        fit.law,
        law.response.name,
        law.formula,
        counted(fit)
    );
    for warning in &fit.warnings {
        text.push_str(&format!("  ! {warning}\n"));
    }
    let percent = format!("{:.0} %", 100.0 * fit.level);
    let mut table = Table::new(&[
        "parameter",
        "value",
        "s.e.",
        &percent,
        "range with the form's error",
        "identified",
        "unit",
    ]);
    for parameter in &law.parameters {
        let Some(estimate) = fit.parameters.get(&parameter.name) else {
            continue;
        };
        if estimate.bounds.low == estimate.bounds.high {
            // held at a value: there is nothing to doubt about it, and nothing that the data say
            let mut cells = vec![parameter.name.clone(), number(Some(estimate.value))];
            cells.extend(["", "", "", "held"].map(str::to_owned));
            cells.push(parameter.unit.clone());
            table.row(cells);
            continue;
        }
        table.row(vec![
            parameter.name.clone(),
            number(Some(estimate.value)),
            number(estimate.se),
            interval(&estimate.ci),
            interval(&estimate.range),
            match estimate.identified {
                Identified::Yes => "yes",
                Identified::Weakly => "weakly",
                Identified::No => "no",
            }
            .to_owned(),
            parameter.unit.clone(),
        ]);
    }
    text.push('\n');
    text.push_str(&table.text());
    for (name, derived) in &fit.derived {
        let formula = law.derived.get(name).map_or("", String::as_str);
        text.push_str(&format!(
            "  {name} := {formula} = {} ({} … {})\n",
            number(Some(derived.value)),
            number(Some(derived.ci.low)),
            number(Some(derived.ci.high))
        ));
    }
    let certificate = &fit.certificate;
    text.push_str(&format!(
        "\n{} {:.6e}; {}: scaled gradient {:.1e}, condition {}; {} starts, {} failed, {} basins; {} of {} replicates converged\n",
        fit.objective.kind,
        fit.objective.value,
        if certificate.converged { "converged" } else { "NOT converged" },
        certificate.gradient_norm,
        number(certificate.condition),
        certificate.starts,
        certificate.failed_starts,
        certificate.basin_count,
        fit.bootstrap.converged,
        fit.bootstrap.requested,
    ));
    if !certificate.at_bounds.is_empty() {
        text.push_str(&format!(
            "at a bound: {}\n",
            certificate.at_bounds.join(", ")
        ));
    }
    text + &backtest(fit)
}

/// Rows and runs; where nobody said which rows belong together, that each was taken as a run.
fn counted(fit: &Fit) -> String {
    if fit.conventions.contains_key("run") {
        format!("{} rows of {} runs", fit.n_rows, fit.n_runs)
    } else {
        format!(
            "{} rows, each taken as a run of its own (`run=` says which belong together)",
            fit.n_rows
        )
    }
}

fn backtest(fit: &Fit) -> String {
    if !fit.backtest.performed {
        return "no back-test: too few runs\n".to_owned();
    }
    let mut table = Table::new(&["held out", "observed", "predicted", "interval", "error"]);
    for point in &fit.backtest.points {
        table.row(vec![
            point.run_id.clone(),
            number(Some(point.observed)),
            number(Some(point.predicted)),
            format!(
                "{} … {}{}",
                number(Some(point.low)),
                number(Some(point.high)),
                if point.inside { "" } else { " missed" }
            ),
            format!("{:+.2} %", 100.0 * point.relative_error),
        ]);
    }
    format!("\nback-test on the largest compute:\n{}", table.text())
}
