//! The breaker against truth that is not ours: healthy GPT-2 runs, human labels of the BigScience chronicle, incidents
//! injected at known steps, and the ladder. `cargo test -p cairn-operators --test breaker_truth -- --nocapture` prints the table.

mod breaker_data;

use std::collections::BTreeMap;

use breaker_data::{Incident, Log, inject, ladder, megatron, nanogpt, trainer_state};
use cairn_operators::breaker::follow::FollowSettings;
use cairn_operators::breaker::replay::{BreakerRow, Replayed, Summary, replay};
use cairn_operators::breaker::{Cause, Plan, Preset, State};

fn settings(preset: Preset) -> FollowSettings {
    FollowSettings { rules: preset.rules(), ..FollowSettings::default() }
}

fn run(log: &Log, preset: Preset, plan: Option<Plan>) -> (Vec<Replayed>, Summary) {
    let plans: BTreeMap<String, Plan> = plan.map(|plan| (log.name.clone(), plan)).into_iter().collect();
    replay(log.breaker_rows(), &settings(preset), &plans)
}

fn planned(log: &Log) -> Option<Plan> {
    Some(Plan { steps_planned: Some(log.steps_planned), ..Plan::default() })
}

fn say(replayed: &[Replayed]) -> String {
    replayed.iter().map(|r| format!("\n    {:?} {} {:?} at {}: {}", r.decision.state, r.decision.rule, r.decision.cause, r.decision.at_step, r.decision.text)).collect()
}

#[test]
fn healthy_runs_never_trip() {
    for log in nanogpt() {
        for interval in [1, 2, 5, 10, 20, 50, 100] {
            for (preset, plan) in [(Preset::Pretraining, None), (Preset::Pretraining, planned(&log)), (Preset::FineTuning, None), (Preset::FineTuning, planned(&log))] {
                let (decisions, summary) = run(&log.every(interval), preset, plan.clone());
                if !decisions.is_empty() { println!("FAIL {} at interval {interval}, {preset:?}, plan {}: {}", log.name, plan.is_some(), say(&decisions)); }
            }
        }
    }
    if let Some(log) = trainer_state() {
        let (decisions, _) = run(&log, Preset::Pretraining, None);
        println!("HF {}", say(&decisions));
    }
}

#[test]
fn ladder_x() {
    for l in ladder() {
        let (d,_)=run(&l.log, Preset::Pretraining, Some(l.plan.clone()));
        println!("{} {} {}", l.log.name, l.log.rows.len(), say(&d));
        let (d,_)=run(&l.log, Preset::Pretraining, None);
        println!("  noplan {}", say(&d));
    }
}

#[test]
fn bigscience() {
    for file in ["tr8-104B-exp1.log", "tr8-104B-exp2.log"] {
        if let Some(log) = megatron(file) {
            let (d,_)=run(&log, Preset::Pretraining, None);
            println!("{file} {}", say(&d));
        }
    }
}

#[test]
fn incidents() {
    let incidents = [Incident::Ramp(0.02), Incident::Ramp(0.002), Incident::Jump(1.0), Incident::Spike(3.0, 30.0), Incident::Spike(3.0, 100.0), Incident::Spike(5.0, 30.0), Incident::Plateau, Incident::Degrade(0.1), Incident::Degrade(0.3), Incident::Nan];
    for log in nanogpt() {
        for interval in [1, 10] {
            for share in [0.3, 0.5, 0.7] {
                for incident in incidents {
                    let onset = (log.steps_planned as f64 * share) as i64;
                    let bad = inject(&log.every(1), incident, onset).every(interval);
                    let words = |preset, plan| {
                        let (d, s) = run(&bad, preset, plan);
                        d.iter().map(|r| format!("{:?}/{:?}+{}(on{:+})", r.decision.state, r.decision.cause, r.decision.at_step-onset, r.decision.onset_step.map_or(0,|o|o-onset))).collect::<Vec<_>>().join(" ") + if s.open_at_end>0 {" OPEN"} else {""}
                    };
                    println!("{:14} i{interval:2} {onset:5} {:16} {}  || ft {}", log.name, format!("{incident:?}"), words(Preset::Pretraining, planned(&log)), if log.steps_planned<2000 {words(Preset::FineTuning, planned(&log))} else {String::new()});
                }
            }
        }
    }
}
