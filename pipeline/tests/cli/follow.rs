//! `cairn ingest --follow`: a writer that appends and rotates, a follower that is killed, and a log that has each line once.

use super::bench::Bench;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

fn line(step: u64) -> String {
    format!("{{\"run_id\":\"r\",\"step\":{step},\"loss\":2.5}}\n")
}

fn append(path: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("there is room")
}

fn follower(bench: &Bench, sources: &[&str]) -> Child {
    let mut arguments = vec!["ingest", "--follow", "--json"];
    arguments.extend(sources);
    bench
        .command(&arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

/// Asks it to stop, and takes what it says at its end.
fn stopped(mut child: Child) -> (Option<i32>, String) {
    let id = i32::try_from(child.id()).expect("a process id");
    let sent = std::process::Command::new("kill")
        .args(["-TERM", &id.to_string()])
        .status()
        .expect("kill is there");
    assert!(sent.success());
    let mut said = String::new();
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_to_string(&mut said).expect("UTF-8");
    (child.wait().expect("it ends").code(), said)
}

/// The steps on the log, sorted.
fn steps(bench: &Bench) -> Vec<u64> {
    let mut steps: Vec<u64> = bench
        .values("telemetry.training")
        .iter()
        .filter_map(|row| row["step"].as_u64())
        .collect();
    steps.sort_unstable();
    steps
}

fn wait_for(bench: &Bench, what: &str, enough: impl Fn(&[u64]) -> bool) -> Vec<u64> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        // the topics are made by the follower
        let there = bench.home.path().join(".cairn").exists();
        let found = if there { steps(bench) } else { Vec::new() };
        if enough(&found) {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "{what}: {} steps, the last {:?}",
            found.len(),
            found.last()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_partial_line_is_waited_for() {
    let bench = Bench::new();
    let path = bench.home.path().join("run.jsonl");
    let mut file = append(&path);
    let whole = line(1);
    file.write_all(line(0).as_bytes()).expect("there is room");
    file.write_all(&whole.as_bytes()[..20])
        .expect("there is room");
    let child = follower(&bench, &["run.jsonl"]);
    wait_for(&bench, "the first line", |steps| steps == [0]);
    file.write_all(&whole.as_bytes()[20..])
        .expect("there is room");
    wait_for(&bench, "the second line", |steps| steps == [0, 1]);
    // a line begun when it is stopped is no bad line
    file.write_all(&line(2).as_bytes()[..10])
        .expect("there is room");
    let (exit, said) = stopped(child);
    assert_eq!(exit, Some(0), "{said}");
    let said: serde_json::Value = serde_json::from_str(said.trim()).expect("one summary");
    assert_eq!(
        (&said["accepted"], &said["rejected"]),
        (&2.into(), &0.into())
    );
    assert!(bench.json(&["deadletter", "list"]).1.is_empty());
}

#[test]
fn files_that_come_later_are_picked_up() {
    let bench = Bench::new();
    let folder = bench.home.path().join("logs");
    fs::create_dir(&folder).expect("there is room");
    let child = follower(&bench, &["logs", "later-*.jsonl"]);
    append(&folder.join("a.jsonl"))
        .write_all(line(0).as_bytes())
        .expect("there is room");
    wait_for(&bench, "the file in the folder", |steps| steps == [0]);
    append(&bench.home.path().join("later-1.jsonl"))
        .write_all(line(1).as_bytes())
        .expect("there is room");
    wait_for(&bench, "the file of the pattern", |steps| steps == [0, 1]);
    assert_eq!(stopped(child).0, Some(0));
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let bench = Bench::new();
    for (source, words) in [
        ("-", "leave --follow out"),
        ("s3://b/k", "does not grow"),
        ("none/a.log", "does not exist"),
    ] {
        let (exit, said) = bench.json(&["ingest", "--follow", source]);
        assert_eq!(exit, 2, "{said:?}");
        assert!(format!("{said:?}").contains(words), "{source}: {said:?}");
    }
}

/// How a log is rotated.
#[derive(Clone, Copy, Debug)]
enum Rotation {
    Rename,
    CopyTruncate,
}

/// Writes lines, rotates every so often, while followers are killed; then one follower more reads the rest.
fn each_line_once(rotation: Rotation) {
    const LINES: u64 = 12_000;
    let bench = Bench::new();
    let path = bench.home.path().join("run.jsonl");
    let writer = {
        let path = path.clone();
        std::thread::spawn(move || write_and_rotate(&path, LINES, rotation))
    };
    let mut kills = 0;
    while !writer.is_finished() {
        let mut child = follower(&bench, &["run.jsonl*"]);
        std::thread::sleep(Duration::from_millis(700 + 150 * kills));
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        kills += 1;
    }
    writer.join().expect("the writer is well");
    let child = follower(&bench, &["run.jsonl*"]);
    let found = wait_for(&bench, "the rest", |steps| steps.len() as u64 >= LINES);
    let (exit, said) = stopped(child);
    assert_eq!(exit, Some(0), "{said}");
    assert!(kills >= 3, "{kills} kills");
    println!("{rotation:?}: {kills} kills");
    assert_eq!(found.len() as u64, LINES, "{rotation:?}: each line once");
    assert!(found.into_iter().eq(0..LINES), "{rotation:?}");
    assert!(bench.json(&["deadletter", "list"]).1.is_empty());
    // and nothing comes when all of it is read once more, as it lies there now
    let (exit, said) = bench.json(&["ingest", "run.jsonl*"]);
    assert!(
        exit == 0 && said.iter().all(|one| one["accepted"] == 0),
        "{said:?}"
    );
}

fn write_and_rotate(path: &Path, lines: u64, rotation: Rotation) {
    let older = |number: u32| -> PathBuf { format!("{}.{number}", path.display()).into() };
    let mut file = append(path);
    let mut rotations = 0;
    for step in 0..lines {
        let text = line(step);
        // torn, so that a follower meets lines without an end
        let (begin, end) = text.as_bytes().split_at(text.len() / 2);
        file.write_all(begin).expect("there is room");
        if step % 97 == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        file.write_all(end).expect("there is room");
        if step % 2_500 == 2_499 {
            for number in (1..=rotations).rev() {
                fs::rename(older(number), older(number + 1)).expect("it is there");
            }
            match rotation {
                Rotation::Rename => {
                    fs::rename(path, older(1)).expect("it is there");
                    file = append(path);
                }
                Rotation::CopyTruncate => {
                    fs::copy(path, older(1)).expect("there is room");
                    file.set_len(0).expect("it is a file");
                }
            }
            rotations += 1;
        }
    }
}

#[test]
fn killed_and_renamed_each_line_comes_once() {
    each_line_once(Rotation::Rename);
}

#[test]
fn killed_and_truncated_each_line_comes_once() {
    each_line_once(Rotation::CopyTruncate);
}
