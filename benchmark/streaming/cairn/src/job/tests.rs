//! What the job puts out and remembers. Rows are written with an encoder of the tests' own; expectations are worked out by
//! hand from `README.md`.

use super::outputs::{Frames, Kind, Output, Outputs};
use super::{Job, Remember};

const FRAMES: Frames = Frames {
    telemetry: [0, 0, 0, 0, 1],
    window: [0, 0, 0, 0, 2],
    dead_letter: [0, 0, 0, 0, 3],
    late: [0, 0, 0, 0, 4],
};
const PARTITION: i32 = 3;

#[derive(Clone)]
struct Sent {
    run_id: &'static str,
    metric: &'static str,
    step: i64,
    tokens: i64,
    event_time: i64,
    loss: f64,
    perplexity: Option<f64>,
    learning_rate: f64,
    grad_norm: f64,
}

const SENT: Sent = Sent {
    run_id: "r",
    metric: "loss",
    step: 1,
    tokens: 0,
    event_time: 100_000,
    loss: 2.0,
    perplexity: None,
    learning_rate: 1e-3,
    grad_norm: 0.5,
};

fn varint(value: i64, out: &mut Vec<u8>) {
    let mut rest = (value as i128 * 2).unsigned_abs() as u64 - u64::from(value < 0);
    loop {
        let low = (rest % 128) as u8;
        rest /= 128;
        out.push(if rest > 0 { low + 128 } else { low });
        if rest == 0 {
            return;
        }
    }
}

fn text(value: &[u8], out: &mut Vec<u8>) {
    varint(value.len() as i64, out);
    out.extend(value);
}

impl Sent {
    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0, 0, 0, 0, 1];
        text(self.run_id.as_bytes(), &mut out);
        text(b"host-1", &mut out);
        text(self.metric.as_bytes(), &mut out);
        for value in [self.step, self.tokens, self.event_time] {
            varint(value, &mut out);
        }
        out.extend(self.loss.to_le_bytes());
        match self.perplexity {
            None => out.push(0),
            Some(value) => {
                out.push(2);
                out.extend(value.to_le_bytes());
            }
        }
        out.extend(self.learning_rate.to_le_bytes());
        out.extend(self.grad_norm.to_le_bytes());
        out
    }
}

/// An output as a line, decoded by hand; `slope` rounded to nine places.
fn line(output: Output<'_>) -> String {
    let key = output
        .key
        .map_or("-".into(), |key| String::from_utf8_lossy(key).into_owned());
    assert_eq!(
        output.partition, PARTITION,
        "an output goes where its input came from"
    );
    let (frame, body) = output.value.split_at(5);
    let mut body = body;
    let what = match output.kind {
        Kind::Window => {
            assert_eq!(frame, FRAMES.window);
            let (run, metric) = (take_text(&mut body), take_text(&mut body));
            let (start, count) = (take_long(&mut body), take_long(&mut body));
            let (min, max, mean) = (
                take_double(&mut body),
                take_double(&mut body),
                take_double(&mut body),
            );
            let last = take_long(&mut body);
            let slope = match take_long(&mut body) {
                0 => "null".into(),
                _ => format!("{:.9}", take_double(&mut body)),
            };
            format!(
                "window {run} {metric} {start} n={count} {min}..{max} mean={mean} last={last} slope={slope}"
            )
        }
        Kind::Late => {
            assert_eq!(frame, FRAMES.late);
            let (partition, offset) = (take_long(&mut body), take_long(&mut body));
            let (run, metric) = (take_text(&mut body), take_text(&mut body));
            let (step, time) = (take_long(&mut body), take_long(&mut body));
            format!("late {partition}@{offset} {run} {metric} step={step} {time}")
        }
        Kind::Dead => {
            assert_eq!(frame, FRAMES.dead_letter);
            let (partition, offset) = (take_long(&mut body), take_long(&mut body));
            let error = take_text(&mut body);
            let length = take_long(&mut body) as usize;
            let (payload, rest) = body.split_at(length);
            let line = format!("dead {partition}@{offset} {error} {payload:02x?}");
            body = rest;
            line
        }
    };
    assert!(body.is_empty(), "bytes are left over");
    format!("{key}: {what}")
}

fn take_long(body: &mut &[u8]) -> i64 {
    let length = body.iter().position(|byte| *byte < 128).expect("an end") + 1;
    let (head, rest) = body.split_at(length);
    *body = rest;
    let value = head
        .iter()
        .rev()
        .fold(0u64, |value, byte| value * 128 + u64::from(byte % 128));
    let half = (value / 2) as i64;
    if value % 2 == 0 { half } else { -half - 1 }
}

fn take_double(body: &mut &[u8]) -> f64 {
    let (head, rest) = body.split_at(8);
    *body = rest;
    f64::from_le_bytes(head.try_into().expect("eight"))
}

fn take_text(body: &mut &[u8]) -> String {
    let length = take_long(body) as usize;
    let (head, rest) = body.split_at(length);
    *body = rest;
    String::from_utf8(head.to_vec()).expect("UTF-8")
}

fn lines(outputs: &Outputs) -> Vec<String> {
    outputs.iter().map(line).collect()
}

fn apply(job: &mut Job, rows: &[Sent]) -> Vec<String> {
    let mut out = Outputs::default();
    for (offset, row) in rows.iter().enumerate() {
        job.apply(
            offset as i64,
            Some(row.run_id.as_bytes()),
            &row.bytes(),
            &mut out,
        );
    }
    lines(&out)
}

#[track_caller]
fn check(rows: &[Sent], expected: &[&str]) {
    assert_eq!(apply(&mut Job::new(FRAMES, PARTITION), rows), expected);
}

fn at(event_time: i64, step: i64, loss: f64) -> Sent {
    Sent {
        event_time,
        step,
        loss,
        ..SENT
    }
}

/// The window [100000, 110000) closes at clock 120000. Its rows are (1, 2), (3, 1), (2, 3) as (step, loss = ln ppl): mean 2,
/// slope: means 2 and 2, sum of dx dy = (-1)(0) + (1)(-1) + 0 = -1, sum of dx^2 = 2: -0.5.
#[test]
fn a_window_closes_when_its_runs_clock_has_passed_its_end_by_the_disorder() {
    let rows = [
        at(100_000, 1, 2.0),
        at(109_999, 3, 1.0),
        at(105_000, 2, 3.0),
        at(119_999, 4, 1.0),
    ];
    check(&rows, &[]);
    let mut rows = rows.to_vec();
    rows.push(at(120_000, 5, 1.0));
    check(
        &rows,
        &["r: window r loss 100000 n=3 1..3 mean=2 last=3 slope=-0.500000000"],
    );
}

#[test]
fn a_row_is_late_once_its_window_has_closed_and_not_before() {
    let rows = [
        at(100_000, 1, 2.0),
        at(119_999, 2, 2.0),
        // 10 s and 9,999 ms behind the clock: on time, for the window is still open
        at(100_000, 3, 4.0),
        at(120_000, 4, 2.0),
        at(109_999, 5, 2.0),
        at(110_000, 6, 2.0),
    ];
    // (1, 2), (3, 4): slope 1
    check(
        &rows,
        &[
            "r: window r loss 100000 n=2 2..4 mean=3 last=3 slope=1.000000000",
            "r: late 3@4 r loss step=5 109999",
        ],
    );
}

#[test]
fn a_late_row_has_the_canonical_metric_and_milliseconds() {
    let late = Sent {
        metric: " Train/Loss ",
        event_time: 100_000_000_000_123_456,
        ..SENT
    };
    // 100,000,000,000,123,456 us = 100,000,000,000,123 ms, an hour before the clock
    let first = Sent {
        metric: "train.loss",
        event_time: 100_000_003_600_000_000,
        ..SENT
    };
    check(
        &[first, late],
        &["r: late 3@1 r train_loss step=1 100000000000123"],
    );
}

#[test]
fn each_run_has_its_own_clock_and_one_for_all_its_metrics() {
    let of = |run_id, metric, event_time| Sent {
        run_id,
        metric,
        event_time,
        ..SENT
    };
    let rows = [
        of("a", "loss", 100_000),
        of("a", "eval", 100_000),
        of("b", "loss", 100_000),
        // a's other metric moves a's clock, which closes both of a's windows and none of b's
        of("a", "code", 500_000),
        of("b", "loss", 109_000),
    ];
    check(
        &rows,
        &[
            "a: window a loss 100000 n=1 2..2 mean=2 last=1 slope=null",
            "a: window a eval 100000 n=1 2..2 mean=2 last=1 slope=null",
        ],
    );
}

#[test]
fn spellings_of_a_metric_share_a_window() {
    let of = |metric, step| Sent {
        metric,
        step,
        ..SENT
    };
    let rows = [
        of("train/loss", 1),
        of("Train.Loss", 2),
        of(" train loss ", 3),
        of("TRAIN-LOSS", 4),
        Sent {
            metric: "train/loss",
            event_time: 200_000,
            ..SENT
        },
    ];
    check(
        &rows,
        &["r: window r train_loss 100000 n=4 2..2 mean=2 last=4 slope=0.000000000"],
    );
}

/// ln(e^2) = 2 and ln(e^3) = 3 against steps 1 and 2, losses elsewhere: the slope is 1.
#[test]
fn the_slope_is_of_the_perplexity_and_the_rest_of_the_loss() {
    let of = |step, perplexity: f64| Sent {
        step,
        perplexity: Some(perplexity),
        ..SENT
    };
    let rows = [
        of(1, 2.0f64.exp()),
        of(2, 3.0f64.exp()),
        at(200_000, 9, 1.0),
    ];
    check(
        &rows,
        &["r: window r loss 100000 n=2 2..2 mean=2 last=2 slope=1.000000000"],
    );
}

#[test]
fn what_is_invalid_is_a_dead_letter_and_moves_no_clock() {
    let invalid = [
        Sent { run_id: "", ..SENT },
        Sent {
            metric: "  ",
            ..SENT
        },
        Sent { step: -1, ..SENT },
        Sent { tokens: -1, ..SENT },
        Sent {
            event_time: 0,
            ..SENT
        },
        Sent { loss: -0.5, ..SENT },
        Sent {
            loss: 100.5,
            ..SENT
        },
        Sent {
            loss: f64::NAN,
            event_time: 900_000,
            ..SENT
        },
        Sent {
            perplexity: Some(0.5),
            ..SENT
        },
        Sent {
            perplexity: Some(f64::INFINITY),
            ..SENT
        },
        Sent {
            learning_rate: -1e-9,
            ..SENT
        },
        Sent {
            grad_norm: f64::INFINITY,
            ..SENT
        },
        Sent {
            grad_norm: f64::NAN,
            ..SENT
        },
    ];
    for row in invalid {
        let mut job = Job::new(FRAMES, PARTITION);
        apply(&mut job, &[at(100_000, 1, 2.0)]);
        let expected = format!("{}: dead 3@0 invalid {:02x?}", row.run_id, row.bytes());
        assert_eq!(apply(&mut job, &[row]), [expected]);
        // the clock still stands at 100000: this closes nothing, and is not late
        assert!(apply(&mut job, &[at(100_001, 2, 2.0)]).is_empty());
    }
    // edges that are valid: loss 0 and 100, perplexity 1
    let valid = [
        Sent {
            loss: 0.0,
            perplexity: Some(1.0),
            learning_rate: 0.0,
            grad_norm: 0.0,
            step: 0,
            ..SENT
        },
        Sent {
            loss: 100.0,
            ..SENT
        },
    ];
    check(&valid, &[]);
}

#[track_caller]
fn check_dead(value: &[u8], error: &str) {
    let mut out = Outputs::default();
    Job::new(FRAMES, PARTITION).apply(7, None, value, &mut out);
    assert_eq!(lines(&out), [format!("-: dead 3@7 {error} {value:02x?}")]);
}

#[test]
fn broken_frames_and_bodies_are_dead_letters() {
    let good = SENT.bytes();
    check_dead(b"", "frame");
    check_dead(&good[..4], "frame");
    check_dead(&[&[1], &good[1..]].concat(), "frame");
    check_dead(&[&[0, 0x7f], &good[2..]].concat(), "frame");
    check_dead(&good[..5], "decode");
    check_dead(&good[..good.len() - 1], "decode");
    check_dead(&[&good[..], &[0]].concat(), "decode");
    // a length of -1, one beyond the end, a union branch that is none, a run id that is no UTF-8
    check_dead(&[&good[..5], &[1], &good[6..]].concat(), "decode");
    check_dead(&[&good[..5], &[0xfe, 0x7f], &good[6..]].concat(), "decode");
    let branch = good.len() - 17;
    check_dead(
        &[&good[..branch], &[4], &good[branch + 1..]].concat(),
        "decode",
    );
    check_dead(&[&good[..6], &[0xff], &good[7..]].concat(), "decode");
}

/// Rows that leave one window with one row, one with two, and a run with none open.
fn before() -> Vec<Sent> {
    vec![
        Sent {
            run_id: "done",
            event_time: 100_000,
            ..SENT
        },
        Sent {
            run_id: "done",
            metric: "other",
            event_time: 100_000,
            ..SENT
        },
        at(100_000, 1, 2.5),
        at(110_000, 2, 1.25),
        at(105_000, 5, 0.1),
        Sent {
            metric: "eval",
            event_time: 104_000,
            step: 77,
            loss: 3.5,
            perplexity: Some(40.0),
            ..SENT
        },
    ]
}

fn after() -> Vec<Sent> {
    vec![
        at(119_000, 4, 0.7),
        at(106_000, 9, 0.3),
        Sent {
            run_id: "new",
            ..SENT
        },
        at(300_000, 9, 1.0),
        at(100_000, 9, 1.0),
        Sent {
            run_id: "done",
            event_time: 400_000,
            ..SENT
        },
        Sent {
            run_id: "done",
            event_time: 100_000,
            ..SENT
        },
        Sent {
            run_id: "new",
            event_time: 400_000,
            ..SENT
        },
    ]
}

fn entries(job: &Job) -> Vec<(String, Option<Vec<u8>>)> {
    job.changes()
        .into_iter()
        .map(|change| (change.key, change.value))
        .collect()
}

/// What a successor puts out after a restore is, byte for byte, what this one would have.
#[test]
fn the_changelog_brings_everything_back() {
    let mut job = Job::new(FRAMES, PARTITION);
    apply(&mut job, &before());
    let mut successor = Job::new(FRAMES, PARTITION);
    for (key, value) in entries(&job) {
        successor
            .restore("runs", &key, value.as_deref())
            .expect("our own entry");
    }
    job.merge();
    assert!(job.changes().is_empty());
    let mut expected = apply(&mut job, &after());
    let mut found = apply(&mut successor, &after());
    // metrics of one run close in the order in which they were first seen, which a restore may change
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(expected.len(), 8, "{expected:#?}");
}

#[test]
fn only_runs_that_changed_are_in_the_changelog() {
    let mut job = Job::new(FRAMES, PARTITION);
    apply(&mut job, &before());
    job.merge();
    apply(
        &mut job,
        &[at(111_000, 3, 1.0), Sent { run_id: "", ..SENT }],
    );
    let keys: Vec<String> = entries(&job).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["r"]);
    job.merge();
    // a late row changes nothing
    apply(&mut job, &[at(10_000, 3, 1.0)]);
    assert!(job.changes().is_empty());
}

/// One window of one row: version, clock, name, one window, start / 10 s, count, step, ln ppl, loss.
#[test]
fn an_entry_is_packed_as_its_module_says() {
    let mut job = Job::new(FRAMES, PARTITION);
    apply(&mut job, &[at(100_000, 3, 1.0)]);
    let one = 1.0f64.to_le_bytes();
    // 100000 -> 200000 = 12 * 16384 + 26 * 128 + 64; "loss" has length 4 -> 8; 10 -> 20; 1 -> 2; 3 -> 6
    let head = [1, 0xc0, 0x9a, 0x0c, 8, b'l', b'o', b's', b's', 1, 20, 2, 6];
    assert_eq!(
        entries(&job),
        [("r".into(), Some([&head[..], &one, &one].concat()))]
    );
}

#[test]
fn an_abort_leaves_nothing() {
    let mut job = Job::new(FRAMES, PARTITION);
    apply(&mut job, &before());
    job.merge();
    let mut aborted = Job::new(FRAMES, PARTITION);
    apply(&mut aborted, &before());
    aborted.merge();
    apply(
        &mut aborted,
        &[Sent {
            metric: "fresh",
            ..SENT
        }],
    );
    apply(&mut aborted, &after());
    aborted.discard();
    assert!(aborted.changes().is_empty());
    let mut expected = apply(&mut job, &after());
    let mut found = apply(&mut aborted, &after());
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    let (mut expected, mut found) = (entries(&job), entries(&aborted));
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

/// A batch is sealed, the next one has begun: committing the first keeps the second, an abort undoes both.
#[test]
fn a_sealed_batch_and_the_next_are_kept_apart() {
    let prepared = || {
        let mut job = Job::new(FRAMES, PARTITION);
        apply(&mut job, &before());
        job.merge();
        job
    };
    let first = [at(111_000, 3, 1.0)];
    let second = [
        at(112_000, 4, 2.0),
        Sent {
            run_id: "new",
            ..SENT
        },
    ];
    let of = |entries: Vec<(String, Option<Vec<u8>>)>| {
        let mut entries = entries;
        entries.sort();
        entries
    };

    let mut job = prepared();
    apply(&mut job, &first);
    job.seal();
    assert!(job.changes().is_empty());
    apply(&mut job, &second);
    let keys: Vec<_> = of(entries(&job)).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["new", "r"]);
    job.merge();
    // the second is still there to be sent, and to be undone
    assert_eq!(entries(&job).len(), 2);
    job.discard();
    let mut expected = prepared();
    apply(&mut expected, &first);
    expected.merge();
    let mut rows = after();
    assert_eq!(apply(&mut job, &rows), apply(&mut expected, &rows));
    assert_eq!(of(entries(&job)), of(entries(&expected)));

    let mut job = prepared();
    apply(&mut job, &first);
    job.seal();
    apply(&mut job, &second);
    job.discard();
    let mut expected = prepared();
    rows.push(at(500_000, 1, 1.0));
    assert_eq!(apply(&mut job, &rows), apply(&mut expected, &rows));
    assert_eq!(of(entries(&job)), of(entries(&expected)));
}

#[test]
fn an_entry_that_is_none_is_refused() {
    let mut job = Job::new(FRAMES, PARTITION);
    for bad in [&[][..], &[2, 0], &[1], &[1, 0, 8, b'l']] {
        assert!(job.restore("runs", "r", Some(bad)).is_err(), "{bad:02x?}");
    }
    assert!(job.restore("other", "r", None).is_err());
    job.restore("runs", "r", None)
        .expect("a tombstone is an empty run");
}
