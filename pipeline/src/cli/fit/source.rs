//! Where the rows of a fit come from, and which column means what: shared by `fit`, `predict` and `surface`.

use super::super::runs::view::{View, literal};
use super::super::{Failure, Global};
use crate::input_table::{InputTable, Unusable};
use crate::registry::AsOf;
use clap::Args;

/// The rows of a fit.
#[derive(Args, Debug, Default)]
pub struct Source {
    /// A CSV, JSON Lines, JSON or Parquet file, a glob, an address or -; NAME=FILE makes a table of that name; may be repeated
    #[arg(long, value_name = "[NAME=]FILE", required_unless_present = "cohort")]
    pub input: Vec<String>,
    /// A query over the tables, instead of all rows of `input`
    #[arg(long, value_name = "SELECT", requires = "input")]
    pub sql: Option<String>,
    /// Rows for which this does not hold are left out
    #[arg(long = "where", value_name = "SQL")]
    pub condition: Option<String>,
    /// Finished runs of the registry that belong to a cohort, instead of files
    #[arg(long, value_name = "NAME", conflicts_with_all = ["input", "sql"])]
    pub cohort: Option<String>,
}

impl From<Unusable> for Failure {
    fn from(unusable: Unusable) -> Self {
        Self::new(
            unusable.code,
            2,
            unusable.message,
            unusable.place,
            unusable.remedy,
        )
    }
}

impl Source {
    /// Reads the rows; of the registry also which version they are of.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn read(&self, global: &Global) -> Result<(InputTable, Option<String>), Failure> {
        let condition = self.condition.as_deref();
        let Some(name) = &self.cohort else {
            return Ok((
                InputTable::read(&self.input, self.sql.as_deref(), condition)?,
                None,
            ));
        };
        let mut view = View::open(global, &AsOf::Now)?;
        let cohort = super::super::runs::cohorts::find(&mut view, name)?;
        let lineage = match cohort.version {
            0 => format!("{name}, of the configuration: {}", cohort.where_sql),
            version => format!("{} version {version}: {}", cohort.name, cohort.where_sql),
        };
        let (tenant, where_sql) = (cohort.tenant, cohort.where_sql);
        let rows = view.ask(&format!(
            "SELECT * FROM rows WHERE status = 'finished' AND tenant = {} AND ({where_sql}) ORDER BY run_id",
            literal(&tenant)
        ))?;
        if rows.iter().all(|batch| batch.num_rows() == 0) {
            return Err(Failure::new(
                "no_rows",
                1,
                format!("no finished run belongs to the cohort {name}"),
                "registry",
                "`cairn runs cohort show` lists its runs, `cairn run --drain` works off what is still on the log",
            ));
        }
        Ok((InputTable::of(&rows, condition)?, Some(lineage)))
    }

    /// What a column is called where nobody says so: the registry has names of its own.
    #[must_use]
    pub fn default_expression(&self, name: &str) -> String {
        let known = [
            ("n", "parameters"),
            ("d", "tokens"),
            ("c", "flops"),
            ("run", "run_id"),
            ("step", "steps"),
        ];
        match known.iter().find(|(law, _)| *law == name) {
            Some((_, column)) if self.cohort.is_some() => (*column).to_owned(),
            _ => name.to_owned(),
        }
    }
}
