//! Files onto the embedded log: exactly once, whatever is read twice, grows, breaks or is killed.

#[path = "ingest_support/mod.rs"]
mod support;

use cairn_avro::record::{DeadLetter, IngestProgress, NumberState, Payload};
use cairn_bus::Fault;
use cairn_pipeline::ingest::format::mapped::Mapping;
use cairn_pipeline::ingest::{IngestError, Limits, settings};
use std::ops::ControlFlow;
use std::sync::Arc;
use support::{Bench, Break, gzip, llmc};

#[test]
fn the_same_file_twice_adds_nothing() {
    let bench = Bench::new();
    let file = bench.file("run-7.log", llmc(0..20));
    let first = bench.ingest(&[&file]);
    assert_eq!(
        (first.read, first.accepted, first.duplicate, first.rejected),
        (20, 20, 0, 0)
    );
    assert_eq!(
        (first.format.as_str(), first.runs.as_slice(), first.lines),
        ("llmc", &["run-7".to_owned()][..], 20)
    );
    assert_eq!(first.sha256, support::sha256(&file));
    let again = bench.ingest(&[&file]);
    assert_eq!(
        (again.read, again.accepted, again.duplicate, again.rejected),
        (20, 0, 20, 0)
    );
    assert_eq!(
        (again.resumed_byte, again.sha256),
        (
            std::fs::metadata(&file).expect("it is there").len(),
            first.sha256
        )
    );
    assert_eq!(bench.steps(), (0..20).collect::<Vec<_>>());
    // the same content elsewhere, compressed: still nothing
    let copy = bench.file("run-7.log.gz", gzip(&llmc(0..20)));
    assert_eq!(bench.ingest(&[&copy]).accepted, 0);
    // as another run it is another run
    let other = bench.file("run-8.log", llmc(0..20));
    assert_eq!(bench.ingest(&[&other]).accepted, 20);
}

#[test]
fn killed_after_any_transaction_it_goes_on_where_it_was() {
    for killed_after in 1..=6 {
        let mut bench = Bench::new();
        bench.options.limits = Limits {
            batch_records: 7,
            ..Limits::default()
        };
        let mut text = llmc(0..40);
        text.extend(b"s:40 trl:damaged\n");
        let file = bench.file("run.log", text);
        let mut transactions = 0;
        let stopped = bench.try_ingest(&[&file], &mut |_| {
            transactions += 1;
            if transactions == killed_after {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert!(
            matches!(stopped, Err(IngestError::Stopped)),
            "after {killed_after}"
        );
        let before = bench.steps().len() as u64;
        let rest = bench.ingest(&[&file]);
        assert_eq!(rest.duplicate + rest.accepted + rest.rejected, 41);
        assert_eq!(rest.accepted, 40 - before);
        assert_eq!(bench.steps(), (0..40).collect::<Vec<_>>());
        assert_eq!(bench.records::<DeadLetter>("deadletter").len(), 1);
        assert_eq!(bench.ingest(&[&file]).duplicate, 41);
    }
}

#[test]
fn faults_of_the_log_neither_lose_nor_double() {
    for (at, how) in [
        (2, Break::Abort),
        (3, Break::UnknownDone),
        (3, Break::UnknownUndone),
        (6, Break::UnknownDone),
    ] {
        let mut bench = Bench::new();
        bench.options.limits = Limits {
            batch_records: 7,
            ..Limits::default()
        };
        bench.options.config = settings::parse(&["batch_tokens=10"]).expect("it fits");
        let file = bench.file("run.log", llmc(0..40));
        bench.log.break_commit(at, how);
        let summary = bench.ingest(&[&file]);
        assert_eq!(
            (summary.accepted, summary.duplicate),
            (41, 0),
            "{how:?} at {at}"
        );
        assert_eq!(
            bench.steps(),
            (0..40).collect::<Vec<_>>(),
            "{how:?} at {at}"
        );
        assert_eq!(bench.payloads("runs.config").len(), 1, "{how:?} at {at}");
    }
    let bench = Bench::new();
    let file = bench.file("run.log", llmc(0..40));
    bench.log.break_commit(1, Break::Fenced);
    let error = bench
        .try_ingest(&[&file], &mut |_| ControlFlow::Continue(()))
        .expect_err("another took over");
    assert!(
        matches!(error, IngestError::Fault(Fault::Fenced(_))) && error.exit_code() == 5,
        "{error}"
    );
}

#[test]
fn a_file_that_grew_adds_its_tail() {
    let bench = Bench::new();
    let mut text = llmc(0..10);
    let whole = text.len() as u64;
    text.extend(b"s:10 trl:3.0 lr");
    let file = bench.file("run.log", text.clone());
    let first = bench.ingest(&[&file]);
    assert_eq!(
        (first.accepted, first.rejected, first.errors["partial_line"]),
        (10, 1, 1)
    );
    let again = bench.ingest(&[&file]);
    assert_eq!(
        (again.accepted, again.rejected, again.duplicate),
        (0, 0, 11)
    );
    text.extend(b":0.1 norm:1.0\n");
    text.extend(llmc(11..13));
    bench.file("run.log", text);
    let grown = bench.ingest(&[&file]);
    assert_eq!(
        (
            grown.accepted,
            grown.rejected,
            grown.duplicate,
            grown.resumed_byte
        ),
        (3, 0, 11, whole)
    );
    assert_eq!(bench.steps(), (0..13).collect::<Vec<_>>());
    // written anew with other content: all of it is new
    bench.file("run.log", llmc(100..105));
    assert_eq!(bench.ingest(&[&file]).accepted, 5);
}

#[test]
fn a_truncated_archive_keeps_what_it_has_and_takes_the_rest_later() {
    let bench = Bench::new();
    let packed = gzip(&llmc(0..5_000));
    let file = bench.file("run.log.gz", &packed[..packed.len() / 2]);
    let half = bench.ingest(&[&file]);
    assert!(half.accepted > 1_000 && half.accepted < 5_000, "{half:?}");
    assert_eq!((half.rejected, half.errors["truncated"]), (1, 1));
    let letters = bench.records::<DeadLetter>("deadletter");
    assert!(
        letters[0]
            .text
            .contains(&format!("at byte {}", packed.len() / 2)),
        "{}",
        letters[0].text
    );
    assert_eq!(bench.ingest(&[&file]).rejected, 0);
    bench.file("run.log.gz", packed);
    let whole = bench.ingest(&[&file]);
    assert_eq!((whole.accepted, whole.rejected), (5_000 - half.accepted, 0));
    assert_eq!(bench.steps(), (0..5_000).collect::<Vec<_>>());
    // no line end behind the last line: the archive says that it is whole
    let last = bench.file("last.log.gz", gzip(b"s:1 trl:2.0 lr:0.1 norm:1.0"));
    assert_eq!(bench.ingest(&[&last]).accepted, 1);
}

#[test]
fn a_trainer_state_written_anew_adds_what_is_new() {
    let state = |steps: i64| {
        let entries: Vec<String> = (1..=steps)
            .map(|s| format!("    {{\n      \"loss\": {s}.5,\n      \"step\": {s}\n    }}"))
            .collect();
        format!(
            "{{\n  \"epoch\": 1.0,\n  \"global_step\": {steps},\n  \"log_history\": [\n{}\n  ],\n  \"max_steps\": 9\n}}\n",
            entries.join(",\n")
        )
    };
    let bench = Bench::new();
    let file = bench.file("trainer_state.json", state(4));
    assert_eq!(bench.ingest(&[&file]).accepted, 4);
    // half-written: one reject, known the second time, and no harm to what is known
    bench.file("trainer_state.json", &state(6)[..90]);
    let torn = bench.ingest(&[&file]);
    assert_eq!(
        (torn.accepted, torn.rejected, torn.errors["json"]),
        (0, 1, 1)
    );
    let torn = bench.ingest(&[&file]);
    assert_eq!((torn.rejected, torn.duplicate), (0, 1));
    bench.file("trainer_state.json", state(9));
    let grown = bench.ingest(&[&file]);
    assert_eq!((grown.accepted, grown.duplicate), (6, 4));
    assert_eq!(bench.steps(), (1..=9).collect::<Vec<_>>());
    assert_eq!(bench.payloads("runs.lifecycle").len(), 1);
    assert_eq!(bench.ingest(&[&file]).accepted, 0);
}

/// A record of an event file: `loss` at a step, as TensorBoard frames it.
fn event(step: u8) -> Vec<u8> {
    let check = |bytes: &[u8]| {
        let crc = !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0x82f6_3b78 * (crc & 1))
            })
        });
        crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
    };
    let value = [&b"\x0a\x04loss\x15"[..], &2.5f32.to_le_bytes()].concat();
    let data = [
        &[0x10, step, 0x2a, value.len() as u8 + 2][..],
        &[0x0a, value.len() as u8],
        &value,
    ]
    .concat();
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &check(&length), &data, &check(&data)].concat()
}

#[test]
fn an_event_file_that_grows_adds_its_tail() {
    let records: Vec<Vec<u8>> = (0..40).map(event).collect();
    let whole = records.concat();
    let mut bench = Bench::new();
    bench.options.format = Some("tensorboard".into());
    bench.options.limits = Limits {
        batch_records: 7,
        ..Limits::default()
    };
    // its writer was killed in the middle of a record
    let file = bench.file(
        "events.out.tfevents.17",
        &whole[..records[0].len() * 25 + 9],
    );
    let torn = bench.ingest(&[&file]);
    assert_eq!(
        (torn.accepted, torn.rejected, torn.errors["truncated"]),
        (25, 1, 1)
    );
    assert_eq!(bench.ingest(&[&file]).accepted, 0);
    bench.file("events.out.tfevents.17", &whole);
    let grown = bench.ingest(&[&file]);
    assert_eq!((grown.accepted, grown.rejected), (15, 0));
    assert_eq!(bench.steps(), (0..40).collect::<Vec<_>>());
    assert_eq!(bench.ingest(&[&file]).accepted, 0);
}

#[test]
fn metrics_of_a_run_may_have_the_same_lines() {
    let bench = Bench::new();
    let lines = "1700000000123 0.5 1\n1700000001123 0.25 2\n";
    let one = bench.file("abc/metrics/lr_group0", lines);
    let other = bench.file("abc/metrics/lr_group1", lines);
    let first = bench.ingest(&[&one]);
    assert_eq!((first.accepted, first.runs), (2, vec!["abc".to_owned()]));
    assert_eq!(bench.ingest(&[&other]).accepted, 2);
    assert_eq!(bench.ingest(&[&one]).accepted, 0);
    assert_eq!(bench.ingest(&[&other]).duplicate, 2);
}

#[test]
fn a_table_may_end_without_a_line_end() {
    let bench = Bench::new();
    let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,374,44\n2023-11-16 18:15:50.99,396,109";
    let file = bench.file("trace.csv", text);
    let first = bench.ingest(&[&file]);
    assert_eq!((first.accepted, first.rejected), (2, 0));
    let again = bench.ingest(&[&file]);
    assert_eq!((again.accepted, again.duplicate), (0, 2));
    assert_eq!(bench.raw("telemetry.runtime").len(), 2);
}

#[test]
fn records_say_whose_they_are() {
    let mut bench = Bench::new();
    bench.options.tenant = "acme".into();
    bench.options.traceparent =
        Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    bench.options.config =
        settings::parse(&["parameters_total=124e6", "batch_tokens=524288"]).expect("they fit");
    let rows = r#"{"run_id":"a/1","step":1,"loss":2.5,"event_id":"mine"}
{"run_id":"b","step":1,"loss":"NaN"}
{"run_id":"a/1","step":2,"loss":2.4}
"#;
    let file = bench.file("rows.jsonl", rows);
    let summary = bench.ingest(&[&file]);
    assert_eq!(
        (summary.accepted, summary.runs),
        (5, vec!["a/1".to_owned(), "b".into()])
    );
    let sent = bench.raw("acme.telemetry.training");
    assert_eq!(sent.len(), 3);
    let first = sent.iter().find(|record| {
        record
            .headers
            .iter()
            .any(|(name, value)| name == "event_id" && value == b"mine")
    });
    assert_eq!(
        first.and_then(|record| record.key.clone()).as_deref(),
        Some(&b"acme/a%2F1"[..])
    );
    assert!(
        sent.iter()
            .all(|record| record.headers.iter().any(|(name, _)| name == "traceparent"))
    );
    assert_eq!(bench.payloads("acme.runs.config").len(), 2);
    assert!(bench.payloads("acme.telemetry.training").iter().any(|payload| matches!(payload,
        Payload::TrainingTelemetry(step) if step.loss.is_none() && step.loss_state == NumberState::Nan)));
    // the same settings again are known, even for a file with new rows
    let more = bench.file("more.jsonl", "{\"run_id\":\"b\",\"step\":2,\"loss\":2}\n");
    assert_eq!(bench.ingest(&[&more]).accepted, 1);
}

#[test]
fn directories_bring_in_what_is_a_log() {
    let bench = Bench::new();
    bench.file("logs/a.log", llmc(0..3));
    bench.file("logs/deep/b.log", llmc(0..4));
    bench.file("logs/LICENSE", "Permission is hereby granted\n");
    bench.file("logs/empty.log", "");
    let directory = bench.path("logs");
    let all = bench
        .try_ingest(&[&directory], &mut |_| ControlFlow::Continue(()))
        .expect("it works");
    let found: Vec<_> = all
        .iter()
        .map(|one| (one.format.as_str(), one.accepted, one.skipped.is_some()))
        .collect();
    assert_eq!(
        found,
        [
            ("unknown", 0, true),
            ("llmc", 3, false),
            ("llmc", 4, false),
            ("empty", 0, false)
        ]
    );
    let licence = bench.path("logs/LICENSE");
    let refused = bench
        .try_ingest(&[&licence], &mut |_| ControlFlow::Continue(()))
        .expect_err("it is no log");
    assert!(
        refused.to_string().contains("--format") && refused.exit_code() == 2,
        "{refused}"
    );
    let progress = bench.records::<IngestProgress>("ingest.progress");
    assert!(
        progress
            .iter()
            .all(|one| one.complete && one.byte == one.size_bytes)
    );
}

#[test]
fn standard_input_is_compared_with_what_it_held() {
    let bench = Bench::new();
    let first = bench.pipe(llmc(0..10));
    assert_eq!((first.accepted, first.runs), (10, vec!["stdin".to_owned()]));
    assert_eq!(bench.pipe(llmc(0..10)).duplicate, 10);
    let more = bench.pipe(llmc(0..12));
    assert_eq!((more.accepted, more.duplicate), (2, 10));
}

#[test]
fn dead_letters_are_listed_and_replayed() {
    use cairn_pipeline::deadletter::{self, Outcome, Replay};
    let bench = Bench::new();
    let mut text = llmc(0..3);
    text.extend(b"s:3 trl:mia@example.com lr:0.1 norm:1.0\ns:4 trl:3.0 lr:0.1 norm:1.0");
    let file = bench.file("run.log", text);
    assert_eq!(bench.ingest(&[&file]).rejected, 2);
    let mut letters = Vec::new();
    deadletter::list(&bench.log, &mut |letter| letters.push(letter)).expect("they can be read");
    let listed = deadletter::listed(&letters[0]);
    assert_eq!(
        (listed["class"].as_str(), &listed["source"]["line"]),
        (Some("bad_line"), &serde_json::json!(4))
    );
    assert!(
        !listed["excerpt"].as_str().expect("text").contains("mia"),
        "{listed}"
    );
    assert_eq!(
        deadletter::shown(&letters[1])["topic"],
        "telemetry.training"
    );

    let short: Vec<String> = letters
        .iter()
        .map(|letter| letter.deadletter_id[..8].to_owned())
        .collect();
    let found = deadletter::find(&bench.log, &short).expect("they are there");
    let with = Replay {
        log: &bench.log,
        registry: &bench.registry,
        identity: &bench.identity,
        recipient: &bench.options.recipient,
        redaction: &bench.options.redaction,
        rules: &bench.options.rules,
        app_id: "cairn",
    };
    let done = deadletter::replay(&with, &found).expect("it works");
    assert_eq!(
        done.iter()
            .map(|one| (one.outcome, one.sent))
            .collect::<Vec<_>>(),
        [(Outcome::Dead, 0), (Outcome::Sent, 1)]
    );
    assert_eq!(bench.steps(), [0, 1, 2, 4]);
    let all = bench.records::<DeadLetter>("deadletter");
    assert_eq!(
        (all.len(), all[2].headers["cairn.replay_of"].as_slice()),
        (3, letters[0].deadletter_id.as_bytes())
    );
    assert!(deadletter::find(&bench.log, &["nothing".to_owned()]).is_err());
    let other = cairn_pipeline::seal::new_identity();
    let wrong = deadletter::replay(
        &Replay {
            identity: &other,
            ..with
        },
        &found,
    )
    .expect_err("it does not open");
    assert!(wrong.to_string().contains("cannot be opened"), "{wrong}");
}

/// An original goes back to ingress without what was found in it; one that still cannot be read stays where it is.
#[test]
fn a_replayed_original_is_redacted() {
    use cairn_pipeline::deadletter::{self, Outcome, Replay};
    let bench = Bench::new();
    let letter = |id: &str, original: &[u8]| DeadLetter {
        deadletter_id: id.into(),
        tenant: "default".into(),
        topic: "safety.results".into(),
        sealed: cairn_pipeline::seal::seal(&bench.identity.recipient(), original)
            .expect("it can be sealed"),
        plaintext_sha256: cairn_pipeline::seal::plaintext_sha256(original).to_vec(),
        ..DeadLetter::default()
    };
    let good = letter(
        "d1",
        br#"{"run_id":"a","suite":"s","metric":"m","value":1,"finding":"told mia@example.com"}"#,
    );
    let bad = letter("d2", br#"{"run_id":"a","who":"mia@example.com"}"#);
    let with = Replay {
        log: &bench.log,
        registry: &bench.registry,
        identity: &bench.identity,
        recipient: &bench.options.recipient,
        redaction: &bench.options.redaction,
        rules: &bench.options.rules,
        app_id: "cairn",
    };
    let done = deadletter::replay(&with, &[good, bad]).expect("it works");
    assert_eq!(
        done.iter().map(|one| one.outcome).collect::<Vec<_>>(),
        [Outcome::Sent, Outcome::Refused],
        "{done:?}"
    );
    let sent: Vec<cairn_avro::record::SafetyResult> = bench.records("safety.results");
    assert_eq!(sent[0].finding.as_deref(), Some("told <email>"));
    assert_eq!(sent.len(), 1);
}

#[test]
fn a_record_of_the_log_is_replayed_as_it_was() {
    use cairn_pipeline::deadletter::{self, Outcome, Replay};
    let bench = Bench::new();
    let original = br#"{"run_id":"a","step":1,"los":2.5}"#;
    let letter = DeadLetter {
        deadletter_id: "d1".into(),
        tenant: "default".into(),
        topic: "telemetry.training".into(),
        key: Some(b"k".to_vec()),
        event_id: Some(vec![0xab; 32]),
        sealed: cairn_pipeline::seal::seal(&bench.identity.recipient(), original)
            .expect("it can be sealed"),
        plaintext_sha256: cairn_pipeline::seal::plaintext_sha256(original).to_vec(),
        headers: [("source".to_owned(), b"s".to_vec())].into(),
        ..DeadLetter::default()
    };
    let inner = DeadLetter {
        deadletter_id: "d2".into(),
        topic: "cockpit.telegrams".into(),
        ..letter.clone()
    };
    let with = Replay {
        log: &bench.log,
        registry: &bench.registry,
        identity: &bench.identity,
        recipient: &bench.options.recipient,
        redaction: &bench.options.redaction,
        rules: &bench.options.rules,
        app_id: "cairn",
    };
    let done = deadletter::replay(&with, &[letter, inner]).expect("it works");
    assert_eq!(
        done.iter().map(|one| one.outcome).collect::<Vec<_>>(),
        [Outcome::Sent, Outcome::Refused]
    );
    let sent = bench.raw("telemetry.training");
    assert_eq!(
        (sent.len(), sent[0].value.as_deref(), sent[0].key.as_deref()),
        (1, Some(&original[..]), Some(&b"k"[..]))
    );
    let header = |name: &str| {
        sent[0]
            .headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    };
    assert_eq!(header("event_id"), Some("ab".repeat(32).into_bytes()));
    assert_eq!(
        (header("source"), header("cairn.replay_of")),
        (Some(b"s".to_vec()), Some(b"d1".to_vec()))
    );
}

#[test]
fn real_logs_go_in_once() {
    let Some(folder) = support::shared("nanogpt-logs") else {
        return;
    };
    let bench = Bench::new();
    let folder = folder.to_string_lossy().into_owned();
    let start = std::time::Instant::now();
    let all = bench
        .try_ingest(&[&folder], &mut |_| ControlFlow::Continue(()))
        .expect("it works");
    let accepted: u64 = all.iter().map(|one| one.accepted).sum();
    println!("{accepted} events in {:?}", start.elapsed());
    assert_eq!(all.iter().filter(|one| one.skipped.is_some()).count(), 2);
    assert_eq!(
        (accepted, all.iter().map(|one| one.rejected).sum::<u64>()),
        (19_640 + 6_251 + 6_049 + 4 * 1_544 + 6, 0)
    );
    let again = bench
        .try_ingest(&[&folder], &mut |_| ControlFlow::Continue(()))
        .expect("it works");
    assert_eq!(
        again
            .iter()
            .map(|one| (one.accepted, one.rejected))
            .collect::<Vec<_>>(),
        [(0, 0); 9]
    );
    assert_eq!(again.iter().map(|one| one.duplicate).sum::<u64>(), accepted);
}

#[test]
fn broken_lines_of_any_kind_are_counted_and_sealed() {
    let bench = Bench::new();
    let long = [vec![b'x'; 1_000_000], b"\n".to_vec(), llmc(1..2)].concat();
    let mut text = llmc(0..1);
    text.extend(long);
    text.extend(b"s:2 trl:\xff\xfe lr:0.1 norm:1\n\r\n");
    let file = bench.file("run.log", text);
    let summary = bench.ingest(&[&file]);
    assert_eq!(
        (
            summary.accepted,
            summary.errors["oversized"],
            summary.errors["bad_line"]
        ),
        (2, 1, 1),
        "{summary:?}"
    );
    assert_eq!((summary.ignored, summary.lines), (1, 5));
    let letters = bench.records::<DeadLetter>("deadletter");
    let opened = cairn_pipeline::seal::open(&bench.identity, &letters[0].sealed).expect("it opens");
    assert_eq!(
        (opened.len(), letters[0].plaintext_bytes),
        (900_000, 900_000)
    );
}

/// `cargo test --release --test ingest_log -- --ignored --nocapture speed`
#[test]
#[ignore = "a measurement"]
fn speed() {
    let rows = 200_000;
    let json: String = (0..rows).map(|s| format!("{{\"run_id\":\"a\",\"step\":{s},\"loss\":3.{s},\"learning_rate\":0.001,\"grad_norm\":1.5,\"tokens\":{}}}\n", s * 1024)).collect();
    let csv: String = (0..rows)
        .map(|s| format!("a,{s},{},3.{s},1e-3,1.5\n", s * 1024))
        .collect();
    let mapping = "{run_id: run, fields: {step: step, tokens: tokens, loss: loss, learning_rate: lr, grad_norm: \"norm * 1.0\"}}";
    let modded: String = (0..rows)
        .map(|s| {
            format!(
                "step:{s}/{rows} train_loss:3.{s} train_time:{}ms step_avg:216.33ms\n",
                s * 216
            )
        })
        .collect();
    let megatron: String = (0..rows).map(|s| format!(" iteration {s:8}/ {rows:8} | consumed samples: {:12} | elapsed time per iteration (ms): 18706.1 | learning rate: 6.000E-05 | global batch size:    96 | lm loss: 6.444662E+00 | loss scale: 2048.0 | grad norm: 98258.265 | num zeros: 0.0 | number of skipped iterations:   0 | number of nan iterations:   0 |\n", s * 96)).collect();
    for (name, text, map) in [
        ("a.log", llmc(0..rows), false),
        ("b.jsonl", json.into_bytes(), false),
        (
            "c.csv",
            [b"run,step,tokens,loss,lr,norm\n", csv.as_bytes()].concat(),
            true,
        ),
        ("d.txt", modded.into_bytes(), false),
        ("e.log", megatron.into_bytes(), false),
    ] {
        let mut bench = Bench::new();
        bench.options.mapping = map.then(|| Arc::new(Mapping::parse(mapping).expect("it is good")));
        let file = bench.file(name, text);
        let (start, cpu) = (std::time::Instant::now(), support::cpu_seconds());
        let summary = bench.ingest(&[&file]);
        let (wall, used) = (start.elapsed().as_secs_f64(), support::cpu_seconds() - cpu);
        assert_eq!(summary.rejected, 0);
        let start = std::time::Instant::now();
        assert_eq!(bench.ingest(&[&file]).accepted, 0);
        println!(
            "{:14} {:8.0} rows/s, {:.2} CPU-s a million rows; again {:8.0} rows/s",
            summary.format,
            rows as f64 / wall,
            used * 1e6 / rows as f64,
            rows as f64 / start.elapsed().as_secs_f64()
        );
    }
}
