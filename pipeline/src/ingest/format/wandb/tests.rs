//! W&B histories: JSON Lines, CSV, whose step counts, and damage.

use super::super::fixtures::{check, training};
use super::*;
use cairn_avro::record::NumberState;

#[test]
fn rows_of_json() {
    let out = check(
        "wandb",
        br#"{"_step": 0, "_runtime": 1.5, "_timestamp": 1700000000.25, "train/loss": 2.5, "train/lr": 0.001, "text": "secret"}
{"_step": 1, "_timestamp": 1700000001, "train": {"loss": NaN, "deep": {"x": 3}}, "img": {"_type": "image-file", "size": 7}}
{"_step": 2, "train/loss": "Infinity", "val/loss": 3.5, "_wandb": {"runtime": 5}}
{"_step": 3, "note": "secret", "flag": true}
"#,
    );
    let rows = training(&out);
    assert_eq!((rows.len(), out.rejects.len(), out.ignored), (3, 0, 1));
    assert_eq!(
        (
            rows[0].step,
            rows[0].loss,
            rows[0].learning_rate,
            rows[0].event_time_ms
        ),
        (0, Some(2.5), Some(0.001), Some(1_700_000_000_250))
    );
    assert_eq!(rows[0].metrics["runtime_ms"], 1500.0);
    assert_eq!(
        (rows[1].loss_state, rows[1].metrics["train_deep_x"]),
        (NumberState::Nan, 3.0)
    );
    assert_eq!(rows[1].metrics.len(), 1);
    assert_eq!(
        (rows[2].loss_state, rows[2].validation_loss),
        (NumberState::PositiveInfinity, Some(3.5))
    );
    assert!(!format!("{:?}", out.events).contains("secret"));
}

#[test]
fn the_training_codes_own_step_counts() {
    let out = check(
        "wandb",
        br#"{"_step": 0, "train/global_step": 100, "train/loss": 2.5}
{"_step": 1, "eval/loss": 2.75}
{"_step": 2, "train/global_step": 200, "train/loss": 2.25}
{"_step": 3, "train/global_step": 150, "train/loss": 2.25}
"#,
    );
    let rows: Vec<_> = training(&out)
        .iter()
        .map(|row| (row.attempt, row.step))
        .collect();
    assert_eq!(rows, [(0, 100), (0, 100), (0, 200), (1, 150)]);
}

#[test]
fn rows_of_csv() {
    let out = check(
        "wandb",
        b"\xef\xbb\xbf,_step,_runtime,_timestamp,\"train/loss\",note,gradients/norm\n0,0,1.0,1700000000.0,2.5,\"a, \"\"b\"\"\nsecret\",\n1,1,,,,\"\",7\n2,2.0,2.0,1700000001.5,nan,x,1.0\n3,3,1,1700000002,2.0,x,1",
    );
    let rows = training(&out);
    assert_eq!((rows.len(), out.rejects.len()), (4, 0));
    assert_eq!(
        (rows[0].step, rows[0].loss, rows[0].event_time_ms),
        (0, Some(2.5), Some(1_700_000_000_000))
    );
    assert_eq!(
        (rows[1].loss, rows[1].metrics["gradients_norm"]),
        (None, 7.0)
    );
    assert_eq!((rows[2].step, rows[2].loss_state), (2, NumberState::Nan));
    assert_eq!(
        out.events
            .iter()
            .map(|event| event.position.line)
            .collect::<Vec<_>>(),
        [2, 4, 5, 6]
    );
    assert!(!format!("{:?}", out.events).contains("secret"));
}

#[test]
fn damage() {
    let classes = |text: &[u8]| {
        let out = check("wandb", text);
        out.rejects
            .iter()
            .map(|reject| reject.class)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        classes(b"{\"_step\": 0, \"loss\": 1}\n{\"_step\": \n{\"loss\": 1}\n{\"_step\": 1.5, \"loss\": 1}\n{\"_step\": 2, \"lo"),
        ["json", "missing_field", "missing_field", "partial_line"]
    );
    assert_eq!(
        classes(b"_step,loss\n1\n1,2,3\nx,2\n2,\"open\n3,1\n"),
        ["bad_row", "bad_row", "missing_field", "bad_row"]
    );
    assert_eq!(classes(b"_step,loss\n1,2\n2"), ["partial_line"]);
    // an event time that cannot be costs its row, as the contract says
    assert_eq!(
        classes(b"_step,_timestamp,loss\n1,17,2\n"),
        ["out_of_range"]
    );
}

#[test]
fn a_run_is_known_by_its_folder() {
    let of = |path| Wandb.run_of(path);
    assert_eq!(
        of("/a/wandb/run-20240131_120000-1a2b3c4d/files/wandb-history.jsonl").as_deref(),
        Some("1a2b3c4d")
    );
    assert_eq!(
        of("offline-run-20240131_120000-xy/files/wandb-summary.json").as_deref(),
        Some("xy")
    );
    assert_eq!(of("/a/run-1-2/history.csv"), None);
    assert_eq!(of("wandb-history.jsonl"), None);
}

#[test]
fn an_array_of_rows_says_what_to_do() {
    let told = Wandb.detect(br#"[{"_step":0,"_runtime":1.5,"loss":2.5},{"_step":1}]"#);
    assert!(matches!(told, Confidence::Perhaps(why) if why.contains("lines=True")));
}
