//! What a run set out to do, from what its configuration says: the breaker judges against it.

use super::Runs;
use crate::breaker::Plan;
use cairn_avro::record::TrainingConfig;

impl Runs {
    /// What the row knows of the run's plan.
    pub(super) fn plan(&self, key: &str) -> Plan {
        let row = self.rows.get(key).map(|state| &state.row);
        row.map_or_else(Plan::default, |row| {
            plan_of(Some(&row.training), row.curriculum)
        })
    }
}

/// What a configuration says of a run's plan; steps follow from tokens where a step's tokens are known.
#[must_use]
pub fn plan_of(training: Option<&TrainingConfig>, curriculum: Option<bool>) -> Plan {
    let by_tokens = training
        .and_then(|training| training.tokens_planned.zip(training.batch_tokens))
        .filter(|(_, batch)| *batch > 0)
        .map(|(tokens, batch)| (tokens / batch as f64) as i64);
    Plan {
        steps_planned: training
            .and_then(|training| training.steps_planned)
            .or(by_tokens),
        tokens_planned: training.and_then(|training| training.tokens_planned),
        warmup_steps: training.and_then(|training| training.warmup_steps),
        curriculum: curriculum.unwrap_or(false),
    }
}
