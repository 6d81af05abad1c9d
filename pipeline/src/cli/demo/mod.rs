//! `cairn demo`: the main job on real input. The ladder's logs go through ingest, the embedded log and every operator; what
//! comes out is printed, with the known entropy of the text beside the law's.

mod show;

use super::ingest::{failure, recipient};
use super::looks::Look;
use super::{Failure, Global, Outcome, print, say, verdicts};
use crate::ingest::{self, Options};
use crate::metrics::Metrics;
use crate::runtime::service::Service;
use cairn_operators::refit::CohortRule;
use clap::Args;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The main job on real input.
#[derive(Args)]
pub struct Demo {
    /// Folder with the ladder
    #[arg(long, default_value = "examples/ladder", value_name = "DIR")]
    ladder: PathBuf,
}

/// Cohorts of the ladder: the grid that obeys a law, and the one that does not.
fn cohorts() -> Vec<CohortRule> {
    let rule = |name: &str, condition: &str| CohortRule {
        name: name.to_owned(),
        condition: condition.to_owned(),
    };
    vec![
        rule("grid", "array_has(tags, 'grid')"),
        rule("jump", "array_has(tags, 'jump')"),
    ]
}

impl Demo {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let logs = self.ladder.join("logs");
        if !logs.is_dir() {
            return Err(Failure::new(
                "ladder",
                2,
                "there are no logs",
                logs.display().to_string(),
                "run it in the repository, or name the folder with --ladder",
            ));
        }
        let begun = Instant::now();
        let (mut config, place) = global.open()?;
        config.refit.rules.cohorts = cohorts();
        keep_cohorts(&config.log.data.join("cairn.yaml"));
        let mut options = Options::new(
            vec![logs.display().to_string()],
            recipient(&config.deadletter.recipient)?,
        );
        options.app_id.clone_from(&config.log.app_id);
        options.rules.clone_from(&config.admit);
        heading(
            global,
            "1. ingest: every line is validated, and sent once however often this runs",
        );
        let summaries = ingest::ingest(&*place.log, &*place.registry, &options, &mut |_| {
            ControlFlow::Continue(())
        })
        .map_err(failure)?;
        let (events, known): (u64, u64) = summaries.iter().fold((0, 0), |(new, old), summary| {
            (new + summary.accepted, old + summary.duplicate)
        });
        let runs: usize = summaries.iter().map(|summary| summary.runs.len()).sum();
        let ingested = begun.elapsed();
        tell(
            global,
            &format!(
                "  {runs} runs, {events} events new, {known} known already, {:.1} s\n",
                ingested.as_secs_f64()
            ),
        );

        heading(
            global,
            "2. drain: admit → runs (dedupe, normalize, windows, breaker) → refit → cockpit",
        );
        let service = Service::new(
            &config,
            place.clone(),
            Arc::new(Metrics::new()),
            "demo".to_owned(),
            &[],
        )?;
        let drained = service.drain(Duration::from_secs(config.runtime.drain_timeout_s))?;
        for (name, counts) in &drained.operators {
            tell(
                global,
                &format!(
                    "  {name:<8} {:>7} in {:>7} out {:>4} late {:>4} dead\n",
                    counts.records_in, counts.records_out, counts.late, counts.dead
                ),
            );
        }
        tell(
            global,
            &format!(
                "  {:.1} s\n",
                begun.elapsed().saturating_sub(ingested).as_secs_f64()
            ),
        );

        let mut look = Look::new(&place)?;
        let rows = look.newest("experiments.rows")?;
        let fits = look.newest("scaling.fits")?;
        let verdicts = verdicts::all(&mut look)?;
        let telegrams = show::telegrams(&mut look)?;
        let truth = truth(&self.ladder);
        if !global.is_json() {
            heading(
                global,
                "3. rows: one a run, whatever said something about it",
            );
            print(&show::rows(&rows));
            heading(global, "4. windows of one run");
            print(&show::windows(&mut look)?);
            heading(global, "5. laws: L = E + A/N^alpha + B/D^beta");
            print(&show::fits(&fits, &truth));
            heading(global, "6. verdicts of the breaker");
            print(&verdicts::text(&verdicts));
            print(&show::curves(&mut look, &verdicts)?);
            heading(global, "7. telegrams");
            for telegram in &telegrams {
                print(&format!(
                    "  P{} {} {}\n",
                    telegram["priority"],
                    telegram["kind"].as_str().unwrap_or_default(),
                    telegram["text"]["fallback"].as_str().unwrap_or_default()
                ));
            }
            heading(global, "Where everything lies, and what to try next");
            print(&show::next(&config.log.data));
            print(&format!(
                "\n  all of it in {:.1} s\n",
                begun.elapsed().as_secs_f64()
            ));
        }
        let fit = fits
            .iter()
            .find(|(key, _)| key.contains("/grid/"))
            .map(|(_, fit)| show::fit_json(fit));
        if global.is_json() {
            let verdicts: Vec<_> = verdicts.iter().map(verdicts::shape).collect();
            say(&serde_json::json!({
                "fit": fit, "verdicts": verdicts, "telegrams": telegrams.len(), "data": config.log.data
            }));
        }
        Ok(0)
    }
}

/// Writes the cohorts where later commands look: `cairn replay` needs the settings of the original, `cairn run` goes on with
/// them. A configuration that says something of refits already stays as it is.
fn keep_cohorts(file: &Path) {
    let Ok(mut text) = std::fs::read_to_string(file) else {
        return;
    };
    if text.lines().any(|line| line.starts_with("refit:")) {
        return;
    }
    text.push_str("\n# The cohorts that `cairn demo` fits.\nrefit:\n  rules:\n    cohorts:\n");
    for rule in cohorts() {
        text.push_str(&format!(
            "    - name: {}\n      where: \"{}\"\n",
            rule.name, rule.condition
        ));
    }
    // Where it cannot be written, the demo is none the worse.
    drop(std::fs::write(file, text));
}

/// The ladder directory's own knowledge of its text; null where it has none.
fn truth(ladder: &Path) -> serde_json::Value {
    std::fs::read_to_string(ladder.join("truth.json"))
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

fn heading(global: &Global, text: &str) {
    tell(global, &format!("\n{text}\n"));
}

/// Text for people: on standard error where standard output is NDJSON.
fn tell(global: &Global, text: &str) {
    if global.is_json() {
        eprint!("{text}");
    } else {
        print(text);
    }
}
