//! What lies in a tar.

use super::bench::Bench;
use std::io::Write as _;

fn tar(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, name, &content[..])
            .expect("memory takes it");
    }
    builder.into_inner().expect("memory takes it")
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn steps(run: &str, steps: std::ops::Range<u32>) -> Vec<u8> {
    steps
        .flat_map(|step| {
            format!("{{\"run_id\":\"{run}\",\"step\":{step},\"loss\":2.5}}\n").into_bytes()
        })
        .collect()
}

const NANOGPT: &[u8] = b"step 0: train loss 10.9, val loss 10.9\niter 0: loss 10.9, time 100.00ms, mfu -100.00%\niter 10: loss 9.5, time 100.00ms, mfu 30.00%\n";

fn write(bench: &Bench, name: &str, content: &[u8]) -> String {
    let path = bench.home.path().join(name);
    std::fs::write(&path, content).expect("written");
    path.display().to_string()
}

#[test]
fn members_are_sources_whatever_packs_them() {
    let plain = tar(&[
        ("logs/a.jsonl", steps("a", 0..4)),
        ("logs/b.jsonl.gz", gzip(&steps("b", 0..6))),
        ("logs/my-run.log", NANOGPT.to_vec()),
        ("logs/._a.jsonl", b"what a Mac leaves".to_vec()),
        ("readme", b"nothing of a format\n".to_vec()),
    ]);
    for (name, content) in [
        ("all.tar", plain.clone()),
        ("all.tar.gz", gzip(&plain)),
        (
            "all.tar.zst",
            zstd::encode_all(&plain[..], 1).expect("it packs"),
        ),
    ] {
        let bench = Bench::new();
        let file = write(&bench, name, &content);
        let (exit, said) = bench.json(&["ingest", &file]);
        let got: Vec<_> = said
            .iter()
            .map(|one| {
                let source = one["source"].as_str().unwrap_or("");
                let member = source.rsplit_once('!').expect("a member").1.to_owned();
                (
                    member,
                    one["format"].as_str().unwrap_or("").to_owned(),
                    one["accepted"].as_u64(),
                )
            })
            .collect();
        let expected = [
            ("logs/a.jsonl", "jsonl", 4),
            ("logs/b.jsonl.gz", "jsonl", 6),
            ("logs/my-run.log", "nanogpt", 3),
            ("readme", "unknown", 0),
        ]
        .map(|(member, format, count)| (member.to_owned(), format.to_owned(), Some(count)));
        assert_eq!((exit, got), (0, expected.to_vec()), "{name}: {said:?}");
        assert_eq!(said[2]["runs"], serde_json::json!(["my-run"]), "{said:?}");
        let (_, again) = bench.json(&["ingest", &file]);
        assert!(again.iter().all(|one| one["accepted"] == 0), "{again:?}");
        // packed anew with more in it: what is new
        let more = tar(&[
            ("logs/a.jsonl", steps("a", 0..5)),
            ("logs/c.jsonl", steps("c", 0..2)),
        ]);
        write(&bench, name, &more);
        let (_, more) = bench.json(&["ingest", &file]);
        let counts: Vec<_> = more.iter().map(|one| one["accepted"].as_u64()).collect();
        assert_eq!(counts, [Some(1), Some(2)], "{more:?}");
    }
}

#[test]
fn an_archive_that_breaks_off_keeps_what_it_had() {
    let bench = Bench::new();
    let whole = tar(&[
        ("a.jsonl", steps("a", 0..40)),
        ("b.jsonl", steps("b", 0..40)),
    ]);
    // in the middle of the second member
    let cut = 512 + 1536 + 512 + 700;
    let file = write(&bench, "cut.tar", &whole[..cut]);
    let (exit, said) = bench.json(&["ingest", &file]);
    assert_eq!(exit, 3, "{said:?}");
    assert_eq!(said[0]["accepted"], 40, "{said:?}");
    let last = said.last().expect("the archive itself");
    assert_eq!(
        (&last["format"], &last["errors"]["truncated"]),
        (&"tar".into(), &1.into()),
        "{said:?}"
    );
    let (exit, again) = bench.json(&["ingest", &file]);
    assert_eq!(exit, 0, "known by now: {again:?}");
    write(&bench, "cut.tar", &whole);
    let (exit, rest) = bench.json(&["ingest", &file]);
    assert_eq!(exit, 0, "{rest:?}");
    let runs = bench.values("telemetry.training");
    let steps = |run: &str| runs.iter().filter(|row| row["run_id"] == run).count();
    assert_eq!((steps("a"), steps("b")), (40, 40));
}

#[test]
fn an_archive_comes_through_a_pipe() {
    use std::process::Stdio;
    let bench = Bench::new();
    let content = gzip(&tar(&[
        ("a.jsonl", steps("a", 0..4)),
        ("b.jsonl", steps("b", 0..6)),
    ]));
    let mut child = bench
        .command(&["ingest", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(&content)
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("\"-!b.jsonl\""),
        "{text}"
    );
}
