//! Standard input as a source: it can be read once, and its writer may be slow.

use super::bench::Bench;
use serde_json::Value;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn steps(run: &str, steps: std::ops::Range<u32>) -> String {
    steps
        .map(|step| format!("{{\"run_id\":\"{run}\",\"step\":{step},\"loss\":2.5}}\n"))
        .collect()
}

fn started(bench: &Bench, more: &[&str]) -> Child {
    bench
        .command(&[&["ingest", "-", "--json"], more].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts")
}

/// Its exit code and answer; a process that hangs is ended, and the test with it.
fn ended(mut child: Child) -> (i32, Value) {
    let begun = Instant::now();
    while child.try_wait().expect("it can be asked").is_none() {
        if begun.elapsed() > Duration::from_secs(60) {
            child.kill().expect("it ends");
            panic!("it hangs");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().expect("it has ended");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let answer = text.lines().next().map_or(Value::Null, |line| {
        serde_json::from_str(line).expect("JSON")
    });
    (output.status.code().expect("no signal"), answer)
}

fn piped(bench: &Bench, text: &str) -> (u64, u64) {
    let mut child = started(bench, &[]);
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    let (exit, said) = ended(child);
    assert_eq!(exit, 0, "{said}");
    let count = |name: &str| said[name].as_u64().expect("a count");
    (count("accepted"), count("duplicate"))
}

#[test]
fn the_same_stream_adds_nothing_nor_does_the_file_that_it_was() {
    let bench = Bench::new();
    // longer and shorter than what is compared of a head
    let (long, short) = (steps("a", 0..400), steps("b", 0..10));
    assert_eq!(piped(&bench, &long), (400, 0));
    assert_eq!(piped(&bench, &short), (10, 0));
    assert_eq!(piped(&bench, &long), (0, 400));
    assert_eq!(piped(&bench, &short), (0, 10));
    let file = bench.file("long.jsonl", &long);
    let (exit, said) = bench.json(&["ingest", &file]);
    assert_eq!(
        (exit, &said[0]["duplicate"]),
        (0, &Value::from(400)),
        "{said:?}"
    );
    // what grew adds its tail
    assert_eq!(piped(&bench, &steps("a", 0..500)), (100, 400));

    // the file first
    let bench = Bench::new();
    let file = bench.file("long.jsonl", &long);
    let (exit, said) = bench.json(&["ingest", &file]);
    assert_eq!((exit, &said[0]["accepted"]), (0, &Value::from(400)));
    assert_eq!(piped(&bench, &long), (0, 400));
}

#[test]
fn who_waits_for_input_can_be_stopped() {
    for signal in ["-INT", "-TERM"] {
        let bench = Bench::new();
        let mut child = started(&bench, &["--run-id", "x"]);
        let mut stdin = child.stdin.take().expect("piped");
        stdin
            .write_all(steps("x", 0..3).as_bytes())
            .expect("it reads");
        // time to be waiting for more
        std::thread::sleep(Duration::from_millis(500));
        let sent = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(sent.is_ok_and(|status| status.success()));
        let (exit, said) = ended(child);
        assert_eq!(
            (exit, said["error"]["code"].as_str()),
            (0, Some("stopped")),
            "{said}"
        );
        drop(stdin);
    }
}
