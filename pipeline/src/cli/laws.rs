//! `cairn laws`: the laws there are, each with its formula, columns, parameters and source.

use super::table::Table;
use super::{Failure, Global, Outcome, print, say};
use cairn_scaling::Law;
use clap::Args;
use serde_json::{Value, json};

/// The laws there are.
#[derive(Args)]
pub struct Laws {
    /// One of them, in full
    name: Option<String>,
    /// As the file that `--law FILE.yaml` takes, to begin one's own from
    #[arg(long, requires = "name")]
    yaml: bool,
}

impl Laws {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let Some(name) = self.name else {
            list(global);
            return Ok(0);
        };
        let law = law(&name)?;
        if self.yaml {
            let yaml = serde_yaml_ng::to_string(&law)
                .map_err(|error| Failure::new("io", 2, error.to_string(), &name, "report it"))?;
            print(&yaml);
        } else if global.is_json() {
            say(&described(&law));
        } else {
            print(&page(&law));
        }
        Ok(0)
    }
}

/// A built-in law by its name, or the law in a YAML file.
pub(super) fn law(name: &str) -> Result<Law, Failure> {
    let refused = |error: cairn_scaling::LawError| {
        Failure::new(error.code(), 2, error.to_string(), name, error.remedy())
    };
    if !(name.ends_with(".yaml") || name.ends_with(".yml")) {
        return Law::named(name).map_err(refused);
    }
    let text = std::fs::read_to_string(name).map_err(|error| {
        Failure::new(
            "io",
            2,
            error.to_string(),
            name,
            "check the path; `cairn laws` lists what is built in",
        )
    })?;
    Law::from_yaml(&text).map_err(refused)
}

fn described(law: &Law) -> Value {
    let columns: Vec<Value> = law
        .columns
        .iter()
        .map(|column| json!({"name": column.name, "unit": column.unit, "description": column.description}))
        .collect();
    let parameters: Vec<Value> = law
        .parameters
        .iter()
        .map(|parameter| {
            // an open end is no number
            let ends: Vec<Option<f64>> = [parameter.bounds.low, parameter.bounds.high].into_iter().map(|end| end.is_finite().then_some(end)).collect();
            json!({"name": parameter.name, "unit": parameter.unit, "bounds": ends, "description": parameter.description})
        })
        .collect();
    json!({
        "law": law.name,
        "title": law.title,
        "formula": law.formula,
        "columns": columns,
        "response": {"name": law.response.name, "unit": law.response.unit},
        "parameters": parameters,
        "compute": law.compute,
        "reference": law.reference,
    })
}

fn list(global: &Global) {
    if global.is_json() {
        Law::all().iter().for_each(|law| say(&described(law)));
        STUDIES.iter().for_each(|(law, formula, reference)| say(&json!({"law": law, "formula": formula, "columns": [], "parameters": [], "reference": reference})));
        return;
    }
    let mut table = Table::new(&["law", "formula", "columns"]);
    for law in Law::all() {
        let columns: Vec<&str> = law
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        table.row(vec![
            law.name.clone(),
            format!("{} = {}", law.response.name, law.formula),
            columns.join(", "),
        ]);
    }
    for (law, formula, _) in STUDIES {
        table.row(vec![
            (*law).to_owned(),
            (*formula).to_owned(),
            String::new(),
        ]);
    }
    print(&table.text());
    print(
        "\n`cairn laws NAME` says more; `cairn laws NAME --yaml > mine.yaml` begins a law of one's own.\n",
    );
}

/// What `--law` takes beside the laws: procedures that have no one formula.
const STUDIES: &[(&str, &str, &str)] = &[
    (
        "isoflop",
        "parabolas of loss over ln n at each budget c; their minima against c",
        "Hoffmann et al. 2022, arXiv 2203.15556, approach 2",
    ),
    (
        "envelope",
        "the lower envelope of training curves over compute; its runs' n and d against c",
        "Hoffmann et al. 2022, arXiv 2203.15556, approach 1",
    ),
    (
        "auto",
        "the law that predicts the largest compute best from the rest",
        "held-out prediction; stacking: Yao et al. 2018, arXiv 1704.02030",
    ),
];

/// A limit of a search: round by nature.
fn end(value: f64) -> String {
    if value == 0.0 || (1e-3..1e6).contains(&value.abs()) {
        format!("{value}")
    } else {
        format!("{value:e}")
    }
}

fn page(law: &Law) -> String {
    let mut text = format!(
        "{}: {}\n  {} = {}\n\n",
        law.name, law.title, law.response.name, law.formula
    );
    let mut columns = Table::new(&["column", "unit", "what it is"]);
    for column in &law.columns {
        columns.row(vec![
            column.name.clone(),
            column.unit.clone(),
            column.description.clone(),
        ]);
    }
    columns.row(vec![
        law.response.name.clone(),
        law.response.unit.clone(),
        "what the law explains".to_owned(),
    ]);
    text.push_str(&columns.text());
    text.push('\n');
    let mut parameters = Table::new(&["parameter", "unit", "from", "to", "what it is"]);
    for parameter in &law.parameters {
        parameters.row(vec![
            parameter.name.clone(),
            parameter.unit.clone(),
            end(parameter.bounds.low),
            end(parameter.bounds.high),
            parameter.description.clone(),
        ]);
    }
    text.push_str(&parameters.text());
    text.push_str(&format!("\n{}\n", law.reference));
    text
}
