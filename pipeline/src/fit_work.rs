//! The work behind an ask of kind `fit`: choose rows with SQL, fit the law, write the fit as a record.
//!
//! A pure function of the ask: rows in order of run id, one partition in DataFusion, a seed from the inputs, the last fit from
//! the ask. Asked twice, it answers with the same bytes. Where a window moves, each one that closed since the last fit is
//! fitted, oldest first, from the one before it.

mod fresh;
mod groups;
mod record;

use crate::config::RefitConfig;
use crate::window_query::{self, LossKind, Rows, Window};
use cairn_avro::record::{ExperimentRow, FitVerdict, Offset, ScalingFit};
use cairn_operators::operator::{Ask, Previous};
use cairn_operators::refit::{Bounds, LawRule, WindowRule, instance_sql, places_sql};
use cairn_scaling as scaling;
use groups::Groups;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// How the plain window counts, said in every fit; behind it, on which text the loss was measured.
pub const CONVENTION: &str =
    "n: model.parameters_total (embeddings included), d: tokens seen, loss: nats per token";

/// Answers an ask: a fit of all rows, or a list of those of the windows that closed.
///
/// # Errors
/// Why there is no fit: a law that is none, SQL that does not run, too little memory.
pub fn fit(ask: &Ask, settings: &RefitConfig) -> Result<String, String> {
    let law = law(&ask.window.law)?;
    let rows = Rows::new(&ask.rows, settings.memory_bytes_max)?;
    let work = Work {
        ask,
        settings,
        law: &law,
    };
    let text = |error: serde_json::Error| error.to_string();
    if ask.window.over.is_all() {
        let window = rows.window(&ask.sql, &law)?;
        let record = work.fit(&window, &ask.sql, None, ask.previous.as_ref())?;
        return serde_json::to_string(&record).map_err(text);
    }
    let places = rows.places(&places_sql(&ask.sql))?;
    let mut previous = ask.previous.clone();
    let after = previous.as_ref().and_then(|previous| previous.window_end);
    let mut records: Vec<ScalingFit> = Vec::new();
    let most = settings.rules.windows_per_ask_max;
    let instances = ask.window.over.instances(&places, after, most);
    for bounds in instances.chosen {
        let sql = instance_sql(&ask.sql, bounds);
        let window = rows.window(&sql, &law)?;
        let is_known = previous.as_ref().is_some_and(|previous| {
            previous.window_end == Some(bounds.end) && previous.data_digest == digest(&window)
        });
        if is_known {
            continue;
        }
        let mut record = work.fit(&window, &sql, Some(bounds), previous.as_ref())?;
        if records.is_empty() {
            record.windows_passed_over = i32::try_from(instances.passed_over).unwrap_or(i32::MAX);
        }
        previous = Some(record::previous(&record));
        records.push(record);
    }
    serde_json::to_string(&records).map_err(text)
}

/// The law that a window names.
///
/// # Errors
/// A law that does not exist or is none, and what to do.
pub fn law(rule: &LawRule) -> Result<scaling::Law, String> {
    let law = match rule {
        LawRule::Named(name) => scaling::Law::named(name),
        // JSON is YAML.
        LawRule::Whole(law) => scaling::Law::from_yaml(&law.to_string()),
    };
    law.map_err(|error| format!("{error}: {}", error.remedy()))
}

/// One ask at work.
struct Work<'a> {
    ask: &'a Ask,
    settings: &'a RefitConfig,
    law: &'a scaling::Law,
}

impl Work<'_> {
    /// The fit of one window.
    fn fit(
        &self,
        window: &Window,
        sql: &str,
        bounds: Option<Bounds>,
        previous: Option<&Previous>,
    ) -> Result<ScalingFit, String> {
        let Self { ask, settings, law } = *self;
        let study = &window.study;
        let measured = Measured::of(&ask.window, law, &ask.rows, study);
        let is_logarithmic = law.response.scale == scaling::Scale::Log;
        let options = scaling::FitOptions {
            delta: is_logarithmic.then_some(settings.huber_delta),
            bootstrap: settings.bootstrap,
            level: settings.level,
            holdout: scaling::Holdout::Runs(settings.holdout_runs),
            seed: ask.seed,
            warm: previous
                .map(|previous| previous.parameters.clone())
                .filter(|parameters| !parameters.is_empty()),
            conventions: conventions(&ask.window, law, &measured),
            ..scaling::FitOptions::default()
        };
        let runs = study.run_ids.iter().collect::<BTreeSet<_>>().len();
        let mut record = match scaling::fit(law, study, &options) {
            Ok(mut fit) => {
                let groups = Groups::test(law, study, &options, &settings.rules.standing);
                if let Some(reason) = groups.as_ref().and_then(Groups::reason) {
                    fit.warnings.insert(0, reason);
                    weaken(&mut fit);
                }
                if let Some(reason) = measured.mixed() {
                    fit.warnings.push(reason);
                    weaken(&mut fit);
                }
                let json = serde_json::to_string(&fit).map_err(|error| error.to_string())?;
                let digest = Sha256::digest(format!("{}\n{json}", ask.ask_id));
                fit.fit_id = cairn_avro::hex::text(&digest[..16]);
                let mut record = record::of(&fit)?;
                if let Some(groups) = groups {
                    groups.put(&mut record);
                }
                record
            }
            // Too few runs, or none: no error of ours, but the answer that there is no law.
            Err(error) => {
                let digest = Sha256::digest(format!("{}\n{sql}", ask.ask_id));
                ScalingFit {
                    fit_id: cairn_avro::hex::text(&digest[..16]),
                    verdict: FitVerdict::Refused,
                    reasons: vec![error.to_string(), error.remedy()],
                    n_rows: study.len() as i32,
                    n_runs: runs as i32,
                    ..ScalingFit::default()
                }
            }
        };
        record.tenant.clone_from(&ask.tenant);
        record.cohort.clone_from(&ask.cohort);
        record.cohort_version = ask.cohort_version;
        record.law.clone_from(&law.name);
        record.convention = measured.convention(&ask.window, law);
        record.seed = i64::try_from(ask.seed).unwrap_or(i64::MAX);
        sql.clone_into(&mut record.window);
        record.window_name.clone_from(&ask.window.name);
        ask.window.over.kind().clone_into(&mut record.window_kind);
        record.window_start = bounds.map(|bounds| bounds.start);
        record.window_end = bounds.map(|bounds| bounds.end);
        record.asked_time_ms = Some(ask.asked_ms);
        record.data_digest = digest(window);
        record.cut = ask
            .cut
            .iter()
            .map(|place| Offset {
                topic: place.topic.clone(),
                partition: place.partition,
                offset: place.offset,
            })
            .collect();
        if let Some(previous) = previous {
            fresh::predict(
                &mut record,
                window,
                previous,
                &ask.fresh,
                &settings.rules.standing,
            );
        }
        Ok(record)
    }
}

/// What speaks against a fit besides its own judgement leaves it weak at best.
fn weaken(fit: &mut scaling::Fit) {
    if fit.verdict == scaling::FitVerdict::Usable {
        fit.verdict = scaling::FitVerdict::Weak;
    }
}

/// Equal for equal rows.
#[must_use]
pub fn digest(window: &Window) -> String {
    let study = &window.study;
    let mut hash = Sha256::new();
    for texts in [&study.run_ids, &study.groups] {
        for text in texts {
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        }
    }
    let columns = study.columns.values();
    for values in columns.chain([&study.response, &study.weights]) {
        for value in values {
            hash.update(value.to_bits().to_le_bytes());
        }
    }
    cairn_avro::hex::text(&hash.finalize())
}

/// How each column counts, by its name.
fn conventions(
    window: &WindowRule,
    law: &scaling::Law,
    measured: &Measured,
) -> BTreeMap<String, String> {
    let usual = |name: &str| {
        let words = match name {
            "n" => "model.parameters_total (embeddings included)",
            "d" => "tokens seen",
            name => name,
        };
        words.to_owned()
    };
    let names = law.columns.iter().map(|column| &column.name);
    names
        .chain([&law.response.name])
        .map(|name| {
            let mut words = match window.columns.get(name) {
                Some(sql) => sql.clone(),
                None => usual(name),
            };
            if *name == law.response.name && measured.runs() > 0 {
                words = format!("{words} ({})", measured.words());
            }
            (name.clone(), words)
        })
        .collect()
}

/// On which text the losses of a fit were measured, runs of each kind.
struct Measured {
    validation: usize,
    training: usize,
}

impl Measured {
    /// Counted where the response is the loss of a run's end; nothing is known of other responses.
    fn of(
        window: &WindowRule,
        law: &scaling::Law,
        rows: &[ExperimentRow],
        study: &scaling::Table,
    ) -> Self {
        let response = window.columns.get(&law.response.name);
        let is_loss = response.is_none_or(|sql| sql == "loss");
        let kinds: BTreeMap<&str, LossKind> = rows
            .iter()
            .filter(|_| is_loss)
            .filter_map(|row| Some((row.run_id.as_str(), window_query::final_loss(row)?.1)))
            .collect();
        let count = |wanted| {
            let runs = study.run_ids.iter().map(String::as_str);
            runs.filter(|run| kinds.get(run) == Some(&wanted)).count()
        };
        Self {
            validation: count(LossKind::Validation),
            training: count(LossKind::Training),
        }
    }

    fn runs(&self) -> usize {
        self.validation + self.training
    }

    /// In one line, as the record has it.
    fn convention(&self, window: &WindowRule, law: &scaling::Law) -> String {
        if window.columns.is_empty() {
            return format!("{CONVENTION}, {}", self.words());
        }
        let said = conventions(window, law, self).into_iter();
        said.map(|(name, words)| format!("{name}: {words}"))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn words(&self) -> String {
        match (self.validation, self.training) {
            (_, 0) => "validation".to_owned(),
            (0, _) => "training".to_owned(),
            (validation, training) => {
                format!("validation in {validation} runs and training in {training}")
            }
        }
    }

    /// Two kinds of loss differ by more than a law's residuals: pooled, the difference looks like an effect of size.
    fn mixed(&self) -> Option<String> {
        (self.validation > 0 && self.training > 0).then(|| {
            format!(
                "the runs do not measure the same loss ({}): log a validation loss at the end of each run, or make a cohort of \
                 each kind (loss_kind = 'validation')",
                self.words()
            )
        })
    }
}

#[cfg(test)]
mod tests;
