//! Trajectories of tau-bench: conversations of an agent with a simulated user, and the tools that it calls.
//!
//! Published format: `EnvRunResult` in `tau_bench/types.py` of github.com/sierra-research/tau-bench, written by
//! `tau_bench/run.py` as a JSON list of `{task_id, reward, info, traj, trial}` and rewritten after each conversation; one object
//! a line is read as well. `traj` holds chat messages. Agents that call tools natively have `tool_calls` (before them
//! `function_call`) and answers of the role `tool`; the agents `act` and `react` write `Action: {"name", "arguments"}` into
//! their text and are answered by a user message that begins with `API output: ` (`tau_bench/agents/chat_react_agent.py`).
//!
//! Its successor, tau2-bench, writes one object: `Results` in `src/tau2/data_model/simulation.py` of
//! github.com/sierra-research/tau2-bench, `{timestamp, info, tasks, simulations}`. A simulation is a trajectory: `task_id`, `trial`,
//! `reward_info.reward`, `messages`, whose tool calls have a name of their own and whose tool messages say `error`. The agent's
//! model becomes a tag, and the harness is `tau2-bench`. Tools that the simulated user calls are not the agent's and are left
//! out; the times have no zone and are none. Results that were saved a file a simulation are refused.
//!
//! The reward of each task and trial is an `eval.results` event (task `<task_id>/trial-<trial>`, metric `reward`, n 1). Each
//! tool call is a `telemetry.tooluse` event: failed where its answer begins with `Error` or `Unknown action`, which is how the
//! environment answers (`tau_bench/envs/base.py`), unknown where it has no answer. Arguments and answers stay where they are.
//!
//! Derived at the end, under the task `all`: the mean reward over all trajectories, and pass^k as `display_metrics` of
//! `run.py` defines it (arXiv 2406.12045): the mean over tasks of C(c, k) / C(t, k), where c of the t trials of the task have
//! a reward of 1 (within 1e-6), for each k up to the number of trials that every task has. A trial that comes twice counts
//! once, as it was said last.

use super::super::outline::{ELEMENT, Outline};
use super::super::whole::{pieces, quoted_numbers, spans};
use super::super::{
    Confidence, Format, Framing, HEAD_BYTES, Out, Parser, Piece, Position, Refusal, Reject, Setup,
};
use super::{Mean, id, number, tags, unreadable};
use cairn_avro::record::{EvalResult, Payload, ToolOutcome, ToolUse};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

const TAU: &str = "tau-bench";
const TAU_2: &str = "tau2-bench";
const TOPIC: &str = "eval.results";

/// The format.
pub(in super::super) struct TauBench;

impl Format for TauBench {
    fn name(&self) -> &'static str {
        "tau_bench"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["tau-bench", "tau", "tau2", "tau2-bench", "tau2_bench"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        let outline = Outline::of(head);
        if is_second(&outline) {
            return Confidence::Sure;
        }
        if outline.has_all(&[], &["task_id", "termination_reason"]) {
            return Confidence::Perhaps(
                "it holds one simulation of tau2-bench; pass^k needs all of them, save the results as one JSON file",
            );
        }
        let root: [&[&str]; 2] = [&[ELEMENT], &[]];
        for at in root {
            if outline.has_all(at, &["task_id", "reward"])
                && outline.has_any(at, &["traj", "trial"])
            {
                return Confidence::Sure;
            }
            if outline.has_all(at, &["task_id", "traj"]) {
                return Confidence::Perhaps("it has trajectories, but no rewards");
            }
        }
        Confidence::No
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        Ok(Box::new(Trajectories {
            setup: setup.clone(),
            harness: TAU,
            model: None,
            tasks: BTreeMap::new(),
        }))
    }
}

/// Whether a document is of tau2-bench; the tasks, which are long, stand before the simulations.
fn is_second(outline: &Outline) -> bool {
    outline.has_all(&["info"], &["agent_info", "environment_info"])
        && outline.has_any(&[], &["tasks", "simulations"])
}

struct Trajectories {
    setup: Setup,
    harness: &'static str,
    /// The agent's model, until it was given out.
    model: Option<String>,
    /// Rewards by task and trial.
    tasks: BTreeMap<String, BTreeMap<String, f64>>,
}

#[derive(serde::Deserialize)]
struct Trajectory<'a> {
    #[serde(default)]
    task_id: Value,
    #[serde(default)]
    trial: Value,
    #[serde(default)]
    reward: Value,
    #[serde(default)]
    reward_info: Option<RewardInfo>,
    #[serde(borrow, default, alias = "messages")]
    traj: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
struct RewardInfo {
    #[serde(default)]
    reward: Value,
}

/// What tau2-bench writes.
#[derive(serde::Deserialize)]
struct Results<'a> {
    #[serde(default)]
    info: Info,
    #[serde(borrow, default)]
    simulations: Option<Vec<&'a RawValue>>,
}

#[derive(Default, serde::Deserialize)]
struct Info {
    #[serde(default)]
    agent_info: Agent,
}

#[derive(Default, serde::Deserialize)]
struct Agent {
    #[serde(default)]
    llm: Option<String>,
}

#[derive(serde::Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    role: Cow<'a, str>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<Call<'a>>>,
    #[serde(borrow, default)]
    function_call: Option<Function<'a>>,
    #[serde(borrow, default)]
    tool_call_id: Option<Cow<'a, str>>,
    /// Of tau2-bench: the call that a tool message answers, and whether it failed.
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(default)]
    error: Option<bool>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
}

#[derive(serde::Deserialize)]
struct Call<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
}

#[derive(serde::Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

/// A call and, once it came, how it ended.
struct Made<'a> {
    id: Option<Cow<'a, str>>,
    tool: String,
    turn: i32,
    ended: Option<(ToolOutcome, Option<&'static str>)>,
}

impl Parser for Trajectories {
    fn framing(&self) -> Framing {
        Framing::Whole
    }

    fn split(&mut self, document: Vec<u8>) -> Result<(Vec<u8>, Vec<Piece>), Reject> {
        let repaired = quoted_numbers(&document);
        let text = repaired.as_deref().unwrap_or(&document);
        // the shape shows at the beginning; the rest is read once
        let head = &text[..text.len().min(HEAD_BYTES)];
        if is_second(&Outline::of(head)) {
            return match self.simulations(&document, text) {
                Ok(pieces) => Ok((repaired.unwrap_or(document), pieces)),
                Err(Some(error)) => Err(unreadable(
                    document,
                    &error,
                    "results file of tau2-bench",
                    TOPIC,
                )),
                Err(None) => Err(Reject {
                    class: "missing_field",
                    text: "it has no simulations; tau2-bench may have saved each as a file beside it, save the results as one JSON file"
                        .into(),
                    topic: TOPIC.into(),
                    position: Position { line: 1, byte: 0 },
                    original: document,
                }),
            };
        }
        if text.trim_ascii_start().first() != Some(&b'[') {
            let pieces = spans(&document, text, objects(text).into_iter());
            return Ok((repaired.unwrap_or(document), pieces));
        }
        let found = serde_json::from_slice::<Vec<&RawValue>>(text)
            .map(|entries| pieces(&document, text, &entries));
        match found {
            Ok(pieces) => Ok((repaired.unwrap_or(document), pieces)),
            Err(error) => Err(unreadable(
                document,
                &error,
                "list of tau-bench trajectories",
                TOPIC,
            )),
        }
    }

    fn unit(&mut self, unit: &[u8], position: Position, out: &mut Out) -> Result<(), Refusal> {
        // serde would take a list for the members in their order
        if unit.trim_ascii_start().first() != Some(&b'{') {
            let text = "a trajectory is no object";
            out.reject("json", text.into(), TOPIC, position, unit);
            return Ok(());
        }
        if let Some(model) = self.model.take()
            && let Some(payload) = tags(&self.setup, [format!("model:{model}")])
        {
            out.event(payload, position, unit);
        }
        let trajectory: Trajectory<'_> = match serde_json::from_slice(unit) {
            Ok(trajectory) => trajectory,
            Err(error) => {
                let text = format!("a trajectory cannot be read: {error}");
                out.reject("json", text, TOPIC, position, unit);
                return Ok(());
            }
        };
        let Some(task_id) = id(&trajectory.task_id) else {
            let text = "a trajectory has no task_id; nobody could tell what was tried";
            out.reject("missing_field", text.into(), TOPIC, position, unit);
            return Ok(());
        };
        let trials = self.tasks.entry(task_id.clone()).or_default();
        // before trials were written down there was one file a trial
        let trial = id(&trajectory.trial).unwrap_or_else(|| trials.len().to_string());
        let task = format!("{task_id}/trial-{trial}");
        let reward = match &trajectory.reward_info {
            Some(info) => &info.reward,
            None => &trajectory.reward,
        };
        match number(reward) {
            Some(reward) => {
                trials.insert(trial, reward.value.unwrap_or(0.0));
                let score = EvalResult {
                    value: reward.value,
                    value_state: reward.state,
                    ..self.score(&task, "reward", None, 1)
                };
                out.event(Payload::EvalResult(score), position, unit);
            }
            None => {
                let text = format!("trajectory {task} has no reward that is a number");
                out.reject("missing_field", text, TOPIC, position, unit);
            }
        }
        match trajectory.traj.map(calls).unwrap_or_else(|| Ok(Vec::new())) {
            Ok(calls) => {
                for call in calls {
                    let (outcome, error_class) = call.ended.unwrap_or((ToolOutcome::Unknown, None));
                    let call = ToolUse {
                        run_id: self.setup.run_id.clone(),
                        attempt: self.setup.attempt,
                        tool: call.tool,
                        outcome,
                        error_class: error_class.map(str::to_owned),
                        turn: Some(call.turn),
                        task: Some(task.clone()),
                        ..ToolUse::default()
                    };
                    out.event(Payload::ToolUse(call), position, unit);
                }
            }
            Err(error) => {
                let text = format!("the messages of trajectory {task} cannot be read: {error}");
                out.reject("bad_value", text, "telemetry.tooluse", position, unit);
            }
        }
        Ok(())
    }

    fn end(&mut self, position: Position, out: &mut Out) -> Result<(), Refusal> {
        let mut rewards = Mean::default();
        for reward in self.tasks.values().flat_map(BTreeMap::values) {
            rewards.add(*reward);
        }
        if rewards.n == 0 {
            return Ok(());
        }
        let mean = self.score("all", "reward", Some(rewards.mean), rewards.n);
        out.event(Payload::EvalResult(mean), position, &[]);
        let tried: Vec<(usize, usize)> = self
            .tasks
            .values()
            .filter(|trials| !trials.is_empty())
            .map(|trials| {
                let passed = trials.values().filter(|reward| passed(**reward)).count();
                (passed, trials.len())
            })
            .collect();
        let trials = tried.iter().map(|(_, trials)| *trials).min().unwrap_or(0);
        for k in 1..=trials {
            let sum: f64 = tried.iter().map(|(c, t)| all_of(k, *c, *t)).sum();
            let value = sum / tried.len() as f64;
            let score = self.score("all", &format!("pass^{k}"), Some(value), tried.len() as i64);
            out.event(Payload::EvalResult(score), position, &[]);
        }
        Ok(())
    }
}

fn passed(reward: f64) -> bool {
    (reward - 1.0).abs() <= 1e-6
}

/// C(c, k) / C(t, k): how likely k of the t trials, drawn at random, are all among the c that passed.
fn all_of(k: usize, c: usize, t: usize) -> f64 {
    (0..k)
        .map(|i| c.saturating_sub(i) as f64 / (t - i) as f64)
        .product()
}

impl Trajectories {
    /// The simulations of a document of tau2-bench; an error, or none, where it has none.
    fn simulations(
        &mut self,
        document: &[u8],
        text: &[u8],
    ) -> Result<Vec<Piece>, Option<serde_json::Error>> {
        let results: Results<'_> = serde_json::from_slice(text).map_err(Some)?;
        self.harness = TAU_2;
        self.model = results.info.agent_info.llm;
        let simulations = results.simulations.ok_or(None)?;
        Ok(pieces(document, text, &simulations))
    }

    fn score(&self, task: &str, metric: &str, value: Option<f64>, n: i64) -> EvalResult {
        EvalResult {
            run_id: self.setup.run_id.clone(),
            attempt: self.setup.attempt,
            harness: self.harness.into(),
            task: task.to_owned(),
            metric: metric.to_owned(),
            value,
            n: Some(n),
            higher_is_better: Some(true),
            ..EvalResult::default()
        }
    }
}

/// Where the objects of a text stand that has one after the other. From the first one on that cannot be read, each line is
/// one: what is broken costs its line.
fn objects(text: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut stream = serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>();
    while let Some(Ok(object)) = stream.next() {
        let start = object.get().as_ptr() as usize - text.as_ptr() as usize;
        at = start + object.get().len();
        found.push((start, at));
    }
    for line in text[at..].split_inclusive(|byte| *byte == b'\n') {
        let object = line.trim_ascii();
        if !object.is_empty() {
            let start = object.as_ptr() as usize - text.as_ptr() as usize;
            found.push((start, start + object.len()));
        }
    }
    found
}

/// The tool calls of a conversation, with their outcomes.
fn calls(messages: &RawValue) -> Result<Vec<Made<'_>>, serde_json::Error> {
    let messages: Option<Vec<Message<'_>>> = serde_json::from_str(messages.get())?;
    let mut made: Vec<Made<'_>> = Vec::new();
    let mut turn = 0;
    for message in messages.unwrap_or_default() {
        let mut call = |id, tool: &str| {
            made.push(Made {
                id,
                tool: tool.to_owned(),
                turn,
                ended: None,
            });
        };
        match message.role.as_ref() {
            "assistant" => {
                let native = message.tool_calls.unwrap_or_default();
                let none = native.is_empty() && message.function_call.is_none();
                for native in native {
                    let name = native.function.map(|function| function.name);
                    if let Some(name) = name.or(native.name) {
                        call(native.id, &name);
                    }
                }
                if let Some(function) = message.function_call {
                    call(None, &function.name);
                }
                if none && let Some(tool) = message.content.and_then(action) {
                    call(None, &tool);
                }
                turn += 1;
            }
            "tool" | "function" => {
                let answers = message.tool_call_id.as_ref().or(message.id.as_ref());
                let answered = made.iter_mut().find(|made| {
                    made.ended.is_none()
                        && match (&made.id, answers) {
                            (Some(id), Some(answers)) => id == answers,
                            _ => message.name.as_ref().is_none_or(|name| *name == made.tool),
                        }
                });
                match (answered, message.error, message.content) {
                    (Some(made), Some(true), _) => {
                        made.ended = Some((ToolOutcome::Failure, Some("tool_error")));
                    }
                    (Some(made), Some(false), _) => {
                        made.ended = Some((ToolOutcome::Success, None));
                    }
                    (Some(made), None, Some(content)) => {
                        made.ended = Some(outcome(content.get(), "\""));
                    }
                    _ => {}
                }
            }
            "user" => {
                let open = made
                    .last_mut()
                    .filter(|made| made.id.is_none() && made.ended.is_none());
                if let (Some(made), Some(content)) = (open, message.content)
                    && content.get().starts_with("\"API output: ")
                {
                    made.ended = Some(outcome(content.get(), "\"API output: "));
                }
            }
            _ => {}
        }
    }
    Ok(made)
}

/// How a call ended, by the beginning of its answer; the answer as JSON.
fn outcome(answer: &str, before: &str) -> (ToolOutcome, Option<&'static str>) {
    let text = answer.strip_prefix(before).unwrap_or(answer);
    if text.starts_with("Error") {
        (ToolOutcome::Failure, Some("tool_error"))
    } else if text.starts_with("Unknown action") {
        (ToolOutcome::Failure, Some("unknown_tool"))
    } else {
        (ToolOutcome::Success, None)
    }
}

/// The tool that an agent names in its text; `respond` is speech.
fn action(content: &RawValue) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Action {
        name: String,
    }
    let text: String = serde_json::from_str(content.get()).ok()?;
    let (_, action) = text.rsplit_once("Action:")?;
    let action: Action = serde_json::from_str(action.trim()).ok()?;
    (action.name != "respond").then_some(action.name)
}
