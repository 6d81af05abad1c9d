//! What ingest says of a source is what becomes of it.

use super::bench::{Bench, error};

const GOOD: &str = "{\"run_id\":\"r\",\"step\":1,\"loss\":2.5}\n";

/// "ingest calls the same validation as admit, so `rejected` is final": 2096 is as far in the future here as there.
#[test]
fn what_admit_would_refuse_is_rejected_by_ingest() {
    let many: Vec<String> = (0..257).map(|number| format!("\"m{number}\":1")).collect();
    let many = format!(
        "{{\"run_id\":\"r\",\"step\":3,\"metrics\":{{{}}}}}",
        many.join(",")
    );
    for (settings, line, class) in [
        (
            &[][..],
            "{\"run_id\":\"r\",\"step\":2,\"loss\":2.5,\"event_time_ms\":4000000000000}",
            "from_the_future",
        ),
        (&[][..], many.as_str(), "out_of_range"),
        (
            &["--setting", "admit.metrics_allowed=[known]"][..],
            "{\"run_id\":\"r\",\"step\":2,\"metrics\":{\"other\":1}}",
            "unknown_field",
        ),
        (
            &["--setting", "admit.datasets_allowed=[mine]"][..],
            "{\"topic\":\"runs.config\",\"run_id\":\"r\",\"data_mix\":[{\"dataset\":\"theirs\",\"ratio\":1}]}",
            "source_denied",
        ),
    ] {
        let bench = Bench::new();
        let file = bench.file("a.jsonl", &format!("{GOOD}{line}\n"));
        let mut arguments = vec!["ingest", &file];
        arguments.extend(settings);
        let (exit, said) = bench.json(&arguments);
        assert_eq!(
            (exit, &said[0]["accepted"], &said[0]["errors"][class]),
            (3, &1.into(), &1.into()),
            "{class}: {said:?}"
        );
        let mut arguments = vec!["run", "--drain"];
        arguments.extend(settings);
        let (_, drained) = bench.json(&arguments);
        assert_eq!(
            drained[0]["operators"]["admit"]["dead"], 0,
            "{class}: {drained:?}"
        );
    }
}

/// Only losses and gradient norms may be what is not finite; a score that was good stays.
#[test]
fn a_score_that_is_no_number_is_a_dead_letter_and_keeps_the_good_one() {
    let bench = Bench::new();
    let score = |value: &str| {
        format!(
            "{{\"topic\":\"eval.results\",\"run_id\":\"r\",\"harness\":\"h\",\"task\":\"t\",\"metric\":\"m\",{value}}}\n"
        )
    };
    let lines = [
        GOOD.to_owned(),
        score("\"step\":1,\"value\":0.5"),
        score("\"step\":1,\"value\":\"NaN\""),
        score("\"step\":1,\"value_state\":\"nan\""),
    ];
    let (exit, said) = bench.json(&["ingest", &bench.file("s.jsonl", &lines.concat())]);
    assert_eq!(
        (exit, &said[0]["errors"]["not_finite"]),
        (3, &2.into()),
        "{said:?}"
    );
    bench.json(&["run", "--drain"]);
    let rows = bench.values("experiments.rows");
    let scores = &rows.last().expect("a row")["scores"];
    assert_eq!(
        (scores.as_array().map(Vec::len), &scores[0]["value"]),
        (Some(1), &0.5.into())
    );
}

/// nanoGPT's own lines: the log names no run.
const NANOGPT: &str = "step 0: train loss 10.9, val loss 10.9\niter 0: loss 10.9, time 100.00ms, mfu -100.00%\niter 10: loss 9.5, time 100.00ms, mfu 30.00%\n";

#[test]
fn what_is_set_later_is_sent_once() {
    let bench = Bench::new();
    let file = bench.file("run.log", NANOGPT);
    let (exit, first) = bench.json(&["ingest", &file]);
    assert_eq!(exit, 0, "{first:?}");
    let all = first[0]["accepted"].as_u64().expect("a count");
    let with = ["ingest", &file, "--set", "parameters_total=104e6"];
    for (accepted, when) in [(1, "the first time"), (0, "again")] {
        let (exit, said) = bench.json(&with);
        assert_eq!(
            (
                exit,
                &said[0]["accepted"],
                &said[0]["duplicate"],
                &said[0]["rejected"]
            ),
            (0, &accepted.into(), &all.into(), &0.into()),
            "{when}: {said:?}"
        );
    }
    bench.json(&["run", "--drain"]);
    let rows = bench.values("experiments.rows");
    assert_eq!(
        rows.last().expect("a row")["model"]["parameters_total"],
        104e6
    );
}

/// A name that would be dropped is refused, before anything is read.
#[test]
fn a_run_id_beside_rows_that_name_theirs_is_wrong_usage() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", GOOD);
    let table = bench.file("t.csv", "name,step,l\nr,1,2.5\n");
    let map = bench.file("m.yaml", "run_id: name\nfields: {step: step, loss: l}\n");
    for arguments in [
        &["ingest", &file, "--run-id", "zz"][..],
        &["ingest", &table, "--map", &map, "--run-id", "zz"][..],
    ] {
        let (exit, said) = bench.json(arguments);
        assert_eq!(
            (exit, error(&said)["code"].as_str()),
            (2, Some("usage")),
            "{said:?}"
        );
        assert!(
            error(&said)["message"]
                .as_str()
                .unwrap_or("")
                .contains("--run-id"),
            "{said:?}"
        );
    }
    assert!(bench.values("telemetry.training").is_empty());
    // for rows that name none it is what they lack, and saying the same is no contradiction
    let bare = bench.file("bare.jsonl", "{\"step\":1,\"loss\":2.5}\n");
    let (exit, said) = bench.json(&["ingest", &bare, "--format", "jsonl", "--run-id", "zz"]);
    assert_eq!(
        (exit, &said[0]["runs"]),
        (0, &serde_json::json!(["zz"])),
        "{said:?}"
    );
    let (exit, _) = bench.json(&["ingest", &file, "--run-id", "r"]);
    assert_eq!(exit, 0);
}

#[test]
fn a_file_without_a_line_of_the_named_format_gets_a_hint() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", GOOD);
    let output = bench.run(&["ingest", &file, "--format", "megatron"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text.contains("megatron") && text.contains("--format"),
        "{text}"
    );
}

/// A strict list names files as `ingest`, for some topics only; what it does not name is a dead letter, and nobody else is held up.
#[test]
fn a_strict_list_of_sources_is_kept_from_file_to_row() {
    let bench = Bench::new();
    let lines = format!("{GOOD}{{\"topic\":\"runs.tags\",\"run_id\":\"r\",\"add\":[\"good\"]}}\n");
    let file = bench.file("a.jsonl", &lines);
    let strict = [
        "--setting",
        "admit.sources_allowed=[\"telemetry.*=ingest\", \"gateway\"]",
    ];
    let mut arguments = vec!["ingest", &file];
    arguments.extend(strict);
    let (exit, said) = bench.json(&arguments);
    assert_eq!(
        (
            exit,
            &said[0]["accepted"],
            &said[0]["errors"]["source_denied"]
        ),
        (3, &1.into(), &1.into()),
        "{said:?}"
    );
    let mut arguments = vec!["run", "--drain"];
    arguments.extend(strict);
    let (_, drained) = bench.json(&arguments);
    assert_eq!(drained[0]["operators"]["admit"]["dead"], 0, "{drained:?}");
    let rows = bench.values("experiments.rows");
    assert_eq!(rows.last().expect("a row")["steps"], 1);
}
