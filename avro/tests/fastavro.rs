//! The bytes of every record against fastavro, the library of Python producers.
//!
//! Needs a Python with fastavro: `CAIRN_PYTHON`, else `python3`. Without one the test says so and
//! passes, unless `CAIRN_REQUIRE_ALL=1`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use cairn_avro::contract::{self, Record};
use cairn_avro::{codec, record::*};
use common::{folder, from_hex, requires_all, sample, snake, to_hex, with_records};

#[test]
fn fastavro_reads_and_writes_our_bytes() {
    let python = std::env::var("CAIRN_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python)
        .args(["-c", "import fastavro"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        assert!(
            !requires_all(),
            "{python} has no fastavro, and CAIRN_REQUIRE_ALL=1"
        );
        println!("not checked: {python} has no fastavro (CAIRN_PYTHON names another)");
        return;
    }
    let mut input = String::new();
    for entry in contract::all() {
        let schema = folder("schemas").join(format!("{}.avsc", snake(entry.record)));
        let digits = to_hex(&sample(entry)).replace('\n', "");
        input.push_str(&format!("{}\t{digits}\n", schema.display()));
    }
    // The least that a producer may send, and a loss that is not a number.
    let schema = folder("schemas").join("training_telemetry.avsc");
    input.push_str(&format!(
        "{}\t{{\"run_id\": \"r\", \"step\": 3, \"loss\": NaN}}\n",
        schema.display()
    ));
    let mut child = Command::new(&python)
        .arg(folder("tests").join("fastavro_check.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let output = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), contract::all().len() + 1);
    let least: TrainingTelemetry = codec::decode(&from_hex(lines[lines.len() - 1])).unwrap();
    assert!(least.loss.is_some_and(f64::is_nan));
    let expected = TrainingTelemetry {
        run_id: "r".into(),
        step: 3,
        ..Default::default()
    };
    assert_eq!(
        TrainingTelemetry {
            loss: None,
            ..least
        },
        expected
    );

    fn check<T: Record + PartialEq + std::fmt::Debug>(lines: &[&str]) {
        let at = contract::all()
            .iter()
            .position(|entry| entry.record == T::entry().record);
        let theirs: T = codec::decode(&from_hex(lines[at.unwrap()])).unwrap();
        let ours: T = codec::decode(&sample(T::entry())).unwrap();
        assert_eq!(theirs, ours);
    }
    macro_rules! each {
        (; $($record:ident)*) => { $(check::<$record>(&lines);)* };
    }
    with_records!(each);
}
