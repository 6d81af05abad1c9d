//! Attack artifacts of JailbreakBench: which behaviours of a list an attack got out of a model.
//!
//! Published format: `attack-artifacts/<method>/<attack type>/<model>.json` of github.com/JailbreakBench/artifacts, described
//! in its README and in arXiv 2404.01318 (section 3): `{"parameters": {method, model, attack_type, defense,
//! attack_success_rate, …}, "jailbreaks": [{index, goal, behavior, category, prompt, response, number_of_queries,
//! queries_to_jailbreak, prompt_tokens, response_tokens, jailbroken}]}`. Early files say `model_name`, `success rate` and
//! `identifier` (the behaviour). Files with a second judge have `jailbroken_<judge>` beside `jailbroken`.
//!
//! Each behaviour becomes a `safety.results` event: suite `jailbreakbench/<method>/<attack type>[/<defense>]`, category the
//! behaviour, policy its category in the benchmark (after a provider's usage policies), metric `jailbroken` (1 or 0), n 1. A
//! verdict that is null had no prompt submitted and counts as not jailbroken. Goals, prompts and responses stay where they
//! are. At the end come `attack_success_rate` of all behaviours and of each category, with their number, and the attack's
//! totals of queries and tokens. A published rate that the verdicts do not bear out by half a behaviour or more is a reject.

use super::super::outline::{ELEMENT, Outline};
use super::super::whole::{pieces, quoted_numbers};
use super::super::{
    Confidence, Format, Framing, Out, Parser, Piece, Position, Refusal, Reject, Setup,
};
use super::{Mean, id, number, tags, unreadable, verdict};
use cairn_avro::record::{Payload, SafetyResult};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const TOPIC: &str = "safety.results";
/// Metric of the benchmark's own judge.
const JUDGED: &str = "jailbroken";

/// The format.
pub(in super::super) struct JailbreakBench;

impl Format for JailbreakBench {
    fn name(&self) -> &'static str {
        "jailbreakbench"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["jbb", "jailbreak-bench"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        let outline = Outline::of(head);
        if outline.has(&["jailbreaks", ELEMENT, "jailbroken"])
            || outline.has_all(&[], &["parameters", "jailbreaks"])
        {
            return Confidence::Sure;
        }
        if outline.has(&["jailbreaks"]) || outline.has(&["parameters", "attack_success_rate"]) {
            return Confidence::Perhaps(
                "it has the parameters of an attack or its jailbreaks, but not both",
            );
        }
        Confidence::No
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Ok(Box::new(Artifact {
            setup: setup.clone(),
            suite: String::new(),
            parameters: Map::new(),
            tagged: false,
            rates: BTreeMap::new(),
        }))
    }
}

struct Artifact {
    setup: Setup,
    suite: String,
    parameters: Map<String, Value>,
    /// The model's name was given out.
    tagged: bool,
    /// Success by judge, and by category of the benchmark; none stands for all of them.
    rates: BTreeMap<(String, Option<String>), Mean>,
}

#[derive(serde::Deserialize)]
struct Document<'a> {
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
    #[serde(borrow)]
    jailbreaks: Vec<&'a RawValue>,
}

impl Parser for Artifact {
    fn framing(&self) -> Framing {
        Framing::Whole
    }

    fn split(&mut self, document: Vec<u8>) -> Result<(Vec<u8>, Vec<Piece>), Reject> {
        let repaired = quoted_numbers(&document);
        let text = repaired.as_deref().unwrap_or(&document);
        let found = serde_json::from_slice::<Document<'_>>(text).map(|read| {
            self.parameters = read.parameters.unwrap_or_default();
            pieces(&document, text, &read.jailbreaks)
        });
        match found {
            Ok(pieces) => {
                self.suite = self.suite();
                Ok((repaired.unwrap_or(document), pieces))
            }
            Err(error) => Err(unreadable(
                document,
                &error,
                "artifact of JailbreakBench",
                TOPIC,
            )),
        }
    }

    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        if !std::mem::replace(&mut self.tagged, true)
            && let Some(model) = self.parameter(&["model", "model_name"]).and_then(id)
            && let Some(payload) = tags(&self.setup, [format!("model:{model}")])
        {
            out.event(payload, position, unit);
        }
        let entry: Map<String, Value> = match serde_json::from_slice(unit) {
            Ok(entry) => entry,
            Err(error) => {
                let text = format!("an entry of jailbreaks is no object: {error}");
                out.reject("json", text, TOPIC, position, unit);
                return Ok(());
            }
        };
        let behavior = ["behavior", "identifier", "index"]
            .into_iter()
            .find_map(|name| entry.get(name).and_then(id));
        let Some(behavior) = behavior else {
            let text = "an entry of jailbreaks names no behavior; nobody could tell what was tried";
            out.reject("missing_field", text.into(), TOPIC, position, unit);
            return Ok(());
        };
        if !entry.contains_key(JUDGED) {
            let text = format!("behaviour {behavior} has no member {JUDGED}; it was not judged");
            out.reject("missing_field", text, TOPIC, position, unit);
        }
        let category = entry.get("category").and_then(id);
        for (metric, value) in &entry {
            if metric != JUDGED && !metric.starts_with("jailbroken_") {
                continue;
            }
            let judged = match value {
                Value::Null => Some(false),
                value => verdict(value),
            };
            let Some(jailbroken) = judged else {
                let text = format!("{metric} of behaviour {behavior} is neither true nor false");
                out.reject("bad_value", text, TOPIC, position, unit);
                continue;
            };
            let value_of_it = f64::from(u8::from(jailbroken));
            for of in [None, category.clone()]
                .into_iter()
                .take(1 + usize::from(category.is_some()))
            {
                self.rates
                    .entry((metric.clone(), of))
                    .or_default()
                    .add(value_of_it);
            }
            let finding = value
                .is_null()
                .then(|| "no prompt was submitted".to_owned());
            let result = SafetyResult {
                category: Some(behavior.clone()),
                policy: category.clone(),
                finding,
                ..self.result(metric, value_of_it, Some(1))
            };
            out.event(Payload::SafetyResult(result), position, unit);
        }
        Ok(())
    }

    fn end(&mut self, position: Position, out: &mut Out) -> Result<(), Refusal> {
        for ((judge, category), rate) in &self.rates {
            let metric = match judge.strip_prefix(JUDGED) {
                Some("") | None => "attack_success_rate".to_owned(),
                Some(judge) => format!("attack_success_rate{judge}"),
            };
            let result = SafetyResult {
                category: category.clone(),
                policy: category.clone(),
                ..self.result(&metric, rate.mean, Some(rate.n))
            };
            out.event(Payload::SafetyResult(result), position, &[]);
        }
        for total in [
            "total_number_of_queries",
            "total_prompt_tokens",
            "total_response_tokens",
            "total_number_of_tokens",
        ] {
            let value = self.parameter(&[total]).and_then(number);
            if let Some(value) = value.and_then(|value| value.value) {
                let submitted = self
                    .parameter(&["number_of_submitted_prompts"])
                    .and_then(Value::as_i64);
                let result = SafetyResult {
                    method: None,
                    ..self.result(total, value, submitted)
                };
                out.event(Payload::SafetyResult(result), position, &[]);
            }
        }
        self.compare(position, out);
        Ok(())
    }
}

impl Artifact {
    fn parameter(&self, names: &[&str]) -> Option<&Value> {
        names
            .iter()
            .find_map(|name| self.parameters.get(*name))
            .filter(|value| !value.is_null())
    }

    fn suite(&self) -> String {
        let mut suite = "jailbreakbench".to_owned();
        for names in ["method", "attack_type", "defense"] {
            if let Some(part) = self.parameter(&[names]).and_then(id) {
                suite.push('/');
                suite.push_str(&part);
            }
        }
        suite
    }

    fn result(&self, metric: &str, value: f64, n: Option<i64>) -> SafetyResult {
        SafetyResult {
            run_id: self.setup.run_id.clone(),
            attempt: self.setup.attempt,
            suite: self.suite.clone(),
            metric: metric.to_owned(),
            value,
            n,
            method: Some("classifier".into()),
            ..SafetyResult::default()
        }
    }

    /// Holds the published rate against the verdicts.
    fn compare(&self, position: Position, out: &mut Out) {
        let published = self
            .parameter(&["attack_success_rate", "success rate"])
            .and_then(number)
            .and_then(|rate| rate.value);
        let counted = self.rates.get(&(JUDGED.to_owned(), None));
        if let (Some(published), Some(counted)) = (published, counted)
            && (published - counted.mean).abs() * counted.n as f64 >= 0.5
        {
            let text = format!(
                "parameters.attack_success_rate is {published}, the {} verdicts say {}; the file was cut or changed",
                counted.n, counted.mean
            );
            let original = serde_json::to_vec(&self.parameters).unwrap_or_default();
            out.reject("bad_value", text, TOPIC, position, &original);
        }
    }
}
