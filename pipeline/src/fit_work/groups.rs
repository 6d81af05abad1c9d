//! Whether the groups of a window obey one law: the test of `cairn fit … group=`, in every window that has a `group`.

use cairn_avro::record::ScalingFit;
use cairn_operators::refit::{SEVERAL, StandingRules};
use cairn_scaling as scaling;
use scaling::study::pooling::{Pooling, PoolingOptions, PoolingVerdict, pool};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What the test found.
pub(super) struct Groups {
    outcome: Result<Pooling, String>,
    /// Whether the difference is as sure and as large as the configuration asks.
    is_several: bool,
}

impl Groups {
    /// Tests the groups of a window; none where it has none. Intervals are the common fit's business: the groups go without.
    pub(super) fn test(
        law: &scaling::Law,
        study: &scaling::Table,
        options: &scaling::FitOptions,
        rules: &StandingRules,
    ) -> Option<Self> {
        if study.groups.is_empty() {
            return None;
        }
        let options = scaling::FitOptions {
            bootstrap: 0,
            ..options.clone()
        };
        let asked = PoolingOptions {
            significance: rules.groups_p,
            ..PoolingOptions::default()
        };
        let outcome = pool(law, study, &options, &asked);
        let is_several = outcome.as_ref().is_ok_and(|found| {
            found.verdict == PoolingVerdict::Several && found.largest_gap > rules.groups_gap_min
        });
        Some(Self {
            outcome: outcome.map_err(|error| format!("{error}: {}", error.remedy())),
            is_several,
        })
    }

    /// Why one law of all groups is weak; none where nothing speaks against it.
    pub(super) fn reason(&self) -> Option<String> {
        let found = self.outcome.as_ref().ok().filter(|_| self.is_several)?;
        Some(format!(
            "the groups obey several laws (p {:.3}): that of {} is up to {:.1} % from the common one; fit each alone",
            found.p,
            found.largest_gap_in,
            100.0 * found.largest_gap
        ))
    }

    /// Puts the test into the record.
    pub(super) fn put(&self, record: &mut ScalingFit) {
        let test = match &self.outcome {
            Ok(found) => {
                let verdict = if self.is_several { SEVERAL } else { "one law" };
                verdict.clone_into(&mut record.groups_verdict);
                record.groups_p = Some(found.p);
                record.groups_gap = Some(found.largest_gap);
                record.groups_gap_in = Some(found.largest_gap_in.clone());
                whole(found)
            }
            Err(why) => json!({"untested": why}),
        };
        record.groups_json = test.to_string();
    }
}

/// The test with the parameters of each group.
fn whole(found: &Pooling) -> Value {
    let groups: BTreeMap<&str, Value> = found
        .groups
        .iter()
        .map(|(name, fit)| {
            let values = fit.parameters.iter();
            let values: BTreeMap<&str, f64> =
                values.map(|(name, one)| (&**name, one.value)).collect();
            let told = json!({"n_runs": fit.n_runs, "parameters": values});
            (&**name, told)
        })
        .collect();
    json!({
        "method": found.method,
        "replicates": found.replicates,
        "statistic": found.statistic,
        "groups": groups,
        "too_small": found.too_small,
        "warnings": found.warnings,
    })
}
