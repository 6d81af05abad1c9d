//! What a replayed dead letter, a restart and a drain see: the same as if nothing had happened between.

use super::*;

/// DESIGN 3.5: a replay re-enters under the original event id.
#[test]
fn a_replayed_dead_letter_is_taken_once_it_can_be() {
    let mut bench = Bench::new();
    bench
        .send(step(0, 49, 3.0))
        .send_as(b"leap", step(0, 5_000_000, 2.9));
    assert!(matches!(
        bench.outputs.last(),
        Some(Output::Dead(dead)) if dead.class == "out_of_range"
    ));
    assert_eq!(bench.row().steps, Some(49));
    let mut rules = RunsRules::default();
    rules.follow.time.step_jump_cap = 1_000_000_000;
    bench.restart(rules);
    bench.send_as(b"leap", step(0, 5_000_000, 2.9));
    assert_eq!(
        (bench.row().steps, bench.row().loss_last, bench.duplicates),
        (Some(5_000_000), Some(2.9), 0)
    );
    bench.send_as(b"leap", step(0, 5_000_000, 2.9));
    assert_eq!(bench.duplicates, 1, "taken once");
}

#[test]
fn a_row_that_is_refused_twice_is_a_dead_letter_twice() {
    let mut bench = Bench::new();
    bench.send(step(0, 49, 3.0));
    for _ in 0..2 {
        bench.send_as(b"leap", step(0, 5_000_000, 2.9));
    }
    let dead = |output: &&Output| matches!(output, Output::Dead(_));
    assert_eq!(bench.outputs.iter().filter(dead).count(), 2);
    assert_eq!(bench.duplicates, 0);
}

#[test]
fn a_late_row_sent_twice_is_late_once() {
    let mut bench = Bench::new();
    bench.send(step(1, 90, 3.1));
    for _ in 0..2 {
        bench.send_as(b"old", step(0, 101, 0.5));
    }
    let late = |output: &&Output| matches!(output, Output::Late(_));
    assert_eq!(
        (bench.outputs.iter().filter(late).count(), bench.duplicates),
        (1, 1)
    );
}

/// A drain after a restart ends the run at the core's wall time, and cites what the run said last.
#[test]
fn a_drain_after_a_restart_knows_time_and_place() {
    let rules = RunsRules::default();
    let mut bench = Bench::new();
    for at in 0..30 {
        bench.send(step(0, at, 3.0));
    }
    bench
        .send_as(b"bad", nan(30))
        .send(end(0, RunState::Finished, 100));
    let (last, wall_ms) = (bench.offset - 1, START_MS + bench.offset - 1);
    bench.restart(rules.clone()).drain();
    assert_eq!(bench.windows(), [(0, 31)]);
    assert_eq!(
        bench.core.endings.get("default/r"),
        Some(&(wall_ms + rules.forget_after_end_ms))
    );
    assert_eq!(
        bench
            .core
            .followed
            .get("default/r")
            .and_then(|run| run.last),
        Some((3, last))
    );
}

fn nan(step: i64) -> Payload {
    Payload::TrainingTelemetry(TrainingTelemetry {
        run_id: "r".to_owned(),
        step,
        loss_state: cairn_avro::record::NumberState::Nan,
        ..TrainingTelemetry::default()
    })
}

/// A record by its offset: thirty-two runs that start, stall, end and come again over some days.
fn input(random: &mut watch::Random, offset: i64) -> Input {
    let mut input = watch::input(random, offset);
    if let Input::Events(events) = &mut input {
        for event in &mut events.events {
            if let Payload::TrainingTelemetry(telemetry) = &mut event.payload {
                telemetry.step += offset / 2;
                event.clock = Some(telemetry.step);
                if random.below(20) == 0 {
                    telemetry.loss = None;
                    telemetry.loss_state = cairn_avro::record::NumberState::Nan;
                }
            }
        }
    }
    input
}

/// What 600 records of this seed cause, cut into batches by `cut`; after a batch: commit, or commit and restart, or abort and
/// again.
fn outcome(seed: u64, cut: u64) -> (Vec<Output>, Vec<(String, ExperimentRow)>) {
    let (mut random, mut cutter) = (watch::Random(seed), watch::Random(cut));
    let mut now_ms = START_MS;
    let mut records = Vec::new();
    for offset in 0..600 {
        now_ms += match random.below(200) {
            0 => 90_000_000,
            1..=20 => 2_000 + random.below(8_000),
            _ => random.below(300),
        };
        records.push((now_ms, input(&mut random, offset)));
    }
    let mut core = Runs::new(watch::rules());
    let (mut changelog, mut outputs) = (Vec::new(), Vec::new());
    let mut rows = std::collections::BTreeMap::new();
    let mut from = 0;
    while from < records.len() {
        let length = if cut == 0 { 600 } else { 1 + cutter.below(9) };
        let to = records.len().min(from + length as usize);
        let mut emit = Emit::default();
        let abort = cut > 0 && cutter.below(4) == 0;
        for pass in 0..=u8::from(abort) {
            if pass > 0 {
                emit.take();
                core.discard();
            }
            for (offset, (append_time_ms, input)) in records.iter().enumerate().take(to).skip(from)
            {
                let at = At {
                    topic: "runs.events",
                    partition: 0,
                    offset: offset as i64,
                    append_time_ms: *append_time_ms,
                };
                core.apply(&at, input.clone(), &mut emit);
            }
            core.flush(&mut emit);
        }
        for emitted in emit.take() {
            match emitted.output {
                // How often a row is published between is the batches' affair.
                Output::Row(row) => {
                    rows.insert(row.run_id.clone(), row);
                }
                output => outputs.push(output),
            }
        }
        changelog.extend(core.changes());
        core.merge();
        if cut > 0 && cutter.below(3) == 0 {
            core = watch::restored(&changelog);
        }
        from = to;
    }
    (outputs, rows.into_iter().collect())
}

/// DESIGN 3.6: same offsets, same outputs, however they are cut into batches and whoever dies between.
#[test]
fn batches_aborts_and_restarts_leave_no_trace_in_the_outputs() {
    let mut said = [0; 5];
    for seed in 0..8 {
        let (outputs, rows) = outcome(seed, 0);
        for output in &outputs {
            let kind = match output {
                Output::Window(_) => 0,
                Output::Late(_) => 1,
                Output::Verdict(_) => 2,
                Output::Dead(_) => 3,
                _ => 4,
            };
            said[kind] += 1;
        }
        for cut in 1..=6 {
            let (cut_outputs, cut_rows) = outcome(seed, cut);
            for (place, (one, other)) in outputs.iter().zip(&cut_outputs).enumerate() {
                assert_eq!(one, other, "seed {seed}, cut {cut}, output {place}");
            }
            assert_eq!(outputs.len(), cut_outputs.len(), "seed {seed}, cut {cut}");
            assert!(rows == cut_rows, "rows: seed {seed}, cut {cut}");
        }
    }
    println!("seeds 0 to 7: {said:?} windows, late, verdicts, dead, telegrams");
    assert!(said.iter().all(|times| *times > 20), "{said:?}");
}
