use super::*;

fn written(name: &str, text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(name);
    std::fs::write(&path, text).expect("written");
    let path = path.display().to_string();
    (directory, path)
}

#[test]
fn names_with_blanks_are_columns_and_the_rest_is_sql() {
    let (_kept, path) = written(
        "a.csv",
        "Model Size,Training FLOP,loss\n2,24,3.5\n4,96,NA\n",
    );
    let table = InputTable::read(
        &[path],
        None,
        Some("loss IS NOT NULL OR \"Model Size\" > 3"),
    )
    .expect("a table");
    assert_eq!(table.numbers("Model Size").expect("a column"), [2.0, 4.0]);
    let tokens = table
        .numbers("\"Training FLOP\" / (6 * \"Model Size\")")
        .expect("an expression");
    assert_eq!(tokens, [2.0, 4.0]);
    let loss = table.numbers("loss").expect("a column");
    assert!(loss[0] == 3.5 && loss[1].is_nan());
    assert_eq!(
        table.words("file").expect("the file"),
        [Some("a".to_owned()), Some("a".to_owned())]
    );
    let error = table.numbers("los").expect_err("no such column");
    assert_eq!(error.code, "unknown_column");
    assert!(error.remedy.contains("loss"), "{error}");
}

#[test]
fn sizes_in_words_are_numbers_in_columns_and_expressions() {
    let (_kept, path) = written(
        "a.csv",
        "Model Size,Train Tokens,Val/Loss,acc\n70M,2B tokens,3.9,25.1%\n1.3B,\"26,000,000,000\",2.7,n/a\n",
    );
    let table = InputTable::read(&[path], None, None).expect("a table");
    assert_eq!(table.numbers("Model Size").expect("n"), [7e7, 1.3e9]);
    assert_eq!(table.numbers("Train Tokens").expect("d"), [2e9, 2.6e10]);
    let score = table.numbers("acc").expect("a score");
    assert!((score[0] - 0.251).abs() < 1e-12 && score[1].is_nan());
    let compute = table
        .numbers("6 * amount(\"Model Size\") * amount(\"Train Tokens\")")
        .expect("an expression");
    assert_eq!(compute, [8.4e17, 2.028e20]);
    assert_eq!(table.read_as()[0], "Model Size: `70M` is read as 7e7");
    let error = table.numbers("val/loss").expect_err("another case");
    assert!(
        error.code == "unknown_column" && error.remedy.contains("Val/Loss"),
        "{error}"
    );
    let error = table.numbers("file").expect_err("text");
    assert_eq!(
        (error.code, error.message.as_str()),
        ("not_a_number", "row 1 holds `a`, which is no number")
    );
    let error = table.numbers("tokens + 1").expect_err("no such column");
    assert!(error.remedy.contains("Model Size"), "{error}");
}

#[test]
fn a_query_of_a_table_that_is_not_there_says_which_are() {
    let (_kept, path) = written("a.csv", "x\n1\n");
    let error = InputTable::read(&[path], Some("SELECT * FROM runs"), None)
        .err()
        .expect("no such table");
    assert!(error.remedy.contains("input"), "{error}");
}

#[test]
fn json_of_every_orientation_is_a_table() {
    for text in [
        r#"{"runs": [{"n": 1, "loss": 4}, {"n": 2, "loss": 3}], "meta": {"a": 1}}"#,
        r#"{"n": [1, 2], "loss": [4, 3]}"#,
        r#"{"n": {"0": 1, "1": 2}, "loss": {"0": 4, "1": 3}}"#,
        "{\n  \"a\": {\"n\": 1, \"loss\": 4},\n  \"b\": {\"n\": 2, \"loss\": 3}\n}",
    ] {
        let (_kept, path) = written("a.json", text);
        let table = InputTable::read(&[path], None, None).expect(text);
        assert_eq!(table.numbers("n").expect(text), [1.0, 2.0], "{text}");
        assert_eq!(table.numbers("loss").expect(text), [4.0, 3.0], "{text}");
    }
}

#[test]
fn files_join_by_name_and_named_ones_by_sql() {
    let (_one, a) = written("a.csv", "step,x\n1,2\n2,3\n");
    let (_two, b) = written("b.csv", "x,step,y\n0.5,7,z\n");
    let table = InputTable::read(&[a.clone(), b.clone()], None, None).expect("a table");
    assert_eq!(table.numbers("x").expect("x"), [2.0, 3.0, 0.5]);
    assert_eq!(
        table.words("y").expect("y"),
        [None, None, Some("z".to_owned())]
    );
    let joined = InputTable::read(
        &[format!("l={a}"), format!("r={b}")],
        Some("SELECT l.x + r.x AS s FROM l CROSS JOIN r"),
        None,
    )
    .expect("a table");
    assert_eq!(joined.numbers("s").expect("s"), [2.5, 3.5]);
}
