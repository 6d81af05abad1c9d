//! The rows of a fit of the registry: asked again by the SQL that chose them, and taken only if they are the same rows.

use crate::cli::runs::view::{View, literal};
use crate::cli::{Failure, Global};
use crate::fit_work;
use crate::registry::AsOf;
use crate::window_query::Rows;
use cairn_avro::record::ScalingFit;
use cairn_scaling::{Fit, FitOptions, Table};

/// The rows that this fit was fitted to; a sentence where the registry has them no more.
///
/// # Errors
/// A registry that cannot be read.
pub(super) fn of(
    global: &Global,
    record: &ScalingFit,
    fit: &Fit,
) -> Result<Result<Table, String>, Failure> {
    let mut view = View::open(global, &AsOf::Now)?;
    let tenant = format!("tenant = {}", literal(&record.tenant));
    let known = view.rows(Some(&tenant), None)?;
    let chosen = Rows::new(&known, view.config.refit.memory_bytes_max)
        .and_then(|rows| rows.window(&record.window, &fit.definition));
    Ok(match chosen {
        Ok(window) if fit_work::digest(&window) == record.data_digest => Ok(window.study),
        Ok(_) => Err(format!(
            "the rows of cohort {} are not those of this fit any more: a run was added or amended; only its back-test is drawn",
            record.cohort
        )),
        Err(why) => Err(format!(
            "the rows of this fit cannot be chosen again: {why}"
        )),
    })
}

/// As it was fitted, as far as pictures ask.
pub(super) fn options(record: &ScalingFit, fit: &Fit) -> FitOptions {
    FitOptions {
        delta: record.objective_delta,
        level: fit.level,
        seed: u64::try_from(record.seed).unwrap_or_default(),
        ..FitOptions::default()
    }
}
