//! Run files of HELM: `stats.json` and `run_spec.json`.
//!
//! Published format: `src/helm/benchmark/runner.py` of github.com/stanford-crfm/helm writes them to
//! `benchmark_output/runs/<suite>/<name of the run>/`. `stats.json` is a list of `Stat` (`metrics/statistic.py`): `name` (a
//! `MetricName`: name, split, sub_split, perturbation), `count`, `sum`, `mean`, `stddev` (of the population); members that are
//! null are left out. `run_spec.json` is a `RunSpec` (`run_spec.py`): name, scenario_spec, adapter_spec, groups.
//!
//! Each stat that was measured becomes an `eval.results` event. Its task is the name of the run without the model
//! (`mmlu:subject=anatomy`), which is the name of the folder; its metric the name with what it was computed over
//! (`exact_match,split=test`, `exact_match,split=test,perturbation=robustness:worst`). A stat of `stats.json` is a mean over
//! training trials, so its `count` is no number of items: n is the `num_instances` of the same split and perturbation, and a
//! standard error is given where there were several trials (stddev / sqrt(count - 1)). `inference_runtime` (seconds) becomes
//! `telemetry.runtime`; other bookkeeping (`num_*`, `finish_reason_*`, estimates of cost) is no score and is left out. Of
//! `run_spec.json` the model, the scenario and the groups become tags. `scenario_state.json` and `per_instance_stats.json` hold
//! prompts, or a row for each of them; both are refused.

use super::super::outline::{ELEMENT, Outline};
use super::super::text::Number;
use super::super::whole::{pieces, quoted_numbers};
use super::super::{
    Confidence, Format, Framing, Out, Parser, Piece, Position, Refusal, Reject, Setup,
};
use super::{direction, id, number, tags, unreadable};
use cairn_avro::record::{EvalResult, Payload, RuntimeTelemetry};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const TOPIC: &str = "eval.results";

/// The format.
pub(in super::super) struct Helm;

impl Format for Helm {
    fn name(&self) -> &'static str {
        "helm"
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        let outline = Outline::of(head);
        let stats = outline.has(&[ELEMENT, "name", "name"])
            && outline.has_all(&[ELEMENT], &["count", "sum"]);
        // `scenario` before it was called `scenario_spec`
        let spec = outline.has_all(&[], &["name", "adapter_spec"])
            && outline.has_any(&[], &["scenario_spec", "scenario"]);
        if stats || spec {
            return Confidence::Sure;
        }
        if outline.has_all(&[], &["adapter_spec", "request_states"])
            || outline.has_all(&[ELEMENT], &["instance_id", "stats"])
        {
            return Confidence::Perhaps(
                "it holds the requests or instances of a HELM run; the scores are in stats.json beside it",
            );
        }
        if outline.has_all(&[], &["name", "scenario_spec"])
            || outline.has(&[ELEMENT, "name", "split"])
        {
            return Confidence::Perhaps("it begins as a run file of HELM, but is cut too early");
        }
        Confidence::No
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        let run = match setup.stem.as_str() {
            "" => setup.run_id.as_str(),
            stem => stem,
        };
        Ok(Box::new(RunFile {
            task: scenario(run),
            setup: setup.clone(),
            instances: BTreeMap::new(),
        }))
    }
}

struct RunFile {
    setup: Setup,
    task: String,
    /// Instances by split and perturbation.
    instances: BTreeMap<String, i64>,
}

#[derive(serde::Deserialize)]
struct Stat {
    name: Name,
    #[serde(default)]
    count: Option<f64>,
    #[serde(default)]
    sum: Option<Value>,
    #[serde(default)]
    mean: Option<Value>,
    #[serde(default)]
    stddev: Option<Value>,
}

#[derive(serde::Deserialize)]
struct Name {
    name: String,
    #[serde(default)]
    k: Option<Value>,
    #[serde(default)]
    split: Option<Value>,
    #[serde(default)]
    sub_split: Option<Value>,
    #[serde(default)]
    perturbation: Option<Perturbation>,
}

#[derive(serde::Deserialize)]
struct Perturbation {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    computed_on: Option<String>,
}

impl Name {
    /// Over what it was computed, as the end of a metric's name.
    fn over(&self) -> String {
        let mut over = String::new();
        for (what, value) in [
            ("k", &self.k),
            ("split", &self.split),
            ("sub_split", &self.sub_split),
        ] {
            if let Some(value) = value.as_ref().and_then(id) {
                over.push_str(&format!(",{what}={value}"));
            }
        }
        if let Some(perturbation) = &self.perturbation {
            let name = perturbation.name.as_deref().unwrap_or("unnamed");
            let on = perturbation.computed_on.as_deref().unwrap_or("perturbed");
            over.push_str(&format!(",perturbation={name}:{on}"));
        }
        over
    }
}

impl Stat {
    /// The mean; none where nothing was counted. Early versions wrote only sum and count.
    fn mean(&self) -> Option<Number> {
        let count = self.count.filter(|count| *count > 0.0)?;
        match &self.mean {
            Some(mean) => number(mean),
            None => {
                let sum = self.sum.as_ref().and_then(number)?;
                Some(match sum.value {
                    Some(sum) => Number::of(sum / count),
                    None => sum,
                })
            }
        }
    }

    /// Of the mean over trials.
    fn standard_error(&self) -> Option<f64> {
        let count = self.count.filter(|count| *count > 1.0)?;
        let deviation = self.stddev.as_ref().and_then(number)?.value?;
        Some(deviation / (count - 1.0).sqrt())
    }
}

/// A run's name without its model: `mmlu:subject=anatomy,model=openai_gpt2` is `mmlu:subject=anatomy`.
fn scenario(run: &str) -> String {
    let Some((scenario, arguments)) = run.split_once(':') else {
        return match run {
            // files without their folder
            "" | "stats" | "run_spec" => "helm".to_owned(),
            run => run.to_owned(),
        };
    };
    let kept: Vec<&str> = arguments
        .split(',')
        .filter(|argument| {
            !argument.starts_with("model=") && !argument.starts_with("model_deployment=")
        })
        .collect();
    match kept.is_empty() {
        true => scenario.to_owned(),
        false => format!("{scenario}:{}", kept.join(",")),
    }
}

/// Names of stats that tell about the run and score nothing.
fn bookkeeping(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "prompt_truncated",
        "predicted_index",
        "batch_size",
        "logprob",
        "training_co2_cost",
        "training_energy_cost",
        "inference_denoised_runtime",
        "inference_idealized_runtime",
    ];
    name.starts_with("num_")
        || name.starts_with("finish_reason_")
        || name.starts_with("estimated_num_")
        || NAMES.contains(&name)
}

impl Parser for RunFile {
    fn framing(&self) -> Framing {
        Framing::Whole
    }

    fn split(&mut self, document: Vec<u8>) -> Result<(Vec<u8>, Vec<Piece>), Reject> {
        let repaired = quoted_numbers(&document);
        let text = repaired.as_deref().unwrap_or(&document);
        let list = text.trim_ascii_start().first() == Some(&b'[');
        let entries = match list {
            true => serde_json::from_slice::<Vec<&RawValue>>(text),
            false => serde_json::from_slice::<&RawValue>(text).map(|whole| vec![whole]),
        };
        let found = entries.map(|entries| {
            for entry in &entries {
                let Ok(stat) = serde_json::from_str::<Stat>(entry.get()) else {
                    continue;
                };
                if stat.name.name == "num_instances"
                    && let Some(instances) = stat.mean().and_then(|mean| mean.value)
                {
                    let instances = instances.round() as i64;
                    self.instances.insert(stat.name.over(), instances);
                }
            }
            pieces(&document, text, &entries)
        });
        match found {
            Ok(pieces) => Ok((repaired.unwrap_or(document), pieces)),
            Err(error) => Err(unreadable(document, &error, "run file of HELM", TOPIC)),
        }
    }

    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        let stat: Stat = match serde_json::from_slice(unit) {
            Ok(stat) => stat,
            Err(error) => {
                match serde_json::from_slice::<Map<String, Value>>(unit) {
                    Ok(spec) if spec.contains_key("adapter_spec") => {
                        self.spec(&spec, (unit, position), out);
                    }
                    _ => {
                        let text = format!("an entry is neither a stat nor a run spec: {error}");
                        out.reject("bad_value", text, TOPIC, position, unit);
                    }
                }
                return Ok(());
            }
        };
        let Some(mean) = stat.mean() else {
            out.ignored += 1;
            return Ok(());
        };
        let over = stat.name.over();
        let n = self.instances.get(&over).copied();
        if stat.name.name == "inference_runtime" && stat.name.perturbation.is_none() {
            let runtime = RuntimeTelemetry {
                run_id: self.setup.run_id.clone(),
                attempt: self.setup.attempt,
                n,
                latency_ms: mean.value.map(|seconds| seconds * 1e3),
                ..RuntimeTelemetry::default()
            };
            out.event(Payload::RuntimeTelemetry(runtime), position, unit);
            return Ok(());
        }
        if bookkeeping(&stat.name.name) || stat.name.name == "inference_runtime" {
            out.ignored += 1;
            return Ok(());
        }
        let result = EvalResult {
            run_id: self.setup.run_id.clone(),
            attempt: self.setup.attempt,
            harness: "helm".into(),
            task: self.task.clone(),
            metric: format!("{}{over}", stat.name.name),
            value: mean.value,
            value_state: mean.state,
            n,
            standard_error: stat.standard_error(),
            higher_is_better: direction(&stat.name.name),
            ..EvalResult::default()
        };
        out.event(Payload::EvalResult(result), position, unit);
        Ok(())
    }
}

impl RunFile {
    fn spec(&self, spec: &Map<String, Value>, (unit, position): (&[u8], Position), out: &mut Out) {
        let adapter = |name: &str| spec.get("adapter_spec")?.get(name).and_then(id);
        let model = adapter("model").or_else(|| adapter("model_deployment"));
        let scenario = spec.get("name").and_then(id).map(|name| scenario(&name));
        let groups = spec.get("groups").and_then(Value::as_array);
        let tags = tags(
            &self.setup,
            model
                .map(|model| format!("model:{model}"))
                .into_iter()
                .chain(scenario.map(|scenario| format!("scenario:{scenario}")))
                .chain(
                    groups
                        .into_iter()
                        .flatten()
                        .filter_map(id)
                        .map(|group| format!("helm:{group}")),
                ),
        );
        match tags {
            Some(payload) => out.event(payload, position, unit),
            None => out.ignored += 1,
        }
    }
}
