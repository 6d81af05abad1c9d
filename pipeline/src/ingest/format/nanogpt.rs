//! The printed logs of nanoGPT (Andrej Karpathy) and of modded-nanogpt (Keller Jordan).
//!
//! Published formats: `train.py` of github.com/karpathy/nanoGPT prints
//! `iter 250: loss 3.5012, time 135.42ms, mfu 12.30%` and, at evaluations, `step 250: train loss 3.4, val loss 3.5`;
//! `train_gpt2.py` of github.com/KellerJordan/modded-nanogpt prints
//! `step:250/6200 train_loss:3.5 train_time:54000ms step_avg:216.3ms` and `step:250/6200 val_loss:3.5 …`.
//! Later records time steps without printing their loss, and some print `train_time:34.5s`; forks add measurements of their
//! own (`val_bpb:1.2`), which are metrics, and words (`scope:final`), which are none.
//! Losses are nats a token, times milliseconds. `step_avg:nanms` (no step was timed yet) and `mfu -100.00%` (not measured
//! yet) are absent numbers, not failures. `step_avg` is the mean since the start; it is what the log says about the time
//! of a step. A modded-nanogpt log that reaches its last planned step says that the run is finished; a nanoGPT log never
//! says so.

use super::text::{Number, Restarts, metric_name, trimmed, whole_lines};
use super::{Confidence, Format, Out, Parser, Position, Refusal, Setup};
use cairn_avro::record::{Payload, RunLifecycle, RunState, TrainingTelemetry};

/// The formats.
pub(super) struct NanoGpt;

impl Format for NanoGpt {
    fn name(&self) -> &'static str {
        "nanogpt"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["modded-nanogpt", "nanoGPT"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        let mut lines = whole_lines(head).filter_map(trimmed);
        if lines.any(|line| match Line::of(&line) {
            Some(Line::Iteration(_, rest)) => rest.trim_start().starts_with("loss "),
            Some(Line::Evaluation(_, rest)) => rest.trim_start().starts_with("train loss "),
            Some(Line::Step(_, _, rest)) => rest.split_ascii_whitespace().any(|part| {
                ["train_loss:", "val_loss:", "train_time:"]
                    .iter()
                    .any(|key| part.starts_with(key))
            }),
            None => false,
        }) {
            return Confidence::Sure;
        }
        if whole_lines(head)
            .filter_map(trimmed)
            .any(|line| line.starts_with("step:") || line.starts_with("iter "))
        {
            return Confidence::Perhaps("lines begin with step or iter, but none has a loss");
        }
        Confidence::No
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Ok(Box::new(Lines {
            setup: setup.clone(),
            restarts: Restarts::new(setup.attempt),
            reached: None,
        }))
    }
}

struct Lines {
    setup: Setup,
    restarts: Restarts,
    /// The last step, when it is the last planned one.
    reached: Option<i64>,
}

/// A line of the format, cut at its step.
enum Line<'a> {
    /// `iter N: …`
    Iteration(&'a str, &'a str),
    /// `step N: …`
    Evaluation(&'a str, &'a str),
    /// `step:N/M …`
    Step(&'a str, &'a str, &'a str),
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let digits = |text: &'a str| {
            let count = text.bytes().take_while(u8::is_ascii_digit).count();
            (count > 0).then(|| text.split_at(count))
        };
        if let Some(rest) = line.strip_prefix("step:") {
            let (step, rest) = digits(rest)?;
            let (planned, rest) = rest
                .strip_prefix('/')
                .and_then(digits)
                .unwrap_or(("", rest));
            return Some(Line::Step(step, planned, rest));
        }
        let (word, rest) = line.split_once(' ')?;
        let (step, rest) = digits(rest)?;
        let rest = rest.strip_prefix(':')?;
        match word {
            "iter" => Some(Line::Iteration(step, rest)),
            "step" => Some(Line::Evaluation(step, rest)),
            _ => None,
        }
    }
}

impl Parser for Lines {
    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        let text = trimmed(unit);
        let Some(line) = text.as_deref().and_then(Line::of) else {
            out.ignored += 1;
            return Ok(());
        };
        match self.measurement(line) {
            Ok(telemetry) => out.event(Payload::TrainingTelemetry(telemetry), position, unit),
            Err(text) => out.reject("bad_line", text, "telemetry.training", position, unit),
        }
        Ok(())
    }

    fn end(&mut self, position: Position, out: &mut Out) -> Result<(), Refusal> {
        if let Some(step) = self.reached {
            out.event(
                Payload::RunLifecycle(RunLifecycle {
                    run_id: self.setup.run_id.clone(),
                    attempt: self.restarts.current(),
                    state: RunState::Finished,
                    step: Some(step),
                    tokens: self.tokens(step),
                    reason: Some("the log reached its last planned step".into()),
                    ..RunLifecycle::default()
                }),
                position,
                &[],
            );
        }
        Ok(())
    }
}

impl Lines {
    fn measurement(&mut self, line: Line<'_>) -> Result<TrainingTelemetry, String> {
        let step = match &line {
            Line::Iteration(step, _) | Line::Evaluation(step, _) | Line::Step(step, _, _) => *step,
        };
        let step: i64 = step
            .parse()
            .map_err(|_| format!("step {step} is beyond any run; the line is damaged"))?;
        let mut telemetry = TrainingTelemetry {
            step,
            ..TrainingTelemetry::default()
        };
        match line {
            // `loss 3.5, time 135.42ms, mfu 12.30%`; the words come in pairs, a train loss has three
            Line::Iteration(_, rest) | Line::Evaluation(_, rest) => {
                for part in rest
                    .split(',')
                    .map(str::trim)
                    .filter(|part| !part.is_empty())
                {
                    let (name, text) = part.rsplit_once(' ').ok_or_else(|| cut(part))?;
                    put(&mut telemetry, name.trim(), text)?;
                }
            }
            // `train_loss:3.5 train_time:54000ms step_avg:216.3ms`
            Line::Step(_, _, rest) => {
                for part in rest.split_ascii_whitespace() {
                    let (name, text) = part.split_once(':').ok_or_else(|| cut(part))?;
                    put(&mut telemetry, name, text)?;
                }
                if telemetry
                    == (TrainingTelemetry {
                        step,
                        ..TrainingTelemetry::default()
                    })
                    && !rest.contains(':')
                {
                    return Err("the line names a step and no measurement; it was cut".into());
                }
            }
        }
        if let Line::Iteration(..) | Line::Evaluation(..) = line
            && telemetry
                == (TrainingTelemetry {
                    step,
                    ..TrainingTelemetry::default()
                })
        {
            return Err("the line names a step and no loss; it was cut".into());
        }
        self.reached = match line {
            Line::Step(step, planned, _) if step == planned => Some(telemetry.step),
            _ => None,
        };
        telemetry.run_id.clone_from(&self.setup.run_id);
        telemetry.attempt = self.restarts.attempt(step);
        telemetry.tokens = self.tokens(step);
        telemetry.batch_tokens = self.setup.batch_tokens;
        Ok(telemetry)
    }

    fn tokens(&self, step: i64) -> Option<i64> {
        self.setup
            .batch_tokens
            .and_then(|batch| batch.checked_mul(step))
    }
}

fn cut(part: &str) -> String {
    format!("{part:?} is no name and number; the line was cut or is of another format")
}

/// Names whose numbers the formats print: a word there is damage.
const KNOWN: [&str; 9] = [
    "loss",
    "train loss",
    "train_loss",
    "val loss",
    "val_loss",
    "time",
    "train_time",
    "step_avg",
    "mfu",
];

/// Puts one measurement where it belongs; units are told by the suffix.
fn put(telemetry: &mut TrainingTelemetry, name: &str, text: &str) -> Result<(), String> {
    let (digits, unit) = match text {
        _ if text.ends_with("ms") => (&text[..text.len() - 2], "ms"),
        _ if text.ends_with('%') => (&text[..text.len() - 1], "%"),
        // seconds; `inf` and words end otherwise
        _ if text.ends_with('s') && text.starts_with(|first: char| first.is_ascii_digit()) => {
            (&text[..text.len() - 1], "s")
        }
        _ => (text, ""),
    };
    let Some(mut number) = Number::read(digits) else {
        // a word beside the measurements
        if !KNOWN.contains(&name)
            && !text.is_empty()
            && !text.contains(|c: char| c.is_ascii_digit())
        {
            return Ok(());
        }
        return Err(format!(
            "{name} is {text:?}, which is no number; the line is damaged"
        ));
    };
    let unit = if unit == "s" {
        number.value = number.value.map(|seconds| seconds * 1e3);
        "ms"
    } else {
        unit
    };
    match name {
        "loss" | "train loss" | "train_loss" => {
            telemetry.loss = number.value;
            telemetry.loss_state = number.state;
        }
        "val loss" | "val_loss" => {
            telemetry.validation_loss = number.value;
            telemetry.validation_loss_state = number.state;
        }
        "time" | "step_avg" if unit == "ms" => telemetry.step_time_ms = number.value,
        "mfu" => {
            // -100 % stands for "not measured yet"
            if let Some(percent) = number.value.filter(|percent| *percent >= 0.0) {
                telemetry
                    .metrics
                    .insert("model_flops_utilization".into(), percent / 100.0);
            }
        }
        "lr" | "learning_rate" => telemetry.learning_rate = number.value,
        "norm" | "grad_norm" => {
            telemetry.grad_norm = number.value;
            telemetry.grad_norm_state = number.state;
        }
        _ => {
            if let Some(value) = number.value {
                let name = metric_name(name);
                let name = if unit == "ms" && !name.ends_with("_ms") {
                    name + "_ms"
                } else {
                    name
                };
                telemetry.metrics.insert(name, value);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{check, training};

    #[test]
    fn later_records_of_modded_nanogpt() {
        let out = check(
            "nanogpt",
            b"step:0/10 val_loss:10.8 val_bpb:3.25 scope:final train_time:0.021s step_avg:21.00ms
\
              step:1/10 train_time:93ms step_avg:93.31ms
\
              step:2/10 train_time:93xs step_avg:93.31ms
",
        );
        let steps = training(&out);
        assert_eq!(
            (steps[0].validation_loss, steps[0].step_time_ms),
            (Some(10.8), Some(21.0))
        );
        assert_eq!(
            (
                steps[0].metrics["val_bpb"],
                steps[0].metrics["train_time_ms"]
            ),
            (3.25, 21.0)
        );
        assert_eq!((steps[1].loss, steps[1].step_time_ms), (None, Some(93.31)));
        assert_eq!((out.rejects.len(), out.rejects[0].position.line), (1, 3));
    }
}
