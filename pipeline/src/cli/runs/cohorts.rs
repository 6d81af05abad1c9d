//! `cairn runs cohort`: named queries over rows, each change of one a version more.

use super::super::table::Table;
use super::super::{Failure, Global, Outcome, print, say};
use super::view::{View, literal};
use crate::metrics::wall_time_ms;
use crate::publish::{Who, publish};
use crate::registry::{self, AsOf, columns};
use cairn_avro::record::Cohort;
use cairn_topics::handle::REGISTRY_COHORTS;
use clap::{Args, Subcommand};
use serde_json::Value;

/// Named queries.
#[derive(Args)]
pub struct Cohorts {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Give a condition a name
    Save(Save),
    /// The cohorts there are
    List,
    /// A cohort and its runs
    Show(Show),
}

/// Give a condition a name.
#[derive(Args)]
pub struct Save {
    /// Its name
    name: String,
    /// The condition, such as "array_has(tags, 'grid') AND status = 'finished'"
    #[arg(long = "where", value_name = "SQL")]
    condition: String,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Tenant that it belongs to
    #[arg(long, default_value = cairn_topics::DEFAULT_TENANT, value_name = "T")]
    tenant: String,
}

/// A cohort and its runs.
#[derive(Args)]
pub struct Show {
    /// Its name, or TENANT/NAME
    name: String,
}

impl Cohorts {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let mut view = View::open(global, &AsOf::Now)?;
        match self.command {
            Command::Save(command) => command.run(global, &mut view),
            Command::List => list(global, &mut view),
            Command::Show(command) => command.run(global, &mut view),
        }
    }
}

impl Save {
    fn run(self, global: &Global, view: &mut View) -> Outcome {
        // a condition that cannot be asked is refused now, not when a fit needs it
        let runs = view.rows(Some(&self.condition), None)?.len();
        let before = all(view)?
            .into_iter()
            .find(|cohort| cohort.tenant == self.tenant && cohort.name == self.name);
        let is_same = before.as_ref().is_some_and(|before| {
            before.where_sql == self.condition && before.description == self.description
        });
        let cohort = match before {
            Some(before) if is_same => before,
            before => {
                let cohort = Cohort {
                    tenant: self.tenant,
                    name: self.name,
                    where_sql: self.condition,
                    description: self.description,
                    created_by: std::env::var("USER").ok().filter(|user| !user.is_empty()),
                    created_time_ms: Some(wall_time_ms()),
                    version: before.map_or(1, |before| before.version + 1),
                };
                let who = Who {
                    app_id: &view.config.log.app_id,
                    operator: "cohorts",
                    instance: "cli",
                };
                publish(
                    &*view.place.log,
                    &*view.place.registry,
                    &who,
                    REGISTRY_COHORTS.name,
                    &[cohort.clone().into()],
                )?;
                cohort
            }
        };
        if global.is_json() {
            say(&json(&cohort, Some(runs)));
        } else {
            print(&format!(
                "{} version {}: {runs} runs\n",
                cohort.name, cohort.version
            ));
        }
        Ok(0)
    }
}

impl Show {
    fn run(self, global: &Global, view: &mut View) -> Outcome {
        let cohort = find(view, &self.name)?;
        let rows = view.rows(Some(&cohort.where_sql), None)?;
        if global.is_json() {
            let mut value = json(&cohort, Some(rows.len()));
            value["run_ids"] = rows.iter().map(|row| row.run_id.as_str()).collect();
            say(&value);
            return Ok(0);
        }
        print(&format!(
            "{} version {}: {}\n{}\n",
            cohort.name,
            cohort.version,
            cohort.description.as_deref().unwrap_or("no description"),
            cohort.where_sql
        ));
        for row in &rows {
            print(&format!("  {}\n", super::list::name(row)));
        }
        Ok(0)
    }
}

fn list(global: &Global, view: &mut View) -> Outcome {
    let cohorts = known(view)?;
    if global.is_json() {
        cohorts
            .iter()
            .map(|cohort| json(cohort, None))
            .for_each(|cohort| say(&cohort));
        return Ok(0);
    }
    if cohorts.is_empty() {
        print("no cohorts; `cairn runs cohort save NAME --where SQL` makes one\n");
        return Ok(0);
    }
    let mut table = Table::new(&["cohort", "version", "condition", "what for"]);
    for cohort in &cohorts {
        table.row(vec![
            cohort.name.clone(),
            cohort.version.to_string(),
            cohort.where_sql.clone(),
            cohort.description.clone().unwrap_or_default(),
        ]);
    }
    print(&table.text());
    Ok(0)
}

/// Every cohort, in the order of tenants and names.
fn all(view: &mut View) -> Result<Vec<Cohort>, Failure> {
    let batches = view.ask("SELECT * FROM cohorts ORDER BY tenant, name")?;
    let table = registry::Table::named("cohorts")
        .ok_or_else(|| registry::Fault::Broken("there is no table cohorts".into()))?;
    let mut found = Vec::new();
    for batch in &batches {
        found.extend(columns::typed::<Cohort>(table, batch)?);
    }
    Ok(found)
}

/// Those, and behind them the configuration's, which every tenant has and which have no versions (0).
fn known(view: &mut View) -> Result<Vec<Cohort>, Failure> {
    let mut cohorts = all(view)?;
    let rules = view.config.refit.rules.cohorts.iter();
    cohorts.extend(rules.map(|rule| Cohort {
        tenant: cairn_topics::DEFAULT_TENANT.to_owned(),
        name: rule.name.clone(),
        where_sql: rule.condition.clone(),
        description: Some("of the configuration".to_owned()),
        created_by: None,
        created_time_ms: None,
        version: 0,
    }));
    Ok(cohorts)
}

/// A cohort by its name, or by tenant and name; the registry's own before the configuration's.
pub(in crate::cli) fn find(view: &mut View, name: &str) -> Result<Cohort, Failure> {
    let cohorts = known(view)?;
    let nearest = cohorts
        .iter()
        .min_by_key(|cohort| strsim::damerau_levenshtein(&cohort.name, name))
        .map(|cohort| cohort.name.clone());
    cohorts
        .into_iter()
        .find(|cohort| cohort.name == name || format!("{}/{}", cohort.tenant, cohort.name) == name)
        .ok_or_else(|| {
            Failure::new(
                "unknown_cohort",
                1,
                format!("there is no cohort {}", literal(name)),
                "registry",
                nearest.map_or_else(
                    || "`cairn runs cohort save NAME --where SQL` makes one".to_owned(),
                    |nearest| format!("did you mean {nearest}?"),
                ),
            )
        })
}

fn json(cohort: &Cohort, runs: Option<usize>) -> Value {
    let mut value = serde_json::to_value(cohort).unwrap_or_default();
    if let Some(runs) = runs {
        value["runs"] = runs.into();
    }
    value
}
