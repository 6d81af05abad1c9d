//! What people are told of a fit.

use super::standing::{Standing, TrackRecord, Trouble};
use super::state::LastFit;
use super::{LAW, Refit};
use crate::operator::{At, Evidence, Place, Subject, Telegram, Text, short};
use cairn_avro::hex;
use cairn_avro::record::{Answer, FitVerdict, ScalingFit};
use cairn_avro::time::rfc3339;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Most offsets that a telegram names.
const EVIDENCE_OFFSETS_MAX: usize = 32;

/// Longest argument of a telegram.
const ARG_CHARS_MAX: usize = 120;

impl Refit {
    pub(super) fn report(
        &self,
        at: &At<'_>,
        answer: &Answer,
        cohort: &str,
        fit: &ScalingFit,
        last: Option<&LastFit>,
    ) -> Telegram {
        let reason = fit.reasons.first().cloned().unwrap_or_default();
        let is_noteworthy = last.is_some() || fit.n_runs >= self.rules.runs_noteworthy_min;
        let (key, priority, fallback) = match &fit.verdict {
            FitVerdict::Usable => (
                "fit.usable",
                3,
                format!(
                    "Cohort {cohort}: the {} law fits {} runs",
                    fit.law, fit.n_runs
                ),
            ),
            FitVerdict::Weak => (
                "fit.weak",
                2,
                format!("Cohort {cohort}: the {} law is weak: {reason}", fit.law),
            ),
            _ => (
                "fit.refused",
                2,
                format!("Cohort {cohort}: no {} law: {reason}", fit.law),
            ),
        };
        let priority = if is_noteworthy { priority } else { 3 };
        telegram(
            at,
            answer,
            cohort,
            key,
            priority,
            short(&fallback),
            Some(fit),
        )
    }

    /// What people are told when a fit stands otherwise than it did.
    pub(super) fn turn(
        &self,
        at: &At<'_>,
        answer: &Answer,
        subject: &str,
        fit: &ScalingFit,
        record: &TrackRecord,
        troubles: &[Trouble],
    ) -> Telegram {
        let law = &fit.law;
        let why = troubles.first().map(Trouble::sentence).unwrap_or_default();
        let (key, priority, fallback) = match record.standing {
            Standing::Broken => (
                "fit.broken",
                2,
                format!("Cohort {subject} has left the {law} law: {why}"),
            ),
            Standing::Degraded => (
                "fit.degraded",
                2,
                format!("Cohort {subject}: the {law} fit is worse: {why}"),
            ),
            Standing::Fine => (
                "fit.recovered",
                3,
                format!(
                    "Cohort {subject}: the {law} fit is as good as it was, with {} runs",
                    fit.n_runs
                ),
            ),
        };
        let mut telegram = telegram(
            at,
            answer,
            subject,
            key,
            priority,
            short(&fallback),
            Some(fit),
        );
        for (name, number) in troubles.iter().flat_map(Trouble::numbers) {
            let number = (number * 1e6).round() / 1e6;
            telegram.text.args.insert(name.to_owned(), number.into());
        }
        telegram
    }

    /// What people are told when more windows closed at once than one ask fits.
    pub(super) fn passed_over(
        &self,
        at: &At<'_>,
        answer: &Answer,
        subject: &str,
        fit: &ScalingFit,
    ) -> Telegram {
        let count = fit.windows_passed_over;
        let fallback = format!(
            "Cohort {subject}: {count} windows closed at once and were not fitted; refit.rules.windows_per_ask_max is {}",
            self.rules.windows_per_ask_max
        );
        let key = "fit.windows_passed_over";
        let mut telegram = telegram(at, answer, subject, key, 3, short(&fallback), Some(fit));
        telegram
            .text
            .args
            .insert("windows".to_owned(), count.into());
        telegram
    }
}

pub(super) fn telegram(
    at: &At<'_>,
    answer: &Answer,
    cohort: &str,
    key: &str,
    priority: u8,
    fallback: String,
    fit: Option<&ScalingFit>,
) -> Telegram {
    let cohort_short: String = cohort.chars().take(ARG_CHARS_MAX).collect();
    let mut args = BTreeMap::from([("cohort".to_owned(), cohort_short.into())]);
    if let Some(fit) = fit {
        args.insert("law".to_owned(), fit.law.clone().into());
        args.insert("runs".to_owned(), fit.n_runs.into());
    }
    let offsets = answer
        .cut
        .iter()
        .map(|o| Place {
            topic: o.topic.clone(),
            partition: o.partition,
            offset: o.offset,
        })
        .take(EVIDENCE_OFFSETS_MAX)
        .collect();
    // One answer may tell of several windows.
    let window = fit
        .and_then(|fit| fit.window_end)
        .map_or(String::new(), |end| format!("\n{end}"));
    let law = fit.map_or(LAW, |fit| &fit.law);
    Telegram {
        schema_version: "1.0".to_owned(),
        telegram_id: hex::text(
            &Sha256::digest(format!("{key}\n{}\n{}{window}", answer.ask_id, at.offset))[..16],
        ),
        tenant: answer.tenant.clone(),
        stream: "refit".to_owned(),
        time: rfc3339(at.append_time_ms),
        kind: "fit".to_owned(),
        subject: Subject {
            kind: "fit".to_owned(),
            id: format!("{cohort}/{law}"),
        },
        priority,
        text: Text {
            key: key.to_owned(),
            args,
            fallback,
        },
        evidence: Evidence {
            offsets,
            fit_id: fit.map(|fit| fit.fit_id.clone()),
            ..Evidence::default()
        },
        traceparent: None,
    }
}
