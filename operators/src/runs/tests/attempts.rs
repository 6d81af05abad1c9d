//! What a restart does to a run's row: measures and ends go by attempt, whatever comes first.

use super::*;

/// Attempt 0 came to step 1000, attempt 1 began anew and finished at step 500 after 500,000 tokens.
fn restarted() -> Vec<Payload> {
    let row = |attempt, at: i64, loss| {
        Payload::TrainingTelemetry(TrainingTelemetry {
            run_id: "r".to_owned(),
            attempt,
            step: at,
            tokens: Some(at * 1000),
            loss: Some(loss),
            tokens_per_second: Some(at as f64),
            ..TrainingTelemetry::default()
        })
    };
    vec![
        row(0, 900, 2.2),
        row(0, 1000, 2.1),
        end(0, RunState::Crashed, 1000),
        row(1, 400, 2.6),
        row(1, 500, 2.5),
        end(1, RunState::Finished, 500),
    ]
}

/// All orders of `n` things (Heap's algorithm).
fn orders(n: usize) -> Vec<Vec<usize>> {
    fn go(k: usize, order: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
        if k <= 1 {
            all.push(order.clone());
            return;
        }
        for i in 0..k {
            go(k - 1, order, all);
            order.swap(if k.is_multiple_of(2) { i } else { 0 }, k - 1);
        }
    }
    let (mut order, mut all) = ((0..n).collect(), Vec::new());
    go(n, &mut order, &mut all);
    all
}

/// The row by what a law and a person read of it.
fn read(row: &ExperimentRow) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        (row.steps, row.tokens, row.status, row.attempt, row.attempts),
        (row.loss_last, row.loss_last_step, row.loss_min),
        (row.derived.flops, row.derived.model_flops_utilization),
    )
}

#[test]
fn steps_and_tokens_are_of_the_newest_attempt_whatever_the_order() {
    let config = Payload::RunConfig(Box::new(RunConfig {
        run_id: "r".to_owned(),
        model: Some(ModelConfig {
            parameters_total: Some(1000.0),
            ..ModelConfig::default()
        }),
        hardware: Some(cairn_avro::record::Hardware {
            accelerator_count: Some(1),
            peak_flops_per_second: Some(6e6),
            ..cairn_avro::record::Hardware::default()
        }),
        ..RunConfig::default()
    }));
    let events = restarted();
    let orders = orders(events.len());
    assert_eq!(orders.len(), 720);
    for order in orders {
        let mut bench = Bench::new();
        bench.send(config.clone());
        for place in &order {
            bench.send(events[*place].clone());
        }
        // 6 N D = 6 x 1000 x 500,000; 6 N x 500 tokens/s of 6e6 FLOP/s is a half.
        let mut expected = bench.row().clone();
        (expected.steps, expected.tokens) = (Some(500), Some(500_000));
        (expected.status, expected.attempt, expected.attempts) = (RunStatus::Finished, 1, 2);
        (expected.loss_last, expected.loss_last_step) = (Some(2.5), Some(500));
        expected.loss_min = Some(2.1);
        expected.derived.flops = Some(3e9);
        expected.derived.model_flops_utilization = Some(0.5);
        assert_eq!(read(bench.row()), read(&expected), "order {order:?}");
    }
}

#[test]
fn throughput_is_that_of_the_greatest_step_where_no_loss_is_logged() {
    let row = |at: i64| {
        Payload::TrainingTelemetry(TrainingTelemetry {
            run_id: "r".to_owned(),
            step: at,
            tokens_per_second: Some(at as f64),
            ..TrainingTelemetry::default()
        })
    };
    let mut bench = Bench::new();
    bench.send(Payload::RunConfig(Box::new(RunConfig {
        run_id: "r".to_owned(),
        model: Some(ModelConfig {
            parameters_total: Some(1000.0),
            ..ModelConfig::default()
        }),
        hardware: Some(cairn_avro::record::Hardware {
            accelerator_count: Some(1),
            peak_flops_per_second: Some(6e6),
            ..cairn_avro::record::Hardware::default()
        }),
        ..RunConfig::default()
    })));
    bench.send(row(500)).send(row(250));
    assert_eq!(bench.row().derived.model_flops_utilization, Some(0.5));
}

#[test]
fn an_end_of_a_replaced_attempt_that_comes_late_leaves_the_run_finished() {
    let mut bench = Bench::new();
    bench
        .send(step(1, 100, 2.0))
        .send(end(1, RunState::Finished, 100))
        .send(end(0, RunState::Crashed, 50));
    let row = bench.row();
    assert_eq!(
        (row.status, row.attempt, row.attempts, row.steps),
        (RunStatus::Finished, 1, 2, Some(100))
    );
}

#[test]
fn a_fact_of_a_newer_attempt_says_that_the_run_goes_on() {
    let score = Payload::EvalResult(EvalResult {
        run_id: "r".to_owned(),
        attempt: 1,
        ..EvalResult::default()
    });
    let crash = end(0, RunState::Crashed, 50);
    for (first, second) in [(&score, &crash), (&crash, &score)] {
        let mut bench = Bench::new();
        bench.send(first.clone()).send(second.clone());
        assert_eq!(bench.row().status, RunStatus::Running);
    }
}

/// The status is the run's own word: rows of the same attempt that come after it amend the row, and open windows again.
#[test]
fn what_a_run_said_of_its_end_stands_until_a_newer_attempt() {
    let mut bench = Bench::new();
    bench
        .send(step(0, 1000, 3.0))
        .send(end(0, RunState::Finished, 1000))
        .send(step(0, 1500, 2.9));
    assert_eq!(
        (bench.row().status, bench.row().steps),
        (RunStatus::Finished, Some(1500))
    );
    assert_eq!(bench.windows(), [(1000, 1)], "the window of 1500 is open");
    bench.send(step(1, 1400, 2.9));
    assert_eq!(bench.row().status, RunStatus::Running);
}
