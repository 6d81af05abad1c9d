//! What comes back: the first answer to an ask counts, and becomes a fit that is held against the one before.

use super::Refit;
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
        let mut fit: ScalingFit = match serde_json::from_str(&answer.body) {
            Ok(fit) => fit,
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
        if last.as_ref().is_none_or(|last| last.verdict != fit.verdict) {
            emit.put(Output::Telegram(self.report(
                at,
                answer,
                &name,
                &fit,
                last.as_ref(),
            )));
        }
        self.fits.put(
            &fit_key,
            LastFit {
                fit_id: fit.fit_id.clone(),
                verdict: fit.verdict,
                values,
            },
        );
        emit.put(Output::Fit(fit));
    }
}
