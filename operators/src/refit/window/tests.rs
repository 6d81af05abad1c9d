use super::*;

fn bounds(over: &Over, places: &[i64], after: Option<i64>) -> Vec<(i64, i64)> {
    let found = over.instances(places, after, 4).chosen.into_iter();
    found.map(|bounds| (bounds.start, bounds.end)).collect()
}

#[test]
fn windows_by_count_are_full_ones() {
    let places: Vec<i64> = (0..10).collect();
    let tumbling = Over::TumblingCount { rows: 4 };
    assert_eq!(bounds(&tumbling, &places[..3], None), []);
    assert_eq!(bounds(&tumbling, &places[..4], None), [(0, 4)]);
    assert_eq!(bounds(&tumbling, &places, None), [(0, 4), (4, 8)]);
    assert_eq!(bounds(&tumbling, &places, Some(4)), [(4, 8)]);
    // Nothing is new, but the newest may have changed.
    assert_eq!(bounds(&tumbling, &places, Some(8)), [(4, 8)]);
    let sliding = Over::SlidingCount { rows: 4, step: 3 };
    assert_eq!(bounds(&sliding, &places, None), [(0, 4), (3, 7), (6, 10)]);
    assert_eq!(bounds(&sliding, &places[..9], Some(4)), [(3, 7)]);
    let newest = Over::SlidingCount { rows: 4, step: 1 };
    let expected = [(3, 7), (4, 8), (5, 9), (6, 10)];
    assert_eq!(bounds(&newest, &places, None), expected, "the newest four");
}

#[test]
fn windows_by_time_are_closed_by_a_row_behind_them() {
    let hours = Over::TumblingTime { ms: 60 };
    assert_eq!(bounds(&hours, &[5, 59], None), []);
    assert_eq!(bounds(&hours, &[5, 59, 60], None), [(0, 60)]);
    // Nobody came between 120 and 600: windows without rows are none.
    assert_eq!(
        bounds(&hours, &[5, 70, 119, 610], None),
        [(0, 60), (60, 120)]
    );
    assert_eq!(bounds(&hours, &[-10, 5], None), [(-60, 0)]);
    let sliding = Over::SlidingTime {
        ms: 60,
        step_ms: 20,
    };
    // Ends at 20, 40, 60, 80: the row at 65 is in those that end at 80, 100 and 120, of which 80 is closed by 81.
    assert_eq!(
        bounds(&sliding, &[5, 65, 81], None),
        [(-40, 20), (-20, 40), (0, 60), (20, 80)]
    );
    assert_eq!(bounds(&sliding, &[5, 65, 81], Some(60)), [(20, 80)]);
}

/// More windows close at once than an ask may fit: the older ones are counted, each once, and those without a row are none.
#[test]
fn windows_that_are_too_many_are_counted() {
    let check = |over: Over, places: &[i64], after, most, expected: (usize, i64)| {
        let found = over.instances(places, after, most);
        let counted = (found.chosen.len(), found.passed_over);
        assert_eq!(
            counted, expected,
            "{over:?} after {after:?}, at most {most}"
        );
    };
    let rows: Vec<i64> = (0..100).collect();
    // Ends 20, 30, …, 100: nine windows.
    let sliding = || Over::SlidingCount { rows: 20, step: 10 };
    check(sliding(), &rows, None, 9, (9, 0));
    check(sliding(), &rows, None, 4, (4, 5));
    check(sliding(), &rows, Some(50), 4, (4, 1));
    check(sliding(), &rows, Some(60), 4, (4, 0));
    check(sliding(), &rows, Some(100), 4, (1, 0));
    let tumbling = || Over::TumblingCount { rows: 25 };
    check(tumbling(), &rows, None, 1, (1, 3));
    check(tumbling(), &rows[..99], None, 1, (1, 2));
    // Rows in the windows that end at 60, 120 and 660; 1000 closes that of 660. Between 120 and 600 there is nobody.
    let hours = || Over::TumblingTime { ms: 60 };
    check(hours(), &[5, 70, 119, 610, 1000], None, 1, (1, 2));
    check(hours(), &[5, 70, 119, 610, 1000], Some(60), 1, (1, 1));
    check(hours(), &[5, 70, 119, 610, 1000], Some(120), 1, (1, 0));
    // Ends at 20, 40, 60 hold the row at 5, those at 80 and 100 that at 65; 101 closes them. One at 120 is open.
    let sliding = || Over::SlidingTime {
        ms: 60,
        step_ms: 20,
    };
    check(sliding(), &[5, 65, 101], None, 2, (2, 3));
    check(sliding(), &[5, 65, 101], Some(40), 1, (1, 2));
}

#[test]
fn a_window_that_loses_rows_is_refused() {
    assert!(Over::SlidingCount { rows: 4, step: 5 }.check().is_err());
    assert!(Over::TumblingTime { ms: 0 }.check().is_err());
    let thin = Over::SlidingTime {
        ms: 86_400_000,
        step_ms: 1,
    };
    assert!(thin.check().is_err());
    assert!(Over::SlidingCount { rows: 4, step: 1 }.check().is_ok());
}

/// Fits of before windows were chosen by these words, and are compared by them.
#[test]
fn the_plain_window_asks_as_it_always_did() {
    let expected = "SELECT run_id, parameters AS n, tokens AS d, loss, weight FROM rows WHERE status = 'finished' AND parameters > 0 AND tokens > 0 AND loss > 0 AND (TRUE) ORDER BY run_id";
    assert_eq!(WindowRule::default().sql("TRUE"), expected);
    let said = WindowRule {
        columns: COLUMNS
            .map(|(name, sql)| (name.to_owned(), sql.to_owned()))
            .into(),
        ..WindowRule::default()
    };
    assert_eq!(said.sql("TRUE"), expected);
}

#[test]
fn a_window_is_said_in_yaml() {
    let rule: WindowRule = serde_yaml_ng::from_str(
        "name: weekly\ncohorts: [grid]\nover: {kind: sliding_time, ms: 604800000, step_ms: 86400000}\nlaw: power\ncolumns: {c: flops, loss: loss_train}\ngroup: optimizer\n",
    )
    .expect("valid");
    assert_eq!(rule.subject("grid"), "grid@weekly");
    assert!(rule.covers("acme", "grid") && !rule.covers("acme", "jump"));
    assert_eq!(
        rule.sql("depth_layers > 2"),
        "SELECT run_id, (flops) AS \"c\", (loss_train) AS \"loss\", weight, CAST((optimizer) AS VARCHAR) AS \"group\", CAST((last_event_time_ms) AS BIGINT) AS place FROM rows WHERE status = 'finished' AND (depth_layers > 2)"
    );
    let unknown: Result<WindowRule, _> = serde_yaml_ng::from_str("over: {kind: hopping}");
    assert!(unknown.is_err());
}
