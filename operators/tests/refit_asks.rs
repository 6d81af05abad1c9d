//! When a law is asked for anew: as soon as a fit could see the difference, and not before.

use cairn_avro::record::{ExperimentRow, RunStatus};
use cairn_operators::operator::{At, Emit, Output};
use cairn_operators::refit::{Input, Refit, RefitRules};

const START_MS: i64 = 1_800_000_000_000;

/// How many fits each row leads to, with an hour between rows and no answer in between.
fn asks(rows: &[ExperimentRow]) -> Vec<usize> {
    let mut core = Refit::new(RefitRules::default());
    let mut offset = 0;
    let mut told = |core: &mut Refit, input: Input| {
        let at = At {
            topic: "experiments.rows",
            partition: 0,
            offset,
            append_time_ms: START_MS + offset * 3_600_000,
        };
        offset += 1;
        let mut emit = Emit::default();
        core.apply(&at, input, &mut emit);
        let asks = emit
            .take()
            .into_iter()
            .filter_map(|emitted| match emitted.output {
                Output::Ask(ask) => Some(ask),
                _ => None,
            });
        asks.collect::<Vec<_>>()
    };
    let mut counts = Vec::new();
    for row in rows {
        let key = format!("default/{}", row.run_id);
        let mut count = told(
            &mut core,
            Input::Row {
                key,
                row: Some(row.clone()),
            },
        )
        .len();
        for ask in told(&mut core, Input::Tick) {
            count += 1;
            // Its answer, that there is no law, makes room for the next.
            let answer = cairn_avro::record::Answer {
                ask_id: ask.ask_id,
                tenant: ask.tenant,
                ok: false,
                ..cairn_avro::record::Answer::default()
            };
            told(&mut core, Input::Answer(answer));
        }
        counts.push(count);
    }
    counts
}

fn row(status: RunStatus) -> ExperimentRow {
    ExperimentRow {
        tenant: "default".to_owned(),
        run_id: "r".to_owned(),
        status,
        tokens: Some(1000),
        steps: Some(10),
        loss_last: Some(3.0),
        validation_loss_last: Some(3.1),
        validation_loss_step: Some(10),
        ..ExperimentRow::default()
    }
}

#[test]
fn a_run_that_is_under_way_costs_no_fit() {
    use RunStatus::{Finished, Planned, Running};
    let rows = [Planned, Running, Running, Finished, Finished, Running].map(row);
    assert_eq!(
        asks(&rows),
        [0, 0, 0, 1, 0, 1],
        "begins, ends, begins again"
    );
}

#[test]
fn a_fit_sees_where_the_run_ended_and_where_its_validation_was() {
    let first = row(RunStatus::Finished);
    let longer = ExperimentRow {
        steps: Some(2000),
        ..first.clone()
    };
    let later = ExperimentRow {
        validation_loss_step: Some(2000),
        ..longer.clone()
    };
    let renamed = ExperimentRow {
        retries: 7,
        ..later.clone()
    };
    assert_eq!(asks(&[first, longer, later, renamed]), [1, 1, 1, 0]);
}
