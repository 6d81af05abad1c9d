use super::*;
use cairn_avro::record::{ModelConfig, RunStatus};
use cairn_operators::refit::{Over, WindowRule, instance_sql, places_sql, window_sql};

fn row(run_id: &str, status: RunStatus, tags: &[&str]) -> ExperimentRow {
    ExperimentRow {
        tenant: "default".to_owned(),
        run_id: run_id.to_owned(),
        status,
        tokens: Some(1000),
        steps: Some(1000),
        loss_last: Some(3.0),
        validation_loss_last: Some(2.5),
        validation_loss_step: Some(1000),
        model: ModelConfig {
            parameters_total: Some(100.0),
            ..ModelConfig::default()
        },
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..ExperimentRow::default()
    }
}

fn observations(rows: &[ExperimentRow], sql: &str) -> Result<Table, String> {
    let law = Law::named("hoffmann").expect("a built-in law");
    let window = Rows::new(rows, 1 << 26)?.window(sql, &law)?;
    Ok(window.study)
}

#[test]
fn a_window_chooses_finished_runs_of_its_cohort_in_order() {
    let rows = [
        row("b", RunStatus::Finished, &["grid"]),
        row("a", RunStatus::Finished, &["grid", "x"]),
        row("c", RunStatus::Running, &["grid"]),
        row("d", RunStatus::Finished, &["jump"]),
    ];
    let found = observations(&rows, &window_sql("array_has(tags, 'grid')")).expect("valid SQL");
    assert_eq!(found.run_ids, ["a", "b"]);
    assert_eq!(
        (
            found.columns["n"][0],
            found.columns["d"][0],
            found.response[0]
        ),
        (100.0, 1000.0, 2.5)
    );
}

/// D counts the tokens of the whole run: a loss from its middle does not belong to it.
#[test]
fn a_validation_counts_where_it_is_of_the_end() {
    let of = |validation_loss_step, loss_last| {
        final_loss(&ExperimentRow {
            validation_loss_step,
            loss_last,
            ..row("a", RunStatus::Finished, &[])
        })
    };
    let (validation, training) = (LossKind::Validation, LossKind::Training);
    assert_eq!(of(Some(1000), Some(3.0)), Some((2.5, validation)));
    assert_eq!(of(Some(990), Some(3.0)), Some((2.5, validation)));
    assert_eq!(of(Some(989), Some(3.0)), Some((3.0, training)));
    assert_eq!(of(Some(500), Some(3.0)), Some((3.0, training)));
    assert_eq!(of(None, Some(3.0)), Some((3.0, training)));
    assert_eq!(of(Some(500), None), None);
    let early = ExperimentRow {
        validation_loss_step: Some(500),
        ..row("a", RunStatus::Finished, &[])
    };
    let found = observations(&[early], &window_sql("loss_kind = 'training'"));
    assert_eq!(found.expect("valid SQL").response, [3.0]);
}

/// Runs end at 0, 10, … 90, told in another order than their names, one without a time; expected by hand.
#[test]
fn windows_hold_the_rows_of_their_place_and_time() {
    let ends = [40, 0, 90, 20, 70, 10, 60, 30, 80, 50];
    let mut rows: Vec<ExperimentRow> = ends
        .iter()
        .enumerate()
        .map(|(number, end)| ExperimentRow {
            last_event_time_ms: Some(*end),
            ..row(&format!("r{number}-{end}"), RunStatus::Finished, &[])
        })
        .collect();
    rows.push(row("timeless", RunStatus::Finished, &[]));
    rows.push(row("running", RunStatus::Running, &[]));
    rows.sort_by(|a, b| a.run_id.cmp(&b.run_id));
    let law = Law::named("hoffmann").expect("a built-in law");
    let held = |over: Over, order_by: &str| -> Vec<Vec<String>> {
        let rule = WindowRule {
            over,
            order_by: order_by.to_owned(),
            ..WindowRule::default()
        };
        let rows = Rows::new(&rows, 1 << 26).expect("a session");
        let sql = rule.sql("TRUE");
        let places = rows.places(&places_sql(&sql)).expect("valid SQL");
        let instances = rule.over.instances(&places, None, 4);
        instances
            .chosen
            .into_iter()
            .map(|bounds| {
                let window = rows.window(&instance_sql(&sql, bounds), &law);
                let ids = window.expect("valid SQL").study.run_ids.into_iter();
                let end = |id: String| id.split_once('-').map_or("–", |(_, end)| end).to_owned();
                let mut ends: Vec<String> = ids.map(end).collect();
                ends.sort();
                ends
            })
            .collect()
    };
    let event_time = "last_event_time_ms";
    assert_eq!(
        held(Over::TumblingCount { rows: 4 }, event_time),
        [vec!["0", "10", "20", "–"], vec!["30", "40", "50", "60"]],
        "a run without a time comes first; three wait for a fourth"
    );
    assert_eq!(
        held(Over::TumblingCount { rows: 4 }, "-last_event_time_ms"),
        [vec!["70", "80", "90", "–"], vec!["30", "40", "50", "60"]]
    );
    assert_eq!(
        held(Over::SlidingCount { rows: 3, step: 3 }, event_time),
        [
            vec!["0", "10", "–"],
            vec!["20", "30", "40"],
            vec!["50", "60", "70"]
        ]
    );
    assert_eq!(
        held(Over::TumblingTime { ms: 40 }, event_time),
        [vec!["0", "10", "20", "30"], vec!["40", "50", "60", "70"]],
        "without a time in none; 80 and 90 are not closed"
    );
    assert_eq!(
        held(
            Over::SlidingTime {
                ms: 40,
                step_ms: 20
            },
            event_time
        ),
        [
            vec!["0", "10"],
            vec!["0", "10", "20", "30"],
            vec!["20", "30", "40", "50"],
            vec!["40", "50", "60", "70"]
        ]
    );
}

#[test]
fn sql_that_does_not_run_says_why() {
    let error = observations(&[], &window_sql("colour = 'red'")).expect_err("no such column");
    assert!(error.contains("colour"), "{error}");
}

#[test]
fn every_column_is_described() {
    let batch = table(&[]).expect("an empty table");
    let schema = batch.schema();
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    assert_eq!(
        names,
        COLUMNS.iter().map(|(name, _)| *name).collect::<Vec<_>>()
    );
}
