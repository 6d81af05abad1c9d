//! `cairn runs forecast` on real logs: three runs of one configuration, and the end of a fourth that nobody has shown it.

use crate::bench::{Bench, error};
use crate::shared_data::shared;
use serde_json::json;

/// Windows of 20 steps: these runs have 1,530.
const STEPS: &str = "runs.follow.rules.windows.step_size=20";

#[test]
fn the_end_of_a_real_run_is_foretold_from_others_like_it() {
    let Some(shared) = shared() else {
        println!("skipped: the shared data are not at hand; set CAIRN_SHARED");
        return;
    };
    let folder = shared.join("data/nanogpt-logs");
    let bench = Bench::new();
    let ingest = |file: &str, run: &str| {
        let (exit, said) = bench.json(&["ingest", file, "--run-id", run]);
        assert_eq!(exit, 0, "{said:?}");
    };
    for (run, file) in [
        ("a", "valueembed_seedA_75a3af7b.txt"),
        ("b", "valueembed_seedB_d884d4cb.txt"),
        ("c", "valueembed_seedC_2358dd3a.txt"),
        ("d", "valueembed_seedD_51faed93.txt"),
    ] {
        ingest(folder.join(file).to_str().expect("a path"), run);
    }
    // The fourth once more, as it was when 60 % of it had been trained.
    let whole = std::fs::read_to_string(folder.join("valueembed_seedD_51faed93.txt"));
    let whole = whole.expect("a log");
    let lines: Vec<&str> = whole.lines().collect();
    let last = lines.iter().position(|line| line.starts_with("step:918/"));
    let table = bench.file(
        "cut.csv",
        &lines[..=last.expect("a step")]
            .iter()
            .filter_map(|line| {
                let (step, rest) = line.strip_prefix("step:")?.split_once('/')?;
                let loss = rest.split_once("train_loss:")?.1.split(' ').next()?;
                Some(format!("under-way,{step},{loss}\n"))
            })
            .fold("run,step,loss\n".to_owned(), |text, line| text + &line),
    );
    let rules = bench.file(
        "map.yaml",
        "run_id: run\nfields: {step: step, loss: loss}\nended: end_of_file\n",
    );
    let (exit, said) = bench.json(&["ingest", &table, "--map", &rules]);
    assert_eq!(exit, 0, "{said:?}");
    let (exit, said) = bench.json(&["run", "--drain", "--setting", STEPS]);
    assert_eq!(exit, 0, "{said:?}");

    // The median of the last 4 % of the fourth's 1,530 training losses, from the log itself, is 3.2771; single losses are .04
    // off, so that the median of its few last windows is another by .02 at most.
    let (_, said) = bench.json(&["runs", "forecast", "d", "--until", "0.6"]);
    let ended = said[0]["ended"].as_f64().expect("it has ended");
    assert!((ended - 3.2771).abs() < 0.02, "{ended}");
    for arguments in [
        &[
            "runs",
            "forecast",
            "d",
            "--until",
            "0.6",
            "--where",
            "run_id <> 'under-way'",
        ][..],
        &[
            "runs",
            "forecast",
            "under-way",
            "--end",
            "1530",
            "--where",
            "run_id IN ('a', 'b', 'c')",
        ],
    ] {
        let (exit, said) = bench.json(arguments);
        assert_eq!((exit, said.len()), (0, 1), "{said:?}");
        let said = &said[0];
        let loss = said["loss"].as_f64().expect("a loss");
        assert!((loss / ended - 1.0).abs() < 0.01, "{said}");
        let [low, high] = [0, 1].map(|end| said["interval"][end].as_f64().expect("an end"));
        assert!(low < ended && ended < high && high - low < 0.3, "{said}");
        assert_eq!(said["calibrated_on"], 3, "{said}");
        // Three runs back no level of .9, and that is said.
        assert_eq!(said["identified"], "weakly", "{said}");
    }

    // Too early, and of no known length.
    let (exit, said) = bench.json(&["runs", "forecast", "d", "--until", "0.05"]);
    assert_eq!(
        (exit, &said[0]["identified"]),
        (1, &json!("no")),
        "{said:?}"
    );
    let (exit, said) = bench.json(&["runs", "forecast", "under-way"]);
    assert_eq!((exit, &error(&said)["code"]), (1, &json!("no_length")));
    let (exit, said) = bench.json(&["runs", "forecast", "d", "--until", "60"]);
    assert_eq!((exit, said.len()), (2, 1), "{said:?}");
}
