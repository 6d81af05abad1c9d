//! MLflow's metric files: names from paths, lines of every version, and damage.

use super::super::fixtures::{read, training};
use super::*;
use cairn_avro::record::NumberState;

fn of(path: &str, text: &str) -> Out {
    let setup = Setup {
        run_id: MlFlow.run_of(path).unwrap_or_else(|| "r".into()),
        source: path.into(),
        ..Setup::default()
    };
    read("mlflow", text.as_bytes(), &setup)
}

const LOSS: &str = "mlruns/0/8a6f8c1e/metrics/train/loss";

#[test]
fn the_path_names_run_and_metric() {
    let out = of(LOSS, "1700000000123 2.5 10\n1700000001000 nan 20\n");
    let rows = training(&out);
    assert_eq!(
        (
            rows[0].run_id.as_str(),
            rows[0].step,
            rows[0].loss,
            rows[0].event_time_ms
        ),
        ("8a6f8c1e", 10, Some(2.5), Some(1_700_000_000_123))
    );
    assert_eq!(rows[1].loss_state, NumberState::Nan);
    let out = of(
        "file/8a6f/metrics/system/gpu 0 power",
        "1700000000123 250 0 data d41d8c\n",
    );
    assert_eq!(training(&out)[0].metrics["system_gpu_0_power"], 250.0);
    let out = of("val_loss", "1700000000123 2.5 10\n");
    assert_eq!(
        (
            training(&out)[0].run_id.as_str(),
            training(&out)[0].validation_loss
        ),
        ("r", Some(2.5))
    );
    let refused = |source: &str| {
        let setup = Setup {
            source: source.into(),
            ..Setup::default()
        };
        MlFlow.parser(&setup).is_err()
    };
    assert!(refused("-"));
}

#[test]
fn old_lines_and_restarts() {
    let rows = training(&of(LOSS, "1700000000123 2.5\n1700000000124 2.25\n"));
    assert_eq!((rows[0].step, rows[1].step), (0, 1));
    let rows = training(&of(
        LOSS,
        "1700000000123 2.5 10\n1700000000123 2.5 20\n1700000000123 2.5 15\n",
    ));
    assert_eq!((rows[1].attempt, rows[2].attempt), (0, 1));
}

#[test]
fn damage() {
    let out = of(
        LOSS,
        "1700000000123\nx 2.5 1\n1700000000123 y 1\n1700000000123 2.5 1.5\n17 2.5 1\n1700000000123 2.5 -1\n\n1700000000123 2.5 2",
    );
    let classes: Vec<_> = out.rejects.iter().map(|reject| reject.class).collect();
    assert_eq!(
        classes,
        [
            "bad_line",
            "bad_line",
            "bad_line",
            "bad_line",
            "out_of_range",
            "out_of_range",
            "partial_line"
        ]
    );
    assert_eq!((out.events.len(), out.ignored), (0, 1));
    let out = of("a/b/metrics/gpu", "1700000000123 inf 1\n");
    assert_eq!(out.rejects[0].class, "not_finite");
}

#[test]
fn a_compressed_file_is_the_same_metric() {
    assert_eq!(
        split("/mlruns/0/r/metrics/train/loss.gz"),
        Some(("r", "train/loss"))
    );
}

/// A damaged line costs itself, and not its file.
#[test]
fn a_file_with_a_bad_line_is_told() {
    let good = "1700000000123 2.5 1\n".repeat(9);
    let told = |text: String| MlFlow.detect(text.as_bytes());
    assert_eq!(told(format!("{good}17 2.5 1\n")), Confidence::Sure);
    assert!(matches!(
        told(format!("{good}17 2.5 1\nx\n")),
        Confidence::Perhaps(_)
    ));
    assert_eq!(told(format!("17 2.5 1\n{good}")), Confidence::No);
}
