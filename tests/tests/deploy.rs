//! docker-compose.yml, the Dockerfile and Prometheus' configuration against what they speak of: `tests/deploy/check.py`.

use std::process::Command;

#[test]
fn what_is_deployed_speaks_of_what_exists() {
    let Some(python) = cairn_tests::python() else {
        let what = "a Python with tests/requirements.txt is needed; CAIRN_PYTHON names one";
        return cairn_tests::missing(what);
    };
    let output = Command::new(python)
        .arg(cairn_tests::folder().join("deploy/check.py"))
        .arg("--cairn")
        .arg(cairn_tests::cairn())
        .output()
        .expect("python was started a moment ago");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
