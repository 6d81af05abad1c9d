//! Every cohort's newest fit is that of its newest rows; nobody waits for an answer; nothing was told or fitted twice.
//!
//! Not replayed at its cuts: what a new owner asks anew is no input.

use super::text::{self, body};
use super::{Found, compare, tables};
use crate::simulation::stage::{Stage, fit_content};
use cairn_avro::record::{Cohort, ExperimentRow, ScalingFit};
use cairn_pipeline::runtime::decode;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn differs(stage: &Stage, found: &Found, is_compacted: bool) -> Result<(), String> {
    let mut rows: BTreeMap<Vec<u8>, ExperimentRow> = BTreeMap::new();
    for record in found.all("experiments.rows") {
        rows.insert(
            record.key.clone().unwrap_or_default(),
            body(record.value.as_deref())?,
        );
    }
    let mut cohorts: BTreeMap<String, Option<Cohort>> = BTreeMap::new();
    for record in found.all("registry.cohorts") {
        let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
        let cohort = record
            .value
            .is_some()
            .then(|| body(record.value.as_deref()));
        cohorts.insert(key, cohort.transpose()?);
    }
    let mut fits: BTreeMap<String, ScalingFit> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for record in found.all("scaling.fits") {
        let fit: ScalingFit = body(record.value.as_deref())?;
        let key = format!("{}/{}", fit.tenant, fit.cohort);
        if !ids.insert((key.clone(), fit.fit_id.clone())) {
            return Err(format!("fit {} of {key} was published twice", fit.fit_id));
        }
        let before = fits.get(&key).map(|before| before.fit_id.clone());
        if !is_compacted && before != fit.previous_fit_id {
            return Err(format!(
                "fit {} of {key} follows {before:?} and says {:?}",
                fit.fit_id, fit.previous_fit_id
            ));
        }
        fits.insert(key, fit);
    }
    let (mut expected, mut newest) = (Vec::new(), Vec::new());
    for tenant in &stage.config.runtime.tenants {
        let finished = rows.values().any(|row| {
            row.tenant == *tenant && row.status == cairn_avro::record::RunStatus::Finished
        });
        let mut conditions: BTreeMap<&str, &str> = cohorts
            .values()
            .flatten()
            .filter(|cohort| cohort.tenant == *tenant)
            .map(|cohort| (&*cohort.name, &*cohort.where_sql))
            .collect();
        let is_any = |key: &String| key.starts_with(&format!("{tenant}/all"));
        if finished || fits.keys().any(is_any) {
            conditions.insert("all", "TRUE");
        }
        let windows = &stage.config.refit.rules.windows;
        let wanted: BTreeMap<String, String> = conditions
            .iter()
            .flat_map(|(cohort, condition)| {
                windows.iter().map(move |window| {
                    let subject = window.subject(cohort);
                    (format!("{tenant}/{subject}"), window.sql(condition))
                })
            })
            .collect();
        for (key, sql) in wanted {
            let cohort = key.split_once('/').map_or("", |(_, cohort)| cohort);
            let content = fit_content(tenant, cohort, &sql, rows.values());
            let found = fits.get(&key).map(|fit| &*fit.fit_json);
            expected.push(format!("{key} {content}"));
            newest.push(format!("{key} {}", found.unwrap_or("none")));
        }
    }
    compare("newest fits", expected, newest)?;
    let mut told = BTreeSet::new();
    for record in found.all("cockpit.telegrams") {
        let line = text::found(record)?;
        if line.contains(r#""stream":"refit""#) && !told.insert(line.clone()) {
            return Err(format!("told twice: {line}"));
        }
    }
    rest(stage, found)
}

/// What the next owner would restore waits for nothing.
fn rest(stage: &Stage, found: &Found) -> Result<(), String> {
    let kind = stage.kind("refit");
    if let Some(changelog) = &kind.changelog {
        for partition in 0..found.partitions(changelog) {
            let mut task = kind.open();
            for record in found.of(changelog, partition) {
                if let Some(state) = task.state() {
                    let key = record.key.as_deref().unwrap_or_default();
                    decode::restore(key, record.value.as_deref(), state)?;
                }
            }
            if task.is_waiting() || task.due_ms().is_some() {
                let asks = tables::entries(found, changelog, partition)?
                    .into_keys()
                    .filter(|(table, _)| table == "pending" || table == "dirty")
                    .collect::<Vec<_>>();
                return Err(format!(
                    "{}[{partition}] is at rest and waits: {asks:?}, due {:?}",
                    kind.name,
                    task.due_ms()
                ));
            }
        }
    }
    Ok(())
}
