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

#[test]
fn kafka() {
    chaos("kafka", &["java", "javac", "mvn"]);
}

#[test]
fn embedded() {
    chaos("embedded", &[]);
}

fn chaos(log: &str, programs: &[&str]) {
    let _turn = TURN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(program) = programs
        .iter()
        .find(|program| !cairn_tests::starts(Path::new(program), &["-version"]))
    {
        return cairn_tests::missing(&format!(
            "{program} (JDK 17 or newer, Maven) is needed for chaos on {log}"
        ));
    }
    let Some(python) = cairn_tests::python() else {
        return cairn_tests::missing(
            "a Python with tests/requirements.txt is needed for chaos; CAIRN_PYTHON names one",
        );
    };
    let all = std::env::var("CAIRN_REQUIRE_ALL").as_deref() == Ok("1");
    let records = std::env::var("CAIRN_CHAOS_RECORDS")
        .unwrap_or_else(|_| if all { "200000" } else { "20000" }.to_owned());
    let mut command = Command::new(python);
    command.arg(cairn_tests::folder().join("oracle/chaos.py"));
    command.arg("--cairn").arg(cairn_tests::cairn());
    command.args([
        "--log",
        log,
        "--records",
        &records,
        "--kills",
        if all { "10" } else { "5" },
        "--tied",
    ]);
    if let Ok(seed) = std::env::var("CAIRN_CHAOS_SEED") {
        command.args(["--seed", &seed]);
    }
    let mut running = command
        .stdin(Stdio::piped())
        .spawn()
        .expect("python was started a moment ago");
    let status = wait(&mut running);
    assert!(
        status.success(),
        "chaos on {log} ended with {status}; what it found is above, the seed with it"
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
