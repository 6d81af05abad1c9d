//! Directories and keys: who holds one, what makes one, and what does not.

use super::bench::{Bench, error};

/// The port is the second thing that two of them would share; the directory is the first.
#[test]
fn a_second_run_with_the_same_address_is_told_who_holds_the_directory() {
    let bench = Bench::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address")
        .port();
    let listen = format!("gateway.listen=127.0.0.1:{port}");
    let arguments = ["run", "--setting", &listen];
    let mut first = bench.ready(&arguments);
    let (exit, said) = bench.json(&arguments);
    // another directory has nothing to do with it: there the address is the trouble
    let (elsewhere, other) = bench.json(&["run", "--data", "other", "--setting", &listen]);
    first.kill().expect("killed");
    first.wait().expect("waited for");
    let message = error(&said)["message"].as_str().unwrap_or_default();
    assert!(
        exit == 5 && message.contains(&format!("pid {}", first.id())),
        "{exit}: {said:?}"
    );
    assert_eq!(
        (elsewhere, error(&other)["code"].as_str()),
        (2, Some("listen"))
    );
}

/// The natural reset: what was sealed before can still be opened, since the key is the same.
#[test]
fn a_directory_that_was_removed_is_made_again_with_its_key() {
    let bench = Bench::new();
    let (exit, first) = bench.json(&["init"]);
    assert_eq!(exit, 0);
    for again in [&["init"][..], &["run", "--drain"][..]] {
        std::fs::remove_dir_all(bench.home.path().join(".cairn")).expect("removed");
        let (exit, said) = bench.json(again);
        assert_eq!(exit, 0, "{said:?}");
        let text = std::fs::read_to_string(bench.home.path().join(".cairn/cairn.yaml"));
        let recipient = first[0]["recipient"].as_str().expect("a recipient");
        assert!(text.is_ok_and(|text| text.contains(recipient)), "{again:?}");
    }
}

#[test]
fn two_directories_never_share_a_key() {
    let bench = Bench::new();
    let names = ["x/y", "x_y", "x.y", "x_2fy"];
    let mut identities: Vec<String> = names
        .iter()
        .map(|name| {
            let (exit, said) = bench.json(&["init", "--data", name]);
            assert_eq!(exit, 0, "{said:?}");
            said[0]["identity"].as_str().expect("a path").to_owned()
        })
        .collect();
    identities.sort();
    identities.dedup();
    assert_eq!(identities.len(), names.len());
}

/// A mistyped `--data` is said, and leaves nothing behind: no directory, no log, no key.
#[test]
fn reading_makes_nothing() {
    let bench = Bench::new();
    let reading = [
        &["verdicts"][..],
        &["tail", "late", "--until-end"],
        &["deadletter", "list"],
        &["deadletter", "show", "0123456"],
        &["deadletter", "replay", "0123456"],
        &["topics", "diff"],
        &["doctor"],
    ];
    for arguments in reading {
        let mut all = arguments.to_vec();
        all.extend(["--data", "mistyped"]);
        let (exit, said) = bench.json(&all);
        let text = format!("{said:?}");
        assert!(
            exit == 2 && text.contains("mistyped"),
            "{arguments:?}: {exit} {text}"
        );
    }
    assert!(!bench.home.path().join("mistyped").exists());
    assert!(!bench.home.path().join(".config").exists());
}

/// On a cluster several machines seal for one recipient: none of them makes it up (DESIGN §3.5).
#[test]
fn a_pipeline_on_kafka_makes_no_key() {
    let bench = Bench::new();
    let (exit, said) = bench.json(&[
        "run",
        "--kafka",
        "127.0.0.1:1",
        "--setting",
        "log.reach_timeout_ms=1500",
    ]);
    let text = format!("{said:?}");
    assert!(
        exit == 2 && text.contains("deadletter.recipient") && text.contains("cairn init"),
        "{exit}: {text}"
    );
    assert!(!bench.home.path().join(".config").exists());
    assert!(!bench.home.path().join(".cairn").exists());
}
