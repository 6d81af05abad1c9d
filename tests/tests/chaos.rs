//! Stock clients send, the pipeline is killed, two oracles look what was lost or doubled: `tests/oracle/chaos.py` on both logs.
//!
//! 20,000 records and 5 kills; with `CAIRN_REQUIRE_ALL=1`, as in CI, 200,000 and 10. `CAIRN_CHAOS_RECORDS` and `CAIRN_CHAOS_SEED`
//! say otherwise.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// One at a time: each wants a machine of its own.
static TURN: Mutex<()> = Mutex::new(());

/// The longest that a run may take, a fresh download of the servers included.
const LIMIT: Duration = Duration::from_secs(1_800);

const JAVA: &[&str] = &["java", "javac", "mvn"];

#[test]
fn kafka() {
    chaos("kafka", JAVA);
}

#[test]
fn embedded() {
    chaos("embedded", &[]);
}

/// A schema id that the registry denies: a test of its own, because the pipeline waits 30 s for it.
#[test]
fn unknown_schema() {
    script("unknown_schema.py", JAVA, &[]);
}

/// The run family to other partition counts between two halves of an input, killed on the way.
#[test]
fn migrate() {
    script("migrate.py", JAVA, &[]);
}

fn chaos(log: &str, programs: &[&str]) {
    let all = std::env::var("CAIRN_REQUIRE_ALL").as_deref() == Ok("1");
    let (records, kills) = if all {
        ("200000", "10")
    } else {
        ("20000", "5")
    };
    let records = std::env::var("CAIRN_CHAOS_RECORDS").unwrap_or_else(|_| records.to_owned());
    let mut arguments = vec!["--log", log, "--kills", kills, "--records", &records];
    let seed = std::env::var("CAIRN_CHAOS_SEED").ok();
    if let Some(seed) = &seed {
        arguments.extend(["--seed", seed]);
    }
    script("chaos.py", programs, &arguments);
}

fn script(name: &str, programs: &[&str], arguments: &[&str]) {
    let _turn = TURN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let lacking = |program: &&&str| !cairn_tests::starts(Path::new(program), &["-version"]);
    if let Some(program) = programs.iter().find(lacking) {
        return cairn_tests::missing(&format!(
            "{program} (JDK 17 or newer, Maven) is needed for {name}"
        ));
    }
    let Some(python) = cairn_tests::python() else {
        let what = format!(
            "a Python with tests/requirements.txt is needed for {name}; CAIRN_PYTHON names one"
        );
        return cairn_tests::missing(&what);
    };
    let mut command = Command::new(python);
    command.arg(cairn_tests::folder().join("oracle").join(name));
    command
        .arg("--cairn")
        .arg(cairn_tests::cairn())
        .arg("--tied")
        .args(arguments);
    let mut running = command
        .stdin(Stdio::piped())
        .spawn()
        .expect("python was started a moment ago");
    let status = wait(&mut running);
    assert!(
        status.success(),
        "{name} {arguments:?} ended with {status}; what it found is above, the seed with it"
    );
}

fn wait(running: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = running.try_wait().expect("our own child") {
            return status;
        }
        if begun.elapsed() > LIMIT {
            // its standard input closes with us, which makes it end what it started
            drop(running.stdin.take());
            let _ = running.wait();
            panic!("not done within {} s", LIMIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
