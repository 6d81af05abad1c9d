//! tau-bench: rewards, tool calls of all kinds of agents, pass^k.

use super::*;
use cairn_avro::record::ToolOutcome;

pub(super) const LIST: &str = r#"[
  {
    "task_id": 0, "reward": 1.0,
    "info": {"task": {"user_id": "u", "actions": [], "instruction": "SECRET", "outputs": []}, "user_cost": 0.01},
    "traj": [
      {"role": "system", "content": "SECRET policy"},
      {"role": "user", "content": "SECRET wish"},
      {"role": "assistant", "content": null, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "book", "arguments": "{\"x\": \"SECRET\"}"}}]},
      {"role": "tool", "tool_call_id": "c1", "name": "book", "content": "Error: SECRET does not add up"},
      {"role": "assistant", "content": null, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "think", "arguments": "{}"}}]},
      {"role": "tool", "tool_call_id": "c1", "name": "think", "content": ""},
      {"role": "assistant", "content": "SECRET goodbye", "tool_calls": null},
      {"role": "user", "content": "Bye! ###STOP###"}
    ],
    "trial": 0
  },
  {"task_id": 1, "reward": 0.0, "info": {}, "traj": [], "trial": 0},
  {"task_id": 0, "reward": 0.0, "info": {"error": "SECRET", "traceback": "SECRET"}, "traj": [], "trial": 1},
  {"task_id": 1, "reward": 1.0, "info": {}, "traj": [
    {"role": "assistant", "content": "Thought:\nSECRET\nAction:\n{\"name\": \"find\", \"arguments\": {\"q\": \"SECRET\"}}"},
    {"role": "user", "content": "API output: Unknown action find"},
    {"role": "assistant", "content": "Action: {\"name\": \"respond\", \"arguments\": {\"content\": \"SECRET\"}}"},
    {"role": "user", "content": "SECRET"},
    {"role": "assistant", "content": null, "function_call": {"name": "cancel", "arguments": "{}"}},
    {"role": "function", "name": "cancel", "content": "done"},
    {"role": "assistant", "content": null, "tool_calls": [{"id": "z", "function": {"name": "last"}}]}
  ], "trial": 1}
]
"#;

pub(super) const LINES: &str = r#"{"task_id":7,"trial":0,"reward":0.5,"traj":[{"role":"user","content":"SECRET"}],"info":{}}
{"task_id":7,"trial":1,"reward":1,"traj":[],"info":{}}
"#;

fn scores(out: &Out) -> Vec<(&str, &str, f64, Option<i64>)> {
    evaluations(out)
        .iter()
        .map(|score| {
            let value = score.value.expect("it has a value");
            (score.task.as_str(), score.metric.as_str(), value, score.n)
        })
        .collect()
}

#[test]
fn rewards_and_what_follows_from_them() {
    let out = read("tau_bench", LIST.as_bytes(), &setup());
    assert_eq!(
        scores(&out),
        [
            ("0/trial-0", "reward", 1.0, Some(1)),
            ("1/trial-0", "reward", 0.0, Some(1)),
            ("0/trial-1", "reward", 0.0, Some(1)),
            ("1/trial-1", "reward", 1.0, Some(1)),
            ("all", "reward", 0.5, Some(4)),
            ("all", "pass^1", 0.5, Some(2)),
            ("all", "pass^2", 0.0, Some(2)),
        ]
    );
    assert_eq!(rejects(&out), []);
    let lines = read("tau_bench", LINES.as_bytes(), &setup());
    assert_eq!(
        scores(&lines)[2..],
        [
            ("all", "reward", 0.75, Some(2)),
            ("all", "pass^1", 0.5, Some(1)),
            ("all", "pass^2", 0.0, Some(1)),
        ]
    );
}

#[test]
fn calls_of_every_kind_of_agent_have_outcomes() {
    let out = read("tau_bench", LIST.as_bytes(), &setup());
    let calls: Vec<_> = tools(&out)
        .iter()
        .map(|call| {
            (
                call.tool.as_str(),
                call.outcome,
                call.error_class.as_deref(),
                call.turn,
                call.task.as_deref(),
            )
        })
        .collect();
    let (first, second) = (Some("0/trial-0"), Some("1/trial-1"));
    assert_eq!(
        calls,
        [
            (
                "book",
                ToolOutcome::Failure,
                Some("tool_error"),
                Some(0),
                first
            ),
            ("think", ToolOutcome::Success, None, Some(1), first),
            (
                "find",
                ToolOutcome::Failure,
                Some("unknown_tool"),
                Some(0),
                second
            ),
            ("cancel", ToolOutcome::Success, None, Some(2), second),
            ("last", ToolOutcome::Unknown, None, Some(3), second),
        ]
    );
}

#[test]
fn bad_trajectories_are_rejects() {
    let text = br#"{"task_id":1,"reward":1,"traj":[]}
{"task_id":1,"reward":0,"traj":[]}
{"trial":0,"reward":1}
{"task_id":2,"trial":0,"reward":null}
{"task_id":3,"trial":0,"reward":NaN}
{"task_id":"four","trial":"a","reward":1,"traj":[7]}
[5,0,1,[]]
{"task_id":5,"rew
"#;
    let out = read("tau_bench", text, &setup());
    assert_eq!(
        rejects(&out),
        [
            ("missing_field", 3),
            ("missing_field", 4),
            ("not_finite", 5),
            ("bad_value", 6),
            ("json", 7),
            ("json", 8)
        ]
    );
    // trials that nobody numbered are counted; task 2 was never judged
    assert_eq!(
        scores(&out),
        [
            ("1/trial-0", "reward", 1.0, Some(1)),
            ("1/trial-1", "reward", 0.0, Some(1)),
            ("four/trial-a", "reward", 1.0, Some(1)),
            ("all", "reward", 0.5, Some(4)),
            ("all", "pass^1", 0.5, Some(3)),
        ]
    );
    let cut = &LIST[..LIST.len() - 10];
    assert_eq!(refused("tau_bench", cut).class, "json");
    assert_eq!(read("tau_bench", b"[]", &setup()).events, []);
}

/// SOURCE.md: 200 trajectories, published pass^k 0.420, 0.273, 0.220, 0.200.
#[test]
fn airline_trajectories_have_the_published_pass_hat_k() {
    let Some(out) = file("tau-bench-airline", "gpt-4o-airline.jsonl", "tau_bench") else {
        return;
    };
    assert_eq!(rejects(&out), []);
    let all: Vec<_> = scores(&out)
        .into_iter()
        .filter(|(task, ..)| *task == "all")
        .map(|(_, metric, value, n)| (metric.to_owned(), format!("{value:.3}"), n))
        .collect();
    let expected = [
        ("reward", "0.420", 200),
        ("pass^1", "0.420", 50),
        ("pass^2", "0.273", 50),
        ("pass^3", "0.220", 50),
        ("pass^4", "0.200", 50),
    ]
    .map(|(metric, value, n)| (metric.to_owned(), value.to_owned(), Some(n)));
    assert_eq!(all, expected);
    assert_eq!(scores(&out).len(), 205);
    let calls = tools(&out);
    let failed = calls
        .iter()
        .filter(|call| call.outcome == ToolOutcome::Failure)
        .count();
    assert_eq!((calls.len(), failed), (1164, 73));
}

pub(super) const SECOND: &str = r#"{
 "timestamp": "2025-06-01T10:00:00.1",
 "info": {"num_trials": 2, "agent_info": {"implementation": "llm_agent", "llm": "gpt-4.1"}, "environment_info": {"domain_name": "airline", "policy": "SECRET"}},
 "tasks": [{"id": "0", "user_scenario": {"instructions": "SECRET"}}],
 "simulations": [
  {"id": "u1", "task_id": "0", "trial": 0, "termination_reason": "user_stop", "reward_info": {"reward": 1.0, "reward_basis": ["DB"]}, "messages": [
    {"role": "assistant", "content": "SECRET", "tool_calls": null},
    {"role": "user", "content": null, "tool_calls": [{"id": "u", "name": "toggle", "arguments": {}, "requestor": "user"}]},
    {"role": "tool", "id": "u", "content": "SECRET", "requestor": "user", "error": false},
    {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "name": "find", "arguments": {"x": "SECRET"}, "requestor": "assistant"},
      {"id": "c2", "name": "book", "arguments": {}, "requestor": "assistant"}]},
    {"role": "tool", "id": "c1", "content": "{}", "requestor": "assistant", "error": false},
    {"role": "tool", "id": "c2", "content": "SECRET", "requestor": "assistant", "error": true}]},
  {"id": "u2", "task_id": "0", "trial": 1, "termination_reason": "max_steps", "reward_info": {"reward": 0.0}, "messages": []},
  {"id": "u3", "task_id": "1", "trial": 0, "termination_reason": "agent_error", "reward_info": null, "messages": null}
 ]
}
"#;

#[test]
fn tau2_writes_one_object() {
    assert_eq!(
        detect(SECOND.as_bytes(), false).map(Format::name),
        Ok("tau_bench")
    );
    let out = read("tau_bench", SECOND.as_bytes(), &setup());
    assert_eq!(
        scores(&out),
        [
            ("0/trial-0", "reward", 1.0, Some(1)),
            ("0/trial-1", "reward", 0.0, Some(1)),
            ("all", "reward", 0.5, Some(2)),
            // one of two trials: 1/2; both of two: 0
            ("all", "pass^1", 0.5, Some(1)),
            ("all", "pass^2", 0.0, Some(1)),
        ]
    );
    assert!(
        evaluations(&out)
            .iter()
            .all(|score| score.harness == "tau2-bench")
    );
    assert_eq!(tags(&out), ["model:gpt-4.1"]);
    let calls: Vec<_> = tools(&out)
        .iter()
        .map(|call| (call.tool.as_str(), call.outcome))
        .collect();
    assert_eq!(
        calls,
        [
            ("find", ToolOutcome::Success),
            ("book", ToolOutcome::Failure)
        ]
    );
    let rejects: Vec<_> = out
        .rejects
        .iter()
        .map(|reject| (reject.class, reject.position.line))
        .collect();
    assert_eq!(rejects, [("missing_field", 15)]);
    let text = SECOND.replace("simulations", "simulation_index");
    let out = read("tau_bench", text.as_bytes(), &setup());
    assert!(out.rejects[0].text.contains("as one JSON file"));
}
