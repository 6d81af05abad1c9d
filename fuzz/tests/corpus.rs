//! What fuzzing has found, and the samples that it began with, once more.

use std::path::{Path, PathBuf};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("a file").path())
        .collect();
    found.sort();
    found
}

/// `corpus/TARGET/` and `corpus/formats/FORMAT/`: one file each that a target once failed on, or that it begins with.
#[test]
fn what_was_found_is_mended() {
    let corpus = Path::new("corpus");
    for (target, check) in [
        ("avro", cairn_fuzz::avro as fn(&[u8])),
        ("json", cairn_fuzz::line),
        ("mapping", cairn_fuzz::mapping),
    ] {
        for file in files(&corpus.join(target)) {
            println!("{}", file.display());
            check(&std::fs::read(&file).expect("readable"));
        }
    }
    for folder in files(&corpus.join("formats")) {
        let name = folder
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a format")
            .to_owned();
        assert!(cairn_fuzz::formats().contains(&name.as_str()), "{name}");
        for file in files(&folder) {
            println!("{}", file.display());
            cairn_fuzz::format(&name, &std::fs::read(&file).expect("readable"));
        }
    }
}
