//! Restarts with fits under way, and what a replay makes of them.

use super::*;
use crate::replay::{Request, Start, TopicReport, replay};
use cairn_avro::record::Cohort;

fn bench() -> Bench {
    Bench::new(|config| config.refit.rules.debounce_ms = 0)
}

fn cohort(bench: &Bench, name: &str) -> Outgoing {
    let cohort = Cohort {
        tenant: "default".to_owned(),
        name: name.to_owned(),
        where_sql: "TRUE".to_owned(),
        ..Cohort::default()
    };
    let key = format!("default/{name}");
    let encoder = &bench.encoder;
    encoder
        .avro("registry.cohorts", "default", &key, &cohort)
        .unwrap()
}

fn waits(member: &Member) -> bool {
    member.tasks.values().any(|task| task.is_waiting())
}

/// A member that has read everything and has asked; the answers are ready, and not written.
fn asker(bench: &Bench) -> Member {
    let mut member = bench.member(bench.kind("refit"));
    while !waits(&member) || member.lag().unwrap() > 0 {
        member.step(Duration::ZERO).unwrap();
        member.commit().unwrap();
    }
    assert!(bench.values("answers").is_empty());
    member
}

/// What a replay says of the answers; it finds no difference.
fn replayed(bench: &Bench) -> TopicReport {
    let into = tempfile::tempdir().unwrap();
    let request = Request {
        from: Start::Earliest,
        into: into.path().join("again"),
        only: vec!["refit".to_owned()],
        work: Arc::new(|_| Err("no work".to_owned())),
    };
    let report = replay(&bench.config, &bench.place, &request).unwrap();
    assert_eq!(report.first, None);
    let mut topics = report.topics.into_iter();
    topics.find(|topic| topic.topic == "answers").unwrap()
}

/// A cohort is fitted and removed, and the member dies before it has read the answer. The next one gives the ask up, without a
/// word: the answer is nobody's. So it is in a replay.
#[test]
fn a_replay_gives_up_what_a_restart_gave_up() {
    let bench = bench();
    let saved = cohort(&bench, "grid");
    let removed = Outgoing {
        value: None,
        ..saved.clone()
    };
    bench.send_records("people", [saved]);
    let mut first = asker(&bench);
    bench.send_records("people", [removed]);
    first.step(Duration::from_secs(5)).unwrap();
    assert_eq!(bench.values("answers").len(), 1, "written with the removal");
    assert!(waits(&first), "and not read");
    drop(first);

    let mut second = bench.member(bench.kind("refit"));
    settle(&mut second).unwrap();
    assert!(!waits(&second));
    assert_eq!(second.lag().unwrap(), 0);
    assert!(bench.values("cockpit.telegrams").is_empty());
    let answers = replayed(&bench);
    assert_eq!((answers.records, answers.equal), (1, 1));
}

/// Two asks of one batch are made at two cuts; both are made again at the later one, so that the second is the same ask. Its
/// first answer was never written, and is not to be taken for the one that was.
#[test]
fn a_replay_knows_whose_answer_was_written() {
    let bench = bench();
    bench.send_records("people", [cohort(&bench, "grid"), cohort(&bench, "jump")]);
    drop(asker(&bench));

    let mut second = bench.member(bench.kind("refit"));
    settle(&mut second).unwrap();
    assert!(!waits(&second));
    assert_eq!(bench.values("answers").len(), 2);
    assert_eq!(bench.values("cockpit.telegrams").len(), 2, "no work");
    let answers = replayed(&bench);
    assert_eq!((answers.records, answers.equal), (2, 2));
}
