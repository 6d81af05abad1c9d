//! The `main.log` of llm.c (Andrej Karpathy).
//!
//! Published format: `llmc/logger.h` of github.com/karpathy/llm.c, one line a measurement:
//! `s:<step> trl:<training loss> lr:<learning rate> norm:<gradient norm>`, `s:<step> tel:<validation loss>`,
//! `s:<step> eval:<HellaSwag accuracy>`. The step counts optimizer steps from 0; losses are nats a token.
//! The file has no end mark, so its end says nothing about the run. The run is the folder that `main.log` lies in.

use super::super::source::stem;
use super::text::{Number, Restarts, trimmed, whole_lines};
use super::{Confidence, Format, Out, Parser, Position, Refusal, Setup};
use cairn_avro::record::{EvalResult, Payload, TrainingTelemetry};
use std::path::Path;

/// The format.
pub(super) struct LlmC;

impl Format for LlmC {
    fn name(&self) -> &'static str {
        "llmc"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["llm.c"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        let measured = |line: &[u8]| {
            trimmed(line)
                .as_deref()
                .and_then(step_of)
                .is_some_and(|(_, rest)| {
                    ["trl:", "tel:", "eval:"]
                        .iter()
                        .any(|key| rest.trim_start().starts_with(key))
                })
        };
        if whole_lines(head).any(measured) {
            Confidence::Sure
        } else {
            Confidence::No
        }
    }

    /// Every run's file is called `main.log`; the folder above is what `-o` named.
    fn run_of(&self, path: &str) -> Option<String> {
        let path = Path::new(path);
        if stem(path.file_name()?.to_str()?) != "main" {
            return None;
        }
        Some(path.parent()?.file_name()?.to_str()?.to_owned())
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Ok(Box::new(Lines {
            setup: setup.clone(),
            restarts: Restarts::new(setup.attempt),
        }))
    }
}

struct Lines {
    setup: Setup,
    restarts: Restarts,
}

/// `s:<digits>` and what follows.
fn step_of(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix("s:")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0).then(|| rest.split_at(digits))
}

impl Parser for Lines {
    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        let text = trimmed(unit);
        let Some((step, rest)) = text.as_deref().and_then(step_of) else {
            out.ignored += 1;
            return Ok(());
        };
        match self.measurement(step, rest) {
            Ok(payload) => out.event(payload, position, unit),
            Err(text) => out.reject("bad_line", text, "telemetry.training", position, unit),
        }
        Ok(())
    }
}

impl Lines {
    fn measurement(&mut self, step: &str, rest: &str) -> Result<Payload, String> {
        let step: i64 = step
            .parse()
            .map_err(|_| format!("step {step} is beyond any run; the line is damaged"))?;
        let mut loss = Number::ABSENT;
        let mut validation = Number::ABSENT;
        let mut norm = Number::ABSENT;
        let mut rate = None;
        let mut accuracy = None;
        for part in rest.split_ascii_whitespace() {
            let (key, text) = part.split_once(':').ok_or_else(|| {
                format!(
                    "{part:?} is no key:value of llm.c; the line is damaged or of another format"
                )
            })?;
            let number = Number::read(text).ok_or_else(|| {
                format!("{key} is {text:?}, which is no number; the line is damaged")
            })?;
            match key {
                "trl" => loss = number,
                "tel" => validation = number,
                "norm" => norm = number,
                "lr" => rate = number.value,
                "eval" => accuracy = Some(number),
                _ => {
                    return Err(format!(
                        "llm.c knows no measurement {key:?}; the line is of another format"
                    ));
                }
            }
        }
        let run_id = self.setup.run_id.clone();
        let attempt = self.restarts.attempt(step);
        if let Some(accuracy) = accuracy {
            return Ok(Payload::EvalResult(EvalResult {
                run_id,
                attempt,
                step: Some(step),
                tokens: self.tokens(step),
                harness: "llm.c".into(),
                task: "hellaswag".into(),
                metric: "accuracy".into(),
                value: accuracy.value,
                value_state: accuracy.state,
                higher_is_better: Some(true),
                ..EvalResult::default()
            }));
        }
        if loss == Number::ABSENT && validation == Number::ABSENT {
            return Err("the line names a step and no loss; it was cut".into());
        }
        Ok(Payload::TrainingTelemetry(TrainingTelemetry {
            run_id,
            attempt,
            step,
            tokens: self.tokens(step),
            loss: loss.value,
            loss_state: loss.state,
            validation_loss: validation.value,
            validation_loss_state: validation.state,
            learning_rate: rate,
            grad_norm: norm.value,
            grad_norm_state: norm.state,
            batch_tokens: self.setup.batch_tokens,
            ..TrainingTelemetry::default()
        }))
    }

    fn tokens(&self, step: i64) -> Option<i64> {
        self.setup
            .batch_tokens
            .and_then(|batch| batch.checked_mul(step))
    }
}
