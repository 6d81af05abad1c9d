//! What comes back: the first answer to an ask counts, and becomes a fit that is held against the one before.

use super::Refit;
use super::standing::{Standing, TrackRecord, Trouble, rank};
use super::state::LastFit;
use super::telegram::telegram;
use crate::operator::{At, Emit, Output, short};
use cairn_avro::record::{Answer, Named, ScalingFit};
use std::collections::BTreeMap;

impl Refit {
    pub(super) fn answer(&mut self, at: &At<'_>, answer: &Answer, emit: &mut Emit) {
        // The first answer counts: an ask that is no longer pending was answered or asked anew.
        let Some(key) = self
            .pending
            .iter()
            .find(|(_, pending)| pending.ask_id == answer.ask_id)
            .map(|(key, _)| key.to_owned())
        else {
            return;
        };
        self.pending.remove(&key);
        let name = key.split_once('/').map_or("", |(_, name)| name).to_owned();
        if !answer.ok {
            let why = answer.error.clone().unwrap_or_default();
            let fallback = short(&format!("Cohort {name} cannot be fitted: {why}"));
            emit.put(Output::Telegram(telegram(
                at,
                answer,
                &name,
                "fit.failed",
                2,
                fallback,
                None,
            )));
            return;
        }
        let fits = match fits(&answer.body) {
            Ok(fits) => fits,
            Err(error) => {
                let fallback = short(&format!(
                    "The answer for cohort {name} cannot be read: {error}"
                ));
                emit.put(Output::Telegram(telegram(
                    at,
                    answer,
                    &name,
                    "fit.failed",
                    2,
                    fallback,
                    None,
                )));
                return;
            }
        };
        for fit in fits {
            self.take(at, answer, &key, &name, fit, emit);
        }
    }

    /// One fit: held against the one before it, told where people should know, remembered and published.
    fn take(
        &mut self,
        at: &At<'_>,
        answer: &Answer,
        key: &str,
        name: &str,
        mut fit: ScalingFit,
        emit: &mut Emit,
    ) {
        let fit_key = format!("{key}/{}", fit.law);
        let last = self.fits.get(&fit_key).cloned();
        let values: BTreeMap<String, f64> = fit
            .parameters
            .iter()
            .filter_map(|p| Some((p.name.clone(), p.value?)))
            .collect();
        if let Some(last) = &last {
            fit.previous_fit_id = Some(last.fit_id.clone());
            fit.change = values
                .iter()
                .filter_map(|(name, value)| {
                    Some(Named {
                        name: name.clone(),
                        value: value - last.values.get(name)?,
                    })
                })
                .collect();
        }
        let before = last.as_ref().and_then(|last| last.record.clone());
        let (record, troubles) = match before.clone() {
            Some(mut record) => {
                let troubles = record.take(&fit, &self.rules.standing);
                (record, troubles)
            }
            None => (TrackRecord::begin(&fit), Vec::new()),
        };
        fit.standing = record.standing.as_str().to_owned();
        fit.troubles = troubles.iter().map(Trouble::sentence).collect();
        let stood = before.unwrap_or_default().standing;
        let is_worse = |last: &LastFit| rank(fit.verdict) > rank(last.verdict);
        let fell = stood != Standing::Fine && last.as_ref().is_some_and(is_worse);
        if record.standing != stood || fell {
            emit.put(Output::Telegram(
                self.turn(at, answer, name, &fit, &record, &troubles),
            ));
        } else if stood == Standing::Fine
            && last.as_ref().is_none_or(|last| last.verdict != fit.verdict)
        {
            emit.put(Output::Telegram(self.report(
                at,
                answer,
                name,
                &fit,
                last.as_ref(),
            )));
        }
        if fit.windows_passed_over > 0 {
            emit.put(Output::Telegram(self.passed_over(at, answer, name, &fit)));
        }
        self.fits.put(
            &fit_key,
            LastFit {
                fit_id: fit.fit_id.clone(),
                verdict: fit.verdict,
                values,
                fit_json: fit.fit_json.clone(),
                window_end: fit.window_end,
                data_digest: fit.data_digest.clone(),
                asked_ms: fit.asked_time_ms,
                residual_rms: fit.residual_rms_relative,
                drift_json: fit.drift_json.clone(),
                record: Some(record),
            },
        );
        emit.put(Output::Fit(fit));
    }
}

/// The fits of an answer: one, or a list of those of several windows, oldest first.
fn fits(body: &str) -> Result<Vec<ScalingFit>, serde_json::Error> {
    if body.starts_with('[') {
        serde_json::from_str(body)
    } else {
        serde_json::from_str(body).map(|fit| vec![fit])
    }
}
