//! Event files made by hand: both forms of scalars, rows put together, restarts, and every kind of damage.

use super::super::fixtures::{check, read, setup, training};
use super::*;
use cairn_avro::record::NumberState;

fn varint(mut value: u64, into: &mut Vec<u8>) {
    while value > 0x7f {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn bytes(number: u64, value: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    varint((number << 3) | 2, &mut field);
    varint(value.len() as u64, &mut field);
    field.extend_from_slice(value);
    field
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [
        &length[..],
        &masked_crc32c(&length).to_le_bytes(),
        data,
        &masked_crc32c(data).to_le_bytes(),
    ]
    .concat()
}

fn event(time: f64, step: i64, values: &[Vec<u8>]) -> Vec<u8> {
    let mut data = vec![0x09];
    data.extend(time.to_le_bytes());
    data.push(0x10);
    varint(step.cast_unsigned(), &mut data);
    let summary: Vec<u8> = values.iter().flat_map(|value| bytes(1, value)).collect();
    data.extend(bytes(5, &summary));
    record(&data)
}

fn simple(tag: &str, value: f32) -> Vec<u8> {
    [&bytes(1, tag.as_bytes())[..], &[0x15], &value.to_le_bytes()].concat()
}

/// As TensorFlow 2 writes scalars: a tensor, and the plugin's name.
fn tensor(tag: &str, plugin: &str, message: &[u8]) -> Vec<u8> {
    let metadata = bytes(9, &bytes(1, &bytes(1, plugin.as_bytes())));
    [bytes(1, tag.as_bytes()), bytes(8, message), metadata].concat()
}

pub(in super::super) fn version() -> Vec<u8> {
    let mut data = vec![0x09];
    data.extend(1.7e9f64.to_le_bytes());
    data.extend(bytes(3, b"brain.Event:2"));
    record(&data)
}

const TIME: f64 = 1_700_000_000.5;

pub(in super::super) fn sample() -> Vec<u8> {
    [
        version(),
        event(TIME, 1, &[simple("train/loss", 2.5)]),
        event(TIME, 1, &[simple("train/learning_rate", 0.5)]),
        event(
            TIME + 1.0,
            2,
            &[simple("train/loss", f32::NAN), simple("gpu", 0.25)],
        ),
    ]
    .concat()
}

#[test]
fn checks_are_those_of_the_specification() {
    // RFC 3720, B.4: 32 bytes of zeros, and of ones
    let plain = |bytes: &[u8]| {
        masked_crc32c(bytes)
            .wrapping_sub(0xa282_ead8)
            .rotate_left(15)
    };
    assert_eq!(plain(&[0; 32]), 0x8a91_36aa);
    assert_eq!(plain(&[0xff; 32]), 0x62a8_ab43);
    // the first bytes of every event file that TensorFlow writes: a version is 24 bytes long
    assert_eq!(
        version()[..12],
        [24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]
    );
}

#[test]
fn tags_of_a_step_are_one_row() {
    let out = check("tensorboard", &sample());
    let rows = training(&out);
    assert_eq!((rows.len(), out.rejects.len(), out.ignored), (2, 0, 1));
    assert_eq!(
        (
            rows[0].step,
            rows[0].loss,
            rows[0].learning_rate,
            rows[0].event_time_ms
        ),
        (1, Some(2.5), Some(0.5), Some(1_700_000_000_500))
    );
    assert_eq!(
        (rows[1].loss, rows[1].loss_state, rows[1].metrics["gpu"]),
        (None, NumberState::Nan, 0.25)
    );
    assert_eq!(
        (out.events[0].position.line, out.events[0].position.byte),
        (2, 40)
    );
}

#[test]
fn tensors_of_one_number_are_scalars() {
    let float = |value: f32| {
        [
            &[0x08, 1][..],
            &bytes(2, &[]),
            &bytes(4, &value.to_le_bytes()),
        ]
        .concat()
    };
    let listed = [&[0x08, 2][..], &bytes(6, &2.25f64.to_le_bytes())].concat();
    let two = [
        &[0x08, 1][..],
        &bytes(2, &bytes(2, &[0x08, 2])),
        &bytes(4, &[0; 8]),
    ]
    .concat();
    let text = [&[0x08, 7][..], &bytes(8, b"secret")].concat();
    let zero = [0x08, 1];
    let out = check(
        "tensorboard",
        &[
            version(),
            event(
                TIME,
                3,
                &[
                    tensor("epoch_loss", "scalars", &float(1.5)),
                    tensor("listed", "scalars", &listed),
                    tensor("zero", "scalars", &zero),
                    tensor("curve", "scalars", &two),
                    tensor("weights", "histograms", &float(1.0)),
                    tensor("note", "text", &text),
                ],
            ),
        ]
        .concat(),
    );
    let row = &training(&out)[0];
    let metrics: Vec<_> = row.metrics.iter().map(|(k, v)| (k.as_str(), *v)).collect();
    assert_eq!(
        (row.loss, metrics),
        (Some(1.5), vec![("listed", 2.25), ("zero", 0.0)])
    );
}

#[test]
fn curves_over_samples_are_left_out_and_restarts_are_told() {
    let out = check(
        "tensorboard",
        &[
            version(),
            event(TIME, 10, &[simple("lm loss", 2.5)]),
            event(TIME, 640, &[simple("lm loss vs samples", 2.5)]),
            event(TIME, 20, &[simple("lm loss", 2.25)]),
            event(TIME, 20, &[simple("lm loss", 9.0)]),
            event(TIME, 10, &[simple("lm loss", 2.5)]),
            event(TIME, 10, &[simple("grad-norm", 1.0)]),
        ]
        .concat(),
    );
    let rows: Vec<_> = training(&out)
        .iter()
        .map(|row| (row.attempt, row.step, row.loss, row.grad_norm))
        .collect();
    assert_eq!(
        rows,
        [
            (0, 10, Some(2.5), None),
            (0, 20, Some(2.25), None),
            (1, 10, Some(2.5), Some(1.0))
        ]
    );
}

#[test]
fn rows_go_out_in_order_and_memory_stays_flat() {
    let mut file = version();
    for step in 0..3_000 {
        file.extend(event(TIME, step, &[simple("loss", 1.0)]));
        file.extend(event(TIME, step, &[simple("lr", 0.5)]));
    }
    let out = check("tensorboard", &file);
    let rows = training(&out);
    assert!(rows.len() == 3_000 && rows.windows(2).all(|pair| pair[0].step < pair[1].step));
    assert!(
        rows.iter()
            .all(|row| row.loss.is_some() && row.learning_rate.is_some())
    );
    let mut parser = TensorBoard.parser(&setup()).expect("it needs nothing");
    let mut out = Out::default();
    for step in 0..3_000 {
        parser
            .unit(
                &event(TIME, step, &[simple("loss", 1.0)]),
                Position::default(),
                &mut out,
            )
            .expect("it fits");
    }
    assert_eq!(out.events.len(), 2_000);
}

#[test]
fn a_record_that_has_no_end_costs_itself() {
    let whole = sample();
    let ends: Vec<usize> = {
        let mut ends = vec![0];
        while let Frame::Record(length) = frame(&whole[ends[ends.len() - 1]..]) {
            ends.push(ends[ends.len() - 1] + length as usize);
        }
        ends
    };
    for cut in 0..whole.len() {
        let out = check("tensorboard", &whole[..cut]);
        let records = ends.iter().filter(|end| **end <= cut).count() - 1;
        assert_eq!(
            out.events.len(),
            records.saturating_sub(1).min(1) + records / 4,
            "{cut}"
        );
        let classes: Vec<_> = out.rejects.iter().map(|reject| reject.class).collect();
        if ends.contains(&cut) {
            assert_eq!(classes, [""; 0], "{cut}");
        } else {
            assert_eq!(classes, ["truncated"], "{cut}");
        }
    }
}

#[test]
fn damage() {
    let at = version().len();
    // data that fail their check, and the next record is read
    let mut file = sample();
    file[at + HEAD + 3] ^= 1;
    let out = check("tensorboard", &file);
    assert_eq!((out.rejects.len(), out.rejects[0].class), (1, "damaged"));
    assert_eq!(training(&out).len(), 2);
    assert_eq!(training(&out)[0].loss, None);
    // a length that fails its check ends the file
    let mut file = sample();
    file[at] ^= 1;
    let out = check("tensorboard", &file);
    assert_eq!((out.rejects.len(), out.rejects[0].class), (1, "damaged"));
    assert_eq!(out.events, []);
    // whole records that are no events
    let file = [
        version(),
        record(&[0xff; 20]),
        event(TIME, -3, &[simple("loss", 1.0)]),
    ]
    .concat();
    let out = check("tensorboard", &file);
    let classes: Vec<_> = out.rejects.iter().map(|reject| reject.class).collect();
    assert_eq!(classes, ["bad_row", "out_of_range"]);
    // every bit of a file
    for bit in 0..sample().len() * 8 {
        let mut file = sample();
        file[bit / 8] ^= 1 << (bit % 8);
        assert!(
            !read("tensorboard", &file, &setup()).rejects.is_empty(),
            "{bit}"
        );
    }
}

#[test]
fn pictures_are_passed_over() {
    let picture = [bytes(1, b"image"), bytes(4, &vec![7; 1_200_000])].concat();
    let out = check(
        "tensorboard",
        &[
            version(),
            event(TIME, 1, &[picture]),
            event(TIME, 1, &[simple("loss", 2.5)]),
        ]
        .concat(),
    );
    assert_eq!(
        (training(&out)[0].loss, out.rejects.len(), out.ignored),
        (Some(2.5), 0, 2)
    );
}

#[test]
fn folders_name_runs() {
    let of = |path| folders(path);
    let run = |name: &str, prefix| Some((name.to_owned(), prefix));
    assert_eq!(
        of("/tb/exp-7/events.out.tfevents.17.host.1.0"),
        run("exp-7", "")
    );
    assert_eq!(
        of("exp/validation/events.out.tfevents.17.h.v2"),
        run("exp", "validation/")
    );
    assert_eq!(of("train/events.out.tfevents.17"), run("train", "train/"));
    assert_eq!(of("events.out.tfevents.17"), None);
    let setup = Setup {
        source: "exp/validation/events.out.tfevents.17.h.v2".into(),
        ..setup()
    };
    let file = [version(), event(TIME, 1, &[simple("epoch_loss", 2.5)])].concat();
    let out = read("tensorboard", &file, &setup);
    assert_eq!(training(&out)[0].validation_loss, Some(2.5));
}

/// Keras: epochs below `train`, and evaluations once more over iterations.
#[test]
fn the_training_loss_of_keras_is_a_loss() {
    let setup = Setup {
        source: "exp/train/events.out.tfevents.17.h.v2".into(),
        ..setup()
    };
    let file = [
        version(),
        event(
            TIME,
            3,
            &[simple("epoch_loss", 2.5), simple("epoch_accuracy", 0.5)],
        ),
        event(TIME, 1250, &[simple("evaluation_loss_vs_iterations", 9.0)]),
    ]
    .concat();
    let out = read("tensorboard", &file, &setup);
    let rows = training(&out);
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].step, rows[0].loss, rows[0].accuracy),
        (3, Some(2.5), Some(0.5))
    );
}
