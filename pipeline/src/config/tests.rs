use super::*;

fn load(
    yaml: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Config, ConfigError> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), yaml).expect("written");
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    };
    Config::load(Some(file.path()), owned(environment), &owned(flags))
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file =
        "runtime:\n  commit_interval_ms: 10\n  poll_records_max: 11\n  batch_records_max: 12\n";
    let environment = [
        ("CAIRN_RUNTIME_POLL_RECORDS_MAX", "21"),
        ("CAIRN_RUNTIME_BATCH_RECORDS_MAX", "22"),
        ("HOME", "/"),
    ];
    let config = load(file, &environment, &[("runtime.batch_records_max", "32")]).expect("valid");
    let runtime = &config.runtime;
    assert_eq!(
        (
            runtime.commit_interval_ms,
            runtime.poll_records_max,
            runtime.batch_records_max
        ),
        (10, 21, 32)
    );
}

#[test]
fn a_typing_error_is_refused_with_the_nearest_name() {
    let error =
        load("runtime:\n  commit_intervall_ms: 10\n", &[], &[]).expect_err("a typing error");
    assert!(
        error
            .remedy
            .contains("did you mean runtime.commit_interval_ms?"),
        "{error}"
    );
    let error =
        load("", &[("CAIRN_RUNTIME_COMIT_INTERVAL_MS", "1")], &[]).expect_err("a typing error");
    assert!(
        error.remedy.contains("CAIRN_RUNTIME_COMMIT_INTERVAL_MS"),
        "{error}"
    );
    let error = load("", &[], &[("gateway.lisen", "off")]).expect_err("a typing error");
    assert!(error.remedy.contains("gateway.listen"), "{error}");
}

#[test]
fn values_are_validated_at_the_start() {
    for (yaml, place) in [
        (
            "runtime: {commit_interval_ms: 0}",
            "runtime.commit_interval_ms",
        ),
        (
            "runtime: {commit_interval_ms: 10000}",
            "runtime.commit_interval_ms",
        ),
        (
            "runtime: {commit_interval_ms_max: 10000}",
            "runtime.commit_interval_ms_max",
        ),
        (
            "runtime: {commit_share_max: 0.0}",
            "runtime.commit_share_max",
        ),
        ("log: {group_protocol: eager}", "log.group_protocol"),
        ("runtime: {tenants: [Acme]}", "runtime.tenants"),
    ] {
        assert_eq!(load(yaml, &[], &[]).expect_err(yaml).place, place);
    }
    let error = load("runtime: {poll_records_max: many}", &[], &[]).expect_err("not a number");
    assert!(
        error.problem.contains("poll_records_max") || error.problem.contains("invalid type"),
        "{error}"
    );
}

#[test]
fn maps_that_users_fill_are_taken_whole() {
    let config = load("log: {properties: {security.protocol: SSL}}", &[], &[]).expect("valid");
    assert_eq!(config.log.properties["security.protocol"], "SSL");
}
