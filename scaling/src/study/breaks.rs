//! Is there a break? One law before some value of a column and another after it, the value not known in advance.
//!
//! For every admissible value the runs on either side are fitted apart, and the largest gain over one common law is the
//! statistic (the sup-F of Andrews 1993). Searching makes large gains likely, so its distribution is that of the whole
//! search under the null hypothesis, from the same sign flips as in [`crate::study::pooling`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fit::quick;
use crate::study::error::StudyError;
use crate::study::pooling::Parted;
use crate::study::random::{Purpose, generator};
use crate::study::rows::{compute, legal, logarithmic, taken};
use crate::{FitOptions, Law, Table};

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakOptions {
    /// The column that orders the runs; compute if none.
    pub order_by: Option<String>,
    /// Values at which a break is looked for, evenly spaced over the runs.
    pub places: usize,
    /// Replicates of the null distribution.
    pub replicates: u32,
    /// p below which there is a break.
    pub significance: f64,
}

impl Default for BreakOptions {
    fn default() -> Self {
        Self {
            order_by: None,
            places: 7,
            replicates: 99,
            significance: 0.05,
        }
    }
}

/// The study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Break {
    /// Whether one law is given up.
    pub found: bool,
    /// Probability of a gain as large anywhere if there is one law.
    pub p: f64,
    /// Where the gain is largest: runs whose value is at most this are before.
    pub at: f64,
    /// The column that orders, or `compute`.
    pub order_by: String,
    /// The gain there, relative.
    pub statistic: f64,
    /// (value, gain) at every place that was tried.
    pub places: Vec<(f64, f64)>,
    /// Replicates behind p, and replicates asked for.
    pub replicates: [usize; 2],
}

/// Looks for a break.
pub fn find_break(
    law: &Law,
    table: &Table,
    options: &FitOptions,
    breaks: &BreakOptions,
) -> Result<Break, StudyError> {
    let rows = legal(law, table, logarithmic(law, options));
    let order = match &breaks.order_by {
        None => compute(law, &rows),
        Some(name) => rows
            .columns
            .get(name)
            .cloned()
            .ok_or_else(|| StudyError::MissingColumn {
                study: "the search for a break",
                column: name.clone(),
                why: " to order by",
            })?,
    };
    // A run is before or after as a whole: by its largest value.
    let mut of_run: BTreeMap<&str, f64> = BTreeMap::new();
    for (run, value) in rows.run_ids.iter().zip(&order) {
        let entry = of_run.entry(run).or_insert(f64::NEG_INFINITY);
        *entry = entry.max(*value);
    }
    let value_of = |run: &String| of_run.get(run.as_str()).copied().unwrap_or(f64::NAN);
    let mut values: Vec<f64> = of_run
        .values()
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    values.sort_by(f64::total_cmp);
    let free = law
        .parameters
        .iter()
        .filter(|one| !options.fixed.contains_key(&one.name))
        .count();
    let spare = free + 1;
    let runs = values.len();
    if runs < 2 * spare + 1 {
        return Err(StudyError::TooFew {
            study: "the search for a break",
            what: "runs",
            found: runs,
            needed: 2 * spare + 1,
            left_out: Vec::new(),
        });
    }
    let room = runs - 2 * spare;
    let count = breaks.places.clamp(1, room);
    let mut cuts: Vec<f64> = (0..count)
        .map(|index| values[spare - 1 + (index * room) / count])
        .collect();
    cuts.dedup();
    let mut admissible = Vec::new();
    for cut in cuts {
        let (before, after): (Vec<usize>, Vec<usize>) =
            (0..rows.len()).partition(|row| value_of(&rows.run_ids[*row]) <= cut);
        let parts = vec![before, after];
        if parts
            .iter()
            .all(|part| quick(law, &taken(&rows, part), options, &[]).is_ok())
        {
            admissible.push((cut, parts));
        }
    }
    let Some((_, middle)) = admissible.get(admissible.len() / 2) else {
        return Err(StudyError::TooFew {
            study: "the search for a break",
            what: "places with a law on either side",
            found: 0,
            needed: 1,
            left_out: Vec::new(),
        });
    };
    let test = Parted::of(law, &rows, options, middle.clone())?;
    let gains = |response: &[f64]| -> Option<Vec<f64>> {
        let again = Table {
            response: response.to_vec(),
            ..rows.clone()
        };
        let together = quick(law, &again, options, test.near()).ok()?.objective;
        admissible
            .iter()
            .map(|(_, parts)| test.against(&again, together, parts).ok())
            .collect()
    };
    let most = |gains: &[f64]| gains.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let own = gains(&rows.response).ok_or(crate::FitError::NoOptimum)?;
    let statistic = most(&own);
    let (mut reached, mut done) = (0_usize, 0_usize);
    for replicate in 0..breaks.replicates {
        let mut draws = generator(options.seed, Purpose::Break, replicate);
        if let Some(gains) = gains(&test.null(&mut draws)) {
            done += 1;
            reached += usize::from(most(&gains) >= statistic);
        }
    }
    let p = (reached + 1) as f64 / (done + 1) as f64;
    let places: Vec<(f64, f64)> = admissible.iter().map(|one| one.0).zip(own).collect();
    let at = places
        .iter()
        .max_by(|one, two| one.1.total_cmp(&two.1))
        .map_or(f64::NAN, |one| one.0);
    Ok(Break {
        found: p < breaks.significance,
        p,
        at,
        order_by: breaks
            .order_by
            .clone()
            .unwrap_or_else(|| "compute".to_owned()),
        statistic,
        places,
        replicates: [done, breaks.replicates as usize],
    })
}
