//! What `cairn fit` does beside fitting one law: iso-FLOP parabolas, the envelope of training curves, the choice of a form,
//! and whether groups obey one law.

use super::super::table::{Table as Lines, number};
use super::super::{Failure, Global, files, print, say};
use super::FitCommand;
use super::rows::{self, Wanted};
use crate::input_table::InputTable;
use cairn_scaling::study::breaks::{Break, BreakOptions, find_break};
use cairn_scaling::study::choice::{Candidate, Choice, ChoiceOptions, candidates, choose};
use cairn_scaling::study::envelope::{Envelope, EnvelopeOptions, envelope};
use cairn_scaling::study::isoflop::{Isoflop, IsoflopOptions, PowerLaw, isoflop};
use cairn_scaling::study::pooling::{Pooling, PoolingOptions, PoolingVerdict, SmallGroup, pool};
use cairn_scaling::study::sensitivity::{Sensitivity, SensitivityOptions, sensitivity};
use cairn_scaling::{Estimate, Fit, FitOptions, Law, Table};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A study by the name that `--law` gives; `None` where it names a law. `auto` is none of these: it ends in one law.
pub fn run(
    command: &FitCommand,
    global: &Global,
    input: &InputTable,
    lineage: Option<&str>,
    columns: &[(String, String)],
    options: &FitOptions,
) -> Result<Option<u8>, Failure> {
    let name = command.law.as_str();
    if !matches!(name, "isoflop" | "envelope") {
        return Ok(None);
    }
    let given = |wanted: &str| columns.iter().any(|(column, _)| column == wanted);
    let needed = if given("c") { ["n", "c"] } else { ["n", "d"] };
    let asked = Wanted {
        law: name,
        columns: needed.to_vec(),
        response: "loss",
    };
    // compute that was counted stands before tokens: whoever names both means c = 6 n d to about the accuracy of that rule
    let unread: &[&str] = if given("c") { &["d"] } else { &[] };
    let columns: Vec<(String, String)> = columns
        .iter()
        .filter(|(name, _)| !unread.contains(&name.as_str()))
        .cloned()
        .collect();
    let mut rows = rows::take(
        input,
        &command.source,
        &asked,
        &columns,
        command.cluster.as_deref(),
    )?;
    rows::drop_highest(&mut rows.table, command.drop_highest);
    let mut conventions = command.conventions(&rows.expressions, lineage);
    conventions.insert(
        "compute".to_owned(),
        if needed[1] == "c" {
            "as given".to_owned()
        } else {
            "6 n d".to_owned()
        },
    );
    let (value, text, refused) = if name == "isoflop" {
        let options = IsoflopOptions {
            budget_tolerance: command.budget_tolerance,
            sizes_min: command.sizes_min,
            bootstrap: options.bootstrap,
            level: options.level,
            seed: options.seed,
            ..IsoflopOptions::default()
        };
        let found = isoflop(&rows.table, &options)?;
        (json!(found), isoflop_text(&found), found.budgets.len() < 2)
    } else {
        let options = EnvelopeOptions {
            sizes_min: command.sizes_min,
            bootstrap: options.bootstrap,
            level: options.level,
            seed: options.seed,
            ..EnvelopeOptions::default()
        };
        let found = envelope(&rows.table, &options)?;
        (json!(found), envelope_text(&found), found.sizes < 2)
    };
    let mut answer = json!({"law": name, "n_rows": rows.table.len(), "conventions": conventions});
    if let (Value::Object(answer), Value::Object(found)) = (&mut answer, value) {
        // the exponents under the names that papers give them: N_opt ∝ C^a, D_opt ∝ C^b
        answer.insert(
            "parameters".to_owned(),
            json!({"a": exponent(&found["n_opt"]), "b": exponent(&found["d_opt"])}),
        );
        answer.extend(found);
    }
    if let Some(out) = &command.out {
        files::write_json(out, &answer)?;
    }
    if global.is_json() {
        say(&answer);
    } else {
        print(&text);
    }
    super::notes(input);
    Ok(Some(if refused {
        1
    } else if input.bad.is_empty() {
        0
    } else {
        3
    }))
}

fn exponent(law: &Value) -> Value {
    let exponent = &law["exponent"];
    json!({"value": exponent["value"], "se": exponent["se"], "ci": exponent["ci"], "level": exponent["level"]})
}

fn ends(estimate: &Estimate) -> String {
    format!(
        "{} … {}",
        number(Some(estimate.ci.low)),
        number(Some(estimate.ci.high))
    )
}

fn power_laws(n: &PowerLaw, d: &PowerLaw) -> String {
    let line = |name: &str, law: &PowerLaw| {
        format!(
            "{name} = {} (C / {:.3e})^{} ({})\n",
            number(Some(law.coefficient.value)),
            law.reference_flops,
            number(Some(law.exponent.value)),
            ends(&law.exponent)
        )
    };
    line("n_opt", n) + &line("d_opt", d)
}

fn isoflop_text(found: &Isoflop) -> String {
    let mut table = Lines::new(&[
        "budget FLOPs",
        "points",
        "n_opt",
        "interval",
        "d_opt",
        "loss there",
    ]);
    for budget in &found.budgets {
        table.row(vec![
            format!("{:.3e}", budget.flops),
            budget.points.to_string(),
            number(Some(budget.n_opt.value)),
            ends(&budget.n_opt),
            number(Some(budget.d_opt.value)),
            number(Some(budget.response)),
        ]);
    }
    let mut text = table.text();
    for left in &found.left_out {
        text.push_str(&format!(
            "  left out: {:.3e} FLOPs, {} points: {}\n",
            left.flops, left.points, left.reason
        ));
    }
    for warning in &found.warnings {
        text.push_str(&format!("  ! {warning}\n"));
    }
    text + &power_laws(&found.n_opt, &found.d_opt)
}

fn envelope_text(found: &Envelope) -> String {
    let mut text = format!(
        "{} places of the envelope, {} sizes\n",
        found.places.len(),
        found.sizes
    );
    for left in &found.left_out {
        text.push_str(&format!(
            "  left out: {:.3e} to {:.3e} FLOPs: {}\n",
            left.from_flops, left.to_flops, left.reason
        ));
    }
    for warning in &found.warnings {
        text.push_str(&format!("  ! {warning}\n"));
    }
    text + &power_laws(&found.n_opt, &found.d_opt)
}

/// Takes every column that the user named, for laws that are still to be chosen; compute is 6 n d where only these are given.
pub fn open_columns(columns: &[(String, String)], names: &[String]) -> Vec<(String, String)> {
    let mut open: Vec<(String, String)> = columns
        .iter()
        .filter(|(name, _)| !rows::COMMON.contains(&name.as_str()) && name != "y" && name != "loss")
        .cloned()
        .collect();
    if open.is_empty() {
        let known = Law::all();
        let asked = known
            .iter()
            .flat_map(|law| law.columns.iter().map(|column| &column.name));
        let there = asked.filter(|name| names.contains(name)).cloned();
        open.extend(
            there
                .collect::<std::collections::BTreeSet<String>>()
                .into_iter()
                .map(|name| (name.clone(), name)),
        );
    }
    open
}

/// Chooses the law that predicts the largest compute best.
///
/// # Errors
/// No law has all its columns, or none can be tried.
pub fn chosen(table: &mut Table, response: &str, options: &FitOptions) -> Result<Choice, Failure> {
    if let (Some(n), Some(d), None) = (
        table.columns.get("n"),
        table.columns.get("d"),
        table.columns.get("c"),
    ) {
        let compute = n.iter().zip(d).map(|(n, d)| 6.0 * n * d).collect();
        table.columns.insert("c".to_owned(), compute);
    }
    let laws = candidates(table, response);
    Ok(choose(&laws, table, options, &ChoiceOptions::default())?)
}

/// The candidates as the contract has them.
pub fn candidates_json(candidates: &[Candidate]) -> Value {
    candidates
        .iter()
        .map(|one| json!({"law": one.law, "holdout_error": one.holdout_error, "weight": one.weight, "parameters": one.parameters, "left_out": one.left_out}))
        .collect()
}

/// The candidates for people.
pub fn candidates_text(choice: &Choice) -> String {
    let mut table = Lines::new(&["law", "parameters", "held-out error", "weight", ""]);
    for one in &choice.candidates {
        table.row(vec![
            one.law.clone(),
            one.parameters.to_string(),
            number(one.holdout_error),
            number(Some(one.weight)),
            one.left_out.clone().unwrap_or_default(),
        ]);
    }
    let mut text = format!("\nlaws tried on the largest compute:\n{}", table.text());
    for warning in &choice.warnings {
        text.push_str(&format!("  ! {warning}\n"));
    }
    text
}

/// Groups that were left out, a line for each reason: a leaderboard has a hundred families of one model.
fn too_small(groups: &[SmallGroup]) -> String {
    const NAMED_MAX: usize = 8;
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for small in groups {
        // how many runs each has is in the answer as JSON
        reasons.entry(&small.reason).or_default().push(&small.group);
    }
    reasons
        .iter()
        .map(|(reason, names)| {
            let more = names.len().saturating_sub(NAMED_MAX);
            let rest = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            let shown = names[..names.len() - more].join(", ");
            format!("  left out: {shown}{rest}: {reason}\n")
        })
        .collect()
}

/// What else was asked of a fit.
#[derive(Default)]
pub struct Besides {
    pooling: Option<Pooling>,
    broken: Option<Break>,
    sensitivity: Option<Sensitivity>,
}

impl Besides {
    /// Whether groups obey one law, where the law breaks, and what the answer hangs on: each where it was asked for.
    ///
    /// # Errors
    /// The rows do not allow it.
    pub fn of(
        command: &FitCommand,
        fit: &Fit,
        table: &Table,
        options: &FitOptions,
    ) -> Result<Self, Failure> {
        let law = &fit.definition;
        Ok(Self {
            pooling: (!table.groups.is_empty())
                .then(|| pool(law, table, options, &PoolingOptions::default()))
                .transpose()?,
            broken: command
                .breaks
                .then(|| find_break(law, table, options, &BreakOptions::default()))
                .transpose()?,
            sensitivity: command
                .sensitivity
                .then(|| sensitivity(fit, table, options, &SensitivityOptions::default()))
                .transpose()?,
        })
    }

    /// As the contract has it.
    pub fn json(&self) -> Vec<(String, Value)> {
        let mut members = Vec::new();
        if let Some(pooling) = &self.pooling {
            let groups: serde_json::Map<String, Value> = pooling
                .groups
                .iter()
                .map(|(name, fit)| (name.clone(), super::brief(fit).unwrap_or_default()))
                .collect();
            members.push(("groups".to_owned(), Value::Object(groups)));
            members.push((
                "pooling".to_owned(),
                json!({
                    "verdict": pooling.verdict,
                    "p": pooling.p,
                    "statistic": pooling.statistic,
                    "method": pooling.method,
                    "largest_gap": pooling.largest_gap,
                    "largest_gap_in": pooling.largest_gap_in,
                    "too_small": pooling.too_small,
                    "warnings": pooling.warnings,
                }),
            ));
        }
        members.extend(
            self.broken
                .as_ref()
                .map(|broken| ("break".to_owned(), json!(broken))),
        );
        members.extend(
            self.sensitivity
                .as_ref()
                .map(|table| ("sensitivity".to_owned(), json!(table))),
        );
        members
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Some(pooling) = &self.pooling {
            let verdict = match pooling.verdict {
                PoolingVerdict::OneLaw => "nothing speaks against one law",
                PoolingVerdict::Several => "the groups obey several laws: do not pool them",
            };
            text.push_str(&format!(
                "\n{verdict} (p {:.3}, {}; largest gap {:.2} % in {})\n",
                pooling.p,
                pooling.method,
                100.0 * pooling.largest_gap,
                pooling.largest_gap_in
            ));
            let names: Vec<&str> = pooling
                .together
                .definition
                .parameters
                .iter()
                .map(|parameter| parameter.name.as_str())
                .collect();
            let mut heads = vec!["group", "runs"];
            heads.extend(&names);
            let mut table = Lines::new(&heads);
            for (group, fit) in &pooling.groups {
                let mut cells = vec![group.clone(), fit.n_runs.to_string()];
                cells.extend(
                    names
                        .iter()
                        .map(|name| number(fit.parameters.get(*name).map(|one| one.value))),
                );
                table.row(cells);
            }
            text.push_str(&table.text());
            text.push_str(&too_small(&pooling.too_small));
        }
        if let Some(broken) = &self.broken {
            let verdict = if broken.found {
                "the law breaks"
            } else {
                "no break was found; the likeliest place is"
            };
            text.push_str(&format!(
                "\n{verdict} at {} {:.3e} (p {:.3})\n",
                broken.order_by, broken.at, broken.p
            ));
        }
        if let Some(table) = &self.sensitivity {
            text.push_str("\nwhat the answer hangs on:\n");
            for finding in &table.findings {
                text.push_str(&format!("  {finding}\n"));
            }
            if table.findings.is_empty() {
                text.push_str("  no choice moves a number by more than its standard error\n");
            }
        }
        text
    }
}
