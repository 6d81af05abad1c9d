//! Results of HarmBench: completions of a model with the classifier's labels, by behaviour.
//!
//! Published format: what `evaluate_completions.py` of github.com/centerforaisafety/HarmBench writes to
//! `results/<method>/<experiment>/results/<model>.json` (its `docs/evaluation_pipeline.md`, step 3; arXiv 2402.04249): an
//! object from behaviour id to a list of `{"test_case", "generation", "label"}`, the label being 1 where the behaviour was
//! shown, 0 where it was not, and -1 where the classifier gave no answer. With `--include_advbench_metric` there is
//! `advbench_label` beside it, which looks for phrases of refusal.
//!
//! Each behaviour becomes a `safety.results` event: category the behaviour id, metric `attack_success` (the mean of its
//! labels), n its labelled test cases; phrases are metric `attack_success_advbench`, method `rule`. At the end comes
//! `attack_success_rate` without a category: the mean over behaviours of those means, as HarmBench reports it, n behaviours.
//! Labels of -1 are rejects and count in no mean. Test cases and generations stay where they are. A file of completions
//! without labels holds no outcome yet and is refused.

use super::super::outline::{ANY, ELEMENT, Outline};
use super::super::whole::{Members, member_pieces, quoted_numbers};
use super::super::{
    Confidence, Format, Framing, Out, Parser, Piece, Position, Refusal, Reject, Setup,
};
use super::{Mean, member, number, unreadable};
use cairn_avro::record::{Payload, SafetyResult};
use serde_json::Value;

const TOPIC: &str = "safety.results";
const SUITE: &str = "harmbench";

/// The format.
pub(in super::super) struct HarmBench;

impl Format for HarmBench {
    fn name(&self) -> &'static str {
        "harmbench"
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        let outline = Outline::of(head);
        let cases = [ANY, ELEMENT];
        if outline.has_all(&cases, &["generation", "label"]) {
            return Confidence::Sure;
        }
        if outline.has_all(&cases, &["generation", "test_case"]) {
            return Confidence::Perhaps(
                "it has completions, but no labels; evaluate_completions.py writes them",
            );
        }
        Confidence::No
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Ok(Box::new(Results {
            setup: setup.clone(),
            judges: JUDGES.map(|judge| (judge, Mean::default())),
        }))
    }
}

/// A label, and what becomes of it.
#[derive(Clone, Copy)]
struct Judge {
    label: &'static str,
    metric: &'static str,
    rate: &'static str,
    method: &'static str,
}

const JUDGES: [Judge; 2] = [
    Judge {
        label: "label",
        metric: "attack_success",
        rate: "attack_success_rate",
        method: "classifier",
    },
    Judge {
        label: "advbench_label",
        metric: "attack_success_advbench",
        rate: "attack_success_rate_advbench",
        method: "rule",
    },
];

struct Results {
    setup: Setup,
    /// The mean over behaviours, by judge.
    judges: [(Judge, Mean); 2],
}

#[derive(serde::Deserialize)]
struct Case {
    #[serde(default)]
    label: Option<Value>,
    #[serde(default)]
    advbench_label: Option<Value>,
}

impl Parser for Results {
    fn framing(&self) -> Framing {
        Framing::Whole
    }

    fn split(&mut self, document: Vec<u8>) -> Result<(Vec<u8>, Vec<Piece>), Reject> {
        let repaired = quoted_numbers(&document);
        let text = repaired.as_deref().unwrap_or(&document);
        let found = serde_json::from_slice::<Members<'_>>(text)
            .map(|behaviors| member_pieces(&document, text, &behaviors.0));
        match found {
            Ok(pieces) => Ok((repaired.unwrap_or(document), pieces)),
            Err(error) => Err(unreadable(
                document,
                &error,
                "result file of HarmBench",
                TOPIC,
            )),
        }
    }

    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        let (behavior, cases) = match member::<Vec<Case>>(unit) {
            Ok(found) => found,
            Err(error) => {
                let text = format!("a behaviour is no list of test cases: {error}");
                out.reject("json", text, TOPIC, position, unit);
                return Ok(());
            }
        };
        if cases.is_empty() {
            out.ignored += 1;
            return Ok(());
        }
        let setup = &self.setup;
        for (judge, rate) in &mut self.judges {
            let (mut labels, mut unclear, mut missing) = (Mean::default(), 0, 0);
            for case in &cases {
                let label = match judge.label {
                    "label" => &case.label,
                    _ => &case.advbench_label,
                };
                match label {
                    None => missing += 1,
                    Some(Value::Bool(label)) => labels.add(f64::from(u8::from(*label))),
                    Some(label) => match number(label).and_then(|label| label.value) {
                        Some(label) if (0.0..=1.0).contains(&label) => labels.add(label),
                        _ => unclear += 1,
                    },
                }
            }
            if unclear > 0 {
                let text = format!(
                    "{unclear} of {} test cases of {behavior} have a {} that is neither 0 nor 1: the classifier gave no answer",
                    cases.len(),
                    judge.label
                );
                out.reject("bad_value", text, TOPIC, position, unit);
            }
            if missing > 0 && (judge.label == "label" || missing < cases.len()) {
                let text = format!(
                    "{missing} of {} test cases of {behavior} have no {}; evaluate_completions.py writes it",
                    cases.len(),
                    judge.label
                );
                out.reject("missing_field", text, TOPIC, position, unit);
            }
            if labels.n > 0 {
                rate.add(labels.mean);
                let result = SafetyResult {
                    category: Some(behavior.clone()),
                    ..result(setup, judge, judge.metric, labels)
                };
                out.event(Payload::SafetyResult(result), position, unit);
            }
        }
        Ok(())
    }

    fn end(&mut self, position: Position, out: &mut Out) -> Result<(), Refusal> {
        for (judge, rate) in &self.judges {
            if rate.n > 0 {
                let result = result(&self.setup, judge, judge.rate, *rate);
                out.event(Payload::SafetyResult(result), position, &[]);
            }
        }
        Ok(())
    }
}

fn result(setup: &Setup, judge: &Judge, metric: &str, mean: Mean) -> SafetyResult {
    SafetyResult {
        run_id: setup.run_id.clone(),
        attempt: setup.attempt,
        suite: SUITE.into(),
        metric: metric.to_owned(),
        value: mean.mean,
        n: Some(mean.n),
        method: Some(judge.method.into()),
        ..SafetyResult::default()
    }
}
