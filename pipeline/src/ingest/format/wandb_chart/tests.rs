//! Charts of W&B: several runs in one file, axes, and damage.

use super::super::fixtures::{check, training};
use super::*;

pub(in super::super) const CHART: &str = "\"Step\",\"run - a - train/loss\",\"run - a - train/loss__MIN\",\"run - a - train/loss__MAX\",\"b - train/loss\",\"b - train/loss__MIN\",\"b - train/loss__MAX\"\n\"10\",\"2.5\",\"2.5\",\"2.5\",\"\",\"\",\"\"\n\"20\",\"2.25\",\"2\",\"3\",\"1.5\",\"1.5\",\"1.5\"\n";

#[test]
fn a_column_is_a_run() {
    let out = check("wandb_chart", CHART.as_bytes());
    let rows: Vec<_> = training(&out)
        .iter()
        .map(|row| (row.run_id.clone(), row.step, row.loss))
        .collect();
    assert_eq!(
        rows,
        [
            ("run - a".to_owned(), 10, Some(2.5)),
            ("run - a".to_owned(), 20, Some(2.25)),
            ("b".to_owned(), 20, Some(1.5))
        ]
    );
    assert_eq!((out.rejects.len(), out.ignored), (0, 1));
    let takes = |text: &str| WandbChart.takes_run_id(text.as_bytes(), "x", None).is_ok();
    assert!(!takes(CHART) && takes("Step,a - loss,a - loss__MIN\n"));
}

#[test]
fn damage() {
    let out = check(
        "wandb_chart",
        b"Step,a - loss,a - loss__MIN\n1\nx,1,1\n1.5,1,1\n2,nan,1\n3,\"open\n4,1,1\n",
    );
    let classes: Vec<_> = out.rejects.iter().map(|reject| reject.class).collect();
    assert_eq!(classes, ["bad_row", "bad_row", "bad_row", "bad_row"]);
    assert_eq!(training(&out).len(), 1);
    let refuses = |text: &[u8]| {
        let mut parser = WandbChart
            .parser(&Setup::default())
            .expect("it needs nothing");
        parser
            .unit(text, Position::default(), &mut Out::default())
            .expect_err("it is no chart over steps")
            .0
    };
    assert!(refuses(b"Relative Time (Process),a - loss,a - loss__MIN").contains("x-axis"));
    assert!(refuses(b"Step,loss").contains("--map"));
}
