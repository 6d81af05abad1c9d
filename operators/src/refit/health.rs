//! How the fits of a task are, for those who watch from outside.

use super::Refit;
use super::standing::Standing;
use cairn_avro::record::FitVerdict;

/// How a task is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Asks without an answer.
    pub asks: usize,
    /// The newest fit of each subject.
    pub fits: Vec<FitHealth>,
}

/// How one fit is.
#[derive(Clone, Debug, PartialEq)]
pub struct FitHealth {
    /// Tenant.
    pub tenant: String,
    /// Cohort, or cohort@window.
    pub cohort: String,
    /// Law.
    pub law: String,
    /// What it is good for.
    pub verdict: FitVerdict,
    /// Beside the last one in good order.
    pub standing: Standing,
    /// Root mean square of the relative residuals.
    pub residual_rms: Option<f64>,
    /// Since the newest record that it could see was appended; none for fits of before it was kept.
    pub age_ms: Option<i64>,
    /// Since rows have changed that it does not know; 0 where it knows all.
    pub waiting_ms: i64,
}

impl Refit {
    /// How it is at this wall time.
    #[must_use]
    pub fn health(&self, wall_ms: i64) -> Health {
        let since = |at_ms: i64| wall_ms.saturating_sub(at_ms).max(0);
        let fits = self.fits.iter().filter_map(|(key, fit)| {
            let (subject, law) = key.rsplit_once('/')?;
            let (tenant, cohort) = subject.split_once('/')?;
            let pending = self.pending.get(subject).map(|pending| pending.since_ms);
            let dirty = self.dirty.get(subject).map(|dirty| dirty.since_ms);
            let waits = pending.filter(|at_ms| *at_ms > 0).into_iter().chain(dirty);
            Some(FitHealth {
                tenant: tenant.to_owned(),
                cohort: cohort.to_owned(),
                law: law.to_owned(),
                verdict: fit.verdict,
                standing: fit
                    .record
                    .as_ref()
                    .map(|record| record.standing)
                    .unwrap_or_default(),
                residual_rms: fit.residual_rms,
                age_ms: fit.asked_ms.map(since),
                waiting_ms: waits.min().map_or(0, since),
            })
        });
        Health {
            asks: self.pending.iter().count(),
            fits: fits.collect(),
        }
    }
}
