//! What the command says when something is wrong: one line, what, where and what to do.

use super::bench::{Bench, error};

/// "with `--json` standard output is NDJSON and nothing else", wrong usage included.
#[test]
fn wrong_usage_answers_with_json_where_it_was_asked_for() {
    let bench = Bench::new();
    for (arguments, wrong) in [
        (&["ingest", "--bogus"][..], "--bogus"),
        (&["ingest"][..], "<SRC>"),
        (&["bogus"][..], "bogus"),
        (&["topics"][..], "requires a subcommand"),
        (&["run", "--drain", "--timeout-s=-1"][..], "--timeout-s"),
    ] {
        let (exit, said) = bench.json(arguments);
        let message = error(&said)["message"].as_str().unwrap_or_default();
        assert_eq!(
            (exit, said.len(), error(&said)["code"].as_str()),
            (2, 1, Some("usage")),
            "{arguments:?}"
        );
        assert!(
            message.contains(wrong) && !message.contains('\n'),
            "{arguments:?}: {message}"
        );
        for member in ["where", "remedy"] {
            assert!(
                !error(&said)[member].as_str().unwrap_or_default().is_empty(),
                "{said:?}"
            );
        }
        if arguments == ["topics"] {
            continue; // people get the page
        }
        let output = bench.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(text.lines().count(), 1, "one line for people too: {text}");
    }
    // a near miss is named
    let (_, said) = bench.json(&["verdicts", "--runn", "x"]);
    assert!(
        error(&said)["remedy"]
            .as_str()
            .unwrap_or("")
            .contains("--run"),
        "{said:?}"
    );
}

#[test]
fn what_ingest_cannot_read_is_said_with_its_place() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", "{\"run_id\":\"r\",\"step\":1,\"loss\":2.5}\n");
    for (arguments, place) in [
        (&["ingest", "missing.jsonl"][..], "missing.jsonl"),
        (&["ingest", &file, "--format", "megatronn"][..], "megatronn"),
        (&["ingest", &file, "--tenant", "No Tenant"][..], "No Tenant"),
        (&["ingest", "no*.jsonl"][..], "no*.jsonl"),
        (&["breaker", "replay", "missing.jsonl"][..], "missing.jsonl"),
    ] {
        let (exit, said) = bench.json(arguments);
        let error = error(&said);
        assert_eq!(
            (exit, error["code"].as_str()),
            (2, Some("usage")),
            "{said:?}"
        );
        assert!(
            error["message"].as_str().unwrap_or("").contains(place),
            "{said:?}"
        );
        let remedy = error["remedy"].as_str().unwrap_or("");
        assert!(
            !remedy.is_empty() && !remedy.contains("the same command goes on"),
            "{said:?}"
        );
    }
}

#[test]
fn a_wrong_value_names_its_setting_and_where_it_was_said() {
    let bench = Bench::new();
    let yaml = bench.file("c.yaml", "runtime:\n  poll_records_max: abc\n");
    let (exit, said) = bench.json(&["doctor", "--config", &yaml]);
    let text = format!("{said:?}");
    assert!(
        exit == 2 && text.contains("runtime.poll_records_max"),
        "{text}"
    );
    let (exit, said) = bench.json(&["run", "--drain", "--config", &yaml]);
    let text = error(&said).to_string();
    assert!(
        exit == 2 && text.contains("c.yaml") && text.contains("runtime.poll_records_max"),
        "{text}"
    );
    let (exit, said) = bench.json(&[
        "run",
        "--drain",
        "--setting",
        "runtime.poll_records_max=abc",
    ]);
    let text = error(&said).to_string();
    assert!(
        exit == 2 && text.contains("--setting runtime.poll_records_max"),
        "{text}"
    );
    let (_, said) = bench.json(&["run", "--drain", "--setting", "runtime.poll_recordsmax=1"]);
    assert!(
        error(&said)["where"]
            .as_str()
            .unwrap_or("")
            .starts_with("--setting "),
        "{said:?}"
    );
}

#[test]
fn a_near_miss_in_a_mapping_is_named() {
    let bench = Bench::new();
    let table = bench.file("t.csv", "step,l,ts\n1,2.5,1\n");
    for (mapping, nearest) in [
        ("clok: step\nfields: {step: step, loss: l}\n", "clock"),
        ("clock: stepp\nfields: {step: step, loss: l}\n", "step"),
        (
            "event_time: {form: ts}\nfields: {step: step, loss: l}\n",
            "from",
        ),
        ("fields: {step: step, losss: l}\n", "loss"),
    ] {
        let map = bench.file("m.yaml", mapping);
        let (exit, said) = bench.json(&["ingest", &table, "--map", &map]);
        let text = error(&said).to_string();
        let expected = format!("the nearest is {nearest}");
        assert!(exit == 2 && text.contains(&expected), "{mapping}: {text}");
    }
}

/// The client's own chatter is for who asks for it.
#[test]
fn a_broker_that_is_not_there_is_one_line() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["init"]).status.code(), Some(0));
    for command in [&["tail", "late"], &["run", "--drain"]] {
        let mut arguments = command.to_vec();
        arguments.extend(["--kafka", "127.0.0.1:1"]);
        arguments.extend(["--setting", "log.reach_timeout_ms=1500"]);
        let output = bench.run(&arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            (output.status.code(), text.lines().count()),
            (Some(4), 1),
            "{text}"
        );
    }
}

/// What a script reads is there whatever its value: `breaker replay` and `verdicts` say the same.
#[test]
fn a_verdict_of_the_first_attempt_says_so() {
    let bench = Bench::new();
    let lines: String = (0..4)
        .map(|step| format!("{{\"run_id\":\"r\",\"step\":{step},\"loss\":\"NaN\"}}\n"))
        .collect();
    let file = bench.file("nan.jsonl", &lines);
    bench.json(&["ingest", &file]);
    bench.json(&["run", "--drain"]);
    let (_, verdicts) = bench.json(&["verdicts"]);
    let (_, replayed) = bench.json(&["breaker", "replay", &file]);
    for name in [
        "attempt",
        "at_step",
        "state",
        "cause",
        "onset_step",
        "window",
        "slope",
        "threshold",
        "rule",
    ] {
        assert_eq!(verdicts[0][name], replayed[0][name], "{name}");
    }
    assert_eq!(
        (&verdicts[0]["attempt"], &verdicts[0]["at_step"]),
        (&0.into(), &0.into())
    );
}

/// "4 with what is left at the time-out", and the next drain goes on from there.
#[test]
fn a_drain_that_gives_up_says_what_is_left() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", "{\"run_id\":\"r\",\"step\":1,\"loss\":2.5}\n");
    bench.json(&["ingest", &file]);
    let (exit, said) = bench.json(&["run", "--drain", "--timeout-s", "0"]);
    assert_eq!((exit, &said[0]["lag"]), (4, &1.into()), "{said:?}");
    let (exit, said) = bench.json(&["run", "--drain"]);
    assert_eq!((exit, &said[0]["lag"]), (0, &0.into()), "{said:?}");
}
