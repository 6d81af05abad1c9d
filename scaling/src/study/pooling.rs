//! Do groups obey one law? A test, and what each group says on its own.
//!
//! *Statistic.* Groups fitted apart always fit better than together; the question is by how much more than chance:
//! `(O_together - sum O_group) / sum O_group`, the F of a regression for any objective, free of the scale of the errors.
//!
//! *Null distribution.* Not the F table, which wants normal errors of one size. Under the null hypothesis the residuals of
//! the common law carry no information but their size, so each replicate multiplies them by -1 or 1, one sign a run (or
//! cluster), adds them to the common law again, and repeats all fits (the wild cluster bootstrap of Wu 1986 and Cameron,
//! Gelbach and Miller 2008; for medians, which the usual Huber objective nearly fits, Feng, He and Hu 2011). The residuals
//! are those of each run from a law fitted without it ([`crate::study`]'s `influence`). It keeps every run's own size of error, its dependence inside a run, and each group's design; it asks only that errors be as likely
//! positive as negative. Permuting group labels, the obvious alternative, would also shuffle the designs: a group of large
//! runs would be compared with groups that no one trained.
//!
//! With many runs a difference too small to matter is found significant; [`Pooling::largest_gap`] says how large it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fit::{Quick, fit, quick};
use crate::random::sign;
use crate::study::error::StudyError;
use crate::study::influence::left_out;
use crate::study::random::{Purpose, generator};
use crate::study::rows::{count_distinct, legal, logarithmic, point, taken, unit};
use crate::{Fit, FitError, FitOptions, Law, ObjectiveKind, Table};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolingOptions {
    /// Replicates of the null distribution: 199 resolve p to .005.
    pub replicates: u32,
    /// p below which the verdict is `several`.
    pub significance: f64,
    /// Runs that a group needs beyond the parameters of the law.
    pub runs_spare: usize,
}

impl Default for PoolingOptions {
    fn default() -> Self {
        Self {
            replicates: 199,
            significance: 0.05,
            runs_spare: 1,
        }
    }
}

/// One law or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolingVerdict {
    /// Nothing speaks against one law.
    #[serde(rename = "one law")]
    OneLaw,
    /// The groups obey different laws.
    #[serde(rename = "several")]
    Several,
}

/// A group that could not be fitted on its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SmallGroup {
    /// The group.
    pub group: String,
    /// Its runs.
    pub runs: usize,
    /// Why it was left out of the test.
    pub reason: String,
}

/// The study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pooling {
    /// One law or several.
    pub verdict: PoolingVerdict,
    /// Probability of a statistic as large if there is one law.
    pub p: f64,
    /// By how much groups fit better apart, relative.
    pub statistic: f64,
    /// `wild cluster bootstrap`: how p was found.
    pub method: String,
    /// Replicates behind p, and replicates asked for.
    pub replicates: [usize; 2],
    /// Largest relative difference between a group's law and the common one, over that group's own rows.
    pub largest_gap: f64,
    /// The group in which it is.
    pub largest_gap_in: String,
    /// Fit of each group.
    pub groups: BTreeMap<String, Fit>,
    /// Groups left out.
    pub too_small: Vec<SmallGroup>,
    /// Fit of all groups that were tested, together.
    pub together: Fit,
    /// What a reader should know, a sentence each.
    pub warnings: Vec<String>,
}

/// Tests whether the groups of a table obey one law.
pub fn pool(
    law: &Law,
    table: &Table,
    options: &FitOptions,
    pooling: &PoolingOptions,
) -> Result<Pooling, StudyError> {
    if table.groups.len() != table.len() {
        return Err(StudyError::MissingColumn {
            study: "pooling",
            column: "group".to_owned(),
            why: "",
        });
    }
    let rows = legal(law, table, logarithmic(law, options));
    let free = law
        .parameters
        .iter()
        .filter(|one| !options.fixed.contains_key(&one.name))
        .count();
    let (kept, too_small) = sorted(law, &rows, options, free + pooling.runs_spare);
    if kept.len() < 2 {
        return Err(StudyError::TooFew {
            study: "pooling",
            what: "groups large enough for a law of their own",
            found: kept.len(),
            needed: 2,
            left_out: too_small
                .iter()
                .map(|one| format!("{}: {}", one.group, one.reason))
                .collect(),
        });
    }
    let tested = rows.filtered(|row| kept.contains(&rows.groups[row]));
    let test = Parted::new(law, &tested, options, &kept)?;
    let statistic = test.statistic(&tested.response)?;
    let (mut reached, mut done) = (0_usize, 0_usize);
    for replicate in 0..pooling.replicates {
        let mut draws = generator(options.seed, Purpose::Pooling, replicate);
        if let Ok(value) = test.statistic(&test.null(&mut draws)) {
            done += 1;
            reached += usize::from(value >= statistic);
        }
    }
    let p = (reached + 1) as f64 / (done + 1) as f64;
    let mut groups = BTreeMap::new();
    for group in &kept {
        groups.insert(
            group.clone(),
            fit(
                law,
                &tested.filtered(|row| tested.groups[row] == *group),
                options,
            )?,
        );
    }
    let together = fit(law, &tested, options)?;
    let gap = largest_gap(&tested, &groups, &together);
    let mut warnings = Vec::new();
    let units = count_distinct((0..tested.len()).map(|row| unit(&tested, row)));
    if units < 12 {
        warnings.push(format!(
            "{units} independent runs: p comes in steps of {:.4} at best",
            libm::pow(0.5, units as f64)
        ));
    }
    if done < pooling.replicates as usize {
        warnings.push(format!(
            "{} of {} replicates could not be fitted",
            pooling.replicates as usize - done,
            pooling.replicates
        ));
    }
    if p < pooling.significance && gap.1 < 0.005 {
        warnings.push(format!(
            "the groups differ, but by {:.2} % at most: it may not matter",
            100.0 * gap.1
        ));
    }
    Ok(Pooling {
        verdict: if p < pooling.significance {
            PoolingVerdict::Several
        } else {
            PoolingVerdict::OneLaw
        },
        p,
        statistic,
        method: "wild cluster bootstrap".to_owned(),
        replicates: [done, pooling.replicates as usize],
        largest_gap: gap.1,
        largest_gap_in: gap.0,
        groups,
        too_small,
        together,
        warnings,
    })
}

/// Groups that can be fitted, and those that cannot.
fn sorted(
    law: &Law,
    rows: &Table,
    options: &FitOptions,
    needed: usize,
) -> (Vec<String>, Vec<SmallGroup>) {
    let mut names: Vec<String> = rows.groups.clone();
    names.sort();
    names.dedup();
    let (mut kept, mut small) = (Vec::new(), Vec::new());
    for group in names {
        let part = rows.filtered(|row| rows.groups[row] == group);
        let runs = count_distinct(part.run_ids.iter().map(String::as_str));
        let reason = if runs < needed {
            Some(format!("{needed} runs are needed"))
        } else {
            quick(law, &part, options, &[])
                .err()
                .map(|error| error.to_string())
        };
        match reason {
            None => kept.push(group),
            Some(reason) => small.push(SmallGroup {
                group,
                runs,
                reason,
            }),
        }
    }
    (kept, small)
}

/// A table parted into groups, with the common law that the null hypothesis starts from.
pub(crate) struct Parted<'a> {
    law: &'a Law,
    table: &'a Table,
    options: &'a FitOptions,
    /// Rows of each group.
    parts: Vec<Vec<usize>>,
    /// Where replicates start: the common optimum, then each group's.
    near: Vec<Vec<f64>>,
    /// Fitted response of the common law and residual on the objective's scale, by row.
    fitted: Vec<f64>,
    residuals: Vec<f64>,
    logarithmic: bool,
    /// Index of the independent unit of each row, and how many there are.
    units: Vec<usize>,
    count: usize,
}

impl<'a> Parted<'a> {
    pub(crate) fn new(
        law: &'a Law,
        table: &'a Table,
        options: &'a FitOptions,
        groups: &[String],
    ) -> Result<Self, FitError> {
        let rows_of = |group: &String| {
            (0..table.len())
                .filter(|row| table.groups[*row] == *group)
                .collect()
        };
        Self::of(law, table, options, groups.iter().map(rows_of).collect())
    }

    /// With the parts given as rows.
    pub(crate) fn of(
        law: &'a Law,
        table: &'a Table,
        options: &'a FitOptions,
        parts: Vec<Vec<usize>>,
    ) -> Result<Self, FitError> {
        let logarithmic = logarithmic(law, options);
        let together = quick(law, table, options, &[])?;
        let mut near = vec![together.optimum.clone()];
        for rows in &parts {
            near.push(quick(law, &taken(table, rows), options, &[])?.optimum);
        }
        let read = |value: f64| if logarithmic { libm::log(value) } else { value };
        let fitted: Vec<f64> = (0..table.len())
            .map(|row| read(law.value(&together.optimum, &law.coordinates(&point(table, row)))))
            .collect();
        let residuals: Vec<f64> = table
            .response
            .iter()
            .zip(&fitted)
            .map(|(y, fitted)| read(*y) - fitted)
            .collect();
        let mut names: Vec<&str> = (0..table.len()).map(|row| unit(table, row)).collect();
        names.sort_unstable();
        names.dedup();
        let units: Vec<usize> = (0..table.len())
            .map(|row| names.partition_point(|name| *name < unit(table, row)))
            .collect();
        let residuals = left_out(
            law,
            table,
            &together.optimum,
            &residuals,
            &units,
            logarithmic,
        );
        Ok(Self {
            law,
            table,
            options,
            parts,
            near,
            fitted,
            residuals,
            logarithmic,
            units,
            count: names.len(),
        })
    }

    /// Where replicates start.
    pub(crate) fn near(&self) -> &[Vec<f64>] {
        &self.near
    }

    /// How much better the parts fit apart.
    pub(crate) fn statistic(&self, response: &[f64]) -> Result<f64, FitError> {
        let again = Table {
            response: response.to_vec(),
            ..self.table.clone()
        };
        let together = quick(self.law, &again, self.options, &self.near)?.objective;
        self.against(&again, together, &self.parts)
    }

    /// The same for other parts, the common objective known.
    pub(crate) fn against(
        &self,
        again: &Table,
        together: f64,
        parts: &[Vec<usize>],
    ) -> Result<f64, FitError> {
        let mut apart = 0.0;
        for (index, rows) in parts.iter().enumerate() {
            // A part starts from its own optimum and the common one.
            let mut near = vec![self.near[0].clone()];
            near.extend(self.near.get(index + 1).cloned());
            let found: Quick = quick(self.law, &taken(again, rows), self.options, &near)?;
            apart += found.objective;
        }
        // A log likelihood has no zero to be relative to; the difference is its own statistic, the likelihood ratio.
        let likelihood = matches!(
            self.options.objective,
            ObjectiveKind::StudentT | ObjectiveKind::StudentTLog
        );
        Ok(if likelihood {
            together - apart
        } else {
            (together - apart) / apart.max(f64::MIN_POSITIVE)
        })
    }

    /// Responses under the null hypothesis.
    pub(crate) fn null(&self, draws: &mut rand_chacha::ChaCha12Rng) -> Vec<f64> {
        let signs: Vec<f64> = (0..self.count).map(|_| sign(draws)).collect();
        let rows = self.fitted.iter().zip(&self.residuals).zip(&self.units);
        rows.map(|((fitted, residual), unit)| {
            let value = fitted + signs[*unit] * residual;
            if self.logarithmic {
                libm::exp(value)
            } else {
                value
            }
        })
        .collect()
    }
}

/// (group, difference) where a group's own law is furthest from the common one.
fn largest_gap(rows: &Table, groups: &BTreeMap<String, Fit>, together: &Fit) -> (String, f64) {
    let mut largest = (String::new(), 0.0);
    for row in 0..rows.len() {
        let group = &rows.groups[row];
        if let Some(fit) = groups.get(group) {
            let point = point(rows, row);
            let gap = (fit.value(&point) / together.value(&point) - 1.0).abs();
            if gap > largest.1 {
                largest = (group.clone(), gap);
            }
        }
    }
    largest
}
