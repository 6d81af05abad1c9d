//! The training logs of Megatron-LM and of its relatives Megatron-DeepSpeed and GPT-NeoX.
//!
//! Published format: `training_log` in `megatron/training/training.py` of github.com/NVIDIA/Megatron-LM, parts between
//! bars: `iteration k/K | consumed samples: n | elapsed time per iteration (ms): t | learning rate: x | global batch size:
//! b | lm loss: y | loss scale: s | grad norm: g | number of skipped iterations: i | number of nan iterations: j |`.
//! Evaluations are `validation loss at iteration k | lm loss value: y | lm loss PPL: p |`, at the end `… iteration k on test
//! set |`, with several validation sets `validation-<name> loss at …`; Megatron-DeepSpeed names the set itself (`valid loss at
//! …`), and GPT-NeoX prints `validation results at iteration k | lm_loss value: y | lm_loss_ppl value: p |` and, behind the last
//! iteration, `… at the end of training for val data |`. The validation set's loss is the run's validation loss; those of the
//! test set and of sets with names of their own are metrics (`test_loss`, `validation_<name>_loss`), since they are no curve
//! of the run. Launchers put a rank or a time in front; DeepSpeed's own lines (`steps: k loss: y iter time (s): t samples/sec: r`) count where no iteration lines are.
//!
//! Times in seconds become milliseconds. Tokens are consumed samples times the sequence length, which the list of
//! arguments at the head of the log or `--set context_length_tokens=` tells; unknown otherwise. A last part that has no
//! closing bar was cut and is not believed. An interval whose iterations were all NaN has no loss: that is evidence. Logs
//! stamp their lines in local time without a zone; that is no time that could be compared, so none is taken. A log that
//! reaches its last iteration says that the run is finished.

use super::text::{Number, Restarts, metric_name, trimmed, whole_lines};
use super::{Confidence, Format, Out, Parser, Position, Refusal, Setup};
use cairn_avro::record::{NumberState, Payload, RunLifecycle, RunState, TrainingTelemetry};

/// The formats.
pub(super) struct Megatron;

impl Format for Megatron {
    fn name(&self) -> &'static str {
        "megatron"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["deepspeed", "gpt-neox", "megatron-lm"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        let (mut sure, mut perhaps) = (false, false);
        for line in whole_lines(head).filter_map(trimmed) {
            match Line::of(&line) {
                Some(Line::Iteration { .. }) => sure |= line.contains('|'),
                Some(Line::Validation { .. } | Line::Steps { .. }) => sure = true,
                None => perhaps |= line.contains("iteration ") && line.contains('|'),
            }
        }
        match (sure, perhaps) {
            (true, _) => Confidence::Sure,
            (_, true) => {
                Confidence::Perhaps("a line with bars speaks of iterations, but has no k/K")
            }
            _ => Confidence::No,
        }
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Ok(Box::new(Lines {
            sequence_tokens: setup.sequence_tokens,
            setup: setup.clone(),
            restarts: Restarts::new(setup.attempt),
            iterations: false,
            skipped: 0,
            nan: 0,
            last_step: None,
            reached: None,
            tokens: None,
        }))
    }
}

struct Lines {
    setup: Setup,
    sequence_tokens: Option<i64>,
    restarts: Restarts,
    /// An iteration line was seen, so that DeepSpeed's lines only repeat.
    iterations: bool,
    /// Iterations skipped and NaN since the start; the log counts them anew after each line.
    skipped: i64,
    nan: i64,
    /// The last iteration that a line spoke of.
    last_step: Option<i64>,
    /// The last iteration, when it is the last planned one.
    reached: Option<i64>,
    tokens: Option<i64>,
}

/// A line of the format.
enum Line<'a> {
    /// Parts between bars, one of them `iteration k/K`.
    Iteration { step: &'a str, planned: &'a str },
    /// `<set> loss at iteration k …`; without an iteration at the end of training.
    Validation {
        set: &'a str,
        step: Option<&'a str>,
        rest: &'a str,
    },
    /// `steps: k loss: …`
    Steps { rest: &'a str },
}

fn digits(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    (count > 0).then(|| text.split_at(count))
}

/// `k` and `K` of a part `… iteration k/ K`.
fn iteration(part: &str) -> Option<(&str, &str)> {
    let at = part.find("iteration ")?;
    let before = part[..at].trim_end();
    // in front of the word may stand what a launcher puts there: `[default7]:`, `12:`, `[2024-01-31 12:00:00]`
    if before
        .chars()
        .last()
        .is_some_and(|last| !matches!(last, ':' | ']' | '>'))
    {
        return None;
    }
    let (step, rest) = digits(&part[at + "iteration ".len()..])?;
    let (planned, rest) = digits(rest.trim_start().strip_prefix('/')?)?;
    rest.trim().is_empty().then_some((step, planned))
}

/// `<set> loss at iteration k | …`, `<set> results at the end of training for val data | …`.
fn validation(line: &str) -> Option<Line<'_>> {
    let (before, behind) = line
        .split_once(" loss at ")
        .or_else(|| line.split_once(" results at "))?;
    let set = before.rsplit(char::is_whitespace).next()?;
    // a rank may stand right in front: `[default7]:valid`
    let set = set
        .rsplit([':', ']'])
        .next()
        .filter(|set| !set.is_empty())?;
    let (step, rest) = match behind.strip_prefix("iteration ") {
        Some(rest) => digits(rest).map(|(step, rest)| (Some(step), rest))?,
        None => (None, behind.strip_prefix("the end of training")?),
    };
    // any set may have any name: what follows tells it from prose
    let place = rest.trim_start();
    let known = (set.starts_with("valid") || set.starts_with("test"))
        && (place.is_empty()
            || ["|", "on ", "for "]
                .iter()
                .any(|mark| place.starts_with(mark)));
    (known || rest.contains("loss value:")).then_some(Line::Validation { set, step, rest })
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Option<Self> {
        if let Some(found) = validation(line) {
            return Some(found);
        }
        if let Some((step, planned)) = line.split('|').find_map(iteration) {
            return Some(Line::Iteration { step, planned });
        }
        let at = line.find("steps: ")?;
        let rest = &line[at..];
        (digits(&rest["steps: ".len()..]).is_some() && rest.contains("loss: "))
            .then_some(Line::Steps { rest })
    }
}

impl Parser for Lines {
    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        let Some(text) = trimmed(unit) else {
            out.ignored += 1;
            return Ok(());
        };
        let telemetry = match Line::of(&text) {
            Some(Line::Iteration { step, planned }) => self.iteration(&text, step, planned),
            Some(Line::Validation { set, step, rest }) => self.validation(set, step, rest),
            Some(Line::Steps { rest }) if !self.iterations => self.steps(rest),
            _ => {
                self.argument(&text);
                out.ignored += 1;
                return Ok(());
            }
        };
        match telemetry {
            Ok(mut telemetry) => {
                telemetry.run_id.clone_from(&self.setup.run_id);
                telemetry.attempt = self.restarts.attempt(telemetry.step);
                self.last_step = Some(telemetry.step);
                out.event(Payload::TrainingTelemetry(telemetry), position, unit);
            }
            Err(why) => out.reject("bad_line", why, "telemetry.training", position, unit),
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
                    tokens: self.tokens,
                    reason: Some("the log reached its last iteration".into()),
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
    /// Learns the sequence length from the list of arguments: `seq_length ........ 2048`.
    fn argument(&mut self, text: &str) {
        let Some(at) = text.find("seq_length .") else {
            return;
        };
        let value = text[at..]
            .rsplit(' ')
            .next()
            .and_then(|value| value.parse().ok());
        self.sequence_tokens = self.sequence_tokens.or(value);
    }

    fn iteration(
        &mut self,
        line: &str,
        step: &str,
        planned: &str,
    ) -> Result<TrainingTelemetry, String> {
        let mut telemetry = TrainingTelemetry {
            step: whole("iteration", step)?,
            ..TrainingTelemetry::default()
        };
        let mut loss = None;
        let mut parts = 0;
        // what stands behind the last bar has no bar of its own: nothing, or a part that was cut
        let closed = line.rfind('|').map_or("", |end| &line[..end]);
        for part in closed.split('|').filter(|part| iteration(part).is_none()) {
            let Some((name, text)) = part.rsplit_once(':') else {
                continue;
            };
            // a launcher may put its own colons in front of the first part
            let name = name.rsplit("]:").next().unwrap_or(name).trim();
            parts += 1;
            if name == "lm loss" || name == "lm_loss" {
                loss = Some(number(name, text)?);
            } else {
                self.put(&mut telemetry, name, text.trim())?;
            }
        }
        if parts == 0 {
            return Err("the line was cut before its first measurement".into());
        }
        let nan = telemetry.nan_steps.unwrap_or(0) > 0;
        let so_far = |count: &mut i64, interval: &mut Option<i64>| {
            *interval = interval.map(|interval| {
                *count = count.saturating_add(interval);
                *count
            });
        };
        so_far(&mut self.skipped, &mut telemetry.skipped_steps);
        so_far(&mut self.nan, &mut telemetry.nan_steps);
        let loss = loss.unwrap_or(Number {
            value: None,
            state: if nan {
                NumberState::Nan
            } else {
                NumberState::Missing
            },
        });
        (telemetry.loss, telemetry.loss_state) = (loss.value, loss.state);
        self.iterations = true;
        self.reached = (step == planned).then_some(telemetry.step);
        self.tokens = telemetry.tokens;
        Ok(telemetry)
    }

    fn put(&self, telemetry: &mut TrainingTelemetry, name: &str, text: &str) -> Result<(), String> {
        match name {
            "consumed samples" => {
                let samples = whole(name, text)?;
                let tokens = self
                    .sequence_tokens
                    .and_then(|length| samples.checked_mul(length));
                telemetry.tokens = telemetry.tokens.or(tokens);
            }
            "consumed tokens" => telemetry.tokens = Some(whole(name, text)?),
            "global batch size" => {
                let samples = whole(name, text)?;
                telemetry.batch_tokens = self
                    .sequence_tokens
                    .and_then(|length| samples.checked_mul(length));
            }
            "elapsed time per iteration (ms)" => telemetry.step_time_ms = number(name, text)?.value,
            "elapsed time per iteration (s)" => {
                telemetry.step_time_ms = number(name, text)?.value.map(|seconds| seconds * 1e3);
            }
            "learning rate" => telemetry.learning_rate = number(name, text)?.value,
            "loss scale" => telemetry.loss_scale = number(name, text)?.value,
            "grad norm" => {
                let norm = number(name, text)?;
                (telemetry.grad_norm, telemetry.grad_norm_state) = (norm.value, norm.state);
            }
            "number of skipped iterations" => telemetry.skipped_steps = Some(whole(name, text)?),
            "number of nan iterations" => telemetry.nan_steps = Some(whole(name, text)?),
            "tokens per second" => telemetry.tokens_per_second = number(name, text)?.value,
            "MFU" | "HFU" => {
                let percent = text.strip_suffix('%').unwrap_or(text);
                let name = match name {
                    "MFU" => "model_flops_utilization",
                    _ => "hardware_flops_utilization",
                };
                if let Some(value) = Number::read(percent).and_then(|number| number.value) {
                    telemetry.metrics.insert(name.into(), value / 100.0);
                }
            }
            "approx flops per GPU" => {
                if let Some(value) = flops(text) {
                    telemetry
                        .metrics
                        .insert("approx_flops_per_second_per_gpu".into(), value);
                }
            }
            // what else versions and forks print is kept as a metric; words among it are not measurements
            _ => {
                if let Some(value) = Number::read(text).and_then(|number| number.value) {
                    telemetry.metrics.insert(metric_name(name), value);
                }
            }
        }
        Ok(())
    }

    fn validation(
        &mut self,
        set: &str,
        step: Option<&str>,
        rest: &str,
    ) -> Result<TrainingTelemetry, String> {
        let step = match step {
            Some(step) => whole("iteration", step)?,
            None => self.last_step.ok_or(
                "it is an evaluation at the end of training, but no iteration stands before it",
            )?,
        };
        let mut telemetry = TrainingTelemetry {
            step,
            ..TrainingTelemetry::default()
        };
        let mut found = false;
        let closed = rest.rfind('|').map_or("", |end| &rest[..end]);
        let mut parts = closed.split('|');
        let place = parts.next().unwrap_or_default();
        let named = match set {
            _ if place.contains("test set") || place.contains("test data") => Some("test"),
            "validation" | "valid" | "val" => None,
            set => Some(set),
        };
        for part in parts {
            let Some((name, text)) = part.rsplit_once(':') else {
                continue;
            };
            let (name, text) = (name.trim(), text.trim());
            let told = match name {
                "lm loss value" | "lm_loss value" => "loss",
                "lm loss PPL" | "lm_loss PPL" | "lm_loss_ppl value" => "perplexity",
                name => name,
            };
            match named {
                None if told == "loss" => {
                    let loss = number(name, text)?;
                    (telemetry.validation_loss, telemetry.validation_loss_state) =
                        (loss.value, loss.state);
                }
                _ => {
                    let read = match told {
                        "loss" | "perplexity" => Some(number(name, text)?),
                        _ => Number::read(text),
                    };
                    let key = match (named, told) {
                        (Some(set), told) => metric_name(&format!("{set} {told}")),
                        (None, "perplexity") => "validation_perplexity".to_owned(),
                        (None, told) => metric_name(told),
                    };
                    if let Some(value) = read.and_then(|number| number.value) {
                        telemetry.metrics.insert(key, value);
                    }
                }
            }
            found |= told == "loss";
        }
        if !found {
            return Err("the validation line was cut before its loss".into());
        }
        Ok(telemetry)
    }

    /// `steps: 10 loss: 9.1 iter time (s): 1.2 samples/sec: 13.3`
    fn steps(&mut self, line: &str) -> Result<TrainingTelemetry, String> {
        let mut telemetry = TrainingTelemetry::default();
        let mut rest = line;
        while let Some((name, after)) = rest.split_once(": ") {
            let after = after.trim_start();
            let (text, behind) = after.split_once(' ').unwrap_or((after, ""));
            match name.trim() {
                "steps" => telemetry.step = whole("steps", text)?,
                "loss" => {
                    let loss = number("loss", text)?;
                    (telemetry.loss, telemetry.loss_state) = (loss.value, loss.state);
                }
                "iter time (s)" => {
                    telemetry.step_time_ms = number("iter time", text)?.value.map(|s| s * 1e3)
                }
                name => {
                    if let Some(value) = Number::read(text).and_then(|number| number.value) {
                        telemetry.metrics.insert(metric_name(name), value);
                    }
                }
            }
            rest = behind;
        }
        Ok(telemetry)
    }
}

/// `43.7TFLOPS`, as GPT-NeoX writes it for people.
fn flops(text: &str) -> Option<f64> {
    let text = text.strip_suffix("FLOPS")?;
    let scale = match text.chars().last()? {
        'K' => 1e3,
        'M' => 1e6,
        'G' => 1e9,
        'T' => 1e12,
        'P' => 1e15,
        'E' => 1e18,
        _ => return Number::read(text)?.value,
    };
    Some(Number::read(&text[..text.len() - 1])?.value? * scale)
}

fn whole(name: &str, text: &str) -> Result<i64, String> {
    let text = text.trim();
    text.parse()
        .map_err(|_| format!("{name} is {text:?}, which is no whole number; the line is damaged"))
}

fn number(name: &str, text: &str) -> Result<Number, String> {
    let text = text.trim();
    Number::read(text)
        .ok_or_else(|| format!("{name} is {text:?}, which is no number; the line is damaged"))
}
